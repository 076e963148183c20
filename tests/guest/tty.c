// Terminals and job control: sessions, foreground and background, hang-up.
#include "check.h"
#include "ptyfile.h"

// shared is what the processes of a test tell each other.
static struct {
  int ready, count, value;
} *shared;

static volatile sig_atomic_t caught;
static void on_signal(int sig) { caught = sig; }

static void sleeps(void) {
  for (;;) pause();
}

// session runs fn in a new session whose controlling terminal is the slave of p, with
// the parent at the keyboard. It returns the leader.
static pid_t session(struct pty *p, void (*fn)(struct pty *)) {
  shared = map_shared(PAGE);
  *p = open_pty();
  pid_t pid = SYS(fork());
  if (pid == 0) {
    SYS(close(p->master));
    SYS(setsid());
    SYS(ioctl(p->slave, TIOCSCTTY, 0));
    fn(p);
    _exit(0);
  }
  SYS(close(p->slave));
  return pid;
}

// job runs fn in a child with a process group of its own, in the foreground if front.
static pid_t job(struct pty *p, bool front, void (*fn)(struct pty *)) {
  int go[2];
  SYS(pipe(go));
  pid_t pid = SYS(fork());
  if (pid == 0) {
    get(go[0]);
    fn(p);
    _exit(0);
  }
  SYS(setpgid(pid, pid));
  if (front) SYS(tcsetpgrp(p->slave, pid));
  put(go[1], 'g');
  SYS(close(go[0]));
  SYS(close(go[1]));
  return pid;
}

// STOPPED waits until the child is stopped by the signal.
#define STOPPED(sig, pid)                                                \
  do {                                                                   \
    int status_;                                                         \
    EQ(pid, SYS(waitpid(pid, &status_, WUNTRACED)));                     \
    if (!WIFSTOPPED(status_) || WSTOPSIG(status_) != (sig))              \
      FAIL("want stop by %d, got status %#x", sig, (unsigned)status_);   \
  } while (0)

// take puts the caller into the foreground from the background, as a shell does.
static void take(int fd) {
  sigset_t old, ttou = set_of(SIGTTOU);
  SYS(sigprocmask(SIG_BLOCK, &ttou, &old));
  SYS(tcsetpgrp(fd, getpgrp()));
  SYS(sigprocmask(SIG_SETMASK, &old, NULL));
}

static void controls_leader(struct pty *p) {
  EQ(getpid(), SYS(tcgetpgrp(p->slave)));
  EQ(getpid(), SYS(tcgetsid(p->slave)));
  int tty = SYS(open("/dev/tty", O_RDWR));
  EQ(getpid(), SYS(tcgetpgrp(tty)));
  EQ(2, SYS(write(tty, "hi", 2)));
  struct stat st;
  SYS(fstat(tty, &st));
  EQ(0x500, st.st_rdev);
  pid_t pid = SYS(fork());
  if (pid == 0) {
    EQ(getppid(), SYS(tcgetsid(p->slave)));
    SYS(close(SYS(open("/dev/tty", O_RDWR))));
    SYS(ioctl(p->slave, TIOCNOTTY));  // for itself alone
    ERR(ENXIO, open("/dev/tty", O_RDWR));
    ERR(ENOTTY, ioctl(p->slave, TIOCNOTTY));
    pid_t pg;
    ERR(ENOTTY, ioctl(p->slave, TIOCGPGRP, &pg));
    ERR(ENOTTY, tcsetpgrp(p->slave, getpgrp()));
    ERR(EPERM, ioctl(p->slave, TIOCSCTTY, 0));
    _exit(0);
  }
  EXITS(0, pid);
  SYS(tcgetpgrp(p->slave));
  ERR(EPERM, tcsetpgrp(p->slave, getppid()));
  ERR(ESRCH, tcsetpgrp(p->slave, 1 << 22));
  ERR(EINVAL, tcsetpgrp(p->slave, -1));
  SYS(ioctl(p->slave, TIOCSCTTY, 0));  // once more
  handle(SIGHUP, on_signal, 0);
  SYS(ioctl(p->slave, TIOCNOTTY));  // for the whole session
  EQ(SIGHUP, caught);               // the foreground group is told
  ERR(ENXIO, open("/dev/tty", O_RDWR));
  // Opening it makes it the controlling terminal again, unless asked not to.
  SYS(close(SYS(open(p->name, O_RDWR | O_NOCTTY))));
  ERR(ENXIO, open("/dev/tty", O_RDWR));
  SYS(close(SYS(open(p->name, O_RDWR))));
  SYS(close(SYS(open("/dev/tty", O_RDWR))));
}

