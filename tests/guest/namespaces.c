// Namespaces of host names, System V's objects, networks and control groups; setns
// into these and all others; and the files that stand for them.
#include "check.h"

#include <arpa/inet.h>
#include <linux/nsfs.h>
#include <pthread.h>
#include <sched.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/ipc.h>
#include <sys/mount.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/utsname.h>

#define USER 54325

static long pidfd_of(pid_t pid) { return SYS(syscall(SYS_pidfd_open, pid, 0)); }

static ino_t ns_of(pid_t pid, const char *name) {
  char path[64];
  struct stat st;
  snprintf(path, sizeof(path), "/proc/%d/ns/%s", pid, name);
  SYS(stat(path, &st));
  return st.st_ino;
}

static int open_ns(pid_t pid, const char *name) {
  char path[64];
  snprintf(path, sizeof(path), "/proc/%d/ns/%s", pid, name);
  return SYS(open(path, O_RDONLY));
}

static void is_host(const char *want) {
  struct utsname u;
  SYS(uname(&u));
  if (strcmp(want, u.nodename)) FAIL("the host is %s, want %s", u.nodename, want);
  char text[100];
  int fd = SYS(open("/proc/sys/kernel/hostname", O_RDONLY));
  ssize_t n = SYS(read(fd, text, sizeof(text) - 1));
  text[n - 1] = 0;
  if (strcmp(want, text)) FAIL("hostname is %s, want %s", text, want);
  close(fd);
}

// A child in namespaces of its own, which waits until it is let go.
static int let[2];

static pid_t child_in(int flags, void (*before)(void)) {
  int ready[2];
  SYS(pipe(ready));
  SYS(pipe(let));
  pid_t pid = SYS(fork());
  if (pid == 0) {
    SYS(unshare(flags));
    if (before) before();
    put(ready[1], 'r');
    close(let[1]);
    char c;
    SYS(read(let[0], &c, 1));
    _exit(0);
  }
  close(let[0]);
  get(ready[0]);
  close(ready[0]);
  close(ready[1]);
  return pid;
}

static void let_go(pid_t pid) {
  SYS(close(let[1]));
  EXITS(0, pid);
}

static void own_host(void) {
  struct utsname before;
  SYS(uname(&before));
  is_host(before.nodename);
  ino_t first = ns_of(getpid(), "uts");
  SYS(unshare(CLONE_NEWUTS));
  CHECK(first != ns_of(getpid(), "uts"));
  is_host(before.nodename);  // a copy
  SYS(sethostname("inner", 5));
  SYS(setdomainname("domain", 6));
  is_host("inner");
  // A child is in it, too.
  pid_t pid = SYS(fork());
  if (pid == 0) {
    is_host("inner");
    SYS(sethostname("deeper", 6));
    _exit(0);
  }
  EXITS(0, pid);
  is_host("deeper");
  int fd = SYS(open("/proc/sys/kernel/hostname", O_WRONLY));
  SYS(write(fd, "written\n", 8));
  is_host("written");
}

static void uts(void) {
  struct utsname before, after;
  SYS(uname(&before));
  forked(own_host);
  SYS(uname(&after));
  CHECK(strcmp(before.nodename, after.nodename) == 0 && strcmp(before.domainname, after.domainname) == 0);
}

static void rename_host(void) { SYS(sethostname("elsewhere", 9)); }

// By clone(2), with a stack of the parent's.
static void by_clone(void) {
  struct utsname before, after;
  SYS(uname(&before));
  pid_t pid = SYS(syscall(SYS_clone, CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET | CLONE_NEWCGROUP | SIGCHLD, 0, 0, 0, 0));
  if (pid == 0) {
    is_host(before.nodename);
    rename_host();
    _exit(0);
  }
  EXITS(0, pid);
  SYS(uname(&after));
  CHECK(strcmp(before.nodename, after.nodename) == 0);
}

