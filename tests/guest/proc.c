// /proc/PID: what it says of a process agrees with what the process knows.
#include "procfile.h"

#include <dirent.h>
#include <linux/capability.h>
#include <pthread.h>
#include <sched.h>
#include <sys/auxv.h>
#include <sys/resource.h>

// area is a line of maps.
struct area {
  unsigned long start, end, offset, ino;
  unsigned major, minor;
  char perm[5], name[PATH_MAX];
};

// find looks for the area that holds an address.
static bool find(const char *path, void *at, struct area *a) {
  for (char *l = slurp(path); *l; l = strchr(l, '\n') + 1) {
    char line[PATH_MAX + 100];
    snprintf(line, sizeof(line), "%.*s", (int)strcspn(l, "\n"), l);
    a->name[0] = 0;
    CHECK(sscanf(line, "%lx-%lx %4s %lx %x:%x %lu %4095[^\n]", &a->start, &a->end, a->perm, &a->offset, &a->major, &a->minor,
                 &a->ino, a->name) >= 7);
    if (a->start <= (unsigned long)at && (unsigned long)at < a->end) return true;
  }
  return false;
}

static void maps(void) {
  struct area a;
  int local;
  CHECK(find("/proc/self/maps", &local, &a));
  STR("[stack]", a.name);
  STR("rw-p", a.perm);
  char *heap = sbrk(PAGE);
  CHECK(find("/proc/self/maps", heap, &a));
  STR("[heap]", a.name);
  EQ((unsigned long)sbrk(0), a.end);
  CHECK(find("/proc/self/maps", maps, &a));
  STR("r-xp", a.perm);
  STR(link_text("/proc/self/exe"), a.name);
  struct stat st;
  SYS(stat("/proc/self/exe", &st));
  EQ(st.st_ino, a.ino);
  CHECK(find("/proc/self/maps", (void *)getauxval(AT_SYSINFO_EHDR), &a));
  STR("[vdso]", a.name);

  char *p = map_private(8 * PAGE);
  SYS(mprotect(p + 2 * PAGE, PAGE, PROT_READ));
  SYS(munmap(p + 5 * PAGE, PAGE));
  CHECK(find("/proc/self/maps", p + 2 * PAGE, &a));
  CHECK(a.start == (unsigned long)p + 2 * PAGE && a.end == a.start + PAGE);
  STR("r--p", a.perm);
  STR("", a.name);
  CHECK(find("/proc/self/maps", p + 4 * PAGE, &a));
  EQ((unsigned long)p + 5 * PAGE, a.end);
  CHECK(!find("/proc/self/maps", p + 5 * PAGE, &a));

  scratch();
  make_file("a file", "x", 1, 0600);
  int fd = SYS(open("a file", O_RDWR));
  SYS(ftruncate(fd, 4 * PAGE));
  char *f = mmap(NULL, 2 * PAGE, PROT_READ, MAP_SHARED, fd, PAGE);
  CHECK(f != MAP_FAILED);
  SYS(fstat(fd, &st));
  CHECK(find("/proc/self/maps", f, &a));
  CHECK(a.offset == PAGE && a.ino == st.st_ino && strcmp(a.perm, "r--s") == 0);
  STR(fmt("%s/a file", scratch_path), a.name);
  SYS(unlink("a file"));
  CHECK(find("/proc/self/maps", f, &a));
  STR(fmt("%s/a file (deleted)", scratch_path), a.name);
}

static void pieces(void) {
  for (int i = 0; i < 300; i++) {
    char *p = map_private(2 * PAGE);
    SYS(mprotect(p, PAGE, PROT_READ));
  }
  const char *files[] = {"/proc/self/maps", "/proc/self/limits", "/proc/self/cmdline", "/proc/self/mountinfo"};
  for (size_t i = 0; i < LEN(files); i++) {
    size_t n, m;
    char *whole = slurp_by(files[i], 1 << 20, &n);
    char *parts = slurp_by(files[i], 77, &m);
    CHECK(n == m && memcmp(whole, parts, n) == 0);
    int fd = SYS(open(files[i], O_RDONLY));
    char b[50];
    for (size_t at = 0; at < n; at += 1 + n / 7) {
      ssize_t got = SYS(pread(fd, b, sizeof(b), at));
      CHECK(got > 0 && memcmp(b, whole + at, got) == 0);
    }
    EQ(0, SYS(pread(fd, b, sizeof(b), n)));
    SYS(close(fd));
  }
}

