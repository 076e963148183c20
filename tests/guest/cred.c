// Credentials: capabilities, and what set*id calls, prctl(2) and execve(2) make of
// them.
#include "check.h"

#include <grp.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <pthread.h>
#include <sys/fsuid.h>
#include <sys/resource.h>
#include <sys/xattr.h>

struct caps {
  unsigned long effective, permitted, inheritable;
};

static struct caps caps_of(pid_t pid) {
  struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, pid};
  struct __user_cap_data_struct d[2];
  SYS(syscall(SYS_capget, &h, d));
#define BOTH(f) (d[0].f | (unsigned long)d[1].f << 32)
  return (struct caps){BOTH(effective), BOTH(permitted), BOTH(inheritable)};
#undef BOTH
}

static long set_caps(unsigned long effective, unsigned long permitted, unsigned long inheritable) {
  struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0};
  struct __user_cap_data_struct d[2] = {
      {effective, permitted, inheritable}, {effective >> 32, permitted >> 32, inheritable >> 32}};
  return syscall(SYS_capset, &h, d);
}

#define BIT(c) (1UL << (c))
#define SOME (BIT(CAP_CHOWN) | BIT(CAP_KILL) | BIT(CAP_SETUID) | BIT(CAP_SETPCAP))

static void show(const char *when) {
  struct caps c = caps_of(0);
  uid_t r, e, s;
  SYS(getresuid(&r, &e, &s));
  unsigned long ambient = 0, bound = 0;
  for (int i = 0; i <= CAP_LAST_CAP; i++) {
    ambient |= (unsigned long)SYS(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, i, 0, 0)) << i;
    bound |= (unsigned long)SYS(prctl(PR_CAPBSET_READ, i, 0, 0, 0)) << i;
  }
  say("%s: uid %d %d %d, effective %#lx, permitted %#lx, inheritable %#lx, ambient %#lx, bounding %#lx, bits %#lx\n", when,
      r, e, s, c.effective & SOME, c.permitted & SOME, c.inheritable & SOME, ambient & SOME, bound & SOME,
      SYS(prctl(PR_GET_SECUREBITS)));
}

// after_exec runs the program again, which shows what it has.
static void after_exec(const char *when) {
  pid_t pid = SYS(fork());
  if (pid == 0) {
    char *argv[] = {"cred", "shown", (char *)when, NULL};
    execv("/proc/self/exe", argv);
    _exit(1);
  }
  EXITS(0, pid);
}

static void drop_and_raise(void) {
  SYS(set_caps(SOME, SOME, 0));
  show("some");
  SYS(set_caps(BIT(CAP_KILL), SOME, 0));
  show("one effective");
  SYS(set_caps(SOME, SOME, 0));
  ERR(EPERM, set_caps(SOME | BIT(CAP_SYS_ADMIN), SOME | BIT(CAP_SYS_ADMIN), 0));
  ERR(EPERM, set_caps(SOME, BIT(CAP_KILL), 0));  // not permitted
  SYS(set_caps(SOME, SOME, SOME));
  show("inheritable");
  SYS(set_caps(0, 0, SOME));
  show("none but inheritable");
  ERR(EPERM, set_caps(BIT(CAP_KILL), BIT(CAP_KILL), SOME));
  SYS(set_caps(0, 0, 0));
  ERR(EPERM, set_caps(0, 0, SOME));
}

static void user_ids(void) {
  show("root");
  SYS(setresuid(-1, 1000, -1));
  show("effective user");
  SYS(setresuid(-1, 0, -1));
  show("effective root");
  SYS(setresuid(1000, 1000, 1000));
  show("user");
  ERR(EPERM, setresuid(-1, 0, -1));
}

static void keep_capabilities(void) {
  SYS(prctl(PR_SET_KEEPCAPS, 1));
  EQ(1, prctl(PR_GET_KEEPCAPS));
  SYS(setresuid(1000, 1000, 1000));
  show("kept");
  SYS(set_caps(SOME, SOME, 0));
  show("raised");
  EQ(1, prctl(PR_GET_KEEPCAPS));
  after_exec("kept, after exec");
}