static void enter_by_file(void) {
  struct utsname before;
  SYS(uname(&before));
  int own = open_ns(getpid(), "uts");
  pid_t pid = child_in(CLONE_NEWUTS, rename_host);
  int fd = open_ns(pid, "uts");
  ERR(EINVAL, setns(fd, CLONE_NEWIPC));
  SYS(setns(fd, CLONE_NEWUTS));
  EQ(ns_of(pid, "uts"), ns_of(getpid(), "uts"));
  is_host("elsewhere");
  let_go(pid);
  // The namespace lives as long as somebody is in it, or has it open.
  is_host("elsewhere");
  SYS(setns(own, 0));
  is_host(before.nodename);
  SYS(setns(fd, 0));
  is_host("elsewhere");
}

static void enter_by_pidfd(void) {
  struct utsname before;
  SYS(uname(&before));
  pid_t pid = child_in(CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET | CLONE_NEWCGROUP | CLONE_NEWNS | CLONE_NEWPID, rename_host);
  int fd = pidfd_of(pid);
  ERR(EINVAL, setns(fd, 0));
  ERR(EINVAL, setns(fd, CLONE_FS));
  ERR(EINVAL, setns(fd, CLONE_NEWUTS | CLONE_FS));
  // Its own user namespace again would be a way to capabilities.
  ERR(EINVAL, setns(fd, CLONE_NEWUSER));
  SYS(setns(fd, CLONE_NEWUTS));
  is_host("elsewhere");
  CHECK(ns_of(pid, "ipc") != ns_of(getpid(), "ipc"));
  SYS(setns(fd, CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET | CLONE_NEWCGROUP | CLONE_NEWNS | CLONE_NEWPID));
  const char *names[] = {"uts", "ipc", "net", "cgroup", "mnt", "pid"};
  for (size_t i = 0; i < LEN(names); i++) EQ(ns_of(pid, names[i]), ns_of(getpid(), names[i]));
  let_go(pid);
  ERR(ESRCH, setns(fd, CLONE_NEWUTS));  // nobody is there any more
  is_host("elsewhere");
}

static void bad_setns(void) {
  int pipe_fds[2];
  SYS(pipe(pipe_fds));
  ERR(EBADF, setns(-1, 0));
  ERR(EBADF, setns(99, 0));
  ERR(EINVAL, setns(pipe_fds[0], 0));
  ERR(EINVAL, setns(SYS(open("/proc/self/status", O_RDONLY)), 0));
  ERR(EINVAL, setns(SYS(open("/proc", O_RDONLY)), 0));
  ERR(EBADF, setns(SYS(open("/proc/self/ns/uts", O_PATH)), 0));
  ERR(EINVAL, setns(open_ns(getpid(), "uts"), CLONE_NEWUTS | CLONE_NEWIPC));
  ERR(EINVAL, setns(open_ns(getpid(), "uts"), 1));
  ERR(EINVAL, setns(open_ns(getpid(), "user"), 0));
  ERR(EPERM, open("/proc/self/ns/uts", O_RDWR));
  ERR(EINVAL, unshare(CLONE_NEWUTS | 1));
  // As somebody without privilege.
  int uts = open_ns(getpid(), "uts"), mnt = open_ns(getpid(), "mnt"), pid = open_ns(getpid(), "pid");
  int net = open_ns(getpid(), "net"), ipc = open_ns(getpid(), "ipc"), cgroup = open_ns(getpid(), "cgroup");
  SYS(setresuid(USER, USER, USER));
  int all[] = {uts, mnt, pid, net, ipc, cgroup};
  for (size_t i = 0; i < LEN(all); i++) ERR(EPERM, setns(all[i], 0));
  ERR(EPERM, unshare(CLONE_NEWUTS));
  ERR(EPERM, unshare(CLONE_NEWIPC));
  ERR(EPERM, unshare(CLONE_NEWNET));
  ERR(EPERM, unshare(CLONE_NEWCGROUP));
  ERR(EPERM, sethostname("x", 1));
  ERR(EPERM, (syscall(SYS_clone, CLONE_NEWUTS | SIGCHLD, 0, 0, 0, 0)));
  ERR(EPERM, (syscall(SYS_clone, CLONE_NEWIPC | CLONE_SYSVSEM | SIGCHLD, 0, 0, 0, 0)));
}

