// Clocks, sleeping and timers. Only lower bounds of times are checked.
#include "check.h"

#include <poll.h>
#include <sys/resource.h>
#include <sys/times.h>
#include <sys/timerfd.h>
#include <sys/timex.h>

static long long ns(struct timespec ts) { return ts.tv_sec * 1000000000LL + ts.tv_nsec; }

static long long raw(clockid_t id) {
  struct timespec ts;
  SYS(syscall(SYS_clock_gettime, id, &ts));
  return ns(ts);
}

static long long vdso(clockid_t id) {
  struct timespec ts;
  SYS(clock_gettime(id, &ts));
  return ns(ts);
}

// The library's clock (by the vDSO) and the system call tell the same time.
static void clocks_agree(void) {
  clockid_t ids[] = {CLOCK_MONOTONIC, CLOCK_REALTIME, CLOCK_BOOTTIME, CLOCK_MONOTONIC_RAW};
  for (size_t i = 0; i < LEN(ids); i++)
    for (int k = 0; k < 100; k++) {
      long long a = vdso(ids[i]), b = raw(ids[i]), c = vdso(ids[i]), d = raw(ids[i]);
      if (a > b || b > c || c > d) FAIL("clock %d runs backwards: %lld %lld %lld", ids[i], b - a, c - b, d - c);
    }
}

static void coarse_clocks(void) {
  for (int k = 0; k < 100; k++) {
    long long fine = vdso(CLOCK_MONOTONIC), coarse = vdso(CLOCK_MONOTONIC_COARSE);
    CHECK(coarse <= vdso(CLOCK_MONOTONIC) && coarse > fine - 1000 * MS);
    CHECK(raw(CLOCK_REALTIME_COARSE) <= raw(CLOCK_REALTIME));
  }
}

static void time_of_day(void) {
  for (int k = 0; k < 50; k++) {
    struct timeval tv;
    long long before = vdso(CLOCK_REALTIME);
    SYS(gettimeofday(&tv, NULL));
    CHECK(tv.tv_sec * 1000000LL + tv.tv_usec >= before / 1000);
    SYS(syscall(SYS_gettimeofday, &tv, NULL));
    CHECK(tv.tv_sec * 1000000LL + tv.tv_usec >= before / 1000);
    time_t t = time(NULL);
    CHECK(t >= before / 1000000000 - 1 && t <= tv.tv_sec + 1);
    CHECK(syscall(SYS_time, NULL) >= t);
  }
  CHECK(time(NULL) > 1700000000);
}

static void monotonic(void) {
  long long last = 0;
  for (int i = 0; i < 20000; i++) {
    long long t = vdso(CLOCK_MONOTONIC);
    CHECK(t >= last);
    last = t;
  }
}

static void same_in_children(void) {
  long long *t = map_shared(PAGE);
  for (int i = 0; i < 20; i++) {
    t[0] = vdso(CLOCK_MONOTONIC);
    pid_t pid = SYS(fork());
    if (pid == 0) {
      t[1] = vdso(CLOCK_MONOTONIC);
      _exit(0);
    }
    EXITS(0, pid);
    CHECK(t[0] <= t[1] && t[1] <= vdso(CLOCK_MONOTONIC));
  }
}

static void bad_clocks(void) {
  struct timespec ts;
  ERR(EINVAL, syscall(SYS_clock_gettime, 99, &ts));
  ERR(EINVAL, clock_gettime(99, &ts));
  ERR(EFAULT, syscall(SYS_clock_gettime, CLOCK_MONOTONIC, 8));
  ERR(EINVAL, syscall(SYS_clock_getres, 99, &ts));
  EQ(0, SYS(syscall(SYS_clock_getres, CLOCK_MONOTONIC, NULL)));
  SYS(clock_getres(CLOCK_MONOTONIC, &ts));
  EQ(1, ns(ts));
  ERR(EINVAL, syscall(SYS_clock_settime, CLOCK_MONOTONIC, &ts));
  SYS(syscall(SYS_clock_gettime, -2 /* own process */, &ts));
}

