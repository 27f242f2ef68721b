//go:build !health

package main

// Device health before Kubernetes 1.37: the helper serves what a driver implements itself of v1alpha1.

import (
	"reflect"
	"strings"
	"time"

	"k8s.io/dynamic-resource-allocation/kubeletplugin"
	health "k8s.io/kubelet/pkg/apis/dra-health/v1alpha1"
)

type driverWithHealth struct {
	*driver
	health.UnimplementedDRAResourceHealthServer
}

func (d *driver) plugin() kubeletplugin.DRAPlugin {
	if d.health == "none" {
		return d
	}
	return driverWithHealth{driver: d}
}

func (d driverWithHealth) NodeWatchResources(_ *health.NodeWatchResourcesRequest, stream health.DRAResourceHealth_NodeWatchResourcesServer) error {
	return d.watch(stream.Context(), func(said map[string]string) error { return stream.Send(d.report(said)) })
}

func (d driverWithHealth) report(said map[string]string) *health.NodeWatchResourcesResponse {
	report := &health.NodeWatchResourcesResponse{}
	for _, name := range d.devices {
		text, there := said[name]
		if !there {
			continue
		}
		state, message, _ := strings.Cut(text, ": ")
		device := &health.DeviceHealth{
			Device:          &health.DeviceIdentifier{PoolName: d.node, DeviceName: name},
			Health:          health.HealthStatus(health.HealthStatus_value[strings.ToUpper(state)]),
			LastUpdatedTime: time.Now().Unix(),
		}
		// Fields that came with 1.35 and 1.36.
		setIfThere(device, "HealthCheckTimeoutSeconds", int64(d.lease.Seconds()))
		setIfThere(device, "Message", message)
		report.Devices = append(report.Devices, device)
	}
	return report
}

func setIfThere(message any, field string, value any) {
	if found := reflect.ValueOf(message).Elem().FieldByName(field); found.IsValid() {
		found.Set(reflect.ValueOf(value))
	}
}
