package devpts

import (
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// ParseOptions reads mount(2)'s options into o, which holds the defaults
// (parse_mount_options). EINVAL.
func ParseOptions(o *Options, text string) error {
	for option := range strings.SplitSeq(text, ",") {
		name, value, _ := strings.Cut(option, "=")
		base := 10
		if name == "mode" || name == "ptmxmode" {
			base = 8
		}
		n := uint64(0)
		if name != "" && name != "newinstance" {
			var err error
			if n, err = strconv.ParseUint(value, base, 31); err != nil {
				return unix.EINVAL
			}
		}
		switch name {
		case "", "newinstance": // each is one of its own
		case "uid":
			o.UID = int(n)
		case "gid":
			o.GID = int(n)
		case "mode":
			o.Mode = uint32(n) & 0o7777
		case "ptmxmode":
			o.PtmxMode = uint32(n) & 0o7777
		case "max":
			o.Max = int(n)
		default:
			return unix.EINVAL
		}
	}
	return nil
}
