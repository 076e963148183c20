// Files: opening, positions, sizes, copies, descriptors.
#include "check.h"

#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>

static void open_flags(void) {
  scratch();
  ERR(ENOENT, open("f", O_RDONLY));
  int fd = SYS(open("f", O_RDWR | O_CREAT | O_EXCL, 0644));
  EQ(3, SYS(write(fd, "abc", 3)));
  SYS(close(fd));
  ERR(EEXIST, open("f", O_RDWR | O_CREAT | O_EXCL, 0644));
  fd = SYS(open("f", O_RDONLY));
  ERR(EBADF, write(fd, "x", 1));
  EQ('a', get(fd));
  SYS(close(fd));
  fd = SYS(open("f", O_WRONLY));
  char c;
  ERR(EBADF, read(fd, &c, 1));
  SYS(close(fd));
  fd = SYS(open("f", O_RDWR | O_TRUNC));
  struct stat st;
  SYS(fstat(fd, &st));
  EQ(0, st.st_size);
  SYS(mkdir("d", 0755));
  ERR(EISDIR, open("d", O_WRONLY));
  ERR(EISDIR, open("d", O_RDWR));
  ERR(EISDIR, open("d", O_CREAT | O_RDONLY, 0644));
  ERR(ENOTDIR, open("f", O_DIRECTORY));
  ERR(ENOTDIR, open("f/x", O_RDONLY));
  ERR(ENOTDIR, open("f/", O_RDONLY));
  ERR(ENOENT, open("", O_RDONLY));
  ERR(EISDIR, open("new/", O_CREAT | O_WRONLY, 0644));
  SYS(symlink("f", "l"));
  ERR(ELOOP, open("l", O_RDONLY | O_NOFOLLOW));
  SYS(close(SYS(open("l", O_RDONLY))));
  SYS(symlink("made", "dangling"));
  ERR(EEXIST, open("dangling", O_CREAT | O_EXCL | O_RDWR, 0644));
  SYS(close(SYS(open("dangling", O_CREAT | O_RDWR, 0644))));
  SYS(stat("made", &st));
  fd = SYS(open("f", O_RDONLY | O_CLOEXEC));
  EQ(FD_CLOEXEC, SYS(fcntl(fd, F_GETFD)));
}

static void open_path_only(void) {
  scratch();
  make_file("f", "abc", 3, 0);
  int fd = SYS(open("f", O_PATH));
  char c;
  ERR(EBADF, read(fd, &c, 1));
  ERR(EBADF, fchmod(fd, 0600));
  ERR(EBADF, ioctl(fd, FIONREAD, &c));
  struct stat st;
  SYS(fstat(fd, &st));
  EQ(3, st.st_size);
  SYS(mkdir("d", 0755));
  int d = SYS(open("d", O_PATH | O_DIRECTORY));
  SYS(close(SYS(openat(d, "inside", O_CREAT | O_RDWR, 0600))));
  SYS(stat("d/inside", &st));
  SYS(fchdir(d));
  SYS(symlink("inside", "l"));
  int l = SYS(open("l", O_PATH | O_NOFOLLOW));
  SYS(fstat(l, &st));
  CHECK(S_ISLNK(st.st_mode));
}

static void lowest_descriptor(void) {
  int a = SYS(open("/dev/null", O_RDONLY)), b = SYS(dup(a)), c = SYS(dup(a));
  EQ(a + 1, b);
  EQ(a + 2, c);
  SYS(close(b));
  EQ(b, SYS(open("/dev/null", O_RDONLY)));
  EQ(100, SYS(fcntl(a, F_DUPFD, 100)));
  EQ(101, SYS(fcntl(a, F_DUPFD, 100)));
  ERR(EBADF, dup(99));
  ERR(EBADF, dup2(99, 5));
  EQ(a, SYS(dup2(a, a)));
  ERR(EINVAL, dup3(a, a, 0));
  ERR(EINVAL, dup3(a, 50, 0x1234));
  ERR(EBADF, dup2(a, -1));
  ERR(EBADF, close(99));
  ERR(EINVAL, fcntl(a, F_DUPFD, -1));
}

