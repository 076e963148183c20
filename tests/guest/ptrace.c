// ptrace(2): stops, events, signals, system calls.
#include "ptracee.h"

static void exits_with_3(void) { _exit(3); }

static void trace_me(void) {
  pid_t pid = tracee(exits_with_3);
  siginfo_t s = siginfo_of(pid);
  EQ(SIGSTOP, s.si_signo);
  EQ(SI_TKILL, s.si_code);
  EQ(pid, s.si_pid);
  P(PTRACE_CONT, pid, 0, 0);
  EXITS(3, pid);
}

static void twice(void) { PERR(EPERM, PTRACE_TRACEME, 0, 0, 0); }

static void bad_requests(void) {
  PERR(ESRCH, PTRACE_CONT, 1 << 22, 0, 0);
  PERR(ESRCH, PTRACE_ATTACH, 1 << 22, 0, 0);
  PERR(EPERM, PTRACE_ATTACH, getpid(), 0, 0);
  pid_t pid = start(sleeps);
  PERR(ESRCH, PTRACE_CONT, pid, 0, 0);
  PERR(ESRCH, PTRACE_PEEKDATA, pid, 0, 0);
  PERR(ESRCH, PTRACE_KILL, pid, 0, 0);
  PERR(ESRCH, PTRACE_INTERRUPT, pid, 0, 0);
  PERR(EIO, PTRACE_SEIZE, pid, 1, 0);
  PERR(EIO, PTRACE_SEIZE, pid, 0, 0x40000000);
  SYS(kill(pid, SIGKILL));
  DIES(SIGKILL, pid);
  pid = tracee(twice);
  unsigned long word;
  PERR(EPERM, PTRACE_ATTACH, pid, 0, 0);
  PERR(EIO, PTRACE_INTERRUPT, pid, 0, 0);  // it was not seized
  PERR(EIO, PTRACE_LISTEN, pid, 0, 0);
  PERR(EIO, 12345, pid, 0, 0);
  PERR(EIO, PTRACE_CONT, pid, 0, 65);
  PERR(EIO, PTRACE_DETACH, pid, 0, 65);
  PERR(EIO, PTRACE_PEEKDATA, pid, 8, &word);
  PERR(EIO, PTRACE_POKEDATA, pid, 8, 1);
  PERR(EFAULT, PTRACE_PEEKDATA, pid, &word, 8);
  PERR(EIO, PTRACE_PEEKUSER, pid, 4, &word);
  PERR(EIO, PTRACE_PEEKUSER, pid, 928, &word);
  PERR(EIO, PTRACE_POKEUSER, pid, offsetof(struct user, u_tsize), 1);
  PERR(EINVAL, PTRACE_SETOPTIONS, pid, 0, 0x40000000);
  PERR(EFAULT, PTRACE_GETREGS, pid, 0, 8);
  PERR(EINVAL, PTRACE_GETSIGMASK, pid, 4, &word);
  struct iovec iov = {&word, sizeof(word)};
  PERR(EINVAL, PTRACE_GETREGSET, pid, 77, &iov);
  iov.iov_len = 3;
  PERR(EINVAL, PTRACE_GETREGSET, pid, NT_PRSTATUS, &iov);
  PERR(EFAULT, PTRACE_GETREGSET, pid, NT_PRSTATUS, 8);
  P(PTRACE_CONT, pid, 0, 0);
  EXITS(0, pid);
}

static void syscalls_tracee(void) {
  syscall(SYS_getppid, 1, 2, 3, 4, 5, 6);
  syscall(5000);
  _exit(7);
}

#define SYSCALL(pid) P(PTRACE_SYSCALL, pid, 0, 0)

