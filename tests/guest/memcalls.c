// The memory calls one by one: what each refuses and with which error, and what
// its flags do.
#include "check.h"

#include <setjmp.h>
#include <sys/resource.h>
#include <sys/uio.h>

static sigjmp_buf back;
static volatile int fault_signal;

static void on_fault(int sig, siginfo_t *si UNUSED, void *u UNUSED) {
  fault_signal = sig;
  siglongjmp(back, 1);
}

// fault_of says which signal a read of p, or a write to it, gives: 0 for none.
static int fault_of(volatile char *p, bool write) {
  handle_info(SIGSEGV, on_fault, 0);
  handle_info(SIGBUS, on_fault, 0);
  if (sigsetjmp(back, 1)) return fault_signal;
  if (write)
    *p = 1;
  else
    (void)*p;
  return 0;
}

// The raw calls: the library looks at some arguments itself.
static long do_mmap(unsigned long addr, unsigned long len, long prot, long flags, long fd, unsigned long off) {
  return syscall(SYS_mmap, addr, len, prot, flags, fd, off);
}

static long do_mremap(void *old, unsigned long old_len, unsigned long new_len, long flags, void *to) {
  return syscall(SYS_mremap, old, old_len, new_len, flags, to);
}

#define ANON (MAP_PRIVATE | MAP_ANONYMOUS)
#define RW (PROT_READ | PROT_WRITE)
#define HUGE (1UL << 47)

// island maps pages with nothing around them.
static char *island(int pages) {
  char *p = mmap(NULL, (pages + 64) * PAGE, PROT_NONE, ANON, -1, 0);
  CHECK(p != MAP_FAILED);
  SYS(munmap(p, (pages + 64) * PAGE));
  char *q = mmap(p + 32 * PAGE, pages * PAGE, RW, ANON | MAP_FIXED_NOREPLACE, -1, 0);
  CHECK(q == p + 32 * PAGE);
  return q;
}

static int temporary(int pages) {
  int fd = SYS(syscall(SYS_memfd_create, "memory", 0));
  char page[PAGE];
  for (int i = 0; i < pages; i++) {
    memset(page, 'a' + i, PAGE);
    EQ(PAGE, SYS(write(fd, page, PAGE)));
  }
  return fd;
}

static void mmap_errors(void) {
  int fd = temporary(2);
  ERR(EINVAL, do_mmap(0, PAGE, PROT_READ, MAP_PRIVATE, 99, 1));
  ERR(EBADF, do_mmap(0, 0, PROT_READ, MAP_PRIVATE, 99, 0));
  ERR(EBADF, do_mmap(0, PAGE, PROT_READ, 0, 99, 0));
  ERR(EINVAL, do_mmap(0, 0, PROT_READ, MAP_PRIVATE, fd, 0));
  ERR(EINVAL, do_mmap(0, 0, PROT_READ, ANON, -1, 0));
  for (int type = 0; type < 16; type++)
    if (type != MAP_SHARED && type != MAP_PRIVATE && type != MAP_SHARED_VALIDATE)
      ERR(EINVAL, do_mmap(0, PAGE, PROT_READ, type, fd, 0));
  ERR(EINVAL, do_mmap(0, PAGE, PROT_READ, MAP_ANONYMOUS, -1, 0));
  ERR(EINVAL, do_mmap(0, PAGE, PROT_READ, MAP_ANONYMOUS | MAP_SHARED_VALIDATE, -1, 0));
  ERR(EOPNOTSUPP, do_mmap(0, PAGE, PROT_READ, MAP_SHARED_VALIDATE | 0x800000, fd, 0));
  ERR(EOPNOTSUPP, do_mmap(0, PAGE, PROT_READ, MAP_SHARED_VALIDATE | 0x80000 /* MAP_SYNC */, fd, 0));
  SYS(do_mmap(0, PAGE, PROT_READ, MAP_SHARED_VALIDATE, fd, 0));
  SYS(do_mmap(0, PAGE, PROT_READ, MAP_SHARED | 0x800000, fd, 0));
  ERR(EINVAL, do_mmap(0, PAGE, PROT_READ, MAP_SHARED | MAP_ANONYMOUS | MAP_GROWSDOWN, -1, 0));
  ERR(EINVAL, do_mmap(0, PAGE, PROT_READ, MAP_PRIVATE | MAP_GROWSDOWN, fd, 0));
  ERR(EOVERFLOW, do_mmap(0, PAGE, PROT_READ, MAP_PRIVATE, fd, 1UL << 63));
  ERR(EOVERFLOW, do_mmap(0, 2 * PAGE, PROT_READ, MAP_PRIVATE, fd, -PAGE));
  ERR(ENOMEM, do_mmap(0, -1UL, PROT_READ, MAP_PRIVATE, fd, 0));
  ERR(ENOMEM, do_mmap(0, -PAGE, PROT_READ, ANON, -1, 0));
  ERR(ENOMEM, do_mmap(0, HUGE, PROT_READ, ANON, -1, 0));
  ERR(EINVAL, do_mmap(PAGE + 1, PAGE, PROT_READ, ANON | MAP_FIXED, -1, 0));
  ERR(EINVAL, do_mmap(PAGE + 1, PAGE, PROT_READ, ANON | MAP_FIXED_NOREPLACE, -1, 0));
  ERR(ENOMEM, do_mmap(-PAGE, PAGE, PROT_READ, ANON | MAP_FIXED, -1, 0));
  ERR(ENOMEM, do_mmap(HUGE - PAGE, PAGE, PROT_READ, ANON | MAP_FIXED, -1, 0));
  ERR(ENOMEM, do_mmap(PAGE * 16, HUGE, PROT_READ, ANON | MAP_FIXED, -1, 0));
  int dir = SYS(open("/", O_RDONLY));
  ERR(ENODEV, do_mmap(0, PAGE, PROT_READ, MAP_PRIVATE, dir, 0));
  ERR(EBADF, do_mmap(0, PAGE, PROT_READ, MAP_PRIVATE, SYS(open("/", O_PATH)), 0));
  int ends[2];
  SYS(pipe(ends));
  ERR(ENODEV, do_mmap(0, PAGE, PROT_READ, MAP_PRIVATE, ends[0], 0));
  ERR(EACCES, do_mmap(0, PAGE, PROT_READ, MAP_PRIVATE, ends[1], 0));
  // A kernel without huge pages set aside has none to give; others do.
  long huge = do_mmap(0, 2 << 20, RW, ANON | MAP_HUGETLB, -1, 0);
  CHECK(huge != -1 || errno == ENOMEM);
}

