package procmgr

// links makes a Process an element of its parent's list of children; the list
// itself allocates nothing.
type links struct{ prev, next *Process }

type childList struct{ first, last *Process }

func (l *childList) add(p *Process) {
	p.sibling = links{prev: l.last}
	if l.last != nil {
		l.last.sibling.next = p
	} else {
		l.first = p
	}
	l.last = p
}

func (l *childList) remove(p *Process) {
	if p.sibling.prev != nil {
		p.sibling.prev.sibling.next = p.sibling.next
	} else {
		l.first = p.sibling.next
	}
	if p.sibling.next != nil {
		p.sibling.next.sibling.prev = p.sibling.prev
	} else {
		l.last = p.sibling.prev
	}
	p.sibling = links{}
}

// report is what a parent has not collected yet about a child: the child is in
// the parent's ready queue while there is something.
type report struct {
	queued     bool
	prev, next *Process

	stopped   uint32 // wait status of a stop; 0: none
	continued bool
}

// childQueue holds the children that Wait has something to collect from, in the
// order in which it happened.
type childQueue struct{ first, last *Process }

func (q *childQueue) add(p *Process) {
	if p.report.queued {
		return
	}
	p.report.queued = true
	p.report.prev, p.report.next = q.last, nil
	if q.last != nil {
		q.last.report.next = p
	} else {
		q.first = p
	}
	q.last = p
}

func (q *childQueue) remove(p *Process) {
	if !p.report.queued {
		return
	}
	if p.report.prev != nil {
		p.report.prev.report.next = p.report.next
	} else {
		q.first = p.report.next
	}
	if p.report.next != nil {
		p.report.next.report.prev = p.report.prev
	} else {
		q.last = p.report.prev
	}
	p.report.prev, p.report.next, p.report.queued = nil, nil, false
}

// links2 makes a Process an element of its process group.
type links2 struct{ prev, next *Process }

type memberList struct{ first, last *Process }

func (l *memberList) add(p *Process) {
	p.peer = links2{prev: l.last}
	if l.last != nil {
		l.last.peer.next = p
	} else {
		l.first = p
	}
	l.last = p
}

func (l *memberList) remove(p *Process) {
	if p.peer.prev != nil {
		p.peer.prev.peer.next = p.peer.next
	} else {
		l.first = p.peer.next
	}
	if p.peer.next != nil {
		p.peer.next.peer.prev = p.peer.prev
	} else {
		l.last = p.peer.prev
	}
	p.peer = links2{}
}