static void too_many(void) {
  scratch();
  struct rlimit lim = {20, 20};
  SYS(setrlimit(RLIMIT_NOFILE, &lim));
  int fd, n = 0;
  while ((fd = open("/dev/null", O_RDONLY)) >= 0) n++;
  EQ(EMFILE, errno);
  CHECK(n <= 17 && n > 5);
  ERR(EMFILE, dup(0));
  ERR(EMFILE, open("made", O_CREAT | O_WRONLY, 0600));
  ERR(ENOENT, access("made", F_OK));
  int p[2];
  ERR(EMFILE, pipe(p));
  ERR(EBADF, dup2(0, 20));
  ERR(EINVAL, fcntl(0, F_DUPFD, 20));
  SYS(close(19));
  EQ(19, SYS(dup(0)));
}

static void close_ranges(void) {
  int fd = SYS(open("/dev/null", O_RDONLY));
  for (int i = 40; i < 50; i++) SYS(dup2(fd, i));
  SYS(syscall(SYS_close_range, 42, 45, 0));
  for (int i = 40; i < 50; i++) {
    if (i >= 42 && i <= 45)
      ERR(EBADF, fcntl(i, F_GETFD));
    else
      EQ(0, SYS(fcntl(i, F_GETFD)));
  }
  SYS(syscall(SYS_close_range, 46, ~0U, 4 /* CLOSE_RANGE_CLOEXEC */));
  EQ(FD_CLOEXEC, SYS(fcntl(46, F_GETFD)));
  ERR(EINVAL, syscall(SYS_close_range, 5, 4, 0));
  ERR(EINVAL, syscall(SYS_close_range, 5, 6, 0x100));
}

static void shared_offset(void) {
  scratch();
  make_file("f", "0123456789", 10, 0600);
  int a = SYS(open("f", O_RDONLY)), b = SYS(dup(a)), c = SYS(open("f", O_RDONLY));
  EQ('0', get(a));
  EQ('1', get(b));
  EQ('0', get(c));
  EQ(5, SYS(lseek(b, 5, SEEK_SET)));
  EQ('5', get(a));
}

static void seek(void) {
  scratch();
  make_file("f", "0123456789", 10, 0600);
  int fd = SYS(open("f", O_RDWR));
  EQ(10, SYS(lseek(fd, 0, SEEK_END)));
  EQ(8, SYS(lseek(fd, -2, SEEK_CUR)));
  EQ('8', get(fd));
  ERR(EINVAL, lseek(fd, -1, SEEK_SET));
  ERR(EINVAL, lseek(fd, -11, SEEK_END));
  ERR(EINVAL, lseek(fd, 0, 99));
  EQ(9, SYS(lseek(fd, 0, SEEK_CUR)));
  EQ(1000, SYS(lseek(fd, 1000, SEEK_SET)));
  char c;
  EQ(0, SYS(read(fd, &c, 1)));
  put(fd, 'x');
  struct stat st;
  SYS(fstat(fd, &st));
  EQ(1001, st.st_size);
  EQ(1, SYS(pread(fd, &c, 1, 500)));
  EQ(0, c);
  ERR(ENXIO, lseek(fd, 2000, SEEK_DATA));
  EQ(1001, SYS(lseek(fd, 1000, SEEK_HOLE)));
}

static void append(void) {
  scratch();
  int a = SYS(open("f", O_WRONLY | O_CREAT | O_APPEND, 0600));
  int b = SYS(open("f", O_RDWR | O_APPEND));
  for (int i = 0; i < 5; i++) {
    put(a, 'a');
    SYS(lseek(b, 0, SEEK_SET));
    put(b, 'b');
  }
  char text[20];
  EQ(10, SYS(pread(b, text, 20, 0)));
  CHECK(memcmp(text, "ababababab", 10) == 0);
  EQ(10, SYS(lseek(b, 0, SEEK_CUR)));
  EQ(1, SYS(pwrite(b, "p", 1, 0)));  // Linux: the end, all the same
  EQ(1, SYS(pread(b, text, 1, 10)));
  EQ('p', text[0]);
}

