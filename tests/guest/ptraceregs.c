// ptrace(2): registers and memory of tracees.
#include "ptracee.h"

static volatile long shared_word = 41;

static void returns_word(void) { _exit(shared_word); }

static const char constant[16] = "constant";

static void memory(void) {
  pid_t pid = tracee(returns_word);
  long v;
  P(PTRACE_PEEKDATA, pid, &shared_word, &v);
  EQ(41, v);
  P(PTRACE_POKEDATA, pid, &shared_word, 42);
  EQ(41, shared_word);
  // What is mapped read-only can be changed as well, in the tracee alone.
  P(PTRACE_POKETEXT, pid, constant, 0x4141414141414141);
  P(PTRACE_PEEKTEXT, pid, constant, &v);
  EQ(0x4141414141414141, v);
  EQ('c', constant[0]);
  P(PTRACE_CONT, pid, 0, 0);
  EXITS(42, pid);
}

static void breakpoint_tracee(void) {
  long a = 0x1111, b = 0;
  __asm__ volatile("int3\n mov %%rax, %%rbx" : "=b"(b) : "a"(a));
  EQ(0x2222, b);
}

static void breakpoint(void) {
  pid_t pid = tracee(breakpoint_tracee);
  P(PTRACE_CONT, pid, 0, 0);
  STOPS(SIGTRAP, pid);
  EQ(SI_KERNEL, siginfo_of(pid).si_code);
  struct user_regs_struct r = regs_of(pid);
  EQ(0x1111, r.rax);
  EQ(-1, r.orig_rax);
  EQ(0x33, r.cs);
  EQ(0x2b, r.ss);
  unsigned long code;
  P(PTRACE_PEEKTEXT, pid, r.rip - 1, &code);
  EQ(0xcc, code & 0xff);
  r.rax = 0x2222;
  P(PTRACE_SETREGS, pid, 0, &r);
  P(PTRACE_CONT, pid, 0, 0);
  EXITS(0, pid);
}

static void bad_registers(void) {
  pid_t pid = tracee(nothing);
  struct user_regs_struct r = regs_of(pid), w = r;
  w.cs = 0;
  PERR(EIO, PTRACE_SETREGS, pid, 0, &w);
  w = r;
  w.fs_base = 1UL << 47;
  PERR(EIO, PTRACE_SETREGS, pid, 0, &w);
  w = r;
  w.ds = 8;
  PERR(EIO, PTRACE_SETREGS, pid, 0, &w);
  w = r;
  w.eflags |= 1 << 9 | 1 << 17 | 3 << 12 | 1;  // IF, VM and IOPL are not for programs
  P(PTRACE_SETREGS, pid, 0, &w);
  EQ((r.eflags | 1), regs_of(pid).eflags);
  P(PTRACE_SETREGS, pid, 0, &r);
  struct iovec iov = {&w, 16};
  P(PTRACE_GETREGSET, pid, NT_PRSTATUS, &iov);
  EQ(16, iov.iov_len);
  EQ(r.r15, w.r15);
  iov = (struct iovec){&w, 4096};
  P(PTRACE_GETREGSET, pid, NT_PRSTATUS, &iov);
  EQ(sizeof(w), iov.iov_len);
  CHECK(memcmp(&w, &r, sizeof(r)) == 0);
  P(PTRACE_SETREGSET, pid, NT_PRSTATUS, &iov);
  P(PTRACE_CONT, pid, 0, 0);
  EXITS(0, pid);
}

static void fp_tracee(void) {
  double in = 1.5, out = 0;
  __asm__ volatile("movsd %1, %%xmm7\n int3\n movsd %%xmm7, %0\n" : "=m"(out) : "m"(in) : "xmm7");
  CHECK(out == 2.5);
  __asm__ volatile("movsd %1, %%xmm7\n int3\n movsd %%xmm7, %0\n" : "=m"(out) : "m"(in) : "xmm7");
  CHECK(out == 3.5);
}

static void floating_point(void) {
  pid_t pid = tracee(fp_tracee);
  P(PTRACE_CONT, pid, 0, 0);
  STOPS(SIGTRAP, pid);
  struct user_fpregs_struct f;
  P(PTRACE_GETFPREGS, pid, 0, &f);
  double v;
  memcpy(&v, &f.xmm_space[7 * 4], sizeof(v));
  CHECK(v == 1.5);
  v = 2.5;
  memcpy(&f.xmm_space[7 * 4], &v, sizeof(v));
  P(PTRACE_SETFPREGS, pid, 0, &f);
  P(PTRACE_CONT, pid, 0, 0);
  STOPS(SIGTRAP, pid);
  static char area[16384];
  struct iovec iov = {area, sizeof(area)};
  P(PTRACE_GETREGSET, pid, NT_X86_XSTATE, &iov);
  CHECK(iov.iov_len >= 576 && iov.iov_len < sizeof(area));
  memcpy(&v, area + 160 + 16 * 7, sizeof(v));
  CHECK(v == 1.5);
  v = 3.5;
  memcpy(area + 160 + 16 * 7, &v, sizeof(v));
  P(PTRACE_SETREGSET, pid, NT_X86_XSTATE, &iov);
  iov.iov_len -= 8;
  PERR(EFAULT, PTRACE_SETREGSET, pid, NT_X86_XSTATE, &iov);
  iov = (struct iovec){&f, sizeof(f)};
  P(PTRACE_GETREGSET, pid, NT_PRFPREG, &iov);
  EQ(512, iov.iov_len);
  memcpy(&v, &f.xmm_space[7 * 4], sizeof(v));
  CHECK(v == 3.5);
  P(PTRACE_CONT, pid, 0, 0);
  EXITS(0, pid);
}

extern char step_begin[], step_end[], step_mid[];

static void step_tracee(void) {
  long ret;
  __asm__ volatile(
      "int3\n .globl step_begin\nstep_begin: nop\n nop\n mov %1, %%eax\n syscall\n"
      ".globl step_mid\nstep_mid: nop\n .globl step_end\nstep_end: nop"
      : "=a"(ret)
      : "i"(SYS_getppid)
      : "rcx", "r11", "memory");
  EQ(getppid(), ret);
}

static void single_step(void) {
  pid_t pid = tracee(step_tracee);
  P(PTRACE_CONT, pid, 0, 0);
  STOPS(SIGTRAP, pid);
  CHECK(regs_of(pid).rip == (unsigned long)step_begin);
  int steps = 0;
  for (; regs_of(pid).rip != (unsigned long)step_end; steps++) {
    P(PTRACE_SINGLESTEP, pid, 0, 0);
    STOPS(SIGTRAP, pid);
    siginfo_t s = siginfo_of(pid);
    struct user_regs_struct r = regs_of(pid);
    EQ(r.rip == (unsigned long)step_mid ? TRAP_BRKPT : TRAP_TRACE, s.si_code);
    EQ(0, r.eflags & 1 << 8);  // the tracer's business, not to be seen
  }
  EQ(5, steps);
  P(PTRACE_CONT, pid, 0, 0);
  EXITS(0, pid);
}

TESTS(T(memory), T(breakpoint), T(bad_registers), T(floating_point), T(single_step))
