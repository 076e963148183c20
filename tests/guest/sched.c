// Priorities, scheduling policies, affinity, and limits of processor time.
#include "check.h"

#include <sched.h>
#include <sys/resource.h>
#include <sys/times.h>

#define USER 54324

// The raw call's result is 20 less the nice value: never negative.
static int nice_of(int which, int who) {
  long raw = SYS(syscall(SYS_getpriority, which, who));
  return 20 - raw;
}

static void nice_values(void) {
  EQ(0, nice_of(PRIO_PROCESS, 0));
  EQ(5, nice(5));
  EQ(5, nice_of(PRIO_PROCESS, 0));
  EQ(19, nice(100));
  SYS(setpriority(PRIO_PROCESS, 0, -30));  // root may
  EQ(-20, nice_of(PRIO_PROCESS, getpid()));
  SYS(setpriority(PRIO_PROCESS, 0, 7));
  pid_t pid = SYS(fork());
  if (pid == 0) _exit(nice_of(PRIO_PROCESS, 0));
  EXITS(7, pid);
}

static void nice_of_others(void) {
  SYS(setpgid(0, 0));
  int go[2];
  SYS(pipe(go));
  pid_t kids[3];
  for (size_t i = 0; i < LEN(kids); i++) {
    kids[i] = SYS(fork());
    if (kids[i] == 0) {
      SYS(setpriority(PRIO_PROCESS, 0, 3 + i));
      if (i == 2) SYS(setresuid(USER, USER, USER));
      char c;
      close(go[1]);
      EQ(0, read(go[0], &c, 1));
      _exit(nice_of(PRIO_PROCESS, 0));
    }
  }
  for (size_t i = 0; i < LEN(kids); i++)
    while (nice_of(PRIO_PROCESS, kids[i]) != 3 + (int)i) sleep_ms(1);
  EQ(0, nice_of(PRIO_PGRP, 0));  // the lowest of all
  while (syscall(SYS_getpriority, PRIO_USER, USER) != 20 - 5) sleep_ms(1);
  SYS(setpriority(PRIO_PGRP, 0, 10));
  for (size_t i = 0; i < LEN(kids); i++) EQ(10, nice_of(PRIO_PROCESS, kids[i]));
  EQ(10, nice_of(PRIO_PGRP, getpid()));
  SYS(setpriority(PRIO_USER, USER, 12));
  EQ(12, nice_of(PRIO_USER, USER));
  close(go[1]);
  EXITS(10, kids[0]);
  EXITS(10, kids[1]);
  EXITS(12, kids[2]);
}

static void nice_of_users(void) {
  SYS(setresuid(USER, USER, USER));
  SYS(setpriority(PRIO_PROCESS, 0, 5));
  ERR(EACCES, setpriority(PRIO_PROCESS, 0, 4));
  ERR(EPERM, nice(-1));  // the same, by another name
  ERR(EPERM, setpriority(PRIO_PROCESS, 1, 19));
  SYS(setpriority(PRIO_PROCESS, 0, 19));
}

static void policies(void) {
  struct sched_param p = {0};
  EQ(SCHED_OTHER, sched_getscheduler(0));
  SYS(sched_setscheduler(0, SCHED_BATCH, &p));
  EQ(SCHED_BATCH, sched_getscheduler(0));
  pid_t pid = SYS(fork());
  if (pid == 0) {
    EQ(SCHED_BATCH, sched_getscheduler(0));
    SYS(sched_setscheduler(0, SCHED_IDLE, &p));
    _exit(0);
  }
  EXITS(0, pid);
  SYS(sched_setscheduler(0, SCHED_OTHER | SCHED_RESET_ON_FORK, &p));
  EQ(SCHED_OTHER | SCHED_RESET_ON_FORK, sched_getscheduler(0));
  SYS(setpriority(PRIO_PROCESS, 0, -5));
  pid = SYS(fork());
  if (pid == 0) {
    EQ(SCHED_OTHER, sched_getscheduler(0));
    _exit(nice_of(PRIO_PROCESS, 0));
  }
  EXITS(0, pid);
  p.sched_priority = -1;
  SYS(sched_getparam(0, &p));
  EQ(0, p.sched_priority);
  EQ(99, sched_get_priority_max(SCHED_FIFO));
  EQ(1, sched_get_priority_min(SCHED_RR));
  EQ(0, sched_get_priority_max(SCHED_IDLE));
  SYS(sched_yield());
}

static void policies_of_users(void) {
  struct sched_param none = {0}, one = {1};
  SYS(setresuid(USER, USER, USER));
  ERR(EPERM, sched_setscheduler(0, SCHED_FIFO, &one));
  ERR(EPERM, sched_setscheduler(0, SCHED_RR, &one));
  ERR(EPERM, sched_setscheduler(getppid(), SCHED_BATCH, &none));
  SYS(sched_setscheduler(0, SCHED_BATCH, &none));
  SYS(sched_setscheduler(0, SCHED_OTHER | SCHED_RESET_ON_FORK, &none));
  ERR(EPERM, sched_setscheduler(0, SCHED_OTHER, &none));  // not taken back
  SYS(sched_setscheduler(0, SCHED_IDLE | SCHED_RESET_ON_FORK, &none));
  ERR(EPERM, sched_setscheduler(0, SCHED_OTHER | SCHED_RESET_ON_FORK, &none));
}

