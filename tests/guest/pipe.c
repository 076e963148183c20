// pipes between processes: ends, blocking, atomicity, rings.
#include "check.h"

#include <poll.h>
#include <sys/ioctl.h>
#include <sys/uio.h>

static void pass_text(void) {
  int p[2];
  SYS(pipe(p));
  pid_t pid = SYS(fork());
  if (pid == 0) {
    SYS(close(p[0]));
    EQ(5, SYS(write(p[1], "hello", 5)));
    _exit(0);
  }
  SYS(close(p[1]));
  char text[16] = {0};
  EQ(5, SYS(read(p[0], text, sizeof(text))));
  CHECK(strcmp(text, "hello") == 0);
  EQ(0, SYS(read(p[0], text, sizeof(text))));
  EXITS(0, pid);
}

static void end_of_file(void) {
  int p[2];
  char c;
  SYS(pipe(p));
  int other = SYS(dup(p[1]));
  put(p[1], 'a');
  SYS(close(p[1]));
  EQ('a', get(p[0]));
  SYS(fcntl(p[0], F_SETFL, O_NONBLOCK));
  ERR(EAGAIN, read(p[0], &c, 1));  // the copy keeps it open
  SYS(close(other));
  EQ(0, SYS(read(p[0], &c, 1)));
  EQ(0, SYS(read(p[0], &c, 1)));
}

static volatile int caught;
static void on_signal(int sig) { caught = sig; }

static void broken_pipe(void) {
  int p[2];
  SYS(pipe(p));
  SYS(close(p[0]));
  pid_t pid = SYS(fork());
  if (pid == 0) {
    (void)!write(p[1], "x", 1);
    _exit(0);
  }
  DIES(SIGPIPE, pid);
  handle(SIGPIPE, on_signal, 0);
  ERR(EPIPE, write(p[1], "x", 1));
  EQ(SIGPIPE, caught);
  handle(SIGPIPE, SIG_IGN, 0);
  ERR(EPIPE, write(p[1], "x", 1));
}

// A writer that waits for room learns that the reader is gone.
static void broken_while_blocked(void) {
  int p[2];
  SYS(pipe(p));
  pid_t pid = SYS(fork());
  if (pid == 0) {
    SYS(close(p[0]));
    handle(SIGPIPE, SIG_IGN, 0);
    static char big[1 << 20];
    ssize_t n = write(p[1], big, sizeof(big));
    CHECK(n > 0 && n < (ssize_t)sizeof(big));  // the part that fitted
    ERR(EPIPE, write(p[1], big, 1));
    _exit(0);
  }
  get(p[0]);
  SYS(close(p[0]));
  EXITS(0, pid);
}

static void ring(int n, int rounds) {
  int p[2], first[2];
  SYS(pipe(first));
  int in = first[0];
  for (int i = 1; i < n; i++) {
    SYS(pipe(p));
    pid_t pid = SYS(fork());
    if (pid == 0) {
      SYS(close(p[0]));
      SYS(close(first[1]));
      int v;
      ssize_t got;
      while ((got = SYS(read(in, &v, sizeof(v)))) == sizeof(v)) {
        v++;
        EQ(sizeof(v), SYS(write(p[1], &v, sizeof(v))));
      }
      EQ(0, got);
      _exit(0);
    }
    SYS(close(p[1]));
    SYS(close(in));
    in = p[0];
  }
  int v = 0;
  for (int i = 0; i < rounds; i++) {
    EQ(sizeof(v), SYS(write(first[1], &v, sizeof(v))));
    EQ(sizeof(v), SYS(read(in, &v, sizeof(v))));
  }
  EQ((n - 1) * rounds, v);
  SYS(close(first[1]));  // the end of file runs around the ring
  EQ(0, SYS(read(in, &v, sizeof(v))));
  for (int i = 1; i < n; i++) {
    int st;
    SYS(wait(&st));
    EQ(0, st);
  }
}

static void ring_of_4(void) { ring(4, 50); }
static void ring_of_100(void) { ring(100, 10); }

