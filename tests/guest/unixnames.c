// Names and connections of sockets of AF_UNIX: unix(7).
#include "unixsock.h"

static void bind_path(void) {
  scratch();
  umask(027);
  int s = bound(SOCK_STREAM, "sock");
  struct stat st;
  SYS(lstat("sock", &st));
  CHECK(S_ISSOCK(st.st_mode));
  EQ(0750, st.st_mode & 07777);
  ERR(ENXIO, open("sock", O_RDWR));
  struct sockaddr_un a;
  socklen_t n = sizeof(a);
  SYS(getsockname(s, (void *)&a, &n));
  EQ(offsetof(struct sockaddr_un, sun_path) + 5, n);
  CHECK(strcmp(a.sun_path, "sock") == 0);
  int t = SYS(socket(AF_UNIX, SOCK_STREAM, 0));
  ERR(EADDRINUSE, bind(t, (void *)&a, addr_of(&a, "sock")));
  ERR(ENOENT, bind(t, (void *)&a, addr_of(&a, "no/sock")));
  ERR(EINVAL, bind(s, (void *)&a, addr_of(&a, "other")));
  ERR(ENOENT, lstat("other", &st));
  ERR(EINVAL, bind(t, (void *)&a, 1));
  ERR(EINVAL, bind(t, (void *)&a, 200));
  ERR(EINVAL, bind(t, (void *)&a, sizeof(a) + 1));
  a.sun_family = AF_INET;
  ERR(EINVAL, bind(t, (void *)&a, sizeof(a)));
  SYS(close(s));
  SYS(lstat("sock", &st));  // the name stays
  ERR(ECONNREFUSED, connect_to(t, "sock"));
}

static void bind_access(void) {
  scratch();
  int s = listener(SOCK_STREAM, "sock", 5);
  SYS(chmod("sock", 0700));
  SYS(chmod(".", 0777));
  if (getuid() != 0) return;
  pid_t pid = SYS(fork());
  if (pid == 0) {
    SYS(setresuid(12345, 12345, 12345));
    int c = SYS(socket(AF_UNIX, SOCK_STREAM, 0));
    ERR(EACCES, connect_to(c, "sock"));
    _exit(0);
  }
  EXITS(0, pid);
  SYS(close(s));
}

static void bind_symlink(void) {
  scratch();
  SYS(symlink("target", "link"));
  struct sockaddr_un a;
  int s = SYS(socket(AF_UNIX, SOCK_STREAM, 0));
  ERR(EADDRINUSE, bind(s, (void *)&a, addr_of(&a, "link")));
  int l = listener(SOCK_STREAM, "target", 1);
  SYS(connect_to(s, "link"));
  SYS(link("target", "hard"));
  SYS(unlink("target"));
  SYS(rename("hard", "moved"));
  int t = SYS(socket(AF_UNIX, SOCK_STREAM, 0));
  SYS(connect_to(t, "moved"));
  SYS(unlink("moved"));
  SYS(accept(l, NULL, NULL));
  SYS(accept(l, NULL, NULL));
  int u = SYS(socket(AF_UNIX, SOCK_STREAM, 0));
  ERR(ENOENT, connect_to(u, "moved"));
}

static void long_path(void) {
  scratch();
  char name[109];
  memset(name, 'p', 108);
  name[108] = 0;
  struct sockaddr_un a = {.sun_family = AF_UNIX};
  memcpy(a.sun_path, name, 108);  // without a NUL
  int s = SYS(socket(AF_UNIX, SOCK_STREAM, 0));
  SYS(bind(s, (void *)&a, sizeof(a)));
  char back[256];
  socklen_t n = sizeof(back);
  SYS(getsockname(s, (void *)back, &n));
  EQ(111, n);
  SYS(listen(s, 1));
  int c = SYS(socket(AF_UNIX, SOCK_STREAM, 0));
  SYS(connect(c, (void *)&a, sizeof(a)));
}

