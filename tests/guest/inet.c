// Sockets of AF_INET and AF_INET6 on the loopback link: ip(7), tcp(7), udp(7).
#include "check.h"
#include "inetsock.h"

#include <arpa/inet.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>

static int get_int(int s, int level, int name) {
  int v = -12345;
  socklen_t n = sizeof(v);
  SYS(getsockopt(s, level, name, &v, &n));
  return v;
}

static void set_int(int s, int level, int name, int v) { SYS(setsockopt(s, level, name, &v, sizeof(v))); }

static void create_errors(void) {
  ERR(EPROTONOSUPPORT, socket(AF_INET, SOCK_STREAM, IPPROTO_UDP));
  ERR(EPROTONOSUPPORT, socket(AF_INET, SOCK_DGRAM, IPPROTO_TCP));
  ERR(EPROTONOSUPPORT, socket(AF_INET6, SOCK_STREAM, 99));
  ERR(EINVAL, socket(AF_INET, SOCK_STREAM, -1));
  ERR(EINVAL, socket(AF_INET, SOCK_STREAM, 1000));
  ERR(ESOCKTNOSUPPORT, socket(AF_INET, SOCK_RDM, 0));
  ERR(ESOCKTNOSUPPORT, socket(AF_INET, SOCK_SEQPACKET, 0));
  int s[2];
  ERR(EOPNOTSUPP, socketpair(AF_INET, SOCK_STREAM, 0, s));
  EQ(IPPROTO_TCP, get_int(SYS(socket(AF_INET, SOCK_STREAM, 0)), SOL_SOCKET, SO_PROTOCOL));
  EQ(IPPROTO_UDP, get_int(SYS(socket(AF_INET6, SOCK_DGRAM, 0)), SOL_SOCKET, SO_PROTOCOL));
  EQ(AF_INET6, get_int(SYS(socket(AF_INET6, SOCK_DGRAM, 0)), SOL_SOCKET, SO_DOMAIN));
}

static void tcp_basic(void) {
  int s[2];
  char b[16];
  tcp_pair(s);
  EQ(5, SYS(write(s[0], "hello", 5)));
  EQ(5, SYS(recv(s[1], b, 16, 0)));
  CHECK(memcmp(b, "hello", 5) == 0);
  EQ(3, SYS(send(s[1], "abc", 3, 0)));
  EQ(3, SYS(recv(s[0], b, 3, MSG_WAITALL)));
  ERR(EAGAIN, recv(s[0], b, 1, MSG_DONTWAIT));
  SYS(close(s[0]));
  EQ(0, SYS(read(s[1], b, 1)));
}

static void tcp_names(void) {
  int l = listener(), c = SYS(socket(AF_INET, SOCK_STREAM, 0));
  in4 a, b;
  socklen_t n = sizeof(a);
  SYS(getsockname(c, (void *)&a, &n));
  CHECK(n == sizeof(a) && a.sin_family == AF_INET && a.sin_port == 0 && a.sin_addr.s_addr == 0);
  ERR(ENOTCONN, getpeername(c, (void *)&a, &n));
  SYS(connect4(c, "127.0.0.1", port_of(l)));
  n = sizeof(a);
  int s = SYS(accept(l, (void *)&a, &n));
  EQ(sizeof(a), n);
  SYS(getsockname(c, (void *)&b, &n));
  CHECK(a.sin_port == b.sin_port && a.sin_addr.s_addr == htonl(INADDR_LOOPBACK));
  SYS(getpeername(s, (void *)&b, &n));
  CHECK(a.sin_port == b.sin_port);
  SYS(getpeername(c, (void *)&b, &n));
  EQ(port_of(l), ntohs(b.sin_port));
  n = 4;
  SYS(getpeername(c, (void *)&b, &n));
  EQ(16, n);
}

static void tcp_peek_trunc(void) {
  int s[2];
  char b[16] = {0};
  tcp_pair(s);
  EQ(6, SYS(write(s[0], "abcdef", 6)));
  CHECK(events(s[1], POLLIN, 1000) == POLLIN);
  EQ(3, SYS(recv(s[1], b, 3, MSG_PEEK)));
  EQ(2, SYS(recv(s[1], NULL, 2, MSG_TRUNC)));
  EQ(4, SYS(recv(s[1], b, 16, 0)));
  CHECK(memcmp(b, "cdef", 4) == 0);
}

