// epoll: what poll.c leaves out. Edges, several waiters, nesting, bounds,
// descriptors and files that come and go, and all the calls' arguments.
#include "check.h"

#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/resource.h>

static struct epoll_event got[64];

static int set_make(void) { return SYS(epoll_create1(EPOLL_CLOEXEC)); }

static void ctl(int ep, int op, int fd, uint32_t events, uint64_t data) {
  struct epoll_event e = {.events = events, .data.u64 = data};
  SYS(epoll_ctl(ep, op, fd, &e));
}

static void add(int ep, int fd, uint32_t events, uint64_t data) { ctl(ep, EPOLL_CTL_ADD, fd, events, data); }
static void mod(int ep, int fd, uint32_t events, uint64_t data) { ctl(ep, EPOLL_CTL_MOD, fd, events, data); }
static int ready(int ep, int timeout) { return SYS(epoll_wait(ep, got, LEN(got), timeout)); }
static int event(int v) { return SYS(eventfd(v, EFD_NONBLOCK)); }

static void post(int fd) {
  uint64_t v = 1;
  EQ(8, SYS(write(fd, &v, 8)));
}

static void take(int fd) {
  uint64_t v;
  EQ(8, SYS(read(fd, &v, 8)));
}

static void create_arguments(void) {
  ERR(EINVAL, epoll_create(0));
  ERR(EINVAL, epoll_create(-1));
  ERR(EINVAL, epoll_create1(1));
  ERR(EINVAL, epoll_create1(O_NONBLOCK));
  int a = SYS(epoll_create(1)), b = set_make();
  EQ(0, SYS(fcntl(a, F_GETFD)));
  EQ(FD_CLOEXEC, SYS(fcntl(b, F_GETFD)));
  EQ(O_RDWR, SYS(fcntl(a, F_GETFL)) & O_ACCMODE);
  char c;
  ERR(EINVAL, read(a, &c, 1));
  ERR(EINVAL, write(a, &c, 1));
  EQ(0, SYS(lseek(a, 7, SEEK_SET)));  // no position, and no error
  struct stat st;
  SYS(fstat(a, &st));
  EQ(0600, st.st_mode);
}

static void ctl_arguments(void) {
  int ep = set_make(), e = event(0), p[2];
  SYS(pipe(p));
  struct epoll_event ev = {.events = EPOLLIN};
  ERR(EFAULT, epoll_ctl(-1, EPOLL_CTL_ADD, e, NULL));  // the event is read first
  ERR(EBADF, epoll_ctl(-1, EPOLL_CTL_DEL, e, NULL));
  ERR(EBADF, epoll_ctl(ep, EPOLL_CTL_ADD, -1, &ev));
  ERR(EINVAL, epoll_ctl(e, EPOLL_CTL_ADD, p[0], &ev));
  ERR(EINVAL, epoll_ctl(ep, EPOLL_CTL_ADD, ep, &ev));
  ERR(EINVAL, epoll_ctl(ep, EPOLL_CTL_MOD, ep, &ev));
  ERR(EINVAL, epoll_ctl(ep, EPOLL_CTL_DEL, ep, &ev));
  ERR(EINVAL, epoll_ctl(ep, 0, e, &ev));
  ERR(EINVAL, epoll_ctl(ep, 4, e, &ev));
  ERR(EFAULT, epoll_ctl(ep, 4, e, NULL));
  ERR(ENOENT, epoll_ctl(ep, EPOLL_CTL_DEL, e, NULL));
  ERR(ENOENT, epoll_ctl(ep, EPOLL_CTL_MOD, e, &ev));
  add(ep, e, EPOLLIN, 1);
  ERR(EEXIST, epoll_ctl(ep, EPOLL_CTL_ADD, e, &ev));
  scratch();
  int f = SYS(open("file", O_RDWR | O_CREAT, 0600)), d = SYS(open(".", O_RDONLY)), o = SYS(open(".", O_PATH));
  ERR(EPERM, epoll_ctl(ep, EPOLL_CTL_ADD, f, &ev));
  ERR(EPERM, epoll_ctl(ep, EPOLL_CTL_ADD, d, &ev));
  ERR(EPERM, epoll_ctl(ep, EPOLL_CTL_DEL, f, &ev));
  ERR(EPERM, epoll_ctl(e, EPOLL_CTL_ADD, f, &ev));  // before what is no epoll
  ERR(EBADF, epoll_ctl(ep, EPOLL_CTL_ADD, o, &ev));
  SYS(epoll_ctl(ep, EPOLL_CTL_DEL, e, (void *)8));  // not looked at
}

