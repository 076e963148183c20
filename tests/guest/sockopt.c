// Options and control messages of sockets: socket(7), ip(7), ipv6(7), tcp(7).
#include "check.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

static int get_int(int s, int level, int name) {
  int v = -12345;
  socklen_t n = sizeof(v);
  SYS(getsockopt(s, level, name, &v, &n));
  EQ(4, n);
  return v;
}

static int set_int(int s, int level, int name, int v) { return setsockopt(s, level, name, &v, sizeof(v)); }

static int tcp(void) { return SYS(socket(AF_INET, SOCK_STREAM, 0)); }
static int udp(void) { return SYS(socket(AF_INET, SOCK_DGRAM, 0)); }
static int udp6(void) { return SYS(socket(AF_INET6, SOCK_DGRAM, 0)); }

// keeps checks that an option has a value at first, and keeps another.
static void keeps(int s, int level, int name, int first, int then) {
  EQ(first, get_int(s, level, name));
  SYS(set_int(s, level, name, then));
  EQ(then, get_int(s, level, name));
}

static void socket_flags(void) {
  int all[] = {tcp(), udp(), udp6(), SYS(socket(AF_UNIX, SOCK_STREAM, 0))};
  for (size_t i = 0; i < LEN(all); i++) {
    keeps(all[i], SOL_SOCKET, SO_REUSEADDR, 0, 1);
    keeps(all[i], SOL_SOCKET, SO_KEEPALIVE, 0, 1);
    keeps(all[i], SOL_SOCKET, SO_BROADCAST, 0, 1);
    keeps(all[i], SOL_SOCKET, SO_OOBINLINE, 0, 1);
    keeps(all[i], SOL_SOCKET, SO_DONTROUTE, 0, 1);
    keeps(all[i], SOL_SOCKET, SO_PRIORITY, 0, 3);
    EQ(1, get_int(all[i], SOL_SOCKET, SO_RCVLOWAT));
    EQ(1, get_int(all[i], SOL_SOCKET, SO_SNDLOWAT));
    EQ(0, get_int(all[i], SOL_SOCKET, SO_ERROR));
    ERR(ENOPROTOOPT, set_int(all[i], SOL_SOCKET, SO_ERROR, 1));
    ERR(ENOPROTOOPT, set_int(all[i], SOL_SOCKET, SO_DOMAIN, 1));
    ERR(ENOPROTOOPT, set_int(all[i], SOL_SOCKET, 12345, 1));
    ERR(EFAULT, setsockopt(all[i], SOL_SOCKET, SO_REUSEADDR, (void *)8, 4));
    ERR(EFAULT, getsockopt(all[i], SOL_SOCKET, SO_REUSEADDR, (void *)8, &(socklen_t){4}));
  }
}

static void buffers(void) {
  int all[] = {udp(), udp6(), SYS(socket(AF_UNIX, SOCK_DGRAM, 0))};
  for (size_t i = 0; i < LEN(all); i++) {
    EQ(212992, get_int(all[i], SOL_SOCKET, SO_SNDBUF));
    EQ(212992, get_int(all[i], SOL_SOCKET, SO_RCVBUF));
    SYS(set_int(all[i], SOL_SOCKET, SO_SNDBUF, 30000));
    EQ(60000, get_int(all[i], SOL_SOCKET, SO_SNDBUF));
    SYS(set_int(all[i], SOL_SOCKET, SO_RCVBUF, 40000));
    EQ(80000, get_int(all[i], SOL_SOCKET, SO_RCVBUF));
    SYS(set_int(all[i], SOL_SOCKET, SO_RCVBUF, 0));
    EQ(2304, get_int(all[i], SOL_SOCKET, SO_RCVBUF));
    SYS(set_int(all[i], SOL_SOCKET, SO_SNDBUF, 0));
    EQ(4608, get_int(all[i], SOL_SOCKET, SO_SNDBUF));
  }
  int t = tcp();
  SYS(set_int(t, SOL_SOCKET, SO_SNDBUF, 30000));
  EQ(60000, get_int(t, SOL_SOCKET, SO_SNDBUF));
}