static void tcp_refused(void) {
  int s = bound(SOCK_STREAM), port = port_of(s);
  SYS(close(s));
  int c = SYS(socket(AF_INET, SOCK_STREAM, 0));
  ERR(ECONNREFUSED, connect4(c, "127.0.0.1", port));
  int n = SYS(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
  ERR(EINPROGRESS, connect4(n, "127.0.0.1", port));
  CHECK(events(n, POLLOUT, 2000) & POLLERR);
  EQ(ECONNREFUSED, get_int(n, SOL_SOCKET, SO_ERROR));
  EQ(0, get_int(n, SOL_SOCKET, SO_ERROR));
}

static void tcp_nonblock(void) {
  int l = listener(), c = SYS(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
  if (connect4(c, "127.0.0.1", port_of(l)) == -1) EQ(EINPROGRESS, errno);
  EQ(POLLOUT, events(c, POLLOUT, 2000));
  EQ(0, get_int(c, SOL_SOCKET, SO_ERROR));
  int r = connect4(c, "127.0.0.1", port_of(l));
  CHECK(r == 0 || errno == EISCONN);
  ERR(EISCONN, connect4(c, "127.0.0.1", port_of(l)));
  EQ(POLLIN, events(l, POLLIN, 2000));
  int s = SYS(accept4(l, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC));
  EQ(O_RDWR | O_NONBLOCK, fcntl(s, F_GETFL));
  EQ(FD_CLOEXEC, fcntl(s, F_GETFD));
  SYS(fcntl(l, F_SETFL, O_NONBLOCK));
  ERR(EAGAIN, accept(l, NULL, NULL));
}

static void tcp_half_close(void) {
  int s[2];
  char b[8];
  tcp_pair(s);
  EQ(2, SYS(write(s[0], "ab", 2)));
  SYS(shutdown(s[0], SHUT_WR));
  EQ(2, SYS(recv(s[1], b, 8, MSG_WAITALL)));
  EQ(0, SYS(read(s[1], b, 8)));
  EQ(POLLIN | POLLRDHUP | POLLOUT, events(s[1], POLLIN | POLLRDHUP | POLLOUT, 1000));
  EQ(3, SYS(write(s[1], "xyz", 3)));
  EQ(3, SYS(recv(s[0], b, 8, 0)));
  ERR(EPIPE, send(s[0], "q", 1, MSG_NOSIGNAL));
  SYS(close(s[1]));
  EQ(0, SYS(read(s[0], b, 8)));
}

static void tcp_shutdown_errors(void) {
  int s = SYS(socket(AF_INET, SOCK_STREAM, 0));
  ERR(ENOTCONN, shutdown(s, SHUT_RDWR));
  ERR(EINVAL, shutdown(s, 7));
  int u = SYS(socket(AF_INET, SOCK_DGRAM, 0));
  ERR(ENOTCONN, shutdown(u, SHUT_RD));
}

static void tcp_reset(void) {
  int s[2];
  char b[8];
  tcp_pair(s);
  struct linger l = {1, 0};
  SYS(setsockopt(s[0], SOL_SOCKET, SO_LINGER, &l, sizeof(l)));
  SYS(close(s[0]));
  CHECK(events(s[1], POLLIN, 2000) & POLLHUP);
  ERR(ECONNRESET, read(s[1], b, 8));
  EQ(0, SYS(read(s[1], b, 8)));
}

static void tcp_epipe(void) {
  int s[2];
  tcp_pair(s);
  SYS(close(s[1]));
  signal(SIGPIPE, SIG_IGN);
  char b = 0;
  long r = 0;
  for (int i = 0; i < 1000 && r != -1; i++) {
    r = send(s[0], &b, 1, 0);
    if (r == -1) break;
    sleep_ms(1);
  }
  EQ(-1, r);
  CHECK(errno == EPIPE || errno == ECONNRESET);
  int u = SYS(socket(AF_INET, SOCK_STREAM, 0));
  ERR(EPIPE, send(u, "x", 1, MSG_NOSIGNAL));
  ERR(ENOTCONN, recv(u, &b, 1, 0));
}

static void *drain(void *arg) {
  int fd = *(int *)arg;
  static char b[100000];
  long total = 0, n;
  while ((n = read(fd, b, sizeof(b))) > 0) {
    for (long i = 0; i < n; i++)
      if (b[i] != (char)((total + i) * 11)) return "wrong byte";
    total += n;
  }
  return total == 8000000 ? NULL : "wrong length";
}

static void tcp_large(void) {
  int s[2];
  tcp_pair(s);
  pthread_t t;
  ZERO(pthread_create(&t, NULL, drain, &s[1]));
  char *b = malloc(8000000);
  for (int i = 0; i < 8000000; i++) b[i] = (char)(i * 11);
  EQ(8000000, SYS(write(s[0], b, 8000000)));
  SYS(shutdown(s[0], SHUT_WR));
  void *bad;
  ZERO(pthread_join(t, &bad));
  if (bad) FAIL("%s", (char *)bad);
}

static void tcp_fill(void) {
  int s[2];
  tcp_pair(s);
  SYS(fcntl(s[0], F_SETFL, O_NONBLOCK));
  static char b[65536];
  long total = 0, n;
  for (int quiet = 0; quiet < 3;) {
    if ((n = write(s[0], b, sizeof(b))) > 0) {
      total += n;
      quiet = 0;
      continue;
    }
    EQ(EAGAIN, errno);
    sleep_ms(10);
    quiet++;
  }
  CHECK(total > 65536 && total < 64 << 20);
  EQ(0, events(s[0], POLLOUT, 0));
  while (total > 0) total -= SYS(read(s[1], b, sizeof(b)));
  EQ(POLLOUT, events(s[0], POLLOUT, 2000));
}

static void tcp_writev(void) {
  int s[2];
  char a[4], b[8];
  tcp_pair(s);
  struct iovec out[3] = {{"ab", 2}, {NULL, 0}, {"cdefg", 5}};
  EQ(7, SYS(writev(s[0], out, 3)));
  CHECK(events(s[1], POLLIN, 1000));
  struct iovec in[2] = {{a, 4}, {b, 8}};
  EQ(7, SYS(readv(s[1], in, 2)));
  CHECK(memcmp(a, "abcd", 4) == 0 && memcmp(b, "efg", 3) == 0);
}

static void tcp_sendfile(void) {
  scratch();
  char *data = malloc(300000), *got = malloc(300000);
  for (int i = 0; i < 300000; i++) data[i] = i * 3;
  make_file("f", data, 300000, 0600);
  int s[2], f = SYS(open("f", O_RDONLY));
  tcp_pair(s);
  pid_t pid = SYS(fork());
  if (pid == 0) {
    for (off_t off = 0; off < 300000;) SYS(sendfile(s[0], f, &off, 300000 - off));
    _exit(0);
  }
  EQ(300000, SYS(recv(s[1], got, 300000, MSG_WAITALL)));
  CHECK(memcmp(data, got, 300000) == 0);
  EXITS(0, pid);
}

static void tcp_listen_states(void) {
  int l = listener();
  char b;
  ERR(EISCONN, connect4(l, "127.0.0.1", port_of(l)));
  ERR(EPIPE, send(l, "x", 1, MSG_NOSIGNAL));
  ERR(ENOTCONN, recv(l, &b, 1, 0));
  EQ(1, get_int(l, SOL_SOCKET, SO_ACCEPTCONN));
  int s[2];
  tcp_pair(s);
  ERR(EINVAL, listen(s[0], 1));
  ERR(EINVAL, accept(s[0], NULL, NULL));
  EQ(0, get_int(s[0], SOL_SOCKET, SO_ACCEPTCONN));
  // A socket that is not bound gets a port by listening.
  int u = SYS(socket(AF_INET, SOCK_STREAM, 0));
  SYS(listen(u, 1));
  CHECK(port_of(u) != 0);
  int d = SYS(socket(AF_INET, SOCK_DGRAM, 0));
  ERR(EOPNOTSUPP, listen(d, 1));
  ERR(EOPNOTSUPP, accept(d, NULL, NULL));
}

static void bind_errors(void) {
  int a = bound(SOCK_STREAM), b = SYS(socket(AF_INET, SOCK_STREAM, 0));
  in4 sa = v4("127.0.0.1", port_of(a));
  SYS(listen(a, 1));
  ERR(EADDRINUSE, bind(b, (void *)&sa, sizeof(sa)));
  ERR(EINVAL, bind(a, (void *)&sa, sizeof(sa)));
  ERR(EINVAL, bind(b, (void *)&sa, 8));
  sa = v4("192.0.2.77", 0);
  ERR(EADDRNOTAVAIL, bind(b, (void *)&sa, sizeof(sa)));
  sa.sin_family = AF_INET6;
  ERR(EAFNOSUPPORT, bind(b, (void *)&sa, sizeof(sa)));
  sa = v4("0.0.0.0", 0);
  sa.sin_family = AF_UNSPEC;
  SYS(bind(b, (void *)&sa, sizeof(sa)));
  int c = SYS(socket(AF_INET6, SOCK_STREAM, 0));
  in6 s6 = v6("::1", 0);
  ERR(EINVAL, bind(c, (void *)&s6, 16));
}

static void bind_low(void) {
  if (getuid() != 0) return;
  SYS(setresuid(4321, 4321, 4321));
  int s = SYS(socket(AF_INET, SOCK_STREAM, 0));
  in4 a = v4("127.0.0.1", 81);
  ERR(EACCES, bind(s, (void *)&a, sizeof(a)));
}

static void loopback_any(void) {
  // All of 127.0.0.0/8 is here, and to "any" is to here.
  int l = SYS(socket(AF_INET, SOCK_STREAM, 0));
  in4 a = v4("127.9.8.7", 0);
  SYS(bind(l, (void *)&a, sizeof(a)));
  SYS(listen(l, 5));
  int c = SYS(socket(AF_INET, SOCK_STREAM, 0));
  SYS(connect4(c, "127.9.8.7", port_of(l)));
  int m = SYS(socket(AF_INET, SOCK_STREAM, 0));
  a = v4("0.0.0.0", 0);
  SYS(bind(m, (void *)&a, sizeof(a)));
  SYS(listen(m, 5));
  int d = SYS(socket(AF_INET, SOCK_STREAM, 0));
  SYS(connect4(d, "0.0.0.0", port_of(m)));
  int s = SYS(accept(m, NULL, NULL));
  EQ(1, SYS(write(d, "x", 1)));
  char b;
  EQ(1, SYS(read(s, &b, 1)));
}

static void reuse_addr(void) {
  int s[2], l = SYS(socket(AF_INET, SOCK_STREAM, 0));
  set_int(l, SOL_SOCKET, SO_REUSEADDR, 1);
  in4 a = v4("127.0.0.1", 0);
  SYS(bind(l, (void *)&a, sizeof(a)));
  SYS(listen(l, 5));
  int port = port_of(l);
  s[0] = SYS(socket(AF_INET, SOCK_STREAM, 0));
  SYS(connect4(s[0], "127.0.0.1", port));
  s[1] = SYS(accept(l, NULL, NULL));
  SYS(close(s[1]));  // the server's side goes to TIME_WAIT
  char b;
  EQ(0, SYS(read(s[0], &b, 1)));
  SYS(close(s[0]));
  SYS(close(l));
  l = SYS(socket(AF_INET, SOCK_STREAM, 0));
  set_int(l, SOL_SOCKET, SO_REUSEADDR, 1);
  a = v4("127.0.0.1", port);
  SYS(bind(l, (void *)&a, sizeof(a)));
  SYS(listen(l, 1));
}

static void reuse_port(void) {
  int a = SYS(socket(AF_INET, SOCK_DGRAM, 0)), b = SYS(socket(AF_INET, SOCK_DGRAM, 0)), c = SYS(socket(AF_INET, SOCK_DGRAM, 0));
  set_int(a, SOL_SOCKET, SO_REUSEPORT, 1);
  set_int(b, SOL_SOCKET, SO_REUSEPORT, 1);
  in4 sa = v4("127.0.0.1", 0);
  SYS(bind(a, (void *)&sa, sizeof(sa)));
  sa.sin_port = htons(port_of(a));
  SYS(bind(b, (void *)&sa, sizeof(sa)));
  ERR(EADDRINUSE, bind(c, (void *)&sa, sizeof(sa)));
  EQ(1, get_int(a, SOL_SOCKET, SO_REUSEPORT));
}

static void udp_basic(void) {
  int a = bound(SOCK_DGRAM), b = bound(SOCK_DGRAM);
  in4 to = v4("127.0.0.1", port_of(b)), from;
  char buf[16];
  EQ(3, SYS(sendto(a, "abc", 3, 0, (void *)&to, sizeof(to))));
  EQ(0, SYS(sendto(a, "", 0, 0, (void *)&to, sizeof(to))));
  EQ(5, SYS(sendto(a, "defgh", 5, 0, (void *)&to, sizeof(to))));
  socklen_t n = sizeof(from);
  EQ(3, SYS(recvfrom(b, buf, 16, 0, (void *)&from, &n)));
  CHECK(n == sizeof(from) && ntohs(from.sin_port) == port_of(a) && from.sin_addr.s_addr == htonl(INADDR_LOOPBACK));
  EQ(0, SYS(recv(b, buf, 16, 0)));
  EQ(5, SYS(recv(b, buf, 2, MSG_TRUNC | MSG_PEEK)));
  struct iovec v = {buf, 2};
  struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1};
  EQ(2, SYS(recvmsg(b, &m, 0)));
  EQ(MSG_TRUNC, m.msg_flags);
  ERR(EAGAIN, recv(b, buf, 16, MSG_DONTWAIT));
}

static void udp_connect(void) {
  int a = bound(SOCK_DGRAM), b = bound(SOCK_DGRAM), c = bound(SOCK_DGRAM);
  char buf[8];
  ERR(EDESTADDRREQ, send(a, "x", 1, 0));
  SYS(connect4(a, "127.0.0.1", port_of(b)));
  EQ(1, SYS(send(a, "x", 1, 0)));
  EQ(1, SYS(recv(b, buf, 8, 0)));
  // Others are not heard any more.
  in4 to = v4("127.0.0.1", port_of(a));
  EQ(1, SYS(sendto(c, "y", 1, 0, (void *)&to, sizeof(to))));
  sleep_ms(5);
  ERR(EAGAIN, recv(a, buf, 8, MSG_DONTWAIT));
  to = v4("127.0.0.1", port_of(c));
  EQ(1, SYS(sendto(a, "z", 1, 0, (void *)&to, sizeof(to))));
  EQ(1, SYS(recv(c, buf, 8, 0)));
  struct sockaddr none = {.sa_family = AF_UNSPEC};
  SYS(connect(a, &none, sizeof(none)));
  socklen_t n = sizeof(to);
  ERR(ENOTCONN, getpeername(a, (void *)&to, &n));
  ERR(EDESTADDRREQ, send(a, "x", 1, 0));
}

static void udp_refused(void) {
  int a = bound(SOCK_DGRAM), b = bound(SOCK_DGRAM), port = port_of(b);
  SYS(close(b));
  SYS(connect4(a, "127.0.0.1", port));
  EQ(1, SYS(send(a, "x", 1, 0)));
  CHECK(events(a, POLLIN, 1000) & POLLERR);
  char buf[8];
  ERR(ECONNREFUSED, recv(a, buf, 8, MSG_DONTWAIT));
  ERR(EAGAIN, recv(a, buf, 8, MSG_DONTWAIT));
}

static void udp_size(void) {
  int a = bound(SOCK_DGRAM), b = bound(SOCK_DGRAM);
  in4 to = v4("127.0.0.1", port_of(b));
  char *buf = calloc(1, 70000);
  EQ(65507, SYS(sendto(a, buf, 65507, 0, (void *)&to, sizeof(to))));
  EQ(65507, SYS(recv(b, buf, 70000, 0)));
  ERR(EMSGSIZE, sendto(a, buf, 65508, 0, (void *)&to, sizeof(to)));
  ERR(EMSGSIZE, sendto(a, buf, 70000, 0, (void *)&to, sizeof(to)));
  ERR(EINVAL, sendto(a, buf, 1, 0, (void *)&to, 8));
  to.sin_port = 0;
  ERR(EINVAL, sendto(a, buf, 1, 0, (void *)&to, sizeof(to)));
}

static void udp_shutdown(void) {
  int a = bound(SOCK_DGRAM), b = bound(SOCK_DGRAM);
  SYS(connect4(a, "127.0.0.1", port_of(b)));
  SYS(shutdown(a, SHUT_RD));
  char c;
  EQ(0, SYS(recv(a, &c, 1, 0)));
  SYS(shutdown(a, SHUT_WR));
  ERR(EPIPE, send(a, "x", 1, 0));  // without a signal
}

static void udp_drops(void) {
  // What does not fit into the receive buffer is lost; memory stays bounded.
  int a = bound(SOCK_DGRAM), b = bound(SOCK_DGRAM);
  in4 to = v4("127.0.0.1", port_of(b));
  static char buf[4096];
  for (int i = 0; i < 2000; i++) EQ(4096, SYS(sendto(a, buf, 4096, 0, (void *)&to, sizeof(to))));
  int n = 0;
  sleep_ms(10);
  while (recv(b, buf, 4096, MSG_DONTWAIT) == 4096) n++;
  CHECK(n >= 20 && n < 500);
}

static void udp_fionread(void) {
  int a = bound(SOCK_DGRAM), b = bound(SOCK_DGRAM), n;
  in4 to = v4("127.0.0.1", port_of(b));
  SYS(ioctl(b, FIONREAD, &n));
  EQ(0, n);
  EQ(7, SYS(sendto(a, "1234567", 7, 0, (void *)&to, sizeof(to))));
  CHECK(events(b, POLLIN, 1000));
  SYS(ioctl(b, FIONREAD, &n));
  EQ(7, n);
  EQ(POLLOUT, events(a, POLLIN | POLLOUT, 0));
}

static void udp_mmsg(void) {
  int a = bound(SOCK_DGRAM), b = bound(SOCK_DGRAM);
  SYS(connect4(a, "127.0.0.1", port_of(b)));
  struct iovec v[3] = {{"a", 1}, {"bc", 2}, {"def", 3}};
  struct mmsghdr m[3] = {0};
  for (int i = 0; i < 3; i++) m[i].msg_hdr = (struct msghdr){.msg_iov = &v[i], .msg_iovlen = 1};
  EQ(3, SYS(sendmmsg(a, m, 3, 0)));
  char buf[3][8];
  in4 from[3];
  struct iovec in[3];
  struct mmsghdr r[3] = {0};
  for (int i = 0; i < 3; i++) {
    in[i] = (struct iovec){buf[i], 8};
    r[i].msg_hdr = (struct msghdr){.msg_iov = &in[i], .msg_iovlen = 1, .msg_name = &from[i], .msg_namelen = sizeof(in4)};
  }
  EQ(3, SYS(recvmmsg(b, r, 3, 0, NULL)));
  for (int i = 0; i < 3; i++) {
    EQ(i + 1, r[i].msg_len);
    EQ(port_of(a), ntohs(from[i].sin_port));
  }
}

static void tcp6(void) {
  int l = bound6(SOCK_STREAM), c = SYS(socket(AF_INET6, SOCK_STREAM, 0));
  SYS(listen(l, 5));
  in6 a = v6("::1", port_of(l)), got;
  SYS(connect(c, (void *)&a, sizeof(a)));
  socklen_t n = sizeof(got);
  int s = SYS(accept(l, (void *)&got, &n));
  EQ(28, n);
  CHECK(got.sin6_family == AF_INET6 && memcmp(&got.sin6_addr, &in6addr_loopback, 16) == 0);
  EQ(port_of(c), ntohs(got.sin6_port));
  EQ(3, SYS(write(c, "six", 3)));
  char b[4];
  EQ(3, SYS(read(s, b, 4)));
}

static void udp6(void) {
  int a = bound6(SOCK_DGRAM), b = bound6(SOCK_DGRAM);
  in6 to = v6("::1", port_of(b)), from;
  EQ(2, SYS(sendto(a, "hi", 2, 0, (void *)&to, sizeof(to))));
  socklen_t n = sizeof(from);
  char buf[8];
  EQ(2, SYS(recvfrom(b, buf, 8, 0, (void *)&from, &n)));
  CHECK(n == 28 && memcmp(&from.sin6_addr, &in6addr_loopback, 16) == 0);
  in4 four = v4("127.0.0.1", port_of(b));
  int p = SYS(socket(AF_INET, SOCK_DGRAM, 0));
  ERR(EAFNOSUPPORT, sendto(p, "x", 1, 0, (void *)&to, sizeof(to)));
  SYS(sendto(p, "x", 1, 0, (void *)&four, sizeof(four)));
}

static void mapped(void) {
  // A socket of IPv6 serves IPv4, too, unless it is told not to.
  int l = SYS(socket(AF_INET6, SOCK_STREAM, 0));
  in6 a = v6("::", 0), got;
  SYS(bind(l, (void *)&a, sizeof(a)));
  SYS(listen(l, 5));
  int c = SYS(socket(AF_INET, SOCK_STREAM, 0));
  SYS(connect4(c, "127.0.0.1", port_of(l)));
  socklen_t n = sizeof(got);
  int s = SYS(accept(l, (void *)&got, &n));
  char text[64];
  CHECK(strcmp(inet_ntop(AF_INET6, &got.sin6_addr, text, sizeof(text)), "::ffff:127.0.0.1") == 0);
  EQ(1, SYS(write(s, "x", 1)));
  int v = listener();
  a = v6("::ffff:127.0.0.1", port_of(v));
  int d = SYS(socket(AF_INET6, SOCK_STREAM, 0));
  SYS(connect(d, (void *)&a, sizeof(a)));
  n = sizeof(got);
  SYS(getpeername(d, (void *)&got, &n));
  CHECK(strcmp(inet_ntop(AF_INET6, &got.sin6_addr, text, sizeof(text)), "::ffff:127.0.0.1") == 0);
}

static void v6only(void) {
  int l = SYS(socket(AF_INET6, SOCK_STREAM, 0));
  EQ(0, get_int(l, IPPROTO_IPV6, IPV6_V6ONLY));
  set_int(l, IPPROTO_IPV6, IPV6_V6ONLY, 1);
  EQ(1, get_int(l, IPPROTO_IPV6, IPV6_V6ONLY));
  in6 a = v6("::", 0);
  SYS(bind(l, (void *)&a, sizeof(a)));
  SYS(listen(l, 5));
  int zero = 0;
  ERR(EINVAL, setsockopt(l, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof(zero)));
  int c = SYS(socket(AF_INET, SOCK_STREAM, 0));
  ERR(ECONNREFUSED, connect4(c, "127.0.0.1", port_of(l)));
  int b = SYS(socket(AF_INET, SOCK_STREAM, 0));
  in4 four = v4("0.0.0.0", port_of(l));
  SYS(bind(b, (void *)&four, sizeof(four)));
}

static volatile int handled;
static void on_signal(int sig UNUSED) { handled++; }
static pthread_t main_thread;

static void *signal_later(void *arg UNUSED) {
  sleep_ms(40);
  pthread_kill(main_thread, SIGUSR1);
  return NULL;
}

static void interrupted(void) {
  int l = listener(), s[2];
  char b;
  pthread_t t;
  main_thread = pthread_self();
  tcp_pair(s);
  handle(SIGUSR1, on_signal, 0);
  ZERO(pthread_create(&t, NULL, signal_later, NULL));
  ERR(EINTR, accept(l, NULL, NULL));
  ZERO(pthread_join(t, NULL));
  ZERO(pthread_create(&t, NULL, signal_later, NULL));
  ERR(EINTR, read(s[0], &b, 1));
  ZERO(pthread_join(t, NULL));
  struct timeval tv = {9, 0};
  SYS(setsockopt(l, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)));
  handle(SIGUSR1, on_signal, SA_RESTART);
  ZERO(pthread_create(&t, NULL, signal_later, NULL));
  ERR(EINTR, accept(l, NULL, NULL));
  ZERO(pthread_join(t, NULL));
  EQ(3, handled);
}