static void smaps(void) {
  size_t size = 64 * PAGE;
  char *p = map_private(size);
  for (int i = 0; i < 10; i++) p[i * PAGE] = 1;
  char *l = strstr(slurp("/proc/self/smaps"), fmt("%lx-", (unsigned long)p));
  CHECK(l);
  EQ(size >> 10, number(l, "Size"));
  EQ(40, number(l, "Rss"));
  EQ(40, number(l, "Private_Dirty"));
  EQ(40, number(l, "Anonymous"));
  CHECK(strstr(value(l, "VmFlags"), "rd wr mr mw me"));
  char *all = slurp("/proc/self/smaps_rollup");
  CHECK(strstr(all, "[rollup]") && number(all, "Rss") >= 40 && number(all, "Pss") <= number(all, "Rss"));
}

static void links(void) {
  char cwd[PATH_MAX];
  scratch();
  STR(getcwd(cwd, sizeof(cwd)), link_text("/proc/self/cwd"));
  STR("/", link_text("/proc/self/root"));
  STR(fmt("%d", getpid()), link_text("/proc/self"));
  STR(fmt("%d/task/%d", getpid(), gettid()), link_text("/proc/thread-self"));
  make_file("f", "0123456789", 10, 0600);
  int fd = SYS(open("f", O_RDONLY));
  char *link = fmt("/proc/self/fd/%d", fd);
  STR(fmt("%s/f", scratch_path), link_text(link));
  struct stat a, b;
  SYS(fstat(fd, &a));
  SYS(stat(link, &b));
  CHECK(a.st_ino == b.st_ino && a.st_dev == b.st_dev);
  SYS(lstat(link, &b));
  CHECK(S_ISLNK(b.st_mode) && (b.st_mode & 0777) == 0500 && b.st_size == 64);
  // What is opened through the link has a position of its own, and its own mode.
  char c[4];
  EQ(4, SYS(read(fd, c, 4)));
  int again = SYS(open(link, O_RDWR));
  EQ(4, SYS(read(again, c, 4)));
  CHECK(memcmp(c, "0123", 4) == 0);
  EQ(1, SYS(write(again, "x", 1)));
  EQ(1, SYS(pread(fd, c, 1, 4)));
  EQ('x', c[0]);
  SYS(lstat(fmt("/proc/self/fd/%d", again), &b));
  EQ(0700, b.st_mode & 0777);
  // A file without a name is still there.
  SYS(unlink("f"));
  STR(fmt("%s/f (deleted)", scratch_path), link_text(link));
  int third = SYS(open(link, O_WRONLY | O_TRUNC));
  SYS(fstat(fd, &a));
  EQ(0, a.st_size);
  SYS(close(third));
  SYS(close(fd));
  ERR(ENOENT, readlink(link, cwd, sizeof(cwd)));
  // Through a directory one can walk on.
  SYS(mkdir("d", 0700));
  make_file("d/x", "x", 1, 0600);
  int dir = SYS(open("d", O_PATH));
  SYS(stat(fmt("/proc/self/fd/%d/x", dir), &a));
  SYS(stat(fmt("/proc/self/fd/%d/../d/x", dir), &b));
  EQ(a.st_ino, b.st_ino);
  ERR(ENOTDIR, stat(fmt("/proc/self/fd/%d/x", again), &a));
  ERR(ELOOP, open(fmt("/proc/self/fd/%d", dir), O_RDONLY | O_NOFOLLOW));
  int p[2];
  SYS(pipe(p));
  CHECK(strncmp(link_text(fmt("/proc/self/fd/%d", p[0])), "pipe:[", 6) == 0);
  STR(link_text(fmt("/proc/self/fd/%d", p[0])), link_text(fmt("/proc/self/fd/%d", p[1])));
  put(p[1], 'y');
  int q = SYS(open(fmt("/proc/self/fd/%d", p[0]), O_RDONLY));
  EQ('y', get(q));
}

