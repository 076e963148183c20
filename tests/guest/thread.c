// Threads: creation, locks, storage, ends.
#include "check.h"

#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <sys/resource.h>

static void *add_one(void *arg) { return (char *)arg + 1; }

static void create_join(void) {
  for (long i = 0; i < 200; i++) {
    pthread_t t;
    void *got;
    ZERO(pthread_create(&t, NULL, add_one, (void *)i));
    ZERO(pthread_join(t, &got));
    EQ(i + 1, got);
  }
}

static void many_at_once(void) {
  enum { N = 200 };
  static pthread_t t[N];
  for (long i = 0; i < N; i++) ZERO(pthread_create(&t[i], NULL, add_one, (void *)i));
  for (long i = 0; i < N; i++) {
    void *got;
    ZERO(pthread_join(t[i], &got));
    EQ(i + 1, got);
  }
}

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static long counter;

static void *count_locked(void *arg UNUSED) {
  for (int i = 0; i < 5000; i++) {
    pthread_mutex_lock(&lock);
    counter++;
    pthread_mutex_unlock(&lock);
  }
  return NULL;
}

static void in_threads(int n, void *(*fn)(void *)) {
  pthread_t t[32];
  for (long i = 0; i < n; i++) ZERO(pthread_create(&t[i], NULL, fn, (void *)i));
  for (int i = 0; i < n; i++) ZERO(pthread_join(t[i], NULL));
}

static void mutex_storm(void) {
  in_threads(8, count_locked);
  EQ(40000, counter);
}

static pthread_cond_t not_empty = PTHREAD_COND_INITIALIZER, not_full = PTHREAD_COND_INITIALIZER;
static int queue[4], queued, consumed_sum;

static void *produce(void *arg UNUSED) {
  for (int i = 1; i <= 250; i++) {
    pthread_mutex_lock(&lock);
    while (queued == 4) pthread_cond_wait(&not_full, &lock);
    queue[queued++] = i;
    pthread_cond_signal(&not_empty);
    pthread_mutex_unlock(&lock);
  }
  return NULL;
}

static void *consume(void *arg UNUSED) {
  for (int i = 0; i < 250; i++) {
    pthread_mutex_lock(&lock);
    while (queued == 0) pthread_cond_wait(&not_empty, &lock);
    consumed_sum += queue[--queued];
    pthread_cond_signal(&not_full);
    pthread_mutex_unlock(&lock);
  }
  return NULL;
}

static void *either(void *arg) { return (long)arg & 1 ? produce(arg) : consume(arg); }

static void conditions(void) {
  in_threads(6, either);
  EQ(3 * 250 * 251 / 2, consumed_sum);
  EQ(0, queued);
}

static void condition_timeout(void) {
  struct timespec ts;
  clock_gettime(CLOCK_REALTIME, &ts);
  ts.tv_nsec += 20 * MS;
  if (ts.tv_nsec >= 1000000000) ts.tv_sec++, ts.tv_nsec -= 1000000000;
  long long t = now_ns();
  pthread_mutex_lock(&lock);
  EQ(ETIMEDOUT, pthread_cond_timedwait(&not_empty, &lock, &ts));
  CHECK(now_ns() - t >= 15 * MS);
}

static pthread_barrier_t barrier;
static int phase[8];

static void *phases(void *arg) {
  long me = (long)arg;
  for (int i = 1; i <= 50; i++) {
    phase[me] = i;
    pthread_barrier_wait(&barrier);
    for (int k = 0; k < 8; k++) EQ(i, phase[k]);
    pthread_barrier_wait(&barrier);
  }
  return NULL;
}

static void barriers(void) {
  ZERO(pthread_barrier_init(&barrier, NULL, 8));
  in_threads(8, phases);
}

static pthread_rwlock_t rw = PTHREAD_RWLOCK_INITIALIZER;
static int pair[2];

static void *read_write(void *arg) {
  for (int i = 0; i < 1000; i++) {
    if ((i + (long)arg) % 10 == 0) {
      pthread_rwlock_wrlock(&rw);
      pair[0]++;
      sched_yield();
      pair[1]++;
    } else {
      pthread_rwlock_rdlock(&rw);
      EQ(pair[0], pair[1]);
    }
    pthread_rwlock_unlock(&rw);
  }
  return NULL;
}

static void rwlocks(void) {
  in_threads(6, read_write);
  EQ(600, pair[0]);
}

static sem_t sem;
static void *post(void *arg UNUSED) {
  for (int i = 0; i < 500; i++) sem_post(&sem);
  return NULL;
}

static void semaphores(void) {
  SYS(sem_init(&sem, 0, 0));
  pthread_t t[4];
  for (int i = 0; i < 4; i++) ZERO(pthread_create(&t[i], NULL, post, NULL));
  for (int i = 0; i < 2000; i++) SYS(sem_wait(&sem));
  for (int i = 0; i < 4; i++) ZERO(pthread_join(t[i], NULL));
  ERR(EAGAIN, sem_trywait(&sem));
}