static void resolutions(void) {
  clockid_t fine[] = {CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_MONOTONIC_RAW, CLOCK_BOOTTIME, CLOCK_TAI};
  clockid_t coarse[] = {CLOCK_REALTIME_COARSE, CLOCK_MONOTONIC_COARSE};
  struct timespec ts;
  for (size_t i = 0; i < LEN(fine); i++) {
    SYS(syscall(SYS_clock_getres, fine[i], &ts));
    EQ(1, ns(ts));
    CHECK(raw(fine[i]) > 0);
  }
  for (size_t i = 0; i < LEN(coarse); i++) {
    SYS(syscall(SYS_clock_getres, coarse[i], &ts));
    CHECK(ns(ts) >= 1 * MS && ns(ts) <= 10 * MS);
    SYS(clock_getres(coarse[i], &ts));
    CHECK(ns(ts) >= 1 * MS && ns(ts) <= 10 * MS);
  }
  int bad[] = {10, 12, 15, 99, INT_MAX, -1 /* an odd descriptor */};
  for (size_t i = 0; i < LEN(bad); i++) {
    ERR(EINVAL, syscall(SYS_clock_getres, bad[i], &ts));
    ERR(EINVAL, syscall(SYS_clock_getres, bad[i], NULL));
    ERR(EINVAL, syscall(SYS_clock_gettime, bad[i], &ts));
  }
  ERR(EFAULT, syscall(SYS_clock_getres, CLOCK_MONOTONIC, 8));
  ERR(EFAULT, syscall(SYS_clock_gettime, CLOCK_MONOTONIC, NULL));
}

// drop gives up all privileges, root's too.
static void drop(void) {
  if (getuid() == 0) SYS(setresuid(1000, 1000, 1000));
}

// Setting the time takes a privilege, and arguments are looked at first.
static void setting(void) {
  drop();
  struct timespec ts = {1700000000, 0};
  ERR(EPERM, syscall(SYS_clock_settime, CLOCK_REALTIME, &ts));
  ERR(EFAULT, syscall(SYS_clock_settime, CLOCK_REALTIME, 8));
  ERR(EFAULT, syscall(SYS_clock_settime, CLOCK_REALTIME, NULL));
  struct timespec bad[] = {{-1, 0}, {0, -1}, {0, 1000000000}, {LONG_MAX, 0}, {9000000000, 0}};
  for (size_t i = 0; i < LEN(bad); i++) ERR(EINVAL, syscall(SYS_clock_settime, CLOCK_REALTIME, &bad[i]));
  int fixed[] = {CLOCK_MONOTONIC,       CLOCK_MONOTONIC_RAW,    CLOCK_BOOTTIME,           CLOCK_TAI, 99,
                 CLOCK_REALTIME_COARSE, CLOCK_MONOTONIC_COARSE, CLOCK_PROCESS_CPUTIME_ID, 10,        CLOCK_THREAD_CPUTIME_ID};
  for (size_t i = 0; i < LEN(fixed); i++) {
    ERR(EINVAL, syscall(SYS_clock_settime, fixed[i], &ts));
    ERR(EINVAL, syscall(SYS_clock_settime, fixed[i], 8));
  }
  ERR(EPERM, syscall(SYS_clock_settime, -2 /* own process */, &ts));
  ERR(EFAULT, syscall(SYS_clock_settime, -2, 8));
  ERR(EINVAL, syscall(SYS_clock_settime, (int)(~(1U << 22) << 3 | 2), &ts));

  struct timeval tv = {1700000000, 0};
  int zone[2] = {0, 0};
  ERR(EPERM, syscall(SYS_settimeofday, &tv, NULL));
  ERR(EPERM, syscall(SYS_settimeofday, &tv, zone));
  ERR(EPERM, syscall(SYS_settimeofday, NULL, zone));
  ERR(EPERM, syscall(SYS_settimeofday, NULL, NULL));
  ERR(EFAULT, syscall(SYS_settimeofday, 8, NULL));
  ERR(EFAULT, syscall(SYS_settimeofday, NULL, 8));
  struct timeval wrong[] = {{-1, 0}, {0, -1}, {0, 1000001}, {LONG_MAX, 0}};
  for (size_t i = 0; i < LEN(wrong); i++) ERR(EINVAL, syscall(SYS_settimeofday, &wrong[i], NULL));
  ERR(EFAULT, syscall(SYS_gettimeofday, 8, NULL));
  ERR(EFAULT, syscall(SYS_gettimeofday, NULL, 8));
  EQ(0, syscall(SYS_gettimeofday, NULL, NULL));
  ERR(EFAULT, syscall(SYS_time, 8));
}