// Writes of up to PIPE_BUF bytes never mix.
static void atomic_writes(void) {
  int p[2];
  SYS(pipe(p));
  enum { WRITERS = 5, EACH = 40 };
  for (int w = 0; w < WRITERS; w++)
    if (SYS(fork()) == 0) {
      char block[PIPE_BUF];
      memset(block, 'a' + w, sizeof(block));
      for (int i = 0; i < EACH; i++) EQ(PIPE_BUF, SYS(write(p[1], block, PIPE_BUF)));
      _exit(0);
    }
  SYS(close(p[1]));
  int blocks = 0;
  for (;;) {
    char block[PIPE_BUF];
    size_t have = 0;
    ssize_t n;
    while (have < PIPE_BUF && (n = SYS(read(p[0], block + have, PIPE_BUF - have))) > 0) have += n;
    if (have == 0) break;
    EQ(PIPE_BUF, have);
    for (int i = 1; i < PIPE_BUF; i++) CHECK(block[i] == block[0]);
    blocks++;
  }
  EQ(WRITERS * EACH, blocks);
  while (wait(NULL) > 0) {
  }
}

static void nonblocking(void) {
  int p[2];
  SYS(pipe2(p, O_NONBLOCK | O_CLOEXEC));
  EQ(FD_CLOEXEC, SYS(fcntl(p[0], F_GETFD)));
  CHECK(SYS(fcntl(p[1], F_GETFL)) & O_NONBLOCK);
  char c;
  ERR(EAGAIN, read(p[0], &c, 1));
  static char block[4096];
  long total = 0;
  ssize_t n;
  while ((n = write(p[1], block, sizeof(block))) > 0) total += n;
  EQ(EAGAIN, errno);
  EQ(65536, total);
  int have;
  SYS(ioctl(p[0], FIONREAD, &have));
  EQ(65536, have);
  EQ(100, SYS(read(p[0], block, 100)));
  ERR(EAGAIN, write(p[1], block, sizeof(block)));  // whole or not at all
  ERR(EINVAL, pipe2(p, 0x40000000));
}

static void capacity(void) {
  int p[2];
  SYS(pipe(p));
  EQ(65536, SYS(fcntl(p[0], F_GETPIPE_SZ)));
  EQ(4096, SYS(fcntl(p[1], F_SETPIPE_SZ, 1)));
  EQ(131072, SYS(fcntl(p[1], F_SETPIPE_SZ, 100000)));
  static char block[131072];
  EQ(131072, SYS(write(p[1], block, sizeof(block))));
  ERR(EBUSY, fcntl(p[1], F_SETPIPE_SZ, 65536));
  int null = SYS(open("/dev/null", O_RDONLY));
  ERR(EBADF, fcntl(null, F_GETPIPE_SZ));
}

static void wrong_end(void) {
  int p[2];
  char c;
  SYS(pipe(p));
  ERR(EBADF, write(p[0], "x", 1));
  ERR(EBADF, read(p[1], &c, 1));
  ERR(ESPIPE, lseek(p[0], 0, SEEK_CUR));
  ERR(ESPIPE, pread(p[0], &c, 1, 0));
  ERR(EINVAL, ftruncate(p[1], 0));
  struct stat st;
  SYS(fstat(p[0], &st));
  CHECK(S_ISFIFO(st.st_mode));
}

static void poll_states(void) {
  int p[2];
  SYS(pipe(p));
  struct pollfd pf[2] = {{.fd = p[0], .events = POLLIN}, {.fd = p[1], .events = POLLOUT}};
  EQ(1, SYS(poll(pf, 2, 0)));
  EQ(0, pf[0].revents);
  EQ(POLLOUT, pf[1].revents);
  put(p[1], 'x');
  EQ(2, SYS(poll(pf, 2, 0)));
  EQ(POLLIN, pf[0].revents);
  SYS(close(p[1]));
  EQ(1, SYS(poll(pf, 1, 0)));
  EQ(POLLIN | POLLHUP, pf[0].revents);
  get(p[0]);
  EQ(1, SYS(poll(pf, 1, 0)));
  EQ(POLLHUP, pf[0].revents);
  SYS(pipe(p));
  SYS(close(p[0]));
  pf[1].fd = p[1];
  EQ(1, SYS(poll(&pf[1], 1, 0)));
  EQ(POLLOUT | POLLERR, pf[1].revents);
}

