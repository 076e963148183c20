// Signals: handlers, masks, queues, restarts, timers.
#include "check.h"

#include <poll.h>
#include <pthread.h>
#include <sys/signalfd.h>
#include <ucontext.h>

static volatile sig_atomic_t count, last_sig;
static volatile siginfo_t last_info;  // volatile: raise is declared not to call back
static int order[64];
static volatile int order_len;

static void on_signal(int sig) {
  last_sig = sig;
  count++;
}

static void on_info(int sig, siginfo_t *si, void *u UNUSED) {
  last_sig = sig;
  last_info = *si;
  order[order_len++ & 63] = sig == SIGRTMIN + 1 ? si->si_value.sival_int : sig;
  count++;
}

static void raise_and_catch(void) {
  handle(SIGUSR1, on_signal, 0);
  for (int i = 1; i <= 100; i++) {
    SYS(raise(SIGUSR1));
    EQ(i, count);
    EQ(SIGUSR1, last_sig);
  }
}

static void every_signal(void) {
  for (int sig = 1; sig <= 64; sig++) {
    struct sigaction sa = {.sa_handler = on_signal};
    if (sig == SIGKILL || sig == SIGSTOP) {
      ERR(EINVAL, sigaction(sig, &sa, NULL));
      continue;
    }
    if (sig == 32 || sig == 33) continue;  // the C library's own
    SYS(sigaction(sig, &sa, NULL));
    last_sig = 0;
    SYS(kill(getpid(), sig));
    EQ(sig, last_sig);
  }
}

static void info_of_kill(void) {
  handle_info(SIGUSR1, on_info, 0);
  SYS(kill(getpid(), SIGUSR1));
  EQ(SIGUSR1, last_info.si_signo);
  EQ(SI_USER, last_info.si_code);
  EQ(getpid(), last_info.si_pid);
  EQ(getuid(), last_info.si_uid);
  EQ(0, last_info.si_errno);
  SYS(raise(SIGUSR1));
  EQ(SI_TKILL, last_info.si_code);
  EQ(getpid(), last_info.si_pid);
  SYS(sigqueue(getpid(), SIGUSR1, (union sigval){.sival_ptr = (void *)0x123456789abcdef0}));
  EQ(SI_QUEUE, last_info.si_code);
  EQ(0x123456789abcdef0, last_info.si_value.sival_ptr);
  EQ(getpid(), last_info.si_pid);
  pid_t pid = SYS(fork());
  if (pid == 0) {
    SYS(kill(getppid(), SIGUSR1));
    _exit(0);
  }
  EXITS(0, pid);
  EQ(pid, last_info.si_pid);
}

static void blocked_stays_pending(void) {
  handle(SIGUSR1, on_signal, 0);
  block(SIGUSR1);
  for (int i = 0; i < 5; i++) SYS(raise(SIGUSR1));
  EQ(0, count);
  sigset_t s;
  SYS(sigpending(&s));
  CHECK(sigismember(&s, SIGUSR1) == 1 && sigismember(&s, SIGUSR2) == 0);
  unblock(SIGUSR1);
  EQ(1, count);  // standard signals do not queue
  SYS(sigpending(&s));
  EQ(0, sigismember(&s, SIGUSR1));
}

static void real_time_order(void) {
  handle_info(SIGRTMIN + 1, on_info, 0);
  handle_info(SIGRTMIN + 2, on_info, 0);
  handle_info(SIGRTMIN, on_info, 0);
  for (int i = 0; i < 3; i++) block(SIGRTMIN + i);
  SYS(sigqueue(getpid(), SIGRTMIN + 2, (union sigval){0}));
  for (int i = 1; i <= 5; i++) SYS(sigqueue(getpid(), SIGRTMIN + 1, (union sigval){.sival_int = i}));
  SYS(sigqueue(getpid(), SIGRTMIN, (union sigval){0}));
  sigset_t s = set_of(SIGRTMIN), none;
  sigaddset(&s, SIGRTMIN + 1);
  sigaddset(&s, SIGRTMIN + 2);
  // One at a time, so that handlers do not nest: lowest number first, and
  // first in first out within a number.
  sigfillset(&none);
  for (int i = 0; i < 3; i++) sigdelset(&none, SIGRTMIN + i);
  int want[] = {SIGRTMIN, 1, 2, 3, 4, 5, SIGRTMIN + 2};
  for (int i = 0; i < 7; i++) {
    siginfo_t si;
    int sig = SYS(sigwaitinfo(&s, &si));
    EQ(want[i], sig == SIGRTMIN + 1 ? si.si_value.sival_int : sig);
  }
  struct timespec now = {0, 0};
  ERR(EAGAIN, sigtimedwait(&s, NULL, &now));
}

