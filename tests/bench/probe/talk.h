// Two sides that talk to each other: pipes, sockets, futexes.
#include <arpa/inet.h>
#include <linux/futex.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "probe.h"

// echo answers each byte with a byte until the other side is gone.
static void echo(int in, int out) {
  char c;
  while (read(in, &c, 1) == 1) SYS(write(out, &c, 1));
  _exit(0);
}

// ask sends a byte and waits for the answer, n times.
static void ask(int in, int out, long n) {
  char c = 'x';
  begin();
  while (n--) {
    SYS(write(out, &c, 1));
    if (SYS(read(in, &c, 1)) != 1) die("no answer");
  }
}

static void pipe_ping_pong(long n, long arg UNUSED) {
  int a[2], b[2];
  SYS(pipe(a));
  SYS(pipe(b));
  pid_t pid = SYS(fork());
  if (pid == 0) {
    close(a[1]);
    echo(a[0], b[1]);
  }
  close(a[0]);
  ask(b[0], a[1], n);
  long long end = now();
  close(a[1]);
  reap(pid);
  not_counted(end);
}

static void pipe_beside_processes(long n, long arg) {
  int fd = idlers(arg);
  pipe_ping_pong(n, 0);
  long long end = now();
  dismiss(fd, arg);
  not_counted(end);
}

static void unix_ping_pong(long n, long arg UNUSED) {
  int s[2];
  SYS(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
  pid_t pid = SYS(fork());
  if (pid == 0) {
    close(s[0]);
    echo(s[1], s[1]);
  }
  close(s[1]);
  ask(s[0], s[0], n);
  long long end = now();
  close(s[0]);
  reap(pid);
  not_counted(end);
}

static void tcp_ping_pong(long n, long arg UNUSED) {
  int l = SYS(socket(AF_INET, SOCK_STREAM, 0)), on = 1;
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t len = sizeof(a);
  SYS(bind(l, (struct sockaddr *)&a, len));
  SYS(listen(l, 1));
  SYS(getsockname(l, (struct sockaddr *)&a, &len));
  pid_t pid = SYS(fork());
  if (pid == 0) {
    int c = SYS(accept(l, NULL, NULL));
    SYS(setsockopt(c, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)));
    echo(c, c);
  }
  int s = SYS(socket(AF_INET, SOCK_STREAM, 0));
  SYS(connect(s, (struct sockaddr *)&a, len));
  SYS(setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)));
  ask(s, s, n);
  long long end = now();
  close(s);
  reap(pid);
  not_counted(end);
}

static void pipe_64k(long n, long arg UNUSED) {
  static char block[65536];
  int p[2];
  SYS(pipe(p));
  pid_t pid = SYS(fork());
  if (pid == 0) {
    close(p[1]);
    while (read(p[0], block, sizeof(block)) > 0) {
    }
    _exit(0);
  }
  close(p[0]);
  begin();
  for (long i = 0; i < n; i++) {
    if (SYS(write(p[1], block, sizeof(block))) != sizeof(block)) die("short write");
  }
  close(p[1]);
  reap(pid);
}

static int turn;
static long rounds;

static void take_turns(int mine) {
  for (long i = 0; i < rounds; i++) {
    int v;
    while ((v = __atomic_load_n(&turn, __ATOMIC_SEQ_CST)) != mine) syscall(SYS_futex, &turn, FUTEX_WAIT_PRIVATE, v, NULL);
    __atomic_store_n(&turn, !mine, __ATOMIC_SEQ_CST);
    syscall(SYS_futex, &turn, FUTEX_WAKE_PRIVATE, 1);
  }
}

static void *other_side(void *arg UNUSED) {
  take_turns(1);
  return NULL;
}

static void futex_ping_pong(long n, long arg UNUSED) {
  rounds = n;
  pthread_t t;
  if (pthread_create(&t, NULL, other_side, NULL)) die("pthread_create");
  begin();
  take_turns(0);
  pthread_join(t, NULL);
}
