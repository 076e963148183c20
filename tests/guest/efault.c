// Bad pointers: every call answers EFAULT, or another error, and never with
// anything worse. The numbers are called raw, with addresses that are not
// mapped, not writable, across the end of a mapping, in the kernel's half, and
// not canonical.
#include "check.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>

static uintptr_t bad[6];
static const char *bad_names[] = {"null page", "unmapped", "no access", "end of mapping", "kernel", "not canonical"};

static void make_bad(void) {
  char *p = map_private(3 * PAGE);
  SYS(munmap(p + 2 * PAGE, PAGE));
  SYS(mprotect(p + PAGE, PAGE, PROT_NONE));
  bad[0] = 8;
  bad[1] = (uintptr_t)p + 2 * PAGE;
  bad[2] = (uintptr_t)p + PAGE;
  bad[3] = (uintptr_t)p + PAGE - 1;  // one byte is there, of any struct
  bad[4] = 0xffffffff81000000;
  bad[5] = 0x8000000000000000;
}

static int null_fd, zero_fd, dir_fd, pipe_fd[2], event_fd, epoll_fd, timer_fd, file_fd;

static void make_files(void) {
  scratch();
  null_fd = SYS(open("/dev/null", O_RDWR));
  zero_fd = SYS(open("/dev/zero", O_RDWR));
  dir_fd = SYS(open("/", O_RDONLY | O_DIRECTORY));
  SYS(pipe(pipe_fd));
  EQ(8, SYS(write(pipe_fd[1], "12345678", 8)));
  event_fd = SYS(eventfd(1, EFD_NONBLOCK));
  epoll_fd = SYS(epoll_create1(0));
  timer_fd = SYS(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK));
  file_fd = SYS(open("file", O_RDWR | O_CREAT, 0600));
  EQ(8, SYS(write(file_fd, "12345678", 8)));
}

static const char good_path[] = "/";
static long good_area[64];

#define B -0x7bad  // stands for the bad pointer
#define G (long)good_area
#define P (long)good_path
#define CWD (long)AT_FDCWD

struct bad_call {
  const char *name;
  long nr;
  long args[6];
  int also;  // another error that is right
};
#define CALL(name, ...) {#name, SYS_##name, {__VA_ARGS__}, 0}
#define CALL_OR(error, name, ...) {#name, SYS_##name, {__VA_ARGS__}, error}

static void try_all(const struct bad_call *calls, size_t n) {
  for (size_t i = 0; i < n; i++) {
    for (size_t k = 0; k < LEN(bad); k++) {
      long a[6];
      for (int j = 0; j < 6; j++) a[j] = calls[i].args[j] == B ? (long)bad[k] : calls[i].args[j];
      errno = 0;
      long r = syscall(calls[i].nr, a[0], a[1], a[2], a[3], a[4], a[5]);
      // A single byte before the end of a mapping may be all that is needed.
      if (k == 3 && r >= 0) continue;
      if (r == -1 && (errno == EFAULT || (calls[i].also && errno == calls[i].also))) continue;
      if (r == -1 && k == 3 && (errno == EINVAL || errno == ENOENT || errno == EPERM || errno == ESRCH)) continue;
      FAIL("%s with %s: value %ld, %s", calls[i].name, bad_names[k], r, r == -1 ? strerrorname_np(errno) : "success");
    }
    say("%s ok\n", calls[i].name);
  }
}

