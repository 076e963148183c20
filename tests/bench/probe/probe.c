// probe measures one operation at a time, inside the guest:
//
//	probe NAME N    does the operation N times and prints the nanoseconds of
//	                one, by CLOCK_MONOTONIC
//	probe --list    names the operations
//	probe noop      does nothing, for measuring start-up from outside
//	probe pause     waits for a signal, for measuring resident memory
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define UNUSED __attribute__((unused))

static void die(const char *what) {
  fprintf(stderr, "probe: %s: %s\n", what, strerror(errno));
  exit(1);
}

#define SYS(call)                     \
  ({                                  \
    long value_ = (long)(call);       \
    if (value_ == -1) die(#call);     \
    value_;                           \
  })

static long long now(void) {
  struct timespec ts;
  clock_gettime(CLOCK_MONOTONIC, &ts);
  return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

// Each operation does its own set-up, calls begin, does the work and returns.
static long long started;
static void begin(void) { started = now(); }

static void null_syscall(long n) {
  begin();
  while (n--) syscall(SYS_getppid);
}

static void *map(size_t size) {
  void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED) die("mmap");
  return p;
}

static void page_fault(long n) {
  char *p = map(n * 4096);
  SYS(madvise(p, n * 4096, MADV_NOHUGEPAGE) == 0 || errno == EINVAL ? 0 : -1);
  begin();
  for (long i = 0; i < n; i++) p[i * 4096] = 1;
}

static void mmap_munmap(long n) {
  begin();
  while (n--) {
    char *p = map(4096);
    SYS(munmap(p, 4096));
  }
}

static void mprotect_touch(long n) {
  volatile char *p = map(4096);
  begin();
  while (n--) {
    SYS(mprotect((void *)p, 4096, PROT_READ));
    SYS(mprotect((void *)p, 4096, PROT_READ | PROT_WRITE));
    p[0] = 1;
  }
}

static void reap(pid_t pid) {
  int st;
  SYS(waitpid(pid, &st, 0));
  if (st != 0) die("child failed");
}

static void fork_exit_wait(long n) {
  begin();
  while (n--) {
    pid_t pid = SYS(fork());
    if (pid == 0) _exit(0);
    reap(pid);
  }
}

static const char *self = "/proc/self/exe";

static void do_exec(void) {
  char *argv[] = {"probe", "noop", NULL}, *envp[] = {NULL};
  execve(self, argv, envp);
  _exit(1);
}

static void fork_exec_wait(long n) {
  begin();
  while (n--) {
    pid_t pid = SYS(fork());
    if (pid == 0) do_exec();
    reap(pid);
  }
}

static void vfork_exec_wait(long n) {
  begin();
  while (n--) {
    pid_t pid = vfork();
    if (pid == 0) do_exec();
    if (pid < 0) die("vfork");
    reap(pid);
  }
}

static void fork_64m(long n) {
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

static void pipe_ping_pong(long n) {
  int a[2], b[2];
  char c = 'x';
  SYS(pipe(a));
  SYS(pipe(b));
  pid_t pid = SYS(fork());
  if (pid == 0) {
    close(a[1]);
    while (read(a[0], &c, 1) == 1) SYS(write(b[1], &c, 1));
    _exit(0);
  }
  close(a[0]);
  begin();
  while (n--) {
    SYS(write(a[1], &c, 1));
    SYS(read(b[0], &c, 1));
  }
  long long end = now();
  close(a[1]);
  reap(pid);
  started += now() - end;  // ending the child does not count
}

static void pipe_64k(long n) {
  static char block[65536];
  int p[2];
  SYS(pipe(p));
  pid_t pid = SYS(fork());
  if (pid == 0) {
    close(p[1]);
    while (read(p[0], block, sizeof(block)) > 0) {
    }
    _exit(0);
  }
  begin();
  while (n--) SYS(write(p[1], block, sizeof(block)));
  close(p[1]);
  close(p[0]);
  reap(pid);
}

static char *scratch_file(void) {
  static char name[] = "/tmp/probe.XXXXXX";
  int fd = SYS(mkstemp(name));
  close(fd);
  return name;
}

static void open_close(long n) {
  char *name = scratch_file();
  begin();
  while (n--) close(SYS(open(name, O_RDONLY)));
  long long end = now();
  unlink(name);
  started += now() - end;
}

static void create_unlink(long n) {
  char *name = scratch_file();
  unlink(name);
  begin();
  while (n--) {
    close(SYS(open(name, O_RDWR | O_CREAT | O_EXCL, 0600)));
    SYS(unlink(name));
  }
}

static void stat_path(long n) {
  struct stat st;
  begin();
  while (n--) SYS(stat("/proc/self/../../tmp", &st));
}

static void read_null(long n) {
  int fd = SYS(open("/dev/null", O_RDONLY));
  char c;
  begin();
  while (n--) SYS(read(fd, &c, 1));
}

static void write_null(long n) {
  int fd = SYS(open("/dev/null", O_WRONLY));
  char c = 0;
  begin();
  while (n--) SYS(write(fd, &c, 1));
}

static void pread_file(long n) {
  char *name = scratch_file();
  static char block[4096];
  int fd = SYS(open(name, O_RDWR));
  SYS(write(fd, block, sizeof(block)));
  begin();
  while (n--) SYS(pread(fd, block, sizeof(block), 0));
  unlink(name);
}

static volatile int signals;
static void on_signal(int sig UNUSED) { signals++; }

static void signal_self(long n) {
  signal(SIGUSR1, on_signal);
  pid_t pid = getpid();
  begin();
  while (n--) kill(pid, SIGUSR1);
}

static volatile char *guarded;
static void on_segv(int sig UNUSED) { mprotect((void *)guarded, 4096, PROT_READ | PROT_WRITE); }

static void segv_handler(long n) {
  guarded = map(4096);
  signal(SIGSEGV, on_segv);
  begin();
  while (n--) {
    SYS(mprotect((void *)guarded, 4096, PROT_NONE));
    guarded[0] = 1;
  }
}

static void *nothing(void *arg) { return arg; }

static void thread_create_join(long n) {
  begin();
  while (n--) {
    pthread_t t;
    if (pthread_create(&t, NULL, nothing, NULL)) die("pthread_create");
    pthread_join(t, NULL);
  }
}

static int turn;
static long rounds;

static void take_turns(int mine) {
  for (long i = 0; i < rounds; i++) {
    int v;
    while ((v = __atomic_load_n(&turn, __ATOMIC_SEQ_CST)) != mine) syscall(SYS_futex, &turn, FUTEX_WAIT_PRIVATE, v, NULL);
    __atomic_store_n(&turn, !mine, __ATOMIC_SEQ_CST);
    syscall(SYS_futex, &turn, FUTEX_WAKE_PRIVATE, 1);
  }
}

static void *other_side(void *arg UNUSED) {
  take_turns(1);
  return NULL;
}

static void futex_ping_pong(long n) {
  rounds = n;
  pthread_t t;
  if (pthread_create(&t, NULL, other_side, NULL)) die("pthread_create");
  begin();
  take_turns(0);
  pthread_join(t, NULL);
}

static void clock_read(long n) {
  struct timespec ts;
  begin();
  while (n--) clock_gettime(CLOCK_MONOTONIC, &ts);
}

static const struct {
  const char *name;
  void (*fn)(long);
} probes[] = {
    {"NullSyscall", null_syscall},
    {"ClockRead", clock_read},
    {"ReadNull", read_null},
    {"WriteNull", write_null},
    {"OpenClose", open_close},
    {"CreateUnlink", create_unlink},
    {"Stat", stat_path},
    {"Pread4K", pread_file},
    {"PageFault", page_fault},
    {"MmapMunmap", mmap_munmap},
    {"MprotectTouch", mprotect_touch},
    {"ForkExitWait", fork_exit_wait},
    {"ForkExecWait", fork_exec_wait},
    {"VforkExecWait", vfork_exec_wait},
    {"Fork64M", fork_64m},
    {"PipePingPong", pipe_ping_pong},
    {"Pipe64K", pipe_64k},
    {"SignalSelf", signal_self},
    {"SegvHandler", segv_handler},
    {"ThreadCreateJoin", thread_create_join},
    {"FutexPingPong", futex_ping_pong},
};

int main(int argc, char **argv) {
  if (argc == 2 && strcmp(argv[1], "noop") == 0) return 0;
  if (argc == 2 && strcmp(argv[1], "pause") == 0) {
    puts("ready");
    fflush(stdout);
    pause();
    return 0;
  }
  if (argc == 2 && strcmp(argv[1], "--list") == 0) {
    for (size_t i = 0; i < sizeof(probes) / sizeof(probes[0]); i++) puts(probes[i].name);
    return 0;
  }
  for (size_t i = 0; argc == 3 && i < sizeof(probes) / sizeof(probes[0]); i++) {
    if (strcmp(argv[1], probes[i].name)) continue;
    long n = atol(argv[2]);
    if (n <= 0) break;
    probes[i].fn(n);
    printf("%.1f\n", (double)(now() - started) / n);
    return 0;
  }
  fprintf(stderr, "usage: probe --list | noop | pause | NAME N\n");
  return 2;
}