static void mmap_flags(void) {
  // What is only advice.
  long flags[] = {MAP_NORESERVE, MAP_STACK, MAP_POPULATE, MAP_POPULATE | MAP_NONBLOCK, MAP_DENYWRITE, MAP_EXECUTABLE};
  for (size_t i = 0; i < LEN(flags); i++) {
    char *p = (char *)SYS(do_mmap(0, 3 * PAGE, RW, ANON | flags[i], -1, 0));
    p[PAGE] = 1;
    EQ(0, p[2 * PAGE]);
  }
  char *p = (char *)SYS(do_mmap(0, 100 * PAGE, RW, ANON | MAP_POPULATE, -1, 0));
  unsigned char v[100];
  SYS(mincore(p, 100 * PAGE, v));
  for (int i = 0; i < 100; i++) EQ(1, v[i] & 1);
  // Low addresses.
  for (int i = 0; i < 3; i++) {
    unsigned long low = SYS(do_mmap(0, PAGE, RW, ANON | MAP_32BIT, -1, 0));
    CHECK(low >= 0x10000 && low < 1UL << 31);
    *(char *)low = 1;
  }
  CHECK((unsigned long)SYS(do_mmap(0x7000000000, PAGE, RW, ANON | MAP_32BIT, -1, 0)) < 1UL << 31);
  EQ(0x50000000, SYS(do_mmap(0x50000000, PAGE, RW, ANON | MAP_32BIT, -1, 0)));
  ERR(ENOMEM, do_mmap(0, 2UL << 30, PROT_NONE, ANON | MAP_32BIT, -1, 0));
  // Hints are rounded down, and no more than hints.
  char *q = island(4);
  EQ((long)q - 3 * PAGE, SYS(do_mmap((long)q - 3 * PAGE + 77, PAGE, RW, ANON, -1, 0)));
  CHECK(SYS(do_mmap((long)q, PAGE, RW, ANON, -1, 0)) != (long)q);
  SYS(do_mmap(-PAGE, PAGE, RW, ANON, -1, 0));
  SYS(do_mmap(1, PAGE, RW, ANON, -1, 0));
  // Nothing is replaced, not even a part.
  q[0] = q[3 * PAGE] = 'k';
  ERR(EEXIST, do_mmap((long)q - PAGE, 2 * PAGE, RW, ANON | MAP_FIXED_NOREPLACE, -1, 0));
  ERR(EEXIST, do_mmap((long)q + 3 * PAGE, 9 * PAGE, RW, ANON | MAP_FIXED_NOREPLACE, -1, 0));
  ERR(EEXIST, do_mmap((long)q + PAGE, PAGE, RW, ANON | MAP_FIXED_NOREPLACE | MAP_FIXED, -1, 0));
  CHECK(q[0] == 'k' && q[3 * PAGE] == 'k');
  // A failure under MAP_FIXED for its arguments leaves what was there.
  int fd = temporary(1);
  ERR(EOVERFLOW, do_mmap((long)q, PAGE, PROT_READ, MAP_PRIVATE | MAP_FIXED, fd, 1UL << 63));
  EQ('k', q[0]);
}

static void protections(void) {
  char *p = island(8);
  memset(p, 'p', 8 * PAGE);
  ERR(EINVAL, mprotect(p + 1, 0, PROT_READ));
  EQ(0, SYS(mprotect(p + 20 * PAGE, 0, PROT_READ)));
  EQ(0, SYS(mprotect(p, 0, 0x12340)));
  ERR(EINVAL, mprotect(p, PAGE, 0x100));
  ERR(EINVAL, mprotect(p, PAGE, PROT_READ | PROT_GROWSDOWN | PROT_GROWSUP));
  ERR(EINVAL, mprotect(p, PAGE, PROT_READ | PROT_GROWSUP));
  ERR(EINVAL, mprotect(p, PAGE, PROT_READ | PROT_GROWSDOWN));
  ERR(ENOMEM, mprotect(p, -PAGE, PROT_READ));
  ERR(ENOMEM, mprotect((void *)-PAGE, PAGE, PROT_READ));
  EQ(0, SYS(mprotect(p, PAGE, PROT_READ | 8 /* PROT_SEM */)));
  // What comes before a hole is changed.
  SYS(munmap(p + 4 * PAGE, PAGE));
  ERR(ENOMEM, mprotect(p + 2 * PAGE, 4 * PAGE, PROT_READ));
  EQ(SIGSEGV, fault_of(p + 3 * PAGE, true));
  EQ(0, fault_of(p + 5 * PAGE, true));
  ERR(ENOMEM, mprotect(p + 4 * PAGE, 2 * PAGE, PROT_READ));
  EQ(0, fault_of(p + 5 * PAGE, true));
  // A file that is open for reading only may be written to privately.
  char path[64];
  int fd = temporary(3);
  snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
  int ro = SYS(open(path, O_RDONLY));
  char *q = mmap(NULL, 3 * PAGE, PROT_READ, MAP_SHARED, ro, 0);
  CHECK(q != MAP_FAILED);
  ERR(EACCES, mprotect(q + PAGE, PAGE, RW));
  char *r = mmap(NULL, 3 * PAGE, PROT_READ, MAP_PRIVATE, ro, 0);
  SYS(mprotect(r + PAGE, PAGE, RW));
  r[PAGE] = 'x';
  EQ('b', q[PAGE]);
  // All kinds of protection, and all kinds of access.
  for (int prot = 0; prot < 8; prot++) {
    SYS(mprotect(p + 6 * PAGE, PAGE, prot));
    EQ(prot & PROT_WRITE ? 0 : SIGSEGV, fault_of(p + 6 * PAGE, true));
    if (prot & (PROT_READ | PROT_WRITE)) EQ(0, fault_of(p + 6 * PAGE, false));
    if (prot == 0) EQ(SIGSEGV, fault_of(p + 6 * PAGE, false));
  }
  // The stack, from wherever one asks.
  int here;
  SYS(mprotect((void *)((unsigned long)&here & -PAGE), PAGE, RW | PROT_GROWSDOWN));
}