static void wait_arguments(void) {
  int ep = set_make(), e = event(1);
  add(ep, e, EPOLLIN, 1);
  ERR(EINVAL, epoll_wait(ep, got, 0, 0));
  ERR(EINVAL, epoll_wait(ep, got, -1, 0));
  ERR(EINVAL, epoll_wait(ep, got, INT_MAX / sizeof(got[0]) + 1, 0));
  ERR(EBADF, epoll_wait(-1, got, 1, 0));
  ERR(EINVAL, epoll_wait(e, got, 1, 0));
  ERR(EFAULT, epoll_wait(ep, (void *)8, 1, 0));
  ERR(EFAULT, epoll_wait(ep, (void *)-4096, 1, 0));
  EQ(1, ready(ep, 0));  // what could not be stored was not lost
  mod(ep, e, EPOLLIN | EPOLLET, 2);
  ERR(EFAULT, epoll_wait(ep, (void *)8, 1, 0));
  EQ(1, ready(ep, 0));
  EQ(0, ready(ep, 0));
  mod(ep, e, EPOLLIN | EPOLLONESHOT, 2);
  ERR(EFAULT, epoll_wait(ep, (void *)8, 1, 0));
  EQ(1, ready(ep, 0));
  EQ(0, ready(ep, 0));
}

// Half of the events fit before the bad page.
static void wait_at_bad_page(void) {
  char *m = map_private(2 * PAGE);
  SYS(munmap(m + PAGE, PAGE));
  int ep = set_make();
  for (int i = 0; i < 4; i++) add(ep, event(1), EPOLLIN | EPOLLET, i);
  void *at = m + PAGE - 2 * sizeof(struct epoll_event) - 4;
  EQ(2, SYS(epoll_wait(ep, at, 4, 0)));
  EQ(2, ready(ep, 0));
  EQ(2, got[0].data.u64);
  EQ(3, got[1].data.u64);
}

static void timeouts(void) {
  int ep = set_make();
  long long t = now_ns();
  EQ(0, SYS(epoll_wait(ep, got, 1, 20)));
  CHECK(now_ns() - t >= 20 * MS);
  struct timespec ts = {0, 20 * MS};
  t = now_ns();
  EQ(0, SYS(syscall(SYS_epoll_pwait2, ep, got, 1, &ts, NULL, 0)));
  CHECK(now_ns() - t >= 20 * MS);
  ts = (struct timespec){0, 0};
  EQ(0, SYS(syscall(SYS_epoll_pwait2, ep, got, 1, &ts, NULL, 0)));
  ts = (struct timespec){0, 1000000000};
  ERR(EINVAL, syscall(SYS_epoll_pwait2, ep, got, 1, &ts, NULL, 0));
  ts = (struct timespec){-1, 0};
  ERR(EINVAL, syscall(SYS_epoll_pwait2, ep, got, 1, &ts, NULL, 0));
  ERR(EFAULT, syscall(SYS_epoll_pwait2, ep, got, 1, (void *)8, NULL, 0));
  sigset_t none = set_of(0);
  ERR(EINVAL, syscall(SYS_epoll_pwait, ep, got, 1, 0, &none, 4));
  ERR(EFAULT, syscall(SYS_epoll_pwait, ep, got, 1, 0, (void *)8, 8));
  EQ(0, SYS(syscall(SYS_epoll_pwait, ep, got, 1, 0, NULL, 77)));
}