static int late_port;
static void *connect_later(void *arg) {
  signal_later(arg);
  sleep_ms(20);
  return connect4(socket(AF_INET, SOCK_STREAM, 0), "127.0.0.1", late_port) == 0 ? NULL : "connect";
}

static void restarted(void) {
  int l = listener();
  pthread_t t;
  main_thread = pthread_self();
  late_port = port_of(l);
  handle(SIGUSR1, on_signal, SA_RESTART);
  ZERO(pthread_create(&t, NULL, connect_later, NULL));
  SYS(accept(l, NULL, NULL));
  EQ(1, handled);
  ZERO(pthread_join(t, NULL));
}

static void timeouts(void) {
  int s[2], l = listener();
  char b[4096] = {0};
  tcp_pair(s);
  struct timeval tv = {0, 30000};
  SYS(setsockopt(s[0], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)));
  SYS(setsockopt(l, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)));
  long long begin = now_ns();
  ERR(EAGAIN, read(s[0], b, 1));
  ERR(EAGAIN, accept(l, NULL, NULL));
  CHECK(now_ns() - begin >= 50 * MS);
  int u = bound(SOCK_DGRAM);
  SYS(setsockopt(u, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)));
  ERR(EAGAIN, recv(u, b, 1, 0));
}

static void epoll_edges(void) {
  int s[2], e = SYS(epoll_create1(0));
  tcp_pair(s);
  struct epoll_event ev = {.events = EPOLLIN | EPOLLET | EPOLLRDHUP}, got;
  SYS(epoll_ctl(e, EPOLL_CTL_ADD, s[0], &ev));
  EQ(0, SYS(epoll_wait(e, &got, 1, 0)));
  EQ(1, SYS(write(s[1], "a", 1)));
  EQ(1, SYS(epoll_wait(e, &got, 1, 2000)));
  EQ(EPOLLIN, got.events);
  EQ(0, SYS(epoll_wait(e, &got, 1, 0)));
  EQ(1, SYS(write(s[1], "b", 1)));
  EQ(1, SYS(epoll_wait(e, &got, 1, 2000)));
  SYS(shutdown(s[1], SHUT_WR));
  EQ(1, SYS(epoll_wait(e, &got, 1, 2000)));
  EQ(EPOLLIN | EPOLLRDHUP, got.events);
}

