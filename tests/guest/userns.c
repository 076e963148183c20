// User namespaces: who one is in there, what one may do, and the maps.
#include "check.h"

#include <grp.h>
#include <linux/capability.h>
#include <pthread.h>
#include <sched.h>

#define USER 54325

static long write_to(const char *path, const char *text) {
  int fd = open(path, O_WRONLY);
  if (fd == -1) return -1;
  long n = write(fd, text, strlen(text));
  int error = errno;
  close(fd);
  errno = error;
  return n;
}

static void show_file(const char *path) {
  char text[4096];
  int fd = SYS(open(path, O_RDONLY));
  ssize_t n = SYS(read(fd, text, sizeof(text) - 1));
  text[n] = 0;
  say("%s", text);
  close(fd);
}

static void show_ids(const char *when) {
  uid_t r, e, s;
  gid_t g, h, i;
  SYS(getresuid(&r, &e, &s));
  SYS(getresgid(&g, &h, &i));
  say("%s: %u %u %u, %u %u %u\n", when, r, e, s, g, h, i);
}

static void become_user(void) {
  SYS(setgroups(0, NULL));
  SYS(setresgid(USER, USER, USER));
  SYS(setresuid(USER, USER, USER));
  SYS(prctl(PR_SET_DUMPABLE, 1));  // so that the files in /proc/self are its own
}

static unsigned long effective(void) {
  struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0};
  struct __user_cap_data_struct d[2];
  SYS(syscall(SYS_capget, &h, d));
  return d[0].effective;
}

// unshared goes into a namespace as a user, who is root in there.
static void unshared(void) {
  become_user();
  SYS(unshare(CLONE_NEWUSER));
  SYS(write_to("/proc/self/setgroups", "deny"));
  SYS(write_to("/proc/self/uid_map", "0 54325 1\n"));
  SYS(write_to("/proc/self/gid_map", "0 54325 1\n"));
}

static void without_maps(void) {
  become_user();
  EQ(0, effective());
  show_ids("outside");
  SYS(unshare(CLONE_NEWUSER));
  show_ids("inside");
  CHECK(effective() & 1 << CAP_SETUID);
  show_file("/proc/self/uid_map");
  ERR(EINVAL, setuid(0));
  ERR(EPERM, setgroups(0, NULL));
  SYS(setresuid(-1, -1, -1));  // nothing is to change
}

static void as_root(void) {
  unshared();
  show_ids("inside");
  show_file("/proc/self/uid_map");
  show_file("/proc/self/gid_map");
  show_file("/proc/self/setgroups");
  ERR(EPERM, write_to("/proc/self/uid_map", "0 54325 1\n"));  // only once
  ERR(EPERM, setgroups(0, NULL));
  ERR(EINVAL, setuid(1));
  SYS(setuid(0));
  // What concerns everybody is not allowed.
  ERR(EPERM, sethostname("x", 1));
}

static void files(void) {
  scratch();
  SYS(chmod(".", 0777));
  make_file("roots", "", 0, 0600);
  pid_t pid = SYS(fork());
  if (pid == 0) {
    unshared();
    make_file("mine", "", 0, 0644);
    struct stat st;
    SYS(stat("mine", &st));
    say("mine: %u %u\n", st.st_uid, st.st_gid);
    SYS(stat("roots", &st));
    say("root's: %u %u\n", st.st_uid, st.st_gid);
    ERR(EACCES, open("roots", O_RDONLY));  // its owner has no number in here
    ERR(EINVAL, chown("mine", 5, -1));
    SYS(chown("mine", 0, 0));
    SYS(chown("mine", -1, -1));
    ERR(EPERM, chown("roots", 0, 0));
    _exit(0);
  }
  EXITS(0, pid);
  struct stat st;
  SYS(stat("mine", &st));
  EQ(USER, st.st_uid);
  EQ(USER, st.st_gid);
}

static void bad_maps(void) {
  become_user();
  SYS(unshare(CLONE_NEWUSER));
  ERR(EPERM, write_to("/proc/self/uid_map", "0 0 1\n"));          // somebody else
  ERR(EPERM, write_to("/proc/self/uid_map", "0 54325 2\n"));      // more than itself
  ERR(EPERM, write_to("/proc/self/gid_map", "0 54325 1\n"));      // setgroups is allowed
  ERR(EINVAL, write_to("/proc/self/uid_map", "0 54325\n"));
  ERR(EINVAL, write_to("/proc/self/uid_map", "0 54325 0\n"));
  ERR(EINVAL, write_to("/proc/self/uid_map", "a 54325 1\n"));
  ERR(EINVAL, write_to("/proc/self/uid_map", "0 54325 1 1\n"));
  ERR(EINVAL, write_to("/proc/self/uid_map", "0 4294967295 1\n"));
  ERR(EINVAL, write_to("/proc/self/uid_map", "0 1 10\n5 100 1\n"));
  ERR(EINVAL, write_to("/proc/self/setgroups", "perhaps"));
  SYS(write_to("/proc/self/uid_map", "7 54325 1"));
  show_ids("inside");
  SYS(write_to("/proc/self/setgroups", "deny"));
  ERR(EPERM, write_to("/proc/self/setgroups", "allow"));
}

