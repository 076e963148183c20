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

TESTS(T(arguments), T(timeouts), T(wake_counts), T(bitsets), T(requeue), T(wake_op), T(between_processes),
      T(private_is_private), T(interrupted), T(ping_pong), T(robust_list))
