// Directories, names, links, permissions.
#include "check.h"

#include <dirent.h>
#include <linux/stat.h>
#include <sys/statfs.h>
#include <sys/vfs.h>

static void empty_file(const char *name) { make_file(name, "", 0, 0644); }
static bool there(const char *name) {
  struct stat st;
  return lstat(name, &st) == 0;
}

static void make_remove(void) {
  scratch();
  umask(022);
  SYS(mkdir("d", 0777));
  struct stat st;
  SYS(stat("d", &st));
  EQ(S_IFDIR | 0755, st.st_mode);
  EQ(2, st.st_nlink);
  ERR(EEXIST, mkdir("d", 0777));
  ERR(ENOENT, mkdir("no/d", 0777));
  ERR(ENOENT, mkdir("", 0777));
  SYS(mkdir("d/sub/", 0777));
  SYS(stat("d", &st));
  EQ(3, st.st_nlink);
  ERR(ENOTEMPTY, rmdir("d"));
  SYS(rmdir("d/sub"));
  empty_file("d/f");
  ERR(ENOTEMPTY, rmdir("d"));
  ERR(ENOTDIR, rmdir("d/f"));
  ERR(EISDIR, unlink("d"));
  ERR(EINVAL, rmdir("d/."));
  ERR(ENOTEMPTY, rmdir("d/.."));
  ERR(EBUSY, rmdir("/"));
  SYS(unlink("d/f"));
  SYS(rmdir("d"));
  ERR(ENOENT, rmdir("d"));
  ERR(ENOENT, unlink("f"));
  empty_file("f");
  ERR(ENOTDIR, unlink("f/"));
}

static int list(const char *path, char names[][32], int most) {
  DIR *d = opendir(path);
  CHECK(d);
  struct dirent *e;
  int n = 0;
  while ((e = readdir(d))) {
    CHECK(n < most);
    strcpy(names[n++], e->d_name);
  }
  closedir(d);
  qsort(names, n, 32, (int (*)(const void *, const void *))strcmp);
  return n;
}

static char names[3000][32];

static void listing(void) {
  scratch();
  SYS(mkdir("d", 0755));
  EQ(2, list("d", names, 3000));
  CHECK(strcmp(names[0], ".") == 0 && strcmp(names[1], "..") == 0);
  for (int i = 0; i < 500; i++) {
    char name[32];
    sprintf(name, "d/file%03d", i);
    empty_file(name);
  }
  EQ(502, list("d", names, 3000));
  for (int i = 0; i < 500; i++) {
    char name[32];
    sprintf(name, "file%03d", i);
    CHECK(strcmp(names[i + 2], name) == 0);
  }
}

static void listing_types(void) {
  scratch();
  empty_file("f");
  SYS(mkdir("d", 0755));
  SYS(symlink("f", "l"));
  SYS(mkfifo("p", 0600));
  DIR *d = opendir(".");
  struct dirent *e;
  int seen = 0;
  while ((e = readdir(d))) {
    struct stat st;
    SYS(lstat(e->d_name, &st));
    if (strcmp(e->d_name, "..") != 0) EQ(st.st_ino, e->d_ino);
    CHECK(e->d_type == IFTODT(st.st_mode));
    seen++;
  }
  EQ(6, seen);
  rewinddir(d);
  empty_file("g");
  seen = 0;
  while (readdir(d)) seen++;
  EQ(7, seen);
  char small[20];
  int fd = SYS(open(".", O_RDONLY | O_DIRECTORY));
  ERR(EINVAL, syscall(SYS_getdents64, fd, small, 20));
  ERR(EISDIR, read(fd, small, 1));
  ERR(ENOTDIR, syscall(SYS_getdents64, SYS(open("f", O_RDONLY)), names, sizeof(names)));
}

// Entries removed while listing: each remaining one is seen exactly once.
static void listing_while_removing(void) {
  scratch();
  for (int i = 0; i < 300; i++) {
    char name[32];
    sprintf(name, "%d", i);
    empty_file(name);
  }
  DIR *d = opendir(".");
  struct dirent *e;
  int seen = 0;
  while ((e = readdir(d)))
    if (e->d_name[0] != '.') {
      SYS(unlink(e->d_name));
      seen++;
    }
  EQ(300, seen);
  EQ(2, list(".", names, 3000));
}

