// inotify: what happens to files is told, once, in order.
#include "check.h"

#include <poll.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/xattr.h>

static const struct {
  unsigned bit;
  const char *name;
} bits[] = {{IN_ACCESS, "ACCESS"}, {IN_MODIFY, "MODIFY"}, {IN_ATTRIB, "ATTRIB"}, {IN_CLOSE_WRITE, "CLOSE_WRITE"},
            {IN_CLOSE_NOWRITE, "CLOSE_NOWRITE"}, {IN_OPEN, "OPEN"}, {IN_MOVED_FROM, "MOVED_FROM"},
            {IN_MOVED_TO, "MOVED_TO"}, {IN_CREATE, "CREATE"}, {IN_DELETE, "DELETE"}, {IN_DELETE_SELF, "DELETE_SELF"},
            {IN_MOVE_SELF, "MOVE_SELF"}, {IN_UNMOUNT, "UNMOUNT"}, {IN_Q_OVERFLOW, "Q_OVERFLOW"},
            {IN_IGNORED, "IGNORED"}, {IN_ISDIR, "ISDIR"}};

static char buf[1 << 16] __attribute__((aligned(8)));

// events reads all that is queued and spells it: "wd MASK name;".
static const char *events(int fd) {
  static char text[1 << 16];
  size_t at = 0;
  text[0] = 0;
  for (;;) {
    ssize_t n = read(fd, buf, sizeof(buf));
    if (n == -1 && errno == EAGAIN) return text;
    CHECK(n > 0);
    for (ssize_t i = 0; i < n;) {
      struct inotify_event *e = (void *)(buf + i);
      at += sprintf(text + at, "%s%d", at ? "; " : "", e->wd);
      for (size_t b = 0; b < LEN(bits); b++)
        if (e->mask & bits[b].bit) at += sprintf(text + at, " %s", bits[b].name);
      if (e->len) {
        CHECK(e->len % 16 == 0 && memchr(e->name, 0, e->len));
        at += sprintf(text + at, " %s", e->name);
      }
      i += sizeof(*e) + e->len;
    }
  }
}

#define EVENTS(want, fd)                                                     \
  do {                                                                       \
    const char *got_ = events(fd);                                           \
    if (strcmp(want, got_)) FAIL("events: want\n%s\ngot\n%s", want, got_);    \
  } while (0)

static int watch_new(void) { return SYS(inotify_init1(IN_NONBLOCK | IN_CLOEXEC)); }

static void directory(void) {
  scratch();
  int fd = watch_new();
  EQ(1, SYS(inotify_add_watch(fd, ".", IN_ALL_EVENTS)));
  int f = SYS(open("f", O_RDWR | O_CREAT, 0600));
  EVENTS("1 CREATE f; 1 OPEN f", fd);
  EQ(3, SYS(write(f, "abc", 3)));
  EQ(3, SYS(pread(f, buf, 10, 0)));
  EQ(0, SYS(pread(f, buf, 10, 5)));
  SYS(ftruncate(f, 1));
  SYS(fallocate(f, 0, 0, 10));
  SYS(fchmod(f, 0644));
  SYS(fsetxattr(f, "user.x", "y", 1, 0));
  SYS(fremovexattr(f, "user.x"));
  EVENTS("1 MODIFY f; 1 ACCESS f; 1 MODIFY f; 1 ATTRIB f", fd);
  SYS(close(f));
  SYS(close(SYS(open("f", O_RDONLY))));
  SYS(close(SYS(open("f", O_RDONLY | O_PATH))));
  EVENTS("1 CLOSE_WRITE f; 1 OPEN f; 1 CLOSE_NOWRITE f", fd);
  SYS(close(SYS(open("f", O_RDWR | O_TRUNC))));
  EVENTS("1 OPEN f; 1 MODIFY f; 1 CLOSE_WRITE f", fd);
  SYS(truncate("f", 10));
  SYS(chmod("f", 0600));
  SYS(chown("f", getuid(), -1));
  EVENTS("1 MODIFY f; 1 ATTRIB f", fd);
  struct timespec both[2] = {{1, 0}, {2, 0}}, atime[2] = {{1, 0}, {0, UTIME_OMIT}}, mtime[2] = {{0, UTIME_OMIT}, {1, 0}};
  SYS(utimensat(AT_FDCWD, "f", both, 0));
  SYS(utimensat(AT_FDCWD, "f", atime, 0));
  SYS(utimensat(AT_FDCWD, "f", mtime, 0));
  EVENTS("1 ATTRIB f; 1 ACCESS f; 1 MODIFY f", fd);
  SYS(mkdir("d", 0700));
  SYS(symlink("f", "s"));
  SYS(link("f", "l"));
  SYS(mkfifo("p", 0600));
  EVENTS("1 CREATE ISDIR d; 1 CREATE s; 1 CREATE l; 1 CREATE p", fd);
  SYS(rmdir("d"));
  SYS(unlink("s"));
  SYS(unlink("l"));
  SYS(unlink("p"));
  SYS(unlink("f"));
  EVENTS("1 DELETE ISDIR d; 1 DELETE s; 1 DELETE l; 1 DELETE p; 1 DELETE f", fd);
  int d = SYS(open(".", O_RDONLY | O_DIRECTORY));
  CHECK(syscall(SYS_getdents64, d, buf, sizeof(buf)) > 0);
  SYS(close(d));
  EVENTS("1 OPEN ISDIR; 1 ACCESS ISDIR; 1 CLOSE_NOWRITE ISDIR", fd);
}

