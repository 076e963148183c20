// futex, called directly.
#include "check.h"

#include <linux/futex.h>
#include <pthread.h>

static int word, word2;
static int arrived, woken;

static long futex(int *p, int op, int v, const void *t, int *p2, int v3) {
  return syscall(SYS_futex, p, op, v, t, p2, v3);
}

static void arguments(void) {
  ERR(EAGAIN, futex(&word, FUTEX_WAIT, 1, NULL, NULL, 0));
  EQ(0, SYS(futex(&word, FUTEX_WAKE, 10, NULL, NULL, 0)));
  ERR(EINVAL, futex((int *)((char *)&word + 1), FUTEX_WAIT, 0, NULL, NULL, 0));
  ERR(EFAULT, futex((int *)8, FUTEX_WAIT, 0, NULL, NULL, 0));
  ERR(ENOSYS, futex(&word, 77, 0, NULL, NULL, 0));
  ERR(EINVAL, futex(&word, FUTEX_WAIT_BITSET, 0, NULL, NULL, 0));
  ERR(EINVAL, futex(&word, FUTEX_WAKE_BITSET, 1, NULL, NULL, 0));
  struct timespec bad = {0, -1};
  ERR(EINVAL, futex(&word, FUTEX_WAIT, 0, &bad, NULL, 0));
  ERR(EFAULT, futex(&word, FUTEX_WAIT, 0, (void *)8, NULL, 0));
}

static void timeouts(void) {
  struct timespec ts = {0, 20 * MS};
  long long t = now_ns();
  ERR(ETIMEDOUT, futex(&word, FUTEX_WAIT, 0, &ts, NULL, 0));
  CHECK(now_ns() - t >= 20 * MS);
  t = now_ns() + 20 * MS;
  ts = (struct timespec){t / 1000000000, t % 1000000000};
  ERR(ETIMEDOUT, futex(&word, FUTEX_WAIT_BITSET, 0, &ts, NULL, FUTEX_BITSET_MATCH_ANY));
  CHECK(now_ns() >= t);
  ERR(ETIMEDOUT, futex(&word, FUTEX_WAIT_BITSET, 0, &ts, NULL, 1));  // in the past
  clock_gettime(CLOCK_REALTIME, &ts);
  ERR(ETIMEDOUT, futex(&word, FUTEX_WAIT_BITSET | FUTEX_CLOCK_REALTIME, 0, &ts, NULL, 1));
}

static void *waiter(void *arg) {
  __atomic_fetch_add(&arrived, 1, __ATOMIC_SEQ_CST);
  long r = futex(&word, FUTEX_WAIT_BITSET_PRIVATE, 0, NULL, NULL, arg ? (int)(long)arg : -1);
  CHECK(r == 0 || errno == EAGAIN);
  __atomic_fetch_add(&woken, 1, __ATOMIC_SEQ_CST);
  return NULL;
}

// wake_all wakes with the call until n were woken in all.
static void wake_until(int n, int op, int v3) {
  int got = 0;
  while (got < n) {
    got += SYS(futex(&word, op, n - got, NULL, NULL, v3));
    sleep_ms(1);
  }
  EQ(n, got);
}

static void wake_counts(void) {
  pthread_t t[6];
  for (int i = 0; i < 6; i++) ZERO(pthread_create(&t[i], NULL, waiter, NULL));
  WAIT_FOR(&arrived, 6);
  wake_until(2, FUTEX_WAKE_PRIVATE, 0);
  WAIT_FOR(&woken, 2);
  wake_until(4, FUTEX_WAKE_PRIVATE, 0);
  for (int i = 0; i < 6; i++) ZERO(pthread_join(t[i], NULL));
  EQ(0, SYS(futex(&word, FUTEX_WAKE_PRIVATE, 10, NULL, NULL, 0)));
}

static void bitsets(void) {
  pthread_t t[4];
  for (long i = 0; i < 4; i++) ZERO(pthread_create(&t[i], NULL, waiter, (void *)(1L << i)));
  WAIT_FOR(&arrived, 4);
  EQ(0, SYS(futex(&word, FUTEX_WAKE_BITSET_PRIVATE, 10, NULL, NULL, 0x100)));
  for (int i = 3; i >= 0; i--) {
    wake_until(1, FUTEX_WAKE_BITSET_PRIVATE, 1 << i);
    ZERO(pthread_join(t[i], NULL));
  }
}

