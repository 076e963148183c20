// Device files: the memory devices, the tree in /dev, mknod.
#include "check.h"

#include <sys/ioctl.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>

static void nodes(void) {
  static const struct {
    const char *path;
    unsigned major, minor;
  } nodes[] = {
      {"/dev/null", 1, 3}, {"/dev/zero", 1, 5}, {"/dev/full", 1, 7}, {"/dev/random", 1, 8},
      {"/dev/urandom", 1, 9}, {"/dev/tty", 5, 0}, {"/dev/ptmx", 5, 2},
  };
  for (size_t i = 0; i < LEN(nodes); i++) {
    struct stat st;
    if (stat(nodes[i].path, &st)) FAIL("%s: %s", nodes[i].path, strerrorname_np(errno));
    if (!S_ISCHR(st.st_mode)) FAIL("%s: mode %o", nodes[i].path, st.st_mode);
    EQ(nodes[i].major, major(st.st_rdev));
    EQ(nodes[i].minor, minor(st.st_rdev));
    EQ(0666, st.st_mode & 0777);
  }
  char target[100];
  ssize_t n = SYS(readlink("/dev/fd", target, sizeof(target)));
  EQ(0, strncmp(target, "/proc/self/fd", n));
  n = SYS(readlink("/dev/stdin", target, sizeof(target)));
  EQ(0, strncmp(target, "/proc/self/fd/0", n));
}

static void *volatile bad = (void *)8;

static void null_device(void) {
  int fd = SYS(open("/dev/null", O_RDWR));
  char b[10];
  EQ(0, SYS(read(fd, b, sizeof(b))));
  EQ(5, SYS(write(fd, "hello", 5)));
  EQ(0, SYS(pread(fd, b, sizeof(b), 100)));
  EQ(3, SYS(pwrite(fd, "abc", 3, 1LL << 40)));
  EQ(0, SYS(lseek(fd, 77, SEEK_SET)));
  EQ(0, SYS(lseek(fd, 0, SEEK_END)));
  CHECK(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, fd, 0) == MAP_FAILED && errno == ENODEV);
  ERR(EINVAL, ftruncate(fd, 0));
  SYS(close(SYS(open("/dev/null", O_RDWR | O_TRUNC | O_CREAT | O_APPEND, 0600))));
  ERR(ENOTTY, ioctl(fd, TIOCGWINSZ, b));
  // What is written is not looked at.
  EQ(100, SYS(write(fd, bad, 100)));
}

static void zero_device(void) {
  int fd = SYS(open("/dev/zero", O_RDWR));
  char b[9000];
  memset(b, 'x', sizeof(b));
  EQ(sizeof(b), SYS(read(fd, b, sizeof(b))));
  for (size_t i = 0; i < sizeof(b); i++) EQ(0, b[i]);
  EQ(5, SYS(write(fd, "hello", 5)));
  EQ(10, SYS(pread(fd, b, 10, 1LL << 50)));
  EQ(0, SYS(lseek(fd, 123, SEEK_SET)));
  ERR(EFAULT, read(fd, bad, 100));
  // A part is a part.
  char *two = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  SYS(munmap(two + PAGE, PAGE));
  EQ(100, SYS(read(fd, two + PAGE - 100, 200)));
  struct iovec v[2] = {{b, 100}, {b + 200, 300}};
  EQ(400, SYS(readv(fd, v, 2)));
}

static void zero_map(void) {
  int fd = SYS(open("/dev/zero", O_RDWR));
  char *own = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
  char *one = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  char *two = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  CHECK(own != MAP_FAILED && one != MAP_FAILED && two != MAP_FAILED);
  SYS(close(fd));
  for (size_t i = 0; i < 4 * PAGE; i += 64) CHECK(own[i] == 0 && one[i] == 0 && two[i] == 0);
  pid_t pid = SYS(fork());
  if (pid == 0) {
    own[PAGE] = one[PAGE] = 'c';
    _exit(0);
  }
  EXITS(0, pid);
  EQ(0, own[PAGE]);    // private
  EQ('c', one[PAGE]);  // shared with the child
  EQ(0, two[PAGE]);    // but with no other mapping
  SYS(munmap(one, 4 * PAGE));
  int ro = SYS(open("/dev/zero", O_RDONLY));
  CHECK(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, ro, 0) == MAP_FAILED && errno == EACCES);
  char *w = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, ro, 0);
  CHECK(w != MAP_FAILED);
  w[0] = 1;
}

