// Operations on memory.
#include "probe.h"

static void page_fault(long n, long arg UNUSED) {
  char *p = small_pages(n);
  begin();
  touch_pages(p, n);
}

static void page_fault_areas(long n, long arg) {
  areas(arg);
  page_fault(n, 0);
}

static void mmap_munmap(long n, long arg) {
  areas(arg);
  begin();
  while (n--) {
    char *p = map(4096);
    SYS(munmap(p, 4096));
  }
}

static void mprotect_touch(long n, long arg UNUSED) {
  volatile char *p = map(4096);
  begin();
  while (n--) {
    SYS(mprotect((void *)p, 4096, PROT_READ));
    SYS(mprotect((void *)p, 4096, PROT_READ | PROT_WRITE));
    p[0] = 1;
  }
}

static volatile char *guarded;
static void on_segv(int sig UNUSED) { mprotect((void *)guarded, 4096, PROT_READ | PROT_WRITE); }

static void segv_handler(long n, long arg UNUSED) {
  guarded = map(4096);
  signal(SIGSEGV, on_segv);
  begin();
  while (n--) {
    SYS(mprotect((void *)guarded, 4096, PROT_NONE));
    guarded[0] = 1;
  }
}