// The parent, which is root, gives the child more than one id.
static void map_from_outside(void) {
  int go[2], ready[2];
  SYS(pipe(go));
  SYS(pipe(ready));
  pid_t pid = SYS(fork());
  if (pid == 0) {
    become_user();
    SYS(unshare(CLONE_NEWUSER));
    put(ready[1], 'r');
    get(go[0]);
    show_ids("inside");
    SYS(setgroups(1, (gid_t[]){3}));
    SYS(setresgid(1, 2, 3));
    SYS(setresuid(1, 2, 3));
    show_ids("changed");
    CHECK(!(effective() & 1 << CAP_SETUID));
    put(ready[1], 'c');
    get(go[0]);
    _exit(0);
  }
  get(ready[0]);
  char path[64];
  snprintf(path, sizeof(path), "/proc/%d/uid_map", pid);
  SYS(write_to(path, "0 54325 1\n1 100000 10\n"));
  show_file(path);
  snprintf(path, sizeof(path), "/proc/%d/gid_map", pid);
  SYS(write_to(path, "0 54325 1\n1 200000 10\n"));
  put(go[1], 'g');
  get(ready[0]);
  snprintf(path, sizeof(path), "/proc/%d/status", pid);
  char text[4096];
  int fd = SYS(open(path, O_RDONLY));
  ssize_t n = SYS(read(fd, text, sizeof(text) - 1));
  text[n] = 0;
  char *uid = strstr(text, "Uid:");
  CHECK(uid != NULL);
  *strstr(uid, "FDSize") = 0;
  say("%s", uid);
  put(go[1], 'g');
  EXITS(0, pid);
}

static void nested(void) {
  unshared();
  SYS(unshare(CLONE_NEWUSER));
  show_ids("deeper");
  SYS(write_to("/proc/self/uid_map", "9 0 1\n"));
  show_ids("deeper, with a map");
  show_file("/proc/self/uid_map");
}

// Who has no privilege outside may make a pid namespace inside.
static void with_pid_namespace(void) {
  become_user();
  ERR(EPERM, unshare(CLONE_NEWPID));
  pid_t pid = SYS(syscall(SYS_clone, CLONE_NEWUSER | CLONE_NEWPID | SIGCHLD, 0, 0, 0, 0));
  if (pid == 0) {
    EQ(1, getpid());
    _exit(0);
  }
  EXITS(0, pid);
  SYS(unshare(CLONE_NEWUSER | CLONE_NEWPID));
  pid = SYS(fork());
  if (pid == 0) _exit(getpid() == 1 ? 0 : 1);
  EXITS(0, pid);
}

static void execute(void) {
  unshared();
  CHECK(effective() & 1 << CAP_SETUID);
  pid_t pid = SYS(fork());
  if (pid == 0) {
    char *argv[] = {"userns", "has_capabilities", NULL};
    execv("/proc/self/exe", argv);
    _exit(9);
  }
  EXITS(1, pid);  // root's program
  pid = SYS(fork());
  if (pid == 0) {
    SYS(unshare(CLONE_NEWUSER));  // in there it is nobody
    char *argv[] = {"userns", "has_capabilities", NULL};
    execv("/proc/self/exe", argv);
    _exit(9);
  }
  EXITS(0, pid);
}

static volatile sig_atomic_t from;
static void note(int sig UNUSED, siginfo_t *info, void *context UNUSED) { from = info->si_uid; }

static void ids_of_others(void) {
  int ready[2];
  SYS(pipe(ready));
  from = -1;
  handle_info(SIGCHLD, note, SA_RESTART);
  pid_t pid = SYS(fork());
  if (pid == 0) {
    handle_info(SIGUSR1, note, 0);
    unshared();
    from = -1;
    put(ready[1], 'r');
    while (from == -1) sleep_ms(1);
    EQ(65534, from);  // root outside has no number
    SYS(kill(getpid(), SIGUSR1));
    EQ(0, from);
    ERR(EPERM, kill(getppid(), 0));
    _exit(0);
  }
  get(ready[0]);
  SYS(kill(pid, SIGUSR1));
  siginfo_t si;
  SYS(waitid(P_PID, pid, &si, WEXITED));
  EQ(0, si.si_status);
  EQ(USER, si.si_uid);
  EQ(USER, from);
}

