// Futexes with an owner: priority inheritance and robust lists, called directly
// and through pthread mutexes.
#include "check.h"

#include <linux/futex.h>
#include <pthread.h>

#ifndef FUTEX_LOCK_PI2
#define FUTEX_LOCK_PI2 13
#endif

static int word;

static long futex(int *p, int op, int v, const void *t, int *p2, int v3) {
  return syscall(SYS_futex, p, op, v, t, p2, v3);
}
static int tid(void) { return syscall(SYS_gettid); }
static int load(int *p) { return __atomic_load_n(p, __ATOMIC_SEQ_CST); }

static void lock_free(void) {
  EQ(0, SYS(futex(&word, FUTEX_LOCK_PI, 0, NULL, NULL, 0)));
  EQ(tid(), load(&word));
  ERR(EDEADLK, futex(&word, FUTEX_LOCK_PI, 0, NULL, NULL, 0));
  ERR(EDEADLK, futex(&word, FUTEX_TRYLOCK_PI, 0, NULL, NULL, 0));
  EQ(0, SYS(futex(&word, FUTEX_UNLOCK_PI, 0, NULL, NULL, 0)));
  EQ(0, load(&word));
  ERR(EPERM, futex(&word, FUTEX_UNLOCK_PI, 0, NULL, NULL, 0));
  EQ(0, SYS(futex(&word, FUTEX_TRYLOCK_PI, 0, NULL, NULL, 0)));
  EQ(tid(), load(&word));
  EQ(0, SYS(futex(&word, FUTEX_UNLOCK_PI, 0, NULL, NULL, 0)));
  ERR(EINVAL, futex((int *)((char *)&word + 1), FUTEX_LOCK_PI, 0, NULL, NULL, 0));
  ERR(EFAULT, futex((int *)8, FUTEX_LOCK_PI, 0, NULL, NULL, 0));
  ERR(EFAULT, futex((int *)8, FUTEX_UNLOCK_PI, 0, NULL, NULL, 0));
  ERR(ENOSYS, futex(&word, FUTEX_LOCK_PI | FUTEX_CLOCK_REALTIME, 0, NULL, NULL, 0));
}

// A word that names nobody.
static void no_owner(void) {
  pid_t pid = SYS(fork());
  if (pid == 0) _exit(0);
  EXITS(0, pid);
  word = pid;
  ERR(ESRCH, futex(&word, FUTEX_LOCK_PI, 0, NULL, NULL, 0));
  ERR(ESRCH, futex(&word, FUTEX_TRYLOCK_PI, 0, NULL, NULL, 0));
  word = FUTEX_OWNER_DIED;  // its owner is gone, and said so
  EQ(0, SYS(futex(&word, FUTEX_LOCK_PI, 0, NULL, NULL, 0)));
  EQ(FUTEX_OWNER_DIED | tid(), load(&word));
  word = 1;
  ERR(EPERM, futex(&word, FUTEX_UNLOCK_PI, 0, NULL, NULL, 0));
}

static int order[4], in_order, waiting;

static void *lock_and_unlock(void *n) {
  __atomic_fetch_add(&waiting, 1, __ATOMIC_SEQ_CST);
  EQ(0, SYS(futex(&word, FUTEX_LOCK_PI_PRIVATE, 0, NULL, NULL, 0)));
  EQ(tid(), load(&word) & FUTEX_TID_MASK);
  order[in_order++] = (long)n;
  EQ(0, SYS(futex(&word, FUTEX_UNLOCK_PI_PRIVATE, 0, NULL, NULL, 0)));
  return NULL;
}

// Threads of one priority get it in turn, straight from the one that unlocks.
static void handed_over(void) {
  pthread_t t[4];
  EQ(0, SYS(futex(&word, FUTEX_LOCK_PI_PRIVATE, 0, NULL, NULL, 0)));
  for (long i = 0; i < 4; i++) {
    ZERO(pthread_create(&t[i], NULL, lock_and_unlock, (void *)i));
    WAIT_FOR(&waiting, i + 1);
    sleep_ms(10);
  }
  EQ((int)(tid() | FUTEX_WAITERS), load(&word));
  EQ(0, in_order);
  EQ(0, SYS(futex(&word, FUTEX_UNLOCK_PI_PRIVATE, 0, NULL, NULL, 0)));
  for (int i = 0; i < 4; i++) ZERO(pthread_join(t[i], NULL));
  for (int i = 0; i < 4; i++) EQ(i, order[i]);
  EQ(0, load(&word));
}