static void ping_pong(void) {
  int s[2];
  tcp_pair(s);
  set_int(s[0], IPPROTO_TCP, TCP_NODELAY, 1);
  set_int(s[1], IPPROTO_TCP, TCP_NODELAY, 1);
  pid_t pid = SYS(fork());
  if (pid == 0) {
    close(s[0]);
    for (int i = 0; i < 500; i++) put(s[1], get(s[1]) + 1);
    _exit(0);
  }
  SYS(close(s[1]));
  for (int i = 0; i < 500; i++) {
    put(s[0], i & 63);
    EQ((i & 63) + 1, get(s[0]));
  }
  EXITS(0, pid);
  char b;
  EQ(0, SYS(read(s[0], &b, 1)));
}

static void storm(void) {
  // Connections up to the limit of descriptors, twice.
  struct {
    unsigned long cur, max;
  } lim = {300, 300};
  SYS(syscall(SYS_setrlimit, 7, &lim));
  for (int round = 0; round < 2; round++) {
    int l = listener(), n = 0, fds[400];
    SYS(listen(l, 200));
    for (;; n++) {
      if ((fds[n] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0)) < 0) break;
      if (connect4(fds[n], "127.0.0.1", port_of(l)) == -1) EQ(EINPROGRESS, errno);
    }
    EQ(EMFILE, errno);
    CHECK(n > 200);
    ERR(EMFILE, accept(l, NULL, NULL));
    SYS(close(fds[--n]));
    fds[n] = SYS(accept(l, NULL, NULL));
    n++;
    while (n > 0) SYS(close(fds[--n]));
    SYS(close(l));
  }
}