static void requeue(void) {
  pthread_t t[4];
  for (int i = 0; i < 4; i++) ZERO(pthread_create(&t[i], NULL, waiter, NULL));
  WAIT_FOR(&arrived, 4);
  ERR(EAGAIN, futex(&word, FUTEX_CMP_REQUEUE_PRIVATE, 1, (void *)10L, &word2, 55));
  // One is woken and the others go to the second word; they may arrive late.
  int moved = 0;
  while (moved < 4) {
    moved += SYS(futex(&word, FUTEX_CMP_REQUEUE_PRIVATE, moved ? 0 : 1, (void *)10L, &word2, 0));
    sleep_ms(1);
  }
  EQ(4, moved);
  EQ(0, SYS(futex(&word, FUTEX_WAKE_PRIVATE, 10, NULL, NULL, 0)));
  EQ(3, SYS(futex(&word2, FUTEX_WAKE_PRIVATE, 10, NULL, NULL, 0)));
  for (int i = 0; i < 4; i++) ZERO(pthread_join(t[i], NULL));
}

static void wake_op(void) {
  pthread_t t;
  ZERO(pthread_create(&t, NULL, waiter, NULL));
  WAIT_FOR(&arrived, 1);
  int n = 0;
  while (n == 0) {  // word2 += 3, wake on it if it was 0 (nobody waits there)
    word2 = 0;
    n = SYS(futex(&word, FUTEX_WAKE_OP_PRIVATE, 1, (void *)1L, &word2,
                  FUTEX_OP(FUTEX_OP_ADD, 3, FUTEX_OP_CMP_EQ, 0)));
    EQ(3, word2);
  }
  EQ(1, n);
  ZERO(pthread_join(t, NULL));
}

// Between processes: shared anonymous memory, and a file mapped twice.
static void between_processes(void) {
  int *p = map_shared(PAGE);
  pid_t pid = SYS(fork());
  if (pid == 0) {
    while (__atomic_load_n(p, __ATOMIC_SEQ_CST) == 0) futex(p, FUTEX_WAIT, 0, NULL, NULL, 0);
    _exit(0);
  }
  sleep_ms(5);
  __atomic_store_n(p, 1, __ATOMIC_SEQ_CST);
  SYS(futex(p, FUTEX_WAKE, 1, NULL, NULL, 0));
  EXITS(0, pid);

  scratch();
  int fd = SYS(open("f", O_RDWR | O_CREAT, 0600));
  SYS(ftruncate(fd, PAGE));
  int *a = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  int *b = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  CHECK(a != MAP_FAILED && b != MAP_FAILED && a != b);
  pid = SYS(fork());
  if (pid == 0) {
    while (__atomic_load_n(a, __ATOMIC_SEQ_CST) == 0) futex(a, FUTEX_WAIT, 0, NULL, NULL, 0);
    _exit(0);
  }
  sleep_ms(5);
  __atomic_store_n(b, 1, __ATOMIC_SEQ_CST);
  SYS(futex(b, FUTEX_WAKE, 1, NULL, NULL, 0));
  EXITS(0, pid);
}

// Private futexes of a parent and a forked child are not the same.
static void private_is_private(void) {
  pid_t pid = SYS(fork());
  if (pid == 0) {
    struct timespec ts = {0, 50 * MS};
    ERR(ETIMEDOUT, futex(&word, FUTEX_WAIT_PRIVATE, 0, &ts, NULL, 0));
    _exit(0);
  }
  for (int i = 0; i < 10; i++) {
    EQ(0, SYS(futex(&word, FUTEX_WAKE_PRIVATE, 10, NULL, NULL, 0)));
    EQ(0, SYS(futex(&word, FUTEX_WAKE, 10, NULL, NULL, 0)));  // copied memory
    sleep_ms(1);
  }
  EXITS(0, pid);
}

static void on_alarm(int sig UNUSED) {}

