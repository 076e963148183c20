// Operations in numbers, for those who count what they cost, and threads that count
// how far they get. It prints what its caller has to know: nothing else.
#define _GNU_SOURCE
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096

static void die(const char *what) {
  perror(what);
  exit(1);
}

static long check(long v, const char *what) {
  if (v == -1) die(what);
  return v;
}

static void *shared(size_t size, int flags) {
  void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED) die("mmap");
  return p;
}

// null N: system calls that do nothing.
static void null(long n) {
  for (long i = 0; i < n; i++) syscall(SYS_getppid);
}

// answered N: system calls that may be answered without the kernel.
static void answered(long n) {
  long pid = syscall(SYS_getpid);
  for (long i = 0; i < n; i++)
    if (syscall(SYS_getpid) != pid) die("getpid");
}

// touch N: pages touched one after the other.
static void touch(long n) {
  volatile char *p = shared(n * PAGE, MAP_PRIVATE);
  for (long i = 0; i < n; i++) p[i * PAGE] = 1;
}

// fork N: children that exit at once. It prints how many faults were theirs.
static void forks(long n) {
  for (long i = 0; i < n; i++) {
    pid_t pid = check(fork(), "fork");
    if (pid == 0) _exit(0);
    int status;
    check(waitpid(pid, &status, 0), "waitpid");
    if (status != 0) die("child");
  }
  struct rusage r;
  check(getrusage(RUSAGE_CHILDREN, &r), "getrusage");
  printf("%ld\n", r.ru_minflt);
}

// turns N: two processes that wait for each other, N times each.
static void turns(long n) {
  int there[2], back[2];
  check(pipe(there), "pipe");
  check(pipe(back), "pipe");
  pid_t pid = check(fork(), "fork");
  char c = 0;
  for (long i = 0; i < n; i++) {
    if (pid == 0) {
      if (read(there[0], &c, 1) != 1 || write(back[1], &c, 1) != 1) die("child");
    } else if (write(there[1], &c, 1) != 1 || read(back[0], &c, 1) != 1) {
      die("parent");
    }
  }
  if (pid == 0) _exit(0);
  check(waitpid(pid, NULL, 0), "waitpid");
}

enum { processes = 4, threads = 4, all = processes * threads, each = 400 /* ms */ };

// race: what the threads of all processes share.
static struct {
  volatile int ready, stop;
  uint64_t target;  // of all together
  struct {
    volatile uint64_t done;
    char apart[120];
  } runner[all];
} *race;

// unit is what progress is counted in: some tens of microseconds.
static void unit(void) {
  for (volatile int i = 0; i < 20000; i++) continue;
}

static uint64_t cpu_ns(void) {
  struct timespec t;
  check(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t), "clock_gettime");
  return t.tv_sec * 1000000000ULL + t.tv_nsec;
}

static void *run(void *arg) {
  long me = (long)arg;
  __atomic_add_fetch(&race->ready, 1, __ATOMIC_SEQ_CST);
  while (race->ready < all) sched_yield();
  while (!race->stop) {
    unit();
    if (++race->runner[me].done % 16 != 0) continue;
    uint64_t sum = 0;
    for (int i = 0; i < all; i++) sum += race->runner[i].done;
    if (sum >= race->target) race->stop = 1;
  }
  return NULL;
}

// share NICE...: threads of four processes, one nice value for each process, compute
// until all of them together have done some seconds' worth. It prints how much of that
// each did.
static void share(char **nice_values) {
  race = shared(sizeof(*race), MAP_SHARED);
  // The fastest of some: a processor that was just given to somebody else is slow.
  uint64_t best = UINT64_MAX;
  for (int i = 0; i < 5; i++) {
    uint64_t begin = cpu_ns();
    for (int k = 0; k < 200; k++) unit();
    uint64_t took = cpu_ns() - begin;
    if (took < best) best = took;
  }
  race->target = all * each * 1000000ULL * 200 / best;
  pid_t pids[processes];
  for (long p = 0; p < processes; p++) {
    if ((pids[p] = check(fork(), "fork")) != 0) continue;
    check(setpriority(PRIO_PROCESS, 0, atoi(nice_values[p])), "setpriority");
    pthread_t t[threads];
    for (long i = 0; i < threads; i++)
      if (pthread_create(&t[i], NULL, run, (void *)(p * threads + i))) die("pthread_create");
    for (long i = 0; i < threads; i++) pthread_join(t[i], NULL);
    _exit(0);
  }
  for (int p = 0; p < processes; p++) {
    int status;
    check(waitpid(pids[p], &status, 0), "waitpid");
    if (status != 0) die("child");
  }
  for (int i = 0; i < all; i++) printf("%llu\n", (unsigned long long)race->runner[i].done);
}

int main(int argc, char **argv) {
  if (argc == 2 + processes && !strcmp(argv[1], "share")) {
    share(argv + 2);
    return 0;
  }
  if (argc != 3) {
    fprintf(stderr, "usage: ops null|answered|touch|fork|turns N, or ops share NICE...\n");
    return 2;
  }
  long n = atol(argv[2]);
  if (!strcmp(argv[1], "null")) null(n);
  if (!strcmp(argv[1], "answered")) answered(n);
  if (!strcmp(argv[1], "touch")) touch(n);
  if (!strcmp(argv[1], "fork")) forks(n);
  if (!strcmp(argv[1], "turns")) turns(n);
  return 0;
}
