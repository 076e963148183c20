"""Guest programs: small static programs that the tests run inside."""

# As in tests/harness/build.go, which builds them for `go test`.
_CFLAGS = "-std=gnu11 -O2 -Wall -Wextra -Werror -Wno-nonnull -Wno-stringop-overflow -Wno-stringop-overread -static -pthread"

def static_c_program(name, src, out = None, headers = [], visibility = None):
    """A static C program, built by the host's gcc: it needs nothing but a kernel.

    Args:
      name: of the target.
      src: the source file.
      out: the file to make; name with .elf if not given.
      headers: files that the source includes.
      visibility: as everywhere.
    """
    native.genrule(
        name = name,
        srcs = [src] + headers,
        outs = [out or name + ".elf"],
        cmd = "gcc %s -o $@ $(location %s)" % (_CFLAGS, src),
        executable = True,
        visibility = visibility,
    )

def guest_programs(name, c_srcs, go_programs = {}, headers = [], visibility = None):
    """All programs in one directory, bin/, each named after its source.

    Args:
      name: of a filegroup of all.
      c_srcs: one C program each.
      go_programs: label of a go_binary by program name.
      headers: files that the C sources include.
      visibility: of the filegroup.
    """
    programs = []
    for src in c_srcs:
        program = src[:-len(".c")]
        static_c_program(name = program, src = src, out = "bin/" + program, headers = headers)
        programs.append(":" + program)
    for program, label in go_programs.items():
        native.genrule(
            name = program,
            srcs = [label],
            outs = ["bin/" + program],
            cmd = "cp $< $@",
            executable = True,
        )
        programs.append(":" + program)
    native.filegroup(name = name, srcs = programs, visibility = visibility)