static void adjusting(void) {
  drop();
  struct timex x = {0};
  long state = SYS(syscall(SYS_adjtimex, &x));
  CHECK(state >= TIME_OK && state <= TIME_ERROR);
  CHECK(x.tick >= 9000 && x.tick <= 11000 && x.time.tv_sec > 1700000000);
  CHECK(x.precision >= 1 && x.tolerance > 0);
  struct timex y = {0};
  EQ(state, SYS(syscall(SYS_clock_adjtime, CLOCK_REALTIME, &y)));
  EQ(x.tick, y.tick);
  CHECK(y.time.tv_sec >= x.time.tv_sec);
  x.modes = ADJ_OFFSET_SS_READ;
  SYS(syscall(SYS_adjtimex, &x));
  unsigned modes[] = {ADJ_OFFSET, ADJ_FREQUENCY, ADJ_STATUS, ADJ_TICK, ADJ_SETOFFSET, ADJ_OFFSET_SINGLESHOT, ADJ_TAI, 0x2000};
  for (size_t i = 0; i < LEN(modes); i++) {
    x = (struct timex){.modes = modes[i], .tick = 10000};
    ERR(EPERM, syscall(SYS_adjtimex, &x));
    ERR(EPERM, syscall(SYS_clock_adjtime, CLOCK_REALTIME, &x));
  }
  x.modes = 0x8000;  // ADJ_ADJTIME, with nothing
  ERR(EINVAL, syscall(SYS_adjtimex, &x));
  ERR(EFAULT, syscall(SYS_adjtimex, 8));
  ERR(EFAULT, syscall(SYS_clock_adjtime, CLOCK_REALTIME, 8));
  ERR(EFAULT, syscall(SYS_clock_adjtime, 99, 8));
  x.modes = 0;
  int fixed[] = {CLOCK_MONOTONIC, CLOCK_MONOTONIC_RAW, CLOCK_BOOTTIME, CLOCK_TAI, CLOCK_PROCESS_CPUTIME_ID, -2};
  for (size_t i = 0; i < LEN(fixed); i++) ERR(EOPNOTSUPP, syscall(SYS_clock_adjtime, fixed[i], &x));
  int none[] = {99, 10, 12, -5};
  for (size_t i = 0; i < LEN(none); i++) ERR(EINVAL, syscall(SYS_clock_adjtime, none[i], &x));
}

static void on_alarm(int sig UNUSED) {}

static void in_20ms(void) {
  struct itimerval it = {{0, 0}, {0, 20000}};
  SYS(setitimer(ITIMER_REAL, &it, NULL));
}

// A handler ends a sleep, whatever SA_RESTART says; what is left is told of a span.
static void sleep_interrupted(void) {
  for (int flags = 0; flags <= SA_RESTART; flags += SA_RESTART) {
    handle(SIGALRM, on_alarm, flags);
    struct timespec ts = {1000, 0}, rem = {7, 7};
    in_20ms();
    ERR(EINTR, nanosleep(&ts, &rem));
    CHECK(ns(rem) > 900000 * MS && ns(rem) < 1000000 * MS);
    in_20ms();
    EQ(EINTR, clock_nanosleep(CLOCK_BOOTTIME, 0, &ts, &rem));
    CHECK(ns(rem) > 900000 * MS && ns(rem) < 1000000 * MS);
    in_20ms();
    ERR(EINTR, syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, &ts, NULL));
    in_20ms();
    ERR(EFAULT, syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, &ts, 8));
    rem = (struct timespec){7, 7};
    long long t = vdso(CLOCK_MONOTONIC) + 1000000 * MS;
    ts = (struct timespec){t / 1000000000, 0};
    in_20ms();
    EQ(EINTR, clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, &rem));
    EQ(7, rem.tv_sec);
    t = vdso(CLOCK_REALTIME) + 1000000 * MS;
    ts = (struct timespec){t / 1000000000, 0};
    in_20ms();
    EQ(EINTR, clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &ts, NULL));
  }
}

static void sleep_errors(void) {
  struct timespec ts = {0, 1}, bad[] = {{0, 1000000000}, {0, -1}, {-1, 0}};
  clockid_t ids[] = {CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_BOOTTIME, CLOCK_TAI};
  for (size_t i = 0; i < LEN(ids); i++) {
    SYS(syscall(SYS_clock_nanosleep, ids[i], 0, &ts, NULL));
    SYS(syscall(SYS_clock_nanosleep, ids[i], TIMER_ABSTIME, &ts, NULL));
    SYS(syscall(SYS_clock_nanosleep, ids[i], 0xff0, &ts, NULL));  // other flags mean nothing
    ERR(EFAULT, syscall(SYS_clock_nanosleep, ids[i], 0, 8, NULL));
    for (size_t k = 0; k < LEN(bad); k++) ERR(EINVAL, syscall(SYS_clock_nanosleep, ids[i], TIMER_ABSTIME, &bad[k], NULL));
  }
  ERR(EINVAL, syscall(SYS_clock_nanosleep, 99, 0, 8, NULL));
  ERR(EOPNOTSUPP, syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC_RAW, 0, 8, NULL));
}