static void *hold(void *ms) {
  EQ(0, SYS(futex(&word, FUTEX_LOCK_PI_PRIVATE, 0, NULL, NULL, 0)));
  __atomic_store_n(&waiting, 1, __ATOMIC_SEQ_CST);
  sleep_ms((long)ms);
  EQ(0, SYS(futex(&word, FUTEX_UNLOCK_PI_PRIVATE, 0, NULL, NULL, 0)));
  return NULL;
}

static void timeouts(void) {
  pthread_t t;
  ZERO(pthread_create(&t, NULL, hold, (void *)100L));
  WAIT_FOR(&waiting, 1);
  struct timespec ts;
  clock_gettime(CLOCK_REALTIME, &ts);  // whatever the flag
  ERR(ETIMEDOUT, futex(&word, FUTEX_LOCK_PI_PRIVATE, 0, &ts, NULL, 0));
  clock_gettime(CLOCK_MONOTONIC, &ts);
  ts.tv_nsec += 10 * MS;
  if (ts.tv_nsec >= 1000000000) ts.tv_sec++, ts.tv_nsec -= 1000000000;
  ERR(ETIMEDOUT, futex(&word, FUTEX_LOCK_PI2 | FUTEX_PRIVATE_FLAG, 0, &ts, NULL, 0));
  ERR(EAGAIN, futex(&word, FUTEX_TRYLOCK_PI_PRIVATE, 0, NULL, NULL, 0));
  ERR(EPERM, futex(&word, FUTEX_UNLOCK_PI_PRIVATE, 0, NULL, NULL, 0));
  ts.tv_nsec = -1;
  ERR(EINVAL, futex(&word, FUTEX_LOCK_PI_PRIVATE, 0, &ts, NULL, 0));
  EQ(0, SYS(futex(&word, FUTEX_LOCK_PI_PRIVATE, 0, NULL, NULL, 0)));
  EQ(0, SYS(futex(&word, FUTEX_UNLOCK_PI_PRIVATE, 0, NULL, NULL, 0)));
  EQ(0, load(&word));
  ZERO(pthread_join(t, NULL));
}

static volatile int handled;
static void on_alarm(int sig UNUSED) { handled++; }

// A lock is waited for through signals, SA_RESTART or not.
static void through_signals(void) {
  pthread_t t;
  sigset_t s = set_of(SIGALRM), old;
  SYS(sigprocmask(SIG_BLOCK, &s, &old));
  ZERO(pthread_create(&t, NULL, hold, (void *)50L));
  SYS(sigprocmask(SIG_SETMASK, &old, NULL));
  WAIT_FOR(&waiting, 1);
  handle(SIGALRM, on_alarm, 0);
  struct itimerval it = {{0, 10000}, {0, 10000}};
  SYS(setitimer(ITIMER_REAL, &it, NULL));
  EQ(0, SYS(futex(&word, FUTEX_LOCK_PI_PRIVATE, 0, NULL, NULL, 0)));
  CHECK(handled > 0);
  EQ(tid(), load(&word) & FUTEX_TID_MASK);
  ZERO(pthread_join(t, NULL));
}

static void *lock_and_end(void *arg UNUSED) {
  EQ(0, SYS(futex(&word, FUTEX_LOCK_PI_PRIVATE, 0, NULL, NULL, 0)));
  __atomic_store_n(&waiting, 1, __ATOMIC_SEQ_CST);
  sleep_ms(20);
  syscall(SYS_exit, 0);
  return NULL;
}

// An owner that ends leaves the lock to the one that waits, which is told.
static void owner_ends(void) {
  pthread_t t;
  ZERO(pthread_create(&t, NULL, lock_and_end, NULL));
  WAIT_FOR(&waiting, 1);
  EQ(0, SYS(futex(&word, FUTEX_LOCK_PI_PRIVATE, 0, NULL, NULL, 0)));
  EQ(tid(), load(&word) & FUTEX_TID_MASK);
  EQ(FUTEX_OWNER_DIED, load(&word) & FUTEX_OWNER_DIED);
  ZERO(pthread_join(t, NULL));
}