static void syscall_stops(void) {
  pid_t pid = tracee(syscalls_tracee);
  P(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_TRACESYSGOOD);
  SYSCALL(pid);
  STOPS(CALL, pid);
  struct user_regs_struct r = regs_of(pid);
  EQ(SYS_getppid, r.orig_rax);
  EQ(-ENOSYS, r.rax);
  EQ(1, r.rdi);
  EQ(2, r.rsi);
  EQ(6, r.r9);
  EQ(CALL, siginfo_of(pid).si_code);
  SYSCALL(pid);
  STOPS(CALL, pid);
  r = regs_of(pid);
  EQ(SYS_getppid, r.orig_rax);
  EQ(getpid(), r.rax);
  SYSCALL(pid);
  STOPS(CALL, pid);
  SYSCALL(pid);
  STOPS(CALL, pid);
  EQ(-ENOSYS, regs_of(pid).rax);
  SYSCALL(pid);
  STOPS(CALL, pid);
  EQ(SYS_exit_group, regs_of(pid).orig_rax);
  SYSCALL(pid);
  EXITS(7, pid);
}

static void hot_tracee(void) {
  long n = 0;
  for (int i = 0; i < 100; i++) n += syscall(SYS_getpid) == 5 && syscall(SYS_gettid) == 5;
  raise(SIGSTOP);
  for (int i = 0; i < 100; i++) n += syscall(SYS_getpid) == 5 && syscall(SYS_gettid) == 5;
  _exit(n);
}

// Every call is seen, also where calls were made often before.
static void all_calls(void) {
  pid_t pid = tracee(hot_tracee);
  P(PTRACE_CONT, pid, 0, 0);
  STOPS(SIGSTOP, pid);
  for (int i = 0; i < 200; i++) {
    SYSCALL(pid);
    STOPS(SIGTRAP, pid);
    struct user_regs_struct r = regs_of(pid);
    EQ(i % 2 ? SYS_gettid : SYS_getpid, r.orig_rax);
    unsigned long code;
    P(PTRACE_PEEKTEXT, pid, r.rip - 2, &code);
    EQ(0x050f, code & 0xffff);
    SYSCALL(pid);
    STOPS(SIGTRAP, pid);
    P(PTRACE_POKEUSER, pid, offsetof(struct user_regs_struct, rax), 5);
  }
  P(PTRACE_CONT, pid, 0, 0);
  EXITS(100, pid);
}

static void changes_tracee(void) { ERR(99, syscall(SYS_getuid)); }

static void change_calls(void) {
  pid_t pid = tracee(changes_tracee);
  SYSCALL(pid);
  STOPS(SIGTRAP, pid);
  P(PTRACE_POKEUSER, pid, offsetof(struct user_regs_struct, orig_rax), SYS_getpgid);
  P(PTRACE_POKEUSER, pid, offsetof(struct user_regs_struct, rdi), 0);
  SYSCALL(pid);
  STOPS(SIGTRAP, pid);
  EQ(getpgrp(), regs_of(pid).rax);
  P(PTRACE_POKEUSER, pid, offsetof(struct user_regs_struct, rax), -99);
  P(PTRACE_CONT, pid, 0, 0);
  EXITS(0, pid);
}

static void skipped_tracee(void) {
  long ret;
  __asm__ volatile("syscall" : "=a"(ret) : "a"(SYS_getppid) : "rcx", "r11", "memory");
  EQ(-ENOSYS, ret);
  __asm__ volatile("syscall" : "=a"(ret) : "a"(SYS_getppid) : "rcx", "r11", "memory");
  EQ(1234, ret);
  __asm__ volatile("syscall" : "=a"(ret) : "a"(SYS_getppid) : "rcx", "r11", "memory");
  EQ(5678, ret);
}

// A call whose number becomes -1 is not made.
static void skip_calls(void) {
  pid_t pid = tracee(skipped_tracee);
  const size_t orig = offsetof(struct user_regs_struct, orig_rax), rax = offsetof(struct user_regs_struct, rax);
  SYSCALL(pid);
  STOPS(SIGTRAP, pid);
  P(PTRACE_POKEUSER, pid, orig, -1);
  SYSCALL(pid);
  STOPS(SIGTRAP, pid);
  SYSCALL(pid);
  STOPS(SIGTRAP, pid);
  P(PTRACE_POKEUSER, pid, orig, -1);
  P(PTRACE_POKEUSER, pid, rax, 1234);
  SYSCALL(pid);
  STOPS(SIGTRAP, pid);
  EQ(1234, regs_of(pid).rax);
  P(PTRACE_SYSEMU, pid, 0, 0);
  STOPS(SIGTRAP, pid);
  EQ(SYS_getppid, regs_of(pid).orig_rax);
  P(PTRACE_POKEUSER, pid, rax, 5678);
  P(PTRACE_CONT, pid, 0, 0);
  EXITS(0, pid);
}