static void paths(void) {
  make_bad();
  make_files();
  const struct bad_call calls[] = {
      CALL(open, B, O_RDONLY), CALL(openat, CWD, B, O_RDONLY), CALL(creat, B, 0600), CALL(stat, B, G), CALL(stat, P, B),
      CALL(lstat, B, G), CALL(lstat, P, B), CALL(newfstatat, CWD, B, G, 0), CALL(newfstatat, CWD, P, B, 0),
      CALL(statx, CWD, B, 0, 0x7ff, G), CALL(statx, CWD, P, 0, 0x7ff, B), CALL(access, B, 0),
      CALL(faccessat, CWD, B, 0), CALL(chdir, B), CALL(chmod, B, 0600), CALL(fchmodat, CWD, B, 0600),
      CALL(chown, B, -1, -1), CALL(lchown, B, -1, -1), CALL(fchownat, CWD, B, -1, -1, 0), CALL(mkdir, B, 0700),
      CALL(mkdirat, CWD, B, 0700), CALL(rmdir, B), CALL(unlink, B), CALL(unlinkat, CWD, B, 0), CALL(rename, B, P),
      CALL(rename, P, B), CALL(renameat, CWD, B, CWD, P), CALL(renameat2, CWD, P, CWD, B, 0), CALL(link, B, P),
      CALL(link, P, B), CALL(linkat, CWD, B, CWD, P, 0), CALL(symlink, B, P), CALL(symlink, P, B),
      CALL(symlinkat, B, CWD, P), CALL(readlink, B, G, 10), CALL(readlink, (long)"/proc/self/exe", B, 10),
      CALL(readlinkat, CWD, B, G, 10), CALL(truncate, B, 0), CALL(mknod, B, S_IFREG, 0),
      CALL(mknodat, CWD, B, S_IFREG, 0), CALL(utime, B, 0), CALL(utimes, B, 0), CALL(utimensat, CWD, B, 0, 0),
      CALL(utimensat, CWD, P, B, 0), CALL(statfs, B, G), CALL(statfs, P, B), CALL(execve, B, 0, 0),
      CALL(execve, (long)"/bin/busybox", B, 0), CALL(execve, (long)"/bin/busybox", 0, B), CALL(chroot, B),
      CALL(getcwd, B, 100), CALL(memfd_create, B, 0),
  };
  try_all(calls, LEN(calls));
}

static void descriptors(void) {
  make_bad();
  make_files();
  SYS(lseek(file_fd, 0, SEEK_SET));
  const struct bad_call calls[] = {
      CALL(read, zero_fd, B, 8), CALL(read, file_fd, B, 8), CALL(read, pipe_fd[0], B, 8),
      CALL_OR(EAGAIN, read, event_fd, B, 8), CALL(write, file_fd, B, 8), CALL(write, pipe_fd[1], B, 8),
      CALL_OR(EAGAIN, write, event_fd, B, 8), CALL(pread64, file_fd, B, 8, 0), CALL(pwrite64, file_fd, B, 8, 0),
      CALL(readv, file_fd, B, 1), CALL(writev, file_fd, B, 1), CALL(preadv, file_fd, B, 1, 0, 0),
      CALL(pwritev, file_fd, B, 1, 0, 0), CALL(fstat, file_fd, B), CALL(fstatfs, file_fd, B),
      CALL(getdents64, dir_fd, B, 1000), CALL(getdents, dir_fd, B, 1000), CALL(pipe, B), CALL(pipe2, B, 0),
      CALL(poll, B, 1, 0), CALL(ppoll, B, 1, 0, 0, 0), CALL(ppoll, 0, 0, B, 0, 0), CALL(ppoll, 0, 0, 0, B, 8),
      CALL(select, 10, B, 0, 0, 0), CALL(select, 0, 0, 0, 0, B), CALL(pselect6, 10, B, 0, 0, 0, 0),
      CALL(epoll_ctl, epoll_fd, EPOLL_CTL_ADD, pipe_fd[0], B), CALL(sendfile, pipe_fd[1], file_fd, B, 1),
      CALL(ioctl, pipe_fd[0], 0x541b /* FIONREAD */, B), CALL(fcntl, file_fd, F_GETLK, B),
      CALL(fcntl, file_fd, F_SETLK, B), CALL(timerfd_settime, timer_fd, 0, B, 0), CALL(timerfd_gettime, timer_fd, B),
      CALL(signalfd4, -1, B, 8, 0), CALL(copy_file_range, file_fd, B, file_fd, 0, 1, 0),
      CALL(splice, file_fd, B, pipe_fd[1], 0, 1, 0),
  };
  try_all(calls, LEN(calls));
}

