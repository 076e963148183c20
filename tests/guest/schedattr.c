// Real-time policies as they are kept and told, sched_setattr, RLIMIT_RTTIME, what nice
// values do, and I/O priorities.
#include "check.h"

#include <pthread.h>
#include <sched.h>
#include <sys/resource.h>

#define USER 54323

struct attr {
  uint32_t size, policy;
  uint64_t flags;
  int32_t nice;
  uint32_t priority;
  uint64_t runtime, deadline, period;
  uint32_t util_min, util_max;
};

#define RESET 1
#define KEEP_POLICY 8
#define KEEP_PARAMS 16

static long set_attr(pid_t pid, struct attr *a, unsigned flags) { return syscall(SYS_sched_setattr, pid, a, flags); }
static long get_attr(pid_t pid, void *a, unsigned size, unsigned flags) {
  return syscall(SYS_sched_getattr, pid, a, size, flags);
}

static void show(const char *when) {
  struct sched_param p;
  struct timespec ts;
  int policy = SYS(sched_getscheduler(0));
  SYS(sched_getparam(0, &p));
  SYS(sched_rr_get_interval(0, &ts));
  struct attr a;
  SYS(get_attr(0, &a, 48, 0));
  EQ(48, a.size);
  EQ(policy & ~SCHED_RESET_ON_FORK, a.policy);
  EQ(p.sched_priority, a.priority);
  if (p.sched_priority == 0)
    CHECK(ts.tv_sec == 0 && ts.tv_nsec < 50 * MS);
  else
    say("%s: slice %ld\n", when, ts.tv_nsec / 1000000);
  say("%s: policy %#x, priority %d, flags %llu, nice %d\n", when, policy, p.sched_priority, (unsigned long long)a.flags, a.nice);
}

static void realtime(void) {
  struct sched_param p = {10};
  SYS(sched_setscheduler(0, SCHED_FIFO, &p));
  show("fifo");
  p.sched_priority = 20;
  SYS(sched_setparam(0, &p));
  show("higher");
  pid_t pid = SYS(fork());
  if (pid == 0) {
    show("child");
    SYS(sched_setscheduler(0, SCHED_RR | SCHED_RESET_ON_FORK, &p));
    show("round robin");
    pid_t child = SYS(fork());
    if (child == 0) {
      show("grandchild");
      _exit(0);
    }
    EXITS(0, child);
    _exit(0);
  }
  EXITS(0, pid);
  p.sched_priority = 0;
  ERR(EINVAL, sched_setparam(0, &p));
  ERR(EINVAL, sched_setscheduler(0, SCHED_FIFO, &p));
  SYS(sched_setscheduler(0, SCHED_OTHER, &p));
  show("back");
  p.sched_priority = 100;
  ERR(EINVAL, sched_setscheduler(0, SCHED_RR, &p));
  p.sched_priority = 1;
  ERR(EINVAL, sched_setscheduler(0, SCHED_OTHER, &p));
  ERR(EINVAL, sched_setscheduler(0, 4, &p));
  ERR(EINVAL, sched_setscheduler(0, 8, &p));
}