static void syscall_info(void) {
  pid_t pid = tracee(syscalls_tracee);
  struct __ptrace_syscall_info info;
  memset(&info, 0xff, sizeof(info));
  P(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_TRACESYSGOOD);
  EQ(24, P(PTRACE_GET_SYSCALL_INFO, pid, sizeof(info), &info));
  EQ(PTRACE_SYSCALL_INFO_NONE, info.op);
  SYSCALL(pid);
  STOPS(CALL, pid);
  EQ(80, P(PTRACE_GET_SYSCALL_INFO, pid, sizeof(info), &info));
  EQ(PTRACE_SYSCALL_INFO_ENTRY, info.op);
  EQ(0xc000003e, info.arch);
  EQ(SYS_getppid, info.entry.nr);
  EQ(6, info.entry.args[5]);
  struct user_regs_struct r = regs_of(pid);
  CHECK(info.instruction_pointer == r.rip && info.stack_pointer == r.rsp);
  SYSCALL(pid);
  STOPS(CALL, pid);
  info.exit.is_error = 9;
  EQ(33, P(PTRACE_GET_SYSCALL_INFO, pid, 32, &info));
  EQ(PTRACE_SYSCALL_INFO_EXIT, info.op);
  EQ(getpid(), info.exit.rval);
  EQ(9, info.exit.is_error);
  SYSCALL(pid);
  STOPS(CALL, pid);
  SYSCALL(pid);
  STOPS(CALL, pid);
  P(PTRACE_GET_SYSCALL_INFO, pid, sizeof(info), &info);
  EQ(-ENOSYS, info.exit.rval);
  EQ(1, info.exit.is_error);
  P(PTRACE_KILL, pid, 0, 0);
  DIES(SIGKILL, pid);
}

static volatile int usr1;
static void on_usr1(int) { usr1++; }
static void on_usr2(int) { usr1 += 10; }

static void signals_tracee(void) {
  handle(SIGUSR1, on_usr1, 0);
  handle(SIGUSR2, on_usr2, 0);
  handle(SIGWINCH, SIG_IGN, 0);
  raise(SIGUSR1);
  raise(SIGUSR1);
  raise(SIGUSR1);
  raise(SIGWINCH);
  _exit(usr1);
}

static void signal_stops(void) {
  pid_t pid = tracee(signals_tracee);
  P(PTRACE_CONT, pid, 0, 0);
  STOPS(SIGUSR1, pid);
  P(PTRACE_CONT, pid, 0, SIGUSR1);
  STOPS(SIGUSR1, pid);
  P(PTRACE_CONT, pid, 0, 0);  // it never happened
  STOPS(SIGUSR1, pid);
  P(PTRACE_CONT, pid, 0, SIGUSR2);  // it was another
  STOPS(SIGWINCH, pid);             // those that are ignored stop, too
  P(PTRACE_CONT, pid, 0, SIGWINCH);
  EXITS(11, pid);
}

static volatile siginfo_t got;
static void on_info(int, siginfo_t *s, void *) { *(siginfo_t *)&got = *s; }

static void siginfo_tracee(void) {
  handle_info(SIGUSR1, on_info, 0);
  raise(SIGUSR1);
  EQ(SI_QUEUE, got.si_code);
  EQ(99, got.si_value.sival_int);
  raise(SIGUSR2);  // becomes SIGUSR1 from the tracer
  EQ(SIGUSR1, got.si_signo);
  EQ(SI_USER, got.si_code);
  EQ(getppid(), got.si_pid);
}

