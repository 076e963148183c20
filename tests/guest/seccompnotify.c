// seccomp's notifications of user space, and filters as a tracer reads them.
#include "check.h"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>

#define NR offsetof(struct seccomp_data, nr)
#define LOAD(off) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (off))
#define RETURN(v) BPF_STMT(BPF_RET | BPF_K, (v))
#define IF(v, then, otherwise) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (v), (then), (otherwise))

static long seccomp(unsigned op, unsigned flags, void *args) { return syscall(SYS_seccomp, op, flags, args); }

static long listen_on(long nr, unsigned flags) {
  struct sock_filter f[] = {LOAD(NR), IF(nr, 0, 1), RETURN(SECCOMP_RET_USER_NOTIF), RETURN(SECCOMP_RET_ALLOW)};
  struct sock_fprog p = {.len = LEN(f), .filter = f};
  SYS(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
  return seccomp(SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER | flags, &p);
}

#define SET_FLAGS _IOW(0x21, 4, uint64_t)

static int pair[2];

static void send_fd(int fd) {
  char c = 'x', control[CMSG_SPACE(sizeof(int))] = {0};
  struct iovec v = {&c, 1};
  struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
  struct cmsghdr *h = CMSG_FIRSTHDR(&m);
  h->cmsg_level = SOL_SOCKET;
  h->cmsg_type = SCM_RIGHTS;
  h->cmsg_len = CMSG_LEN(sizeof(int));
  memcpy(CMSG_DATA(h), &fd, sizeof(fd));
  EQ(1, SYS(sendmsg(pair[1], &m, 0)));
}

static int receive_fd(void) {
  char c, control[CMSG_SPACE(sizeof(int))];
  struct iovec v = {&c, 1};
  struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
  EQ(1, SYS(recvmsg(pair[0], &m, 0)));
  int fd;
  memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof(fd));
  return fd;
}