// Root may raise limits, if it has CAP_SYS_RESOURCE.
static void as_user(void) {
  struct rlimit limit = {5, 5};
  if (setrlimit(RLIMIT_RTPRIO, &limit) == -1 && errno == EPERM) return;
  limit = (struct rlimit){25, 25};  // nice -5
  SYS(setrlimit(RLIMIT_NICE, &limit));
  SYS(setresuid(USER, USER, USER));
  struct sched_param p = {6};
  ERR(EPERM, sched_setscheduler(0, SCHED_FIFO, &p));
  p.sched_priority = 5;
  SYS(sched_setscheduler(0, SCHED_FIFO, &p));
  p.sched_priority = 3;
  SYS(sched_setparam(0, &p));
  limit = (struct rlimit){0, 5};
  SYS(setrlimit(RLIMIT_RTPRIO, &limit));
  p.sched_priority = 4;
  ERR(EPERM, sched_setparam(0, &p));
  p.sched_priority = 2;
  SYS(sched_setparam(0, &p));  // lower is always allowed
  ERR(EPERM, sched_setscheduler(0, SCHED_RR, &p));
  p.sched_priority = 0;
  SYS(sched_setscheduler(0, SCHED_IDLE, &p));
  SYS(sched_setscheduler(0, SCHED_OTHER, &p));  // RLIMIT_NICE allows it
  SYS(setpriority(PRIO_PROCESS, 0, -5));
  ERR(EACCES, setpriority(PRIO_PROCESS, 0, -6));
  struct attr a = {.size = sizeof(a), .nice = -6};
  ERR(EPERM, set_attr(0, &a, 0));
  a.nice = 3;
  SYS(set_attr(0, &a, 0));
  EQ(3, getpriority(PRIO_PROCESS, 0));
  a.nice = -5;
  SYS(set_attr(0, &a, 0));
  EQ(-5, getpriority(PRIO_PROCESS, 0));
  a.policy = 6;
  a.runtime = 1000000;
  a.deadline = a.period = 10000000;
  ERR(EPERM, set_attr(0, &a, 0));
}

static void attributes(void) {
  struct attr a = {.size = sizeof(a), .policy = SCHED_BATCH, .nice = 7};
  SYS(set_attr(0, &a, 0));
  show("batch");
  a = (struct attr){.size = 48, .policy = SCHED_RR, .priority = 4, .flags = RESET};
  SYS(set_attr(0, &a, 0));
  show("round robin");
  a = (struct attr){.size = sizeof(a), .policy = SCHED_OTHER, .priority = 9, .flags = KEEP_POLICY};
  SYS(set_attr(0, &a, 0));
  show("kept policy");
  a = (struct attr){.size = sizeof(a), .policy = SCHED_FIFO, .priority = 77, .flags = KEEP_PARAMS};
  SYS(set_attr(0, &a, 0));
  show("kept parameters");
  a = (struct attr){.size = sizeof(a), .policy = SCHED_OTHER, .nice = -100};
  SYS(set_attr(0, &a, 0));
  show("clamped");
  a = (struct attr){.policy = SCHED_IDLE};  // no size: that of the first
  SYS(set_attr(0, &a, 0));
  show("idle");
  struct {
    struct attr a;
    char more[64];
  } big = {.a = {.size = sizeof(big), .policy = SCHED_OTHER}};
  SYS(set_attr(0, &big.a, 0));
  big.more[3] = 1;
  ERR(E2BIG, set_attr(0, &big.a, 0));
  CHECK(big.a.size >= 56 && big.a.size < sizeof(big));
}

static void bad_attributes(void) {
  struct attr a = {.size = 47};
  ERR(E2BIG, set_attr(0, &a, 0));
  CHECK(a.size >= 56);
  a = (struct attr){.size = 5000};
  ERR(E2BIG, set_attr(0, &a, 0));
  a = (struct attr){.size = sizeof(a)};
  ERR(EINVAL, set_attr(0, &a, 1));
  ERR(EINVAL, set_attr(-1, &a, 0));
  ERR(ESRCH, set_attr(0x3ffffff0, &a, 0));
  ERR(EINVAL, set_attr(0, NULL, 0));
  ERR(EFAULT, set_attr(0, (void *)8, 0));
  a.policy = -1;
  ERR(EINVAL, set_attr(0, &a, 0));
  a.policy = 4;
  ERR(EINVAL, set_attr(0, &a, 0));
  a.policy = SCHED_OTHER;
  a.flags = 1 << 10;
  ERR(EINVAL, set_attr(0, &a, 0));
  a.flags = 0;
  a.priority = 1;
  ERR(EINVAL, set_attr(0, &a, 0));
  a.policy = SCHED_FIFO;
  a.priority = 100;
  ERR(EINVAL, set_attr(0, &a, 0));
  a.priority = 0;
  ERR(EINVAL, set_attr(0, &a, 0));
  a = (struct attr){.size = sizeof(a), .policy = 6};
  ERR(EINVAL, set_attr(0, &a, 0));
  a.runtime = 20000000;
  a.deadline = 10000000;
  ERR(EINVAL, set_attr(0, &a, 0));
  ERR(EINVAL, get_attr(0, &a, 47, 0));
  ERR(EINVAL, get_attr(0, &a, 5000, 0));
  ERR(EINVAL, get_attr(0, &a, sizeof(a), 1));
  ERR(EINVAL, get_attr(-1, &a, sizeof(a), 0));
  ERR(EINVAL, get_attr(0, NULL, sizeof(a), 0));
  ERR(EFAULT, get_attr(0, (void *)8, sizeof(a), 0));
  ERR(ESRCH, get_attr(0x3ffffff0, &a, sizeof(a), 0));
}