static void mask_in_handler_fn(int sig) {
  sigset_t s;
  sigprocmask(SIG_BLOCK, NULL, &s);
  last_sig = sig;
  count = sigismember(&s, SIGUSR1) * 4 + sigismember(&s, SIGUSR2) * 2 + sigismember(&s, SIGTERM);
}

static void mask_in_handler(void) {
  struct sigaction sa = {.sa_handler = mask_in_handler_fn};
  sigemptyset(&sa.sa_mask);
  sigaddset(&sa.sa_mask, SIGUSR2);
  SYS(sigaction(SIGUSR1, &sa, NULL));
  SYS(raise(SIGUSR1));
  EQ(6, count);
  sa.sa_flags = SA_NODEFER;
  SYS(sigaction(SIGUSR1, &sa, NULL));
  SYS(raise(SIGUSR1));
  EQ(2, count);
  sigset_t s;
  SYS(sigprocmask(SIG_BLOCK, NULL, &s));
  CHECK(!sigismember(&s, SIGUSR1) && !sigismember(&s, SIGUSR2));
}

static volatile int depth, deepest;
static void nest(int sig) {
  depth++;
  if (depth > deepest) deepest = depth;
  if (depth < 10) raise(sig);
  depth--;
}

static void nesting(void) {
  handle(SIGUSR1, nest, SA_NODEFER);
  SYS(raise(SIGUSR1));
  EQ(10, deepest);
  EQ(0, depth);
}

static void nested_deferred(int sig) {
  count++;
  if (count < 5) raise(sig);
}

static void deferred_runs_after(void) {
  handle(SIGUSR1, nested_deferred, 0);
  SYS(raise(SIGUSR1));
  EQ(5, count);
}

static void reset_hand(void) {
  handle(SIGUSR1, on_signal, SA_RESETHAND);
  SYS(raise(SIGUSR1));
  EQ(1, count);
  struct sigaction sa;
  SYS(sigaction(SIGUSR1, NULL, &sa));
  CHECK(sa.sa_handler == SIG_DFL);
  pid_t pid = SYS(fork());
  if (pid == 0) {
    raise(SIGUSR1);
    _exit(0);
  }
  DIES(SIGUSR1, pid);
}

static char *alt;
static volatile int on_alt;
static void alt_handler(int sig UNUSED) {
  char here;
  on_alt = &here >= alt && &here < alt + 65536;
  stack_t ss;
  sigaltstack(NULL, &ss);
  count = ss.ss_flags;
}

static void alternate_stack(void) {
  alt = map_private(65536);
  stack_t ss = {.ss_sp = alt, .ss_size = 65536}, old;
  SYS(sigaltstack(&ss, &old));
  EQ(SS_DISABLE, old.ss_flags);
  handle(SIGUSR1, alt_handler, SA_ONSTACK);
  SYS(raise(SIGUSR1));
  EQ(1, on_alt);
  EQ(SS_ONSTACK, count);
  handle(SIGUSR1, alt_handler, 0);
  SYS(raise(SIGUSR1));
  EQ(0, on_alt);
  SYS(sigaltstack(NULL, &old));
  EQ(0, old.ss_flags);
  CHECK(old.ss_sp == alt && old.ss_size == 65536);
  ss.ss_size = 100;
  ERR(ENOMEM, sigaltstack(&ss, NULL));
  ss.ss_flags = 0x77;
  ERR(EINVAL, sigaltstack(&ss, NULL));
  ss = (stack_t){.ss_flags = SS_DISABLE};
  SYS(sigaltstack(&ss, NULL));
}