static void affinity(void) {
  cpu_set_t all, one;
  SYS(sched_getaffinity(0, sizeof(all), &all));
  int n = CPU_COUNT(&all), first = 0;
  CHECK(n >= 1);
  EQ(n, sysconf(_SC_NPROCESSORS_ONLN));
  while (!CPU_ISSET(first, &all)) first++;
  CPU_ZERO(&one);
  CPU_SET(first, &one);
  SYS(sched_setaffinity(0, sizeof(one), &one));
  EQ(first, sched_getcpu());
  pid_t pid = SYS(fork());
  if (pid == 0) {
    cpu_set_t mine;
    SYS(sched_getaffinity(0, sizeof(mine), &mine));
    CHECK(CPU_EQUAL(&one, &mine));
    SYS(sched_setaffinity(getppid(), sizeof(all), &all));
    _exit(0);
  }
  EXITS(0, pid);
  SYS(sched_getaffinity(0, sizeof(one), &one));
  EQ(n, CPU_COUNT(&one));
  CPU_ZERO(&one);
  CPU_SET(1000, &one);
  ERR(EINVAL, sched_setaffinity(0, sizeof(one), &one));
  pid = SYS(fork());
  if (pid == 0) {
    SYS(setresuid(USER, USER, USER));
    SYS(sched_setaffinity(0, sizeof(all), &all));
    ERR(EPERM, sched_setaffinity(getppid(), sizeof(all), &all));
    _exit(0);
  }
  EXITS(0, pid);
}

static void burn(double seconds) {
  struct rusage ru;
  do {
    for (volatile int i = 0; i < 100000; i++) {
    }
    SYS(getrusage(RUSAGE_SELF, &ru));
  } while (ru.ru_utime.tv_sec + ru.ru_stime.tv_sec + (ru.ru_utime.tv_usec + ru.ru_stime.tv_usec) / 1e6 < seconds);
}

static volatile sig_atomic_t soft;
static void note(int sig UNUSED) { soft++; }

static void processor_limit(void) {
  pid_t pid = SYS(fork());
  if (pid == 0) {
    struct rlimit limit = {1, 2};
    SYS(setrlimit(RLIMIT_CPU, &limit));
    handle(SIGXCPU, note, 0);
    burn(0.9);
    EQ(0, soft);
    while (!soft)
      for (volatile int i = 0; i < 100000; i++) {
      }
    // The next one would be due a second later, but the hard limit comes first.
    SYS(getrlimit(RLIMIT_CPU, &limit));
    EQ(2, limit.rlim_cur);
    for (;;) {
    }
  }
  DIES(SIGKILL, pid);
  struct rusage ru;
  SYS(getrusage(RUSAGE_CHILDREN, &ru));
  CHECK(ru.ru_utime.tv_sec + ru.ru_stime.tv_sec >= 1);
  CHECK(ru.ru_utime.tv_sec + ru.ru_stime.tv_sec < 4);
}

static void processor_limit_default(void) {
  pid_t pid = SYS(fork());
  if (pid == 0) {
    struct rlimit limit = {1, 5};
    SYS(setrlimit(RLIMIT_CPU, &limit));
    struct rlimit none = {0, 0};
    SYS(setrlimit(RLIMIT_CORE, &none));
    for (;;) {
    }
  }
  DIES(SIGXCPU, pid);
}

// What children used counts once they are waited for, and theirs with them.
static void times_of_children(void) {
  struct tms before, after;
  times(&before);
  EQ(0, before.tms_cutime + before.tms_cstime);
  pid_t pid = SYS(fork());
  if (pid == 0) {
    pid_t child = SYS(fork());
    if (child == 0) {
      burn(0.1);
      _exit(0);
    }
    EXITS(0, child);
    _exit(0);
  }
  siginfo_t si;
  SYS(waitid(P_PID, pid, &si, WEXITED | WNOWAIT));
  times(&after);
  EQ(0, after.tms_cutime + after.tms_cstime);
  struct rusage ru;
  EQ(pid, SYS(wait4(pid, NULL, 0, &ru)));
  times(&after);
  CHECK(after.tms_cutime + after.tms_cstime >= 9);  // ticks
  CHECK(ru.ru_utime.tv_sec * 1000000 + ru.ru_utime.tv_usec + ru.ru_stime.tv_sec * 1000000 + ru.ru_stime.tv_usec >= 90000);
}

static void clocks(void) {
  struct timespec process, thread;
  burn(0.05);
  SYS(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &process));
  SYS(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &thread));
  CHECK(process.tv_sec * 1000000000LL + process.tv_nsec >= 50 * MS);
  CHECK(thread.tv_sec * 1000000000LL + thread.tv_nsec >= 45 * MS);
  // Who sleeps uses none.
  sleep_ms(100);
  struct timespec later;
  SYS(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &later));
  CHECK((later.tv_sec - process.tv_sec) * 1000000000LL + later.tv_nsec - process.tv_nsec < 50 * MS);
}

static void switches(void) {
  struct rusage before, after;
  SYS(getrusage(RUSAGE_SELF, &before));
  for (int i = 0; i < 10; i++) sleep_ms(1);
  SYS(getrusage(RUSAGE_SELF, &after));
  CHECK(after.ru_nvcsw - before.ru_nvcsw >= 10);
}

TESTS(T(nice_values), T(nice_of_others), T(nice_of_users), T(policies), T(policies_of_users),
      T(affinity), T(processor_limit), T(processor_limit_default), T(times_of_children), T(clocks), T(switches))
