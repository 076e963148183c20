// wait: every form of it, what it reports, what it reaps.
#include "check.h"

#include <sched.h>
#include <sys/resource.h>

static void die(int sig) {
  struct rlimit none = {0, 0};
  setrlimit(RLIMIT_CORE, &none);
  struct sigaction sa = {.sa_handler = SIG_DFL};
  sigaction(sig, &sa, NULL);
  kill(getpid(), sig);
  for (;;) pause();
}

static pid_t exits(int code) {
  pid_t pid = SYS(fork());
  if (pid == 0) _exit(code);
  return pid;
}

static pid_t dies(int sig) {
  pid_t pid = SYS(fork());
  if (pid == 0) die(sig);
  return pid;
}

static void sleeps(void) {
  for (;;) pause();
}

static void exit_codes(void) {
  int codes[] = {0, 1, 2, 127, 128, 137, 254, 255, 256, 257, -1};
  for (size_t i = 0; i < LEN(codes); i++) {
    int st = status_of(exits(codes[i]));
    CHECK(WIFEXITED(st));
    say("%d: %d\n", codes[i], WEXITSTATUS(st));
  }
}

static void exit_signals(void) {
  for (int sig = 1; sig <= 64; sig++) {
    if (sig == SIGCHLD || sig == SIGURG || sig == SIGWINCH || sig == SIGCONT || sig == SIGSTOP || sig == SIGTSTP ||
        sig == SIGTTIN || sig == SIGTTOU || sig == 32 || sig == 33)
      continue;
    int st = status_of(dies(sig));
    if (!WIFSIGNALED(st)) FAIL("signal %d: status %#x", sig, st);
    say("%d: %d core %d\n", sig, WTERMSIG(st), !!WCOREDUMP(st));
  }
}

static void ignored_by_default(void) {
  pid_t pid = SYS(fork());
  if (pid == 0) {
    kill(getpid(), SIGCHLD);
    kill(getpid(), SIGURG);
    kill(getpid(), SIGWINCH);
    kill(getpid(), SIGCONT);
    _exit(3);
  }
  EXITS(3, pid);
}

static void no_children(void) {
  ERR(ECHILD, wait(NULL));
  ERR(ECHILD, waitpid(-1, NULL, WNOHANG));
  ERR(ECHILD, waitpid(getpid(), NULL, 0));
  ERR(ECHILD, waitpid(0, NULL, 0));
  ERR(ECHILD, waitpid(1 << 22, NULL, 0));
  ERR(ECHILD, waitpid(-(1 << 22), NULL, 0));
  siginfo_t si;
  ERR(ECHILD, waitid(P_ALL, 0, &si, WEXITED));
  ERR(ECHILD, waitid(P_PID, 1 << 22, &si, WEXITED));
}

static void bad_arguments(void) {
  siginfo_t si;
  ERR(EINVAL, waitpid(-1, NULL, 0x10));
  ERR(EINVAL, waitid(P_ALL, 0, &si, 0));
  ERR(EINVAL, waitid(P_ALL, 0, &si, WNOHANG));
  ERR(EINVAL, waitid(99, 0, &si, WEXITED));
  ERR(EINVAL, waitid(P_PID, 0, &si, WEXITED));
  ERR(EINVAL, waitid(P_ALL, 0, &si, WEXITED | 0x100));
  ERR(EBADF, waitid(P_PIDFD, 77, &si, WEXITED));
  ERR(ESRCH, waitpid(INT_MIN, NULL, 0));
  pid_t pid = exits(0);
  EXITS(0, pid);
}

static void null_pointers(void) {
  exits(1);
  CHECK(SYS(wait(NULL)) > 0);
  exits(1);
  EQ(0, SYS(waitid(P_ALL, 0, NULL, WEXITED)));
  exits(1);
  ERR(EFAULT, wait4(-1, (int *)8, 0, NULL));
  ERR(ECHILD, wait(NULL));  // it was reaped all the same
}

static void no_hang(void) {
  int st = 77, p[2];
  SYS(pipe(p));
  pid_t pid = SYS(fork());
  if (pid == 0) {
    get(p[0]);
    _exit(4);
  }
  EQ(0, SYS(waitpid(pid, &st, WNOHANG)));
  EQ(77, st);
  siginfo_t si;
  memset(&si, 0xff, sizeof(si));
  EQ(0, SYS(waitid(P_PID, pid, &si, WEXITED | WNOHANG)));
  EQ(0, si.si_pid);
  EQ(0, si.si_signo);
  put(p[1], 'x');
  EXITS(4, pid);
}

