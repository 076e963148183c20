package hostnet

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"runsc-lite/hostcall"
)

// The guard keeps the host's stack out of what is for the sandbox. Both get each
// packet of the namespace's interfaces: the sandbox by its packet sockets, which
// come before netfilter; the host's stack through netfilter, whose tables drop
// nearly all of it. They belong to a socket, go away with it, and cannot be had
// twice: a namespace belongs to one sandbox.
//
// What is left to the host's stack is what it needs for connections of its own,
// those of Docker's resolver to its upstream servers: answers of ARP and neighbour
// discovery, and TCP and UDP to the last 256 ports. They are the range of local
// ports that the namespace has from now on, and packet sockets do not get them
// (wanted), so that they have one owner. A server in the sandbox cannot be
// reached there from outside.
type guard struct{ socket *hostcall.Netfilter }

const (
	reservedPorts = "65280 65535"
	// reservedHigh is the high byte of these ports, and of no other.
	reservedHigh = 0xff

	// skfAdIfindex is where a packet filter finds the index of the interface
	// (SKF_AD_OFF + SKF_AD_IFINDEX).
	skfAdIfindex = 0xfffff000 + 8
)

// newGuard runs in the namespace.
func newGuard() (_ *guard, err error) {
	if err := hostcall.SetSysctl("net/ipv4/ip_local_port_range", reservedPorts); err != nil {
		return nil, fmt.Errorf("setting the range of local ports of the network namespace: %w", err)
	}
	g := &guard{}
	if g.socket, err = hostcall.NewNetfilter(); err != nil {
		return nil, fmt.Errorf("opening netfilter's netlink: %w", err)
	}
	b := guardBatch()
	switch err := g.socket.Batch(b.out, b.acks); {
	case errors.Is(err, unix.EEXIST), errors.Is(err, unix.EPERM):
		g.close()
		return nil, fmt.Errorf("another sandbox has this network namespace: its guard is there (%w)", err)
	case err != nil:
		g.close()
		return nil, fmt.Errorf("setting the tables that keep the host's network stack from answering for the sandbox (nf_tables, Linux 5.12 or later): %w", err)
	}
	return g, nil
}

func (g *guard) close() { g.socket.Close() }

// guardBatch lays the tables out.
func guardBatch() *batch {
	const name = "runsc-lite"
	be16 := func(n uint16) []byte { return binary.BigEndian.AppendUint16(nil, n) }
	b := &batch{}
	b.edge(nfnlBatchBegin)
	b.table(nfprotoInet, name)
	// Before connection tracking, which begins at -400 with defragmentation.
	b.chain(nfprotoInet, name, "in", unix.NF_INET_PRE_ROUTING, -450)
	b.rule(nfprotoInet, name, "in", meta(unix.NFT_META_IIF), equal(binary.LittleEndian.AppendUint32(nil, 1)), accept()) // lo
	for _, protocol := range [...]byte{unix.IPPROTO_TCP, unix.IPPROTO_UDP} {
		b.rule(nfprotoInet, name, "in", meta(unix.NFT_META_L4PROTO), equal([]byte{protocol}),
			payload(unix.NFT_PAYLOAD_TRANSPORT_HEADER, 2, 1), equal([]byte{reservedHigh}), accept())
	}
	const routerAdvert, neighborAdvert = 134, 136
	for _, typ := range [...]byte{routerAdvert, neighborAdvert} {
		b.rule(nfprotoInet, name, "in", meta(unix.NFT_META_L4PROTO), equal([]byte{unix.IPPROTO_ICMPV6}),
			payload(unix.NFT_PAYLOAD_TRANSPORT_HEADER, 0, 1), equal([]byte{typ}), accept())
	}
	const arpReply = 2
	b.table(nfprotoARP, name)
	b.chain(nfprotoARP, name, "in", nfARPIn, 0)
	b.rule(nfprotoARP, name, "in", payload(unix.NFT_PAYLOAD_NETWORK_HEADER, 6, 2), equal(be16(arpReply)), accept())
	b.edge(nfnlBatchEnd)
	return b
}

// wanted is a packet filter: all but what lo has, and TCP and UDP to the reserved
// ports, in frames of Ethernet.
var wanted = []unix.SockFilter{
	{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: skfAdIfindex},
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: 1, Jf: 1},
	{Code: unix.BPF_RET | unix.BPF_K, K: 0},
	/*  0 */ {Code: unix.BPF_LD | unix.BPF_H | unix.BPF_ABS, K: 12}, // the type
	/*  1 */ {Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.ETH_P_IPV6, Jt: 8},
	/*  2 */ {Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.ETH_P_IP, Jf: 13},
	/*  3 */ {Code: unix.BPF_LD | unix.BPF_H | unix.BPF_ABS, K: 20}, // the fragment's offset
	/*  4 */ {Code: unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, K: 0x1fff, Jt: 11},
	/*  5 */ {Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: 23}, // the protocol
	/*  6 */ {Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.IPPROTO_TCP, Jt: 1},
	/*  7 */ {Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.IPPROTO_UDP, Jf: 8},
	/*  8 */ {Code: unix.BPF_LDX | unix.BPF_B | unix.BPF_MSH, K: 14}, // the header's length
	/*  9 */ {Code: unix.BPF_JMP | unix.BPF_JA, K: 4},
	/* 10 */ {Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: 20}, // the next header
	/* 11 */ {Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.IPPROTO_TCP, Jt: 1},
	/* 12 */ {Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.IPPROTO_UDP, Jf: 3},
	/* 13 */ {Code: unix.BPF_LDX | unix.BPF_IMM, K: 40},
	/* 14 */ {Code: unix.BPF_LD | unix.BPF_B | unix.BPF_IND, K: 14 + 2}, // the port's high byte
	/* 15 */ {Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: reservedHigh, Jt: 1},
	/* 16 */ {Code: unix.BPF_RET | unix.BPF_K, K: 0xffffffff},
	/* 17 */ {Code: unix.BPF_RET | unix.BPF_K, K: 0},
}