static int *shared;

// Between processes, one of which is killed.
static void owner_is_killed(void) {
  shared = map_shared(PAGE);
  pid_t pid = SYS(fork());
  if (pid == 0) {
    EQ(0, SYS(futex(shared, FUTEX_LOCK_PI, 0, NULL, NULL, 0)));
    for (;;) pause();
  }
  WAIT_FOR(shared, pid);
  pid_t killer = SYS(fork());
  if (killer == 0) {
    sleep_ms(20);
    SYS(kill(pid, SIGKILL));
    _exit(0);
  }
  EQ(0, SYS(futex(shared, FUTEX_LOCK_PI, 0, NULL, NULL, 0)));
  EQ(tid(), load(shared) & FUTEX_TID_MASK);
  EQ(FUTEX_OWNER_DIED, load(shared) & FUTEX_OWNER_DIED);
  EXITS(0, killer);
  DIES(SIGKILL, pid);
}

// The sort of wait and the sort of futex have to fit.
static void *wait_plainly(void *arg UNUSED) {
  __atomic_store_n(&waiting, 1, __ATOMIC_SEQ_CST);
  futex(&word, FUTEX_WAIT_PRIVATE, load(&word), NULL, NULL, 0);
  return NULL;
}

static void mixed_up(void) {
  pthread_t t;
  word = tid();
  ZERO(pthread_create(&t, NULL, wait_plainly, NULL));
  WAIT_FOR(&waiting, 1);
  sleep_ms(10);
  ERR(EINVAL, futex(&word, FUTEX_UNLOCK_PI_PRIVATE, 0, NULL, NULL, 0));
  EQ(1, SYS(futex(&word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0)));
  ZERO(pthread_join(t, NULL));
}

enum { THREADS = 4, ROUNDS = 200 };
static int counter;
static pthread_mutex_t mutex;

static void *count(void *arg UNUSED) {
  for (int i = 0; i < ROUNDS; i++) {
    int e = pthread_mutex_lock(&mutex);
    if (e) FAIL("pthread_mutex_lock: %s", strerrorname_np(e));
    int v = counter;
    if (i % 10 == 0) sched_yield();
    counter = v + 1;
    ZERO(pthread_mutex_unlock(&mutex));
  }
  return NULL;
}

static void make_mutex(int protocol, int robust, int where) {
  pthread_mutexattr_t a;
  ZERO(pthread_mutexattr_init(&a));
  ZERO(pthread_mutexattr_setprotocol(&a, protocol));
  ZERO(pthread_mutexattr_setrobust(&a, robust));
  ZERO(pthread_mutexattr_setpshared(&a, where));
  ZERO(pthread_mutex_init(&mutex, &a));
}

static void counted(void) {
  pthread_t t[THREADS];
  counter = 0;
  for (int i = 0; i < THREADS; i++) ZERO(pthread_create(&t[i], NULL, count, NULL));
  for (int i = 0; i < THREADS; i++) ZERO(pthread_join(t[i], NULL));
  EQ(THREADS * ROUNDS, counter);
}

static void pi_mutex(void) {
  make_mutex(PTHREAD_PRIO_INHERIT, PTHREAD_MUTEX_STALLED, PTHREAD_PROCESS_PRIVATE);
  counted();
}

static void robust_mutex(void) {
  make_mutex(PTHREAD_PRIO_NONE, PTHREAD_MUTEX_ROBUST, PTHREAD_PROCESS_PRIVATE);
  counted();
}

static void robust_pi_mutex(void) {
  make_mutex(PTHREAD_PRIO_INHERIT, PTHREAD_MUTEX_ROBUST, PTHREAD_PROCESS_SHARED);
  counted();
}

static void *lock_only(void *ms) {
  ZERO(pthread_mutex_lock(&mutex));
  __atomic_store_n(&waiting, 1, __ATOMIC_SEQ_CST);
  sleep_ms((long)ms);
  return NULL;
}

