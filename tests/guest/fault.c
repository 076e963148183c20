// Exceptions of the processor as signals, and the state that a handler must
// not disturb.
#include "check.h"

#include <immintrin.h>
#include <pthread.h>
#include <setjmp.h>
#include <ucontext.h>

static sigjmp_buf back;
static siginfo_t info;
static long trapno, error_code, rip;

static void on_fault(int sig UNUSED, siginfo_t *si, void *u) {
  ucontext_t *uc = u;
  info = *si;
  trapno = uc->uc_mcontext.gregs[REG_TRAPNO];
  error_code = uc->uc_mcontext.gregs[REG_ERR];
  rip = uc->uc_mcontext.gregs[REG_RIP];
  siglongjmp(back, 1);
}

#define TRY(sig, ...)                       \
  do {                                      \
    handle_info(sig, on_fault, 0);          \
    if (sigsetjmp(back, 1) == 0) {          \
      __VA_ARGS__;                          \
      FAIL("no signal: %s", #__VA_ARGS__);  \
    }                                       \
    EQ(sig, info.si_signo);                 \
  } while (0)

static void divide_by_zero(void) {
  extern char divide_here[];
  TRY(SIGFPE, __asm__ volatile("xor %%ecx, %%ecx; mov $1, %%eax; cltd; .globl divide_here; divide_here: idiv %%ecx" ::
                                   : "eax", "ecx", "edx"));
  EQ(FPE_INTDIV, info.si_code);
  CHECK(info.si_addr == (void *)rip && info.si_addr == (void *)divide_here);
  EQ(0, trapno);
}

static void illegal(void) {
  TRY(SIGILL, __asm__ volatile("ud2"));
  EQ(ILL_ILLOPN, info.si_code);
  CHECK(info.si_addr == (void *)rip);
  EQ(6, trapno);
}

static void breakpoint(void) {
  extern char after_int3[];
  TRY(SIGTRAP, __asm__ volatile("int3; .globl after_int3; after_int3: nop"));
  EQ(SI_KERNEL, info.si_code);
  CHECK(rip == (long)after_int3);
  EQ(3, trapno);
}

static void single_step(void) {
  TRY(SIGTRAP, __asm__ volatile("pushfq; orq $0x100, (%%rsp); popfq; nop; nop" ::: "memory", "cc"));
  EQ(TRAP_TRACE, info.si_code);
}

static void segv_codes(void) {
  TRY(SIGSEGV, *(volatile int *)(volatile uintptr_t){0x20} = 1);
  EQ(SEGV_MAPERR, info.si_code);
  EQ(0x20, info.si_addr);
  EQ(14, trapno);
  EQ(6, error_code);  // a write by the user to a page that is not there
  TRY(SIGSEGV, (void)*(volatile int *)(volatile uintptr_t){0x20});
  EQ(4, error_code);
  char *p = map_private(PAGE);
  p[0] = 1;
  SYS(mprotect(p, PAGE, PROT_READ));
  TRY(SIGSEGV, ((volatile char *)p)[3] = 1);
  EQ(SEGV_ACCERR, info.si_code);
  CHECK(info.si_addr == p + 3);
  EQ(7, error_code);
  TRY(SIGSEGV, ((void (*)(void))p)());
  EQ(SEGV_ACCERR, info.si_code);
  CHECK(info.si_addr == p && rip == (long)p);
}

// The error code tells reads from writes, whatever instruction it was.
static char *target;
#define WRITES(code, ...) KIND(2, code, __VA_ARGS__)
#define READS(code, ...) KIND(0, code, __VA_ARGS__)
#define KIND(bit, code, ...)                                                                              \
  do {                                                                                                    \
    TRY(SIGSEGV, __asm__ volatile(code ::"a"(target), "D"(target + 64), "S"(target + 128), "c"(8L), "d"(0L) \
                                  : "memory", "cc", "xmm0" __VA_ARGS__));                                 \
    if (error_code != (present | 4 | (bit))) FAIL("%s: error code %#lx", code, error_code);               \
  } while (0)

static void writes_told(long present) {
  WRITES("movl %%ecx, (%%rax)");
  WRITES("movb $1, (%%rax)");
  WRITES("addl %%ecx, (%%rax)");
  WRITES("andl $1, (%%rax)");
  WRITES("lock xaddl %%ecx, (%%rax)");
  WRITES("lock cmpxchgl %%ecx, (%%rdi)");
  WRITES("xchgl %%ecx, (%%rax)");
  WRITES("incl (%%rax)");
  WRITES("notl (%%rax)");
  WRITES("shll $3, (%%rax)");
  WRITES("sete (%%rax)");
  WRITES("btsl %%ecx, (%%rax)");
  WRITES("stosb");
  WRITES("rep stosq");
  WRITES("movnti %%ecx, (%%rax)");
  WRITES("movups %%xmm0, (%%rax)");
  WRITES("movdqa %%xmm0, (%%rax)");
  WRITES("movq %%xmm0, (%%rax)");
  WRITES("movsd %%xmm0, (%%rax)");
  WRITES("movntdq %%xmm0, (%%rax)");
  WRITES("stmxcsr (%%rax)");
  WRITES("fnstcw (%%rax)");
  WRITES("fldz; fstpl (%%rax)");
  WRITES("fxsave (%%rax)");
  if (__builtin_cpu_supports("avx2")) {
    WRITES("vmovdqu %%ymm0, (%%rax)");
    WRITES("vpcmpeqd %%ymm0, %%ymm0, %%ymm0; vpmaskmovd %%ymm0, %%ymm0, (%%rax)");
    WRITES("vextracti128 $1, %%ymm0, (%%rax)");
  }
  if (__builtin_cpu_supports("avx512f")) WRITES("vmovdqu64 %%zmm0, (%%rax)");
}

static void reads_told(long present) {
  READS("movl (%%rax), %%ecx");
  READS("addl (%%rax), %%ecx");
  READS("cmpl %%ecx, (%%rax)");
  READS("cmpl $1, (%%rax)");
  READS("testb $1, (%%rax)");
  READS("divl (%%rax)");
  READS("pushq (%%rax)");
  READS("btl %%ecx, (%%rax)");
  READS("lodsb");
  READS("cmpsb");
  READS("repne scasb");
  READS("movzbl (%%rax), %%ecx");
  READS("cmovel (%%rax), %%ecx");
  READS("movups (%%rax), %%xmm0");
  READS("movq (%%rax), %%xmm0");
  READS("ldmxcsr (%%rax)");
  READS("fldl (%%rax)");
  if (__builtin_cpu_supports("avx2")) READS("vmovdqu (%%rax), %%ymm0");
  if (__builtin_cpu_supports("avx512f")) READS("vmovdqu64 (%%rax), %%zmm0");
}

static void writes_and_reads(void) {
  target = map_private(PAGE);
  SYS(munmap(target, PAGE));
  writes_told(0);
  reads_told(0);
  target = map_private(PAGE);
  SYS(mprotect(target, PAGE, PROT_NONE));
  writes_told(0);
  reads_told(0);
  EQ(SEGV_ACCERR, info.si_code);
  SYS(mprotect(target, PAGE, PROT_READ | PROT_WRITE));
  target[0] = 1;
  SYS(mprotect(target, PAGE, PROT_READ));
  writes_told(1);
  char *from = map_private(2 * PAGE);
  SYS(mprotect(from + PAGE, PAGE, PROT_NONE));
  target = from + PAGE;
  TRY(SIGSEGV, __asm__ volatile("rep movsb" ::"S"(from), "D"(target), "c"(8L) : "memory"));
  EQ(6, error_code);
  TRY(SIGSEGV, __asm__ volatile("rep movsb" ::"S"(target), "D"(from), "c"(8L) : "memory"));
  EQ(4, error_code);
}

// Where the x87 is told of its exceptions, and what of the rest there is.
static void x87_exception(void) {
  volatile unsigned short word = 0x37b;  // division by zero is not masked
  TRY(SIGFPE, __asm__ volatile("fninit; fldcw %0; fldz; fld1; fdivp; fwait" ::"m"(word)));
  CHECK(info.si_code == FPE_FLTDIV || info.si_code == FPE_FLTINV);
  EQ(16, trapno);
  __asm__ volatile("fninit");
}

static void not_canonical(void) {
  TRY(SIGSEGV, (void)*(volatile int *)(volatile uintptr_t){0x8000000000000000});
  EQ(SI_KERNEL, info.si_code);
  EQ(0, info.si_addr);
  EQ(13, trapno);
}

static void kernel_addresses(void) {
  TRY(SIGSEGV, (void)*(volatile int *)(volatile uintptr_t){0xffffffff81000000});
  CHECK(info.si_code == SEGV_MAPERR);
  EQ(0xffffffff81000000, info.si_addr);
}

static void privileged(void) {
  TRY(SIGSEGV, __asm__ volatile("hlt"));
  EQ(SI_KERNEL, info.si_code);
  TRY(SIGSEGV, __asm__ volatile("cli"));
  EQ(SI_KERNEL, info.si_code);
  TRY(SIGSEGV, __asm__ volatile("mov %%cr3, %%rax" ::: "rax"));
  TRY(SIGSEGV, __asm__ volatile("outb %%al, $0x80" ::));
}

static void bus_error(void) {
  scratch();
  int fd = SYS(open("f", O_RDWR | O_CREAT, 0600));
  char *p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  TRY(SIGBUS, (void)*(volatile char *)(p + 9));
  EQ(BUS_ADRERR, info.si_code);
  CHECK(info.si_addr == p + 9);
}

static void float_exception(void) {
  volatile double a = 1, b = 0, c;
  _mm_setcsr(_mm_getcsr() & ~_MM_MASK_DIV_ZERO);
  TRY(SIGFPE, c = a / b);
  (void)c;
  EQ(FPE_FLTDIV, info.si_code);
  EQ(19, trapno);
}

// Without a handler, or with the signal blocked or ignored, they are fatal.
static void fatal_faults(void) {
  for (int how = 0; how < 3; how++) {
    pid_t pid = SYS(fork());
    if (pid == 0) {
      if (how == 1) block(SIGSEGV);
      if (how == 2) handle(SIGSEGV, SIG_IGN, 0);
      *(volatile int *)(volatile uintptr_t){0} = 0;
      _exit(0);
    }
    DIES(SIGSEGV, pid);
    pid = SYS(fork());
    if (pid == 0) {
      if (how == 1) block(SIGILL);
      if (how == 2) handle(SIGILL, SIG_IGN, 0);
      __asm__ volatile("ud2");
    }
    DIES(SIGILL, pid);
  }
}

static void aborts(void) {
  pid_t pid = SYS(fork());
  if (pid == 0) {
    handle(SIGABRT, SIG_IGN, 0);
    abort();
  }
  DIES(SIGABRT, pid);
}

// A fault inside the handler of the same signal is fatal.
static void fault_in_handler_fn(int sig UNUSED) { *(volatile int *)(volatile uintptr_t){8} = 0; }
static void fault_in_handler(void) {
  pid_t pid = SYS(fork());
  if (pid == 0) {
    handle(SIGSEGV, fault_in_handler_fn, 0);
    *(volatile int *)(volatile uintptr_t){0} = 0;
  }
  DIES(SIGSEGV, pid);
}

static volatile int signals;

static void spoil_registers(int sig UNUSED) {
  signals++;
  __asm__ volatile(
      "xor %%eax, %%eax; xor %%ebx, %%ebx; xor %%ecx, %%ecx; xor %%edx, %%edx; xor %%esi, %%esi; xor %%edi, %%edi;"
      "xor %%r8d, %%r8d; xor %%r9d, %%r9d; xor %%r10d, %%r10d; xor %%r11d, %%r11d; xor %%r12d, %%r12d;"
      "xor %%r13d, %%r13d; xor %%r14d, %%r14d; xor %%r15d, %%r15d; std; cld" ::
          : "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "cc");
}

static void pester(void (*handler)(int)) {
  handle(SIGALRM, handler, SA_RESTART);
  struct itimerval it = {{0, 1000}, {0, 1000}};
  SYS(setitimer(ITIMER_REAL, &it, NULL));
}

// All general registers and the flags survive a handler at any instruction.
static void registers_kept(void) {
  pester(spoil_registers);
  while (signals < 20) {
    uint64_t bad;
    __asm__ volatile(
        "push %%rbp\n"
        "mov $1, %%ebx; mov $2, %%ecx; mov $3, %%edx; mov $4, %%esi; mov $5, %%edi; mov $6, %%ebp\n"
        "mov $8, %%r8d; mov $9, %%r9d; mov $10, %%r10d; mov $11, %%r11d; mov $12, %%r12d; mov $13, %%r13d\n"
        "mov $14, %%r14d; mov $100000, %%r15d\n"
        "1: stc; std; nop; nop; jnc 2f; cld\n"
        "dec %%r15; jnz 1b\n"
        "lea (%%rbx,%%rcx), %%rax; add %%rdx, %%rax; add %%rsi, %%rax; add %%rdi, %%rax; add %%rbp, %%rax\n"
        "add %%r8, %%rax; add %%r9, %%rax; add %%r10, %%rax; add %%r11, %%rax; add %%r12, %%rax\n"
        "add %%r13, %%rax; add %%r14, %%rax; sub $98, %%rax; jmp 3f\n"
        "2: mov $-1, %%rax\n"
        "3: cld; pop %%rbp\n"
        : "=a"(bad)::"rbx", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "cc",
          "memory");
    EQ(0, bad);
  }
}

static void spoil_vectors(int sig UNUSED) {
  signals++;
  __asm__ volatile("pxor %%xmm0, %%xmm0; pxor %%xmm7, %%xmm7; pxor %%xmm15, %%xmm15; fninit; fldz; fldz" ::
                       : "xmm0", "xmm7", "xmm15", "st");
  uint32_t other = 0x1f80 | 0x6000;
  __asm__ volatile("ldmxcsr %0" ::"m"(other));
}

static void sse_kept(void) {
  pester(spoil_vectors);
  double one = 1.0, eleven = 11.0;
  uint64_t a[2] = {0x1111, 0x2222}, b[2], c[2];
  uint32_t csr = 0x1f80 | 0x2000, csr2;
  while (signals < 20) {
    double out;
    __asm__ volatile(
        "ldmxcsr %5; movups %4, %%xmm0; movups %4, %%xmm15; fninit; fldl %6; fldl %7\n"
        "mov $100000, %%ecx; 1: dec %%ecx; jnz 1b\n"
        "faddp; fstpl %2; movups %%xmm0, %0; movups %%xmm15, %1; stmxcsr %3\n"
        : "=m"(b), "=m"(c), "=m"(out), "=m"(csr2)
        : "m"(a), "m"(csr), "m"(one), "m"(eleven)
        : "xmm0", "xmm15", "ecx", "cc", "st");
    CHECK(b[0] == 0x1111 && b[1] == 0x2222 && c[0] == 0x1111 && c[1] == 0x2222);
    CHECK(out == 12.0);
    EQ(csr, csr2);
    uint32_t usual = 0x1f80;
    __asm__ volatile("ldmxcsr %0" ::"m"(usual));
  }
}

__attribute__((target("avx2"))) static void spoil_ymm(int sig UNUSED) {
  signals++;
  __asm__ volatile("vpxor %%ymm1, %%ymm1, %%ymm1; vpxor %%ymm14, %%ymm14, %%ymm14; vzeroupper" ::: "ymm1", "ymm14");
}

__attribute__((target("avx2"))) static void avx_loop(void) {
  uint64_t a[4] = {1, 2, 3, 4}, b[4], c[4];
  while (signals < 20) {
    __asm__ volatile(
        "vmovdqu %2, %%ymm1; vmovdqu %2, %%ymm14; mov $100000, %%ecx; 1: dec %%ecx; jnz 1b\n"
        "vmovdqu %%ymm1, %0; vmovdqu %%ymm14, %1; vzeroupper\n"
        : "=m"(b), "=m"(c)
        : "m"(a)
        : "ymm1", "ymm14", "ecx", "cc");
    for (int i = 0; i < 4; i++) CHECK(b[i] == a[i] && c[i] == a[i]);
  }
}

static void avx_kept(void) {
  if (!__builtin_cpu_supports("avx2")) return;
  pester(spoil_ymm);
  avx_loop();
}

static void on_usr1(int sig UNUSED, siginfo_t *si UNUSED, void *u) {
  ucontext_t *uc = u;
  uc->uc_mcontext.fpregs->_xmm[3].element[0] = 0xabcd;
}

// A handler may change the floating-point state of what it interrupted.
static void fp_frame_writable(void) {
  handle_info(SIGUSR1, on_usr1, 0);
  uint64_t out[2];
  long pid = getpid(), ret;
  __asm__ volatile("pxor %%xmm3, %%xmm3; syscall; movups %%xmm3, %1"
                   : "=a"(ret), "=m"(out)
                   : "0"(SYS_kill), "D"(pid), "S"(SIGUSR1)
                   : "rcx", "r11", "xmm3", "memory");
  EQ(0, ret);
  EQ(0xabcd, out[0] & 0xffffffff);
}

// fork and clone copy it; a context switch keeps it apart.
static void fp_across_processes(void) {
  pid_t kids[4];
  for (int k = 0; k < 4; k++) {
    kids[k] = SYS(fork());
    if (kids[k] == 0) {
      uint64_t a[2] = {k * 1000ULL + 1, k * 1000ULL + 2}, b[2];
      for (int i = 0; i < 200; i++) {
        long nr = SYS_sched_yield, ret;
        __asm__ volatile("movups %2, %%xmm9; syscall; mov $3000, %%ecx; 1: dec %%ecx; jnz 1b; movups %%xmm9, %1"
                         : "=a"(ret), "=m"(b)
                         : "m"(a), "0"(nr)
                         : "rcx", "r11", "xmm9", "memory", "cc");
        CHECK(a[0] == b[0] && a[1] == b[1]);
      }
      _exit(0);
    }
  }
  for (int k = 0; k < 4; k++) EXITS(0, kids[k]);
}

static void fp_across_fork(void) {
  uint64_t a[2] = {77, 88}, b[2];
  long pid;
  __asm__ volatile("movups %2, %%xmm10; syscall; movups %%xmm10, %1"
                   : "=a"(pid), "=m"(b)
                   : "m"(a), "0"(SYS_fork)
                   : "rcx", "r11", "xmm10", "memory");
  bool ok = b[0] == 77 && b[1] == 88;
  if (pid == 0) _exit(ok ? 0 : 1);
  CHECK(ok);
  EXITS(0, pid);
}

// A system call spoils rcx and r11 alone.
static void system_call_registers(void) {
  for (int i = 0; i < 1000; i++) {
    long rbx = 1, rdx = 2, rsi = 3, rdi = 4, ret;
    register long r8 __asm__("r8") = 8, r9 __asm__("r9") = 9, r10 __asm__("r10") = 10, r12 __asm__("r12") = 12,
                     r13 __asm__("r13") = 13, r14 __asm__("r14") = 14, r15 __asm__("r15") = 15;
    __asm__ volatile("syscall"
                     : "=a"(ret), "+b"(rbx), "+d"(rdx), "+S"(rsi), "+D"(rdi), "+r"(r8), "+r"(r9), "+r"(r10), "+r"(r12),
                       "+r"(r13), "+r"(r14), "+r"(r15)
                     : "0"((long)SYS_getppid)
                     : "rcx", "r11", "memory");
    CHECK(ret >= 0);
    EQ(1 + 2 + 3 + 4 + 8 + 9 + 10 + 12 + 13 + 14 + 15, rbx + rdx + rsi + rdi + r8 + r9 + r10 + r12 + r13 + r14 + r15);
  }
}

// rcx has the return address, r11 the flags, as the instruction leaves them.
static void system_call_leaves(void) {
  long rcx, r11, flags, at, ret;
  __asm__ volatile(
      "stc; pushfq; pop %[flags]; syscall; 1: mov %%rcx, %[rcx]; mov %%r11, %[r11]; lea 1b(%%rip), %[at]"
      : "=a"(ret), [rcx] "=&r"(rcx), [r11] "=&r"(r11), [at] "=&r"(at), [flags] "=&r"(flags)
      : "0"((long)SYS_getppid)
      : "rcx", "r11", "memory", "cc");
  CHECK(rcx == at);
  EQ(flags, r11);
}

static void unknown_calls(void) {
  long numbers[] = {-1, 500, 1000, 0x40000000, 0x7fffffff, 1L << 32 | 700};
  for (size_t i = 0; i < LEN(numbers); i++) ERR(ENOSYS, syscall(numbers[i], 0, 0, 0, 0, 0, 0));
}

static void segment_bases(void) {
  unsigned long fs, gs, v = 0x1234567;
  SYS(syscall(SYS_arch_prctl, 0x1003 /* ARCH_GET_FS */, &fs));
  unsigned long self;
  __asm__("mov %%fs:0, %0" : "=r"(self));
  CHECK(fs == self);
  SYS(syscall(SYS_arch_prctl, 0x1001 /* ARCH_SET_GS */, &v));
  __asm__("mov %%gs:0, %0" : "=r"(gs));
  EQ(v, gs);
  SYS(syscall(SYS_arch_prctl, 0x1004 /* ARCH_GET_GS */, &gs));
  CHECK(gs == (unsigned long)&v);
  sleep_ms(1);
  __asm__("mov %%gs:0, %0" : "=r"(gs));
  EQ(v, gs);
  ERR(EPERM, syscall(SYS_arch_prctl, 0x1001, 1UL << 63));
  ERR(EINVAL, syscall(SYS_arch_prctl, 0x9999, 0));
}

// Code that runs into a page which is data: the instruction begins in one page
// and ends in the other.
static void runs_off_the_page(void) {
  unsigned char *p = map_private(2 * PAGE);
  p[PAGE - 1] = 0xb8;  // mov $imm, %eax
  p[PAGE + 4] = 0xc3;  // ret
  SYS(mprotect(p, PAGE, PROT_READ | PROT_EXEC));
  TRY(SIGSEGV, ((int (*)(void))(p + PAGE - 1))());
  EQ(SEGV_ACCERR, info.si_code);
  CHECK(info.si_addr == p + PAGE && rip == (long)(p + PAGE - 1));
  SYS(mprotect(p + PAGE, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC));
  EQ(0, ((int (*)(void))(p + PAGE - 1))());
  p[PAGE] = 9;
  EQ(9, ((int (*)(void))(p + PAGE - 1))());
}

// An instruction that writes to itself is no jump to where it must not go.
static void writes_to_itself(void) {
  static const unsigned char code[] = {
      0xc6, 0x05, 0xf9, 0xff, 0xff, 0xff, 0xc6,  // here: movb $0xc6, here(%rip)
      0xb8, 7, 0, 0, 0, 0xc3,                    // mov $7, %eax; ret
  };
  unsigned char *p = map_private(PAGE);
  memcpy(p, code, sizeof(code));
  SYS(mprotect(p, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC));
  EQ(7, ((int (*)(void))p)());
  for (int i = 0; i < 5; i++) {
    pid_t pid = SYS(fork());  // the page is to be copied now
    EQ(7, ((int (*)(void))p)());
    if (pid == 0) _exit(0);
    EXITS(0, pid);
  }
  SYS(mprotect(p, PAGE, PROT_READ | PROT_EXEC));
  TRY(SIGSEGV, ((int (*)(void))p)());
  EQ(SEGV_ACCERR, info.si_code);
  CHECK(info.si_addr == p && rip == (long)p);
}

// Threads that all fault for good at the same time each hear of their own.
static __thread sigjmp_buf my_back;
static __thread void *my_addr;

static void on_my_fault(int sig UNUSED, siginfo_t *si, void *u UNUSED) {
  my_addr = si->si_code == SEGV_ACCERR ? si->si_addr : NULL;
  siglongjmp(my_back, 1);
}

static void *faulter(void *arg) {
  volatile char *mine = arg;
  for (int i = 0; i < 200; i++) {
    if (sigsetjmp(my_back, 1) == 0) {
      mine[i] = 1;
      FAIL("a store to a page that is read-only");
    }
    CHECK(my_addr == mine + i);
    CHECK(mine[i] == 0);
  }
  return NULL;
}

static void faults_in_threads(void) {
  char *p = map_private(4 * PAGE);
  SYS(mprotect(p, 4 * PAGE, PROT_READ));
  handle_info(SIGSEGV, on_my_fault, 0);
  pthread_t t[4];
  for (int i = 0; i < 4; i++) ZERO(pthread_create(&t[i], NULL, faulter, p + i * PAGE));
  for (int i = 0; i < 4; i++) ZERO(pthread_join(t[i], NULL));
}

static volatile unsigned fresh_mxcsr;
static void read_mxcsr(int sig UNUSED) {
  unsigned v;
  __asm__ volatile("stmxcsr %0" : "=m"(v));
  fresh_mxcsr = v;
}

// A handler begins with a fresh floating-point state, and the old one comes back.
static void fp_fresh_in_handler(void) {
  unsigned usual, other, after;
  __asm__ volatile("stmxcsr %0" : "=m"(usual));
  other = usual | 3u << 13;  // round to zero
  handle(SIGUSR1, read_mxcsr, 0);
  for (int i = 0; i < 200; i++) {
    __asm__ volatile("ldmxcsr %0" ::"m"(other));
    raise(SIGUSR1);
    __asm__ volatile("stmxcsr %0" : "=m"(after));
    __asm__ volatile("ldmxcsr %0" ::"m"(usual));
    EQ(0x1f80, fresh_mxcsr);
    EQ(other, after);
  }
}

TESTS(T(fp_fresh_in_handler), T(divide_by_zero), T(illegal), T(breakpoint), T(single_step), T(segv_codes), T(writes_and_reads), T(x87_exception), T(not_canonical),
      T(kernel_addresses), T(privileged), T(bus_error), T(float_exception), T(fatal_faults), T(aborts),
      T(fault_in_handler), T(registers_kept), T(sse_kept), T(avx_kept), T(fp_frame_writable), T(fp_across_processes),
      T(fp_across_fork), T(system_call_registers), T(system_call_leaves), T(unknown_calls), T(segment_bases),
      T(runs_off_the_page), T(writes_to_itself), T(faults_in_threads))
