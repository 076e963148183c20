// POSIX message queues.
#include "check.h"

#include <mqueue.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/statfs.h>

// The name is one that nobody else has, and goes when the test ends.
static char name[64];
static pid_t owner;
static void remove_queue(void) {
  if (getpid() == owner) mq_unlink(name);
}

static void begin(void) {
  snprintf(name, sizeof(name), "/guest-%d", getpid());
  owner = getpid();
  atexit(remove_queue);
}

static mqd_t make(long count, long size, int flags) {
  begin();
  struct mq_attr attr = {.mq_maxmsg = count, .mq_msgsize = size};
  return SYS(mq_open(name, O_CREAT | O_EXCL | O_RDWR | flags, 0600, &attr));
}

static void send(mqd_t q, const char *text, unsigned priority) { SYS(mq_send(q, text, strlen(text), priority)); }

static void expect(mqd_t q, const char *text, unsigned priority) {
  char b[8192];
  unsigned p = 99;
  ssize_t n = SYS(mq_receive(q, b, sizeof(b), &p));
  if (n != (ssize_t)strlen(text) || memcmp(b, text, n)) FAIL("want \"%s\", got \"%.*s\"", text, (int)n, b);
  EQ(priority, p);
}

static struct timespec soon(long ms) {
  struct timespec ts;
  SYS(clock_gettime(CLOCK_REALTIME, &ts));
  ts.tv_nsec += ms * MS;
  ts.tv_sec += ts.tv_nsec / 1000000000;
  ts.tv_nsec %= 1000000000;
  return ts;
}

static void order(void) {
  mqd_t q = make(8, 64, 0);
  send(q, "low", 1);
  send(q, "first", 5);
  send(q, "second", 5);
  send(q, "", 0);
  send(q, "highest", 32767);
  struct mq_attr a;
  SYS(mq_getattr(q, &a));
  EQ(5, a.mq_curmsgs);
  EQ(8, a.mq_maxmsg);
  EQ(64, a.mq_msgsize);
  EQ(0, a.mq_flags);
  expect(q, "highest", 32767);
  expect(q, "first", 5);
  expect(q, "second", 5);
  expect(q, "low", 1);
  expect(q, "", 0);
  SYS(mq_getattr(q, &a));
  EQ(0, a.mq_curmsgs);
  EQ(1, fcntl(q, F_GETFD)); // FD_CLOEXEC, always
}

static void names(void) {
  begin();
  struct mq_attr attr = {.mq_maxmsg = 2, .mq_msgsize = 16};
  ERR(ENOENT, mq_open(name, O_RDWR));
  mqd_t q = SYS(mq_open(name, O_CREAT | O_RDONLY, 0600, &attr));
  ERR(EEXIST, mq_open(name, O_CREAT | O_EXCL | O_RDWR, 0600, &attr));
  attr.mq_maxmsg = -5; // of one that is there, the attributes do not matter
  mqd_t w = SYS(mq_open(name, O_CREAT | O_WRONLY, 0600, &attr));
  ERR(EBADF, mq_send(q, "x", 1, 0));
  char b[16];
  ERR(EBADF, mq_receive(w, b, 16, NULL));
  SYS(mq_unlink(name));
  ERR(ENOENT, mq_unlink(name));
  ERR(ENOENT, mq_open(name, O_RDWR));
  send(w, "alive", 3); // as long as it is open
  expect(q, "alive", 3);
  ERR(EACCES, syscall(SYS_mq_open, "a/b", O_CREAT | O_RDWR, 0600, NULL));
  ERR(EACCES, syscall(SYS_mq_open, "/a", O_RDWR, 0600, NULL));
  ERR(EACCES, syscall(SYS_mq_open, ".", O_RDWR, 0600, NULL));
  ERR(ENOENT, syscall(SYS_mq_open, "", O_RDWR, 0600, NULL));
  ERR(EFAULT, syscall(SYS_mq_open, (void *)8, O_RDWR, 0600, NULL));
  ERR(EFAULT, syscall(SYS_mq_open, "x", O_RDWR, 0600, (void *)8));
  char longest[300];
  memset(longest, 'x', sizeof(longest));
  longest[299] = 0;
  ERR(ENAMETOOLONG, syscall(SYS_mq_open, longest, O_CREAT | O_RDWR, 0600, NULL));
  ERR(ENAMETOOLONG, syscall(SYS_mq_unlink, longest));
}

