// Mounts, and namespaces of them. Without the privilege there is nothing to see.
#include "check.h"

#include <sched.h>
#include <sys/mount.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>

// alone makes a mount namespace of the test's own, and an empty directory.
static bool alone(void) {
  scratch();
  if (unshare(CLONE_NEWNS) == -1) {
    EQ(EPERM, errno);
    return false;
  }
  SYS(mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL));
  SYS(mkdir("m", 0755));
  SYS(mkdir("n", 0755));
  return true;
}

static bool there(const char *path) { return access(path, F_OK) == 0; }

static void temporary(void) {
  if (!alone()) return;
  make_file("m/below", "x", 1, 0600);
  SYS(mount("what", "m", "tmpfs", MS_NOSUID | MS_NODEV, "size=64k,mode=700,uid=1,gid=2,nr_inodes=20"));
  CHECK(!there("m/below"));
  struct stat st;
  SYS(stat("m", &st));
  EQ(S_IFDIR | 0700, st.st_mode);
  EQ(1, st.st_uid);
  EQ(2, st.st_gid);
  struct statfs fs;
  SYS(statfs("m", &fs));
  EQ(0x01021994, fs.f_type);
  EQ(16, fs.f_blocks);
  EQ(20, fs.f_files);
  CHECK(fs.f_flags & ST_NOSUID && fs.f_flags & ST_NODEV && !(fs.f_flags & ST_RDONLY));
  static char page[4096];
  int fd = SYS(open("m/f", O_RDWR | O_CREAT, 0600));
  for (int i = 0; i < 16; i++) EQ(4096, SYS(write(fd, page, 4096)));
  ERR(ENOSPC, write(fd, page, 4096));
  SYS(statfs("m", &fs));
  EQ(0, fs.f_bfree);
  ERR(EBUSY, umount("m"));
  SYS(close(fd));
  ERR(EBUSY, rmdir("m"));
  SYS(umount("m"));
  CHECK(there("m/below"));
  SYS(unlink("m/below"));
  ERR(EINVAL, umount("m"));
}

static void errors(void) {
  if (!alone()) return;
  make_file("f", "x", 1, 0600);
  ERR(ENODEV, mount("x", "m", "no-such-type", 0, NULL));
  ERR(EINVAL, mount("x", "m", NULL, 0, NULL));
  ERR(ENOENT, mount("x", "none", "tmpfs", 0, NULL));
  ERR(ENOTDIR, mount("x", "f", "tmpfs", 0, NULL));
  ERR(EINVAL, mount("x", "m", "tmpfs", 0, "size=x"));
  ERR(EINVAL, mount("x", "m", "tmpfs", 0, "what=1"));
  ERR(EFAULT, mount("x", (char *)8, "tmpfs", 0, NULL));
  ERR(EFAULT, mount("x", "m", (char *)8, 0, NULL));
  ERR(EFAULT, mount((char *)8, "m", "tmpfs", 0, NULL));
  ERR(EFAULT, mount("x", "m", "tmpfs", 0, (char *)8));
  ERR(ENOENT, mount("none", "m", NULL, MS_BIND, NULL));
  ERR(EINVAL, mount(NULL, "m", NULL, MS_BIND, NULL));
  ERR(ENOTDIR, mount("f", "m", NULL, MS_BIND, NULL));
  ERR(ENOTDIR, mount("m", "f", NULL, MS_BIND, NULL));
  ERR(EINVAL, mount("m", "n", NULL, MS_MOVE, NULL));
  ERR(EINVAL, mount(NULL, "m", NULL, MS_REMOUNT | MS_BIND, NULL));
  ERR(EINVAL, mount(NULL, "m", NULL, MS_PRIVATE, NULL));
  ERR(EINVAL, umount2("m", 0x100));
  ERR(EINVAL, umount2("m", MNT_EXPIRE | MNT_DETACH));
  ERR(EINVAL, umount("m"));
  ERR(ENOENT, umount("none"));
  ERR(EFAULT, umount((char *)8));
  pid_t pid = SYS(fork());
  if (pid == 0) {
    SYS(chmod(".", 0755));
    SYS(setuid(65534));
    ERR(EPERM, mount("x", "m", "tmpfs", 0, NULL));
    ERR(EPERM, umount("m"));
    ERR(EPERM, syscall(SYS_pivot_root, "m", "n"));
    ERR(EPERM, unshare(CLONE_NEWNS));
    _exit(0);
  }
  EXITS(0, pid);
}

