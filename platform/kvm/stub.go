package kvm

import "encoding/binary"

// A vCPU has four pages, in the kernel's half of every address space and out of
// reach of ring 3:
//
//	code   the stub, made below: the same for each vCPU
//	data   what the stub and the sentry tell each other; GDT and TSS
//	idt    the interrupt descriptor table
//	stack  where the processor pushes the frame of an exception
//
// The stub reaches its data relative to RIP, so that an entry needs neither
// SWAPGS nor a stack. There are two, as the probe decides. Where ring 0 is the
// processor's, it saves what the sentry would have to ask the host for, and loads
// what it would have to set; where ring 0 is emulated, an instruction at a time,
// it is as short as it can be.
const (
	areaPages   = 4
	areaSize    = areaPages * pageSize
	codePage    = 0
	dataPage    = 1
	idtPage     = 2
	stackPage   = 3
	kernelBase  = 0xffffff8000000000 // the last entry of the root table
	entryStride = 64                 // bytes of an entry point

	// The port of the OUT that ends an entry says which it was. Hosts treat
	// some ports in a way of their own (0x7e, 0x80); these they do not.
	portException = 0xa0 // + vector
	portSyscall   = 0xc0
	portCompat    = 0xc1 // SYSCALL of 32-bit code

	vectors     = 32
	entryCompat = vectors * entryStride
	entryCall   = entryCompat + entryStride
	// From here on, instructions lead into the guest.
	resumeBegin = entryCall + 2*entryStride

	// maxAnswers is above the numbers of calls that the stub answers: as many as
	// there are bytes, so that no index, not even one of speculation, is larger.
	maxAnswers = 256
)

// resume are the places where the stub is entered.
type resume struct {
	space  uint64 // load CR3 and the bases, return
	bases  uint64 // load the bases, return
	iret   uint64 // return by IRETQ
	sysret uint64 // return by SYSRETQ

	// The entry of SYSCALL up to ask looks for an answer, and from holds on has
	// the guest's RCX in the data page.
	holds, ask uint64
}

// vcpuData is the data page.
type vcpuData struct {
	// The stub's, when it was entered.
	rax, cr2, fsBase, gsBase uint64
	// The sentry's, to be loaded.
	newCR3, newFS, newGS, newRAX uint64
	rcx                          uint64 // the stub's, while it looks for an answer
	_                            [23]uint64
	gdt                          [gdtEntries]uint64
	_                            [16 - gdtEntries]uint64
	tss                          [tssSize]byte
	_                            [answersAt - tssAt - tssSize]byte
	// The sentry's: what a call returns, by its number, plus 1; 0 if it is for
	// the sentry to answer.
	answers [maxAnswers]uint64
}

const (
	offRAX    = dataPage*pageSize + 0
	offCR2    = dataPage*pageSize + 8
	offFS     = dataPage*pageSize + 16
	offGS     = dataPage*pageSize + 24
	offNewCR3 = dataPage*pageSize + 32
	offNewFS  = dataPage*pageSize + 40
	offNewGS  = dataPage*pageSize + 48
	offNewRAX = dataPage*pageSize + 56
	offRCX    = dataPage*pageSize + 64
	offGDT    = dataPage*pageSize + 256
	offTSS    = dataPage*pageSize + tssAt

	offAnswers = dataPage*pageSize + answersAt

	tssAt     = 256 + 16*8
	tssSize   = 104
	answersAt = pageSize - 8*maxAnswers
)

// frame is what is at the end of the stack page after an exception, and what
// IRETQ takes from there.
type frame struct {
	errorCode                uint64
	rip, cs, rflags, rsp, ss uint64
}

const frameRIP = areaSize - 5*8 // offset of frame.rip in the area

// assembler puts machine code into a page.
type assembler struct {
	page []byte
	at   int
}

func (a *assembler) bytes(b ...byte) {
	copy(a.page[a.at:], b)
	a.at += len(b)
}

// relative ends an instruction with the distance to a place in the area.
func (a *assembler) relative(to int, op ...byte) {
	a.bytes(op...)
	var d [4]byte
	binary.LittleEndian.PutUint32(d[:], uint32(to-(a.at+4)))
	a.bytes(d[:]...)
}

func (a *assembler) storeRAX(to int)  { a.relative(to, 0x48, 0x89, 0x05) }      // mov [to], rax
func (a *assembler) loadRAX(from int) { a.relative(from, 0x48, 0x8b, 0x05) }    // mov rax, [from]
func (a *assembler) readCR2()         { a.bytes(0x0f, 0x20, 0xd0) }             // mov rax, cr2
func (a *assembler) writeCR3()        { a.bytes(0x0f, 0x22, 0xd8) }             // mov cr3, rax
func (a *assembler) readFS()          { a.bytes(0xf3, 0x48, 0x0f, 0xae, 0xc0) } // rdfsbase rax
func (a *assembler) readGS()          { a.bytes(0xf3, 0x48, 0x0f, 0xae, 0xc8) } // rdgsbase rax
func (a *assembler) writeFS()         { a.bytes(0xf3, 0x48, 0x0f, 0xae, 0xd0) } // wrfsbase rax
func (a *assembler) writeGS()         { a.bytes(0xf3, 0x48, 0x0f, 0xae, 0xd8) } // wrgsbase rax
func (a *assembler) out(port byte)    { a.bytes(0xe6, port) }                   // out port, al
func (a *assembler) iretq()           { a.bytes(0x48, 0xcf) }
func (a *assembler) sysretq()         { a.bytes(0x48, 0x0f, 0x07) }

