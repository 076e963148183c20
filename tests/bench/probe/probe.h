// What the operations share. Each operation does its set-up, calls begin, does
// its work n times, and returns; what it does after that and must not count,
// it takes back with not_counted.
#ifndef PROBE_H
#define PROBE_H

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define UNUSED __attribute__((unused))

static void die(const char *what) {
  fprintf(stderr, "probe: %s: %s\n", what, strerror(errno));
  exit(1);
}

#define SYS(call)                     \
  ({                                  \
    long value_ = (long)(call);       \
    if (value_ == -1) die(#call);     \
    value_;                           \
  })

static long long now(void) {
  struct timespec ts;
  clock_gettime(CLOCK_MONOTONIC, &ts);
  return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

static long long started;
static void begin(void) { started = now(); }

// not_counted takes the time since end out of the measurement.
static void not_counted(long long end) { started += now() - end; }

static void *map(size_t size) {
  void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED) die("mmap");
  return p;
}

static void reap(pid_t pid) {
  int st;
  SYS(waitpid(pid, &st, 0));
  if (st != 0) die("child failed");
}

// small_pages maps n pages that are faulted in one by one.
static char *small_pages(long n) {
  char *p = map(n * 4096);
  if (madvise(p, n * 4096, MADV_NOHUGEPAGE) && errno != EINVAL) die("madvise");
  return p;
}

// touch_pages touches n pages for the first time.
static void touch_pages(char *p, long n) {
  for (long i = 0; i < n; i++) p[i * 4096] = 1;
}

// areas makes n mappings that no kernel merges, all of them touched.
static void areas(long n) {
  for (long i = 0; i < n; i++) {
    char *p = map(2 * 4096);
    p[0] = p[4096] = 1;
    SYS(mprotect(p, 4096, PROT_READ));
  }
}

// descriptors opens n files.
static void descriptors(long n) {
  for (long i = 0; i < n; i++) SYS(open("/dev/null", O_RDONLY));
}

// idlers makes n processes that sleep, all reading from one pipe, and returns
// what to close for them to end. All of them sleep when it returns.
static int idlers(long n) {
  int p[2], up[2];
  char c = 'x';
  SYS(pipe(p));
  SYS(pipe(up));
  for (long i = 0; i < n; i++) {
    if (SYS(fork()) == 0) {
      close(p[1]);
      SYS(write(up[1], &c, 1));
      _exit(read(p[0], &c, 1) != 0);
    }
    SYS(read(up[0], &c, 1));
  }
  close(p[0]);
  close(up[0]);
  close(up[1]);
  return p[1];
}

// dismiss ends n idlers.
static void dismiss(int fd, long n) {
  int st;
  close(fd);
  while (n--) SYS(wait(&st));
}

#endif