// A stop does not end a sleep, nor lengthen it.
static void sleep_through_stop(void) {
  pid_t pid = SYS(fork());
  if (pid == 0) {
    long long t = now_ns();
    sleep_ms(0);
    struct timespec ts = {0, 80 * MS};
    SYS(nanosleep(&ts, NULL));
    CHECK(now_ns() - t >= 80 * MS);
    t = now_ns() + 60 * MS;
    ts = (struct timespec){t / 1000000000, t % 1000000000};
    EQ(0, clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL));
    CHECK(now_ns() >= t);
    _exit(0);
  }
  for (int i = 0; i < 6; i++) {
    sleep_ms(10);
    SYS(kill(pid, SIGSTOP));
    sleep_ms(5);
    SYS(kill(pid, SIGCONT));
  }
  EXITS(0, pid);
}

static void sleeps(void) {
  long times[] = {0, 1000, 1 * MS, 15 * MS};
  for (size_t i = 0; i < LEN(times); i++) {
    struct timespec ts = {0, times[i]};
    long long t = now_ns();
    SYS(nanosleep(&ts, NULL));
    CHECK(now_ns() - t >= times[i]);
  }
  struct timespec bad = {0, 1000000000};
  ERR(EINVAL, nanosleep(&bad, NULL));
  bad = (struct timespec){-1, 0};
  ERR(EINVAL, nanosleep(&bad, NULL));
  ERR(EFAULT, syscall(SYS_nanosleep, 8, NULL));
}

static void sleeps_until(void) {
  clockid_t ids[] = {CLOCK_MONOTONIC, CLOCK_REALTIME};
  for (size_t i = 0; i < LEN(ids); i++) {
    long long t = vdso(ids[i]) + 15 * MS;
    struct timespec ts = {t / 1000000000, t % 1000000000};
    EQ(0, clock_nanosleep(ids[i], TIMER_ABSTIME, &ts, NULL));
    CHECK(vdso(ids[i]) >= t);
    EQ(0, clock_nanosleep(ids[i], TIMER_ABSTIME, &ts, NULL));  // in the past
  }
  struct timespec ts = {0, 1};
  EQ(EINVAL, clock_nanosleep(99, 0, &ts, NULL));
}

static volatile int fired;
static void on_timer(int sig UNUSED, siginfo_t *si, void *u UNUSED) {
  fired += si->si_code == SI_TIMER ? si->si_value.sival_int : 1000;
}

static void posix_timer(void) {
  handle_info(SIGRTMIN, on_timer, SA_RESTART);
  struct sigevent ev = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN, .sigev_value.sival_int = 1};
  timer_t timer;
  SYS(timer_create(CLOCK_MONOTONIC, &ev, &timer));
  struct itimerspec it = {{0, 5 * MS}, {0, 5 * MS}}, old;
  long long t = now_ns();
  SYS(timer_settime(timer, 0, &it, NULL));
  while (fired < 3) pause();
  CHECK(now_ns() - t >= 15 * MS && fired < 1000);
  SYS(timer_gettime(timer, &old));
  EQ(5 * MS, ns(old.it_interval));
  it = (struct itimerspec){0};
  SYS(timer_settime(timer, 0, &it, &old));
  SYS(timer_gettime(timer, &old));
  EQ(0, ns(old.it_value));
  SYS(timer_delete(timer));
  ERR(EINVAL, syscall(SYS_timer_delete, 12345));
  ERR(EINVAL, timer_create(99, &ev, &timer));
}

static void timer_overrun(void) {
  block(SIGRTMIN);
  struct sigevent ev = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN, .sigev_value.sival_int = 1};
  timer_t timer;
  SYS(timer_create(CLOCK_MONOTONIC, &ev, &timer));
  struct itimerspec it = {{0, 1 * MS}, {0, 1 * MS}};
  SYS(timer_settime(timer, 0, &it, NULL));
  sleep_ms(30);
  sigset_t s = set_of(SIGRTMIN);
  siginfo_t si;
  EQ(SIGRTMIN, SYS(sigwaitinfo(&s, &si)));
  EQ(SI_TIMER, si.si_code);
  CHECK(si.si_overrun >= 20);
  CHECK(timer_getoverrun(timer) >= 20);
}

