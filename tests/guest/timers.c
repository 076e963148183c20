// POSIX timers, interval timers and the limit on processor time.
#include "check.h"

#include <poll.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/signalfd.h>

#define BAD ((void *)8)
#define CPU_CLOCK(pid, kind) ((int)(~(unsigned)(pid) << 3 | (kind)))

static long long ns(struct timespec ts) { return ts.tv_sec * 1000000000LL + ts.tv_nsec; }

static struct timespec ts_of(long long v) { return (struct timespec){v / 1000000000, v % 1000000000}; }

static long long now_on(clockid_t id) {
  struct timespec ts;
  SYS(syscall(SYS_clock_gettime, id, &ts));
  return ns(ts);
}

// The system calls themselves: the library keeps ids of its own.
static int create(clockid_t clock, struct sigevent *ev) {
  int id = -7;
  SYS(syscall(SYS_timer_create, clock, ev, &id));
  return id;
}

static int create_signal(clockid_t clock, int sig, int value) {
  struct sigevent ev = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = sig, .sigev_value.sival_int = value};
  return create(clock, &ev);
}

static long settime(int id, int flags, long long value, long long interval, struct itimerspec *old) {
  struct itimerspec it = {ts_of(interval), ts_of(value)};
  return syscall(SYS_timer_settime, id, flags, &it, old);
}

static struct itimerspec gettime(int id) {
  struct itimerspec it;
  SYS(syscall(SYS_timer_gettime, id, &it));
  return it;
}

static long overrun(int id) { return syscall(SYS_timer_getoverrun, id); }
static long delete(int id) { return syscall(SYS_timer_delete, id); }

// take waits for one of the pending signals, or -1.
static int take(int sig, siginfo_t *si, long ms) {
  sigset_t s = set_of(sig);
  struct timespec ts = {ms / 1000, ms % 1000 * MS};
  return sigtimedwait(&s, si, &ts);
}

static void await_pending(int sig) {
  sigset_t s;
  do {
    sleep_ms(1);
    SYS(sigpending(&s));
  } while (!sigismember(&s, sig));
}

// burn uses processor time, in the calling thread.
static void burn(long long time) {
  long long end = now_on(CLOCK_THREAD_CPUTIME_ID) + time;
  while (now_on(CLOCK_THREAD_CPUTIME_ID) < end)
    for (volatile int i = 0; i < 10000; i++) {
    }
}

static volatile sig_atomic_t count;
static siginfo_t last;
static void on_timer(int sig UNUSED, siginfo_t *si, void *u UNUSED) {
  last = *si;
  count++;
}

static void create_errors(void) {
  int id;
  struct sigevent ev = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
  ERR(EINVAL, syscall(SYS_timer_create, 99, &ev, &id));
  ERR(EINVAL, syscall(SYS_timer_create, 10, &ev, &id));
  ERR(EOPNOTSUPP, syscall(SYS_timer_create, CLOCK_MONOTONIC_RAW, &ev, &id));
  ERR(EOPNOTSUPP, syscall(SYS_timer_create, CLOCK_MONOTONIC_COARSE, &ev, &id));
  ERR(EOPNOTSUPP, syscall(SYS_timer_create, CLOCK_REALTIME_COARSE, &ev, &id));
  ERR(EOPNOTSUPP, syscall(SYS_timer_create, CPU_CLOCK(5, 3), &ev, &id));  // a clock device
  ERR(EINVAL, syscall(SYS_timer_create, CPU_CLOCK(1 << 22, 2), &ev, &id));
  ERR(EINVAL, syscall(SYS_timer_create, CPU_CLOCK(1 << 22, 6), &ev, &id));
  ERR(EINVAL, syscall(SYS_timer_create, CPU_CLOCK(0, 7), &ev, &id));
  ERR(EFAULT, syscall(SYS_timer_create, CLOCK_MONOTONIC, BAD, &id));
  ERR(EFAULT, syscall(SYS_timer_create, CLOCK_MONOTONIC, &ev, BAD));
  ERR(EFAULT, syscall(SYS_timer_create, CLOCK_MONOTONIC, &ev, NULL));
  ERR(EFAULT, syscall(SYS_timer_create, 99, BAD, &id));  // the event is read first
  int signals[] = {0, -1, 65, 1000};
  int kinds[] = {SIGEV_SIGNAL, SIGEV_THREAD, SIGEV_THREAD_ID};
  for (size_t k = 0; k < LEN(kinds); k++)
    for (size_t i = 0; i < LEN(signals); i++) {
      ev = (struct sigevent){.sigev_notify = kinds[k], .sigev_signo = signals[i]};
      ev._sigev_un._tid = getpid();
      ERR(EINVAL, syscall(SYS_timer_create, CLOCK_MONOTONIC, &ev, &id));
    }
  int notify[] = {3, 5, 7, 8, -1};
  for (size_t i = 0; i < LEN(notify); i++) {
    ev = (struct sigevent){.sigev_notify = notify[i], .sigev_signo = SIGUSR1};
    ERR(EINVAL, syscall(SYS_timer_create, CLOCK_MONOTONIC, &ev, &id));
  }
  int tids[] = {0, -1, 1 << 22, getppid()};
  for (size_t i = 0; i < LEN(tids); i++) {
    ev = (struct sigevent){.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGUSR1};
    ev._sigev_un._tid = tids[i];
    ERR(EINVAL, syscall(SYS_timer_create, CLOCK_MONOTONIC, &ev, &id));
  }
  // What no signal goes to needs no number of one.
  ev = (struct sigevent){.sigev_notify = SIGEV_NONE, .sigev_signo = 1000};
  SYS(syscall(SYS_timer_create, CLOCK_MONOTONIC, &ev, &id));
}

