// Helpers for programs that test sockets of AF_UNIX.
#ifndef UNIXSOCK_H
#define UNIXSOCK_H

#include "check.h"

#include <poll.h>
#include <pthread.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <linux/sockios.h>

UNUSED static void pair(int type, int s[2]) { SYS(socketpair(AF_UNIX, type, 0, s)); }

// addr_of makes an address of a path, or of an abstract name that begins with @.
UNUSED static socklen_t addr_of(struct sockaddr_un *a, const char *name) {
  memset(a, 0, sizeof(*a));
  a->sun_family = AF_UNIX;
  strcpy(a->sun_path, name);
  if (name[0] != '@') return sizeof(*a);
  a->sun_path[0] = 0;
  return offsetof(struct sockaddr_un, sun_path) + strlen(name);
}

UNUSED static int bound(int type, const char *name) {
  struct sockaddr_un a;
  socklen_t n = addr_of(&a, name);
  int s = SYS(socket(AF_UNIX, type, 0));
  SYS(bind(s, (void *)&a, n));
  return s;
}

UNUSED static int connect_to(int s, const char *name) {
  struct sockaddr_un a;
  socklen_t n = addr_of(&a, name);
  return connect(s, (void *)&a, n);
}

UNUSED static int listener(int type, const char *name, int backlog) {
  int s = bound(type, name);
  SYS(listen(s, backlog));
  return s;
}

UNUSED static int events(int fd, int want) {
  struct pollfd p = {fd, want, 0};
  SYS(poll(&p, 1, 0));
  return p.revents;
}

UNUSED static void nonblock(int fd) { SYS(fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK)); }

#endif