static __thread int tls = 7;
static __thread char tls_big[10000];

static void *use_tls(void *arg) {
  EQ(7, tls);
  for (int i = 0; i < 200; i++) {
    tls = (int)(long)arg * 1000 + i;
    tls_big[i] = (char)(long)arg;
    sched_yield();
    EQ((long)arg * 1000 + i, tls);
    EQ((char)(long)arg, tls_big[i]);
  }
  return NULL;
}

static void thread_local(void) {
  tls = 1;
  tls = 7;
  in_threads(8, use_tls);
  EQ(7, tls);
  EQ(0, tls_big[100]);
}

static pthread_once_t once = PTHREAD_ONCE_INIT;
static int once_count;
static void count_once(void) { once_count++; }
static void *call_once(void *arg UNUSED) {
  pthread_once(&once, count_once);
  EQ(1, once_count);
  return NULL;
}
static void once_only(void) {
  in_threads(16, call_once);
  EQ(1, once_count);
}

static void *sleep_forever(void *arg UNUSED) {
  for (;;) pause();
  return NULL;
}

static void *end_process(void *arg UNUSED) { _exit(17); }

static void exit_group_from_thread(void) {
  pid_t pid = SYS(fork());
  if (pid == 0) {
    pthread_t t;
    for (int i = 0; i < 5; i++) ZERO(pthread_create(&t, NULL, sleep_forever, NULL));
    ZERO(pthread_create(&t, NULL, end_process, NULL));
    for (;;) pause();
  }
  EXITS(17, pid);
}

static void *exit_late(void *arg UNUSED) {
  sleep_ms(20);
  _exit(18);
}

// The first thread may end before the others; the process lives on.
static void leader_ends_first(void) {
  pid_t pid = SYS(fork());
  if (pid == 0) {
    pthread_t t;
    ZERO(pthread_create(&t, NULL, exit_late, NULL));
    syscall(SYS_exit, 3);
  }
  EXITS(18, pid);
}

static void last_thread_status(void) {
  pid_t pid = SYS(fork());
  if (pid == 0) syscall(SYS_exit, 19);
  EXITS(19, pid);
}

static void *crash(void *arg UNUSED) {
  *(volatile int *)(volatile uintptr_t){0} = 0;
  return NULL;
}

static void crash_in_thread(void) {
  pid_t pid = SYS(fork());
  if (pid == 0) {
    pthread_t t;
    ZERO(pthread_create(&t, NULL, crash, NULL));
    for (;;) pause();
  }
  DIES(SIGSEGV, pid);
}

static int cleaned;
static void clean(void *arg UNUSED) { cleaned++; }
static void *cancellable(void *arg UNUSED) {
  pthread_cleanup_push(clean, NULL);
  for (;;) pause();
  pthread_cleanup_pop(0);
  return NULL;
}

static void cancellation(void) {
  pthread_t t;
  void *got;
  ZERO(pthread_create(&t, NULL, cancellable, NULL));
  sleep_ms(2);
  ZERO(pthread_cancel(t));
  ZERO(pthread_join(t, &got));
  CHECK(got == PTHREAD_CANCELED);
  EQ(1, cleaned);
}

static pthread_mutex_t *robust;
static void *die_holding(void *arg UNUSED) {
  ZERO(pthread_mutex_lock(robust));
  return NULL;
}

static void robust_mutex(void) {
  robust = map_shared(PAGE);
  pthread_mutexattr_t a;
  pthread_mutexattr_init(&a);
  pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST);
  pthread_mutexattr_setpshared(&a, PTHREAD_PROCESS_SHARED);
  ZERO(pthread_mutex_init(robust, &a));
  in_threads(1, die_holding);
  EQ(EOWNERDEAD, pthread_mutex_lock(robust));
  ZERO(pthread_mutex_consistent(robust));
  ZERO(pthread_mutex_unlock(robust));
  pid_t pid = SYS(fork());  // and in another process, killed
  if (pid == 0) {
    ZERO(pthread_mutex_lock(robust));
    kill(getpid(), SIGKILL);
  }
  DIES(SIGKILL, pid);
  EQ(EOWNERDEAD, pthread_mutex_lock(robust));
}

static void robust_wakes(void) {
  robust = map_shared(PAGE);
  int *held = map_shared(PAGE);
  pthread_mutexattr_t a;
  pthread_mutexattr_init(&a);
  pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST);
  pthread_mutexattr_setpshared(&a, PTHREAD_PROCESS_SHARED);
  ZERO(pthread_mutex_init(robust, &a));
  pid_t pid = SYS(fork());
  if (pid == 0) {
    ZERO(pthread_mutex_lock(robust));
    __atomic_store_n(held, 1, __ATOMIC_SEQ_CST);
    sleep_ms(30);
    _exit(0);
  }
  WAIT_FOR(held, 1);
  EQ(EOWNERDEAD, pthread_mutex_lock(robust));  // was waiting as the owner ended
  EXITS(0, pid);
}

