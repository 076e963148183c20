// clone in its forms: vfork, flags, clone3, pidfd.
#include "check.h"

#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <sys/pidfd.h>

static char stack[4][65536] __attribute__((aligned(16)));
#define STACK(i) (stack[i] + sizeof(stack[i]))

static int shared_value;
static int shared_fd;

// The parent waits until the child of vfork ends, and sees what it wrote.
static void vfork_exit(void) {
  volatile int value = 1;
  pid_t pid = vfork();
  if (pid == 0) {
    value = 2;
    _exit(8);
  }
  CHECK(pid > 0);
  EQ(2, value);
  EXITS(8, pid);
}

static void vfork_exec(void) {
  pid_t pid = vfork();
  if (pid == 0) {
    execl("/bin/busybox", "sh", "-c", "exit 21", NULL);
    _exit(99);
  }
  CHECK(pid > 0);
  EXITS(21, pid);
}

static void vfork_exec_fails(void) {
  pid_t pid = vfork();
  if (pid == 0) {
    execl("/missing", "x", NULL);
    _exit(errno == ENOENT ? 3 : 4);
  }
  EXITS(3, pid);
}

static void vfork_killed(void) {
  pid_t pid = vfork();
  if (pid == 0) {
    kill(getpid(), SIGKILL);
    _exit(0);
  }
  DIES(SIGKILL, pid);
}

static int set_value(void *arg) {
  shared_value = (int)(long)arg;
  return 0;
}

static void vm_shared(void) {
  shared_value = 0;
  EXITS(0, SYS(clone(set_value, STACK(0), CLONE_VM | SIGCHLD, (void *)5)));
  EQ(5, shared_value);
  EXITS(0, SYS(clone(set_value, STACK(0), SIGCHLD, (void *)6)));
  EQ(5, shared_value);
  EXITS(0, SYS(clone(set_value, STACK(0), CLONE_VM | CLONE_VFORK | SIGCHLD, (void *)7)));
  EQ(7, shared_value);
}

static int close_fd(void *arg UNUSED) { return close(shared_fd); }

static void files_shared(void) {
  shared_fd = SYS(open("/dev/null", O_RDONLY));
  EXITS(0, SYS(clone(close_fd, STACK(0), SIGCHLD, NULL)));
  SYS(fcntl(shared_fd, F_GETFD));
  EXITS(0, SYS(clone(close_fd, STACK(0), CLONE_FILES | SIGCHLD, NULL)));
  ERR(EBADF, fcntl(shared_fd, F_GETFD));
}

static int change_fs(void *arg UNUSED) {
  umask(0123);
  return chdir("/");
}

static void fs_shared(void) {
  scratch();
  char cwd[PATH_MAX];
  umask(022);
  EXITS(0, SYS(clone(change_fs, STACK(0), SIGCHLD, NULL)));
  CHECK(getcwd(cwd, sizeof(cwd)) && strcmp(cwd, scratch_path) == 0);
  EXITS(0, SYS(clone(change_fs, STACK(0), CLONE_FS | SIGCHLD, NULL)));
  CHECK(getcwd(cwd, sizeof(cwd)) && strcmp(cwd, "/") == 0);
  EQ(0123, umask(022));
}

static int ignore_usr1(void *arg UNUSED) {
  struct sigaction sa = {.sa_handler = SIG_IGN};
  return sigaction(SIGUSR1, &sa, NULL);
}

static void sighand_shared(void) {
  struct sigaction sa;
  EXITS(0, SYS(clone(ignore_usr1, STACK(0), CLONE_VM | SIGCHLD, NULL)));
  SYS(sigaction(SIGUSR1, NULL, &sa));
  CHECK(sa.sa_handler == SIG_DFL);
  EXITS(0, SYS(clone(ignore_usr1, STACK(0), CLONE_VM | CLONE_SIGHAND | SIGCHLD, NULL)));
  SYS(sigaction(SIGUSR1, NULL, &sa));
  CHECK(sa.sa_handler == SIG_IGN);
}

static void bad_flags(void) {
  unsigned long bad[] = {CLONE_SIGHAND, CLONE_THREAD, CLONE_THREAD | CLONE_VM, CLONE_THREAD | CLONE_SIGHAND,
                         CLONE_FS | CLONE_NEWNS, CLONE_PIDFD | CLONE_PARENT_SETTID};
  for (size_t i = 0; i < LEN(bad); i++) ERR(EINVAL, syscall(SYS_clone, bad[i] | SIGCHLD, 0, 0, 0, 0));
}

static int same_parent(void *arg) { return getppid() == *(pid_t *)arg ? 0 : 1; }

static void parent_flag(void) {
  pid_t parent = getpid();
  pid_t pid = SYS(fork());
  if (pid == 0) {
    SYS(clone(same_parent, STACK(0), CLONE_PARENT | SIGCHLD, &parent));
    ERR(ECHILD, wait(NULL));
    _exit(0);
  }
  int st, kids = 0;
  while (wait(&st) > 0) {
    EQ(0, st);
    kids++;
  }
  EQ(2, kids);
}

static void tid_pointers(void) {
  int *shared = map_shared(PAGE);
  pid_t pid = SYS(syscall(SYS_clone, CLONE_PARENT_SETTID | CLONE_CHILD_SETTID | SIGCHLD, 0, &shared[0], &shared[1], 0));
  if (pid == 0) {
    EQ(getpid(), shared[1]);
    _exit(0);
  }
  EQ(pid, shared[0]);
  EXITS(0, pid);
  EQ(pid, shared[1]);
  shared[2] = 99;
  pid = SYS(clone(set_value, STACK(0), CLONE_VM | CLONE_CHILD_CLEARTID | SIGCHLD, NULL, NULL, NULL, &shared[2]));
  EXITS(0, pid);
  EQ(0, shared[2]);
}

