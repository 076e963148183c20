// fork: trees of processes, what the child inherits and what it does not.
#include "check.h"

#include <sys/resource.h>
#include <sys/times.h>

static void returns_twice(void) {
  pid_t parent = getpid();
  pid_t pid = SYS(fork());
  if (pid == 0) {
    CHECK(getpid() != parent);
    EQ(parent, getppid());
    _exit(42);
  }
  CHECK(pid > 0 && pid != parent);
  EXITS(42, pid);
}

static int tree(int depth, int width) {
  if (depth == 0) return 1;
  int sum = 1;
  pid_t kids[8];
  for (int i = 0; i < width; i++) {
    kids[i] = SYS(fork());
    if (kids[i] == 0) _exit(tree(depth - 1, width));
  }
  for (int i = 0; i < width; i++) {
    int st = status_of(kids[i]);
    CHECK(WIFEXITED(st));
    sum += WEXITSTATUS(st);
  }
  return sum;
}

static void binary_tree(void) { EQ(31, tree(4, 2)); }
static void ternary_tree(void) { EQ(40, tree(3, 3)); }

static int chain(int n) {
  if (n == 0) return 0;
  pid_t pid = SYS(fork());
  if (pid == 0) _exit(chain(n - 1) + 1);
  int st = status_of(pid);
  CHECK(WIFEXITED(st));
  return WEXITSTATUS(st);
}

static void deep_chain(void) { EQ(50, chain(50)); }

static void many_children(void) {
  pid_t kids[100];
  for (int i = 0; i < 100; i++) {
    kids[i] = SYS(fork());
    if (kids[i] == 0) _exit(i);
  }
  for (int i = 99; i >= 0; i--) EXITS(i, kids[i]);
  ERR(ECHILD, wait(NULL));
}

static void inherits_state(void) {
  scratch();
  umask(027);
  SYS(mkdir("dir", 0755));
  SYS(chdir("dir"));
  char cwd[PATH_MAX], now[PATH_MAX];
  CHECK(getcwd(cwd, sizeof(cwd)));
  block(SIGUSR1);
  handle(SIGUSR2, SIG_IGN, 0);
  SYS(setpriority(PRIO_PROCESS, 0, 5));
  struct rlimit lim = {100, 100};
  SYS(setrlimit(RLIMIT_NOFILE, &lim));
  SYS(setenv("FORKED", "yes", 1));
  pid_t pgrp = getpgrp(), sid = getsid(0);
  pid_t pid = SYS(fork());
  if (pid == 0) {
    EQ(027, umask(0));
    CHECK(getcwd(now, sizeof(now)) && strcmp(cwd, now) == 0);
    sigset_t s;
    SYS(sigprocmask(SIG_BLOCK, NULL, &s));
    CHECK(sigismember(&s, SIGUSR1) == 1 && sigismember(&s, SIGTERM) == 0);
    struct sigaction sa;
    SYS(sigaction(SIGUSR2, NULL, &sa));
    CHECK(sa.sa_handler == SIG_IGN);
    EQ(5, getpriority(PRIO_PROCESS, 0));
    SYS(getrlimit(RLIMIT_NOFILE, &lim));
    EQ(100, lim.rlim_cur);
    CHECK(strcmp(getenv("FORKED"), "yes") == 0);
    EQ(pgrp, getpgrp());
    EQ(sid, getsid(0));
    _exit(0);
  }
  EXITS(0, pid);
}

// Pending signals, alarms, interval timers and times start anew in the child.
static void does_not_inherit(void) {
  block(SIGUSR1);
  SYS(raise(SIGUSR1));
  alarm(1000);
  struct itimerval it = {{0, 0}, {1000, 0}};
  SYS(setitimer(ITIMER_VIRTUAL, &it, NULL));
  pid_t pid = SYS(fork());
  if (pid == 0) {
    sigset_t s;
    SYS(sigpending(&s));
    EQ(0, sigismember(&s, SIGUSR1));
    EQ(0, alarm(0));
    SYS(getitimer(ITIMER_VIRTUAL, &it));
    CHECK(it.it_value.tv_sec == 0 && it.it_value.tv_usec == 0);
    struct tms t;
    CHECK(times(&t) != (clock_t)-1);
    CHECK(t.tms_cutime == 0 && t.tms_cstime == 0);
    ERR(ECHILD, wait(NULL));
    _exit(0);
  }
  EXITS(0, pid);
  sigset_t s;
  SYS(sigpending(&s));
  EQ(1, sigismember(&s, SIGUSR1));
  CHECK(alarm(0) > 0);
}

