// Groups, sessions, stop and continue, credentials.
#include "check.h"

#include <grp.h>

static void sleeps(void) {
  for (;;) pause();
}

static void new_session(void) {
  pid_t pid = SYS(fork());
  if (pid == 0) {
    EQ(getpid(), SYS(setsid()));
    EQ(getpid(), getsid(0));
    EQ(getpid(), getpgrp());
    ERR(EPERM, setsid());
    ERR(EPERM, setpgid(0, 0));  // a session leader stays
    ERR(ENXIO, open("/dev/tty", O_RDWR));
    _exit(0);
  }
  EXITS(0, pid);
}

static void group_rules(void) {
  pid_t a = start(sleeps), b = start(sleeps);
  SYS(setpgid(a, 0));
  EQ(a, SYS(getpgid(a)));
  SYS(setpgid(b, a));
  EQ(a, SYS(getpgid(b)));
  ERR(EPERM, setpgid(b, 1 << 22));
  ERR(ESRCH, setpgid(1 << 22, 0));
  ERR(EINVAL, setpgid(0, -1));
  ERR(ESRCH, getpgid(1 << 22));
  ERR(ESRCH, getsid(1 << 22));
  SYS(kill(-a, SIGKILL));
  DIES(SIGKILL, a);
  DIES(SIGKILL, b);
  int go[2];
  SYS(pipe(go));
  pid_t c = SYS(fork());
  if (c == 0) {
    SYS(setsid());
    put(go[1], 's');
    sleeps();
  }
  get(go[0]);
  ERR(EPERM, setpgid(c, getpgrp()));
  EQ(c, SYS(getsid(c)));
  SYS(kill(c, SIGKILL));
  DIES(SIGKILL, c);
}

static void no_change_after_exec(void) {
  int go[2];
  SYS(pipe(go));
  pid_t pid = SYS(fork());
  if (pid == 0) {
    SYS(dup2(go[1], 1));
    SYS(execl("/bin/busybox", "sh", "-c", "echo x; kill -STOP $$", NULL));
  }
  get(go[0]);
  ERR(EACCES, setpgid(pid, pid));
  SYS(kill(pid, SIGKILL));
  DIES(SIGKILL, pid);
}

static void stop_group(void) {
  pid_t kids[4];
  for (int i = 0; i < 4; i++) {
    kids[i] = start(sleeps);
    SYS(setpgid(kids[i], kids[0]));
  }
  SYS(kill(-kids[0], SIGSTOP));
  int st;
  for (int i = 0; i < 4; i++) {
    EQ(kids[i], SYS(waitpid(kids[i], &st, WUNTRACED)));
    CHECK(WIFSTOPPED(st));
  }
  SYS(kill(-kids[0], SIGTERM));  // waits until they go on
  sleep_ms(5);
  EQ(0, SYS(waitpid(-kids[0], &st, WNOHANG)));
  SYS(kill(-kids[0], SIGCONT));
  for (int i = 0; i < 4; i++) DIES(SIGTERM, kids[i]);
}

static void stopped_stands_still(void) {
  int *n = map_shared(PAGE);
  pid_t pid = SYS(fork());
  if (pid == 0)
    for (;;) ++*(volatile int *)n;
  while (*(volatile int *)n < 1000) {
  }
  SYS(kill(pid, SIGSTOP));
  int st;
  SYS(waitpid(pid, &st, WUNTRACED));
  int seen = *(volatile int *)n;
  sleep_ms(20);
  EQ(seen, *(volatile int *)n);
  SYS(kill(pid, SIGCONT));
  while (*(volatile int *)n == seen) {
  }
  SYS(kill(pid, SIGKILL));
  DIES(SIGKILL, pid);
}

static volatile int got;
static void on_signal(int sig) { got = sig; }

static void catch_tstp(void) {
  handle(SIGTSTP, on_signal, 0);
  SYS(raise(SIGTSTP));
  EQ(SIGTSTP, got);
  handle(SIGCONT, on_signal, 0);
  SYS(raise(SIGCONT));
  EQ(SIGCONT, got);
}

