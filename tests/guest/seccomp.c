// seccomp(2): modes, filters, actions, and what inherits them.
#include "check.h"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stddef.h>

#include "procfile.h"

#define NR offsetof(struct seccomp_data, nr)
#define ARG(i) offsetof(struct seccomp_data, args[i])
#define LOAD(off) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (off))
#define RETURN(v) BPF_STMT(BPF_RET | BPF_K, (v))
#define IF(v, then, otherwise) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (v), (then), (otherwise))

static long seccomp(unsigned op, unsigned flags, void *args) { return syscall(SYS_seccomp, op, flags, args); }

static long install(unsigned flags, struct sock_filter *f, size_t n) {
  struct sock_fprog p = {.len = n, .filter = f};
  return seccomp(SECCOMP_SET_MODE_FILTER, flags, &p);
}

static void no_new_privs(void) { SYS(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)); }

// on makes one call answer an action.
static void on(long nr, unsigned action) {
  struct sock_filter f[] = {LOAD(NR), IF(nr, 0, 1), RETURN(action), RETURN(SECCOMP_RET_ALLOW)};
  no_new_privs();
  EQ(0, SYS(install(0, f, LEN(f))));
}

static void strict_child(void) {
  SYS(prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT));
  char c;
  if (syscall(SYS_read, -1, &c, 1) != -1 || syscall(SYS_write, -1, &c, 1) != -1) syscall(SYS_exit, 1);
  syscall(SYS_exit, 7);
}

static void strict_killed(void) {
  SYS(seccomp(SECCOMP_SET_MODE_STRICT, 0, NULL));
  syscall(SYS_getpid);
  syscall(SYS_exit, 1);
}

static void strict(void) {
  pid_t pid = start(strict_child);
  EXITS(7, pid);
  DIES(SIGKILL, start(strict_killed));
  ERR(EINVAL, seccomp(SECCOMP_SET_MODE_STRICT, 1, NULL));
  ERR(EINVAL, seccomp(SECCOMP_SET_MODE_STRICT, 0, &pid));
  EQ(0, SYS(prctl(PR_GET_SECCOMP)));
}

static void bad_arguments(void) {
  struct sock_filter ok[] = {RETURN(SECCOMP_RET_ALLOW)};
  struct sock_fprog p = {.len = 1, .filter = ok};
  ERR(EINVAL, seccomp(99, 0, NULL));
  ERR(EINVAL, seccomp(SECCOMP_SET_MODE_FILTER, 0x8000, &p));
  ERR(EFAULT, seccomp(SECCOMP_SET_MODE_FILTER, 0, NULL));
  ERR(EINVAL, prctl(PR_SET_SECCOMP, 0));
  ERR(EINVAL, prctl(PR_SET_SECCOMP, 3));
  ERR(EFAULT, prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, NULL));
  p.len = 0;
  ERR(EINVAL, seccomp(SECCOMP_SET_MODE_FILTER, 0, &p));
  p.len = BPF_MAXINSNS + 1;
  ERR(EINVAL, seccomp(SECCOMP_SET_MODE_FILTER, 0, &p));
  p = (struct sock_fprog){.len = 1, .filter = (void *)8};
  ERR(EFAULT, seccomp(SECCOMP_SET_MODE_FILTER, 0, &p));
  struct sock_filter bad[][2] = {
      {RETURN(0), BPF_STMT(BPF_LD | BPF_W | BPF_IMM, 0)},
      {LOAD(1), RETURN(0)},
      {LOAD(64), RETURN(0)},
      {BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 0), RETURN(0)},
      {BPF_STMT(BPF_LD | BPF_W | BPF_IND, 0), RETURN(0)},
      {BPF_STMT(BPF_ALU | BPF_MOD | BPF_K, 2), RETURN(0)},
      {BPF_STMT(BPF_ALU | BPF_DIV | BPF_K, 0), RETURN(0)},
      {BPF_STMT(BPF_ALU | BPF_LSH | BPF_K, 32), RETURN(0)},
      {BPF_STMT(BPF_LD | BPF_W | BPF_MEM, 0), RETURN(0)},
      {BPF_STMT(BPF_ST, 16), RETURN(0)},
      {IF(0, 1, 0), RETURN(0)},
      {BPF_STMT(BPF_JMP | BPF_JA, 1), RETURN(0)},
  };
  for (size_t i = 0; i < LEN(bad); i++) ERR(EINVAL, install(0, bad[i], 2));
  unsigned actions[] = {SECCOMP_RET_KILL_PROCESS, SECCOMP_RET_KILL_THREAD, SECCOMP_RET_TRAP, SECCOMP_RET_ERRNO,
                        SECCOMP_RET_TRACE, SECCOMP_RET_LOG, SECCOMP_RET_ALLOW};
  for (size_t i = 0; i < LEN(actions); i++) EQ(0, SYS(seccomp(SECCOMP_GET_ACTION_AVAIL, 0, &actions[i])));
  unsigned none = 0x00010000;
  ERR(EOPNOTSUPP, seccomp(SECCOMP_GET_ACTION_AVAIL, 0, &none));
  ERR(EINVAL, seccomp(SECCOMP_GET_ACTION_AVAIL, 1, &none));
  ERR(EFAULT, seccomp(SECCOMP_GET_ACTION_AVAIL, 0, NULL));
}