static void alarm_soon(long us) {
  struct itimerval it = {{0, 0}, {0, us}};
  SYS(setitimer(ITIMER_REAL, &it, NULL));
}

// read, wait and futex-like calls are restarted with SA_RESTART, else EINTR.
static void restart_read(void) {
  int p[2];
  char c;
  SYS(pipe(p));
  handle(SIGALRM, on_signal, 0);
  alarm_soon(10000);
  ERR(EINTR, read(p[0], &c, 1));
  handle(SIGALRM, on_signal, SA_RESTART);
  pid_t pid = SYS(fork());
  if (pid == 0) {
    sleep_ms(60);
    put(p[1], 'x');
    _exit(0);
  }
  alarm_soon(10000);
  EQ(1, SYS(read(p[0], &c, 1)));
  EQ('x', c);
  EQ(2, count);
  EXITS(0, pid);
}

static void restart_wait(void) {
  handle(SIGALRM, on_signal, SA_RESTART);
  pid_t pid = SYS(fork());
  if (pid == 0) {
    sleep_ms(50);
    _exit(3);
  }
  alarm_soon(10000);
  int st;
  EQ(pid, SYS(waitpid(pid, &st, 0)));
  EQ(1, count);
}

// These are never restarted after a handler, whatever its flags.
static void never_restarted(void) {
  handle(SIGALRM, on_signal, SA_RESTART);
  struct timespec ts = {10, 0}, left = {0, 0};
  alarm_soon(10000);
  ERR(EINTR, nanosleep(&ts, &left));
  CHECK(left.tv_sec == 9 && left.tv_nsec > 0);
  int p[2];
  SYS(pipe(p));
  struct pollfd pf = {p[0], POLLIN, 0};
  alarm_soon(10000);
  ERR(EINTR, poll(&pf, 1, 10000));
  alarm_soon(10000);
  ERR(EINTR, pause());
  alarm_soon(10000);
  fd_set fds;
  FD_ZERO(&fds);
  FD_SET(p[0], &fds);
  ERR(EINTR, select(p[0] + 1, &fds, NULL, NULL, NULL));
  sigset_t none = set_of(0);
  alarm_soon(10000);
  ERR(EINTR, sigsuspend(&none));
  sigset_t s = set_of(SIGUSR2);
  alarm_soon(10000);
  ERR(EINTR, sigwaitinfo(&s, NULL));
  EQ(6, count);
}

// A stop and continue is invisible to a sleeping program without handlers.
static void stop_is_invisible(void) {
  pid_t pid = SYS(fork());
  if (pid == 0) {
    long long t = now_ns();
    struct timespec ts = {0, 60 * MS};
    SYS(nanosleep(&ts, NULL));
    CHECK(now_ns() - t >= 60 * MS);
    _exit(0);
  }
  sleep_ms(10);
  SYS(kill(pid, SIGSTOP));
  int st;
  SYS(waitpid(pid, &st, WUNTRACED));
  SYS(kill(pid, SIGCONT));
  EXITS(0, pid);
}

static void suspend(void) {
  handle(SIGUSR1, on_signal, 0);
  block(SIGUSR1);
  SYS(raise(SIGUSR1));
  EQ(0, count);
  sigset_t none = set_of(0);
  ERR(EINTR, sigsuspend(&none));
  EQ(1, count);
  sigset_t s;
  SYS(sigprocmask(SIG_BLOCK, NULL, &s));
  EQ(1, sigismember(&s, SIGUSR1));  // the mask is back
}

static void timed_wait(void) {
  block(SIGUSR1);
  sigset_t s = set_of(SIGUSR1);
  struct timespec ts = {0, 20 * MS};
  long long t = now_ns();
  ERR(EAGAIN, sigtimedwait(&s, NULL, &ts));
  CHECK(now_ns() - t >= 20 * MS);
  SYS(raise(SIGUSR1));
  siginfo_t si;
  EQ(SIGUSR1, SYS(syscall(SYS_rt_sigtimedwait, &s, &si, &ts, 8)));
  EQ(SI_TKILL, si.si_code);  // the C library would call it SI_USER
  pid_t pid = SYS(fork());
  if (pid == 0) {
    SYS(sigqueue(getppid(), SIGUSR1, (union sigval){.sival_int = 77}));
    _exit(0);
  }
  EQ(SIGUSR1, SYS(sigwaitinfo(&s, &si)));
  EQ(pid, si.si_pid);
  EQ(77, si.si_value.sival_int);
  EXITS(0, pid);
  ts.tv_nsec = -1;
  ERR(EINVAL, sigtimedwait(&s, &si, &ts));
}