// An edge is a new notification, not a new state.
static void edges(void) {
  int ep = set_make(), p[2];
  SYS(pipe2(p, O_NONBLOCK));
  add(ep, p[0], EPOLLIN | EPOLLET, 1);
  add(ep, p[1], EPOLLOUT | EPOLLET, 2);
  EQ(1, ready(ep, 0));  // writable from the beginning
  EQ(EPOLLOUT, got[0].events);
  EQ(0, ready(ep, 0));
  put(p[1], 'a');
  EQ(1, ready(ep, 0));
  EQ(EPOLLIN, got[0].events);
  put(p[1], 'b');
  put(p[1], 'c');
  EQ(1, ready(ep, 0));
  EQ(0, ready(ep, 0));
  get(p[0]);  // still something there, and no edge
  EQ(0, ready(ep, 0));
  mod(ep, p[0], EPOLLIN | EPOLLET, 3);  // looks anew
  EQ(1, ready(ep, 0));
  EQ(3, got[0].data.u64);
  EQ(0, ready(ep, 0));
  SYS(close(p[1]));
  EQ(1, ready(ep, 0));
  EQ(EPOLLIN | EPOLLHUP, got[0].events);
  EQ(0, ready(ep, 0));
}

static void edge_of_full_pipe(void) {
  int ep = set_make(), p[2];
  SYS(pipe2(p, O_NONBLOCK));
  static char block[65536];
  EQ(65536, SYS(write(p[1], block, sizeof(block))));
  add(ep, p[1], EPOLLOUT | EPOLLET, 1);
  EQ(0, ready(ep, 0));
  EQ(65536, SYS(read(p[0], block, sizeof(block))));
  EQ(1, ready(ep, 0));
  EQ(EPOLLOUT, got[0].events);
  EQ(0, ready(ep, 0));
}

static void oneshot(void) {
  int ep = set_make(), p[2];
  SYS(pipe(p));
  add(ep, p[0], EPOLLIN | EPOLLONESHOT, 1);
  put(p[1], 'x');
  EQ(1, ready(ep, 0));
  EQ(0, ready(ep, 0));
  SYS(close(p[1]));  // not even a hang-up is told
  EQ(0, ready(ep, 5));
  struct epoll_event e = {.events = EPOLLIN};
  ERR(EEXIST, epoll_ctl(ep, EPOLL_CTL_ADD, p[0], &e));
  mod(ep, p[0], EPOLLIN | EPOLLONESHOT, 2);
  EQ(1, ready(ep, 0));
  EQ(EPOLLIN | EPOLLHUP, got[0].events);
  EQ(2, got[0].data.u64);
  mod(ep, p[0], 0, 3);  // hang-ups and errors are always told
  EQ(1, ready(ep, 0));
  EQ(EPOLLHUP, got[0].events);
}

static void interest(void) {
  int ep = set_make(), e = event(1);
  add(ep, e, EPOLLOUT, 1);
  EQ(1, ready(ep, 0));
  EQ(EPOLLOUT, got[0].events);
  mod(ep, e, EPOLLIN, 1);
  EQ(1, ready(ep, 0));
  EQ(EPOLLIN, got[0].events);
  take(e);
  EQ(0, ready(ep, 0));
  mod(ep, e, EPOLLIN | EPOLLOUT, 1);
  post(e);
  EQ(1, ready(ep, 0));
  EQ(EPOLLIN | EPOLLOUT, got[0].events);
  mod(ep, e, 0, 1);
  EQ(0, ready(ep, 0));
}

static void errors_and_hang_ups(void) {
  int ep = set_make(), p[2];
  SYS(pipe(p));
  add(ep, p[1], 0, 7);
  EQ(0, ready(ep, 0));
  SYS(close(p[0]));
  EQ(1, ready(ep, 0));
  EQ(EPOLLERR, got[0].events);
  EQ(7, got[0].data.u64);
}

