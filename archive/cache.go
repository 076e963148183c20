package archive

import "sync"

// recentBlocks is how many decompressed blocks are kept: small files share them,
// and reading a large one in small steps comes back to the same.
const recentBlocks = 32

// blockCache holds the blocks used last.
type blockCache struct {
	mu    sync.Mutex
	slots [recentBlocks]struct {
		number uint32
		used   uint64
		data   []byte
	}
	clock uint64
}

// get returns a block, which nobody changes, and makes it if it is not there.
func (c *blockCache) get(number uint32, load func() ([]byte, error)) ([]byte, error) {
	c.mu.Lock()
	c.clock++
	for i := range c.slots {
		if s := &c.slots[i]; s.data != nil && s.number == number {
			s.used = c.clock
			defer c.mu.Unlock()
			return s.data, nil
		}
	}
	c.mu.Unlock()
	data, err := load()
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	oldest := &c.slots[0]
	for i := range c.slots {
		if s := &c.slots[i]; s.used < oldest.used {
			oldest = s
		}
	}
	oldest.number, oldest.used, oldest.data = number, c.clock, data
	return data, nil
}

// keptPages remembers which pages of the index are in memory: 32 MiB of them at
// most, whatever size an archive gives its index.
type keptPages struct {
	mu    sync.Mutex
	ring  []uint64
	first int
}

const maxKept = 1024

// add says which page has to go for one that has come.
func (k *keptPages) add(page uint64) (old uint64, full bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.ring) < maxKept {
		k.ring = append(k.ring, page)
		return 0, false
	}
	old = k.ring[k.first]
	k.ring[k.first] = page
	k.first = (k.first + 1) % maxKept
	return old, old != page
}
