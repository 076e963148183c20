// Pseudo-terminals: both ends, the line discipline, the ioctls. Job control is in
// tty.c.
#include "check.h"
#include "ptyfile.h"

#include <asm/ioctls.h>
#include <sys/select.h>
#include <sys/sysmacros.h>

static void opens(void) {
  int m = SYS(posix_openpt(O_RDWR | O_NOCTTY));
  char name[64];
  ZERO(ptsname_r(m, name, sizeof(name)));
  struct stat st;
  SYS(stat(name, &st));
  CHECK(S_ISCHR(st.st_mode));
  EQ(136, major(st.st_rdev));
  int n = -1;
  SYS(ioctl(m, TIOCGPTN, &n));
  EQ(n, minor(st.st_rdev));
  int locked = 0;
  SYS(ioctl(m, TIOCGPTLCK, &locked));
  EQ(1, locked);
  ERR(EIO, open(name, O_RDWR | O_NOCTTY));
  SYS(grantpt(m));
  SYS(unlockpt(m));
  SYS(ioctl(m, TIOCGPTLCK, &locked));
  EQ(0, locked);
  int s = SYS(open(name, O_RDWR | O_NOCTTY));
  EQ(1, isatty(m));
  EQ(1, isatty(s));
  char again[64];
  ZERO(ttyname_r(s, again, sizeof(again)));
  EQ(0, strcmp(name, again));
  struct stat fst;
  SYS(fstat(s, &fst));
  EQ(st.st_ino, fst.st_ino);
  EQ(st.st_rdev, fst.st_rdev);
  EQ(getuid(), fst.st_uid);
  ERR(ESPIPE, lseek(s, 0, SEEK_SET));
  char c;
  ERR(ESPIPE, pread(s, &c, 1, 0));
  CHECK(mmap(NULL, PAGE, PROT_READ, MAP_SHARED, s, 0) == MAP_FAILED && errno == ENODEV);
  ERR(ENOTTY, ioctl(s, TIOCGPTN, &n));
  ERR(ENOTTY, ioctl(s, 0x12345678, &n));
  ERR(EFAULT, ioctl(s, TIOCGWINSZ, 8));
  SYS(close(s));
  s = SYS(ioctl(m, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC));
  EQ(FD_CLOEXEC, SYS(fcntl(s, F_GETFD)));
  ZERO(ttyname_r(s, again, sizeof(again)));
  EQ(0, strcmp(name, again));
  SYS(close(m));
  ERR(ENOENT, stat(name, &st));
}

static void reopens(void) {
  struct pty p = open_pty();
  char path[64];
  snprintf(path, sizeof(path), "/proc/self/fd/%d", p.slave);
  int s = SYS(open(path, O_RDWR | O_NOCTTY | O_NONBLOCK));
  char target[64];
  target[SYS(readlink(path, target, 63))] = 0;
  EQ(0, strcmp(p.name, target));
  type(p.master, "x\n");
  CHECK(readable(s, 5000));
  expect(s, "x\n");
  char c;
  ERR(EAGAIN, read(s, &c, 1));
}

static void line(void) {
  struct pty p = open_pty();
  type(p.master, "hello");
  empty(p.slave);
  int n;
  SYS(ioctl(p.slave, FIONREAD, &n));
  EQ(0, n);
  type(p.master, "\rtwo\n");
  CHECK(readable(p.slave, 5000));
  char b[100];
  EQ(2, SYS(read(p.slave, b, 2)));
  expect(p.slave, "llo\n");
  expect(p.slave, "two\n");
  expect(p.master, "hello\r\ntwo\r\n");
  EQ(4, SYS(write(p.slave, "a\nb\n", 4)));
  expect(p.master, "a\r\nb\r\n");
  EQ(0, SYS(read(p.slave, b, 0)));
  EQ(0, SYS(write(p.slave, b, 0)));
}