static void oob_refused(void) {
  int u = bound(SOCK_DGRAM);
  ERR(EOPNOTSUPP, send(u, "x", 1, MSG_OOB));
}

static unsigned short sum(const void *p, size_t n) {
  const unsigned char *b = p;
  unsigned total = 0;
  for (size_t i = 0; i < n; i += 2) total += b[i] << 8 | (i + 1 < n ? b[i + 1] : 0);
  while (total >> 16) total = (total & 0xffff) + (total >> 16);
  return htons(~total);
}

static void raw_ping(void) {
  if (getuid() != 0) return;
  int s = socket(AF_INET, SOCK_RAW, IPPROTO_ICMP);
  if (s == -1 && errno == EPERM) return;
  struct icmphdr h = {.type = ICMP_ECHO, .un.echo = {htons(77), htons(1)}};
  h.checksum = sum(&h, sizeof(h));
  in4 to = v4("127.0.0.1", 0);
  EQ(8, SYS(sendto(s, &h, 8, 0, (void *)&to, sizeof(to))));
  unsigned char b[128];
  for (;;) {
    CHECK(events(s, POLLIN, 2000));
    long n = SYS(recv(s, b, sizeof(b), 0));
    if (n == 28 && b[20] == ICMP_ECHOREPLY) break;
  }
  EQ(4, b[0] >> 4);
  ERR(EPROTONOSUPPORT, socket(AF_INET, SOCK_RAW, 0));
  SYS(setresuid(1234, 1234, 1234));
  ERR(EPERM, socket(AF_INET, SOCK_RAW, IPPROTO_ICMP));
}

