package proc

import (
	"bytes"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"

	"runsc-lite/mm"
	"runsc-lite/sentry/fs/synth"
	"runsc-lite/sentry/vfs"
)

// space returns the address space, nil if it is gone.
func (s *subject) space() *mm.Space {
	if t := s.task(); t != nil {
		return t.Space()
	}
	return nil
}

// areaBatch is how many mappings are taken at a time.
const areaBatch = 32

// areaRecords makes a file with a record for each mapping of the space that the
// process has when it is opened: an address is the position of what ends above it.
func areaRecords(s *subject, record func(b *bytes.Buffer, space *mm.Space, a *mm.Area)) (vfs.FileOps, error) {
	space := s.space()
	return synth.Records(func(pos uint64, b *bytes.Buffer) (uint64, error) {
		if err := s.check(); err != nil {
			return 0, err
		}
		if space == nil {
			return synth.End, nil
		}
		for b.Len() < synth.PieceSize {
			areas := space.AreasFrom(hostarch.Addr(pos), areaBatch)
			if len(areas) == 0 {
				return synth.End, nil
			}
			for i := range areas {
				record(b, space, &areas[i])
				pos = uint64(areas[i].End)
				if b.Len() >= synth.PieceSize {
					break
				}
			}
		}
		return pos, nil
	}).Open(nil, 0)
}

// openMaps is /proc/PID/maps (show_map).
func openMaps(s *subject, _ *vfs.Caller) (vfs.FileOps, error) {
	return areaRecords(s, func(b *bytes.Buffer, _ *mm.Space, a *mm.Area) { areaLine(b, a) })
}

// nameColumn is where the name stands in a line of maps.
const nameColumn = 73

// areaLine is show_map_vma.
func areaLine(b *bytes.Buffer, a *mm.Area) {
	start := b.Len()
	share := byte('p')
	if a.Shared {
		share = 's'
	}
	fmt.Fprintf(b, "%08x-%08x %s%c %08x %02x:%02x %d ", uint64(a.Start), uint64(a.End), a.Prot, share,
		a.Offset, unix.Major(a.Dev), unix.Minor(a.Dev), a.Ino)
	if a.Name != "" {
		for n := b.Len() - start; n < nameColumn; n++ {
			b.WriteByte(' ')
		}
		b.WriteString(escape(a.Name, "\n"))
	}
	b.WriteByte('\n')
}

// openSmaps is /proc/PID/smaps (show_smap).
func openSmaps(s *subject, _ *vfs.Caller) (vfs.FileOps, error) {
	return areaRecords(s, func(b *bytes.Buffer, space *mm.Space, a *mm.Area) {
		areaLine(b, a)
		p := space.Pages(a.Start, a.End)
		sizes(b, []size{{"Size", uint64(a.End - a.Start)}, {"KernelPageSize", hostarch.PageSize}, {"MMUPageSize", hostarch.PageSize}})
		locked := uint64(0)
		if a.Locked {
			locked = p.Part()
		}
		pageSizes(b, &p, locked, false)
		fmt.Fprintf(b, "THPeligible:    %8d\nVmFlags: %s\n", 0, areaFlags(a))
	})
}

// openSmapsRollup is /proc/PID/smaps_rollup (show_smaps_rollup).
func openSmapsRollup(s *subject, _ *vfs.Caller) (vfs.FileOps, error) {
	space := s.space()
	return s.text(func(s *subject, b *bytes.Buffer) error {
		if space == nil || space.Users() <= 0 {
			return unix.ESRCH
		}
		var first, last hostarch.Addr
		var locked uint64
		var sum mm.Pages
		for pos := hostarch.Addr(0); ; {
			areas := space.AreasFrom(pos, areaBatch)
			if len(areas) == 0 {
				break
			}
			if pos == 0 {
				first = areas[0].Start
			}
			for i := range areas {
				a := &areas[i]
				p := space.Pages(a.Start, a.End)
				sum.Add(&p)
				if a.Locked {
					locked += p.Part()
				}
				last, pos = a.End, a.End
			}
		}
		areaLine(b, &mm.Area{Start: first, End: last, Name: "[rollup]"})
		pageSizes(b, &sum, locked, true)
		return nil
	}).Open(nil, 0)
}

// size is a line of smaps.
type size struct {
	name  string
	bytes uint64
}

func sizes(b *bytes.Buffer, list []size) {
	for _, s := range list {
		fmt.Fprintf(b, "%-16s%8d kB\n", s.name+":", s.bytes>>10)
	}
}

// pageSizes is __show_smap.
func pageSizes(b *bytes.Buffer, p *mm.Pages, locked uint64, rollup bool) {
	sizes(b, []size{{"Rss", p.Resident()}, {"Pss", p.Part()}, {"Pss_Dirty", p.PartDirty}})
	if rollup {
		sizes(b, []size{{"Pss_Anon", p.PartAnonymous}, {"Pss_File", p.PartFile}, {"Pss_Shmem", p.PartShmem}})
	}
	sizes(b, []size{
		{"Shared_Clean", p.SharedClean}, {"Shared_Dirty", p.SharedDirty},
		{"Private_Clean", p.PrivateClean}, {"Private_Dirty", p.PrivateDirty},
		{"Referenced", p.Resident()}, {"Anonymous", p.Anonymous}, {"KSM", 0}, {"LazyFree", 0}, {"AnonHugePages", 0},
		{"ShmemPmdMapped", 0}, {"FilePmdMapped", 0}, {"Shared_Hugetlb", 0},
	})
	b.WriteString("Private_Hugetlb:       0 kB\n")
	sizes(b, []size{{"Swap", 0}, {"SwapPss", 0}, {"Locked", locked}})
}

// areaFlags spells the flags of a mapping (show_smap_vma_flags).
func areaFlags(a *mm.Area) string {
	var b strings.Builder
	for _, f := range [...]struct {
		on   bool
		name string
	}{
		{a.Prot.Read, "rd"}, {a.Prot.Write, "wr"}, {a.Prot.Execute, "ex"}, {a.Shared, "sh"},
		{a.MaxProt.Read, "mr"}, {a.MaxProt.Write, "mw"}, {a.MaxProt.Execute, "me"}, {a.Shared, "ms"},
		{a.GrowsDown, "gd"}, {a.Locked, "lo"}, {a.NoFork, "dc"}, {a.WipeOnFork, "wf"},
	} {
		if f.on {
			b.WriteString(f.name + " ")
		}
	}
	return b.String()
}
