package proc

import (
	"bytes"
	"fmt"

	"golang.org/x/sys/unix"

	"runsc-lite/procmgr"
	"runsc-lite/sentry/fs/synth"
	"runsc-lite/sentry/vfs"
)

// userNS returns the user namespace that the thread is in.
func (s *subject) userNS() *procmgr.UserNamespace { return s.thread().Credentials().UserNS }

// credentialsOf returns those of who makes a file system call; root's for the sentry
// itself.
func credentialsOf(c *vfs.Caller) *procmgr.Credentials {
	if th := readerOf(c); th != nil {
		return th.Credentials()
	}
	return procmgr.RootCredentials()
}

// newIDMap makes /proc/PID/uid_map or gid_map (user_namespaces(7)): what is in it
// depends on who opened it, and it can be written once.
func newIDMap(get func(ns, viewer *procmgr.UserNamespace) []procmgr.IDExtent,
	set func(ns *procmgr.UserNamespace, writer, opener *procmgr.Credentials, text []byte) error) maker {
	return func(s *subject, a synth.Attr) vfs.Inode {
		read := func(c *vfs.Caller, flags uint32) (vfs.FileOps, error) {
			viewer := credentialsOf(c).UserNS
			return synth.Text(func(b *bytes.Buffer) error {
				if err := s.check(); err != nil {
					return err
				}
				for _, e := range get(s.userNS(), viewer) {
					fmt.Fprintf(b, "%10d %10d %10d\n", e.First, e.Lower, e.Count)
				}
				return nil
			}).Open(c, flags)
		}
		return s.fs.File(a, synth.Writable(read, maxWrite-1, func(c *vfs.Caller) synth.WriteFunc {
			opener := credentialsOf(c)
			return func(p []byte) error {
				if err := s.check(); err != nil {
					return err
				}
				return set(s.userNS(), opener, opener, p)
			}
		}))
	}
}

// projIDMap is /proc/PID/projid_map: projects have the same ids everywhere.
func (s *subject) projIDMap(b *bytes.Buffer) error {
	fmt.Fprintf(b, "%10d %10d %10d\n", 0, 0, uint32(4294967295))
	return nil
}

// newSetgroups makes /proc/PID/setgroups (proc_setgroups_write).
func newSetgroups(s *subject, a synth.Attr) vfs.Inode {
	read := s.text(func(s *subject, b *bytes.Buffer) error {
		if s.userNS().SetgroupsDenied() {
			b.WriteString("deny\n")
		} else {
			b.WriteString("allow\n")
		}
		return nil
	})
	return s.fs.File(a, synth.Writable(read.Open, maxWrite, func(c *vfs.Caller) synth.WriteFunc {
		opener := credentialsOf(c)
		return func(p []byte) error {
			if err := s.check(); err != nil {
				return err
			}
			word := string(bytes.TrimRight(p, " \t\n\v\f\r"))
			if word != "allow" && word != "deny" {
				return unix.EINVAL
			}
			return s.userNS().SetSetgroups(opener, word == "allow")
		}
	}))
}
