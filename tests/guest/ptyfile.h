// Pseudo-terminals for guest programs.
#ifndef PTYFILE_H
#define PTYFILE_H

#include <poll.h>
#include <pty.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <termios.h>

// pty is both ends of a pseudo-terminal. The slave is nobody's controlling terminal.
struct pty {
  int master, slave;
  char name[64];
};

UNUSED static struct pty open_pty(void) {
  struct pty p;
  p.master = SYS(posix_openpt(O_RDWR | O_NOCTTY));
  SYS(grantpt(p.master));
  SYS(unlockpt(p.master));
  ZERO(ptsname_r(p.master, p.name, sizeof(p.name)));
  p.slave = SYS(open(p.name, O_RDWR | O_NOCTTY));
  return p;
}

UNUSED static void type(int master, const char *s) { EQ(strlen(s), SYS(write(master, s, strlen(s)))); }

// readable waits until there is something to be read, at most so long.
UNUSED static bool readable(int fd, int ms) {
  struct pollfd p = {fd, POLLIN, 0};
  return SYS(poll(&p, 1, ms)) == 1 && p.revents & POLLIN;
}

// expect reads until all of want came, which must be all there is.
UNUSED static void expect(int fd, const char *want) {
  char got[8192];
  size_t n = 0, size = strlen(want);
  while (n < size) {
    if (!readable(fd, 5000)) FAIL("want \"%s\", got only %zu bytes of it", want, n);
    n += SYS(read(fd, got + n, sizeof(got) - n));
  }
  if (n != size || memcmp(got, want, n)) {
    for (size_t i = 0; i < n; i++) say(got[i] < ' ' ? "\\x%02x" : "%c", got[i]);
    FAIL(": not what was expected, \"%s\"", want);
  }
}

// empty checks that nothing is to be read.
UNUSED static void empty(int fd) { CHECK(!readable(fd, 20)); }

UNUSED static struct termios get_modes(int fd) {
  struct termios t;
  SYS(tcgetattr(fd, &t));
  return t;
}

UNUSED static void set_modes(int fd, const struct termios *t) { SYS(tcsetattr(fd, TCSANOW, t)); }

// raw makes the terminal raw, with these VMIN and VTIME.
UNUSED static void raw(int fd, int min, int time) {
  struct termios t = get_modes(fd);
  cfmakeraw(&t);
  t.c_cc[VMIN] = min;
  t.c_cc[VTIME] = time;
  set_modes(fd, &t);
}

#endif