static void vectors(void) {
  int p[2];
  SYS(pipe(p));
  struct iovec out[3] = {{"abc", 3}, {"", 0}, {"defgh", 5}};
  EQ(8, SYS(writev(p[1], out, 3)));
  char a[2], b[10];
  struct iovec in[2] = {{a, 2}, {b, 10}};
  EQ(8, SYS(readv(p[0], in, 2)));
  CHECK(memcmp(a, "ab", 2) == 0 && memcmp(b, "cdefgh", 6) == 0);
  ERR(EINVAL, writev(p[1], out, -1));
  ERR(EINVAL, writev(p[1], out, IOV_MAX + 1));
  EQ(0, SYS(writev(p[1], out, 0)));
}

// A mebibyte through a pipe, with a checksum.
static void bulk(void) {
  int p[2];
  SYS(pipe(p));
  enum { SIZE = 1 << 20 };
  pid_t pid = SYS(fork());
  if (pid == 0) {
    SYS(close(p[0]));
    static unsigned char data[SIZE];
    for (int i = 0; i < SIZE; i++) data[i] = (unsigned)i * 7919u >> 8;
    size_t done = 0;
    for (size_t step = 1; done < SIZE; step = step * 3 % 70001) {
      size_t n = step < SIZE - done ? step : SIZE - done;
      done += SYS(write(p[1], data + done, n));
    }
    _exit(0);
  }
  SYS(close(p[1]));
  unsigned char data[10007];
  size_t total = 0;
  ssize_t n;
  while ((n = SYS(read(p[0], data, sizeof(data)))) > 0)
    for (ssize_t i = 0; i < n; i++, total++)
      if (data[i] != (unsigned char)((unsigned)total * 7919u >> 8)) FAIL("byte %zu differs", total);
  EQ(SIZE, total);
  EXITS(0, pid);
}

static void named_pipe(void) {
  scratch();
  SYS(mkfifo("fifo", 0600));
  ERR(EEXIST, mkfifo("fifo", 0600));
  ERR(ENXIO, open("fifo", O_WRONLY | O_NONBLOCK));
  pid_t pid = SYS(fork());
  if (pid == 0) {
    int fd = SYS(open("fifo", O_WRONLY));
    EQ(4, SYS(write(fd, "text", 4)));
    _exit(0);
  }
  int fd = SYS(open("fifo", O_RDONLY));  // each waits for the other
  char text[10];
  EQ(4, SYS(read(fd, text, 10)));
  EQ(0, SYS(read(fd, text, 10)));
  EXITS(0, pid);
  SYS(close(fd));
  fd = SYS(open("fifo", O_RDWR | O_NONBLOCK));
  ERR(EAGAIN, read(fd, text, 1));
}

static void splice_tee(void) {
  int a[2], b[2];
  SYS(pipe(a));
  SYS(pipe(b));
  EQ(6, SYS(write(a[1], "abcdef", 6)));
  EQ(6, SYS(tee(a[0], b[1], 100, 0)));
  EQ(6, SYS(splice(a[0], NULL, b[1], NULL, 100, 0)));
  char text[20];
  EQ(12, SYS(read(b[0], text, 20)));
  CHECK(memcmp(text, "abcdefabcdef", 12) == 0);
}

// Many readers of one pipe: every byte goes to exactly one of them.
static void many_readers(void) {
  int p[2], r[2];
  SYS(pipe(p));
  SYS(pipe(r));
  for (int i = 0; i < 8; i++)
    if (SYS(fork()) == 0) {
      SYS(close(p[1]));
      int n = 0;
      char c;
      while (SYS(read(p[0], &c, 1)) == 1) n++;
      EQ(sizeof(n), SYS(write(r[1], &n, sizeof(n))));
      _exit(0);
    }
  for (int i = 0; i < 2000; i++) put(p[1], 'x');
  SYS(close(p[1]));
  int sum = 0;
  for (int i = 0; i < 8; i++) {
    int n;
    EQ(sizeof(n), SYS(read(r[0], &n, sizeof(n))));
    sum += n;
    SYS(wait(NULL));
  }
  EQ(2000, sum);
}

TESTS(T(pass_text), T(end_of_file), T(broken_pipe), T(broken_while_blocked), T(ring_of_4), T(ring_of_100),
      T(atomic_writes), T(nonblocking), T(capacity), T(wrong_end), T(poll_states), T(vectors), T(bulk), T(named_pipe),
      T(splice_tee), T(many_readers))
