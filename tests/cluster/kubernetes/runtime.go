package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"google.golang.org/grpc"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
	fakeremote "k8s.io/cri-client/pkg/fake"
)

// processRuntime answers the CRI like the kubelet project's own fake, with what these tests need made real: a container with a command is a
// process of this machine, so that it can end, crash and be stopped; its environment holds what the CDI files of the devices the kubelet
// asks for say; its output is kept where `kubectl logs` reads it. No images, no isolation. A container without a command "runs" for ever.
type processRuntime struct {
	*fakeremote.RemoteRuntime
	cdiDir    string
	mutex     sync.Mutex
	processes map[string]*process
}

type process struct {
	command *exec.Cmd
	log     string
	ended   chan struct{}
}

// Handed on to every container, so that whoever ends the cluster finds them.
const marker = "PODVITALS_TEST_CLUSTER"

func (r *processRuntime) CreateContainer(ctx context.Context, request *cri.CreateContainerRequest) (*cri.CreateContainerResponse, error) {
	var names []string
	for _, device := range request.Config.CDIDevices {
		names = append(names, device.Name)
	}
	fromDevices, err := deviceEnvironment(r.cdiDir, names)
	if err != nil {
		return nil, err
	}
	response, err := r.RemoteRuntime.CreateContainer(ctx, request)
	if err != nil {
		return nil, err
	}
	// Without a log path the kubelet, cleaning up after a dead container, globs "*" in its own working directory and removes what it finds.
	log := filepath.Join(request.SandboxConfig.LogDirectory, request.Config.LogPath)
	r.RuntimeService.Lock()
	r.RuntimeService.Containers[response.ContainerId].LogPath = log
	r.RuntimeService.Unlock()
	if len(request.Config.Command) == 0 {
		return response, nil
	}
	arguments := append(append([]string{}, request.Config.Command...), request.Config.Args...)
	command := exec.Command(arguments[0], arguments[1:]...)
	command.Env = []string{"PATH=" + os.Getenv("PATH"), marker + "=" + os.Getenv(marker)}
	for _, variable := range request.Config.Envs {
		command.Env = append(command.Env, variable.Key+"="+string(variable.Value))
	}
	command.Env = append(command.Env, fromDevices...)
	command.Dir = "/"
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	command.WaitDelay = time.Second // a child of the container's that keeps its output open must not keep it alive
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.processes[response.ContainerId] = &process{command: command, log: log, ended: make(chan struct{})}
	return response, nil
}

func (r *processRuntime) StartContainer(ctx context.Context, request *cri.StartContainerRequest) (*cri.StartContainerResponse, error) {
	response, err := r.RemoteRuntime.StartContainer(ctx, request)
	process := r.process(request.ContainerId)
	if err != nil || process == nil {
		return response, err
	}
	out, err := openLog(process.log)
	if err != nil {
		return nil, err
	}
	process.command.Stdout, process.command.Stderr = out.stream("stdout"), out.stream("stderr")
	if err := process.command.Start(); err != nil {
		close(process.ended)
		r.exited(request.ContainerId, 128, "StartError")
		return nil, errors.Join(err, out.Close())
	}
	go func() {
		_ = process.command.Wait()
		_ = out.Close()
		status := process.command.ProcessState.Sys().(syscall.WaitStatus)
		code, reason := status.ExitStatus(), "Error"
		if status.Signaled() {
			code = 128 + int(status.Signal())
		}
		if code == 0 {
			reason = "Completed"
		}
		r.exited(request.ContainerId, code, reason)
		close(process.ended)
	}()
	return response, nil
}

func (r *processRuntime) StopContainer(ctx context.Context, request *cri.StopContainerRequest) (*cri.StopContainerResponse, error) {
	process := r.process(request.ContainerId)
	if process == nil || process.command.Process == nil {
		return r.RemoteRuntime.StopContainer(ctx, request)
	}
	group := -process.command.Process.Pid
	_ = syscall.Kill(group, syscall.SIGTERM)
	select {
	case <-process.ended:
	case <-time.After(time.Duration(request.Timeout) * time.Second):
		_ = syscall.Kill(group, syscall.SIGKILL)
		<-process.ended
	}
	return &cri.StopContainerResponse{}, nil
}

func (r *processRuntime) process(container string) *process {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	return r.processes[container]
}

func (r *processRuntime) exited(id string, code int, reason string) {
	r.RuntimeService.Lock()
	defer r.RuntimeService.Unlock()
	if container, ok := r.RuntimeService.Containers[id]; ok {
		container.State = cri.ContainerState_CONTAINER_EXITED
		container.FinishedAt = time.Now().UnixNano()
		container.ExitCode = int32(code)
		container.Reason = reason
	}
}

// serveRuntime listens until it is told to end. Its containers outlive it, as a kubelet's do.
func serveRuntime(arguments []string) {
	flags := flag.NewFlagSet("runtime", flag.ExitOnError)
	socket := flags.String("socket", "", "where to listen")
	cdiDir := flags.String("cdi-dir", "", "where the CDI files of the drivers are")
	_ = flags.Parse(arguments)
	fake := fakeremote.NewFakeRemoteRuntime()
	fake.RuntimeService.FakeStatus = &cri.RuntimeStatus{Conditions: []*cri.RuntimeCondition{
		{Type: cri.RuntimeReady, Status: true}, {Type: cri.NetworkReady, Status: true},
	}}
	_ = os.Remove(*socket)
	listener, err := net.Listen("unix", *socket)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	server := grpc.NewServer()
	cri.RegisterRuntimeServiceServer(server, &processRuntime{RemoteRuntime: fake, cdiDir: *cdiDir, processes: map[string]*process{}})
	cri.RegisterImageServiceServer(server, fake)
	go func() { _ = server.Serve(listener) }()
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGINT, syscall.SIGTERM)
	<-stop
	server.Stop()
}