static void append_from_many(void) {
  scratch();
  SYS(close(SYS(open("f", O_CREAT | O_WRONLY, 0600))));
  for (int k = 0; k < 4; k++)
    if (SYS(fork()) == 0) {
      int fd = SYS(open("f", O_WRONLY | O_APPEND));
      char line[16];
      for (int i = 0; i < 100; i++) {
        snprintf(line, sizeof(line), "%d:%03d\n", k, i);
        EQ(6, SYS(write(fd, line, 6)));
      }
      _exit(0);
    }
  while (wait(NULL) > 0) {
  }
  FILE *f = fopen("f", "r");
  int k, i, next[4] = {0};
  while (fscanf(f, "%d:%d\n", &k, &i) == 2) {
    CHECK(k >= 0 && k < 4);
    EQ(next[k]++, i);
  }
  for (k = 0; k < 4; k++) EQ(100, next[k]);
}

static void positioned(void) {
  scratch();
  int fd = SYS(open("f", O_RDWR | O_CREAT, 0600));
  EQ(3, SYS(pwrite(fd, "abc", 3, 10)));
  EQ(0, SYS(lseek(fd, 0, SEEK_CUR)));
  char text[20];
  EQ(13, SYS(pread(fd, text, 20, 0)));
  CHECK(memcmp(text, "\0\0\0\0\0\0\0\0\0\0abc", 13) == 0);
  ERR(EINVAL, pread(fd, text, 1, -1));
  ERR(EINVAL, pwrite(fd, text, 1, -1));
  struct iovec out[3] = {{"12", 2}, {"", 0}, {"345", 3}}, in[2] = {{text, 1}, {text + 10, 4}};
  EQ(5, SYS(pwritev(fd, out, 3, 0)));
  EQ(5, SYS(preadv(fd, in, 2, 0)));
  CHECK(text[0] == '1' && memcmp(text + 10, "2345", 4) == 0);
  EQ(5, SYS(writev(fd, out, 3)));
  EQ(5, SYS(readv(fd, in, 2)));
  EQ(10, SYS(lseek(fd, 0, SEEK_CUR)));
  struct iovec bad = {text, -1};
  ERR(EINVAL, readv(fd, &bad, 1));
  ERR(EINVAL, readv(fd, in, -1));
  ERR(EFAULT, readv(fd, (void *)8, 1));
  SYS(lseek(fd, 0, SEEK_SET));
  struct iovec half[2] = {{text, 3}, {(void *)8, 3}};
  EQ(3, SYS(readv(fd, half, 2)));  // as far as it goes
}

static void truncate_file(void) {
  scratch();
  int fd = SYS(open("f", O_RDWR | O_CREAT, 0600));
  char block[10000], text[10000];
  memset(block, 'x', sizeof(block));
  EQ(10000, SYS(write(fd, block, sizeof(block))));
  SYS(ftruncate(fd, 5000));
  SYS(ftruncate(fd, 9000));
  EQ(9000, SYS(pread(fd, text, sizeof(text), 0)));
  CHECK(text[4999] == 'x' && text[5000] == 0 && text[8999] == 0);
  SYS(truncate("f", 3));
  EQ(3, SYS(lseek(fd, 0, SEEK_END)));
  ERR(EINVAL, ftruncate(fd, -1));
  ERR(ENOENT, truncate("none", 0));
  SYS(mkdir("d", 0755));
  ERR(EISDIR, truncate("d", 0));
  int r = SYS(open("f", O_RDONLY));
  ERR(EINVAL, ftruncate(r, 0));
  ERR(EBADF, ftruncate(99, 0));
}

static void sparse(void) {
  scratch();
  int fd = SYS(open("f", O_RDWR | O_CREAT, 0600));
  off_t far = 1LL << 32;
  EQ(1, SYS(pwrite(fd, "z", 1, far)));
  struct stat st;
  SYS(fstat(fd, &st));
  EQ(far + 1, st.st_size);
  CHECK(st.st_blocks < 10000);
  char text[4096];
  EQ(4096, SYS(pread(fd, text, 4096, 123456789)));
  for (int i = 0; i < 4096; i++) EQ(0, text[i]);
  EQ(1, SYS(pread(fd, text, 10, far)));
  EQ('z', text[0]);
}

