// Processor time: who used how much. Programs here compute until they have used some
// time, so that nothing depends on how busy the machine is.
#include "check.h"

#include <pthread.h>
#include <sys/resource.h>
#include <sys/times.h>

#define BAD ((void *)8)
#define CPU_CLOCK(pid, kind) ((int)(~(unsigned)(pid) << 3 | (kind)))
enum { PROF, VIRT, SCHED, THREAD = 4 };

static long long on(clockid_t id) {
  struct timespec ts;
  SYS(syscall(SYS_clock_gettime, id, &ts));
  return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

static long long process(void) { return on(CLOCK_PROCESS_CPUTIME_ID); }
static long long thread(void) { return on(CLOCK_THREAD_CPUTIME_ID); }

static long long tv(struct timeval t) { return (t.tv_sec * 1000000LL + t.tv_usec) * 1000; }

static struct rusage usage(int who) {
  struct rusage ru;
  SYS(getrusage(who, &ru));
  return ru;
}
static long long used(int who) {
  struct rusage ru = usage(who);
  return tv(ru.ru_utime) + tv(ru.ru_stime);
}

static void burn(long long time) {
  long long end = thread() + time;
  while (thread() < end)
    for (volatile int i = 0; i < 10000; i++) {
    }
}

// about says that b is not far from a. Linux counts some by ticks.
static void about(long long a, long long b, const char *what) {
  if (b < a - 30 * MS || b > a + 30 * MS) FAIL("%s: %lld us, and %lld us", what, a / 1000, b / 1000);
}

// All that tell the time of a process agree.
static void agree(void) {
  burn(100 * MS);
  long long p = process();
  CHECK(p >= 100 * MS);
  about(p, thread(), "thread");
  about(p, used(RUSAGE_SELF), "RUSAGE_SELF");
  about(p, used(RUSAGE_THREAD), "RUSAGE_THREAD");
  about(p, on(CPU_CLOCK(0, SCHED)), "own process");
  // Linux counts whole ticks for these, wherever they fall.
  long long virt = on(CPU_CLOCK(0, VIRT)), ticks = on(CPU_CLOCK(0, PROF));
  CHECK(virt <= ticks && ticks > p / 5 && ticks < p * 5);
  about(p, on(CPU_CLOCK(getpid(), SCHED)), "own process by its id");
  about(p, on(CPU_CLOCK(0, THREAD | SCHED)), "own thread");
  about(p, on(CPU_CLOCK(getpid(), THREAD | SCHED)), "own thread by its id");
  about(p, clock() * 1000LL, "clock");
  struct tms t;
  CHECK(times(&t) != -1);
  about(p, (t.tms_utime + t.tms_stime) * 10 * MS, "times");
  EQ(0, t.tms_cutime + t.tms_cstime);
}

// No more than passes, for one thread.
static void not_faster_than_time(void) {
  for (int round = 0; round < 3; round++) {
    long long real = now_ns(), p = process();
    while (process() - p < 30 * MS) {
      for (int i = 0; i < 1000; i++) syscall(SYS_getppid);  // quick calls, one after the other
    }
    CHECK(process() - p <= now_ns() - real + 2 * MS);
    real = now_ns(), p = process();
    burn(30 * MS);
    CHECK(process() - p <= now_ns() - real + 2 * MS);
  }
}

static void monotonic(void) {
  long long p = 0, t = 0, u = 0, end = now_ns() + 60 * MS;
  while (now_ns() < end) {
    long long p1 = process(), t1 = thread(), u1 = used(RUSAGE_SELF);
    CHECK(p1 >= p && t1 >= t && u1 >= u);
    p = p1, t = t1, u = u1;
  }
}

// Waiting, however, costs nothing.
static void waiting(void) {
  int pipes[2];
  SYS(pipe(pipes));
  pid_t pid = SYS(fork());
  if (pid == 0) {
    sleep_ms(60);
    put(pipes[1], 'x');
    sleep_ms(60);
    _exit(0);
  }
  long long p = process();
  get(pipes[0]);
  CHECK(process() - p < 30 * MS);
  EXITS(0, pid);
  CHECK(process() - p < 30 * MS);
  p = process();
  sleep_ms(100);
  CHECK(process() - p < 30 * MS);
}

// A process that is stopped uses nothing.
static void stopped(void) {
  pid_t pid = SYS(fork());
  if (pid == 0)
    for (;;) {
    }
  clockid_t clock;
  ZERO(clock_getcpuclockid(pid, &clock));
  while (on(clock) < 20 * MS) sleep_ms(1);
  SYS(kill(pid, SIGSTOP));
  int st;
  EQ(pid, SYS(waitpid(pid, &st, WUNTRACED)));
  long long p = on(clock);
  sleep_ms(60);
  CHECK(on(clock) - p < 20 * MS);
  SYS(kill(pid, SIGCONT));
  while (on(clock) < p + 20 * MS) sleep_ms(1);
  SYS(kill(pid, SIGKILL));
  DIES(SIGKILL, pid);
}

// What is known of a child: while it runs, as a zombie, and in wait4 and waitid.
static void children(void) {
  long long before = used(RUSAGE_CHILDREN);
  EQ(0, before);
  pid_t pid = SYS(fork());
  if (pid == 0) {
    EQ(0, used(RUSAGE_CHILDREN));
    CHECK(process() < 30 * MS);  // its parent's is not its own
    pid_t grandchild = SYS(fork());
    if (grandchild == 0) {
      burn(40 * MS);
      _exit(0);
    }
    EXITS(0, grandchild);
    CHECK(used(RUSAGE_CHILDREN) >= 40 * MS);
    burn(50 * MS);
    _exit(0);
  }
  clockid_t clock;
  ZERO(clock_getcpuclockid(pid, &clock));
  siginfo_t si;
  SYS(waitid(P_PID, pid, &si, WEXITED | WNOWAIT));
  CHECK(on(clock) >= 50 * MS && on(clock) < 90 * MS + 50 * MS);  // without the grandchild
  EQ(0, used(RUSAGE_CHILDREN));
  struct rusage ru, same;
  SYS(syscall(SYS_waitid, P_PID, pid, &si, WEXITED | WNOWAIT, &same));
  int st;
  EQ(pid, SYS(wait4(pid, &st, 0, &ru)));
  long long sum = tv(ru.ru_utime) + tv(ru.ru_stime);
  CHECK(sum >= 85 * MS);
  EQ(sum, tv(same.ru_utime) + tv(same.ru_stime));
  EQ(sum, used(RUSAGE_CHILDREN));
  ERR(EINVAL, syscall(SYS_clock_gettime, clock, &(struct timespec){0}));
  struct tms t;
  CHECK(times(&t) != -1);
  CHECK((t.tms_cutime + t.tms_cstime) * 10 * MS >= 70 * MS);
}

// Children that nobody waits for are nobody's.
static void not_waited_for(void) {
  handle(SIGCHLD, SIG_IGN, 0);
  pid_t pid = SYS(fork());
  if (pid == 0) {
    burn(40 * MS);
    _exit(0);
  }
  while (waitpid(pid, NULL, 0) != -1) {
  }
  EQ(0, used(RUSAGE_CHILDREN));
}

// exec goes on counting; vfork's child has its own.
static void over_exec(void) {
  if (getenv("EXECED")) {
    CHECK(process() >= 40 * MS);
    CHECK(used(RUSAGE_CHILDREN) >= 30 * MS);
    burn(20 * MS);
    _exit(0);
  }
  pid_t pid = SYS(fork());
  if (pid == 0) {
    pid = SYS(fork());
    if (pid == 0) {
      burn(30 * MS);
      _exit(0);
    }
    EXITS(0, pid);
    burn(40 * MS);
    setenv("EXECED", "1", 1);
    execl("/proc/self/exe", "cputime", "over_exec", NULL);
    _exit(9);
  }
  struct rusage ru;
  int st;
  EQ(pid, SYS(wait4(pid, &st, 0, &ru)));
  EQ(0, st);
  CHECK(tv(ru.ru_utime) + tv(ru.ru_stime) >= 85 * MS);
}

static void over_vfork(void) {
  long long p = process();
  pid_t pid = vfork();
  if (pid == 0) {
    setenv("BURN", "1", 1);
    execl("/proc/self/exe", "cputime", "burns", NULL);
    _exit(9);
  }
  EXITS(0, pid);
  CHECK(process() - p < 30 * MS);
  CHECK(used(RUSAGE_CHILDREN) >= 50 * MS);
}

static void burns(void) {
  if (getenv("BURN")) burn(50 * MS);
}

// Threads: each has its own, the process the sum, those that ended as well.
static pthread_barrier_t barrier;
static long long own[2];
static void *two(void *p) {
  long long *mine = p;
  if (mine == &own[0]) burn(50 * MS);
  *mine = thread();
  pthread_barrier_wait(&barrier);
  pthread_barrier_wait(&barrier);
  return NULL;
}

static void threads(void) {
  pthread_t t[2];
  pthread_barrier_init(&barrier, NULL, 3);
  for (int i = 0; i < 2; i++) ZERO(pthread_create(&t[i], NULL, two, &own[i]));
  pthread_barrier_wait(&barrier);
  CHECK(own[0] >= 50 * MS && own[1] < 25 * MS);
  clockid_t clock;
  ZERO(pthread_getcpuclockid(t[0], &clock));
  CHECK(on(clock) >= 50 * MS);
  ZERO(pthread_getcpuclockid(t[1], &clock));
  CHECK(on(clock) < 25 * MS);
  CHECK(thread() < 25 * MS);
  CHECK(process() >= 50 * MS);
  CHECK(used(RUSAGE_THREAD) < 25 * MS);
  CHECK(used(RUSAGE_SELF) >= 50 * MS - 1000);
  pthread_barrier_wait(&barrier);
  for (int i = 0; i < 2; i++) ZERO(pthread_join(t[i], NULL));
  CHECK(process() >= 50 * MS);
  CHECK(used(RUSAGE_SELF) >= 50 * MS - 1000);
  ERR(EINVAL, syscall(SYS_clock_gettime, clock, &(struct timespec){0}));
  about(process(), used(RUSAGE_SELF), "RUSAGE_SELF");
}

// Many threads that each do little.
static void *brief(void *p UNUSED) {
  for (volatile int i = 0; i < 200000; i++) {
  }
  return NULL;
}

static void brief_threads(void) {
  long long real = now_ns(), p = process(), t = thread();
  for (volatile int i = 0; i < 10; i++) brief(NULL);
  long long each = (thread() - t) / 10;
  p = process();
  for (int i = 0; i < 100; i++) {
    pthread_t th;
    ZERO(pthread_create(&th, NULL, brief, NULL));
    ZERO(pthread_join(th, NULL));
  }
  p = process() - p;
  if (p < 100 * each / 4) FAIL("%lld us in 100 threads, alone %lld us", p / 1000, each / 1000);
  CHECK(p <= now_ns() - real);
}

static int pipes[2];
static void *waits(void *p UNUSED) {
  char c;
  return (void *)(long)read(pipes[0], &c, 1);
}

static void clock_ids(void) {
  struct timespec ts;
  ERR(EINVAL, syscall(SYS_clock_gettime, CPU_CLOCK(1 << 22, SCHED), &ts));
  ERR(EINVAL, syscall(SYS_clock_gettime, CPU_CLOCK(1 << 22, THREAD | SCHED), &ts));
  ERR(EINVAL, syscall(SYS_clock_gettime, CPU_CLOCK(0, 3), &ts));  // a clock device
  ERR(EINVAL, syscall(SYS_clock_gettime, CPU_CLOCK(0, 7), &ts));
  ERR(EINVAL, syscall(SYS_clock_gettime, CPU_CLOCK(getppid(), THREAD | SCHED), &ts));
  ERR(EFAULT, syscall(SYS_clock_gettime, CPU_CLOCK(0, SCHED), BAD));
  ERR(EFAULT, syscall(SYS_clock_gettime, CLOCK_PROCESS_CPUTIME_ID, BAD));
  on(CPU_CLOCK(getppid(), SCHED));  // another process's is for all to see
  SYS(pipe(pipes));
  pthread_t t;
  ZERO(pthread_create(&t, NULL, waits, NULL));
  clockid_t clock;
  ZERO(pthread_getcpuclockid(t, &clock));
  int tid = ~(clock >> 3);
  on(clock);
  // A thread's id is not a process's, but that of the caller.
  ERR(EINVAL, syscall(SYS_clock_gettime, CPU_CLOCK(tid, SCHED), &ts));
  pid_t pid = SYS(fork());
  if (pid == 0) {
    ERR(EINVAL, syscall(SYS_clock_gettime, clock, &ts));
    on(CPU_CLOCK(getppid(), SCHED));
    _exit(0);
  }
  EXITS(0, pid);
  put(pipes[1], 'x');
  ZERO(pthread_join(t, NULL));
  clockid_t all[] = {CLOCK_PROCESS_CPUTIME_ID, CLOCK_THREAD_CPUTIME_ID, CPU_CLOCK(0, SCHED), CPU_CLOCK(0, THREAD | SCHED)};
  for (size_t i = 0; i < LEN(all); i++) {
    SYS(syscall(SYS_clock_getres, all[i], &ts));
    EQ(1, ts.tv_sec * 1000000000LL + ts.tv_nsec);
    SYS(syscall(SYS_clock_getres, all[i], NULL));
  }
  SYS(syscall(SYS_clock_getres, CPU_CLOCK(0, PROF), &ts));
  CHECK(ts.tv_sec == 0 && ts.tv_nsec >= 1 * MS && ts.tv_nsec <= 10 * MS);
  ERR(EINVAL, syscall(SYS_clock_getres, CPU_CLOCK(1 << 22, SCHED), &ts));
  ERR(EINVAL, syscall(SYS_clock_getres, CPU_CLOCK(0, 7), &ts));
}

// Sleeping on processor time takes somebody who uses it.
static volatile bool stop;
static void *spinner(void *p UNUSED) {
  while (!stop) burn(1 * MS);
  return NULL;
}
static void on_signal(int sig UNUSED) {}

static void sleep_on(void) {
  struct timespec ts = {0, 30 * MS}, rem = {7, 7};
  ERR(EOPNOTSUPP, syscall(SYS_clock_nanosleep, CLOCK_THREAD_CPUTIME_ID, 0, &ts, NULL));
  ERR(EOPNOTSUPP, syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC_RAW, 0, &ts, NULL));
  ERR(EOPNOTSUPP, syscall(SYS_clock_nanosleep, CLOCK_REALTIME_COARSE, 0, &ts, NULL));
  ERR(EOPNOTSUPP, syscall(SYS_clock_nanosleep, CPU_CLOCK(0, 3), 0, &ts, NULL));
  ERR(EINVAL, syscall(SYS_clock_nanosleep, CPU_CLOCK(0, THREAD | SCHED), 0, &ts, NULL));
  ERR(EINVAL, syscall(SYS_clock_nanosleep, CPU_CLOCK(gettid(), THREAD | SCHED), 0, &ts, NULL));
  ERR(EINVAL, syscall(SYS_clock_nanosleep, CPU_CLOCK(1 << 22, SCHED), 0, &ts, NULL));
  ERR(EFAULT, syscall(SYS_clock_nanosleep, CLOCK_PROCESS_CPUTIME_ID, 0, BAD, NULL));
  ERR(EINVAL, syscall(SYS_clock_nanosleep, CLOCK_PROCESS_CPUTIME_ID, 0, &(struct timespec){0, 1000000000}, NULL));
  // Nobody computes: only a signal ends it.
  handle(SIGALRM, on_signal, SA_RESTART);
  struct itimerval it = {{0, 0}, {0, 20000}};
  ts.tv_sec = 1000;
  SYS(setitimer(ITIMER_REAL, &it, NULL));
  ERR(EINTR, syscall(SYS_clock_nanosleep, CLOCK_PROCESS_CPUTIME_ID, 0, &ts, &rem));
  CHECK(rem.tv_sec >= 999 && rem.tv_sec <= 1000);
  rem.tv_sec = 7;
  SYS(setitimer(ITIMER_REAL, &it, NULL));
  ERR(EINTR, syscall(SYS_clock_nanosleep, CLOCK_PROCESS_CPUTIME_ID, TIMER_ABSTIME, &ts, &rem));
  EQ(7, rem.tv_sec);
  ts.tv_sec = 0;
  pthread_t t;
  ZERO(pthread_create(&t, NULL, spinner, NULL));
  long long p = process();
  SYS(syscall(SYS_clock_nanosleep, CLOCK_PROCESS_CPUTIME_ID, 0, &ts, NULL));
  CHECK(process() - p >= 30 * MS);
  p = process() + 30 * MS;
  ts = (struct timespec){p / 1000000000, p % 1000000000};
  SYS(syscall(SYS_clock_nanosleep, CLOCK_PROCESS_CPUTIME_ID, TIMER_ABSTIME, &ts, NULL));
  CHECK(process() >= p);
  clockid_t clock;
  ZERO(pthread_getcpuclockid(t, &clock));
  ts = (struct timespec){0, 20 * MS};
  p = on(clock);
  SYS(syscall(SYS_clock_nanosleep, clock, 0, &ts, NULL));
  CHECK(on(clock) - p >= 20 * MS);
  stop = true;
  ZERO(pthread_join(t, NULL));
}