// Ready files take turns when fewer events are asked for than there are.
static void turns(void) {
  int ep = set_make(), seen[10] = {0};
  for (int i = 0; i < 10; i++) add(ep, event(1), EPOLLIN, i);
  for (int i = 0; i < 30; i++) {
    EQ(1, SYS(epoll_wait(ep, got, 1, 0)));
    seen[got[0].data.u64]++;
  }
  for (int i = 0; i < 10; i++) EQ(3, seen[i]);
  EQ(4, SYS(epoll_wait(ep, got, 4, 0)));
  EQ(10, ready(ep, 0));
}

// The same file under two descriptors is two items; a descriptor that becomes
// another file is another item.
static void duplicates(void) {
  int ep = set_make(), e = event(1), d = SYS(dup(e));
  add(ep, e, EPOLLIN, 1);
  add(ep, d, EPOLLIN, 2);
  EQ(2, ready(ep, 0));
  SYS(epoll_ctl(ep, EPOLL_CTL_DEL, d, NULL));
  EQ(1, ready(ep, 0));
  EQ(1, got[0].data.u64);
  add(ep, d, EPOLLIN, 3);
  SYS(close(e));  // the item stays: the file is open
  EQ(2, ready(ep, 0));
  struct epoll_event ev;
  ERR(EBADF, epoll_ctl(ep, EPOLL_CTL_DEL, e, &ev));
  int f = event(0);
  EQ(e, f);  // the lowest number, of another file
  ERR(ENOENT, epoll_ctl(ep, EPOLL_CTL_DEL, f, &ev));
  add(ep, f, EPOLLIN, 4);
  EQ(2, ready(ep, 0));
  SYS(close(d));
  EQ(0, ready(ep, 0));
  post(f);
  EQ(1, ready(ep, 0));
  EQ(4, got[0].data.u64);
}

static int ep_global, ev_global;

static void close_in_child(void) {
  post(ev_global);
  SYS(close(ev_global));
  EQ(1, ready(ep_global, 0));
}

// A child's copies keep a file, and so its item, alive.
static void across_fork(void) {
  ep_global = set_make();
  ev_global = event(0);
  add(ep_global, ev_global, EPOLLIN, 1);
  forked(close_in_child);
  EQ(1, ready(ep_global, 0));
  SYS(close(ev_global));
  EQ(0, ready(ep_global, 0));
}

static void reopened(void) {
  int ep = set_make(), p[2];
  for (int i = 0; i < 200; i++) {
    SYS(pipe(p));
    add(ep, p[0], EPOLLIN, i);
    put(p[1], 'x');
    if (i % 2) EQ(1, ready(ep, 0));
    SYS(close(p[0]));
    SYS(close(p[1]));
    EQ(0, ready(ep, 0));
  }
}

static void exclusive(void) {
  int ep = set_make(), e = event(1), inner = set_make();
  struct epoll_event ev = {.events = EPOLLIN | EPOLLEXCLUSIVE};
  ERR(EINVAL, epoll_ctl(ep, EPOLL_CTL_ADD, inner, &ev));
  ev.events = EPOLLIN | EPOLLEXCLUSIVE | EPOLLONESHOT;
  ERR(EINVAL, epoll_ctl(ep, EPOLL_CTL_ADD, e, &ev));
  ev.events = EPOLLIN | EPOLLEXCLUSIVE | EPOLLRDHUP;
  ERR(EINVAL, epoll_ctl(ep, EPOLL_CTL_ADD, e, &ev));
  ev.events = EPOLLIN | EPOLLEXCLUSIVE | EPOLLET | EPOLLWAKEUP;
  SYS(epoll_ctl(ep, EPOLL_CTL_ADD, e, &ev));
  EQ(1, ready(ep, 0));
  EQ(EPOLLIN, got[0].events);
  EQ(0, ready(ep, 0));
  ev.events = EPOLLIN;
  ERR(EINVAL, epoll_ctl(ep, EPOLL_CTL_MOD, e, &ev));
  SYS(epoll_ctl(ep, EPOLL_CTL_DEL, e, NULL));
  add(ep, e, EPOLLIN, 1);
  ev.events = EPOLLIN | EPOLLEXCLUSIVE;
  ERR(EINVAL, epoll_ctl(ep, EPOLL_CTL_MOD, e, &ev));
}

