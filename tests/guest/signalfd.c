// signalfd.
#include "check.h"

#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>

typedef struct signalfd_siginfo info;

static int fd_of(int sig, int flags) {
  sigset_t s = set_of(sig);
  return SYS(signalfd(-1, &s, flags));
}

static info take(int fd) {
  info i;
  EQ(sizeof(i), SYS(read(fd, &i, sizeof(i))));
  return i;
}

static int empty(int fd) {
  info i;
  return read(fd, &i, sizeof(i)) == -1 && errno == EAGAIN;
}

static void arguments(void) {
  sigset_t s = set_of(SIGUSR1);
  ERR(EINVAL, signalfd(-1, &s, 1));
  ERR(EINVAL, syscall(SYS_signalfd4, -1, &s, 4, 0));
  ERR(EINVAL, syscall(SYS_signalfd, -1, &s, 16));
  ERR(EFAULT, syscall(SYS_signalfd4, -1, NULL, 8, 0));
  ERR(EBADF, signalfd(-2, &s, 0));
  ERR(EBADF, signalfd(99, &s, 0));
  int p[2];
  SYS(pipe(p));
  ERR(EINVAL, signalfd(p[0], &s, 0));
  int fd = SYS(signalfd(-1, &s, SFD_CLOEXEC | SFD_NONBLOCK));
  EQ(FD_CLOEXEC, SYS(fcntl(fd, F_GETFD)));
  EQ(O_RDWR | O_NONBLOCK, SYS(fcntl(fd, F_GETFL)) & (O_ACCMODE | O_NONBLOCK));
  EQ(fd, SYS(signalfd(fd, &s, 0)));  // flags mean nothing here
  EQ(O_NONBLOCK, SYS(fcntl(fd, F_GETFL)) & O_NONBLOCK);
  char b[127];
  ERR(EINVAL, read(fd, b, sizeof(b)));
  ERR(EINVAL, write(fd, b, sizeof(b)));
  EQ(0, SYS(lseek(fd, 3, SEEK_SET)));
  CHECK(empty(fd));
}

static void sent(void) {
  block(SIGUSR1);
  int fd = fd_of(SIGUSR1, SFD_NONBLOCK);
  CHECK(empty(fd));
  SYS(kill(getpid(), SIGUSR1));
  SYS(kill(getpid(), SIGUSR1));  // a standard signal is pending once
  info i = take(fd);
  EQ(SIGUSR1, i.ssi_signo);
  EQ(0, i.ssi_errno);
  EQ(SI_USER, i.ssi_code);
  EQ(getpid(), i.ssi_pid);
  EQ(getuid(), i.ssi_uid);
  CHECK(empty(fd));
  sigset_t s;
  SYS(sigpending(&s));
  EQ(0, sigismember(&s, SIGUSR1));
}

// In order of numbers, real-time ones with what they carry.
static void queued(void) {
  int rt = SIGRTMIN + 3;
  block(rt);
  block(SIGUSR2);
  sigset_t s = set_of(rt);
  sigaddset(&s, SIGUSR2);
  int fd = SYS(signalfd(-1, &s, SFD_NONBLOCK));
  for (int n = 1; n <= 3; n++) SYS(sigqueue(getpid(), rt, (union sigval){.sival_int = n}));
  SYS(raise(SIGUSR2));
  info i[6];
  EQ(2 * sizeof(info), SYS(read(fd, i, 3 * sizeof(info) - 1)));
  EQ(SIGUSR2, i[0].ssi_signo);
  EQ(SI_TKILL, i[0].ssi_code);
  EQ(rt, i[1].ssi_signo);
  EQ(SI_QUEUE, i[1].ssi_code);
  EQ(getpid(), i[1].ssi_pid);
  EQ(1, i[1].ssi_int);
  EQ(2 * sizeof(info), SYS(read(fd, i, sizeof(i))));
  EQ(2, i[0].ssi_int);
  EQ(3, i[1].ssi_int);
  CHECK(empty(fd));
}

