// Pid namespaces: who has which number where, and what ends with an init.
#include "check.h"

#include <linux/sched.h>
#include <sched.h>

#define STACK (64 << 10)

// spawn makes a child in a new pid namespace, or (flags) however else.
static pid_t spawn(int flags) { return SYS(syscall(SYS_clone, flags | SIGCHLD, 0, 0, 0, 0)); }

static void numbers_inside(void) {
  pid_t self = getpid();
  int up[2];
  SYS(pipe(up));
  pid_t pid = spawn(CLONE_NEWPID);
  if (pid == 0) {
    EQ(1, getpid());
    EQ(1, syscall(SYS_gettid));
    EQ(0, getppid());
    EQ(0, getpgrp());  // the group is outside
    EQ(0, getsid(0));
    pid_t child = SYS(fork());
    if (child == 0) {
      EQ(2, getpid());
      EQ(1, getppid());
      EQ(2, SYS(setsid()));
      EQ(2, getpgrp());
      ERR(ESRCH, kill(self + 1000, 0));
      _exit(5);
    }
    EQ(2, child);
    EXITS(5, child);
    put(up[1], 'x');
    _exit(3);
  }
  CHECK(pid > self);
  EQ('x', get(up[0]));
  EXITS(3, pid);
}

static void nested(void) {
  pid_t pid = spawn(CLONE_NEWPID);
  if (pid == 0) {
    EQ(1, getpid());
    pid_t inner = spawn(CLONE_NEWPID);
    if (inner == 0) {
      EQ(1, getpid());
      pid_t child = SYS(fork());
      if (child == 0) _exit(getpid() == 2 ? 7 : 1);
      EQ(2, child);
      EXITS(7, child);
      _exit(8);
    }
    EQ(2, inner);
    EXITS(8, inner);
    // The child of the inner one had a number here, too: the next one is 4.
    inner = spawn(0);
    if (inner == 0) _exit(0);
    EQ(4, inner);
    EXITS(0, inner);
    _exit(9);
  }
  EXITS(9, pid);
}

static void too_deep(void) {
  pid_t pid = SYS(fork());
  if (pid == 0) {
    for (int i = 0; i < 40; i++) {
      pid_t next = syscall(SYS_clone, CLONE_NEWPID | SIGCHLD, 0, 0, 0, 0);
      if (next == -1) {
        EQ(ENOSPC, errno);
        _exit(100);
      }
      if (next > 0) {
        int st = status_of(next);
        _exit(WEXITSTATUS(st));
      }
    }
    _exit(1);
  }
  EXITS(100, pid);
}

static void sleep_forever(void) {
  for (;;) pause();
}

// The end of an init is the end of its namespace, whoever is in it.
static void init_ends(void) {
  int up[2];
  SYS(pipe(up));
  pid_t pid = spawn(CLONE_NEWPID);
  if (pid == 0) {
    close(up[0]);
    for (int i = 0; i < 5; i++)
      if (SYS(fork()) == 0) {
        if (SYS(fork()) == 0) {
          // A namespace in it ends as well.
          spawn(CLONE_NEWPID);
          sleep_forever();
        }
        signal(SIGTERM, SIG_IGN);
        put(up[1], 'x');
        sleep_forever();
      }
    _exit(4);
  }
  close(up[1]);
  EXITS(4, pid);
  // All are gone when the parent hears of init: nobody holds the pipe.
  char c;
  while (SYS(read(up[0], &c, 1)) == 1) EQ('x', c);
}

static void init_killed(void) {
  pid_t pid = spawn(CLONE_NEWPID);
  if (pid == 0) {
    if (SYS(fork()) == 0) sleep_forever();
    sleep_forever();
  }
  SYS(kill(pid, SIGTERM));  // init does not want it
  sleep_ms(20);
  EQ(0, SYS(waitpid(pid, NULL, WNOHANG)));
  SYS(kill(pid, SIGSTOP));
  int st;
  EQ(pid, SYS(waitpid(pid, &st, WUNTRACED)));
  CHECK(WIFSTOPPED(st));
  SYS(kill(pid, SIGCONT));
  SYS(kill(pid, SIGKILL));
  DIES(SIGKILL, pid);
}

