// soak makes random system calls, to be run inside a sandbox only: it refuses any
// other kernel, which it would harm.
//
//	soak SEED SECONDS
//
// The supervisor keeps a few cages busy. A cage is a pid and mount namespace whose
// processes and threads do nothing but calls with arguments that are plausible, or
// not at all; it is killed after a fraction of a second, and a new one begins. After
// SECONDS the supervisor tidies up, prints "calls N", waits for a line of input, and
// does the same once more. "stuck" says that a cage could not be killed.
//
// Every call number is made. What ends a process at once is made seldom.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <grp.h>
#include <linux/capability.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define LEN(a) (sizeof(a) / sizeof((a)[0]))
#define HOME "/tmp/soak"
#define CAGES 4
#define ARENA (1UL << 20)
#define PAGE 4096UL

typedef uint64_t u64;

static long long now_ms(void) {
  struct timespec ts;
  clock_gettime(CLOCK_MONOTONIC, &ts);
  return ts.tv_sec * 1000LL + ts.tv_nsec / 1000000;
}

// Random numbers, one state a thread.
static __thread u64 state;
static u64 rnd(void) {
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return state * 0x2545f4914f6cdd1dULL;
}
static u64 below(u64 n) { return (rnd() >> 16) % n; }
static int one_in(u64 n) { return below(n) == 0; }

struct shared {
  u64 calls;
  int forks[CAGES]; // how many more a cage may make
  u64 begun[CAGES]; // the seed of the last inmate that came to make calls
};
static struct shared *shared;
static int *forks;
static int null;    // /dev/null, as it was before anybody could change it
static char *arena; // memory that arguments point to