static void file_itself(void) {
  scratch();
  make_file("f", "abc", 3, 0600);
  int fd = watch_new();
  EQ(1, SYS(inotify_add_watch(fd, "f", IN_ALL_EVENTS)));
  int f = SYS(open("f", O_RDWR));
  EQ(3, SYS(read(f, buf, 10)));
  EQ(1, SYS(write(f, "x", 1)));
  SYS(link("f", "l"));
  EVENTS("1 OPEN; 1 ACCESS; 1 MODIFY; 1 ATTRIB", fd);
  SYS(rename("f", "g"));
  EVENTS("1 MOVE_SELF", fd);
  SYS(unlink("l"));
  SYS(unlink("g"));
  EVENTS("1 ATTRIB", fd);
  SYS(close(f));
  EVENTS("1 CLOSE_WRITE; 1 DELETE_SELF; 1 IGNORED", fd);
  ERR(EINVAL, inotify_rm_watch(fd, 1));
  make_file("f", "abc", 3, 0600);
  EQ(2, SYS(inotify_add_watch(fd, "f", IN_ALL_EVENTS)));
  SYS(unlink("f"));
  EVENTS("2 ATTRIB; 2 DELETE_SELF; 2 IGNORED", fd);
}

static void both_at_once(void) {
  scratch();
  make_file("f", "abc", 3, 0600);
  SYS(mkdir("d", 0700));
  int fd = watch_new();
  EQ(1, SYS(inotify_add_watch(fd, ".", IN_ALL_EVENTS)));
  EQ(2, SYS(inotify_add_watch(fd, "f", IN_ALL_EVENTS)));
  EQ(3, SYS(inotify_add_watch(fd, "d", IN_ALL_EVENTS)));
  SYS(chmod("f", 0644));
  EVENTS("1 ATTRIB f; 2 ATTRIB", fd);
  SYS(chmod("d", 0755));
  EVENTS("1 ATTRIB ISDIR d; 3 ATTRIB ISDIR", fd);
  SYS(unlink("f"));
  EVENTS("2 ATTRIB; 2 DELETE_SELF; 2 IGNORED; 1 DELETE f", fd);
  SYS(rmdir("d"));
  EVENTS("3 DELETE_SELF; 3 IGNORED; 1 DELETE ISDIR d", fd);
}

static unsigned cookie_of(int fd, unsigned mask) {
  ssize_t n = SYS(read(fd, buf, sizeof(struct inotify_event) + 16));
  struct inotify_event *e = (void *)buf;
  EQ(sizeof(*e) + e->len, n);
  EQ(mask, e->mask);
  return e->cookie;
}