static void hard_links(void) {
  scratch();
  make_file("a", "text", 4, 0644);
  SYS(link("a", "b"));
  struct stat a, b;
  SYS(stat("a", &a));
  SYS(stat("b", &b));
  EQ(a.st_ino, b.st_ino);
  EQ(2, a.st_nlink);
  ERR(EEXIST, link("a", "b"));
  ERR(ENOENT, link("none", "c"));
  SYS(mkdir("d", 0755));
  ERR(EPERM, link("d", "e"));
  SYS(unlink("a"));
  SYS(stat("b", &b));
  EQ(1, b.st_nlink);
  SYS(symlink("b", "l"));
  SYS(link("l", "m"));  // the link itself
  SYS(lstat("m", &a));
  CHECK(S_ISLNK(a.st_mode));
  SYS(linkat(AT_FDCWD, "l", AT_FDCWD, "n", AT_SYMLINK_FOLLOW));
  SYS(lstat("n", &a));
  EQ(b.st_ino, a.st_ino);
}

static void symbolic_links(void) {
  scratch();
  char text[100];
  SYS(symlink("target", "l"));
  EQ(6, SYS(readlink("l", text, sizeof(text))));
  CHECK(memcmp(text, "target", 6) == 0);
  EQ(3, SYS(readlink("l", text, 3)));
  struct stat st;
  SYS(lstat("l", &st));
  EQ(6, st.st_size);
  EQ(S_IFLNK | 0777, st.st_mode);
  ERR(ENOENT, stat("l", &st));
  ERR(EEXIST, symlink("x", "l"));
  ERR(ENOENT, symlink("", "m"));
  ERR(EINVAL, readlink(".", text, 10));
  ERR(EINVAL, readlink("l", text, 0));
  SYS(symlink("loop2", "loop1"));
  SYS(symlink("loop1", "loop2"));
  ERR(ELOOP, stat("loop1", &st));
  ERR(ELOOP, open("loop1/x", O_RDONLY));
  empty_file("0");
  for (int i = 1; i <= 41; i++) {
    char from[8], to[8];
    sprintf(to, "%d", i - 1);
    sprintf(from, "%d", i);
    SYS(symlink(to, from));
  }
  SYS(stat("40", &st));
  ERR(ELOOP, stat("41", &st));
  SYS(mkdir("d", 0755));
  SYS(symlink("d", "dl"));
  empty_file("dl/inside");
  CHECK(there("d/inside"));
  SYS(symlink("../0", "d/up"));
  SYS(stat("dl/up", &st));
  SYS(symlink("/", "root"));
  SYS(stat("root/dev/null", &st));
  SYS(lstat("dl/", &st));
  CHECK(S_ISDIR(st.st_mode));
}

static void renames(void) {
  scratch();
  make_file("f", "f", 1, 0644);
  make_file("g", "g", 1, 0644);
  SYS(rename("f", "h"));
  CHECK(!there("f") && there("h"));
  SYS(rename("h", "g"));  // over a file
  CHECK(!there("h"));
  int fd = SYS(open("g", O_RDONLY));
  EQ('f', get(fd));
  SYS(rename("g", "g"));
  SYS(mkdir("d", 0755));
  SYS(mkdir("e", 0755));
  ERR(EISDIR, rename("g", "d"));
  ERR(ENOTDIR, rename("d", "g"));
  SYS(rename("d", "e"));  // over an empty directory
  CHECK(!there("d"));
  empty_file("e/x");
  SYS(mkdir("d", 0755));
  ERR(ENOTEMPTY, rename("d", "e"));
  ERR(EINVAL, rename("e", "e/sub"));
  ERR(ENOENT, rename("none", "y"));
  ERR(ENOENT, rename("g", "no/y"));
  SYS(mkdir("e/deep", 0755));
  SYS(rename("e/deep", "moved"));
  struct stat a, b;
  SYS(stat("moved/..", &a));
  SYS(stat(".", &b));
  EQ(a.st_ino, b.st_ino);
  SYS(link("g", "g2"));
  SYS(rename("g", "g2"));  // the same file: nothing happens
  CHECK(there("g") && there("g2"));
  ERR(EBUSY, rename(".", "z"));
}