// What /proc tells.
static void in_proc(void) {
  *(volatile char *)map_private(PAGE) = 1;
  burn(60 * MS);
  FILE *f = fopen("/proc/self/stat", "r");
  char line[1024];
  CHECK(f && fgets(line, sizeof(line), f));
  fclose(f);
  unsigned long minflt, utime, stime;
  EQ(3, sscanf(strrchr(line, ')') + 1, " %*c %*d %*d %*d %*d %*d %*u %lu %*u %*u %*u %lu %lu", &minflt, &utime, &stime));
  about(process(), (utime + stime) * 10 * MS, "/proc/self/stat");
  CHECK(minflt > 0);
  unsigned long long run;
  f = fopen("/proc/self/schedstat", "r");
  CHECK(f && fscanf(f, "%llu", &run) == 1);
  fclose(f);
  about(process(), run, "/proc/self/schedstat");
}

// Memory and faults, of a process and of what it waited for.
static void memory(void) {
  size_t size = 16 << 20;
  struct rusage a = usage(RUSAGE_SELF);
  char *m = map_private(size);
  for (size_t i = 0; i < size; i += PAGE) m[i] = 1;
  struct rusage b = usage(RUSAGE_SELF);
  CHECK(b.ru_minflt > a.ru_minflt);
  CHECK(b.ru_maxrss >= a.ru_maxrss && b.ru_maxrss >= (long)(size >> 10));
  SYS(munmap(m, size));
  CHECK(usage(RUSAGE_SELF).ru_maxrss >= b.ru_maxrss);  // the most there was
  EQ(usage(RUSAGE_SELF).ru_maxrss, usage(RUSAGE_THREAD).ru_maxrss);
  EQ(0, usage(RUSAGE_CHILDREN).ru_maxrss);
  pid_t pid = SYS(fork());
  if (pid == 0) {
    m = map_private(size * 2);
    for (size_t i = 0; i < size * 2; i += PAGE) m[i] = 1;
    execl("/proc/self/exe", "cputime", "burns", NULL);  // what it was before counts as well
    _exit(9);
  }
  struct rusage ru;
  int st;
  EQ(pid, SYS(wait4(pid, &st, 0, &ru)));
  EQ(0, st);
  CHECK(ru.ru_maxrss >= (long)(size * 2 >> 10) && ru.ru_maxrss < (long)(size * 4 >> 10));
  EQ(ru.ru_maxrss, usage(RUSAGE_CHILDREN).ru_maxrss);
  CHECK(usage(RUSAGE_CHILDREN).ru_minflt > 0);
}

