package mm

import (
	"fmt"
	"testing"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/hostarch"

	"runsc-lite/mm/memfile"
)

const noAddr = ^hostarch.Addr(0)

// TestErrors calls everything with arguments that are refused.
func TestErrors(t *testing.T) {
	mem := newMemory(t)
	s, g := newTestSpace(t, mem)
	f := newTestFile(t, mem, 4)
	defer f.close(t)
	defer s.Munmap(testMin, testMax-testMin)
	mapAt(t, s, testAddr, 8, MmapOptions{})
	mapAt(t, s, testAddr+16*pageSize, 4, MmapOptions{Shared: true})
	if _, err := s.Mmap(MmapOptions{Addr: testAddr + 32*pageSize, Fixed: true, Length: 4 * pageSize, Prot: hostarch.Read,
		MaxProt: hostarch.Read, Shared: true, Pager: f, File: f}); err != nil {
		t.Fatal(err)
	}
	mmap := func(o MmapOptions) func() error {
		o.MaxProt = hostarch.AnyAccess
		return func() error { _, err := s.Mmap(o); return err }
	}
	mremap := func(old hostarch.Addr, oldLen, newLen uint64, flags int, to hostarch.Addr) func() error {
		return func() error { _, err := s.Mremap(old, oldLen, newLen, flags, to); return err }
	}
	const (
		may   = unix.MREMAP_MAYMOVE
		fixed = unix.MREMAP_MAYMOVE | unix.MREMAP_FIXED
		keep  = unix.MREMAP_MAYMOVE | unix.MREMAP_DONTUNMAP
		page  = uint64(pageSize)
		huge  = ^uint64(0)
	)
	for name, tt := range map[string]struct {
		want unix.Errno
		fn   func() error
	}{
		"mmap of nothing":              {unix.EINVAL, mmap(MmapOptions{})},
		"mmap of everything":           {unix.ENOMEM, mmap(MmapOptions{Length: huge})},
		"mmap that rounds to 0":        {unix.ENOMEM, mmap(MmapOptions{Length: huge - 10})},
		"mmap too large":               {unix.ENOMEM, mmap(MmapOptions{Length: testMax})},
		"mmap fixed, no page":          {unix.EINVAL, mmap(MmapOptions{Addr: 1, Length: page, Fixed: true})},
		"mmap fixed, low":              {unix.EPERM, mmap(MmapOptions{Addr: 0, Length: page, Fixed: true})},
		"mmap fixed, high":             {unix.ENOMEM, mmap(MmapOptions{Addr: testMax, Length: page, Fixed: true})},
		"mmap fixed over the end":      {unix.ENOMEM, mmap(MmapOptions{Addr: testMax - pageSize, Length: page + 1, Fixed: true})},
		"mmap fixed, wraps":            {unix.ENOMEM, mmap(MmapOptions{Addr: noAddr &^ pageMask, Length: page, Fixed: true})},
		"mmap no replace":              {unix.EEXIST, mmap(MmapOptions{Addr: testAddr + 7*pageSize, Length: 2 * page, Fixed: true, FixedNoReplace: true})},
		"mmap offset wraps":            {unix.EOVERFLOW, mmap(MmapOptions{Length: 2 * page, Pager: f, Offset: huge &^ pageMask})},
		"mmap offset too large":        {unix.EOVERFLOW, mmap(MmapOptions{Length: page, Pager: f, Offset: 1 << 63})},
		"mmap of a file, grows":        {unix.EINVAL, mmap(MmapOptions{Length: page, Pager: f, GrowsDown: true})},
		"mmap shared, grows":           {unix.EINVAL, mmap(MmapOptions{Length: page, Shared: true, GrowsDown: true})},
		"munmap, no page":              {unix.EINVAL, func() error { return s.Munmap(1, page) }},
		"munmap of nothing":            {unix.EINVAL, func() error { return s.Munmap(testAddr, 0) }},
		"munmap wraps":                 {unix.EINVAL, func() error { return s.Munmap(testAddr, huge) }},
		"munmap high":                  {unix.EINVAL, func() error { return s.Munmap(testMax, page) }},
		"mprotect, no page":            {unix.EINVAL, func() error { return s.Mprotect(1, 0, hostarch.Read, false) }},
		"mprotect high":                {unix.ENOMEM, func() error { return s.Mprotect(testMax, page, hostarch.Read, false) }},
		"mprotect wraps":               {unix.ENOMEM, func() error { return s.Mprotect(testAddr, huge, hostarch.Read, false) }},
		"mprotect of a hole":           {unix.ENOMEM, func() error { return s.Mprotect(testAddr+8*pageSize, page, hostarch.Read, false) }},
		"mprotect into a hole":         {unix.ENOMEM, func() error { return s.Mprotect(testAddr, 9*page, hostarch.ReadWrite, false) }},
		"mprotect beyond the file":     {unix.EACCES, func() error { return s.Mprotect(testAddr+32*pageSize, page, hostarch.ReadWrite, false) }},
		"mprotect grows, elsewhere":    {unix.EINVAL, func() error { return s.Mprotect(testAddr, page, hostarch.Read, true) }},
		"mprotect grows, nothing":      {unix.ENOMEM, func() error { return s.Mprotect(testAddr+8*pageSize, page, hostarch.Read, true) }},
		"mremap, flags":                {unix.EINVAL, mremap(testAddr, page, page, 8, 0)},
		"mremap, no page":              {unix.EINVAL, mremap(testAddr+1, page, page, 0, 0)},
		"mremap to nothing":            {unix.EINVAL, mremap(testAddr, page, 0, 0, 0)},
		"mremap fixed, not may":        {unix.EINVAL, mremap(testAddr, page, page, unix.MREMAP_FIXED, testAddr+64*pageSize)},
		"mremap keep, not may":         {unix.EINVAL, mremap(testAddr, page, page, unix.MREMAP_DONTUNMAP, 0)},
		"mremap keep, other size":      {unix.EINVAL, mremap(testAddr, page, 2*page, keep, 0)},
		"mremap keep, other bytes":     {unix.EINVAL, mremap(testAddr, page-1, page, keep, 0)},
		"mremap fixed, no page":        {unix.EINVAL, mremap(testAddr, page, page, fixed, testAddr+64*pageSize+1)},
		"mremap fixed, overlap":        {unix.EINVAL, mremap(testAddr, 4*page, 4*page, fixed, testAddr+3*pageSize)},
		"mremap fixed, overlap before": {unix.EINVAL, mremap(testAddr, 4*page, 4*page, fixed, testAddr-3*pageSize)},
		"mremap fixed, high":           {unix.EINVAL, mremap(testAddr, page, 2*page, fixed, testMax-pageSize)},
		"mremap fixed, wraps":          {unix.EINVAL, mremap(testAddr, page, huge&^pageMask, fixed, testAddr+64*pageSize)},
		"mremap fixed, low":            {unix.EPERM, mremap(testAddr, page, page, fixed, 0)},
		"mremap of a hole":             {unix.EFAULT, mremap(testAddr+8*pageSize, page, 2*page, may, 0)},
		"mremap over a hole":           {unix.EFAULT, mremap(testAddr, 9*page, 16*page, may, 0)},
		"mremap over two areas":        {unix.EFAULT, mremap(testAddr+7*pageSize, 10*page, 16*page, may, 0)},
		"mremap wraps":                 {unix.EFAULT, mremap(testAddr, huge&^pageMask, page, may, 0)},
		"mremap high":                  {unix.EFAULT, mremap(1<<63, page, page, may, 0)},
		"mremap again, private":        {unix.EINVAL, mremap(testAddr, 0, page, may, 0)},
		"mremap again, not may":        {unix.ENOMEM, mremap(testAddr+16*pageSize, 0, page, 0, 0)},
		"mremap without room":          {unix.ENOMEM, mremap(testAddr, 8*page, 9*page+8*page, 0, 0)},
		"mremap too large":             {unix.ENOMEM, mremap(testAddr, 8*page, testMax, may, 0)},
		"mremap far too large":         {unix.EINVAL, mremap(testAddr, 8*page, 1<<62, may, 0)},
		"mremap offset too large":      {unix.EINVAL, mremap(testAddr+32*pageSize, 4*page, 1<<63, may, 0)},
		"remap_file_pages, private":    {unix.EINVAL, func() error { return s.RemapFilePages(testAddr, page, 1) }},
		"remap_file_pages, nothing":    {unix.EINVAL, func() error { return s.RemapFilePages(testAddr+16*pageSize, page-1, 1) }},
		"remap_file_pages, too long":   {unix.EINVAL, func() error { return s.RemapFilePages(testAddr+16*pageSize, 5*page, 0) }},
		"remap_file_pages, wraps":      {unix.EINVAL, func() error { return s.RemapFilePages(testAddr+16*pageSize, page, huge) }},
		"remap_file_pages, far":        {unix.EOVERFLOW, func() error { return s.RemapFilePages(testAddr+16*pageSize, page, 1<<51) }},
		"madvise, no page":             {unix.EINVAL, func() error { return s.Madvise(testAddr+1, page, unix.MADV_DONTNEED) }},
		"madvise wraps":                {unix.EINVAL, func() error { return s.Madvise(testAddr, huge, unix.MADV_DONTNEED) }},
		"madvise unknown":              {unix.EINVAL, func() error { return s.Madvise(testAddr, 0, 99) }},
		"madvise of a hole":            {unix.ENOMEM, func() error { return s.Madvise(testAddr, 9*page, unix.MADV_WILLNEED) }},
		"madvise free of shared":       {unix.EINVAL, func() error { return s.Madvise(testAddr+16*pageSize, page, unix.MADV_FREE) }},
		"madvise wipe of shared":       {unix.EINVAL, func() error { return s.Madvise(testAddr+16*pageSize, page, unix.MADV_WIPEONFORK) }},
		"madvise remove of private":    {unix.EINVAL, func() error { return s.Madvise(testAddr, page, unix.MADV_REMOVE) }},
		"madvise remove, read-only":    {unix.EACCES, func() error { return s.Madvise(testAddr+32*pageSize, page, unix.MADV_REMOVE) }},
		"populate a hole":              {unix.ENOMEM, func() error { return s.Madvise(testAddr, 9*page, unix.MADV_POPULATE_READ) }},
		"populate, not writable":       {unix.EINVAL, func() error { return s.Madvise(testAddr+32*pageSize, page, unix.MADV_POPULATE_WRITE) }},
		"msync, flags":                 {unix.EINVAL, func() error { return s.Msync(testAddr, page, 8) }},
		"msync, both":                  {unix.EINVAL, func() error { return s.Msync(testAddr, page, unix.MS_SYNC|unix.MS_ASYNC) }},
		"msync, no page":               {unix.EINVAL, func() error { return s.Msync(testAddr+1, page, 0) }},
		"msync wraps":                  {unix.ENOMEM, func() error { return s.Msync(testAddr, huge, 0) }},
		"msync of a hole":              {unix.ENOMEM, func() error { return s.Msync(testAddr, 9*page, unix.MS_SYNC) }},
		"mincore of a hole":            {unix.ENOMEM, func() error { return s.Mincore(testAddr, make([]byte, 9)) }},
		"mincore high":                 {unix.ENOMEM, func() error { return s.Mincore(testMax, make([]byte, 1)) }},
		"mlock of a hole":              {unix.ENOMEM, func() error { return s.Mlock(testAddr+8*pageSize, page, false) }},
		"mlock wraps":                  {unix.EINVAL, func() error { return s.Mlock(noAddr&^pageMask, page, false) }},
		"mlock high":                   {unix.ENOMEM, func() error { return s.Mlock(testMax, page, false) }},
		"munlock of a hole":            {unix.ENOMEM, func() error { return s.Munlock(testAddr+8*pageSize, page) }},
		"mlockall without":             {unix.EINVAL, func() error { return s.Mlockall(0) }},
		"mlockall, flags":              {unix.EINVAL, func() error { return s.Mlockall(8) }},
		"mlockall on fault alone":      {unix.EINVAL, func() error { return s.Mlockall(unix.MCL_ONFAULT) }},
		"futex, odd":                   {unix.EINVAL, func() error { _, _, err := s.FutexKey(testAddr+2, true); return err }},
		"futex, nothing":               {unix.EFAULT, func() error { _, _, err := s.FutexKey(testAddr+8*pageSize, false); return err }},
		"word, odd":                    {unix.EINVAL, func() error { return s.StoreUint32(testAddr+2, 1) }},
		"word, nothing":                {unix.EFAULT, func() error { return s.StoreUint32(testAddr+8*pageSize, 1) }},
		"word, read-only":              {unix.EFAULT, func() error { return s.StoreUint32(testAddr+32*pageSize, 1) }},
	} {
		areas := fmt.Sprint(s.Areas())
		if err := tt.fn(); err != tt.want {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
		// Lock and protection of what precedes a hole are changed.
		s.Munlockall()
		s.Mprotect(testAddr, 8*page, hostarch.ReadWrite, false)
		if now := fmt.Sprint(s.Areas()); now != areas {
			t.Errorf("%s: areas were %s and are %s", name, areas, now)
		}
	}
	for name, fn := range map[string]func() error{
		"mprotect of nothing": func() error { return s.Mprotect(noAddr&^pageMask, 0, hostarch.Read, false) },
		"madvise of nothing":  func() error { return s.Madvise(testAddr+8*pageSize, 0, unix.MADV_DONTNEED) },
		"msync of nothing":    func() error { return s.Msync(testAddr+8*pageSize, 0, 0) },
		"mlock of nothing":    func() error { return s.Mlock(testAddr+8*pageSize, 0, false) },
		"munmap of a hole":    func() error { return s.Munmap(testAddr+8*pageSize, page) },
		"mremap, same size":   mremap(testAddr+2*pageSize, 3*page, 3*page, 0, 0),
	} {
		if err := fn(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	g.check(t, s)
}

// TestLimits checks each call that takes memory against the resource limits.
func TestLimits(t *testing.T) {
	const page = uint64(pageSize)
	const (
		as, data, lock = unix.RLIMIT_AS, unix.RLIMIT_DATA, unix.RLIMIT_MEMLOCK
		next           = testAddr + 64*pageSize
	)
	rw := MmapOptions{Addr: next, Fixed: true, Length: 4 * page, Prot: hostarch.ReadWrite, MaxProt: hostarch.AnyAccess}
	with := func(edit func(*MmapOptions)) func(*Space) error {
		return func(s *Space) error { o := rw; edit(&o); _, err := s.Mmap(o); return err }
	}
	remap := func(old, length, newLen uint64, flags int) func(*Space) error {
		return func(s *Space) error {
			_, err := s.Mremap(testAddr+hostarch.Addr(old*page), length*page, newLen*page, flags, 0)
			return err
		}
	}
	// There are 8 writable pages, and 8 readable ones, of which 4 are locked.
	for name, tt := range map[string]struct {
		resource int
		enough   uint64 // pages
		want     unix.Errno
		fn       func(*Space) error
	}{
		"mmap":               {as, 20, unix.ENOMEM, with(func(o *MmapOptions) {})},
		"mmap in place":      {as, 18, unix.ENOMEM, with(func(o *MmapOptions) { o.Addr = testAddr + 14*pageSize })},
		"mmap shared":        {as, 20, unix.ENOMEM, with(func(o *MmapOptions) { o.Shared = true })},
		"brk":                {as, 20, unix.ENOMEM, func(s *Space) error { return brkError(s, 4) }},
		"mremap":             {as, 20, unix.ENOMEM, remap(0, 8, 12, unix.MREMAP_MAYMOVE)},
		"mremap in place":    {as, 20, unix.ENOMEM, remap(12, 4, 8, 0)},
		"mremap and keep":    {as, 18, unix.ENOMEM, remap(0, 2, 2, unix.MREMAP_MAYMOVE|unix.MREMAP_DONTUNMAP)},
		"data, mmap":         {data, 12, unix.ENOMEM, with(func(o *MmapOptions) {})},
		"data, brk":          {data, 12, unix.ENOMEM, func(s *Space) error { return brkError(s, 4) }},
		"data, mremap":       {data, 12, unix.ENOMEM, remap(0, 8, 12, unix.MREMAP_MAYMOVE)},
		"data, mprotect":     {data, 10, unix.ENOMEM, func(s *Space) error { return s.Mprotect(testAddr+8*pageSize, 2*page, hostarch.ReadWrite, false) }},
		"locked, mmap":       {lock, 8, unix.EAGAIN, with(func(o *MmapOptions) { o.Locked = true })},
		"locked, mremap":     {lock, 6, unix.EAGAIN, remap(12, 4, 6, unix.MREMAP_MAYMOVE)},
		"locked, mlock":      {lock, 6, unix.ENOMEM, func(s *Space) error { return s.Mlock(testAddr+10*pageSize, 4*page, false) }},
		"locked, mlockall":   {lock, 16, unix.ENOMEM, func(s *Space) error { return s.Mlockall(unix.MCL_CURRENT) }},
		"not allowed, mlock": {lock, 1, unix.EPERM, func(s *Space) error { return s.Mlock(testAddr+12*pageSize, page, false) }},
		"not allowed, mmap":  {lock, 1, unix.EPERM, with(func(o *MmapOptions) { o.Locked = true })},
		"not allowed, all":   {lock, 1, unix.EPERM, func(s *Space) error { return s.Mlockall(unix.MCL_FUTURE) }},
	} {
		for _, enough := range []bool{false, true} {
			mem := newMemory(t)
			lim := limits{}
			g := newGuest(t, mem)
			s := NewSpace(Config{File: mem, Mapper: g, Min: testMin, Max: testMax, Limits: lim})
			s.SetBrkStart(testAddr + 128*pageSize)
			mapAt(t, s, testAddr, 8, MmapOptions{})
			mapAt(t, s, testAddr+8*pageSize, 8, MmapOptions{Prot: hostarch.Read})
			s.Mlock(testAddr+12*pageSize, 4*page, false)
			lim[tt.resource] = tt.enough * page
			want := error(nil)
			if !enough {
				lim[tt.resource] -= page
				want = tt.want
			}
			if tt.want == unix.EPERM && enough {
				s.DecUsers()
				continue
			}
			if err := tt.fn(s); err != want {
				t.Errorf("%s, %d pages: %v, want %v", name, lim[tt.resource]/page, err, want)
			}
			g.check(t, s)
			s.DecUsers()
		}
	}
	// What does not count: shared and read-only memory as data, moves as
	// anything.
	mem := newMemory(t)
	lim := limits{as: 16 * page, data: 8 * page, lock: 4 * page}
	g := newGuest(t, mem)
	s := NewSpace(Config{File: mem, Mapper: g, Min: testMin, Max: testMax, Limits: lim})
	defer s.DecUsers()
	mapAt(t, s, testAddr, 8, MmapOptions{})
	mapAt(t, s, testAddr+8*pageSize, 4, MmapOptions{Shared: true})
	mapAt(t, s, testAddr+12*pageSize, 4, MmapOptions{Prot: hostarch.Read, Locked: true})
	for _, at := range []hostarch.Addr{0, 12 * pageSize} {
		if _, err := s.Mremap(testAddr+at, 4*page, 4*page, unix.MREMAP_MAYMOVE|unix.MREMAP_FIXED, next+at); err != nil {
			t.Errorf("a move: %v", err)
		}
	}
	g.check(t, s)
}

func brkError(s *Space, pages uint64) error {
	at := s.BrkRange().End
	if s.Brk(at+hostarch.Addr(pages*pageSize)) == at {
		return unix.ENOMEM
	}
	return nil
}

// TestReserve checks the bound on what memory is promised to.
func TestReserve(t *testing.T) {
	mem := newMemory(t)
	s := NewSpace(Config{File: mem, Mapper: newGuest(t, mem), Min: testMin, Max: testMax, MaxReserve: 1 << 30})
	defer s.DecUsers()
	const big = 1<<30 + pageSize
	for _, tt := range []struct {
		name string
		o    MmapOptions
		want error
	}{
		{"private", MmapOptions{Prot: hostarch.ReadWrite}, unix.ENOMEM},
		{"shared", MmapOptions{Prot: hostarch.ReadWrite, Shared: true}, unix.ENOMEM},
		{"not reserved", MmapOptions{Prot: hostarch.ReadWrite, NoReserve: true}, nil},
		{"shared, not reserved", MmapOptions{Prot: hostarch.ReadWrite, Shared: true, NoReserve: true}, nil},
		{"read-only", MmapOptions{Prot: hostarch.Read}, nil},
		{"nothing", MmapOptions{}, nil},
	} {
		tt.o.Length, tt.o.MaxProt = big, hostarch.AnyAccess
		addr, err := s.Mmap(tt.o)
		if err != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
		if err != nil {
			continue
		}
		want := error(nil)
		if !tt.o.NoReserve {
			want = unix.ENOMEM
		}
		if err := s.Mprotect(addr, big, hostarch.ReadWrite, false); err != want {
			t.Errorf("%s, made writable: %v, want %v", tt.name, err, want)
		}
		if err := s.Mprotect(addr, big/2, hostarch.ReadWrite, false); err != nil {
			t.Errorf("half of %s, made writable: %v", tt.name, err)
		}
		s.Munmap(addr, big)
	}
}

// TestBrk moves the heap's end.
func TestBrk(t *testing.T) {
	mem := newMemory(t)
	s, g := newTestSpace(t, mem)
	const start = testAddr + 0x123
	s.SetBrkStart(start)
	for _, tt := range []struct{ to, want hostarch.Addr }{
		{0, start},
		{start - 1, start},
		{start, start},
		{start + 1, start + 1},
		{start + 5*pageSize, start + 5*pageSize},
		{start + 2*pageSize, start + 2*pageSize},
		{testMax, start + 2*pageSize},
		{noAddr, start + 2*pageSize},
		{testMax - 1, start + 2*pageSize},
	} {
		if got := s.Brk(tt.to); got != tt.want {
			t.Errorf("brk(%#x) = %#x, want %#x", tt.to, got, tt.want)
		}
	}
	if a := s.Areas(); len(a) != 1 || a[0].Name != "[heap]" || a[0].Start != testAddr+pageSize || a[0].End != testAddr+3*pageSize {
		t.Errorf("%+v", a)
	}
	mustStore(t, g, s, testAddr+2*pageSize, 5)
	s.Brk(start + pageSize)
	s.Brk(start + 4*pageSize)
	mustLoad(t, g, s, testAddr+2*pageSize, 0) // fresh
	// Something in the way, and a page of distance to it.
	mapAt(t, s, testAddr+10*pageSize, 1, MmapOptions{})
	if got := s.Brk(testAddr + 9*pageSize); got != testAddr+9*pageSize {
		t.Errorf("just before it: %#x", got)
	}
	if got := s.Brk(testAddr + 9*pageSize + 1); got != testAddr+9*pageSize {
		t.Errorf("up to it: %#x", got)
	}
	// The guest may unmap it, or put something else there.
	s.Munmap(testAddr, 4*pageSize)
	mapAt(t, s, testAddr+5*pageSize, 1, MmapOptions{Shared: true})
	if got := s.Brk(start); got != start {
		t.Errorf("all of it: %#x", got)
	}
	if n := s.overlap(testAddr, testAddr+9*pageSize); n != 0 {
		t.Errorf("%d bytes of it are left", n)
	}
	g.check(t, s)
}

// TestManyAreas fills a space with areas and checks what still works.
func TestManyAreas(t *testing.T) {
	mem := newMemory(t)
	s, g := newTestSpace(t, mem)
	const page = uint64(pageSize)
	mapAt(t, s, testAddr, 2*maxAreas+8, MmapOptions{})
	end := hostarch.Addr(testAddr + (2*maxAreas+8)*pageSize)
	for at := end - pageSize; s.areaCount() < maxAreas; {
		if err := s.Mprotect(at, page, hostarch.Read, false); err != nil {
			t.Fatalf("%d areas: %v", s.areaCount(), err)
		}
		at = testAddr + hostarch.Addr(s.areaCount())*pageSize
	}
	for name, fn := range map[string]func() error{
		"mmap":        func() error { _, err := s.Mmap(MmapOptions{Length: page}); return err },
		"mprotect":    func() error { return s.Mprotect(end-8*pageSize, page, hostarch.Read, false) },
		"madvise":     func() error { return s.Madvise(end-8*pageSize, page, unix.MADV_DONTFORK) },
		"mlock":       func() error { return s.Mlock(end-8*pageSize, page, true) },
		"munmap":      func() error { return s.Munmap(end-8*pageSize, page) },
		"mremap":      func() error { _, err := s.Mremap(end-8*pageSize, page, 4*page, unix.MREMAP_MAYMOVE, 0); return err },
		"mremap less": func() error { _, err := s.Mremap(end-8*pageSize, 2*page, page, 0, 0); return err },
	} {
		if err := fn(); err != unix.ENOMEM {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := s.areaCount(); n != maxAreas {
		t.Errorf("%d areas", n)
	}
	if err := s.Mprotect(testAddr+2*pageSize, page, hostarch.ReadExecute, false); err != nil {
		t.Errorf("mprotect of an area: %v", err)
	}
	if err := s.Madvise(end-8*pageSize, page, unix.MADV_DONTNEED); err != nil {
		t.Errorf("madvise: %v", err)
	}
	mustStore(t, g, s, testAddr, 1)
	if err := s.Munmap(end-pageSize, page); err != nil {
		t.Errorf("munmap at the end: %v", err)
	}
	if err := s.Munmap(testAddr, uint64(end-testAddr)); err != nil {
		t.Errorf("munmap of all: %v", err)
	}
	g.check(t, s)
}

// TestPunchless asks for holes in what cannot have any.
func TestPunchless(t *testing.T) {
	mem := newMemory(t)
	s, g := newTestSpace(t, mem)
	f := newTestFile(t, mem, 4)
	defer f.close(t)
	mapAt(t, s, testAddr, 4, MmapOptions{Pager: struct{ memfile.Pager }{f}, Shared: true})
	if err := s.Madvise(testAddr, pageSize, unix.MADV_REMOVE); err != unix.EOPNOTSUPP {
		t.Errorf("%v", err)
	}
	s.Munmap(testAddr, 4*pageSize)
	mapAt(t, s, testAddr+8*pageSize, 4, MmapOptions{Shared: true})
	for i := range hostarch.Addr(4) {
		mustStore(t, g, s, testAddr+(8+i)*pageSize, 1+uint64(i))
	}
	child, c := fork(t, s, g, ForkOptions{})
	if err := s.Madvise(testAddr+9*pageSize, 2*pageSize, unix.MADV_REMOVE); err != nil {
		t.Error(err)
	}
	for i, want := range []uint64{1, 0, 0, 4} {
		mustLoad(t, g, s, testAddr+(8+hostarch.Addr(i))*pageSize, want)
		mustLoad(t, c, child, testAddr+(8+hostarch.Addr(i))*pageSize, want)
	}
	s.Mlock(testAddr+9*pageSize, pageSize, true)
	if err := s.Madvise(testAddr+8*pageSize, 4*pageSize, unix.MADV_REMOVE); err != unix.EINVAL {
		t.Errorf("of locked memory: %v", err)
	}
	if err := s.Msync(testAddr+8*pageSize, 4*pageSize, unix.MS_INVALIDATE); err != unix.EBUSY {
		t.Errorf("msync of locked memory: %v", err)
	}
}
