"""sandbox_test runs a test in a sandbox of runsc-lite; see docs/bazel.md."""

_PLATFORMS = ["auto", "systrap", "kvm", "ptrace", "native"]

def _sandbox_test_impl(ctx):
    if ctx.attr.compare and ctx.attr.platform == "native":
        fail("compare is with a native run: platform must be another one", attr = "platform")
    program = ctx.executable.test
    env = [
        name + "=" + ctx.expand_location(value, ctx.attr.data)
        for name, value in ctx.attr.env.items()
    ]
    config = ctx.actions.declare_file(ctx.label.name + ".sandbox.json")
    ctx.actions.write(config, json.encode(struct(
        runner = ctx.executable._runner.short_path,
        program = program.short_path,
        platform = ctx.attr.platform,
        env = env,
        memory = ctx.attr.memory,
        expect_exit = ctx.attr.expect_exit,
        compare = ctx.attr.compare,
        trace = ctx.attr.trace,
    )))
    executable = ctx.actions.declare_file(ctx.label.name)
    ctx.actions.symlink(output = executable, target_file = ctx.executable._wrapper, is_executable = True)
    runfiles = ctx.runfiles(files = [config, ctx.executable._runner, program] + ctx.files.data)
    for target in [ctx.attr._runner, ctx.attr._wrapper, ctx.attr.test] + ctx.attr.data:
        runfiles = runfiles.merge(target[DefaultInfo].default_runfiles)
    return [DefaultInfo(executable = executable, runfiles = runfiles)]

sandbox_test = rule(
    implementation = _sandbox_test_impl,
    test = True,
    doc = "Runs a test or another program in a sandbox: it passes if that exits with expect_exit. args, size, timeout, flaky, shard_count and tags are as for any test.",
    attrs = {
        "test": attr.label(
            mandatory = True,
            executable = True,
            cfg = "target",
            allow_files = True,
            doc = "A test, a binary, or a file that can be executed.",
        ),
        "platform": attr.string(
            default = "systrap",
            values = _PLATFORMS,
            doc = "How its code is run; native: without a sandbox.",
        ),
        "env": attr.string_dict(doc = "Variables that it gets besides those of any test. $(location) of data is expanded."),
        "data": attr.label_list(allow_files = True, doc = "Files that it reads, besides its own."),
        "memory": attr.string(doc = "How much memory the sandbox may hold, such as 512M; empty: what the host has."),
        "expect_exit": attr.int(doc = "The exit status with which it passes; 128+n for the end by signal n."),
        "compare": attr.bool(doc = "Run it natively, too: it passes only if output and exit status are the same."),
        "trace": attr.bool(doc = "If it fails, show its last system calls and those that are not supported."),
        "_runner": attr.label(default = "//runsc-lite", executable = True, cfg = "target"),
        "_wrapper": attr.label(default = "//tools/sandboxtest", executable = True, cfg = "target"),
    },
)

def sandbox_test_suite(name, tests, platforms = ["systrap"], tags = [], visibility = None, **kwargs):
    """Several tests on several platforms.

    Args:
      name: of a test_suite of all.
      tests: labels of tests or binaries. Each becomes the targets NAME_TEST_PLATFORM.
      platforms: of sandbox_test.
      tags: of all.
      visibility: of the test_suite.
      **kwargs: of each sandbox_test.
    """
    made = []
    for test in tests:
        short = test.split(":")[-1].split("/")[-1]
        for platform in platforms:
            target = "_".join([name, short, platform])
            sandbox_test(
                name = target,
                test = test,
                platform = platform,
                tags = tags,
                **kwargs
            )
            made.append(":" + target)
    native.test_suite(name = name, tests = made, tags = tags, visibility = visibility)
