// System V: shared memory, semaphores, message queues.
#include "check.h"

#include <pthread.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>

// remove_all is for what a test leaves behind when it fails.
static int shm_id = -1, sem_id = -1, msg_id = -1;
static pid_t owner;
static void remove_all(void) {
  if (getpid() != owner) return;
  if (shm_id >= 0) shmctl(shm_id, IPC_RMID, NULL);
  if (sem_id >= 0) semctl(sem_id, 0, IPC_RMID);
  if (msg_id >= 0) msgctl(msg_id, IPC_RMID, NULL);
}

static void begin(void) {
  owner = getpid();
  atexit(remove_all);
}

static key_t some_key(void) { return 0x52000000 | (getpid() & 0xffffff); }

static int new_shm(size_t size) { return shm_id = SYS(shmget(IPC_PRIVATE, size, IPC_CREAT | 0600)); }
static int new_sem(int n) { return sem_id = SYS(semget(IPC_PRIVATE, n, IPC_CREAT | 0600)); }
static int new_msg(void) { return msg_id = SYS(msgget(IPC_PRIVATE, IPC_CREAT | 0600)); }

static void *attach(int id, const void *at, int flags) {
  void *p = shmat(id, at, flags);
  if (p == (void *)-1) FAIL("shmat: %s", strerrorname_np(errno));
  return p;
}

static void shm_shared(void) {
  begin();
  int id = new_shm(3 * PAGE - 100);
  char *p = attach(id, NULL, 0);
  CHECK((uintptr_t)p % PAGE == 0);
  for (size_t i = 0; i < 3 * PAGE; i++) EQ(0, p[i]);
  pid_t pid = SYS(fork());
  if (pid == 0) {
    strcpy(p + PAGE, "from the child");
    char *q = attach(id, NULL, SHM_RDONLY);
    CHECK(q != p);
    EQ(0, strcmp(q + PAGE, "from the child"));
    _exit(0);
  }
  EXITS(0, pid);
  EQ(0, strcmp(p + PAGE, "from the child"));
  struct shmid_ds ds;
  SYS(shmctl(id, IPC_STAT, &ds));
  EQ(3 * PAGE - 100, ds.shm_segsz);
  EQ(getpid(), ds.shm_cpid);
  EQ(1, ds.shm_nattch);
  EQ(0600, ds.shm_perm.mode);
  EQ(getuid(), ds.shm_perm.uid);
  EQ(getgid(), ds.shm_perm.cgid);
  EQ(IPC_PRIVATE, ds.shm_perm.__key);
  CHECK(ds.shm_ctime > 0 && ds.shm_atime >= ds.shm_ctime);
  SYS(shmdt(p));
  ERR(EINVAL, shmdt(p));
  SYS(shmctl(id, IPC_STAT, &ds));
  EQ(0, ds.shm_nattch);
  EQ(getpid(), ds.shm_lpid);
  CHECK(ds.shm_dtime > 0);
  p = attach(id, NULL, 0);
  EQ(0, strcmp(p + PAGE, "from the child"));
}

// A segment goes with the last attachment.
static void shm_removed(void) {
  begin();
  int id = new_shm(PAGE);
  char *p = attach(id, NULL, 0), *q = attach(id, NULL, 0);
  p[0] = 1;
  SYS(shmctl(id, IPC_RMID, NULL));
  EQ(1, q[0]);
  struct shmid_ds ds;
  SYS(shmctl(id, IPC_STAT, &ds));
  EQ(2, ds.shm_nattch);
  EQ(01600, ds.shm_perm.mode);  // SHM_DEST
  char *r = attach(id, NULL, 0);
  EQ(1, r[0]);
  pid_t pid = SYS(fork());
  if (pid == 0) {
    SYS(shmctl(id, IPC_STAT, &ds));
    EQ(6, ds.shm_nattch);
    _exit(0);
  }
  EXITS(0, pid);
  SYS(shmdt(q));
  SYS(shmdt(r));
  SYS(munmap(p, PAGE));
  ERR(EINVAL, shmctl(id, IPC_STAT, &ds));
  ERR(EINVAL, shmat(id, NULL, 0));
  shm_id = -1;
  id = new_shm(PAGE);
  SYS(shmctl(id, IPC_RMID, NULL));
  ERR(EINVAL, shmctl(id, IPC_RMID, NULL));
  shm_id = -1;
}