static void moves(void) {
  scratch();
  SYS(mkdir("a", 0700));
  SYS(mkdir("b", 0700));
  make_file("a/f", "abc", 3, 0600);
  int fd = watch_new();
  EQ(1, SYS(inotify_add_watch(fd, "a", IN_ALL_EVENTS)));
  EQ(2, SYS(inotify_add_watch(fd, "b", IN_ALL_EVENTS)));
  SYS(rename("a/f", "b/g"));
  unsigned one = cookie_of(fd, IN_MOVED_FROM);
  CHECK(one != 0);
  EQ(one, cookie_of(fd, IN_MOVED_TO));
  SYS(rename("b/g", "b/h"));
  unsigned two = cookie_of(fd, IN_MOVED_FROM);
  CHECK(two != 0 && two != one);
  EQ(two, cookie_of(fd, IN_MOVED_TO));
  SYS(rename("b/h", "f"));
  EVENTS("2 MOVED_FROM h", fd);
  SYS(rename("f", "a/f"));
  EVENTS("1 MOVED_TO f", fd);
  make_file("b/f", "x", 1, 0600);
  events(fd);
  EQ(3, SYS(inotify_add_watch(fd, "b/f", IN_ALL_EVENTS)));
  SYS(rename("a/f", "b/f"));
  EVENTS("1 MOVED_FROM f; 2 MOVED_TO f; 3 ATTRIB; 3 DELETE_SELF; 3 IGNORED", fd);
  SYS(mkdir("a/d", 0700));
  events(fd);
  SYS(rename("a/d", "b/d"));
  EVENTS("1 MOVED_FROM ISDIR d; 2 MOVED_TO ISDIR d", fd);
  make_file("a/f", "x", 1, 0600);
  events(fd);
  SYS(syscall(SYS_renameat2, AT_FDCWD, "a/f", AT_FDCWD, "b/d", 2 /* RENAME_EXCHANGE */));
  EVENTS("1 MOVED_FROM f; 2 MOVED_TO d; 2 MOVED_FROM ISDIR d; 1 MOVED_TO ISDIR f", fd);
  EQ(4, SYS(inotify_add_watch(fd, "a/f", IN_ALL_EVENTS)));
  SYS(rename("a/f", "b/e"));
  EVENTS("1 MOVED_FROM ISDIR f; 2 MOVED_TO ISDIR e; 4 MOVE_SELF", fd);
}

static void masks(void) {
  scratch();
  make_file("f", "abc", 3, 0600);
  int fd = watch_new();
  ERR(EINVAL, inotify_add_watch(fd, "f", 0));
  ERR(EINVAL, inotify_add_watch(fd, "f", IN_MASK_ADD | IN_MASK_CREATE | IN_OPEN));
  ERR(ENOENT, inotify_add_watch(fd, "none", IN_OPEN));
  ERR(EFAULT, inotify_add_watch(fd, (char *)8, IN_OPEN));
  ERR(ENOTDIR, inotify_add_watch(fd, "f", IN_ONLYDIR | IN_OPEN));
  ERR(EBADF, inotify_add_watch(-1, "f", IN_OPEN));
  ERR(EINVAL, inotify_add_watch(0, "f", IN_OPEN));
  ERR(EINVAL, inotify_rm_watch(0, 1));
  ERR(EINVAL, inotify_rm_watch(fd, 1));
  ERR(EINVAL, inotify_init1(1));
  EQ(1, SYS(inotify_add_watch(fd, "f", IN_OPEN)));
  ERR(EEXIST, inotify_add_watch(fd, "f", IN_OPEN | IN_MASK_CREATE));
  EQ(1, SYS(inotify_add_watch(fd, "f", IN_ATTRIB)));
  SYS(close(SYS(open("f", O_RDONLY))));
  SYS(chmod("f", 0644));
  EVENTS("1 ATTRIB", fd);
  EQ(1, SYS(inotify_add_watch(fd, "f", IN_CLOSE_NOWRITE | IN_MASK_ADD)));
  SYS(close(SYS(open("f", O_RDONLY))));
  SYS(chmod("f", 0600));
  EVENTS("1 CLOSE_NOWRITE; 1 ATTRIB", fd);
  SYS(inotify_rm_watch(fd, 1));
  EVENTS("1 IGNORED", fd);
  EQ(2, SYS(inotify_add_watch(fd, "f", IN_OPEN | IN_ONESHOT)));
  SYS(close(SYS(open("f", O_RDONLY))));
  SYS(close(SYS(open("f", O_RDONLY))));
  EVENTS("2 OPEN; 2 IGNORED", fd);
  // The file by another name is the same file.
  SYS(link("f", "l"));
  SYS(symlink("f", "s"));
  EQ(3, SYS(inotify_add_watch(fd, "f", IN_OPEN)));
  EQ(3, SYS(inotify_add_watch(fd, "l", IN_OPEN)));
  EQ(3, SYS(inotify_add_watch(fd, "s", IN_OPEN)));
  EQ(4, SYS(inotify_add_watch(fd, "s", IN_ALL_EVENTS | IN_DONT_FOLLOW)));
  SYS(close(SYS(open("l", O_RDONLY))));
  EVENTS("3 OPEN", fd);
  SYS(unlink("s"));
  EVENTS("4 ATTRIB; 4 DELETE_SELF; 4 IGNORED", fd);
  if (getuid() == 0) {
    SYS(chmod("f", 0));
    pid_t pid = SYS(fork());
    if (pid == 0) {
      SYS(chmod(".", 0755));
      SYS(setuid(65534));
      ERR(EACCES, inotify_add_watch(SYS(inotify_init()), "f", IN_OPEN));
      _exit(0);
    }
    EXITS(0, pid);
  }
}