static void flags_that_clash(void) {
  ERR(EINVAL, (syscall(SYS_clone, CLONE_NEWIPC | CLONE_SYSVSEM | SIGCHLD, 0, 0, 0, 0)));
  ERR(EINVAL, (syscall(SYS_clone, CLONE_NEWNS | CLONE_FS | SIGCHLD, 0, 0, 0, 0)));
  // Threads of a process may be in different ones, of these kinds.
  EQ(0, SYS(unshare(CLONE_NEWIPC | CLONE_SYSVSEM)));
}

static const key_t key = 0x6e732d31;

static void new_ipc(void) {
  SYS(unshare(CLONE_NEWIPC));
  ERR(ENOENT, shmget(key, 4096, 0));
  ERR(ENOENT, msgget(key, 0));
  ERR(ENOENT, semget(key, 1, 0));
  int id = SYS(shmget(key, 4096, IPC_CREAT | 0600));
  int *at = shmat(id, NULL, 0);
  CHECK(at != (void *)-1);
  *at = 77;
  EQ(0, SYS(msgget(key, IPC_CREAT | 0600)) & 0x7fff);  // numbers begin anew
  SYS(semget(key, 1, IPC_CREAT | 0600));
}

static void own_ipc(void) {
  int shm = SYS(shmget(key, 4096, IPC_CREAT | IPC_EXCL | 0600));
  int msg = SYS(msgget(key, IPC_CREAT | IPC_EXCL | 0600));
  int sem = SYS(semget(key, 1, IPC_CREAT | IPC_EXCL | 0600));
  int *at = shmat(shm, NULL, 0);
  *at = 5;
  pid_t pid = child_in(CLONE_NEWIPC, new_ipc);
  EQ(5, *at);
  let_go(pid);
  EQ(shm, SYS(shmget(key, 4096, 0)));
  SYS(shmctl(shm, IPC_RMID, NULL));
  SYS(msgctl(msg, IPC_RMID, NULL));
  SYS(semctl(sem, 0, IPC_RMID));
}

static void ipc(void) { forked(own_ipc); }

static long first_number(const char *path) {
  char text[64] = {0};
  int fd = SYS(open(path, O_RDONLY));
  SYS(read(fd, text, sizeof(text) - 1));
  close(fd);
  return strtol(text, NULL, 10);
}

// Limits are the namespace's own.
static void ipc_limits(void) {
  long before = first_number("/proc/sys/kernel/msgmax");
  pid_t pid = SYS(fork());
  if (pid == 0) {
    SYS(unshare(CLONE_NEWIPC));
    EQ(8192, first_number("/proc/sys/kernel/msgmax"));
    int fd = SYS(open("/proc/sys/kernel/msgmax", O_WRONLY));
    SYS(write(fd, "1000", 4));
    EQ(1000, first_number("/proc/sys/kernel/msgmax"));
    int id = SYS(msgget(IPC_PRIVATE, 0600));
    struct {
      long type;
      char text[2000];
    } m = {.type = 1};
    ERR(EINVAL, msgsnd(id, &m, 1001, 0));
    SYS(msgsnd(id, &m, 1000, 0));
    _exit(0);
  }
  EXITS(0, pid);
  EQ(before, first_number("/proc/sys/kernel/msgmax"));
}

// A segment of a namespace that has ended lives in its mappings.
static void ipc_ends(void) {
  SYS(unshare(CLONE_NEWIPC));
  int id = SYS(shmget(IPC_PRIVATE, 4096, 0600));
  int *at = shmat(id, NULL, 0);
  *at = 123;
  SYS(unshare(CLONE_NEWIPC));
  EQ(123, *at);
  pid_t pid = SYS(fork());
  if (pid == 0) _exit(*at == 123 ? 0 : 1);
  EXITS(0, pid);
  ERR(EINVAL, shmat(id, NULL, 0) == (void *)-1 ? -1 : 0);
  SYS(shmdt(at));
}