static void connect_errors(void) {
  scratch();
  int s = SYS(socket(AF_UNIX, SOCK_STREAM, 0));
  ERR(ENOENT, connect_to(s, "missing"));
  make_file("file", "", 0, 0600);
  ERR(ECONNREFUSED, connect_to(s, "file"));
  ERR(ECONNREFUSED, connect_to(s, "@nobody-is-here"));
  bound(SOCK_DGRAM, "dgram");
  ERR(EPROTOTYPE, connect_to(s, "dgram"));
  bound(SOCK_STREAM, "quiet");
  ERR(ECONNREFUSED, connect_to(s, "quiet"));
  struct sockaddr_un a;
  addr_of(&a, "x");
  ERR(EINVAL, connect(s, (void *)&a, 1));
  a.sun_family = AF_INET;
  ERR(EINVAL, connect(s, (void *)&a, sizeof(a)));
  listener(SOCK_STREAM, "l", 5);
  SYS(connect_to(s, "l"));
  ERR(EISCONN, connect_to(s, "l"));
}

static void abstract_names(void) {
  int a = bound(SOCK_DGRAM, "@runsc-lite guest test");
  struct sockaddr_un sa;
  int b = SYS(socket(AF_UNIX, SOCK_DGRAM, 0));
  ERR(EADDRINUSE, bind(b, (void *)&sa, addr_of(&sa, "@runsc-lite guest test")));
  SYS(bind(b, (void *)&sa, addr_of(&sa, "@runsc-lite guest test2")));
  socklen_t n = addr_of(&sa, "@runsc-lite guest test");
  EQ(1, SYS(sendto(b, "x", 1, 0, (void *)&sa, n)));
  ERR(ECONNREFUSED, sendto(b, "x", 1, 0, (void *)&sa, n + 1));
  n = sizeof(sa);
  SYS(getsockname(a, (void *)&sa, &n));
  EQ(2 + strlen("@runsc-lite guest test"), n);
  SYS(close(a));
  SYS(bind(SYS(socket(AF_UNIX, SOCK_STREAM, 0)), (void *)&sa, n));
}

static void autobind(void) {
  int a = SYS(socket(AF_UNIX, SOCK_DGRAM, 0));
  struct sockaddr_un sa = {.sun_family = AF_UNIX};
  socklen_t n = sizeof(sa);
  SYS(getsockname(a, (void *)&sa, &n));
  EQ(2, n);
  SYS(bind(a, (void *)&sa, 2));
  n = sizeof(sa);
  SYS(getsockname(a, (void *)&sa, &n));
  EQ(8, n);
  EQ(0, sa.sun_path[0]);
  for (int i = 1; i < 6; i++) CHECK(strchr("0123456789abcdef", sa.sun_path[i]) != NULL);
  int b = SYS(socket(AF_UNIX, SOCK_DGRAM, 0));
  SYS(connect(b, (void *)&sa, n));
}

static void accept_basic(void) {
  int l = listener(SOCK_STREAM, "@runsc-lite accept", 5);
  EQ(0, events(l, POLLIN | POLLOUT));
  int c = SYS(socket(AF_UNIX, SOCK_STREAM, 0));
  SYS(connect_to(c, "@runsc-lite accept"));
  EQ(POLLIN, events(l, POLLIN | POLLOUT));
  EQ(4, SYS(write(c, "data", 4)));  // before it is accepted
  struct sockaddr_un sa;
  socklen_t n = sizeof(sa);
  int s = SYS(accept4(l, (void *)&sa, &n, SOCK_CLOEXEC | SOCK_NONBLOCK));
  EQ(2, n);
  EQ(FD_CLOEXEC, fcntl(s, F_GETFD));
  EQ(O_RDWR | O_NONBLOCK, fcntl(s, F_GETFL));
  char b[8];
  EQ(4, SYS(read(s, b, 8)));
  ERR(EAGAIN, read(s, b, 8));
  n = sizeof(sa);
  SYS(getsockname(s, (void *)&sa, &n));
  EQ(2 + strlen("@runsc-lite accept"), n);
  n = sizeof(sa);
  SYS(getpeername(c, (void *)&sa, &n));
  EQ(2 + strlen("@runsc-lite accept"), n);
  ERR(EINVAL, accept4(l, NULL, NULL, 1));
  nonblock(l);
  ERR(EAGAIN, accept(l, NULL, NULL));
  ERR(ENOTCONN, write(l, "x", 1));
  ERR(EINVAL, read(l, b, 1));
  int v;
  n = sizeof(v);
  SYS(getsockopt(l, SOL_SOCKET, SO_ACCEPTCONN, &v, &n));
  EQ(1, v);
  ERR(EINVAL, ioctl(l, FIONREAD, &v));
}

