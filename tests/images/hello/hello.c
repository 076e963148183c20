// Shows what a program of an image sees: its arguments, who and where it is, the
// files of its root, and that it can write and make processes.
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static int compare(const void *a, const void *b) {
  return strcmp(*(char *const *)a, *(char *const *)b);
}

int main(int argc, char **argv) {
  printf("arguments:");
  for (int i = 0; i < argc; i++) printf(" %s", argv[i]);
  printf("\nuser: %d:%d\n", getuid(), getgid());
  char cwd[256];
  printf("directory: %s\n", getcwd(cwd, sizeof(cwd)));
  for (char **e = environ; *e; e++) printf("variable: %s\n", *e);
  char *names[64];
  int n = 0;
  DIR *d = opendir("/");
  for (struct dirent *e; d && (e = readdir(d)) && n < 64;)
    if (e->d_name[0] != '.') names[n++] = strdup(e->d_name);
  qsort(names, n, sizeof(*names), compare);
  printf("files:");
  for (int i = 0; i < n; i++) printf(" %s", names[i]);
  printf("\n");
  fflush(stdout);
  int fd = open("/written", O_RDWR | O_CREAT, 0600);
  pid_t pid = fork();
  if (pid == 0) _exit(write(fd, "by a child", 10) == 10 ? 0 : 1);
  int status = -1;
  waitpid(pid, &status, 0);
  char text[32] = "";
  printf("written: %s", pread(fd, text, sizeof(text) - 1, 0) == 10 && status == 0 ? text : "failed");
  printf("\n");
  return argc > 1 ? atoi(argv[1]) : 0;
}