static void id_errors(void) {
  struct itimerspec it = {{0, 0}, {1, 0}};
  int ids[] = {0, 1, -1, 12345};
  for (size_t i = 0; i < LEN(ids); i++) {
    ERR(EINVAL, syscall(SYS_timer_settime, ids[i], 0, &it, NULL));
    ERR(EINVAL, syscall(SYS_timer_gettime, ids[i], &it));
    ERR(EINVAL, overrun(ids[i]));
    ERR(EINVAL, delete(ids[i]));
  }
  int id = create_signal(CLOCK_MONOTONIC, SIGUSR1, 0);
  EQ(0, overrun(id));
  SYS(delete(id));
  ERR(EINVAL, delete(id));
  ERR(EINVAL, syscall(SYS_timer_gettime, id, &it));
}

// Ids count up from 0, and are not used again soon.
static void ids(void) {
  EQ(0, create(CLOCK_MONOTONIC, NULL));
  EQ(1, create(CLOCK_REALTIME, NULL));
  SYS(delete(0));
  EQ(2, create(CLOCK_BOOTTIME, NULL));
  SYS(delete(2));
  EQ(3, create(CLOCK_TAI, NULL));
  EQ(4, create(CLOCK_PROCESS_CPUTIME_ID, NULL));
  EQ(5, create(CLOCK_THREAD_CPUTIME_ID, NULL));
}

static void settime_errors(void) {
  int id = create_signal(CLOCK_MONOTONIC, SIGUSR1, 0);
  ERR(EINVAL, syscall(SYS_timer_settime, id, 0, NULL, NULL));
  ERR(EFAULT, syscall(SYS_timer_settime, id, 0, BAD, NULL));
  ERR(EFAULT, syscall(SYS_timer_settime, 77, 0, BAD, NULL));
  struct itimerspec bad[] = {
      {{0, 0}, {0, 1000000000}}, {{0, 0}, {0, -1}},         {{0, 0}, {-1, 0}},
      {{0, 1000000000}, {1, 0}}, {{0, -1}, {1, 0}},         {{-1, 0}, {1, 0}},
      {{0, 1000000000}, {0, 0}}, {{0, 0}, {1, 2000000000}},
  };
  for (size_t i = 0; i < LEN(bad); i++) ERR(EINVAL, syscall(SYS_timer_settime, id, 0, &bad[i], NULL));
  SYS(settime(id, 0, 100000 * MS, 0, NULL));
  CHECK(ns(gettime(id).it_value) > 0);
  // The old value cannot be stored, but the new one counts.
  ERR(EFAULT, settime(id, 0, 0, 0, BAD));
  EQ(0, ns(gettime(id).it_value));
  ERR(EFAULT, syscall(SYS_timer_gettime, id, BAD));
  SYS(settime(id, 0xff0 /* not looked at */, 100000 * MS, 0, NULL));
  long long left = ns(gettime(id).it_value);
  CHECK(left > 50000 * MS && left <= 100000 * MS);
}