static int clone3(struct clone_args *a, size_t size) { return syscall(SYS_clone3, a, size); }

static void clone3_fork(void) {
  struct clone_args a = {.exit_signal = SIGCHLD};
  pid_t pid = SYS(clone3(&a, sizeof(a)));
  if (pid == 0) _exit(14);
  EXITS(14, pid);
  pid = SYS(clone3(&a, CLONE_ARGS_SIZE_VER0));
  if (pid == 0) _exit(15);
  EXITS(15, pid);
}

static void clone3_bad(void) {
  struct clone_args a = {.exit_signal = SIGCHLD};
  ERR(EINVAL, clone3(&a, 8));
  ERR(E2BIG, clone3(&a, 2 * PAGE));
  ERR(EFAULT, clone3((void *)8, sizeof(a)));
  a.exit_signal = 65;
  ERR(EINVAL, clone3(&a, sizeof(a)));
  a.exit_signal = SIGCHLD;
  a.flags = CLONE_THREAD;
  ERR(EINVAL, clone3(&a, sizeof(a)));
  a.flags = 1;  // the signal does not go here
  ERR(EINVAL, clone3(&a, sizeof(a)));
  a.flags = 0;
  a.stack = (uintptr_t)stack[0];  // a stack without a size
  ERR(EINVAL, clone3(&a, sizeof(a)));
  a.stack = 0;
  a.stack_size = 4096;
  ERR(EINVAL, clone3(&a, sizeof(a)));
  struct {
    struct clone_args a;
    uint64_t more;
  } big = {.a = {.exit_signal = SIGCHLD}, .more = 1};
  ERR(E2BIG, clone3(&big.a, sizeof(big)));
  big.more = 0;
  pid_t pid = SYS(clone3(&big.a, sizeof(big)));
  if (pid == 0) _exit(0);
  EXITS(0, pid);
}

static void clear_sighand(void) {
  handle(SIGUSR1, (void (*)(int))exit, 0);
  handle(SIGUSR2, SIG_IGN, 0);
  struct clone_args a = {.exit_signal = SIGCHLD, .flags = CLONE_CLEAR_SIGHAND};
  pid_t pid = SYS(clone3(&a, sizeof(a)));
  if (pid == 0) {
    struct sigaction sa;
    SYS(sigaction(SIGUSR1, NULL, &sa));
    CHECK(sa.sa_handler == SIG_DFL);
    SYS(sigaction(SIGUSR2, NULL, &sa));
    CHECK(sa.sa_handler == SIG_IGN);
    _exit(0);
  }
  EXITS(0, pid);
}

static void pidfd_wait(void) {
  int fd = -1, p[2];
  SYS(pipe(p));
  struct clone_args a = {.exit_signal = SIGCHLD, .flags = CLONE_PIDFD, .pidfd = (uintptr_t)&fd};
  pid_t pid = SYS(clone3(&a, sizeof(a)));
  if (pid == 0) {
    get(p[0]);
    _exit(33);
  }
  CHECK(fd >= 0);
  EQ(FD_CLOEXEC, SYS(fcntl(fd, F_GETFD)));
  struct pollfd pf = {.fd = fd, .events = POLLIN};
  EQ(0, SYS(poll(&pf, 1, 0)));
  put(p[1], 'x');
  EQ(1, SYS(poll(&pf, 1, 10000)));
  EQ(POLLIN, pf.revents);
  siginfo_t si;
  SYS(waitid(P_PIDFD, fd, &si, WEXITED));
  EQ(pid, si.si_pid);
  EQ(33, si.si_status);
}

static void pidfd_signal(void) {
  pid_t pid = SYS(fork());
  if (pid == 0)
    for (;;) pause();
  int fd = SYS(syscall(SYS_pidfd_open, pid, 0));
  EQ(0, SYS(syscall(SYS_pidfd_send_signal, fd, 0, NULL, 0)));
  EQ(0, SYS(syscall(SYS_pidfd_send_signal, fd, SIGTERM, NULL, 0)));
  DIES(SIGTERM, pid);
  ERR(ESRCH, syscall(SYS_pidfd_send_signal, fd, SIGTERM, NULL, 0));
  ERR(ESRCH, syscall(SYS_pidfd_open, pid, 0));
  ERR(EINVAL, syscall(SYS_pidfd_open, 0, 0));
  ERR(EINVAL, syscall(SYS_pidfd_open, getpid(), 0x12345));
  int null = SYS(open("/dev/null", O_RDONLY));
  ERR(EBADF, syscall(SYS_pidfd_send_signal, null, SIGTERM, NULL, 0));
}

static void null_stack_is_own(void) {
  // As fork: a null stack means the caller's, copied.
  int local = 3;
  pid_t pid = SYS(syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0));
  if (pid == 0) {
    EQ(3, local);
    _exit(local);
  }
  EXITS(3, pid);
}

TESTS(T(vfork_exit), T(vfork_exec), T(vfork_exec_fails), T(vfork_killed), T(vm_shared), T(files_shared), T(fs_shared),
      T(sighand_shared), T(bad_flags), T(parent_flag), T(tid_pointers), T(clone3_fork), T(clone3_bad),
      T(clear_sighand), T(pidfd_wait), T(pidfd_signal), T(null_stack_is_own))