static void rename_flags(void) {
  scratch();
  make_file("a", "A", 1, 0644);
  make_file("b", "B", 1, 0644);
  ERR(EEXIST, renameat2(AT_FDCWD, "a", AT_FDCWD, "b", 1 /* NOREPLACE */));
  SYS(renameat2(AT_FDCWD, "a", AT_FDCWD, "c", 1));
  SYS(renameat2(AT_FDCWD, "b", AT_FDCWD, "c", 2 /* EXCHANGE */));
  EQ('A', get(SYS(open("b", O_RDONLY))));
  EQ('B', get(SYS(open("c", O_RDONLY))));
  ERR(ENOENT, renameat2(AT_FDCWD, "b", AT_FDCWD, "none", 2));
  ERR(EINVAL, renameat2(AT_FDCWD, "b", AT_FDCWD, "c", 3));
  ERR(EINVAL, renameat2(AT_FDCWD, "b", AT_FDCWD, "c", 0x100));
}

static void working_directory(void) {
  scratch();
  char cwd[PATH_MAX], want[PATH_MAX + 8];
  SYS(mkdir("d", 0755));
  SYS(chdir("d"));
  sprintf(want, "%s/d", scratch_path);
  CHECK(getcwd(cwd, sizeof(cwd)) && strcmp(cwd, want) == 0);
  ERR(ERANGE, syscall(SYS_getcwd, cwd, 3));
  SYS(chdir(".."));
  int d = SYS(open("d", O_RDONLY));
  SYS(fchdir(d));
  SYS(rename("../d", "../e"));
  sprintf(want, "%s/e", scratch_path);
  CHECK(getcwd(cwd, sizeof(cwd)) && strcmp(cwd, want) == 0);
  SYS(rmdir("../e"));
  ERR(ENOENT, (long)getcwd(cwd, sizeof(cwd)) ?: -1);
  ERR(ENOENT, open("f", O_CREAT | O_RDWR, 0600));
  SYS(chdir(scratch_path));
  empty_file("f");
  ERR(ENOTDIR, chdir("f"));
  ERR(ENOENT, chdir("none"));
  ERR(ENOTDIR, fchdir(SYS(open("f", O_RDONLY))));
  SYS(chdir("/"));
  SYS(chdir("../../.."));
  CHECK(getcwd(cwd, sizeof(cwd)) && strcmp(cwd, "/") == 0);
}

static void change_root(void) {
  scratch();
  if (getuid() != 0) {
    ERR(EPERM, chroot("."));
    return;
  }
  SYS(mkdir("jail", 0755));
  empty_file("jail/inside");
  SYS(symlink("/inside", "jail/l"));
  pid_t pid = SYS(fork());
  if (pid == 0) {
    SYS(chroot("jail"));
    SYS(chdir("/"));
    CHECK(there("/inside") && there("../../inside"));
    SYS(close(SYS(open("/l", O_RDONLY))));
    char cwd[100];
    CHECK(getcwd(cwd, sizeof(cwd)) && strcmp(cwd, "/") == 0);
    ERR(ENOENT, open("/dev/null", O_RDONLY));
    _exit(0);
  }
  EXITS(0, pid);
  CHECK(there("/dev/null"));
}

static void relative_to_descriptor(void) {
  scratch();
  SYS(mkdir("d", 0755));
  int d = SYS(open("d", O_RDONLY | O_DIRECTORY));
  SYS(close(SYS(openat(d, "f", O_CREAT | O_RDWR, 0600))));
  SYS(mkdirat(d, "e", 0755));
  SYS(symlinkat("f", d, "l"));
  SYS(renameat(d, "f", d, "g"));
  SYS(linkat(d, "g", AT_FDCWD, "h", 0));
  SYS(faccessat(d, "g", R_OK, 0));
  struct stat st;
  SYS(fstatat(d, "g", &st, 0));
  EQ(2, st.st_nlink);
  SYS(fstatat(d, "", &st, AT_EMPTY_PATH));
  CHECK(S_ISDIR(st.st_mode));
  ERR(ENOENT, fstatat(d, "", &st, 0));
  SYS(unlinkat(d, "g", 0));
  ERR(EISDIR, unlinkat(d, "e", 0));
  SYS(unlinkat(d, "e", AT_REMOVEDIR));
  ERR(EBADF, openat(99, "x", O_RDONLY));
  int f = SYS(open("h", O_RDONLY));
  ERR(ENOTDIR, openat(f, "x", O_RDONLY));
  SYS(close(SYS(openat(99, "/dev/null", O_RDONLY))));  // absolute: not used
}