static volatile sig_atomic_t warned;
static void warn(int sig UNUSED) { warned++; }

static void spin(void) {
  for (volatile int i = 0; i < 100000; i++) {
  }
}

static void rttime_soft(void) {
  struct rlimit limit = {200000, RLIM_INFINITY};
  SYS(setrlimit(RLIMIT_RTTIME, &limit));
  handle(SIGXCPU, warn, 0);
  struct sched_param p = {1};
  SYS(sched_setscheduler(0, SCHED_RR, &p));
  while (!warned) spin();
  SYS(getrlimit(RLIMIT_RTTIME, &limit));
  EQ(1200000, limit.rlim_cur);
}

static void rttime_hard(void) {
  struct rlimit limit = {100000, 300000};
  SYS(setrlimit(RLIMIT_RTTIME, &limit));
  handle(SIGXCPU, warn, 0);
  struct sched_param p = {1};
  SYS(sched_setscheduler(0, SCHED_RR, &p));
  for (;;) spin();
}

// Who waits now and then does not reach it, nor does a thread without real-time policy.
static void rttime_never(void) {
  struct rlimit limit = {200000, 200000};
  SYS(setrlimit(RLIMIT_RTTIME, &limit));
  struct sched_param p = {1};
  SYS(sched_setscheduler(0, SCHED_RR, &p));
  struct timespec ts;
  do {
    spin();
    usleep(500);
    SYS(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts));
  } while (ts.tv_sec * 1000000000LL + ts.tv_nsec < 400 * MS);
  p.sched_priority = 0;
  SYS(sched_setscheduler(0, SCHED_OTHER, &p));
  do {
    spin();
    SYS(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts));
  } while (ts.tv_sec * 1000000000LL + ts.tv_nsec < 800 * MS);
}

static void rttime(void) {
  forked(rttime_soft);
  forked(rttime_never);
  DIES(SIGKILL, start(rttime_hard));
}

// Nice processes get what the others leave: two of each compute for a while.
static void shares(void) {
  int n = sysconf(_SC_NPROCESSORS_ONLN);
  volatile long *used = map_shared(PAGE);
  volatile int *stop = map_shared(PAGE);
  pid_t kids[64];
  int count = n < 16 ? 2 * n : 32;
  for (int i = 0; i < count; i++) {
    kids[i] = SYS(fork());
    if (kids[i] == 0) {
      if (i % 2) SYS(setpriority(PRIO_PROCESS, 0, 19));
      while (!*stop) {
        spin();
        struct timespec ts;
        SYS(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts));
        used[i] = ts.tv_sec * 1000 + ts.tv_nsec / MS;
      }
      _exit(0);
    }
  }
  long busy, nice;
  do {
    sleep_ms(20);
    busy = nice = 0;
    for (int i = 0; i < count; i++) *(i % 2 ? &nice : &busy) += used[i];
  } while (busy + nice < 1000L * n);
  *stop = 1;
  for (int i = 0; i < count; i++) EXITS(0, kids[i]);
  if (busy < 2 * nice) FAIL("%ld ms to %ld ms for the nice ones", busy, nice);
}

#define PROCESS 1
#define GROUP 2
#define OWNER 3
#define IO(class, level) ((class) << 13 | (level))

static long get_io(int which, int who) { return syscall(SYS_ioprio_get, which, who); }
static long set_io(int which, int who, int prio) { return syscall(SYS_ioprio_set, which, who, prio); }

