package proc

import (
	"bytes"
	"fmt"

	"golang.org/x/sys/unix"

	"runsc-lite/sentry/fs/synth"
	"runsc-lite/sentry/vfs"
)

// mountFile makes a file with a line for each mount below the root that the process
// has when it is opened: EINVAL when it has ended (mounts_open_common).
func mountFile(line func(b *bytes.Buffer, m *vfs.MountInfo)) maker {
	return file(func(s *subject, c *vfs.Caller) (vfs.FileOps, error) {
		at, err := s.context()
		if err != nil {
			return nil, unix.EINVAL
		}
		root := at.Root()
		if !root.Ok() {
			return nil, unix.EINVAL
		}
		// The position is the number of a mount.
		return synth.Records(func(pos uint64, b *bytes.Buffer) (uint64, error) {
			for _, m := range at.Namespace().Mounts(root) {
				if uint64(m.ID) < pos {
					continue
				}
				if b.Len() >= synth.PieceSize {
					return uint64(m.ID), nil
				}
				line(b, &m)
			}
			return synth.End, nil
		}).Open(c, 0)
	})
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

// mountsLine is a line of /proc/PID/mounts (show_vfsmnt, fstab(5)).
func mountsLine(b *bytes.Buffer, m *vfs.MountInfo) {
	fmt.Fprintf(b, "%s %s %s %s%s 0 0\n", escape(m.Source, spaces), escape(m.Point, spaces), m.Type,
		mountOptions(m.Flags), withComma(m.Options))
}

// mountinfoLine is a line of /proc/PID/mountinfo (show_mountinfo).
func mountinfoLine(b *bytes.Buffer, m *vfs.MountInfo) {
	fmt.Fprintf(b, "%d %d %d:%d %s %s %s - %s %s rw%s\n", m.ID, m.Parent, unix.Major(m.Dev), unix.Minor(m.Dev),
		escape(m.Root, spaces), escape(m.Point, spaces), mountOptions(m.Flags), m.Type,
		escape(m.Source, spaces), withComma(m.Options))
}

// mountstatsLine is a line of /proc/PID/mountstats (show_vfsstat).
func mountstatsLine(b *bytes.Buffer, m *vfs.MountInfo) {
	fmt.Fprintf(b, "device %s mounted on %s with fstype %s\n", escape(m.Source, spaces), escape(m.Point, spaces), m.Type)
}
