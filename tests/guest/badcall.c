// Calls about processes with arguments that are wrong, one at a time: what comes back
// is the error of Linux, which is compared between kernels.
#include "check.h"

#include <grp.h>
#include <linux/capability.h>
#include <linux/sched.h>
#include <sched.h>
#include <sys/resource.h>

#define BAD ((void *)8)                       // not mapped
#define KERNEL ((void *)0xffff800000000000UL)  // not even an address
#define NOBODY 0x3ffffff0                      // no process has this id
#define A(x) ((long)(x))

// call makes a call in a child, and says how it went.
static void call(const char *text, long nr, long a, long b, long c, long d, long e, long f) {
  pid_t pid = SYS(fork());
  if (pid == 0) {
    errno = 0;
    long value = syscall(nr, a, b, c, d, e, f);
    _exit(value == -1 ? errno : 0);
  }
  int st = status_of(pid);
  if (WIFSIGNALED(st))
    say("%s: signal %d\n", text, WTERMSIG(st));
  else
    say("%s: %s\n", text, WEXITSTATUS(st) ? strerrorname_np(WEXITSTATUS(st)) : "ok");
}

#define CALL6(name, a, b, c, d, e, f) \
  call(#name "(" #a ", " #b ", " #c ", " #d ", " #e ", " #f ")", SYS_##name, A(a), A(b), A(c), A(d), A(e), A(f))
#define CALL5(name, a, b, c, d, e) \
  call(#name "(" #a ", " #b ", " #c ", " #d ", " #e ")", SYS_##name, A(a), A(b), A(c), A(d), A(e), 0)
#define CALL4(name, a, b, c, d) call(#name "(" #a ", " #b ", " #c ", " #d ")", SYS_##name, A(a), A(b), A(c), A(d), 0, 0)
#define CALL3(name, a, b, c) call(#name "(" #a ", " #b ", " #c ")", SYS_##name, A(a), A(b), A(c), 0, 0, 0)
#define CALL2(name, a, b) call(#name "(" #a ", " #b ")", SYS_##name, A(a), A(b), 0, 0, 0, 0)
#define CALL1(name, a) call(#name "(" #a ")", SYS_##name, A(a), 0, 0, 0, 0, 0)

static void wait_calls(void) {
  int st;
  siginfo_t si;
  CALL4(wait4, -1, &st, 0, 0);
  CALL4(wait4, INT_MIN, &st, 0, 0);
  CALL4(wait4, NOBODY, &st, 0, 0);
  CALL4(wait4, -NOBODY, &st, 0, 0);
  CALL4(wait4, -1, BAD, 0, 0);
  CALL4(wait4, -1, &st, WEXITED, 0);
  CALL4(wait4, -1, &st, WNOWAIT, 0);
  CALL4(wait4, -1, &st, 0x100, 0);
  CALL4(wait4, -1, &st, -1, 0);
  CALL4(wait4, -1, &st, __WALL, BAD);
  CALL5(waitid, P_ALL, 0, &si, WEXITED, 0);
  CALL5(waitid, P_ALL, 0, BAD, WEXITED, 0);
  CALL5(waitid, P_ALL, 0, 0, WEXITED, 0);
  CALL5(waitid, P_ALL, 0, &si, 0, 0);
  CALL5(waitid, P_ALL, 0, &si, WNOHANG, 0);
  CALL5(waitid, P_ALL, 0, &si, WEXITED | 0x100, 0);
  CALL5(waitid, 9, 0, &si, WEXITED, 0);
  CALL5(waitid, -1, 0, &si, WEXITED, 0);
  CALL5(waitid, P_PID, 0, &si, WEXITED, 0);
  CALL5(waitid, P_PID, -1, &si, WEXITED, 0);
  CALL5(waitid, P_PID, NOBODY, &si, WEXITED, 0);
  CALL5(waitid, P_PGID, -1, &si, WEXITED, 0);
  CALL5(waitid, P_PGID, 0, &si, WEXITED, 0);
  CALL5(waitid, P_PIDFD, -1, &si, WEXITED, 0);
  CALL5(waitid, P_PIDFD, 0, &si, WEXITED, 0);
  CALL5(waitid, P_PIDFD, 99, &si, WEXITED, 0);
}

// With a child that has ended, pointers count.
static void wait_pointers(void) {
  for (int i = 0; i < 4; i++) {
    pid_t pid = SYS(fork());
    if (pid == 0) _exit(0);
    siginfo_t si;
    SYS(waitid(P_PID, pid, &si, WEXITED | WNOWAIT));
    errno = 0;
    long got = 0;
    switch (i) {
      case 0: got = syscall(SYS_wait4, pid, BAD, 0, 0); break;
      case 1: got = syscall(SYS_wait4, pid, 0, 0, BAD); break;
      case 2: got = syscall(SYS_waitid, P_PID, pid, KERNEL, WEXITED, 0); break;
      case 3: got = syscall(SYS_waitid, P_PID, pid, 0, WEXITED, BAD); break;
    }
    say("%d: %s\n", i, got == -1 ? strerrorname_np(errno) : "ok");
    // It is gone all the same.
    ERR(ECHILD, waitpid(pid, NULL, WNOHANG));
  }
}

static void kill_calls(void) {
  pid_t self = getpid();
  CALL2(kill, self, 65);
  CALL2(kill, self, -1);
  CALL2(kill, self, INT_MAX);
  CALL2(kill, NOBODY, 0);
  CALL2(kill, -NOBODY, 0);
  CALL2(kill, INT_MIN, 0);
  CALL2(kill, NOBODY, 65);
  CALL2(tkill, 0, 0);
  CALL2(tkill, -1, 0);
  CALL2(tkill, NOBODY, 0);
  CALL2(tkill, self, 65);
  CALL2(tkill, self, 0);
  CALL3(tgkill, 0, self, 0);
  CALL3(tgkill, self, 0, 0);
  CALL3(tgkill, -1, self, 0);
  CALL3(tgkill, self, -1, 0);
  CALL3(tgkill, NOBODY, self, 0);
  CALL3(tgkill, self, NOBODY, 0);
  CALL3(tgkill, self, self, 65);
  CALL3(tgkill, self, self, 0);
}

static void queue_calls(void) {
  pid_t self = getpid();
  siginfo_t user = {.si_code = SI_USER}, queue = {.si_code = SI_QUEUE}, tkill = {.si_code = SI_TKILL};
  CALL3(rt_sigqueueinfo, self, 0, &queue);
  CALL3(rt_sigqueueinfo, self, 0, &user);
  CALL3(rt_sigqueueinfo, self, 0, &tkill);
  CALL3(rt_sigqueueinfo, self, 65, &queue);
  CALL3(rt_sigqueueinfo, self, -1, &queue);
  CALL3(rt_sigqueueinfo, self, 0, BAD);
  CALL3(rt_sigqueueinfo, self, 0, 0);
  CALL3(rt_sigqueueinfo, NOBODY, 0, &queue);
  CALL3(rt_sigqueueinfo, NOBODY, 0, &user);
  CALL3(rt_sigqueueinfo, -1, 0, &queue);
  CALL3(rt_sigqueueinfo, 0, 0, &queue);
  CALL4(rt_tgsigqueueinfo, self, self, 0, &queue);
  CALL4(rt_tgsigqueueinfo, self, self, 0, &user);
  CALL4(rt_tgsigqueueinfo, self, 0, 0, &queue);
  CALL4(rt_tgsigqueueinfo, 0, self, 0, &queue);
  CALL4(rt_tgsigqueueinfo, self, NOBODY, 0, &queue);
  CALL4(rt_tgsigqueueinfo, self, self, 65, &queue);
  CALL4(rt_tgsigqueueinfo, self, self, 0, KERNEL);
}

static void action_calls(void) {
  char act[32] = {0};
  sigset_t set;
  sigemptyset(&set);
  struct timespec zero = {0}, wrong = {0, 1000000000}, negative = {-1, 0};
  for (int sig = -1; sig <= 66; sig++)
    if (sig < 2 || sig > 63 || sig == SIGKILL || sig == SIGSTOP) {
      say("%d\n", sig);
      CALL4(rt_sigaction, sig, act, 0, 8);
      CALL4(rt_sigaction, sig, 0, act, 8);
    }
  CALL4(rt_sigaction, SIGUSR1, BAD, 0, 8);
  CALL4(rt_sigaction, SIGUSR1, 0, BAD, 8);
  CALL4(rt_sigaction, SIGUSR1, act, KERNEL, 8);
  CALL4(rt_sigaction, SIGUSR1, act, 0, 7);
  CALL4(rt_sigaction, SIGUSR1, act, 0, 16);
  CALL4(rt_sigaction, 0, BAD, 0, 8);
  CALL4(rt_sigprocmask, 3, &set, 0, 8);
  CALL4(rt_sigprocmask, -1, &set, 0, 8);
  CALL4(rt_sigprocmask, 3, 0, &set, 8);
  CALL4(rt_sigprocmask, SIG_BLOCK, BAD, 0, 8);
  CALL4(rt_sigprocmask, SIG_BLOCK, &set, BAD, 8);
  CALL4(rt_sigprocmask, 3, BAD, 0, 8);
  CALL4(rt_sigprocmask, SIG_BLOCK, &set, 0, 4);
  CALL4(rt_sigprocmask, SIG_BLOCK, 0, 0, 0);
  CALL2(rt_sigpending, &set, 8);
  CALL2(rt_sigpending, &set, 4);
  CALL2(rt_sigpending, &set, 0);
  CALL2(rt_sigpending, &set, 9);
  CALL2(rt_sigpending, BAD, 8);
  CALL2(rt_sigpending, BAD, 0);
  CALL2(rt_sigsuspend, BAD, 8);
  CALL2(rt_sigsuspend, &set, 4);
  CALL4(rt_sigtimedwait, &set, 0, &zero, 8);
  CALL4(rt_sigtimedwait, BAD, 0, &zero, 8);
  CALL4(rt_sigtimedwait, &set, BAD, &zero, 8);
  CALL4(rt_sigtimedwait, &set, 0, BAD, 8);
  CALL4(rt_sigtimedwait, &set, 0, &wrong, 8);
  CALL4(rt_sigtimedwait, &set, 0, &negative, 8);
  CALL4(rt_sigtimedwait, &set, 0, &zero, 7);
  stack_t small = {.ss_sp = act, .ss_size = 100}, flags = {.ss_sp = act, .ss_size = 8192, .ss_flags = 0x10},
          off = {.ss_flags = SS_DISABLE}, on = {.ss_sp = act, .ss_size = 8192, .ss_flags = SS_ONSTACK};
  CALL2(sigaltstack, &small, 0);
  CALL2(sigaltstack, &flags, 0);
  CALL2(sigaltstack, &off, 0);
  CALL2(sigaltstack, &on, 0);
  CALL2(sigaltstack, BAD, 0);
  CALL2(sigaltstack, 0, BAD);
  CALL2(sigaltstack, 0, 0);
}

static void group_calls(void) {
  CALL2(setpgid, 0, -1);
  CALL2(setpgid, -1, 0);
  CALL2(setpgid, NOBODY, 0);
  CALL2(setpgid, NOBODY, -1);
  CALL2(setpgid, 0, NOBODY);
  CALL2(setpgid, getppid(), 0);
  CALL2(setpgid, 1, 0);
  CALL1(getpgid, -1);
  CALL1(getpgid, NOBODY);
  CALL1(getsid, -1);
  CALL1(getsid, NOBODY);
}

static void limit_calls(void) {
  struct rlimit good = {5, 6}, wrong = {6, 5}, most = {RLIM_INFINITY, RLIM_INFINITY};
  struct rusage usage;
  CALL2(getrlimit, 16, &good);
  CALL2(getrlimit, -1, &good);
  CALL2(getrlimit, RLIMIT_CORE, BAD);
  CALL2(getrlimit, 16, BAD);
  CALL2(setrlimit, 16, &good);
  CALL2(setrlimit, RLIMIT_CORE, &wrong);
  CALL2(setrlimit, RLIMIT_CORE, BAD);
  CALL2(setrlimit, RLIMIT_NOFILE, &most);
  CALL2(setrlimit, 16, &wrong);
  CALL4(prlimit64, 0, 16, 0, &good);
  CALL4(prlimit64, -1, RLIMIT_CORE, 0, &good);
  CALL4(prlimit64, NOBODY, RLIMIT_CORE, 0, &good);
  CALL4(prlimit64, NOBODY, 16, 0, &good);
  CALL4(prlimit64, 0, RLIMIT_CORE, BAD, 0);
  CALL4(prlimit64, NOBODY, RLIMIT_CORE, BAD, 0);
  CALL4(prlimit64, 0, RLIMIT_CORE, 0, BAD);
  CALL4(prlimit64, 0, RLIMIT_CORE, &wrong, 0);
  CALL4(prlimit64, 0, RLIMIT_CORE, 0, 0);
  CALL2(getrusage, 2, &usage);
  CALL2(getrusage, -2, &usage);
  CALL2(getrusage, RUSAGE_SELF, BAD);
  CALL2(getrusage, 99, BAD);
  CALL1(times, BAD);
  CALL1(times, 0);
}

static void priority_calls(void) {
  CALL2(getpriority, 3, 0);
  CALL2(getpriority, -1, 0);
  CALL2(getpriority, PRIO_PROCESS, NOBODY);
  CALL2(getpriority, PRIO_PROCESS, -1);
  CALL2(getpriority, PRIO_PGRP, NOBODY);
  CALL2(getpriority, PRIO_USER, NOBODY);
  CALL3(setpriority, 3, 0, 0);
  CALL3(setpriority, PRIO_PROCESS, NOBODY, 0);
  CALL3(setpriority, PRIO_PGRP, NOBODY, 0);
  CALL3(setpriority, PRIO_USER, NOBODY, 0);
  CALL3(setpriority, PRIO_PROCESS, 0, 1000);
}

static void sched_calls(void) {
  struct sched_param none = {0}, one = {1}, many = {100}, negative = {-1};
  unsigned long mask[16] = {1}, empty[16] = {0};
  struct timespec ts;
  CALL3(sched_setscheduler, -1, SCHED_OTHER, &none);
  CALL3(sched_setscheduler, NOBODY, SCHED_OTHER, &none);
  CALL3(sched_setscheduler, 0, 99, &none);
  CALL3(sched_setscheduler, 0, -1, &none);
  CALL3(sched_setscheduler, 0, 4, &none);
  CALL3(sched_setscheduler, 0, SCHED_OTHER, &one);
  CALL3(sched_setscheduler, 0, SCHED_BATCH, &none);
  CALL3(sched_setscheduler, 0, SCHED_IDLE, &none);
  CALL3(sched_setscheduler, 0, SCHED_FIFO, &none);
  CALL3(sched_setscheduler, 0, SCHED_FIFO, &many);
  CALL3(sched_setscheduler, 0, SCHED_RR, &negative);
  CALL3(sched_setscheduler, 0, SCHED_OTHER, BAD);
  CALL3(sched_setscheduler, 0, SCHED_OTHER, 0);
  CALL2(sched_setparam, 0, &one);
  CALL2(sched_setparam, 0, 0);
  CALL2(sched_setparam, -1, &none);
  CALL2(sched_setparam, NOBODY, &none);
  CALL2(sched_setparam, 0, BAD);
  CALL1(sched_getscheduler, -1);
  CALL1(sched_getscheduler, NOBODY);
  CALL2(sched_getparam, -1, &none);
  CALL2(sched_getparam, NOBODY, &none);
  CALL2(sched_getparam, 0, 0);
  CALL2(sched_getparam, 0, BAD);
  CALL1(sched_get_priority_max, 99);
  CALL1(sched_get_priority_min, -1);
  CALL2(sched_rr_get_interval, -1, &ts);
  CALL2(sched_rr_get_interval, NOBODY, &ts);
  CALL2(sched_rr_get_interval, 0, BAD);
  CALL3(sched_getaffinity, 0, 0, mask);
  CALL3(sched_getaffinity, 0, 4, mask);
  CALL3(sched_getaffinity, 0, 13, mask);
  CALL3(sched_getaffinity, NOBODY, sizeof(mask), mask);
  CALL3(sched_getaffinity, 0, sizeof(mask), BAD);
  CALL3(sched_setaffinity, 0, 0, mask);
  CALL3(sched_setaffinity, 0, sizeof(empty), empty);
  CALL3(sched_setaffinity, NOBODY, sizeof(mask), mask);
  CALL3(sched_setaffinity, 0, sizeof(mask), BAD);
}

static void prctl_calls(void) {
  int v;
  CALL5(prctl, PR_SET_PDEATHSIG, 65, 0, 0, 0);
  CALL5(prctl, PR_SET_PDEATHSIG, -1, 0, 0, 0);
  CALL5(prctl, PR_GET_PDEATHSIG, BAD, 0, 0, 0);
  CALL5(prctl, PR_SET_NAME, BAD, 0, 0, 0);
  CALL5(prctl, PR_GET_NAME, BAD, 0, 0, 0);
  CALL5(prctl, PR_SET_DUMPABLE, 2, 0, 0, 0);
  CALL5(prctl, PR_SET_DUMPABLE, -1, 0, 0, 0);
  CALL5(prctl, PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0);
  CALL5(prctl, PR_SET_NO_NEW_PRIVS, 2, 0, 0, 0);
  CALL5(prctl, PR_SET_NO_NEW_PRIVS, 1, 1, 0, 0);
  CALL5(prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 1, 0);
  CALL5(prctl, PR_GET_NO_NEW_PRIVS, 1, 0, 0, 0);
  CALL5(prctl, PR_SET_KEEPCAPS, 2, 0, 0, 0);
  CALL5(prctl, PR_SET_SECUREBITS, 1L << 30, 0, 0, 0);
  CALL5(prctl, PR_SET_SECUREBITS, 1L << 32, 0, 0, 0);
  CALL5(prctl, PR_CAPBSET_READ, 64, 0, 0, 0);
  CALL5(prctl, PR_CAPBSET_READ, -1, 0, 0, 0);
  CALL5(prctl, PR_CAPBSET_DROP, 64, 0, 0, 0);
  CALL5(prctl, PR_CAPBSET_DROP, -1, 0, 0, 0);
  CALL5(prctl, PR_CAP_AMBIENT, 9, 0, 0, 0);
  CALL5(prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, 64, 0, 0);
  CALL5(prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, 0, 1, 0);
  CALL5(prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, 0, 0, 1);
  CALL5(prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 1, 0, 0);
  CALL5(prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, -1, 0, 0);
  CALL5(prctl, PR_SET_CHILD_SUBREAPER, 5, 0, 0, 0);
  CALL5(prctl, PR_GET_CHILD_SUBREAPER, BAD, 0, 0, 0);
  CALL5(prctl, PR_GET_CHILD_SUBREAPER, &v, 0, 0, 0);
  CALL5(prctl, PR_GET_TSC, BAD, 0, 0, 0);
  CALL5(prctl, PR_SET_TSC, 9, 0, 0, 0);
  CALL5(prctl, PR_GET_TID_ADDRESS, BAD, 0, 0, 0);
  CALL5(prctl, PR_SET_TIMING, 1, 0, 0, 0);
  CALL5(prctl, PR_SET_ENDIAN, 0, 0, 0, 0);
  CALL5(prctl, 9999, 0, 0, 0, 0);
  CALL5(prctl, -1, 0, 0, 0, 0);
}

static void capability_calls(void) {
  struct __user_cap_header_struct v3 = {_LINUX_CAPABILITY_VERSION_3, 0}, v1 = {_LINUX_CAPABILITY_VERSION_1, 0},
                                  old = {1, 0}, nobody = {_LINUX_CAPABILITY_VERSION_3, NOBODY},
                                  negative = {_LINUX_CAPABILITY_VERSION_3, -1},
                                  parent = {_LINUX_CAPABILITY_VERSION_3, getppid()};
  struct __user_cap_data_struct data[2] = {{0}}, all[2] = {{-1, -1, -1}, {-1, -1, -1}}, more[2] = {{1, 0, 0}};
  CALL2(capget, &v3, data);
  CALL2(capget, &v1, data);
  CALL2(capget, &old, data);
  CALL2(capget, &old, 0);
  CALL2(capget, &v3, 0);
  CALL2(capget, BAD, data);
  CALL2(capget, &v3, BAD);
  CALL2(capget, &nobody, data);
  CALL2(capget, &negative, data);
  CALL2(capset, &v3, data);
  CALL2(capset, &old, data);
  CALL2(capset, &old, 0);
  CALL2(capset, BAD, data);
  CALL2(capset, &v3, BAD);
  CALL2(capset, &nobody, data);
  CALL2(capset, &negative, data);
  CALL2(capset, &parent, data);
  CALL2(capset, &v3, more);
  (void)all;
}

static void id_calls(void) {
  uid_t u;
  gid_t list[4] = {1, 2, 3, 4};
  CALL1(setuid, -1);
  CALL1(setgid, -1);
  CALL2(setreuid, -1, -1);
  CALL3(setresuid, -1, -1, -1);
  CALL3(getresuid, BAD, &u, &u);
  CALL3(getresuid, &u, BAD, &u);
  CALL3(getresuid, &u, &u, KERNEL);
  CALL3(getresgid, BAD, &u, &u);
  CALL3(getresgid, &u, BAD, &u);
  CALL3(getresgid, &u, &u, 0);
  CALL2(setgroups, 65537, list);
  CALL2(setgroups, -1, list);
  CALL2(setgroups, 4, BAD);
  CALL2(setgroups, 0, BAD);
  CALL2(getgroups, -1, list);
  SYS(setgroups(4, list));
  CALL2(getgroups, 3, list);
  CALL2(getgroups, 0, BAD);
  CALL2(getgroups, 4, BAD);
  SYS(setresuid(1, 1, 1));
  CALL1(setuid, 0);
  CALL1(setuid, 2);
  CALL2(setreuid, 0, -1);
  CALL2(setreuid, -1, 0);
  CALL3(setresuid, 0, -1, -1);
  CALL3(setresuid, -1, -1, 0);
  CALL2(setgroups, 1, list);
  CALL2(setgroups, 65537, list);
  CALL2(setgroups, 4, BAD);
  CALL3(setpriority, PRIO_PROCESS, 0, -1);
}

static void gid_calls(void) {
  CALL2(setregid, -1, -1);
  CALL3(setresgid, -1, -1, -1);
  CALL1(setfsuid, -1);
  CALL1(setfsgid, -1);
  SYS(setresgid(1, 1, 1));
  SYS(setresuid(1, 1, 1));
  CALL1(setgid, 0);
  CALL2(setregid, 0, -1);
  CALL2(setregid, -1, 0);
  CALL3(setresgid, 0, -1, -1);
  CALL3(setresgid, -1, 0, -1);
  CALL3(setresgid, -1, -1, 0);
  CALL1(acct, 0);
  CALL1(acct, BAD);
  CALL1(acct, "/nowhere");
}

static void signalfd_calls(void) {
  uint64_t mask = 1;
  CALL4(signalfd4, -1, &mask, 8, -1);
  CALL4(signalfd4, -1, &mask, 7, 0);
  CALL4(signalfd4, -1, &mask, 16, 0);
  CALL4(signalfd4, -1, &mask, -1, 0);
  CALL4(signalfd4, -1, BAD, 8, 0);
  CALL4(signalfd4, -1, KERNEL, 8, 0);
  CALL4(signalfd4, 0, &mask, 8, 0);
  CALL4(signalfd4, 99, &mask, 8, 0);
  CALL4(signalfd4, INT_MIN, &mask, 8, 0);
}

static void attr_calls(void) {
  unsigned char attr[256] = {48};  // size, SCHED_OTHER
  CALL3(sched_setattr, 0, BAD, 0);
  CALL3(sched_setattr, 0, 0, 0);
  CALL3(sched_setattr, 0, attr, 1);
  CALL3(sched_setattr, -1, attr, 0);
  CALL3(sched_setattr, NOBODY, attr, 0);
  CALL3(sched_setattr, 0, attr, 0);
  attr[4] = 99;
  CALL3(sched_setattr, 0, attr, 0);
  attr[4] = 0, attr[8] = 0x80;
  CALL3(sched_setattr, 0, attr, 0);
  attr[8] = 0, attr[0] = 47;
  CALL3(sched_setattr, 0, attr, 0);
  CALL4(sched_getattr, 0, BAD, 48, 0);
  CALL4(sched_getattr, 0, 0, 48, 0);
  CALL4(sched_getattr, 0, attr, 47, 0);
  CALL4(sched_getattr, 0, attr, 4097, 0);
  CALL4(sched_getattr, 0, attr, 48, 1);
  CALL4(sched_getattr, -1, attr, 48, 0);
  CALL4(sched_getattr, NOBODY, attr, 48, 0);
  CALL3(ioprio_set, 0, 0, 0);
  CALL3(ioprio_set, 4, 0, 0);
  CALL3(ioprio_set, 1, NOBODY, 0);
  CALL3(ioprio_set, 1, 0, 4 << 13);
  CALL3(ioprio_set, 1, 0, 7);
  CALL2(ioprio_get, 0, 0);
  CALL2(ioprio_get, 4, 0);
  CALL2(ioprio_get, 1, NOBODY);
}

static void ptrace_calls(void) {
  pid_t parent = getpid();
  long x;
  CALL4(ptrace, 16 /* ATTACH */, NOBODY, 0, 0);
  CALL4(ptrace, 16, -1, 0, 0);
  CALL4(ptrace, 16, 0, 0, 0);
  CALL4(ptrace, 0x4206 /* SEIZE */, NOBODY, 0, 0);
  CALL4(ptrace, 0x4206, parent, 1, 0);
  CALL4(ptrace, 0x4206, parent, 0, -1);
  CALL4(ptrace, 7 /* CONT */, parent, 0, 0);
  CALL4(ptrace, 3 /* PEEKUSER */, parent, 0, &x);
  CALL4(ptrace, 12 /* GETREGS */, parent, 0, BAD);
  CALL4(ptrace, 17 /* DETACH */, parent, 0, 65);
  CALL4(ptrace, -1, parent, 0, 0);
  CALL4(ptrace, 0x4200 /* SETOPTIONS */, parent, 0, -1);
}

static void other_calls(void) {
  pid_t self = getpid();
  unsigned word = 0;
  CALL6(futex, &word, 99, 0, 0, 0, 0);
  CALL6(futex, BAD, 0, 0, 0, 0, 0);
  CALL6(futex, KERNEL, 0, 0, 0, 0, 0);
  CALL6(futex, 1, 0, 0, 0, 0, 0);
  CALL6(futex, &word, 0, 1, 0, 0, 0);
  CALL6(futex, &word, 0, 0, BAD, 0, 0);
  CALL6(futex, &word, 9 /* WAIT_BITSET */, 0, 0, 0, 0);
  CALL6(futex, &word, 1, -1, 0, 0, 0);
  CALL3(seccomp, 99, 0, 0);
  CALL3(seccomp, 0, 1, 0);
  CALL3(seccomp, 0, 0, &word);
  CALL3(seccomp, 1, -1, 0);
  CALL3(seccomp, 2, 0, BAD);
  CALL3(seccomp, 2, 1, &word);
  CALL5(kcmp, self, self, 99, 0, 0);
  CALL5(kcmp, self, self, -1, 0, 0);
  CALL5(kcmp, NOBODY, self, 0, 0, 0);
  CALL5(kcmp, self, self, 0, 99, 99);
  CALL2(setns, -1, 0);
  CALL2(setns, 99, 0);
  CALL1(set_tid_address, BAD);
  CALL1(personality, 0xffffffff);
  CALL6(process_vm_readv, self, BAD, 1, BAD, 1, 0);
  CALL6(process_vm_readv, self, 0, 0, 0, 0, 1);
  CALL6(process_vm_readv, self, 0, -1, 0, 0, 0);
  CALL6(process_vm_readv, NOBODY, 0, 0, 0, 0, 0);
  CALL6(process_vm_writev, self, 0, 1025, 0, 0, 0);
  CALL1(setsid, 0);
}

static void exec_calls(void) {
  char *argv[] = {"x", NULL}, *bad_argv[] = {BAD, NULL}, *kernel_argv[] = {"x", KERNEL, NULL};
  CALL3(execve, 0, argv, 0);
  CALL3(execve, BAD, argv, 0);
  CALL3(execve, KERNEL, argv, 0);
  CALL3(execve, "", argv, 0);
  CALL3(execve, "/nowhere", argv, 0);
  CALL3(execve, "/dev", argv, 0);
  CALL3(execve, "/dev/null", argv, 0);
  CALL3(execve, "/proc/self/exe", BAD, 0);
  CALL3(execve, "/proc/self/exe", bad_argv, 0);
  CALL3(execve, "/proc/self/exe", kernel_argv, 0);
  CALL3(execve, "/proc/self/exe", argv, BAD);
  CALL3(execve, "/proc/self/exe", argv, bad_argv);
  CALL3(execve, "/nowhere", BAD, 0);
  CALL5(execveat, -1, "nowhere", argv, 0, 0);
  CALL5(execveat, 99, "nowhere", argv, 0, 0);
  CALL5(execveat, 99, "/nowhere", argv, 0, 0);
  CALL5(execveat, AT_FDCWD, "", argv, 0, 0);
  CALL5(execveat, 99, "", argv, 0, AT_EMPTY_PATH);
  CALL5(execveat, AT_FDCWD, "/nowhere", argv, 0, 0x10);
  CALL5(execveat, AT_FDCWD, BAD, argv, 0, 0);
}

static void clone_calls(void) {
  struct clone_args args = {.exit_signal = SIGCHLD};
  CALL5(clone, CLONE_THREAD, 0, 0, 0, 0);
  CALL5(clone, CLONE_SIGHAND, 0, 0, 0, 0);
  CALL5(clone, CLONE_THREAD | CLONE_SIGHAND, 0, 0, 0, 0);
  CALL5(clone, CLONE_NEWNS | CLONE_FS, 0, 0, 0, 0);
  CALL5(clone, CLONE_NEWUSER | CLONE_FS, 0, 0, 0, 0);
  CALL5(clone, CLONE_NEWPID | CLONE_THREAD | CLONE_SIGHAND | CLONE_VM, 0, 0, 0, 0);
  CALL5(clone, CLONE_PIDFD | CLONE_PARENT_SETTID | SIGCHLD, 0, &args, 0, 0);
  CALL5(clone, CLONE_PIDFD | CLONE_DETACHED | SIGCHLD, 0, &args, 0, 0);
  CALL5(clone, CLONE_PIDFD | SIGCHLD, 0, BAD, 0, 0);
  CALL5(clone, 65, 0, 0, 0, 0);
  CALL5(clone, CLONE_SETTLS | SIGCHLD, 0, 0, 0, KERNEL);
  CALL2(clone3, 0, sizeof(args));
  CALL2(clone3, BAD, sizeof(args));
  CALL2(clone3, &args, 0);
  CALL2(clone3, &args, 63);
  CALL2(clone3, &args, 4097);
  args.exit_signal = 65;
  CALL2(clone3, &args, sizeof(args));
  args.exit_signal = 256;
  CALL2(clone3, &args, sizeof(args));
  args.exit_signal = SIGCHLD;
  args.flags = CLONE_PARENT;
  CALL2(clone3, &args, sizeof(args));
  args.flags = CLONE_DETACHED;
  CALL2(clone3, &args, sizeof(args));
  args.flags = 1UL << 40;
  CALL2(clone3, &args, sizeof(args));
  args.flags = 0;
  args.stack = 4096;
  CALL2(clone3, &args, sizeof(args));
  args.stack = 0;
  args.stack_size = 4096;
  CALL2(clone3, &args, sizeof(args));
  args.stack_size = 0;
  args.set_tid = (unsigned long)&args;
  CALL2(clone3, &args, sizeof(args));
  args.set_tid_size = 33;
  CALL2(clone3, &args, sizeof(args));
  pid_t zero = 0, negative = -1, own = getpid();
  args.set_tid_size = 1;
  args.set_tid = (unsigned long)&zero;
  CALL2(clone3, &args, sizeof(args));
  args.set_tid = (unsigned long)&negative;
  CALL2(clone3, &args, sizeof(args));
  args.set_tid = (unsigned long)&own;
  CALL2(clone3, &args, sizeof(args));
  args.set_tid = A(BAD);
  CALL2(clone3, &args, sizeof(args));
  CALL1(unshare, 1);
  CALL1(unshare, CLONE_PARENT);
  CALL1(unshare, 1L << 40);
  CALL1(unshare, 0);
}

static void pidfd_calls(void) {
  pid_t self = getpid();
  int fd = SYS(syscall(SYS_pidfd_open, self, 0));
  siginfo_t user = {.si_code = SI_USER}, queue = {.si_code = SI_QUEUE};
  CALL2(pidfd_open, 0, 0);
  CALL2(pidfd_open, -1, 0);
  CALL2(pidfd_open, NOBODY, 0);
  CALL2(pidfd_open, self, 1);
  CALL2(pidfd_open, NOBODY, 1);
  CALL4(pidfd_send_signal, fd, 0, 0, 0);
  CALL4(pidfd_send_signal, fd, 65, 0, 0);
  CALL4(pidfd_send_signal, fd, 0, 0, 0x100);
  CALL4(pidfd_send_signal, fd, 0, BAD, 0);
  CALL4(pidfd_send_signal, fd, 0, &user, 0);
  CALL4(pidfd_send_signal, fd, SIGUSR1, &queue, 0);
  CALL4(pidfd_send_signal, -1, 0, 0, 0);
  CALL4(pidfd_send_signal, 1, 0, 0, 0);
  CALL3(pidfd_getfd, -1, 0, 0);
  CALL3(pidfd_getfd, 1, 0, 0);
  CALL3(pidfd_getfd, fd, 99, 0);
  CALL3(pidfd_getfd, fd, -1, 0);
  CALL3(pidfd_getfd, fd, 0, 1);
}

static void thread_calls(void) {
  long where, length;
  CALL2(set_robust_list, 0, 23);
  CALL2(set_robust_list, 0, 0);
  CALL3(get_robust_list, -1, &where, &length);
  CALL3(get_robust_list, NOBODY, &where, &length);
  CALL3(get_robust_list, 0, BAD, &length);
  CALL3(get_robust_list, 0, &where, BAD);
  CALL3(getcpu, BAD, 0, 0);
  CALL3(getcpu, 0, BAD, 0);
  CALL3(setitimer, 3, 0, 0);
  CALL3(setitimer, ITIMER_REAL, BAD, 0);
  CALL2(getitimer, 3, &where);
  CALL2(getitimer, ITIMER_REAL, BAD);
  CALL2(getitimer, -1, BAD);
}

TESTS(T(wait_calls), T(wait_pointers), T(kill_calls), T(queue_calls), T(action_calls), T(group_calls),
      T(limit_calls), T(priority_calls), T(sched_calls), T(prctl_calls), T(capability_calls), T(id_calls),
      T(exec_calls), T(clone_calls), T(pidfd_calls), T(thread_calls), T(gid_calls), T(signalfd_calls),
      T(attr_calls), T(ptrace_calls), T(other_calls))
