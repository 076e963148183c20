// calls makes system calls for strace to show: a subject each, chosen by
// argv[1]. It prints nothing, and depends on nothing that differs between
// kernels but ids, addresses and times.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>
#include <utime.h>

#define C(nr, ...) syscall(SYS_##nr, ##__VA_ARGS__)

// bad is memory that is not there.
static char *const bad = (char *)0x10;

static void files(void) {
  char buf[64] = "some text\n";
  char big[100];
  memset(big, 'x', sizeof(big));
  struct stat st;
  C(open, "a", O_RDWR | O_CREAT | O_TRUNC, 0640);
  C(write, 3, buf, 10);
  C(write, 3, big, sizeof(big));
  C(write, 3, "\x01\x02\x00\x7f\xff\t\r\v\f\\\"9", 12);
  C(lseek, 3, -5, SEEK_END);
  C(lseek, 3, 2, SEEK_SET);
  C(lseek, 3, 2, 77);
  C(read, 3, buf, 7);
  C(read, 3, bad, 7);
  C(read, 99, buf, 7);
  C(pread64, 3, buf, 4, 1);
  C(pwrite64, 3, "zz", 2, 100);
  struct iovec v[3] = {{"ab", 2}, {NULL, 0}, {"cde", 3}};
  C(writev, 3, v, 3);
  C(pwritev, 3, v, 3, 5, 0);
  struct iovec r[2] = {{buf, 2}, {buf + 2, 60}};
  C(preadv, 3, r, 2, 0, 0);
  C(preadv2, 3, r, 2, 0, 0, 0);
  C(readv, 3, r, 2);
  C(readv, 3, bad, 2);
  C(readv, 3, r, 0);
  C(fstat, 3, &st);
  C(stat, "a", &st);
  C(stat, "none", &st);
  C(stat, bad, &st);
  C(lstat, "/dev/null", &st);
  C(newfstatat, AT_FDCWD, "a", &st, AT_SYMLINK_NOFOLLOW);
  C(ftruncate, 3, 50);
  C(truncate, "a", 20);
  C(fchmod, 3, 0755);
  C(chmod, "a", 04755);
  C(fchmodat, AT_FDCWD, "a", 0);
  C(chown, "a", -1, -1);
  C(fchownat, AT_FDCWD, "a", -1, -1, AT_SYMLINK_NOFOLLOW);
  C(access, "a", R_OK | W_OK);
  C(access, "a", F_OK);
  C(faccessat, AT_FDCWD, "a", X_OK);
  C(link, "a", "b");
  C(linkat, AT_FDCWD, "a", AT_FDCWD, "c", 0);
  C(symlink, "a", "s");
  C(symlinkat, "a", AT_FDCWD, "s2");
  C(readlink, "s", buf, sizeof(buf));
  C(readlinkat, AT_FDCWD, "s2", buf, sizeof(buf));
  C(readlink, "a", buf, sizeof(buf));
  C(rename, "b", "d");
  C(renameat, AT_FDCWD, "d", AT_FDCWD, "e");
  C(renameat2, AT_FDCWD, "e", AT_FDCWD, "a", 1);
  C(mkdir, "dir", 0700);
  C(mkdirat, AT_FDCWD, "dir2", 0755);
  C(rmdir, "dir2");
  C(unlinkat, AT_FDCWD, "dir", AT_REMOVEDIR);
  C(unlink, "c");
  C(mknod, "fifo", S_IFIFO | 0644, 0);
  C(mknodat, AT_FDCWD, "none/x", S_IFCHR | 0600, 0x103);
  C(mknodat, AT_FDCWD, "none/x", 0600, 0);
  C(chdir, "none");
  C(getcwd, buf, 1);
  C(umask, 077);
  C(umask, 022);
  C(dup, 3);
  C(dup2, 3, 10);
  C(dup3, 3, 11, O_CLOEXEC);
  C(flock, 3, LOCK_SH | LOCK_NB);
  C(flock, 3, LOCK_UN);
  C(fsync, 3);
  C(fdatasync, 3);
  C(fadvise64, 3, 0, 0, POSIX_FADV_WILLNEED);
  C(fallocate, 3, 1, 0, 10);
  C(creat, "f", 0600);
  C(sendfile, 12, 3, NULL, 100);
  off_t off = 4;
  C(sendfile, 12, 3, &off, 10);
  C(close_range, 11, 200, 0);
  C(close, 10);
  C(close, -1);
  C(openat, AT_FDCWD, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NONBLOCK);
  C(getdents64, 5, buf, 1);
  C(fchdir, 5);
  C(fchdir, 3);
  C(open, "a", O_WRONLY | O_APPEND | O_EXCL | O_NOFOLLOW | O_NOCTTY | O_SYNC, 0);
  C(open, "a", O_RDWR | O_PATH | 0x80000000);
  struct timespec ts[2] = {{1, 2}, {0, UTIME_NOW}};
  C(utimensat, AT_FDCWD, "a", ts, AT_SYMLINK_NOFOLLOW);
  struct timespec omit[2] = {{0, UTIME_OMIT}, {1000000000, 0}};
  C(utimensat, AT_FDCWD, "none", omit, 0);
  C(utimensat, 3, NULL, NULL, 0);
  struct utimbuf ut = {5, 6};
  C(utime, "none", &ut);
  struct timeval tv[2] = {{1, 5}, {2, 0}};
  C(utimes, "none", tv);
  C(openat, AT_FDCWD, "a-name-that-is-longer-than-thirty-two-bytes-is-shown-whole", O_RDONLY);
  C(execve, "./none", NULL, NULL);
  uint64_t how[3] = {O_RDONLY, 0, 1};
  C(openat2, AT_FDCWD, "a", how, 24);
  C(setxattr, "none", "user.x", "value", 5, XATTR_CREATE);
  C(getxattr, "none", "user.x", buf, 5);
  C(listxattr, "none", buf, 5);
  C(removexattr, "none", "user.x");
  C(statfs, "none", buf);
  C(chroot, "none");
}

