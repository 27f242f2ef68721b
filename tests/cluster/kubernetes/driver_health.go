//go:build health

package main

// Device health by the helper of Kubernetes 1.37 and later.

import (
	"context"
	"strings"
	"time"

	"k8s.io/dynamic-resource-allocation/kubeletplugin"
)

func (d *driver) plugin() kubeletplugin.DRAPlugin { return d }

func (d *driver) WatchHealthStatus(ctx context.Context, reports chan<- kubeletplugin.DeviceHealthReport) error {
	if d.health == "none" {
		return kubeletplugin.ErrHealthNotSupported
	}
	return d.watch(ctx, func(said map[string]string) error {
		select {
		case reports <- d.report(said):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
}

func (d *driver) report(said map[string]string) kubeletplugin.DeviceHealthReport {
	var report kubeletplugin.DeviceHealthReport
	for _, name := range d.devices {
		text, there := said[name]
		if !there {
			continue
		}
		health, message, _ := strings.Cut(text, ": ")
		report.Devices = append(report.Devices, kubeletplugin.DeviceHealth{
			PoolName: d.node, DeviceName: name, Health: kubeletplugin.HealthStatus(health), Message: message,
			LastUpdated: time.Now(), HealthCheckTimeout: d.lease,
		})
	}
	return report
}
