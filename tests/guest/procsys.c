// The files of /proc and /sys that tell of the whole system.
#include "procfile.h"

#include <dirent.h>
#include <linux/magic.h>
#include <sched.h>
#include <sys/statfs.h>
#include <sys/sysinfo.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>

static long count_lines(char *text, const char *prefix) {
  long n = 0;
  for (char *l = text; *l; l = strchr(l, '\n') + 1) n += strncmp(l, prefix, strlen(prefix)) == 0;
  return n;
}

static void times(void) {
  double up, idle;
  struct timespec ts;
  EQ(2, sscanf(slurp("/proc/uptime"), "%lf %lf", &up, &idle));
  SYS(clock_gettime(CLOCK_BOOTTIME, &ts));
  CHECK(ts.tv_sec - up < 2 && up - ts.tv_sec < 2 && idle >= 0);
  struct sysinfo si;
  SYS(sysinfo(&si));
  CHECK(labs(si.uptime - (long)up) < 3);
  long long btime = strtoll(strstr(slurp("/proc/stat"), "btime ") + 6, NULL, 10);
  CHECK(llabs(btime + (long)up - time(NULL)) < 3);
}

static void stat_file(void) {
  char *s = slurp("/proc/stat");
  EQ(sysconf(_SC_NPROCESSORS_ONLN), count_lines(s, "cpu") - 1);
  long long before = strtoll(strstr(s, "\nprocesses ") + 11, NULL, 10);
  for (int i = 0; i < 3; i++) EXITS(0, start((void (*)(void))getpid));
  s = slurp("/proc/stat");
  CHECK(strtoll(strstr(s, "\nprocesses ") + 11, NULL, 10) >= before + 3);
  CHECK(strtoll(strstr(s, "\nprocs_running ") + 15, NULL, 10) >= 1);
  CHECK(strstr(s, "\nintr ") && strstr(s, "\nctxt ") && strstr(s, "\nprocs_blocked "));
  long long f[10];
  EQ(10, sscanf(s, "cpu  %lld %lld %lld %lld %lld %lld %lld %lld %lld %lld", &f[0], &f[1], &f[2], &f[3], &f[4], &f[5], &f[6],
                &f[7], &f[8], &f[9]));
  for (int i = 0; i < 10; i++) CHECK(f[i] >= 0);
  double load[3];
  int running, total, last;
  EQ(6, sscanf(slurp("/proc/loadavg"), "%lf %lf %lf %d/%d %d", &load[0], &load[1], &load[2], &running, &total, &last));
  CHECK(running >= 1 && total >= running && last > 0);
}

static void memory(void) {
  char *s = slurp("/proc/meminfo");
  struct sysinfo si;
  SYS(sysinfo(&si));
  EQ((long long)si.totalram * si.mem_unit >> 10, number(s, "MemTotal"));
  CHECK(number(s, "MemFree") <= number(s, "MemTotal") && number(s, "MemAvailable") > 0);
  CHECK(strstr(s, " kB\n") && number(s, "Hugepagesize") == 2048 && number(s, "SwapFree") <= number(s, "SwapTotal"));
  CHECK(strncmp(s, "MemTotal:       ", 16) == 0);
}

static void processors(void) {
  char *s = slurp("/proc/cpuinfo");
  EQ(sysconf(_SC_NPROCESSORS_ONLN), count_lines(s, "processor\t: "));
  CHECK(strstr(s, "\nvendor_id\t: ") && strstr(s, "\nmodel name\t: ") && strstr(s, "\nbogomips") != s);
  char *flags = strstr(s, "\nflags\t\t: ");
  CHECK(flags);
  __builtin_cpu_init();
  *strchr(flags + 1, '\n') = ' ';
  CHECK(strstr(flags, " sse2 ") && !!strstr(flags, " avx2 ") == !!__builtin_cpu_supports("avx2") && strstr(flags, " lm "));
}

static void kernel(void) {
  struct utsname u;
  SYS(uname(&u));
  STR(fmt("%s\n", u.sysname), slurp("/proc/sys/kernel/ostype"));
  STR(fmt("%s\n", u.release), slurp("/proc/sys/kernel/osrelease"));
  STR(fmt("%s\n", u.version), slurp("/proc/sys/kernel/version"));
  STR(fmt("%s\n", u.nodename), slurp("/proc/sys/kernel/hostname"));
  CHECK(strstr(slurp("/proc/version"), fmt("%s version %s ", u.sysname, u.release)));
  EQ(65536, atoi(slurp("/proc/sys/kernel/ngroups_max")));
  CHECK(atoi(slurp("/proc/sys/kernel/pid_max")) > getpid());
  CHECK(atoi(slurp("/proc/sys/kernel/threads-max")) > 100);
  int last = atoi(slurp("/proc/sys/kernel/cap_last_cap"));
  CHECK(prctl(PR_CAPBSET_READ, last) >= 0 && prctl(PR_CAPBSET_READ, last + 1) == -1);
  char boot[64], uuid[64];
  strcpy(boot, slurp("/proc/sys/kernel/random/boot_id"));
  EQ(37, strlen(boot));
  STR(boot, slurp("/proc/sys/kernel/random/boot_id"));
  strcpy(uuid, slurp("/proc/sys/kernel/random/uuid"));
  CHECK(strlen(uuid) == 37 && uuid[14] == '4' && strcmp(uuid, slurp("/proc/sys/kernel/random/uuid")));
  EQ(256, atoi(slurp("/proc/sys/kernel/random/poolsize")));
  CHECK(atoi(slurp("/proc/sys/vm/max_map_count")) > 1000 && atoi(slurp("/proc/sys/vm/mmap_min_addr")) >= 4096);
  CHECK(atoi(slurp("/proc/sys/vm/overcommit_memory")) <= 2);
  CHECK(atoll(slurp("/proc/sys/fs/file-max")) > 1000 && atoi(slurp("/proc/sys/fs/nr_open")) >= 1024);
  EQ(1 << 20, atoi(slurp("/proc/sys/fs/pipe-max-size")));
  long used, unused, max;
  EQ(3, sscanf(slurp("/proc/sys/fs/file-nr"), "%ld %ld %ld", &used, &unused, &max));
  CHECK(used >= 3 && max > used);
}