static void editing(void) {
  struct pty p = open_pty();
  type(p.master, "one twx\x7fo three\x17\x17" "2\n");
  CHECK(readable(p.slave, 5000));
  expect(p.slave, "one 2\n");
  type(p.master, "gone\x15kept\x16\x15\n");
  CHECK(readable(p.slave, 5000));
  expect(p.slave, "kept\x15\n");
  type(p.master, "end\x04\x04");
  CHECK(readable(p.slave, 5000));
  char b[10];
  EQ(3, SYS(read(p.slave, b, sizeof(b))));
  EQ(0, SYS(read(p.slave, b, sizeof(b))));
  empty(p.slave);
}

static void echo(void) {
  struct pty p = open_pty();
  struct termios t = get_modes(p.slave);
  t.c_lflag &= ~(ECHO | ISIG);
  set_modes(p.slave, &t);
  type(p.master, "secret\n");
  expect(p.slave, "secret\n");
  empty(p.master);
  t.c_lflag |= ECHONL;
  set_modes(p.slave, &t);
  type(p.master, "x\n");
  expect(p.master, "\r\n");
  t.c_lflag |= ECHO;
  set_modes(p.slave, &t);
  type(p.master, "\x01\x03\t");
  expect(p.master, "^A^C\t");
  t.c_oflag &= ~OPOST;
  set_modes(p.slave, &t);
  EQ(3, SYS(write(p.slave, "a\nb", 3)));
  expect(p.master, "a\nb");
}

static void raw_reads(void) {
  struct pty p = open_pty();
  raw(p.slave, 1, 0);
  type(p.master, "\x03\x04\r\n\x7f");
  CHECK(readable(p.slave, 5000));
  expect(p.slave, "\x03\x04\r\n\x7f");
  empty(p.master);
  raw(p.slave, 0, 0);
  char b[10];
  EQ(0, SYS(read(p.slave, b, sizeof(b))));
  type(p.master, "ab");
  CHECK(readable(p.slave, 5000));
  EQ(2, SYS(read(p.slave, b, sizeof(b))));
}

static void min_and_time(void) {
  struct pty p = open_pty();
  char b[10];
  raw(p.slave, 3, 0);
  type(p.master, "ab");
  empty(p.slave);  // VMIN counts for poll(2)
  type(p.master, "c");
  CHECK(readable(p.slave, 5000));
  EQ(3, SYS(read(p.slave, b, sizeof(b))));
  type(p.master, "d");
  sleep_ms(20);
  EQ(1, SYS(read(p.slave, b, 1)));  // no more than was asked for

  raw(p.slave, 0, 2);
  long long begin = now_ns();
  EQ(0, SYS(read(p.slave, b, sizeof(b))));
  long long took = now_ns() - begin;
  CHECK(took > 150 * MS && took < 2000 * MS);
  type(p.master, "e");
  EQ(1, SYS(read(p.slave, b, sizeof(b))));

  // The time between bytes.
  raw(p.slave, 5, 2);
  type(p.master, "fg");
  begin = now_ns();
  EQ(2, SYS(read(p.slave, b, sizeof(b))));
  took = now_ns() - begin;
  CHECK(took > 150 * MS && took < 2000 * MS);

  // Non-blocking reads take what there is.
  raw(p.slave, 5, 0);
  SYS(fcntl(p.slave, F_SETFL, O_RDWR | O_NONBLOCK));
  ERR(EAGAIN, read(p.slave, b, sizeof(b)));
  type(p.master, "hi");
  sleep_ms(50);
  EQ(2, SYS(read(p.slave, b, sizeof(b))));
}

static volatile sig_atomic_t signals;
static void on_signal(int sig UNUSED) { signals++; }

static void interrupted(void) {
  struct pty p = open_pty();
  char b[10];
  handle(SIGALRM, on_signal, 0);
  struct itimerval it = {.it_value = {0, 30000}};
  SYS(setitimer(ITIMER_REAL, &it, NULL));
  ERR(EINTR, read(p.slave, b, sizeof(b)));
  // With SA_RESTART the read goes on.
  handle(SIGALRM, on_signal, SA_RESTART);
  pid_t pid = SYS(fork());
  if (pid == 0) {
    sleep_ms(100);
    type(p.master, "x\n");
    _exit(0);
  }
  SYS(setitimer(ITIMER_REAL, &it, NULL));
  EQ(2, SYS(read(p.slave, b, sizeof(b))));
  EXITS(0, pid);
  EQ(2, signals);
  // What came before the signal is what the read got.
  raw(p.slave, 5, 0);
  type(p.master, "ab");
  SYS(setitimer(ITIMER_REAL, &it, NULL));
  EQ(2, SYS(read(p.slave, b, sizeof(b))));
  EQ(3, signals);
}