static void signal_fd(void) {
  block(SIGUSR1);
  block(SIGRTMIN);
  sigset_t s = set_of(SIGUSR1);
  sigaddset(&s, SIGRTMIN);
  int fd = SYS(signalfd(-1, &s, SFD_NONBLOCK | SFD_CLOEXEC));
  struct signalfd_siginfo info[3];
  ERR(EAGAIN, read(fd, info, sizeof(info)));
  struct pollfd pf = {fd, POLLIN, 0};
  EQ(0, SYS(poll(&pf, 1, 0)));
  SYS(kill(getpid(), SIGUSR1));
  SYS(sigqueue(getpid(), SIGRTMIN, (union sigval){.sival_int = 8}));
  SYS(sigqueue(getpid(), SIGRTMIN, (union sigval){.sival_int = 9}));
  EQ(1, SYS(poll(&pf, 1, 0)));
  EQ(3 * sizeof(info[0]), SYS(read(fd, info, sizeof(info))));
  EQ(SIGUSR1, info[0].ssi_signo);
  EQ(SI_USER, info[0].ssi_code);
  EQ(getpid(), info[0].ssi_pid);
  EQ(8, info[1].ssi_int);
  EQ(9, info[2].ssi_int);
  ERR(EINVAL, read(fd, info, 10));
  s = set_of(SIGUSR2);
  EQ(fd, SYS(signalfd(fd, &s, 0)));
  ERR(EINVAL, signalfd(0, &s, 0));
}

static void interval_timer(void) {
  handle(SIGALRM, on_signal, SA_RESTART);
  struct itimerval it = {{0, 5000}, {0, 5000}}, old;
  long long t = now_ns();
  SYS(setitimer(ITIMER_REAL, &it, NULL));
  while (count < 5) pause();
  CHECK(now_ns() - t >= 25 * MS);
  SYS(getitimer(ITIMER_REAL, &old));
  EQ(5000, old.it_interval.tv_usec);
  it = (struct itimerval){0};
  SYS(setitimer(ITIMER_REAL, &it, &old));
  EQ(5000, old.it_interval.tv_usec);
  it.it_value.tv_usec = 1000000;
  ERR(EINVAL, setitimer(ITIMER_REAL, &it, NULL));
  ERR(EINVAL, setitimer(9, &old, NULL));
}

static void processor_timers(void) {
  handle(SIGVTALRM, on_signal, 0);
  handle(SIGPROF, on_signal, 0);
  struct itimerval it = {{0, 0}, {0, 20000}};
  SYS(setitimer(ITIMER_VIRTUAL, &it, NULL));
  while (count < 1) {
  }
  EQ(SIGVTALRM, last_sig);
  SYS(setitimer(ITIMER_PROF, &it, NULL));
  while (count < 2) {
  }
  EQ(SIGPROF, last_sig);
}

static void alarm_values(void) {
  EQ(0, alarm(100));
  int left = alarm(0);
  CHECK(left == 100 || left == 99);
  EQ(0, alarm(0));
  pid_t pid = SYS(fork());
  if (pid == 0) {
    alarm(1);
    struct itimerval it = {{0, 0}, {0, 10000}};
    SYS(setitimer(ITIMER_REAL, &it, NULL));  // the same timer
    for (;;) pause();
  }
  DIES(SIGALRM, pid);
}

