// Reading files of /proc.
#ifndef PROCFILE_H
#define PROCFILE_H

#include "check.h"

#include <sys/param.h>

// slurp reads a whole file, at most 1 MiB of it, in pieces of n bytes.
UNUSED static char *slurp_by(const char *path, size_t n, size_t *size) {
  static char text[2][1 << 20];
  static int turn;
  char *t = text[turn ^= 1];
  int fd = SYS(open(path, O_RDONLY));
  size_t done = 0;
  ssize_t got;
  while ((got = SYS(read(fd, t + done, MIN(n, sizeof(text[0]) - 1 - done)))) > 0) done += got;
  SYS(close(fd));
  t[done] = 0;
  if (size) *size = done;
  return t;
}

UNUSED static char *slurp(const char *path) { return slurp_by(path, 1 << 20, NULL); }

// format a path.
__attribute__((format(printf, 1, 2))) UNUSED static char *fmt(const char *format, ...) {
  static char text[4][PATH_MAX];
  static int turn;
  char *t = text[turn = (turn + 1) % 4];
  va_list args;
  va_start(args, format);
  vsnprintf(t, PATH_MAX, format, args);
  va_end(args);
  return t;
}

// value returns what follows "name:" in a line of text, without blanks in front.
UNUSED static char *value(char *text, const char *name) {
  static char out[4][512];
  static int turn;
  char *o = out[turn = (turn + 1) % 4];
  size_t n = strlen(name);
  for (char *l = text; l && *l; l = strchr(l, '\n') ? strchr(l, '\n') + 1 : NULL)
    if (strncmp(l, name, n) == 0 && l[n] == ':') {
      l += n + 1;
      l += strspn(l, " \t");
      snprintf(o, sizeof(out[0]), "%.*s", (int)strcspn(l, "\n"), l);
      return o;
    }
  FAIL("no line %s", name);
}

// number is value as a number, in any base.
UNUSED static long long number(char *text, const char *name) { return strtoll(value(text, name), NULL, 0); }

// hex is value as a hexadecimal number.
UNUSED static unsigned long long hex(char *text, const char *name) { return strtoull(value(text, name), NULL, 16); }

// link_text reads a symbolic link.
UNUSED static char *link_text(const char *path) {
  static char out[4][PATH_MAX];
  static int turn;
  char *o = out[turn = (turn + 1) % 4];
  ssize_t n = SYS(readlink(path, o, PATH_MAX - 1));
  o[n] = 0;
  return o;
}

#define STR(want, got)                                                          \
  do {                                                                          \
    const char *want_ = (want), *got_ = (got);                                  \
    if (strcmp(want_, got_)) FAIL("%s: want \"%s\", got \"%s\"", #got, want_, got_); \
  } while (0)

// stat_field returns field n, counted from 1 as in proc(5), of a stat file; n > 2.
UNUSED static long long stat_field(const char *path, int n) {
  char *p = strrchr(slurp(path), ')') + 2;
  for (int i = 3; i < n; i++) {
    p = strchr(p, ' ');
    CHECK(p);
    p++;
  }
  return n == 3 ? *p : (long long)strtoull(p, NULL, 10);
}

#endif