static void controls(void) {
  struct pty p;
  pid_t pid = session(&p, controls_leader);
  expect(p.master, "hi");
  pid_t pg;
  SYS(ioctl(p.master, TIOCGPGRP, &pg));
  EXITS(0, pid);
  ERR(ENOTTY, ioctl(p.master, TIOCGSID, &pg));
  SYS(ioctl(p.master, TIOCGPGRP, &pg));
  EQ(0, pg);
}

static siginfo_t info;
static void on_info(int sig, siginfo_t *i, void *c UNUSED) {
  info = *i;
  caught = sig;
}

static void keys_leader(struct pty *p UNUSED) {
  static const int sigs[] = {SIGINT, SIGQUIT, SIGTSTP};
  for (size_t i = 0; i < LEN(sigs); i++) {
    caught = 0;
    handle_info(sigs[i], on_info, 0);
    sigset_t none = set_of(0), old;
    block(sigs[i]);
    shared->ready = i + 1;
    while (!caught) sigsuspend(&none);
    SYS(sigprocmask(SIG_SETMASK, NULL, &old));
    EQ(sigs[i], caught);
    EQ(SI_KERNEL, info.si_code);
    unblock(sigs[i]);
  }
}

static void keys(void) {
  struct pty p;
  pid_t pid = session(&p, keys_leader);
  static const char *const chars[] = {"\x03", "\x1c", "\x1a"};
  for (int i = 0; i < 3; i++) {
    WAIT_FOR(&shared->ready, i + 1);
    sleep_ms(20);
    type(p.master, chars[i]);
  }
  EXITS(0, pid);
}

static void stops_job(struct pty *p UNUSED) { sleeps(); }

static void stops_leader(struct pty *p) {
  pid_t back = job(p, false, stops_job);
  pid_t pid = job(p, true, stops_job);
  shared->ready = 1;
  STOPPED(SIGTSTP, pid);
  take(p->slave);
  SYS(tcsetpgrp(p->slave, pid));
  SYS(kill(-pid, SIGCONT));
  int status;
  EQ(pid, SYS(waitpid(pid, &status, WCONTINUED)));
  CHECK(WIFCONTINUED(status));
  shared->ready = 2;
  DIES(SIGINT, pid);
  EQ(pid, SYS(tcgetpgrp(p->slave)));  // the number stays
  EQ(0, SYS(waitpid(back, NULL, WNOHANG | WUNTRACED)));
  SYS(kill(back, SIGKILL));
  DIES(SIGKILL, back);
}

static void stops(void) {
  struct pty p;
  pid_t pid = session(&p, stops_leader);
  WAIT_FOR(&shared->ready, 1);
  sleep_ms(20);
  type(p.master, "\x1a");
  WAIT_FOR(&shared->ready, 2);
  sleep_ms(20);
  type(p.master, "\x03");
  EXITS(0, pid);
}

static void reads_line(struct pty *p) {
  char b[10];
  EQ(2, SYS(read(p->slave, b, sizeof(b))));
}

static void reads_ignoring(struct pty *p) {
  char b[10];
  SYS(signal(SIGTTIN, SIG_IGN) == SIG_ERR ? -1 : 0);
  ERR(EIO, read(p->slave, b, sizeof(b)));
  signal(SIGTTIN, SIG_DFL);
  block(SIGTTIN);
  ERR(EIO, read(p->slave, b, sizeof(b)));
}

static void reads_handling(struct pty *p) {
  char b[10];
  handle(SIGTTIN, on_signal, 0);
  ERR(EINTR, read(p->slave, b, sizeof(b)));
  EQ(SIGTTIN, caught);
}