static void kill_errors(void) {
  ERR(EINVAL, kill(getpid(), 65));
  ERR(EINVAL, kill(getpid(), -1));
  ERR(ESRCH, kill(1 << 22, SIGTERM));
  ERR(ESRCH, kill(-(1 << 22), SIGTERM));
  EQ(0, SYS(kill(getpid(), 0)));
  ERR(ESRCH, syscall(SYS_tgkill, getpid(), 1 << 22, SIGTERM));
  ERR(EINVAL, syscall(SYS_tgkill, -1, getpid(), SIGTERM));
  ERR(EINVAL, syscall(SYS_tkill, 0, SIGTERM));
  siginfo_t si = {.si_code = SI_USER};
  ERR(EPERM, syscall(SYS_rt_sigqueueinfo, getppid(), SIGUSR1, &si));
  ERR(EINVAL, syscall(SYS_rt_sigprocmask, 77, &(sigset_t){0}, NULL, 8));
  ERR(EINVAL, syscall(SYS_rt_sigprocmask, SIG_BLOCK, &(sigset_t){0}, NULL, 4));
  ERR(EINVAL, syscall(SYS_rt_sigaction, SIGUSR1, NULL, NULL, 4));
}

static void cannot_be_blocked(void) {
  sigset_t all, s;
  sigfillset(&all);
  SYS(sigprocmask(SIG_SETMASK, &all, NULL));
  SYS(sigprocmask(SIG_BLOCK, NULL, &s));
  CHECK(!sigismember(&s, SIGKILL) && !sigismember(&s, SIGSTOP) && sigismember(&s, SIGTERM));
  pid_t pid = SYS(fork());
  if (pid == 0)
    for (;;) pause();
  SYS(kill(pid, SIGTERM));
  SYS(kill(pid, SIGKILL));
  DIES(SIGKILL, pid);
}

static void kill_busy_loop(void) {
  pid_t pid = SYS(fork());
  if (pid == 0)
    for (volatile unsigned i = 0;; i++) {
    }
  sleep_ms(5);
  SYS(kill(pid, SIGTERM));
  DIES(SIGTERM, pid);
}

static void catch_in_busy_loop(void) {
  handle(SIGUSR1, on_signal, 0);
  pid_t parent = getpid();
  pid_t pid = SYS(fork());
  if (pid == 0)
    for (;;) {
      sleep_ms(2);
      SYS(kill(parent, SIGUSR1));
    }
  while (count < 3) {
  }
  SYS(kill(pid, SIGKILL));
  DIES(SIGKILL, pid);
}

static void ignored(void) {
  handle(SIGTERM, SIG_IGN, 0);
  SYS(raise(SIGTERM));
  block(SIGUSR1);
  SYS(raise(SIGUSR1));
  handle(SIGUSR1, SIG_IGN, 0);  // drops what is pending
  handle(SIGUSR1, on_signal, 0);
  unblock(SIGUSR1);
  EQ(0, count);
}

static void continue_clears_stop(void) {
  block(SIGTSTP);
  block(SIGCONT);
  SYS(raise(SIGTSTP));
  SYS(raise(SIGCONT));
  sigset_t s;
  SYS(sigpending(&s));
  EQ(0, sigismember(&s, SIGTSTP));
  EQ(1, sigismember(&s, SIGCONT));
  SYS(raise(SIGTSTP));
  SYS(sigpending(&s));
  EQ(1, sigismember(&s, SIGTSTP));
  EQ(0, sigismember(&s, SIGCONT));
}

static void *thread_waits(void *arg) {
  sigset_t s = set_of(SIGUSR1);
  int sig;
  ZERO(sigwait(&s, &sig));
  *(int *)arg = sig;
  return NULL;
}

static void to_thread(void) {
  block(SIGUSR1);
  int got = 0;
  pthread_t t;
  ZERO(pthread_create(&t, NULL, thread_waits, &got));
  ZERO(pthread_kill(t, SIGUSR1));
  ZERO(pthread_join(t, NULL));
  EQ(SIGUSR1, got);
  sigset_t s;
  SYS(sigpending(&s));
  EQ(0, sigismember(&s, SIGUSR1));
}

static __thread int my_count;
static volatile int thread_got;
static void on_thread(int sig UNUSED) {
  my_count++;
  thread_got = 1;
}
static void *open_thread(void *arg UNUSED) {
  unblock(SIGUSR1);
  while (!thread_got) sleep_ms(1);
  EQ(1, my_count);
  return NULL;
}