static void file_system_ids(void) {
  SYS(set_caps(SOME, SOME, 0));
  EQ(0, setfsuid(1000));
  show("fsuid");  // CAP_CHOWN is for files
  EQ(1000, setfsuid(-1));
  EQ(1000, setfsuid(0));
  show("fsuid 0");
  EQ(0, setfsgid(5));
  EQ(0, setfsgid(-1));  // no CAP_SETGID
  SYS(setresuid(-1, 1000, -1));
  EQ(1000, setfsuid(-1));  // it follows the effective one
}

static void ambient(void) {
  ERR(EPERM, prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_KILL, 0, 0));  // not inheritable
  SYS(set_caps(SOME, SOME, SOME));
  SYS(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_KILL, 0, 0));
  SYS(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_CHOWN, 0, 0));
  show("raised");
  SYS(prctl(PR_SET_KEEPCAPS, 1));
  SYS(setresuid(1000, 1000, 1000));
  show("user");  // gone: no longer root
  SYS(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_KILL, 0, 0));
  SYS(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_CHOWN, 0, 0));
  SYS(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_LOWER, CAP_CHOWN, 0, 0));
  after_exec("ambient");
  SYS(set_caps(0, SOME, SOME & ~BIT(CAP_KILL)));
  show("not inheritable");
  SYS(set_caps(0, SOME, SOME & ~BIT(CAP_KILL)));
  SYS(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_CHOWN, 0, 0));
  SYS(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0));
  show("cleared");
}

static void bounding(void) {
  SYS(prctl(PR_CAPBSET_DROP, CAP_KILL));
  EQ(0, prctl(PR_CAPBSET_READ, CAP_KILL));
  EQ(1, prctl(PR_CAPBSET_READ, CAP_CHOWN));
  show("dropped");
  after_exec("root's program");
  SYS(set_caps(BIT(CAP_CHOWN), BIT(CAP_CHOWN), 0));
  ERR(EPERM, prctl(PR_CAPBSET_DROP, CAP_CHOWN));
  after_exec("root has dropped capabilities");
}

static void secure_bits(void) {
  SYS(prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP));
  SYS(setresuid(1000, 1000, 1000));
  show("no fixup");
  SYS(setresuid(0, 0, 0));
  SYS(prctl(PR_SET_SECUREBITS, SECBIT_NOROOT));
  after_exec("root is nobody");
  SYS(prctl(PR_SET_SECUREBITS, SECBIT_KEEP_CAPS_LOCKED));
  ERR(EPERM, prctl(PR_SET_KEEPCAPS, 1));
  ERR(EPERM, prctl(PR_SET_SECUREBITS, 0));  // a lock stays
  SYS(prctl(PR_SET_SECUREBITS, SECBIT_KEEP_CAPS_LOCKED | SECBIT_NO_CAP_AMBIENT_RAISE));
  SYS(set_caps(SOME, SOME, SOME));
  ERR(EPERM, prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_KILL, 0, 0));
  SYS(set_caps(SOME & ~BIT(CAP_SETPCAP), SOME & ~BIT(CAP_SETPCAP), 0));
  ERR(EPERM, prctl(PR_SET_SECUREBITS, SECBIT_KEEP_CAPS_LOCKED));
}