static void bound(void) {
  if (!alone()) return;
  make_file("m/f", "abc", 3, 0600);
  SYS(mkdir("m/sub", 0755));
  SYS(mount("m", "n", NULL, MS_BIND, NULL));
  CHECK(there("n/f"));
  make_file("n/g", "x", 1, 0600);
  CHECK(there("m/g"));
  ERR(EXDEV, link("m/f", "n/h"));
  ERR(EXDEV, rename("m/f", "n/h"));
  SYS(mount(NULL, "n", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL));
  ERR(EROFS, open("n/new", O_WRONLY | O_CREAT, 0600));
  ERR(EROFS, open("n/f", O_WRONLY));
  ERR(EROFS, mkdir("n/d", 0700));
  ERR(EROFS, unlink("n/f"));
  ERR(EROFS, chmod("n/f", 0644));
  ERR(EROFS, truncate("n/f", 0));
  SYS(close(SYS(open("m/f", O_WRONLY))));
  SYS(close(SYS(open("n/f", O_RDONLY))));
  SYS(umount("n"));
  // What is mounted below comes along only if asked for.
  SYS(mount("x", "m/sub", "tmpfs", 0, NULL));
  make_file("m/sub/deep", "x", 1, 0600);
  SYS(mount("m", "n", NULL, MS_BIND, NULL));
  CHECK(!there("n/sub/deep"));
  SYS(umount("n"));
  SYS(mount("m", "n", NULL, MS_BIND | MS_REC, NULL));
  CHECK(there("n/sub/deep"));
  ERR(EBUSY, umount("n"));
  SYS(umount2("n", MNT_DETACH));
  CHECK(there("m/sub/deep"));
  SYS(umount("m/sub"));
  // A file on a file.
  make_file("f", "file", 4, 0600);
  make_file("g", "other", 5, 0600);
  SYS(mount("f", "g", NULL, MS_BIND, NULL));
  struct stat st;
  SYS(stat("g", &st));
  EQ(4, st.st_size);
  ERR(EBUSY, unlink("g"));
  SYS(umount("g"));
  SYS(stat("g", &st));
  EQ(5, st.st_size);
}

static void moved(void) {
  if (!alone()) return;
  SYS(mount("x", "m", "tmpfs", 0, NULL));
  make_file("m/f", "x", 1, 0600);
  SYS(mkdir("m/in", 0700));
  ERR(ELOOP, mount("m", "m/in", NULL, MS_MOVE, NULL));
  SYS(mount("m", "n", NULL, MS_MOVE, NULL));
  CHECK(!there("m/f") && there("n/f"));
  // One on top of the other.
  SYS(mount("y", "n", "tmpfs", 0, NULL));
  CHECK(!there("n/f"));
  SYS(umount("n"));
  CHECK(there("n/f"));
  SYS(umount("n"));
}

static void lazy(void) {
  if (!alone()) return;
  SYS(mount("x", "m", "tmpfs", 0, NULL));
  int fd = SYS(open("m/f", O_RDWR | O_CREAT, 0600)), dir = SYS(open("m", O_RDONLY | O_DIRECTORY));
  EQ(3, SYS(write(fd, "abc", 3)));
  SYS(umount2("m", MNT_DETACH));
  CHECK(!there("m/f"));
  char buf[4];
  EQ(3, SYS(pread(fd, buf, 4, 0)));
  SYS(close(SYS(openat(dir, "f", O_RDONLY))));
  SYS(close(SYS(openat(dir, "g", O_RDWR | O_CREAT, 0600))));
  SYS(close(fd));
  SYS(close(dir));
  // An expired mount goes the second time, unless it was used.
  SYS(mount("x", "m", "tmpfs", 0, NULL));
  ERR(EAGAIN, umount2("m", MNT_EXPIRE));
  SYS(close(SYS(open("m", O_RDONLY))));
  ERR(EAGAIN, umount2("m", MNT_EXPIRE));
  SYS(umount2("m", MNT_EXPIRE));
  // A symbolic link is followed unless told not to be.
  SYS(symlink("m", "s"));
  SYS(mount("x", "s", "tmpfs", 0, NULL));
  ERR(EINVAL, umount2("s", UMOUNT_NOFOLLOW));
  SYS(umount("s"));
}