// How the arguments of calls look, by number: a letter for each.
//
//	f descriptor  d directory  p path  b buffer  z size  l flags  i small number
//	n process  t time  s signal  m mode  o offset  a address of a page  L length of pages
//	T struct  A socket address  k System V id  c ioctl  * anything
static const char *const shapes[] = {
    [SYS_read] = "fbz", [SYS_write] = "fbz", [SYS_open] = "plm", [SYS_close] = "f", [SYS_stat] = "pT",
    [SYS_fstat] = "fT", [SYS_lstat] = "pT", [SYS_poll] = "Tii", [SYS_lseek] = "foi", [SYS_mmap] = "aLilfo",
    [SYS_mprotect] = "aLi", [SYS_munmap] = "aL", [SYS_brk] = "a", [SYS_rt_sigaction] = "sTTi",
    [SYS_rt_sigprocmask] = "iTTi", [SYS_rt_sigreturn] = "", [SYS_ioctl] = "fcT", [SYS_pread64] = "fbzo",
    [SYS_pwrite64] = "fbzo", [SYS_readv] = "fTi", [SYS_writev] = "fTi", [SYS_access] = "pi", [SYS_pipe] = "T",
    [SYS_select] = "iTTTt", [SYS_mremap] = "aLLia", [SYS_msync] = "aLi", [SYS_mincore] = "aLb",
    [SYS_madvise] = "aLi", [SYS_shmget] = "kzl", [SYS_shmat] = "kal", [SYS_shmctl] = "kiT", [SYS_dup] = "f",
    [SYS_dup2] = "ff", [SYS_nanosleep] = "tT", [SYS_getitimer] = "iT", [SYS_alarm] = "i",
    [SYS_setitimer] = "iTT", [SYS_sendfile] = "ffTz", [SYS_socket] = "ili", [SYS_connect] = "fAi",
    [SYS_accept] = "fTT", [SYS_sendto] = "fbzlAi", [SYS_recvfrom] = "fbzlTT", [SYS_sendmsg] = "fTl",
    [SYS_recvmsg] = "fTl", [SYS_shutdown] = "fi", [SYS_bind] = "fAi", [SYS_listen] = "fi",
    [SYS_getsockname] = "fTT", [SYS_getpeername] = "fTT", [SYS_socketpair] = "iiiT", [SYS_setsockopt] = "fiiTi",
    [SYS_getsockopt] = "fiiTT", [SYS_clone] = "laTTT", [SYS_execve] = "pTT", [SYS_exit] = "i",
    [SYS_wait4] = "nTiT", [SYS_kill] = "ns", [SYS_uname] = "T", [SYS_semget] = "kil", [SYS_semop] = "kTi",
    [SYS_semctl] = "kiiT", [SYS_shmdt] = "a", [SYS_msgget] = "kl", [SYS_msgsnd] = "kTzl", [SYS_msgrcv] = "kTzil",
    [SYS_msgctl] = "kiT", [SYS_fcntl] = "fiT", [SYS_flock] = "fi", [SYS_fsync] = "f", [SYS_fdatasync] = "f",
    [SYS_truncate] = "po", [SYS_ftruncate] = "fo", [SYS_getdents] = "fbz", [SYS_getcwd] = "bz", [SYS_chdir] = "p",
    [SYS_fchdir] = "f", [SYS_rename] = "pp", [SYS_mkdir] = "pm", [SYS_rmdir] = "p", [SYS_creat] = "pm",
    [SYS_link] = "pp", [SYS_unlink] = "p", [SYS_symlink] = "pp", [SYS_readlink] = "pbz", [SYS_chmod] = "pm",
    [SYS_fchmod] = "fm", [SYS_chown] = "pii", [SYS_fchown] = "fii", [SYS_lchown] = "pii", [SYS_umask] = "m",
    [SYS_gettimeofday] = "TT", [SYS_getrlimit] = "iT", [SYS_getrusage] = "iT", [SYS_sysinfo] = "T",
    [SYS_times] = "T", [SYS_ptrace] = "inTT", [SYS_syslog] = "ibz", [SYS_setpgid] = "nn", [SYS_getgroups] = "iT",
    [SYS_setgroups] = "iT", [SYS_getpgid] = "n", [SYS_getsid] = "n", [SYS_capget] = "TT", [SYS_capset] = "TT",
    [SYS_rt_sigpending] = "Ti", [SYS_rt_sigtimedwait] = "TTti", [SYS_rt_sigqueueinfo] = "nsT",
    [SYS_rt_sigsuspend] = "Ti", [SYS_sigaltstack] = "TT", [SYS_utime] = "pT", [SYS_mknod] = "pmi",
    [SYS_personality] = "i", [SYS_statfs] = "pT", [SYS_fstatfs] = "fT", [SYS_getpriority] = "in",
    [SYS_setpriority] = "ini", [SYS_sched_setparam] = "nT", [SYS_sched_getparam] = "nT",
    [SYS_sched_setscheduler] = "niT", [SYS_sched_getscheduler] = "n", [SYS_sched_rr_get_interval] = "nT",
    [SYS_mlock] = "aL", [SYS_munlock] = "aL", [SYS_mlockall] = "i", [SYS_pivot_root] = "pp", [SYS_prctl] = "iTTTT",
    [SYS_arch_prctl] = "*a", [SYS_adjtimex] = "T", [SYS_setrlimit] = "iT", [SYS_chroot] = "p",
    [SYS_mount] = "pppl*", [SYS_umount2] = "pi", [SYS_sethostname] = "bz", [SYS_setdomainname] = "bz",
    [SYS_readahead] = "foz", [SYS_setxattr] = "ppbzi", [SYS_lsetxattr] = "ppbzi", [SYS_fsetxattr] = "fpbzi",
    [SYS_getxattr] = "ppbz", [SYS_lgetxattr] = "ppbz", [SYS_fgetxattr] = "fpbz", [SYS_listxattr] = "pbz",
    [SYS_llistxattr] = "pbz", [SYS_flistxattr] = "fbz", [SYS_removexattr] = "pp", [SYS_fremovexattr] = "fp",
    [SYS_tkill] = "ns", [SYS_time] = "T", [SYS_futex] = "TiitTi", [SYS_sched_setaffinity] = "niT",
    [SYS_sched_getaffinity] = "niT", [SYS_io_setup] = "iT", [SYS_io_destroy] = "*", [SYS_io_getevents] = "*iiTt",
    [SYS_io_submit] = "*iT", [SYS_io_cancel] = "*TT", [SYS_epoll_create] = "i", [SYS_remap_file_pages] = "aLioi",
    [SYS_getdents64] = "fbz", [SYS_set_tid_address] = "T", [SYS_semtimedop] = "kTit", [SYS_fadvise64] = "fooi",
    [SYS_timer_create] = "iTT", [SYS_timer_settime] = "iiTT", [SYS_timer_gettime] = "iT",
    [SYS_timer_getoverrun] = "i", [SYS_timer_delete] = "i", [SYS_clock_settime] = "it", [SYS_clock_gettime] = "iT",
    [SYS_clock_getres] = "iT", [SYS_clock_nanosleep] = "iitT", [SYS_exit_group] = "i", [SYS_epoll_wait] = "fTii",
    [SYS_epoll_ctl] = "fifT", [SYS_tgkill] = "nns", [SYS_utimes] = "pT", [SYS_mbind] = "aLiTii",
    [SYS_set_mempolicy] = "iTi", [SYS_get_mempolicy] = "TTial", [SYS_mq_open] = "plmT", [SYS_mq_unlink] = "p",
    [SYS_mq_timedsend] = "fbzit", [SYS_mq_timedreceive] = "fbzTt", [SYS_mq_notify] = "fT",
    [SYS_mq_getsetattr] = "fTT", [SYS_waitid] = "inTiT", [SYS_ioprio_set] = "ini", [SYS_ioprio_get] = "in",
    [SYS_inotify_add_watch] = "fpl", [SYS_inotify_rm_watch] = "fi", [SYS_openat] = "dplm", [SYS_mkdirat] = "dpm",
    [SYS_mknodat] = "dpmi", [SYS_fchownat] = "dpiil", [SYS_futimesat] = "dpT", [SYS_newfstatat] = "dpTl",
    [SYS_unlinkat] = "dpl", [SYS_renameat] = "dpdp", [SYS_linkat] = "dpdpl", [SYS_symlinkat] = "pdp",
    [SYS_readlinkat] = "dpbz", [SYS_fchmodat] = "dpm", [SYS_faccessat] = "dpi", [SYS_pselect6] = "iTTTtT",
    [SYS_ppoll] = "TitTi", [SYS_unshare] = "l", [SYS_set_robust_list] = "Tz", [SYS_get_robust_list] = "nTT",
    [SYS_splice] = "fTfTzi", [SYS_tee] = "ffzi", [SYS_sync_file_range] = "fooi", [SYS_vmsplice] = "fTii",
    [SYS_move_pages] = "niTTTi", [SYS_utimensat] = "dpTl", [SYS_epoll_pwait] = "fTiiTi", [SYS_signalfd] = "fTi",
    [SYS_timerfd_create] = "il", [SYS_eventfd] = "i", [SYS_fallocate] = "fioo", [SYS_timerfd_settime] = "fiTT",
    [SYS_timerfd_gettime] = "fT", [SYS_accept4] = "fTTl", [SYS_signalfd4] = "fTil", [SYS_eventfd2] = "il",
    [SYS_epoll_create1] = "l", [SYS_dup3] = "ffl", [SYS_pipe2] = "Tl", [SYS_inotify_init1] = "l",
    [SYS_preadv] = "fTioi", [SYS_pwritev] = "fTioi", [SYS_rt_tgsigqueueinfo] = "nnsT",
    [SYS_recvmmsg] = "fTilt", [SYS_prlimit64] = "niTT", [SYS_name_to_handle_at] = "dpTTl", [SYS_syncfs] = "f",
    [SYS_sendmmsg] = "fTil", [SYS_setns] = "fl", [SYS_getcpu] = "TTT", [SYS_process_vm_readv] = "nTiTii",
    [SYS_process_vm_writev] = "nTiTii", [SYS_kcmp] = "nniff", [SYS_sched_setattr] = "nTi",
    [SYS_sched_getattr] = "nTii", [SYS_renameat2] = "dpdpi", [SYS_seccomp] = "iiT", [SYS_getrandom] = "bzi",
    [SYS_memfd_create] = "pl", [SYS_execveat] = "dpTTl", [SYS_membarrier] = "iii", [SYS_mlock2] = "aLi",
    [SYS_copy_file_range] = "fTfTzi", [SYS_preadv2] = "fTioil", [SYS_pwritev2] = "fTioil",
    [SYS_statx] = "dpllT", [SYS_rseq] = "Tii*", [SYS_pidfd_send_signal] = "fsTi", [SYS_open_tree] = "dpl",
    [SYS_move_mount] = "dpdpl", [SYS_fsopen] = "pl", [SYS_fsconfig] = "fippi", [SYS_fsmount] = "fll",
    [SYS_fspick] = "dpl", [SYS_pidfd_open] = "nl", [SYS_clone3] = "Tz", [SYS_close_range] = "ffi",
    [SYS_openat2] = "dpTz", [SYS_pidfd_getfd] = "ffi", [SYS_faccessat2] = "dpil", [SYS_process_madvise] = "fTiii",
    [SYS_epoll_pwait2] = "fTitTi", [SYS_mount_setattr] = "dplTz", [SYS_futex_waitv] = "Tiiti",
    [452] = "dpml", [454] = "T**l", [455] = "T**lti", [456] = "Tlii",
};
#define CALLS 520