static struct sockaddr_un abstract(const char *name, socklen_t *size) {
  struct sockaddr_un a = {.sun_family = AF_UNIX};
  strcpy(a.sun_path + 1, name);
  *size = offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name);
  return a;
}

// Abstract names and ports are the namespace's.
static void own_net(void) {
  socklen_t size;
  struct sockaddr_un a = abstract("guest-namespaces", &size);
  int old = SYS(socket(AF_UNIX, SOCK_STREAM, 0));
  SYS(bind(old, (void *)&a, size));
  SYS(listen(old, 1));
  struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_ANY)};
  int port = SYS(socket(AF_INET, SOCK_STREAM, 0));
  SYS(bind(port, (void *)&in, sizeof(in)));
  socklen_t in_size = sizeof(in);
  SYS(getsockname(port, (void *)&in, &in_size));

  ino_t before = ns_of(getpid(), "net");
  SYS(unshare(CLONE_NEWNET));
  CHECK(before != ns_of(getpid(), "net"));
  int s = SYS(socket(AF_UNIX, SOCK_STREAM, 0));
  ERR(ECONNREFUSED, connect(s, (void *)&a, size));
  SYS(bind(s, (void *)&a, size));
  int p = SYS(socket(AF_INET, SOCK_STREAM, 0));
  SYS(bind(p, (void *)&in, sizeof(in)));
  // What was made before stays where it was: with a socket of that namespace the
  // name is still the other's.
  SYS(listen(port, 1));
  // No link but lo.
  char text[4096];
  int fd = SYS(open("/proc/net/dev", O_RDONLY));
  ssize_t n = SYS(read(fd, text, sizeof(text) - 1));
  text[n] = 0;
  CHECK(strstr(text, "lo:") != NULL);
  int lines = 0;
  for (char *c = text; *c; c++) lines += *c == '\n';
  EQ(3, lines);
}

static void net(void) { forked(own_net); }

static int nsfd_of(int fd, unsigned long request) { return ioctl(fd, request); }

static ino_t ino_of(int fd) {
  struct stat st;
  SYS(fstat(fd, &st));
  return st.st_ino;
}

static void ioctls(void) {
  const struct {
    const char *name;
    int type;
  } all[] = {{"uts", CLONE_NEWUTS},       {"ipc", CLONE_NEWIPC}, {"net", CLONE_NEWNET},  {"cgroup", CLONE_NEWCGROUP},
             {"mnt", CLONE_NEWNS},        {"pid", CLONE_NEWPID}, {"user", CLONE_NEWUSER}};
  ino_t user = ns_of(getpid(), "user");
  for (size_t i = 0; i < LEN(all); i++) {
    int fd = open_ns(getpid(), all[i].name);
    EQ(all[i].type, SYS(nsfd_of(fd, NS_GET_NSTYPE)));
    uid_t uid;
    if (all[i].type == CLONE_NEWUSER) {
      EQ(0, SYS(ioctl(fd, NS_GET_OWNER_UID, &uid)));
      EQ(0, uid);
      ERR(EFAULT, ioctl(fd, NS_GET_OWNER_UID, 8));
    } else {
      EQ(user, ino_of(SYS(nsfd_of(fd, NS_GET_USERNS))));
      ERR(EINVAL, ioctl(fd, NS_GET_OWNER_UID, &uid));
    }
    if (all[i].type != CLONE_NEWUSER && all[i].type != CLONE_NEWPID) ERR(EINVAL, nsfd_of(fd, NS_GET_PARENT));
    ERR(ENOTTY, nsfd_of(fd, 0xb7ff));
    ERR(EINVAL, read(fd, &uid, 4));
  }
}

static void become_inner_root(void) {
  char map[64];
  int fd = SYS(open("/proc/self/setgroups", O_WRONLY));
  SYS(write(fd, "deny", 4));
  fd = SYS(open("/proc/self/uid_map", O_WRONLY));
  SYS(write(fd, map, sprintf(map, "0 %d 1\n", USER)));
  fd = SYS(open("/proc/self/gid_map", O_WRONLY));
  SYS(write(fd, "0 0 1\n", 6));
  SYS(sethostname("owned", 5));
}