static void flags(void) {
  if (!alone()) return;
  SYS(mount("x", "m", "tmpfs", 0, NULL));
  int self = SYS(open("/proc/self/exe", O_RDONLY)), copy = SYS(open("m/prog", O_WRONLY | O_CREAT, 0755));
  char buf[65536];
  ssize_t n;
  while ((n = SYS(read(self, buf, sizeof(buf)))) > 0) EQ(n, SYS(write(copy, buf, n)));
  SYS(close(copy));
  SYS(close(self));
  char *argv[] = {"prog", "--list", NULL}, *env[] = {NULL};
  SYS(mount(NULL, "m", NULL, MS_REMOUNT | MS_BIND | MS_NOEXEC, NULL));
  ERR(EACCES, execve("m/prog", argv, env));
  ERR(EACCES, access("m/prog", X_OK));
  SYS(mount(NULL, "m", NULL, MS_REMOUNT | MS_BIND | MS_NODEV, NULL));
  SYS(access("m/prog", X_OK));
  SYS(mknod("m/null", S_IFCHR | 0666, makedev(1, 3)));
  ERR(EACCES, open("m/null", O_RDWR));
  SYS(mount(NULL, "m", NULL, MS_REMOUNT | MS_BIND, NULL));
  SYS(close(SYS(open("m/null", O_RDWR))));
  SYS(symlink("prog", "m/link"));
  SYS(mount(NULL, "m", NULL, MS_REMOUNT | MS_BIND | 256 /* MS_NOSYMFOLLOW */, NULL));
  ERR(ELOOP, open("m/link", O_RDONLY));
  SYS(mount(NULL, "m", NULL, MS_REMOUNT | MS_RDONLY, NULL));
  ERR(EROFS, open("m/prog", O_WRONLY));
}

static void own_namespace(void) {
  if (!alone()) return;
  int up[2], go[2];
  SYS(pipe(up));
  SYS(pipe(go));
  pid_t pid = SYS(fork());
  if (pid == 0) {
    SYS(unshare(CLONE_NEWNS));
    SYS(mount("x", "m", "tmpfs", 0, NULL));
    make_file("m/f", "x", 1, 0600);
    put(up[1], 'm');
    get(go[0]);
    CHECK(!there("n/f"));
    _exit(0);
  }
  get(up[0]);
  CHECK(!there("m/f"));
  char a[100] = "", b[100] = "", path[50];
  sprintf(path, "/proc/%d/ns/mnt", pid);
  CHECK(readlink("/proc/self/ns/mnt", a, 99) > 0 && readlink(path, b, 99) > 0);
  CHECK(strcmp(a, b) != 0 && strncmp(b, "mnt:[", 5) == 0);
  SYS(mount("x", "n", "tmpfs", 0, NULL));
  make_file("n/f", "x", 1, 0600);
  put(go[1], 'g');
  EXITS(0, pid);
  SYS(umount("n"));
  // By clone, and not together with a shared place.
  ERR(EINVAL, syscall(SYS_clone, CLONE_NEWNS | CLONE_FS | SIGCHLD, 0, 0, 0, 0));
  pid = SYS(syscall(SYS_clone, CLONE_NEWNS | SIGCHLD, 0, 0, 0, 0));
  if (pid == 0) {
    SYS(mount("x", "m", "tmpfs", 0, NULL));
    make_file("m/f", "x", 1, 0600);
    _exit(0);
  }
  EXITS(0, pid);
  CHECK(!there("m/f"));
}

