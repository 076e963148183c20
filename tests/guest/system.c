// Facts of the system, limits, scheduling, /proc.
#include "check.h"

#include <sched.h>
#include <sys/auxv.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>

static void names(void) {
  struct utsname u;
  SYS(uname(&u));
  CHECK(strcmp(u.sysname, "Linux") == 0 && strcmp(u.machine, "x86_64") == 0);
  int major, minor;
  CHECK(sscanf(u.release, "%d.%d", &major, &minor) == 2);
  CHECK(major >= 4);
  CHECK(u.nodename[0] && u.version[0]);
}

static void information(void) {
  struct sysinfo si;
  SYS(sysinfo(&si));
  CHECK(si.uptime >= 0 && si.totalram > 0 && si.mem_unit > 0 && si.freeram <= si.totalram && si.procs > 0);
  ERR(EFAULT, syscall(SYS_sysinfo, 8));
  // The load is what /proc tells, but for what happens in between.
  double load[3];
  FILE *f = fopen("/proc/loadavg", "r");
  CHECK(f && fscanf(f, "%lf %lf %lf", &load[0], &load[1], &load[2]) == 3);
  fclose(f);
  SYS(sysinfo(&si));
  for (int i = 0; i < 3; i++) {
    double d = si.loads[i] / 65536.0 - load[i];
    CHECK(d > -load[i] / 4 - 0.5 && d < load[i] / 4 + 0.5);
  }
  CHECK(sysconf(_SC_NPROCESSORS_ONLN) >= 1);
  EQ(4096, sysconf(_SC_PAGESIZE));
}

static void limits(void) {
  for (int r = 0; r < RLIM_NLIMITS; r++) {
    struct rlimit a, b;
    SYS(getrlimit(r, &a));
    SYS(prlimit(0, r, NULL, &b));
    CHECK(a.rlim_cur == b.rlim_cur && a.rlim_max == b.rlim_max && a.rlim_cur <= a.rlim_max);
  }
  struct rlimit l = {100, 200}, old;
  SYS(prlimit(getpid(), RLIMIT_NOFILE, &l, &old));
  SYS(getrlimit(RLIMIT_NOFILE, &l));
  CHECK(l.rlim_cur == 100 && l.rlim_max == 200);
  l.rlim_cur = 300;
  ERR(EINVAL, setrlimit(RLIMIT_NOFILE, &l));
  ERR(EINVAL, getrlimit(99, &l));
  ERR(ESRCH, prlimit(1 << 22, RLIMIT_NOFILE, NULL, &l));
  pid_t pid = SYS(fork());
  if (pid == 0) {
    SYS(getrlimit(RLIMIT_NOFILE, &l));
    _exit(l.rlim_cur);
  }
  EXITS(100, pid);
  if (getuid() == 0) SYS(setresuid(1000, 1000, 1000));
  l = (struct rlimit){100, 201};
  ERR(EPERM, setrlimit(RLIMIT_NOFILE, &l));
}

static void randomness(void) {
  unsigned char a[256] = {0}, b[256] = {0};
  EQ(256, SYS(getrandom(a, 256, 0)));
  EQ(256, SYS(getrandom(b, 256, GRND_NONBLOCK)));
  CHECK(memcmp(a, b, 256) != 0);
  EQ(0, SYS(getrandom(a, 0, 0)));
  ERR(EINVAL, getrandom(a, 1, 0x100));
  ERR(EFAULT, getrandom((void *)8, 10, 0));
  const unsigned char *at = (void *)getauxval(AT_RANDOM);
  unsigned or = 0;
  for (int i = 0; i < 16; i++) or |= at[i];
  CHECK(or);
}

static void auxiliary(void) {
  EQ(PAGE, getauxval(AT_PAGESZ));
  EQ(100, getauxval(AT_CLKTCK));
  EQ(getuid(), getauxval(AT_UID));
  EQ(getegid(), getauxval(AT_EGID));
  EQ(0, getauxval(AT_SECURE));
  EQ(sizeof(long) * 7, getauxval(AT_PHENT));
  CHECK(getauxval(AT_PHDR) && getauxval(AT_ENTRY) && getauxval(AT_SYSINFO_EHDR));
  CHECK(strcmp((char *)getauxval(AT_PLATFORM), "x86_64") == 0);
  CHECK(strchr((char *)getauxval(AT_EXECFN), '/'));
}