static void no_wait(void) {
  pid_t pid = exits(9);
  siginfo_t si;
  for (int i = 0; i < 3; i++) {
    memset(&si, 0, sizeof(si));
    EQ(0, SYS(waitid(P_PID, pid, &si, WEXITED | WNOWAIT)));
    EQ(pid, si.si_pid);
    EQ(SIGCHLD, si.si_signo);
    EQ(CLD_EXITED, si.si_code);
    EQ(9, si.si_status);
    EQ(getuid(), si.si_uid);
    EQ(0, si.si_errno);
  }
  EXITS(9, pid);
  ERR(ECHILD, waitid(P_PID, pid, &si, WEXITED | WNOWAIT));
}

static void info_of_signal(void) {
  siginfo_t si;
  pid_t pid = dies(SIGKILL);
  EQ(0, SYS(waitid(P_ALL, 0, &si, WEXITED)));
  EQ(pid, si.si_pid);
  EQ(CLD_KILLED, si.si_code);
  EQ(SIGKILL, si.si_status);
}

static void by_group(void) {
  pid_t a = start(sleeps), b = start(sleeps), c = start(sleeps);
  SYS(setpgid(a, a));
  SYS(setpgid(b, a));
  SYS(kill(c, SIGTERM));
  int st;
  EQ(0, SYS(waitpid(-a, &st, WNOHANG)));
  EQ(c, SYS(waitpid(0, &st, 0)));  // the caller's own group
  ERR(ECHILD, waitpid(0, &st, 0));
  SYS(kill(-a, SIGINT));
  siginfo_t si;
  EQ(0, SYS(waitid(P_PGID, a, &si, WEXITED)));
  CHECK(si.si_pid == a || si.si_pid == b);
  CHECK(SYS(waitpid(-a, &st, 0)) > 0);
  CHECK(WIFSIGNALED(st) && WTERMSIG(st) == SIGINT);
  ERR(ECHILD, waitpid(-a, &st, 0));
}

static void stop_and_continue(void) {
  pid_t pid = start(sleeps);
  int st;
  EQ(0, SYS(waitpid(pid, &st, WNOHANG | WUNTRACED | WCONTINUED)));
  SYS(kill(pid, SIGSTOP));
  EQ(pid, SYS(waitpid(pid, &st, WUNTRACED)));
  CHECK(WIFSTOPPED(st));
  EQ(SIGSTOP, WSTOPSIG(st));
  EQ(0, SYS(waitpid(pid, &st, WNOHANG | WUNTRACED)));  // reported once
  SYS(kill(pid, SIGCONT));
  EQ(pid, SYS(waitpid(pid, &st, WCONTINUED)));
  CHECK(WIFCONTINUED(st));
  SYS(kill(pid, SIGTSTP));
  siginfo_t si;
  EQ(0, SYS(waitid(P_PID, pid, &si, WSTOPPED)));
  EQ(CLD_STOPPED, si.si_code);
  EQ(SIGTSTP, si.si_status);
  SYS(kill(pid, SIGCONT));
  EQ(0, SYS(waitid(P_PID, pid, &si, WCONTINUED)));
  EQ(CLD_CONTINUED, si.si_code);
  EQ(SIGCONT, si.si_status);
  SYS(kill(pid, SIGSTOP));
  EQ(0, SYS(waitid(P_PID, pid, &si, WSTOPPED | WNOWAIT)));
  EQ(0, SYS(waitid(P_PID, pid, &si, WSTOPPED)));
  SYS(kill(pid, SIGKILL));  // ends a stopped process too
  DIES(SIGKILL, pid);
}

static void usage(void) {
  pid_t pid = SYS(fork());
  if (pid == 0) {
    struct rusage ru;
    do {
      SYS(getrusage(RUSAGE_SELF, &ru));
    } while (ru.ru_utime.tv_sec * 1000000 + ru.ru_utime.tv_usec + ru.ru_stime.tv_sec * 1000000 + ru.ru_stime.tv_usec <
             30000);
    char *p = map_private(8 << 20);
    memset(p, 1, 8 << 20);
    _exit(0);
  }
  struct rusage ru, kids;
  int st;
  EQ(pid, SYS(wait4(pid, &st, 0, &ru)));
  CHECK(ru.ru_utime.tv_sec * 1000000 + ru.ru_utime.tv_usec + ru.ru_stime.tv_sec * 1000000 + ru.ru_stime.tv_usec >=
        30000);
  CHECK(ru.ru_maxrss >= 8 << 10);
  CHECK(ru.ru_minflt > 0);
  SYS(getrusage(RUSAGE_CHILDREN, &kids));
  EQ(ru.ru_utime.tv_usec, kids.ru_utime.tv_usec);
  EQ(ru.ru_maxrss, kids.ru_maxrss);
}

static volatile sig_atomic_t chld_count;
static siginfo_t chld_info;
static void on_chld(int sig UNUSED, siginfo_t *si, void *u UNUSED) {
  chld_info = *si;
  chld_count++;
}