static void descriptors(void) {
  int p[2];
  char buf[100];
  C(pipe, p);
  C(pipe2, p, O_CLOEXEC | O_NONBLOCK);
  C(pipe2, p, 0x40000000);
  C(pipe, bad);
  C(read, 5, buf, 1);
  C(fcntl, 3, F_GETFD);
  C(fcntl, 5, F_GETFD);
  C(fcntl, 5, F_GETFL);
  C(fcntl, 3, F_SETFD, FD_CLOEXEC);
  C(fcntl, 3, F_SETFL, O_NONBLOCK);
  C(fcntl, 3, F_DUPFD, 20);
  C(fcntl, 3, F_DUPFD_CLOEXEC, 30);
  C(fcntl, 99, F_GETFL);
  C(fcntl, 3, 4711, 5);
  int file = C(open, "l", O_RDWR | O_CREAT, 0600);
  struct flock fl = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 1, .l_len = 2};
  C(fcntl, file, F_SETLK, &fl);
  C(fcntl, file, F_GETLK, &fl);
  C(fcntl, file, F_SETLKW, bad);
  struct pollfd pf[3] = {{3, POLLIN, 0}, {6, POLLOUT | POLLPRI, 0}, {-1, POLLIN, 0}};
  C(poll, pf, 3, 0);
  C(poll, pf, 1, 0);
  C(poll, NULL, 0, 1);
  C(poll, bad, 1, 1);
  struct timespec ts = {0, 1000};
  C(ppoll, pf, 1, &ts, NULL, 8L);
  fd_set in, out;
  FD_ZERO(&in);
  FD_ZERO(&out);
  FD_SET(3, &in);
  FD_SET(6, &out);
  C(select, 7, &in, &out, NULL, NULL);
  struct timeval tv = {0, 0};
  FD_SET(3, &in);
  C(select, 4, &in, NULL, NULL, &tv);
  sigset_t set;
  sigemptyset(&set);
  struct { const sigset_t *s; size_t n; } pack = {&set, 8};
  struct timespec zero = {0, 0};
  C(pselect6, 4, &in, NULL, NULL, &zero, &pack);
  int e = C(epoll_create1, EPOLL_CLOEXEC);
  C(epoll_create, 0);
  struct epoll_event ev = {.events = EPOLLOUT | EPOLLET | EPOLLONESHOT, .data.u64 = 0x100000002};
  C(epoll_ctl, e, EPOLL_CTL_ADD, 6, &ev);
  C(epoll_ctl, e, EPOLL_CTL_ADD, 6, &ev);
  C(epoll_ctl, e, EPOLL_CTL_ADD, 3, bad);
  struct epoll_event evs[2];
  C(epoll_wait, e, evs, 2, 0);
  C(epoll_wait, e, evs, 2, 0);
  C(epoll_pwait, e, evs, 2, 0, &set, 8L);
  C(epoll_ctl, e, EPOLL_CTL_DEL, 6, NULL);
  C(epoll_ctl, e, 77, 6, NULL);
  C(eventfd2, 5, EFD_CLOEXEC | EFD_SEMAPHORE);
  C(eventfd, 5);
  sigaddset(&set, SIGUSR2);
  C(signalfd4, -1, &set, 8, SFD_NONBLOCK | SFD_CLOEXEC);
  int t = C(timerfd_create, CLOCK_MONOTONIC, TFD_NONBLOCK);
  struct itimerspec its = {{0, 0}, {1000, 0}}, old;
  C(timerfd_settime, t, 0, &its, &old);
  C(timerfd_settime, t, TFD_TIMER_ABSTIME, bad, NULL);
  C(ioctl, 3, FIONREAD, buf);
  C(ioctl, 99, FIONREAD, buf);
  C(ioctl, 3, FIONBIO, bad);
  C(ioctl, 3, FIOCLEX);
  C(ioctl, 99, TCGETS, buf);
  C(ioctl, 99, TIOCGWINSZ, buf);
  C(ioctl, 99, 0x12345678, 0x1234);
  C(memfd_create, "name", MFD_CLOEXEC | MFD_ALLOW_SEALING);
}