static void processors(void) {
  unsigned cpu, node;
  SYS(getcpu(&cpu, &node));
  CHECK(cpu < CPU_SETSIZE);
  EQ(0, SYS(syscall(SYS_getcpu, NULL, NULL, NULL)));
  cpu_set_t s;
  SYS(sched_getaffinity(0, sizeof(s), &s));
  cpu_set_t all = s;
  int n = CPU_COUNT(&s);
  CHECK(n >= 1 && n <= sysconf(_SC_NPROCESSORS_CONF));
  ERR(EINVAL, syscall(SYS_sched_getaffinity, 0, 1, &s));
  ERR(ESRCH, sched_getaffinity(1 << 22, sizeof(s), &s));
  int first = 0;
  while (!CPU_ISSET(first, &s)) first++;
  CPU_ZERO(&s);
  CPU_SET(first, &s);
  SYS(sched_setaffinity(0, sizeof(s), &s));
  SYS(sched_getaffinity(0, sizeof(s), &s));
  EQ(1, CPU_COUNT(&s));
  EQ(first, sched_getcpu());
  for (int i = 0; i < CPU_SETSIZE; i++) {
    if (!CPU_ISSET(i, &all)) continue;
    CPU_ZERO(&s);
    CPU_SET(i, &s);
    SYS(sched_setaffinity(0, sizeof(s), &s));
    for (int k = 0; k < 20; k++) EQ(i, sched_getcpu());
  }
  CPU_ZERO(&s);
  ERR(EINVAL, sched_setaffinity(0, sizeof(s), &s));
}

static void scheduling(void) {
  EQ(SCHED_OTHER, SYS(sched_getscheduler(0)));
  struct sched_param p;
  SYS(sched_getparam(0, &p));
  EQ(0, p.sched_priority);
  EQ(1, SYS(sched_get_priority_min(SCHED_FIFO)));
  EQ(99, SYS(sched_get_priority_max(SCHED_RR)));
  EQ(0, SYS(sched_get_priority_max(SCHED_OTHER)));
  ERR(EINVAL, sched_get_priority_max(99));
  ERR(EINVAL, sched_setscheduler(0, 99, &p));
  p.sched_priority = 5;
  ERR(EINVAL, sched_setscheduler(0, SCHED_OTHER, &p));
  ERR(ESRCH, sched_getscheduler(1 << 22));
  SYS(sched_yield());
  p.sched_priority = 0;
  SYS(sched_setscheduler(0, SCHED_BATCH, &p));
  EQ(SCHED_BATCH, SYS(sched_getscheduler(0)));
}

static void priorities(void) {
  SYS(setpriority(PRIO_PROCESS, 0, 10));
  EQ(10, getpriority(PRIO_PROCESS, 0));
  EQ(15, SYS(nice(5)));
  EQ(19, SYS(nice(100)));
  ERR(EINVAL, setpriority(99, 0, 0));
  ERR(ESRCH, setpriority(PRIO_PROCESS, 1 << 22, 0));
  if (getuid() == 0) SYS(setresuid(1000, 1000, 1000));
  ERR(EACCES, setpriority(PRIO_PROCESS, 0, 0));
}

static void usage(void) {
  struct rusage a, b;
  SYS(getrusage(RUSAGE_SELF, &a));
  char *p = map_private(4 << 20);
  for (int i = 0; i < 4 << 20; i += PAGE) p[i] = 1;
  SYS(getrusage(RUSAGE_SELF, &b));
  CHECK(b.ru_minflt > a.ru_minflt && b.ru_maxrss >= 4 << 10);
  SYS(getrusage(RUSAGE_THREAD, &a));
  SYS(getrusage(RUSAGE_CHILDREN, &a));
  EQ(0, a.ru_utime.tv_sec + a.ru_utime.tv_usec);
  ERR(EINVAL, getrusage(99, &a));
}

static long field(const char *file, const char *name) {
  FILE *f = fopen(file, "r");
  char line[512];
  long v = -1;
  CHECK(f);
  while (fgets(line, sizeof(line), f))
    if (strncmp(line, name, strlen(name)) == 0 && line[strlen(name)] == ':') sscanf(line + strlen(name) + 1, "%ld", &v);
  fclose(f);
  return v;
}

