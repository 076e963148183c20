package hostcall

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"
)

// Netfilter is a socket of NETLINK_NETFILTER. Tables of nftables that are made with
// NFT_TABLE_F_OWNER go away with it.
type Netfilter struct{ fd int }

// NewNetfilter makes a socket in the network namespace of the calling thread.
func NewNetfilter() (*Netfilter, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, err
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	return &Netfilter{fd}, nil
}

// Batch sends messages that are executed all or not at all. acks is how many of them
// have NLM_F_ACK; the first error that one of them gets is returned.
func (n *Netfilter) Batch(messages []byte, acks int) error {
	if err := unix.Sendto(n.fd, messages, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	b := make([]byte, 64<<10)
	for acks > 0 {
		k, err := retryEINTR(func() (int, error) {
			k, _, err := unix.Recvfrom(n.fd, b, 0)
			return k, err
		})
		if err != nil {
			return err
		}
		for rest := b[:k]; len(rest) >= unix.SizeofNlMsghdr+4; acks-- {
			size := int(binary.LittleEndian.Uint32(rest))
			if binary.LittleEndian.Uint16(rest[4:]) != unix.NLMSG_ERROR || size < unix.SizeofNlMsghdr+4 || size > len(rest) {
				return fmt.Errorf("an answer that is none: % x", rest)
			}
			if e := int32(binary.LittleEndian.Uint32(rest[unix.SizeofNlMsghdr:])); e != 0 {
				return unix.Errno(-e)
			}
			rest = rest[min((size+3)&^3, len(rest)):]
		}
	}
	return nil
}

// Close closes the socket.
func (n *Netfilter) Close() { _ = unix.Close(n.fd) }