static void shm_addresses(void) {
  begin();
  int id = new_shm(2 * PAGE);
  char *room = map_private(8 * PAGE);
  SYS(munmap(room, 8 * PAGE));
  CHECK(attach(id, room + PAGE, 0) == room + PAGE);
  ERR(EINVAL, shmat(id, room + PAGE, 0));
  ERR(EINVAL, shmat(id, room, 0));
  ERR(EINVAL, shmat(id, room + 4 * PAGE + 5, 0));
  CHECK(attach(id, room + 4 * PAGE + 5, SHM_RND) == room + 4 * PAGE);
  CHECK(attach(id, room + 5 * PAGE, SHM_REMAP) == room + 5 * PAGE);
  ERR(EINVAL, shmat(id, NULL, SHM_REMAP));
  struct shmid_ds ds;
  SYS(shmctl(id, IPC_STAT, &ds));
  EQ(3, ds.shm_nattch);
  // The second page of the one in the middle is gone.
  SYS(shmdt(room + 4 * PAGE));
  SYS(shmctl(id, IPC_STAT, &ds));
  EQ(2, ds.shm_nattch);
  room[PAGE] = 1;
  SYS(munmap(room + PAGE, PAGE));
  SYS(shmdt(room + PAGE));
  ERR(EINVAL, shmdt(room + 5 * PAGE + 1));
  SYS(shmdt(room + 5 * PAGE));
  SYS(shmctl(id, IPC_STAT, &ds));
  EQ(0, ds.shm_nattch);
  const char *ro = attach(id, NULL, SHM_RDONLY);
  ERR(EACCES, mprotect((void *)ro, PAGE, PROT_READ | PROT_WRITE));
  pid_t pid = SYS(fork());
  if (pid == 0) {
    *(volatile char *)ro = 1;
    _exit(0);
  }
  DIES(SIGSEGV, pid);
}

static void shm_keys(void) {
  begin();
  key_t key = some_key();
  ERR(ENOENT, shmget(key, PAGE, 0600));
  int id = shm_id = SYS(shmget(key, PAGE, IPC_CREAT | IPC_EXCL | 0640));
  EQ(id, SYS(shmget(key, PAGE, 0600)));
  EQ(id, SYS(shmget(key, 0, 0)));
  EQ(id, SYS(shmget(key, 10, IPC_CREAT | 0600)));
  ERR(EEXIST, shmget(key, PAGE, IPC_CREAT | IPC_EXCL | 0600));
  ERR(EINVAL, shmget(key, 2 * PAGE, 0600));
  ERR(EINVAL, shmget(IPC_PRIVATE, 0, 0600));
  ERR(EINVAL, shmctl(-1, IPC_STAT, NULL));
  ERR(EINVAL, shmctl(id, 99, NULL));
  ERR(EFAULT, shmctl(id, IPC_STAT, (void *)8));
  struct shmid_ds ds;
  SYS(shmctl(id, IPC_STAT, &ds));
  EQ(key, ds.shm_perm.__key);
  ds.shm_perm.mode = 0606;
  ds.shm_perm.uid = 4711;
  SYS(shmctl(id, IPC_SET, &ds));
  SYS(shmctl(id, IPC_STAT, &ds));
  EQ(0606, ds.shm_perm.mode);
  EQ(4711, ds.shm_perm.uid);
  SYS(shmctl(id, SHM_LOCK, NULL));
  SYS(shmctl(id, IPC_STAT, &ds));
  EQ(02606, ds.shm_perm.mode);
  SYS(shmctl(id, SHM_UNLOCK, NULL));
  if (getuid() == 0) {
    SYS(shmctl(id, IPC_STAT, &ds));
    ds.shm_perm.mode = 0640;
    SYS(shmctl(id, IPC_SET, &ds));
    pid_t pid = SYS(fork());
    if (pid == 0) {
      SYS(setgid(65534));
      SYS(setuid(65534));
      ERR(EACCES, shmget(key, PAGE, 0400));
      EQ(id, SYS(shmget(key, PAGE, 0)));
      ERR(EACCES, shmat(id, NULL, SHM_RDONLY));
      ERR(EACCES, shmctl(id, IPC_STAT, &ds));
      ERR(EPERM, shmctl(id, IPC_SET, &ds));
      ERR(EPERM, shmctl(id, IPC_RMID, NULL));
      _exit(0);
    }
    EXITS(0, pid);
  }
  SYS(shmctl(id, IPC_RMID, NULL));
  ERR(ENOENT, shmget(key, PAGE, 0600));
}