static void change_siginfo(void) {
  pid_t pid = tracee(siginfo_tracee);
  P(PTRACE_CONT, pid, 0, 0);
  STOPS(SIGUSR1, pid);
  siginfo_t s = siginfo_of(pid);
  EQ(SI_TKILL, s.si_code);
  s.si_code = SI_QUEUE;
  s.si_value.sival_int = 99;
  P(PTRACE_SETSIGINFO, pid, 0, &s);
  P(PTRACE_CONT, pid, 0, SIGUSR1);
  STOPS(SIGUSR2, pid);
  P(PTRACE_CONT, pid, 0, SIGUSR1);
  EXITS(0, pid);
}

static void mask_tracee(void) {
  sigset_t s;
  SYS(sigprocmask(SIG_SETMASK, NULL, &s));
  CHECK(sigismember(&s, SIGUSR1) && !sigismember(&s, SIGUSR2) && !sigismember(&s, SIGKILL));
  SYS(kill(getpid(), SIGUSR1));
  SYS(syscall(SYS_tgkill, getpid(), getpid(), SIGUSR1));
  raise(SIGSTOP);
}

static void masks_and_queues(void) {
  pid_t pid = tracee(mask_tracee);
  unsigned long mask = 1UL << (SIGUSR1 - 1) | 1UL << (SIGKILL - 1);
  P(PTRACE_SETSIGMASK, pid, 8, &mask);
  P(PTRACE_GETSIGMASK, pid, 8, &mask);
  EQ(1UL << (SIGUSR1 - 1), mask);
  P(PTRACE_CONT, pid, 0, 0);
  STOPS(SIGSTOP, pid);
  siginfo_t s[3];
  struct __ptrace_peeksiginfo_args a = {.off = 0, .nr = 3};
  EQ(1, P(PTRACE_PEEKSIGINFO, pid, &a, s));
  EQ(SIGUSR1, s[0].si_signo);
  EQ(SI_TKILL, s[0].si_code);
  a.flags = PTRACE_PEEKSIGINFO_SHARED;
  EQ(1, P(PTRACE_PEEKSIGINFO, pid, &a, s));
  EQ(SI_USER, s[0].si_code);
  a.off = 1;
  EQ(0, P(PTRACE_PEEKSIGINFO, pid, &a, s));
  a.flags = 2;
  PERR(EINVAL, PTRACE_PEEKSIGINFO, pid, &a, s);
  a.flags = 0, a.nr = -1;
  PERR(EINVAL, PTRACE_PEEKSIGINFO, pid, &a, s);
  P(PTRACE_KILL, pid, 0, 0);
  DIES(SIGKILL, pid);
}

static void handler_tracee(void) {
  handle(SIGUSR1, on_usr1, 0);
  raise(SIGUSR1);
  _exit(usr1);
}

static void step_into_handler(void) {
  pid_t pid = tracee(handler_tracee);
  P(PTRACE_CONT, pid, 0, 0);
  STOPS(SIGUSR1, pid);
  P(PTRACE_SINGLESTEP, pid, 0, SIGUSR1);
  STOPS(SIGTRAP, pid);
  CHECK(regs_of(pid).rip == (unsigned long)on_usr1);
  EQ(SIGUSR1, regs_of(pid).rdi);
  P(PTRACE_CONT, pid, 0, 0);
  EXITS(1, pid);
}

static void forks(void) {
  pid_t pid = SYS(fork());
  if (pid == 0) _exit(5);
  EXITS(5, pid);
  pid = vfork();
  if (pid == 0) _exit(6);
  EXITS(6, pid);
}