static void linger(void) {
  int s = tcp();
  struct linger l = {7, 7};
  socklen_t n = sizeof(l);
  SYS(getsockopt(s, SOL_SOCKET, SO_LINGER, &l, &n));
  CHECK(n == 8 && l.l_onoff == 0 && l.l_linger == 0);
  l = (struct linger){5, 3};
  SYS(setsockopt(s, SOL_SOCKET, SO_LINGER, &l, sizeof(l)));
  SYS(getsockopt(s, SOL_SOCKET, SO_LINGER, &l, &n));
  CHECK(l.l_onoff == 1 && l.l_linger == 3);
  ERR(EINVAL, setsockopt(s, SOL_SOCKET, SO_LINGER, &l, 4));
}

static void timeo(void) {
  int all[] = {tcp(), udp(), SYS(socket(AF_UNIX, SOCK_DGRAM, 0))};
  for (size_t i = 0; i < LEN(all); i++) {
    struct timeval tv = {9, 9};
    socklen_t n = sizeof(tv);
    SYS(getsockopt(all[i], SOL_SOCKET, SO_RCVTIMEO, &tv, &n));
    CHECK(n == 16 && tv.tv_sec == 0 && tv.tv_usec == 0);
    tv = (struct timeval){3, 0};
    SYS(setsockopt(all[i], SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv)));
    SYS(getsockopt(all[i], SOL_SOCKET, SO_SNDTIMEO, &tv, &n));
    CHECK(tv.tv_sec == 3 && tv.tv_usec == 0);
    tv.tv_usec = 2000000;
    ERR(EDOM, setsockopt(all[i], SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv)));
    tv = (struct timeval){-1, 0};
    SYS(setsockopt(all[i], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)));
    char b;
    struct sockaddr_in a = {.sin_family = AF_INET};
    if (i == 1) {
      SYS(bind(all[i], (void *)&a, sizeof(a)));
      ERR(EAGAIN, recv(all[i], &b, 1, 0));
    }
  }
}

static void tcp_options(void) {
  int s = tcp();
  keeps(s, IPPROTO_TCP, TCP_NODELAY, 0, 1);
  keeps(s, IPPROTO_TCP, TCP_CORK, 0, 1);
  keeps(s, IPPROTO_TCP, TCP_KEEPIDLE, 7200, 60);
  keeps(s, IPPROTO_TCP, TCP_KEEPINTVL, 75, 10);
  keeps(s, IPPROTO_TCP, TCP_KEEPCNT, 9, 3);
  keeps(s, IPPROTO_TCP, TCP_SYNCNT, 6, 4);
  keeps(s, IPPROTO_TCP, TCP_USER_TIMEOUT, 0, 5000);
  ERR(EINVAL, set_int(s, IPPROTO_TCP, TCP_KEEPIDLE, 0));
  ERR(EINVAL, set_int(s, IPPROTO_TCP, TCP_KEEPCNT, 200));
  ERR(EINVAL, set_int(s, IPPROTO_TCP, TCP_SYNCNT, 0));
  ERR(EINVAL, set_int(s, IPPROTO_TCP, TCP_USER_TIMEOUT, -1));
  ERR(EINVAL, set_int(s, IPPROTO_TCP, TCP_MAXSEG, 5));
  ERR(EINVAL, setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &s, 2));
  ERR(ENOPROTOOPT, set_int(s, IPPROTO_TCP, 12345, 1));
  ERR(ENOPROTOOPT, getsockopt(s, IPPROTO_TCP, 12345, &s, &(socklen_t){4}));
  int u = udp();
  ERR(ENOPROTOOPT, set_int(u, IPPROTO_TCP, TCP_NODELAY, 1));
}