static void values(void) {
  clockid_t clocks[] = {CLOCK_REALTIME,  CLOCK_MONOTONIC,          CLOCK_BOOTTIME,
                        CLOCK_TAI,       CLOCK_PROCESS_CPUTIME_ID, CLOCK_THREAD_CPUTIME_ID};
  for (size_t i = 0; i < LEN(clocks); i++) {
    int id = create_signal(clocks[i], SIGUSR1, 0);
    struct itimerspec old = {{9, 9}, {9, 9}};
    SYS(settime(id, 0, 100000 * MS, 7 * MS, &old));
    EQ(0, ns(old.it_value) + ns(old.it_interval));
    struct itimerspec now = gettime(id);
    EQ(7 * MS, ns(now.it_interval));
    CHECK(ns(now.it_value) > 50000 * MS && ns(now.it_value) <= 100000 * MS);
    // Absolute: what is left is shown, not when.
    SYS(settime(id, TIMER_ABSTIME, now_on(clocks[i]) + 200000 * MS, 3 * MS, &old));
    EQ(7 * MS, ns(old.it_interval));
    CHECK(ns(old.it_value) > 50000 * MS && ns(old.it_value) <= 100000 * MS);
    now = gettime(id);
    EQ(3 * MS, ns(now.it_interval));
    CHECK(ns(now.it_value) > 100000 * MS && ns(now.it_value) <= 200000 * MS);
    // Without a value there is no interval either.
    SYS(settime(id, 0, 0, 5 * MS, &old));
    CHECK(ns(old.it_value) > 100000 * MS);
    now = gettime(id);
    EQ(0, ns(now.it_value) + ns(now.it_interval));
    // For ever.
    struct itimerspec far = {{0, 0}, {0x7fffffffffffffff, 999999999}};
    SYS(syscall(SYS_timer_settime, id, 0, &far, NULL));
    CHECK(gettime(id).it_value.tv_sec > 1000000000);
    SYS(delete(id));
  }
}

// Without an event it is SIGALRM, with the timer's id.
static void default_event(void) {
  block(SIGALRM);
  create(CLOCK_MONOTONIC, NULL);
  int id = create(CLOCK_MONOTONIC, NULL);
  SYS(settime(id, 0, 1 * MS, 0, NULL));
  siginfo_t si;
  EQ(SIGALRM, take(SIGALRM, &si, 10000));
  EQ(SI_TIMER, si.si_code);
  EQ(id, si.si_value.sival_int);
  EQ(id, si.si_timerid);
  EQ(0, si.si_overrun);
  EQ(0, si.si_errno);
  struct itimerspec now = gettime(id);
  EQ(0, ns(now.it_value) + ns(now.it_interval));
}

static void value_of_event(void) {
  block(SIGRTMIN);
  struct sigevent ev = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN};
  ev.sigev_value.sival_ptr = (void *)0x1234567890abcdef;
  int id = create(CLOCK_MONOTONIC, &ev);
  SYS(settime(id, 0, 1, 0, NULL));
  siginfo_t si;
  EQ(SIGRTMIN, take(SIGRTMIN, &si, 10000));
  CHECK(si.si_value.sival_ptr == ev.sigev_value.sival_ptr);
}

static void silent(void) {
  struct sigevent ev = {.sigev_notify = SIGEV_NONE};
  int id = create(CLOCK_MONOTONIC, &ev);
  SYS(settime(id, 0, 20 * MS, 0, NULL));
  long long left = ns(gettime(id).it_value);
  CHECK(left > 0 && left <= 20 * MS);
  sleep_ms(25);
  EQ(0, ns(gettime(id).it_value));
  // A periodic one goes on.
  SYS(settime(id, 0, 1 * MS, 10000 * MS, NULL));
  sleep_ms(3);
  left = ns(gettime(id).it_value);
  CHECK(left > 5000 * MS && left <= 10000 * MS);
  EQ(10000 * MS, ns(gettime(id).it_interval));
  EQ(0, overrun(id));
}

static void periodic(void) {
  handle_info(SIGUSR1, on_timer, 0);
  block(SIGUSR1);
  clockid_t clocks[] = {CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_BOOTTIME, CLOCK_TAI};
  for (size_t i = 0; i < LEN(clocks); i++) {
    int id = create_signal(clocks[i], SIGUSR1, 40 + i);
    long long begin = now_ns();
    SYS(settime(id, 0, 4 * MS, 4 * MS, NULL));
    sigset_t none = set_of(0);
    int expired = 0;
    for (count = 0; count < 4;) {
      EQ(-1, sigsuspend(&none));
      EQ(40 + i, last.si_value.sival_int);
      expired += 1 + last.si_overrun;
      EQ(last.si_overrun, overrun(id));
    }
    CHECK(now_ns() - begin >= expired * 4 * MS);
    SYS(delete(id));
  }
}

