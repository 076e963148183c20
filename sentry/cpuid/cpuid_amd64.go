// Package cpuid is what the processor tells of itself, as /proc/cpuinfo and
// /sys/devices/system/cpu show it. All processors are taken to be alike.
package cpuid

import (
	"encoding/binary"
	"strconv"
	"strings"
)

// cpuid is the CPUID instruction.
func cpuid(leaf, sub uint32) (eax, ebx, ecx, edx uint32)

// Processor describes the processor.
type Processor struct {
	Vendor, Brand           string
	Family, Model, Stepping uint32
	Level                   uint32 // the highest basic leaf
	Flags                   string // as Linux names them
	CacheSize               uint32 // what Linux shows in /proc/cpuinfo, in KiB; 0: not known
	LineSize                uint32 // of a cache line that CLFLUSH writes back, in bytes
	PhysicalBits            uint32 // of addresses
	VirtualBits             uint32
	MHz                     float64 // base frequency; 0: not known
	Caches                  []Cache
}

// Cache is a cache.
type Cache struct {
	Level    uint32
	Type     string // "Data", "Instruction", "Unified"
	Size     uint32 // bytes
	LineSize uint32
	Ways     uint32
	Parts    uint32
	Sets     uint32
}

// Read asks the processor.
func Read() *Processor {
	p := &Processor{}
	level, b, c, d := cpuid(0, 0)
	p.Level = level
	p.Vendor = text(b, d, c)
	a, b, _, _ := cpuid(1, 0)
	p.Stepping = a & 15
	p.Family, p.Model = a>>8&15, a>>4&15
	if p.Family == 6 || p.Family == 15 {
		p.Model |= a >> 12 & 0xf0
	}
	if p.Family == 15 {
		p.Family += a >> 20 & 0xff
	}
	p.LineSize = (b >> 8 & 0xff) * 8
	extended, _, _, _ := cpuid(0x80000000, 0)
	if extended >= 0x80000004 {
		for leaf := uint32(0x80000002); leaf <= 0x80000004; leaf++ {
			p.Brand += text(cpuid(leaf, 0))
		}
		p.Brand = strings.TrimSpace(strings.TrimRight(p.Brand, "\x00"))
	}
	p.PhysicalBits, p.VirtualBits = 36, 48
	if extended >= 0x80000008 {
		a, _, _, _ := cpuid(0x80000008, 0)
		p.PhysicalBits, p.VirtualBits = a&0xff, a>>8&0xff
	}
	p.Flags = readFlags(level, extended)
	p.readCaches(extended)
	p.readMHz()
	return p
}

// text makes a string of registers.
func text(regs ...uint32) string {
	var b []byte
	for _, r := range regs {
		b = binary.LittleEndian.AppendUint32(b, r)
	}
	return string(b)
}

// amd reports whether the processor describes itself as AMD's do.
func (p *Processor) amd() bool {
	return strings.Contains(p.Vendor, "AMD") || strings.Contains(p.Vendor, "Hygon")
}

// readCaches reads the deterministic cache parameters.
func (p *Processor) readCaches(extended uint32) {
	leaf := uint32(4)
	if p.amd() {
		leaf = 0x8000001d
	}
	if leaf == 4 && p.Level < leaf || leaf > 4 && extended < leaf {
		return
	}
	for i := range uint32(8) {
		a, b, c, _ := cpuid(leaf, i)
		kinds := [4]string{"", "Data", "Instruction", "Unified"}
		if a&31 == 0 || a&31 >= uint32(len(kinds)) {
			break
		}
		x := Cache{
			Level: a >> 5 & 7, Type: kinds[a&31],
			LineSize: b&0xfff + 1, Parts: b>>12&0x3ff + 1, Ways: b>>22 + 1, Sets: c + 1,
		}
		x.Size = x.LineSize * x.Parts * x.Ways * x.Sets
		p.Caches = append(p.Caches, x)
		// Linux shows AMD's second level, and of others the largest cache.
		if !p.amd() || x.Level == 2 {
			p.CacheSize = max(p.CacheSize, x.Size>>10)
		}
	}
}

// readMHz finds the base frequency: from CPUID if it tells, else from the name.
func (p *Processor) readMHz() {
	if p.Level >= 0x16 && !p.amd() {
		if a, _, _, _ := cpuid(0x16, 0); a&0xffff != 0 {
			p.MHz = float64(a & 0xffff)
			return
		}
	}
	if _, _, c, _ := cpuid(1, 0); c>>31 != 0 {
		// A hypervisor may tell the frequency of the time stamp counter in kHz.
		if top, _, _, _ := cpuid(0x40000000, 0); top >= 0x40000010 && top < 0x40010000 {
			if a, _, _, _ := cpuid(0x40000010, 0); a != 0 {
				p.MHz = float64(a) / 1000
				return
			}
		}
	}
	if _, speed, ok := strings.Cut(p.Brand, "@ "); ok {
		if v, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(speed), "GHz"), 64); err == nil {
			p.MHz = v * 1000
		}
	}
}