static void full_device(void) {
  int fd = SYS(open("/dev/full", O_RDWR));
  char b[100];
  memset(b, 'x', sizeof(b));
  EQ(sizeof(b), SYS(read(fd, b, sizeof(b))));
  for (size_t i = 0; i < sizeof(b); i++) EQ(0, b[i]);
  ERR(ENOSPC, write(fd, "x", 1));
  ERR(ENOSPC, write(fd, bad, 1));
  EQ(0, SYS(lseek(fd, 5, SEEK_SET)));
}

static void random_device(void) {
  static const char *const paths[] = {"/dev/random", "/dev/urandom"};
  for (size_t i = 0; i < LEN(paths); i++) {
    int fd = SYS(open(paths[i], O_RDWR | O_NONBLOCK));
    unsigned char a[5000], b[5000];
    EQ(sizeof(a), SYS(read(fd, a, sizeof(a))));
    EQ(sizeof(b), SYS(pread(fd, b, sizeof(b), 7)));
    CHECK(memcmp(a, b, sizeof(a)) != 0);
    int ones = 0;
    for (size_t j = 0; j < sizeof(a); j++) ones += __builtin_popcount(a[j]);
    CHECK(ones > 19000 && ones < 21000);
    EQ(100, SYS(write(fd, a, 100)));
    CHECK(SYS(lseek(fd, 0, SEEK_CUR)) == 0);
    SYS(close(fd));
  }
}

static volatile sig_atomic_t alarms;
static void on_alarm(int sig UNUSED) { alarms++; }

// A read of any size ends when a signal comes.
static void big_read(void) {
  size_t size = 1UL << 30;
  char *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  CHECK(p != MAP_FAILED);
  int fd = SYS(open("/dev/urandom", O_RDONLY));
  handle(SIGALRM, on_alarm, SA_RESTART);
  struct itimerval it = {.it_value = {0, 20000}};
  SYS(setitimer(ITIMER_REAL, &it, NULL));
  ssize_t n = SYS(read(fd, p, size));
  CHECK(n > 0 && (size_t)n < size);
  EQ(1, alarms);
}

static void make_nodes(void) {
  scratch();
  if (mknod("zero", S_IFCHR | 0666, makedev(1, 5))) {
    EQ(EPERM, errno);
    say("not root: devices cannot be made\n");
    return;
  }
  int fd = SYS(open("zero", O_RDONLY));
  char b[3] = "xxx";
  EQ(3, SYS(read(fd, b, 3)));
  EQ(0, b[0] | b[1] | b[2]);
  struct stat st;
  SYS(fstat(fd, &st));
  EQ(makedev(1, 5), st.st_rdev);
  SYS(mknod("nothing", S_IFCHR | 0666, makedev(240, 77)));
  ERR(ENXIO, open("nothing", O_RDONLY));
  SYS(mknod("block", S_IFBLK | 0666, makedev(240, 77)));
  ERR(ENXIO, open("block", O_RDONLY));
  SYS(mknod("pts", S_IFCHR | 0666, makedev(136, 0)));
  ERR(EIO, open("pts", O_RDWR));  // not in a devpts
}

static void shared_memory(void) {
  char name[64];
  snprintf(name, sizeof(name), "/guest.%d", getpid());
  int fd = SYS(shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600));
  SYS(ftruncate(fd, 3 * PAGE));
  char *p = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  CHECK(p != MAP_FAILED);
  pid_t pid = SYS(fork());
  if (pid == 0) {
    int again = SYS(shm_open(name, O_RDWR, 0));
    EQ(3, SYS(pwrite(again, "abc", 3, PAGE)));
    _exit(0);
  }
  EXITS(0, pid);
  EQ('b', p[PAGE + 1]);
  SYS(shm_unlink(name));
  ERR(ENOENT, shm_open(name, O_RDWR, 0));
}

static void no_terminal(void) {
  pid_t pid = SYS(fork());
  if (pid == 0) {
    SYS(setsid());
    ERR(ENXIO, open("/dev/tty", O_RDWR));
    ERR(ENXIO, open("/dev/tty", O_RDONLY | O_NONBLOCK));
    SYS(close(SYS(open("/dev/tty", O_PATH))));
    _exit(0);
  }
  EXITS(0, pid);
}

TESTS(T(nodes), T(null_device), T(zero_device), T(zero_map), T(full_device), T(random_device), T(big_read),
      T(make_nodes), T(shared_memory), T(no_terminal))