static void tcp_congestion(void) {
  int s = tcp();
  char name[32] = "";
  socklen_t n = sizeof(name);
  SYS(getsockopt(s, IPPROTO_TCP, TCP_CONGESTION, name, &n));
  EQ(16, n);
  CHECK(name[0] != 0);
  SYS(setsockopt(s, IPPROTO_TCP, TCP_CONGESTION, "reno", 4));
  SYS(getsockopt(s, IPPROTO_TCP, TCP_CONGESTION, name, &n));
  CHECK(strcmp(name, "reno") == 0);
  ERR(ENOENT, setsockopt(s, IPPROTO_TCP, TCP_CONGESTION, "nosuch", 6));
  ERR(EINVAL, setsockopt(s, IPPROTO_TCP, TCP_CONGESTION, "", 0));
}

static void tcp_info(void) {
  int l = tcp(), c = tcp();
  struct tcp_info i;
  socklen_t n = sizeof(i);
  SYS(getsockopt(c, IPPROTO_TCP, TCP_INFO, &i, &n));
  EQ(TCP_CLOSE, i.tcpi_state);
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  SYS(bind(l, (void *)&a, sizeof(a)));
  SYS(listen(l, 1));
  n = sizeof(a);
  SYS(getsockname(l, (void *)&a, &n));
  SYS(connect(c, (void *)&a, sizeof(a)));
  n = sizeof(i);
  SYS(getsockopt(l, IPPROTO_TCP, TCP_INFO, &i, &n));
  EQ(TCP_LISTEN, i.tcpi_state);
  n = sizeof(i);
  SYS(getsockopt(c, IPPROTO_TCP, TCP_INFO, &i, &n));
  EQ(TCP_ESTABLISHED, i.tcpi_state);
  CHECK(i.tcpi_snd_cwnd > 0 && i.tcpi_rto > 0);
  n = 1;
  SYS(getsockopt(c, IPPROTO_TCP, TCP_INFO, &i, &n));
  EQ(1, n);
}

static void ip_options(void) {
  int s = udp();
  keeps(s, IPPROTO_IP, IP_TTL, 64, 77);
  keeps(s, IPPROTO_IP, IP_TOS, 0, 0x10);
  keeps(s, IPPROTO_IP, IP_MULTICAST_TTL, 1, 5);
  keeps(s, IPPROTO_IP, IP_MULTICAST_LOOP, 1, 0);
  keeps(s, IPPROTO_IP, IP_RECVTTL, 0, 1);
  keeps(s, IPPROTO_IP, IP_RECVTOS, 0, 1);
  keeps(s, IPPROTO_IP, IP_PKTINFO, 0, 1);
  keeps(s, IPPROTO_IP, IP_RECVERR, 0, 1);
  ERR(EINVAL, set_int(s, IPPROTO_IP, IP_TTL, 0));
  ERR(EINVAL, set_int(s, IPPROTO_IP, IP_TTL, 256));
  ERR(EINVAL, set_int(s, IPPROTO_IP, IP_MULTICAST_TTL, 256));
  ERR(ENOPROTOOPT, set_int(s, IPPROTO_IP, 12345, 1));
  ERR(ENOTCONN, getsockopt(s, IPPROTO_IP, IP_MTU, &s, &(socklen_t){4}));
  unsigned char one = 9;
  socklen_t n = 1;
  int t = udp();
  SYS(setsockopt(t, IPPROTO_IP, IP_MULTICAST_TTL, &one, 1));
  one = 0;
  SYS(getsockopt(t, IPPROTO_IP, IP_MULTICAST_TTL, &one, &n));
  EQ(9, one);
}