// target starts a child whose calls nr ask; it runs fn then.
static pid_t target(long nr, unsigned flags, void (*fn)(void), int *listener) {
  SYS(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
  pid_t pid = SYS(fork());
  if (pid == 0) {
    int fd = SYS(listen_on(nr, flags));
    EQ(FD_CLOEXEC, fcntl(fd, F_GETFD));
    send_fd(fd);
    SYS(close(fd));
    fn();
    _exit(0);
  }
  *listener = receive_fd();
  return pid;
}

static struct seccomp_notif receive(int fd) {
  struct seccomp_notif n = {0};
  SYS(ioctl(fd, SECCOMP_IOCTL_NOTIF_RECV, &n));
  return n;
}

static long answer(int fd, uint64_t id, int64_t val, int32_t error, uint32_t flags) {
  struct seccomp_notif_resp r = {.id = id, .val = val, .error = error, .flags = flags};
  return ioctl(fd, SECCOMP_IOCTL_NOTIF_SEND, &r);
}

static short ready(int fd) {
  struct pollfd p = {.fd = fd, .events = POLLIN | POLLOUT};
  SYS(poll(&p, 1, 0));
  return p.revents;
}

static void ask_thrice(void) {
  EQ(77, syscall(SYS_getppid, 1, 2, 3, 4, 5, 6));
  ERR(EREMOTE, syscall(SYS_getppid));
  CHECK(syscall(SYS_getppid) > 0);
}

static void answers(void) {
  int fd;
  pid_t pid = target(SYS_getppid, 0, ask_thrice, &fd);
  struct seccomp_notif n = receive(fd);
  EQ(pid, n.pid);
  EQ(0, n.flags);
  EQ(SYS_getppid, n.data.nr);
  EQ(AUDIT_ARCH_X86_64, n.data.arch);
  for (int i = 0; i < 6; i++) EQ(i + 1, n.data.args[i]);
  EQ(POLLOUT, ready(fd));
  SYS(ioctl(fd, SECCOMP_IOCTL_NOTIF_ID_VALID, &n.id));
  uint64_t other = n.id + 1;
  ERR(ENOENT, ioctl(fd, SECCOMP_IOCTL_NOTIF_ID_VALID, &other));
  ERR(ENOENT, answer(fd, other, 0, 0, 0));
  ERR(EINVAL, answer(fd, n.id, 0, 0, 2));
  ERR(EINVAL, answer(fd, n.id, 1, 0, SECCOMP_USER_NOTIF_FLAG_CONTINUE));
  SYS(answer(fd, n.id, 77, 0, 0));
  // Only once: it is answered, or gone already.
  CHECK(answer(fd, n.id, 77, 0, 0) == -1 && (errno == EINPROGRESS || errno == ENOENT));
  struct pollfd p = {.fd = fd, .events = POLLIN};
  EQ(1, SYS(poll(&p, 1, -1)));
  EQ(POLLIN, p.revents);
  n = receive(fd);
  SYS(answer(fd, n.id, 0, -EREMOTE, 0));
  n = receive(fd);
  SYS(answer(fd, n.id, 0, 0, SECCOMP_USER_NOTIF_FLAG_CONTINUE));
  EXITS(0, pid);
  CHECK(ready(fd) & POLLHUP);
  struct seccomp_notif gone = {0};
  ERR(ENOENT, ioctl(fd, SECCOMP_IOCTL_NOTIF_RECV, &gone));
}

static void unheard(void) { ERR(ENOSYS, syscall(SYS_getppid)); }

// With nobody to listen, calls are not there: before and after they were received.
static void nobody(void) {
  int fd;
  pid_t pid = target(SYS_getppid, 0, unheard, &fd);
  SYS(close(fd));
  EXITS(0, pid);
  close(pair[0]);
  close(pair[1]);
  pid = target(SYS_getppid, 0, unheard, &fd);
  receive(fd);
  SYS(close(fd));
  EXITS(0, pid);
}

static void no_listener(void) {
  struct sock_filter f[] = {LOAD(NR), IF(SYS_getppid, 0, 1), RETURN(SECCOMP_RET_USER_NOTIF), RETURN(SECCOMP_RET_ALLOW)};
  struct sock_fprog p = {.len = LEN(f), .filter = f};
  SYS(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
  SYS(seccomp(SECCOMP_SET_MODE_FILTER, 0, &p));
  ERR(ENOSYS, syscall(SYS_getppid));
}

static void bad_arguments(void) {
  struct seccomp_notif_sizes sizes;
  SYS(seccomp(SECCOMP_GET_NOTIF_SIZES, 0, &sizes));
  EQ(sizeof(struct seccomp_notif), sizes.seccomp_notif);
  EQ(sizeof(struct seccomp_notif_resp), sizes.seccomp_notif_resp);
  EQ(sizeof(struct seccomp_data), sizes.seccomp_data);
  ERR(EINVAL, seccomp(SECCOMP_GET_NOTIF_SIZES, 1, &sizes));
  ERR(EFAULT, seccomp(SECCOMP_GET_NOTIF_SIZES, 0, (void *)8));
  unsigned action = SECCOMP_RET_USER_NOTIF;
  SYS(seccomp(SECCOMP_GET_ACTION_AVAIL, 0, &action));
  ERR(EINVAL, listen_on(SYS_getppid, SECCOMP_FILTER_FLAG_TSYNC));
  struct sock_filter f[] = {RETURN(SECCOMP_RET_ALLOW)};
  struct sock_fprog p = {.len = 1, .filter = f};
  ERR(EINVAL, seccomp(SECCOMP_SET_MODE_FILTER, 1 << 5, &p));
  int fd = SYS(listen_on(SYS_getppid, SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_TSYNC_ESRCH));
  ERR(EBUSY, listen_on(SYS_getpgrp, 0));
  struct seccomp_notif n = {.flags = 1};
  ERR(EINVAL, ioctl(fd, SECCOMP_IOCTL_NOTIF_RECV, &n));
  ERR(EFAULT, ioctl(fd, SECCOMP_IOCTL_NOTIF_RECV, 8));
  ERR(EFAULT, ioctl(fd, SECCOMP_IOCTL_NOTIF_SEND, 8));
  ERR(EFAULT, ioctl(fd, SECCOMP_IOCTL_NOTIF_ID_VALID, 8));
  ERR(EINVAL, ioctl(fd, 0x2105, 0));
  ERR(EINVAL, ioctl(fd, SET_FLAGS, 2));
  SYS(ioctl(fd, SET_FLAGS, 1));
  EQ(0, ready(fd));
}

static volatile sig_atomic_t caught;
static void note(int sig UNUSED) { caught++; }

static void interrupted_once(void) {
  handle(SIGUSR1, note, 0);
  ERR(EINTR, syscall(SYS_getppid));
  EQ(1, caught);
  handle(SIGUSR1, note, SA_RESTART);
  EQ(5, syscall(SYS_getppid));
  EQ(2, caught);
}

// A signal takes the call back, even if it was received.
static void signals(void) {
  int fd;
  pid_t pid = target(SYS_getppid, 0, interrupted_once, &fd);
  struct seccomp_notif n = receive(fd);
  SYS(kill(pid, SIGUSR1));
  struct seccomp_notif again = receive(fd);
  CHECK(again.id != n.id);
  ERR(ENOENT, answer(fd, n.id, 1, 0, 0));
  SYS(kill(pid, SIGUSR1));
  n = receive(fd);  // restarted
  SYS(answer(fd, n.id, 5, 0, 0));
  EXITS(0, pid);
}

static void not_interrupted(void) {
  handle(SIGUSR1, note, 0);
  EQ(6, syscall(SYS_getppid));
  EQ(1, caught);
}

// Unless only death is to.
static void killable(void) {
  int fd;
  pid_t pid = target(SYS_getppid, 1 << 5, not_interrupted, &fd);
  struct seccomp_notif n = receive(fd);
  SYS(kill(pid, SIGUSR1));
  sleep_ms(20);
  SYS(ioctl(fd, SECCOMP_IOCTL_NOTIF_ID_VALID, &n.id));
  SYS(answer(fd, n.id, 6, 0, 0));
  EXITS(0, pid);
  pid = target(SYS_getppid, 1 << 5, not_interrupted, &fd);
  n = receive(fd);
  SYS(kill(pid, SIGKILL));
  DIES(SIGKILL, pid);
  ERR(ENOENT, answer(fd, n.id, 6, 0, 0));
}

struct addfd {
  uint64_t id;
  uint32_t flags, srcfd, newfd, newfd_flags;
};
#define ADDFD _IOW('!', 3, struct addfd)

static void use_fds(void) {
  int fd = syscall(SYS_getppid);
  char c = 0;
  EQ(1, SYS(read(fd, &c, 1)));
  EQ('a', c);
  EQ(FD_CLOEXEC, fcntl(fd, F_GETFD));
  EQ(0, syscall(SYS_getppid));
  EQ(1, SYS(read(55, &c, 1)));
  EQ('b', c);
  EQ(0, fcntl(55, F_GETFD));
}

static void descriptors(void) {
  int fd, p[2];
  SYS(pipe(p));
  EQ(2, SYS(write(p[1], "ab", 2)));
  int own = dup2(p[0], 200);
  pid_t pid = target(SYS_getppid, 0, use_fds, &fd);
  struct seccomp_notif n = receive(fd);
  struct addfd a = {.id = n.id + 9, .srcfd = own};
  ERR(ENOENT, ioctl(fd, ADDFD, &a));
  a.id = n.id;
  a.newfd = 3;
  ERR(EINVAL, ioctl(fd, ADDFD, &a));
  a.newfd = 0;
  a.newfd_flags = O_NONBLOCK;
  ERR(EINVAL, ioctl(fd, ADDFD, &a));
  a.newfd_flags = O_CLOEXEC;
  a.flags = 4;
  ERR(EINVAL, ioctl(fd, ADDFD, &a));
  a.flags = 0;
  a.srcfd = 999;
  ERR(EBADF, ioctl(fd, ADDFD, &a));
  a.srcfd = own;
  a.flags = 2;  // and answer
  CHECK(SYS(ioctl(fd, ADDFD, &a)) > 2);
  n = receive(fd);
  a = (struct addfd){.id = n.id, .srcfd = own, .newfd = 55, .flags = 1};
  EQ(55, SYS(ioctl(fd, ADDFD, &a)));
  SYS(answer(fd, n.id, 0, 0, 0));
  EXITS(0, pid);
}

static void *asks(void *arg) {
  *(long *)arg = syscall(SYS_getppid);
  return NULL;
}

static void from_threads(void) {
  pthread_t t[8];
  long got[8];
  for (int i = 0; i < 8; i++) ZERO(pthread_create(&t[i], NULL, asks, &got[i]));
  long sum = 0;
  for (int i = 0; i < 8; i++) {
    ZERO(pthread_join(t[i], NULL));
    sum += got[i];
  }
  EQ(36, sum);
}

static void many(void) {
  int fd;
  pid_t pid = target(SYS_getppid, 0, from_threads, &fd);
  uint64_t ids[8];
  for (int i = 0; i < 8; i++) {
    struct seccomp_notif n = receive(fd);
    CHECK(i == 0 || n.id > ids[i - 1]);
    ids[i] = n.id;
  }
  for (int i = 7; i >= 0; i--) SYS(answer(fd, ids[i], i + 1, 0, 0));
  EXITS(0, pid);
}

// What a tracer reads is what was put on.
static void filters_of_a_tracee(void) {
  pid_t pid = SYS(fork());
  if (pid == 0) {
    for (int i = 0; i < 2; i++) {
      struct sock_filter f[] = {LOAD(NR), IF(SYS_getppid + i, 0, 1), RETURN(SECCOMP_RET_ERRNO | 5), RETURN(SECCOMP_RET_ALLOW)};
      struct sock_fprog p = {.len = i ? 4 : 4, .filter = f};
      SYS(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
      SYS(seccomp(SECCOMP_SET_MODE_FILTER, i ? SECCOMP_FILTER_FLAG_LOG : 0, &p));
    }
    SYS(ptrace(PTRACE_TRACEME));
    raise(SIGSTOP);
    _exit(0);
  }
  int st;
  EQ(pid, SYS(waitpid(pid, &st, 0)));
  CHECK(WIFSTOPPED(st));
  struct sock_filter f[8];
  EQ(4, SYS(ptrace(PTRACE_SECCOMP_GET_FILTER, pid, 0, NULL)));
  for (int i = 0; i < 2; i++) {
    EQ(4, SYS(ptrace(PTRACE_SECCOMP_GET_FILTER, pid, i, f)));
    EQ(SYS_getppid + i, f[1].k);
    EQ(BPF_RET | BPF_K, f[3].code);
    struct {
      uint64_t which, flags;
    } m = {i, 99};
    EQ(16, SYS(ptrace(PTRACE_SECCOMP_GET_METADATA, pid, sizeof(m), &m)));
    EQ(i ? SECCOMP_FILTER_FLAG_LOG : 0, m.flags);
    EQ(8, SYS(ptrace(PTRACE_SECCOMP_GET_METADATA, pid, 8, &m)));
    ERR(EINVAL, ptrace(PTRACE_SECCOMP_GET_METADATA, pid, 7, &m));
  }
  ERR(ENOENT, ptrace(PTRACE_SECCOMP_GET_FILTER, pid, 2, NULL));
  ERR(EFAULT, ptrace(PTRACE_SECCOMP_GET_FILTER, pid, 0, (void *)8));
  SYS(ptrace(PTRACE_CONT, pid, 0, 0));
  EXITS(0, pid);
  pid = SYS(fork());
  if (pid == 0) {
    SYS(ptrace(PTRACE_TRACEME));
    raise(SIGSTOP);
    _exit(0);
  }
  EQ(pid, SYS(waitpid(pid, &st, 0)));
  ERR(EINVAL, ptrace(PTRACE_SECCOMP_GET_FILTER, pid, 0, NULL));
  SYS(ptrace(PTRACE_CONT, pid, 0, 0));
  EXITS(0, pid);
}

TESTS(T(answers), T(nobody), T(no_listener), T(bad_arguments), T(signals), T(killable), T(descriptors), T(many),
      T(filters_of_a_tracee))