static void attributes(void) {
  begin();
  static const struct {
    long count, size;
  } bad[] = {{0, 1}, {1, 0}, {-1, 1}, {1, -1}, {65537, 1}, {1, (16 << 20) + 1}, {LONG_MAX, LONG_MAX}};
  for (size_t i = 0; i < LEN(bad); i++) {
    struct mq_attr a = {.mq_maxmsg = bad[i].count, .mq_msgsize = bad[i].size};
    ERR(EINVAL, mq_open(name, O_CREAT | O_RDWR, 0600, &a));
  }
  mqd_t q = SYS(mq_open(name, O_CREAT | O_RDWR | O_NONBLOCK, 0640, NULL));
  struct mq_attr a, old;
  SYS(mq_getattr(q, &a));
  EQ(10, a.mq_maxmsg);
  EQ(8192, a.mq_msgsize);
  EQ(O_NONBLOCK, a.mq_flags);
  a.mq_flags = 0;
  SYS(mq_setattr(q, &a, &old));
  EQ(O_NONBLOCK, old.mq_flags);
  SYS(mq_getattr(q, &a));
  EQ(0, a.mq_flags);
  EQ(0, fcntl(q, F_GETFL) & O_NONBLOCK);
  a.mq_flags = O_APPEND;
  ERR(EINVAL, mq_setattr(q, &a, NULL));
  ERR(EBADF, mq_getattr(0, &a));
  ERR(EBADF, mq_getattr(-1, &a));
  ERR(EFAULT, syscall(SYS_mq_getsetattr, q, NULL, (void *)8));
  struct stat st;
  SYS(fstat(q, &st));
  EQ(S_IFREG | 0640, st.st_mode);
  EQ(80, st.st_size);
}

static void limits(void) {
  begin();
  struct rlimit r = {2000, 2000};
  SYS(setrlimit(RLIMIT_MSGQUEUE, &r));
  struct mq_attr a = {.mq_maxmsg = 10, .mq_msgsize = 105}; // 10 * (105 + 96) = 2010
  ERR(EMFILE, mq_open(name, O_CREAT | O_RDWR, 0600, &a));
}

static void bad_messages(void) {
  mqd_t q = make(2, 16, O_NONBLOCK);
  char b[32] = "";
  ERR(EMSGSIZE, mq_send(q, b, 17, 0));
  ERR(EINVAL, mq_send(q, b, 1, 32768));
  ERR(EMSGSIZE, mq_receive(q, b, 15, NULL));
  ERR(EFAULT, syscall(SYS_mq_timedsend, q, (void *)8, 1, 0, NULL));
  ERR(EFAULT, syscall(SYS_mq_timedsend, q, b, 1, 0, (void *)8));
  struct timespec bad = {0, 1000000000};
  ERR(EINVAL, syscall(SYS_mq_timedsend, q, b, 1, 0, &bad));
  ERR(EBADF, syscall(SYS_mq_timedsend, 0, b, 1, 0, NULL));
  ERR(EBADF, syscall(SYS_mq_timedreceive, -1, b, 1, NULL, NULL));
  ERR(EAGAIN, mq_receive(q, b, 16, NULL));
  send(q, "1", 0);
  send(q, "2", 0);
  ERR(EAGAIN, mq_send(q, b, 1, 0));
  ERR(EFAULT, syscall(SYS_mq_timedreceive, q, (void *)8, 16, NULL, NULL));
  expect(q, "2", 0); // the other one is lost
}

static void timeouts(void) {
  mqd_t q = make(1, 16, 0);
  char b[16];
  struct timespec ts = soon(30);
  ERR(ETIMEDOUT, mq_timedreceive(q, b, 16, NULL, &ts));
  ts = (struct timespec){1, 0};
  ERR(ETIMEDOUT, mq_timedreceive(q, b, 16, NULL, &ts));
  send(q, "full", 0);
  ts = soon(30);
  ERR(ETIMEDOUT, mq_timedsend(q, b, 1, 0, &ts));
  expect(q, "full", 0);
  ts = (struct timespec){1, 0};
  SYS(mq_timedsend(q, "now", 3, 0, &ts)); // nothing to wait for
  expect(q, "now", 0);
}

// Who waits gets the message, in order; who waits to send sends.
static void waiting(void) {
  mqd_t q = make(1, 16, 0);
  int *turn = map_shared(PAGE);
  pid_t pids[3];
  for (int i = 0; i < 3; i++) {
    pids[i] = SYS(fork());
    if (pids[i] == 0) {
      *turn = i + 1;
      char b[16];
      EQ(1, SYS(mq_receive(q, b, 16, NULL)));
      _exit(b[0]);
    }
    WAIT_FOR(turn, i + 1);
    sleep_ms(100);
  }
  send(q, "\1", 0);
  EXITS(1, pids[0]);
  send(q, "\2", 9);
  EXITS(2, pids[1]);
  send(q, "\3", 0);
  EXITS(3, pids[2]);
  send(q, "first", 0);
  pid_t pid = SYS(fork());
  if (pid == 0) {
    send(q, "second", 5);
    _exit(0);
  }
  sleep_ms(50);
  expect(q, "first", 0);
  EXITS(0, pid);
  expect(q, "second", 5);
}

