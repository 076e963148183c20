// eventfd: what poll.c leaves out.
#include "check.h"

#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/uio.h>

static void add(int fd, uint64_t v) { EQ(8, SYS(write(fd, &v, 8))); }

static uint64_t take(int fd) {
  uint64_t v = 0;
  EQ(8, SYS(read(fd, &v, 8)));
  return v;
}

static void arguments(void) {
  ERR(EINVAL, syscall(SYS_eventfd2, 0, 2));
  int fd = SYS(syscall(SYS_eventfd, 3));
  EQ(0, SYS(fcntl(fd, F_GETFD)));
  EQ(O_RDWR, SYS(fcntl(fd, F_GETFL)) & (O_ACCMODE | O_NONBLOCK));
  EQ(3, take(fd));
  fd = SYS(eventfd(0xffffffff, EFD_CLOEXEC | EFD_NONBLOCK));
  EQ(FD_CLOEXEC, SYS(fcntl(fd, F_GETFD)));
  EQ(0xffffffff, take(fd));
  uint64_t v;
  ERR(EAGAIN, read(fd, &v, 8));
  ERR(EINVAL, read(fd, &v, 7));
  ERR(EINVAL, write(fd, &v, 7));
  ERR(EFAULT, write(fd, NULL, 8));
  add(fd, 1);
  ERR(EFAULT, read(fd, NULL, 8));
  ERR(EINVAL, read(fd, NULL, 0));
  EQ(0, SYS(lseek(fd, 5, SEEK_CUR)));
  ERR(EINVAL, ftruncate(fd, 0));
  struct stat st;
  SYS(fstat(fd, &st));
  EQ(0600, st.st_mode);
  EQ(0, st.st_size);
}

static void larger_buffers(void) {
  int fd = SYS(eventfd(0, EFD_NONBLOCK));
  uint64_t b[3] = {0, 6, 7};
  add(fd, 5);
  EQ(8, SYS(read(fd, b, sizeof(b))));
  EQ(5, b[0]);
  EQ(6, b[1]);
  add(fd, 0x100000009);
  uint32_t lo, hi;
  struct iovec iov[3] = {{&lo, 4}, {NULL, 0}, {&hi, 4}};
  EQ(8, SYS(readv(fd, iov, 3)));
  EQ(9, lo);
  EQ(1, hi);
}

static void limits(void) {
  int fd = SYS(eventfd(0, EFD_NONBLOCK));
  uint64_t v = UINT64_MAX;
  ERR(EINVAL, write(fd, &v, 8));
  add(fd, UINT64_MAX - 2);
  add(fd, 1);
  v = 1;
  ERR(EAGAIN, write(fd, &v, 8));
  add(fd, 0);
  struct pollfd pf = {fd, POLLIN | POLLOUT, 0};
  EQ(1, SYS(poll(&pf, 1, 0)));
  EQ(POLLIN, pf.revents);
  EQ(UINT64_MAX - 1, take(fd));
  EQ(1, SYS(poll(&pf, 1, 0)));
  EQ(POLLOUT, pf.revents);
  add(fd, 0);  // nothing
  ERR(EAGAIN, read(fd, &v, 8));
}

static void semaphore(void) {
  int fd = SYS(eventfd(2, EFD_SEMAPHORE | EFD_NONBLOCK));
  add(fd, 1);
  for (int i = 0; i < 3; i++) EQ(1, take(fd));
  uint64_t v;
  ERR(EAGAIN, read(fd, &v, 8));
}

static int fd_global, done;

static void *write_too_much(void *arg UNUSED) {
  add(fd_global, 5);
  __atomic_store_n(&done, 1, __ATOMIC_SEQ_CST);
  return NULL;
}

// A write waits until its number fits, although less would.
static void write_waits(void) {
  fd_global = SYS(eventfd(0, 0));
  add(fd_global, UINT64_MAX - 3);
  struct pollfd pf = {fd_global, POLLOUT, 0};
  EQ(1, SYS(poll(&pf, 1, 0)));
  pthread_t t;
  ZERO(pthread_create(&t, NULL, write_too_much, NULL));
  sleep_ms(20);
  EQ(0, __atomic_load_n(&done, __ATOMIC_SEQ_CST));
  EQ(UINT64_MAX - 3, take(fd_global));
  ZERO(pthread_join(t, NULL));
  EQ(5, take(fd_global));
}

static void on_alarm(int sig UNUSED) {}

// And so it can be interrupted, and killed.
static void write_interrupted(void) {
  int fd = SYS(eventfd(0, 0));
  add(fd, UINT64_MAX - 3);
  handle(SIGALRM, on_alarm, 0);
  struct itimerval it = {{0, 0}, {0, 10000}};
  SYS(setitimer(ITIMER_REAL, &it, NULL));
  uint64_t v = 5;
  ERR(EINTR, write(fd, &v, 8));
  pid_t pid = SYS(fork());
  if (pid == 0) {
    add(fd, 5);
    _exit(0);
  }
  sleep_ms(10);
  SYS(kill(pid, SIGKILL));
  DIES(SIGKILL, pid);
  handle(SIGALRM, on_alarm, SA_RESTART);
  SYS(setitimer(ITIMER_REAL, &it, NULL));
  pid = SYS(fork());
  if (pid == 0) {
    sleep_ms(20);
    take(fd);
    _exit(0);
  }
  add(fd, 5);
  EXITS(0, pid);
  EQ(5, take(fd));
}

static void *take_one(void *arg UNUSED) {
  EQ(1, take(fd_global));
  __atomic_fetch_add(&done, 1, __ATOMIC_SEQ_CST);
  return NULL;
}

static void semaphore_wakes(void) {
  enum { THREADS = 4 };
  fd_global = SYS(eventfd(0, EFD_SEMAPHORE));
  pthread_t t[THREADS];
  for (int i = 0; i < THREADS; i++) ZERO(pthread_create(&t[i], NULL, take_one, NULL));
  sleep_ms(5);
  EQ(0, __atomic_load_n(&done, __ATOMIC_SEQ_CST));
  add(fd_global, 1);
  WAIT_FOR(&done, 1);
  sleep_ms(5);
  EQ(1, __atomic_load_n(&done, __ATOMIC_SEQ_CST));
  add(fd_global, THREADS - 1);
  for (int i = 0; i < THREADS; i++) ZERO(pthread_join(t[i], NULL));
}

// Every write is an edge.
static void edges(void) {
  int fd = SYS(eventfd(0, EFD_NONBLOCK)), ep = SYS(epoll_create1(0));
  struct epoll_event e = {.events = EPOLLIN | EPOLLET}, got;
  SYS(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e));
  for (int i = 0; i < 3; i++) {
    add(fd, 1);
    EQ(1, SYS(epoll_wait(ep, &got, 1, 0)));
    EQ(0, SYS(epoll_wait(ep, &got, 1, 0)));
  }
  EQ(3, take(fd));
}

TESTS(T(arguments), T(larger_buffers), T(limits), T(semaphore), T(write_waits), T(write_interrupted),
      T(semaphore_wakes), T(edges))