static void fork_events(void) {
  pid_t pid = tracee(forks);
  P(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACEVFORKDONE | PTRACE_O_TRACEEXIT);
  P(PTRACE_CONT, pid, 0, 0);
  STOPS(EVENT(PTRACE_EVENT_FORK), pid);
  pid_t child = message_of(pid);
  STOPS(SIGSTOP, child);
  P(PTRACE_CONT, pid, 0, 0);
  P(PTRACE_CONT, child, 0, 0);
  STOPS(EVENT(PTRACE_EVENT_EXIT), child);  // options are inherited
  EQ(5 << 8, message_of(child));
  P(PTRACE_CONT, child, 0, 0);
  EXITS(5, child);  // the tracer first, then the parent
  STOPS(SIGCHLD, pid);
  EQ(child, siginfo_of(pid).si_pid);
  P(PTRACE_CONT, pid, 0, SIGCHLD);
  STOPS(EVENT(PTRACE_EVENT_VFORK), pid);
  child = message_of(pid);
  STOPS(SIGSTOP, child);
  P(PTRACE_CONT, pid, 0, 0);
  P(PTRACE_DETACH, child, 0, 0);
  STOPS(EVENT(PTRACE_EVENT_VFORK_DONE), pid);
  EQ(child, message_of(pid));
  P(PTRACE_CONT, pid, 0, 0);
  STOPS(SIGCHLD, pid);
  P(PTRACE_CONT, pid, 0, 0);
  STOPS(EVENT(PTRACE_EVENT_EXIT), pid);
  EQ(0, message_of(pid));
  P(PTRACE_CONT, pid, 0, 0);
  EXITS(0, pid);
}

static void executes(void) {
  execl("/proc/self/exe", "ptrace", "nothing", NULL);
  _exit(1);
}

static void exec_event(void) {
  pid_t pid = tracee(executes);
  P(PTRACE_CONT, pid, 0, 0);
  STOPS(SIGTRAP, pid);  // a signal, without the option
  EQ(SI_USER, siginfo_of(pid).si_code);
  P(PTRACE_KILL, pid, 0, 0);
  DIES(SIGKILL, pid);
  pid = tracee(executes);
  P(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_TRACEEXEC | PTRACE_O_TRACESYSGOOD);
  SYSCALL(pid);
  STOPS(CALL, pid);
  EQ(SYS_execve, regs_of(pid).orig_rax);
  SYSCALL(pid);
  STOPS(EVENT(PTRACE_EVENT_EXEC), pid);
  EQ(pid, message_of(pid));
  SYSCALL(pid);
  STOPS(CALL, pid);
  struct user_regs_struct r = regs_of(pid);
  EQ(0, r.rax);
  EQ(SYS_execve, r.orig_rax);
  EQ(0, r.rbx);
  P(PTRACE_CONT, pid, 0, SIGKILL);
  DIES(SIGKILL, pid);
}

static void *thread_exits(void *) {
  syscall(SYS_exit, 9);
  return NULL;
}

static void threads_tracee(void) {
  pthread_t th;
  ZERO(pthread_create(&th, NULL, thread_exits, NULL));
  ZERO(pthread_join(th, NULL));
  raise(SIGSTOP);  // the thread's status would be the process's otherwise
  _exit(4);
}

static void threads(void) {
  pid_t pid = tracee(threads_tracee);
  P(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_TRACECLONE);
  P(PTRACE_CONT, pid, 0, 0);
  STOPS(EVENT(PTRACE_EVENT_CLONE), pid);
  pid_t tid = message_of(pid);
  CHECK(tid != pid);
  STOPS(SIGSTOP, tid);
  EQ(0, SYS(waitpid(tid, NULL, WNOHANG | WUNTRACED)));
  P(PTRACE_CONT, pid, 0, 0);
  P(PTRACE_CONT, tid, 0, 0);
  EXITS(9, tid);
  ERR(ECHILD, waitpid(tid, NULL, __WALL));
  STOPS(SIGSTOP, pid);
  P(PTRACE_CONT, pid, 0, 0);
  EXITS(4, pid);
}

static void attach_running(void) {
  pid_t pid = start(sleeps);
  sleep_ms(50);
  P(PTRACE_ATTACH, pid, 0, 0);
  STOPS(SIGSTOP, pid);
  EQ(SI_KERNEL, siginfo_of(pid).si_code);
  // The call that it interrupted is to be restarted.
  struct user_regs_struct r = regs_of(pid);
  EQ(SYS_pause, r.orig_rax);
  CHECK((long)r.rax == -514 || (long)r.rax == -512);
  char *status = slurp(fmt("/proc/%d/status", pid));
  EQ(getpid(), atoi(value(status, "TracerPid")));
  CHECK(value(status, "State")[0] == 't');
  P(PTRACE_CONT, pid, 0, 0);
  SYS(kill(pid, SIGUSR1));
  STOPS(SIGUSR1, pid);
  P(PTRACE_DETACH, pid, 0, 0);
  PERR(ESRCH, PTRACE_CONT, pid, 0, 0);
  EQ(0, atoi(value(slurp(fmt("/proc/%d/status", pid)), "TracerPid")));
  EQ(0, SYS(waitpid(pid, NULL, WNOHANG)));
  P(PTRACE_ATTACH, pid, 0, 0);
  STOPS(SIGSTOP, pid);
  P(PTRACE_DETACH, pid, 0, SIGTERM);
  DIES(SIGTERM, pid);
}