// A descriptor's offset and status flags are shared, its number is not.
static void shares_open_files(void) {
  scratch();
  int fd = SYS(open("f", O_RDWR | O_CREAT, 0600));
  EQ(6, SYS(write(fd, "abcdef", 6)));
  pid_t pid = SYS(fork());
  if (pid == 0) {
    SYS(lseek(fd, 3, SEEK_SET));
    SYS(fcntl(fd, F_SETFL, O_APPEND));
    SYS(close(fd));
    _exit(0);
  }
  EXITS(0, pid);
  EQ(3, SYS(lseek(fd, 0, SEEK_CUR)));
  CHECK(SYS(fcntl(fd, F_GETFL)) & O_APPEND);
  EQ('d', get(fd));
}

static void parent_death_signal(void) {
  int ready[2], done[2];
  SYS(pipe(ready));
  SYS(pipe(done));
  pid_t pid = SYS(fork());
  if (pid == 0) {
    if (SYS(fork()) == 0) {
      SYS(close(done[0]));
      block(SIGUSR1);
      SYS(prctl(PR_SET_PDEATHSIG, SIGUSR1));
      put(ready[1], 'r');
      sigset_t s = set_of(SIGUSR1);
      int sig;
      ZERO(sigwait(&s, &sig));
      EQ(SIGUSR1, sig);
      put(done[1], 'd');
      _exit(0);
    }
    get(ready[0]);
    _exit(0);
  }
  EXITS(0, pid);
  EQ('d', get(done[0]));
}

// The children run while the parent does: all of them meet at one pipe.
static void all_alive_at_once(void) {
  int up[2], go[2];
  SYS(pipe(up));
  SYS(pipe(go));
  pid_t kids[60];
  for (int i = 0; i < 60; i++) {
    kids[i] = SYS(fork());
    if (kids[i] == 0) {
      SYS(close(go[1]));
      put(up[1], 'u');
      char c;
      EQ(0, SYS(read(go[0], &c, 1)));
      _exit(i & 7);
    }
  }
  for (int i = 0; i < 60; i++) get(up[0]);
  SYS(close(go[1]));
  for (int i = 0; i < 60; i++) EXITS(i & 7, kids[i]);
}

static void nproc_limit(void) {
  if (getuid() == 0) {
    // Root is not bound by the limit; become somebody without processes.
    SYS(setresgid(64123, 64123, 64123));
    SYS(setresuid(64123, 64123, 64123));
  } else {
    return;
  }
  struct rlimit lim = {3, 3};
  SYS(setrlimit(RLIMIT_NPROC, &lim));
  int made = 0, gate[2];
  SYS(pipe(gate));
  for (int i = 0; i < 10; i++) {
    pid_t pid = fork();
    if (pid == 0) {
      SYS(close(gate[1]));
      char c;
      EQ(0, SYS(read(gate[0], &c, 1)));
      _exit(0);
    }
    if (pid == -1) {
      EQ(EAGAIN, errno);
      break;
    }
    made++;
  }
  CHECK(made <= 3);
  SYS(close(gate[1]));
  while (made--) SYS(wait(NULL));
  forked(tzset);  // and there is room again
}

TESTS(T(returns_twice), T(binary_tree), T(ternary_tree), T(deep_chain), T(many_children),
      T(inherits_state), T(does_not_inherit), T(shares_open_files), T(parent_death_signal),
      T(all_alive_at_once), T(nproc_limit))