// With IN_EXCL_UNLINK, a file without a name is none of the directory's any more.
static void without_name(void) {
  scratch();
  for (int excl = 0; excl < 2; excl++) {
    int f = SYS(open("f", O_RDWR | O_CREAT, 0600)), fd = watch_new();
    SYS(inotify_add_watch(fd, ".", IN_MODIFY | IN_CLOSE | (excl ? IN_EXCL_UNLINK : 0)));
    SYS(unlink("f"));
    EQ(1, SYS(write(f, "x", 1)));
    SYS(close(f));
    EVENTS(excl ? "" : "1 MODIFY f; 1 CLOSE_WRITE f", fd);
    SYS(close(fd));
  }
}

static void merged(void) {
  scratch();
  int f = SYS(open("f", O_RDWR | O_CREAT, 0600)), fd = watch_new();
  SYS(inotify_add_watch(fd, "f", IN_MODIFY | IN_ACCESS));
  for (int i = 0; i < 10; i++) EQ(1, SYS(write(f, "x", 1)));
  for (int i = 0; i < 10; i++) EQ(1, SYS(pread(f, buf, 1, 0)));
  EQ(1, SYS(write(f, "x", 1)));
  EVENTS("1 MODIFY; 1 ACCESS; 1 MODIFY", fd);
}

static void reading(void) {
  scratch();
  int fd = watch_new();
  SYS(inotify_add_watch(fd, ".", IN_CREATE));
  struct pollfd p = {fd, POLLIN, 0};
  EQ(0, SYS(poll(&p, 1, 0)));
  ERR(EAGAIN, read(fd, buf, 1000));
  int n = -1;
  SYS(ioctl(fd, FIONREAD, &n));
  EQ(0, n);
  make_file("a", "", 0, 0600);
  make_file("a-name-of-sixteen", "", 0, 0600);
  EQ(1, SYS(poll(&p, 1, 0)));
  EQ(POLLIN, p.revents);
  SYS(ioctl(fd, FIONREAD, &n));
  EQ(16 + 16 + 16 + 32, n);
  ERR(EINVAL, read(fd, buf, 16));
  ERR(EINVAL, read(fd, buf, 31));
  EQ(32, SYS(read(fd, buf, 32 + 40)));
  EQ(48, SYS(read(fd, buf, 48)));
  ERR(EBADF, write(fd, buf, 1));
  ERR(ESPIPE, pread(fd, buf, 100, 0));
  // Somebody who waits is woken.
  int blocking = SYS(inotify_init());
  SYS(inotify_add_watch(blocking, ".", IN_CREATE));
  pid_t pid = SYS(fork());
  if (pid == 0) {
    sleep_ms(20);
    make_file("b", "", 0, 0600);
    _exit(0);
  }
  EQ(32, SYS(read(blocking, buf, sizeof(buf))));
  EXITS(0, pid);
}

