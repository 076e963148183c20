// memfd_create and seals.
#include "check.h"

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x10
#endif
#ifndef F_SEAL_EXEC
#define F_SEAL_EXEC 0x20
#endif
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 8U
#define MFD_EXEC 0x10U
#endif

static int make(unsigned flags) { return SYS(memfd_create("test", flags)); }
static void seal(int fd, int seals) { SYS(fcntl(fd, F_ADD_SEALS, seals)); }
static int seals(int fd) { return SYS(fcntl(fd, F_GET_SEALS)); }

static void arguments(void) {
  ERR(EINVAL, memfd_create("x", 0x100));
  ERR(EINVAL, memfd_create("x", MFD_NOEXEC_SEAL | MFD_EXEC));
  ERR(EFAULT, memfd_create((void *)8, 0));
  char name[300];
  memset(name, 'n', sizeof(name));
  name[249] = 0;
  SYS(close(SYS(memfd_create(name, 0))));
  name[249] = 'n';
  name[250] = 0;
  ERR(EINVAL, memfd_create(name, 0));
  SYS(close(SYS(memfd_create("", 0))));
  SYS(close(SYS(memfd_create("a/b\n", 0))));
  int a = make(0), b = make(MFD_CLOEXEC);
  EQ(0, SYS(fcntl(a, F_GETFD)));
  EQ(FD_CLOEXEC, SYS(fcntl(b, F_GETFD)));
  EQ(O_RDWR, SYS(fcntl(a, F_GETFL)) & O_ACCMODE);
  struct stat st, st2;
  SYS(fstat(a, &st));
  SYS(fstat(b, &st2));
  EQ(S_IFREG | 0777, st.st_mode);
  EQ(0, st.st_nlink);
  EQ(0, st.st_size);
  EQ(geteuid(), st.st_uid);
  EQ(st.st_dev, st2.st_dev);
  CHECK(st.st_ino != st2.st_ino);  // the same name is another file
}

static void contents(void) {
  int fd = make(0);
  EQ(5, SYS(write(fd, "hello", 5)));
  EQ(5, SYS(lseek(fd, 0, SEEK_CUR)));
  SYS(ftruncate(fd, 3 * PAGE));
  char *p = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  CHECK(p != MAP_FAILED);
  EQ(0, memcmp(p, "hello", 6));
  memcpy(p + 2 * PAGE, "there", 5);
  char b[5];
  EQ(5, SYS(pread(fd, b, 5, 2 * PAGE)));
  EQ(0, memcmp(b, "there", 5));
  SYS(close(fd));  // a mapping keeps it
  EQ('t', p[2 * PAGE]);
  pid_t pid = SYS(fork());
  if (pid == 0) {
    p[PAGE] = 'c';
    _exit(0);
  }
  EXITS(0, pid);
  EQ('c', p[PAGE]);
}

static void without_sealing(void) {
  int fd = make(0);
  EQ(F_SEAL_SEAL, seals(fd));
  ERR(EPERM, fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE));
  ERR(EPERM, fcntl(fd, F_ADD_SEALS, 0));
  scratch();
  int p[2];
  SYS(pipe(p));
  ERR(EINVAL, fcntl(p[0], F_GET_SEALS));
  ERR(EINVAL, fcntl(p[1], F_ADD_SEALS, F_SEAL_WRITE));
  ERR(EBADF, fcntl(99, F_GET_SEALS));
}

static void shrink_and_grow(void) {
  int fd = make(MFD_ALLOW_SEALING);
  EQ(0, seals(fd));
  SYS(ftruncate(fd, PAGE));
  seal(fd, F_SEAL_SHRINK);
  EQ(F_SEAL_SHRINK, seals(fd));
  ERR(EPERM, ftruncate(fd, PAGE - 1));
  SYS(ftruncate(fd, PAGE));
  SYS(ftruncate(fd, 2 * PAGE));
  EQ(1, SYS(pwrite(fd, "x", 1, 3 * PAGE)));
  seal(fd, F_SEAL_GROW);
  EQ(F_SEAL_SHRINK | F_SEAL_GROW, seals(fd));
  ERR(EPERM, ftruncate(fd, 4 * PAGE));
  ERR(EPERM, pwrite(fd, "x", 1, 5 * PAGE));
  ERR(EPERM, fallocate(fd, 0, 0, 6 * PAGE));
  EQ(1, SYS(pwrite(fd, "y", 1, 0)));  // inside is allowed
  seal(fd, 0);
  EQ(F_SEAL_SHRINK | F_SEAL_GROW, seals(fd));
}