static volatile sig_atomic_t caught;
static void on_signal(int sig) { caught = sig; }

static void interrupted(void) {
  mqd_t q = make(1, 16, 0);
  char b[16];
  handle(SIGALRM, on_signal, 0);
  struct itimerval it = {{0, 0}, {0, 50000}};
  SYS(setitimer(ITIMER_REAL, &it, NULL));
  ERR(EINTR, mq_receive(q, b, 16, NULL));
  EQ(SIGALRM, caught);
  // Restarted, it waits to the same moment.
  handle(SIGALRM, on_signal, SA_RESTART);
  caught = 0;
  SYS(setitimer(ITIMER_REAL, &it, NULL));
  struct timespec ts = soon(200);
  ERR(ETIMEDOUT, mq_timedreceive(q, b, 16, NULL, &ts));
  EQ(SIGALRM, caught);
}

static void polled(void) {
  mqd_t q = make(1, 16, 0);
  struct pollfd p = {.fd = q, .events = POLLIN | POLLOUT};
  EQ(1, SYS(poll(&p, 1, 0)));
  EQ(POLLOUT, p.revents);
  send(q, "x", 0);
  EQ(1, SYS(poll(&p, 1, 0)));
  EQ(POLLIN, p.revents);
  expect(q, "x", 0);
  p.events = POLLIN;
  pid_t pid = SYS(fork());
  if (pid == 0) {
    sleep_ms(30);
    send(q, "y", 0);
    _exit(0);
  }
  EQ(1, SYS(poll(&p, 1, -1)));
  EXITS(0, pid);
}

static siginfo_t info;
static void on_info(int sig UNUSED, siginfo_t *si, void *ctx UNUSED) {
  info = *si;
  caught = 1;
}

static void notify_signal(void) {
  mqd_t q = make(4, 16, 0);
  handle_info(SIGUSR1, on_info, 0);
  struct sigevent ev = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1, .sigev_value.sival_int = 77};
  SYS(mq_notify(q, &ev));
  ERR(EBUSY, mq_notify(q, &ev));
  pid_t pid = SYS(fork());
  if (pid == 0) {
    ERR(EBUSY, mq_notify(q, &ev));
    SYS(mq_notify(q, NULL)); // not ours: nothing happens
    SYS(mq_close(q));
    q = SYS(mq_open(name, O_WRONLY));
    send(q, "x", 0);
    _exit(0);
  }
  EXITS(0, pid);
  EQ(1, caught);
  EQ(SI_MESGQ, info.si_code);
  EQ(SIGUSR1, info.si_signo);
  EQ(77, info.si_value.sival_int);
  EQ(pid, info.si_pid);
  EQ(getuid(), info.si_uid);
  // It was for one message, and only for one that comes to the empty queue.
  caught = 0;
  send(q, "y", 0);
  SYS(mq_notify(q, &ev));
  send(q, "z", 0);
  EQ(0, caught);
  expect(q, "x", 0);
  expect(q, "y", 0);
  expect(q, "z", 0);
  send(q, "!", 0);
  EQ(1, caught);
  // Given up, or closed, it is over.
  expect(q, "!", 0);
  caught = 0;
  SYS(mq_notify(q, &ev));
  SYS(mq_notify(q, NULL));
  SYS(mq_notify(q, NULL));
  send(q, "x", 0);
  expect(q, "x", 0);
  SYS(mq_notify(q, &ev));
  mqd_t other = SYS(mq_open(name, O_RDWR));
  SYS(mq_close(q)); // any descriptor of the queue
  send(other, "x", 0);
  EQ(0, caught);
  ev.sigev_notify = 99;
  ERR(EINVAL, mq_notify(other, &ev));
  ev.sigev_notify = SIGEV_SIGNAL;
  ev.sigev_signo = 65;
  ERR(EINVAL, mq_notify(other, &ev));
  ERR(EBADF, mq_notify(0, NULL));
}

// Who waits to receive has the message; no notification is due then.
static void notify_waiting(void) {
  mqd_t q = make(4, 16, 0);
  int *began = map_shared(PAGE);
  handle_info(SIGUSR1, on_info, 0);
  struct sigevent ev = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
  pid_t pid = SYS(fork());
  if (pid == 0) {
    *began = 1;
    expect(q, "taken", 0);
    _exit(0);
  }
  WAIT_FOR(began, 1);
  sleep_ms(100);
  SYS(mq_notify(q, &ev));
  send(q, "taken", 0);
  EXITS(0, pid);
  EQ(0, caught);
  send(q, "noticed", 0);
  EQ(1, caught);
}