static void modes(void) {
  struct pty p = open_pty();
  struct termios t = get_modes(p.slave), m = get_modes(p.master);
  EQ(0, memcmp(&t, &m, sizeof(t)));  // the master shows the slave's
  EQ(ICRNL | IXON, t.c_iflag);
  EQ(OPOST | ONLCR, t.c_oflag);
  EQ(ISIG | ICANON | ECHO | ECHOE | ECHOK | ECHOCTL | ECHOKE | IEXTEN, t.c_lflag);
  EQ(3, t.c_cc[VINTR]);
  EQ(0x7f, t.c_cc[VERASE]);
  EQ(B38400, cfgetospeed(&t));
  t.c_cc[VINTR] = 'x';
  t.c_cflag &= ~CSIZE;
  SYS(tcsetattr(p.master, TCSAFLUSH, &t));
  t = get_modes(p.slave);
  EQ('x', t.c_cc[VINTR]);
  EQ(CS8, t.c_cflag & CSIZE);
  cfsetospeed(&t, B115200);
  SYS(tcsetattr(p.slave, TCSADRAIN, &t));
  struct {
    unsigned iflag, oflag, cflag, lflag;
    unsigned char line, cc[19];
    unsigned ispeed, ospeed;
  } two;
  SYS(ioctl(p.slave, 0x802c542a /* TCGETS2 */, &two));
  EQ(115200, two.ospeed);
  two.cflag = (two.cflag & ~CBAUD) | 0010000 /* BOTHER */;
  two.ospeed = 12345;
  SYS(ioctl(p.slave, 0x402c542b /* TCSETS2 */, &two));
  two.ospeed = 0;
  SYS(ioctl(p.slave, 0x802c542a, &two));
  EQ(12345, two.ospeed);
  ERR(EFAULT, ioctl(p.slave, TCSETS, 8));
  SYS(tcdrain(p.slave));
  SYS(tcsendbreak(p.slave, 0));
  ERR(EINVAL, tcflush(p.slave, 3));
  ERR(EINVAL, tcflow(p.slave, 7));
  int disc = 7;
  SYS(ioctl(p.slave, TIOCGETD, &disc));
  EQ(N_TTY, disc);
  SYS(ioctl(p.slave, TIOCSETD, &disc));
  disc = 1000;
  ERR(EINVAL, ioctl(p.slave, TIOCSETD, &disc));
  int soft = 7;
  SYS(ioctl(p.slave, TIOCGSOFTCAR, &soft));
  EQ(0, soft);
  ERR(ENOTTY, ioctl(p.slave, TIOCMGET, &soft));
}

static void window_size(void) {
  struct pty p = open_pty();
  struct winsize w = {1, 1, 1, 1};
  SYS(ioctl(p.slave, TIOCGWINSZ, &w));
  EQ(0, w.ws_row | w.ws_col);
  w = (struct winsize){24, 80, 640, 480};
  SYS(ioctl(p.master, TIOCSWINSZ, &w));
  w = (struct winsize){};
  SYS(ioctl(p.slave, TIOCGWINSZ, &w));
  EQ(24, w.ws_row);
  EQ(80, w.ws_col);
  EQ(640, w.ws_xpixel);
  EQ(480, w.ws_ypixel);
}

static void queues(void) {
  struct pty p = open_pty();
  type(p.master, "one\ntwo\nthree");
  CHECK(readable(p.slave, 5000));
  sleep_ms(20);
  int n;
  SYS(ioctl(p.slave, FIONREAD, &n));
  EQ(8, n);
  SYS(ioctl(p.slave, TIOCOUTQ, &n));
  EQ(0, n);
  SYS(ioctl(p.master, FIONREAD, &n));
  EQ(15, n);
  SYS(tcflush(p.slave, TCIFLUSH));
  SYS(ioctl(p.slave, FIONREAD, &n));
  EQ(0, n);
  type(p.master, "x\n");
  expect(p.slave, "x\n");
  // What was not complete counts as a line when lines are no longer asked for.
  type(p.master, "part");
  sleep_ms(20);
  raw(p.slave, 1, 0);
  CHECK(readable(p.slave, 5000));
  expect(p.slave, "part");
}

