// What sockets of the internet answer in each of their states, and names of them.
#include "check.h"
#include "inetsock.h"

#include <fcntl.h>
#include <netinet/tcp.h>
#include <sys/wait.h>

static void path_mtu(void) {
  int a = bound(SOCK_DGRAM), b = bound(SOCK_DGRAM), v = 0;
  socklen_t n = sizeof(v);
  SYS(connect4(a, "127.0.0.1", port_of(b)));
  SYS(getsockopt(a, IPPROTO_IP, IP_MTU, &v, &n));
  EQ(65535, v);
  int s[2];
  tcp_pair(s);
  SYS(getsockopt(s[0], IPPROTO_IP, IP_MTU, &v, &n));
  EQ(65535, v);
}

static void udp_disconnect(void) {
  int a = bound(SOCK_DGRAM), b = bound(SOCK_DGRAM);
  in4 name;
  socklen_t n = sizeof(name);
  ERR(ENOTCONN, getpeername(a, (void *)&name, &n));
  ERR(EDESTADDRREQ, send(a, "x", 1, 0));
  SYS(connect4(a, "127.0.0.1", port_of(b)));
  SYS(getpeername(a, (void *)&name, &n));
  EQ(port_of(b), ntohs(name.sin_port));
  struct sockaddr none = {.sa_family = AF_UNSPEC};
  SYS(connect(a, &none, sizeof(none)));
  ERR(ENOTCONN, getpeername(a, (void *)&name, &n));
  ERR(EDESTADDRREQ, send(a, "x", 1, 0));
}

static void bind_twice(void) {
  in4 a = v4("127.0.0.1", 0);
  int t = bound(SOCK_STREAM), u = bound(SOCK_DGRAM);
  ERR(EINVAL, bind(t, (void *)&a, sizeof(a)));
  ERR(EINVAL, bind(u, (void *)&a, sizeof(a)));
  a.sin_addr.s_addr = htonl(0xc0000201);  // 192.0.2.1 is nobody's
  int s = SYS(socket(AF_INET, SOCK_STREAM, 0));
  ERR(EADDRNOTAVAIL, bind(s, (void *)&a, sizeof(a)));
}

static void accept_states(void) {
  int t = bound(SOCK_STREAM), u = bound(SOCK_DGRAM);
  ERR(EINVAL, accept(t, NULL, NULL));
  ERR(EOPNOTSUPP, accept(u, NULL, NULL));
  ERR(EOPNOTSUPP, listen(u, 1));
  SYS(listen(t, 1));
  SYS(listen(t, 5));
  SYS(fcntl(t, F_SETFL, O_NONBLOCK));
  ERR(EAGAIN, accept(t, NULL, NULL));
  ERR(EINVAL, accept4(t, NULL, NULL, 0x40000000));
  ERR(ENOTCONN, shutdown(u, SHUT_RDWR));
}

static void name_lengths(void) {
  int s = bound(SOCK_STREAM);
  char b[64];
  memset(b, 0x55, sizeof(b));
  socklen_t n = 4;
  SYS(getsockname(s, (void *)b, &n));
  EQ(16, n);
  EQ(0x55, b[4]);
  n = 0;
  SYS(getsockname(s, NULL, &n));
  EQ(16, n);
  n = -1;
  ERR(EINVAL, getsockname(s, (void *)b, &n));
}

static void wait_all(void) {
  int s[2];
  tcp_pair(s);
  if (SYS(fork()) == 0) {
    for (int i = 0; i < 5; i++) {
      EQ(2, SYS(write(s[0], "ab", 2)));
      sleep_ms(2);
    }
    _exit(0);
  }
  char b[16];
  EQ(10, SYS(recv(s[1], b, 10, MSG_WAITALL)));
  CHECK(memcmp(b, "ababababab", 10) == 0);
  SYS(wait(NULL));
}

static void send_to_connected(void) {
  int s[2];
  tcp_pair(s);
  in4 other = v4("127.0.0.1", 1);
  int err = sendto(s[0], "x", 1, 0, (void *)&other, sizeof(other)) == 1 ? 0 : errno;
  CHECK(err == 0 || err == EISCONN);
  ERR(EISCONN, connect4(s[0], "127.0.0.1", 1));
  ERR(ENOTCONN, recv(bound(SOCK_STREAM), &other, 1, 0));
}

TESTS(T(path_mtu), T(udp_disconnect), T(bind_twice), T(accept_states), T(name_lengths), T(wait_all), T(send_to_connected))