static void fdinfo(void) {
  scratch();
  make_file("f", "0123456789", 10, 0600);
  int fd = SYS(open("f", O_RDWR | O_APPEND | O_CLOEXEC));
  SYS(lseek(fd, 7, SEEK_SET));
  char *info = slurp(fmt("/proc/self/fdinfo/%d", fd));
  EQ(7, number(info, "pos"));
  EQ(O_RDWR | O_APPEND | O_CLOEXEC | 0100000, number(info, "flags"));
  CHECK(number(info, "mnt_id") > 0);
  SYS(fcntl(fd, F_SETFD, 0));
  EQ(O_RDWR | O_APPEND | 0100000, number(slurp(fmt("/proc/self/fdinfo/%d", fd)), "flags"));
  ERR(ENOENT, open("/proc/self/fdinfo/999", O_RDONLY));
}

static void *sleeper(void *arg) {
  while (!__atomic_load_n((int *)arg, __ATOMIC_SEQ_CST)) sleep_ms(1);
  return NULL;
}

static int count(const char *path) {
  DIR *d = opendir(path);
  CHECK(d);
  int n = 0;
  while (readdir(d)) n++;
  closedir(d);
  return n - 2;
}

static void status(void) {
  const char *path = "/proc/self/status";
  prctl(PR_SET_NAME, "a\\b\n");
  umask(0137);
  signal(SIGUSR1, SIG_IGN);
  handle(SIGUSR2, (void (*)(int))status, 0);
  block(SIGTERM);
  SYS(raise(SIGTERM));
  char *s = slurp(path);
  STR("a\\\\b\\n", value(s, "Name"));
  STR("0137", value(s, "Umask"));
  STR("R (running)", value(s, "State"));
  EQ(getpid(), number(s, "Tgid"));
  EQ(getpid(), number(s, "Pid"));
  EQ(getppid(), number(s, "PPid"));
  uid_t r, e, u;
  SYS(getresuid(&r, &e, &u));
  STR(fmt("%d\t%d\t%d\t%d", r, e, u, e), value(s, "Uid"));
  EQ(getgid(), number(s, "Gid"));
  EQ(1, number(s, "Threads"));
  CHECK(number(s, "FDSize") >= 3);
  CHECK(hex(s, "SigPnd") & 1ULL << (SIGTERM - 1));
  EQ(1ULL << (SIGTERM - 1), hex(s, "SigBlk"));
  CHECK(hex(s, "SigIgn") & 1ULL << (SIGUSR1 - 1));
  EQ(1ULL << (SIGUSR2 - 1), hex(s, "SigCgt"));
  EQ(0, number(s, "NoNewPrivs"));
  struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0};
  struct __user_cap_data_struct c[2];
  SYS(syscall(SYS_capget, &h, c));
  EQ(c[0].effective | (uint64_t)c[1].effective << 32, hex(s, "CapEff"));
  EQ(c[0].permitted | (uint64_t)c[1].permitted << 32, hex(s, "CapPrm"));
  SYS(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
  EQ(1, number(slurp(path), "NoNewPrivs"));

  // Memory: what is mapped and touched is counted.
  long size = number(slurp(path), "VmSize"), rss = number(slurp(path), "VmRSS");
  char *p = map_private(8 << 20);
  for (int i = 0; i < 4 << 20; i += PAGE) p[i] = 1;
  s = slurp(path);
  EQ(size + 8192, number(s, "VmSize"));
  CHECK(number(s, "VmRSS") >= rss + 3500 && number(s, "VmRSS") < rss + 6000);
  CHECK(number(s, "VmData") >= 8192 && number(s, "VmStk") > 0 && number(s, "VmExe") > 0);
  CHECK(labs(number(s, "RssAnon") + number(s, "RssFile") + number(s, "RssShmem") - number(s, "VmRSS")) <= 256);
  SYS(munmap(p, 8 << 20));
  s = slurp(path);
  EQ(size, number(s, "VmSize"));
  CHECK(number(s, "VmPeak") >= size + 8192 && number(s, "VmHWM") >= rss + 3500);
  long pages, resident, shared, text, lib, data;
  EQ(6, sscanf(slurp("/proc/self/statm"), "%ld %ld %ld %ld %ld %ld", &pages, &resident, &shared, &text, &lib, &data));
  EQ(size, pages * 4);
  CHECK(shared <= resident && resident <= pages && text > 0 && data > 0);

  cpu_set_t set;
  SYS(sched_getaffinity(0, sizeof(set), &set));
  int first = 0;
  while (!CPU_ISSET(first, &set)) first++;
  CPU_ZERO(&set);
  CPU_SET(first, &set);
  SYS(sched_setaffinity(0, sizeof(set), &set));
  STR(fmt("%d", first), value(slurp(path), "Cpus_allowed_list"));
}