static int restarted[2];

static void reads(void) {
  char c;
  EQ(1, read(restarted[0], &c, 1));
  EQ('x', c);
  long long begin = now_ns();
  struct timespec ts = {0, 800 * MS};
  EQ(0, nanosleep(&ts, NULL));
  CHECK(now_ns() - begin >= 800 * MS);
}

// Calls go on after an attach and a detach as if nothing had been.
static void restarts(void) {
  SYS(pipe(restarted));
  pid_t pid = start(reads);
  sleep_ms(50);
  P(PTRACE_ATTACH, pid, 0, 0);
  STOPS(SIGSTOP, pid);
  P(PTRACE_DETACH, pid, 0, 0);
  sleep_ms(20);
  put(restarted[1], 'x');
  sleep_ms(50);
  P(PTRACE_SEIZE, pid, 0, 0);
  P(PTRACE_INTERRUPT, pid, 0, 0);
  STOPS(EVENT(PTRACE_EVENT_STOP), pid);
  EQ(-516, regs_of(pid).rax);
  P(PTRACE_SYSCALL, pid, 0, 0);
  STOPS(SIGTRAP, pid);
  EQ(SYS_restart_syscall, regs_of(pid).orig_rax);
  P(PTRACE_DETACH, pid, 0, 0);
  EXITS(0, pid);
}

static void attach_stopped(void) {
  pid_t pid = start(sleeps);
  SYS(kill(pid, SIGSTOP));
  int status;
  EQ(pid, SYS(waitpid(pid, &status, WUNTRACED)));
  P(PTRACE_SEIZE, pid, 0, 0);
  STOPS(SIGSTOP | PTRACE_EVENT_STOP << 8, pid);
  P(PTRACE_DETACH, pid, 0, 0);
  SYS(kill(pid, SIGCONT));
  EQ(pid, SYS(waitpid(pid, &status, WCONTINUED)));
  CHECK(WIFCONTINUED(status));
  SYS(kill(pid, SIGKILL));
  DIES(SIGKILL, pid);
}

static void group_stop(void) {
  pid_t pid = tracee(sleeps);
  P(PTRACE_CONT, pid, 0, SIGSTOP);
  STOPS(SIGSTOP, pid);
  siginfo_t s;
  PERR(EINVAL, PTRACE_GETSIGINFO, pid, 0, &s);  // a group's stop has none
  P(PTRACE_CONT, pid, 0, 0);                     // and the thread goes on in spite of it
  SYS(kill(pid, SIGUSR1));
  STOPS(SIGUSR1, pid);
  SYS(kill(pid, SIGKILL));
  DIES(SIGKILL, pid);
}

static void listen_stops(void) {
  pid_t pid = start(sleeps);
  P(PTRACE_SEIZE, pid, 0, 0);
  SYS(kill(pid, SIGSTOP));
  STOPS(SIGSTOP, pid);
  P(PTRACE_CONT, pid, 0, SIGSTOP);
  STOPS(SIGSTOP | PTRACE_EVENT_STOP << 8, pid);
  EQ(SIGSTOP | PTRACE_EVENT_STOP << 8, siginfo_of(pid).si_code);
  P(PTRACE_LISTEN, pid, 0, 0);
  PERR(ESRCH, PTRACE_CONT, pid, 0, 0);
  EQ(0, SYS(waitpid(pid, NULL, WNOHANG)));
  SYS(kill(pid, SIGCONT));
  STOPS(EVENT(PTRACE_EVENT_STOP), pid);
  P(PTRACE_CONT, pid, 0, 0);
  STOPS(SIGCONT, pid);
  P(PTRACE_CONT, pid, 0, 0);
  P(PTRACE_INTERRUPT, pid, 0, 0);
  STOPS(EVENT(PTRACE_EVENT_STOP), pid);
  P(PTRACE_CONT, pid, 0, 0);
  SYS(kill(pid, SIGKILL));
  DIES(SIGKILL, pid);
}

