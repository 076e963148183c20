// exec: chains, arguments and environment, errors, scripts, threads and
// descriptors across it.
#include "check.h"

#include <elf.h>
#include <pthread.h>
#include <sys/resource.h>

#define SELF "/proc/self/exe"

extern char **environ;

// exec_child runs this program anew in a child, with another test as argument.
static pid_t exec_child(const char *test, char *const env[]) {
  pid_t pid = SYS(fork());
  if (pid == 0) {
    char *argv[] = {"exec", (char *)test, NULL};
    execve(SELF, argv, env ? env : environ);
    FAIL("execve: %s", strerrorname_np(errno));
  }
  return pid;
}

static void plain(void) {
  if (getenv("AGAIN")) return;
  char *env[] = {"AGAIN=1", NULL};
  EXITS(0, exec_child("plain", env));
}

static int generation(const char *var) {
  const char *v = getenv(var);
  return v ? atoi(v) : 0;
}

// Forty generations, each the child of the one before, each a new image.
static void fork_exec_chain(void) {
  int n = generation("GENERATION");
  if (n == 40) return;
  char var[32];
  sprintf(var, "GENERATION=%d", n + 1);
  char *env[] = {var, NULL};
  EXITS(0, exec_child("fork_exec_chain", env));
}

// A hundred images in one process, which keeps its id.
static void exec_in_place(void) {
  int n = generation("GENERATION");
  char var[32], pid[32];
  sprintf(var, "GENERATION=%d", n + 1);
  sprintf(pid, "PID=%d", n ? atoi(getenv("PID")) : getpid());
  if (n) EQ(atoi(getenv("PID")), getpid());
  if (n == 100) return;
  char *env[] = {var, pid, NULL};
  char *argv[] = {"exec", "exec_in_place", NULL};
  SYS(execve(SELF, argv, env));
}

static void arguments(void) {
  // A script shows the arguments without this program's own parsing.
  int p[2];
  SYS(pipe(p));
  pid_t pid = SYS(fork());
  if (pid == 0) {
    SYS(dup2(p[1], 1));
    char *argv[] = {"printf", "[%s]", "one", "", "two words", "\xff\x01", NULL};
    char *env[] = {NULL};
    SYS(execve("/bin/busybox", argv, env));
  }
  SYS(close(p[1]));
  char text[100];
  ssize_t n, total = 0;
  while ((n = read(p[0], text + total, sizeof(text) - total)) > 0) total += n;
  EXITS(0, pid);
  text[total] = 0;
  CHECK(strcmp(text, "[one][][two words][\xff\x01]") == 0);
}

static void big_argument_ok(void) {
  if (getenv("BIG")) {
    EQ(100000, strlen(getenv("BIG")));
    return;
  }
  char *big = malloc(100100);
  strcpy(big, "BIG=");
  memset(big + 4, 'x', 100000);
  big[100004] = 0;
  char *env[] = {big, NULL};
  EXITS(0, exec_child("big_argument_ok", env));
}

static void many_arguments_ok(void) {
  enum { N = 20000 };
  if (getenv("AGAIN")) {
    int n = 0;
    for (char **e = environ; *e; e++) n++;
    EQ(N + 1, n);
    return;
  }
  static char *env[N + 2];
  for (int i = 0; i < N; i++) env[i] = "A=b";
  env[N] = "AGAIN=1";
  EXITS(0, exec_child("many_arguments_ok", env));
}

// One string may have 32 pages at most.
static void string_too_long(void) {
  size_t most = 32 * PAGE;
  char *big = malloc(most + 1);
  memset(big, 'x', most);
  big[most] = 0;
  char *argv[] = {"exec", big, NULL};
  ERR(E2BIG, execve(SELF, argv, environ));
  char *env[] = {big, NULL};
  char *argv2[] = {"exec", NULL};
  ERR(E2BIG, execve(SELF, argv2, env));
}

// All of them together may have a quarter of the stack's limit.
static void all_too_long(void) {
  struct rlimit lim = {8 << 20, 8 << 20};
  SYS(setrlimit(RLIMIT_STACK, &lim));
  char *s = malloc(100001);
  memset(s, 'x', 100000);
  s[100000] = 0;
  static char *argv[100];
  for (int i = 0; i < 40; i++) argv[i] = s;
  ERR(E2BIG, execve(SELF, argv, environ));
}