static void flow(void) {
  struct pty p = open_pty();
  type(p.master, "\x13");  // ^S
  sleep_ms(20);
  SYS(fcntl(p.slave, F_SETFL, O_RDWR | O_NONBLOCK));
  ERR(EAGAIN, write(p.slave, "x", 1));
  struct pollfd f = {p.slave, POLLOUT, 0};
  EQ(0, SYS(poll(&f, 1, 0)));
  type(p.master, "\x11");
  EQ(1, SYS(poll(&f, 1, 5000)));
  EQ(1, SYS(write(p.slave, "y", 1)));
  expect(p.master, "y");
  SYS(tcflow(p.slave, TCOOFF));
  ERR(EAGAIN, write(p.slave, "x", 1));
  SYS(tcflow(p.slave, TCOON));
  EQ(1, SYS(write(p.slave, "z", 1)));
  expect(p.master, "z");
  SYS(tcflow(p.slave, TCIOFF));
  SYS(tcflow(p.slave, TCION));
  expect(p.master, "\x13\x11");
}

// A terminal takes a bounded amount, and a writer waits.
static void bounded(void) {
  struct pty p = open_pty();
  raw(p.slave, 1, 0);
  SYS(fcntl(p.slave, F_SETFL, O_RDWR | O_NONBLOCK));
  SYS(fcntl(p.master, F_SETFL, O_RDWR | O_NONBLOCK));
  char b[4096];
  memset(b, 'x', sizeof(b));
  for (int side = 0; side < 2; side++) {
    int fd = side ? p.master : p.slave;
    size_t total = 0;
    for (;;) {
      ssize_t n = write(fd, b, sizeof(b));
      if (n == -1) {
        EQ(EAGAIN, errno);
        break;
      }
      total += n;
      CHECK(total < 1 << 20);
      sleep_ms(1);
    }
    CHECK(total >= 4096);
    struct pollfd f = {fd, POLLOUT, 0};
    EQ(0, SYS(poll(&f, 1, 20)));
  }
  SYS(fcntl(p.slave, F_SETFL, O_RDWR));
  pid_t pid = SYS(fork());
  if (pid == 0) {
    EQ(sizeof(b), SYS(write(p.slave, b, sizeof(b))));
    _exit(0);
  }
  sleep_ms(50);
  EQ(0, SYS(waitpid(pid, NULL, WNOHANG)));
  for (int status; SYS(waitpid(pid, &status, WNOHANG)) == 0;)
    if (readable(p.master, 10)) SYS(read(p.master, b, sizeof(b)));
}

static void packets(void) {
  struct pty p = open_pty();
  int on = 1;
  SYS(ioctl(p.master, TIOCPKT, &on));
  on = 0;
  SYS(ioctl(p.master, TIOCGPKT, &on));
  EQ(1, on);
  ERR(ENOTTY, ioctl(p.slave, TIOCPKT, &on));
  char b[100];
  EQ(4, SYS(write(p.slave, "data", 4)));
  CHECK(readable(p.master, 5000));
  EQ(5, SYS(read(p.master, b, sizeof(b))));
  EQ(TIOCPKT_DATA, b[0]);
  EQ(0, memcmp(b + 1, "data", 4));
  type(p.master, "\x13");
  struct pollfd f = {p.master, POLLPRI, 0};
  EQ(1, SYS(poll(&f, 1, 5000)));
  EQ(1, SYS(read(p.master, b, sizeof(b))));
  EQ(TIOCPKT_STOP, b[0]);
  type(p.master, "\x11");
  EQ(1, SYS(poll(&f, 1, 5000)));
  EQ(1, SYS(read(p.master, b, sizeof(b))));
  EQ(TIOCPKT_START, b[0]);
  raw(p.slave, 1, 0);
  EQ(1, SYS(read(p.master, b, sizeof(b))));
  EQ(TIOCPKT_NOSTOP, b[0]);
  SYS(tcflush(p.slave, TCIOFLUSH));
  EQ(1, SYS(read(p.master, b, sizeof(b))));
  EQ(TIOCPKT_FLUSHREAD | TIOCPKT_FLUSHWRITE, b[0]);
}

