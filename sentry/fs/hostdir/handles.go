package hostdir

import (
	"container/list"
	"sync"

	"golang.org/x/sys/unix"
	"runsc-lite/hostcall"
)

// handles keeps O_PATH descriptors of the directories used last.
type handles struct {
	mu    sync.Mutex
	limit int
	m     map[*node]*handle
	lru   list.List // of *handle that are in m, the least recently used in front
}

// handle is an open directory. It is closed when it has fallen out of the cache
// and nobody uses it.
type handle struct {
	n     *node
	fd    int
	users int // under handles.mu, like all below
	at    *list.Element
	root  bool
}

func (c *handles) pinRoot(n *node, fd int) {
	c.m = map[*node]*handle{n: {n: n, fd: fd, root: true}}
}

// find returns the cached handle with one more user.
func (c *handles) find(n *node) *handle {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := c.m[n]
	if h != nil {
		h.users++
		if h.at != nil {
			c.lru.MoveToBack(h.at)
		}
	}
	return h
}

// get returns a handle of the directory n; put gives it back. Directories on
// the way to n are opened as needed.
func (c *handles) get(n *node) (*handle, error) {
	if h := c.find(n); h != nil {
		return h, nil
	}
	if n.parent == nil {
		return nil, unix.EBADF // closed
	}
	fd, err := n.open(unix.O_PATH | unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.m == nil {
		hostcall.CloseFD(fd)
		return nil, unix.EBADF
	}
	if h := c.m[n]; h != nil { // somebody was faster
		hostcall.CloseFD(fd)
		h.users++
		return h, nil
	}
	h := &handle{n: n, fd: fd, users: 1}
	c.m[n] = h
	h.at = c.lru.PushBack(h)
	for c.lru.Len() > c.limit {
		c.drop(c.lru.Front().Value.(*handle))
	}
	return h, nil
}

// drop takes h out of the cache. c.mu is held.
func (c *handles) drop(h *handle) {
	delete(c.m, h.n)
	if h.at != nil {
		c.lru.Remove(h.at)
		h.at = nil
	}
	h.n = nil
	if h.users == 0 {
		hostcall.CloseFD(h.fd)
	}
}

func (c *handles) put(h *handle) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if h.users--; h.users == 0 && h.n == nil {
		hostcall.CloseFD(h.fd)
	}
}

func (c *handles) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, h := range c.m {
		c.drop(h)
	}
	c.m = nil
}
