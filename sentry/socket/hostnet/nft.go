package hostnet

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// Values of linux/netfilter/nfnetlink.h and nf_tables.h that x/sys/unix lacks.
const (
	nfnlBatchBegin = 0x10
	nfnlBatchEnd   = 0x11
	nfprotoInet    = 1
	nfprotoARP     = 3
	nfARPIn        = 0
	tableOwner     = 2 // NFT_TABLE_F_OWNER
	policyDrop     = 0
	verdictAccept  = 1
	registerOne    = 1
)

// batch lays out messages for nftables (nfnetlink's batches).
type batch struct {
	out  []byte
	acks int
	seq  uint32
}

// message adds one. body begins with what follows struct nfgenmsg.
func (b *batch) message(typ, flags uint16, family byte, resource uint16, body []byte) {
	at := len(b.out)
	b.out = binary.LittleEndian.AppendUint32(b.out, 0)
	b.out = binary.LittleEndian.AppendUint16(b.out, typ)
	b.out = binary.LittleEndian.AppendUint16(b.out, unix.NLM_F_REQUEST|flags)
	b.out = binary.LittleEndian.AppendUint32(b.out, b.seq)
	b.out = binary.LittleEndian.AppendUint32(b.out, 0)
	b.out = append(b.out, family, 0)
	b.out = binary.BigEndian.AppendUint16(b.out, resource)
	b.out = append(b.out, body...)
	binary.LittleEndian.PutUint32(b.out[at:], uint32(len(b.out)-at))
	b.seq++
	if flags&unix.NLM_F_ACK != 0 {
		b.acks++
	}
}

// edge begins or ends the batch.
func (b *batch) edge(typ uint16) { b.message(typ, 0, unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES, nil) }

func (b *batch) make(typ uint16, flags uint16, family byte, body ...[]byte) {
	b.message(unix.NFNL_SUBSYS_NFTABLES<<8|typ, unix.NLM_F_CREATE|unix.NLM_F_ACK|flags, family, 0, concat(body))
}

// table makes a table that belongs to the socket: EEXIST.
func (b *batch) table(family byte, name string) {
	b.make(unix.NFT_MSG_NEWTABLE, unix.NLM_F_EXCL, family,
		text(unix.NFTA_TABLE_NAME, name), number(unix.NFTA_TABLE_FLAGS, tableOwner))
}

// chain makes a filter that drops what no rule accepts.
func (b *batch) chain(family byte, table, name string, hook uint32, priority int32) {
	b.make(unix.NFT_MSG_NEWCHAIN, 0, family,
		text(unix.NFTA_CHAIN_TABLE, table), text(unix.NFTA_CHAIN_NAME, name), text(unix.NFTA_CHAIN_TYPE, "filter"),
		nest(unix.NFTA_CHAIN_HOOK, number(unix.NFTA_HOOK_HOOKNUM, hook), number(unix.NFTA_HOOK_PRIORITY, uint32(priority))),
		number(unix.NFTA_CHAIN_POLICY, policyDrop))
}

// rule adds a rule.
func (b *batch) rule(family byte, table, chain string, expressions ...[]byte) {
	b.make(unix.NFT_MSG_NEWRULE, unix.NLM_F_APPEND, family,
		text(unix.NFTA_RULE_TABLE, table), text(unix.NFTA_RULE_CHAIN, chain), nest(unix.NFTA_RULE_EXPRESSIONS, expressions...))
}

func expression(name string, attrs ...[]byte) []byte {
	return nest(unix.NFTA_LIST_ELEM, text(unix.NFTA_EXPR_NAME, name), nest(unix.NFTA_EXPR_DATA, attrs...))
}

// meta loads what netfilter knows of a packet.
func meta(key uint32) []byte {
	return expression("meta", number(unix.NFTA_META_KEY, key), number(unix.NFTA_META_DREG, registerOne))
}

// payload loads bytes of it.
func payload(base, offset, length uint32) []byte {
	return expression("payload", number(unix.NFTA_PAYLOAD_DREG, registerOne), number(unix.NFTA_PAYLOAD_BASE, base),
		number(unix.NFTA_PAYLOAD_OFFSET, offset), number(unix.NFTA_PAYLOAD_LEN, length))
}

// equal goes on only if what was loaded is this.
func equal(value []byte) []byte {
	return expression("cmp", number(unix.NFTA_CMP_SREG, registerOne), number(unix.NFTA_CMP_OP, unix.NFT_CMP_EQ),
		nest(unix.NFTA_CMP_DATA, attribute(unix.NFTA_DATA_VALUE, value)))
}

// accept ends the rule.
func accept() []byte {
	return expression("immediate", number(unix.NFTA_IMMEDIATE_DREG, unix.NFT_REG_VERDICT),
		nest(unix.NFTA_IMMEDIATE_DATA, nest(unix.NFTA_DATA_VERDICT, number(unix.NFTA_VERDICT_CODE, verdictAccept))))
}

func attribute(typ uint16, data []byte) []byte {
	b := binary.LittleEndian.AppendUint16(nil, uint16(4+len(data)))
	b = append(binary.LittleEndian.AppendUint16(b, typ), data...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

func text(typ uint16, s string) []byte { return attribute(typ, append([]byte(s), 0)) }

func number(typ uint16, n uint32) []byte {
	return attribute(typ, binary.BigEndian.AppendUint32(nil, n))
}

func nest(typ uint16, attrs ...[]byte) []byte {
	return attribute(typ|unix.NLA_F_NESTED, concat(attrs))
}

func concat(parts [][]byte) (all []byte) {
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}