static void size_limit(void) {
  scratch();
  pid_t pid = SYS(fork());
  if (pid == 0) {
    struct rlimit lim = {1000, 1000};
    SYS(setrlimit(RLIMIT_FSIZE, &lim));
    handle(SIGXFSZ, SIG_IGN, 0);
    int fd = SYS(open("f", O_RDWR | O_CREAT, 0600));
    char block[600] = {0};
    EQ(600, SYS(write(fd, block, 600)));
    EQ(400, SYS(write(fd, block, 600)));
    ERR(EFBIG, write(fd, block, 1));
    ERR(EFBIG, ftruncate(fd, 2000));
    struct sigaction sa = {.sa_handler = SIG_DFL};
    SYS(sigaction(SIGXFSZ, &sa, NULL));
    (void)!write(fd, block, 1);
    _exit(0);
  }
  DIES(SIGXFSZ, pid);
}

static void allocate(void) {
  scratch();
  int fd = SYS(open("f", O_RDWR | O_CREAT, 0600));
  SYS(fallocate(fd, 0, 0, 20000));
  EQ(20000, SYS(lseek(fd, 0, SEEK_END)));
  SYS(fallocate(fd, 1 /* KEEP_SIZE */, 20000, 20000));
  EQ(20000, SYS(lseek(fd, 0, SEEK_END)));
  char block[20000], text[20000];
  memset(block, 'x', sizeof(block));
  EQ(20000, SYS(pwrite(fd, block, 20000, 0)));
  SYS(fallocate(fd, 3 /* PUNCH_HOLE | KEEP_SIZE */, 4096, 8192));
  EQ(20000, SYS(pread(fd, text, 20000, 0)));
  CHECK(text[4095] == 'x' && text[4096] == 0 && text[12287] == 0 && text[12288] == 'x');
  ERR(EINVAL, fallocate(fd, 0, -1, 10));
  ERR(EINVAL, fallocate(fd, 0, 0, 0));
  int r = SYS(open("f", O_RDONLY));
  ERR(EBADF, fallocate(r, 0, 0, 10));
}

static void send_file(void) {
  scratch();
  char block[10000], text[10000];
  for (int i = 0; i < 10000; i++) block[i] = i % 251;
  make_file("a", block, sizeof(block), 0600);
  int in = SYS(open("a", O_RDONLY)), out = SYS(open("b", O_RDWR | O_CREAT, 0600));
  EQ(6000, SYS(sendfile(out, in, NULL, 6000)));
  off_t off = 6000;
  EQ(4000, SYS(sendfile(out, in, &off, 99999)));
  EQ(10000, off);
  EQ(6000, SYS(lseek(in, 0, SEEK_CUR)));
  EQ(10000, SYS(pread(out, text, 10000, 0)));
  CHECK(memcmp(block, text, 10000) == 0);
  int p[2];
  SYS(pipe(p));
  off = 0;
  EQ(100, SYS(sendfile(p[1], in, &off, 100)));
  EQ(100, SYS(read(p[0], text, 200)));
  CHECK(memcmp(block, text, 100) == 0);
  loff_t from = 10, to = 20000;
  EQ(50, SYS(copy_file_range(in, &from, out, &to, 50, 0)));
  EQ(50, SYS(pread(out, text, 100, 20000)));
  CHECK(memcmp(block + 10, text, 50) == 0);
  ERR(EBADF, sendfile(in, out, NULL, 1));
}

static void unlink_open(void) {
  scratch();
  int fd = SYS(open("f", O_RDWR | O_CREAT, 0600));
  SYS(unlink("f"));
  ERR(ENOENT, open("f", O_RDONLY));
  EQ(4, SYS(write(fd, "data", 4)));
  char text[5] = {0};
  EQ(4, SYS(pread(fd, text, 4, 0)));
  CHECK(strcmp(text, "data") == 0);
  struct stat st;
  SYS(fstat(fd, &st));
  EQ(0, st.st_nlink);
  char path[64];
  sprintf(path, "/proc/self/fd/%d", fd);
  int again = SYS(open(path, O_RDONLY));
  EQ('d', get(again));
}

static void temporary(void) {
  scratch();
  int fd = SYS(open(".", O_TMPFILE | O_RDWR, 0600));
  EQ(3, SYS(write(fd, "tmp", 3)));
  char path[64];
  sprintf(path, "/proc/self/fd/%d", fd);
  SYS(linkat(AT_FDCWD, path, AT_FDCWD, "named", AT_SYMLINK_FOLLOW));
  struct stat st;
  SYS(stat("named", &st));
  EQ(3, st.st_size);
  EQ(1, st.st_nlink);
}

