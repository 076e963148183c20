// Sockets of AF_UNIX: unix(7).
#include "unixsock.h"

static void create_errors(void) {
  ERR(EAFNOSUPPORT, socket(-1, SOCK_STREAM, 0));
  ERR(EAFNOSUPPORT, socket(100, SOCK_STREAM, 0));
  ERR(EINVAL, socket(AF_UNIX, 15, 0));
  ERR(EINVAL, socket(AF_UNIX, SOCK_STREAM | 0x1000, 0));
  ERR(ESOCKTNOSUPPORT, socket(AF_UNIX, SOCK_RDM, 0));
  ERR(EPROTONOSUPPORT, socket(AF_UNIX, SOCK_STREAM, 5));
  int s = SYS(socket(AF_UNIX, SOCK_STREAM, PF_UNIX));
  SYS(close(s));
  ERR(ENOTSOCK, listen(1, 1));
  ERR(EBADF, listen(999, 1));
  int p = SYS(open("/", O_PATH));
  ERR(EBADF, listen(p, 1));
}

static void create_flags(void) {
  int s = SYS(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  EQ(FD_CLOEXEC, fcntl(s, F_GETFD));
  EQ(O_RDWR | O_NONBLOCK, fcntl(s, F_GETFL));
  int p[2];
  SYS(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, p));
  EQ(FD_CLOEXEC, fcntl(p[1], F_GETFD));
  EQ(O_RDWR, fcntl(p[1], F_GETFL));
}

static void stat_of(void) {
  int s[2];
  pair(SOCK_STREAM, s);
  struct stat a, b;
  SYS(fstat(s[0], &a));
  SYS(fstat(s[1], &b));
  CHECK(S_ISSOCK(a.st_mode));
  EQ(0777, a.st_mode & 07777);
  CHECK(a.st_ino != b.st_ino && a.st_dev == b.st_dev);
  char path[64], link[64], want[64];
  snprintf(path, sizeof(path), "/proc/self/fd/%d", s[0]);
  link[SYS(readlink(path, link, sizeof(link) - 1))] = 0;
  snprintf(want, sizeof(want), "socket:[%lu]", a.st_ino);
  CHECK(strcmp(link, want) == 0);
  ERR(ENXIO, open(path, O_RDWR));
  ERR(ESPIPE, lseek(s[0], 0, SEEK_SET));
  ERR(ESPIPE, pread(s[0], link, 1, 0));
  ERR(ESPIPE, pwrite(s[0], link, 1, 0));
  ERR(EINVAL, fsync(s[0]));
}

static void stream_basic(void) {
  int s[2];
  char b[16];
  pair(SOCK_STREAM, s);
  EQ(5, SYS(write(s[0], "hello", 5)));
  EQ(3, SYS(send(s[0], "abc", 3, 0)));
  EQ(2, SYS(read(s[1], b, 2)));
  EQ(6, SYS(recv(s[1], b, sizeof(b), 0)));
  CHECK(memcmp(b, "lloabc", 6) == 0);
  EQ(0, SYS(read(s[1], b, 0)));
  EQ(0, SYS(write(s[1], b, 0)));
  ERR(EAGAIN, recv(s[1], b, 1, MSG_DONTWAIT));
  ERR(EAGAIN, recv(s[0], b, 1, MSG_DONTWAIT));
  SYS(close(s[0]));
  EQ(0, SYS(read(s[1], b, 1)));
}

static void stream_vector(void) {
  int s[2];
  char a[3], b[5];
  pair(SOCK_STREAM, s);
  struct iovec out[3] = {{"ab", 2}, {"", 0}, {"cdef", 4}};
  EQ(6, SYS(writev(s[0], out, 3)));
  struct iovec in[2] = {{a, 3}, {b, 5}};
  EQ(6, SYS(readv(s[1], in, 2)));
  CHECK(memcmp(a, "abc", 3) == 0 && memcmp(b, "def", 3) == 0);
}

static void stream_peek(void) {
  int s[2];
  char b[16];
  pair(SOCK_STREAM, s);
  EQ(3, SYS(write(s[0], "abc", 3)));
  EQ(3, SYS(write(s[0], "def", 3)));
  EQ(2, SYS(recv(s[1], b, 2, MSG_PEEK)));
  EQ(6, SYS(recv(s[1], b, 16, MSG_PEEK)));
  CHECK(memcmp(b, "abcdef", 6) == 0);
  EQ(6, SYS(recv(s[1], b, 16, 0)));
}