static void accept_close(void) {
  int l = listener(SOCK_STREAM, "@runsc-lite close", 5);
  int c = SYS(socket(AF_UNIX, SOCK_STREAM, 0));
  SYS(connect_to(c, "@runsc-lite close"));
  SYS(close(l));
  EQ(POLLIN | POLLOUT | POLLERR | POLLHUP, events(c, POLLIN | POLLOUT));
  char b;
  ERR(ECONNRESET, read(c, &b, 1));
  EQ(0, SYS(read(c, &b, 1)));
}

static void accept_dead(void) {
  int l = listener(SOCK_STREAM, "@runsc-lite dead", 5);
  int c = SYS(socket(AF_UNIX, SOCK_STREAM, 0));
  SYS(connect_to(c, "@runsc-lite dead"));
  EQ(2, SYS(write(c, "ab", 2)));
  SYS(close(c));
  int s = SYS(accept(l, NULL, NULL));
  char b[4];
  EQ(2, SYS(read(s, b, 4)));
  EQ(0, SYS(read(s, b, 4)));
  struct sockaddr_un sa;
  socklen_t n = sizeof(sa);
  say("getpeername %s\n", getpeername(s, (void *)&sa, &n) ? strerrorname_np(errno) : "ok");
}

static void listen_backlog(void) {
  int l = listener(SOCK_STREAM, "@runsc-lite backlog", 2);
  int n = 0;
  for (;; n++) {
    int c = SYS(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0));
    if (connect_to(c, "@runsc-lite backlog")) break;
  }
  EQ(EAGAIN, errno);
  EQ(3, n);
  SYS(accept(l, NULL, NULL));
  int c = SYS(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0));
  SYS(connect_to(c, "@runsc-lite backlog"));
  SYS(listen(l, 4));
  SYS(connect_to(SYS(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0)), "@runsc-lite backlog"));
}

static void *accept_later(void *arg) {
  sleep_ms(30);
  return accept(*(int *)arg, NULL, NULL) >= 0 ? NULL : "accept";
}

static void connect_blocks(void) {
  int l = listener(SOCK_STREAM, "@runsc-lite blocks", 0);
  int c = SYS(socket(AF_UNIX, SOCK_STREAM, 0));
  SYS(connect_to(c, "@runsc-lite blocks"));
  c = SYS(socket(AF_UNIX, SOCK_STREAM, 0));
  struct timeval tv = {0, 20000};
  SYS(setsockopt(c, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv)));
  ERR(EAGAIN, connect_to(c, "@runsc-lite blocks"));
  pthread_t t;
  ZERO(pthread_create(&t, NULL, accept_later, &l));
  int d = SYS(socket(AF_UNIX, SOCK_STREAM, 0));
  SYS(connect_to(d, "@runsc-lite blocks"));
  ZERO(pthread_join(t, NULL));
}

static void seqpacket_accept(void) {
  int l = listener(SOCK_SEQPACKET, "@runsc-lite seq", 5);
  int c = SYS(socket(AF_UNIX, SOCK_SEQPACKET, 0));
  SYS(connect_to(c, "@runsc-lite seq"));
  int s = SYS(accept(l, NULL, NULL));
  EQ(2, SYS(write(c, "ab", 2)));
  EQ(3, SYS(write(c, "cde", 3)));
  char b[8];
  EQ(2, SYS(read(s, b, 8)));
  EQ(3, SYS(read(s, b, 8)));
  // Abstract names are another for each type.
  ERR(ECONNREFUSED, connect_to(SYS(socket(AF_UNIX, SOCK_STREAM, 0)), "@runsc-lite seq"));
  listener(SOCK_STREAM, "@runsc-lite seq", 1);
}

TESTS(T(bind_path), T(bind_access), T(bind_symlink), T(long_path), T(connect_errors), T(abstract_names), T(autobind),
      T(accept_basic), T(accept_close), T(accept_dead), T(listen_backlog), T(connect_blocks), T(seqpacket_accept))
