// /proc of other processes: children, zombies, who may look, and what can be written.
#include "procfile.h"

#include <dirent.h>
#include <linux/sched.h>
#include <sched.h>
#include <sys/auxv.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

// child waits for a byte on a pipe and exits with 0.
static int to_child[2], from_child[2];

static pid_t child(void (*fn)(void)) {
  SYS(pipe(to_child));
  SYS(pipe(from_child));
  pid_t pid = SYS(fork());
  if (pid == 0) {
    if (fn) fn();
    put(from_child[1], 'r');
    get(to_child[0]);
    _exit(0);
  }
  get(from_child[0]);
  return pid;
}

static void release(pid_t pid) {
  put(to_child[1], 'x');
  EXITS(0, pid);
}

static void go_to_tmp(void) { SYS(chdir("/tmp")); }

static void of_child(void) {
  pid_t pid = child(go_to_tmp);
  STR("/tmp", link_text(fmt("/proc/%d/cwd", pid)));
  STR(link_text("/proc/self/exe"), link_text(fmt("/proc/%d/exe", pid)));
  STR(link_text("/proc/self/fd/1"), link_text(fmt("/proc/%d/fd/1", pid)));
  char *s = slurp(fmt("/proc/%d/status", pid));
  EQ(getpid(), number(s, "PPid"));
  EQ(pid, number(s, "Pid"));
  while (strcmp("S (sleeping)", value(slurp(fmt("/proc/%d/status", pid)), "State"))) sleep_ms(1);
  EQ(getpgrp(), stat_field(fmt("/proc/%d/stat", pid), 5));
  STR(slurp("/proc/self/cmdline"), slurp(fmt("/proc/%d/cmdline", pid)));
  STR(fmt("%d ", pid), slurp(fmt("/proc/self/task/%d/children", getpid())));
  SYS(kill(pid, SIGSTOP));
  int st;
  EQ(pid, SYS(waitpid(pid, &st, WUNTRACED)));
  STR("T (stopped)", value(slurp(fmt("/proc/%d/status", pid)), "State"));
  SYS(kill(pid, SIGCONT));
  release(pid);
  STR("", slurp(fmt("/proc/self/task/%d/children", getpid())));
}

static void arguments(void) {
  char *argv[] = {"cat", "/proc/self/cmdline", "-", "", NULL}, *env[] = {"A=1", "B=two words", NULL};
  SYS(pipe(to_child));
  pid_t pid = SYS(fork());
  if (pid == 0) {
    SYS(dup2(to_child[0], 0));
    SYS(close(to_child[1]));
    int null = SYS(open("/dev/null", O_WRONLY));
    SYS(dup2(null, 1));
    SYS(dup2(null, 2));
    execve("/bin/cat", argv, env);
    _exit(1);
  }
  char *path = fmt("/proc/%d/cmdline", pid);
  size_t n;
  for (slurp_by(path, 100, &n); n != 26; slurp_by(path, 100, &n)) sleep_ms(1);
  CHECK(memcmp(slurp(path), "cat\0/proc/self/cmdline\0-\0", 26) == 0);
  CHECK(memcmp(slurp_by(fmt("/proc/%d/environ", pid), 5, &n), "A=1\0B=two words", 16) == 0);
  EQ(16, n);
  STR("cat\n", slurp(fmt("/proc/%d/comm", pid)));
  SYS(close(to_child[1]));
  status_of(pid);
}

static void title(void) {
  // The arguments are where /proc/self/stat says, and can be written over.
  char *at = (char *)stat_field("/proc/self/stat", 48);
  size_t n, len = stat_field("/proc/self/stat", 49) - (long)at;
  char *s = slurp_by("/proc/self/cmdline", 100, &n);
  CHECK(n == len && memcmp(s, at, n) == 0);
  EQ(0, at[len - 1]);
  memset(at, 'x', len);
  s = slurp_by("/proc/self/cmdline", 100, &n);
  CHECK(n > len && memcmp(s, at, len) == 0 && s[n - 1] == 0);
  memset(at, 0, len);
  slurp_by("/proc/self/cmdline", 100, &n);
  EQ(len, n);
}

