"""Repository rules for a Bazel that reaches nothing but a Go module proxy."""

def _files_repository_impl(ctx):
    ctx.file("WORKSPACE", "workspace(name = %r)\n" % ctx.name)
    for name, content in ctx.attr.files.items():
        ctx.file(name, content, executable = name.endswith(".sh"))

files_repository = repository_rule(
    implementation = _files_repository_impl,
    attrs = {"files": attr.string_dict()},
)

def _natives(names):
    return "".join(["%s = native.%s\n" % (n, n) for n in names])

_PUBLIC = 'package(default_visibility = ["//visibility:public"])\n'

def bazel_tool_repos():
    """What Bazel 4.2.3's own tools and rules_go would download."""
    files_repository(name = "remote_coverage_tools", files = {
        "BUILD.bazel": _PUBLIC + 'sh_binary(name = "coverage_report_generator", srcs = ["none.sh"])\n',
        "none.sh": "#!/bin/sh\nexit 1\n",
    })

    # Debian's bazel-rules-cc 0.0.4 needs a newer Bazel than Debian's 4.2.3.
    files_repository(name = "rules_cc", files = {
        "cc/BUILD.bazel": "",
        "cc/defs.bzl": _natives(["cc_binary", "cc_import", "cc_library", "cc_test", "cc_toolchain", "cc_toolchain_suite", "objc_library"]),
    })
    files_repository(name = "rules_java", files = {
        "java/BUILD.bazel": "",
        "java/defs.bzl": _natives(["java_binary", "java_import", "java_library", "java_package_configuration", "java_plugin", "java_proto_library", "java_runtime", "java_test", "java_toolchain"]),
    })
    files_repository(name = "io_bazel_rules_go_bazel_features", files = {
        "BUILD.bazel": _PUBLIC + 'exports_files(["features.bzl"])\n',
        "features.bzl": "bazel_features = struct(\n    cc = struct(find_cpp_toolchain_has_mandatory_param = False),\n    external_deps = struct(bazel_mod_tidy = False),\n)\n",
    })
    native.local_repository(name = "bazel_skylib", path = "/usr/share/bazel/tools/skylib")

# --- Go modules ---

_GO_ENV = ["GOPROXY", "GONOSUMDB", "GOMODCACHE", "GOPATH", "GOCACHE", "HOME", "PATH", "GOROOT"]

def _go(ctx, args, env = {}):
    """Runs the host's go command; its settings are the user's own."""
    go = ctx.which("go") or ctx.path("/usr/local/go/bin/go")
    all_env = {"GO111MODULE": "on", "GOFLAGS": "-mod=mod", "GOTOOLCHAIN": "local", "GOWORK": "off"}
    all_env.update(env)
    res = ctx.execute([go] + args, environment = all_env, timeout = 1800)
    if res.return_code:
        fail("go %s: %s%s" % (" ".join([str(a) for a in args]), res.stdout, res.stderr))
    return res.stdout

def _gazelle_tool_impl(ctx):
    _go(
        ctx,
        ["install", "-trimpath", "github.com/bazelbuild/bazel-gazelle/cmd/gazelle@" + ctx.attr.version],
        env = {"GOBIN": str(ctx.path("bin")), "CGO_ENABLED": "0"},
    )
    ctx.file("BUILD.bazel", 'exports_files(["bin/gazelle"])\n')

gazelle_tool = repository_rule(
    implementation = _gazelle_tool_impl,
    doc = "Gazelle as a command, which writes the BUILD files of Go modules.",
    attrs = {"version": attr.string(default = "v0.40.0")},
    environ = _GO_ENV,
)