static void nested(void) {
  int a = set_make(), b = set_make(), c = set_make(), e = event(0);
  add(a, b, EPOLLIN, 1);
  add(b, c, EPOLLIN, 2);
  EQ(0, ready(a, 0));
  add(c, e, EPOLLIN, 3);
  EQ(0, ready(a, 0));
  post(e);
  EQ(1, ready(a, 0));
  EQ(1, got[0].data.u64);
  EQ(EPOLLIN, got[0].events);
  EQ(1, ready(b, 0));
  EQ(2, got[0].data.u64);
  EQ(1, ready(c, 0));
  EQ(1, ready(a, 0));  // level: until somebody reads
  take(e);
  EQ(0, ready(a, 0));
  struct pollfd pf = {a, POLLIN | POLLOUT, 0};
  EQ(0, SYS(poll(&pf, 1, 0)));
  post(e);
  EQ(1, SYS(poll(&pf, 1, 0)));
  EQ(POLLIN, pf.revents);
  SYS(close(c));
  EQ(0, ready(a, 0));
}

static void nested_edge(void) {
  int outer = set_make(), inner = set_make(), e = event(0);
  add(inner, e, EPOLLIN, 1);
  add(outer, inner, EPOLLIN | EPOLLET, 2);
  post(e);
  EQ(1, ready(outer, 0));
  EQ(0, ready(outer, 0));
  post(e);
  EQ(1, ready(outer, 0));
  EQ(0, ready(outer, 0));
  EQ(1, ready(inner, 0));
}

static void loops(void) {
  int a = set_make(), b = set_make(), c = set_make();
  struct epoll_event ev = {.events = EPOLLIN};
  add(a, b, EPOLLIN, 0);
  ERR(ELOOP, epoll_ctl(b, EPOLL_CTL_ADD, a, &ev));
  add(b, c, EPOLLIN, 0);
  ERR(ELOOP, epoll_ctl(c, EPOLL_CTL_ADD, a, &ev));
  ERR(ELOOP, epoll_ctl(c, EPOLL_CTL_ADD, b, &ev));
  SYS(epoll_ctl(a, EPOLL_CTL_DEL, b, NULL));
  add(c, a, EPOLLIN, 0);
  ERR(ELOOP, epoll_ctl(a, EPOLL_CTL_ADD, b, &ev));
  SYS(close(c));  // the way through it is gone
  add(b, a, EPOLLIN, 0);
}

// Chains of epolls end somewhere, from whichever side they grow.
static void depth(void) {
  struct epoll_event ev = {.events = EPOLLIN};
  int top = set_make(), low = set_make(), i;
  int first = low;
  for (i = 0; i < 10; i++) {
    int next = set_make();
    if (epoll_ctl(next, EPOLL_CTL_ADD, low, &ev) == -1) break;
    low = next;
  }
  EQ(ELOOP, errno);
  CHECK(i >= 4 && i < 8);
  int e = event(1);
  add(first, e, EPOLLIN, 1);
  EQ(1, ready(low, 0));
  for (i = 0; i < 10; i++) {
    int next = set_make();
    if (epoll_ctl(top, EPOLL_CTL_ADD, next, &ev) == -1) break;
    top = next;
  }
  CHECK(errno == ELOOP || errno == EINVAL);
  CHECK(i >= 4 && i < 8);
}

// Wakeups.

static void *post_late(void *fd) {
  sleep_ms(10);
  post((long)fd);
  return NULL;
}

static void late(int fd) {
  pthread_t t;
  ZERO(pthread_create(&t, NULL, post_late, (void *)(long)fd));
  ZERO(pthread_detach(t));
}

static void wakes(void) {
  int ep = set_make(), outer = set_make(), e = event(0);
  add(ep, e, EPOLLIN, 1);
  late(e);
  EQ(1, ready(ep, -1));
  take(e);
  add(outer, ep, EPOLLIN, 2);
  late(e);
  EQ(1, ready(outer, 10000));
  take(e);
  struct pollfd pf = {outer, POLLIN, 0};
  late(e);
  EQ(1, SYS(poll(&pf, 1, 10000)));
}