static void unprivileged(void) {
  SYS(syscall(SYS_setresuid, 1000, 1000, 1000));
  struct sock_filter ok[] = {RETURN(SECCOMP_RET_ALLOW)};
  ERR(EACCES, install(0, ok, 1));
  no_new_privs();
  SYS(install(0, ok, 1));
}

static void privilege(void) {
  forked(unprivileged);
  // With CAP_SYS_ADMIN, as here, the flag is not needed.
  struct sock_filter ok[] = {RETURN(SECCOMP_RET_ALLOW)};
  SYS(install(SECCOMP_FILTER_FLAG_LOG | SECCOMP_FILTER_FLAG_SPEC_ALLOW, ok, 1));
  EQ(2, SYS(prctl(PR_GET_SECCOMP)));
  EQ(0, SYS(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)));
  ERR(EINVAL, seccomp(SECCOMP_SET_MODE_STRICT, 0, NULL));
}

static void errnos(void) {
  on(SYS_getppid, SECCOMP_RET_ERRNO | EXDEV);
  ERR(EXDEV, syscall(SYS_getppid));
  CHECK(getpid() > 0);
  on(SYS_getppid, SECCOMP_RET_ERRNO | 0);  // of the same action, the newest counts
  EQ(0, SYS(syscall(SYS_getppid)));
  on(SYS_getuid, SECCOMP_RET_ERRNO | 0xffff);
  EQ(-1, syscall(SYS_getuid));
  EQ(4095, errno);
  on(SYS_getgid, SECCOMP_RET_LOG);
  SYS(syscall(SYS_getgid));
  on(5000, SECCOMP_RET_ERRNO | EXDEV);
  ERR(EXDEV, syscall(5000));
  ERR(ENOSYS, syscall(5001));
  on(SYS_getegid, SECCOMP_RET_TRACE | 3);
  ERR(ENOSYS, syscall(SYS_getegid));
}

// Calls that the kernel may have made cheap are filtered all the same.
static void hot_calls(void) {
  for (int i = 0; i < 200; i++) {
    CHECK(syscall(SYS_getpid) > 0);
    CHECK(syscall(SYS_gettid) > 0);
    CHECK(getppid() > 0);
    ERR(EBADF, write(-1, "", 0));
  }
  on(SYS_getpid, SECCOMP_RET_ERRNO | EXDEV);
  on(SYS_gettid, SECCOMP_RET_ERRNO | ENOTTY);
  on(SYS_getppid, SECCOMP_RET_ERRNO | ENODEV);
  for (int i = 0; i < 200; i++) {
    ERR(EXDEV, syscall(SYS_getpid));
    ERR(ENOTTY, syscall(SYS_gettid));
    EQ(-ENODEV, getppid());  // glibc knows of no error here
    ERR(EBADF, write(-1, "", 0));
  }
}

static void arguments(void) {
  struct sock_filter f[] = {
      LOAD(NR),
      IF(SYS_getpriority, 0, 5),
      LOAD(ARG(0)),
      IF(0x9abcdef0, 0, 3),
      LOAD(ARG(0) + 4),
      IF(0x12345678, 0, 1),
      RETURN(SECCOMP_RET_ERRNO | EXDEV),
      RETURN(SECCOMP_RET_ALLOW),
  };
  no_new_privs();
  SYS(install(0, f, LEN(f)));
  ERR(EXDEV, syscall(SYS_getpriority, 0x123456789abcdef0, 0));
  ERR(EINVAL, syscall(SYS_getpriority, 0x9abcdef0, 0));
  struct sock_filter arch[] = {LOAD(offsetof(struct seccomp_data, arch)), IF(AUDIT_ARCH_X86_64, 0, 1),
                               RETURN(SECCOMP_RET_ALLOW), RETURN(SECCOMP_RET_KILL)};
  SYS(install(0, arch, LEN(arch)));
  // The division gives 0, which kills, in a program that is not for this call.
  struct sock_filter div[] = {LOAD(NR), IF(4999, 0, 2), BPF_STMT(BPF_LDX | BPF_W | BPF_IMM, 0),
                              BPF_STMT(BPF_ALU | BPF_DIV | BPF_X, 0), RETURN(SECCOMP_RET_ALLOW)};
  SYS(install(0, div, LEN(div)));
  pid_t pid = SYS(fork());
  if (pid == 0) {
    syscall(4999);
    _exit(0);
  }
  DIES(SIGSYS, pid);
}