static void ipv6_options(void) {
  int s = udp6();
  keeps(s, IPPROTO_IPV6, IPV6_UNICAST_HOPS, 64, 33);
  keeps(s, IPPROTO_IPV6, IPV6_MULTICAST_HOPS, 1, 5);
  keeps(s, IPPROTO_IPV6, IPV6_MULTICAST_LOOP, 1, 0);
  keeps(s, IPPROTO_IPV6, IPV6_RECVPKTINFO, 0, 1);
  keeps(s, IPPROTO_IPV6, IPV6_RECVHOPLIMIT, 0, 1);
  keeps(s, IPPROTO_IPV6, IPV6_RECVTCLASS, 0, 1);
  keeps(s, IPPROTO_IPV6, IPV6_TCLASS, 0, 0x20);
  keeps(s, IPPROTO_IPV6, IPV6_V6ONLY, 0, 1);
  ERR(EINVAL, set_int(s, IPPROTO_IPV6, IPV6_UNICAST_HOPS, 256));
  ERR(EINVAL, set_int(s, IPPROTO_IPV6, IPV6_UNICAST_HOPS, -2));
  ERR(ENOPROTOOPT, set_int(s, IPPROTO_IPV6, 12345, 1));
  int u = udp();
  ERR(ENOPROTOOPT, set_int(u, IPPROTO_IPV6, IPV6_V6ONLY, 1));
}

static void bind_device(void) {
  int s = udp();
  char name[16];
  socklen_t n = sizeof(name);
  SYS(getsockopt(s, SOL_SOCKET, SO_BINDTODEVICE, name, &n));
  EQ(0, n);
  SYS(setsockopt(s, SOL_SOCKET, SO_BINDTODEVICE, "lo", 2));
  n = sizeof(name);
  SYS(getsockopt(s, SOL_SOCKET, SO_BINDTODEVICE, name, &n));
  EQ(3, n);
  CHECK(strcmp(name, "lo") == 0);
  ERR(ENODEV, setsockopt(s, SOL_SOCKET, SO_BINDTODEVICE, "nosuch", 6));
}

static void privileged(void) {
  if (getuid() == 0) SYS(setresuid(1234, 1234, 1234));
  int s = udp();
  ERR(EPERM, set_int(s, SOL_SOCKET, SO_RCVBUFFORCE, 1000));
  ERR(EPERM, set_int(s, SOL_SOCKET, SO_MARK, 1));
  ERR(EPERM, set_int(s, SOL_SOCKET, SO_PRIORITY, 7));
  ERR(EACCES, set_int(s, SOL_SOCKET, SO_DEBUG, 1));
}

// receive reads one datagram, with its control messages.
static struct cmsghdr *receive(int s, struct msghdr *m) {
  static char b[64];
  static union {
    char buf[512];
    struct cmsghdr align;
  } c;
  static struct iovec v = {b, sizeof(b)};
  *m = (struct msghdr){.msg_iov = &v, .msg_iovlen = 1, .msg_control = c.buf, .msg_controllen = sizeof(c.buf)};
  struct pollfd p = {s, POLLIN, 0};
  EQ(1, SYS(poll(&p, 1, 2000)));
  SYS(recvmsg(s, m, 0));
  return CMSG_FIRSTHDR(m);
}

static int bound(int s, struct sockaddr_in *a) {
  *a = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  SYS(bind(s, (void *)a, sizeof(*a)));
  socklen_t n = sizeof(*a);
  SYS(getsockname(s, (void *)a, &n));
  return s;
}

static void cmsg_ttl(void) {
  struct sockaddr_in a;
  struct msghdr m;
  int r = bound(udp(), &a), s = udp();
  SYS(set_int(r, IPPROTO_IP, IP_RECVTTL, 1));
  SYS(set_int(s, IPPROTO_IP, IP_TTL, 42));
  SYS(sendto(s, "x", 1, 0, (void *)&a, sizeof(a)));
  struct cmsghdr *h = receive(r, &m);
  CHECK(h && h->cmsg_level == IPPROTO_IP && h->cmsg_type == IP_TTL && h->cmsg_len == CMSG_LEN(4));
  EQ(42, *(int *)CMSG_DATA(h));
  EQ(CMSG_SPACE(4), m.msg_controllen);
  // And one for a single packet.
  union {
    char buf[CMSG_SPACE(4)];
    struct cmsghdr align;
  } c = {0};
  struct iovec v = {"x", 1};
  struct msghdr out = {.msg_iov = &v, .msg_iovlen = 1, .msg_name = &a, .msg_namelen = sizeof(a), .msg_control = c.buf, .msg_controllen = sizeof(c.buf)};
  h = CMSG_FIRSTHDR(&out);
  h->cmsg_level = IPPROTO_IP;
  h->cmsg_type = IP_TTL;
  h->cmsg_len = CMSG_LEN(4);
  *(int *)CMSG_DATA(h) = 17;
  EQ(1, SYS(sendmsg(s, &out, 0)));
  h = receive(r, &m);
  EQ(17, *(int *)CMSG_DATA(h));
  *(int *)CMSG_DATA(CMSG_FIRSTHDR(&out)) = 0;
  ERR(EINVAL, sendmsg(s, &out, 0));
}