static volatile sig_atomic_t from;
static void note(int sig UNUSED, siginfo_t *info, void *context UNUSED) { from = info->si_pid; }

static void signals_across(void) {
  int up[2], down[2];
  SYS(pipe(up));
  SYS(pipe(down));
  pid_t pid = spawn(CLONE_NEWPID);
  if (pid == 0) {
    handle_info(SIGUSR1, note, 0);
    handle_info(SIGCHLD, note, SA_RESTART);
    from = -1;
    put(up[1], 'r');
    while (from == -1) sleep_ms(1);
    EQ(0, from);  // from outside
    from = -1;
    pid_t child = SYS(fork());
    if (child == 0) {
      SYS(kill(1, SIGUSR1));
      SYS(kill(1, SIGKILL));  // nothing happens to init
      SYS(kill(1, SIGTERM));
      get(down[0]);
      _exit(0);
    }
    while (from == -1) sleep_ms(1);
    EQ(2, from);
    from = -1;
    put(down[1], 'g');
    EXITS(0, child);
    EQ(2, from);  // SIGCHLD
    _exit(0);
  }
  get(up[0]);
  SYS(kill(pid, SIGUSR1));
  EXITS(0, pid);
}

// kill(-1) inside reaches nobody outside.
static void kill_all(void) {
  pid_t pid = spawn(CLONE_NEWPID);
  if (pid == 0) {
    ERR(ESRCH, kill(-1, SIGKILL));
    for (int i = 0; i < 3; i++)
      if (SYS(fork()) == 0) sleep_forever();
    SYS(kill(-1, SIGKILL));
    for (int i = 0; i < 3; i++) {
      int st;
      CHECK(SYS(wait(&st)) > 1);
      CHECK(WIFSIGNALED(st));
    }
    _exit(0);
  }
  EXITS(0, pid);
}

// Orphans go to the namespace's init, not out of it.
static void orphans(void) {
  SYS(prctl(PR_SET_CHILD_SUBREAPER, 1));
  pid_t pid = spawn(CLONE_NEWPID);
  if (pid == 0) {
    int p[2];
    SYS(pipe(p));
    pid_t middle = SYS(fork());
    if (middle == 0) {
      if (SYS(fork()) == 0) {
        while (getppid() == 2) sleep_ms(1);
        EQ(1, getppid());
        put(p[1], 'a');
        _exit(6);
      }
      _exit(0);
    }
    EXITS(0, middle);
    EQ('a', get(p[0]));
    int st;
    EQ(3, SYS(wait(&st)));
    EQ(6, WEXITSTATUS(st));
    _exit(0);
  }
  EXITS(0, pid);
  ERR(ECHILD, wait(NULL));
}

static int thread(void *arg UNUSED) { return 0; }

static void unshare_children(void) {
  SYS(unshare(CLONE_NEWPID));
  ERR(EINVAL, unshare(CLONE_NEWPID));
  pid_t self = getpid();
  CHECK(self != 1);
  char *stack = map_private(STACK);
  // A thread cannot be elsewhere than its process.
  ERR(EINVAL, clone(thread, stack + STACK, CLONE_THREAD | CLONE_SIGHAND | CLONE_VM, NULL));
  int p[2];
  SYS(pipe(p));
  pid_t first = spawn(0);
  if (first == 0) {
    EQ(1, getpid());
    get(p[0]);
    _exit(1);
  }
  pid_t second = spawn(0);
  if (second == 0) {
    EQ(2, getpid());
    EQ(0, getppid());
    _exit(2);
  }
  EXITS(2, second);
  put(p[1], 'x');
  EXITS(1, first);
  // Without an init there are no more processes.
  ERR(ENOMEM, fork());
}

