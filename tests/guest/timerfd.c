// timerfd. Times are not shown, only compared with bounds that any kernel keeps.
#include "check.h"

#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>

static struct itimerspec spec(long long interval, long long value) {
  return (struct itimerspec){{interval / 1000000000, interval % 1000000000}, {value / 1000000000, value % 1000000000}};
}

static long long ns(struct timespec t) { return t.tv_sec * 1000000000LL + t.tv_nsec; }

static long long now_of(int clock) {
  struct timespec ts;
  SYS(clock_gettime(clock, &ts));
  return ns(ts);
}

static int timer(int clock, int flags) { return SYS(timerfd_create(clock, flags)); }

static void set(int fd, int flags, long long interval, long long value) {
  struct itimerspec it = spec(interval, value);
  SYS(timerfd_settime(fd, flags, &it, NULL));
}

static uint64_t ticks(int fd) {
  uint64_t v = 0;
  EQ(8, SYS(read(fd, &v, 8)));
  return v;
}

static void arguments(void) {
  ERR(EINVAL, timerfd_create(-1, 0));
  ERR(EINVAL, timerfd_create(CLOCK_PROCESS_CPUTIME_ID, 0));
  ERR(EINVAL, timerfd_create(CLOCK_MONOTONIC_RAW, 0));
  ERR(EINVAL, timerfd_create(CLOCK_MONOTONIC_COARSE, 0));
  ERR(EINVAL, timerfd_create(CLOCK_MONOTONIC, 1));
  int fd = timer(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
  EQ(FD_CLOEXEC, SYS(fcntl(fd, F_GETFD)));
  EQ(O_RDWR | O_NONBLOCK, SYS(fcntl(fd, F_GETFL)) & (O_ACCMODE | O_NONBLOCK));
  struct itimerspec it = spec(0, MS), old;
  ERR(EBADF, timerfd_settime(-1, 0, &it, NULL));
  ERR(EBADF, timerfd_gettime(-1, &it));
  ERR(EINVAL, timerfd_settime(0, 0, &it, NULL));
  ERR(EINVAL, timerfd_gettime(0, &it));
  ERR(EINVAL, timerfd_settime(fd, 4, &it, NULL));
  ERR(EINVAL, timerfd_settime(-1, 4, &it, NULL));
  ERR(EFAULT, timerfd_settime(fd, 0, NULL, NULL));
  ERR(EFAULT, timerfd_settime(fd, 4, (void *)8, NULL));
  ERR(EFAULT, timerfd_settime(fd, 0, &it, (void *)8));  // and yet it is set
  SYS(timerfd_gettime(fd, &old));
  it.it_value.tv_nsec = 1000000000;
  ERR(EINVAL, timerfd_settime(fd, 0, &it, NULL));
  it.it_value = (struct timespec){-1, 0};
  ERR(EINVAL, timerfd_settime(fd, 0, &it, NULL));
  it = spec(0, 1);
  it.it_interval.tv_nsec = -1;
  ERR(EINVAL, timerfd_settime(fd, 0, &it, NULL));
  ERR(EFAULT, timerfd_gettime(fd, NULL));
  char small[7];
  ERR(EINVAL, read(fd, small, 7));
  ERR(EINVAL, write(fd, small, 7));
  EQ(0, SYS(lseek(fd, 3, SEEK_SET)));
}

static void stopped(void) {
  int fd = timer(CLOCK_MONOTONIC, TFD_NONBLOCK);
  struct itimerspec it;
  uint64_t v;
  ERR(EAGAIN, read(fd, &v, 8));
  SYS(timerfd_gettime(fd, &it));
  EQ(0, ns(it.it_value));
  EQ(0, ns(it.it_interval));
  set(fd, 0, 5 * MS, 5 * MS);
  set(fd, 0, 7 * MS, 0);  // an interval alone does nothing
  sleep_ms(15);
  ERR(EAGAIN, read(fd, &v, 8));
  SYS(timerfd_gettime(fd, &it));
  EQ(0, ns(it.it_value));
  EQ(7 * MS, ns(it.it_interval));
}

static void once(void) {
  int fd = timer(CLOCK_MONOTONIC, 0);
  long long t = now_ns();
  set(fd, 0, 0, 20 * MS);
  struct itimerspec it;
  SYS(timerfd_gettime(fd, &it));
  CHECK(ns(it.it_value) > 0 && ns(it.it_value) <= 20 * MS);
  EQ(0, ns(it.it_interval));
  EQ(1, ticks(fd));  // waits
  CHECK(now_ns() - t >= 20 * MS);
  SYS(timerfd_gettime(fd, &it));
  EQ(0, ns(it.it_value));
  SYS(fcntl(fd, F_SETFL, O_NONBLOCK));
  uint64_t v;
  ERR(EAGAIN, read(fd, &v, 8));
}

static void periodic(void) {
  int fd = timer(CLOCK_MONOTONIC, 0);
  long long t = now_ns();
  set(fd, 0, 5 * MS, 10 * MS);
  uint64_t n = ticks(fd);
  CHECK(now_ns() - t >= 10 * MS);
  while (n < 5) n += ticks(fd);
  long long took = now_ns() - t;
  CHECK(took >= 30 * MS);
  CHECK(n <= (uint64_t)(took / (5 * MS)));
  sleep_ms(40);  // what is missed is counted
  t = now_ns();
  n = ticks(fd);
  CHECK(n >= 7);
  CHECK(now_ns() - t < 20 * MS || n > 7);
  struct itimerspec it;
  SYS(timerfd_gettime(fd, &it));
  EQ(5 * MS, ns(it.it_interval));
  CHECK(ns(it.it_value) <= 5 * MS);
}

// Looking at a timer counts what it missed, too, and loses nothing.
static void looked_at(void) {
  int fd = timer(CLOCK_MONOTONIC, TFD_NONBLOCK);
  long long t = now_ns();
  set(fd, 0, 4 * MS, 4 * MS);
  struct itimerspec it;
  for (int i = 0; i < 5; i++) {
    sleep_ms(6);
    SYS(timerfd_gettime(fd, &it));
    CHECK(ns(it.it_value) <= 4 * MS);
  }
  long long before = (now_ns() - t) / (4 * MS);
  uint64_t n = ticks(fd);
  CHECK((long long)n >= before - 1);
  CHECK((long long)n <= (now_ns() - t) / (4 * MS));
}

static void old_setting(void) {
  int fd = timer(CLOCK_MONOTONIC, TFD_NONBLOCK);
  set(fd, 0, 3000 * MS, 100000 * MS);
  struct itimerspec it = spec(0, 0), old;
  SYS(timerfd_settime(fd, 0, &it, &old));
  EQ(3000 * MS, ns(old.it_interval));
  CHECK(ns(old.it_value) > 90000 * MS && ns(old.it_value) <= 100000 * MS);
  SYS(timerfd_settime(fd, 0, &it, &old));
  EQ(0, ns(old.it_interval));
  EQ(0, ns(old.it_value));
}

// A new setting throws away what was not read.
static void set_again(void) {
  int fd = timer(CLOCK_MONOTONIC, TFD_NONBLOCK);
  set(fd, 0, MS, MS);
  sleep_ms(5);
  set(fd, 0, 0, 100000 * MS);
  uint64_t v;
  ERR(EAGAIN, read(fd, &v, 8));
}

static void absolute(void) {
  static const int clocks[] = {CLOCK_MONOTONIC, CLOCK_REALTIME, CLOCK_BOOTTIME};
  for (size_t i = 0; i < LEN(clocks); i++) {
    int fd = timer(clocks[i], 0);
    long long t = now_of(clocks[i]) + 15 * MS;
    set(fd, TFD_TIMER_ABSTIME, 0, t);
    struct itimerspec it;
    SYS(timerfd_gettime(fd, &it));
    CHECK(ns(it.it_value) <= 15 * MS);
    EQ(1, ticks(fd));
    CHECK(now_of(clocks[i]) >= t);
    set(fd, TFD_TIMER_ABSTIME, 0, 1);  // long ago
    EQ(1, ticks(fd));
    t = now_of(clocks[i]) - 50 * MS;
    set(fd, TFD_TIMER_ABSTIME, 10 * MS, t);
    CHECK(ticks(fd) >= 5);
  }
}

static void far_away(void) {
  int fd = timer(CLOCK_REALTIME, TFD_NONBLOCK);
  struct itimerspec it = {{0, 0}, {INT64_MAX / 1000000000 - 1, 0}};
  SYS(timerfd_settime(fd, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &it, NULL));
  it = (struct itimerspec){{INT64_MAX, 0}, {INT64_MAX, 999999999}};
  SYS(timerfd_settime(fd, 0, &it, NULL));
  uint64_t v;
  ERR(EAGAIN, read(fd, &v, 8));
  SYS(timerfd_gettime(fd, &it));
  CHECK(it.it_value.tv_sec > 1000000000);
}

static void polled(void) {
  int fd = timer(CLOCK_MONOTONIC, TFD_NONBLOCK), ep = SYS(epoll_create1(0));
  struct epoll_event e = {.events = EPOLLIN | EPOLLOUT | EPOLLET}, got;
  SYS(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e));
  struct pollfd pf = {fd, POLLIN | POLLOUT, 0};
  EQ(0, SYS(poll(&pf, 1, 0)));
  set(fd, 0, 0, 10 * MS);
  EQ(0, SYS(poll(&pf, 1, 0)));
  EQ(1, SYS(epoll_wait(ep, &got, 1, 10000)));
  EQ(EPOLLIN, got.events);
  EQ(1, SYS(poll(&pf, 1, 0)));
  EQ(POLLIN, pf.revents);
  EQ(1, ticks(fd));
  EQ(0, SYS(poll(&pf, 1, 0)));
  set(fd, 0, 5 * MS, 5 * MS);
  for (int i = 0; i < 4; i++) {
    EQ(1, SYS(epoll_wait(ep, &got, 1, 10000)));
    CHECK(ticks(fd) >= 1);
  }
  set(fd, 0, 0, 5 * MS);
  EQ(1, SYS(poll(&pf, 1, -1)));
  set(fd, 0, 0, 0);
  EQ(0, SYS(poll(&pf, 1, 0)));
}

