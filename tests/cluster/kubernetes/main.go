// Kubernetes is etcd, kube-apiserver, kube-controller-manager, kube-scheduler, kubelet, kubectl and a stand-in container runtime in one
// binary. Each is a link to it, named after the component. The components are the released ones, unchanged; one binary links, and is
// loaded, once instead of six times. Only the container runtime is ours (runtime.go), and a DRA driver by the upstream helper (driver.go).
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	kubectl "k8s.io/kubectl/pkg/cmd"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

func main() {
	var command *cobra.Command
	switch component := filepath.Base(os.Args[0]); component {
	case "etcd":
		etcdmain.Main(os.Args)
		return
	case "runtime":
		serveRuntime(os.Args[1:])
		return
	case "driver":
		serveDriver(os.Args[1:])
		return
	case "kube-apiserver":
		command = apiserver.NewAPIServerCommand()
	case "kube-controller-manager":
		command = controllermanager.NewControllerManagerCommand()
	case "kube-scheduler":
		command = scheduler.NewSchedulerCommand()
	case "kubelet":
		command = kubelet.NewKubeletCommand(context.Background())
	case "kubectl":
		command = kubectl.NewDefaultKubectlCommand()
	default:
		fmt.Fprintf(os.Stderr, "%s: no such component; link this binary to the name of one\n", component)
		os.Exit(2)
	}
	os.Exit(cli.Run(command))
}