static void *add_late(void *fd) {
  sleep_ms(10);
  add(ep_global, (long)fd, EPOLLIN, 9);
  return NULL;
}

// What is added, or changed, while somebody waits is waited for, too.
static void wakes_of_control(void) {
  ep_global = set_make();
  int e = event(1);
  pthread_t t;
  ZERO(pthread_create(&t, NULL, add_late, (void *)(long)e));
  EQ(1, ready(ep_global, 10000));
  EQ(9, got[0].data.u64);
  ZERO(pthread_join(t, NULL));
}

static int count_woken, count_events;

static void *wait_once(void *ep) {
  struct epoll_event e;
  int n = SYS(epoll_wait((long)ep, &e, 1, 10000));
  __atomic_fetch_add(&count_events, n, __ATOMIC_SEQ_CST);
  __atomic_fetch_add(&count_woken, 1, __ATOMIC_SEQ_CST);
  return NULL;
}

// Of several threads that wait for edges, one gets each.
static void one_edge_one_thread(void) {
  enum { THREADS = 4 };
  int ep = set_make(), e = event(0);
  add(ep, e, EPOLLIN | EPOLLET, 1);
  pthread_t t[THREADS];
  for (int i = 0; i < THREADS; i++) ZERO(pthread_create(&t[i], NULL, wait_once, (void *)(long)ep));
  for (int i = 1; i <= THREADS; i++) {
    sleep_ms(10);
    EQ(i - 1, __atomic_load_n(&count_woken, __ATOMIC_SEQ_CST));
    post(e);
    WAIT_FOR(&count_woken, i);
  }
  for (int i = 0; i < THREADS; i++) ZERO(pthread_join(t[i], NULL));
  EQ(THREADS, count_events);
}

// All are woken while the level holds.
static void one_level_all_threads(void) {
  enum { THREADS = 4 };
  int ep = set_make(), e = event(0);
  add(ep, e, EPOLLIN, 1);
  pthread_t t[THREADS];
  for (int i = 0; i < THREADS; i++) ZERO(pthread_create(&t[i], NULL, wait_once, (void *)(long)ep));
  sleep_ms(5);
  post(e);
  for (int i = 0; i < THREADS; i++) ZERO(pthread_join(t[i], NULL));
  EQ(THREADS, count_events);
}

static int rounds_done;

static void *one_by_one(void *ep) {
  for (;;) {
    struct epoll_event e;
    if (SYS(epoll_wait((long)ep, &e, 1, -1)) != 1) FAIL("no event");
    if (e.data.u64 == 99) return NULL;
    uint64_t v;
    EQ(8, SYS(read((int)e.data.u64, &v, 8)));
    EQ(1, v);
    mod((long)ep, (int)e.data.u64, EPOLLIN | EPOLLONESHOT, e.data.u64);
    __atomic_fetch_add(&rounds_done, 1, __ATOMIC_SEQ_CST);
  }
}

// With EPOLLONESHOT each event has one owner.
static void oneshot_threads(void) {
  enum { THREADS = 4, FILES = 8, ROUNDS = 40 };
  int ep = set_make(), fds[FILES];
  for (int i = 0; i < FILES; i++) {
    fds[i] = event(0);
    add(ep, fds[i], EPOLLIN | EPOLLONESHOT, fds[i]);
  }
  pthread_t t[THREADS];
  for (int i = 0; i < THREADS; i++) ZERO(pthread_create(&t[i], NULL, one_by_one, (void *)(long)ep));
  for (int r = 1; r <= ROUNDS; r++) {
    for (int i = 0; i < FILES; i++) post(fds[i]);
    WAIT_FOR(&rounds_done, r * FILES);
  }
  int end = event(1);
  add(ep, end, EPOLLIN, 99);
  for (int i = 0; i < THREADS; i++) ZERO(pthread_join(t[i], NULL));
}