static void cmsg_pktinfo(void) {
  struct sockaddr_in a;
  struct msghdr m;
  int r = bound(udp(), &a), s = udp();
  SYS(set_int(r, IPPROTO_IP, IP_PKTINFO, 1));
  SYS(sendto(s, "x", 1, 0, (void *)&a, sizeof(a)));
  struct cmsghdr *h = receive(r, &m);
  CHECK(h && h->cmsg_type == IP_PKTINFO && h->cmsg_len == CMSG_LEN(sizeof(struct in_pktinfo)));
  struct in_pktinfo *p = (void *)CMSG_DATA(h);
  EQ(1, p->ipi_ifindex);
  EQ(htonl(INADDR_LOOPBACK), p->ipi_addr.s_addr);
  EQ(htonl(INADDR_LOOPBACK), p->ipi_spec_dst.s_addr);
}

static void cmsg_timestamp(void) {
  struct sockaddr_in a;
  struct msghdr m;
  int r = bound(udp(), &a), s = udp();
  SYS(set_int(r, SOL_SOCKET, SO_TIMESTAMP, 1));
  SYS(sendto(s, "x", 1, 0, (void *)&a, sizeof(a)));
  struct cmsghdr *h = receive(r, &m);
  CHECK(h && h->cmsg_level == SOL_SOCKET && h->cmsg_type == SO_TIMESTAMP && h->cmsg_len == CMSG_LEN(sizeof(struct timeval)));
  struct timeval *tv = (void *)CMSG_DATA(h);
  CHECK(labs(tv->tv_sec - time(NULL)) < 5 && tv->tv_usec < 1000000);
}

static void cmsg_trunc(void) {
  struct sockaddr_in a;
  int r = bound(udp(), &a), s = udp();
  SYS(set_int(r, IPPROTO_IP, IP_RECVTTL, 1));
  SYS(sendto(s, "x", 1, 0, (void *)&a, sizeof(a)));
  char b[4], c[20];
  struct iovec v = {b, 4};
  struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = c, .msg_controllen = 8};
  EQ(1, SYS(recvmsg(r, &m, 0)));
  EQ(MSG_CTRUNC, m.msg_flags);
  EQ(0, m.msg_controllen);
}

static void cmsg_six(void) {
  struct sockaddr_in6 a = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
  struct msghdr m;
  int r = udp6(), s = udp6();
  SYS(bind(r, (void *)&a, sizeof(a)));
  socklen_t n = sizeof(a);
  SYS(getsockname(r, (void *)&a, &n));
  SYS(set_int(r, IPPROTO_IPV6, IPV6_RECVHOPLIMIT, 1));
  SYS(set_int(s, IPPROTO_IPV6, IPV6_UNICAST_HOPS, 21));
  SYS(sendto(s, "x", 1, 0, (void *)&a, sizeof(a)));
  struct cmsghdr *h = receive(r, &m);
  CHECK(h && h->cmsg_level == IPPROTO_IPV6 && h->cmsg_type == IPV6_HOPLIMIT);
  EQ(21, *(int *)CMSG_DATA(h));
  SYS(set_int(r, IPPROTO_IPV6, IPV6_RECVHOPLIMIT, 0));
  SYS(set_int(r, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1));
  SYS(sendto(s, "x", 1, 0, (void *)&a, sizeof(a)));
  h = receive(r, &m);
  CHECK(h && h->cmsg_type == IPV6_PKTINFO);
  struct in6_pktinfo *p = (void *)CMSG_DATA(h);
  CHECK(p->ipi6_ifindex == 1 && memcmp(&p->ipi6_addr, &in6addr_loopback, 16) == 0);
}

