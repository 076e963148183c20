// Copy-on-write: what one process writes after fork, no other sees, unless
// the memory is shared.
#include "check.h"

#include <pthread.h>

static int global = 1;
static int bss[100000];

static void private_globals(void) {
  int local = 5;
  int *heap = malloc(sizeof(int));
  *heap = 9;
  pid_t pid = SYS(fork());
  if (pid == 0) {
    global = 2, local = 6, *heap = 10, bss[50000] = 1;
    EQ(2, global);
    EQ(10, *heap);
    _exit(local);
  }
  EXITS(6, pid);
  EQ(1, global);
  EQ(5, local);
  EQ(9, *heap);
  EQ(0, bss[50000]);
}

static void parent_writes(void) {
  int go[2];
  SYS(pipe(go));
  pid_t pid = SYS(fork());
  if (pid == 0) {
    get(go[0]);
    EQ(1, global);
    EQ(0, bss[7]);
    _exit(0);
  }
  global = 77;
  for (size_t i = 0; i < LEN(bss); i++) bss[i] = i;
  put(go[1], 'g');
  EXITS(0, pid);
}

enum { BIG = 32 << 20 };

static void fill(unsigned *p, size_t bytes, unsigned seed) {
  for (size_t i = 0; i < bytes / 4; i += PAGE / 4) p[i] = seed + i;
}

static void verify(unsigned *p, size_t bytes, unsigned seed) {
  for (size_t i = 0; i < bytes / 4; i += PAGE / 4)
    if (p[i] != seed + i) FAIL("page %zu differs", i / (PAGE / 4));
}

// Children each write a part of a big array; each sees only its own writing.
static void big_array(void) {
  unsigned *p = map_private(BIG);
  fill(p, BIG, 1000);
  pid_t kids[4];
  for (int k = 0; k < 4; k++) {
    kids[k] = SYS(fork());
    if (kids[k] == 0) {
      size_t part = BIG / 4;
      unsigned *mine = p + k * part / 4;
      verify(p, BIG, 1000);
      fill(mine, part, 5000 + k);
      verify(mine, part, 5000 + k);
      for (size_t i = 0; i < BIG / 4; i += PAGE / 4)
        if (p + i < mine || p + i >= mine + part / 4) CHECK(p[i] == 1000 + i);
      _exit(0);
    }
  }
  for (int k = 0; k < 4; k++) EXITS(0, kids[k]);
  verify(p, BIG, 1000);
}

static void generations(unsigned *p, int n) {
  if (n == 0) return;
  pid_t pid = SYS(fork());
  if (pid == 0) {
    verify(p, 1 << 20, n);
    fill(p, 1 << 20, n - 1);
    generations(p, n - 1);
    verify(p, 1 << 20, n - 1);
    _exit(0);
  }
  EXITS(0, pid);
  verify(p, 1 << 20, n);
}

static void grandchildren(void) {
  unsigned *p = map_private(1 << 20);
  fill(p, 1 << 20, 12);
  generations(p, 12);
}

// The middle process goes away; its child keeps the pages that they shared.
static void parent_gone_first(void) {
  unsigned *p = map_private(1 << 20);
  int go[2], ok[2];
  SYS(pipe(go));
  SYS(pipe(ok));
  fill(p, 1 << 20, 1);
  pid_t pid = SYS(fork());
  if (pid == 0) {
    fill(p, 1 << 19, 2);
    if (SYS(fork()) == 0) {
      get(go[0]);
      verify(p, 1 << 19, 2);
      CHECK(p[(1 << 19) / 4] == 1 + (1 << 19) / 4);
      fill(p, 1 << 20, 3);
      verify(p, 1 << 20, 3);
      put(ok[1], 'k');
      _exit(0);
    }
    _exit(0);
  }
  EXITS(0, pid);
  fill(p, 1 << 20, 4);
  put(go[1], 'g');
  EQ('k', get(ok[0]));
  verify(p, 1 << 20, 4);
}