static void shm_listed(void) {
  begin();
  int id = new_shm(5000);
  char *p = attach(id, NULL, 0);
  p[0] = 1;
  struct shminfo limits;
  struct shm_info info;
  struct shmid_ds ds;
  SYS(shmctl(0, IPC_INFO, (void *)&limits));
  EQ(1, limits.shmmin);
  CHECK(limits.shmmni > 10 && limits.shmmax > 1 << 20);
  int max = SYS(shmctl(0, SHM_INFO, (void *)&info)), found = 0;
  CHECK(info.used_ids >= 1 && info.shm_tot >= 2 && info.shm_rss >= 1);
  for (int i = 0; i <= max; i++) found += shmctl(i, SHM_STAT, &ds) == id;
  EQ(1, found);
  FILE *f = fopen("/proc/sysvipc/shm", "r");
  CHECK(f);
  char line[500];
  CHECK(fgets(line, sizeof(line), f));
  say("%s", line);
  found = 0;
  while (fgets(line, sizeof(line), f)) {
    int key, shmid, perms, cpid, lpid, nattch;
    unsigned long size, rss;
    EQ(7, sscanf(line, "%d %d %o %lu %d %d %d", &key, &shmid, &perms, &size, &cpid, &lpid, &nattch));
    sscanf(line, "%*d %*d %*o %*u %*d %*d %*d %*d %*d %*d %*d %*d %*d %*d %lu", &rss);
    if (shmid != id) continue;
    found++;
    EQ(0600, perms);
    EQ(5000, size);
    EQ(getpid(), cpid);
    EQ(1, nattch);
    CHECK(rss == PAGE || rss == 2 * PAGE);
  }
  EQ(1, found);
  fclose(f);
  f = fopen("/proc/self/maps", "r");
  found = 0;
  while (fgets(line, sizeof(line), f)) found += strstr(line, "/SYSV00000000 (deleted)") != NULL;
  EQ(1, found);
}

static int op(int id, int num, int value, int flags) {
  struct sembuf b = {num, value, flags};
  return semop(id, &b, 1);
}
static int value(int id, int num) { return SYS(semctl(id, num, GETVAL)); }