extern char call_end[];

__attribute__((noinline)) static long call_here(long nr) {
  long ret;
  __asm__ volatile("syscall\n.globl call_end\ncall_end:" : "=a"(ret) : "a"(nr) : "rcx", "r11", "memory");
  return ret;
}

// The filter sees the address behind the call.
static void instruction_pointer(void) {
  for (int i = 0; i < 100; i++) CHECK(call_here(SYS_getpid) > 0);
  uint64_t at = (uint64_t)call_end;
  struct sock_filter f[] = {
      LOAD(offsetof(struct seccomp_data, instruction_pointer)),
      IF((uint32_t)at, 0, 3),
      LOAD(offsetof(struct seccomp_data, instruction_pointer) + 4),
      IF((uint32_t)(at >> 32), 0, 1),
      RETURN(SECCOMP_RET_ERRNO | EXDEV),
      RETURN(SECCOMP_RET_ALLOW),
  };
  no_new_privs();
  SYS(install(0, f, LEN(f)));
  for (int i = 0; i < 100; i++) EQ(-EXDEV, call_here(SYS_getpid));
  CHECK(syscall(SYS_getpid) > 0);
}

static int trapped;

static void on_sigsys(int sig, siginfo_t *info, void *uc) {
  EQ(SIGSYS, sig);
  EQ(1, info->si_code);
  EQ(77, info->si_errno);
  EQ(SYS_getppid, info->si_syscall);
  EQ(AUDIT_ARCH_X86_64, info->si_arch);
  ucontext_t *u = uc;
  CHECK((uint64_t)info->si_call_addr == (uint64_t)u->uc_mcontext.gregs[REG_RIP]);
  EQ(SYS_getppid, u->uc_mcontext.gregs[REG_RAX]);
  CHECK(((unsigned char *)info->si_call_addr)[-1] == 0x05);
  u->uc_mcontext.gregs[REG_RAX] = 1234;
  trapped++;
}

static void trap_default(void) {
  on(SYS_getppid, SECCOMP_RET_TRAP);
  syscall(SYS_getppid);
}

static void trap_blocked(void) {
  handle_info(SIGSYS, on_sigsys, 0);
  block(SIGSYS);
  trap_default();
}

static void trap(void) {
  DIES(SIGSYS, start(trap_default));
  DIES(SIGSYS, start(trap_blocked));
  handle_info(SIGSYS, on_sigsys, 0);
  on(SYS_getppid, SECCOMP_RET_TRAP | 77);
  EQ(1234, syscall(SYS_getppid));
  EQ(1234, syscall(SYS_getppid));
  EQ(2, trapped);
}

static void killed_process(void) {
  handle(SIGSYS, SIG_IGN, 0);
  on(SYS_getppid, SECCOMP_RET_KILL_PROCESS);
  syscall(SYS_getppid);
}

static void killed_single(void) {
  on(SYS_getppid, SECCOMP_RET_KILL_THREAD);
  syscall(SYS_getppid);
}

static void unknown_action(void) {
  on(SYS_getppid, 0x00020000);
  syscall(SYS_getppid);
}

static void *dies_alone(void *) {
  on(SYS_getppid, SECCOMP_RET_KILL_THREAD);
  syscall(SYS_getppid);
  return (void *)1;
}

static void *dies_together(void *) {
  on(SYS_getppid, SECCOMP_RET_KILL_PROCESS);
  syscall(SYS_getppid);
  return (void *)1;
}

static void thread_dies(void) {
  pthread_t th;
  ZERO(pthread_create(&th, NULL, dies_alone, NULL));
  void *ret;
  ZERO(pthread_join(th, &ret));
  CHECK(ret != (void *)1);
  CHECK(syscall(SYS_getppid) > 0);  // this one has no filter
}

static void threads_die(void) {
  pthread_t th;
  ZERO(pthread_create(&th, NULL, dies_together, NULL));
  sleep(100);
}

static void kill_actions(void) {
  DIES(SIGSYS, start(killed_process));
  DIES(SIGSYS, start(killed_single));
  DIES(SIGSYS, start(unknown_action));
  forked(thread_dies);
  DIES(SIGSYS, start(threads_die));
}