static void left_behind(int protocol) {
  pthread_t t;
  for (long ms = 0; ms <= 20; ms += 20) {  // the owner is gone, or goes while we wait
    make_mutex(protocol, PTHREAD_MUTEX_ROBUST, PTHREAD_PROCESS_PRIVATE);
    waiting = 0;
    ZERO(pthread_create(&t, NULL, lock_only, (void *)ms));
    WAIT_FOR(&waiting, 1);
    if (ms == 0) ZERO(pthread_join(t, NULL));
    EQ(EOWNERDEAD, pthread_mutex_lock(&mutex));
    if (ms != 0) ZERO(pthread_join(t, NULL));
    ZERO(pthread_mutex_consistent(&mutex));
    ZERO(pthread_mutex_unlock(&mutex));
    counted();
  }
  ZERO(pthread_create(&t, NULL, lock_only, (void *)0));
  ZERO(pthread_join(t, NULL));
  EQ(EOWNERDEAD, pthread_mutex_trylock(&mutex));
  ZERO(pthread_mutex_unlock(&mutex));  // and not made consistent
  EQ(ENOTRECOVERABLE, pthread_mutex_lock(&mutex));
}

static void left_behind_plain(void) { left_behind(PTHREAD_PRIO_NONE); }
static void left_behind_pi(void) { left_behind(PTHREAD_PRIO_INHERIT); }

// exec gives robust futexes up as the end does.
static void exec_gives_up(void) {
  struct shared {
    pthread_mutex_t m;
    int ready;
  } *s = map_shared(PAGE);
  pthread_mutexattr_t a;
  ZERO(pthread_mutexattr_init(&a));
  ZERO(pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST));
  ZERO(pthread_mutexattr_setpshared(&a, PTHREAD_PROCESS_SHARED));
  ZERO(pthread_mutex_init(&s->m, &a));
  pid_t pid = SYS(fork());
  if (pid == 0) {
    ZERO(pthread_mutex_lock(&s->m));
    __atomic_store_n(&s->ready, 1, __ATOMIC_SEQ_CST);
    sleep_ms(10);
    execl("/proc/self/exe", "futexpi", "--list", NULL);
    _exit(9);
  }
  WAIT_FOR(&s->ready, 1);
  EQ(EOWNERDEAD, pthread_mutex_lock(&s->m));
  int status = status_of(pid);
  CHECK(WIFEXITED(status));
}

// Robust lists that lead nowhere, or in circles, harm nobody but their owner.
static void bad_lists(void) {
  for (int i = 0; i < 6; i++) {
    pid_t pid = SYS(fork());
    if (pid == 0) {
      static struct robust_list_head head;
      static struct robust_list a, b;
      head.futex_offset = 8;
      switch (i) {
        case 0: head.list.next = (void *)8; break;
        case 1: head.list.next = &a, a.next = &b, b.next = &a; break;
        case 2: head.list.next = &a, a.next = (void *)-8L; break;
        case 3: head.list.next = &head.list, head.list_op_pending = (void *)8; break;
        case 4: head.list.next = &a, a.next = &head.list, head.futex_offset = 3; break;
        case 5: head.list.next = NULL; break;
      }
      SYS(syscall(SYS_set_robust_list, &head, sizeof(head)));
      _exit(i);
    }
    EXITS(i, pid);
  }
  pid_t pid = SYS(fork());
  if (pid == 0) {
    SYS(syscall(SYS_set_robust_list, (void *)-8L, sizeof(struct robust_list_head)));
    _exit(3);
  }
  EXITS(3, pid);
}

// Conditions of such a lock.

static int cond, lock2, has_lock;

static void *wait_for_cond(void *arg UNUSED) {
  struct timespec ts = {1LL << 40, 0};
  __atomic_fetch_add(&waiting, 1, __ATOMIC_SEQ_CST);
  EQ(0, SYS(futex(&cond, FUTEX_WAIT_REQUEUE_PI_PRIVATE, 0, &ts, &word, 0)));
  EQ(tid(), load(&word) & FUTEX_TID_MASK);
  EQ(0, __atomic_fetch_add(&has_lock, 1, __ATOMIC_SEQ_CST));
  sleep_ms(2);
  __atomic_fetch_sub(&has_lock, 1, __ATOMIC_SEQ_CST);
  EQ(0, SYS(futex(&word, FUTEX_UNLOCK_PI_PRIVATE, 0, NULL, NULL, 0)));
  return NULL;
}