static void shared_mutex(void) {
  struct {
    pthread_mutex_t m;
    long n;
  } *s = map_shared(PAGE);
  pthread_mutexattr_t a;
  pthread_mutexattr_init(&a);
  pthread_mutexattr_setpshared(&a, PTHREAD_PROCESS_SHARED);
  ZERO(pthread_mutex_init(&s->m, &a));
  for (int i = 0; i < 4; i++)
    if (SYS(fork()) == 0) {
      for (int k = 0; k < 1000; k++) {
        pthread_mutex_lock(&s->m);
        s->n++;
        pthread_mutex_unlock(&s->m);
      }
      _exit(0);
    }
  while (wait(NULL) > 0) {
  }
  EQ(4000, s->n);
}

static void pi_mutex(void) {
  pthread_mutexattr_t a;
  pthread_mutexattr_init(&a);
  ZERO(pthread_mutexattr_setprotocol(&a, PTHREAD_PRIO_INHERIT));
  ZERO(pthread_mutex_init(&lock, &a));
  in_threads(4, count_locked);
  EQ(20000, counter);
}

static void *ids(void *arg) {
  EQ(*(pid_t *)arg, getpid());
  CHECK(gettid() != getpid());
  char name[16];
  SYS(prctl(PR_SET_NAME, "a thread with a long name"));
  SYS(prctl(PR_GET_NAME, name));
  CHECK(strcmp(name, "a thread with a") == 0);
  return NULL;
}

static void thread_ids(void) {
  pid_t pid = getpid();
  pthread_t t;
  EQ(pid, gettid());
  ZERO(pthread_create(&t, NULL, ids, &pid));
  ZERO(pthread_join(t, NULL));
  char name[16];
  SYS(prctl(PR_GET_NAME, name));
  CHECK(strcmp(name, "thread") == 0);
}

static void *fork_in_thread(void *arg UNUSED) {
  pid_t pid = SYS(fork());
  if (pid == 0) {
    EQ(getpid(), gettid());
    _exit(21);
  }
  EXITS(21, pid);
  return NULL;
}

static void forks_in_threads(void) { in_threads(8, fork_in_thread); }

static void *touch_stack(void *arg UNUSED) {
  volatile char big[200000];
  for (size_t i = 0; i < sizeof(big); i += 1000) big[i] = 1;
  return NULL;
}

static void stacks(void) {
  pthread_attr_t a;
  pthread_attr_init(&a);
  pthread_attr_setstacksize(&a, 256 << 10);
  pthread_t t[10];
  for (int i = 0; i < 10; i++) ZERO(pthread_create(&t[i], &a, touch_stack, NULL));
  for (int i = 0; i < 10; i++) ZERO(pthread_join(t[i], NULL));
}

static void *spin_count(void *arg) {
  for (int i = 0; i < 2000000; i++) __atomic_fetch_add((long *)arg, 1, __ATOMIC_RELAXED);
  return NULL;
}

static void busy_threads(void) {
  long *n = map_private(PAGE);
  pthread_t t[4];
  for (int i = 0; i < 4; i++) ZERO(pthread_create(&t[i], NULL, spin_count, n));
  for (int i = 0; i < 4; i++) ZERO(pthread_join(t[i], NULL));
  EQ(8000000, *n);
}

static void *churn_mappings(void *arg) {
  for (int i = 0; i < 200; i++) {
    char *p = map_private(PAGE * 8);
    for (int k = 0; k < 8; k++) p[k * PAGE] = (char)(long)arg;
    for (int k = 0; k < 8; k++) EQ((char)(long)arg, p[k * PAGE]);
    SYS(munmap(p, PAGE * 8));
  }
  return NULL;
}

static void mappings_in_threads(void) { in_threads(6, churn_mappings); }

static void task_directory(void) {
  pthread_t t;
  for (int i = 0; i < 3; i++) ZERO(pthread_create(&t, NULL, sleep_forever, NULL));
  char path[64];
  int n = 0;
  FILE *f = fopen("/proc/self/status", "r");
  CHECK(f);
  while (fgets(path, sizeof(path), f)) sscanf(path, "Threads: %d", &n);
  EQ(4, n);
}

TESTS(T(create_join), T(many_at_once), T(mutex_storm), T(conditions), T(condition_timeout), T(barriers), T(rwlocks),
      T(semaphores), T(thread_local), T(once_only), T(exit_group_from_thread), T(leader_ends_first),
      T(last_thread_status), T(crash_in_thread), T(cancellation), T(robust_mutex), T(robust_wakes), T(shared_mutex),
      T(pi_mutex), T(thread_ids), T(forks_in_threads), T(stacks), T(busy_threads), T(mappings_in_threads),
      T(task_directory))