static void seized_fork(void) {
  int go[2];
  SYS(pipe(go));
  pid_t pid = SYS(fork());
  if (pid == 0) {
    get(go[0]);
    forks();
    _exit(0);
  }
  P(PTRACE_SEIZE, pid, 0, PTRACE_O_TRACEFORK);
  put(go[1], 'g');
  STOPS(EVENT(PTRACE_EVENT_FORK), pid);
  pid_t child = message_of(pid);
  STOPS(EVENT(PTRACE_EVENT_STOP), child);
  P(PTRACE_DETACH, child, 0, 0);
  P(PTRACE_DETACH, pid, 0, 0);
  EXITS(0, pid);
}

static void filtered_tracee(void) {
  struct sock_filter f[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRACE | 77),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  struct sock_fprog p = {LEN(f), f};
  SYS(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
  SYS(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &p));
  ERR(ENOSYS, syscall(SYS_getppid));  // the tracer does not ask yet
  raise(SIGSTOP);
  EQ(1234, syscall(SYS_getppid));
  CHECK(syscall(SYS_getppid) > 0);
}

static void seccomp_event(void) {
  pid_t pid = tracee(filtered_tracee);
  P(PTRACE_CONT, pid, 0, 0);
  STOPS(SIGSTOP, pid);
  P(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_TRACESECCOMP);
  P(PTRACE_CONT, pid, 0, 0);
  STOPS(EVENT(PTRACE_EVENT_SECCOMP), pid);
  EQ(77, message_of(pid));
  struct __ptrace_syscall_info info;
  EQ(84, P(PTRACE_GET_SYSCALL_INFO, pid, sizeof(info), &info));
  EQ(PTRACE_SYSCALL_INFO_SECCOMP, info.op);
  EQ(77, info.seccomp.ret_data);
  EQ(SYS_getppid, info.seccomp.nr);
  P(PTRACE_POKEUSER, pid, offsetof(struct user_regs_struct, orig_rax), -1);
  P(PTRACE_POKEUSER, pid, offsetof(struct user_regs_struct, rax), 1234);
  P(PTRACE_CONT, pid, 0, 0);
  STOPS(EVENT(PTRACE_EVENT_SECCOMP), pid);
  P(PTRACE_CONT, pid, 0, 0);
  EXITS(0, pid);
}

static pid_t *victim;

static void tracer_dies(unsigned long options) {
  victim = map_shared(sizeof(*victim));
  *victim = start(sleeps);
  pid_t tracer = SYS(fork());
  if (tracer == 0) {
    P(PTRACE_SEIZE, *victim, 0, options);
    P(PTRACE_INTERRUPT, *victim, 0, 0);
    STOPS(EVENT(PTRACE_EVENT_STOP), *victim);
    _exit(0);
  }
  EXITS(0, tracer);
}

static void tracer_ends(void) {
  tracer_dies(0);
  sleep_ms(20);
  EQ(0, SYS(waitpid(*victim, NULL, WNOHANG)));
  EQ(0, atoi(value(slurp(fmt("/proc/%d/status", *victim)), "TracerPid")));
  SYS(kill(*victim, SIGTERM));
  DIES(SIGTERM, *victim);
  tracer_dies(PTRACE_O_EXITKILL);
  DIES(SIGKILL, *victim);
}