static void status_flags(void) {
  scratch();
  int fd = SYS(open("f", O_RDWR | O_CREAT | O_APPEND | O_NONBLOCK | O_TRUNC, 0600));
  EQ(O_RDWR | O_APPEND | O_NONBLOCK, SYS(fcntl(fd, F_GETFL)) & ~0100000 /* O_LARGEFILE */);
  SYS(fcntl(fd, F_SETFL, O_RDONLY));
  EQ(O_RDWR, SYS(fcntl(fd, F_GETFL)) & ~0100000);
  ERR(EINVAL, fcntl(fd, 9999));
  ERR(EBADF, fcntl(99, F_GETFL));
  int on = 1;
  SYS(ioctl(fd, FIONBIO, &on));
  CHECK(SYS(fcntl(fd, F_GETFL)) & O_NONBLOCK);
  SYS(ioctl(fd, FIOCLEX));
  EQ(FD_CLOEXEC, SYS(fcntl(fd, F_GETFD)));
  ERR(ENOTTY, ioctl(fd, TIOCGWINSZ, &on));
  ERR(ENOTTY, ioctl(fd, 0x12345678, 0));
}

static int got_lock(int fd, int how) { return flock(fd, how | LOCK_NB) == 0; }

static void whole_file_locks(void) {
  scratch();
  int a = SYS(open("f", O_RDWR | O_CREAT, 0600)), b = SYS(open("f", O_RDWR));
  CHECK(got_lock(a, LOCK_EX));
  CHECK(!got_lock(b, LOCK_EX) && errno == EWOULDBLOCK);
  CHECK(!got_lock(b, LOCK_SH));
  CHECK(got_lock(a, LOCK_SH) && got_lock(b, LOCK_SH));
  CHECK(!got_lock(b, LOCK_EX));
  SYS(flock(a, LOCK_UN));
  CHECK(got_lock(b, LOCK_EX));
  int c = SYS(dup(b));
  SYS(close(b));
  CHECK(!got_lock(a, LOCK_EX));  // the copy holds it
  SYS(close(c));
  CHECK(got_lock(a, LOCK_EX));
  pid_t pid = SYS(fork());
  if (pid == 0) {
    SYS(flock(SYS(open("f", O_RDONLY)), LOCK_SH));  // waits
    _exit(0);
  }
  sleep_ms(10);
  EQ(0, SYS(waitpid(pid, NULL, WNOHANG)));
  SYS(flock(a, LOCK_UN));
  EXITS(0, pid);
  ERR(EINVAL, flock(a, 77));
}

static int set_lock(int fd, int cmd, int type, off_t from, off_t len) {
  struct flock l = {.l_type = type, .l_whence = SEEK_SET, .l_start = from, .l_len = len};
  return fcntl(fd, cmd, &l);
}

static void record_locks(void) {
  scratch();
  int fd = SYS(open("f", O_RDWR | O_CREAT, 0600));
  SYS(set_lock(fd, F_SETLK, F_WRLCK, 10, 10));
  SYS(set_lock(fd, F_SETLK, F_RDLCK, 30, 0));
  pid_t parent = getpid();
  pid_t pid = SYS(fork());
  if (pid == 0) {
    ERR(EAGAIN, set_lock(fd, F_SETLK, F_RDLCK, 15, 1));
    SYS(set_lock(fd, F_SETLK, F_WRLCK, 20, 10));
    SYS(set_lock(fd, F_SETLK, F_RDLCK, 1000, 10));
    ERR(EAGAIN, set_lock(fd, F_SETLK, F_WRLCK, 1000, 10));
    struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 100};
    SYS(fcntl(fd, F_GETLK, &l));
    EQ(parent, l.l_pid);
    EQ(F_WRLCK, l.l_type);
    EQ(10, l.l_start);
    EQ(10, l.l_len);
    l = (struct flock){.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 5};
    SYS(fcntl(fd, F_GETLK, &l));
    EQ(F_UNLCK, l.l_type);
    _exit(0);
  }
  EXITS(0, pid);
  SYS(set_lock(fd, F_SETLK, F_WRLCK, 20, 10));  // the child's went with it
  pid = SYS(fork());
  if (pid == 0) {
    SYS(set_lock(fd, F_SETLKW, F_WRLCK, 12, 1));  // waits
    _exit(0);
  }
  sleep_ms(10);
  EQ(0, SYS(waitpid(pid, NULL, WNOHANG)));
  int other = SYS(open("f", O_RDONLY));
  SYS(close(other));  // closing any descriptor of the file drops them all
  EXITS(0, pid);
}