static void mremap_errors(void) {
  char *p = island(8), *to = island(8);
  int may = MREMAP_MAYMOVE, fixed = MREMAP_MAYMOVE | MREMAP_FIXED, keep = MREMAP_MAYMOVE | 4 /* MREMAP_DONTUNMAP */;
  ERR(EINVAL, do_mremap(p, PAGE, PAGE, 8, NULL));
  ERR(EINVAL, do_mremap(p, PAGE, PAGE, -1, NULL));
  ERR(EINVAL, do_mremap(p + 1, PAGE, PAGE, may, NULL));
  ERR(EINVAL, do_mremap(p, PAGE, 0, may, NULL));
  ERR(EINVAL, do_mremap(p, PAGE, PAGE, MREMAP_FIXED, to));
  ERR(EINVAL, do_mremap(p, PAGE, PAGE, 4, NULL));
  ERR(EINVAL, do_mremap(p, PAGE, 2 * PAGE, keep, NULL));
  ERR(EINVAL, do_mremap(p, PAGE, PAGE, fixed, to + 1));
  ERR(EINVAL, do_mremap(p, 4 * PAGE, 4 * PAGE, fixed, p + 3 * PAGE));
  ERR(EINVAL, do_mremap(p, 4 * PAGE, 4 * PAGE, fixed, p - 3 * PAGE));
  ERR(EINVAL, do_mremap(p, PAGE, PAGE, fixed, p));
  ERR(EINVAL, do_mremap(p, PAGE, 2 * PAGE, fixed, (void *)(HUGE - PAGE)));
  ERR(EINVAL, do_mremap(p, PAGE, HUGE, fixed, to));
  ERR(EFAULT, do_mremap((void *)(PAGE * 16), PAGE, PAGE, may, NULL));
  ERR(EFAULT, do_mremap(p + 8 * PAGE, PAGE, 2 * PAGE, may, NULL));
  ERR(EFAULT, do_mremap(p, 9 * PAGE, 16 * PAGE, may, NULL));
  ERR(ENOMEM, do_mremap(p, 8 * PAGE, HUGE / 2, may, NULL));
  ERR(EINVAL, do_mremap(p, 0, PAGE, may, NULL));  // private memory has no double
  SYS(mprotect(p + 4 * PAGE, PAGE, PROT_READ));
  ERR(EFAULT, do_mremap(p, 8 * PAGE, 16 * PAGE, may, NULL));  // not all one
  SYS(do_mremap(p, 4 * PAGE, 4 * PAGE, 0, NULL));
  ERR(ENOMEM, do_mremap(p, 4 * PAGE, 5 * PAGE, 0, NULL));
  // Nothing of that has moved anything.
  for (int i = 0; i < 8; i++) EQ(0, fault_of(p + i * PAGE, i != 4));
  for (int i = 0; i < 8; i++) EQ(0, fault_of(to + i * PAGE, true));
}

static void mremap_kinds(void) {
  int may = MREMAP_MAYMOVE, fixed = MREMAP_MAYMOVE | MREMAP_FIXED, keep = MREMAP_MAYMOVE | 4 /* MREMAP_DONTUNMAP */;
  // What is too long is cut off, over all that is there.
  char *p = island(8);
  memset(p, 'm', 8 * PAGE);
  SYS(mprotect(p + 5 * PAGE, PAGE, PROT_READ));
  EQ((long)p, SYS(do_mremap(p, 8 * PAGE, 3 * PAGE, 0, NULL)));
  EQ('m', p[3 * PAGE - 1]);
  EQ(SIGSEGV, fault_of(p + 3 * PAGE, false));
  EQ(SIGSEGV, fault_of(p + 7 * PAGE, false));
  // In place, while there is room; and from the middle not at all.
  EQ((long)p, SYS(do_mremap(p, 3 * PAGE, 10 * PAGE, 0, NULL)));
  CHECK(p[0] == 'm' && p[3 * PAGE] == 0 && p[10 * PAGE - 1] == 0);
  ERR(ENOMEM, do_mremap(p + PAGE, PAGE, 2 * PAGE, 0, NULL));
  // A part from the middle moves away.
  p[4 * PAGE] = 'v';
  char *q = (char *)SYS(do_mremap(p + 4 * PAGE, PAGE, 20 * PAGE, may, NULL));
  CHECK(q[0] == 'v' && q[PAGE] == 0 && q[20 * PAGE - 1] == 0);
  EQ(SIGSEGV, fault_of(p + 4 * PAGE, false));
  EQ(0, fault_of(p + 5 * PAGE, true));
  // The old place stays, empty.
  char *r = (char *)SYS(do_mremap(q, 2 * PAGE, 2 * PAGE, keep, NULL));
  CHECK(r != q && r[0] == 'v' && q[0] == 0);
  q[0] = 'w';
  EQ('v', r[0]);
  char *to = island(4);
  to[0] = to[3 * PAGE] = 't';
  EQ((long)to, SYS(do_mremap(q, 2 * PAGE, 2 * PAGE, keep | MREMAP_FIXED, to)));
  CHECK(to[0] == 'w' && q[0] == 0 && to[3 * PAGE] == 't');
  // Fixed, longer and shorter.
  EQ((long)to, SYS(do_mremap(r, 2 * PAGE, 3 * PAGE, fixed, to)));
  CHECK(to[0] == 'v' && to[2 * PAGE] == 0 && to[3 * PAGE] == 't');
  EQ(SIGSEGV, fault_of(r, false));
  memset(q, 'q', 8 * PAGE);
  EQ((long)to, SYS(do_mremap(q, 8 * PAGE, 1, fixed, to)));
  CHECK(to[0] == 'q' && to[PAGE] == 0);
  EQ(SIGSEGV, fault_of(q + 7 * PAGE, false));
  // Protection goes along.
  SYS(mprotect(to, PAGE, PROT_READ));
  r = (char *)SYS(do_mremap(to, PAGE, 4 * PAGE, may, NULL));
  EQ(SIGSEGV, fault_of(r + 3 * PAGE, true));
  EQ(0, fault_of(r + 3 * PAGE, false));
}