static void *write_later(void *arg) {
  int fd = *(int *)arg;
  for (int i = 0; i < 4; i++) {
    sleep_ms(10);
    if (write(fd, "wxyz", 4) != 4) return "short";
  }
  return NULL;
}

static void stream_waitall(void) {
  int s[2];
  char b[16];
  pair(SOCK_STREAM, s);
  pthread_t t;
  ZERO(pthread_create(&t, NULL, write_later, &s[0]));
  EQ(16, SYS(recv(s[1], b, 16, MSG_WAITALL)));
  void *bad;
  ZERO(pthread_join(t, &bad));
  CHECK(bad == NULL);
  EQ(4, SYS(write(s[0], "abcd", 4)));
  SYS(shutdown(s[0], SHUT_WR));
  EQ(4, SYS(recv(s[1], b, 16, MSG_WAITALL)));
  EQ(0, SYS(recv(s[1], b, 16, MSG_WAITALL)));
}

static void stream_lowat(void) {
  int s[2], n = 8;
  char b[16];
  pair(SOCK_STREAM, s);
  SYS(setsockopt(s[1], SOL_SOCKET, SO_RCVLOWAT, &n, sizeof(n)));
  pthread_t t;
  ZERO(pthread_create(&t, NULL, write_later, &s[0]));
  EQ(8, SYS(read(s[1], b, 16)));
  ZERO(pthread_join(t, NULL));
}

static void stream_epipe(void) {
  int s[2];
  pair(SOCK_STREAM, s);
  SYS(close(s[1]));
  signal(SIGPIPE, SIG_IGN);
  ERR(EPIPE, write(s[0], "x", 1));
  ERR(EPIPE, send(s[0], "x", 1, MSG_NOSIGNAL));
  signal(SIGPIPE, SIG_DFL);
  ERR(EPIPE, send(s[0], "x", 1, MSG_NOSIGNAL));
  pid_t pid = SYS(fork());
  if (pid == 0) {
    send(s[0], "x", 1, 0);
    _exit(1);
  }
  DIES(SIGPIPE, pid);
}

static void dgram_epipe(void) {
  int s[2];
  pair(SOCK_DGRAM, s);
  SYS(shutdown(s[0], SHUT_WR));
  ERR(EPIPE, write(s[0], "x", 1));  // and no signal
  pair(SOCK_SEQPACKET, s);
  SYS(close(s[1]));
  ERR(EPIPE, write(s[0], "x", 1));
}

static void stream_reset(void) {
  int s[2];
  char b[4];
  pair(SOCK_STREAM, s);
  EQ(1, SYS(write(s[0], "x", 1)));
  EQ(1, SYS(write(s[1], "y", 1)));
  SYS(close(s[1]));  // with data unread
  EQ(POLLIN | POLLOUT | POLLERR | POLLHUP, events(s[0], POLLIN | POLLOUT));
  EQ(1, SYS(read(s[0], b, 4)));
  ERR(ECONNRESET, read(s[0], b, 4));
  EQ(0, SYS(read(s[0], b, 4)));
}

static void so_error(void) {
  int s[2], e;
  socklen_t n = sizeof(e);
  pair(SOCK_STREAM, s);
  EQ(1, SYS(write(s[0], "x", 1)));
  SYS(close(s[1]));
  SYS(getsockopt(s[0], SOL_SOCKET, SO_ERROR, &e, &n));
  EQ(ECONNRESET, e);
  SYS(getsockopt(s[0], SOL_SOCKET, SO_ERROR, &e, &n));
  EQ(0, e);
}

static void stream_shutdown(void) {
  int s[2];
  char b[4];
  pair(SOCK_STREAM, s);
  ERR(EINVAL, shutdown(s[0], 3));
  EQ(2, SYS(write(s[0], "ab", 2)));
  SYS(shutdown(s[0], SHUT_WR));
  ERR(EPIPE, send(s[0], "x", 1, MSG_NOSIGNAL));
  EQ(2, SYS(read(s[1], b, 4)));
  EQ(0, SYS(read(s[1], b, 4)));
  EQ(POLLIN | POLLOUT | POLLRDHUP, events(s[1], POLLIN | POLLOUT | POLLRDHUP));
  EQ(POLLOUT, events(s[0], POLLIN | POLLOUT | POLLRDHUP));
  EQ(1, SYS(write(s[1], "z", 1)));
  EQ(1, SYS(read(s[0], b, 4)));
  SYS(shutdown(s[1], SHUT_RDWR));
  EQ(POLLIN | POLLOUT | POLLHUP | POLLRDHUP, events(s[0], POLLIN | POLLOUT | POLLRDHUP));
  EQ(POLLIN | POLLOUT | POLLHUP | POLLRDHUP, events(s[1], POLLIN | POLLOUT | POLLRDHUP));
}

