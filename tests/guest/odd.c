// Small calls: kcmp, memory policies, membarrier; flags of statx, pwritev2, openat2.
#include "check.h"

#include <linux/kcmp.h>
#include <linux/membarrier.h>
#include <linux/mempolicy.h>
#include <linux/openat2.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <sys/uio.h>

static long kcmp(pid_t a, pid_t b, int type, long i, long k) { return syscall(SYS_kcmp, a, b, type, i, k); }

static void compare(void) {
  scratch();
  pid_t me = getpid();
  int a = SYS(open("f", O_RDWR | O_CREAT, 0600)), b = SYS(dup(a)), c = SYS(open("f", O_RDWR));
  EQ(0, SYS(kcmp(me, me, KCMP_FILE, a, b)));
  CHECK(SYS(kcmp(me, me, KCMP_FILE, a, c)) != 0);
  ERR(EBADF, kcmp(me, me, KCMP_FILE, a, 999));
  ERR(EINVAL, kcmp(me, me, 99, 0, 0));
  ERR(ESRCH, kcmp(me, 1 << 29, KCMP_VM, 0, 0));
  int go[2];
  SYS(pipe(go));
  pid_t pid = SYS(fork());
  if (pid == 0) {
    get(go[0]);
    _exit(0);
  }
  EQ(0, SYS(kcmp(me, pid, KCMP_FILE, a, a)));
  CHECK(SYS(kcmp(me, pid, KCMP_FILE, a, c)) != 0);
  CHECK(SYS(kcmp(me, pid, KCMP_VM, 0, 0)) != 0);
  CHECK(SYS(kcmp(me, pid, KCMP_FILES, 0, 0)) != 0);
  CHECK(SYS(kcmp(me, pid, KCMP_FS, 0, 0)) != 0);
  CHECK(SYS(kcmp(me, pid, KCMP_SIGHAND, 0, 0)) != 0);
  EQ(0, SYS(kcmp(me, pid, KCMP_SYSVSEM, 0, 0)));
  for (int type = KCMP_VM; type <= KCMP_SYSVSEM; type++) EQ(0, SYS(kcmp(pid, pid, type, 0, 0)));
  put(go[1], 'g');
  EXITS(0, pid);
}

static void policies(void) {
  unsigned long nodes = 0;
  int mode = -1;
  SYS(syscall(SYS_get_mempolicy, &mode, &nodes, 64, 0, 0));
  EQ(MPOL_DEFAULT, mode);
  EQ(0, nodes);
  SYS(syscall(SYS_get_mempolicy, NULL, &nodes, 64, 0, MPOL_F_MEMS_ALLOWED));
  CHECK(nodes & 1);
  nodes = 1;
  SYS(syscall(SYS_set_mempolicy, MPOL_BIND, &nodes, 64));
  nodes = 0;
  SYS(syscall(SYS_get_mempolicy, &mode, &nodes, 64, 0, 0));
  EQ(MPOL_BIND, mode);
  EQ(1, nodes);
  pid_t pid = SYS(fork());
  if (pid == 0) {
    SYS(syscall(SYS_get_mempolicy, &mode, NULL, 0, 0, 0));
    EQ(MPOL_BIND, mode);
    _exit(0);
  }
  EXITS(0, pid);
  SYS(syscall(SYS_set_mempolicy, MPOL_INTERLEAVE, &nodes, 64));
  SYS(syscall(SYS_get_mempolicy, &mode, NULL, 0, 0, MPOL_F_NODE));
  EQ(0, mode);
  SYS(syscall(SYS_set_mempolicy, MPOL_PREFERRED, NULL, 0));
  SYS(syscall(SYS_get_mempolicy, &mode, NULL, 0, 0, 0));
  EQ(MPOL_LOCAL, mode);
  ERR(EINVAL, syscall(SYS_set_mempolicy, 99, NULL, 0));
  ERR(EINVAL, syscall(SYS_set_mempolicy, MPOL_BIND, NULL, 0));
  ERR(EINVAL, syscall(SYS_set_mempolicy, MPOL_DEFAULT, &nodes, 64));
  ERR(EFAULT, syscall(SYS_set_mempolicy, MPOL_BIND, 8, 64));
  ERR(EINVAL, syscall(SYS_set_mempolicy, MPOL_BIND | MPOL_F_STATIC_NODES | MPOL_F_RELATIVE_NODES, &nodes, 64));
  ERR(EINVAL, syscall(SYS_get_mempolicy, &mode, NULL, 0, &mode, 0));
  ERR(EINVAL, syscall(SYS_get_mempolicy, &mode, NULL, 0, 0, 99));
  ERR(EINVAL, syscall(SYS_get_mempolicy, &mode, NULL, 0, 0, MPOL_F_MEMS_ALLOWED | MPOL_F_ADDR));
  ERR(EFAULT, syscall(SYS_get_mempolicy, &mode, NULL, 0, 8, MPOL_F_ADDR));
  SYS(syscall(SYS_set_mempolicy, MPOL_DEFAULT, NULL, 0));
  char *p = map_private(2 * PAGE);
  p[0] = 1;
  SYS(syscall(SYS_get_mempolicy, &mode, NULL, 0, p, MPOL_F_ADDR | MPOL_F_NODE));
  EQ(0, mode);
  SYS(syscall(SYS_mbind, p, 2 * PAGE, MPOL_BIND, &nodes, 64, MPOL_MF_STRICT | MPOL_MF_MOVE));
  SYS(syscall(SYS_mbind, p, 2 * PAGE, MPOL_DEFAULT, NULL, 0, 0));
  ERR(EINVAL, syscall(SYS_mbind, p + 1, PAGE, MPOL_BIND, &nodes, 64, 0));
  ERR(EINVAL, syscall(SYS_mbind, p, PAGE, MPOL_BIND, &nodes, 64, 99));
  SYS(munmap(p + PAGE, PAGE));
  ERR(EFAULT, syscall(SYS_mbind, p, 2 * PAGE, MPOL_BIND, &nodes, 64, 0));
}