static const char *const paths[] = {
    "a", "b", "c", "d", "d/a", "d/b", "d/c/e", ".", "..", "", "/", "/tmp", "/tmp/soak/a", "link", "fifo", "sock",
    "/proc", "/proc/self", "/proc/self/fd", "/proc/self/fd/3", "/proc/self/fd/5", "/proc/self/maps", "/proc/self/mem",
    "/proc/self/exe", "/proc/self/ns/mnt", "/proc/self/ns/pid", "/proc/self/fdinfo/4", "/proc/self/task",
    "/proc/self/root", "/proc/self/uid_map", "/proc/stat", "/proc/mounts", "/dev/null", "/dev/zero", "/dev/full",
    "/dev/urandom", "/dev/tty", "/dev/ptmx", "/dev/pts/0", "/dev/shm", "/dev/shm/x", "/dev/fd", "/sys",
    "tmpfs", "proc", "sysfs", "overlay", "devpts", "mqueue", "user.x", "user.y", "trusted.x", "security.capability",
    "system.posix_acl_access", "size=1m", "lowerdir=d,upperdir=a,workdir=b", "/bin/true", "mode=0755",
};

static const unsigned ioctls[] = {
    0x5401, 0x5402, 0x5403, 0x5404, 0x5405, 0x5406, 0x5409, 0x540b, 0x540e, 0x540f, 0x5410, 0x5411, 0x5412, 0x5413,
    0x5414, 0x541b, 0x5420, 0x5421, 0x5422, 0x5423, 0x5424, 0x5429, 0x5450, 0x5451, 0x5452, 0x5460, 0x80045430,
    0x40045431, 0x5441, 0x8901, 0x8902, 0x8905, 0x8906, 0x8907, 0x8910, 0x8912, 0x8913, 0x8914, 0x8915, 0x891b,
    0x8927, 0x8933, 0x80086601, 0x40086602, 0x80087601, 0xc020660b, 0x40049409, 0xc0045877, 0xb701, 0xb702, 0xb703,
};