static long sysctl_of(const char *path) {
  char text[32] = "";
  int fd = SYS(open(path, O_RDONLY));
  CHECK(read(fd, text, 31) > 0);
  SYS(close(fd));
  return atol(text);
}

static void limits(void) {
  scratch();
  long queued = sysctl_of("/proc/sys/fs/inotify/max_queued_events");
  CHECK(queued > 0 && queued < 100000);
  CHECK(sysctl_of("/proc/sys/fs/inotify/max_user_watches") > 100);
  long most = sysctl_of("/proc/sys/fs/inotify/max_user_instances");
  CHECK(most > 10);
  int fd = watch_new(), f = SYS(open("f", O_RDWR | O_CREAT, 0600));
  SYS(inotify_add_watch(fd, ".", IN_MODIFY | IN_ACCESS));
  for (long i = 0; i < queued + 100; i++) {
    if (i & 1) EQ(1, SYS(pwrite(f, "x", 1, 0)));
    else pread(f, buf, 1, 0);
    if (i == 0) EQ(1, SYS(pwrite(f, "x", 1, 0)));
  }
  long n = 0, overflows = 0;
  ssize_t got;
  while ((got = read(fd, buf, sizeof(buf))) > 0)
    for (ssize_t i = 0; i < got;) {
      struct inotify_event *e = (void *)(buf + i);
      n++;
      if (e->mask == IN_Q_OVERFLOW) {
        overflows++;
        EQ(-1, e->wd);
        EQ(0, e->len);
      }
      i += sizeof(*e) + e->len;
    }
  EQ(1, overflows);
  EQ(queued + 1, n);
  SYS(close(fd));
  static int fds[2000];
  int have = 0;
  while (have < 2000 && (fds[have] = inotify_init1(0)) >= 0) have++;
  EQ(EMFILE, errno);
  CHECK(have <= most);
  while (have-- > 0) SYS(close(fds[have]));
}

static void many_instances(void) {
  scratch();
  int a = watch_new(), b = watch_new();
  SYS(inotify_add_watch(a, ".", IN_CREATE | IN_DELETE));
  SYS(inotify_add_watch(b, ".", IN_CREATE));
  make_file("f", "", 0, 0600);
  SYS(unlink("f"));
  EVENTS("1 CREATE f; 1 DELETE f", a);
  EVENTS("1 CREATE f", b);
  SYS(close(a));
  make_file("f", "", 0, 0600);
  EVENTS("1 CREATE f", b);
}

static void exec_is_an_open(void) {
  scratch();
  make_file("s", "#!/bin/busybox true\n", 20, 0755);
  int fd = watch_new();
  SYS(inotify_add_watch(fd, "s", IN_OPEN | IN_CLOSE));
  pid_t pid = SYS(fork());
  if (pid == 0) {
    execl("./s", "s", NULL);
    _exit(0);
  }
  status_of(pid);
  const char *got = events(fd);
  if (strncmp(got, "1 OPEN", 6)) FAIL("got %s", got);
}

// A file goes while it is being watched: it is told of, or could not be watched.
static void watched_and_removed(void) {
  scratch();
  int *stop = map_shared(PAGE);
  pid_t pid = SYS(fork());
  if (pid == 0) {
    while (!__atomic_load_n(stop, __ATOMIC_SEQ_CST)) {
      SYS(close(SYS(open("f", O_CREAT | O_RDWR, 0600))));
      SYS(unlink("f"));
    }
    _exit(0);
  }
  for (int i = 0; i < 1000; i++) {
    int fd = SYS(inotify_init1(IN_NONBLOCK));
    for (int k = 0; k < 4; k++)
      if (inotify_add_watch(fd, "f", IN_MODIFY) == -1) EQ(ENOENT, errno);
    SYS(close(fd));
  }
  __atomic_store_n(stop, 1, __ATOMIC_SEQ_CST);
  EXITS(0, pid);
}

TESTS(T(directory), T(file_itself), T(both_at_once), T(moves), T(masks), T(without_name), T(merged), T(reading),
      T(watched_and_removed), T(limits), T(many_instances), T(exec_is_an_open))
