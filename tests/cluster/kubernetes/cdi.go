package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// The part of a CDI specification (https://github.com/cncf-tags/container-device-interface) that means something without isolation: the
// environment. Device nodes and mounts are of this machine anyway.
type cdiSpec struct {
	Kind           string   `json:"kind"`
	ContainerEdits cdiEdits `json:"containerEdits"`
	Devices        []struct {
		Name           string   `json:"name"`
		ContainerEdits cdiEdits `json:"containerEdits"`
	} `json:"devices"`
}

type cdiEdits struct {
	Env []string `json:"env"`
}

// deviceEnvironment resolves fully qualified CDI names (vendor/class=device) as a container runtime does at CreateContainer: a file is read
// when it is needed, its own edits come once and before those of its devices, and a name nobody describes is an error.
func deviceEnvironment(dir string, names []string) ([]string, error) {
	if len(names) == 0 {
		return nil, nil
	}
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		return nil, err
	}
	var environment, found []string
	for _, file := range files {
		if extension := filepath.Ext(file); extension != ".json" && extension != ".yaml" {
			continue
		}
		spec, err := readSpec(file)
		if err != nil {
			return nil, err
		}
		used := false
		for _, device := range spec.Devices {
			name := spec.Kind + "=" + device.Name
			if !slices.Contains(names, name) {
				continue
			}
			if !used {
				environment, used = append(environment, spec.ContainerEdits.Env...), true
			}
			environment = append(environment, device.ContainerEdits.Env...)
			found = append(found, name)
		}
	}
	for _, name := range names {
		if !slices.Contains(found, name) {
			return nil, fmt.Errorf("unresolvable CDI device %s: no file in %s describes it (asked for: %s)", name, dir, strings.Join(names, ", "))
		}
	}
	return environment, nil
}

func readSpec(file string) (*cdiSpec, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	spec := &cdiSpec{}
	if err := yaml.Unmarshal(data, spec); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return spec, nil
}