static void processes(void) {
  make_bad();
  pid_t pid = SYS(fork());
  if (pid == 0)
    for (;;) pause();
  const struct bad_call calls[] = {
      CALL(rt_sigaction, SIGUSR1, B, 0, 8), CALL(rt_sigaction, SIGUSR1, 0, B, 8), CALL(rt_sigprocmask, 0, B, 0, 8),
      CALL(rt_sigprocmask, 0, 0, B, 8), CALL(rt_sigpending, B, 8), CALL(rt_sigsuspend, B, 8),
      CALL(rt_sigtimedwait, B, 0, 0, 8), CALL(rt_sigtimedwait, G, 0, B, 8), CALL(rt_sigqueueinfo, pid, 0, B),
      CALL(rt_tgsigqueueinfo, pid, pid, 0, B), CALL(sigaltstack, B, 0), CALL(sigaltstack, 0, B),
      CALL(waitid, P_PID, pid, B, WEXITED | WNOHANG, 0), CALL(getrlimit, 7, B), CALL(setrlimit, 7, B),
      CALL(prlimit64, 0, 7, B, 0), CALL(prlimit64, 0, 7, 0, B), CALL(getrusage, 0, B), CALL(sysinfo, B), CALL(times, B),
      CALL(uname, B), CALL(getresuid, B, G, G), CALL(getresgid, G, G, B), CALL(setgroups, 2, B),
      CALL(sched_getparam, 0, B), CALL(sched_setparam, 0, B), CALL(sched_setscheduler, 0, 0, B),
      CALL(sched_getaffinity, 0, 128, B), CALL(sched_setaffinity, 0, 8, B), CALL(prctl, PR_GET_NAME, B),
      CALL(prctl, PR_SET_NAME, B), CALL(prctl, PR_GET_PDEATHSIG, B), CALL(arch_prctl, 0x1003, B),
      CALL(getrandom, B, 100, 0), CALL(clone3, B, 88), CALL(get_robust_list, 0, B, G), CALL(getcpu, B, 0, 0),
      CALL(capget, B, G), CALL(sched_rr_get_interval, 0, B), CALL(pidfd_send_signal, 99, 0, B, 0),
  };
  if (getuid() != 0) {
    SYS(kill(pid, SIGKILL));
    DIES(SIGKILL, pid);
    return;
  }
  try_all(calls, LEN(calls) - 1);
  SYS(kill(pid, SIGKILL));
  DIES(SIGKILL, pid);
}

static void clocks_and_memory(void) {
  make_bad();
  make_files();
  const struct bad_call calls[] = {
      CALL(clock_gettime, CLOCK_MONOTONIC, B), CALL(clock_getres, CLOCK_MONOTONIC, B), CALL(gettimeofday, B, 0),
      CALL(gettimeofday, 0, B), CALL(time, B), CALL(nanosleep, B, 0), CALL(clock_nanosleep, CLOCK_MONOTONIC, 0, B, 0),
      CALL(setitimer, 0, B, 0), CALL(getitimer, 0, B), CALL(timer_create, CLOCK_MONOTONIC, B, G),
      CALL(timer_create, CLOCK_MONOTONIC, 0, B), CALL_OR(EINVAL, futex, B, 0, 0, 0), CALL_OR(EINVAL, futex, B, 1 | 4, 0, 0, B, 0),
      CALL(mincore, (long)good_area & ~4095, 4096, B),
  };
  try_all(calls, LEN(calls));
}