static void sem_values(void) {
  begin();
  int id = new_sem(3);
  for (int i = 0; i < 3; i++) EQ(0, value(id, i));
  SYS(semctl(id, 1, SETVAL, 5));
  unsigned short all[3] = {1, 2, 3}, got[3];
  SYS(semctl(id, 0, SETALL, all));
  SYS(op(id, 0, 4, 0));
  SYS(op(id, 1, -2, 0));
  SYS(op(id, 1, 0, 0));
  ERR(EAGAIN, op(id, 1, -1, IPC_NOWAIT));
  ERR(EAGAIN, op(id, 0, 0, IPC_NOWAIT));
  SYS(semctl(id, 0, GETALL, got));
  EQ(5, got[0]);
  EQ(0, got[1]);
  EQ(3, got[2]);
  EQ(getpid(), SYS(semctl(id, 0, GETPID)));
  // All, or nothing.
  struct sembuf many[3] = {{0, 1, 0}, {2, -3, 0}, {1, -1, IPC_NOWAIT}};
  ERR(EAGAIN, semop(id, many, 3));
  EQ(5, value(id, 0));
  EQ(3, value(id, 2));
  struct sembuf twice[2] = {{1, 1, 0}, {1, -1, 0}};
  SYS(semop(id, twice, 2));
  EQ(0, value(id, 1));
  struct semid_ds ds;
  SYS(semctl(id, 0, IPC_STAT, &ds));
  EQ(3, ds.sem_nsems);
  EQ(0600, ds.sem_perm.mode);
  CHECK(ds.sem_otime > 0 && ds.sem_ctime > 0);
}

static void sem_errors(void) {
  begin();
  int id = new_sem(2);
  struct sembuf ops[501] = {{0}};
  ERR(E2BIG, semop(id, ops, 501));
  ERR(EINVAL, semop(id, ops, 0));
  ERR(EFBIG, op(id, 2, 1, 0));
  ERR(EINVAL, op(-1, 0, 1, 0));
  ERR(EFAULT, semop(id, (void *)8, 1));
  ERR(EINVAL, semctl(id, 2, GETVAL));
  ERR(EINVAL, semctl(id, -1, SETVAL, 1));
  ERR(ERANGE, semctl(id, 0, SETVAL, 32768));
  ERR(ERANGE, semctl(id, 0, SETVAL, -1));
  ERR(EINVAL, semctl(id, 0, 99));
  SYS(semctl(id, 0, SETVAL, 32767));
  ERR(ERANGE, op(id, 0, 1, 0));
  unsigned short bad[2] = {1, 40000};
  ERR(ERANGE, semctl(id, 0, SETALL, bad));
  EQ(32767, value(id, 0));
  ERR(EINVAL, semget(IPC_PRIVATE, 0, 0600));
  ERR(EINVAL, semget(IPC_PRIVATE, -1, 0600));
  ERR(EINVAL, semget(IPC_PRIVATE, 32001, 0600));
  key_t key = some_key();
  ERR(ENOENT, semget(key, 1, 0600));
  int other = SYS(semget(key, 2, IPC_CREAT | 0600));
  EQ(other, semget(key, 0, 0));
  EQ(other, semget(key, 2, 0600));
  ERR(EINVAL, semget(key, 3, 0600));
  ERR(EEXIST, semget(key, 2, IPC_CREAT | IPC_EXCL | 0600));
  SYS(semctl(other, 0, IPC_RMID));
  ERR(EINVAL, semctl(other, 0, GETVAL));
  ERR(EINVAL, op(other, 0, 1, 0));
  if (getuid() == 0) {
    pid_t pid = SYS(fork());
    if (pid == 0) {
      SYS(setgid(65534));
      SYS(setuid(65534));
      ERR(EACCES, op(id, 0, 1, 0));
      ERR(EACCES, op(id, 0, 0, IPC_NOWAIT));
      ERR(EACCES, semctl(id, 0, GETVAL));
      ERR(EACCES, semctl(id, 0, SETVAL, 1));
      ERR(EPERM, semctl(id, 0, IPC_RMID));
      _exit(0);
    }
    EXITS(0, pid);
  }
}

static void waiting(int id, int num, int cmd, int n) {
  for (int i = 0; i < 500; i++) {
    if (SYS(semctl(id, num, cmd)) == n) return;
    sleep_ms(5);
  }
  FAIL("nobody waits");
}

