// poll, select, epoll and eventfd.
#include "check.h"

#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/select.h>

static int p[2];
static void make_pipe(void) { SYS(pipe(p)); }

static void poll_basics(void) {
  make_pipe();
  EQ(0, SYS(poll(NULL, 0, 0)));
  long long t = now_ns();
  EQ(0, SYS(poll(NULL, 0, 15)));
  CHECK(now_ns() - t >= 15 * MS);
  struct pollfd pf[4] = {{p[0], POLLIN, 0}, {p[1], POLLOUT, 0}, {99, POLLIN, 0}, {-5, POLLIN, 77}};
  EQ(2, SYS(poll(pf, 4, -1)));
  EQ(0, pf[0].revents);
  EQ(POLLOUT, pf[1].revents);
  EQ(POLLNVAL, pf[2].revents);
  EQ(0, pf[3].revents);
  t = now_ns();
  EQ(0, SYS(poll(pf, 1, 15)));
  CHECK(now_ns() - t >= 15 * MS);
  ERR(EFAULT, poll((void *)8, 1, 0));
  ERR(EINVAL, syscall(SYS_poll, pf, -1, 0));
  int f = SYS(open("/proc/self/exe", O_RDONLY));
  pf[0].fd = f;
  pf[0].events = POLLIN | POLLOUT;
  EQ(1, SYS(poll(pf, 1, 0)));
  EQ(POLLIN | POLLOUT, pf[0].revents);  // files are always ready
}

static void *write_late(void *arg UNUSED) {
  sleep_ms(10);
  put(p[1], 'w');
  return NULL;
}

static void late(void) {
  pthread_t t;
  ZERO(pthread_create(&t, NULL, write_late, NULL));
}

static void poll_wakes(void) {
  make_pipe();
  late();
  struct pollfd pf = {p[0], POLLIN, 0};
  EQ(1, SYS(poll(&pf, 1, -1)));
  EQ(POLLIN, pf.revents);
}

static void on_usr1(int sig UNUSED) {}

static void ppoll_mask(void) {
  make_pipe();
  handle(SIGUSR1, on_usr1, 0);
  block(SIGUSR1);
  SYS(raise(SIGUSR1));
  struct pollfd pf = {p[0], POLLIN, 0};
  struct timespec ts = {0, 5 * MS};
  EQ(0, SYS(ppoll(&pf, 1, &ts, NULL)));
  sigset_t none = set_of(0);
  ERR(EINTR, ppoll(&pf, 1, NULL, &none));
  sigset_t s;
  SYS(sigprocmask(SIG_BLOCK, NULL, &s));
  EQ(1, sigismember(&s, SIGUSR1));
  ts.tv_nsec = -1;
  ERR(EINVAL, ppoll(&pf, 1, &ts, NULL));
}

static void select_basics(void) {
  make_pipe();
  fd_set r, w, e;
  struct timeval tv = {0, 15000};
  FD_ZERO(&r);
  FD_SET(p[0], &r);
  long long t = now_ns();
  EQ(0, SYS(select(p[0] + 1, &r, NULL, NULL, &tv)));
  CHECK(now_ns() - t >= 15 * MS);
  CHECK(!FD_ISSET(p[0], &r));
  EQ(0, tv.tv_sec * 1000000 + tv.tv_usec);
  FD_ZERO(&w);
  FD_ZERO(&e);
  FD_SET(p[0], &r);
  FD_SET(p[1], &w);
  FD_SET(p[0], &e);
  EQ(1, SYS(select(p[1] + 1, &r, &w, &e, NULL)));
  CHECK(!FD_ISSET(p[0], &r) && FD_ISSET(p[1], &w) && !FD_ISSET(p[0], &e));
  put(p[1], 'x');
  FD_SET(p[0], &r);
  EQ(2, SYS(select(p[1] + 1, &r, &w, NULL, NULL)));
  SYS(close(SYS(dup2(p[0], 200))));  // descriptors beyond the table's size are not looked at
  FD_SET(100, &r);
  ERR(EBADF, select(101, &r, NULL, NULL, NULL));
  ERR(EINVAL, select(-1, NULL, NULL, NULL, NULL));
  tv.tv_sec = -1;
  ERR(EINVAL, select(0, NULL, NULL, NULL, &tv));
}