static void no_new_privileges(void) {
  SYS(set_caps(BIT(CAP_KILL), BIT(CAP_KILL), 0));
  after_exec("without");
  SYS(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
  EQ(1, prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
  after_exec("with");
  ERR(EINVAL, prctl(PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0));
}

static void dumpable(void) {
  EQ(1, prctl(PR_GET_DUMPABLE));
  SYS(prctl(PR_SET_DUMPABLE, 0));
  SYS(prctl(PR_SET_DUMPABLE, 1));
  SYS(prctl(PR_SET_PDEATHSIG, SIGUSR1));
  SYS(setresuid(-1, 1000, -1));
  EQ(0, prctl(PR_GET_DUMPABLE));
  int sig = -1;
  SYS(prctl(PR_GET_PDEATHSIG, &sig));
  EQ(0, sig);
}

static void copy_self(const char *to, mode_t mode) {
  int in = SYS(open("/proc/self/exe", O_RDONLY)), out = SYS(open(to, O_WRONLY | O_CREAT | O_TRUNC, 0700));
  char buf[65536];
  ssize_t n;
  while ((n = SYS(read(in, buf, sizeof(buf)))) > 0) EQ(n, SYS(write(out, buf, n)));
  close(in);
  close(out);
  SYS(chmod(to, mode));
}

// as_user executes a program as a user, which says what it is.
static void as_user(const char *path, const char *when) {
  pid_t pid = SYS(fork());
  if (pid == 0) {
    SYS(setresgid(1000, 1000, 1000));
    SYS(setresuid(1000, 1000, 1000));
    char *argv[] = {(char *)path, "shown", (char *)when, NULL};
    execv(path, argv);
    say("%s: %s\n", when, strerrorname_np(errno));
    _exit(0);
  }
  EXITS(0, pid);
}

static long set_file_caps(const char *path, unsigned magic, unsigned long permitted, unsigned long inheritable) {
  unsigned v[5] = {magic, permitted, inheritable, permitted >> 32, inheritable >> 32};
  return setxattr(path, "security.capability", v, sizeof(v), 0);
}

static void set_id_programs(void) {
  scratch();
  SYS(chmod(".", 0755));
  copy_self("plain", 0755);
  as_user("./plain", "plain");
  copy_self("setuid", 04755);
  as_user("./setuid", "set-user-ID root");
  copy_self("user", 0755);
  SYS(chown("user", 1000, 1000));
  SYS(chmod("user", 06755));
  as_user("./user", "set-user-ID of the caller");
  SYS(chown("user", 2000, 2000));
  SYS(chmod("user", 06755));
  as_user("./user", "set-user-ID of another");
  SYS(chmod("user", 04744));
  as_user("./user", "not executable");
  // The bits of a script do not count.
  char script[PATH_MAX + 32];
  snprintf(script, sizeof(script), "#!%s/plain shown\n", scratch_path);
  make_file("script", script, strlen(script), 04755);
  pid_t pid = SYS(fork());
  if (pid == 0) {
    SYS(setresuid(1000, 1000, 1000));
    SYS(execl("./script", "script", NULL));
  }
  EXITS(0, pid);
}

static void file_capabilities(void) {
  scratch();
  SYS(chmod(".", 0755));
  copy_self("program", 0755);
  SYS(set_file_caps("program", 0x02000001, BIT(CAP_KILL), 0));
  as_user("./program", "permitted and effective");
  SYS(set_file_caps("program", 0x02000000, BIT(CAP_KILL) | BIT(CAP_CHOWN), 0));
  as_user("./program", "permitted");
  SYS(set_file_caps("program", 0x02000001, 0, BIT(CAP_KILL)));
  as_user("./program", "inheritable by nobody");
  ERR(EINVAL, set_file_caps("program", 0x05000001, 0, 0));
  SYS(set_file_caps("program", 0x02000001, BIT(CAP_KILL), 0));
  pid_t pid = SYS(fork());
  if (pid == 0) {
    SYS(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    as_user("./program", "no new privileges");
    _exit(0);
  }
  EXITS(0, pid);
  SYS(prctl(PR_CAPBSET_DROP, CAP_KILL));
  as_user("./program", "not in the bounding set");
}

static void unreadable_program(void) {
  scratch();
  SYS(chmod(".", 0755));
  copy_self("hidden", 0711);
  pid_t pid = SYS(fork());
  if (pid == 0) {
    SYS(setresuid(1000, 1000, 1000));
    SYS(execl("./hidden", "hidden", "dumpable_is", NULL));
  }
  EXITS(0, pid);
  pid = SYS(fork());
  if (pid == 0) SYS(execl("./hidden", "hidden", "dumpable_is", NULL));  // root can read it
  EXITS(1, pid);
}

// The death signal stays across execve, and is not inherited.
static void death_signal_across(void) {
  SYS(prctl(PR_SET_PDEATHSIG, SIGUSR2));
  pid_t pid = SYS(fork());
  int sig = -1;
  if (pid == 0) {
    SYS(prctl(PR_GET_PDEATHSIG, &sig));
    EQ(0, sig);
    SYS(prctl(PR_SET_PDEATHSIG, SIGUSR2));
    char *argv[] = {"cred", "death_signal_is", NULL};
    execv("/proc/self/exe", argv);
    _exit(1);
  }
  EXITS(SIGUSR2, pid);
}

static void other_processes(void) {
  pid_t pid = SYS(fork());
  if (pid == 0) {
    SYS(set_caps(BIT(CAP_KILL), SOME, 0));
    SYS(kill(getpid(), SIGSTOP));
    _exit(0);
  }
  int st;
  EQ(pid, SYS(waitpid(pid, &st, WUNTRACED)));
  struct caps c = caps_of(pid);
  EQ(BIT(CAP_KILL), c.effective);
  EQ(SOME, c.permitted);
  SYS(kill(pid, SIGCONT));
  EXITS(0, pid);
}

static void groups(void) {
  gid_t in[5] = {50, 10, 40, 10, 30}, out[5];
  SYS(setgroups(5, in));
  EQ(5, SYS(getgroups(5, out)));
  for (int i = 0; i < 5; i++) say("%d ", out[i]);
  say("\n");
  SYS(setresgid(7, 8, 9));
  gid_t r, e, s;
  SYS(getresgid(&r, &e, &s));
  say("%d %d %d\n", r, e, s);
  SYS(set_caps(0, 0, 0));
  ERR(EPERM, setgroups(0, NULL));
  ERR(EPERM, setgid(50));  // a supplementary group is none to change to
  SYS(setgid(9));
  SYS(getresgid(&r, &e, &s));
  say("%d %d %d\n", r, e, s);
  SYS(setregid(-1, 7));
  ERR(EPERM, setregid(8, -1));
}

// setuid to a user who has too many processes succeeds; execve does not.
static void too_many_processes(void) {
  enum { USER = 54321, OTHERS = 2 };
  pid_t others[OTHERS];
  int st;
  for (int i = 0; i < OTHERS; i++) {
    others[i] = SYS(fork());
    if (others[i] == 0) {
      SYS(setresuid(USER, USER, USER));
      SYS(kill(getpid(), SIGSTOP));
      _exit(0);
    }
    EQ(others[i], SYS(waitpid(others[i], &st, WUNTRACED)));
  }
  pid_t pid = SYS(fork());
  if (pid == 0) {
    struct rlimit one = {1, 1};
    SYS(setrlimit(RLIMIT_NPROC, &one));
    SYS(setresuid(USER, USER, USER));
    ERR(EAGAIN, fork());
    char *argv[] = {"cred", "shown", "x", NULL};
    ERR(EAGAIN, execv("/proc/self/exe", argv));
    ERR(EAGAIN, execv("/nowhere", argv));
    _exit(0);
  }
  EXITS(0, pid);
  for (int i = 0; i < OTHERS; i++) {
    SYS(kill(others[i], SIGKILL));
    DIES(SIGKILL, others[i]);
  }
}

static void *raw_setuid(void *arg UNUSED) {
  SYS(syscall(SYS_setresuid, 1000, 1000, 1000));
  EQ(1000, syscall(SYS_getuid));
  ERR(EPERM, syscall(SYS_setresuid, 0, 0, 0));
  return NULL;
}

// The kernel's credentials are a thread's, not a process's.
static void ids_in_threads(void) {
  pthread_t t;
  ZERO(pthread_create(&t, NULL, raw_setuid, NULL));
  ZERO(pthread_join(t, NULL));
  EQ(0, syscall(SYS_getuid));
  show("the other thread");
}

static int death_signal_is(void) {
  int sig = 0;
  SYS(prctl(PR_GET_PDEATHSIG, &sig));
  return sig;
}

static int sub(int argc, char **argv) {
  if (argc >= 3 && strcmp(argv[1], "shown") == 0) {
    show(argv[2]);
    return 0;
  }
  if (argc == 2 && strcmp(argv[1], "dumpable_is") == 0) return prctl(PR_GET_DUMPABLE);
  if (argc == 2 && strcmp(argv[1], "death_signal_is") == 0) return death_signal_is();
  return -1;
}

#define main table_main
TESTS(T(drop_and_raise), T(user_ids), T(keep_capabilities), T(file_system_ids), T(ambient), T(bounding),
      T(secure_bits), T(no_new_privileges), T(dumpable), T(death_signal_across), T(other_processes), T(groups),
      T(too_many_processes), T(ids_in_threads), T(set_id_programs), T(file_capabilities), T(unreadable_program))
#undef main

int main(int argc, char **argv) {
  int status = sub(argc, argv);
  return status >= 0 ? status : table_main(argc, argv);
}