static void sem_waits(void) {
  begin();
  int id = new_sem(2);
  pid_t pid = SYS(fork());
  if (pid == 0) {
    SYS(op(id, 0, -3, 0));
    _exit(0);
  }
  waiting(id, 0, GETNCNT, 1);
  SYS(op(id, 0, 2, 0));
  EQ(2, value(id, 0));
  SYS(op(id, 0, 2, 0));
  EXITS(0, pid);
  EQ(1, value(id, 0));
  EQ(pid, SYS(semctl(id, 0, GETPID)));
  pid = SYS(fork());
  if (pid == 0) {
    SYS(op(id, 0, 0, 0));
    _exit(0);
  }
  waiting(id, 0, GETZCNT, 1);
  SYS(semctl(id, 0, SETVAL, 0));
  EXITS(0, pid);
  // Removed under it.
  pid = SYS(fork());
  if (pid == 0) {
    ERR(EIDRM, op(id, 1, -1, 0));
    _exit(0);
  }
  waiting(id, 1, GETNCNT, 1);
  SYS(semctl(id, 0, IPC_RMID));
  EXITS(0, pid);
  sem_id = -1;
}

static void on_signal(int sig UNUSED) {}

static void sem_interrupted(void) {
  begin();
  int id = new_sem(1);
  struct sembuf b = {0, -1, 0};
  struct timespec t = {0, 30000000}, bad = {0, 1000000000}, zero = {0, 0};
  long long before = now_ns();
  ERR(EAGAIN, semtimedop(id, &b, 1, &t));
  CHECK(now_ns() - before >= 30 * MS);
  ERR(EAGAIN, semtimedop(id, &b, 1, &zero));
  ERR(EINVAL, semtimedop(id, &b, 1, &bad));
  handle(SIGALRM, on_signal, SA_RESTART);
  struct itimerval in = {{0, 0}, {0, 20000}};
  SYS(setitimer(ITIMER_REAL, &in, NULL));
  ERR(EINTR, semop(id, &b, 1));
  EQ(0, SYS(semctl(id, 0, GETNCNT)));
}

static void sem_undo(void) {
  begin();
  int id = new_sem(2);
  SYS(semctl(id, 0, SETVAL, 5));
  pid_t pid = SYS(fork());
  if (pid == 0) {
    SYS(op(id, 0, -3, SEM_UNDO));
    SYS(op(id, 0, 1, SEM_UNDO));
    SYS(op(id, 1, 7, SEM_UNDO));
    SYS(op(id, 1, -2, 0));
    if (fork() == 0) _exit(0);  // inherits none of it
    wait(NULL);
    EQ(3, value(id, 0));
    EQ(5, value(id, 1));
    _exit(0);
  }
  EXITS(0, pid);
  EQ(5, value(id, 0));
  EQ(0, value(id, 1));  // never below
  EQ(pid, SYS(semctl(id, 0, GETPID)));
  // Setting it forgets what was to be undone.
  int up[2], go[2];
  SYS(pipe(up));
  SYS(pipe(go));
  pid = SYS(fork());
  if (pid == 0) {
    SYS(op(id, 0, -3, SEM_UNDO));
    put(up[1], 'u');
    get(go[0]);
    _exit(0);
  }
  get(up[0]);
  SYS(semctl(id, 0, SETVAL, 1));
  put(go[1], 'g');
  EXITS(0, pid);
  EQ(1, value(id, 0));
  // A killed process gives back what others wait for.
  pid = SYS(fork());
  if (pid == 0) {
    SYS(op(id, 0, -1, SEM_UNDO));
    put(up[1], 'u');
    for (;;) pause();
  }
  get(up[0]);
  SYS(kill(pid, SIGKILL));
  SYS(op(id, 0, -1, 0));
  DIES(SIGKILL, pid);
}

static void *with_undo(void *id) {
  SYS(op(*(int *)id, 0, 2, SEM_UNDO));
  return NULL;
}

