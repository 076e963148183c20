// Package shm is System V's shared memory (shmget(2), Linux's ipc/shm.c).
//
// A segment is a file without a name, and what a process attaches is a mapping of
// it. An Attachment is the mapped file that the mapping holds on to: how many
// references there are to it is how often the segment is attached, whichever way
// mappings come and go (fork, exec, munmap).
//
// Lock order:
//
//	(an address space)
//	  Manager.mu
//	    the file's locks
package shm

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"runsc-lite/mm/memfile"
	"runsc-lite/sentry/ipc"
	"runsc-lite/sentry/vfs"
)

// Flags and commands.
const (
	HugeTLB   = 0o4000  // SHM_HUGETLB
	NoReserve = 0o10000 // SHM_NORESERVE

	ReadOnly = 0o10000  // SHM_RDONLY
	Round    = 0o20000  // SHM_RND
	Remap    = 0o40000  // SHM_REMAP
	Execute  = 0o100000 // SHM_EXEC

	Lock    = 11 // SHM_LOCK
	Unlock  = 12 // SHM_UNLOCK
	StatIdx = 13 // SHM_STAT
	InfoAll = 14 // SHM_INFO
	StatAny = 15 // SHM_STAT_ANY

	dest   = 0o1000 // SHM_DEST: goes with the last attachment
	locked = 0o2000 // SHM_LOCKED
)

const pageSize = 4096

// sizeofSegment is what a segment costs the sentry besides its memory, in bytes,
// about, and Budget is for all of them.
const (
	sizeofSegment = 1024
	Budget        = 64 << 20
)

// Limits are those of /proc/sys/kernel: bytes of a segment, pages of all, segments.
type Limits struct{ Max, All, IDs atomic.Int64 }

// Config is what a Manager is made of.
type Config struct {
	// NewFile makes a file of that size, in bytes, open for reading and writing.
	NewFile func(size uint64) (*vfs.File, error)
	// Now is CLOCK_REALTIME in seconds.
	Now func() int64
	// Dev is the device number that /proc/PID/maps shows.
	Dev uint64
	// MaxSize is the largest segment that can be made at all, in bytes (ENOMEM).
	MaxSize uint64
	// Budget is what the segments themselves come out of (ENOMEM).
	Budget *ipc.Budget
}

// Manager keeps the segments of an ipc namespace.
type Manager struct {
	cfg    Config
	Limits Limits

	mu    sync.Mutex
	ids   ipc.IDs[*segment]
	pages uint64 // of all segments
}

// New makes a Manager.
func New(c Config) *Manager {
	m := &Manager{cfg: c}
	m.Limits.Max.Store(math.MaxInt64)
	m.Limits.All.Store(math.MaxInt64)
	m.Limits.IDs.Store(4096)
	return m
}

// segment is struct shmid_kernel; all is under Manager.mu.
type segment struct {
	perm       ipc.Perm
	file       *vfs.File
	size       uint64
	attached   uint64
	cpid, lpid int32
	atime      int64
	dtime      int64
	ctime      int64
	name       string
}

func (s *segment) Perms() *ipc.Perm { return &s.perm }

// Get is shmget(2).
func (m *Manager) Get(c *ipc.Caller, key int32, size uint64, flags uint32) (int32, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.ids.GetOr(c, key, flags, func(s *segment) error {
		if size > s.size {
			return unix.EINVAL
		}
		return nil
	}, func() (*segment, error) { return m.create(c, key, size, flags) })
}