static void mremap_shared(void) {
  int may = MREMAP_MAYMOVE;
  int fd = temporary(4);
  char *p = mmap(NULL, 4 * PAGE, RW, MAP_SHARED, fd, 0);
  // A double of the same pages.
  char *q = (char *)SYS(do_mremap(p + PAGE, 0, 2 * PAGE, may, NULL));
  CHECK(q[0] == 'b' && q[PAGE] == 'c');
  q[0] = 'B';
  EQ('B', p[PAGE]);
  ERR(ENOMEM, do_mremap(p, 0, PAGE, 0, NULL));
  // Beyond the end of the file there is nothing.
  q = (char *)SYS(do_mremap(p, 4 * PAGE, 6 * PAGE, may, NULL));
  EQ('d', q[3 * PAGE]);
  EQ(SIGBUS, fault_of(q + 4 * PAGE, false));
  SYS(ftruncate(fd, 5 * PAGE));
  EQ(0, q[4 * PAGE]);
  // Moved, and then truncated.
  char *r = (char *)SYS(do_mremap(q, 6 * PAGE, 16 * PAGE, may, NULL));
  r[2 * PAGE] = 'r';
  SYS(ftruncate(fd, 2 * PAGE));
  EQ(SIGBUS, fault_of(r + 2 * PAGE, false));
  EQ('B', r[PAGE]);
  // Shared memory without a file is as large as it was made.
  p = map_shared(2 * PAGE);
  p[PAGE] = 's';
  q = (char *)SYS(do_mremap(p, 2 * PAGE, 4 * PAGE, may, NULL));
  EQ('s', q[PAGE]);
  EQ(SIGBUS, fault_of(q + 2 * PAGE, false));
  // The old place of shared memory has the same pages.
  p = map_shared(2 * PAGE);
  p[0] = 'o';
  q = (char *)SYS(do_mremap(p, 2 * PAGE, 2 * PAGE, may | 4, NULL));
  p[PAGE] = 'n';
  CHECK(p[0] == 'o' && q[0] == 'o' && q[PAGE] == 'n');
}

// Shared memory that is unmapped piece by piece.
static void shared_in_pieces(void) {
  char *p = map_shared(6 * PAGE);
  p[2 * PAGE] = 2;
  SYS(munmap(p + PAGE, PAGE));
  p[0] = 1;
  pid_t pid = SYS(fork());
  if (pid == 0) {
    SYS(munmap(p + 3 * PAGE, 2 * PAGE));
    p[5 * PAGE] = 5;
    CHECK(p[0] == 1 && p[2 * PAGE] == 2);
    _exit(0);
  }
  EXITS(0, pid);
  SYS(munmap(p, PAGE));
  SYS(munmap(p + 3 * PAGE, PAGE));
  CHECK(p[2 * PAGE] == 2 && p[4 * PAGE] == 0 && p[5 * PAGE] == 5);
}

static void advice(void) {
  char *p = island(8);
  int fd = temporary(4);
  char *file = mmap(NULL, 4 * PAGE, RW, MAP_PRIVATE, fd, 0);
  char *shared = mmap(NULL, 4 * PAGE, RW, MAP_SHARED, fd, 0);
  static const int speed[] = {MADV_NORMAL, MADV_RANDOM, MADV_SEQUENTIAL, MADV_WILLNEED,
                              MADV_DONTDUMP, MADV_DODUMP, MADV_COLD, MADV_PAGEOUT};
  for (size_t i = 0; i < LEN(speed); i++) {
    p[0] = 'p';
    EQ(0, SYS(madvise(p, 8 * PAGE, speed[i])));
    EQ('p', p[0]);
    EQ(0, SYS(madvise(p + 20 * PAGE, 0, speed[i])));
    ERR(EINVAL, madvise(p + 1, PAGE, speed[i]));
    ERR(EINVAL, madvise(p, -1UL, speed[i]));
    ERR(ENOMEM, madvise(p, 9 * PAGE, speed[i]));
  }
  static const int unknown[] = {-1, 5, 6, 7, 26, 99, 1000, 1 << 30};
  for (size_t i = 0; i < LEN(unknown); i++) {
    ERR(EINVAL, madvise(p, PAGE, unknown[i]));
    ERR(EINVAL, madvise(p, 0, unknown[i]));
  }
  memset(p, 'x', 8 * PAGE);
  SYS(madvise(p + PAGE, 2 * PAGE - 5, MADV_DONTNEED));
  CHECK(p[0] == 'x' && p[PAGE] == 0 && p[3 * PAGE - 1] == 0 && p[3 * PAGE] == 'x');
  SYS(munmap(p + 5 * PAGE, PAGE));
  ERR(ENOMEM, madvise(p + 4 * PAGE, 4 * PAGE, MADV_DONTNEED));
  CHECK(p[4 * PAGE] == 0 && p[6 * PAGE] == 0);  // but the rest is done
  SYS(madvise(p, PAGE, MADV_FREE));
  CHECK(p[0] == 0 || p[0] == 'x');
  p[0] = 'n';
  EQ('n', p[0]);
  ERR(EINVAL, madvise(file, PAGE, MADV_FREE));
  ERR(EINVAL, madvise(shared, PAGE, MADV_FREE));
  file[0] = shared[PAGE] = 'F';
  SYS(madvise(file, 4 * PAGE, MADV_DONTNEED));
  SYS(madvise(shared, 4 * PAGE, MADV_DONTNEED));
  CHECK(file[0] == 'a' && file[PAGE] == 'F' && shared[PAGE] == 'F');
  // Pages of a file are taken out of it.
  SYS(madvise(shared + PAGE, 2 * PAGE, MADV_REMOVE));
  CHECK(shared[0] == 'a' && shared[PAGE] == 0 && shared[2 * PAGE] == 0 && shared[3 * PAGE] == 'd');
  char c;
  EQ(1, SYS(pread(fd, &c, 1, 2 * PAGE)));
  EQ(0, c);
  ERR(EINVAL, madvise(p, PAGE, MADV_REMOVE));
  ERR(EACCES, madvise(file, PAGE, MADV_REMOVE));
  char path[64];
  snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
  int ro = SYS(open(path, O_RDONLY));
  char *rof = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, ro, 0);
  ERR(EACCES, madvise(rof, PAGE, MADV_REMOVE));
  SYS(mlock(shared, PAGE));
  ERR(EINVAL, madvise(shared, PAGE, MADV_REMOVE));
  char *anon = map_shared(3 * PAGE);
  memset(anon, 'y', 3 * PAGE);
  SYS(madvise(anon + PAGE, PAGE, MADV_REMOVE));
  CHECK(anon[0] == 'y' && anon[PAGE] == 0 && anon[2 * PAGE] == 'y');
  SYS(madvise(anon, 3 * PAGE, MADV_DONTNEED));
  EQ('y', anon[2 * PAGE]);
}

