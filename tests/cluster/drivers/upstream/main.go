// A DRA driver built with upstream's helper (k8s.io/dynamic-resource-allocation/kubeletplugin), as the public Go drivers are: what it does
// by itself is what the conformance suite must accept.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/dynamic-resource-allocation/kubeletplugin"
)

const lease = 2 * time.Second

// plugin has two devices. health: "kept" is reported again in time, "once" only on change, "none" is not there at all.
type plugin struct{ health string }

func (p *plugin) PrepareResourceClaims(_ context.Context, claims []*resourceapi.ResourceClaim) (map[types.UID]kubeletplugin.PrepareResult, error) {
	results := map[types.UID]kubeletplugin.PrepareResult{}
	for _, claim := range claims {
		results[claim.UID] = kubeletplugin.PrepareResult{}
	}
	return results, nil
}

func (p *plugin) UnprepareResourceClaims(_ context.Context, claims []kubeletplugin.NamespacedObject) (map[types.UID]error, error) {
	results := map[types.UID]error{}
	for _, claim := range claims {
		results[claim.UID] = nil
	}
	return results, nil
}

func (p *plugin) HandleError(_ context.Context, err error, message string) {
	fmt.Fprintln(os.Stderr, message, err)
}

func (p *plugin) WatchHealthStatus(ctx context.Context, reports chan<- kubeletplugin.DeviceHealthReport) error {
	if p.health == "none" {
		return kubeletplugin.ErrHealthNotSupported
	}
	pause := lease / 3
	if p.health == "once" {
		pause = time.Hour
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case reports <- report():
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
	}
}

func report() kubeletplugin.DeviceHealthReport {
	now := time.Now()
	healthy := kubeletplugin.DeviceHealth{PoolName: "node1", DeviceName: "d0", Health: kubeletplugin.HealthStatusHealthy, LastUpdated: now, HealthCheckTimeout: lease}
	broken := kubeletplugin.DeviceHealth{PoolName: "node1", DeviceName: "d1", Health: kubeletplugin.HealthStatusUnhealthy, LastUpdated: now, HealthCheckTimeout: lease, Message: "fell off the bus"}
	return kubeletplugin.DeviceHealthReport{Devices: []kubeletplugin.DeviceHealth{healthy, broken}}
}

func main() {
	directory := flag.String("dir", "", "holds plugins_registry and plugins")
	name := flag.String("name", "go.example.com", "the driver's")
	health := flag.String("health", "kept", "kept, once or none")
	flag.Parse()
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer cancel()
	registry, data := filepath.Join(*directory, "plugins_registry"), filepath.Join(*directory, "plugins", *name)
	for _, made := range []string{registry, data} {
		if err := os.MkdirAll(made, 0o755); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	// No API server: no claim is ever found.
	helper, err := kubeletplugin.Start(ctx, &plugin{*health}, kubeletplugin.DriverName(*name), kubeletplugin.NodeName("node1"),
		kubeletplugin.KubeClient(fake.NewClientset()), kubeletplugin.RegistrarDirectoryPath(registry), kubeletplugin.PluginDataDirectoryPath(data))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println("up")
	<-ctx.Done()
	helper.Stop()
}
