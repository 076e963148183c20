// unshare: what threads share by CLONE_FILES and CLONE_FS, and give up.
#include "check.h"

#include <pthread.h>
#include <sched.h>

static void arguments(void) {
  ERR(EINVAL, unshare(1));
  ERR(EINVAL, unshare(CLONE_PARENT));
  ERR(EINVAL, unshare(CLONE_FILES | CLONE_SETTLS));
  EQ(0, SYS(unshare(0)));
  EQ(0, SYS(unshare(CLONE_FILES | CLONE_FS | CLONE_SYSVSEM)));
  // Nothing to unshare: one thread, and nobody else in its memory.
  EQ(0, SYS(unshare(CLONE_THREAD)));
  EQ(0, SYS(unshare(CLONE_SIGHAND)));
  EQ(0, SYS(unshare(CLONE_VM)));
}

static int step;

static void *with_threads(void *arg UNUSED) {
  ERR(EINVAL, unshare(CLONE_THREAD));
  ERR(EINVAL, unshare(CLONE_SIGHAND));
  ERR(EINVAL, unshare(CLONE_VM));
  ERR(EINVAL, unshare(CLONE_VM | CLONE_FILES));
  EQ(0, SYS(unshare(CLONE_FS | CLONE_SYSVSEM)));
  return NULL;
}

static void threads(void) {
  pthread_t t;
  ZERO(pthread_create(&t, NULL, with_threads, NULL));
  ZERO(pthread_join(t, NULL));
}

static int pipe_fds[2];

static void *own_files(void *arg UNUSED) {
  SYS(unshare(CLONE_FILES));
  SYS(close(pipe_fds[0]));
  ERR(EBADF, fcntl(pipe_fds[0], F_GETFD));
  int fd = SYS(dup2(pipe_fds[1], 77));
  __atomic_store_n(&step, 1, __ATOMIC_SEQ_CST);
  WAIT_FOR(&step, 2);
  // What the others open is not seen here.
  ERR(EBADF, fcntl(78, F_GETFD));
  SYS(close(fd));
  return NULL;
}

static void files(void) {
  SYS(pipe(pipe_fds));
  pthread_t t;
  ZERO(pthread_create(&t, NULL, own_files, NULL));
  WAIT_FOR(&step, 1);
  SYS(fcntl(pipe_fds[0], F_GETFD));  // still open here
  ERR(EBADF, fcntl(77, F_GETFD));
  SYS(dup2(pipe_fds[1], 78));
  __atomic_store_n(&step, 2, __ATOMIC_SEQ_CST);
  ZERO(pthread_join(t, NULL));
  // The thread's table went with it, and its copy of the writing end.
  SYS(close(pipe_fds[1]));
  SYS(close(78));
  char c;
  EQ(0, SYS(read(pipe_fds[0], &c, 1)));
}

static void *own_place(void *arg UNUSED) {
  SYS(chdir("a"));  // everybody's
  __atomic_store_n(&step, 1, __ATOMIC_SEQ_CST);
  WAIT_FOR(&step, 2);
  SYS(unshare(CLONE_FS));
  SYS(chdir("b"));
  umask(0);
  SYS(close(SYS(open("inner", O_CREAT | O_WRONLY, 0666))));
  __atomic_store_n(&step, 3, __ATOMIC_SEQ_CST);
  return NULL;
}

static void place(void) {
  scratch();
  SYS(mkdir("a", 0700));
  SYS(mkdir("a/b", 0700));
  umask(022);
  pthread_t t;
  ZERO(pthread_create(&t, NULL, own_place, NULL));
  WAIT_FOR(&step, 1);
  SYS(access("b", F_OK));
  __atomic_store_n(&step, 2, __ATOMIC_SEQ_CST);
  WAIT_FOR(&step, 3);
  SYS(access("b", F_OK));
  EQ(022, umask(022));
  struct stat st;
  SYS(stat("b/inner", &st));
  EQ(0666, st.st_mode & 0777);
  ZERO(pthread_join(t, NULL));
}

static int *shared;

static int in_memory(void *arg UNUSED) {
  // Another process is in this memory, and has its own dispositions.
  ERR(EINVAL, unshare(CLONE_VM));
  EQ(0, SYS(unshare(CLONE_SIGHAND)));
  EQ(0, SYS(unshare(CLONE_THREAD)));
  *shared = 1;
  return 0;
}

static int with_handlers(void *arg UNUSED) {
  ERR(EINVAL, unshare(CLONE_SIGHAND));
  EQ(0, SYS(unshare(CLONE_THREAD)));
  SYS(unshare(CLONE_FILES));
  SYS(close(pipe_fds[0]));
  *shared = 2;
  return 0;
}

static void memory(void) {
  shared = map_shared(PAGE);
  char *stack = map_private(64 * PAGE);
  EXITS(0, SYS(clone(in_memory, stack + 64 * PAGE, CLONE_VM | SIGCHLD, NULL)));
  EQ(1, *shared);
  SYS(pipe(pipe_fds));
  EXITS(0, SYS(clone(with_handlers, stack + 64 * PAGE, CLONE_VM | CLONE_SIGHAND | CLONE_FILES | SIGCHLD, NULL)));
  EQ(2, *shared);
  SYS(fcntl(pipe_fds[0], F_GETFD));
}

TESTS(T(arguments), T(threads), T(files), T(place), T(memory))