static void slave_leaves(void) {
  struct pty p = open_pty();
  EQ(4, SYS(write(p.slave, "last", 4)));
  SYS(close(p.slave));
  struct pollfd f = {p.master, POLLIN, 0};
  EQ(1, SYS(poll(&f, 1, 5000)));
  CHECK(f.revents & POLLHUP);
  char b[10];
  EQ(4, SYS(read(p.master, b, sizeof(b))));
  ERR(EIO, read(p.master, b, sizeof(b)));
  p.slave = SYS(open(p.name, O_RDWR | O_NOCTTY));
  empty(p.master);
  type(p.master, "back\n");
  expect(p.slave, "back\n");
}

static void master_leaves(void) {
  struct pty p = open_pty();
  type(p.master, "unread\n");
  CHECK(readable(p.slave, 5000));
  pid_t pid = SYS(fork());
  if (pid == 0) {
    SYS(close(p.master));
    char b[10];
    EQ(7, SYS(read(p.slave, b, sizeof(b))));
    ERR(EIO, read(p.slave, b, sizeof(b)));  // waits until it hangs up
    _exit(0);
  }
  sleep_ms(50);
  SYS(close(p.master));
  EXITS(0, pid);
  char b[10];
  EQ(0, SYS(read(p.slave, b, sizeof(b))));
  ERR(EIO, write(p.slave, b, 1));
  struct termios t;
  ERR(EIO, tcgetattr(p.slave, &t));
  struct pollfd f = {p.slave, POLLIN | POLLOUT, 0};
  EQ(1, SYS(poll(&f, 1, 5000)));
  EQ(POLLIN | POLLOUT | POLLERR | POLLHUP, f.revents);
  ERR(ENOENT, open(p.name, O_RDWR | O_NOCTTY));
}

static void waits(void) {
  struct pty p = open_pty();
  int ep = SYS(epoll_create1(0));
  struct epoll_event e = {.events = EPOLLIN, .data.fd = p.slave};
  SYS(epoll_ctl(ep, EPOLL_CTL_ADD, p.slave, &e));
  EQ(0, SYS(epoll_wait(ep, &e, 1, 0)));
  pid_t pid = SYS(fork());
  if (pid == 0) {
    sleep_ms(50);
    type(p.master, "x\n");
    _exit(0);
  }
  EQ(1, SYS(epoll_wait(ep, &e, 1, 5000)));
  EQ(p.slave, e.data.fd);
  EXITS(0, pid);
  fd_set set;
  FD_ZERO(&set);
  FD_SET(p.slave, &set);
  EQ(1, SYS(select(p.slave + 1, &set, NULL, NULL, NULL)));
  expect(p.slave, "x\n");
  // A waiting read is woken.
  pid = SYS(fork());
  if (pid == 0) {
    char b[10];
    EQ(2, SYS(read(p.slave, b, sizeof(b))));
    _exit(0);
  }
  sleep_ms(50);
  type(p.master, "y\n");
  EXITS(0, pid);
}

static void long_line(void) {
  struct pty p = open_pty();
  struct termios t = get_modes(p.slave);
  t.c_lflag &= ~ECHO;
  set_modes(p.slave, &t);
  char b[6000];
  memset(b, 'x', sizeof(b));
  EQ(sizeof(b), SYS(write(p.master, b, sizeof(b))));
  type(p.master, "y\n");
  CHECK(readable(p.slave, 5000));
  EQ(4096, SYS(read(p.slave, b, sizeof(b))));
  EQ('x', b[4094]);
  EQ('\n', b[4095]);
}

TESTS(T(opens), T(line), T(editing), T(echo), T(raw_reads), T(min_and_time), T(interrupted), T(modes),
      T(window_size), T(queues), T(flow), T(bounded), T(packets), T(slave_leaves), T(master_leaves), T(waits),
      T(reopens), T(long_line))