static void timer_file(void) {
  int fd = SYS(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC));
  uint64_t n;
  ERR(EAGAIN, read(fd, &n, 8));
  struct itimerspec it = {{0, 4 * MS}, {0, 4 * MS}}, now;
  long long t = now_ns();
  SYS(timerfd_settime(fd, 0, &it, NULL));
  struct pollfd pf = {fd, POLLIN, 0};
  EQ(1, SYS(poll(&pf, 1, 10000)));
  CHECK(now_ns() - t >= 4 * MS);
  sleep_ms(20);
  EQ(8, SYS(read(fd, &n, 8)));
  CHECK(n >= 5);
  SYS(timerfd_gettime(fd, &now));
  EQ(4 * MS, ns(now.it_interval));
  it = (struct itimerspec){0};
  SYS(timerfd_settime(fd, 0, &it, NULL));
  EQ(0, SYS(poll(&pf, 1, 10)));
  t = now_ns() + 5 * MS;
  it.it_value = (struct timespec){t / 1000000000, t % 1000000000};
  SYS(timerfd_settime(fd, TFD_TIMER_ABSTIME, &it, NULL));
  SYS(fcntl(fd, F_SETFL, 0));
  EQ(8, SYS(read(fd, &n, 8)));
  EQ(1, n);
  CHECK(now_ns() >= t);
  ERR(EINVAL, read(fd, &n, 4));
  ERR(EINVAL, timerfd_create(99, 0));
  ERR(EINVAL, timerfd_settime(0, 0, &it, NULL));
}

static void processor_time(void) {
  long long t = vdso(CLOCK_PROCESS_CPUTIME_ID), u = vdso(CLOCK_THREAD_CPUTIME_ID);
  while (vdso(CLOCK_PROCESS_CPUTIME_ID) - t < 20 * MS) {
  }
  CHECK(vdso(CLOCK_THREAD_CPUTIME_ID) - u >= 15 * MS);
  t = vdso(CLOCK_PROCESS_CPUTIME_ID);
  sleep_ms(50);
  CHECK(vdso(CLOCK_PROCESS_CPUTIME_ID) - t < 45 * MS);  // sleeping costs nothing
  struct rusage ru;
  SYS(getrusage(RUSAGE_SELF, &ru));
  CHECK(ru.ru_utime.tv_sec * 1000000 + ru.ru_utime.tv_usec + ru.ru_stime.tv_sec * 1000000 + ru.ru_stime.tv_usec >= 15000);
}

static void times_call(void) {
  struct tms t;
  clock_t a = times(&t);
  pid_t pid = SYS(fork());
  if (pid == 0) {
    long long start = vdso(CLOCK_PROCESS_CPUTIME_ID);
    while (vdso(CLOCK_PROCESS_CPUTIME_ID) - start < 60 * MS) {
    }
    _exit(0);
  }
  EXITS(0, pid);
  clock_t b = times(&t);
  CHECK(b - a >= 5);
  CHECK(t.tms_cutime + t.tms_cstime >= 5);
  EQ(100, sysconf(_SC_CLK_TCK));
}

static void cpu_limit(void) {
  pid_t pid = SYS(fork());
  if (pid == 0) {
    struct rlimit lim = {1, 2};
    SYS(setrlimit(RLIMIT_CPU, &lim));
    for (volatile unsigned i = 0;; i++) {
    }
  }
  DIES(SIGXCPU, pid);
}

static void file_times(void) {
  scratch();
  struct timespec before, ts[2] = {{1000, 5}, {2000, 6}};
  clock_gettime(CLOCK_REALTIME_COARSE, &before);
  make_file("f", "x", 1, 0600);
  struct stat st;
  SYS(stat("f", &st));
  CHECK(ns(st.st_mtim) >= ns(before));
  SYS(utimensat(AT_FDCWD, "f", ts, 0));
  SYS(stat("f", &st));
  EQ(ns(ts[0]), ns(st.st_atim));
  EQ(ns(ts[1]), ns(st.st_mtim));
  CHECK(ns(st.st_ctim) >= ns(before));
  ts[0].tv_nsec = UTIME_OMIT;
  ts[1].tv_nsec = UTIME_NOW;
  SYS(utimensat(AT_FDCWD, "f", ts, 0));
  SYS(stat("f", &st));
  EQ(1000, st.st_atim.tv_sec);
  CHECK(ns(st.st_mtim) >= ns(before));
  ts[0].tv_nsec = 1000000000;
  ERR(EINVAL, utimensat(AT_FDCWD, "f", ts, 0));
}

TESTS(T(clocks_agree), T(coarse_clocks), T(time_of_day), T(monotonic), T(same_in_children), T(bad_clocks), T(resolutions),
      T(setting), T(adjusting), T(sleeps), T(sleep_interrupted), T(sleep_errors), T(sleep_through_stop),
      T(sleeps_until), T(posix_timer), T(timer_overrun), T(timer_file), T(processor_time), T(times_call),
      SLOW(cpu_limit), T(file_times))