static void switches(void) {
  struct rusage a = usage(RUSAGE_SELF);
  for (int i = 0; i < 20; i++) sleep_ms(1);
  CHECK(usage(RUSAGE_SELF).ru_nvcsw - a.ru_nvcsw >= 20);
}

static void call_errors(void) {
  struct rusage ru;
  ERR(EINVAL, getrusage(2, &ru));
  ERR(EINVAL, getrusage(-2, &ru));  // RUSAGE_BOTH is the kernel's
  ERR(EFAULT, syscall(SYS_getrusage, RUSAGE_SELF, BAD));
  ERR(EFAULT, syscall(SYS_getrusage, RUSAGE_CHILDREN, NULL));
  ERR(EFAULT, syscall(SYS_times, BAD));
  CHECK(syscall(SYS_times, NULL) != -1);
  pid_t pid = SYS(fork());
  if (pid == 0) _exit(0);
  ERR(EFAULT, syscall(SYS_wait4, pid, NULL, 0, BAD));
}

TESTS(T(agree), T(not_faster_than_time), T(monotonic), T(waiting), T(stopped), T(children), T(not_waited_for),
      T(over_exec), T(over_vfork), T(burns), T(threads), T(brief_threads), T(clock_ids), T(sleep_on), T(in_proc),
      T(memory), T(switches), T(call_errors))