static void interrupted(void) {
  handle(SIGALRM, on_alarm, 0);
  struct itimerval it = {{0, 0}, {0, 10000}};
  SYS(setitimer(ITIMER_REAL, &it, NULL));
  ERR(EINTR, futex(&word, FUTEX_WAIT, 0, NULL, NULL, 0));
  handle(SIGALRM, on_alarm, SA_RESTART);
  SYS(setitimer(ITIMER_REAL, &it, NULL));
  struct timespec ts = {0, 40 * MS};
  long long t = now_ns();
  ERR(EINTR, futex(&word, FUTEX_WAIT, 0, &ts, NULL, 0) == -1 && errno == ETIMEDOUT ? (errno = EINTR, -1) : -1);
  CHECK(now_ns() - t >= 10 * MS);
}

static void ping_pong(void) {
  int *p = map_shared(PAGE);
  pid_t pid = SYS(fork());
  int me = pid == 0;
  for (int i = 0; i < 500; i++) {
    int v;
    while ((v = __atomic_load_n(p, __ATOMIC_SEQ_CST)) % 2 != me) futex(p, FUTEX_WAIT, v, NULL, NULL, 0);
    __atomic_fetch_add(p, 1, __ATOMIC_SEQ_CST);
    SYS(futex(p, FUTEX_WAKE, 1, NULL, NULL, 0));
  }
  if (me) _exit(0);
  EXITS(0, pid);
  EQ(1000, *p);
}

static void robust_list(void) {
  struct robust_list_head *head;
  size_t len;
  SYS(syscall(SYS_get_robust_list, 0, &head, &len));
  EQ(sizeof(*head), len);
  ERR(EINVAL, syscall(SYS_set_robust_list, head, 1));
  ERR(ESRCH, syscall(SYS_get_robust_list, 1 << 22, &head, &len));
}

static void more_arguments(void) {
  struct timespec ts = {0, MS};
  // Only waits on absolute times know another clock.
  ERR(ENOSYS, futex(&word, FUTEX_WAIT | FUTEX_CLOCK_REALTIME, 0, &ts, NULL, 0));
  ERR(ENOSYS, futex(&word, FUTEX_WAKE | FUTEX_CLOCK_REALTIME, 0, NULL, NULL, 0));
  ERR(EINVAL, futex(&word, FUTEX_REQUEUE, -1, (void *)1L, &word2, 0));
  ERR(EINVAL, futex(&word, FUTEX_CMP_REQUEUE, 1, (void *)-1L, &word2, 0));
  ERR(EINVAL, futex(&word, FUTEX_REQUEUE, 1, (void *)1L, (int *)((char *)&word2 + 2), 0));
  ERR(EFAULT, futex(&word, FUTEX_CMP_REQUEUE, 1, (void *)1L, (int *)8, 0));
  ERR(EFAULT, futex((int *)8, FUTEX_CMP_REQUEUE_PRIVATE, 1, (void *)1L, &word2, 0));
  EQ(0, SYS(futex(&word, FUTEX_WAKE, 0, NULL, NULL, 0)));
  EQ(0, SYS(futex(&word, FUTEX_WAKE, -1, NULL, NULL, 0)));
  EQ(0, SYS(futex((int *)16, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0)));  // an address is all it takes
  ERR(EFAULT, futex((int *)16, FUTEX_WAKE, 1, NULL, NULL, 0));
  ERR(EFAULT, futex((int *)-4096L, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0));
  ERR(ENOSYS, futex(&word, 2, 0, NULL, NULL, 0));  // FUTEX_FD is gone
}