static void shut_read(void) {
  int s[2];
  char b[4];
  pair(SOCK_STREAM, s);
  EQ(2, SYS(write(s[1], "ab", 2)));
  SYS(shutdown(s[0], SHUT_RD));
  ERR(EPIPE, send(s[1], "x", 1, MSG_NOSIGNAL));
  EQ(2, SYS(read(s[0], b, 4)));
  EQ(0, SYS(read(s[0], b, 4)));
  EQ(1, SYS(write(s[0], "q", 1)));
  EQ(1, SYS(read(s[1], b, 4)));
}

static void stream_fill(void) {
  int s[2];
  static char b[65536];
  pair(SOCK_STREAM, s);
  nonblock(s[0]);
  long total = 0, n;
  while ((n = write(s[0], b, sizeof(b))) > 0) total += n;
  EQ(EAGAIN, errno);
  CHECK(total >= 150000 && total <= 300000);
  EQ(0, events(s[0], POLLOUT));
  int q;
  SYS(ioctl(s[1], FIONREAD, &q));
  EQ(total, q);
  SYS(ioctl(s[0], SIOCOUTQ, &q));
  CHECK(q >= total);
  while (total > 0) total -= SYS(read(s[1], b, sizeof(b)));
  EQ(POLLOUT, events(s[0], POLLOUT));
  SYS(ioctl(s[0], SIOCOUTQ, &q));
  EQ(0, q);
}

static void stream_fill_small(void) {
  int s[2];
  pair(SOCK_STREAM, s);
  nonblock(s[0]);
  long total = 0;
  while (write(s[0], "x", 1) == 1) total++;
  EQ(EAGAIN, errno);
  CHECK(total >= 200 && total <= 400);
}

static void *drain(void *arg) {
  int fd = *(int *)arg;
  static char b[4096];
  long total = 0, n;
  while ((n = read(fd, b, sizeof(b))) > 0) {
    for (long i = 0; i < n; i++)
      if (b[i] != (char)((total + i) * 7)) return "wrong byte";
    total += n;
  }
  return total == 1000000 ? NULL : "wrong length";
}

static void stream_large(void) {
  int s[2];
  pair(SOCK_STREAM, s);
  pthread_t t;
  ZERO(pthread_create(&t, NULL, drain, &s[1]));
  char *b = malloc(1000000);
  for (int i = 0; i < 1000000; i++) b[i] = (char)(i * 7);
  EQ(1000000, SYS(write(s[0], b, 1000000)));
  SYS(shutdown(s[0], SHUT_WR));
  void *bad;
  ZERO(pthread_join(t, &bad));
  if (bad) FAIL("%s", (char *)bad);
}

static void sndbuf(void) {
  int s[2], n, v;
  socklen_t l = sizeof(n);
  pair(SOCK_STREAM, s);
  SYS(getsockopt(s[0], SOL_SOCKET, SO_SNDBUF, &n, &l));
  EQ(212992, n);
  v = 1;
  SYS(setsockopt(s[0], SOL_SOCKET, SO_SNDBUF, &v, sizeof(v)));
  SYS(getsockopt(s[0], SOL_SOCKET, SO_SNDBUF, &n, &l));
  EQ(4608, n);
  v = 20000;
  SYS(setsockopt(s[0], SOL_SOCKET, SO_SNDBUF, &v, sizeof(v)));
  SYS(getsockopt(s[0], SOL_SOCKET, SO_SNDBUF, &n, &l));
  EQ(40000, n);
  nonblock(s[0]);
  static char b[1000];
  long total = 0;
  while ((v = write(s[0], b, sizeof(b))) > 0) total += v;
  CHECK(total >= 15000 && total <= 40000);
}

static void dgram_basic(void) {
  int s[2];
  char b[16];
  pair(SOCK_DGRAM, s);
  EQ(3, SYS(write(s[0], "abc", 3)));
  EQ(0, SYS(send(s[0], b, 0, 0)));
  EQ(5, SYS(write(s[0], "defgh", 5)));
  EQ(3, SYS(read(s[1], b, 16)));
  EQ(0, SYS(recv(s[1], b, 16, 0)));
  EQ(2, SYS(read(s[1], b, 2)));
  ERR(EAGAIN, recv(s[1], b, 16, MSG_DONTWAIT));
}

