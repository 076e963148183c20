// A test that is a program: it exits with 0 if the world is as it expects.
#include <stdio.h>
#include <string.h>

int main(int argc, char **argv) {
  int a, b;
  if (argc != 3 || sscanf(argv[1], "%d and %d", &a, &b) != 2) {
    fprintf(stderr, "arguments: %d, %s\n", argc, argc > 1 ? argv[1] : "");
    return 1;
  }
  if (a + b != 5) {
    fprintf(stderr, "%d + %d is %d\n", a, b, a + b);
    return 1;
  }
  char line[32] = "";
  FILE *f = fopen(argv[2], "r");
  if (!f || !fgets(line, sizeof(line), f) || strcmp(line, "hello\n")) {
    fprintf(stderr, "%s holds %s\n", argv[2], line);
    return 1;
  }
  return 0;
}