static void background_read_leader(struct pty *p) {
  pid_t pid = job(p, false, reads_line);
  STOPPED(SIGTTIN, pid);
  SYS(tcsetpgrp(p->slave, pid));
  SYS(kill(-pid, SIGCONT));
  shared->ready = 1;
  EXITS(0, pid);  // the read began anew
  take(p->slave);
  EXITS(0, job(p, false, reads_ignoring));
  EXITS(0, job(p, false, reads_handling));
}

static void background_read(void) {
  struct pty p;
  pid_t pid = session(&p, background_read_leader);
  WAIT_FOR(&shared->ready, 1);
  type(p.master, "x\n");
  EXITS(0, pid);
}

static void writes(struct pty *p) { EQ(1, SYS(write(p->slave, "w", 1))); }

static void changes(struct pty *p) {
  struct termios t = get_modes(p->slave);
  set_modes(p->slave, &t);
}

static void changes_ignoring(struct pty *p) {
  block(SIGTTOU);
  changes(p);
  writes(p);
  SYS(tcflush(p->slave, TCIOFLUSH));
  SYS(tcdrain(p->slave));
}

static void background_write_leader(struct pty *p) {
  EXITS(0, job(p, false, writes));
  struct termios t = get_modes(p->slave);
  t.c_lflag |= TOSTOP;
  set_modes(p->slave, &t);
  pid_t pid = job(p, false, writes);
  STOPPED(SIGTTOU, pid);
  SYS(tcsetpgrp(p->slave, pid));
  SYS(kill(-pid, SIGCONT));
  EXITS(0, pid);
  take(p->slave);
  EXITS(0, job(p, false, changes_ignoring));
  pid = job(p, false, changes);
  STOPPED(SIGTTOU, pid);
  SYS(kill(-pid, SIGKILL));
  DIES(SIGKILL, pid);
}

static void background_write(void) {
  struct pty p;
  pid_t pid = session(&p, background_write_leader);
  EXITS(0, pid);
}

static void orphan(struct pty *p) {
  char b[10];
  pid_t parent = getpid();
  if (SYS(fork()) == 0) {
    while (getppid() == parent) sleep_ms(1);
    ERR(EIO, read(p->slave, b, sizeof(b)));
    struct termios t = get_modes(p->slave);
    ERR(EIO, tcsetattr(p->slave, TCSANOW, &t));
    ERR(ENOTTY, tcsetpgrp(p->slave, getpgrp()));
    // What a terminal stops by has no effect.
    SYS(kill(getpid(), SIGTSTP));
    SYS(kill(getpid(), SIGTTIN));
    shared->ready = 1;
    _exit(0);
  }
}

static void orphaned_leader(struct pty *p) {
  EXITS(0, job(p, false, orphan));
  WAIT_FOR(&shared->ready, 1);
}

static void orphaned(void) {
  struct pty p;
  pid_t pid = session(&p, orphaned_leader);
  EXITS(0, pid);
}

// A group that becomes orphaned with a stopped process in it gets SIGHUP and SIGCONT.
static void stopped_child(struct pty *p UNUSED) {
  pid_t pid = SYS(fork());
  if (pid == 0) {
    handle(SIGHUP, on_signal, 0);
    shared->value = getpid();
    SYS(kill(getpid(), SIGSTOP));
    EQ(SIGHUP, caught);
    shared->ready = 1;
    _exit(0);
  }
  STOPPED(SIGSTOP, pid);
}

static void orphaned_stopped_leader(struct pty *p) {
  EXITS(0, job(p, false, stopped_child));
  WAIT_FOR(&shared->ready, 1);
}

static void orphaned_stopped(void) {
  struct pty p;
  pid_t pid = session(&p, orphaned_stopped_leader);
  EXITS(0, pid);
}

static void counts_hup(struct pty *p UNUSED) {
  handle(SIGHUP, on_signal, 0);
  shared->value = 1;
  while (caught != SIGHUP) sleep_ms(1);
  shared->count = 1;
}

