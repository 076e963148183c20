package hostnet_test

import (
	"net"

	"gvisor.dev/gvisor/pkg/tcpip"

	"runsc-lite/sentry/socket"
	"runsc-lite/sentry/vfs"
)

// caller is a process of root's.
type caller struct{}

func (*caller) FS() *vfs.Caller            { return &vfs.Caller{Creds: vfs.RootCreds()} }
func (*caller) Cred() socket.Cred          { return socket.Cred{PID: 1} }
func (c *caller) RealCred() socket.Cred    { return c.Cred() }
func (*caller) MayClaim(socket.Cred) error { return nil }
func (*caller) Capable(uint) bool          { return true }
func (*caller) Space() any                 { return nil }
func (*caller) MaxFiles() uint64           { return 1024 }

func addrOf(ip [4]byte) tcpip.Address { return tcpip.AddrFrom4(ip) }

func addressOf(mac net.HardwareAddr) tcpip.LinkAddress { return tcpip.LinkAddress(mac) }
