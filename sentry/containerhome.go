package sentry

import (
	"bytes"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"runsc-lite/sentry/vfs"
)

// passwdFile is where users' home directories stand (passwd(5)).
const passwdFile = "/etc/passwd"

// maxPasswd bounds how much of passwdFile is read, in bytes.
const maxPasswd = 1 << 20

// withHome returns env with HOME, if it has none or an empty one: the home directory of
// user uid as the container's passwdFile has it, "/" if it does not. runc does so.
func withHome(who *vfs.Caller, uid uint32, env []string) []string {
	isHome := func(kv string) bool { return strings.HasPrefix(kv, "HOME=") }
	if i := slices.IndexFunc(env, isHome); i >= 0 && env[i] != "HOME=" {
		return env
	}
	env = slices.DeleteFunc(slices.Clone(env), isHome)
	return append(env, "HOME="+homeOf(readFile(who, passwdFile, maxPasswd), uid))
}

// homeOf finds a user's home directory in the text of passwdFile, which may be anything.
func homeOf(passwd []byte, uid uint32) string {
	for line := range bytes.Lines(passwd) {
		// name:password:uid:gid:comment:home:shell
		f := bytes.Split(bytes.TrimRight(line, "\n"), []byte(":"))
		if len(f) < 6 || bytes.IndexByte(f[5], 0) >= 0 {
			continue
		}
		if n, err := strconv.ParseUint(string(f[2]), 10, 32); err == nil && uint32(n) == uid && len(f[5]) > 0 {
			return string(f[5])
		}
	}
	return "/"
}

// readFile returns the first bytes of a regular file; nil if there is none.
func readFile(who *vfs.Caller, path string, most int) []byte {
	st, err := who.Stat(nil, path, 0)
	if err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil
	}
	f, err := who.Open(nil, path, vfs.OpenHow{Flags: unix.O_RDONLY | unix.O_NONBLOCK})
	if err != nil {
		return nil
	}
	defer f.DecRef()
	var text []byte
	for len(text) < most {
		part := make([]byte, min(4096, most-len(text)))
		n, err := f.Read([][]byte{part})
		text = append(text, part[:max(n, 0)]...)
		if err != nil || n <= 0 {
			break
		}
	}
	return text
}