static void shared_is_shared(void) {
  int *p = map_shared(PAGE * 4);
  pid_t pid = SYS(fork());
  if (pid == 0) {
    for (int i = 0; i < 4; i++) p[i * 1024] = 100 + i;
    _exit(0);
  }
  EXITS(0, pid);
  for (int i = 0; i < 4; i++) EQ(100 + i, p[i * 1024]);
  // Pages first touched by a grandchild are the same ones too.
  p = map_shared(PAGE * 16);
  pid = SYS(fork());
  if (pid == 0) {
    if (SYS(fork()) == 0) {
      p[15 * 1024] = 7;
      _exit(0);
    }
    SYS(wait(NULL));
    EQ(7, p[15 * 1024]);
    p[3 * 1024] = 8;
    _exit(0);
  }
  EXITS(0, pid);
  EQ(7, p[15 * 1024]);
  EQ(8, p[3 * 1024]);
}

static void counter_in_shared(void) {
  int *p = map_shared(PAGE);
  for (int i = 0; i < 8; i++)
    if (SYS(fork()) == 0) {
      for (int j = 0; j < 1000; j++) __atomic_fetch_add(p, 1, __ATOMIC_SEQ_CST);
      _exit(0);
    }
  while (wait(NULL) > 0) {
  }
  EQ(8000, *p);
}

static void system_call_writes(void) {
  // The kernel's own writes (here: read) break sharing as the program's do.
  scratch();
  make_file("f", "new new new", 11, 0600);
  char *p = map_private(PAGE);
  strcpy(p, "old old old");
  pid_t pid = SYS(fork());
  if (pid == 0) {
    int fd = SYS(open("f", O_RDONLY));
    EQ(11, SYS(read(fd, p, 11)));
    CHECK(strcmp(p, "new new new") == 0);
    _exit(0);
  }
  EXITS(0, pid);
  CHECK(strcmp(p, "old old old") == 0);
}

static void read_into_untouched(void) {
  scratch();
  static char data[20000];
  memset(data, 'q', sizeof(data));
  make_file("f", data, sizeof(data), 0600);
  char *p = map_private(PAGE * 8);
  int fd = SYS(open("f", O_RDONLY));
  EQ(20000, SYS(read(fd, p + 100, 20000)));
  CHECK(p[99] == 0 && p[100] == 'q' && p[20099] == 'q' && p[20100] == 0);
}

static __attribute__((noinline)) int deep(int n) {
  volatile char frame[4096];
  frame[0] = n;
  frame[4095] = n;
  return n == 0 ? 0 : deep(n - 1) + (frame[0] == (char)n && frame[4095] == (char)n);
}

static void stacks(void) {
  pid_t a = SYS(fork());
  if (a == 0) _exit(deep(200) == 200 ? 1 : 2);
  pid_t b = SYS(fork());
  if (b == 0) _exit(deep(300) == 300 ? 1 : 2);
  EQ(100, deep(100));
  EXITS(1, a);
  EXITS(1, b);
}

static volatile int stop_writing;
static unsigned *area;
static void *writer(void *arg) {
  unsigned n = 0;
  while (!stop_writing) {
    n++;
    for (int i = (int)(long)arg; i < 64; i += 2) ((volatile unsigned *)area)[i * 1024] = n;
  }
  return NULL;
}

// While threads write, fork takes a picture: the child's memory stands still.
static void fork_with_threads(void) {
  area = map_private(64 * PAGE);
  pthread_t t[2];
  for (long i = 0; i < 2; i++) ZERO(pthread_create(&t[i], NULL, writer, (void *)i));
  for (int round = 0; round < 20; round++) {
    pid_t pid = SYS(fork());
    if (pid == 0) {
      unsigned seen[64];
      for (int i = 0; i < 64; i++) seen[i] = ((volatile unsigned *)area)[i * 1024];
      for (int again = 0; again < 20; again++)
        for (int i = 0; i < 64; i++) CHECK(((volatile unsigned *)area)[i * 1024] == seen[i]);
      _exit(0);
    }
    EXITS(0, pid);
  }
  stop_writing = 1;
  for (int i = 0; i < 2; i++) ZERO(pthread_join(t[i], NULL));
}