static void multicast(void) {
  int a = SYS(socket(AF_INET, SOCK_DGRAM, 0)), b = SYS(socket(AF_INET, SOCK_DGRAM, 0));
  in4 any = v4("0.0.0.0", 0);
  SYS(bind(b, (void *)&any, sizeof(any)));
  struct ip_mreqn m = {.imr_ifindex = 1};
  inet_pton(AF_INET, "239.1.2.3", &m.imr_multiaddr);
  SYS(setsockopt(b, IPPROTO_IP, IP_ADD_MEMBERSHIP, &m, sizeof(m)));
  ERR(EADDRINUSE, setsockopt(b, IPPROTO_IP, IP_ADD_MEMBERSHIP, &m, sizeof(m)));
  SYS(setsockopt(a, IPPROTO_IP, IP_MULTICAST_IF, &m, sizeof(m)));
  in4 to = v4("239.1.2.3", port_of(b));
  EQ(2, SYS(sendto(a, "mc", 2, 0, (void *)&to, sizeof(to))));
  char buf[4];
  CHECK(events(b, POLLIN, 2000) == POLLIN);
  EQ(2, SYS(recv(b, buf, 4, 0)));
  SYS(setsockopt(b, IPPROTO_IP, IP_DROP_MEMBERSHIP, &m, sizeof(m)));
  ERR(EADDRNOTAVAIL, setsockopt(b, IPPROTO_IP, IP_DROP_MEMBERSHIP, &m, sizeof(m)));
  inet_pton(AF_INET, "10.1.2.3", &m.imr_multiaddr);
  ERR(EINVAL, setsockopt(b, IPPROTO_IP, IP_ADD_MEMBERSHIP, &m, sizeof(m)));
}