static void errors(void) {
  scratch();
  char *argv[] = {"x", NULL}, *env[] = {NULL};
  ERR(ENOENT, execve("missing", argv, env));
  ERR(ENOENT, execve("", argv, env));
  ERR(ENOENT, execve("missing/program", argv, env));
  make_file("plain", "data", 4, 0644);
  ERR(EACCES, execve("plain", argv, env));
  ERR(ENOTDIR, execve("plain/x", argv, env));
  SYS(mkdir("dir", 0755));
  ERR(EACCES, execve("dir", argv, env));
  ERR(EACCES, execve("/", argv, env));
  SYS(symlink("loop", "loop"));
  ERR(ELOOP, execve("loop", argv, env));
  SYS(mkfifo("fifo", 0755));
  ERR(EACCES, execve("fifo", argv, env));
  char name[300];
  memset(name, 'n', 299);
  name[299] = 0;
  ERR(ENAMETOOLONG, execve(name, argv, env));
  ERR(EFAULT, execve((char *)8, argv, env));
  ERR(EFAULT, execve(SELF, (char **)8, env));
  ERR(EFAULT, execve(SELF, argv, (char **)8));
  char *bad[] = {"x", (char *)8, NULL};
  ERR(EFAULT, execve(SELF, bad, env));
}

static void not_a_program(void) {
  scratch();
  char *argv[] = {"x", NULL}, *env[] = {NULL};
  make_file("empty", "", 0, 0755);
  ERR(ENOEXEC, execve("empty", argv, env));
  make_file("text", "just some text, long enough to hold a header of any kind", 56, 0755);
  ERR(ENOEXEC, execve("text", argv, env));
  make_file("magic", "\177ELF", 4, 0755);
  ERR(ENOEXEC, execve("magic", argv, env));

  static unsigned char head[4096];
  int fd = SYS(open(SELF, O_RDONLY));
  EQ(sizeof(head), SYS(read(fd, head, sizeof(head))));
  SYS(close(fd));
  Elf64_Ehdr *eh = (void *)head;

  make_file("short", head, 40, 0755);  // not even the whole header
  ERR(ENOEXEC, execve("short", argv, env));
  eh->e_machine = EM_AARCH64;
  make_file("foreign", head, sizeof(head), 0755);
  ERR(ENOEXEC, execve("foreign", argv, env));
  eh->e_machine = EM_X86_64;
  eh->e_type = ET_REL;
  make_file("object", head, sizeof(head), 0755);
  ERR(ENOEXEC, execve("object", argv, env));
  eh->e_type = ET_EXEC;
  eh->e_phentsize = 7;
  make_file("phentsize", head, sizeof(head), 0755);
  ERR(ENOEXEC, execve("phentsize", argv, env));
  eh->e_phentsize = sizeof(Elf64_Phdr);
  eh->e_phnum = 0;
  make_file("phnum", head, sizeof(head), 0755);
  ERR(ENOEXEC, execve("phnum", argv, env));
}

// elf_with_interp makes a program that asks for an interpreter.
static void elf_with_interp(const char *path, const char *interp, size_t len) {
  static struct {
    Elf64_Ehdr eh;
    Elf64_Phdr ph[2];
    char interp[256];
  } f;
  memset(&f, 0, sizeof(f));
  memcpy(f.eh.e_ident, ELFMAG, SELFMAG);
  f.eh.e_ident[EI_CLASS] = ELFCLASS64;
  f.eh.e_ident[EI_DATA] = ELFDATA2LSB;
  f.eh.e_ident[EI_VERSION] = EV_CURRENT;
  f.eh.e_type = ET_EXEC;
  f.eh.e_machine = EM_X86_64;
  f.eh.e_version = EV_CURRENT;
  f.eh.e_ehsize = sizeof(f.eh);
  f.eh.e_phoff = sizeof(f.eh);
  f.eh.e_phentsize = sizeof(Elf64_Phdr);
  f.eh.e_phnum = 2;
  f.eh.e_entry = 0x10000000;
  f.ph[0].p_type = PT_INTERP;
  f.ph[0].p_offset = f.interp - (char *)&f;
  f.ph[0].p_filesz = f.ph[0].p_memsz = len;
  f.ph[1].p_type = PT_LOAD;
  f.ph[1].p_flags = PF_R | PF_X;
  f.ph[1].p_vaddr = 0x10000000;
  f.ph[1].p_filesz = f.ph[1].p_memsz = sizeof(f);
  f.ph[1].p_align = PAGE;
  memcpy(f.interp, interp, strlen(interp));
  make_file(path, &f, sizeof(f), 0755);
}