// Threads share what is undone: their ends do nothing.
static void sem_undo_threads(void) {
  begin();
  int id = new_sem(1);
  pid_t pid = SYS(fork());
  if (pid == 0) {
    pthread_t t;
    ZERO(pthread_create(&t, NULL, with_undo, &id));
    ZERO(pthread_join(t, NULL));
    EQ(2, value(id, 0));
    SYS(op(id, 0, 1, SEM_UNDO));
    _exit(0);
  }
  EXITS(0, pid);
  EQ(0, value(id, 0));
}

// Mutual exclusion between processes.
static void sem_mutex(void) {
  begin();
  int id = new_sem(1);
  SYS(semctl(id, 0, SETVAL, 1));
  volatile long *n = map_shared(PAGE);
  pid_t pids[4];
  for (int i = 0; i < 4; i++)
    if ((pids[i] = SYS(fork())) == 0) {
      for (int k = 0; k < 500; k++) {
        SYS(op(id, 0, -1, SEM_UNDO));
        long was = *n;
        if (k % 50 == 0) sched_yield();
        *n = was + 1;
        SYS(op(id, 0, 1, SEM_UNDO));
      }
      _exit(0);
    }
  for (int i = 0; i < 4; i++) EXITS(0, pids[i]);
  EQ(2000, *n);
}

struct text {
  long type;
  char text[200];
};

static void send_text(int id, long type, const char *text) {
  struct text m = {.type = type};
  strcpy(m.text, text);
  SYS(msgsnd(id, &m, strlen(text), 0));
}

static void expect(int id, long want, int flags, long type, const char *text) {
  struct text m = {0};
  EQ(strlen(text), SYS(msgrcv(id, &m, sizeof(m.text), want, flags)));
  EQ(type, m.type);
  CHECK(memcmp(m.text, text, strlen(text)) == 0);
}

static void msg_order(void) {
  begin();
  int id = new_msg();
  send_text(id, 3, "three");
  send_text(id, 1, "one");
  send_text(id, 2, "two");
  send_text(id, 1, "one again");
  send_text(id, 5, "");
  struct msqid_ds ds;
  SYS(msgctl(id, IPC_STAT, &ds));
  EQ(5, ds.msg_qnum);
  EQ(20, ds.__msg_cbytes);
  EQ(getpid(), ds.msg_lspid);
  EQ(0, ds.msg_lrpid);
  EQ(0600, ds.msg_perm.mode);
  CHECK(ds.msg_stime > 0 && ds.msg_qbytes > 1000);
  expect(id, 2, 0, 2, "two");
  expect(id, 0, 0, 3, "three");
  expect(id, -4, 0, 1, "one");
  expect(id, 5, MSG_EXCEPT, 1, "one again");
  expect(id, 0, 0, 5, "");
  struct text m;
  ERR(ENOMSG, msgrcv(id, &m, 10, 0, IPC_NOWAIT));
  send_text(id, 1, "long text");
  ERR(E2BIG, msgrcv(id, &m, 4, 0, 0));
  ERR(ENOMSG, msgrcv(id, &m, 4, 7, IPC_NOWAIT));
  EQ(4, SYS(msgrcv(id, &m, 4, 0, MSG_NOERROR)));
  SYS(msgctl(id, IPC_STAT, &ds));
  EQ(0, ds.msg_qnum);
  EQ(0, ds.__msg_cbytes);
  EQ(getpid(), ds.msg_lrpid);
}