static void new_root(void) {
  if (!alone()) return;
  SYS(mount("x", "m", "tmpfs", 0, NULL));
  SYS(mkdir("m/old", 0700));
  SYS(mkdir("m/proc", 0700));
  make_file("m/mark", "x", 1, 0600);
  SYS(mkdir("n/old", 0700));
  ERR(EBUSY, syscall(SYS_pivot_root, "n", "n/old"));  // no mount
  ERR(ENOENT, syscall(SYS_pivot_root, "m", "m/none"));
  ERR(ENOTDIR, syscall(SYS_pivot_root, "m", "m/mark"));
  ERR(EBUSY, syscall(SYS_pivot_root, "m", "n"));
  ERR(EBUSY, syscall(SYS_pivot_root, "/", "m/old"));
  int up[2], go[2];
  SYS(pipe(up));
  SYS(pipe(go));
  pid_t pid = SYS(fork());
  if (pid == 0) {
    SYS(chdir("/"));
    put(up[1], 'u');
    get(go[0]);
    // Who was at the old root is at the new one.
    CHECK(there("/mark") && there("mark"));
    _exit(0);
  }
  get(up[0]);
  SYS(syscall(SYS_pivot_root, "m", "m/old"));
  put(go[1], 'g');
  EXITS(0, pid);
  CHECK(there("/mark") && there("/old/etc"));
  char cwd[PATH_MAX];
  CHECK(getcwd(cwd, sizeof(cwd)));
  CHECK(strncmp(cwd, "/old/tmp/", 9) == 0);
  SYS(mount("p", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL));
  CHECK(there("/proc/self/status"));
  SYS(chdir("/"));
  SYS(umount2("/old", MNT_DETACH));
  CHECK(!there("/old/etc") && there("/mark"));
  FILE *f = fopen("/proc/self/mounts", "r");
  CHECK(f);
  char line[300];
  CHECK(fgets(line, sizeof(line), f));
  if (strcmp(line, "x / tmpfs rw,relatime 0 0\n")) FAIL("mounts: %s", line);
  CHECK(fgets(line, sizeof(line), f));
  if (strcmp(line, "p /proc proc rw,nosuid,nodev,noexec,relatime 0 0\n")) FAIL("mounts: %s", line);
  CHECK(!fgets(line, sizeof(line), f));
  fclose(f);
  scratch_owner = 0;  // it is out of reach
}

static void in_place(void) {
  if (!alone()) return;
  SYS(mount("x", "m", "tmpfs", 0, NULL));
  make_file("m/mark", "x", 1, 0600);
  SYS(chdir("m"));
  SYS(syscall(SYS_pivot_root, ".", "."));
  SYS(umount2(".", MNT_DETACH));
  SYS(chdir("/"));
  CHECK(there("/mark") && !there("/etc"));
  scratch_owner = 0;
}

static void write_to(const char *path, const char *format, int id) {
  char text[50];
  int n = sprintf(text, format, id), fd = SYS(open(path, O_WRONLY));
  EQ(n, SYS(write(fd, text, n)));
  SYS(close(fd));
}

// Who is nobody makes mounts in a namespace of its own, but cannot open what was
// closed before.
static void user_namespace(void) {
  if (!alone()) return;
  SYS(chmod(".", 0755));
  SYS(mount("x", "m", "tmpfs", MS_RDONLY, NULL));
  pid_t pid = SYS(fork());
  if (pid == 0) {
    SYS(setgid(65534));
    SYS(setuid(65534));
    SYS(prctl(PR_SET_DUMPABLE, 1));
    if (unshare(CLONE_NEWUSER | CLONE_NEWNS) == -1) _exit(0);  // it is not allowed here
    write_to("/proc/self/setgroups", "deny", 0);
    write_to("/proc/self/uid_map", "0 %d 1\n", 65534);
    write_to("/proc/self/gid_map", "0 %d 1\n", 65534);
    SYS(mount("x", "n", "tmpfs", 0, NULL));
    make_file("n/f", "x", 1, 0600);
    ERR(EINVAL, umount("m"));
    ERR(EINVAL, mount("m", "n", NULL, MS_MOVE, NULL));
    ERR(EPERM, mount(NULL, "m", NULL, MS_REMOUNT | MS_BIND, NULL));
    ERR(EINVAL, mount(".", "n", NULL, MS_BIND, NULL));
    SYS(mkdir("n/b", 0700));
    SYS(mount(".", "n/b", NULL, MS_BIND | MS_REC, NULL));
    CHECK(there("n/b/n/f"));
    ERR(EINVAL, umount("n/b/m"));
    SYS(umount2("n/b", MNT_DETACH));
    ERR(EPERM, mknod("n/null", S_IFCHR | 0666, makedev(1, 3)));
    SYS(umount("n"));
    _exit(0);
  }
  EXITS(0, pid);
  SYS(umount("m"));
}

TESTS(T(temporary), T(errors), T(bound), T(moved), T(lazy), T(flags), T(own_namespace), T(new_root), T(in_place),
      T(user_namespace))