static void missing_interpreter(void) {
  scratch();
  char *argv[] = {"x", NULL}, *env[] = {NULL};
  elf_with_interp("gone", "/no/such/loader", 16);
  ERR(ENOENT, execve("gone", argv, env));
  elf_with_interp("unterminated", "/no/such/loader", 5);
  ERR(ENOEXEC, execve("unterminated", argv, env));
  elf_with_interp("tiny", "", 1);
  ERR(ENOEXEC, execve("tiny", argv, env));
}

// A truncated program may fail in execve or die right after it; nothing else.
static void truncated(void) {
  scratch();
  static unsigned char text[3000000];
  int fd = SYS(open(SELF, O_RDONLY));
  ssize_t n = SYS(read(fd, text, sizeof(text)));
  SYS(close(fd));
  ssize_t cuts[] = {64, 65, 200, 4096, 5000, n / 2};
  for (size_t i = 0; i < LEN(cuts); i++) {
    make_file("cut", text, cuts[i], 0755);
    pid_t pid = SYS(fork());
    if (pid == 0) {
      char *argv[] = {"cut", "--list", NULL}, *env[] = {NULL};
      SYS(close(1));
      execve("cut", argv, env);
      _exit(77);
    }
    int st = status_of(pid);
    CHECK((WIFEXITED(st) && WEXITSTATUS(st) == 77) || WIFSIGNALED(st));
  }
}

static int run_script(const char *path, char *out, size_t size) {
  int p[2];
  SYS(pipe(p));
  pid_t pid = SYS(fork());
  if (pid == 0) {
    SYS(dup2(p[1], 1));
    SYS(dup2(p[1], 2));
    char *argv[] = {"ignored", "first", "second", NULL}, *env[] = {NULL};
    execve(path, argv, env);
    _exit(errno == ENOENT ? 101 : errno == ELOOP ? 102 : errno == EACCES ? 103 : errno == ENOEXEC ? 104 : 105);
  }
  SYS(close(p[1]));
  size_t total = 0;
  ssize_t n;
  while ((n = read(p[0], out + total, size - 1 - total)) > 0) total += n;
  out[total] = 0;
  SYS(close(p[0]));
  int st = status_of(pid);
  CHECK(WIFEXITED(st));
  return WEXITSTATUS(st);
}

static void script_file(const char *path, const char *text) { make_file(path, text, strlen(text), 0755); }

static void scripts(void) {
  scratch();
  char out[500];
  script_file("a", "#!/bin/busybox echo\n");
  EQ(0, run_script("./a", out, sizeof(out)));
  say("plain: %s", out);
  script_file("b", "#!  /bin/busybox   echo with  spaces  \n");
  EQ(127, run_script("./b", out, sizeof(out)));  // all of it is one argument
  say("one argument: %s", out);
  script_file("c", "#!/bin/busybox sh\necho script $1 $2 $#\nexit 9\n");
  EQ(9, run_script("./c", out, sizeof(out)));
  say("shell: %s", out);
  script_file("d", "#! ./c\n");  // a script that runs a script
  EQ(9, run_script("./d", out, sizeof(out)));
  say("nested: %s", out);
  script_file("e", "#!/no/such/interpreter\n");
  EQ(101, run_script("./e", out, sizeof(out)));
  script_file("f", "#!./f\n");  // itself
  EQ(102, run_script("./f", out, sizeof(out)));
  script_file("g", "#!\n");
  EQ(104, run_script("./g", out, sizeof(out)));
  script_file("h", "#!/bin/busybox echo");
  EQ(0, run_script("./h", out, sizeof(out)));
  say("no newline: %s", out);
  script_file("i", "#!/etc\n");
  EQ(103, run_script("./i", out, sizeof(out)));
}

static void close_on_exec(void) {
  if (getenv("AGAIN")) {
    ERR(EBADF, fcntl(50, F_GETFD));
    EQ(0, SYS(fcntl(51, F_GETFD)));
    ERR(EBADF, fcntl(52, F_GETFD));
    EQ(0, SYS(fcntl(53, F_GETFD)));
    ERR(EBADF, fcntl(54, F_GETFD));
    return;
  }
  int fd = SYS(open("/dev/null", O_RDONLY | O_CLOEXEC));
  SYS(dup3(fd, 50, O_CLOEXEC));
  SYS(dup2(fd, 51));
  SYS(dup2(fd, 52));
  SYS(fcntl(52, F_SETFD, FD_CLOEXEC));
  SYS(dup3(fd, 53, O_CLOEXEC));
  SYS(fcntl(53, F_SETFD, 0));
  EQ(54, SYS(fcntl(fd, F_DUPFD_CLOEXEC, 54)));
  char *env[] = {"AGAIN=1", NULL};
  EXITS(0, exec_child("close_on_exec", env));
  EQ(FD_CLOEXEC, SYS(fcntl(50, F_GETFD)));  // the child's table was its own
}

