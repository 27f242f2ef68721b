//go:build health

package main

// The part of the upstream helper that not every release has: device health (Kubernetes 1.37).

import (
	"context"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"time"

	"k8s.io/dynamic-resource-allocation/kubeletplugin"
)

// WatchHealthStatus reports what the state files say.
func (d *driver) WatchHealthStatus(ctx context.Context, reports chan<- kubeletplugin.DeviceHealthReport) error {
	if d.health == "none" {
		return kubeletplugin.ErrHealthNotSupported
	}
	looks := time.NewTicker(10 * time.Millisecond)
	defer looks.Stop()
	var told map[string]string
	var toldAt time.Time
	for {
		now := d.read()
		if d.health == "flood" || !reflect.DeepEqual(now, told) || d.health == "every" && time.Since(toldAt) >= d.every {
			select {
			case reports <- d.report(now):
			case <-ctx.Done():
				return ctx.Err()
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