func (m *Manager) create(c *ipc.Caller, key int32, size uint64, flags uint32) (*segment, error) {
	if size < 1 || size > uint64(m.Limits.Max.Load()) {
		return nil, unix.EINVAL
	}
	pages := (size + pageSize - 1) / pageSize
	switch {
	case m.pages+pages > uint64(m.Limits.All.Load()):
		return nil, unix.ENOSPC
	case flags&HugeTLB != 0, size > m.cfg.MaxSize:
		return nil, unix.ENOMEM // no huge pages are set aside
	case int64(m.ids.Len()) >= m.Limits.IDs.Load():
		return nil, unix.ENOSPC
	}
	if !m.cfg.Budget.Take(sizeofSegment) {
		return nil, unix.ENOMEM
	}
	f, err := m.cfg.NewFile(size)
	if err != nil {
		m.cfg.Budget.Give(sizeofSegment)
		return nil, err
	}
	s := &segment{file: f, size: size, cpid: c.PID, ctime: m.cfg.Now()}
	if err := m.ids.Add(s, c, key, flags, ipc.MaxIDs); err != nil {
		f.DecRef()
		m.cfg.Budget.Give(sizeofSegment)
		return nil, err
	}
	s.name = fmt.Sprintf("/SYSV%08x (deleted)", uint32(key))
	m.pages += pages
	return s, nil
}

// remove drops a segment that nobody has attached. m.mu is held.
func (m *Manager) remove(s *segment) {
	m.ids.Remove(s)
	m.pages -= (s.size + pageSize - 1) / pageSize
	m.cfg.Budget.Give(sizeofSegment)
	s.file.DecRef()
}

// Attachment is a segment as it is mapped: an mm.MappedFile. Its first reference is
// the caller's of Attach.
type Attachment struct {
	m  *Manager
	s  *segment
	id int32
}

// Size returns the segment's size in bytes.
func (a *Attachment) Size() uint64 { return a.s.size }

// Pager returns the memory.
func (a *Attachment) Pager() (memfile.Pager, error) { return a.s.file.Pager() }

// IncRef implements mm.MappedFile.
func (a *Attachment) IncRef() {
	a.m.mu.Lock()
	a.s.attached++
	a.m.mu.Unlock()
}

// DecRef implements mm.MappedFile (shm_close).
func (a *Attachment) DecRef() {
	m, s := a.m, a.s
	m.mu.Lock()
	defer m.mu.Unlock()
	s.attached--
	s.dtime = m.cfg.Now()
	if s.attached == 0 && s.perm.Mode&dest != 0 {
		m.remove(s)
	}
}

// MappedName implements mm.MappedFile.
func (a *Attachment) MappedName() string { return a.s.name }

// DeviceInode implements mm.MappedFile.
func (a *Attachment) DeviceInode() (dev, ino uint64) { return a.m.cfg.Dev, uint64(a.id) }

// Attach begins shmat(2): flags are its. EINVAL: no such segment. EACCES.
func (m *Manager) Attach(c *ipc.Caller, id int32, flags uint32) (*Attachment, error) {
	want := uint32(ipc.Read | ipc.Write)
	if flags&ReadOnly != 0 {
		want = ipc.Read
	}
	if flags&Execute != 0 {
		want |= ipc.Exec
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	s, err := m.ids.Allowed(c, id, want)
	if err != nil {
		return nil, err
	}
	s.attached++
	s.atime, s.lpid = m.cfg.Now(), c.PID
	return &Attachment{m, s, id}, nil
}

// Of returns the attachment that a mapped file is, nil if it is none.
func Of(f any) *Attachment {
	a, _ := f.(*Attachment)
	return a
}

// Detached notes who detached.
func (a *Attachment) Detached(c *ipc.Caller) {
	a.m.mu.Lock()
	a.s.lpid = c.PID
	a.m.mu.Unlock()
}

// Remove marks a segment to go (IPC_RMID): with the last attachment. EPERM.
func (m *Manager) Remove(c *ipc.Caller, id int32) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	s, err := m.ids.Owned(c, id)
	if err != nil {
		return err
	}
	m.doom(s)
	return nil
}

// doom takes a segment away, or leaves that to the last attachment (do_shm_rmid).
func (m *Manager) doom(s *segment) {
	if s.attached > 0 {
		s.perm.Mode |= dest
		m.ids.Hide(s)
		return
	}
	m.remove(s)
}