// What FUTEX_WAKE_OP does to the second word, and how it compares the old value.
static void wake_op_table(void) {
  static const struct {
    int op, arg, before, after;
  } ops[] = {
      {FUTEX_OP_SET, 5, 9, 5},
      {FUTEX_OP_SET, -1 & 0xfff, 9, -1},
      {FUTEX_OP_ADD, 3, 9, 12},
      {FUTEX_OP_ADD, -2 & 0xfff, 9, 7},
      {FUTEX_OP_OR, 6, 9, 15},
      {FUTEX_OP_ANDN, 8, 9, 1},
      {FUTEX_OP_XOR, 3, 9, 10},
      {FUTEX_OP_OR | FUTEX_OP_OPARG_SHIFT, 31, 1, (int)0x80000001},
      {FUTEX_OP_SET | FUTEX_OP_OPARG_SHIFT, 4, 1, 16},
  };
  for (size_t i = 0; i < LEN(ops); i++) {
    word2 = ops[i].before;
    EQ(0, SYS(futex(&word, FUTEX_WAKE_OP, 1, (void *)1L, &word2, FUTEX_OP(ops[i].op, ops[i].arg, FUTEX_OP_CMP_EQ, 0))));
    EQ(ops[i].after, word2);
  }
  word2 = 1;
  ERR(ENOSYS, futex(&word, FUTEX_WAKE_OP, 1, (void *)1L, &word2, FUTEX_OP(5, 7, FUTEX_OP_CMP_EQ, 0)));
  EQ(1, word2);
  ERR(ENOSYS, futex(&word, FUTEX_WAKE_OP, 1, (void *)1L, &word2, FUTEX_OP(FUTEX_OP_SET, 7, 6, 0)));
  EQ(7, word2);  // the comparison comes second
  ERR(EFAULT, futex(&word, FUTEX_WAKE_OP, 1, (void *)1L, (int *)8, 0));

  static const struct {
    int cmp, arg, old, holds;
  } cmps[] = {
      {FUTEX_OP_CMP_EQ, 4, 4, 1}, {FUTEX_OP_CMP_EQ, 4, 5, 0}, {FUTEX_OP_CMP_NE, 4, 5, 1}, {FUTEX_OP_CMP_LT, 4, 3, 1},
      {FUTEX_OP_CMP_LT, 4, 4, 0}, {FUTEX_OP_CMP_LE, 4, 4, 1}, {FUTEX_OP_CMP_GT, 4, 5, 1}, {FUTEX_OP_CMP_GT, 4, 4, 0},
      {FUTEX_OP_CMP_GE, 4, 4, 1}, {FUTEX_OP_CMP_LT, 0, -1, 1}, {FUTEX_OP_CMP_GT, -5 & 0xfff, -4, 1},
  };
  // The one who waits waits on the word that is compared.
  for (size_t i = 0; i < LEN(cmps); i++) {
    pthread_t t;
    arrived = 0;
    word = 0;
    ZERO(pthread_create(&t, NULL, waiter, NULL));
    WAIT_FOR(&arrived, 1);
    sleep_ms(2);
    int n;
    do {  // the word is what the waiter expects, but for a moment
      word = cmps[i].old;
      n = SYS(futex(&word2, FUTEX_WAKE_OP_PRIVATE, 1, (void *)1L, &word,
                    FUTEX_OP(FUTEX_OP_SET, 0, cmps[i].cmp, cmps[i].arg)));
    } while (n == 0 && cmps[i].holds && !__atomic_load_n(&woken, __ATOMIC_SEQ_CST));
    if (!cmps[i].holds) {
      EQ(0, n);
      wake_until(1, FUTEX_WAKE_PRIVATE, 0);
    }
    ZERO(pthread_join(t, NULL));
    woken = 0;
  }
}

// A timeout counts on while the process is stopped, and the wait goes on after
// it: no handler has run.
static void stopped_and_continued(void) {
  pid_t pid = SYS(fork());
  if (pid == 0) {
    struct timespec ts = {0, 60 * MS};
    long long t = now_ns();
    ERR(ETIMEDOUT, futex(&word, FUTEX_WAIT, 0, &ts, NULL, 0));
    t = now_ns() - t;
    CHECK(t >= 60 * MS);
    CHECK(t < 5000 * MS);
    _exit(0);
  }
  int status;
  sleep_ms(10);
  SYS(kill(pid, SIGSTOP));
  EQ(pid, SYS(waitpid(pid, &status, WUNTRACED)));
  CHECK(WIFSTOPPED(status));
  sleep_ms(10);
  SYS(kill(pid, SIGCONT));
  EXITS(0, pid);
}

static volatile int handled;
static void count(int sig UNUSED) { handled++; }