static void populate(void) {
  char *p = island(8);
  ERR(ENOMEM, madvise(p, 9 * PAGE, MADV_POPULATE_READ));
  ERR(ENOMEM, madvise(p + 8 * PAGE, PAGE, MADV_POPULATE_WRITE));
  SYS(madvise(p, 8 * PAGE, MADV_POPULATE_READ));
  SYS(madvise(p, 8 * PAGE, MADV_POPULATE_WRITE));
  unsigned char v[8];
  SYS(mincore(p, 8 * PAGE, v));
  for (int i = 0; i < 8; i++) EQ(1, v[i] & 1);
  SYS(mprotect(p + PAGE, PAGE, PROT_READ));
  SYS(madvise(p, 2 * PAGE, MADV_POPULATE_READ));
  ERR(EINVAL, madvise(p, 2 * PAGE, MADV_POPULATE_WRITE));
  SYS(mprotect(p + PAGE, PAGE, PROT_NONE));
  ERR(EINVAL, madvise(p, 2 * PAGE, MADV_POPULATE_READ));
  int fd = temporary(2);
  char *q = mmap(NULL, 3 * PAGE, RW, MAP_SHARED, fd, 0);
  ERR(EFAULT, madvise(q, 3 * PAGE, MADV_POPULATE_READ));
  SYS(madvise(q, 2 * PAGE, MADV_POPULATE_WRITE));
  EQ('b', q[PAGE]);
}

static void fork_advice(void) {
  char *p = island(12);
  for (int i = 0; i < 12; i++) p[i * PAGE] = 'a' + i;
  SYS(madvise(p + 2 * PAGE, 2 * PAGE, MADV_DONTFORK));
  SYS(madvise(p + 6 * PAGE, 2 * PAGE, MADV_WIPEONFORK));
  int fd = temporary(1);
  char *file = mmap(NULL, PAGE, RW, MAP_PRIVATE, fd, 0), *shared = map_shared(PAGE);
  ERR(EINVAL, madvise(file, PAGE, MADV_WIPEONFORK));
  ERR(EINVAL, madvise(shared, PAGE, MADV_WIPEONFORK));
  // The flags go along with a move.
  char *moved = (char *)SYS(do_mremap(p + 6 * PAGE, 2 * PAGE, 3 * PAGE, MREMAP_MAYMOVE, NULL));
  pid_t pid = SYS(fork());
  if (pid == 0) {
    for (int i = 0; i < 12; i++) {
      bool gone = i == 2 || i == 3 || i == 6 || i == 7;
      EQ(gone ? SIGSEGV : 0, fault_of(p + i * PAGE, false));
      if (!gone) EQ('a' + i, p[i * PAGE]);
    }
    CHECK(moved[0] == 0 && moved[PAGE] == 0);
    // What is mapped where nothing was inherited is fresh.
    char *fresh = mmap(p + 2 * PAGE, 2 * PAGE, RW, ANON | MAP_FIXED_NOREPLACE, -1, 0);
    CHECK(fresh == p + 2 * PAGE);
    CHECK(fresh[0] == 0 && fresh[PAGE] == 0);
    moved[0] = 'z';
    pid = SYS(fork());
    if (pid == 0) _exit(moved[0]);  // wiped once more
    EXITS(0, pid);
    EQ('z', moved[0]);
    _exit(0);
  }
  EXITS(0, pid);
  CHECK(p[2 * PAGE] == 'c' && moved[0] == 'g' && moved[PAGE] == 'h');
  SYS(madvise(p, 6 * PAGE, MADV_DOFORK));
  SYS(madvise(moved, 3 * PAGE, MADV_KEEPONFORK));
  pid = SYS(fork());
  if (pid == 0) _exit(p[2 * PAGE] == 'c' && moved[0] == 'g' ? 0 : 1);
  EXITS(0, pid);
}

static void sync_call(void) {
  int fd = temporary(3);
  char *p = mmap(NULL, 3 * PAGE, RW, MAP_SHARED, fd, 0), *q = island(4);
  p[0] = 's';
  static const int flags[] = {0, MS_ASYNC, MS_SYNC, MS_INVALIDATE, MS_ASYNC | MS_INVALIDATE, MS_SYNC | MS_INVALIDATE};
  for (size_t i = 0; i < LEN(flags); i++) {
    EQ(0, SYS(msync(p, 3 * PAGE, flags[i])));
    EQ(0, SYS(msync(p, 1, flags[i])));
    EQ(0, SYS(msync(q, 4 * PAGE, flags[i])));
    EQ(0, SYS(msync(q + 20 * PAGE, 0, flags[i])));
    ERR(ENOMEM, msync(q, 5 * PAGE, flags[i]));
    ERR(ENOMEM, msync(p, -PAGE, flags[i]));
    ERR(EINVAL, msync(p + 1, PAGE, flags[i]));
  }
  ERR(EINVAL, msync(p, PAGE, MS_SYNC | MS_ASYNC));
  ERR(EINVAL, msync(p, PAGE, 8));
  SYS(mlock(q + PAGE, PAGE));
  ERR(EBUSY, msync(q, 4 * PAGE, MS_INVALIDATE));
  SYS(msync(q, 4 * PAGE, MS_SYNC));
}