static void deadlock_seen(void) {
  scratch();
  int fd = SYS(open("f", O_RDWR | O_CREAT, 0600)), up[2], go[2];
  SYS(pipe(up));
  SYS(pipe(go));
  SYS(set_lock(fd, F_SETLK, F_WRLCK, 0, 1));
  pid_t pid = SYS(fork());
  if (pid == 0) {
    SYS(set_lock(fd, F_SETLK, F_WRLCK, 1, 1));
    put(up[1], 'u');
    SYS(set_lock(fd, F_SETLKW, F_WRLCK, 0, 1));
    _exit(0);
  }
  get(up[0]);
  sleep_ms(20);
  ERR(EDEADLK, set_lock(fd, F_SETLKW, F_WRLCK, 1, 1));
  SYS(set_lock(fd, F_SETLK, F_UNLCK, 0, 1));
  EXITS(0, pid);
}

// Circles of three, over two files; a child that only waits is none.
static void deadlock_of_three(void) {
  scratch();
  int f = SYS(open("f", O_RDWR | O_CREAT, 0600)), g = SYS(open("g", O_RDWR | O_CREAT, 0600)), up[2];
  SYS(pipe(up));
  SYS(set_lock(f, F_SETLK, F_WRLCK, 0, 1));
  pid_t a = SYS(fork());
  if (a == 0) {
    SYS(set_lock(g, F_SETLK, F_WRLCK, 0, 1));
    put(up[1], 'u');
    SYS(set_lock(f, F_SETLKW, F_WRLCK, 0, 1));
    _exit(0);
  }
  get(up[0]);
  pid_t b = SYS(fork());
  if (b == 0) {
    SYS(set_lock(f, F_SETLK, F_WRLCK, 1, 1));
    put(up[1], 'u');
    SYS(set_lock(g, F_SETLKW, F_RDLCK, 0, 1));
    _exit(0);
  }
  get(up[0]);
  sleep_ms(20);
  ERR(EDEADLK, set_lock(f, F_SETLKW, F_RDLCK, 1, 1));
  SYS(set_lock(f, F_SETLK, F_UNLCK, 0, 1));
  EXITS(0, a);
  EXITS(0, b);
  SYS(set_lock(f, F_SETLKW, F_WRLCK, 0, 0));
}

// /proc/locks has a line for each lock, and for each wait below it.
static void locks_listed(void) {
  scratch();
  int fd = SYS(open("f", O_RDWR | O_CREAT, 0600)), other = SYS(open("f", O_RDWR));
  struct stat st;
  SYS(fstat(fd, &st));
  SYS(set_lock(fd, F_SETLK, F_WRLCK, 3, 4));
  SYS(set_lock(other, F_OFD_SETLK, F_RDLCK, 100, 0));
  SYS(flock(fd, LOCK_SH));
  pid_t pid = SYS(fork());
  if (pid == 0) {
    SYS(set_lock(fd, F_SETLKW, F_RDLCK, 5, 10));
    _exit(0);
  }
  char want[4][200];
  snprintf(want[0], 200, ": POSIX  ADVISORY  WRITE %d %02x:%02x:%lu 3 6", getpid(), major(st.st_dev), minor(st.st_dev), st.st_ino);
  snprintf(want[1], 200, ": -> POSIX  ADVISORY  READ %d %02x:%02x:%lu 5 14", pid, major(st.st_dev), minor(st.st_dev), st.st_ino);
  snprintf(want[2], 200, ": OFDLCK ADVISORY  READ -1 %02x:%02x:%lu 100 EOF", major(st.st_dev), minor(st.st_dev), st.st_ino);
  snprintf(want[3], 200, ": FLOCK  ADVISORY  READ %d %02x:%02x:%lu 0 EOF", getpid(), major(st.st_dev), minor(st.st_dev), st.st_ino);
  int seen = 0;
  for (int tries = 0; tries < 500 && seen != 15; tries++, sleep_ms(10)) {
    char line[300];
    FILE *locks = fopen("/proc/locks", "r");
    CHECK(locks);
    for (seen = 0; fgets(line, sizeof(line), locks);) {
      line[strcspn(line, "\n")] = 0;
      for (int i = 0; i < 4; i++)
        if (strchr(line, ':') && strcmp(strchr(line, ':'), want[i]) == 0) seen |= 1 << i;
    }
    fclose(locks);
  }
  EQ(15, seen);
  SYS(set_lock(fd, F_SETLK, F_UNLCK, 0, 0));
  EXITS(0, pid);
}

