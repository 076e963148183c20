// Many processes at once: limits that hold, signals that come in storms, pipelines,
// and races between fork, exec, kill and wait.
#include "check.h"

#include <poll.h>
#include <pthread.h>
#include <sys/resource.h>

// A program that forks without end meets RLIMIT_NPROC; others go on.
static void fork_bomb(void) {
  enum { USER = 54322, MOST = 60 };
  pid_t bomb = SYS(fork());
  if (bomb == 0) {
    struct rlimit limit = {MOST, MOST};
    SYS(setrlimit(RLIMIT_NPROC, &limit));
    SYS(setpgid(0, 0));
    SYS(setresuid(USER, USER, USER));
    for (;;)
      if (fork() == -1) {
        if (errno != EAGAIN) _exit(1);
        sleep_ms(1);
      }
  }
  setpgid(bomb, bomb);
  for (int i = 0; i < 20; i++) {
    pid_t pid = SYS(fork());  // somebody else still can
    if (pid == 0) _exit(i);
    EXITS(i, pid);
    sleep_ms(5);
  }
  // A signal for the group reaches each of them, those being forked as well.
  SYS(kill(-bomb, SIGKILL));
  DIES(SIGKILL, bomb);
  for (int i = 0; kill(-bomb, 0) == 0; i++) {
    CHECK(i < 5000);
    sleep_ms(1);
  }
  EQ(ESRCH, errno);
}

// While a group forks, one SIGKILL is enough for all of it. The user's limit keeps the
// group small.
static void kill_forking_group(void) {
  enum { USER = 54323, MOST = 30 };
  for (int round = 0; round < 20; round++) {
    int alive[2];
    SYS(pipe(alive));
    pid_t leader = SYS(fork());
    if (leader == 0) {
      struct rlimit limit = {MOST, MOST};
      SYS(setrlimit(RLIMIT_NPROC, &limit));
      SYS(setpgid(0, 0));
      SYS(setresuid(USER, USER, USER));
      close(alive[0]);
      for (;;) {
        pid_t pid = fork();
        if (pid == -1) EQ(EAGAIN, errno);
        if (pid > 0) {
          sleep_ms(1);
          waitpid(pid, NULL, WNOHANG);
        }
      }
    }
    setpgid(leader, leader);
    close(alive[1]);
    sleep_ms(5 + round % 7);
    SYS(kill(-leader, SIGKILL));
    DIES(SIGKILL, leader);
    struct pollfd p = {.fd = alive[0], .events = POLLIN};
    EQ(1, poll(&p, 1, 10000));  // the last one that held the other end has gone
    close(alive[0]);
  }
}

static volatile sig_atomic_t got;
static void count_it(int sig UNUSED) { got++; }

static void signal_storm(void) {
  enum { N = 5000 };
  handle(SIGUSR1, count_it, SA_RESTART);
  block(SIGRTMIN);
  pid_t parent = getpid();
  pid_t pid = SYS(fork());
  if (pid == 0) {
    for (int i = 0; i < N; i++) {
      union sigval v = {.sival_int = i};
      while (sigqueue(parent, SIGRTMIN, v) == -1) {
        EQ(EAGAIN, errno);
        sleep_ms(1);
      }
      if (i % 4 == 0) SYS(kill(parent, SIGUSR1));
    }
    _exit(0);
  }
  sigset_t set = set_of(SIGRTMIN);
  for (int i = 0; i < N; i++) {
    siginfo_t si;
    while (sigwaitinfo(&set, &si) == -1) EQ(EINTR, errno);
    EQ(i, si.si_value.sival_int);
    EQ(pid, si.si_pid);
  }
  EXITS(0, pid);
  CHECK(got > 0);
}

static void ping_pong(void) {
  enum { N = 2000 };
  sigset_t set = set_of(SIGUSR1);
  sigaddset(&set, SIGCHLD);
  SYS(sigprocmask(SIG_BLOCK, &set, NULL));
  pid_t parent = getpid();
  pid_t pid = SYS(fork());
  int sig;
  if (pid == 0) {
    for (int i = 0; i < N; i++) {
      ZERO(sigwait(&set, &sig));
      SYS(kill(parent, SIGUSR1));
    }
    _exit(0);
  }
  for (int i = 0; i < N; i++) {
    SYS(kill(pid, SIGUSR1));
    ZERO(sigwait(&set, &sig));
    EQ(SIGUSR1, sig);
  }
  EXITS(0, pid);
}

// pipeline sends numbers through processes, each of which adds one.
static void pipeline(int length) {
  int head[2];
  SYS(pipe(head));
  int in = head[0];
  pid_t *pids = calloc(length, sizeof(*pids));
  for (int i = 0; i < length; i++) {
    int out[2];
    SYS(pipe(out));
    pids[i] = SYS(fork());
    if (pids[i] == 0) {
      close(head[1]);
      close(out[0]);
      unsigned n;
      ssize_t r;
      while ((r = read(in, &n, sizeof(n))) == sizeof(n)) {
        n++;
        EQ(sizeof(n), write(out[1], &n, sizeof(n)));
      }
      _exit(r == 0 ? 0 : 1);
    }
    close(in);
    close(out[1]);
    in = out[0];
  }
  for (unsigned i = 0; i < 20; i++) {
    EQ(sizeof(i), write(head[1], &i, sizeof(i)));
    unsigned n = 0;
    EQ(sizeof(n), read(in, &n, sizeof(n)));
    EQ(i + length, n);
  }
  close(head[1]);
  for (int i = 0; i < length; i++) EXITS(0, pids[i]);
  char c;
  EQ(0, read(in, &c, 1));
}