static void inherited(void) {
  on(SYS_getppid, SECCOMP_RET_ERRNO | EXDEV);
  pid_t pid = SYS(fork());
  if (pid == 0) {
    ERR(EXDEV, syscall(SYS_getppid));
    on(SYS_getuid, SECCOMP_RET_ERRNO | ENODEV);
    ERR(ENODEV, syscall(SYS_getuid));
    execl("/proc/self/exe", "seccomp", "after_exec", NULL);
    _exit(1);
  }
  EXITS(0, pid);
  SYS(syscall(SYS_getuid));  // the child's own filter is its own
}

// after_exec is what inherited executes; by itself there is nothing to see.
static void after_exec(void) {
  if (prctl(PR_GET_SECCOMP) == 0) return;
  for (int i = 0; i < 50; i++) {
    ERR(EXDEV, syscall(SYS_getppid));
    ERR(ENODEV, syscall(SYS_getuid));
  }
  EQ(1, SYS(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)));
}

static int ready, go;

static void *waits(void *) {
  for (int i = 0; i < 100; i++) CHECK(syscall(SYS_getpid) > 0);
  __atomic_store_n(&ready, 1, __ATOMIC_SEQ_CST);
  while (!__atomic_load_n(&go, __ATOMIC_SEQ_CST)) {
  }
  ERR(EXDEV, syscall(SYS_getpid));
  EQ(1, SYS(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)));
  EQ(2, SYS(prctl(PR_GET_SECCOMP)));
  return NULL;
}

static void tsync(void) {
  pthread_t th;
  ZERO(pthread_create(&th, NULL, waits, NULL));
  WAIT_FOR(&ready, 1);
  struct sock_filter f[] = {LOAD(NR), IF(SYS_getpid, 0, 1), RETURN(SECCOMP_RET_ERRNO | EXDEV),
                            RETURN(SECCOMP_RET_ALLOW)};
  no_new_privs();
  EQ(0, SYS(install(SECCOMP_FILTER_FLAG_TSYNC, f, LEN(f))));
  __atomic_store_n(&go, 1, __ATOMIC_SEQ_CST);
  ZERO(pthread_join(th, NULL));
}

static pid_t other;

static void *diverges(void *) {
  on(SYS_getppid, SECCOMP_RET_ERRNO | EXDEV);
  __atomic_store_n(&other, (pid_t)syscall(SYS_gettid), __ATOMIC_SEQ_CST);
  while (!__atomic_load_n(&go, __ATOMIC_SEQ_CST)) sleep_ms(1);
  SYS(syscall(SYS_getuid));
  return NULL;
}

static void tsync_fails(void) {
  pthread_t th;
  ZERO(pthread_create(&th, NULL, diverges, NULL));
  while (!__atomic_load_n(&other, __ATOMIC_SEQ_CST)) sleep_ms(1);
  struct sock_filter f[] = {LOAD(NR), IF(SYS_getuid, 0, 1), RETURN(SECCOMP_RET_ERRNO | EXDEV),
                            RETURN(SECCOMP_RET_ALLOW)};
  EQ(other, install(SECCOMP_FILTER_FLAG_TSYNC, f, LEN(f)));
  ERR(ESRCH, install(SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_TSYNC_ESRCH, f, LEN(f)));
  SYS(syscall(SYS_getuid));
  EQ(0, SYS(prctl(PR_GET_SECCOMP)));
  __atomic_store_n(&go, 1, __ATOMIC_SEQ_CST);
  ZERO(pthread_join(th, NULL));
}

static void limits(void) {
  static struct sock_filter f[BPF_MAXINSNS];
  for (size_t i = 0; i < LEN(f); i++) f[i] = (struct sock_filter)RETURN(SECCOMP_RET_ALLOW);
  no_new_privs();
  // A return counts twice, and each filter for some more.
  for (int i = 0; i < 3; i++) SYS(install(0, f, LEN(f)));
  ERR(ENOMEM, install(0, f, LEN(f)));
  ERR(ENOMEM, install(0, f, 4085));
  SYS(install(0, f, 4084));
}

static int field(const char *name) { return atoi(value(slurp("/proc/thread-self/status"), name)); }

static void shown(void) {
  EQ(0, field("Seccomp"));
  EQ(0, field("Seccomp_filters"));
  on(5000, SECCOMP_RET_ERRNO);
  on(5001, SECCOMP_RET_ERRNO);
  EQ(2, field("Seccomp"));
  EQ(2, field("Seccomp_filters"));
  EQ(1, field("NoNewPrivs"));
}

TESTS(T(strict), T(bad_arguments), T(privilege), T(errnos), T(hot_calls), T(arguments), T(instruction_pointer),
      T(trap), T(kill_actions), T(inherited), T(after_exec), T(tsync), T(tsync_fails), T(limits), T(shown))