static u64 word(void) {
  switch (below(14)) {
  case 0: return 0;
  case 1: return below(16);
  case 2: return below(4096);
  case 3: return (u64)(arena + below(ARENA));
  case 4: return (u64)(arena + below(16) * 64);
  case 5: return (u64)paths[below(LEN(paths))];
  case 6: return 1ULL << below(64);
  case 7: return -1ULL - below(4);
  case 8: return rnd();
  case 9: return below(64) | below(64) << 32;
  case 10: return 0xffff800000000000ULL + below(1 << 20);
  case 11: return (u64)(arena + below(ARENA / PAGE) * PAGE);
  case 12: return INT64_MAX - below(3);
  default: return below(8) * 100000;
  }
}

static u64 flags_of(void) {
  switch (below(6)) {
  case 0: return 0;
  case 1: return 1ULL << below(32);
  case 2: return 1ULL << below(24) | 1ULL << below(24);
  case 3: return 02 | 0100 | (below(4) << 9) | (below(2) << 11) | (below(2) << 19);
  case 4: return below(0x1000);
  default: return (unsigned)rnd();
  }
}

// thing makes a struct, or points somewhere that holds none.
static u64 thing(void) {
  if (one_in(12)) return word();
  u64 words = 1 + below(24);
  char *p = arena + below(ARENA - 4 * PAGE);
  if (!one_in(4)) p = (char *)((u64)p & ~7ULL);
  if (one_in(16)) p = (char *)(((u64)p | (PAGE - 1)) - below(64)); // into the next page
  for (u64 i = 0; i < words; i++) {
    u64 w = word();
    memcpy(p + i * 8, &w, 8);
  }
  return (u64)p;
}

