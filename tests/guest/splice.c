// splice, tee, vmsplice, sendfile and copy_file_range.
#include "check.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>

static int open_with(const char *path, const char *text, int flags) {
  make_file(path, text, strlen(text), 0600);
  return SYS(open(path, flags));
}

static void expect(int fd, const char *text) {
  char buf[100];
  size_t n = strlen(text);
  EQ(n, SYS(read(fd, buf, sizeof(buf))));
  if (memcmp(buf, text, n)) FAIL("want %s, got %.*s", text, (int)n, buf);
}

static void file_to_pipe(void) {
  scratch();
  int p[2], f = open_with("f", "0123456789", O_RDONLY);
  SYS(pipe2(p, O_NONBLOCK));
  EQ(3, SYS(splice(f, NULL, p[1], NULL, 3, 0)));
  EQ(3, SYS(lseek(f, 0, SEEK_CUR)));
  loff_t off = 5;
  EQ(5, SYS(splice(f, &off, p[1], NULL, 100, 0)));
  EQ(10, off);
  EQ(3, SYS(lseek(f, 0, SEEK_CUR)));
  expect(p[0], "01256789");
  EQ(0, SYS(splice(f, &off, p[1], NULL, 100, 0)));
  EQ(0, SYS(splice(f, NULL, p[1], NULL, 0, 0)));
  // As much as there is room, then no more.
  int big = SYS(open("big", O_RDWR | O_CREAT, 0600));
  SYS(ftruncate(big, 1 << 20));
  EQ(65536, SYS(splice(big, NULL, p[1], NULL, 1 << 20, 0)));
  ERR(EAGAIN, splice(big, NULL, p[1], NULL, 1 << 20, 0));
  EQ(65536, SYS(lseek(big, 0, SEEK_CUR)));
  char page[4096];
  EQ(4096, SYS(read(p[0], page, 4096)));
  EQ(4096, SYS(splice(big, NULL, p[1], NULL, 1 << 20, SPLICE_F_NONBLOCK)));
}

static void pipe_to_file(void) {
  scratch();
  int p[2], f = SYS(open("f", O_RDWR | O_CREAT, 0600));
  SYS(pipe2(p, O_NONBLOCK));
  EQ(10, SYS(write(p[1], "0123456789", 10)));
  EQ(4, SYS(splice(p[0], NULL, f, NULL, 4, 0)));
  loff_t off = 10;
  EQ(2, SYS(splice(p[0], NULL, f, &off, 2, 0)));
  EQ(12, off);
  EQ(4, SYS(lseek(f, 0, SEEK_CUR)));
  EQ(4, SYS(splice(p[0], NULL, f, NULL, 100, 0)));
  ERR(EAGAIN, splice(p[0], NULL, f, NULL, 100, 0));
  char buf[20] = "";
  EQ(12, SYS(pread(f, buf, 20, 0)));
  CHECK(memcmp(buf, "01236789\0\00045", 12) == 0);
  SYS(close(p[1]));
  EQ(0, SYS(splice(p[0], NULL, f, NULL, 100, 0)));
}