// A group that becomes orphaned while a member is stopped gets HUP and CONT.
static void orphaned_group(void) {
  int p[2];
  SYS(pipe(p));
  SYS(prctl(PR_SET_CHILD_SUBREAPER, 1));
  pid_t pid = SYS(fork());
  if (pid == 0) {
    SYS(setsid());
    pid_t mid = SYS(fork());
    if (mid == 0) {
      SYS(setpgid(0, 0));
      pid_t stopped = SYS(fork());
      if (stopped == 0) {
        handle(SIGHUP, on_signal, 0);
        SYS(raise(SIGSTOP));
        put(p[1], got == SIGHUP ? 'h' : '?');
        _exit(0);
      }
      int st;
      SYS(waitpid(stopped, &st, WUNTRACED));
      _exit(0);
    }
    EXITS(0, mid);
    _exit(0);
  }
  EXITS(0, pid);
  EQ('h', get(p[0]));
}

// In an orphaned group the terminal's stop signals do nothing.
static void orphans_do_not_stop(void) {
  pid_t pid = SYS(fork());
  if (pid == 0) {
    SYS(setsid());
    kill(getpid(), SIGTSTP);
    kill(getpid(), SIGTTIN);
    kill(getpid(), SIGTTOU);
    _exit(7);
  }
  int st;
  SYS(waitpid(pid, &st, WUNTRACED));
  CHECK(WIFEXITED(st) && WEXITSTATUS(st) == 7);
}

static void credentials(void) {
  if (getuid() != 0) return;
  SYS(setresgid(10, 20, 30));
  SYS(setresuid(1, 2, 3));
  uid_t r, e, s;
  SYS(getresuid(&r, &e, &s));
  CHECK(r == 1 && e == 2 && s == 3);
  SYS(getresgid(&r, &e, &s));
  CHECK(r == 10 && e == 20 && s == 30);
  EQ(1, getuid());
  EQ(2, geteuid());
  ERR(EPERM, setresuid(4, -1, -1));
  SYS(setresuid(-1, 3, -1));
  EQ(3, geteuid());
  SYS(setreuid(3, 1));
  SYS(setuid(3));
  ERR(EPERM, setuid(0));
  ERR(EPERM, setgroups(0, NULL));
  ERR(EPERM, chroot("/"));
}

static void supplementary(void) {
  if (getuid() != 0) return;
  gid_t set[3] = {100, 200, 300}, back[10];
  SYS(setgroups(3, set));
  EQ(3, SYS(getgroups(0, NULL)));
  EQ(3, SYS(getgroups(10, back)));
  CHECK(back[0] == 100 && back[2] == 300);
  ERR(EINVAL, getgroups(2, back));
  ERR(EINVAL, setgroups(65537, set));
  scratch();
  make_file("f", "x", 1, 0640);
  SYS(chown("f", 0, 200));
  SYS(chmod(".", 0755));
  SYS(setresuid(1000, 1000, 1000));
  SYS(close(SYS(open("f", O_RDONLY))));
  ERR(EACCES, open("f", O_WRONLY));
}

static void kill_permission(void) {
  if (getuid() != 0) return;
  pid_t pid = start(sleeps);
  pid_t other = SYS(fork());
  if (other == 0) {
    SYS(setresuid(1000, 1000, 1000));
    ERR(EPERM, kill(pid, SIGTERM));
    ERR(EPERM, kill(pid, 0));
    _exit(0);
  }
  EXITS(0, other);
  SYS(kill(pid, SIGKILL));
  DIES(SIGKILL, pid);
}

static void set_user_id_program(void) {
  if (getuid() != 0) return;
  scratch();
  SYS(chmod(".", 0755));
  pid_t pid = SYS(fork());
  if (pid == 0) SYS(execl("/bin/busybox", "cp", "/bin/busybox", "id", NULL));
  EXITS(0, pid);
  SYS(chown("id", 1234, 1235));
  SYS(chmod("id", 06755));
  pid = SYS(fork());
  if (pid == 0) {
    SYS(setresuid(1000, 1000, 1000));
    SYS(execl("./id", "sh", "-c", "grep -E '^(Uid|Gid)' /proc/self/status", NULL));
  }
  status_of(pid);
}

static void no_new_privileges(void) {
  EQ(0, SYS(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)));
  SYS(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
  EQ(1, SYS(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)));
  ERR(EINVAL, prctl(PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0));
  pid_t pid = SYS(fork());
  if (pid == 0) _exit(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
  EXITS(1, pid);
}

TESTS(T(new_session), T(group_rules), T(no_change_after_exec), T(stop_group), T(stopped_stands_still), T(catch_tstp),
      T(orphaned_group), T(orphans_do_not_stop), T(credentials), T(supplementary), T(kill_permission),
      T(set_user_id_program), T(no_new_privileges))
