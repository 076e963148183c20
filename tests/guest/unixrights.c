// Files and credentials that go over sockets of AF_UNIX: unix(7), "Ancillary messages".
#include "unixsock.h"

struct control {
  union {
    char buf[2048];
    struct cmsghdr align;
  };
};

static ssize_t send_fds(int s, const int *fds, int n, const char *data, size_t size) {
  struct control c = {0};
  struct iovec v = {(char *)data, size};
  struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = c.buf, .msg_controllen = CMSG_SPACE(n * sizeof(int))};
  struct cmsghdr *h = CMSG_FIRSTHDR(&m);
  h->cmsg_level = SOL_SOCKET;
  h->cmsg_type = SCM_RIGHTS;
  h->cmsg_len = CMSG_LEN(n * sizeof(int));
  memcpy(CMSG_DATA(h), fds, n * sizeof(int));
  return sendmsg(s, &m, MSG_NOSIGNAL);
}

// recv_fds gives back how many descriptors came, and the message's flags.
static int recv_fds(int s, int *fds, int room, char *data, size_t size, int flags, int *out) {
  struct control c = {0};
  struct iovec v = {data, size};
  struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = c.buf, .msg_controllen = room < 0 ? 0 : CMSG_SPACE(room * sizeof(int))};
  if (room == 0) m.msg_controllen = 0;
  SYS(recvmsg(s, &m, flags));
  *out = m.msg_flags;
  struct cmsghdr *h = CMSG_FIRSTHDR(&m);
  if (!h) return 0;
  EQ(SOL_SOCKET, h->cmsg_level);
  EQ(SCM_RIGHTS, h->cmsg_type);
  int n = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);
  memcpy(fds, CMSG_DATA(h), n * sizeof(int));
  return n;
}

static void rights_type(int type) {
  int s[2], p[2], got[4], flags;
  char b[8];
  pair(type, s);
  SYS(pipe(p));
  EQ(1, SYS(send_fds(s[0], p, 2, "x", 1)));
  SYS(close(p[0]));
  SYS(close(p[1]));
  EQ(2, recv_fds(s[1], got, 4, b, 8, 0, &flags));
  EQ(0, flags);
  EQ(0, fcntl(got[0], F_GETFD));
  put(got[1], 'q');
  EQ('q', get(got[0]));
}

static void rights(void) {
  rights_type(SOCK_STREAM);
  rights_type(SOCK_DGRAM);
  rights_type(SOCK_SEQPACKET);
}

static void rights_cloexec(void) {
  int s[2], got[4], flags, fd = 1;
  char b[8];
  pair(SOCK_DGRAM, s);
  SYS(send_fds(s[0], &fd, 1, "x", 1));
  EQ(1, recv_fds(s[1], got, 1, b, 8, MSG_CMSG_CLOEXEC, &flags));
  EQ(FD_CLOEXEC, fcntl(got[0], F_GETFD));
  EQ(MSG_CMSG_CLOEXEC, flags);
}

static void rights_boundaries(void) {
  int s[2], got[4], flags, fd = 1;
  char b[16];
  pair(SOCK_STREAM, s);
  EQ(2, SYS(write(s[0], "ab", 2)));
  EQ(2, SYS(send_fds(s[0], &fd, 1, "cd", 2)));
  EQ(2, SYS(write(s[0], "ef", 2)));
  EQ(2, SYS(send_fds(s[0], &fd, 1, "gh", 2)));
  struct control c;
  struct iovec v = {b, 16};
  struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = c.buf, .msg_controllen = sizeof(c.buf)};
  EQ(4, SYS(recvmsg(s[1], &m, 0)));
  CHECK(memcmp(b, "abcd", 4) == 0);
  EQ(CMSG_SPACE(sizeof(int)), m.msg_controllen);
  EQ(1, recv_fds(s[1], got, 1, b, 3, 0, &flags));
  CHECK(memcmp(b, "efg", 3) == 0);
  EQ(0, recv_fds(s[1], got, 1, b, 16, 0, &flags));
  EQ('h', b[0]);
}

static void rights_read(void) {
  int s[2], p[2];
  char b[4];
  pair(SOCK_STREAM, s);
  SYS(pipe(p));
  EQ(1, SYS(send_fds(s[0], &p[1], 1, "x", 1)));
  SYS(close(p[1]));
  EQ(0, events(p[0], POLLIN));
  EQ(1, SYS(read(s[1], b, 4)));  // and the descriptor goes
  EQ(POLLHUP, events(p[0], POLLIN));
}

static void rights_peek(void) {
  int s[2], got[4], flags, fd = 1;
  char b[4];
  pair(SOCK_DGRAM, s);
  SYS(send_fds(s[0], &fd, 1, "x", 1));
  EQ(1, recv_fds(s[1], got, 1, b, 4, MSG_PEEK, &flags));
  EQ(1, recv_fds(s[1], got + 1, 1, b, 4, 0, &flags));
  CHECK(got[0] != got[1] && fcntl(got[0], F_GETFD) == 0);
}