static void proc_status(void) {
  EQ(getpid(), field("/proc/self/status", "Pid"));
  EQ(getpid(), field("/proc/self/status", "Tgid"));
  EQ(getppid(), field("/proc/self/status", "PPid"));
  EQ(getuid(), field("/proc/self/status", "Uid"));
  EQ(1, field("/proc/self/status", "Threads"));
  CHECK(field("/proc/self/status", "VmSize") > 100);
  CHECK(field("/proc/self/status", "VmRSS") > 10);
  CHECK(field("/proc/meminfo", "MemTotal") > 1000);
  FILE *f = fopen("/proc/self/stat", "r");
  int pid, ppid, pgrp, sid;
  char name[64], state;
  EQ(6, fscanf(f, "%d (%63[^)]) %c %d %d %d", &pid, name, &state, &ppid, &pgrp, &sid));
  CHECK(pid == getpid() && ppid == getppid() && pgrp == getpgrp() && sid == getsid(0) && state == 'R');
  CHECK(strcmp(name, "system") == 0);
}

static void proc_links(void) {
  char path[PATH_MAX], cwd[PATH_MAX];
  scratch();
  ssize_t n = SYS(readlink("/proc/self/cwd", path, sizeof(path) - 1));
  path[n] = 0;
  CHECK(strcmp(path, getcwd(cwd, sizeof(cwd))) == 0);
  n = SYS(readlink("/proc/self/root", path, sizeof(path)));
  CHECK(n == 1 && path[0] == '/');
  n = SYS(readlink("/proc/self/exe", path, sizeof(path) - 1));
  path[n] = 0;
  CHECK(strcmp(strrchr(path, '/'), "/system") == 0);
  n = SYS(readlink("/proc/self", path, sizeof(path) - 1));
  path[n] = 0;
  EQ(getpid(), atoi(path));
  make_file("f", "x", 1, 0600);
  int fd = SYS(open("f", O_RDONLY)), p[2];
  char link[64];
  sprintf(link, "/proc/self/fd/%d", fd);
  n = SYS(readlink(link, path, sizeof(path) - 1));
  path[n] = 0;
  CHECK(strcmp(strrchr(path, '/'), "/f") == 0);
  SYS(unlink("f"));
  n = SYS(readlink(link, path, sizeof(path) - 1));
  path[n] = 0;
  CHECK(strcmp(strrchr(path, '/'), "/f (deleted)") == 0);
  SYS(pipe(p));
  sprintf(link, "/proc/self/fd/%d", p[0]);
  n = SYS(readlink(link, path, sizeof(path) - 1));
  path[n] = 0;
  CHECK(strncmp(path, "pipe:[", 6) == 0);
  ERR(ENOENT, open("/proc/self/fd/99", O_RDONLY));
}

static void proc_of_others(void) {
  int p[2];
  SYS(pipe(p));
  pid_t pid = SYS(fork());
  if (pid == 0) {
    get(p[0]);
    _exit(0);
  }
  char path[64], state;
  sprintf(path, "/proc/%d/status", pid);
  EQ(getpid(), field(path, "PPid"));
  put(p[1], 'x');
  siginfo_t si;
  SYS(waitid(P_PID, pid, &si, WEXITED | WNOWAIT));
  sprintf(path, "/proc/%d/stat", pid);
  FILE *f = fopen(path, "r");
  CHECK(f && fscanf(f, "%*d (%*[^)]) %c", &state) == 1);
  EQ('Z', state);
  fclose(f);
  EXITS(0, pid);
  ERR(ENOENT, open(path, O_RDONLY));
}

static void process_names(void) {
  char name[16];
  SYS(prctl(PR_SET_NAME, "renamed"));
  SYS(prctl(PR_GET_NAME, name));
  CHECK(strcmp(name, "renamed") == 0);
  int fd = SYS(open("/proc/self/comm", O_RDWR));
  char text[32] = {0};
  EQ(8, SYS(read(fd, text, 32)));
  CHECK(strcmp(text, "renamed\n") == 0);
  EQ(5, SYS(write(fd, "other", 5)));
  SYS(prctl(PR_GET_NAME, name));
  CHECK(strcmp(name, "other") == 0);
}

static void prctl_misc(void) {
  EQ(1, SYS(prctl(PR_GET_DUMPABLE)));
  SYS(prctl(PR_SET_DUMPABLE, 0));
  EQ(0, SYS(prctl(PR_GET_DUMPABLE)));
  ERR(EINVAL, prctl(PR_SET_DUMPABLE, 7));
  int sig = 77;
  SYS(prctl(PR_GET_PDEATHSIG, &sig));
  EQ(0, sig);
  SYS(prctl(PR_SET_PDEATHSIG, SIGUSR1));
  SYS(prctl(PR_GET_PDEATHSIG, &sig));
  EQ(SIGUSR1, sig);
  ERR(EINVAL, prctl(PR_SET_PDEATHSIG, 99));
  ERR(EINVAL, prctl(0x7654321));
  EQ(0, SYS(prctl(PR_GET_KEEPCAPS)));
}

