package main

// A DRA driver as others write them: by the upstream helper of the same release, whatever that does. The suite holds podvitals against it.
// Its devices are what it is told; its health is what stands in a file a device. What it does is a line of its output each.

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"time"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/dynamic-resource-allocation/kubeletplugin"
	"k8s.io/dynamic-resource-allocation/resourceslice"
)

type driver struct {
	name, node, attribute, cdi, health, state string
	devices                                   []string
	every, lease                              time.Duration
}

// How often a file, or a state without an event, is looked at.
const look = 10 * time.Millisecond

func serveDriver(arguments []string) {
	var d driver
	var registry, data, cdiDir, devices, uid string
	flags := flag.NewFlagSet("driver", flag.ExitOnError)
	flags.StringVar(&d.name, "name", "", "the driver's name")
	flags.StringVar(&d.node, "node", "node1", "this node")
	flags.StringVar(&registry, "registry", "", "plugins_registry")
	flags.StringVar(&data, "data", "", "for the endpoint's socket")
	flags.StringVar(&cdiDir, "cdi-dir", "", "for the CDI file")
	flags.StringVar(&devices, "devices", "", "names, with commas between")
	flags.StringVar(&d.attribute, "attribute", "", "an attribute whose value is the device's name, such as ifName")
	flags.StringVar(&d.cdi, "cdi", "none", "CDI ids of a device: none, own, or shared (the first is the same for all)")
	flags.StringVar(&d.health, "health", "none", "none, change (told once, then only changes), every (all of it, each --every), flood")
	flags.StringVar(&d.state, "state", "", "a directory with a file a device: Healthy, or Unhealthy: and why; refuse-prepare, refuse-unprepare: why each claim fails")
	flags.DurationVar(&d.every, "every", time.Second, "for --health=every")
	flags.DurationVar(&d.lease, "lease", 0, "of each report; 0: the kubelet's default")
	flags.StringVar(&uid, "rolling-update", "", "the pod's uid in a rolling update")
	must(flags.Parse(arguments))
	d.devices = strings.Split(devices, ",")

	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	must(err)
	client := kubernetes.NewForConfigOrDie(config)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	must(os.MkdirAll(data, 0o700))
	if d.cdi != "none" {
		must(d.writeCDI(cdiDir))
	}
	options := []kubeletplugin.Option{
		kubeletplugin.DriverName(d.name), kubeletplugin.NodeName(d.node), kubeletplugin.KubeClient(client),
		kubeletplugin.RegistrarDirectoryPath(registry), kubeletplugin.PluginDataDirectoryPath(data),
	}
	if uid != "" {
		options = append(options, kubeletplugin.RollingUpdate(types.UID(uid)))
	}
	helper, err := kubeletplugin.Start(ctx, d.plugin(), options...)
	must(err)
	pool := resourceslice.Pool{Slices: []resourceslice.Slice{{Devices: d.published()}}}
	must(helper.PublishResources(ctx, resourceslice.DriverResources{Pools: map[string]resourceslice.Pool{d.node: pool}}))
	fmt.Println("serving")
	sayWhenRegistered(ctx, helper)
	<-ctx.Done()
	helper.Stop()
}

// The helper has no event for it.
func sayWhenRegistered(ctx context.Context, helper *kubeletplugin.Helper) {
	looks := time.NewTicker(look)
	defer looks.Stop()
	for {
		if status := helper.RegistrationStatus(); status != nil && status.PluginRegistered {
			fmt.Println("registered")
			return
		}
		select {
		case <-looks.C:
		case <-ctx.Done():
			return
		}
	}
}

func (d *driver) published() []resourceapi.Device {
	var published []resourceapi.Device
	for _, name := range d.devices {
		device := resourceapi.Device{Name: name}
		if d.attribute != "" {
			value := name
			device.Attributes = map[resourceapi.QualifiedName]resourceapi.DeviceAttribute{resourceapi.QualifiedName(d.attribute): {StringValue: &value}}
		}
		published = append(published, device)
	}
	return published
}