static void listings(void) {
  CHECK(strstr(slurp("/proc/filesystems"), "nodev\tproc\n") && strstr(slurp("/proc/filesystems"), "nodev\ttmpfs\n"));
  CHECK(strstr(slurp("/proc/devices"), "Character devices:\n  1 mem\n") && strstr(slurp("/proc/devices"), "\nBlock devices:\n"));
  CHECK(strncmp(slurp("/proc/swaps"), "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n", 45) == 0);
  CHECK(strncmp(slurp("/proc/partitions"), "major minor  #blocks  name\n\n", 28) == 0);
  slurp("/proc/cmdline");
  slurp("/proc/interrupts");
  CHECK(strstr(slurp("/proc/vmstat"), "pgfault "));
  // Processes are listed by number, behind what is fixed.
  DIR *d = opendir("/proc");
  int last = 0, found = 0;
  for (struct dirent *e; (e = readdir(d));) {
    int pid = atoi(e->d_name);
    if (pid <= 0) {
      EQ(0, last);
      continue;
    }
    CHECK(pid > last);
    last = pid;
    found += pid == getpid();
  }
  EQ(1, found);
  closedir(d);
  struct statfs fs;
  SYS(statfs("/proc/self/status", &fs));
  CHECK(fs.f_type == PROC_SUPER_MAGIC && fs.f_bsize == PAGE);
}

static void mounts(void) {
  STR("self/mounts", link_text("/proc/mounts"));
  char *s = strdup(slurp("/proc/self/mountinfo"));
  int lines = 0, root = 0, proc = 0;
  for (char *l = strtok(s, "\n"); l; l = strtok(NULL, "\n"), lines++) {
    int id, parent, major, minor, at;
    char top[512], point[512], options[512], type[128];
    EQ(7, sscanf(l, "%d %d %d:%d %511s %511s %511s %n", &id, &parent, &major, &minor, top, point, options, &at));
    char *dash = strstr(l + at - 1, " - ");
    CHECK(dash && sscanf(dash, " - %127s", type) == 1);
    CHECK(options[0] == 'r' && (options[1] == 'w' || options[1] == 'o'));
    if (strcmp(point, "/proc") == 0) proc += strcmp(type, "proc") == 0;
    root += strcmp(point, "/") == 0;
  }
  CHECK(root >= 1 && proc >= 1);
  EQ(lines, count_lines(slurp("/proc/self/mounts"), ""));
  EQ(lines, count_lines(slurp("/proc/mounts"), ""));
}

static void sysfs(void) {
  const char *cpu = "/sys/devices/system/cpu/";
  long n = sysconf(_SC_NPROCESSORS_CONF);
  char *range = n > 1 ? fmt("0-%ld\n", n - 1) : "0\n";
  STR(range, slurp(fmt("%spossible", cpu)));
  STR(range, slurp(fmt("%spresent", cpu)));
  CHECK(strchr(slurp(fmt("%sonline", cpu)), '\n'));
  for (long i = 0; i < n; i++) {
    CHECK(atoi(slurp(fmt("%scpu%ld/topology/core_id", cpu, i))) >= 0);
    CHECK(atoi(slurp(fmt("%scpu%ld/topology/physical_package_id", cpu, i))) >= 0);
    CHECK(strlen(slurp(fmt("%scpu%ld/topology/thread_siblings_list", cpu, i))) >= 2);
  }
  ERR(ENOENT, access(fmt("%scpu%ld", cpu, n), F_OK));
  ERR(ENOENT, access(fmt("%scpu0/online", cpu), F_OK));
  char *node = "/sys/devices/system/node/node0/";
  CHECK(number(slurp(fmt("%smeminfo", node)), "Node 0 MemTotal") > 1000);
  CHECK(strlen(slurp(fmt("%scpumap", node))) >= 2);
  SYS(access("/sys/devices/system/cpu/cpu0/node0/cpulist", R_OK));
  CHECK(strchr(slurp("/sys/kernel/mm/transparent_hugepage/enabled"), '['));
  EQ(2 << 20, atoi(slurp("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size")));
  struct statfs fs;
  SYS(statfs("/sys", &fs));
  EQ(SYSFS_MAGIC, fs.f_type);
  struct stat st;
  SYS(stat(fmt("%sonline", cpu), &st));
  CHECK(S_ISREG(st.st_mode) && (st.st_mode & 0777) == 0444 && st.st_size == PAGE);
  const char *dirs[] = {"block", "class", "bus", "fs/cgroup", "kernel", "module", "devices"};
  for (size_t i = 0; i < LEN(dirs); i++) {
    SYS(stat(fmt("/sys/%s", dirs[i]), &st));
    CHECK(S_ISDIR(st.st_mode));
  }
}

TESTS(T(times), T(stat_file), T(memory), T(processors), T(kernel), T(listings), T(mounts), T(sysfs))