static void auxiliary(void) {
  size_t n;
  unsigned long *v = (void *)slurp_by("/proc/self/auxv", 1 << 20, &n);
  CHECK(n % 16 == 0 && n > 100);
  int seen = 0;
  for (size_t i = 0; i < n / 8; i += 2) {
    if (v[i] == AT_NULL) break;
    if (v[i] != AT_HWCAP) EQ(getauxval(v[i]), v[i + 1]);  // glibc has its own
    seen++;
  }
  CHECK(seen > 10);
}

static void zombie(void) {
  pid_t pid = child(NULL);
  int status = SYS(open(fmt("/proc/%d/status", pid), O_RDONLY));
  int maps = SYS(open(fmt("/proc/%d/maps", pid), O_RDONLY));
  int dir = SYS(open(fmt("/proc/%d", pid), O_RDONLY | O_DIRECTORY));
  put(to_child[1], 'x');
  siginfo_t si;
  SYS(waitid(P_PID, pid, &si, WEXITED | WNOWAIT));
  char *s = slurp(fmt("/proc/%d/status", pid));
  STR("Z (zombie)", value(s, "State"));
  CHECK(!strstr(s, "VmSize"));
  EQ('Z', stat_field(fmt("/proc/%d/stat", pid), 3));
  EQ(0, stat_field(fmt("/proc/%d/stat", pid), 23));
  STR("", slurp(fmt("/proc/%d/cmdline", pid)));
  STR("", slurp(fmt("/proc/%d/maps", pid)));
  STR("0 0 0 0 0 0 0\n", slurp(fmt("/proc/%d/statm", pid)));
  char b[100];
  ERR(ENOENT, readlink(fmt("/proc/%d/exe", pid), b, sizeof(b)));
  ERR(ENOENT, readlink(fmt("/proc/%d/cwd", pid), b, sizeof(b)));
  ERR(EINVAL, open(fmt("/proc/%d/mounts", pid), O_RDONLY));
  EXITS(0, pid);
  ERR(ENOENT, open(fmt("/proc/%d/status", pid), O_RDONLY));
  ERR(ESRCH, read(status, b, sizeof(b)));
  ERR(ESRCH, read(maps, b, sizeof(b)));
  ERR(ESRCH, openat(dir, "status", O_RDONLY));
  ERR(ENOENT, syscall(SYS_getdents64, dir, b, sizeof(b)));
}

static void comm(void) {
  char name[16];
  int fd = SYS(open("/proc/self/comm", O_RDWR));
  EQ(3, SYS(write(fd, "one", 3)));
  SYS(prctl(PR_GET_NAME, name));
  STR("one", name);
  STR("one\n", slurp("/proc/self/comm"));
  EQ(20, SYS(write(fd, "a name that is long!", 20)));
  STR("a name that is \n", slurp("/proc/self/comm"));
  pid_t pid = child(NULL);
  int other = SYS(open(fmt("/proc/%d/comm", pid), O_WRONLY | O_TRUNC));
  ERR(EINVAL, write(other, "x", 1));
  STR("a name that is \n", slurp(fmt("/proc/%d/comm", pid)));
  release(pid);
}