static void select_wakes(void) {
  make_pipe();
  late();
  fd_set r;
  FD_ZERO(&r);
  FD_SET(p[0], &r);
  EQ(1, SYS(select(p[0] + 1, &r, NULL, NULL, NULL)));
}

static int ep;
static void add(int fd, uint32_t events, uint64_t data) {
  struct epoll_event e = {.events = events, .data.u64 = data};
  SYS(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e));
}

static struct epoll_event got[8];
static int ready(int timeout) { return SYS(epoll_wait(ep, got, 8, timeout)); }

static void epoll_level(void) {
  make_pipe();
  ep = SYS(epoll_create1(EPOLL_CLOEXEC));
  add(p[0], EPOLLIN, 0x1122334455667788);
  EQ(0, ready(0));
  long long t = now_ns();
  EQ(0, ready(15));
  CHECK(now_ns() - t >= 15 * MS);
  put(p[1], 'a');
  for (int i = 0; i < 3; i++) {
    EQ(1, ready(-1));
    EQ(EPOLLIN, got[0].events);
    EQ(0x1122334455667788, got[0].data.u64);
  }
  get(p[0]);
  EQ(0, ready(0));
  SYS(close(p[1]));
  EQ(1, ready(0));
  EQ(EPOLLHUP, got[0].events);
}

static void epoll_edge(void) {
  make_pipe();
  ep = SYS(epoll_create1(0));
  add(p[0], EPOLLIN | EPOLLET, 1);
  put(p[1], 'a');
  EQ(1, ready(-1));
  EQ(0, ready(0));
  put(p[1], 'b');
  EQ(1, ready(0));
  EQ(0, ready(0));
}

static void epoll_oneshot(void) {
  make_pipe();
  ep = SYS(epoll_create1(0));
  add(p[0], EPOLLIN | EPOLLONESHOT, 1);
  put(p[1], 'a');
  EQ(1, ready(0));
  put(p[1], 'b');
  EQ(0, ready(0));
  struct epoll_event e = {.events = EPOLLIN | EPOLLONESHOT, .data.u64 = 2};
  SYS(epoll_ctl(ep, EPOLL_CTL_MOD, p[0], &e));
  EQ(1, ready(0));
  EQ(2, got[0].data.u64);
}

static void epoll_control(void) {
  make_pipe();
  ep = SYS(epoll_create1(0));
  struct epoll_event e = {.events = EPOLLIN};
  add(p[0], EPOLLIN, 1);
  ERR(EEXIST, epoll_ctl(ep, EPOLL_CTL_ADD, p[0], &e));
  ERR(ENOENT, epoll_ctl(ep, EPOLL_CTL_MOD, p[1], &e));
  ERR(ENOENT, epoll_ctl(ep, EPOLL_CTL_DEL, p[1], NULL));
  ERR(EBADF, epoll_ctl(ep, EPOLL_CTL_ADD, 99, &e));
  ERR(EBADF, epoll_ctl(99, EPOLL_CTL_ADD, p[0], &e));
  ERR(EINVAL, epoll_ctl(ep, EPOLL_CTL_ADD, ep, &e));
  ERR(EINVAL, epoll_ctl(p[0], EPOLL_CTL_ADD, p[1], &e));
  ERR(EINVAL, epoll_ctl(ep, 77, p[0], &e));
  ERR(EFAULT, epoll_ctl(ep, EPOLL_CTL_ADD, p[1], (void *)8));
  int f = SYS(open("/proc/self/exe", O_RDONLY));
  ERR(EPERM, epoll_ctl(ep, EPOLL_CTL_ADD, f, &e));
  ERR(EINVAL, epoll_wait(ep, got, 0, 0));
  ERR(EINVAL, epoll_wait(p[0], got, 1, 0));
  ERR(EINVAL, epoll_create1(0x1234));
  ERR(EINVAL, epoll_create(0));
  SYS(epoll_ctl(ep, EPOLL_CTL_DEL, p[0], NULL));
  put(p[1], 'x');
  EQ(0, ready(0));
}