static void of_children(void) {
  block(SIGCHLD);
  int fd = fd_of(SIGCHLD, 0);
  pid_t pid = SYS(fork());
  if (pid == 0) _exit(5);
  info i = take(fd);  // waits
  EQ(SIGCHLD, i.ssi_signo);
  EQ(CLD_EXITED, i.ssi_code);
  EQ(pid, i.ssi_pid);
  EQ(5, i.ssi_status);
  EXITS(5, pid);
  pid = SYS(fork());
  if (pid == 0) {
    sleep_ms(10000);
    _exit(0);
  }
  SYS(kill(pid, SIGKILL));
  i = take(fd);
  EQ(CLD_KILLED, i.ssi_code);
  EQ(SIGKILL, i.ssi_status);
  DIES(SIGKILL, pid);
}

// SIGKILL and SIGSTOP are left out without a word.
static void unblockable(void) {
  sigset_t s;
  sigfillset(&s);
  int fd = SYS(signalfd(-1, &s, SFD_NONBLOCK));
  CHECK(empty(fd));
  pid_t pid = SYS(fork());
  if (pid == 0) {
    SYS(sigprocmask(SIG_BLOCK, &s, NULL));
    info i;
    read(fd, &i, 0);
    fcntl(fd, F_SETFL, 0);
    (void)!read(fd, &i, sizeof(i));
    _exit(0);
  }
  sleep_ms(5);
  SYS(kill(pid, SIGKILL));
  DIES(SIGKILL, pid);
}

static void new_mask(void) {
  block(SIGUSR1);
  block(SIGUSR2);
  int fd = fd_of(SIGUSR1, SFD_NONBLOCK);
  SYS(raise(SIGUSR2));
  CHECK(empty(fd));
  sigset_t s = set_of(SIGUSR2);
  EQ(fd, SYS(signalfd(fd, &s, 0)));
  SYS(raise(SIGUSR1));
  EQ(SIGUSR2, take(fd).ssi_signo);
  CHECK(empty(fd));
}

static volatile int handled;
static void on_signal(int sig UNUSED) { handled++; }

// Signals that are not blocked are handled, and not to be read.
static void not_blocked(void) {
  handle(SIGUSR1, on_signal, 0);
  int fd = fd_of(SIGUSR1, SFD_NONBLOCK);
  SYS(raise(SIGUSR1));
  EQ(1, handled);
  CHECK(empty(fd));
  block(SIGUSR1);
  SYS(raise(SIGUSR1));
  EQ(SIGUSR1, take(fd).ssi_signo);
  unblock(SIGUSR1);
  EQ(1, handled);
}

static void ignored(void) {
  signal(SIGUSR1, SIG_IGN);
  int fd = fd_of(SIGUSR1, SFD_NONBLOCK);
  SYS(raise(SIGUSR1));
  CHECK(empty(fd));
}

static int fd_global;
static volatile int go;

static void *read_one(void *arg UNUSED) {
  EQ(SIGUSR1, take(fd_global).ssi_signo);
  return NULL;
}

static void *read_own(void *tid) {
  *(int *)tid = (int)syscall(SYS_gettid);
  WAIT_FOR(&go, 1);
  EQ(SIGUSR1, take(fd_global).ssi_signo);
  return NULL;
}

// A thread reads what is pending for itself and for the process, not what is
// pending for another thread.
static void of_threads(void) {
  block(SIGUSR1);
  fd_global = fd_of(SIGUSR1, 0);
  pthread_t t;
  ZERO(pthread_create(&t, NULL, read_one, NULL));
  sleep_ms(5);
  SYS(kill(getpid(), SIGUSR1));
  ZERO(pthread_join(t, NULL));

  static int tid;
  ZERO(pthread_create(&t, NULL, read_own, &tid));
  while (__atomic_load_n(&tid, __ATOMIC_SEQ_CST) == 0) sleep_ms(1);
  SYS(syscall(SYS_tgkill, getpid(), tid, SIGUSR1));
  struct pollfd pf = {fd_global, POLLIN, 0};
  EQ(0, SYS(poll(&pf, 1, 5)));
  int flags = SYS(fcntl(fd_global, F_GETFL));
  SYS(fcntl(fd_global, F_SETFL, flags | O_NONBLOCK));
  CHECK(empty(fd_global));
  SYS(fcntl(fd_global, F_SETFL, flags));
  go = 1;
  ZERO(pthread_join(t, NULL));
}