static long barrier(int cmd, int flags) { return syscall(SYS_membarrier, cmd, flags, 0); }

static void barriers(void) {
  long all = SYS(barrier(MEMBARRIER_CMD_QUERY, 0));
  const long basic = MEMBARRIER_CMD_GLOBAL | MEMBARRIER_CMD_GLOBAL_EXPEDITED | MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED |
                     MEMBARRIER_CMD_PRIVATE_EXPEDITED | MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED | 1 << 9;
  if ((all & basic) != basic) return;
  EQ(0, SYS(barrier(1 << 9, 0)));
  ERR(EPERM, barrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0));
  EQ(0, SYS(barrier(MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED, 0)));
  ERR(EPERM, barrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0));
  EQ(MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED, SYS(barrier(1 << 9, 0)));
  EQ(0, SYS(barrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0)));
  EQ(0, SYS(barrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0)));
  EQ(0, SYS(barrier(MEMBARRIER_CMD_GLOBAL_EXPEDITED, 0)));
  EQ(0, SYS(barrier(MEMBARRIER_CMD_GLOBAL, 0)));
  EQ(MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED | MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, SYS(barrier(1 << 9, 0)));
  ERR(EINVAL, barrier(MEMBARRIER_CMD_GLOBAL, 2));
  ERR(EINVAL, barrier(3, 0));
}

static void write_flags(void) {
  scratch();
  int fd = SYS(open("f", O_RDWR | O_CREAT, 0600));
  struct iovec iov = {"abc", 3}, one = {"x", 1};
  int ends[2];
  SYS(pipe(ends));
  for (int i = 0; i < 2; i++) { // no positions, whatever it is open for
    ERR(ESPIPE, pwritev2(ends[i], &iov, 1, 0, 0));
    ERR(ESPIPE, preadv2(ends[i], &iov, 1, 0, 0));
    ERR(ESPIPE, pwrite(ends[i], "x", 1, 0));
    ERR(ESPIPE, pread(ends[i], &iov, 1, 0));
  }
  EQ(3, SYS(pwritev2(fd, &iov, 1, 0, 0)));
  EQ(0, SYS(lseek(fd, 0, SEEK_CUR)));
  EQ(1, SYS(pwritev2(fd, &one, 1, 0, RWF_APPEND)));
  EQ(0, SYS(lseek(fd, 0, SEEK_CUR)));
  EQ(1, SYS(pwritev2(fd, &one, 1, -1, RWF_APPEND)));
  EQ(5, SYS(lseek(fd, 0, SEEK_CUR)));
  EQ(1, SYS(pwritev2(fd, &one, 1, -1, RWF_SYNC | RWF_DSYNC | RWF_HIPRI)));
  ERR(EOPNOTSUPP, pwritev2(fd, &one, 1, 0, 0x40000000));
  ERR(EOPNOTSUPP, preadv2(fd, &one, 1, 0, 0x40000000));
  char first;
  struct iovec to = {&first, 1};
  EQ(1, SYS(preadv2(fd, &to, 1, 0, RWF_APPEND)));
  ERR(EINVAL, preadv2(fd, &one, 1, -2, 0));
  SYS(fcntl(fd, F_SETFL, O_APPEND));
  EQ(1, SYS(pwritev2(fd, &one, 1, 0, 0)));
  const int noappend = 0x20;
  EQ(1, SYS(pwritev2(fd, &one, 1, 1, noappend)));
  ERR(EINVAL, pwritev2(fd, &one, 1, 1, noappend | RWF_APPEND));
  char got[20];
  EQ(7, SYS(pread(fd, got, 20, 0)));
  if (memcmp(got, "axcxxxx", 7)) FAIL("got %.7s", got);
  // Not to wait.
  int p[2];
  SYS(pipe(p));
  struct iovec in = {got, 10};
  ERR(EAGAIN, preadv2(p[0], &in, 1, -1, RWF_NOWAIT));
  EQ(1, SYS(write(p[1], "y", 1)));
  EQ(1, SYS(preadv2(p[0], &in, 1, -1, RWF_NOWAIT)));
}