static void pipeline_50(void) { pipeline(50); }
static void pipeline_500(void) { pipeline(500); }

static pthread_barrier_t barrier;
static void *exec_it(void *arg) {
  pthread_barrier_wait(&barrier);
  char *argv[] = {"procstress", "exit_with", arg, NULL};
  execv("/proc/self/exe", argv);
  return NULL;
}

// Of several threads that execute a program at once, one does.
static void exec_from_threads(void) {
  for (int round = 0; round < 10; round++) {
    pid_t pid = SYS(fork());
    if (pid == 0) {
      enum { N = 8 };
      static char code[N][4];
      ZERO(pthread_barrier_init(&barrier, NULL, N + 1));
      for (int i = 0; i < N; i++) {
        pthread_t t;
        snprintf(code[i], sizeof(code[i]), "%d", 10 + i);
        ZERO(pthread_create(&t, NULL, exec_it, code[i]));
      }
      pthread_barrier_wait(&barrier);
      for (;;) pause();
    }
    int st = status_of(pid);
    CHECK(WIFEXITED(st));
    CHECK(WEXITSTATUS(st) >= 10 && WEXITSTATUS(st) < 18);
  }
}

static void *make_children(void *arg UNUSED) {
  for (int i = 0; i < 30; i++) {
    pid_t pid = SYS(fork());
    if (pid == 0) _exit(i);
    EXITS(i, pid);
  }
  return NULL;
}

// Each thread gets its own children.
static void wait_in_threads(void) {
  pthread_t t[6];
  for (size_t i = 0; i < LEN(t); i++) ZERO(pthread_create(&t[i], NULL, make_children, NULL));
  for (size_t i = 0; i < LEN(t); i++) ZERO(pthread_join(t[i], NULL));
  ERR(ECHILD, wait(NULL));
}

static int left = 200;
static void *wait_for_any(void *arg UNUSED) {
  for (;;) {
    int st;
    pid_t pid = wait(&st);
    if (pid == -1) {
      EQ(ECHILD, errno);
      return NULL;
    }
    __atomic_fetch_sub(&left, 1, __ATOMIC_SEQ_CST);
  }
}

// Threads that wait for any child get each of them once.
static void children_for_many(void) {
  int go[2];
  SYS(pipe(go));
  for (int i = 0; i < 200; i++)
    if (SYS(fork()) == 0) {
      close(go[1]);
      char c;
      if (read(go[0], &c, 1) != 0) _exit(1);
      _exit(0);
    }
  pthread_t t[5];
  for (size_t i = 0; i < LEN(t); i++) ZERO(pthread_create(&t[i], NULL, wait_for_any, NULL));
  close(go[1]);
  for (size_t i = 0; i < LEN(t); i++) ZERO(pthread_join(t[i], NULL));
  EQ(0, left);
}

// Stops and continuations in quick succession: the last one counts.
static void stop_and_continue(void) {
  pid_t pid = SYS(fork());
  if (pid == 0)
    for (;;) pause();
  for (int i = 0; i < 200; i++) {
    SYS(kill(pid, SIGSTOP));
    SYS(kill(pid, SIGCONT));
    SYS(kill(pid, SIGSTOP));
    int st;
    EQ(pid, SYS(waitpid(pid, &st, WUNTRACED)));
    CHECK(WIFSTOPPED(st));
    SYS(kill(pid, SIGCONT));
  }
  int st;
  EQ(pid, SYS(waitpid(pid, &st, WCONTINUED)));
  CHECK(WIFCONTINUED(st));
  SYS(kill(pid, SIGKILL));
  DIES(SIGKILL, pid);
}

static void chain(int depth) {
  pid_t pid = SYS(fork());
  if (pid == 0) {
    if (depth > 1) chain(depth - 1);
    _exit(0);
  }
  EXITS(0, pid);
}
static void deep(void) { chain(150); }

static void tree(int depth) {
  for (int i = 0; i < 3; i++)
    if (SYS(fork()) == 0) {
      if (depth > 1) tree(depth - 1);
      _exit(0);
    }
}

// Nobody in the tree waits: all of it is adopted, and none is lost.
static void orphan_tree(void) {
  SYS(prctl(PR_SET_CHILD_SUBREAPER, 1));
  tree(4);
  int ended = 0;
  while (wait(NULL) > 0) ended++;
  EQ(ECHILD, errno);
  EQ(3 + 9 + 27 + 81, ended);
}

#define main table_main
TESTS(T(fork_bomb), T(kill_forking_group), T(signal_storm), T(ping_pong), T(pipeline_50), SLOW(pipeline_500),
      T(exec_from_threads), T(wait_in_threads), T(children_for_many), T(stop_and_continue), T(deep), T(orphan_tree))
#undef main

int main(int argc, char **argv) {
  if (argc == 3 && strcmp(argv[1], "exit_with") == 0) return atoi(argv[2]);
  return table_main(argc, argv);
}