// Handlers become default, ignored stay ignored, mask and pending stay.
static void signals_across(void) {
  if (getenv("AGAIN")) {
    struct sigaction sa;
    SYS(sigaction(SIGUSR1, NULL, &sa));
    CHECK(sa.sa_handler == SIG_DFL);
    SYS(sigaction(SIGUSR2, NULL, &sa));
    CHECK(sa.sa_handler == SIG_IGN);
    sigset_t s;
    SYS(sigprocmask(SIG_BLOCK, NULL, &s));
    CHECK(sigismember(&s, SIGTERM) && !sigismember(&s, SIGUSR1));
    SYS(sigpending(&s));
    CHECK(sigismember(&s, SIGTERM));
    stack_t ss;
    SYS(sigaltstack(NULL, &ss));
    CHECK(ss.ss_flags == SS_DISABLE);
    CHECK(alarm(0) > 0);
    return;
  }
  handle(SIGUSR1, (void (*)(int))exit, 0);
  handle(SIGUSR2, SIG_IGN, 0);
  stack_t ss = {.ss_sp = map_private(65536), .ss_size = 65536};
  pid_t pid = SYS(fork());
  if (pid == 0) {
    SYS(sigaltstack(&ss, NULL));
    block(SIGTERM);
    SYS(raise(SIGTERM));
    alarm(500);
    char *argv[] = {"exec", "signals_across", NULL}, *env[] = {"AGAIN=1", NULL};
    SYS(execve(SELF, argv, env));
  }
  EXITS(0, pid);
}

static void *sleeper(void *arg UNUSED) {
  for (;;) pause();
  return NULL;
}

static void *execer(void *arg UNUSED) {
  char *argv[] = {"exec", "threads_end", NULL}, *env[] = {"AGAIN=1", getenv("PID"), NULL};
  char pid[32];
  sprintf(pid, "PID=%d", getpid());
  env[1] = pid;
  SYS(execve(SELF, argv, env));
  return NULL;
}

// exec from a thread that is not the first: the others end, and the new image
// has the process's id as thread id.
static void threads_end(void) {
  if (getenv("AGAIN")) {
    EQ(atoi(getenv("PID")), getpid());
    EQ(getpid(), gettid());
    return;
  }
  pid_t pid = SYS(fork());
  if (pid == 0) {
    pthread_t t;
    for (int i = 0; i < 8; i++) ZERO(pthread_create(&t, NULL, sleeper, NULL));
    ZERO(pthread_create(&t, NULL, execer, NULL));
    for (;;) pause();
  }
  EXITS(0, pid);
}

static void *hot(void *arg UNUSED) {
  for (volatile unsigned i = 0;; i++) {
  }
  return NULL;
}

static void threads_end_busy(void) {
  if (getenv("AGAIN")) return;
  pid_t pid = SYS(fork());
  if (pid == 0) {
    pthread_t t;
    for (int i = 0; i < 3; i++) ZERO(pthread_create(&t, NULL, hot, NULL));
    char *argv[] = {"exec", "threads_end_busy", NULL}, *env[] = {"AGAIN=1", NULL};
    SYS(execve(SELF, argv, env));
  }
  EXITS(0, pid);
}

static void exec_fails_keeps_threads(void) {
  pthread_t t;
  ZERO(pthread_create(&t, NULL, sleeper, NULL));
  char *argv[] = {"x", NULL};
  ERR(ENOENT, execve("/missing", argv, argv));
  EQ(0, pthread_tryjoin_np(t, NULL) == EBUSY ? 0 : 1);
}

static void name_and_cmdline(void) {
  if (getenv("AGAIN")) {
    char name[16], text[64] = {0};
    SYS(prctl(PR_GET_NAME, name));
    say("name %s\n", name);
    int fd = SYS(open("/proc/self/cmdline", O_RDONLY));
    ssize_t n = SYS(read(fd, text, sizeof(text)));
    for (ssize_t i = 0; i < n; i++)
      if (!text[i]) text[i] = '|';
    say("cmdline %s\n", text);
    return;
  }
  scratch();
  SYS(symlink("/proc/self/exe", "a_rather_long_program_name"));
  pid_t pid = SYS(fork());
  if (pid == 0) {
    char *argv[] = {"argv zero", "name_and_cmdline", NULL}, *env[] = {"AGAIN=1", NULL};
    SYS(execve("./a_rather_long_program_name", argv, env));
  }
  EXITS(0, pid);
}