static u64 address(void) {
  char *p = (char *)thing();
  if ((u64)p - (u64)arena > ARENA - 4 * PAGE) return (u64)p;
  static const short families[] = {0, 1, 2, 10, 16, 17};
  short family = families[below(LEN(families))];
  memcpy(p, &family, 2);
  if (family == 1) strcpy(p + 2, one_in(3) ? "" : "sock");
  if (family == 2) memcpy(p + 2, "\x12\x34\x7f\0\0\1", 6);
  return (u64)p;
}

static u64 argument(char shape) {
  if (one_in(24)) return word();
  switch (shape) {
  case 'f': return one_in(12) ? (u64)(int)(below(400) - 200) : below(24);
  case 'd': return one_in(3) ? below(24) : (u64)AT_FDCWD;
  case 'p': return (u64)paths[below(LEN(paths))];
  case 'b': return (u64)(arena + below(ARENA / 2));
  case 'z': return one_in(8) ? word() : below(one_in(4) ? 200000 : 300);
  case 'l': return flags_of();
  case 'i': return one_in(6) ? word() : below(40) - 2;
  case 'n': return one_in(4) ? (u64)-1 : below(8);
  case 't': {
    u64 *p = (u64 *)(arena + below(1024) * 16);
    p[0] = one_in(10) ? word() : 0;
    p[1] = one_in(10) ? word() : below(20000000);
    return (u64)p;
  }
  case 's': return below(66);
  case 'm': {
    static const unsigned types[] = {0, 0, 0100000, 0040000, 0010000, 0140000, 0020000};
    return types[below(LEN(types))] | below(010000);
  }
  case 'o': return one_in(6) ? word() : below(300000);
  case 'a': return one_in(8) ? word() : (u64)arena + (below(64) + ARENA / PAGE / 2) * PAGE;
  case 'L': return one_in(8) ? word() : below(32) * PAGE;
  case 'A': return address();
  case 'k': return one_in(4) ? below(8) : below(3) << 15 | below(6);
  case 'c': return one_in(16) ? word() : ioctls[below(LEN(ioctls))];
  case 'T': return thing();
  default: return word();
  }
}

static int deadly(long nr) {
  switch (nr) {
  case SYS_exit:
  case SYS_exit_group:
  case SYS_rt_sigreturn:
  case SYS_pause:
  case SYS_rt_sigsuspend:
  case SYS_munmap:
  case SYS_kill:
  case SYS_tkill:
  case SYS_tgkill:
  case SYS_seccomp:
  case SYS_close_range:
  case SYS_arch_prctl:
  case SYS_execve:
  case SYS_execveat:
  case SYS_ptrace:
    return 1;
  }
  return 0;
}

static int forking(long nr) { return nr == SYS_fork || nr == SYS_vfork || nr == SYS_clone || nr == SYS_clone3; }

static void *calls(void *seed) {
  state = (u64)seed * 0x9e3779b97f4a7c15ULL | 1;
  for (;;) {
    long nr = one_in(50) ? (long)word() : (long)below(CALLS);
    if (deadly(nr) && !one_in(40)) continue;
    if (forking(nr) && __atomic_sub_fetch(forks, 1, __ATOMIC_RELAXED) < 0) continue;
    const char *shape = (u64)nr < LEN(shapes) && shapes[nr] ? shapes[nr] : "******";
    u64 a[6] = {0};
    int n = one_in(8) ? 6 : (int)strlen(shape);
    for (int i = 0; i < n; i++) a[i] = argument(i < (int)strlen(shape) ? shape[i] : '*');
    __atomic_add_fetch(&shared->calls, 1, __ATOMIC_RELAXED);
    syscall(nr, a[0], a[1], a[2], a[3], a[4], a[5]);
    if (forking(nr)) state ^= (u64)getpid() << 20 | 1;
  }
  return NULL;
}