static void past(void) {
  block(SIGUSR1);
  siginfo_t si;
  int id = create_signal(CLOCK_MONOTONIC, SIGUSR1, 0);
  SYS(settime(id, TIMER_ABSTIME, 1, 0, NULL));
  EQ(SIGUSR1, take(SIGUSR1, &si, 10000));
  EQ(0, si.si_overrun);
  // What a periodic one has missed counts.
  SYS(settime(id, TIMER_ABSTIME, now_ns() - 100 * MS, 10 * MS, NULL));
  EQ(SIGUSR1, take(SIGUSR1, &si, 10000));
  CHECK(si.si_overrun >= 10);
  EQ(si.si_overrun, overrun(id));
  SYS(settime(id, 0, 0, 0, NULL));
  EQ(0, overrun(id));  // a new setting
}

static void overruns(void) {
  block(SIGRTMIN);
  int id = create_signal(CLOCK_MONOTONIC, SIGRTMIN, 0);
  SYS(settime(id, 0, 1 * MS, 1 * MS, NULL));
  sleep_ms(30);
  siginfo_t si;
  EQ(SIGRTMIN, take(SIGRTMIN, &si, 10000));  // one, though it is a real-time signal
  CHECK(si.si_overrun >= 25);
  // The count of the next begins anew.
  EQ(SIGRTMIN, take(SIGRTMIN, &si, 10000));
  EQ(si.si_overrun, overrun(id));
  // A silly interval, and a count that does not fit.
  SYS(settime(id, TIMER_ABSTIME, 1, 1, NULL));
  EQ(SIGRTMIN, take(SIGRTMIN, &si, 10000));
  EQ(INT_MAX, si.si_overrun);
  EQ(INT_MAX, overrun(id));
}

// A signal that is pending is void when its timer is set anew, or deleted.
static void void_signals(void) {
  block(SIGUSR1);
  siginfo_t si;
  int id = create_signal(CLOCK_MONOTONIC, SIGUSR1, 1);
  SYS(settime(id, 0, 1 * MS, 0, NULL));
  await_pending(SIGUSR1);
  SYS(settime(id, 0, 0, 0, NULL));
  ERR(EAGAIN, take(SIGUSR1, &si, 0));
  SYS(settime(id, 0, 1 * MS, 0, NULL));
  await_pending(SIGUSR1);
  SYS(settime(id, 0, 5 * MS, 0, NULL));
  EQ(SIGUSR1, take(SIGUSR1, &si, 10000));  // the new one, once
  ERR(EAGAIN, take(SIGUSR1, &si, 0));
  SYS(settime(id, 0, 1 * MS, 1 * MS, NULL));
  await_pending(SIGUSR1);
  SYS(delete(id));
  ERR(EAGAIN, take(SIGUSR1, &si, 5));
}

// Each timer has its own signal, though the number is the same.
static void same_signal(void) {
  block(SIGUSR1);
  int seen = 0;
  SYS(kill(getpid(), SIGUSR1));
  for (int i = 0; i < 3; i++) {
    int id = create_signal(CLOCK_MONOTONIC, SIGUSR1, 1 << i);
    SYS(settime(id, 0, 1, 0, NULL));
  }
  sleep_ms(10);
  SYS(kill(getpid(), SIGUSR1));  // is one with what is pending
  siginfo_t si;
  for (int i = 0; i < 4; i++) {
    EQ(SIGUSR1, take(SIGUSR1, &si, 1000));
    EQ(i ? SI_TIMER : SI_USER, si.si_code);
    if (i) seen |= si.si_value.sival_int;
  }
  EQ(7, seen);
  ERR(EAGAIN, take(SIGUSR1, &si, 0));
}

static int target_tid, hit_tid;
static void on_thread(int sig UNUSED) { hit_tid = gettid(); }
static void *sleeper(void *p UNUSED) {
  __atomic_store_n(&target_tid, gettid(), __ATOMIC_SEQ_CST);
  while (!__atomic_load_n(&hit_tid, __ATOMIC_SEQ_CST)) sleep_ms(1);
  return NULL;
}

static void to_thread(void) {
  handle(SIGUSR1, on_thread, 0);
  pthread_t t;
  ZERO(pthread_create(&t, NULL, sleeper, NULL));
  while (!__atomic_load_n(&target_tid, __ATOMIC_SEQ_CST)) sleep_ms(1);
  struct sigevent ev = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGUSR1};
  ev._sigev_un._tid = target_tid;
  int id = create(CLOCK_MONOTONIC, &ev);
  SYS(settime(id, 0, 1 * MS, 0, NULL));
  ZERO(pthread_join(t, NULL));
  EQ(target_tid, hit_tid);
  // The thread is gone: nobody gets it.
  SYS(settime(id, 0, 1 * MS, 1 * MS, NULL));
  hit_tid = 0;
  sleep_ms(10);
  EQ(0, hit_tid);
  SYS(delete(id));
}