static void mem(void) {
  char *p = map_private(2 * PAGE), b[8];
  strcpy(p, "hello");
  int fd = SYS(open("/proc/self/mem", O_RDWR));
  EQ(5, SYS(pread(fd, b, 5, (off_t)p)));
  CHECK(memcmp(b, "hello", 5) == 0);
  EQ(2, SYS(pwrite(fd, "JE", 2, (off_t)p)));
  CHECK(memcmp(p, "JEllo", 5) == 0);
  EQ((off_t)p + 1, SYS(lseek(fd, (off_t)p + 1, SEEK_SET)));
  EQ(1, SYS(read(fd, b, 1)));
  EQ('E', b[0]);
  // Protection does not keep it out, but the absence of memory does.
  SYS(mprotect(p, PAGE, PROT_READ));
  EQ(1, SYS(pwrite(fd, "C", 1, (off_t)p)));
  EQ('C', p[0]);
  SYS(mprotect(p, PAGE, PROT_NONE));
  EQ(1, SYS(pread(fd, b, 1, (off_t)p)));
  EQ('C', b[0]);
  SYS(munmap(p, 2 * PAGE));
  ERR(EIO, pread(fd, b, 1, (off_t)p));
  ERR(EIO, pwrite(fd, b, 1, (off_t)p));
  ERR(EIO, pread(fd, b, 1, 0));
  ERR(EFAULT, pread(fd, (void *)8, 1, (off_t)&fd));
}

static volatile char shared_word[16] = "before";

static void mem_of_child(void) {
  pid_t pid = child(NULL);
  int fd = SYS(open(fmt("/proc/%d/mem", pid), O_RDWR));
  char b[8];
  EQ(6, SYS(pread(fd, b, 6, (off_t)shared_word)));
  CHECK(memcmp(b, "before", 6) == 0);
  EQ(5, SYS(pwrite(fd, "after", 6, (off_t)shared_word)) - 1);
  EQ(5, SYS(pread(fd, b, 5, (off_t)shared_word)));
  CHECK(memcmp(b, "after", 5) == 0);
  CHECK(strcmp((char *)shared_word, "before") == 0);
  put(to_child[1], 'x');
  siginfo_t si;
  SYS(waitid(P_PID, pid, &si, WEXITED | WNOWAIT));
  EQ(0, SYS(pread(fd, b, 5, (off_t)shared_word)));
  EXITS(0, pid);
}

static void limits(void) {
  struct rlimit l = {100, 200};
  SYS(setrlimit(RLIMIT_NOFILE, &l));
  l = (struct rlimit){RLIM_INFINITY, RLIM_INFINITY};
  char *s = slurp("/proc/self/limits");
  CHECK(strstr(s, "Limit                     Soft Limit           Hard Limit           Units     \n"));
  CHECK(strstr(s, "Max open files            100                  200                  files     \n"));
  int lines = 0;
  for (; *s; s++) lines += *s == '\n';
  EQ(17, lines);
  pid_t pid = child(NULL);
  l = (struct rlimit){50, 60};
  SYS(prlimit(pid, RLIMIT_NOFILE, &l, NULL));
  CHECK(strstr(slurp(fmt("/proc/%d/limits", pid)), "Max open files            50                   60                   files     \n"));
  release(pid);
}

static void oom(void) {
  int fd = SYS(open("/proc/self/oom_score_adj", O_RDWR));
  char b[8] = {0};
  EQ(2, SYS(read(fd, b, 8)));
  STR("0\n", b);
  EQ(4, SYS(write(fd, "300\n", 4)));
  STR("300\n", slurp("/proc/self/oom_score_adj"));
  ERR(EINVAL, write(fd, "1001", 4));
  ERR(EINVAL, write(fd, "x", 1));
  pid_t pid = child(NULL);
  STR("300\n", slurp(fmt("/proc/%d/oom_score_adj", pid)));
  CHECK(atoi(slurp(fmt("/proc/%d/oom_score", pid))) >= 800);
  release(pid);
}

static void io(void) {
  char *s = slurp("/proc/self/io");
  long long r = number(s, "rchar"), w = number(s, "wchar"), sr = number(s, "syscr"), sw = number(s, "syscw");
  int fd = SYS(open("/dev/zero", O_RDWR));
  char b[1000];
  for (int i = 0; i < 5; i++) EQ(1000, SYS(read(fd, b, 1000)));
  for (int i = 0; i < 3; i++) EQ(100, SYS(write(fd, b, 100)));
  s = slurp("/proc/self/io");
  CHECK(number(s, "rchar") >= r + 5000 && number(s, "rchar") < r + 6000);
  EQ(w + 300, number(s, "wchar"));
  CHECK(number(s, "syscr") >= sr + 5 && number(s, "syscr") <= sr + 8);
  EQ(sw + 3, number(s, "syscw"));
}