static void in_child(void) {
  CHECK(empty(fd_global));  // what is pending for the parent is not the child's
  SYS(raise(SIGUSR1));
  info i = take(fd_global);
  EQ(getpid(), i.ssi_pid);
  CHECK(empty(fd_global));
}

// Each process reads its own signals from the one file.
static void across_fork(void) {
  block(SIGUSR1);
  fd_global = fd_of(SIGUSR1, SFD_NONBLOCK);
  SYS(raise(SIGUSR1));
  forked(in_child);
  EQ(getpid(), take(fd_global).ssi_pid);
}

static void *raise_late(void *arg UNUSED) {
  sleep_ms(10);
  SYS(kill(getpid(), SIGUSR1));
  return NULL;
}

static void polled(void) {
  block(SIGUSR1);
  int fd = fd_of(SIGUSR1, SFD_NONBLOCK), ep = SYS(epoll_create1(0));
  struct epoll_event e = {.events = EPOLLIN | EPOLLOUT, .data.u64 = 3}, got;
  SYS(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e));
  EQ(0, SYS(epoll_wait(ep, &got, 1, 0)));
  struct pollfd pf = {fd, POLLIN | POLLOUT, 0};
  EQ(0, SYS(poll(&pf, 1, 0)));
  pthread_t t;
  ZERO(pthread_create(&t, NULL, raise_late, NULL));
  EQ(1, SYS(epoll_wait(ep, &got, 1, 10000)));
  EQ(EPOLLIN, got.events);
  EQ(1, SYS(poll(&pf, 1, 0)));
  EQ(POLLIN, pf.revents);
  ZERO(pthread_join(t, NULL));
  take(fd);
  EQ(0, SYS(epoll_wait(ep, &got, 1, 0)));
  ZERO(pthread_create(&t, NULL, raise_late, NULL));
  EQ(1, SYS(poll(&pf, 1, 10000)));
  ZERO(pthread_join(t, NULL));
  SYS(epoll_ctl(ep, EPOLL_CTL_DEL, fd, NULL));
  EQ(0, SYS(epoll_wait(ep, &got, 1, 0)));
}

static void interrupted(void) {
  block(SIGUSR1);
  handle(SIGALRM, on_signal, 0);
  int fd = fd_of(SIGUSR1, 0);
  struct itimerval it = {{0, 0}, {0, 10000}};
  SYS(setitimer(ITIMER_REAL, &it, NULL));
  info i;
  ERR(EINTR, read(fd, &i, sizeof(i)));
  EQ(1, handled);
}

static void *change_late(void *arg UNUSED) {
  sleep_ms(10);
  sigset_t s = set_of(SIGUSR2);
  SYS(signalfd(fd_global, &s, 0));
  return NULL;
}

// A new mask is seen by who waits already.
static void mask_while_waiting(void) {
  block(SIGUSR1);
  block(SIGUSR2);
  SYS(kill(getpid(), SIGUSR2));
  fd_global = fd_of(SIGUSR1, 0);
  pthread_t t;
  ZERO(pthread_create(&t, NULL, change_late, NULL));
  EQ(SIGUSR2, take(fd_global).ssi_signo);
  ZERO(pthread_join(t, NULL));
}

TESTS(T(arguments), T(sent), T(queued), T(of_children), T(unblockable), T(new_mask), T(not_blocked), T(ignored),
      T(of_threads), T(across_fork), T(polled), T(interrupted), T(mask_while_waiting))