static void mount_of(void) {
  struct statx root, proc, file;
  SYS(statx(AT_FDCWD, "/", 0, STATX_MNT_ID, &root));
  SYS(statx(AT_FDCWD, "/proc", 0, STATX_MNT_ID | STATX_BASIC_STATS, &proc));
  SYS(statx(AT_FDCWD, "/proc/self/status", 0, STATX_MNT_ID, &file));
  CHECK(root.stx_mask & STATX_MNT_ID && proc.stx_mask & STATX_MNT_ID);
  CHECK(root.stx_mnt_id != proc.stx_mnt_id);
  EQ(proc.stx_mnt_id, file.stx_mnt_id);
  CHECK(proc.stx_attributes_mask & STATX_ATTR_MOUNT_ROOT);
  CHECK(proc.stx_attributes & STATX_ATTR_MOUNT_ROOT && root.stx_attributes & STATX_ATTR_MOUNT_ROOT);
  CHECK(!(file.stx_attributes & STATX_ATTR_MOUNT_ROOT));
  char line[500], want[20];
  sprintf(want, "%llu ", (unsigned long long)proc.stx_mnt_id);
  FILE *f = fopen("/proc/self/mountinfo", "r");
  CHECK(f);
  int found = 0;
  while (fgets(line, sizeof(line), f)) found += strncmp(line, want, strlen(want)) == 0 && strstr(line, " /proc ");
  EQ(1, found);
}

static long openat2_(int at, const char *path, uint64_t flags, uint64_t mode, uint64_t resolve) {
  struct open_how how = {flags, mode, resolve};
  return syscall(SYS_openat2, at, path, &how, sizeof(how));
}

static void resolving(void) {
  scratch();
  SYS(mkdir("d", 0700));
  SYS(mkdir("d/sub", 0700));
  make_file("d/f", "x", 1, 0600);
  make_file("outer", "x", 1, 0600);
  SYS(symlink("f", "d/link"));
  SYS(symlink("../outer", "d/out"));
  SYS(symlink("/f", "d/abs"));
  int d = SYS(open("d", O_RDONLY | O_DIRECTORY));
  SYS(close(SYS(openat2_(d, "f", O_RDONLY, 0, RESOLVE_BENEATH))));
  SYS(close(SYS(openat2_(d, "sub/../link", O_RDONLY, 0, RESOLVE_BENEATH))));
  ERR(EXDEV, openat2_(d, "../outer", O_RDONLY, 0, RESOLVE_BENEATH));
  ERR(EXDEV, openat2_(d, "out", O_RDONLY, 0, RESOLVE_BENEATH));
  ERR(EXDEV, openat2_(d, "abs", O_RDONLY, 0, RESOLVE_BENEATH));
  ERR(EXDEV, openat2_(d, "/etc", O_RDONLY, 0, RESOLVE_BENEATH));
  SYS(close(SYS(openat2_(d, "abs", O_RDONLY, 0, RESOLVE_IN_ROOT))));
  SYS(close(SYS(openat2_(d, "/../../f", O_RDONLY, 0, RESOLVE_IN_ROOT))));
  ERR(ENOENT, openat2_(d, "out", O_RDONLY, 0, RESOLVE_IN_ROOT));
  ERR(ELOOP, openat2_(d, "link", O_RDONLY, 0, RESOLVE_NO_SYMLINKS));
  ERR(ELOOP, openat2_(AT_FDCWD, "/proc/self/exe", O_RDONLY, 0, RESOLVE_NO_MAGICLINKS));
  ERR(EXDEV, openat2_(AT_FDCWD, "/proc/version", O_RDONLY, 0, RESOLVE_NO_XDEV));
  ERR(EINVAL, openat2_(d, "f", O_RDONLY, 0, RESOLVE_BENEATH | RESOLVE_IN_ROOT));
  ERR(EINVAL, openat2_(d, "f", O_RDONLY, 0, 1 << 30));
  ERR(EINVAL, openat2_(d, "f", O_RDONLY, 0600, 0));
  ERR(EINVAL, openat2_(d, "f", 1ULL << 40, 0, 0));
  int made = SYS(openat2_(d, "new", O_WRONLY | O_CREAT | O_EXCL, 0640, RESOLVE_BENEATH));
  struct stat st;
  SYS(fstat(made, &st));
  EQ(0640, st.st_mode & 0777);
  struct open_how how = {0};
  ERR(EINVAL, syscall(SYS_openat2, d, "f", &how, 8));
  ERR(EFAULT, syscall(SYS_openat2, d, "f", 8, sizeof(how)));
  char bigger[64] = {0};
  SYS(close(SYS(syscall(SYS_openat2, d, "f", bigger, sizeof(bigger)))));
  bigger[40] = 1;
  ERR(E2BIG, syscall(SYS_openat2, d, "f", bigger, sizeof(bigger)));
}