static void become_nobody(void) { SYS(setresuid(1000, 1000, 1000)); }

static void other_user(void) {
  if (getuid() != 0) return;
  pid_t root = child(NULL);
  int again = to_child[1];
  pid_t pid = SYS(fork());
  if (pid == 0) {
    SYS(setresgid(1000, 1000, 1000));
    become_nobody();
    const char *no[] = {"environ", "maps", "smaps", "mem", "auxv", "fd", "fdinfo/1"};
    for (size_t i = 0; i < LEN(no); i++) ERR(EACCES, open(fmt("/proc/%d/%s", root, no[i]), O_RDONLY));
    const char *links[] = {"exe", "cwd", "root", "fd/1", "ns/uts"};
    char b[100];
    for (size_t i = 0; i < LEN(links); i++) ERR(EACCES, readlink(fmt("/proc/%d/%s", root, links[i]), b, 100));
    const char *yes[] = {"status", "stat", "statm", "cmdline", "comm", "limits", "mounts", "oom_score", "cgroup"};
    for (size_t i = 0; i < LEN(yes); i++) slurp(fmt("/proc/%d/%s", root, yes[i]));
    EQ(1, stat_field(fmt("/proc/%d/stat", root), 26));
    ERR(EACCES, open(fmt("/proc/%d/comm", root), O_WRONLY));

    // After the change of user the process is not dumpable: its files are root's.
    EQ(0, prctl(PR_GET_DUMPABLE));
    struct stat st;
    SYS(stat("/proc/self/status", &st));
    EQ(0, st.st_uid);
    SYS(stat("/proc/self", &st));
    EQ(1000, st.st_uid);
    ERR(EACCES, open("/proc/self/environ", O_RDONLY));
    SYS(close(SYS(open("/proc/self/fd", O_RDONLY | O_DIRECTORY))));
    link_text("/proc/self/exe");
    SYS(prctl(PR_SET_DUMPABLE, 1));
    SYS(stat("/proc/self/status", &st));
    EQ(1000, st.st_uid);
    slurp("/proc/self/environ");
    _exit(0);
  }
  EXITS(0, pid);
  to_child[1] = again;
  release(root);
}

static void own_entries(void) {
  DIR *d = opendir("/proc/self");
  CHECK(d);
  int n = 0;
  for (struct dirent *e; (e = readdir(d)); n++) {
    if (e->d_name[0] == '.') continue;
    struct stat st;
    SYS(fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW));
    EQ(st.st_ino, e->d_ino);
    EQ(st.st_mode >> 12, e->d_type);
    CHECK(st.st_uid == geteuid());
  }
  CHECK(n > 30);
  // From a position that telldir gave, the listing goes on.
  rewinddir(d);
  for (int i = 0; i < 10; i++) readdir(d);
  long at = telldir(d);
  char name[256];
  strcpy(name, readdir(d)->d_name);
  while (readdir(d)) {
  }
  seekdir(d, at);
  STR(name, readdir(d)->d_name);
  closedir(d);
  const char *modes[][2] = {{"status", "100444"}, {"environ", "100400"}, {"comm", "100644"}, {"mem", "100600"}, {"fd", "40500"},
                            {"fdinfo", "40555"}, {"task", "40555"}, {"ns", "40511"}, {"exe", "120777"}, {"oom_score_adj", "100644"}};
  for (size_t i = 0; i < LEN(modes); i++) {
    struct stat st;
    SYS(lstat(fmt("/proc/self/%s", modes[i][0]), &st));
    STR(modes[i][1], fmt("%o", st.st_mode));
  }
  ERR(ENOENT, open("/proc/self/nothing", O_RDONLY | O_CREAT, 0600));
  ERR(ENOENT, mkdir("/proc/nothing", 0700));
  ERR(EPERM, unlink("/proc/self/status"));
  ERR(EPERM, chmod("/proc/self/status", 0777));
  ERR(EINVAL, lseek(SYS(open("/proc/self/status", O_RDONLY)), 0, SEEK_END));
}

