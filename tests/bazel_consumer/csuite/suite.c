// A test suite in C: it passes if it ends with 0.
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv) {
  struct utsname u;
  uname(&u);
  int inside = strstr(u.release, "runsc-lite") != NULL;
  if (argc != 2 || strcmp(argv[1], inside ? "inside" : "natively")) {
    fprintf(stderr, "%d arguments, on %s\n", argc - 1, u.release);
    return 1;
  }
  int status = 0;
  pid_t pid = fork();
  if (pid == 0) _exit(3);
  if (waitpid(pid, &status, 0) != pid || WEXITSTATUS(status) != 3) {
    fprintf(stderr, "a child ended with %#x\n", status);
    return 1;
  }
  return 0;
}