static void dgram_trunc(void) {
  int s[2];
  char b[2];
  pair(SOCK_DGRAM, s);
  for (int i = 0; i < 3; i++) EQ(5, SYS(write(s[0], "abcde", 5)));
  EQ(5, SYS(recv(s[1], b, 2, MSG_TRUNC | MSG_PEEK)));
  EQ(5, SYS(recv(s[1], b, 2, MSG_TRUNC)));
  struct iovec v = {b, 2};
  struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1};
  EQ(2, SYS(recvmsg(s[1], &m, 0)));
  EQ(MSG_TRUNC, m.msg_flags);
  v.iov_len = 0;
  EQ(0, SYS(recvmsg(s[1], &m, 0)));
  EQ(MSG_TRUNC, m.msg_flags);
}

static void dgram_size(void) {
  int s[2];
  pair(SOCK_DGRAM, s);
  char *b = calloc(1, 300000);
  EQ(200000, SYS(write(s[0], b, 200000)));
  EQ(200000, SYS(read(s[1], b, 300000)));
  ERR(EMSGSIZE, write(s[0], b, 212992));
  ERR(EMSGSIZE, write(s[0], b, 300000));
}

static void dgram_names(void) {
  scratch();
  int a = bound(SOCK_DGRAM, "a"), b = bound(SOCK_DGRAM, "b"), none = SYS(socket(AF_UNIX, SOCK_DGRAM, 0));
  struct sockaddr_un to, from;
  socklen_t n = addr_of(&to, "b");
  EQ(2, SYS(sendto(a, "hi", 2, 0, (void *)&to, n)));
  char buf[8];
  n = sizeof(from);
  EQ(2, SYS(recvfrom(b, buf, 8, 0, (void *)&from, &n)));
  EQ(offsetof(struct sockaddr_un, sun_path) + 2, n);
  CHECK(strcmp(from.sun_path, "a") == 0);
  EQ(1, SYS(sendto(none, "x", 1, 0, (void *)&to, sizeof(to))));
  n = sizeof(from);
  EQ(1, SYS(recvfrom(b, buf, 8, 0, (void *)&from, &n)));
  EQ(0, n);
  ERR(ENOTCONN, send(a, "x", 1, 0));
  addr_of(&to, "missing");
  ERR(ENOENT, sendto(a, "x", 1, 0, (void *)&to, sizeof(to)));
  SYS(close(b));
  addr_of(&to, "b");
  ERR(ECONNREFUSED, sendto(a, "x", 1, 0, (void *)&to, sizeof(to)));
}

static void dgram_connect(void) {
  scratch();
  int a = bound(SOCK_DGRAM, "a"), b = bound(SOCK_DGRAM, "b"), c = SYS(socket(AF_UNIX, SOCK_DGRAM, 0));
  struct sockaddr_un sa;
  socklen_t n = sizeof(sa);
  ERR(ENOTCONN, getpeername(a, (void *)&sa, &n));
  EQ(0, SYS(connect_to(a, "b")));
  SYS(getpeername(a, (void *)&sa, &n));
  CHECK(strcmp(sa.sun_path, "b") == 0);
  EQ(0, SYS(connect_to(b, "a")));
  ERR(EPERM, connect_to(c, "b"));
  n = addr_of(&sa, "b");
  ERR(EPERM, sendto(c, "x", 1, 0, (void *)&sa, n));
  EQ(1, SYS(write(a, "x", 1)));
  char x[4];
  EQ(1, SYS(read(b, x, 4)));
  struct sockaddr none = {.sa_family = AF_UNSPEC};
  SYS(connect(b, &none, sizeof(none)));
  n = sizeof(sa);
  ERR(ENOTCONN, getpeername(b, (void *)&sa, &n));
  EQ(1, SYS(sendto(c, "y", 1, 0, (void *)&sa, addr_of(&sa, "b"))));
  SYS(close(b));
  ERR(ECONNREFUSED, write(a, "x", 1));
  ERR(ENOTCONN, write(a, "x", 1));
}

static void dgram_backlog(void) {
  scratch();
  int a = bound(SOCK_DGRAM, "a"), c = SYS(socket(AF_UNIX, SOCK_DGRAM, 0));
  SYS(connect_to(c, "a"));
  nonblock(c);
  int n = 0;
  while (write(c, "x", 1) == 1) n++;
  EQ(EAGAIN, errno);
  CHECK(n >= 10 && n < 1000);
  EQ(0, events(c, POLLOUT));
  char b;
  EQ(1, SYS(read(a, &b, 1)));
  EQ(POLLOUT, events(c, POLLOUT));
  EQ(1, SYS(write(c, "x", 1)));
  ERR(EAGAIN, write(c, "x", 1));
}