static void namespaces(void) {
  struct stat a, b;
  pid_t pid = child(NULL);
  const char *kinds[] = {"mnt", "pid", "user", "uts"};
  for (size_t i = 0; i < LEN(kinds); i++) {
    char own[64];
    snprintf(own, sizeof(own), "/proc/self/ns/%s", kinds[i]);
    CHECK(strncmp(link_text(own), fmt("%s:[", kinds[i]), strlen(kinds[i]) + 2) == 0);
    STR(link_text(own), link_text(fmt("/proc/%d/ns/%s", pid, kinds[i])));
    SYS(stat(own, &a));
    SYS(stat(fmt("/proc/%d/ns/%s", pid, kinds[i]), &b));
    CHECK(a.st_ino == b.st_ino && a.st_dev == b.st_dev && S_ISREG(a.st_mode));
    STR(fmt("%s:[%lu]", kinds[i], a.st_ino), link_text(own));
    char c;
    ERR(EINVAL, read(SYS(open(own, O_RDONLY)), &c, 1));
  }
  int fd = SYS(open("/proc/self/ns/uts", O_RDONLY));
  EQ(CLONE_NEWUTS, SYS(ioctl(fd, 0xb703)));
  ERR(EINVAL, ioctl(fd, 0xb702));
  ERR(EINVAL, ioctl(fd, 0xb704, &a));
  int user = SYS(ioctl(fd, 0xb701));
  SYS(fstat(user, &a));
  SYS(stat("/proc/self/ns/user", &b));
  EQ(a.st_ino, b.st_ino);
  EQ(CLONE_NEWUSER, SYS(ioctl(user, 0xb703)));
  EQ(FD_CLOEXEC, SYS(fcntl(user, F_GETFD)));
  ERR(ENOTTY, ioctl(fd, 0xb7ff));
  release(pid);
}

static void eventfd_info(void) {
  int fd = SYS(eventfd(0x1f, 0));
  char *s = slurp(fmt("/proc/self/fdinfo/%d", fd));
  STR("1f", value(s, "eventfd-count"));
  STR("anon_inode:[eventfd]", link_text(fmt("/proc/self/fd/%d", fd)));
}

static void as_pidfd(void) {
  pid_t pid = child(NULL);
  int fd = SYS(syscall(SYS_pidfd_open, pid, 0));
  char *s = slurp(fmt("/proc/self/fdinfo/%d", fd));
  EQ(pid, number(s, "Pid"));
  EQ(pid, number(s, "NSpid"));
  // The directory of a process will do for a signal, that of a thread will not.
  int dir = SYS(open(fmt("/proc/%d", pid), O_RDONLY | O_DIRECTORY));
  int task = SYS(open(fmt("/proc/%d/task/%d", pid, pid), O_RDONLY | O_DIRECTORY));
  EQ(0, SYS(syscall(SYS_pidfd_send_signal, dir, 0, NULL, 0)));
  ERR(EBADF, syscall(SYS_pidfd_send_signal, task, 0, NULL, 0));
  ERR(EBADF, syscall(SYS_pidfd_send_signal, SYS(open("/proc", O_RDONLY)), 0, NULL, 0));
  SYS(syscall(SYS_pidfd_send_signal, dir, SIGTERM, NULL, 0));
  DIES(SIGTERM, pid);
  ERR(ESRCH, syscall(SYS_pidfd_send_signal, dir, 0, NULL, 0));
  EQ(-1, number(slurp(fmt("/proc/self/fdinfo/%d", fd)), "Pid"));
}

TESTS(T(of_child), T(zombie), T(arguments), T(title), T(auxiliary), T(comm), T(mem), T(mem_of_child), T(limits), T(oom), T(io),
      T(other_user), T(own_entries), T(namespaces), T(eventfd_info), T(as_pidfd))