static void *in_thread(void *arg) {
  *(long *)arg = get_io(PROCESS, 0);
  SYS(set_io(PROCESS, 0, IO(2, 7)));
  return NULL;
}

static void io_priorities(void) {
  EQ(0, SYS(get_io(PROCESS, 0)));
  SYS(set_io(PROCESS, 0, IO(2, 3)));
  EQ(IO(2, 3), SYS(get_io(PROCESS, 0)));
  EQ(IO(2, 3), SYS(get_io(PROCESS, getpid())));
  pid_t pid = SYS(fork());
  if (pid == 0) {
    EQ(IO(2, 3), get_io(PROCESS, 0));
    SYS(set_io(PROCESS, 0, IO(3, 5)));
    EQ(IO(3, 5), get_io(PROCESS, 0));
    execlp("ionice", "ionice", NULL);
    _exit(get_io(PROCESS, 0) != IO(3, 5));
  }
  int st = status_of(pid);
  CHECK(WIFEXITED(st) && WEXITSTATUS(st) == 0);
  pthread_t t;
  long seen = 0;
  ZERO(pthread_create(&t, NULL, in_thread, &seen));
  ZERO(pthread_join(t, NULL));
  EQ(IO(2, 3), seen);
  EQ(IO(2, 3), get_io(PROCESS, 0));  // a thread's own
  SYS(set_io(PROCESS, 0, IO(1, 0)));
  SYS(set_io(PROCESS, 0, IO(0, 0)));
  EQ(0, get_io(PROCESS, 0));
}

static void io_of_others(void) {
  SYS(setpgid(0, 0));
  int go[2];
  SYS(pipe(go));
  pid_t kids[2];
  for (int i = 0; i < 2; i++) {
    kids[i] = SYS(fork());
    if (kids[i] == 0) {
      char c;
      close(go[1]);
      EQ(0, read(go[0], &c, 1));
      _exit(0);
    }
  }
  SYS(set_io(GROUP, 0, IO(3, 0)));
  for (int i = 0; i < 2; i++) EQ(IO(3, 0), get_io(PROCESS, kids[i]));
  SYS(set_io(PROCESS, kids[0], IO(2, 6)));
  EQ(IO(2, 6), get_io(GROUP, getpid()));  // the highest
  SYS(set_io(PROCESS, kids[0], IO(0, 0)));
  SYS(setpriority(PRIO_PROCESS, kids[0], 10));
  EQ(IO(2, 6), get_io(GROUP, 0));  // by its nice value
  close(go[1]);
  for (int i = 0; i < 2; i++) EXITS(0, kids[i]);
}

static void bad_io(void) {
  ERR(EINVAL, get_io(0, 0));
  ERR(EINVAL, get_io(4, 0));
  ERR(ESRCH, get_io(PROCESS, 0x3ffffff0));
  ERR(ESRCH, get_io(GROUP, 0x3ffffff0));
  ERR(ESRCH, get_io(OWNER, 0x3ffffff0));
  ERR(EINVAL, set_io(0, 0, IO(2, 0)));
  ERR(EINVAL, set_io(PROCESS, 0, IO(0, 1)));
  ERR(EINVAL, set_io(PROCESS, 0, IO(4, 0)));
  ERR(EINVAL, set_io(PROCESS, 0, IO(7, 0)));
  ERR(ESRCH, set_io(PROCESS, 0x3ffffff0, IO(2, 0)));
  ERR(ESRCH, set_io(GROUP, 0x3ffffff0, IO(2, 0)));
  SYS(setresuid(USER, USER, USER));
  ERR(EPERM, set_io(PROCESS, 0, IO(1, 0)));
  ERR(EPERM, set_io(PROCESS, getppid(), IO(2, 0)));
  SYS(set_io(PROCESS, 0, IO(2, 0)));
  SYS(set_io(OWNER, USER, IO(2, 1)));
  EQ(IO(2, 1), SYS(get_io(OWNER, USER)));
  SYS(set_io(PROCESS, 0, IO(3, 0)));
}

TESTS(T(realtime), T(as_user), T(attributes), T(bad_attributes), T(rttime), T(shares), T(io_priorities), T(io_of_others),
      T(bad_io))