static void *read_later(void *arg) {
  char b[4];
  sleep_ms(30);
  return read(*(int *)arg, b, 4) == 1 ? NULL : "short";
}

static void dgram_blocks(void) {
  scratch();
  int a = bound(SOCK_DGRAM, "a"), c = SYS(socket(AF_UNIX, SOCK_DGRAM, 0));
  SYS(connect_to(c, "a"));
  while (send(c, "x", 1, MSG_DONTWAIT) == 1) {
  }
  pthread_t t;
  ZERO(pthread_create(&t, NULL, read_later, &a));
  EQ(1, SYS(write(c, "x", 1)));
  ZERO(pthread_join(t, NULL));
  while (send(c, "x", 1, MSG_DONTWAIT) == 1) {
  }
  struct pollfd p = {c, POLLOUT, 0};
  ZERO(pthread_create(&t, NULL, read_later, &a));
  EQ(1, SYS(poll(&p, 1, 5000)));
  ZERO(pthread_join(t, NULL));
}

static void dgram_shut(void) {
  int s[2];
  char b[4];
  pair(SOCK_DGRAM, s);
  SYS(shutdown(s[0], SHUT_RD));
  ERR(EPIPE, write(s[1], "x", 1));
  EQ(0, SYS(recv(s[0], b, 4, 0)));
  ERR(EAGAIN, recv(s[0], b, 4, MSG_DONTWAIT));
  SYS(close(s[0]));
  ERR(ECONNREFUSED, write(s[1], "x", 1));
}

static void seqpacket_basic(void) {
  int s[2];
  char b[16];
  pair(SOCK_SEQPACKET, s);
  EQ(3, SYS(write(s[0], "abc", 3)));
  EQ(4, SYS(send(s[0], "defg", 4, MSG_EOR)));
  struct iovec v = {b, 2};
  struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1};
  EQ(2, SYS(recvmsg(s[1], &m, 0)));
  say("flags %x\n", m.msg_flags);
  v.iov_len = 16;
  EQ(4, SYS(recvmsg(s[1], &m, 0)));
  say("flags %x\n", m.msg_flags);
  ERR(EAGAIN, recv(s[1], b, 16, MSG_DONTWAIT));
  SYS(close(s[0]));
  EQ(0, SYS(recv(s[1], b, 16, MSG_DONTWAIT)));
  int c = SYS(socket(AF_UNIX, SOCK_SEQPACKET, 0));
  ERR(ENOTCONN, recv(c, b, 1, MSG_DONTWAIT));
  ERR(ENOTCONN, send(c, b, 1, 0));
}

static void unconnected_stream(void) {
  int s = SYS(socket(AF_UNIX, SOCK_STREAM, 0));
  char b[4];
  ERR(EINVAL, read(s, b, 1));
  ERR(ENOTCONN, send(s, b, 1, MSG_NOSIGNAL));
  EQ(POLLOUT | POLLHUP, events(s, POLLIN | POLLOUT));
  struct sockaddr_un a;
  addr_of(&a, "@x");
  ERR(EOPNOTSUPP, sendto(s, b, 1, 0, (void *)&a, sizeof(a)));
  ERR(EINVAL, accept(s, NULL, NULL));
  ERR(EINVAL, listen(s, 1));
  int d = SYS(socket(AF_UNIX, SOCK_DGRAM, 0));
  ERR(EOPNOTSUPP, listen(d, 1));
  ERR(EOPNOTSUPP, accept(d, NULL, NULL));
}

static void send_to_connected(void) {
  int s[2];
  pair(SOCK_STREAM, s);
  struct sockaddr_un a;
  addr_of(&a, "@x");
  ERR(EISCONN, sendto(s[0], "x", 1, 0, (void *)&a, sizeof(a)));
}

// Waiting.

static volatile int handled;
static void on_signal(int sig UNUSED) { handled++; }

static void *signal_later(void *arg) {
  sleep_ms(30);
  pthread_kill(*(pthread_t *)arg, SIGUSR1);
  sleep_ms(30);
  return NULL;
}

static void interrupted(void) {
  int s[2];
  char b;
  pthread_t me = pthread_self(), t;
  pair(SOCK_STREAM, s);
  handle(SIGUSR1, on_signal, 0);
  ZERO(pthread_create(&t, NULL, signal_later, &me));
  ERR(EINTR, recv(s[0], &b, 1, 0));
  ZERO(pthread_join(t, NULL));
  struct timeval tv = {5, 0};
  SYS(setsockopt(s[0], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)));
  handle(SIGUSR1, on_signal, SA_RESTART);
  ZERO(pthread_create(&t, NULL, signal_later, &me));
  ERR(EINTR, recv(s[0], &b, 1, 0));
  ZERO(pthread_join(t, NULL));
  EQ(2, handled);
}