static void nameless(void) {
  scratch();
  int fd = SYS(open(".", O_TMPFILE | O_RDWR, 0600));
  EQ(3, SYS(write(fd, "abc", 3)));
  struct stat st;
  SYS(fstat(fd, &st));
  EQ(0, st.st_nlink);
  char path[50];
  sprintf(path, "/proc/self/fd/%d", fd);
  SYS(linkat(AT_FDCWD, path, AT_FDCWD, "named", AT_SYMLINK_FOLLOW));
  SYS(fstat(fd, &st));
  EQ(1, st.st_nlink);
  if (getuid() == 0) {
    fd = SYS(open(".", O_TMPFILE | O_RDWR, 0600));
    SYS(linkat(fd, "", AT_FDCWD, "named2", AT_EMPTY_PATH));
  }
  fd = SYS(open(".", O_TMPFILE | O_RDWR | O_EXCL, 0600));
  sprintf(path, "/proc/self/fd/%d", fd);
  ERR(ENOENT, linkat(AT_FDCWD, path, AT_FDCWD, "excl", AT_SYMLINK_FOLLOW));
  ERR(EINVAL, open(".", O_TMPFILE | O_RDONLY, 0600));
  ERR(ENOTDIR, open("named", O_TMPFILE | O_RDWR, 0600));
}

static void attributes(void) {
  scratch();
  int fd = SYS(open("f", O_RDWR | O_CREAT, 0600));
  char got[100];
  SYS(syscall(SYS_fsetxattr, fd, "user.one", "1", 1, 1 /* XATTR_CREATE */));
  ERR(EEXIST, syscall(SYS_fsetxattr, fd, "user.one", "2", 1, 1));
  ERR(ENODATA, syscall(SYS_fsetxattr, fd, "user.two", "2", 1, 2 /* XATTR_REPLACE */));
  SYS(syscall(SYS_setxattr, "f", "user.one", "12", 2, 2));
  EQ(2, SYS(syscall(SYS_getxattr, "f", "user.one", got, 100)));
  EQ(2, SYS(syscall(SYS_getxattr, "f", "user.one", NULL, 0)));
  ERR(ERANGE, syscall(SYS_getxattr, "f", "user.one", got, 1));
  ERR(ENODATA, syscall(SYS_getxattr, "f", "user.two", got, 100));
  ERR(EOPNOTSUPP, syscall(SYS_setxattr, "f", "strange.one", "1", 1, 0));
  SYS(symlink("f", "s"));
  ERR(EPERM, syscall(SYS_lsetxattr, "s", "user.one", "1", 1, 0));
  EQ(9, SYS(syscall(SYS_flistxattr, fd, got, 100)));
  EQ(0, strcmp(got, "user.one"));
  SYS(syscall(SYS_removexattr, "f", "user.one"));
  ERR(ENODATA, syscall(SYS_fremovexattr, fd, "user.one"));
  EQ(0, SYS(syscall(SYS_listxattr, "f", NULL, 0)));
}

TESTS(T(compare), T(policies), T(barriers), T(write_flags), T(mount_of), T(resolving), T(nameless), T(attributes))