static void stat_file(void) {
  const char *path = "/proc/self/stat";
  prctl(PR_SET_NAME, "a ) (b");
  char *s = slurp(path);
  int n = 2;
  for (char *p = strrchr(s, ')'); *p; p++) n += *p == ' ';
  EQ(52, n);
  CHECK(strncmp(s, fmt("%d (a ) (b) R ", getpid()), strlen(fmt("%d (a ) (b) R ", getpid()))) == 0);
  EQ(getppid(), stat_field(path, 4));
  EQ(getpgrp(), stat_field(path, 5));
  EQ(getsid(0), stat_field(path, 6));
  SYS(setpriority(PRIO_PROCESS, 0, 7));
  EQ(27, stat_field(path, 18));
  EQ(7, stat_field(path, 19));
  EQ(1, stat_field(path, 20));
  // A kernel that patches call sites may map a page in between.
  bool same = false;
  for (int i = 0; i < 5; i++) same |= number(slurp("/proc/self/status"), "VmSize") << 10 == stat_field(path, 23);
  CHECK(same);
  CHECK(stat_field(path, 26) < (long long)stat_file && (long long)stat_file < stat_field(path, 27));
  CHECK(stat_field(path, 28) > (long long)&n);
  EQ(SIGCHLD, stat_field(path, 38));
  CHECK(stat_field(path, 47) <= (long long)sbrk(0));
  CHECK(stat_field(path, 48) < stat_field(path, 49) && stat_field(path, 50) <= stat_field(path, 51));
  // The clock of start times is that of uptime.
  double up;
  EQ(1, sscanf(slurp("/proc/uptime"), "%lf", &up));
  double began = stat_field(path, 22) / 100.0;
  CHECK(began <= up + 0.02 && began > up - 60);
  long long parent = stat_field(fmt("/proc/%d/stat", getpid()), 22);
  pid_t pid = SYS(fork());
  if (pid == 0) {
    CHECK(stat_field(path, 22) >= parent);
    _exit(0);
  }
  EXITS(0, pid);
}

static void threads(void) {
  int stop = 0;
  pthread_t t[3];
  for (int i = 0; i < 3; i++) ZERO(pthread_create(&t[i], NULL, sleeper, &stop));
  EQ(4, count("/proc/self/task"));
  EQ(4, number(slurp("/proc/self/status"), "Threads"));
  EQ(4, stat_field("/proc/self/stat", 20));
  struct stat st;
  SYS(stat("/proc/self/task", &st));
  EQ(6, st.st_nlink);
  int tid = 0;
  DIR *d = opendir("/proc/self/task");
  for (struct dirent *e; (e = readdir(d));) {
    if (atoi(e->d_name) > 0) tid = atoi(e->d_name);
    SYS(fstatat(dirfd(d), e->d_name, &st, 0));
    if (e->d_name[0] != '.') EQ(st.st_ino, e->d_ino);
  }
  closedir(d);
  CHECK(tid != getpid());
  char *s = slurp(fmt("/proc/self/task/%d/status", tid));
  EQ(tid, number(s, "Pid"));
  EQ(getpid(), number(s, "Tgid"));
  EQ(tid, number(slurp(fmt("/proc/%d/status", tid)), "Pid"));
  ERR(ENOENT, access(fmt("/proc/self/task/%d/task", tid), F_OK));
  // Threads give each other names.
  int fd = SYS(open(fmt("/proc/self/task/%d/comm", tid), O_RDWR));
  EQ(6, SYS(write(fd, "worker", 6)));
  STR("worker\n", slurp(fmt("/proc/self/task/%d/comm", tid)));
  __atomic_store_n(&stop, 1, __ATOMIC_SEQ_CST);
  for (int i = 0; i < 3; i++) ZERO(pthread_join(t[i], NULL));
  while (count("/proc/self/task") != 1) sleep_ms(1);
  char b[8];
  ERR(ESRCH, pread(fd, b, 8, 0));
  ERR(ENOENT, access(fmt("/proc/self/task/%d", tid), F_OK));
}

TESTS(T(status), T(maps), T(pieces), T(smaps), T(links), T(fdinfo), T(stat_file), T(threads))