static long move(int wake, long n, int v) {
  return futex(&cond, FUTEX_CMP_REQUEUE_PI_PRIVATE, wake, (void *)n, &word, v);
}

static void condition_arguments(void) {
  struct timespec past = {0, 1};
  ERR(EINVAL, futex(&cond, FUTEX_WAIT_REQUEUE_PI, 0, NULL, &cond, 0));
  ERR(EAGAIN, futex(&cond, FUTEX_WAIT_REQUEUE_PI, 1, NULL, &word, 0));
  ERR(ETIMEDOUT, futex(&cond, FUTEX_WAIT_REQUEUE_PI, 0, &past, &word, 0));
  ERR(ETIMEDOUT, futex(&cond, FUTEX_WAIT_REQUEUE_PI | FUTEX_CLOCK_REALTIME, 0, &past, &word, 0));
  ERR(EFAULT, futex(&cond, FUTEX_WAIT_REQUEUE_PI, 0, &past, (int *)8, 0));
  ERR(EINVAL, futex(&cond, FUTEX_CMP_REQUEUE_PI, 1, (void *)1L, &cond, 0));
  ERR(EINVAL, move(0, 1, 0));
  ERR(EINVAL, move(2, 1, 0));
  ERR(EINVAL, move(1, -1, 0));
  ERR(EAGAIN, move(1, 1, 1));
  EQ(0, SYS(move(1, 10, 0)));
  EQ(0, load(&word));
}

static void condition_wakes(void) {
  pthread_t t[4];
  for (int i = 0; i < 4; i++) ZERO(pthread_create(&t[i], NULL, wait_for_cond, NULL));
  WAIT_FOR(&waiting, 4);
  sleep_ms(10);
  int moved = SYS(move(1, 1, 0));  // the first gets the lock, the second waits for it
  EQ(2, moved);
  sleep_ms(10);
  EQ(0, SYS(futex(&word, FUTEX_LOCK_PI_PRIVATE, 0, NULL, NULL, 0)));
  while (moved < 4) moved += SYS(move(1, 10, 0));
  EQ(4, moved);
  CHECK(load(&word) & FUTEX_WAITERS);
  sleep_ms(5);
  EQ(0, load(&has_lock));
  EQ(0, SYS(futex(&word, FUTEX_UNLOCK_PI_PRIVATE, 0, NULL, NULL, 0)));
  for (int i = 0; i < 4; i++) ZERO(pthread_join(t[i], NULL));
}

static void condition_mixed_up(void) {
  pthread_t t;
  ZERO(pthread_create(&t, NULL, wait_for_cond, NULL));
  WAIT_FOR(&waiting, 1);
  sleep_ms(10);
  ERR(EINVAL, futex(&cond, FUTEX_CMP_REQUEUE_PI_PRIVATE, 1, (void *)1L, &lock2, 0));  // not where it is to go
  EQ(1, SYS(move(1, 1, 0)));
  ZERO(pthread_join(t, NULL));
}

static void condition_interrupted(void) {
  handle(SIGALRM, on_alarm, 0);
  struct itimerval it = {{0, 0}, {0, 10000}};
  SYS(setitimer(ITIMER_REAL, &it, NULL));
  struct timespec ts;
  clock_gettime(CLOCK_MONOTONIC, &ts);
  ts.tv_sec++;
  long long t = now_ns();
  ERR(ETIMEDOUT, futex(&cond, FUTEX_WAIT_REQUEUE_PI, 0, &ts, &word, 0));  // it goes on after the handler
  EQ(1, handled);
  CHECK(now_ns() - t >= 900 * MS);
}

TESTS(T(lock_free), T(no_owner), T(handed_over), T(timeouts), T(through_signals), T(owner_ends), T(owner_is_killed),
      T(mixed_up), T(pi_mutex), T(robust_mutex), T(robust_pi_mutex), T(left_behind_plain), T(left_behind_pi),
      T(exec_gives_up), T(bad_lists), T(condition_arguments), T(condition_wakes), T(condition_mixed_up),
      T(condition_interrupted))