static void no_writes(void) {
  int fd = make(MFD_ALLOW_SEALING);
  SYS(ftruncate(fd, 2 * PAGE));
  char *p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  CHECK(p != MAP_FAILED);
  p[0] = 'a';
  ERR(EBUSY, fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE));
  EQ(0, seals(fd));
  SYS(munmap(p, PAGE));
  char *priv = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
  CHECK(priv != MAP_FAILED);
  seal(fd, F_SEAL_WRITE);
  ERR(EPERM, write(fd, "x", 1));
  ERR(EPERM, pwrite(fd, "x", 1, 0));
  ERR(EPERM, fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, PAGE));
  CHECK(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED);
  EQ(EPERM, errno);
  p = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, fd, 0);
  CHECK(p != MAP_FAILED);
  EQ('a', p[0]);
  priv[0] = 'b';  // a private copy may be written
  EQ('a', p[0]);
  SYS(ftruncate(fd, PAGE));  // and the size is not sealed
  char c;
  EQ(1, SYS(pread(fd, &c, 1, 0)));
  EQ('a', c);
}

// A mapping from before may go on writing.
static void future_write(void) {
  int fd = make(MFD_ALLOW_SEALING);
  SYS(ftruncate(fd, PAGE));
  char *p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  CHECK(p != MAP_FAILED);
  seal(fd, F_SEAL_FUTURE_WRITE);
  ERR(EPERM, write(fd, "x", 1));
  CHECK(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED);
  EQ(EPERM, errno);
  char *q = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0);
  CHECK(q != MAP_FAILED);
  ERR(EACCES, mprotect(q, PAGE, PROT_READ | PROT_WRITE));
  p[0] = 'z';
  EQ('z', q[0]);
}

static void sealed_seals(void) {
  int fd = make(MFD_ALLOW_SEALING);
  ERR(EINVAL, fcntl(fd, F_ADD_SEALS, 0x1000));
  seal(fd, F_SEAL_SEAL);
  EQ(F_SEAL_SEAL, seals(fd));
  ERR(EPERM, fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE));
  EQ(1, SYS(write(fd, "x", 1)));
}

static void exec_seal(void) {
  struct stat st;
  int fd = make(MFD_NOEXEC_SEAL);
  SYS(fstat(fd, &st));
  EQ(S_IFREG | 0666, st.st_mode);
  EQ(F_SEAL_EXEC, seals(fd));
  ERR(EPERM, fchmod(fd, 0777));
  SYS(fchmod(fd, 0644));
  fd = make(MFD_EXEC | MFD_ALLOW_SEALING);
  EQ(0, seals(fd));
  SYS(fchmod(fd, 0666));
  seal(fd, F_SEAL_EXEC);
  EQ(F_SEAL_EXEC, seals(fd));
  ERR(EPERM, fchmod(fd, 0711));
  fd = make(MFD_EXEC | MFD_ALLOW_SEALING);
  seal(fd, F_SEAL_EXEC);  // what may be executed is not to be written either
  EQ(F_SEAL_EXEC | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_FUTURE_WRITE, seals(fd));
}

// A program that exists in memory only.
static void executed(void) {
  int in = SYS(open("/bin/true", O_RDONLY)), fd = make(MFD_CLOEXEC | MFD_EXEC);
  static char b[65536];
  ssize_t n;
  while ((n = SYS(read(in, b, sizeof(b)))) > 0) EQ(n, SYS(write(fd, b, n)));
  pid_t pid = SYS(fork());
  if (pid == 0) {
    char *argv[] = {"true", NULL}, *envp[] = {NULL};
    SYS(fexecve(fd, argv, envp));
  }
  EXITS(0, pid);
}

TESTS(T(arguments), T(contents), T(without_sealing), T(shrink_and_grow), T(no_writes), T(future_write),
      T(sealed_seals), T(exec_seal), T(executed))
