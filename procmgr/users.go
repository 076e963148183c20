package procmgr

// user counts what a user's processes hold, for RLIMIT_NPROC and
// RLIMIT_SIGPENDING (struct ucounts). It is under Table.userMu.
type user struct {
	uid     uint32
	threads int
	pending int
}

// chargeUser counts one thread more of a user, and returns how many there are now.
func (tb *Table) chargeUser(uid uint32) (*user, uint64) {
	tb.userMu.Lock()
	defer tb.userMu.Unlock()
	u := tb.users[uid]
	if u == nil {
		u = &user{uid: uid}
		tb.users[uid] = u
	}
	u.threads++
	return u, uint64(u.threads)
}

// chargeThread changes how many threads a user has.
func (tb *Table) chargeThread(u *user, n int) {
	tb.userMu.Lock()
	defer tb.userMu.Unlock()
	u.threads += n
	tb.forget(u)
}

// chargePending counts a queued signal of a user, unless that makes more than
// limit.
func (tb *Table) chargePending(u *user, limit uint64) bool {
	tb.userMu.Lock()
	defer tb.userMu.Unlock()
	if uint64(u.pending) >= limit {
		return false
	}
	u.pending++
	return true
}

func (tb *Table) dischargePending(u *user) {
	tb.userMu.Lock()
	defer tb.userMu.Unlock()
	u.pending--
	tb.forget(u)
}

// forget drops a user that has nothing: there are four thousand million ids that a
// guest could try.
func (tb *Table) forget(u *user) {
	if u.threads == 0 && u.pending == 0 {
		delete(tb.users, u.uid)
	}
}

// threadsOf returns how many threads a user has.
func (tb *Table) threadsOf(u *user) uint64 {
	tb.userMu.Lock()
	defer tb.userMu.Unlock()
	return uint64(u.threads)
}

// PendingSignals returns how many signals are queued for processes of a user
// (SigQ in /proc/PID/status).
func (tb *Table) PendingSignals(uid uint32) int {
	tb.userMu.Lock()
	defer tb.userMu.Unlock()
	if u := tb.users[uid]; u != nil {
		return u.pending
	}
	return 0
}