static void msg_errors(void) {
  begin();
  int id = new_msg();
  static struct {
    long type;
    char text[20000];
  } big = {1, ""};
  ERR(EINVAL, msgsnd(id, &big, 8193, 0));
  EQ(0, SYS(msgsnd(id, &big, 8192, 0)));
  EQ(0, SYS(msgsnd(id, &big, 8192, 0)));
  ERR(EAGAIN, msgsnd(id, &big, 1, IPC_NOWAIT));
  EQ(0, SYS(msgsnd(id, &big, 0, IPC_NOWAIT)));
  big.type = 0;
  ERR(EINVAL, msgsnd(id, &big, 1, 0));
  big.type = -1;
  ERR(EINVAL, msgsnd(id, &big, 1, 0));
  ERR(EFAULT, msgsnd(id, (void *)8, 1, 0));
  ERR(EINVAL, msgsnd(-1, &big, 1, 0));
  ERR(EINVAL, msgrcv(-1, &big, 1, 0, 0));
  ERR(EINVAL, msgrcv(id, &big, -1, 0, 0));
  key_t key = some_key();
  ERR(ENOENT, msgget(key, 0600));
  int other = SYS(msgget(key, IPC_CREAT | 0600));
  EQ(other, msgget(key, 0600));
  ERR(EEXIST, msgget(key, IPC_CREAT | IPC_EXCL | 0600));
  struct msqid_ds ds;
  SYS(msgctl(other, IPC_STAT, &ds));
  EQ(key, ds.msg_perm.__key);
  ds.msg_qbytes = 10;
  ds.msg_perm.mode = 0644;
  SYS(msgctl(other, IPC_SET, &ds));
  big.type = 1;
  ERR(EAGAIN, msgsnd(other, &big, 11, IPC_NOWAIT));
  EQ(0, SYS(msgsnd(other, &big, 10, IPC_NOWAIT)));
  if (getuid() == 0) {
    pid_t pid = SYS(fork());
    if (pid == 0) {
      SYS(setgid(65534));
      SYS(setuid(65534));
      ERR(EACCES, msgsnd(other, &big, 1, 0));
      ERR(EACCES, msgrcv(id, &big, 1, 0, 0));
      EQ(10, SYS(msgrcv(other, &big, 100, 0, 0)));
      ERR(EPERM, msgctl(other, IPC_SET, &ds));
      ERR(EPERM, msgctl(other, IPC_RMID, NULL));
      _exit(0);
    }
    EXITS(0, pid);
  }
  SYS(msgctl(other, IPC_RMID, NULL));
  ERR(EINVAL, msgctl(other, IPC_STAT, &ds));
  ERR(EINVAL, msgctl(id, 99, NULL));
}

static void msg_waits(void) {
  begin();
  int id = new_msg();
  pid_t pid = SYS(fork());
  if (pid == 0) {
    expect(id, 2, 0, 2, "for you");
    _exit(0);
  }
  sleep_ms(20);
  send_text(id, 1, "not for you");
  sleep_ms(10);
  send_text(id, 2, "for you");
  EXITS(0, pid);
  expect(id, 0, 0, 1, "not for you");
  // A full queue.
  static struct {
    long type;
    char text[8192];
  } big = {1, ""};
  SYS(msgsnd(id, &big, 8192, 0));
  SYS(msgsnd(id, &big, 8192, 0));
  pid = SYS(fork());
  if (pid == 0) {
    SYS(msgsnd(id, &big, 100, 0));
    _exit(0);
  }
  sleep_ms(20);
  EQ(8192, SYS(msgrcv(id, &big, 8192, 0, 0)));
  EXITS(0, pid);
  // Signals end it, whatever they say of restarting.
  handle(SIGALRM, on_signal, SA_RESTART);
  struct itimerval in = {{0, 0}, {0, 20000}};
  SYS(setitimer(ITIMER_REAL, &in, NULL));
  ERR(EINTR, msgrcv(id, &big, 8192, 77, 0));
  SYS(setitimer(ITIMER_REAL, &in, NULL));
  ERR(EINTR, msgsnd(id, &big, 8192, 0));
  // So does removing it.
  pid = SYS(fork());
  if (pid == 0) {
    ERR(EIDRM, msgrcv(id, &big, 8192, 77, 0));
    _exit(0);
  }
  pid_t sender = SYS(fork());
  if (sender == 0) {
    ERR(EIDRM, msgsnd(id, &big, 8192, 0));
    _exit(0);
  }
  sleep_ms(30);
  SYS(msgctl(id, IPC_RMID, NULL));
  EXITS(0, pid);
  EXITS(0, sender);
  msg_id = -1;
}