static void *thread(void *arg UNUSED) {
  ERR(EINVAL, unshare(CLONE_NEWUSER));
  return NULL;
}

static void threads(void) {
  pthread_t t;
  ZERO(pthread_create(&t, NULL, thread, NULL));
  ZERO(pthread_join(t, NULL));
}

#define main table_main
// Capabilities inside count for files whose owner and group have a number inside.
static void over_files(void) {
  scratch();
  SYS(chmod(".", 0777));
  make_file("other", "o", 1, 0600);
  SYS(chown("other", USER + 1, USER + 2));
  make_file("roots", "r", 1, 0600);
  make_file("half", "h", 1, 0600);
  SYS(chown("half", USER + 1, 0));
  SYS(mkdir("dir", 0700));
  SYS(chown("dir", USER + 3, USER + 3));
  make_file("dir/in", "", 0, 0600);
  SYS(mkdir("sticky", 0777));
  SYS(chmod("sticky", 01777));
  make_file("sticky/other", "", 0, 0600);
  SYS(chown("sticky/other", USER + 1, USER + 1));
  make_file("sticky/roots", "", 0, 0600);
  int go[2], ready[2];
  SYS(pipe(go));
  SYS(pipe(ready));
  pid_t pid = SYS(fork());
  if (pid == 0) {
    become_user();
    SYS(unshare(CLONE_NEWUSER));
    put(ready[1], 'r');
    get(go[0]);
    struct stat st;
    char c;
    int fd = SYS(open("other", O_RDWR));
    EQ(1, SYS(read(fd, &c, 1)));
    SYS(stat("other", &st));
    say("other: %u %u %o\n", st.st_uid, st.st_gid, st.st_mode & 07777);
    SYS(chmod("other", 0640));
    SYS(utimensat(AT_FDCWD, "other", (struct timespec[]){{5, 0}, {6, 0}}, 0));
    SYS(chown("other", 5, 6));
    ERR(EINVAL, chown("other", 100, 6));
    SYS(chown("other", 0, 0));
    SYS(chown("other", 7, 7));
    ERR(EACCES, open("roots", O_RDONLY));
    ERR(EPERM, chmod("roots", 0666));
    ERR(EPERM, chown("roots", 0, 0));
    ERR(EACCES, open("half", O_RDONLY));  // its group has none
    SYS(chmod("half", 0666));             // which is the owner's business alone
    SYS(stat("dir/in", &st));
    ERR(EACCES, open("dir/in", O_RDONLY));
    SYS(close(SYS(open("dir/new", O_CREAT | O_WRONLY, 0600))));
    SYS(unlink("dir/new"));
    SYS(unlink("sticky/other"));
    ERR(EPERM, unlink("sticky/roots"));
    EQ(0, SYS(access("other", R_OK | W_OK)));
    ERR(EACCES, access("roots", R_OK));
    ERR(EPERM, mknod("null", S_IFCHR | 0666, 0x103));
    SYS(chroot("dir"));
    SYS(access("/in", F_OK));
    // Without them there is nothing.
    SYS(setresuid(9, 9, 9));
    ERR(EACCES, access("/in", F_OK));
    _exit(0);
  }
  get(ready[0]);
  char path[64], map[64];
  const char *files[] = {"uid_map", "gid_map"};
  for (int i = 0; i < 2; i++) {
    snprintf(path, sizeof(path), "/proc/%d/%s", pid, files[i]);
    snprintf(map, sizeof(map), "0 %d 20\n", USER);
    SYS(write_to(path, map));
  }
  put(go[1], 'g');
  EXITS(0, pid);
  struct stat st;
  SYS(stat("other", &st));
  EQ(USER + 7, st.st_uid);
  EQ(USER + 7, st.st_gid);
}

TESTS(T(over_files), T(without_maps), T(as_root), T(files), T(bad_maps), T(map_from_outside), T(nested), T(with_pid_namespace),
      T(execute), T(ids_of_others), T(threads))
#undef main

int main(int argc, char **argv) {
  if (argc == 2 && strcmp(argv[1], "has_capabilities") == 0) return effective() != 0;
  return table_main(argc, argv);
}