static void hang_up_leader(struct pty *p) {
  handle(SIGHUP, on_signal, 0);
  job(p, true, counts_hup);
  WAIT_FOR(&shared->value, 1);
  int tty = SYS(open("/dev/tty", O_RDWR));
  shared->ready = 1;
  while (caught != SIGHUP) sleep_ms(1);
  ERR(ENXIO, open("/dev/tty", O_RDWR));
  char c;
  EQ(0, SYS(read(tty, &c, 1)));
  ERR(EIO, write(p->slave, "x", 1));
  pid_t pg;
  ERR(EIO, ioctl(p->slave, TIOCGPGRP, &pg));
  ERR(ENOTTY, tcsetpgrp(p->slave, getpgrp()));
  EQ(0, shared->count);  // the foreground group hears of it from the leader's end
}

static void hang_up(void) {
  struct pty p;
  pid_t pid = session(&p, hang_up_leader);
  WAIT_FOR(&shared->ready, 1);
  SYS(close(p.master));
  EXITS(0, pid);
  WAIT_FOR(&shared->count, 1);
}

static void end_leader(struct pty *p) {
  job(p, true, counts_hup);
  WAIT_FOR(&shared->value, 1);
  if (SYS(fork()) == 0) {
    WAIT_FOR(&shared->count, 1);
    ERR(ENXIO, open("/dev/tty", O_RDWR));
    EQ(1, SYS(write(p->slave, "x", 1)));  // but the file is still good
    shared->ready = 1;
    _exit(0);
  }
}

static void leader_ends(void) {
  struct pty p;
  pid_t pid = session(&p, end_leader);
  EXITS(0, pid);
  WAIT_FOR(&shared->ready, 1);
  expect(p.master, "x");
}

static void winch_job(struct pty *p) {
  handle(SIGWINCH, on_signal, 0);
  shared->ready = 1;
  while (caught != SIGWINCH) sleep_ms(1);
  struct winsize w;
  SYS(ioctl(p->slave, TIOCGWINSZ, &w));
  EQ(50, w.ws_row);
  EQ(132, w.ws_col);
}

static void winch_leader(struct pty *p) {
  handle(SIGWINCH, on_signal, 0);
  EXITS(0, job(p, true, winch_job));
  EQ(0, caught);
}

static void window(void) {
  struct pty p;
  pid_t pid = session(&p, winch_leader);
  WAIT_FOR(&shared->ready, 1);
  struct winsize w = {50, 132, 0, 0};
  SYS(ioctl(p.master, TIOCSWINSZ, &w));
  SYS(ioctl(p.master, TIOCSWINSZ, &w));  // no change, no signal
  EXITS(0, pid);
}

static void steal_leader(struct pty *p) {
  pid_t pid = SYS(fork());
  if (pid == 0) {
    SYS(setsid());
    ERR(ENXIO, open("/dev/tty", O_RDWR));
    SYS(close(SYS(open(p->name, O_RDWR))));  // not taken from another session
    ERR(ENXIO, open("/dev/tty", O_RDWR));
    ERR(EPERM, ioctl(p->slave, TIOCSCTTY, 0));
    if (geteuid() == 0) {
      SYS(ioctl(p->slave, TIOCSCTTY, 1));
      EQ(getpid(), SYS(tcgetsid(p->slave)));
    }
    _exit(0);
  }
  EXITS(0, pid);
  if (geteuid() == 0) ERR(ENXIO, open("/dev/tty", O_RDWR));
}

static void stolen(void) {
  struct pty p;
  pid_t pid = session(&p, steal_leader);
  EXITS(0, pid);
}

static void signalled_job(struct pty *p UNUSED) { sleeps(); }

static void sig_leader(struct pty *p) {
  pid_t pid = job(p, true, signalled_job);
  shared->ready = 1;
  DIES(SIGQUIT, pid);
}

// TIOCSIG sends a signal from the other end.
static void signal_request(void) {
  struct pty p;
  pid_t pid = session(&p, sig_leader);
  WAIT_FOR(&shared->ready, 1);
  ERR(EINVAL, ioctl(p.master, TIOCSIG, SIGKILL));
  SYS(ioctl(p.master, TIOCSIG, SIGQUIT));
  EXITS(0, pid);
}

TESTS(T(controls), T(keys), T(stops), T(background_read), T(background_write), T(orphaned), T(orphaned_stopped),
      T(hang_up), T(leader_ends), T(window), T(stolen), T(signal_request))