static void *churn(void *ep) {
  for (int i = 0; i < 300; i++) {
    int e = event(1);
    add((long)ep, e, EPOLLIN | (i % 2 ? EPOLLET : 0), 1);
    if (i % 3 == 0) mod((long)ep, e, EPOLLIN, 2);
    if (i % 5 == 0) SYS(epoll_ctl((long)ep, EPOLL_CTL_DEL, e, NULL));
    SYS(close(e));
  }
  return NULL;
}

// Files come and go under threads that wait.
static void churned(void) {
  int ep = set_make();
  pthread_t t[3];
  for (int i = 0; i < 3; i++) ZERO(pthread_create(&t[i], NULL, churn, (void *)(long)ep));
  for (int i = 0; i < 300; i++) ready(ep, i % 2);
  for (int i = 0; i < 3; i++) ZERO(pthread_join(t[i], NULL));
  EQ(0, ready(ep, 0));
}

// Signals.

static volatile int handled;
static void on_usr1(int sig UNUSED) { handled++; }

static void interrupted(void) {
  int ep = set_make();
  handle(SIGALRM, on_usr1, SA_RESTART);  // never restarted all the same
  struct itimerval it = {{0, 0}, {0, 10000}};
  SYS(setitimer(ITIMER_REAL, &it, NULL));
  ERR(EINTR, epoll_wait(ep, got, 1, -1));
  SYS(setitimer(ITIMER_REAL, &it, NULL));
  ERR(EINTR, epoll_wait(ep, got, 1, 10000));
  EQ(2, handled);
}

static void pwait_mask(void) {
  int ep = set_make(), e = event(0);
  add(ep, e, EPOLLIN, 1);
  handle(SIGUSR1, on_usr1, 0);
  block(SIGUSR1);
  SYS(raise(SIGUSR1));
  EQ(0, ready(ep, 0));
  EQ(0, handled);
  sigset_t none = set_of(0), now;
  ERR(EINTR, epoll_pwait(ep, got, 1, -1, &none));
  EQ(1, handled);
  SYS(sigprocmask(SIG_BLOCK, NULL, &now));
  EQ(1, sigismember(&now, SIGUSR1));
  SYS(raise(SIGUSR1));
  struct timespec ts = {10, 0};
  ERR(EINTR, syscall(SYS_epoll_pwait2, ep, got, 1, &ts, &none, 8));
  EQ(2, handled);
  // An event that is there comes first; the signal is handled on the way out.
  post(e);
  SYS(raise(SIGUSR1));
  EQ(1, SYS(epoll_pwait(ep, got, 1, -1, &none)));
  EQ(2, handled);
  EQ(0, SYS(sigprocmask(SIG_BLOCK, NULL, &now)));
  EQ(1, sigismember(&now, SIGUSR1));
  unblock(SIGUSR1);
  EQ(3, handled);
}

static void many_files(void) {
  enum { FILES = 400, EVERY = 7 };
  struct rlimit rl;
  SYS(getrlimit(RLIMIT_NOFILE, &rl));
  CHECK(rl.rlim_cur >= FILES + 50);
  int ep = set_make(), fds[FILES];
  for (int i = 0; i < FILES; i++) {
    fds[i] = event(0);
    add(ep, fds[i], EPOLLIN | EPOLLET, i);
  }
  for (int round = 0; round < 3; round++) {
    int want = 0, have = 0, n;
    for (int i = round; i < FILES; i += EVERY, want++) post(fds[i]);
    while ((n = ready(ep, 0)) > 0)
      for (int i = 0; i < n; i++, have++) EQ(round, got[i].data.u64 % EVERY);
    EQ(want, have);
  }
}

TESTS(T(create_arguments), T(ctl_arguments), T(wait_arguments), T(wait_at_bad_page), T(timeouts), T(edges),
      T(edge_of_full_pipe), T(oneshot), T(interest), T(errors_and_hang_ups), T(turns), T(duplicates), T(across_fork),
      T(reopened), T(exclusive), T(nested), T(nested_edge), T(loops), T(depth), T(wakes), T(wakes_of_control),
      T(one_edge_one_thread), T(one_level_all_threads), T(oneshot_threads), T(churned), T(interrupted), T(pwait_mask),
      T(many_files))
