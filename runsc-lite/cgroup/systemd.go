package cgroup

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"

	systemd "github.com/coreos/go-systemd/v22/dbus"
	"github.com/godbus/dbus/v5"
)

// propertyPrefix begins annotations that are properties of the container's unit.
const propertyPrefix = "org.systemd.property."

var propertyName = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^[a-zA-Z]{4,}$`)
})

// systemdProperties reads properties from annotations, their values as GVariant text:
// {"org.systemd.property.CollectMode": "'inactive-or-failed'"}.
func systemdProperties(annotations map[string]string) ([]systemd.Property, error) {
	var props []systemd.Property
	for _, key := range slices.Sorted(maps.Keys(annotations)) {
		name, ok := strings.CutPrefix(key, propertyPrefix)
		if !ok {
			continue
		}
		if !propertyName().MatchString(name) {
			return nil, fmt.Errorf("annotation %q: %q is no name of a property of systemd", key, name)
		}
		value, err := dbus.ParseVariant(annotations[key], dbus.Signature{})
		if err != nil {
			return nil, fmt.Errorf("annotation %q: %q is no GVariant text: %w", key, annotations[key], err)
		}
		// systemd.unit(5) knows seconds, the bus microseconds.
		if base, ok := strings.CutSuffix(name, "Sec"); ok {
			if value, err = microseconds(value); err != nil {
				return nil, fmt.Errorf("annotation %q: %w", key, err)
			}
			name = base + "USec"
		}
		props = append(props, systemd.Property{Name: name, Value: value})
	}
	return props, nil
}

func microseconds(v dbus.Variant) (dbus.Variant, error) {
	const second = 1_000_000
	var us uint64
	switch n := v.Value().(type) {
	case byte:
		us = uint64(n) * second
	case uint16:
		us = uint64(n) * second
	case int16:
		us = uint64(max(n, 0)) * second
	case uint32:
		us = uint64(n) * second
	case int32:
		us = uint64(max(n, 0)) * second
	case uint64:
		us = n * second
	case int64:
		us = uint64(max(n, 0)) * second
	case float64:
		us = uint64(max(n, 0) * second)
	default:
		return v, fmt.Errorf("%v is no number of seconds", v)
	}
	return dbus.MakeVariant(us), nil
}
