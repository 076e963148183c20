// System calls with nothing behind them, alone and from many threads.
#include "probe.h"

static void null_syscall(long n, long arg UNUSED) {
  begin();
  while (n--) syscall(SYS_getppid);
}

static void getpid_syscall(long n, long arg UNUSED) {
  begin();
  while (n--) syscall(SYS_getpid);
}

static void clock_read(long n, long arg UNUSED) {
  struct timespec ts;
  begin();
  while (n--) clock_gettime(CLOCK_MONOTONIC, &ts);
}

static pthread_barrier_t ready;

// share is what one thread does.
struct share {
  long n;
  char *pages;  // to touch; NULL: system calls
};

static void *do_share(void *arg) {
  struct share *s = arg;
  pthread_barrier_wait(&ready);
  if (s->pages) {
    touch_pages(s->pages, s->n);
  } else {
    for (long i = 0; i < s->n; i++) syscall(SYS_getppid);
  }
  return NULL;
}

// spread does an operation n times, spread over threads that start together.
static void spread(long n, long threads, int pages) {
  struct share share[threads];
  pthread_t t[threads];
  pthread_barrier_init(&ready, NULL, threads + 1);
  for (long i = 0; i < threads; i++) {
    share[i].n = n / threads + (i < n % threads);
    share[i].pages = pages && share[i].n ? small_pages(share[i].n) : NULL;
    if (pages && !share[i].n) share[i].pages = (char *)1;  // nothing to touch
    if (pthread_create(&t[i], NULL, do_share, &share[i])) die("pthread_create");
  }
  begin();
  pthread_barrier_wait(&ready);
  for (long i = 0; i < threads; i++) pthread_join(t[i], NULL);
}

static void null_syscall_threads(long n, long arg) { spread(n, arg, 0); }
static void page_fault_threads(long n, long arg) { spread(n, arg, 1); }