static void chosen_numbers(void) {
  pid_t pid = spawn(CLONE_NEWPID);
  if (pid == 0) {
    pid_t want = 77, taken = 1;
    struct clone_args args = {.exit_signal = SIGCHLD, .set_tid = (unsigned long)&want, .set_tid_size = 1};
    pid_t child = SYS(syscall(SYS_clone3, &args, sizeof(args)));
    if (child == 0) _exit(getpid() == 77 ? 0 : 1);
    EQ(77, child);
    args.set_tid = (unsigned long)&taken;
    ERR(EEXIST, syscall(SYS_clone3, &args, sizeof(args)));
    want = 1 << 30;
    args.set_tid = (unsigned long)&want;
    ERR(EINVAL, syscall(SYS_clone3, &args, sizeof(args)));
    want = 77;
    ERR(EEXIST, syscall(SYS_clone3, &args, sizeof(args)));  // the zombie has it
    EXITS(0, child);
    args.set_tid_size = 3;
    pid_t three[3] = {78, 0, 0};
    args.set_tid = (unsigned long)three;
    ERR(EINVAL, syscall(SYS_clone3, &args, sizeof(args)));
    _exit(0);
  }
  EXITS(0, pid);
}

static void pidfds(void) {
  pid_t pid = spawn(CLONE_NEWPID);
  if (pid == 0) {
    pid_t child = SYS(fork());
    if (child == 0) sleep_forever();
    int fd = SYS(syscall(SYS_pidfd_open, 2, 0));
    ERR(ESRCH, syscall(SYS_pidfd_open, 3, 0));
    SYS(syscall(SYS_pidfd_send_signal, fd, SIGKILL, 0, 0));
    siginfo_t si;
    SYS(waitid(P_PIDFD, fd, &si, WEXITED));
    EQ(2, si.si_pid);
    ERR(ESRCH, syscall(SYS_pidfd_send_signal, fd, SIGKILL, 0, 0));
    _exit(0);
  }
  EXITS(0, pid);
}

static void unprivileged(void) {
  SYS(setresuid(1000, 1000, 1000));
  ERR(EPERM, syscall(SYS_clone, CLONE_NEWPID | SIGCHLD, 0, 0, 0, 0));
  ERR(EPERM, unshare(CLONE_NEWPID));
}

// The owner of a file is who has that number in the caller's namespace.
static volatile sig_atomic_t asked;
static void on_io(int sig) { asked = sig; }
static void file_owners(void) {
  int p[2];
  SYS(pipe(p));
  pid_t pid = spawn(CLONE_NEWPID);
  if (pid == 0) {
    handle(SIGIO, on_io, 0);
    ERR(ESRCH, fcntl(p[0], F_SETOWN, 7777));
    ERR(ESRCH, fcntl(p[0], F_SETOWN, -7777));
    SYS(fcntl(p[0], F_SETOWN, getpid()));
    EQ(1, fcntl(p[0], F_GETOWN));
    SYS(fcntl(p[0], F_SETFL, O_ASYNC));
    put(p[1], 'x');
    WAIT_FOR(&asked, SIGIO);
    _exit(0);
  }
  EXITS(0, pid);
  EQ(0, fcntl(p[0], F_GETOWN)); // it is gone
  SYS(fcntl(p[0], F_SETOWN, getpid()));
  EQ(getpid(), fcntl(p[0], F_GETOWN));
  pid = spawn(CLONE_NEWPID);
  if (pid == 0) _exit(fcntl(p[0], F_GETOWN)); // not to be seen from there
  EXITS(0, pid);
}

TESTS(T(file_owners), T(numbers_inside), T(nested), T(too_deep), T(init_ends), T(init_killed), T(signals_across), T(kill_all),
      T(orphans), T(unshare_children), T(chosen_numbers), T(pidfds), T(unprivileged))