static void long_names(void) {
  scratch();
  char name[300];
  memset(name, 'n', sizeof(name));
  name[255] = 0;
  empty_file(name);
  CHECK(there(name));
  name[255] = 'n';
  name[256] = 0;
  ERR(ENAMETOOLONG, open(name, O_CREAT | O_RDWR, 0600));
  char path[5000];
  memset(path, '/', sizeof(path));
  path[4095] = 0;
  SYS(close(SYS(open(path, O_RDONLY))));
  path[4095] = '/';
  path[4096] = 0;
  ERR(ENAMETOOLONG, open(path, O_RDONLY));
}

static void permissions(void) {
  scratch();
  umask(0);
  make_file("f", "x", 1, 0640);
  struct stat st;
  SYS(chmod("f", 04751));
  SYS(stat("f", &st));
  EQ(S_IFREG | 04751, st.st_mode);
  umask(077);
  SYS(close(SYS(open("g", O_CREAT | O_RDWR, 0666))));
  SYS(stat("g", &st));
  EQ(S_IFREG | 0600, st.st_mode);
  EQ(077, umask(022));
  SYS(mkdir("d", 01777));
  SYS(stat("d", &st));
  EQ(S_IFDIR | 01755, st.st_mode);
  if (getuid() != 0) return;
  SYS(chmod(".", 0755));
  SYS(chmod("f", 0640));
  SYS(mkdir("closed", 0700));
  empty_file("closed/f");
  pid_t pid = SYS(fork());
  if (pid == 0) {
    SYS(setresgid(1000, 1000, 1000));
    SYS(setresuid(1000, 1000, 1000));
    ERR(EACCES, open("f", O_RDONLY));
    ERR(EACCES, open("closed/f", O_RDONLY));
    ERR(EACCES, open("new", O_CREAT | O_RDWR, 0600));
    ERR(EACCES, unlink("f"));
    ERR(EPERM, chmod("f", 0777));
    ERR(EPERM, chown("f", 1000, 1000));
    ERR(EACCES, access("f", R_OK));
    EQ(0, SYS(access("f", F_OK)));
    ERR(EACCES, chdir("closed"));
    _exit(0);
  }
  EXITS(0, pid);
  SYS(chown("f", 1000, 2000));
  SYS(stat("f", &st));
  CHECK(st.st_uid == 1000 && st.st_gid == 2000);
  pid = SYS(fork());
  if (pid == 0) {
    SYS(setresgid(1000, 1000, 1000));
    SYS(setresuid(1000, 1000, 1000));
    SYS(close(SYS(open("f", O_RDWR))));
    SYS(chmod("f", 0400));
    ERR(EACCES, open("f", O_RDWR));
    _exit(0);
  }
  EXITS(0, pid);
  SYS(chmod("f", 06755));
  SYS(chown("f", 0, 0));  // drops set-user-id
  SYS(stat("f", &st));
  EQ(S_IFREG | 0755, st.st_mode);
}

static void sticky(void) {
  scratch();
  if (getuid() != 0) return;
  umask(0);
  SYS(mkdir("d", 01777));
  SYS(chmod(".", 0755));
  SYS(chmod("d", 01777));
  empty_file("d/roots");
  pid_t pid = SYS(fork());
  if (pid == 0) {
    SYS(setresuid(1000, 1000, 1000));
    ERR(EPERM, unlink("d/roots"));
    ERR(EPERM, rename("d/roots", "d/mine"));
    empty_file("d/own");
    SYS(unlink("d/own"));
    _exit(0);
  }
  EXITS(0, pid);
}