static void rights_trunc(void) {
  int s[2], got[8], flags, fds[4] = {0, 1, 2, 0};
  char b[4];
  pair(SOCK_DGRAM, s);
  for (int i = 0; i < 3; i++) SYS(send_fds(s[0], fds, 4, "x", 1));
  EQ(2, recv_fds(s[1], got, 2, b, 4, 0, &flags));
  EQ(MSG_CTRUNC, flags);
  EQ(0, recv_fds(s[1], got, 0, b, 4, 0, &flags));
  EQ(MSG_CTRUNC, flags);
  EQ(4, recv_fds(s[1], got, 4, b, 4, 0, &flags));
  EQ(0, flags);
}

static void rights_emfile(void) {
  int s[2], got[8], flags, fds[2] = {1, 1};
  char b[4];
  pair(SOCK_DGRAM, s);
  SYS(send_fds(s[0], fds, 2, "x", 1));
  int last = SYS(dup(0));
  struct rlimit_ {
    unsigned long cur, max;
  } l = {last + 2, last + 2};
  SYS(syscall(SYS_setrlimit, 7, &l));
  EQ(1, recv_fds(s[1], got, 4, b, 4, 0, &flags));
  EQ(MSG_CTRUNC, flags);
}

static void rights_errors(void) {
  int s[2], bad = 999, many[254] = {0};
  pair(SOCK_DGRAM, s);
  ERR(EBADF, send_fds(s[0], &bad, 1, "x", 1));
  ERR(EINVAL, send_fds(s[0], many, 254, "x", 1));
  EQ(1, SYS(send_fds(s[0], many, 253, "x", 1)));
  struct control c = {0};
  struct iovec v = {"x", 1};
  struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = c.buf, .msg_controllen = 24};
  struct cmsghdr *h = CMSG_FIRSTHDR(&m);
  h->cmsg_level = SOL_SOCKET;
  h->cmsg_type = SCM_RIGHTS;
  h->cmsg_len = 8;
  ERR(EINVAL, sendmsg(s[0], &m, 0));
  h->cmsg_len = 1000;
  ERR(EINVAL, sendmsg(s[0], &m, 0));
  h->cmsg_len = CMSG_LEN(0);
  h->cmsg_type = 77;
  ERR(EINVAL, sendmsg(s[0], &m, 0));
  h->cmsg_type = SCM_CREDENTIALS;
  ERR(EINVAL, sendmsg(s[0], &m, 0));
  h->cmsg_level = 12345;
  EQ(1, SYS(sendmsg(s[0], &m, 0)));
  m.msg_controllen = 10;
  EQ(1, SYS(sendmsg(s[0], &m, 0)));
}

// Sockets that only hold each other go, and what they hold with them.
static void rights_garbage(void) {
  int p[2];
  SYS(pipe(p));
  for (int i = 0; i < 5; i++) {
    int a[2], b[2];
    pair(SOCK_STREAM, a);
    pair(SOCK_STREAM, b);
    int in_a[2] = {b[0], p[1]}, in_b[2] = {a[0], a[1]};
    EQ(1, SYS(send_fds(a[0], in_a, 2, "x", 1)));
    EQ(1, SYS(send_fds(b[0], in_b, 2, "x", 1)));
    EQ(1, SYS(send_fds(a[1], &b[1], 1, "x", 1)));
    for (int j = 0; j < 2; j++) {
      SYS(close(a[j]));
      SYS(close(b[j]));
    }
  }
  SYS(close(p[1]));
  int s[2];
  pair(SOCK_STREAM, s);
  SYS(close(s[0]));
  SYS(close(s[1]));
  struct pollfd f = {p[0], POLLIN, 0};
  EQ(1, SYS(poll(&f, 1, 5000)));
  EQ(POLLHUP, f.revents);
}

// A socket in its own queue that somebody can still read stays.
static void rights_reachable(void) {
  int s[2], got[2], flags;
  char b[4];
  pair(SOCK_STREAM, s);
  EQ(1, SYS(send_fds(s[0], &s[0], 1, "x", 1)));
  SYS(close(s[0]));
  int t[2];
  pair(SOCK_STREAM, t);
  SYS(close(t[0]));
  SYS(close(t[1]));
  EQ(1, recv_fds(s[1], got, 1, b, 4, 0, &flags));
  EQ(1, SYS(write(got[0], "y", 1)));
  EQ(1, SYS(read(s[1], b, 4)));
}

static void rights_chain(void) {
  int p[2];
  SYS(pipe(p));
  int held = p[1];
  for (int i = 0; i < 2000; i++) {
    int s[2];
    pair(SOCK_DGRAM, s);
    EQ(1, SYS(send_fds(s[0], &held, 1, "x", 1)));
    SYS(close(held));
    SYS(close(s[0]));
    held = s[1];
  }
  SYS(close(held));
  struct pollfd f = {p[0], POLLIN, 0};
  EQ(1, SYS(poll(&f, 1, 5000)));
  EQ(POLLHUP, f.revents);
}

