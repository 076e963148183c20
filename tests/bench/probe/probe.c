// probe measures one operation at a time, inside the guest:
//
//	probe NAME N    does the operation N times and prints the nanoseconds of
//	                one, by CLOCK_MONOTONIC
//	probe --list    names the operations
//	probe noop      does nothing, for measuring start-up from outside
//	probe pause     waits for a signal, for measuring resident memory
#include "call.h"
#include "file.h"
#include "memory.h"
#include "process.h"
#include "talk.h"

// An operation whose name has a parameter is there several times, to show how
// its cost grows.
static const struct {
  const char *name;
  void (*fn)(long n, long arg);
  long arg;
} probes[] = {
    {"NullSyscall", null_syscall, 0},
    {"NullSyscall/threads=1", null_syscall_threads, 1},
    {"NullSyscall/threads=2", null_syscall_threads, 2},
    {"NullSyscall/threads=4", null_syscall_threads, 4},
    {"NullSyscall/threads=16", null_syscall_threads, 16},
    {"Getpid", getpid_syscall, 0},
    {"ClockRead", clock_read, 0},

    {"ReadNull", read_null, 0},
    {"WriteNull", write_null, 0},
    {"OpenClose", open_close, 0},
    {"OpenClose/descriptors=10", open_close, 10},
    {"OpenClose/descriptors=100", open_close, 100},
    {"OpenClose/descriptors=1000", open_close, 1000},
    {"CreateUnlink", create_unlink, 0},
    {"Stat", stat_path, 0},
    {"Pread4K", pread_file, 0},
    {"EpollReady", epoll_ready, 0},
    {"EpollReady/descriptors=10", epoll_ready, 10},
    {"EpollReady/descriptors=100", epoll_ready, 100},

    {"PageFault", page_fault, 0},
    {"PageFault/threads=1", page_fault_threads, 1},
    {"PageFault/threads=2", page_fault_threads, 2},
    {"PageFault/threads=4", page_fault_threads, 4},
    {"PageFault/threads=16", page_fault_threads, 16},
    {"PageFault/areas=10", page_fault_areas, 10},
    {"PageFault/areas=100", page_fault_areas, 100},
    {"PageFault/areas=1000", page_fault_areas, 1000},
    {"MmapMunmap", mmap_munmap, 0},
    {"MmapMunmap/areas=10", mmap_munmap, 10},
    {"MmapMunmap/areas=100", mmap_munmap, 100},
    {"MmapMunmap/areas=1000", mmap_munmap, 1000},
    {"MprotectTouch", mprotect_touch, 0},
    {"SegvHandler", segv_handler, 0},

    {"ForkExitWait", fork_exit_wait, 0},
    {"ForkExitWait/processes=1", fork_beside_processes, 1},
    {"ForkExitWait/processes=10", fork_beside_processes, 10},
    {"ForkExitWait/processes=100", fork_beside_processes, 100},
    {"ForkExitWait/processes=1000", fork_beside_processes, 1000},
    {"ForkExitWait/areas=10", fork_with_areas, 10},
    {"ForkExitWait/areas=100", fork_with_areas, 100},
    {"ForkExitWait/areas=1000", fork_with_areas, 1000},
    {"ForkExitWait/descriptors=10", fork_with_descriptors, 10},
    {"ForkExitWait/descriptors=100", fork_with_descriptors, 100},
    {"ForkExitWait/descriptors=1000", fork_with_descriptors, 1000},
    {"ForkExecWait", fork_exec_wait, 0},
    {"VforkExecWait", vfork_exec_wait, 0},
    {"ShellExit", shell_exit, 0},
    {"Fork64M", fork_64m, 0},
    {"ThreadCreateJoin", thread_create_join, 0},
    {"SignalSelf", signal_self, 0},

    {"PipePingPong", pipe_ping_pong, 0},
    {"PipePingPong/processes=1", pipe_beside_processes, 1},
    {"PipePingPong/processes=10", pipe_beside_processes, 10},
    {"PipePingPong/processes=100", pipe_beside_processes, 100},
    {"PipePingPong/processes=1000", pipe_beside_processes, 1000},
    {"Pipe64K", pipe_64k, 0},
    {"UnixPingPong", unix_ping_pong, 0},
    {"TCPPingPong", tcp_ping_pong, 0},
    {"FutexPingPong", futex_ping_pong, 0},
};

int main(int argc, char **argv) {
  if (argc == 2 && strcmp(argv[1], "noop") == 0) return 0;
  if (argc == 2 && strcmp(argv[1], "pause") == 0) {
    puts("ready");
    fflush(stdout);
    pause();
    return 0;
  }
  if (argc == 2 && strcmp(argv[1], "--list") == 0) {
    for (size_t i = 0; i < sizeof(probes) / sizeof(probes[0]); i++) puts(probes[i].name);
    return 0;
  }
  for (size_t i = 0; argc == 3 && i < sizeof(probes) / sizeof(probes[0]); i++) {
    if (strcmp(argv[1], probes[i].name)) continue;
    long n = atol(argv[2]);
    if (n <= 0) break;
    probes[i].fn(n, probes[i].arg);
    printf("%.1f\n", (double)(now() - started) / n);
    return 0;
  }
  fprintf(stderr, "usage: probe --list | noop | pause | NAME N\n");
  return 2;
}