static void bad_arguments(void) {
  scratch();
  int p[2], q[2], f = open_with("f", "abc", O_RDWR), g = SYS(open("f", O_RDWR | O_APPEND)), s[2];
  SYS(pipe2(p, O_NONBLOCK));
  SYS(pipe2(q, O_NONBLOCK));
  SYS(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
  EQ(3, SYS(write(p[1], "abc", 3)));
  loff_t off = 0, negative = -1;
  ERR(EINVAL, splice(f, NULL, g, NULL, 1, 0));
  ERR(EINVAL, splice(p[0], NULL, f, NULL, 1, 0x10));
  ERR(ESPIPE, splice(p[0], &off, f, NULL, 1, 0));
  ERR(ESPIPE, splice(f, NULL, p[1], &off, 1, 0));
  ERR(EINVAL, splice(f, &negative, p[1], NULL, 1, 0));
  ERR(EINVAL, splice(p[0], NULL, g, NULL, 1, 0));  // O_APPEND
  ERR(EINVAL, splice(p[0], NULL, p[1], NULL, 1, 0));
  ERR(EBADF, splice(p[1], NULL, q[1], NULL, 1, 0));
  ERR(EBADF, splice(p[0], NULL, q[0], NULL, 1, 0));
  ERR(EBADF, splice(-1, NULL, p[1], NULL, 1, 0));
  ERR(EBADF, splice(p[0], NULL, SYS(open("f", O_RDONLY)), NULL, 1, 0));
  ERR(EBADF, splice(SYS(open("f", O_WRONLY)), NULL, p[1], NULL, 1, 0));
  ERR(EINVAL, splice(s[0], &off, p[1], NULL, 1, 0));
  ERR(EINVAL, splice(SYS(eventfd(1, 0)), NULL, p[1], NULL, 8, 0));
  ERR(EINVAL, splice(p[0], NULL, SYS(eventfd(1, 0)), NULL, 8, 0));
  ERR(EINVAL, splice(SYS(open(".", O_RDONLY)), NULL, p[1], NULL, 8, 0));
  ERR(EINVAL, tee(p[0], p[1], 1, 0));
  ERR(EINVAL, tee(f, p[1], 1, 0));
  ERR(EINVAL, tee(p[0], f, 1, 0));
  ERR(EINVAL, tee(p[0], q[1], 1, 0x10));
  ERR(EBADF, tee(p[1], q[1], 1, 0));
  ERR(EBADF, tee(p[0], q[0], 1, 0));
  EQ(0, SYS(tee(p[0], q[1], 0, 0)));
  struct iovec iov = {"x", 1};
  ERR(EBADF, vmsplice(f, &iov, 1, 0));
  ERR(EINVAL, vmsplice(p[1], &iov, 1, 0x10));
  ERR(EINVAL, vmsplice(p[1], &iov, 1025, 0));
  EQ(0, SYS(vmsplice(p[1], &iov, 0, 0)));
  expect(p[0], "abc");
}

static void pipe_to_pipe(void) {
  int p[2], q[2];
  SYS(pipe2(p, O_NONBLOCK));
  SYS(pipe2(q, O_NONBLOCK));
  SYS(fcntl(q[1], F_SETPIPE_SZ, 4096));
  ERR(EAGAIN, splice(p[0], NULL, q[1], NULL, 1, 0));
  ERR(EAGAIN, tee(p[0], q[1], 1, 0));
  EQ(6, SYS(write(p[1], "abcdef", 6)));
  EQ(4, SYS(tee(p[0], q[1], 4, 0)));
  ERR(EAGAIN, tee(p[0], q[1], 4, 0));  // its one page is taken
  ERR(EAGAIN, splice(p[0], NULL, q[1], NULL, 4, 0));
  expect(q[0], "abcd");
  EQ(2, SYS(splice(p[0], NULL, q[1], NULL, 2, 0)));
  expect(q[0], "ab");
  EQ(4, SYS(splice(p[0], NULL, q[1], NULL, 100, 0)));
  expect(q[0], "cdef");
  SYS(close(p[1]));
  EQ(0, SYS(splice(p[0], NULL, q[1], NULL, 100, 0)));
  EQ(0, SYS(tee(p[0], q[1], 100, 0)));
}

static void nobody_reads(void) {
  scratch();
  int p[2], q[2], f = open_with("f", "abc", O_RDONLY);
  SYS(pipe(p));
  SYS(pipe(q));
  EQ(3, SYS(write(q[1], "abc", 3)));
  SYS(close(p[0]));
  handle(SIGPIPE, SIG_IGN, 0);
  ERR(EPIPE, splice(f, NULL, p[1], NULL, 1, 0));
  ERR(EPIPE, splice(q[0], NULL, p[1], NULL, 1, 0));
  ERR(EPIPE, tee(q[0], p[1], 1, 0));
  struct iovec iov = {"x", 1};
  ERR(EPIPE, vmsplice(p[1], &iov, 1, 0));
  ERR(EPIPE, sendfile(p[1], f, NULL, 1));
  pid_t pid = SYS(fork());
  if (pid == 0) {
    handle(SIGPIPE, SIG_DFL, 0);
    splice(f, NULL, p[1], NULL, 1, 0);
    _exit(0);
  }
  DIES(SIGPIPE, pid);
  expect(q[0], "abc");
  EQ(0, SYS(lseek(f, 0, SEEK_CUR)));
}

// Each waits until the other side does something.
static void waits(void) {
  scratch();
  int p[2], q[2], f = SYS(open("f", O_RDWR | O_CREAT, 0600));
  SYS(pipe(p));
  SYS(pipe(q));
  pid_t pid = SYS(fork());
  if (pid == 0) {
    EQ(3, SYS(splice(p[0], NULL, q[1], NULL, 100, 0)));
    EQ(3, SYS(tee(p[0], q[1], 100, 0)));
    EQ(3, SYS(splice(p[0], NULL, f, NULL, 100, 0)));
    SYS(close(p[1]));
    EQ(0, SYS(splice(p[0], NULL, f, NULL, 100, 0)));
    _exit(0);
  }
  sleep_ms(20);
  EQ(3, SYS(write(p[1], "abc", 3)));
  expect(q[0], "abc");
  EQ(3, SYS(write(p[1], "def", 3)));
  expect(q[0], "def");
  sleep_ms(20);
  SYS(close(p[1]));
  EXITS(0, pid);
  char buf[8];
  EQ(3, SYS(pread(f, buf, 8, 0)));

  // Room that somebody has to make.
  SYS(pipe(p));
  SYS(ftruncate(f, 200000));
  SYS(lseek(f, 0, SEEK_SET));
  pid = SYS(fork());
  if (pid == 0) {
    SYS(close(p[0]));
    for (ssize_t n = 0, k; n < 200000; n += k) k = SYS(splice(f, NULL, p[1], NULL, 200000 - n, 0));
    _exit(0);
  }
  SYS(close(p[1]));
  static char all[300000];
  ssize_t n = 0, k;
  while ((k = SYS(read(p[0], all + n, 5000))) > 0) n += k;
  EQ(200000, n);
  EXITS(0, pid);
}

static void on_alarm(int sig UNUSED) {}

static void interrupted(void) {
  scratch();
  int p[2], f = SYS(open("f", O_RDWR | O_CREAT, 0600));
  SYS(pipe(p));
  handle(SIGALRM, on_alarm, 0);
  struct itimerval in = {{0, 20000}, {0, 20000}};
  SYS(setitimer(ITIMER_REAL, &in, NULL));
  ERR(EINTR, splice(p[0], NULL, f, NULL, 100, 0));
  SYS(fcntl(p[1], F_SETPIPE_SZ, 4096));
  EQ(1, SYS(write(p[1], "x", 1)));
  struct iovec iov = {"x", 1};
  ERR(EINTR, vmsplice(p[1], &iov, 1, 0));
  SYS(ftruncate(f, 10));
  ERR(EINTR, splice(f, NULL, p[1], NULL, 1, 0));
}

static void memory(void) {
  int p[2];
  SYS(pipe2(p, O_NONBLOCK));
  char a[] = "hello ", b[] = "world";
  struct iovec iov[2] = {{a, 6}, {b, 5}};
  EQ(11, SYS(vmsplice(p[1], iov, 2, 0)));
  expect(p[0], "hello world");
  static char big[100000];
  struct iovec one = {big, sizeof(big)};
  ssize_t n = SYS(vmsplice(p[1], &one, 1, 0));
  CHECK(n > 50000 && n <= 65536);
  ERR(EAGAIN, vmsplice(p[1], &one, 1, SPLICE_F_NONBLOCK));
  while (n > 0) {
    ssize_t k = SYS(read(p[0], big, sizeof(big)));
    n -= k;
  }
  EQ(0, n);
  // Out of the pipe into memory.
  EQ(5, SYS(write(p[1], "12345", 5)));
  struct iovec two[2] = {{big, 2}, {big + 10, 10}};
  EQ(5, SYS(vmsplice(p[0], two, 2, 0)));
  CHECK(memcmp(big, "12", 2) == 0 && memcmp(big + 10, "345", 3) == 0);
  ERR(EAGAIN, vmsplice(p[0], two, 2, SPLICE_F_NONBLOCK));
  struct iovec bad = {(void *)8, 10};
  ERR(EFAULT, vmsplice(p[1], &bad, 1, 0));
}

static void sockets(void) {
  scratch();
  int p[2], s[2], f = open_with("f", "from the file", O_RDWR);
  SYS(pipe(p));
  SYS(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
  EQ(4, SYS(write(p[1], "ping", 4)));
  EQ(4, SYS(splice(p[0], NULL, s[0], NULL, 100, 0)));
  EQ(4, SYS(splice(s[1], NULL, p[1], NULL, 100, 0)));
  expect(p[0], "ping");
  EQ(13, SYS(sendfile(s[0], f, NULL, 100)));
  expect(s[1], "from the file");
  ERR(EINVAL, sendfile(f, s[1], NULL, 1));  // it has no positions
  EQ(2, SYS(write(s[0], "hi", 2)));
  EQ(2, SYS(sendfile(p[1], s[1], NULL, 10)));
  expect(p[0], "hi");
  SYS(fcntl(s[1], F_SETFL, O_NONBLOCK));
  ERR(EAGAIN, splice(s[1], NULL, p[1], NULL, 100, 0));
  SYS(close(s[0]));
  EQ(0, SYS(splice(s[1], NULL, p[1], NULL, 100, 0)));
}

static void devices(void) {
  int p[2], null = SYS(open("/dev/null", O_RDWR)), zero = SYS(open("/dev/zero", O_RDONLY));
  SYS(pipe(p));
  EQ(65536, SYS(splice(zero, NULL, p[1], NULL, 1 << 20, 0)));
  EQ(65536, SYS(splice(p[0], NULL, null, NULL, 1 << 20, 0)));
  ERR(EINVAL, splice(null, NULL, p[1], NULL, 10, 0));
  EQ(100000, SYS(sendfile(null, zero, NULL, 100000)));
}

static void send_file(void) {
  scratch();
  int f = open_with("f", "0123456789", O_RDONLY), g = SYS(open("g", O_RDWR | O_CREAT, 0600)), p[2];
  off_t off = 2;
  EQ(3, SYS(sendfile(g, f, &off, 3)));
  EQ(5, off);
  EQ(0, SYS(lseek(f, 0, SEEK_CUR)));
  EQ(10, SYS(sendfile(g, f, NULL, 100)));
  EQ(0, SYS(sendfile(g, f, NULL, 100)));
  SYS(lseek(g, 0, SEEK_SET));
  expect(g, "2340123456789");
  ERR(EINVAL, sendfile(SYS(open("g", O_WRONLY | O_APPEND)), f, NULL, 1));
  ERR(EBADF, sendfile(f, f, NULL, 1));
  ERR(EBADF, sendfile(g, SYS(open("f", O_WRONLY)), NULL, 1));
  off = -1;
  ERR(EINVAL, sendfile(g, f, &off, 1));
  SYS(pipe2(p, O_NONBLOCK));
  off = 0;
  ERR(ESPIPE, sendfile(g, p[0], &off, 1));
  ERR(EINVAL, sendfile(g, p[0], NULL, 1));
  int q[2];
  SYS(pipe2(q, O_NONBLOCK));
  EQ(1, SYS(write(p[1], "x", 1)));
  ERR(EINVAL, sendfile(q[1], p[0], NULL, 1));
  expect(p[0], "x");
  int big = SYS(open("big", O_RDWR | O_CREAT, 0600));
  SYS(ftruncate(big, 1 << 20));
  EQ(65536, SYS(sendfile(p[1], big, NULL, 1 << 20)));
  ERR(EAGAIN, sendfile(p[1], big, NULL, 1 << 20));
}

static void copy_range(void) {
  scratch();
  int f = open_with("f", "0123456789", O_RDWR), g = SYS(open("g", O_RDWR | O_CREAT, 0600)), p[2];
  loff_t in = 2, out = 4;
  EQ(3, SYS(copy_file_range(f, &in, g, &out, 3, 0)));
  EQ(5, in);
  EQ(7, out);
  EQ(0, SYS(lseek(f, 0, SEEK_CUR)) + SYS(lseek(g, 0, SEEK_CUR)));
  EQ(10, SYS(copy_file_range(f, NULL, g, NULL, 100, 0)));
  EQ(10, SYS(lseek(f, 0, SEEK_CUR)));
  EQ(0, SYS(copy_file_range(f, NULL, g, NULL, 100, 0)));
  in = 100;
  EQ(0, SYS(copy_file_range(f, &in, g, NULL, 100, 0)));
  // In one file, but not onto itself.
  in = 0, out = 20;
  EQ(10, SYS(copy_file_range(f, &in, f, &out, 10, 0)));
  in = 0, out = 5;
  ERR(EINVAL, copy_file_range(f, &in, f, &out, 10, 0));
  in = 5, out = 0;
  ERR(EINVAL, copy_file_range(f, &in, f, &out, 10, 0));
  in = 0, out = 0;
  ERR(EINVAL, copy_file_range(f, &in, f, &out, 1, 0));
  ERR(EINVAL, copy_file_range(f, NULL, g, NULL, 1, 1));
  ERR(EBADF, copy_file_range(f, NULL, SYS(open("g", O_RDONLY)), NULL, 1, 0));
  ERR(EBADF, copy_file_range(SYS(open("f", O_WRONLY)), NULL, g, NULL, 1, 0));
  ERR(EBADF, copy_file_range(f, NULL, SYS(open("g", O_WRONLY | O_APPEND)), NULL, 1, 0));
  ERR(EISDIR, copy_file_range(SYS(open(".", O_RDONLY)), NULL, g, NULL, 1, 0));
  SYS(pipe(p));
  ERR(EINVAL, copy_file_range(f, NULL, p[1], NULL, 1, 0));
  ERR(EINVAL, copy_file_range(p[0], NULL, g, NULL, 1, 0));
  in = -10;
  ERR(EINVAL, copy_file_range(f, &in, g, NULL, 1, 0));
  ERR(EOVERFLOW, copy_file_range(f, &in, g, NULL, 10, 0));
  in = INT64_MAX;
  EQ(0, SYS(copy_file_range(f, &in, g, NULL, 10, 0)));
  out = INT64_MAX, in = 0;
  ERR(EFBIG, copy_file_range(f, &in, g, &out, 10, 0));
  int other = SYS(open("/dev/shm/guest.copy", O_RDWR | O_CREAT, 0600));
  SYS(unlink("/dev/shm/guest.copy"));
  in = 0;
  ERR(EXDEV, copy_file_range(f, &in, other, NULL, 1, 0));
}

// What cannot be spliced to says so at once, though the pipe is empty.
static void no_such_target(void) {
  int p[2], e = SYS(epoll_create1(0)), v = SYS(eventfd(0, 0)), i = SYS(inotify_init());
  SYS(pipe(p));
  ERR(EINVAL, splice(p[0], NULL, e, NULL, 1, 0));
  ERR(EINVAL, splice(p[0], NULL, v, NULL, 1, 0));
  ERR(EBADF, splice(p[0], NULL, i, NULL, 1, 0));
}

TESTS(T(no_such_target), T(file_to_pipe), T(pipe_to_file), T(bad_arguments), T(pipe_to_pipe), T(nobody_reads), T(waits), T(interrupted),
      T(memory), T(sockets), T(devices), T(send_file), T(copy_range))