static int restart_fd;
static void *signal_then_write(void *arg) {
  signal_later(arg);
  return write(restart_fd, "r", 1) == 1 ? NULL : "short";
}

static void restarted(void) {
  int s[2];
  char b;
  pthread_t me = pthread_self(), t;
  pair(SOCK_STREAM, s);
  restart_fd = s[1];
  handle(SIGUSR1, on_signal, SA_RESTART);
  ZERO(pthread_create(&t, NULL, signal_then_write, &me));
  EQ(1, SYS(recv(s[0], &b, 1, 0)));
  EQ(1, handled);
  ZERO(pthread_join(t, NULL));
}

static void timeouts(void) {
  int s[2];
  char b[4096] = {0};
  pair(SOCK_STREAM, s);
  struct timeval tv = {0, 30000}, got;
  socklen_t n = sizeof(got);
  SYS(setsockopt(s[0], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)));
  SYS(setsockopt(s[0], SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv)));
  SYS(getsockopt(s[0], SOL_SOCKET, SO_RCVTIMEO, &got, &n));
  CHECK(got.tv_sec == 0 && got.tv_usec >= 30000 && got.tv_usec < 40000);
  long long begin = now_ns();
  ERR(EAGAIN, read(s[0], b, 1));
  CHECK(now_ns() - begin >= 25 * MS);
  while (send(s[0], b, sizeof(b), MSG_DONTWAIT) > 0) {
  }
  ERR(EAGAIN, write(s[0], b, sizeof(b)));
  tv.tv_usec = 1000000;
  ERR(EDOM, setsockopt(s[0], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)));
  ERR(EINVAL, setsockopt(s[0], SOL_SOCKET, SO_RCVTIMEO, &tv, 8));
}

static void epoll_edges(void) {
  int s[2], e = SYS(epoll_create1(0));
  pair(SOCK_STREAM, s);
  struct epoll_event ev = {.events = EPOLLIN | EPOLLET | EPOLLRDHUP}, got;
  SYS(epoll_ctl(e, EPOLL_CTL_ADD, s[0], &ev));
  EQ(0, SYS(epoll_wait(e, &got, 1, 0)));
  EQ(1, SYS(write(s[1], "a", 1)));
  EQ(1, SYS(epoll_wait(e, &got, 1, 1000)));
  EQ(EPOLLIN, got.events);
  EQ(0, SYS(epoll_wait(e, &got, 1, 0)));
  EQ(1, SYS(write(s[1], "b", 1)));
  EQ(1, SYS(epoll_wait(e, &got, 1, 1000)));
  SYS(close(s[1]));
  EQ(1, SYS(epoll_wait(e, &got, 1, 1000)));
  EQ(EPOLLIN | EPOLLRDHUP | EPOLLHUP, got.events);
}

static void *poller(void *arg) {
  struct pollfd p = {*(int *)arg, POLLIN, 0};
  return poll(&p, 1, 5000) == 1 && p.revents == POLLIN ? NULL : "poll";
}

static void poll_wakes(void) {
  int l = listener(SOCK_STREAM, "@runsc-lite poll", 5);
  pthread_t t;
  void *bad;
  ZERO(pthread_create(&t, NULL, poller, &l));
  sleep_ms(20);
  int c = SYS(socket(AF_UNIX, SOCK_STREAM, 0));
  SYS(connect_to(c, "@runsc-lite poll"));
  ZERO(pthread_join(t, &bad));
  CHECK(bad == NULL);
  int s = SYS(accept(l, NULL, NULL));
  ZERO(pthread_create(&t, NULL, poller, &s));
  sleep_ms(20);
  EQ(1, SYS(write(c, "x", 1)));
  ZERO(pthread_join(t, &bad));
  CHECK(bad == NULL);
}

static void fionread(void) {
  int s[2], n;
  pair(SOCK_DGRAM, s);
  SYS(ioctl(s[1], FIONREAD, &n));
  EQ(0, n);
  EQ(3, SYS(write(s[0], "abc", 3)));
  EQ(5, SYS(write(s[0], "abcde", 5)));
  SYS(ioctl(s[1], FIONREAD, &n));
  EQ(3, n);
  pair(SOCK_SEQPACKET, s);
  EQ(3, SYS(write(s[0], "abc", 3)));
  EQ(5, SYS(write(s[0], "abcde", 5)));
  SYS(ioctl(s[1], FIONREAD, &n));
  EQ(8, n);
  ERR(ENOTTY, ioctl(s[0], 0x5401, &n));
}