static void not_for_children(void) {
  int id = create_signal(CLOCK_MONOTONIC, SIGTERM, 0);
  SYS(settime(id, 0, 30 * MS, 0, NULL));
  block(SIGTERM);
  pid_t pid = SYS(fork());
  if (pid == 0) {
    unblock(SIGTERM);
    struct itimerspec it;
    ERR(EINVAL, syscall(SYS_timer_gettime, id, &it));
    sleep_ms(50);
    EQ(0, create(CLOCK_MONOTONIC, NULL));
    _exit(0);
  }
  EXITS(0, pid);
  siginfo_t si;
  EQ(SIGTERM, take(SIGTERM, &si, 10000));
}

// execve deletes timers, and what they sent; interval timers go on.
static void not_after_exec(void) {
  if (getenv("EXECED")) {
    struct itimerspec it;
    for (int i = 0; i < 3; i++) ERR(EINVAL, syscall(SYS_timer_gettime, i, &it));
    EQ(2, create(CLOCK_MONOTONIC, NULL));  // ids go on
    siginfo_t si;
    ERR(EAGAIN, take(SIGUSR1, &si, 0));
    EQ(SIGUSR2, take(SIGUSR2, &si, 0));
    struct itimerval v;
    SYS(getitimer(ITIMER_REAL, &v));
    CHECK(v.it_value.tv_sec > 500 && v.it_value.tv_sec <= 1000);
    SYS(getitimer(ITIMER_PROF, &v));
    CHECK(v.it_value.tv_sec > 500 && v.it_value.tv_sec <= 1000);
    _exit(0);
  }
  block(SIGUSR1);
  block(SIGUSR2);
  int id = create_signal(CLOCK_MONOTONIC, SIGUSR1, 0);
  SYS(settime(id, 0, 1, 0, NULL));
  id = create_signal(CLOCK_MONOTONIC, SIGTERM, 0);
  SYS(settime(id, 0, 1000 * MS, 0, NULL));
  SYS(kill(getpid(), SIGUSR2));
  struct itimerval v = {{0, 0}, {1000, 0}};
  SYS(setitimer(ITIMER_REAL, &v, NULL));
  SYS(setitimer(ITIMER_PROF, &v, NULL));
  sleep_ms(5);
  pid_t pid = SYS(fork());  // and not inherited, either
  if (pid == 0) {
    SYS(getitimer(ITIMER_REAL, &v));
    EQ(0, v.it_value.tv_sec);
    _exit(0);
  }
  EXITS(0, pid);
  setenv("EXECED", "1", 1);
  execl("/proc/self/exe", "timers", "not_after_exec", NULL);
  FAIL("exec: %s", strerrorname_np(errno));
}

// While its signal is ignored a timer goes on all the same.
static void ignored(void) {
  handle(SIGUSR1, SIG_IGN, 0);
  int id = create_signal(CLOCK_MONOTONIC, SIGUSR1, 0);
  SYS(settime(id, 0, 2 * MS, 2 * MS, NULL));
  sleep_ms(20);
  long long left = ns(gettime(id).it_value);
  CHECK(left > 0 && left <= 2 * MS);
  handle_info(SIGUSR1, on_timer, 0);
  long long end = now_ns() + 10000 * MS;
  while (count < 3 && now_ns() < end) sleep_ms(2);
  CHECK(count >= 3);
}

static void deadly(void) {
  int signals[] = {SIGKILL, SIGTERM, SIGRTMAX};
  for (size_t i = 0; i < LEN(signals); i++) {
    pid_t pid = SYS(fork());
    if (pid == 0) {
      int id = create_signal(CLOCK_MONOTONIC, signals[i], 0);
      SYS(settime(id, 0, 1 * MS, 0, NULL));
      for (;;) pause();
    }
    DIES(signals[i], pid);
  }
}

static void by_descriptor(void) {
  block(SIGRTMIN);
  sigset_t s = set_of(SIGRTMIN);
  int fd = SYS(signalfd(-1, &s, 0));
  create(CLOCK_MONOTONIC, NULL);
  int id = create_signal(CLOCK_MONOTONIC, SIGRTMIN, 4711);
  SYS(settime(id, TIMER_ABSTIME, now_ns() - 50 * MS, 10 * MS, NULL));
  struct signalfd_siginfo si;
  EQ(sizeof(si), SYS(read(fd, &si, sizeof(si))));
  EQ(SIGRTMIN, si.ssi_signo);
  EQ(SI_TIMER, si.ssi_code);
  EQ(4711, si.ssi_int);
  EQ(id, si.ssi_tid);
  CHECK(si.ssi_overrun >= 5);
}

