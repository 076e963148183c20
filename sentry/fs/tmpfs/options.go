package tmpfs

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// ParseOptions reads mount(2)'s options into o, which holds the defaults; memory is
// what percentages are of, in bytes (shmem_parse_options). EINVAL.
func ParseOptions(o *Options, text string, memory uint64) error {
	for _, option := range strings.Split(text, ",") {
		if option == "" {
			continue
		}
		name, value, _ := strings.Cut(option, "=")
		var err error
		var n uint64
		switch name {
		case "size":
			if percent, ok := strings.CutSuffix(value, "%"); ok {
				if n, err = strconv.ParseUint(percent, 10, 32); err == nil {
					o.Size = memory / 100 * n
				}
			} else {
				o.Size, err = parseSize(value)
			}
			o.Size = (o.Size + pageSize - 1) &^ (pageSize - 1)
		case "nr_blocks":
			if n, err = parseSize(value); err == nil && n > math.MaxInt64/pageSize {
				err = unix.EINVAL
			}
			o.Size = n * pageSize
		case "nr_inodes":
			o.Inodes, err = parseSize(value)
		case "mode":
			n, err = strconv.ParseUint(value, 8, 32)
			o.Mode = uint32(n) & 0o7777
		case "uid":
			n, err = strconv.ParseUint(value, 10, 32)
			o.UID = uint32(n)
		case "gid":
			n, err = strconv.ParseUint(value, 10, 32)
			o.GID = uint32(n)
		default:
			err = unix.EINVAL
		}
		if err != nil {
			return unix.EINVAL
		}
	}
	return nil
}

// parseSize reads a number with a suffix (memparse).
func parseSize(s string) (uint64, error) {
	shift := 0
	if s != "" {
		if i := strings.IndexByte("kmgtpe", s[len(s)-1]|0x20); i >= 0 {
			shift, s = 10*(i+1), s[:len(s)-1]
		}
	}
	n, err := strconv.ParseUint(s, 0, 64)
	if err != nil || n > math.MaxInt64>>shift {
		return 0, unix.EINVAL
	}
	return n << shift, nil
}

// String spells the options as /proc/mounts does (shmem_show_options).
func (o *Options) String() string {
	var s []string
	if o.Size != 0 {
		s = append(s, fmt.Sprintf("size=%dk", o.Size/1024))
	}
	if o.Inodes != 0 {
		s = append(s, fmt.Sprintf("nr_inodes=%d", o.Inodes))
	}
	if o.Mode != 0 && o.Mode != 0o1777 {
		s = append(s, fmt.Sprintf("mode=%03o", o.Mode))
	}
	if o.UID != 0 {
		s = append(s, fmt.Sprintf("uid=%d", o.UID))
	}
	if o.GID != 0 {
		s = append(s, fmt.Sprintf("gid=%d", o.GID))
	}
	return strings.Join(s, ",")
}