static void limit(int what, rlim_t n) {
  struct rlimit r = {n, n};
  setrlimit(what, &r);
}

// weaken takes away what bounds could be lifted with, and of every second cage all.
static void weaken(int all) {
  limit(RLIMIT_FSIZE, 1 << 20);
  limit(RLIMIT_NOFILE, 128);
  limit(RLIMIT_AS, 192 << 20);
  limit(RLIMIT_MEMLOCK, 4 << 20);
  limit(RLIMIT_CORE, 0);
  if (all) {
    limit(RLIMIT_NPROC, 64);
    if (setgroups(0, NULL) || setgid(65534) || setuid(65534)) _exit(3);
    return;
  }
  struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0};
  struct __user_cap_data_struct d[2];
  prctl(PR_CAPBSET_DROP, CAP_SYS_RESOURCE, 0, 0, 0);
  if (syscall(SYS_capget, &h, d)) _exit(3);
  d[0].effective &= ~(1u << CAP_SYS_RESOURCE);
  d[0].permitted &= ~(1u << CAP_SYS_RESOURCE);
  if (syscall(SYS_capset, &h, d)) _exit(3);
}

// furnish gives a process something to work on: files, descriptors of many sorts.
static void furnish(void) {
  int p[2];
  mkdir("d", 0755);
  symlink("d/a", "link");
  mkfifo("fifo", 0644);
  for (int i = 0; i < 3; i++)
    if (dup2(null, i) < 0) _exit(3);
  open("a", O_RDWR | O_CREAT, 0644);
  open(".", O_RDONLY | O_DIRECTORY);
  pipe(p);
  syscall(SYS_socketpair, 1, 1, 0, p);
  syscall(SYS_socketpair, 1, 2, 0, p);
  syscall(SYS_socket, 2, 1, 0);
  syscall(SYS_socket, 2, 2, 0);
  syscall(SYS_socket, 16, 3, 0);
  syscall(SYS_epoll_create1, 0);
  syscall(SYS_eventfd2, 1, 0);
  syscall(SYS_timerfd_create, 1, 0);
  syscall(SYS_inotify_init1, 0);
  syscall(SYS_memfd_create, "m", 2);
  u64 set = 1 << 9;
  syscall(SYS_signalfd4, -1, &set, 8, 0);
  open("/dev/ptmx", O_RDWR | O_NOCTTY);
  syscall(SYS_pidfd_open, getpid(), 0);
}

// inmate is the first process of a cage.
static void inmate(int cage, u64 seed) {
  char dir[64];
  snprintf(dir, sizeof(dir), HOME "/%d", cage);
  forks = &shared->forks[cage];
  *forks = 40;
  mkdir(dir, 0777); // another cage may have moved it, or what is above
  chmod(dir, 0777);
  if (chdir(dir) && chdir("/")) _exit(3);
  weaken(seed & 1);
  // Nothing else is near, so that what goes over its ends hits nothing.
  arena = mmap(NULL, 64 << 20, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (arena == MAP_FAILED) _exit(3);
  arena += 32 << 20;
  if (mprotect(arena, ARENA, PROT_READ | PROT_WRITE | PROT_EXEC)) _exit(3);
  furnish();
  shared->begun[cage] = seed;
  int child = seed % 3 == 0 && fork() == 0;
  for (int i = 1; i < 4; i++) {
    pthread_t t;
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, 128 << 10);
    pthread_create(&t, &attr, calls, (void *)(seed * 16 + child * 8 + i));
  }
  calls((void *)(seed * 16 + child * 8));
}