static int in_thread;
static void on_thread(union sigval v) {
  __atomic_store_n(&in_thread, v.sival_int, __ATOMIC_SEQ_CST);
}

static void notify_thread(void) {
  mqd_t q = make(4, 16, 0);
  struct sigevent ev = {
      .sigev_notify = SIGEV_THREAD, .sigev_notify_function = on_thread, .sigev_value.sival_int = 5};
  SYS(mq_notify(q, &ev));
  send(q, "x", 0);
  WAIT_FOR(&in_thread, 5);
  expect(q, "x", 0);
  ev.sigev_value.sival_int = 6;
  SYS(mq_notify(q, &ev));
  SYS(mq_notify(q, NULL)); // the library is told
  ev.sigev_value.sival_int = 7;
  SYS(mq_notify(q, &ev));
  send(q, "y", 0);
  WAIT_FOR(&in_thread, 7);
  struct sigevent raw = {.sigev_notify = SIGEV_THREAD, .sigev_signo = -1, .sigev_value.sival_ptr = &ev};
  ERR(EBADF, syscall(SYS_mq_notify, q, &raw));
  raw.sigev_signo = q;
  ERR(ENOTSOCK, syscall(SYS_mq_notify, q, &raw));
  raw.sigev_value.sival_ptr = (void *)8;
  ERR(EFAULT, syscall(SYS_mq_notify, q, &raw));
}

// The file of a queue says what is in it.
static void read_file(void) {
  mqd_t q = make(4, 16, 0);
  char b[128] = "";
  send(q, "12345", 0);
  EQ(60, SYS(pread(q, b, sizeof(b), 0)));
  EQ(0, strcmp(b, "QSIZE:5          NOTIFY:0     SIGNO:0     NOTIFY_PID:0     \n"));
}

// Mounted, they are files. That needs the privilege.
static void mounted(void) {
  mqd_t q = make(4, 16, 0);
  scratch();
  if (unshare(CLONE_NEWNS) && errno == EPERM) return;
  SYS(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
  SYS(mkdir("mq", 0755));
  SYS(mount("none", "mq", "mqueue", 0, NULL));
  struct statfs fs;
  SYS(statfs("mq", &fs));
  EQ(0x19800202, fs.f_type);
  struct stat st, dir;
  char path[100], there[100];
  snprintf(path, sizeof(path), "mq%s", name);
  SYS(stat(path, &st));
  SYS(stat("mq", &dir));
  EQ(S_IFDIR | 01777, dir.st_mode);
  EQ(S_IFREG | 0600, st.st_mode);
  snprintf(there, sizeof(there), "mq%s-2", name);
  int fd = SYS(open(there, O_CREAT | O_RDWR, 0600));
  struct mq_attr a;
  SYS(mq_getattr(fd, &a));
  EQ(10, a.mq_maxmsg);
  send(fd, "file", 1);
  expect(fd, "file", 1);
  ERR(EBUSY, umount("mq"));
  ERR(EPERM, mkdir("mq/d", 0755));
  ERR(EPERM, symlink("x", "mq/l"));
  ERR(EPERM, link(path, "mq/l"));
  ERR(EPERM, rename(path, "mq/l"));
  SYS(unlink(there));
  SYS(unlink(path));
  ERR(ENOENT, mq_open(name, O_RDWR));
  send(q, "still", 0);
  expect(q, "still", 0);
  SYS(close(fd));
  SYS(umount("mq"));
}

// Each ipc namespace has its own, which go with it.
static void namespaces(void) {
  mqd_t q = make(4, 16, 0);
  pid_t pid = SYS(fork());
  if (pid == 0) {
    if (unshare(CLONE_NEWIPC)) {
      EQ(EPERM, errno);
      _exit(0);
    }
    ERR(ENOENT, mq_open(name, O_RDWR));
    mqd_t own = SYS(mq_open(name, O_CREAT | O_EXCL | O_RDWR, 0600, NULL));
    send(own, "own", 1);
    send(q, "of before", 2);
    _exit(0);
  }
  EXITS(0, pid);
  expect(q, "of before", 2);
}

TESTS(T(order), T(names), T(attributes), T(limits), T(bad_messages), T(timeouts), T(waiting), T(interrupted), T(polled),
      T(notify_signal), T(notify_waiting), T(notify_thread), T(read_file), T(mounted), T(namespaces))