// Timers count against RLIMIT_SIGPENDING.
static void limited(void) {
  struct rlimit none = {0, 0};
  int id = create_signal(CLOCK_MONOTONIC, SIGUSR1, 0);
  SYS(setrlimit(RLIMIT_SIGPENDING, &none));
  int other;
  ERR(EAGAIN, syscall(SYS_timer_create, CLOCK_MONOTONIC, NULL, &other));
  struct sigevent ev = {.sigev_notify = SIGEV_NONE};
  ERR(EAGAIN, syscall(SYS_timer_create, CLOCK_MONOTONIC, &ev, &other));
  // What there is has its signal all the same.
  block(SIGUSR1);
  SYS(settime(id, 0, 1, 0, NULL));
  siginfo_t si;
  EQ(SIGUSR1, take(SIGUSR1, &si, 10000));
  EQ(SI_TIMER, si.si_code);
}

static void many(void) {
  block(SIGRTMIN);
  static int seen[500];
  for (int i = 0; i < 500; i++) {
    int id = create_signal(CLOCK_MONOTONIC, SIGRTMIN, i);
    SYS(settime(id, 0, 1 + i * 1000, 0, NULL));
  }
  siginfo_t si;
  for (int i = 0; i < 500; i++) {
    EQ(SIGRTMIN, take(SIGRTMIN, &si, 10000));
    EQ(0, seen[si.si_value.sival_int]++);
  }
  ERR(EAGAIN, take(SIGRTMIN, &si, 0));
  for (int i = 0; i < 500; i++) SYS(delete(i));
}

// A timer of processor time expires when that is used, and sleeping is not.
static void processor_time(void) {
  clockid_t clocks[] = {CLOCK_PROCESS_CPUTIME_ID, CLOCK_THREAD_CPUTIME_ID};
  handle_info(SIGUSR1, on_timer, 0);
  for (size_t i = 0; i < LEN(clocks); i++) {
    int id = create_signal(clocks[i], SIGUSR1, 0);
    count = 0;
    long long begin = now_on(clocks[i]);
    SYS(settime(id, 0, 30 * MS, 0, NULL));
    sleep_ms(60);
    EQ(0, count);
    while (count == 0)
      for (volatile int k = 0; k < 1000; k++) {
      }
    CHECK(now_on(clocks[i]) - begin >= 30 * MS);
    EQ(0, ns(gettime(id).it_value));
    // Periodic, in a guest that makes no system call.
    begin = now_on(clocks[i]);
    SYS(settime(id, 0, 5 * MS, 5 * MS, NULL));
    for (count = 0; count < 6;) {
    }
    CHECK(now_on(clocks[i]) - begin >= 30 * MS);
    SYS(delete(id));
  }
}

// Absolute, and when that is past.
static void processor_time_absolute(void) {
  block(SIGUSR1);
  siginfo_t si;
  int id = create_signal(CLOCK_PROCESS_CPUTIME_ID, SIGUSR1, 0);
  long long at = now_on(CLOCK_PROCESS_CPUTIME_ID) + 20 * MS;
  SYS(settime(id, TIMER_ABSTIME, at, 0, NULL));
  long long left = ns(gettime(id).it_value);
  CHECK(left > 0 && left <= 20 * MS);
  ERR(EAGAIN, take(SIGUSR1, &si, 0));
  burn(40 * MS);
  EQ(SIGUSR1, take(SIGUSR1, &si, 1000));
  EQ(SI_TIMER, si.si_code);
  SYS(settime(id, TIMER_ABSTIME, at, 0, NULL));
  EQ(SIGUSR1, take(SIGUSR1, &si, 1000));
}

// A timer on what another process uses.
static void others_time(void) {
  block(SIGUSR1);
  int pipes[2];
  SYS(pipe(pipes));
  pid_t pid = SYS(fork());
  if (pid == 0) {
    get(pipes[0]);
    for (;;) burn(10 * MS);
  }
  clockid_t clock;
  ZERO(clock_getcpuclockid(pid, &clock));
  int id = create_signal(clock, SIGUSR1, 0);
  SYS(settime(id, 0, 20 * MS, 0, NULL));
  siginfo_t si;
  ERR(EAGAIN, take(SIGUSR1, &si, 30));
  put(pipes[1], 'x');
  EQ(SIGUSR1, take(SIGUSR1, &si, 20000));
  CHECK(now_on(clock) >= 20 * MS);
  SYS(kill(pid, SIGKILL));
  DIES(SIGKILL, pid);
  ERR(EINVAL, clock_gettime(clock, &(struct timespec){0}));
}