static void errqueue(void) {
  struct sockaddr_in a;
  int d = bound(udp(), &a), s = udp();
  SYS(close(d));
  SYS(set_int(s, IPPROTO_IP, IP_RECVERR, 1));
  SYS(connect(s, (void *)&a, sizeof(a)));
  EQ(2, SYS(send(s, "ab", 2, 0)));
  struct pollfd p = {s, POLLIN, 0};
  EQ(1, SYS(poll(&p, 1, 2000)));
  CHECK(p.revents & POLLERR);
  char b[8], c[256];
  struct sockaddr_in from;
  struct iovec v = {b, 8};
  struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = c, .msg_controllen = sizeof(c), .msg_name = &from, .msg_namelen = sizeof(from)};
  EQ(2, SYS(recvmsg(s, &m, MSG_ERRQUEUE)));
  CHECK(m.msg_flags & MSG_ERRQUEUE);
  EQ(a.sin_port, from.sin_port);
  struct cmsghdr *h = CMSG_FIRSTHDR(&m);
  CHECK(h && h->cmsg_level == IPPROTO_IP && h->cmsg_type == IP_RECVERR);
  struct {
    unsigned number;
    unsigned char origin, type, code, pad;
  } *e = (void *)CMSG_DATA(h);
  EQ(ECONNREFUSED, e->number);
  EQ(2, e->origin);  // SO_EE_ORIGIN_ICMP
  EQ(3, e->type);
  EQ(3, e->code);
  ERR(EAGAIN, recvmsg(s, &m, MSG_ERRQUEUE));
}

static void wild(void) {
  // Any option of any level with any value: errors are fine, the kernel lives.
  unsigned seed = 99;
  static char value[4200];
  int all[] = {tcp(), udp(), udp6(), SYS(socket(AF_INET6, SOCK_STREAM, 0)), SYS(socket(AF_UNIX, SOCK_STREAM, 0)), SYS(socket(AF_NETLINK, SOCK_RAW, 0))};
  static const int levels[] = {SOL_SOCKET, IPPROTO_TCP, IPPROTO_IP, IPPROTO_IPV6, 270, 17, 58};
  for (int i = 0; i < 20000; i++) {
    seed = seed * 1103515245 + 12345;
    int s = all[(seed >> 8) % LEN(all)], level = levels[(seed >> 16) % LEN(levels)], name = (seed >> 20) % 90;
    socklen_t n = (seed >> 11) % 3 ? (seed >> 5) % 40 : (seed >> 9) % 4200;
    for (int j = 0; j < 40; j += 4) {
      seed = seed * 1103515245 + 12345;
      int x = seed >> 28 < 6 ? (int)(seed >> 8) : (int)(seed >> 16) % 5 - 1;
      memcpy(value + j, &x, 4);
    }
    // No time limits and devices: the rest of the test would wait.
    setsockopt(s, level, name, value, n);
    getsockopt(s, level, name, value, &n);
  }
  int s = tcp();
  EQ(0, get_int(s, SOL_SOCKET, SO_ERROR));
}

TESTS(T(socket_flags), T(buffers), T(linger), T(timeo), T(tcp_options), T(tcp_congestion), T(tcp_info), T(ip_options),
      T(ipv6_options), T(bind_device), T(privileged), T(cmsg_ttl), T(cmsg_pktinfo), T(cmsg_timestamp), T(cmsg_trunc), T(cmsg_six),
      T(errqueue), T(wild))