static void core(void) {
  char *p = island(8);
  unsigned char v[16];
  memset(v, 0xee, sizeof(v));
  p[PAGE] = p[5 * PAGE] = 1;
  SYS(mincore(p, 7 * PAGE + 1, v));
  for (int i = 0; i < 8; i++) EQ(i == 1 || i == 5, v[i]);
  EQ(0xee, v[8]);
  EQ(0, SYS(mincore(p + 20 * PAGE, 0, v)));
  ERR(EINVAL, mincore(p + 1, PAGE, v));
  ERR(ENOMEM, mincore(p, 9 * PAGE, v));
  ERR(ENOMEM, mincore(p - PAGE, 2 * PAGE, v));
  ERR(ENOMEM, mincore(p, HUGE, v));
  ERR(ENOMEM, mincore(p, -PAGE, v));
  ERR(ENOMEM, mincore((void *)HUGE, PAGE, v));
  ERR(EFAULT, mincore(p, PAGE, (unsigned char *)8));
  ERR(EFAULT, mincore(p, PAGE, (unsigned char *)p + 8 * PAGE));
  SYS(madvise(p, 8 * PAGE, MADV_DONTNEED));
  SYS(mincore(p, 8 * PAGE, v));
  EQ(0, v[1]);
  SYS(mincore(p, 8 * PAGE, (unsigned char *)p + 3 * PAGE));  // the answer itself is there
  EQ(0, p[3 * PAGE + 1]);
}

// ordinary gives up the right to lock without a limit.
static void ordinary(void) {
  if (geteuid() == 0) SYS(syscall(SYS_setresuid, 65534, 65534, 65534));
}

static void set_limit(int resource, unsigned long value) {
  struct rlimit lim;
  SYS(getrlimit(resource, &lim));
  lim.rlim_cur = value;
  SYS(setrlimit(resource, &lim));
}

static void locks(void) {
  char *p = island(16);
  unsigned char v[16];
  ERR(EINVAL, syscall(SYS_mlock2, p, PAGE, 2));
  ERR(ENOMEM, mlock(p + 15 * PAGE, 2 * PAGE));
  ERR(ENOMEM, munlock(p + 15 * PAGE, 2 * PAGE));
  ERR(EINVAL, mlock((void *)-PAGE, 2 * PAGE));
  ERR(ENOMEM, mlock((void *)HUGE, PAGE));
  EQ(0, SYS(mlock(p + 100 * PAGE, 0)));
  SYS(munlock(p, 16 * PAGE));
  SYS(syscall(SYS_mlock2, p, 8 * PAGE, 1 /* MLOCK_ONFAULT */));
  SYS(mincore(p, 8 * PAGE, v));
  EQ(0, v[0] + v[7]);
  SYS(mlock(p + 2 * PAGE + 100, PAGE));  // not aligned: two pages
  SYS(mincore(p, 8 * PAGE, v));
  EQ(0, v[0] + v[1] + v[4]);
  EQ(2, v[2] + v[3]);
  ERR(EINVAL, madvise(p + PAGE, 2 * PAGE, MADV_DONTNEED));
  ERR(EINVAL, madvise(p + PAGE, 2 * PAGE, MADV_FREE));
  ERR(EINVAL, madvise(p + PAGE, 2 * PAGE, MADV_COLD));
  p[2 * PAGE] = 'l';
  SYS(madvise(p + PAGE, 2 * PAGE, 24 /* MADV_DONTNEED_LOCKED */));
  EQ(0, p[2 * PAGE]);
  SYS(munlock(p, 16 * PAGE));
  SYS(madvise(p + PAGE, 2 * PAGE, MADV_DONTNEED));
  // Where nothing can be read, nothing can be present; locked it is all the same.
  SYS(mprotect(p + 10 * PAGE, PAGE, PROT_NONE));
  ERR(ENOMEM, mlock(p + 9 * PAGE, 3 * PAGE));
  SYS(mprotect(p + 10 * PAGE, PAGE, RW));
  ERR(EINVAL, madvise(p + 10 * PAGE, PAGE, MADV_DONTNEED));
  ERR(EINVAL, mlockall(0));
  ERR(EINVAL, mlockall(MCL_ONFAULT));
  ERR(EINVAL, mlockall(16));
  pid_t pid = SYS(fork());
  if (pid == 0) _exit(madvise(p + 10 * PAGE, PAGE, MADV_DONTNEED));  // not inherited
  EXITS(0, pid);
  SYS(munlockall());
  SYS(madvise(p + 10 * PAGE, PAGE, MADV_DONTNEED));
  char *q = mmap(NULL, 4 * PAGE, RW, ANON | MAP_LOCKED, -1, 0);
  SYS(mincore(q, 4 * PAGE, v));
  EQ(4, v[0] + v[1] + v[2] + v[3]);
}

static void lock_limits(void) {
  char *p = island(32);
  ordinary();
  set_limit(RLIMIT_MEMLOCK, 8 * PAGE);
  ERR(ENOMEM, mlock(p, 9 * PAGE));
  SYS(mlock(p, 6 * PAGE));
  SYS(mlock(p + 2 * PAGE, 6 * PAGE));  // two more
  ERR(ENOMEM, mlock(p + 8 * PAGE, PAGE));
  ERR(EAGAIN, (long)mmap(NULL, PAGE, RW, ANON | MAP_LOCKED, -1, 0));
  ERR(EAGAIN, do_mremap(p, 8 * PAGE, 9 * PAGE, MREMAP_MAYMOVE, NULL));
  ERR(ENOMEM, mlockall(MCL_CURRENT));
  SYS(munlock(p, 4 * PAGE));
  char *q = mmap(NULL, 2 * PAGE, RW, ANON | MAP_LOCKED, -1, 0);
  CHECK(q != MAP_FAILED);
  ERR(EAGAIN, do_mremap(q, 2 * PAGE, 5 * PAGE, MREMAP_MAYMOVE, NULL));
  q = (char *)SYS(do_mremap(q, 2 * PAGE, 4 * PAGE, MREMAP_MAYMOVE, NULL));
  SYS(munmap(q, 4 * PAGE));
  SYS(mlock(p, 4 * PAGE));
  SYS(munmap(p, 32 * PAGE));
  p = island(32);
  SYS(mlock(p, 8 * PAGE));  // all of it is free again
  SYS(munlockall());
  SYS(mlockall(MCL_FUTURE));
  ERR(EAGAIN, (long)mmap(NULL, 9 * PAGE, RW, ANON, -1, 0));
  CHECK(mmap(NULL, 8 * PAGE, RW, ANON, -1, 0) != MAP_FAILED);
  ERR(ENOMEM, (long)sbrk(1 << 20));
  SYS(munlockall());
  set_limit(RLIMIT_MEMLOCK, 0);
  ERR(EPERM, mlock(p, PAGE));
  ERR(EPERM, mlock(p + 100 * PAGE, 0));
  ERR(EPERM, mlockall(MCL_FUTURE));
  ERR(EPERM, (long)mmap(NULL, PAGE, RW, ANON | MAP_LOCKED, -1, 0));
  SYS(munlock(p, PAGE));
}