func (d *driver) PrepareResourceClaims(_ context.Context, claims []*resourceapi.ResourceClaim) (map[types.UID]kubeletplugin.PrepareResult, error) {
	prepared := map[types.UID]kubeletplugin.PrepareResult{}
	for _, claim := range claims {
		if err := d.refused("prepare"); err != nil {
			fmt.Println("did not prepare", claim.Name)
			prepared[claim.UID] = kubeletplugin.PrepareResult{Err: err}
			continue
		}
		var result kubeletplugin.PrepareResult
		for _, allocated := range claim.Status.Allocation.Devices.Results {
			if allocated.Driver == d.name {
				device := kubeletplugin.Device{Requests: []string{allocated.Request}, PoolName: allocated.Pool, DeviceName: allocated.Device}
				device.CDIDeviceIDs = d.cdiIDs(allocated.Device)
				result.Devices = append(result.Devices, device)
			}
		}
		fmt.Println("prepared", claim.Name)
		prepared[claim.UID] = result
	}
	return prepared, nil
}

func (d *driver) UnprepareResourceClaims(_ context.Context, claims []kubeletplugin.NamespacedObject) (map[types.UID]error, error) {
	unprepared := map[types.UID]error{}
	for _, claim := range claims {
		unprepared[claim.UID] = d.refused("unprepare")
		if unprepared[claim.UID] == nil {
			fmt.Println("unprepared", claim.Name)
		} else {
			fmt.Println("did not unprepare", claim.Name)
		}
	}
	return unprepared, nil
}

func (d *driver) refused(call string) error {
	text, err := os.ReadFile(filepath.Join(d.state, "refuse-"+call))
	if err != nil {
		return nil
	}
	return errors.New(strings.TrimSpace(string(text)))
}

// watch reports what the state files say: once, on each change, and as often as --health wants.
func (d *driver) watch(ctx context.Context, report func(said map[string]string) error) error {
	looks := time.NewTicker(look)
	defer looks.Stop()
	var told map[string]string
	var toldAt time.Time
	for {
		now := d.read()
		if d.health == "flood" || !reflect.DeepEqual(now, told) || d.health == "every" && time.Since(toldAt) >= d.every {
			if err := report(now); err != nil {
				return err
			}
			told, toldAt = now, time.Now()
		}
		if d.health == "flood" {
			continue
		}
		select {
		case <-looks.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (d *driver) read() map[string]string {
	said := map[string]string{}
	for _, name := range d.devices {
		if text, err := os.ReadFile(filepath.Join(d.state, name)); err == nil {
			said[name] = strings.TrimSpace(string(text))
		}
	}
	return said
}

func (d *driver) HandleError(_ context.Context, err error, message string) {
	fmt.Fprintln(os.Stderr, message, err)
}

func (d *driver) cdiIDs(device string) []string {
	switch d.cdi {
	case "own":
		return []string{d.name + "/device=" + device}
	case "shared":
		return []string{d.name + "/device=all", d.name + "/device=" + device}
	}
	return nil
}

func (d *driver) writeCDI(directory string) error {
	type edits struct {
		Env []string `json:"env"`
	}
	type device struct {
		Name  string `json:"name"`
		Edits edits  `json:"containerEdits"`
	}
	devices := []device{{"all", edits{[]string{"ALL=yes"}}}}
	for _, name := range d.devices {
		devices = append(devices, device{name, edits{[]string{"DEVICE_" + strings.ReplaceAll(name, "-", "_") + "=yes"}}})
	}
	text, err := json.Marshal(map[string]any{"cdiVersion": "0.6.0", "kind": d.name + "/device", "devices": devices})
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(directory, d.name+".json"), text, 0o644)
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "driver:", err)
		os.Exit(1)
	}
}