static void execveat_forms(void) {
  scratch();
  script_file("s", "#!/bin/busybox sh\nexit 5\n");
  char *argv[] = {"s", NULL}, *env[] = {NULL};
  int dir = SYS(open(".", O_RDONLY | O_DIRECTORY));
  pid_t pid = SYS(fork());
  if (pid == 0) SYS(syscall(SYS_execveat, dir, "s", argv, env, 0));
  EXITS(5, pid);
  int fd = SYS(open("/bin/busybox", O_RDONLY | O_CLOEXEC));
  pid = SYS(fork());
  if (pid == 0) {
    char *args[] = {"sh", "-c", "exit 6", NULL};
    SYS(syscall(SYS_execveat, fd, "", args, env, AT_EMPTY_PATH));
  }
  EXITS(6, pid);
  ERR(ENOENT, syscall(SYS_execveat, fd, "", argv, env, 0));
  SYS(symlink("s", "link"));
  ERR(ELOOP, syscall(SYS_execveat, dir, "link", argv, env, AT_SYMLINK_NOFOLLOW));
  ERR(EINVAL, syscall(SYS_execveat, dir, "s", argv, env, 0x40000000));
  ERR(EBADF, syscall(SYS_execveat, 99, "s", argv, env, 0));
}

// A file that is open for writing cannot be run, nor one that runs be written to.
static void text_busy(void) {
  if (getenv("TEXT_BUSY")) {
    put(1, 'u');
    char c;
    EQ(0, SYS(read(0, &c, 1)));
    return;
  }
  scratch();
  static unsigned char text[3000000];
  int fd = SYS(open(SELF, O_RDONLY));
  ssize_t n = SYS(read(fd, text, sizeof(text)));
  SYS(close(fd));
  make_file("copy", text, n, 0755);
  char *argv[] = {"copy", "--list", NULL}, *env[] = {NULL};
  fd = SYS(open("copy", O_WRONLY));
  ERR(ETXTBSY, execve("./copy", argv, env));
  SYS(close(fd));

  int up[2], go[2];
  SYS(pipe(up));
  SYS(pipe(go));
  pid_t pid = SYS(fork());
  if (pid == 0) {
    SYS(dup2(go[0], 0));
    SYS(dup2(up[1], 1));
    SYS(close(go[1]));
    char *argv[] = {"copy", "text_busy", NULL}, *env[] = {"TEXT_BUSY=1", NULL};
    SYS(execve("./copy", argv, env));
  }
  get(up[0]);
  SYS(link("copy", "link"));
  ERR(ETXTBSY, open("copy", O_WRONLY));
  ERR(ETXTBSY, open("link", O_RDWR | O_APPEND));
  ERR(ETXTBSY, open("copy", O_RDONLY | O_TRUNC));
  ERR(ETXTBSY, truncate("copy", 10));
  ERR(ETXTBSY, creat("copy", 0600));
  struct stat st;
  SYS(stat("copy", &st));
  EQ(n, st.st_size);
  SYS(chmod("copy", 0700));
  SYS(close(SYS(open("copy", O_RDONLY))));
  SYS(unlink("copy"));
  make_file("copy", "x", 1, 0700);
  SYS(close(go[1]));
  EXITS(0, pid);
  SYS(truncate("link", 10));

  // A memory file is open for writing in another way.
  fd = SYS(memfd_create("program", MFD_CLOEXEC));
  EQ(n, SYS(write(fd, text, n)));
  pid = SYS(fork());
  if (pid == 0) {
    SYS(dup2(SYS(open("/dev/null", O_WRONLY)), 1));
    SYS(fexecve(fd, argv, env));
  }
  EXITS(0, pid);
}

TESTS(T(plain), T(fork_exec_chain), T(exec_in_place), T(arguments), T(big_argument_ok), T(many_arguments_ok),
      T(string_too_long), T(all_too_long), T(errors), T(not_a_program), T(missing_interpreter), T(truncated),
      T(scripts), T(close_on_exec), T(signals_across), T(threads_end), T(threads_end_busy),
      T(exec_fails_keeps_threads), T(name_and_cmdline), T(execveat_forms), T(text_busy))