static int in_table(const char *path, int port, int state) {
  FILE *f = fopen(path, "r");
  CHECK(f != NULL);
  char line[512];
  CHECK(fgets(line, sizeof(line), f) != NULL);
  while (fgets(line, sizeof(line), f)) {
    unsigned lport, st;
    char ip[40], remote[64];
    CHECK(sscanf(line, " %*d: %32[0-9A-F]:%x %60s %x", ip, &lport, remote, &st) == 4);
    if ((int)lport == port && (int)st == state) {
      fclose(f);
      return 1;
    }
  }
  fclose(f);
  return 0;
}

static void proc_net(void) {
  int l = listener(), u = bound(SOCK_DGRAM), six = bound6(SOCK_STREAM);
  SYS(listen(six, 1));
  CHECK(in_table("/proc/net/tcp", port_of(l), 10));
  CHECK(in_table("/proc/net/udp", port_of(u), 7));
  CHECK(in_table("/proc/net/tcp6", port_of(six), 10));
  int port = port_of(l);
  SYS(close(l));
  CHECK(!in_table("/proc/net/tcp", port, 10));
  static const char *files[] = {"dev", "route", "if_inet6", "snmp", "netstat", "sockstat", "udp6", "raw", "unix"};
  for (size_t i = 0; i < LEN(files); i++) {
    char path[64], b[512];
    snprintf(path, sizeof(path), "/proc/net/%s", files[i]);
    int f = SYS(open(path, O_RDONLY));
    CHECK(SYS(read(f, b, sizeof(b))) > 0);
    SYS(close(f));
  }
}

TESTS(T(create_errors), T(tcp_basic), T(tcp_names), T(tcp_peek_trunc), T(tcp_refused), T(tcp_nonblock), T(tcp_half_close),
      T(tcp_shutdown_errors), T(tcp_reset), T(tcp_epipe), T(tcp_large), T(tcp_fill), T(tcp_writev), T(tcp_sendfile),
      T(tcp_listen_states), T(bind_errors), T(bind_low), T(loopback_any), T(reuse_addr), T(reuse_port), T(udp_basic),
      T(udp_connect), T(udp_refused), T(udp_size), T(udp_shutdown), T(udp_drops), T(udp_fionread), T(udp_mmsg), T(tcp6), T(udp6),
      T(mapped), T(v6only), T(interrupted), T(restarted), T(timeouts), T(epoll_edges), T(ping_pong), T(storm),
      T(oob_refused), T(raw_ping), T(multicast), T(proc_net))