// nullSelectors takes away what another guest thread had loaded: DS, ES, FS, GS.
func (a *assembler) nullSelectors() {
	a.bytes(0x31, 0xc0) // xor eax, eax
	a.bytes(0x8e, 0xd8) // mov ds, eax
	a.bytes(0x8e, 0xc0) // mov es, eax
	a.bytes(0x8e, 0xe0) // mov fs, eax
	a.bytes(0x8e, 0xe8) // mov gs, eax
}

// jump ends an instruction with the distance to a place that is not known yet;
// land says that it is here.
func (a *assembler) jump(op byte) (from int) {
	a.bytes(op, 0)
	return a.at
}

func (a *assembler) land(from int) { a.page[from-1] = byte(a.at - from) }

// answer looks for an answer to the call whose number is in RAX, which was stored,
// and returns with it. A guest that is to be stepped (TF in R11) goes to the sentry,
// as it does after all that SYSRETQ does not do. RCX is an address behind an
// instruction of the guest's, and so one that SYSRETQ takes (see maxAddress).
func (a *assembler) answer() (holds int) {
	imm := func(v uint32) []byte { return binary.LittleEndian.AppendUint32(nil, v) }
	a.bytes(append([]byte{0x48, 0x3d}, imm(maxAnswers)...)...)   // cmp rax, maxAnswers
	high := a.jump(0x73)                                         // jae
	a.bytes(append([]byte{0x41, 0xf7, 0xc3}, imm(flagTF)...)...) // test r11d, TF
	stepped := a.jump(0x75)                                      // jnz
	a.relative(offRCX, 0x48, 0x89, 0x0d)                         // mov [rcx], rcx
	holds = a.at
	a.relative(offAnswers, 0x48, 0x8d, 0x0d) // lea rcx, [answers]
	a.bytes(0x0f, 0xb6, 0xc0)                // movzx eax, al
	a.bytes(0x48, 0x8b, 0x04, 0xc1)          // mov rax, [rcx+rax*8]
	a.relative(offRCX, 0x48, 0x8b, 0x0d)     // mov rcx, [rcx]
	a.bytes(0x48, 0x85, 0xc0)                // test rax, rax
	none := a.jump(0x74)                     // jz
	a.bytes(0x48, 0xff, 0xc8)                // dec rax
	a.sysretq()
	a.land(high)
	a.land(stepped)
	a.land(none)
	return holds
}

// writeStub writes the code page. bases says that the stub keeps the segment
// bases and CR2: the processor's ring 0. answers says that it answers calls.
func writeStub(page []byte, base uint64, bases, answers bool) resume {
	for i := range page {
		page[i] = 0xf4 // hlt
	}
	a := &assembler{page: page}
	var r resume
	entry := func(at int, port byte) {
		a.at = at
		if answers && at == entryCall {
			a.storeRAX(offRAX)
			r.holds = base + uint64(a.answer())
			r.ask = base + uint64(a.at)
		} else if bases {
			a.storeRAX(offRAX)
		}
		if bases {
			a.readCR2()
			a.storeRAX(offCR2)
			a.readFS()
			a.storeRAX(offFS)
			a.readGS()
			a.storeRAX(offGS)
		}
		a.out(port)
	}
	for v := range vectors {
		entry(v*entryStride, byte(portException+v))
	}
	entry(entryCall, portSyscall)
	entry(entryCompat, portCompat)

	a.at = resumeBegin
	r.space = base + uint64(a.at)
	a.loadRAX(offNewCR3)
	a.writeCR3()
	if bases {
		a.nullSelectors()
		r.bases = base + uint64(a.at)
		a.loadRAX(offNewFS)
		a.writeFS()
		a.loadRAX(offNewGS)
		a.writeGS()
	}
	a.loadRAX(offNewRAX)
	r.iret = base + uint64(a.at)
	a.iretq()
	r.sysret = base + uint64(a.at)
	a.sysretq()
	return r
}

// Selectors. STAR wants user code 32, user data, user code 64 in a row.
const (
	kernelCS   = 0x10
	kernelSS   = 0x18
	compatCS   = 0x23
	userSS     = 0x2b
	userCS     = 0x33
	tssSel     = 0x38
	gdtEntries = 9
)

// writeTables writes GDT, TSS and IDT of a vCPU whose area is at base.
func writeTables(d *vcpuData, idt []byte, base uint64) {
	d.gdt = [gdtEntries]uint64{
		kernelCS >> 3: 0x00af9b000000ffff,
		kernelSS >> 3: 0x00cf93000000ffff,
		compatCS >> 3: 0x00cffb000000ffff,
		userSS >> 3:   0x00cff3000000ffff,
		userCS >> 3:   0x00affb000000ffff,
	}
	tss := base + offTSS
	d.gdt[tssSel>>3] = (tssSize - 1) | tss&0xffffff<<16 | 0x89<<40 | tss>>24&0xff<<56
	d.gdt[tssSel>>3+1] = tss >> 32
	le := binary.LittleEndian
	clear(d.tss[:])
	le.PutUint64(d.tss[4:], base+areaSize)  // RSP0
	le.PutUint64(d.tss[36:], base+areaSize) // IST1
	le.PutUint16(d.tss[102:], tssSize)      // no I/O permissions
	clear(idt)
	for v := range vectors {
		// Interrupt gates on stack IST1: always the same place, whatever RSP was.
		typ := uint64(0x8e)
		if v == vectorBreakpoint || v == vectorOverflow {
			typ = 0xee // guests may raise these
		}
		at := base + uint64(v*entryStride)
		le.PutUint64(idt[16*v:], at&0xffff|kernelCS<<16|1<<32|typ<<40|at>>16&0xffff<<48)
		le.PutUint64(idt[16*v+8:], at>>32)
	}
}