// The user namespace owns what is made with it, and shows no more than itself.
static void ioctls_inside(void) {
  int outer_user = open_ns(getpid(), "user"), outer_uts = open_ns(getpid(), "uts"), outer_pid = open_ns(getpid(), "pid");
  SYS(setresuid(USER, USER, USER));
  SYS(prctl(PR_SET_DUMPABLE, 1));
  SYS(unshare(CLONE_NEWUSER | CLONE_NEWUTS | CLONE_NEWPID));
  int user = open_ns(getpid(), "user"), uts = open_ns(getpid(), "uts");
  EQ(ino_of(user), ino_of(SYS(nsfd_of(uts, NS_GET_USERNS))));
  ERR(EPERM, nsfd_of(user, NS_GET_USERNS));
  ERR(EPERM, nsfd_of(user, NS_GET_PARENT));
  ERR(EPERM, nsfd_of(outer_uts, NS_GET_USERNS));
  ERR(EPERM, nsfd_of(outer_user, NS_GET_PARENT));
  ERR(EPERM, nsfd_of(outer_pid, NS_GET_PARENT));
  uid_t uid;
  SYS(ioctl(user, NS_GET_OWNER_UID, &uid));
  EQ(65534, uid);  // there is no map
  // One more below: its parent is this one.
  become_inner_root();
  SYS(ioctl(user, NS_GET_OWNER_UID, &uid));
  EQ(0, uid);
  pid_t pid = child_in(CLONE_NEWUSER, NULL);
  int inner = open_ns(pid, "user");
  EQ(ino_of(user), ino_of(SYS(nsfd_of(inner, NS_GET_PARENT))));
  EQ(ino_of(user), ino_of(SYS(nsfd_of(inner, NS_GET_USERNS))));
  let_go(pid);
}

// Who made a user namespace may go into it, and into what it owns.
static void enter_user(void) {
  SYS(setresuid(USER, USER, USER));
  SYS(prctl(PR_SET_DUMPABLE, 1));
  pid_t pid = child_in(CLONE_NEWUSER | CLONE_NEWUTS | CLONE_NEWNET, become_inner_root);
  int uts = open_ns(pid, "uts"), user = open_ns(pid, "user"), first = open_ns(getpid(), "user");
  ERR(EPERM, setns(uts, 0));
  int fd = pidfd_of(pid);
  pid_t at_once = SYS(fork());
  if (at_once == 0) {
    SYS(setns(fd, CLONE_NEWUSER | CLONE_NEWUTS));
    is_host("owned");
    EQ(0, getuid());
    _exit(0);
  }
  EXITS(0, at_once);
  SYS(setns(user, CLONE_NEWUSER));
  EQ(0, getuid());
  ERR(EINVAL, setns(user, CLONE_NEWUSER));
  ERR(EPERM, setns(first, CLONE_NEWUSER));  // and not back
  SYS(setns(uts, 0));
  is_host("owned");
  SYS(sethostname("mine", 4));
  let_go(pid);
}

static void *sleeper(void *arg) {
  char c;
  SYS(read(*(int *)arg, &c, 1));
  return NULL;
}

static void threads(void) {
  int hold[2];
  SYS(pipe(hold));
  pid_t pid = child_in(CLONE_NEWUSER | CLONE_NEWUTS | CLONE_NEWNS, NULL);
  int user = open_ns(pid, "user"), uts = open_ns(pid, "uts"), mnt = open_ns(pid, "mnt");
  pthread_t t;
  ZERO(pthread_create(&t, NULL, sleeper, &hold[0]));
  ERR(EINVAL, setns(user, 0));  // one process, one user namespace
  ERR(EINVAL, setns(mnt, 0));   // root and working directory are shared
  SYS(setns(uts, 0));           // of one thread
  put(hold[1], 'x');
  ZERO(pthread_join(t, NULL));
  let_go(pid);
}