static void sockets(void) {
  make_bad();
  int s[2];
  SYS(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
  SYS(fcntl(s[0], F_SETFL, O_NONBLOCK));
  EQ(1, SYS(write(s[1], "x", 1)));
  good_area[0] = 4;  // the length that getsockopt reads
  const struct bad_call calls[] = {
      CALL(socketpair, AF_UNIX, SOCK_STREAM, 0, B), CALL(bind, s[0], B, 10), CALL(connect, s[0], B, 10),
      CALL(getsockname, s[0], B, B), CALL(getpeername, s[0], B, B), CALL(sendto, s[0], B, 10, 0, 0, 0),
      CALL(recvfrom, s[0], B, 1, MSG_PEEK, 0, 0), CALL(sendmsg, s[0], B, 0), CALL(recvmsg, s[0], B, 0),
      CALL(setsockopt, s[0], SOL_SOCKET, SO_SNDBUF, B, 4), CALL(getsockopt, s[0], SOL_SOCKET, SO_TYPE, B, G),
  };
  try_all(calls, LEN(calls));
}

// Random numbers and arguments: errors are fine, an end of the process by a
// signal of its own making too, but the kernel and its other processes live.
static unsigned seed;
static unsigned long random_value(void) {
  seed = seed * 1103515245 + 12345;
  switch (seed >> 16 & 7) {
    case 0: return bad[(seed >> 20) % LEN(bad)];
    case 1: return (unsigned long)good_area;
    case 2: return seed >> 20 & 15;
    case 3: return -1UL;
    case 4: return 1UL << (seed >> 20 & 63);
    case 5: return seed >> 8;
    case 6: return 0;
    default: return (unsigned long)good_path;
  }
}

static void noise(void) {
  make_bad();
  for (unsigned round = 0; round < 20; round++) {
    pid_t pid = SYS(fork());
    if (pid == 0) {
      // Everything that could reach beyond the process is left out.
      static const int numbers[] = {SYS_read, SYS_write, SYS_fstat, SYS_poll, SYS_lseek, SYS_mprotect, SYS_rt_sigaction,
          SYS_rt_sigprocmask, SYS_pread64, SYS_readv, SYS_access, SYS_pipe, SYS_select, SYS_sched_yield, SYS_mremap,
          SYS_msync, SYS_mincore, SYS_madvise, SYS_dup, SYS_dup2, SYS_getitimer, SYS_sendfile, SYS_fcntl, SYS_getdents,
          SYS_getcwd, SYS_readlink, SYS_umask, SYS_gettimeofday, SYS_getrlimit, SYS_getrusage, SYS_sysinfo, SYS_times,
          SYS_getpgid, SYS_getsid, SYS_rt_sigpending, SYS_sigaltstack, SYS_sched_getparam, SYS_arch_prctl, SYS_futex,
          SYS_sched_getaffinity, SYS_epoll_ctl, SYS_epoll_create, SYS_getdents64, SYS_clock_gettime, SYS_epoll_wait,
          SYS_openat, SYS_newfstatat, SYS_readlinkat, SYS_ppoll, SYS_eventfd2, SYS_dup3, SYS_pipe2, SYS_preadv,
          SYS_statx, SYS_getrandom, SYS_memfd_create, SYS_timerfd_create, SYS_timerfd_settime, SYS_signalfd4,
          SYS_copy_file_range, SYS_splice, SYS_tee, SYS_mmap, SYS_brk, SYS_munmap, SYS_get_robust_list, SYS_waitid,
          SYS_wait4, SYS_capget, SYS_getcpu, SYS_close_range, SYS_rseq, SYS_membarrier};
      SYS(close(1));
      SYS(close(2));
      seed = round * 7919 + 1;
      for (int i = 0; i < 300; i++) {
        unsigned long a[6];
        seed = seed * 1103515245 + 12345;
        long nr = numbers[(seed >> 16) % LEN(numbers)];
        for (int k = 0; k < 6; k++) a[k] = random_value();
        if (nr == SYS_poll || nr == SYS_epoll_wait) a[2] = nr == SYS_poll ? 0 : 1, a[3] = 0;
        if (nr == SYS_futex || nr == SYS_ppoll || nr == SYS_select) continue;
        syscall(nr, a[0], a[1], a[2], a[3], a[4], a[5]);
      }
      _exit(0);
    }
    // It may have blocked for good, with signals blocked: end it then.
    int st = 0;
    for (int ms = 0; ms < 500 && SYS(waitpid(pid, &st, WNOHANG)) == 0; ms++) sleep_ms(1);
    if (kill(pid, SIGKILL) == 0) st = status_of(pid);
    CHECK(WIFEXITED(st) || WTERMSIG(st) == SIGKILL || WTERMSIG(st) == SIGSEGV || WTERMSIG(st) == SIGBUS ||
          WTERMSIG(st) == SIGPIPE || WTERMSIG(st) == SIGTRAP || WTERMSIG(st) == SIGILL);
  }
}

TESTS(T(paths), T(descriptors), T(processes), T(clocks_and_memory), T(sockets), T(noise))
