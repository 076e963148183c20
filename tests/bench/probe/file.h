// Operations on files and descriptors.
#include <sys/epoll.h>

#include "probe.h"

static char *scratch_file(void) {
  static char name[] = "/tmp/probe.XXXXXX";
  int fd = SYS(mkstemp(name));
  close(fd);
  return name;
}

static void open_close(long n, long arg) {
  char *name = scratch_file();
  descriptors(arg);
  begin();
  while (n--) close(SYS(open(name, O_RDONLY)));
  long long end = now();
  unlink(name);
  not_counted(end);
}

static void create_unlink(long n, long arg UNUSED) {
  char *name = scratch_file();
  unlink(name);
  begin();
  while (n--) {
    close(SYS(open(name, O_RDWR | O_CREAT | O_EXCL, 0600)));
    SYS(unlink(name));
  }
}

static void stat_path(long n, long arg UNUSED) {
  struct stat st;
  begin();
  while (n--) SYS(stat("/usr/../usr/bin", &st));
}

static void read_null(long n, long arg UNUSED) {
  int fd = SYS(open("/dev/null", O_RDONLY));
  char c;
  begin();
  while (n--) SYS(read(fd, &c, 1));
}

static void write_null(long n, long arg UNUSED) {
  int fd = SYS(open("/dev/null", O_WRONLY));
  char c = 0;
  begin();
  while (n--) SYS(write(fd, &c, 1));
}

static void pread_file(long n, long arg UNUSED) {
  char *name = scratch_file();
  static char block[4096];
  int fd = SYS(open(name, O_RDWR));
  SYS(write(fd, block, sizeof(block)));
  begin();
  while (n--) SYS(pread(fd, block, sizeof(block), 0));
  long long end = now();
  unlink(name);
  not_counted(end);
}

// epoll_ready asks for events where one is there already, among arg
// descriptors that have none.
static void epoll_ready(long n, long arg) {
  int ep = SYS(epoll_create1(0)), p[2];
  struct epoll_event ev = {.events = EPOLLIN};
  for (long i = 0; i < arg; i++) {
    SYS(pipe(p));
    SYS(epoll_ctl(ep, EPOLL_CTL_ADD, p[0], &ev));
  }
  SYS(pipe(p));
  SYS(epoll_ctl(ep, EPOLL_CTL_ADD, p[0], &ev));
  SYS(write(p[1], "x", 1));
  begin();
  while (n--) {
    if (SYS(epoll_wait(ep, &ev, 1, -1)) != 1) die("epoll_wait: no event");
  }
}