// A signal to the process goes to a thread that does not block it.
static void to_process_with_threads(void) {
  handle(SIGUSR1, on_thread, 0);
  block(SIGUSR1);
  pthread_t t;
  ZERO(pthread_create(&t, NULL, open_thread, NULL));
  SYS(kill(getpid(), SIGUSR1));
  ZERO(pthread_join(t, NULL));
  EQ(0, my_count);
}

static volatile int jumped;
static void change_frame(int sig UNUSED, siginfo_t *si UNUSED, void *u) {
  ucontext_t *uc = u;
  // skip the ud2 below, and leave a value
  uc->uc_mcontext.gregs[REG_RIP] += 2;
  uc->uc_mcontext.gregs[REG_RAX] = 0x1234;
  sigaddset(&uc->uc_sigmask, SIGUSR2);
}

static void frame_is_writable(void) {
  handle_info(SIGILL, change_frame, 0);
  long v;
  __asm__ volatile("ud2" : "=a"(v) : "a"(0L) : "memory");
  EQ(0x1234, v);
  sigset_t s;
  SYS(sigprocmask(SIG_BLOCK, NULL, &s));
  EQ(1, sigismember(&s, SIGUSR2));
}

static void groups(void) {
  int up[2];
  SYS(pipe(up));
  pid_t kids[5], leader = 0;
  for (int i = 0; i < 5; i++) {
    kids[i] = SYS(fork());
    if (kids[i] == 0) {
      SYS(setpgid(0, leader));
      put(up[1], 'u');
      for (;;) pause();
    }
    SYS(setpgid(kids[i], leader ? leader : kids[i]));
    if (!leader) leader = kids[i];
  }
  for (int i = 0; i < 5; i++) get(up[0]);
  SYS(kill(-leader, SIGUSR2));
  for (int i = 0; i < 5; i++) DIES(SIGUSR2, kids[i]);
  ERR(ESRCH, kill(-leader, 0));
}

static void bad_frame_dies(void) {
  pid_t pid = SYS(fork());
  if (pid == 0) {
    handle(SIGUSR1, on_signal, 0);
    // A handler cannot be entered on a stack that is not there.
    pid_t self = getpid();
    __asm__ volatile(
        "xor %%esp, %%esp\n"
        "syscall\n"
        "ud2\n"
        :
        : "a"(SYS_kill), "D"(self), "S"(SIGUSR1)
        : "rcx", "r11", "memory");
    _exit(0);
  }
  DIES(SIGSEGV, pid);
}

static void queue_limit(void) {
  // RLIMIT_SIGPENDING bounds what may wait.
  block(SIGRTMIN);
  struct {
    unsigned long cur, max;
  } lim = {10, 10};
  if (getuid() == 0) {
    SYS(setresgid(64124, 64124, 64124));
    SYS(setresuid(64124, 64124, 64124));
  }
  SYS(syscall(SYS_prlimit64, 0, 11 /* RLIMIT_SIGPENDING */, &lim, NULL));
  int n = 0;
  while (n < 50 && sigqueue(getpid(), SIGRTMIN, (union sigval){.sival_int = n}) == 0) n++;
  EQ(10, n);
  EQ(EAGAIN, errno);
  sigset_t s = set_of(SIGRTMIN);
  siginfo_t si;
  for (int i = 0; i < 10; i++) {
    SYS(sigwaitinfo(&s, &si));
    EQ(i, si.si_value.sival_int);
  }
}

TESTS(T(raise_and_catch), T(every_signal), T(info_of_kill), T(blocked_stays_pending), T(real_time_order),
      T(mask_in_handler), T(nesting), T(deferred_runs_after), T(reset_hand), T(alternate_stack), T(restart_read),
      T(restart_wait), T(never_restarted), T(stop_is_invisible), T(suspend), T(timed_wait), T(signal_fd),
      T(interval_timer), T(processor_timers), T(alarm_values), T(kill_errors), T(cannot_be_blocked),
      T(kill_busy_loop), T(catch_in_busy_loop), T(ignored), T(continue_clears_stop), T(to_thread),
      T(to_process_with_threads), T(frame_is_writable), T(groups), T(bad_frame_dies), T(queue_limit))