static void listed(const char *path, int id, const char *after) {
  char line[500];
  FILE *f = fopen(path, "r");
  CHECK(f);
  CHECK(fgets(line, sizeof(line), f));
  say("%s", line);
  char want[100];
  sprintf(want, "%10d %10d  %s", IPC_PRIVATE, id, after);
  int found = 0;
  while (fgets(line, sizeof(line), f)) found += strncmp(line, want, strlen(want)) == 0;
  EQ(1, found);
  fclose(f);
}

static void sem_and_msg_listed(void) {
  begin();
  int sem = new_sem(7), msg = new_msg(), found = 0;
  send_text(msg, 1, "abc");
  listed("/proc/sysvipc/sem", sem, " 600          7");
  listed("/proc/sysvipc/msg", msg, " 600           3          1");
  struct seminfo si;
  struct semid_ds sd;
  int max = SYS(semctl(0, 0, SEM_INFO, &si));
  CHECK(si.semusz >= 1 && si.semaem >= 7);
  for (int i = 0; i <= max; i++) found += semctl(i, 0, SEM_STAT, &sd) == sem;
  SYS(semctl(0, 0, IPC_INFO, &si));
  EQ(32767, si.semvmx);
  CHECK(si.semmni >= 10 && si.semmsl >= 10 && si.semopm >= 10);
  struct msginfo mi;
  struct msqid_ds md;
  max = SYS(msgctl(0, MSG_INFO, (void *)&mi));
  CHECK(mi.msgpool >= 1 && mi.msgmap >= 1 && mi.msgtql >= 3);
  for (int i = 0; i <= max; i++) found += msgctl(i, MSG_STAT, &md) == msg;
  EQ(2, found);
  SYS(msgctl(0, IPC_INFO, (void *)&mi));
  EQ(8192, mi.msgmax);
  EQ(16384, mi.msgmnb);
}

// MSG_COPY looks at a message by its number.
static void msg_copied(void) {
  begin();
  int id = new_msg();
  struct {
    long type;
    char text[8];
  } m = {5, "five"};
  SYS(msgsnd(id, &m, 5, 0));
  m.type = 6;
  strcpy(m.text, "six");
  SYS(msgsnd(id, &m, 4, 0));
  enum { COPY = 040000 };
  ssize_t n = msgrcv(id, &m, 8, 1, COPY | IPC_NOWAIT);
  if (n == -1 && errno == ENOSYS) return; // CONFIG_CHECKPOINT_RESTORE is not everywhere
  EQ(4, n);
  EQ(6, m.type);
  EQ(0, strcmp(m.text, "six"));
  EQ(5, SYS(msgrcv(id, &m, 8, 0, COPY | IPC_NOWAIT)));
  EQ(5, m.type);
  ERR(ENOMSG, msgrcv(id, &m, 8, 2, COPY | IPC_NOWAIT));
  ERR(ENOMSG, msgrcv(id, &m, 8, -1, COPY | IPC_NOWAIT));
  ERR(E2BIG, msgrcv(id, &m, 2, 0, COPY | IPC_NOWAIT));
  ERR(EINVAL, msgrcv(id, &m, 8, 0, COPY));
  ERR(EINVAL, msgrcv(id, &m, 8, 0, COPY | IPC_NOWAIT | MSG_EXCEPT));
  EQ(5, SYS(msgrcv(id, &m, 8, 0, 0))); // both are still there
  EQ(4, SYS(msgrcv(id, &m, 8, 0, 0)));
}

TESTS(T(msg_copied), T(shm_shared), T(shm_removed), T(shm_addresses), T(shm_keys), T(shm_listed), T(sem_values), T(sem_errors),
      T(sem_waits), T(sem_interrupted), T(sem_undo), T(sem_undo_threads), T(sem_mutex), T(msg_order), T(msg_errors),
      T(msg_waits), T(sem_and_msg_listed))