static void mmsg(void) {
  int s[2];
  pair(SOCK_DGRAM, s);
  struct iovec v[3] = {{"a", 1}, {"bc", 2}, {"def", 3}};
  struct mmsghdr m[3] = {0};
  for (int i = 0; i < 3; i++) m[i].msg_hdr = (struct msghdr){.msg_iov = &v[i], .msg_iovlen = 1};
  EQ(3, SYS(sendmmsg(s[0], m, 3, 0)));
  EQ(3, m[2].msg_len);
  char b[4][4];
  struct iovec in[4];
  struct mmsghdr r[4] = {0};
  for (int i = 0; i < 4; i++) {
    in[i] = (struct iovec){b[i], 4};
    r[i].msg_hdr = (struct msghdr){.msg_iov = &in[i], .msg_iovlen = 1};
  }
  EQ(2, SYS(recvmmsg(s[1], r, 2, 0, NULL)));
  EQ(2, r[1].msg_len);
  EQ(1, SYS(recvmmsg(s[1], r, 4, MSG_WAITFORONE, NULL)));
  EQ(3, r[0].msg_len);
  ERR(EAGAIN, recvmmsg(s[1], r, 4, MSG_DONTWAIT, NULL));
  struct timespec bad = {0, -1};
  ERR(EINVAL, recvmmsg(s[1], r, 4, MSG_DONTWAIT, &bad));
  EQ(0, SYS(sendmmsg(s[0], m, 0, 0)));
}

static void oob(void) {
  int s[2];
  pair(SOCK_DGRAM, s);
  ERR(EOPNOTSUPP, send(s[0], "x", 1, MSG_OOB));
  char b;
  ERR(EOPNOTSUPP, recv(s[0], &b, 1, MSG_OOB));
}

static void msg_errors(void) {
  int s[2];
  pair(SOCK_STREAM, s);
  struct iovec v = {"x", 1};
  struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1025};
  ERR(EMSGSIZE, sendmsg(s[0], &m, 0));
  ERR(EMSGSIZE, recvmsg(s[0], &m, MSG_DONTWAIT));
  m.msg_iovlen = 1;
  m.msg_name = &v;
  m.msg_namelen = -1;
  ERR(EINVAL, sendmsg(s[0], &m, 0));
  ERR(EINVAL, recvmsg(s[0], &m, MSG_DONTWAIT));
  m.msg_name = NULL;
  EQ(1, SYS(sendmsg(s[0], &m, 0)));
  m.msg_control = &v;
  m.msg_controllen = 1 << 24;
  ERR(ENOBUFS, sendmsg(s[0], &m, 0));
  ERR(EFAULT, send(s[0], (void *)8, 10, 0));
  ERR(EFAULT, recv(s[1], (void *)8, 1, 0));
  char b;
  EQ(1, SYS(recv(s[1], &b, 1, MSG_DONTWAIT)));  // is still there
}

static void name_len(void) {
  int s = bound(SOCK_DGRAM, "@runsc-lite len");
  struct sockaddr_un a;
  memset(&a, 'z', sizeof(a));
  socklen_t n = 4;
  SYS(getsockname(s, (void *)&a, &n));
  EQ(2 + strlen("@runsc-lite len"), n);
  EQ('z', a.sun_path[2]);
  n = -1;
  ERR(EINVAL, getsockname(s, (void *)&a, &n));
  ERR(EFAULT, getsockname(s, (void *)&a, (void *)8));
}

