// What every guest program shares: checks that say what differs, a table of
// tests chosen by argv[1], and helpers for children and scratch files.
//
// A program prints nothing that changes from run to run (no pid, no address,
// no time), so that its output can be compared between kernels.
#ifndef CHECK_H
#define CHECK_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define UNUSED __attribute__((unused))
#define PAGE 4096UL
#define MS 1000000LL
#define LEN(a) (sizeof(a) / sizeof((a)[0]))

// say prints at once: nothing stays in a buffer that a fork would copy.
__attribute__((format(printf, 1, 2))) UNUSED static void say(const char *format, ...) {
  char text[1024];
  va_list args;
  va_start(args, format);
  int n = vsnprintf(text, sizeof(text), format, args);
  va_end(args);
  if (n > (int)sizeof(text) - 1) n = sizeof(text) - 1;
  if (write(1, text, n) != n) _exit(99);
}

#define FAIL(...)                              \
  do {                                         \
    say("%s:%d: ", __FILE_NAME__, __LINE__);   \
    say(__VA_ARGS__);                          \
    say("\n");                                 \
    _exit(1);                                  \
  } while (0)

// CHECK fails unless the condition holds.
#define CHECK(c)                  \
  do {                            \
    if (!(c)) FAIL("not: %s", #c); \
  } while (0)

// EQ fails unless the two integers are the same.
#define EQ(want, got)                                                     \
  do {                                                                    \
    long long want_ = (long long)(want), got_ = (long long)(got);         \
    if (want_ != got_) FAIL("%s: want %lld, got %lld", #got, want_, got_); \
  } while (0)

// SYS fails if the call does, and gives back its value.
#define SYS(call)                                                        \
  ({                                                                     \
    long value_ = (long)(call);                                          \
    if (value_ == -1) FAIL("%s: %s", #call, strerrorname_np(errno));     \
    value_;                                                              \
  })

// ERR fails unless the call fails with that error.
#define ERR(want, call)                                                        \
  do {                                                                         \
    errno = 0;                                                                 \
    long value_ = (long)(call);                                                \
    if (value_ != -1) FAIL("%s: want %s, got value %ld", #call, #want, value_); \
    if (errno != (want))                                                       \
      FAIL("%s: want %s, got %s", #call, #want, strerrorname_np(errno));       \
  } while (0)

// ZERO is for the pthread functions, which return the error.
#define ZERO(call)                                                   \
  do {                                                               \
    int value_ = (call);                                             \
    if (value_) FAIL("%s: %s", #call, strerrorname_np(value_));      \
  } while (0)

UNUSED static long long now_ns(void) {
  struct timespec ts;
  clock_gettime(CLOCK_MONOTONIC, &ts);
  return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

UNUSED static void sleep_ms(long ms) {
  struct timespec ts = {ms / 1000, ms % 1000 * 1000000};
  while (nanosleep(&ts, &ts) == -1 && errno == EINTR) {
  }
}

// status_of waits for a child and gives back its wait status.
UNUSED static int status_of(pid_t pid) {
  int status;
  pid_t got;
  do {
    got = waitpid(pid, &status, 0);
  } while (got == -1 && errno == EINTR);
  if (got != pid) FAIL("waitpid: %s", got == -1 ? strerrorname_np(errno) : "another child");
  return status;
}

#define EXITS(code, pid)                                                          \
  do {                                                                            \
    int status_ = status_of(pid);                                                 \
    if (!WIFEXITED(status_) || WEXITSTATUS(status_) != (code))                    \
      FAIL("child: want exit %d, got status %#x", (int)(code), (unsigned)status_); \
  } while (0)

#define DIES(sig, pid)                                                              \
  do {                                                                              \
    int status_ = status_of(pid);                                                   \
    if (!WIFSIGNALED(status_) || WTERMSIG(status_) != (sig))                        \
      FAIL("child: want signal %d, got status %#x", (int)(sig), (unsigned)status_); \
  } while (0)

// start runs fn in a child, which exits with 0 after it.
UNUSED static pid_t start(void (*fn)(void)) {
  pid_t pid = SYS(fork());
  if (pid == 0) {
    fn();
    _exit(0);
  }
  return pid;
}

// forked runs fn in a child that has to exit with 0.
UNUSED static void forked(void (*fn)(void)) { EXITS(0, start(fn)); }

// handle installs a handler with the given flags and an empty mask.
UNUSED static void handle(int sig, void (*fn)(int), int flags) {
  struct sigaction sa = {.sa_handler = fn, .sa_flags = flags};
  sigemptyset(&sa.sa_mask);
  SYS(sigaction(sig, &sa, NULL));
}

UNUSED static void handle_info(int sig, void (*fn)(int, siginfo_t *, void *), int flags) {
  struct sigaction sa = {.sa_sigaction = fn, .sa_flags = flags | SA_SIGINFO};
  sigemptyset(&sa.sa_mask);
  SYS(sigaction(sig, &sa, NULL));
}

UNUSED static sigset_t set_of(int sig) {
  sigset_t s;
  sigemptyset(&s);
  if (sig) sigaddset(&s, sig);
  return s;
}

UNUSED static void block(int sig) {
  sigset_t s = set_of(sig);
  SYS(sigprocmask(SIG_BLOCK, &s, NULL));
}

UNUSED static void unblock(int sig) {
  sigset_t s = set_of(sig);
  SYS(sigprocmask(SIG_UNBLOCK, &s, NULL));
}

// map_shared gives zeroed memory that children share.
UNUSED static void *map_shared(size_t size) {
  void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  CHECK(p != MAP_FAILED);
  return p;
}

UNUSED static void *map_private(size_t size) {
  void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(p != MAP_FAILED);
  return p;
}

// put and get pass one byte, to put processes in order.
UNUSED static void put(int fd, char c) { EQ(1, SYS(write(fd, &c, 1))); }
UNUSED static char get(int fd) {
  char c = 0;
  EQ(1, SYS(read(fd, &c, 1)));
  return c;
}

static char scratch_path[PATH_MAX];
static pid_t scratch_owner;

UNUSED static int scratch_remove(const char *path, const struct stat *st UNUSED, int type UNUSED,
                                 struct FTW *ftw UNUSED) {
  return remove(path);
}

UNUSED static void scratch_end(void) {
  if (getpid() == scratch_owner && chdir("/") == 0)
    nftw(scratch_path, scratch_remove, 16, FTW_DEPTH | FTW_PHYS);
}

// scratch makes an empty directory in /tmp the working directory; it goes when
// the test ends well.
UNUSED static void scratch(void) {
  strcpy(scratch_path, "/tmp/guest.XXXXXX");
  CHECK(mkdtemp(scratch_path) != NULL);
  SYS(chdir(scratch_path));
  scratch_owner = getpid();
  atexit(scratch_end);
}

// make_file makes a file with this content and these permission bits.
UNUSED static void make_file(const char *path, const void *data, size_t size, mode_t mode) {
  int fd = SYS(open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600));
  EQ(size, SYS(write(fd, data, size)));
  SYS(fchmod(fd, mode));
  SYS(close(fd));
}

// wait_for spins, politely, until the value at p is v.
#define WAIT_FOR(p, v)                                    \
  do {                                                    \
    while (__atomic_load_n((p), __ATOMIC_SEQ_CST) != (v)) \
      sleep_ms(1);                                        \
  } while (0)

struct test {
  const char *name;
  void (*fn)(void);
  bool slow;
};

#define T(name) {#name, name, false}
#define SLOW(name) {#name, name, true}

// TESTS is the table of a program and its main function.
#define TESTS(...)                                                           \
  int main(int argc, char **argv) {                                          \
    static const struct test tests[] = {__VA_ARGS__};                        \
    if (argc == 2 && strcmp(argv[1], "--list") == 0) {                       \
      for (size_t i = 0; i < LEN(tests); i++)                                \
        say("%s%s\n", tests[i].name, tests[i].slow ? " slow" : "");          \
      return 0;                                                              \
    }                                                                        \
    for (size_t i = 0; argc == 2 && i < LEN(tests); i++)                     \
      if (strcmp(argv[1], tests[i].name) == 0) {                             \
        tests[i].fn();                                                       \
        say("%s: ok\n", tests[i].name);                                      \
        return 0;                                                            \
      }                                                                      \
    say("usage: %s --list | TEST\n", argc ? argv[0] : "?");                  \
    return 2;                                                                \
  }

#endif