static void peercred(void) {
  int s[2];
  struct ucred u;
  socklen_t n = sizeof(u);
  pair(SOCK_STREAM, s);
  SYS(getsockopt(s[0], SOL_SOCKET, SO_PEERCRED, &u, &n));
  CHECK(u.pid == getpid() && u.uid == getuid() && u.gid == getgid());
  int l = listener(SOCK_STREAM, "@runsc-lite cred", 5);
  pid_t pid = SYS(fork());
  if (pid == 0) {
    int c = SYS(socket(AF_UNIX, SOCK_STREAM, 0));
    SYS(getsockopt(c, SOL_SOCKET, SO_PEERCRED, &u, &n));
    CHECK(u.pid == 0 && u.uid == -1U && u.gid == -1U);
    SYS(connect_to(c, "@runsc-lite cred"));
    SYS(getsockopt(c, SOL_SOCKET, SO_PEERCRED, &u, &n));
    EQ(getppid(), u.pid);
    _exit(0);
  }
  int a = SYS(accept(l, NULL, NULL));
  SYS(getsockopt(a, SOL_SOCKET, SO_PEERCRED, &u, &n));
  EQ(pid, u.pid);
  EXITS(0, pid);
}

static int cred_of(int s, struct ucred *u) {
  struct control c = {0};
  char b[16];
  struct iovec v = {b, 16};
  struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = c.buf, .msg_controllen = sizeof(c.buf)};
  int n = SYS(recvmsg(s, &m, 0));
  struct cmsghdr *h = CMSG_FIRSTHDR(&m);
  if (!h) FAIL("no control message");
  EQ(SCM_CREDENTIALS, h->cmsg_type);
  EQ(CMSG_LEN(sizeof(*u)), h->cmsg_len);
  memcpy(u, CMSG_DATA(h), sizeof(*u));
  return n;
}

static void passcred(void) {
  int s[2], on = 1;
  struct ucred u;
  pair(SOCK_DGRAM, s);
  EQ(1, SYS(write(s[0], "0", 1)));  // before anybody asked
  SYS(setsockopt(s[1], SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)));
  EQ(1, SYS(write(s[0], "1", 1)));
  cred_of(s[1], &u);
  CHECK(u.pid == 0 && u.uid == 65534 && u.gid == 65534);
  cred_of(s[1], &u);
  CHECK(u.pid == getpid() && u.uid == getuid() && u.gid == getgid());
}

static void passcred_stream(void) {
  int s[2], on = 1;
  struct ucred u;
  pair(SOCK_STREAM, s);
  SYS(setsockopt(s[1], SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)));
  EQ(2, SYS(write(s[0], "ab", 2)));
  EQ(1, SYS(write(s[0], "c", 1)));
  pid_t pid = SYS(fork());
  if (pid == 0) {
    EQ(2, SYS(write(s[0], "de", 2)));
    _exit(0);
  }
  EXITS(0, pid);
  EQ(3, cred_of(s[1], &u));
  EQ(getpid(), u.pid);
  EQ(2, cred_of(s[1], &u));
  EQ(pid, u.pid);
}

static ssize_t send_cred(int s, struct ucred *u) {
  struct control c = {0};
  struct iovec v = {"x", 1};
  struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = c.buf, .msg_controllen = CMSG_SPACE(sizeof(*u))};
  struct cmsghdr *h = CMSG_FIRSTHDR(&m);
  h->cmsg_level = SOL_SOCKET;
  h->cmsg_type = SCM_CREDENTIALS;
  h->cmsg_len = CMSG_LEN(sizeof(*u));
  memcpy(CMSG_DATA(h), u, sizeof(*u));
  return sendmsg(s, &m, 0);
}

static void claim_cred(void) {
  int s[2], on = 1;
  pair(SOCK_DGRAM, s);
  SYS(setsockopt(s[1], SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)));
  struct ucred u = {getpid(), getuid(), getgid()}, got;
  EQ(1, SYS(send_cred(s[0], &u)));
  cred_of(s[1], &got);
  CHECK(memcmp(&u, &got, sizeof(u)) == 0);
  if (getuid() != 0) return;
  u.uid = 4321;
  EQ(1, SYS(send_cred(s[0], &u)));
  cred_of(s[1], &got);
  EQ(4321, got.uid);
  SYS(setresuid(1234, 1234, 1234));
  ERR(EPERM, send_cred(s[0], &u));
  u.uid = 1234;
  EQ(1, SYS(send_cred(s[0], &u)));
  u.pid = 1;
  ERR(EPERM, send_cred(s[0], &u));
}

TESTS(T(rights), T(rights_cloexec), T(rights_boundaries), T(rights_read), T(rights_peek), T(rights_trunc),
      T(rights_emfile), T(rights_errors), T(rights_garbage), T(rights_reachable), T(rights_chain), T(peercred),
      T(passcred), T(passcred_stream), T(claim_cred))