static void itimer_errors(void) {
  struct itimerval v = {{0, 0}, {1, 0}}, old;
  ERR(EINVAL, setitimer(3, &v, NULL));
  ERR(EINVAL, setitimer(-1, &v, NULL));
  ERR(EINVAL, getitimer(3, &v));
  ERR(EFAULT, syscall(SYS_getitimer, ITIMER_REAL, BAD));
  ERR(EFAULT, syscall(SYS_getitimer, ITIMER_REAL, NULL));
  ERR(EFAULT, syscall(SYS_setitimer, ITIMER_REAL, BAD, NULL));
  struct itimerval bad[] = {
      {{0, 0}, {0, 1000000}}, {{0, 0}, {0, -1}}, {{0, 0}, {-1, 0}},
      {{0, 1000000}, {0, 0}}, {{0, -1}, {1, 0}}, {{-1, 0}, {1, 0}},
  };
  for (size_t i = 0; i < LEN(bad); i++) ERR(EINVAL, setitimer(ITIMER_REAL, &bad[i], NULL));
  v = (struct itimerval){{7, 0}, {1000, 0}};
  SYS(setitimer(ITIMER_REAL, &v, NULL));
  ERR(EFAULT, syscall(SYS_setitimer, ITIMER_REAL, &(struct itimerval){{0, 0}, {2000, 0}}, BAD));
  SYS(setitimer(ITIMER_REAL, &v, &old));
  CHECK(old.it_value.tv_sec > 1500);  // it was set
  SYS(syscall(SYS_setitimer, ITIMER_REAL, NULL, &old));  // as a zero, in Linux
  EQ(7, old.it_interval.tv_sec);
  SYS(getitimer(ITIMER_REAL, &old));
  EQ(0, old.it_value.tv_sec + old.it_value.tv_usec);
}

// ITIMER_REAL rests while its signal is pending.
static void itimer_rests(void) {
  block(SIGALRM);
  struct itimerval v = {{0, 5000}, {0, 5000}}, now;
  SYS(setitimer(ITIMER_REAL, &v, NULL));
  await_pending(SIGALRM);
  SYS(getitimer(ITIMER_REAL, &now));
  EQ(5000, now.it_interval.tv_usec);
  EQ(0, now.it_value.tv_sec + now.it_value.tv_usec);
  siginfo_t si;
  for (int i = 0; i < 3; i++) {
    EQ(SIGALRM, take(SIGALRM, &si, 10000));
    EQ(SI_KERNEL, si.si_code);
  }
}

// A SIGALRM that is ignored is never taken: the timer does not go on.
static void itimer_ignored(void) {
  handle(SIGALRM, SIG_IGN, 0);
  struct itimerval v = {{0, 2000}, {0, 2000}}, now;
  SYS(setitimer(ITIMER_REAL, &v, NULL));
  sleep_ms(20);
  SYS(getitimer(ITIMER_REAL, &now));
  EQ(0, now.it_value.tv_sec + now.it_value.tv_usec);
  handle_info(SIGALRM, on_timer, 0);
  sleep_ms(20);
  EQ(0, count);
  SYS(kill(getpid(), SIGALRM));  // any SIGALRM makes it
  while (count < 4) pause();
}

static void alarms(void) {
  EQ(0, alarm(0));
  EQ(0, alarm(1000));
  struct itimerval v;
  SYS(getitimer(ITIMER_REAL, &v));
  CHECK(v.it_value.tv_sec > 500 && v.it_value.tv_sec <= 1000);
  EQ(0, v.it_interval.tv_sec + v.it_interval.tv_usec);
  unsigned left = alarm(0xffffffff);
  CHECK(left > 500 && left <= 1000);
  CHECK(alarm(0) > 1000000);
  v = (struct itimerval){{0, 0}, {0, 400000}};
  SYS(setitimer(ITIMER_REAL, &v, NULL));
  EQ(1, alarm(0));  // what is left is never nothing
  v = (struct itimerval){{0, 0}, {1, 700000}};
  SYS(setitimer(ITIMER_REAL, &v, NULL));
  EQ(2, alarm(0));
}

