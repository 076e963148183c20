// mmap and its family: placement, files, protection, growth, what /proc says.
#include "check.h"

#include <setjmp.h>
#include <sys/resource.h>

static sigjmp_buf back;
static volatile int fault_signal, fault_code;
static void *volatile fault_addr;

static void on_fault(int sig, siginfo_t *si, void *u UNUSED) {
  fault_signal = sig;
  fault_code = si->si_code;
  fault_addr = si->si_addr;
  siglongjmp(back, 1);
}

static void catch_faults(void) {
  handle_info(SIGSEGV, on_fault, 0);
  handle_info(SIGBUS, on_fault, 0);
}

// FAULTS runs a statement that has to fault at an address with a signal.
#define FAULTS(sig, code, addr, statement)     \
  do {                                         \
    if (sigsetjmp(back, 1) == 0) {             \
      statement;                               \
      FAIL("no fault: %s", #statement);        \
    }                                          \
    EQ(sig, fault_signal);                     \
    EQ(code, fault_code);                      \
    CHECK(fault_addr == (void *)(addr));       \
  } while (0)

#define READ(p) ((void)*(volatile char *)(p))
#define WRITE(p) ((void)(*(volatile char *)(p) = 1))

static void anonymous(void) {
  char *p = map_private(PAGE * 10);
  for (size_t i = 0; i < PAGE * 10; i++) CHECK(p[i] == 0);
  memset(p, 'x', PAGE * 10);
  SYS(munmap(p, PAGE * 10));
  EQ(0, (uintptr_t)p % PAGE);
}

// What may be written only can be read, for the processor: in each sort of memory,
// given at first or by mprotect, before and after a fork.
static void write_only(void) {
  char data[PAGE];
  memset(data, 'f', sizeof(data));
  scratch();
  make_file("f", data, sizeof(data), 0600);
  int fd = SYS(open("f", O_RDWR));
  for (int i = 0; i < 8; i++) {
    int flags = (i & 1 ? MAP_SHARED : MAP_PRIVATE) | (i & 2 ? 0 : MAP_ANONYMOUS);
    volatile char *p = mmap(NULL, PAGE, i & 4 ? PROT_READ : PROT_WRITE, flags, i & 2 ? fd : -1, 0);
    CHECK(p != MAP_FAILED);
    char first = i & 2 ? 'f' : 0;
    if (i & 4) {
      EQ(first, p[0]);
      SYS(mprotect((void *)p, PAGE, PROT_WRITE));
    }
    p[1] = 1;
    EQ(first, p[0]);
    pid_t pid = SYS(fork());
    if (pid == 0) {
      p[1] = 2;
      p[2] = 3;
      EQ(first, p[0]);
      _exit(0);
    }
    EXITS(0, pid);
    EQ(i & 1 ? 2 : 1, p[1]);
    p[1] = 4;
    EQ(4, p[1]);
    SYS(munmap((void *)p, PAGE));
  }
}

static void arguments(void) {
  ERR(EINVAL, (long)mmap(NULL, 0, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  ERR(EINVAL, (long)mmap(NULL, PAGE, PROT_READ, MAP_ANONYMOUS, -1, 0));
  ERR(EINVAL, (long)mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, 0, 1));
  ERR(EBADF, (long)mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, 99, 0));
  ERR(ENOMEM, (long)mmap(NULL, 1UL << 60, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  ERR(ENOMEM, (long)mmap(NULL, -1UL, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  ERR(EINVAL, (long)mmap((void *)1, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
  ERR(ENOMEM, (long)mmap((void *)(1UL << 47), PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
  int dir = SYS(open("/", O_RDONLY | O_DIRECTORY));
  ERR(ENODEV, (long)mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, dir, 0));
  int w = SYS(open("/tmp", O_TMPFILE | O_WRONLY, 0600));
  ERR(EACCES, (long)mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, w, 0));
  ERR(EINVAL, munmap((void *)1, PAGE));
  ERR(EINVAL, munmap((void *)PAGE, 0));
  EQ(0, SYS(munmap((void *)(PAGE * 64), PAGE)));  // nothing there is fine
  ERR(EINVAL, mprotect((void *)1, PAGE, PROT_READ));
  ERR(ENOMEM, mprotect((void *)(PAGE * 64), PAGE, PROT_READ));
  EQ(0, SYS(mprotect((void *)(PAGE * 64), 0, PROT_READ)));
}

static void fixed(void) {
  char *p = map_private(PAGE * 8);
  memset(p, 'a', PAGE * 8);
  char *q = mmap(p + PAGE * 2, PAGE * 2, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
  CHECK(q == p + PAGE * 2);
  CHECK(p[PAGE * 2 - 1] == 'a' && p[PAGE * 2] == 0 && p[PAGE * 4 - 1] == 0 && p[PAGE * 4] == 'a');
  ERR(EEXIST, (long)mmap(p, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0));
  EQ('a', p[0]);
  SYS(munmap(p + PAGE * 7, PAGE));
  q = mmap(p + PAGE * 7, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
  CHECK(q == p + PAGE * 7);
  SYS(munmap(p + PAGE * 6, PAGE));
  q = mmap(p + PAGE * 6, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(q == p + PAGE * 6);  // a hint that is free is taken
}

static void holes(void) {
  catch_faults();
  char *p = map_private(PAGE * 9);
  memset(p, 'h', PAGE * 9);
  for (int i = 1; i < 9; i += 2) SYS(munmap(p + i * PAGE, PAGE));
  for (int i = 0; i < 9; i += 2) EQ('h', p[i * PAGE + 100]);
  for (int i = 1; i < 9; i += 2) FAULTS(SIGSEGV, SEGV_MAPERR, p + i * PAGE + 5, READ(p + i * PAGE + 5));
  SYS(munmap(p, PAGE * 9));  // over the holes
  FAULTS(SIGSEGV, SEGV_MAPERR, p, READ(p));
}

static void protect(void) {
  catch_faults();
  char *p = map_private(PAGE * 4);
  strcpy(p + PAGE, "kept");
  SYS(mprotect(p + PAGE, PAGE, PROT_READ));
  CHECK(strcmp(p + PAGE, "kept") == 0);
  FAULTS(SIGSEGV, SEGV_ACCERR, p + PAGE + 7, WRITE(p + PAGE + 7));
  WRITE(p);
  WRITE(p + 2 * PAGE);
  SYS(mprotect(p, 4 * PAGE, PROT_NONE));
  FAULTS(SIGSEGV, SEGV_ACCERR, p + PAGE, READ(p + PAGE));
  SYS(mprotect(p, 4 * PAGE, PROT_READ | PROT_WRITE));
  CHECK(strcmp(p + PAGE, "kept") == 0);
  WRITE(p + PAGE);
  // The kernel respects it too.
  SYS(mprotect(p, PAGE, PROT_READ));
  int fd = SYS(open("/dev/zero", O_RDONLY));
  ERR(EFAULT, read(fd, p, 10));
  EQ(PAGE, SYS(read(fd, p + PAGE, PAGE)));
}

static volatile int repaired;
static void repair(int sig UNUSED, siginfo_t *si, void *u UNUSED) {
  repaired++;
  mprotect((void *)((uintptr_t)si->si_addr & ~(PAGE - 1)), PAGE, PROT_READ | PROT_WRITE);
}

// A handler may repair the cause; the instruction is then run again.
static void repair_in_handler(void) {
  handle_info(SIGSEGV, repair, 0);
  char *p = mmap(NULL, PAGE * 20, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  for (int i = 0; i < 20; i++) p[i * PAGE + i] = i;
  EQ(20, repaired);
  for (int i = 0; i < 20; i++) EQ(i, p[i * PAGE + i]);
}

static void execute(void) {
  catch_faults();
  static const unsigned char code[] = {0xb8, 0x2a, 0, 0, 0, 0xc3};  // mov $42, %eax; ret
  unsigned char *p = map_private(PAGE);
  memcpy(p, code, sizeof(code));
  FAULTS(SIGSEGV, SEGV_ACCERR, p, ((int (*)(void))p)());
  SYS(mprotect(p, PAGE, PROT_READ | PROT_EXEC));
  EQ(42, ((int (*)(void))p)());
  SYS(mprotect(p, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC));
  for (int i = 0; i < 50; i++) {  // code that changes
    p[1] = i;
    EQ(i, ((int (*)(void))p)());
  }
}

static int numbered_file(const char *name, int pages) {
  int fd = SYS(open(name, O_RDWR | O_CREAT | O_TRUNC, 0600));
  char page[PAGE];
  for (int i = 0; i < pages; i++) {
    memset(page, '0' + i, sizeof(page));
    EQ(PAGE, SYS(write(fd, page, sizeof(page))));
  }
  return fd;
}

static void file_private(void) {
  scratch();
  int fd = numbered_file("f", 4);
  char *p = mmap(NULL, PAGE * 2, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, PAGE);
  CHECK(p != MAP_FAILED);
  CHECK(p[0] == '1' && p[PAGE] == '2');
  p[0] = 'x';
  char c;
  EQ(1, SYS(pread(fd, &c, 1, PAGE)));
  EQ('1', c);
  SYS(close(fd));  // the mapping stays
  CHECK(p[1] == '1' && p[0] == 'x' && p[2 * PAGE - 1] == '2');
  SYS(unlink("f"));
  EQ('2', p[PAGE + 9]);
}

static void file_shared(void) {
  scratch();
  int fd = numbered_file("f", 4);
  char *p = mmap(NULL, PAGE * 4, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  char *q = mmap(NULL, PAGE * 4, PROT_READ, MAP_SHARED, fd, 0);
  CHECK(p != MAP_FAILED && q != MAP_FAILED);
  p[PAGE + 3] = 'w';
  EQ('w', q[PAGE + 3]);
  char c;
  EQ(1, SYS(pread(fd, &c, 1, PAGE + 3)));
  EQ('w', c);
  EQ(1, SYS(pwrite(fd, "z", 1, PAGE * 2)));
  EQ('z', p[PAGE * 2]);
  pid_t pid = SYS(fork());
  if (pid == 0) {
    EQ('z', q[PAGE * 2]);
    p[0] = 'c';
    _exit(0);
  }
  EXITS(0, pid);
  EQ('c', q[0]);
  SYS(msync(p, PAGE * 4, MS_SYNC));
  EQ(1, SYS(pread(fd, &c, 1, 0)));
  EQ('c', c);
}

static void file_shared_readonly(void) {
  scratch();
  catch_faults();
  numbered_file("f", 1);
  int fd = SYS(open("f", O_RDONLY));
  ERR(EACCES, (long)mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
  char *p = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0);
  CHECK(p != MAP_FAILED);
  ERR(EACCES, mprotect(p, PAGE, PROT_READ | PROT_WRITE));
  FAULTS(SIGSEGV, SEGV_ACCERR, p, WRITE(p));
  p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
  CHECK(p != MAP_FAILED);
  WRITE(p);
}

// Two processes that open the file each for itself share its pages.
static void file_between_processes(void) {
  scratch();
  numbered_file("f", 2);
  int go[2], ok[2];
  SYS(pipe(go));
  SYS(pipe(ok));
  pid_t pid = SYS(fork());
  if (pid == 0) {
    int fd = SYS(open("f", O_RDWR));
    char *p = mmap(NULL, PAGE * 2, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    get(go[0]);
    EQ('P', p[10]);
    p[PAGE] = 'C';
    put(ok[1], 'k');
    _exit(0);
  }
  int fd = SYS(open("f", O_RDWR));
  char *p = mmap(NULL, PAGE * 2, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  p[10] = 'P';
  put(go[1], 'g');
  get(ok[0]);
  EQ('C', p[PAGE]);
  EXITS(0, pid);
}

static void truncated_file(void) {
  scratch();
  catch_faults();
  int fd = numbered_file("f", 3);
  char *p = mmap(NULL, PAGE * 4, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  EQ('2', p[2 * PAGE]);
  FAULTS(SIGBUS, BUS_ADRERR, p + 3 * PAGE, READ(p + 3 * PAGE));
  SYS(ftruncate(fd, PAGE + 10));
  EQ('1', p[PAGE + 9]);
  EQ(0, p[PAGE + 10]);  // the rest of the page is zero
  FAULTS(SIGBUS, BUS_ADRERR, p + 2 * PAGE + 1, READ(p + 2 * PAGE + 1));
  SYS(ftruncate(fd, 3 * PAGE));
  EQ(0, p[2 * PAGE]);
  ERR(EFAULT, write(SYS(open("/dev/null", O_WRONLY)), NULL, 0) == 0 ? pread(fd, p + 3 * PAGE, 10, 0) : 0);
}

static void remap(void) {
  catch_faults();
  char *p = map_private(PAGE * 8);
  strcpy(p, "moved");
  strcpy(p + 3 * PAGE, "too");
  char *q = mremap(p, PAGE * 4, PAGE * 2, 0);  // shrink in place
  CHECK(q == p);
  FAULTS(SIGSEGV, SEGV_MAPERR, p + 2 * PAGE, READ(p + 2 * PAGE));
  q = mremap(p, PAGE * 2, PAGE * 4, 0);  // grows into the hole again
  CHECK(q == p);
  CHECK(p[3 * PAGE] == 0 && strcmp(p, "moved") == 0);
  ERR(ENOMEM, (long)mremap(p, PAGE * 4, PAGE * 6, 0));  // no room
  q = mremap(p, PAGE * 4, PAGE * 64, MREMAP_MAYMOVE);
  CHECK(q != MAP_FAILED && q != p);
  CHECK(strcmp(q, "moved") == 0 && q[63 * PAGE] == 0);
  FAULTS(SIGSEGV, SEGV_MAPERR, p, READ(p));
  char *to = map_private(PAGE * 64);
  char *r = mremap(q, PAGE * 64, PAGE * 2, MREMAP_MAYMOVE | MREMAP_FIXED, to);
  CHECK(r == to);
  CHECK(strcmp(r, "moved") == 0);
  WRITE(to + 2 * PAGE);
  ERR(EFAULT, (long)mremap((void *)(PAGE * 64), PAGE, 2 * PAGE, MREMAP_MAYMOVE));
  ERR(EINVAL, (long)mremap(to + 1, PAGE, 2 * PAGE, MREMAP_MAYMOVE));
  ERR(EINVAL, (long)mremap(to, PAGE, 0, MREMAP_MAYMOVE));
  ERR(EINVAL, (long)mremap(to, PAGE, PAGE, MREMAP_FIXED, p));
}

static void dont_need(void) {
  char *p = map_private(PAGE * 3);
  memset(p, 'd', PAGE * 3);
  SYS(madvise(p + PAGE, PAGE, MADV_DONTNEED));
  CHECK(p[PAGE - 1] == 'd' && p[PAGE] == 0 && p[2 * PAGE - 1] == 0 && p[2 * PAGE] == 'd');
  scratch();
  int fd = numbered_file("f", 1);
  p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
  p[0] = 'x';
  SYS(madvise(p, PAGE, MADV_DONTNEED));
  EQ('0', p[0]);  // as the file has it
  p = map_shared(PAGE);
  p[0] = 's';
  SYS(madvise(p, PAGE, MADV_DONTNEED));
  EQ('s', p[0]);
  ERR(EINVAL, madvise(p + 1, PAGE, MADV_DONTNEED));
  ERR(EINVAL, madvise(p, PAGE, 12345));
  ERR(ENOMEM, madvise((void *)(PAGE * 64), PAGE, MADV_DONTNEED));
}

static void break_moves(void) {
  catch_faults();
  char *start = sbrk(0);
  CHECK(sbrk(PAGE * 10) == start);
  memset(start, 'b', PAGE * 10);
  CHECK(sbrk(0) == start + PAGE * 10);
  CHECK(sbrk(-(long)(PAGE * 9)) != (void *)-1);
  char *top = (char *)(((uintptr_t)start + PAGE + PAGE - 1) & ~(PAGE - 1));
  FAULTS(SIGSEGV, SEGV_MAPERR, top + PAGE, READ(top + PAGE));
  EQ('b', start[PAGE - 1]);
  CHECK(sbrk(PAGE * 9) != (void *)-1);
  EQ(0, top[PAGE]);  // fresh, not the old text
  struct rlimit lim = {1 << 20, RLIM_INFINITY};
  SYS(setrlimit(RLIMIT_DATA, &lim));
  ERR(ENOMEM, (long)sbrk(64 << 20));
}

static __attribute__((noipa)) long recurse(int n) {
  volatile char frame[16384];
  frame[0] = n;
  long below = n ? recurse(n - 1) : 0;
  return below + (frame[0] == (char)n);
}

static void stack_grows(void) {
  EQ(401, recurse(400));  // some 6.5 MB of the usual 8
}

static void stack_limit(void) {
  pid_t pid = SYS(fork());
  if (pid == 0) {
    struct rlimit lim = {256 << 10, 256 << 10};
    SYS(setrlimit(RLIMIT_STACK, &lim));
    recurse(400);
    _exit(0);
  }
  DIES(SIGSEGV, pid);
}

static void stack_overflow_caught(void) {
  stack_t ss = {.ss_sp = map_private(65536), .ss_size = 65536};
  SYS(sigaltstack(&ss, NULL));
  handle_info(SIGSEGV, on_fault, SA_ONSTACK);
  if (sigsetjmp(back, 1) == 0) {
    recurse(1 << 20);
    FAIL("an endless stack");
  }
  EQ(SIGSEGV, fault_signal);
}

static void grows_down(void) {
  catch_faults();
  char *area = mmap(NULL, PAGE * 600, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  SYS(munmap(area, PAGE * 600));
  char *p = mmap(area + PAGE * 590, PAGE * 2, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN | MAP_FIXED, -1, 0);
  CHECK(p == area + PAGE * 590);
  for (int i = 1; i < 20; i++) WRITE(p - i * PAGE);
  EQ(1, p[-19 * (long)PAGE]);
}

static void many_areas(void) {
  enum { N = 2000 };
  char *p = map_private(PAGE * N);
  for (int i = 0; i < N; i += 2) SYS(mprotect(p + i * PAGE, PAGE, PROT_READ));
  for (int i = 1; i < N; i += 2) p[i * PAGE] = i;
  for (int i = 1; i < N; i += 2) EQ((char)i, p[i * PAGE]);
  SYS(mprotect(p, PAGE * N, PROT_READ | PROT_WRITE));
  for (int i = 0; i < N; i += 2) p[i * PAGE] = 5;
  EQ((char)999, p[999 * PAGE]);
}

static void big_sparse(void) {
  size_t size = 8UL << 30;
  char *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  CHECK(p != MAP_FAILED);
  for (size_t i = 0; i < size; i += size / 64) p[i] = 1;
  for (size_t i = 0; i < size; i += size / 64) EQ(1, p[i]);
  EQ(0, p[size - 1]);
  SYS(munmap(p, size));
}

static void address_space_limit(void) {
  struct rlimit lim = {64 << 20, 64 << 20};
  SYS(setrlimit(RLIMIT_AS, &lim));
  ERR(ENOMEM, (long)mmap(NULL, 128 << 20, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  char *p = mmap(NULL, 16 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(p != MAP_FAILED);
}

static void resident(void) {
  char *p = map_private(PAGE * 4);
  p[PAGE] = 1;
  unsigned char v[4];
  SYS(mincore(p, PAGE * 4, v));
  EQ(1, v[1] & 1);
  ERR(EINVAL, mincore(p + 1, PAGE, v));
  ERR(EFAULT, mincore(p, PAGE, (unsigned char *)8));
  SYS(mlock(p, PAGE * 4));
  SYS(mincore(p, PAGE * 4, v));
  EQ(4, (v[0] & 1) + (v[1] & 1) + (v[2] & 1) + (v[3] & 1));
  SYS(munlock(p, PAGE * 4));
}

// /proc/self/maps: sorted, apart, and it shows what was made.
static void maps_file(void) {
  char *p = map_private(PAGE * 6);
  SYS(mprotect(p + PAGE, PAGE, PROT_READ));
  SYS(mprotect(p + 3 * PAGE, PAGE, PROT_NONE));
  scratch();
  int fd = numbered_file("mapped", 3);
  char *q = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, PAGE);
  FILE *f = fopen("/proc/self/maps", "r");
  CHECK(f);
  char line[4096];
  unsigned long last = 0, lo, hi, off;
  int seen = 0, stack = 0, heap = 0, file = 0;
  free(malloc(100));
  while (fgets(line, sizeof(line), f)) {
    char perms[5];
    EQ(4, sscanf(line, "%lx-%lx %4s %lx", &lo, &hi, perms, &off));
    CHECK(lo >= last && hi > lo && lo % PAGE == 0 && hi % PAGE == 0);
    last = hi;
    if (lo == (unsigned long)p + PAGE) seen += hi == lo + PAGE && strcmp(perms, "r--p") == 0;
    if (lo == (unsigned long)p + 3 * PAGE) seen += hi == lo + PAGE && strcmp(perms, "---p") == 0;
    if (lo == (unsigned long)q) file = off == PAGE && strcmp(perms, "r--s") == 0 && strstr(line, "/mapped\n");
    stack += strstr(line, "[stack]") != NULL && lo < (unsigned long)&f && hi > (unsigned long)&f;
    heap += strstr(line, "[heap]") != NULL;
  }
  EQ(2, seen);
  EQ(1, stack);
  EQ(1, heap);
  EQ(1, file);
}

static void shared_survives_unmap_of_one(void) {
  char *p = map_shared(PAGE);
  strcpy(p, "still here");
  pid_t pid = SYS(fork());
  if (pid == 0) {
    SYS(munmap(p, PAGE));
    _exit(0);
  }
  EXITS(0, pid);
  CHECK(strcmp(p, "still here") == 0);
}

static void memory_file(void) {
  int fd = SYS(syscall(SYS_memfd_create, "name", 1 /* MFD_CLOEXEC */));
  SYS(ftruncate(fd, PAGE * 2));
  char *p = mmap(NULL, PAGE * 2, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  strcpy(p + PAGE, "in the file");
  char text[20];
  EQ(12, SYS(pread(fd, text, 12, PAGE)));
  CHECK(strcmp(text, "in the file") == 0);
  struct stat st;
  SYS(fstat(fd, &st));
  EQ(PAGE * 2, st.st_size);
}

static void null_page(void) {
  catch_faults();
  FAULTS(SIGSEGV, SEGV_MAPERR, 0x10, READ((char *)(volatile uintptr_t){0x10}));
  FAULTS(SIGSEGV, SEGV_MAPERR, 0x10, WRITE((char *)(volatile uintptr_t){0x10}));
}

TESTS(T(anonymous), T(arguments), T(write_only), T(fixed), T(holes), T(protect), T(repair_in_handler), T(execute), T(file_private),
      T(file_shared), T(file_shared_readonly), T(file_between_processes), T(truncated_file), T(remap), T(dont_need),
      T(break_moves), T(stack_grows), T(stack_limit), T(stack_overflow_caught), T(grows_down), T(many_areas),
      T(big_sparse), T(address_space_limit), T(resident), T(maps_file), T(shared_survives_unmap_of_one),
      T(memory_file), T(null_page))
