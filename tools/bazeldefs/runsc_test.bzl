"""runsc_test runs a test binary in a sandbox of runsc-lite."""

def _runsc_test_impl(ctx):
    words = []
    for name, value in ctx.attr.env.items():
        words += ["--env", name + "=" + value]
    words += ctx.attr.runner_flags + [ctx.executable.program.short_path] + ctx.attr.program_args
    script = ctx.actions.declare_file(ctx.label.name + ".sh")
    ctx.actions.write(script, is_executable = True, content = """#!/bin/sh
exec '{runner}' do --platform='{platform}' {words} "$@"
""".format(
        runner = ctx.executable._runner.short_path,
        platform = ctx.attr.platform,
        words = " ".join(["'%s'" % w.replace("'", "'\\''") for w in words]),
    ))
    runfiles = ctx.runfiles(files = [ctx.executable._runner, ctx.executable.program] + ctx.files.data)
    for target in [ctx.attr._runner, ctx.attr.program]:
        runfiles = runfiles.merge(target[DefaultInfo].default_runfiles)
    return [DefaultInfo(executable = script, runfiles = runfiles)]

runsc_test = rule(
    implementation = _runsc_test_impl,
    test = True,
    doc = "Passes if the program, run in a sandbox, exits with status 0. Write the path of a file that it needs relative to the workspace.",
    attrs = {
        "program": attr.label(
            mandatory = True,
            executable = True,
            cfg = "target",
            allow_files = True,
            doc = "The test binary.",
        ),
        "program_args": attr.string_list(doc = "Its arguments, as they are."),
        "env": attr.string_dict(doc = "Variables that the program gets besides those of the test."),
        "runner_flags": attr.string_list(doc = "Flags of `runsc-lite do`, such as --strace."),
        "platform": attr.string(default = "ptrace", doc = "How guest code is run."),
        "data": attr.label_list(allow_files = True, doc = "Files that the program reads."),
        "_runner": attr.label(default = "//runsc-lite", executable = True, cfg = "target"),
    },
)