// Time in user mode only, and all time; of all threads.
static void *burner(void *p UNUSED) {
  burn(60 * MS);
  return NULL;
}

static void profiles(void) {
  int which[] = {ITIMER_VIRTUAL, ITIMER_PROF}, signals[] = {SIGVTALRM, SIGPROF};
  for (size_t i = 0; i < 2; i++) {
    count = 0;
    handle_info(signals[i], on_timer, SA_RESTART);
    struct itimerval v = {{0, 5000}, {0, 5000}}, now;
    SYS(setitimer(which[i], &v, NULL));
    sleep_ms(30);
    CHECK(count <= 1);
    SYS(getitimer(which[i], &now));
    CHECK(now.it_value.tv_usec > 0 && now.it_value.tv_usec <= 15000 && now.it_interval.tv_usec > 0);
    // In a loop without system calls.
    for (int stop = count + 4; count < stop;) {
    }
    EQ(SI_KERNEL, last.si_code);
    // The main thread sleeps while another computes.
    int before = count;
    pthread_t t;
    ZERO(pthread_create(&t, NULL, burner, NULL));
    ZERO(pthread_join(t, NULL));
    if (which[i] == ITIMER_PROF) CHECK(count - before >= 4);
    v = (struct itimerval){{0, 0}, {0, 0}};
    SYS(setitimer(which[i], &v, NULL));
    before = count;
    burn(20 * MS);
    CHECK(count - before <= 1);
  }
}

static void on_cpu_limit(int sig UNUSED) { count++; }

// SIGXCPU at the soft limit, which moves on by a second; SIGKILL at the hard one.
static void cpu_limit(void) {
  pid_t pid = SYS(fork());
  if (pid == 0) {
    handle(SIGXCPU, on_cpu_limit, 0);
    struct rlimit l = {1, 3};
    SYS(setrlimit(RLIMIT_CPU, &l));
    while (count < 1) {
    }
    CHECK(now_on(CLOCK_PROCESS_CPUTIME_ID) >= 500 * MS);  // Linux counts ticks
    SYS(getrlimit(RLIMIT_CPU, &l));
    EQ(2, l.rlim_cur);
    EQ(3, l.rlim_max);
    while (count < 2) {
    }
    CHECK(now_on(CLOCK_PROCESS_CPUTIME_ID) >= 1000 * MS);
    for (;;) {
    }
  }
  DIES(SIGKILL, pid);
}

// The limit is each process's own, and set from outside it counts at once.
static void cpu_limit_of_child(void) {
  struct rlimit l = {1, RLIM_INFINITY};
  pid_t pid = SYS(fork());
  if (pid == 0) {
    SYS(setrlimit(RLIMIT_CPU, &l));
    pid = SYS(fork());
    if (pid == 0)
      for (;;) {
      }
    DIES(SIGXCPU, pid);
    struct rusage ru;
    SYS(getrusage(RUSAGE_CHILDREN, &ru));
    CHECK((ru.ru_utime.tv_sec + ru.ru_stime.tv_sec) * 1000000LL + ru.ru_utime.tv_usec + ru.ru_stime.tv_usec >= 500000);
    _exit(0);
  }
  EXITS(0, pid);
  pid = SYS(fork());
  if (pid == 0)
    for (;;) {
    }
  clockid_t clock;
  ZERO(clock_getcpuclockid(pid, &clock));
  while (now_on(clock) < 1100 * MS) sleep_ms(10);
  SYS(prlimit(pid, RLIMIT_CPU, &l, NULL));
  DIES(SIGXCPU, pid);
}

// A limit of nothing: the first tick is too much.
static void cpu_limit_zero(void) {
  pid_t pid = SYS(fork());
  if (pid == 0) {
    struct rlimit l = {0, RLIM_INFINITY};
    SYS(setrlimit(RLIMIT_CPU, &l));
    for (;;) {
    }
  }
  DIES(SIGXCPU, pid);
}

TESTS(T(create_errors), T(id_errors), T(ids), T(settime_errors), T(values), T(default_event), T(value_of_event),
      T(silent), T(periodic), T(past), T(overruns), T(void_signals), T(same_signal), T(to_thread),
      T(not_for_children), T(not_after_exec), T(ignored), T(deadly), T(by_descriptor), T(limited), T(many),
      T(processor_time), T(processor_time_absolute), T(others_time), T(itimer_errors), T(itimer_rests),
      T(itimer_ignored), T(alarms), T(profiles), SLOW(cpu_limit), SLOW(cpu_limit_of_child), T(cpu_limit_zero))