static void sigchld_info(void) {
  handle_info(SIGCHLD, on_chld, 0);
  block(SIGCHLD);
  sigset_t none = set_of(0);
  pid_t pid = exits(23);
  EQ(-1, sigsuspend(&none));
  EQ(1, chld_count);
  EQ(pid, chld_info.si_pid);
  EQ(CLD_EXITED, chld_info.si_code);
  EQ(23, chld_info.si_status);
  EQ(getuid(), chld_info.si_uid);
  EXITS(23, pid);
  pid = dies(SIGTERM);
  EQ(-1, sigsuspend(&none));
  EQ(CLD_KILLED, chld_info.si_code);
  EQ(SIGTERM, chld_info.si_status);
  DIES(SIGTERM, pid);
  pid = start(sleeps);
  SYS(kill(pid, SIGSTOP));
  EQ(-1, sigsuspend(&none));
  EQ(CLD_STOPPED, chld_info.si_code);
  EQ(SIGSTOP, chld_info.si_status);
  SYS(kill(pid, SIGCONT));
  EQ(-1, sigsuspend(&none));
  EQ(CLD_CONTINUED, chld_info.si_code);
  SYS(kill(pid, SIGKILL));
  EQ(-1, sigsuspend(&none));
  DIES(SIGKILL, pid);
}

static void no_cld_stop(void) {
  handle_info(SIGCHLD, on_chld, SA_NOCLDSTOP);
  pid_t pid = start(sleeps);
  int st;
  SYS(kill(pid, SIGSTOP));
  EQ(pid, SYS(waitpid(pid, &st, WUNTRACED)));
  EQ(0, chld_count);
  SYS(kill(pid, SIGKILL));
  DIES(SIGKILL, pid);
  EQ(1, chld_count);
}

static void ignore_reaps(void) {
  handle(SIGCHLD, SIG_IGN, 0);
  for (int i = 0; i < 20; i++) exits(i);
  ERR(ECHILD, wait(NULL));  // it waits for all, then has nothing to tell
}

static void no_cld_wait(void) {
  handle_info(SIGCHLD, on_chld, SA_NOCLDWAIT);
  pid_t pid = exits(5);
  int got;
  do {
    got = waitpid(pid, NULL, 0);
  } while (got == -1 && errno == EINTR);
  EQ(-1, got);
  EQ(ECHILD, errno);
  EQ(1, chld_count);  // the signal is still sent
}

static int clone_fn(void *arg) { return (int)(long)arg; }

static void clone_children(void) {
  char *stack = map_private(65536);
  pid_t pid = SYS(clone(clone_fn, stack + 65536, 0, (void *)11));  // no exit signal
  int st;
  ERR(ECHILD, waitpid(pid, &st, 0));
  EQ(pid, SYS(waitpid(pid, &st, __WCLONE)));
  EQ(11, WEXITSTATUS(st));
  pid = SYS(clone(clone_fn, stack + 65536, 0, (void *)12));
  EQ(pid, SYS(waitpid(pid, &st, __WALL)));
  EQ(12, WEXITSTATUS(st));
  pid = SYS(clone(clone_fn, stack + 65536, SIGCHLD, (void *)13));
  ERR(ECHILD, waitpid(pid, &st, __WCLONE));
  EQ(pid, SYS(waitpid(pid, &st, __WALL)));
  EQ(13, WEXITSTATUS(st));
}

static void exit_signal_other(void) {
  chld_count = 0;
  handle_info(SIGUSR1, on_chld, 0);
  char *stack = map_private(65536);
  block(SIGUSR1);
  pid_t pid = SYS(clone(clone_fn, stack + 65536, SIGUSR1, (void *)1));
  sigset_t none = set_of(0);
  EQ(-1, sigsuspend(&none));
  EQ(1, chld_count);
  EQ(pid, chld_info.si_pid);
  EQ(pid, SYS(waitpid(pid, NULL, __WCLONE)));
}

static void *wait_thread(void *arg) { return (void *)(long)waitpid(*(pid_t *)arg, NULL, 0); }
#include <pthread.h>

// Any thread of the process may wait for a child that another one made.
static void from_another_thread(void) {
  pid_t pid = exits(0);
  pthread_t t;
  void *got;
  ZERO(pthread_create(&t, NULL, wait_thread, &pid));
  ZERO(pthread_join(t, &got));
  EQ(pid, (long)got);
}

static void not_of_others(void) {
  pid_t pid = exits(0);
  pid_t own = SYS(fork());
  if (own == 0) {
    ERR(ECHILD, waitpid(pid, NULL, 0));
    _exit(0);
  }
  EXITS(0, own);
  EXITS(0, pid);
}

