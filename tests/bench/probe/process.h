// Operations that make and end processes and threads, and signals.
#include "probe.h"

static void fork_exit_wait(long n, long arg UNUSED) {
  begin();
  while (n--) {
    pid_t pid = SYS(fork());
    if (pid == 0) _exit(0);
    reap(pid);
  }
}

static void fork_beside_processes(long n, long arg) {
  int fd = idlers(arg);
  fork_exit_wait(n, 0);
  long long end = now();
  dismiss(fd, arg);
  not_counted(end);
}

static void fork_with_areas(long n, long arg) {
  areas(arg);
  fork_exit_wait(n, 0);
}

static void fork_with_descriptors(long n, long arg) {
  descriptors(arg);
  fork_exit_wait(n, 0);
}

static const char *self = "/proc/self/exe";

static void do_exec(void) {
  char *argv[] = {"probe", "noop", NULL}, *envp[] = {NULL};
  execve(self, argv, envp);
  _exit(1);
}

static void fork_exec_wait(long n, long arg UNUSED) {
  begin();
  while (n--) {
    pid_t pid = SYS(fork());
    if (pid == 0) do_exec();
    reap(pid);
  }
}

static void vfork_exec_wait(long n, long arg UNUSED) {
  begin();
  while (n--) {
    pid_t pid = vfork();
    if (pid == 0) do_exec();
    if (pid < 0) die("vfork");
    reap(pid);
  }
}

// shell_exit starts a dynamic program that has a little to do.
static void shell_exit(long n, long arg UNUSED) {
  char *argv[] = {"sh", "-c", "exit 0", NULL}, *envp[] = {NULL};
  begin();
  while (n--) {
    pid_t pid = vfork();
    if (pid == 0) {
      execve("/bin/sh", argv, envp);
      _exit(1);
    }
    if (pid < 0) die("vfork");
    reap(pid);
  }
}

static void fork_64m(long n, long arg UNUSED) {
  size_t size = 64 << 20;
  char *p = map(size);
  memset(p, 1, size);
  begin();
  while (n--) {
    pid_t pid = SYS(fork());
    if (pid == 0) {
      for (size_t i = 0; i < size; i += 16 * 4096) p[i] = 2;
      _exit(0);
    }
    reap(pid);
  }
}

static void *nothing(void *arg) { return arg; }

static void thread_create_join(long n, long arg UNUSED) {
  begin();
  while (n--) {
    pthread_t t;
    if (pthread_create(&t, NULL, nothing, NULL)) die("pthread_create");
    pthread_join(t, NULL);
  }
}

static volatile int signals;
static void on_signal(int sig UNUSED) { signals++; }

static void signal_self(long n, long arg UNUSED) {
  signal(SIGUSR1, on_signal);
  pid_t pid = getpid();
  begin();
  while (n--) kill(pid, SIGUSR1);
}