static int shared_fd;

static void child_reads(void) { EQ(1, ticks(shared_fd)); }

// The timer belongs to the file, not to a process.
static void across_fork(void) {
  shared_fd = timer(CLOCK_MONOTONIC, 0);
  set(shared_fd, 0, 0, 10 * MS);
  forked(child_reads);
  SYS(fcntl(shared_fd, F_SETFL, O_NONBLOCK));
  uint64_t v;
  ERR(EAGAIN, read(shared_fd, &v, 8));
}

static void on_alarm(int sig UNUSED) {}

static void interrupted(void) {
  int fd = timer(CLOCK_MONOTONIC, 0);
  uint64_t v;
  struct itimerval it = {{0, 0}, {0, 5000}};
  handle(SIGALRM, on_alarm, 0);
  SYS(setitimer(ITIMER_REAL, &it, NULL));
  ERR(EINTR, read(fd, &v, 8));
  handle(SIGALRM, on_alarm, SA_RESTART);
  set(fd, 0, 0, 20 * MS);
  SYS(setitimer(ITIMER_REAL, &it, NULL));
  EQ(1, ticks(fd));
}

static void *set_late(void *fd) {
  sleep_ms(5);
  set((long)fd, 0, 0, 5 * MS);
  return NULL;
}

// Who waits sees a setting that is made meanwhile.
static void set_while_waiting(void) {
  int fd = timer(CLOCK_MONOTONIC, 0);
  set(fd, 0, 0, 100000 * MS);
  pthread_t t;
  ZERO(pthread_create(&t, NULL, set_late, (void *)(long)fd));
  EQ(1, ticks(fd));
  ZERO(pthread_join(t, NULL));
}

TESTS(T(arguments), T(stopped), T(once), T(periodic), T(looked_at), T(old_setting), T(set_again), T(absolute),
      T(far_away), T(polled), T(across_fork), T(interrupted), T(set_while_waiting))