static void memory(void) {
  void *m = (void *)C(mmap, NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  C(mprotect, m, 4096, PROT_NONE);
  C(mprotect, m, 4096, PROT_READ | PROT_EXEC);
  C(madvise, m, 4096, MADV_DONTNEED);
  C(madvise, m, 4096, 4711);
  C(mremap, m, 4096, 4096, 0);
  C(mremap, m, 4096, 4096, MREMAP_FIXED, bad);
  C(msync, m, 4096, MS_ASYNC | MS_INVALIDATE);
  unsigned char vec[2];
  C(mincore, m, 1, bad);
  C(mlock, m, 0);
  C(munlock, m, 0);
  C(munlockall);
  C(munmap, m, 8192);
  C(mincore, m, 4096, vec);
  C(munmap, bad, 1);
  C(mmap, bad, 1, PROT_READ, MAP_SHARED | MAP_FIXED, 99, 4096);
  C(mmap, NULL, 0, 0x4000, 0x20, -1, 1);
  C(brk, 0);
  C(membarrier, 0, 77, 5);
}

static void handler(int s) { (void)s; }

static void signals(void) {
  struct sigaction sa = {.sa_handler = handler, .sa_flags = SA_RESTART};
  sigaddset(&sa.sa_mask, SIGINT);
  sigaction(SIGUSR1, &sa, NULL);
  sa.sa_flags = SA_SIGINFO | SA_NODEFER | SA_RESETHAND;
  struct sigaction old;
  sigaction(SIGUSR2, &sa, &old);
  signal(SIGPIPE, SIG_IGN);
  C(rt_sigaction, 99, NULL, NULL, 8);
  C(rt_sigaction, SIGTERM, bad, NULL, 8);
  sigset_t set;
  sigfillset(&set);
  C(rt_sigprocmask, SIG_BLOCK, &set, NULL, 8);
  C(rt_sigprocmask, 5, NULL, &set, 8);
  C(kill, getpid(), SIGUSR1);
  C(rt_sigpending, &set, 8);
  sigemptyset(&set);
  C(rt_sigprocmask, SIG_SETMASK, &set, NULL, 8);
  C(kill, getpid(), SIGUSR2);
  C(kill, getpid(), SIGPIPE);
  C(kill, getpid(), SIGCHLD);
  C(kill, getpid(), SIGWINCH);
  C(kill, getpid(), 0);
  C(kill, getpid(), 99);
  C(tkill, getpid(), SIGUSR1);
  C(tgkill, getpid(), getpid(), SIGUSR1);
  siginfo_t si = {.si_signo = SIGUSR1, .si_code = SI_QUEUE};
  si.si_pid = 1;
  si.si_value.sival_int = 7;
  C(rt_sigqueueinfo, getpid(), SIGUSR1, &si);
  stack_t ss = {.ss_sp = NULL, .ss_flags = SS_DISABLE};
  C(sigaltstack, &ss, &ss);
  sigaddset(&set, SIGTERM);
  C(rt_sigprocmask, SIG_BLOCK, &set, NULL, 8);
  struct timespec ts = {0, 1};
  C(rt_sigtimedwait, &set, &si, &ts, 8);
  C(kill, getpid(), SIGTERM);
  C(rt_sigtimedwait, &set, NULL, NULL, 8);
  struct itimerval it = {{0, 0}, {0, 20000}};
  signal(SIGALRM, handler);
  C(setitimer, ITIMER_REAL, &it, NULL);
  C(pause);
  struct itimerval was;
  C(setitimer, ITIMER_REAL, &it, &was);
  sigemptyset(&set);
  C(rt_sigsuspend, &set, 8);
  C(setitimer, 77, &it, NULL);
  C(setitimer, ITIMER_REAL, &it, NULL);
  ts = (struct timespec){5, 0};
  C(nanosleep, &ts, NULL);
  C(alarm, 0);
}

static int in_thread;

static void *wait_forever(void *p) {
  (void)p;
  C(futex, &in_thread, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
  return NULL;
}

static void processes(void) {
  int st;
  struct rusage ru;
  struct rlimit none = {0, 0};
  C(setrlimit, RLIMIT_CORE, &none);
  pid_t pid = fork();
  if (pid == 0) C(exit_group, 7);
  C(wait4, pid, &st, 0, NULL);
  pid = fork();
  if (pid == 0) {
    C(kill, getpid(), SIGKILL);
  }
  C(wait4, pid, &st, __WALL, &ru);
  pid = fork();
  if (pid == 0) {
    C(kill, getpid(), SIGTERM);
  }
  siginfo_t si = {0};
  C(waitid, P_PID, pid, &si, WEXITED | WNOWAIT, NULL);
  C(waitid, P_ALL, 0, &si, WEXITED, NULL);
  C(waitid, P_ALL, 0, &si, WEXITED | WNOHANG, NULL);
  C(wait4, -1, NULL, WNOHANG | WUNTRACED | WCONTINUED, NULL);
  pid = vfork();
  if (pid == 0) {
    C(execve, "/proc/self/exe", ((char *[]){"calls", "nothing", NULL}), ((char *[]){"A=1", "B=2", NULL}));
    _exit(1);
  }
  C(wait4, pid, &st, 0, NULL);
  pid = fork();
  if (pid == 0) {
    volatile int *volatile nothing = (int *)bad;
    *nothing = 1;
  }
  C(wait4, pid, NULL, 0, NULL);
  C(getppid);
  C(getpgrp);
  C(setpgid, 0, -1);
  C(getsid, 4194303);
  C(sched_yield);
  C(getpriority, PRIO_PROCESS, 0);
  C(setpriority, PRIO_PROCESS, 0, 0);
  C(getpriority, 77, 0);
  C(sched_getscheduler, 0);
  C(sched_get_priority_max, SCHED_FIFO);
  struct sched_param sp = {0};
  C(sched_setscheduler, 0, SCHED_OTHER, &sp);
  C(sched_getparam, 0, &sp);
  C(prctl, PR_SET_NAME, "a name");
  char name[16];
  C(prctl, PR_GET_NAME, name);
  C(prctl, PR_GET_DUMPABLE);
  C(prctl, PR_SET_DUMPABLE, 1);
  C(prctl, PR_SET_PDEATHSIG, SIGHUP);
  int sig;
  C(prctl, PR_GET_PDEATHSIG, &sig);
  C(prctl, PR_SET_CHILD_SUBREAPER, 0);
  C(prctl, PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0);
  C(prctl, PR_CAPBSET_READ, 0);
  C(prctl, 4711, 1, 2, 3, 4);
  struct rlimit rl;
  C(getrlimit, RLIMIT_STACK, &rl);
  C(getrlimit, 99, &rl);
  C(prlimit64, 0, RLIMIT_CORE, NULL, &rl);
  C(personality, 0xffffffff);
  C(getresuid, &st, &st, &st);
  C(setresuid, -1, -1, -1);
  C(setuid, -1);
  C(getgroups, 0, NULL);
  C(getgroups, -1, NULL);
  C(arch_prctl, 0x4711, 0);
  C(futex, &in_thread, FUTEX_WAKE, 1);
  C(futex, &in_thread, FUTEX_WAIT, 5, NULL);
  struct timespec ts = {0, 1000};
  C(futex, &in_thread, FUTEX_WAIT_PRIVATE, 0, &ts);
  C(futex, &in_thread, FUTEX_WAKE_BITSET_PRIVATE, 1, NULL, NULL, 5);
  C(futex, &in_thread, FUTEX_CMP_REQUEUE, 1, 2, &st, 9);
  C(restart_syscall);
}

static void threads(void) {
  pthread_t th;
  pthread_create(&th, NULL, wait_forever, NULL);
  struct timespec ts = {0, 50000000};
  C(nanosleep, &ts, NULL);
  in_thread = 1;
  C(futex, &in_thread, FUTEX_WAKE_PRIVATE, 1);
  pthread_join(th, NULL);
  in_thread = 0;
  pthread_create(&th, NULL, wait_forever, NULL);
  C(nanosleep, &ts, NULL);
  C(exit_group, 5);
}

static void times(void) {
  struct timespec ts = {-1, 5};
  C(nanosleep, &ts, NULL);
  C(nanosleep, bad, NULL);
  ts = (struct timespec){0, 1};
  C(nanosleep, &ts, &ts);
  C(clock_nanosleep, CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL);
  C(clock_nanosleep, 99, 0, &ts, NULL);
  C(clock_getres, CLOCK_BOOTTIME, NULL);
  C(clock_gettime, 77, &ts);
  struct itimerval it;
  C(getitimer, ITIMER_PROF, &it);
  C(getitimer, 5, &it);
  C(gettimeofday, NULL, NULL);
}

static void unknown(void) {
  syscall(1000, 1, 2, 3, 4, 5, 6);
}

int main(int argc, char **argv) {
  const struct { const char *name; void (*fn)(void); } all[] = {
      {"files", files},     {"descriptors", descriptors}, {"memory", memory}, {"signals", signals},
      {"processes", processes}, {"threads", threads},     {"times", times},   {"unknown", unknown},
  };
  for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
    if (argc > 1 && strcmp(argv[1], all[i].name) == 0) all[i].fn();
  return 0;
}