static void mount_inside(void) {
  SYS(syscall(SYS_mount, "none", "/", NULL, MS_REC | MS_PRIVATE, NULL));
  SYS(syscall(SYS_mount, "inside", "/tmp", "tmpfs", 0, NULL));
  make_file("/tmp/only-inside", "", 0, 0600);
}

static void enter_mounts(void) {
  SYS(chdir("/tmp"));
  umask(027);
  pid_t pid = child_in(CLONE_NEWNS, mount_inside);
  ERR(ENOENT, access("/tmp/only-inside", F_OK));
  int fd = open_ns(pid, "mnt"), own = open_ns(getpid(), "mnt");
  SYS(setns(fd, CLONE_NEWNS));
  SYS(access("/tmp/only-inside", F_OK));
  char cwd[100];
  CHECK(getcwd(cwd, sizeof(cwd)) != NULL);
  say("%s %o\n", cwd, umask(0));  // at the top
  EQ(ns_of(pid, "mnt"), ns_of(getpid(), "mnt"));
  SYS(setns(own, 0));
  ERR(ENOENT, access("/tmp/only-inside", F_OK));
  let_go(pid);
  SYS(setns(fd, 0));
  SYS(access("/tmp/only-inside", F_OK));
}

static void enter_pids(void) {
  int own = open_ns(getpid(), "pid");
  SYS(unshare(CLONE_NEWPID));
  pid_t init = SYS(fork());
  if (init == 0) {
    pause();
    _exit(0);
  }
  int fd = open_ns(init, "pid");
  EQ(ino_of(fd), ns_of(getpid(), "pid_for_children"));
  SYS(setns(own, 0));
  pid_t pid = SYS(fork());
  if (pid == 0) _exit(getpid() == 1 || getppid() == 0);
  EXITS(0, pid);
  SYS(setns(fd, CLONE_NEWPID));
  pid = SYS(fork());
  if (pid == 0) {
    ERR(EINVAL, setns(own, 0));  // not upwards
    // Its parent is not seen in here, and it is the second.
    _exit(getpid() != 2 || getppid() != 0);
  }
  EXITS(0, pid);
  CHECK(ns_of(getpid(), "pid") == ino_of(own));
  SYS(kill(init, SIGKILL));
  DIES(SIGKILL, init);
  ERR(ENOMEM, fork());  // its init has ended
}

// Numbers of links in /proc/PID/ns, of a process that has ended and is not waited for.
static void of_a_zombie(void) {
  pid_t pid = SYS(fork());
  if (pid == 0) _exit(0);
  siginfo_t si;
  SYS(waitid(P_PID, pid, &si, WEXITED | WNOWAIT));
  char path[64];
  const char *names[] = {"uts", "ipc", "net", "mnt", "cgroup", "user", "pid"};
  for (size_t i = 0; i < LEN(names); i++) {
    struct stat st;
    snprintf(path, sizeof(path), "/proc/%d/ns/%s", pid, names[i]);
    say("%s: %s\n", names[i], stat(path, &st) == 0 ? "ok" : strerrorname_np(errno));
  }
  EXITS(0, pid);
}

// Many, one after the other: nothing is left of them.
static void many(void) {
  for (int i = 0; i < 300; i++) {
    SYS(unshare(CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET | CLONE_NEWCGROUP));
    int id = SYS(shmget(IPC_PRIVATE, 1 << 20, 0600));
    char *at = shmat(id, NULL, 0);
    memset(at, 1, 1 << 16);
    SYS(shmdt(at));
    int s = SYS(socket(AF_INET, SOCK_STREAM, 0));
    SYS(close(s));
  }
}

TESTS(T(uts), T(by_clone), T(enter_by_file), T(enter_by_pidfd), T(bad_setns), T(flags_that_clash), T(ipc), T(ipc_limits),
      T(ipc_ends), T(net), T(ioctls), T(ioctls_inside), T(enter_user), T(threads), T(enter_mounts), T(enter_pids),
      T(of_a_zombie), T(many))
