// Sockets of the internet for guest programs.
#ifndef INETSOCK_H
#define INETSOCK_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

typedef struct sockaddr_in in4;
typedef struct sockaddr_in6 in6;

__attribute__((unused)) static in4 v4(const char *ip, int port) {
  in4 a = {.sin_family = AF_INET, .sin_port = htons(port)};
  EQ(1, inet_pton(AF_INET, ip, &a.sin_addr));
  return a;
}

__attribute__((unused)) static in6 v6(const char *ip, int port) {
  in6 a = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
  EQ(1, inet_pton(AF_INET6, ip, &a.sin6_addr));
  return a;
}

__attribute__((unused)) static int port_of(int s) {
  in6 a;
  socklen_t n = sizeof(a);
  SYS(getsockname(s, (void *)&a, &n));
  return ntohs(a.sin6_port);
}

__attribute__((unused)) static int bound(int type) {
  int s = SYS(socket(AF_INET, type, 0));
  in4 a = v4("127.0.0.1", 0);
  SYS(bind(s, (void *)&a, sizeof(a)));
  return s;
}

__attribute__((unused)) static int bound6(int type) {
  int s = SYS(socket(AF_INET6, type, 0));
  in6 a = v6("::1", 0);
  SYS(bind(s, (void *)&a, sizeof(a)));
  return s;
}

__attribute__((unused)) static int listener(void) {
  int s = bound(SOCK_STREAM);
  SYS(listen(s, 10));
  return s;
}

__attribute__((unused)) static int connect4(int s, const char *ip, int port) {
  in4 a = v4(ip, port);
  return connect(s, (void *)&a, sizeof(a));
}

// tcp_pair makes a connection: [0] connected, [1] accepted.
__attribute__((unused)) static void tcp_pair(int s[2]) {
  int l = listener();
  s[0] = SYS(socket(AF_INET, SOCK_STREAM, 0));
  SYS(connect4(s[0], "127.0.0.1", port_of(l)));
  s[1] = SYS(accept(l, NULL, NULL));
  SYS(close(l));
}

__attribute__((unused)) static int events(int fd, int want, int ms) {
  struct pollfd p = {fd, want, 0};
  SYS(poll(&p, 1, ms));
  return p.revents;
}

#endif