// The parent of a process that another one traces hears of its end after the tracer.
static void two_parents(void) {
  int go[2];
  SYS(pipe(go));
  pid_t child = start(sleeps);
  pid_t tracer = SYS(fork());
  if (tracer == 0) {
    P(PTRACE_ATTACH, child, 0, 0);
    STOPS(SIGSTOP, child);
    P(PTRACE_CONT, child, 0, 0);
    SYS(kill(child, SIGTERM));
    STOPS(SIGTERM, child);
    P(PTRACE_CONT, child, 0, SIGTERM);
    siginfo_t s;
    SYS(waitid(P_PID, child, &s, WEXITED | WNOWAIT));
    put(go[1], 'z');
    sleep_ms(100);
    EQ(child, SYS(waitid(P_PID, child, &s, WEXITED)) == 0 ? s.si_pid : 0);
    EQ(CLD_KILLED, s.si_code);
    ERR(ECHILD, waitpid(child, NULL, 0));
    _exit(0);
  }
  get(go[0]);
  EQ(0, SYS(waitpid(child, NULL, WNOHANG)));
  DIES(SIGTERM, child);
  EXITS(0, tracer);
}

static void sigchld_tracee(void) { raise(SIGUSR1); }

static volatile int chld_code, chld_status;
static void on_chld(int, siginfo_t *s, void *) { chld_code = s->si_code, chld_status = s->si_status; }

static void tells_by_signal(void) {
  handle_info(SIGCHLD, on_chld, SA_RESTART);
  pid_t pid = tracee(sigchld_tracee);
  EQ(CLD_TRAPPED, chld_code);
  EQ(SIGSTOP, chld_status);
  P(PTRACE_CONT, pid, 0, 0);
  siginfo_t s;
  SYS(waitid(P_PID, pid, &s, WSTOPPED | WNOWAIT));
  EQ(CLD_TRAPPED, s.si_code);
  EQ(SIGUSR1, s.si_status);
  STOPS(SIGUSR1, pid);
  P(PTRACE_CONT, pid, 0, SIGUSR1);
  DIES(SIGUSR1, pid);
}

static void unprivileged(void) {
  int until[2];
  SYS(pipe(until));
  pid_t other = SYS(fork());
  if (other == 0) {
    char c;
    close(until[1]);
    _exit(read(until[0], &c, 1));  // when the others are gone
  }
  SYS(syscall(SYS_setresuid, 1000, 1000, 1000));
  PERR(EPERM, PTRACE_ATTACH, other, 0, 0);
  PERR(EPERM, PTRACE_ATTACH, getppid(), 0, 0);
  int ready[2];
  SYS(pipe(ready));
  pid_t own = SYS(fork());
  if (own == 0) {
    SYS(prctl(PR_SET_DUMPABLE, 1));
    put(ready[1], 'r');
    sleeps();
  }
  get(ready[0]);
  P(PTRACE_SEIZE, own, 0, 0);
  SYS(kill(own, SIGKILL));
  DIES(SIGKILL, own);
}

static void permissions(void) { forked(unprivileged); }

// Both may be killed while each traces the other.
static void trace_circle(void) {
  pid_t *ids = map_shared(2 * sizeof(pid_t));
  int ready[2];
  SYS(pipe(ready));
  for (int i = 0; i < 2; i++) {
    pid_t pid = SYS(fork());
    if (pid == 0) {
      pid_t o;
      while (!(o = __atomic_load_n(&ids[1 - i], __ATOMIC_SEQ_CST))) sleep_ms(1);
      P(PTRACE_SEIZE, o, 0, 0);
      put(ready[1], 'r');
      sleeps();
    }
    __atomic_store_n(&ids[i], pid, __ATOMIC_SEQ_CST);
  }
  get(ready[0]);
  get(ready[0]);
  SYS(kill(ids[0], SIGKILL));
  SYS(kill(ids[1], SIGKILL));
  DIES(SIGKILL, ids[1]);
  DIES(SIGKILL, ids[0]);
}

TESTS(T(nothing), T(trace_me), T(bad_requests), T(syscall_stops), T(all_calls), T(change_calls),
      T(skip_calls), T(syscall_info), T(signal_stops), T(change_siginfo), T(masks_and_queues),
      T(step_into_handler), T(fork_events), T(exec_event),
      T(threads), T(attach_running), T(restarts), T(attach_stopped), T(group_stop), T(listen_stops), T(seized_fork),
      T(seccomp_event), T(tracer_ends), T(two_parents), T(tells_by_signal), T(permissions), T(trace_circle))