def _go_repository_impl(ctx):
    # Labels first, so that a missing one restarts the rule before the work.
    patches = [ctx.path(p) for p in ctx.attr.patches]
    generate = ctx.attr.build_file_generation != "off"
    gazelle = ctx.path(ctx.attr._gazelle) if generate else None
    config = ctx.path(ctx.attr.build_config) if generate else None

    # The checksum database is not asked: sum is checked here.
    info = json.decode(_go(
        ctx,
        ["mod", "download", "-json", ctx.attr.importpath + "@" + ctx.attr.version],
        env = {"GOSUMDB": "off"},
    ))
    if info["Sum"] != ctx.attr.sum:
        fail("%s@%s: sum is %s, want %s" % (ctx.attr.importpath, ctx.attr.version, info["Sum"], ctx.attr.sum))
    res = ctx.execute(["sh", "-c", 'cp -R "$1/." . && chmod -R u+w .', "sh", info["Dir"]])
    if res.return_code:
        fail(res.stderr)
    if generate:
        res = ctx.execute([
            gazelle,
            "-go_repository_mode",
            "-go_repository_module_mode",
            "-go_prefix=" + ctx.attr.importpath,
            "-go_naming_convention=import",
            "-mode=fix",
            "-repo_root=.",
            "-repo_config=" + str(config),
            "-external=static",
            "-proto=disable_global",
            "-build_file_name=BUILD.bazel",
            ".",
        ], timeout = 1800)
        if res.return_code:
            fail("gazelle: " + res.stderr)
        ctx.file("WORKSPACE", "workspace(name = %r)\n" % ctx.name)
    for p in patches:
        ctx.patch(p, 1)

go_repository = repository_rule(
    implementation = _go_repository_impl,
    doc = "A Go module from the module proxy, with BUILD files from gazelle: like gazelle's rule of this name.",
    attrs = {
        "importpath": attr.string(mandatory = True),
        "version": attr.string(mandatory = True),
        "sum": attr.string(mandatory = True),
        "patches": attr.label_list(),
        "build_file_generation": attr.string(default = "on", values = ["on", "off"]),
        "build_config": attr.label(default = "@go_deps//:repo_config"),
        "_gazelle": attr.label(default = "@gazelle_tool//:bin/gazelle"),
    },
    environ = _GO_ENV,
)

def rules_go():
    """rules_go, patched to work with Bazel 4.2.3."""
    go_repository(
        name = "io_bazel_rules_go",
        build_file_generation = "off",
        importpath = "github.com/bazelbuild/rules_go",
        patches = ["@runsc_lite//tools/bazeldefs:rules_go-bazel4.patch"],
        sum = "h1:/BUvuaB8MEiUA2oLPPCGtuw5V+doAYyiGTFyoSWlkrw=",
        version = "v0.50.1",
    )

def _repo_name(importpath):
    """Gazelle's name for a module: golang.org/x/sys is org_golang_x_sys."""
    parts = importpath.lower().split("/")
    name = "_".join(reversed(parts[0].split("."))) if len(parts[0].split(".")) > 1 else parts[0]
    name = "_".join([name] + parts[1:])
    return "".join([c if c.isalnum() else "_" for c in name.elems()])

def _go_mod_deps_impl(ctx):
    sums = {}
    for line in ctx.read(ctx.attr.go_sum).splitlines():
        f = line.split(" ")
        if len(f) == 3 and not f[1].endswith("/go.mod"):
            sums[f[0] + "@" + f[1]] = f[2]
    required = []
    block = False
    for line in ctx.read(ctx.attr.go_mod).splitlines():
        line = line.split("//")[0].strip()
        if line == "require (":
            block = True
        elif line == ")":
            block = False
        elif block or line.startswith("require "):
            f = [w for w in line.replace("require ", "").split(" ") if w]
            if len(f) == 2:
                required.append(f)
        elif line.startswith("replace"):
            fail("go.mod: replace is not supported here")
    deps = "load(%r, \"go_repository\")\n\ndef go_dependencies():\n" % ctx.attr.rule_file
    config = ""
    for path, version in required:
        if path + "@" + version not in sums:
            # go.sum has no sum for a module that no package is taken from.
            continue
        deps += "    go_repository(name = %r, importpath = %r, version = %r, sum = %r)\n" % (
            _repo_name(path),
            path,
            version,
            sums[path + "@" + version],
        )
        config += "go_repository(\n    name = \"%s\",\n    importpath = \"%s\",\n)\n\n" % (_repo_name(path), path)
    ctx.file("deps.bzl", deps)
    ctx.file("WORKSPACE", config)
    ctx.file("repo_config", config)
    ctx.file("BUILD.bazel", 'exports_files(["repo_config", "deps.bzl"])\n')

go_mod_deps = repository_rule(
    implementation = _go_mod_deps_impl,
    doc = "Reads go.mod and go.sum: deps.bzl's go_dependencies() declares one go_repository for each module.",
    attrs = {
        "go_mod": attr.label(mandatory = True),
        "go_sum": attr.label(mandatory = True),
        "rule_file": attr.string(default = "@runsc_lite//tools/bazeldefs:repos.bzl"),
    },
)