static void interrupted(void) {
  handle_info(SIGALRM, on_chld, 0);
  pid_t pid = start(sleeps);
  struct itimerval it = {{0, 0}, {0, 20000}};
  SYS(setitimer(ITIMER_REAL, &it, NULL));
  ERR(EINTR, waitpid(pid, NULL, 0));
  SYS(kill(pid, SIGKILL));
  DIES(SIGKILL, pid);
}

// Orphans go to the nearest subreaper.
static void subreaper(void) {
  SYS(prctl(PR_SET_CHILD_SUBREAPER, 1));
  int is;
  SYS(prctl(PR_GET_CHILD_SUBREAPER, &is));
  EQ(1, is);
  int p[2], up[2];
  SYS(pipe(p));
  SYS(pipe(up));
  pid_t top = getpid();
  pid_t pid = SYS(fork());
  if (pid == 0) {
    SYS(prctl(PR_GET_CHILD_SUBREAPER, &is));
    EQ(0, is);  // not inherited
    for (int i = 0; i < 3; i++)
      if (SYS(fork()) == 0) {
        get(p[0]);
        EQ(top, getppid());
        _exit(31);
      }
    _exit(0);
  }
  EXITS(0, pid);
  for (int i = 0; i < 3; i++) put(p[1], 'g');
  for (int i = 0; i < 3; i++) {
    int st;
    CHECK(SYS(wait(&st)) > 0);
    EQ(31, WEXITSTATUS(st));
  }
  ERR(ECHILD, wait(NULL));
}

static void orphan_to_init(void) {
  int p[2], up[2];
  SYS(pipe(p));
  SYS(pipe(up));
  pid_t pid = SYS(fork());
  if (pid == 0) {
    pid_t me = getpid();
    if (SYS(fork()) == 0) {
      get(p[0]);
      put(up[1], getppid() != me ? 'y' : 'n');
      _exit(0);
    }
    _exit(0);
  }
  EXITS(0, pid);
  put(p[1], 'g');
  EQ('y', get(up[0]));
}

// A zombie's own children are not its own any more, but its id stays taken.
static void zombie_is_there(void) {
  pid_t pid = exits(0);
  siginfo_t si;
  SYS(waitid(P_PID, pid, &si, WEXITED | WNOWAIT));
  EQ(0, SYS(kill(pid, 0)));
  EQ(0, SYS(kill(pid, SIGKILL)));
  CHECK(getpgid(pid) == getpgrp());
  EXITS(0, pid);
  ERR(ESRCH, kill(pid, 0));
}

static void zombies(int n) {
  for (int done = 0; done < n; done += 200) {
    for (int i = 0; i < 200; i++) exits(i & 0x7f);
    int sum = 0, st;
    for (int i = 0; i < 200; i++) {
      CHECK(SYS(wait(&st)) > 0);
      CHECK(WIFEXITED(st));
      sum += WEXITSTATUS(st);
    }
    EQ(127 * 128 / 2 + 71 * 72 / 2, sum);
  }
  ERR(ECHILD, wait(NULL));
}

static void zombies_1000(void) { zombies(1000); }
static void zombies_10000(void) { zombies(10000); }

static volatile sig_atomic_t told;
static void tell(int sig UNUSED) { told++; }

// The SIGCHLD of the child that a wait is for does not end the wait: it looks
// once more before it gives up for a signal.
static void child_before_its_signal(void) {
  struct sigaction sa = {.sa_handler = tell};  // no SA_RESTART
  SYS(sigaction(SIGCHLD, &sa, NULL));
  for (int i = 0; i < 50; i++) {
    pid_t pid = SYS(fork());
    if (pid == 0) {
      if (i % 2) usleep(1000);
      _exit(i);
    }
    int st;
    siginfo_t si;
    if (i % 4 < 2) {
      EQ(pid, SYS(waitpid(i % 3 ? pid : -1, &st, 0)));
      EQ(i, WEXITSTATUS(st));
    } else {
      SYS(waitid(P_ALL, 0, &si, WEXITED));
      EQ(pid, si.si_pid);
    }
    EQ(i + 1, told);
  }
}

TESTS(T(exit_codes), T(exit_signals), T(ignored_by_default), T(no_children), T(bad_arguments), T(null_pointers),
      T(no_hang), T(no_wait), T(info_of_signal), T(by_group), T(stop_and_continue), T(usage), T(sigchld_info),
      T(no_cld_stop), T(ignore_reaps), T(no_cld_wait), T(clone_children), T(exit_signal_other),
      T(from_another_thread), T(not_of_others), T(interrupted),
      T(child_before_its_signal), T(subreaper), T(orphan_to_init), T(zombie_is_there),
      T(zombies_1000), SLOW(zombies_10000))
