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
// this order.
type reportQueue struct{ heap[Process, byAge] }

var _ order[Process] = byAge{}

type byAge struct{}

func (byAge) less(a, b *Process) bool { return a.seq < b.seq }
func (byAge) index(p *Process) *int   { return &p.report.index }

// add puts p in, which is in no other queue from then on.
func (q *reportQueue) add(p *Process) {
	if p.report.queue != q {
		p.unreport()
		p.report.queue = q
		q.heap.add(p)
	}
}

// unreport takes p off the queue that it is in.
func (p *Process) unreport() {
	if q := p.report.queue; q != nil {
		p.report.queue = nil
		q.heap.remove(p)
	}
}