static void *wake_late(void *arg UNUSED) {
  sleep_ms(40);
  __atomic_store_n(&word, 1, __ATOMIC_SEQ_CST);
  SYS(futex(&word, FUTEX_WAKE, 1, NULL, NULL, 0));
  return NULL;
}

// With SA_RESTART a wait without a timeout goes on after the handler.
static void restarted(void) {
  sigset_t s = set_of(SIGALRM), old;
  SYS(sigprocmask(SIG_BLOCK, &s, &old));
  pthread_t t;
  ZERO(pthread_create(&t, NULL, wake_late, NULL));  // with the signal blocked
  SYS(sigprocmask(SIG_SETMASK, &old, NULL));
  handle(SIGALRM, count, SA_RESTART);
  struct itimerval it = {{0, 0}, {0, 10000}};
  SYS(setitimer(ITIMER_REAL, &it, NULL));
  EQ(0, SYS(futex(&word, FUTEX_WAIT, 0, NULL, NULL, 0)));
  EQ(1, handled);
  EQ(1, word);
  ZERO(pthread_join(t, NULL));
  // With a timeout it does not.
  word = 0;
  SYS(setitimer(ITIMER_REAL, &it, NULL));
  struct timespec ts = {10, 0};
  ERR(EINTR, futex(&word, FUTEX_WAIT, 0, &ts, NULL, 0));
  EQ(2, handled);
}

// The calls of futex2.

#define U32 2
#define PRIVATE 128

struct waitv {
  uint64_t val, uaddr;
  uint32_t flags, reserved;
};

static long waitv(struct waitv *w, unsigned n, unsigned flags, struct timespec *ts, int clock) {
  return syscall(449, w, n, flags, ts, clock);
}

static int words[130];

static void waitv_arguments(void) {
  static struct waitv w[130];
  for (int i = 0; i < 130; i++) w[i] = (struct waitv){0, (uint64_t)&words[i], U32 | PRIVATE, 0};
  struct timespec past = {0, 1}, bad = {0, -1};
  ERR(EINVAL, waitv(w, 0, 0, NULL, 0));
  ERR(EINVAL, waitv(w, 129, 0, NULL, 0));
  ERR(EINVAL, waitv(NULL, 1, 0, NULL, 0));
  ERR(EINVAL, waitv(w, 1, 1, NULL, 0));
  ERR(EFAULT, waitv((void *)8, 1, 0, NULL, 0));
  ERR(EINVAL, waitv(w, 1, 0, &bad, CLOCK_MONOTONIC));
  ERR(EINVAL, waitv(w, 1, 0, &past, CLOCK_BOOTTIME));
  ERR(ETIMEDOUT, waitv(w, 128, 0, &past, CLOCK_MONOTONIC));
  ERR(ETIMEDOUT, waitv(w, 128, 0, &past, CLOCK_REALTIME));
  w[1].flags = PRIVATE;
  ERR(EINVAL, waitv(w, 2, 0, &past, CLOCK_MONOTONIC));
  w[1].flags = U32 | 0x100;
  ERR(EINVAL, waitv(w, 2, 0, &past, CLOCK_MONOTONIC));
  w[1].flags = U32;
  w[1].reserved = 1;
  ERR(EINVAL, waitv(w, 2, 0, &past, CLOCK_MONOTONIC));
  w[1].reserved = 0;
  w[1].val = 1ULL << 32;
  ERR(EINVAL, waitv(w, 2, 0, &past, CLOCK_MONOTONIC));
  w[1].val = 1;
  ERR(EAGAIN, waitv(w, 2, 0, &past, CLOCK_MONOTONIC));
  w[1].val = 0;
  w[1].uaddr = 8;
  ERR(EFAULT, waitv(w, 2, 0, &past, CLOCK_MONOTONIC));
}

static void *wake_word(void *at) {
  sleep_ms(10);
  int *p = at;
  __atomic_store_n(p, 1, __ATOMIC_SEQ_CST);
  SYS(futex(p, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0));
  return NULL;
}