static long do_brk(void *to) { return syscall(SYS_brk, to); }

static void break_call(void) {
  char *end = (char *)do_brk(NULL);
  EQ((long)end, do_brk((void *)1));
  EQ((long)end, do_brk((void *)-1));
  EQ((long)end, do_brk((void *)HUGE));
  EQ((long)end + 3 * PAGE + 5, do_brk(end + 3 * PAGE + 5));
  memset(end, 'b', 3 * PAGE + 5);
  EQ((long)end + PAGE, do_brk(end + PAGE));
  char *next = (char *)(((unsigned long)end + PAGE + PAGE - 1) & -PAGE);
  EQ(SIGSEGV, fault_of(next, false));
  EQ((long)end + 4 * PAGE, do_brk(end + 4 * PAGE));
  EQ(0, next[0]);
  EQ('b', end[PAGE - 1]);
  // Something in the way.
  char *wall = mmap(next + 8 * PAGE, PAGE, RW, ANON | MAP_FIXED_NOREPLACE, -1, 0);
  CHECK(wall == next + 8 * PAGE);
  EQ((long)end + 4 * PAGE, do_brk(end + 64 * PAGE));
  EQ((long)end, do_brk(end));
}

static void memory_limits(void) {
  char *p = island(8);
  SYS(mprotect(p, 8 * PAGE, PROT_READ));
  pid_t pid = SYS(fork());
  if (pid == 0) {
    set_limit(RLIMIT_DATA, PAGE);
    ERR(ENOMEM, (long)mmap(NULL, 64 << 20, RW, ANON, -1, 0));
    ERR(ENOMEM, mprotect(p, 8 * PAGE, RW));
    int fd = temporary(1);
    ERR(ENOMEM, (long)mmap(NULL, PAGE, RW, MAP_PRIVATE, fd, 0));
    CHECK(mmap(NULL, PAGE, RW, MAP_SHARED, fd, 0) != MAP_FAILED);
    CHECK(mmap(NULL, 64 << 20, PROT_READ, ANON, -1, 0) != MAP_FAILED);
    CHECK(mmap(NULL, 64 << 20, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0) != MAP_FAILED);
    EQ(do_brk(NULL), do_brk((char *)do_brk(NULL) + 64 * PAGE));
    _exit(0);
  }
  EXITS(0, pid);
  pid = SYS(fork());
  if (pid == 0) {
    unsigned long pages;
    FILE *f = fopen("/proc/self/statm", "r");
    CHECK(f);
    EQ(1, fscanf(f, "%lu", &pages));
    set_limit(RLIMIT_AS, pages * PAGE);
    ERR(ENOMEM, (long)mmap(NULL, PAGE, PROT_NONE, ANON, -1, 0));
    ERR(ENOMEM, (long)mmap(NULL, PAGE, PROT_READ, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
    ERR(ENOMEM, do_mremap(p, 8 * PAGE, 9 * PAGE, MREMAP_MAYMOVE, NULL));
    EQ(do_brk(NULL), do_brk((char *)do_brk(NULL) + 64 * PAGE));
    // What replaces as much, or is no more than before, is fine.
    CHECK(mmap(p, PAGE, RW, ANON | MAP_FIXED, -1, 0) == p);
    SYS(mprotect(p, 8 * PAGE, RW));
    SYS(do_mremap(p, 8 * PAGE, 8 * PAGE, MREMAP_MAYMOVE, NULL));
    SYS(munmap(p, PAGE));
    _exit(0);
  }
  EXITS(0, pid);
}

static void overcommit(void) {
  char mode = 0;
  int fd = open("/proc/sys/vm/overcommit_memory", O_RDONLY);
  if (fd < 0 || read(fd, &mode, 1) != 1 || mode != '0') return;
  unsigned long size = 1UL << 45;  // no machine has as much
  ERR(ENOMEM, (long)mmap(NULL, size, RW, ANON, -1, 0));
  char *p = mmap(NULL, size, PROT_READ, ANON, -1, 0);
  CHECK(p != MAP_FAILED);
  ERR(ENOMEM, mprotect(p, size, RW));
  SYS(mprotect(p, PAGE, RW));
  SYS(munmap(p, size));
  p = mmap(NULL, size, RW, ANON | MAP_NORESERVE, -1, 0);
  CHECK(p != MAP_FAILED);
  p[size / 2] = 1;
  EQ(1, p[size / 2]);
  SYS(munmap(p, size));
}

static void remap_pages(void) {
  int fd = temporary(4);
  char *p = mmap(NULL, 4 * PAGE, RW, MAP_SHARED, fd, 0), *q = island(4);
  for (int i = 0; i < 4; i++) SYS(syscall(SYS_remap_file_pages, p + i * PAGE, PAGE, 0, 3 - i, 0));
  for (int i = 0; i < 4; i++) EQ('d' - i, p[i * PAGE]);
  p[0] = 'D';
  char c;
  EQ(1, SYS(pread(fd, &c, 1, 3 * PAGE)));
  EQ('D', c);
  ERR(EINVAL, syscall(SYS_remap_file_pages, p, PAGE, PROT_READ, 0, 0));
  ERR(EINVAL, syscall(SYS_remap_file_pages, p, 0, 0, 0, 0));
  ERR(EINVAL, syscall(SYS_remap_file_pages, q, PAGE, 0, 0, 0));
  ERR(EINVAL, syscall(SYS_remap_file_pages, q + 10 * PAGE, PAGE, 0, 0, 0));
  ERR(EINVAL, syscall(SYS_remap_file_pages, p, PAGE, 0, -1UL, 0));
  SYS(syscall(SYS_remap_file_pages, p + 77, 2 * PAGE + 5, 0, 0, MAP_NONBLOCK));
  CHECK(p[0] == 'a' && p[PAGE] == 'b' && p[2 * PAGE] == 'b');
}

// What the kernel writes and reads itself goes by the same rules.
static void kernel_access(void) {
  int fd = temporary(4);
  char *file = mmap(NULL, 6 * PAGE, RW, MAP_SHARED, fd, 0), *p = island(4);
  int zero = SYS(open("/dev/zero", O_RDONLY)), null = SYS(open("/dev/null", O_WRONLY)), ends[2];
  SYS(pipe(ends));
  EQ(4, SYS(write(ends[1], "word", 4)));
  ERR(EFAULT, read(ends[0], file + 4 * PAGE, 4));  // beyond the end of the file
  EQ(4, SYS(read(ends[0], file, 4)));
  EQ('w', file[0]);
  ERR(EFAULT, write(ends[1], file + 5 * PAGE, 4));
  EQ(8, SYS(read(zero, p + 4 * PAGE - 8, 100)));  // as far as it goes
  EQ(PAGE, SYS(write(ends[1], p + 3 * PAGE, 2 * PAGE)));
  struct iovec vec[2] = {{p, 10}, {p + 4 * PAGE, 10}};
  EQ(10, SYS(readv(zero, vec, 2)));
  vec[0].iov_base = p + 5 * PAGE;
  ERR(EFAULT, readv(zero, vec, 2));
  SYS(mprotect(p, PAGE, PROT_READ));
  ERR(EFAULT, read(zero, p, 1));
  SYS(mprotect(p, PAGE, PROT_WRITE));
  EQ(1, SYS(read(zero, p, 1)));
  SYS(mprotect(p, PAGE, PROT_NONE));
  ERR(EFAULT, read(zero, p, 1));
  ERR(EFAULT, write(ends[1], p, 1));
  (void)null;
}

// The memory of another process.
static void other_process(void) {
  int go[2], ok[2];
  SYS(pipe(go));
  SYS(pipe(ok));
  char *p = island(8), *mine = island(4);
  for (int i = 0; i < 8; i++) memset(p + i * PAGE, 'a' + i, PAGE);
  pid_t pid = SYS(fork());
  if (pid == 0) {
    memset(p, 'c', PAGE);
    SYS(mprotect(p + 2 * PAGE, PAGE, PROT_READ));
    SYS(mprotect(p + 3 * PAGE, PAGE, PROT_NONE));
    put(ok[1], 'k');
    get(go[0]);
    CHECK(p[PAGE] == 'W' && p[PAGE + 99] == 'W' && p[PAGE + 100] == 'b' && p[4 * PAGE + 5] == 'W');
    EQ('c', p[2 * PAGE]);
    _exit(0);
  }
  get(ok[0]);
  struct iovec local[2] = {{mine, 10}, {mine + PAGE, 3 * PAGE}}, remote[3] = {{p + PAGE - 5, 10}, {p, 0}, {p + 7 * PAGE, PAGE}};
  EQ(10 + PAGE, SYS(process_vm_readv(pid, local, 2, remote, 3, 0)));
  CHECK(memcmp(mine, "cccccbbbbb", 10) == 0 && mine[PAGE] == 'h' && mine[2 * PAGE - 1] == 'h' && mine[2 * PAGE] == 0);
  EQ('a', p[0]);  // of this process nothing has changed
  remote[0].iov_base = p + PAGE, remote[0].iov_len = 8 * PAGE;
  EQ(2 * PAGE, SYS(process_vm_readv(pid, &local[1], 1, remote, 1, 0)));  // up to what cannot be read
  remote[0].iov_base = p + 3 * PAGE;
  ERR(EFAULT, process_vm_readv(pid, local, 2, remote, 1, 0));
  remote[0].iov_base = (void *)-PAGE;
  ERR(EFAULT, process_vm_readv(pid, local, 2, remote, 1, 0));
  remote[0].iov_base = p, remote[0].iov_len = -1;
  ERR(EINVAL, process_vm_readv(pid, local, 2, remote, 1, 0));
  remote[0].iov_len = 10;
  ERR(EINVAL, process_vm_readv(pid, local, 2, remote, 1, 1));
  ERR(EINVAL, process_vm_readv(pid, local, 1025, remote, 1, 0));
  ERR(EINVAL, process_vm_readv(pid, local, 2, remote, 1025, 0));
  ERR(EFAULT, process_vm_readv(pid, (void *)8, 2, remote, 1, 0));
  ERR(EFAULT, process_vm_readv(pid, local, 2, (void *)8, 1, 0));
  EQ(0, SYS(process_vm_readv(pid, local, 0, (void *)8, 1, 0)));
  EQ(0, SYS(process_vm_readv(pid, local, 2, remote, 0, 0)));
  ERR(ESRCH, process_vm_readv(0x3fffff, local, 2, remote, 1, 0));
  local[0].iov_base = mine + 4 * PAGE;
  ERR(EFAULT, process_vm_readv(pid, local, 1, remote, 1, 0));
  local[0].iov_base = mine + 4 * PAGE - 4;
  EQ(4, SYS(process_vm_readv(pid, local, 1, remote, 1, 0)));
  memset(mine, 'W', 2 * PAGE);
  local[0] = (struct iovec){mine, 106};
  remote[0] = (struct iovec){p + PAGE, 100}, remote[1] = (struct iovec){p + 4 * PAGE, 6};
  EQ(106, SYS(process_vm_writev(pid, local, 1, remote, 2, 0)));
  remote[0] = (struct iovec){p + 2 * PAGE, 100};
  ERR(EFAULT, process_vm_writev(pid, local, 1, remote, 1, 0));  // as a store would
  remote[0] = (struct iovec){p + 6 * PAGE, 50};
  EQ(50, SYS(process_vm_writev(getpid(), local, 1, remote, 1, 0)));
  CHECK(p[6 * PAGE + 49] == 'W' && p[6 * PAGE + 50] == 'g');
  put(go[1], 'g');
  EXITS(0, pid);
  ERR(ESRCH, process_vm_readv(pid, local, 1, remote, 1, 0));
  if (geteuid() == 0) {
    ordinary();
    ERR(EPERM, process_vm_readv(1, local, 1, remote, 1, 0));
  }
}

TESTS(T(mmap_errors), T(mmap_flags), T(protections), T(mremap_errors), T(mremap_kinds), T(mremap_shared),
      T(shared_in_pieces), T(advice), T(populate), T(fork_advice), T(sync_call), T(core), T(locks), T(lock_limits),
      T(break_call), T(memory_limits), T(overcommit), T(remap_pages), T(kernel_access),
      T(other_process))
