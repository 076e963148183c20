package proc

import (
	"bytes"
	"fmt"

	"golang.org/x/sys/unix"

	"runsc-lite/sentry/vfs"
)

// mountsOf returns what is mounted below the process's root: EINVAL when it has
// ended (mounts_open_common).
func (s *subject) mountsOf() ([]vfs.MountInfo, error) {
	c, err := s.context()
	if err != nil {
		return nil, unix.EINVAL
	}
	root := c.Root()
	if !root.Ok() {
		return nil, unix.EINVAL
	}
	return c.Namespace().Mounts(root), nil
}

// spaces are the characters that would break a line of mounts (mangle).
const spaces = " \t\n\\#"

// mountOptions spells the flags of a mount (show_mnt_opts).
func mountOptions(flags uint32) string {
	o := "rw"
	if flags&unix.MS_RDONLY != 0 {
		o = "ro"
	}
	for _, f := range [...]struct {
		flag uint32
		name string
	}{
		{unix.MS_NOSUID, ",nosuid"}, {unix.MS_NODEV, ",nodev"}, {unix.MS_NOEXEC, ",noexec"},
		{unix.MS_NOATIME, ",noatime"}, {unix.MS_NODIRATIME, ",nodiratime"}, {unix.MS_RELATIME, ",relatime"},
		{unix.MS_NOSYMFOLLOW, ",nosymfollow"},
	} {
		if flags&f.flag != 0 {
			o += f.name
		}
	}
	return o
}

func withComma(options string) string {
	if options == "" {
		return ""
	}
	return "," + options
}

// mounts is /proc/PID/mounts (show_vfsmnt, fstab(5)).
func (s *subject) mounts(b *bytes.Buffer) error {
	all, err := s.mountsOf()
	for _, m := range all {
		fmt.Fprintf(b, "%s %s %s %s%s 0 0\n", escape(m.Source, spaces), escape(m.Point, spaces), m.Type,
			mountOptions(m.Flags), withComma(m.Options))
	}
	return err
}

// mountinfo is /proc/PID/mountinfo (show_mountinfo).
func (s *subject) mountinfo(b *bytes.Buffer) error {
	all, err := s.mountsOf()
	for _, m := range all {
		fmt.Fprintf(b, "%d %d %d:%d %s %s %s - %s %s rw%s\n", m.ID, m.Parent, unix.Major(m.Dev), unix.Minor(m.Dev),
			escape(m.Root, spaces), escape(m.Point, spaces), mountOptions(m.Flags), m.Type,
			escape(m.Source, spaces), withComma(m.Options))
	}
	return err
}

// mountstats is /proc/PID/mountstats (show_vfsstat).
func (s *subject) mountstats(b *bytes.Buffer) error {
	all, err := s.mountsOf()
	for _, m := range all {
		fmt.Fprintf(b, "device %s mounted on %s with fstype %s\n", escape(m.Source, spaces), escape(m.Point, spaces), m.Type)
	}
	return err
}
