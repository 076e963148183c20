package namespaces

import "sync"

// UTS is a uts namespace: a host and a domain name (uname(2)).
type UTS struct {
	Namespace

	mu           sync.Mutex
	host, domain string
}

// Names returns the host and the domain name.
func (u *UTS) Names() (host, domain string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.host, u.domain
}

// SetHost sets the host name.
func (u *UTS) SetHost(s string) { u.mu.Lock(); u.host = s; u.mu.Unlock() }

// SetDomain sets the domain name.
func (u *UTS) SetDomain(s string) { u.mu.Lock(); u.domain = s; u.mu.Unlock() }