static void options(void) {
  int s = SYS(socket(AF_UNIX, SOCK_STREAM, 0)), v;
  socklen_t n = sizeof(v);
  SYS(getsockopt(s, SOL_SOCKET, SO_TYPE, &v, &n));
  EQ(SOCK_STREAM, v);
  SYS(getsockopt(s, SOL_SOCKET, SO_DOMAIN, &v, &n));
  EQ(AF_UNIX, v);
  SYS(getsockopt(s, SOL_SOCKET, SO_PROTOCOL, &v, &n));
  EQ(0, v);
  SYS(getsockopt(s, SOL_SOCKET, SO_ACCEPTCONN, &v, &n));
  EQ(0, v);
  v = 5;
  SYS(setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &v, sizeof(v)));
  SYS(getsockopt(s, SOL_SOCKET, SO_REUSEADDR, &v, &n));
  EQ(1, v);
  ERR(ENOPROTOOPT, setsockopt(s, SOL_SOCKET, SO_TYPE, &v, sizeof(v)));
  ERR(ENOPROTOOPT, setsockopt(s, SOL_SOCKET, 9999, &v, sizeof(v)));
  ERR(ENOPROTOOPT, getsockopt(s, SOL_SOCKET, 9999, &v, &n));
  ERR(EOPNOTSUPP, setsockopt(s, 6, 1, &v, sizeof(v)));
  ERR(EOPNOTSUPP, getsockopt(s, 6, 1, &v, &n));
  ERR(EINVAL, setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &v, 2));
  ERR(EINVAL, setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &v, -1));
  n = -1;
  ERR(EINVAL, getsockopt(s, SOL_SOCKET, SO_TYPE, &v, &n));
  n = 2;
  v = 0;
  SYS(getsockopt(s, SOL_SOCKET, SO_TYPE, &v, &n));
  EQ(2, n);
  EQ(SOCK_STREAM, v);
}

static void many_sockets(void) {
  int n = 0, s[2];
  while (socketpair(AF_UNIX, SOCK_STREAM, 0, s) == 0) n++;
  EQ(EMFILE, errno);
  CHECK(n > 100);
}

static void child_reads(void) {
  int s[2];
  pair(SOCK_STREAM, s);
  pid_t pid = SYS(fork());
  if (pid == 0) {
    close(s[0]);
    for (int i = 0; i < 1000; i++) put(s[1], get(s[1]) + 1);
    _exit(0);
  }
  SYS(close(s[1]));
  for (int i = 0; i < 1000; i++) {
    put(s[0], i & 63);
    EQ((i & 63) + 1, get(s[0]));
  }
  EXITS(0, pid);
  EQ(0, SYS(read(s[0], &pid, 1)));
}

static void sigio(void) {
  int s[2], on = 1;
  pair(SOCK_STREAM, s);
  handle(SIGIO, on_signal, 0);
  SYS(ioctl(s[0], FIOASYNC, &on));
  CHECK(fcntl(s[0], F_GETFL) & O_ASYNC);
  EQ(1, SYS(write(s[1], "x", 1)));  // nobody is told
  sleep_ms(20);
  EQ(0, handled);
  SYS(fcntl(s[0], F_SETOWN, getpid()));
  EQ(getpid(), fcntl(s[0], F_GETOWN));
  EQ(1, SYS(write(s[1], "x", 1)));
  for (int i = 0; i < 1000 && handled == 0; i++) sleep_ms(2);
  EQ(1, handled);
  SYS(fcntl(s[0], F_SETFL, 0));
  EQ(1, SYS(write(s[1], "x", 1)));
  sleep_ms(20);
  EQ(1, handled);
}

static void proc_net(void) {
  bound(SOCK_DGRAM, "@runsc-lite proc");
  FILE *f = fopen("/proc/net/unix", "r");
  CHECK(f != NULL);
  char line[512];
  int found = 0;
  CHECK(fgets(line, sizeof(line), f) && strncmp(line, "Num ", 4) == 0);
  while (fgets(line, sizeof(line), f)) {
    char *p = strstr(line, "@runsc-lite proc\n");
    if (!p) continue;
    unsigned long ino;
    unsigned num, refs, proto, flags, type, st;
    EQ(7, sscanf(line, "%x: %x %x %x %x %x %lu", &num, &refs, &proto, &flags, &type, &st, &ino));
    EQ(SOCK_DGRAM, type);
    EQ(1, st);
    found++;
  }
  EQ(1, found);
}

TESTS(T(create_errors), T(create_flags), T(stat_of), T(stream_basic), T(stream_vector), T(stream_peek),
      T(stream_waitall), T(stream_lowat), T(stream_epipe), T(dgram_epipe), T(stream_reset), T(so_error),
      T(stream_shutdown), T(shut_read), T(stream_fill), T(stream_fill_small), T(stream_large), T(sndbuf),
      T(dgram_basic), T(dgram_trunc), T(dgram_size), T(dgram_names), T(dgram_connect), T(dgram_backlog),
      T(dgram_blocks), T(dgram_shut), T(seqpacket_basic), T(unconnected_stream), T(send_to_connected), T(interrupted),
      T(restarted), T(timeouts), T(epoll_edges), T(poll_wakes), T(fionread), T(mmsg), T(oob), T(msg_errors),
      T(name_len), T(options), T(many_sockets), T(child_reads), T(sigio), T(proc_net))