static void extended_stat(void) {
  scratch();
  make_file("f", "12345", 5, 0644);
  struct statx x;
  SYS(syscall(SYS_statx, AT_FDCWD, "f", 0, STATX_BASIC_STATS, &x));
  EQ(5, x.stx_size);
  EQ(S_IFREG | 0644, x.stx_mode);
  CHECK((x.stx_mask & STATX_BASIC_STATS) == STATX_BASIC_STATS);
  ERR(EINVAL, syscall(SYS_statx, AT_FDCWD, "f", 0x10000000, STATX_BASIC_STATS, &x));
  ERR(EINVAL, syscall(SYS_statx, AT_FDCWD, "f", 0, 0x80000000, &x));
  struct statfs s;
  SYS(statfs(".", &s));
  CHECK(s.f_blocks > 0 && s.f_bfree > 0 && s.f_bavail > 0 && s.f_bfree <= s.f_blocks);
  CHECK(s.f_bsize > 0 && s.f_namelen == 255);
  ERR(ENOENT, statfs("none", &s));
}

static void access_checks(void) {
  scratch();
  make_file("f", "", 0, 0);
  EQ(0, SYS(access("f", F_OK)));
  if (getuid() == 0) {
    EQ(0, SYS(access("f", R_OK | W_OK)));
    ERR(EACCES, access("f", X_OK));  // even root needs one x bit
  }
  ERR(ENOENT, access("none", F_OK));
  ERR(EINVAL, access("f", 0x100));
}

static void special_files(void) {
  scratch();
  SYS(mknod("reg", S_IFREG | 0600, 0));
  SYS(mknod("fifo", S_IFIFO | 0600, 0));
  struct stat st;
  SYS(stat("reg", &st));
  CHECK(S_ISREG(st.st_mode));
  SYS(stat("fifo", &st));
  CHECK(S_ISFIFO(st.st_mode));
  ERR(EEXIST, mknod("reg", S_IFREG, 0));
  ERR(EPERM, mknod("d", S_IFDIR, 0));
  ERR(EINVAL, mknod("x", 0170000, 0));
}

static void deep_tree(void) {
  scratch();
  for (int i = 0; i < 200; i++) {
    SYS(mkdir("d", 0755));
    SYS(chdir("d"));
  }
  char cwd[PATH_MAX];
  CHECK(getcwd(cwd, sizeof(cwd)));
  EQ(strlen(scratch_path) + 400, strlen(cwd));
  for (int i = 0; i < 200; i++) {
    SYS(chdir(".."));
    SYS(rmdir("d"));
  }
}

static void in_parallel(void) {
  scratch();
  for (int k = 0; k < 4; k++)
    if (SYS(fork()) == 0) {
      for (int i = 0; i < 100; i++) {
        char a[32], b[32];
        sprintf(a, "a%d.%d", k, i);
        sprintf(b, "b%d.%d", k, i);
        empty_file(a);
        SYS(rename(a, b));
        SYS(rename(b, "common"));
        (void)!open("common", O_RDONLY);
      }
      _exit(0);
    }
  int st;
  while (wait(&st) > 0) EQ(0, st);
  EQ(3, list(".", names, 3000));
}

// Each file system has a device number of its own: programs tell files apart by
// that and the inode number.
static void device_numbers(void) {
  static const char *const mounts[] = {"/", "/dev", "/dev/pts", "/dev/shm", "/proc", "/sys"};
  dev_t devs[LEN(mounts)];
  for (unsigned i = 0; i < LEN(mounts); i++) {
    struct stat st;
    SYS(stat(mounts[i], &st));
    devs[i] = st.st_dev;
    for (unsigned j = 0; j < i; j++)
      if (devs[j] == devs[i]) FAIL("%s has the device number of %s", mounts[i], mounts[j]);
  }
}

TESTS(T(make_remove), T(listing), T(listing_types), T(listing_while_removing), T(hard_links), T(symbolic_links),
      T(renames), T(rename_flags), T(working_directory), T(change_root), T(relative_to_descriptor), T(long_names),
      T(permissions), T(sticky), T(extended_stat), T(access_checks), T(special_files), T(deep_tree), T(in_parallel),
      T(device_numbers))
