package procmgr

// links makes an object an element of a list; the list itself allocates nothing.
type links[T any] struct{ prev, next *T }

// list is a doubly linked list. Its methods are told where in an element the links
// are.
type list[T any] struct{ first, last *T }

func (l *list[T]) add(e *T, at func(*T) *links[T]) {
	*at(e) = links[T]{prev: l.last}
	if l.last != nil {
		at(l.last).next = e
	} else {
		l.first = e
	}
	l.last = e
}

func (l *list[T]) remove(e *T, at func(*T) *links[T]) {
	k := at(e)
	if k.prev != nil {
		at(k.prev).next = k.next
	} else {
		l.first = k.next
	}
	if k.next != nil {
		at(k.next).prev = k.prev
	} else {
		l.last = k.prev
	}
	*k = links[T]{}
}

// A process is in the list of children of the thread that forked it, and in its
// process group; a thread in Wait is in the list of waiters of its process.
func sibling(p *Process) *links[Process]   { return &p.sibling }
func peer(p *Process) *links[Process]      { return &p.peer }
func waiterLinks(t *Thread) *links[Thread] { return &t.wait.links }

// report is what a parent has not collected yet about a child.
type report struct {
	queue *reportQueue // of the parent; nil: there is nothing
	index int

	stopped   uint32 // wait status of a stop that lasts; 0: none
	continued bool
}

// reportQueue holds children that Wait has something to collect from. The one that
// became a child first is at the front: Linux's do_wait goes through the children in
// this order. It is a binary heap.
type reportQueue struct{ heap []*Process }

func (q *reportQueue) first() *Process {
	if len(q.heap) == 0 {
		return nil
	}
	return q.heap[0]
}

// add puts p in, which is in no other queue from then on.
func (q *reportQueue) add(p *Process) {
	if p.report.queue == q {
		return
	}
	p.unreport()
	p.report.queue = q
	q.heap = append(q.heap, p)
	q.up(len(q.heap)-1, p)
}

func (q *reportQueue) remove(p *Process) {
	i, n := p.report.index, len(q.heap)-1
	p.report.queue = nil
	moved := q.heap[n]
	q.heap[n] = nil
	q.heap = q.heap[:n]
	if n == 0 && cap(q.heap) > 64 {
		q.heap = nil // who once had many children does not keep the memory
	}
	if i < n {
		q.down(q.up(i, moved), moved)
	}
}

// up moves p, which belongs at i or nearer to the front, to its place.
func (q *reportQueue) up(i int, p *Process) int {
	for i > 0 {
		above := (i - 1) / 2
		if q.heap[above].seq <= p.seq {
			break
		}
		q.set(i, q.heap[above])
		i = above
	}
	q.set(i, p)
	return i
}

func (q *reportQueue) down(i int, p *Process) {
	for {
		below := 2*i + 1
		if below >= len(q.heap) {
			break
		}
		if below+1 < len(q.heap) && q.heap[below+1].seq < q.heap[below].seq {
			below++
		}
		if p.seq <= q.heap[below].seq {
			break
		}
		q.set(i, q.heap[below])
		i = below
	}
	q.set(i, p)
}

func (q *reportQueue) set(i int, p *Process) {
	q.heap[i] = p
	p.report.index = i
}

// unreport takes p off the queue that it is in.
func (p *Process) unreport() {
	if q := p.report.queue; q != nil {
		q.remove(p)
	}
}