// A closed descriptor leaves the set, a duplicate keeps it there.
static void epoll_close(void) {
  make_pipe();
  ep = SYS(epoll_create1(0));
  add(p[0], EPOLLIN, 1);
  put(p[1], 'x');
  int other = SYS(dup(p[0]));
  SYS(close(p[0]));
  EQ(1, ready(0));
  SYS(close(other));
  EQ(0, ready(0));
}

static void epoll_nested(void) {
  make_pipe();
  int inner = SYS(epoll_create1(0));
  ep = inner;
  add(p[0], EPOLLIN, 1);
  ep = SYS(epoll_create1(0));
  add(inner, EPOLLIN, 2);
  EQ(0, ready(0));
  put(p[1], 'x');
  EQ(1, ready(0));
  EQ(2, got[0].data.u64);
  struct pollfd pf = {ep, POLLIN, 0};
  EQ(1, SYS(poll(&pf, 1, 0)));
  struct epoll_event e = {.events = EPOLLIN};
  ERR(ELOOP, epoll_ctl(inner, EPOLL_CTL_ADD, ep, &e));
}

static void epoll_wakes(void) {
  make_pipe();
  ep = SYS(epoll_create1(0));
  add(p[0], EPOLLIN, 1);
  late();
  EQ(1, ready(-1));
}

static void epoll_many(void) {
  ep = SYS(epoll_create1(0));
  int fds[100];
  for (int i = 0; i < 100; i++) {
    fds[i] = SYS(eventfd(i % 10 == 0, EFD_NONBLOCK));
    add(fds[i], EPOLLIN, i);
  }
  int seen = 0;
  for (int round = 0; round < 4; round++) {
    int n = ready(0);  // eight at a time, in turn
    for (int i = 0; i < n; i++) {
      EQ(0, got[i].data.u64 % 10);
      uint64_t v;
      if (read(fds[got[i].data.u64], &v, 8) == 8) seen++;
    }
  }
  EQ(10, seen);
}

static void event_counter(void) {
  int fd = SYS(eventfd(3, EFD_NONBLOCK | EFD_CLOEXEC));
  uint64_t v = 4;
  EQ(8, SYS(write(fd, &v, 8)));
  EQ(8, SYS(read(fd, &v, 8)));
  EQ(7, v);
  ERR(EAGAIN, read(fd, &v, 8));
  v = UINT64_MAX;
  ERR(EINVAL, write(fd, &v, 8));
  v--;
  EQ(8, SYS(write(fd, &v, 8)));
  v = 1;
  ERR(EAGAIN, write(fd, &v, 8));
  struct pollfd pf = {fd, POLLIN | POLLOUT, 0};
  EQ(1, SYS(poll(&pf, 1, 0)));
  EQ(POLLIN, pf.revents);
  ERR(EINVAL, write(fd, &v, 4));
  ERR(EINVAL, eventfd(0, 0x1234));
  fd = SYS(eventfd(2, EFD_SEMAPHORE | EFD_NONBLOCK));
  EQ(8, SYS(read(fd, &v, 8)));
  EQ(1, v);
  EQ(8, SYS(read(fd, &v, 8)));
  ERR(EAGAIN, read(fd, &v, 8));
}

static void event_between_processes(void) {
  int a = SYS(eventfd(0, 0)), b = SYS(eventfd(0, 0));
  uint64_t v = 1;
  pid_t pid = SYS(fork());
  if (pid == 0) {
    for (int i = 0; i < 100; i++) {
      EQ(8, SYS(read(a, &v, 8)));
      v++;
      EQ(8, SYS(write(b, &v, 8)));
    }
    _exit(0);
  }
  for (int i = 0; i < 100; i++) {
    v = i + 1;
    EQ(8, SYS(write(a, &v, 8)));
    EQ(8, SYS(read(b, &v, 8)));
    EQ(i + 2, v);
  }
  EXITS(0, pid);
}

TESTS(T(poll_basics), T(poll_wakes), T(ppoll_mask), T(select_basics), T(select_wakes), T(epoll_level), T(epoll_edge),
      T(epoll_oneshot), T(epoll_control), T(epoll_close), T(epoll_nested), T(epoll_wakes), T(epoll_many),
      T(event_counter), T(event_between_processes))