static void waitv_wakes(void) {
  struct waitv w[20];
  for (int i = 0; i < 20; i++) w[i] = (struct waitv){0, (uint64_t)&words[i], U32 | PRIVATE, 0};
  for (int i = 0; i < 20; i += 6) {
    pthread_t t;
    ZERO(pthread_create(&t, NULL, wake_word, &words[i]));
    EQ(i, SYS(waitv(w, 20, 0, NULL, 0)));
    ZERO(pthread_join(t, NULL));
    words[i] = 0;
    EQ(0, SYS(futex(&words[5], FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0)));  // nobody is left on the others
  }
}

static long wait2(int *p, unsigned long v, unsigned long mask, unsigned flags, struct timespec *ts, int clock) {
  return syscall(455, p, v, mask, flags, ts, clock);
}
static long wake2(int *p, unsigned long mask, int n, unsigned flags) { return syscall(454, p, mask, n, flags); }

static void *wait_new(void *mask) {
  __atomic_fetch_add(&arrived, 1, __ATOMIC_SEQ_CST);
  EQ(0, SYS(wait2(&word, 0, (long)mask, U32 | PRIVATE, NULL, 0)));
  __atomic_fetch_add(&woken, 1, __ATOMIC_SEQ_CST);
  return NULL;
}

static void futex2(void) {
  struct timespec past = {0, 1};
  if (wait2(&word, 1, ~0U, U32, NULL, 0) == -1 && errno == ENOSYS) return;  // before Linux 6.7
  ERR(EAGAIN, wait2(&word, 1, ~0U, U32, NULL, 0));
  ERR(EINVAL, wait2(&word, 0, 0, U32, NULL, 0));
  ERR(EINVAL, wait2(&word, 1UL << 32, ~0U, U32, NULL, 0));
  ERR(EINVAL, wait2(&word, 0, ~0UL, U32, NULL, 0));
  ERR(EINVAL, wait2(&word, 0, ~0U, 0, NULL, 0));
  ERR(EINVAL, wait2(&word, 0, ~0U, U32, &past, 99));
  ERR(ETIMEDOUT, wait2(&word, 0, ~0U, U32, &past, CLOCK_REALTIME));
  ERR(EINVAL, wake2(&word, 0, 1, U32));
  ERR(EINVAL, wake2(&word, ~0UL, 1, U32));
  ERR(EINVAL, wake2(&word, ~0U, 1, 3));
  pthread_t t[3];
  for (long i = 0; i < 3; i++) ZERO(pthread_create(&t[i], NULL, wait_new, (void *)(1L << i)));
  WAIT_FOR(&arrived, 3);
  sleep_ms(5);
  EQ(0, SYS(wake2(&word, ~0U, 0, U32 | PRIVATE)));  // none means none here
  EQ(0, SYS(wake2(&word, 8, 10, U32 | PRIVATE)));
  int n = 0;
  while (n == 0) n = SYS(wake2(&word, 2, 10, U32 | PRIVATE));
  EQ(1, n);
  ZERO(pthread_join(t[1], NULL));
  struct waitv w[2] = {{1, (uint64_t)&word, U32 | PRIVATE, 0}, {0, (uint64_t)&word2, U32 | PRIVATE, 0}};
  ERR(EINVAL, syscall(456, w, 1, 0, 10));
  ERR(EINVAL, syscall(456, NULL, 0, 0, 10));
  ERR(EAGAIN, syscall(456, w, 0, 0, 10));
  w[0].val = 0;
  int moved = 0;
  while (moved < 2) moved += SYS(syscall(456, w, 0, 0, 10));
  EQ(2, moved);
  EQ(0, SYS(wake2(&word, ~0U, 10, U32 | PRIVATE)));
  EQ(2, SYS(wake2(&word2, ~0U, 10, U32 | PRIVATE)));
  ZERO(pthread_join(t[0], NULL));
  ZERO(pthread_join(t[2], NULL));
}

TESTS(T(arguments), T(timeouts), T(wake_counts), T(bitsets), T(requeue), T(wake_op), T(between_processes),
      T(private_is_private), T(interrupted), T(ping_pong), T(robust_list), T(more_arguments), T(wake_op_table),
      T(stopped_and_continued), T(restarted), T(waitv_arguments), T(waitv_wakes), T(futex2))