// Close removes all segments as Remove does.
func (m *Manager) Close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.ids.All() {
		m.doom(s)
	}
}

// Change is IPC_SET.
func (m *Manager) Change(c *ipc.Caller, id int32, to ipc.Change) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	s, err := m.ids.Change(c, id, to)
	if err != nil {
		return err
	}
	s.ctime = m.cfg.Now()
	return nil
}

// SetLocked is SHM_LOCK and SHM_UNLOCK. Nothing is ever swapped. mayLock tells that
// the caller has CAP_IPC_LOCK, or a limit on locked memory that is not 0.
func (m *Manager) SetLocked(c *ipc.Caller, id int32, on, privileged, mayLock bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	s, err := m.ids.Get(id)
	if err != nil {
		return err
	}
	if !privileged && (c.UID != s.perm.UID && c.UID != s.perm.CUID || on && !mayLock) {
		return unix.EPERM
	}
	s.perm.Mode &^= locked
	if on {
		s.perm.Mode |= locked
	}
	return nil
}

// SizeofStat is sizeof(struct shmid64_ds).
const SizeofStat = 112

// Stat is IPC_STAT, SHM_STAT and SHM_STAT_ANY: it writes struct shmid64_ds, and
// returns the id. The latter two name a segment by its index, and the last asks for
// no permission.
func (m *Manager) Stat(c *ipc.Caller, id, cmd int32, b []byte) (int32, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s, result, err := m.ids.ForStat(c, id, cmd, StatAny)
	if err != nil {
		return 0, err
	}
	le := binary.LittleEndian
	s.perm.Encode(b)
	for i, v := range [...]uint64{s.size, uint64(s.atime), uint64(s.dtime), uint64(s.ctime)} {
		le.PutUint64(b[48+8*i:], v)
	}
	le.PutUint32(b[80:], uint32(s.cpid))
	le.PutUint32(b[84:], uint32(s.lpid))
	le.PutUint64(b[88:], s.attached)
	return result, nil
}

// Info is IPC_INFO (struct shminfo64) and SHM_INFO (struct shm_info); it returns the
// struct, and the highest index.
func (m *Manager) Info(cmd int32) ([]byte, int32) {
	m.mu.Lock()
	defer m.mu.Unlock()
	le := binary.LittleEndian
	if cmd == InfoAll {
		b := make([]byte, 48)
		le.PutUint32(b, uint32(m.ids.Len()))
		le.PutUint64(b[8:], m.pages)
		le.PutUint64(b[16:], m.resident())
		return b, m.ids.MaxIndex()
	}
	b := make([]byte, 72)
	ids := uint64(m.Limits.IDs.Load())
	for i, v := range [...]uint64{uint64(m.Limits.Max.Load()), 1, ids, ids, uint64(m.Limits.All.Load())} {
		le.PutUint64(b[8*i:], v)
	}
	return b, m.ids.MaxIndex()
}

// resident returns how many pages of all segments are in memory. m.mu is held.
func (m *Manager) resident() (n uint64) {
	for _, s := range m.ids.All() {
		n += s.resident() / pageSize
	}
	return n
}

func (s *segment) resident() uint64 {
	st, err := s.file.Stat()
	if err != nil {
		return 0
	}
	return uint64(st.Blocks) * 512
}

// Proc writes /proc/sysvipc/shm.
func (m *Manager) Proc(b *bytes.Buffer) error {
	b.WriteString("       key      shmid perms                  size  cpid  lpid nattch   uid   gid  cuid  cgid      atime      dtime      ctime                   rss                  swap\n")
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.ids.All() {
		p := &s.perm
		fmt.Fprintf(b, "%10d %10d  %4o %21d %5d %5d  %5d %5d %5d %5d %5d %10d %10d %10d %21d %21d\n",
			p.Key, p.ID, p.Mode, s.size, s.cpid, s.lpid, s.attached, p.UID, p.GID, p.CUID, p.CGID,
			s.atime, s.dtime, s.ctime, s.resident(), 0)
	}
	return nil
}