static void protections_are_own(void) {
  char *p = map_private(PAGE * 2);
  p[0] = 'a';
  pid_t pid = SYS(fork());
  if (pid == 0) {
    SYS(mprotect(p, PAGE, PROT_READ));
    SYS(munmap(p + PAGE, PAGE));
    p[0] = 'b';  // must not be allowed
    _exit(0);
  }
  DIES(SIGSEGV, pid);
  p[0] = 'c';
  p[PAGE] = 'd';
  CHECK(p[0] == 'c' && p[PAGE] == 'd');
}

static void dontfork(void) {
  char *p = map_private(PAGE * 3);
  memset(p, 'x', PAGE * 3);
  SYS(madvise(p + PAGE, PAGE, MADV_DONTFORK));
  pid_t pid = SYS(fork());
  if (pid == 0) {
    CHECK(p[0] == 'x' && p[2 * PAGE] == 'x');
    unsigned char v;
    ERR(ENOMEM, mincore(p + PAGE, PAGE, &v));
    _exit(0);
  }
  EXITS(0, pid);
  SYS(madvise(p, PAGE, MADV_WIPEONFORK));
  pid = SYS(fork());
  if (pid == 0) {
    EQ(0, p[0]);
    _exit(0);
  }
  EXITS(0, pid);
  EQ('x', p[0]);
}

// Many forks of a program with touched memory: nothing leaks, nothing mixes.
static void many_forks(void) {
  unsigned *p = map_private(1 << 20);
  for (unsigned i = 0; i < 200; i++) {
    p[(i % 256) * 1024] = i;
    pid_t pid = SYS(fork());
    if (pid == 0) {
      CHECK(p[(i % 256) * 1024] == i);
      p[(i % 256) * 1024] = 999999;
      _exit(0);
    }
    EXITS(0, pid);
    CHECK(p[(i % 256) * 1024] == i);
  }
}

// What a thread writes while others fork is never lost. Each has a word of its own
// in every page.
static void *counter(void *arg) {
  unsigned *mine = (unsigned *)arg;
  unsigned n = 0;
  while (!stop_writing || n < 100) {
    for (int i = 0; i < 16; i++) {
      volatile unsigned *p = mine + i * (PAGE / 4);
      if (*p != n) FAIL("a thread finds %u, and wrote %u", *p, n);
      *p = n + 1;
    }
    n++;
  }
  return NULL;
}

// One lets the kernel write: what a file holds, into half of a page.
static void *reader(void *arg) {
  char *mine = arg;
  int fd = SYS(open("numbers", O_RDONLY));
  for (unsigned n = 0; !stop_writing || n < 100; n++) {
    EQ(2048, SYS(pread(fd, mine, 2048, n % 8 * 2048)));
    for (int i = 0; i < 2048; i++)
      if (mine[i] != (char)('a' + n % 8)) FAIL("read %u: byte %d is %d", n, i, mine[i]);
  }
  return NULL;
}

static void nothing_is_lost(void) {
  scratch();
  int fd = SYS(open("numbers", O_RDWR | O_CREAT, 0600));
  for (int i = 0; i < 8; i++) {
    char text[2048];
    memset(text, 'a' + i, sizeof(text));
    EQ(2048, SYS(write(fd, text, sizeof(text))));
  }
  char *p = map_private(16 * PAGE);
  stop_writing = 0;
  pthread_t t[4];
  for (long i = 0; i < 3; i++) ZERO(pthread_create(&t[i], NULL, counter, p + 2048 + i * 64));
  ZERO(pthread_create(&t[3], NULL, reader, p));
  for (unsigned i = 0; i < 60; i++) {
    *(volatile unsigned *)(p + 4000) = i;  // in the page that is read into
    pid_t pid = SYS(fork());
    if (pid == 0) {
      EQ(i, *(volatile unsigned *)(p + 4000));
      memset(p, 0, 16 * PAGE);
      _exit(0);
    }
    *(volatile unsigned *)(p + 4000) = i + 1000;
    EXITS(0, pid);
    EQ(i + 1000, *(volatile unsigned *)(p + 4000));
  }
  stop_writing = 1;
  for (int i = 0; i < 4; i++) ZERO(pthread_join(t[i], NULL));
}