// cage runs one for some time, and ends with 0 when all in it are gone.
static void cage(int i, u64 seed) {
  if (unshare(CLONE_NEWPID | CLONE_NEWNS)) _exit(4);
  unshare(CLONE_NEWIPC);
  unshare(CLONE_NEWNET);
  unshare(CLONE_NEWUTS);
  sigset_t chld;
  sigemptyset(&chld);
  sigaddset(&chld, SIGCHLD);
  sigprocmask(SIG_BLOCK, &chld, NULL);
  pid_t pid = fork();
  if (pid == 0) {
    sigprocmask(SIG_UNBLOCK, &chld, NULL);
    inmate(i, seed);
    _exit(5);
  }
  if (pid < 0) _exit(4);
  struct timespec ts = {0, (100 + seed % 7 * 100) * 1000000};
  sigtimedwait(&chld, NULL, &ts);
  kill(pid, SIGKILL);
  int status;
  while (waitpid(pid, &status, 0) != pid)
    if (errno != EINTR) _exit(6);
  if (WIFEXITED(status) && shared->begun[i] != seed) _exit(7); // it could not begin
  _exit(0);
}

static int erase(const char *path, const struct stat *st, int type, struct FTW *ftw) {
  (void)st, (void)type, (void)ftw;
  return remove(path), 0;
}

// tidy removes what cages left: files and System V's objects.
static void tidy(void) {
  nftw(HOME, erase, 32, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
  unlink("/dev/shm/x");
  struct shmid_ds shm;
  struct msqid_ds msg;
  struct semid_ds sem;
  union {
    void *p;
  } u;
  for (int i = 0; i < 4096; i++) {
    int id = shmctl(i, SHM_STAT, &shm);
    if (id >= 0) shmctl(id, IPC_RMID, NULL);
    if ((id = msgctl(i, MSG_STAT, &msg)) >= 0) msgctl(id, IPC_RMID, NULL);
    u.p = &sem;
    if ((id = semctl(i, 0, SEM_STAT, u)) >= 0) semctl(id, 0, IPC_RMID);
  }
}

static int begin_cage(int i, u64 seed, pid_t *pid) {
  for (int tries = 0; (*pid = fork()) < 0; tries++) { // others may hold all there are
    if (tries == 1000) return printf("fork: %s\n", strerror(errno)), 0;
    usleep(10000);
  }
  if (*pid == 0) cage(i, seed);
  return 1;
}

static int phase(u64 *seed, double seconds) {
  pid_t pids[CAGES];
  long long end = now_ms() + (long long)(seconds * 1000);
  if (mkdir(HOME, 0777) && errno != EEXIST) return printf(HOME ": %s\n", strerror(errno)), 0;
  shared->calls = 0;
  for (int i = 0; i < CAGES; i++)
    if (!begin_cage(i, ++*seed, &pids[i])) return 0;
  for (int left = CAGES; left > 0;) {
    int status;
    alarm(60);
    pid_t pid = wait(&status);
    alarm(0);
    if (pid < 0) return printf("stuck\n"), 0;
    for (int i = 0; i < CAGES; i++) {
      if (pids[i] != pid) continue;
      if (status != 0) return printf("cage: status %#x\n", status), 0;
      left--;
      pids[i] = 0;
      if (now_ms() < end) {
        if (!begin_cage(i, ++*seed, &pids[i])) return 0;
        left++;
      }
    }
  }
  tidy();
  printf("calls %llu\n", (unsigned long long)shared->calls);
  fflush(stdout);
  return 1;
}

static void ring(int sig) { (void)sig; }

int main(int argc, char **argv) {
  struct utsname u;
  char line[16];
  if (argc != 3) return fprintf(stderr, "usage: soak SEED SECONDS\n"), 2;
  if (uname(&u) || !strstr(u.release, "runsc-lite")) return fprintf(stderr, "soak: not on this kernel\n"), 2;
  u64 seed = strtoull(argv[1], NULL, 10) << 20;
  struct sigaction sa = {.sa_handler = ring}; // no SA_RESTART: wait ends with EINTR
  sigaction(SIGALRM, &sa, NULL);
  shared = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  null = open("/dev/null", O_RDWR | O_CLOEXEC);
  if (shared == MAP_FAILED || null < 0) return 2;
  for (int i = 0; i < 2; i++) {
    if (!phase(&seed, atof(argv[2]))) return 1;
    if (!fgets(line, sizeof(line), stdin)) return 1;
  }
  return 0;
}