static void open_file_locks(void) {
  scratch();
  int a = SYS(open("f", O_RDWR | O_CREAT, 0600)), b = SYS(open("f", O_RDWR));
  SYS(set_lock(a, F_OFD_SETLK, F_WRLCK, 0, 10));
  ERR(EAGAIN, set_lock(b, F_OFD_SETLK, F_WRLCK, 5, 1));
  SYS(set_lock(b, F_OFD_SETLK, F_WRLCK, 10, 1));
  SYS(close(a));
  SYS(set_lock(b, F_OFD_SETLK, F_WRLCK, 5, 1));
}

static void devices(void) {
  char text[100];
  int fd = SYS(open("/dev/null", O_RDWR));
  EQ(0, SYS(read(fd, text, 10)));
  EQ(100, SYS(write(fd, text, 100)));
  fd = SYS(open("/dev/zero", O_RDWR));
  memset(text, 1, 100);
  EQ(100, SYS(read(fd, text, 100)));
  for (int i = 0; i < 100; i++) EQ(0, text[i]);
  EQ(100, SYS(write(fd, text, 100)));
  fd = SYS(open("/dev/full", O_RDWR));
  ERR(ENOSPC, write(fd, text, 1));
  EQ(10, SYS(read(fd, text, 10)));
  fd = SYS(open("/dev/urandom", O_RDONLY));
  EQ(100, SYS(read(fd, text, 100)));
  int set = 0;
  for (int i = 0; i < 100; i++) set += text[i] != 0;
  CHECK(set > 50);
  struct stat st;
  SYS(stat("/dev/null", &st));
  CHECK(S_ISCHR(st.st_mode));
  EQ(0x103, st.st_rdev);
}

static void big_reads(void) {
  scratch();
  size_t size = 3 << 20;
  char *block = map_private(size), *text = map_private(size);
  for (size_t i = 0; i < size; i++) block[i] = i * 31 >> 7;
  int fd = SYS(open("f", O_RDWR | O_CREAT, 0600));
  EQ(size, SYS(write(fd, block, size)));
  EQ(size, SYS(pread(fd, text, size, 0)));
  CHECK(memcmp(block, text, size) == 0);
  EQ(size - 12345, SYS(pread(fd, text, size, 12345)));
  CHECK(memcmp(block + 12345, text, size - 12345) == 0);
}

static void self_copy(void) {
  // A read into a mapping of the file itself.
  scratch();
  char block[PAGE];
  memset(block, 'a', PAGE);
  make_file("f", block, PAGE, 0600);
  int fd = SYS(open("f", O_RDWR));
  SYS(ftruncate(fd, 2 * PAGE));
  char *p = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  EQ(PAGE, SYS(pread(fd, p + PAGE, PAGE, 0)));
  EQ('a', p[2 * PAGE - 1]);
  EQ(PAGE, SYS(pwrite(fd, p + PAGE, PAGE, 0)));
  EQ('a', p[0]);
}

TESTS(T(open_flags), T(lowest_descriptor), T(open_path_only), T(too_many), T(close_ranges), T(shared_offset), T(seek),
      T(append), T(append_from_many), T(positioned), T(truncate_file), T(sparse), T(size_limit), T(allocate),
      T(send_file), T(unlink_open), T(temporary), T(status_flags), T(whole_file_locks), T(record_locks),
      T(deadlock_seen), T(deadlock_of_three), T(locks_listed), T(open_file_locks), T(devices), T(big_reads), T(self_copy))