static void names26(void) {
  struct utsname u;
  SYS(uname(&u));
  CHECK(strncmp(u.release, "2.6.", 4) == 0);
}

static int answer_fd;

// where asks a new program, which begins in this function, too, where its stack,
// its heap and a mapping of its are.
static void where(uintptr_t at[3]) {
  int p[2];
  SYS(pipe(p));
  pid_t pid = SYS(fork());
  if (pid == 0) {
    char fd[16];
    snprintf(fd, sizeof(fd), "%d", p[1]);
    setenv("ANSWER_FD", fd, 1);
    execl("/proc/self/exe", "system", "personalities", NULL);
    _exit(9);
  }
  EXITS(0, pid);
  EQ(3 * sizeof(*at), SYS(read(p[0], at, 3 * sizeof(*at))));
  SYS(close(p[0]));
  SYS(close(p[1]));
}

static void personalities(void) {
  const char *fd = getenv("ANSWER_FD");
  if (fd) {
    answer_fd = atoi(fd);
    uintptr_t at[3] = {(uintptr_t)&at, (uintptr_t)sbrk(0), (uintptr_t)map_private(PAGE)};
    _exit(write(answer_fd, at, sizeof(at)) == sizeof(at) ? 0 : 1);
  }
  enum { UNAME26_ = 0x20000, NO_RANDOMIZE = 0x40000, READ_EXEC = 0x400000, LINUX32 = 8 };
  uintptr_t a[3], b[3];
  EQ(0, SYS(syscall(SYS_personality, NO_RANDOMIZE)));
  EQ(NO_RANDOMIZE, SYS(syscall(SYS_personality, 0xffffffff)));
  where(a);
  where(b);
  for (int i = 0; i < 3; i++) EQ(a[i], b[i]);
  SYS(syscall(SYS_personality, 0));
  where(a);
  CHECK(a[0] != b[0]);

  struct utsname u;
  SYS(syscall(SYS_personality, UNAME26_ | LINUX32));
  SYS(uname(&u));
  CHECK(strncmp(u.release, "2.6.", 4) == 0);
  CHECK(strcmp(u.machine, "i686") == 0);
  forked(names26);
  SYS(syscall(SYS_personality, READ_EXEC));
  unsigned char *code = map_private(PAGE);
  code[0] = 0xc3; // ret
  ((void (*)(void))code)();
  SYS(mprotect(code, PAGE, PROT_READ));
  ((void (*)(void))code)();
  char text[16] = "";
  int f = SYS(open("/proc/self/personality", O_RDONLY));
  EQ(9, SYS(read(f, text, sizeof(text))));
  EQ(0, strcmp(text, "00400000\n"));
}

// A child's timer slack is its parent's, and what it goes back to.
static void slack_is_inherited(void) {
  long before = SYS(prctl(PR_GET_TIMERSLACK));
  SYS(prctl(PR_SET_TIMERSLACK, 70000));
  pid_t pid = SYS(fork());
  if (pid == 0) {
    EQ(70000, prctl(PR_GET_TIMERSLACK));
    SYS(prctl(PR_SET_TIMERSLACK, 80000));
    SYS(prctl(PR_SET_TIMERSLACK, 0));
    EQ(70000, prctl(PR_GET_TIMERSLACK));
    _exit(0);
  }
  EXITS(0, pid);
  SYS(prctl(PR_SET_TIMERSLACK, 0));
  EQ(before, prctl(PR_GET_TIMERSLACK));
}

static void personality_and_thread(void) {
  EQ(0, SYS(syscall(SYS_personality, 0xffffffff)));
  EQ(gettid(), SYS(syscall(SYS_set_tid_address, NULL)));
  EQ(getpid(), SYS(syscall(SYS_gettid)));
}

static void membarrier_and_rseq(void) {
  long cmds = SYS(syscall(SYS_membarrier, 0, 0, 0));
  if (cmds & 1) EQ(0, SYS(syscall(SYS_membarrier, 1, 0, 0)));
  ERR(EINVAL, syscall(SYS_membarrier, 0x40000000, 0, 0));
}

TESTS(T(names), T(information), T(limits), T(randomness), T(auxiliary), T(processors), T(scheduling), T(priorities),
      T(usage), T(proc_status), T(proc_links), T(proc_of_others), T(process_names), T(prctl_misc),
      T(personality_and_thread), T(personalities), T(slack_is_inherited), T(membarrier_and_rseq))