// Threads touch the same pages for the first time, all at once, by loads and by
// stores; and one takes pages away meanwhile.
static pthread_barrier_t together;
static char *fresh, *text_pages;
enum { ROUNDS = 40, FRESH = 32 };

static void *toucher(void *arg) {
  long me = (long)arg;
  for (int r = 0; r < ROUNDS; r++) {
    pthread_barrier_wait(&together);
    char *p = fresh + (long)r * FRESH * PAGE;
    for (int i = 0; i < FRESH; i++) {
      if (me & 1)
        p[i * PAGE + me] = 1 + me;
      else
        EQ(0, p[i * PAGE + me]);
      EQ('a' + i % 4, text_pages[i % 4 * PAGE]);
      if (me == 0 && i % 8 == 0) SYS(madvise(text_pages, 4 * PAGE, MADV_DONTNEED));
    }
    pthread_barrier_wait(&together);
    for (int i = 0; i < FRESH; i++)
      for (int k = 0; k < 4; k++) EQ(k & 1 ? 1 + k : 0, p[i * PAGE + k]);
  }
  return NULL;
}

static void touch_together(void) {
  scratch();
  int fd = SYS(open("text", O_RDWR | O_CREAT, 0600));
  for (int i = 0; i < 4; i++) {
    char page[PAGE];
    memset(page, 'a' + i, sizeof(page));
    EQ(PAGE, SYS(write(fd, page, sizeof(page))));
  }
  text_pages = mmap(NULL, 4 * PAGE, PROT_READ, MAP_PRIVATE, fd, 0);
  CHECK(text_pages != MAP_FAILED);
  fresh = map_private((long)ROUNDS * FRESH * PAGE);
  ZERO(pthread_barrier_init(&together, NULL, 4));
  pthread_t t[4];
  for (long i = 0; i < 4; i++) ZERO(pthread_create(&t[i], NULL, toucher, (void *)i));
  for (int i = 0; i < 4; i++) ZERO(pthread_join(t[i], NULL));
}

// Parent and child unmap, protect and truncate what they share with a file, each
// for itself.
static void file_pages_apart(void) {
  scratch();
  int fd = SYS(open("f", O_RDWR | O_CREAT, 0600)), go[2], ok[2];
  SYS(ftruncate(fd, 8 * PAGE));
  SYS(pipe(go));
  SYS(pipe(ok));
  char *shared = mmap(NULL, 8 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  char *own = mmap(NULL, 8 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
  for (int i = 0; i < 8; i++) shared[i * PAGE] = 's', own[i * PAGE] = 'o';
  pid_t pid = SYS(fork());
  if (pid == 0) {
    own[0] = 'c';
    SYS(munmap(own + PAGE, PAGE));
    SYS(mprotect(own + 2 * PAGE, PAGE, PROT_READ));
    put(ok[1], 'k');
    get(go[0]);  // the parent has truncated
    CHECK(shared[3 * PAGE] == 's' && own[3 * PAGE] == 'o');
    pid = SYS(fork());
    if (pid == 0) {
      *(volatile char *)(own + 5 * PAGE) = 1;
      _exit(0);
    }
    DIES(SIGBUS, pid);
    pid = SYS(fork());
    if (pid == 0) {
      *(volatile char *)(shared + 5 * PAGE) = 1;
      _exit(0);
    }
    DIES(SIGBUS, pid);
    _exit(0);
  }
  get(ok[0]);
  CHECK(own[0] == 'o' && own[PAGE] == 'o');
  own[2 * PAGE] = 'p';
  SYS(ftruncate(fd, 4 * PAGE + 1));
  put(go[1], 'g');
  EXITS(0, pid);
  CHECK(own[3 * PAGE] == 'o' && own[2 * PAGE] == 'p');
}

TESTS(T(private_globals), T(parent_writes), T(big_array), T(grandchildren), T(parent_gone_first), T(shared_is_shared),
      T(counter_in_shared), T(system_call_writes), T(read_into_untouched), T(stacks), T(fork_with_threads),
      T(protections_are_own), T(dontfork), T(many_forks), T(nothing_is_lost), T(touch_together), T(file_pages_apart))
