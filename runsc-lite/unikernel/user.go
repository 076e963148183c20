package unikernel

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"runsc-lite/archive"
)

// maxAccounts is how much of /etc/passwd or /etc/group is read; 4 MiB.
const maxAccounts = 4 << 20

// resolveUser turns User into numbers, by the accounts of the image.
func (spec *Spec) resolveUser(root *archive.Node) error {
	if spec.User == "" {
		return nil
	}
	name, group, hasGroup := strings.Cut(spec.User, ":")
	passwd, err := accounts(root, "/etc/passwd")
	if err != nil {
		return err
	}
	groups, err := accounts(root, "/etc/group")
	if err != nil {
		return err
	}
	found := false
	for _, f := range passwd { // name:password:uid:gid:…
		if len(f) >= 4 && (f[0] == name || f[2] == name) {
			uid, err1 := number(f[2])
			gid, err2 := number(f[3])
			if err1 == nil && err2 == nil {
				name, spec.UID, spec.GID, found = f[0], uid, gid, true
				break
			}
		}
	}
	if !found {
		if spec.UID, err = number(name); err != nil {
			return fmt.Errorf("the image has no user %q", name)
		}
	}
	if hasGroup {
		return spec.resolveGroup(groups, group)
	}
	for _, f := range groups { // name:password:gid:members
		if len(f) >= 4 && slices.Contains(strings.Split(f[3], ","), name) {
			if gid, err := number(f[2]); err == nil {
				spec.Groups = append(spec.Groups, gid)
			}
		}
	}
	return nil
}

func (spec *Spec) resolveGroup(groups [][]string, group string) (err error) {
	for _, f := range groups {
		if len(f) >= 3 && f[0] == group {
			if spec.GID, err = number(f[2]); err == nil {
				return nil
			}
		}
	}
	if spec.GID, err = number(group); err != nil {
		return fmt.Errorf("the image has no group %q", group)
	}
	return nil
}

func number(s string) (uint32, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	return uint32(n), err
}

// accounts reads a file of lines with fields, none if it is not there.
func accounts(root *archive.Node, path string) (lines [][]string, err error) {
	n, err := find(root, path, nil)
	if err != nil || n.Open == nil {
		return nil, nil
	}
	f, err := n.Open()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxAccounts))
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(text)) {
		lines = append(lines, strings.Split(strings.TrimSpace(line), ":"))
	}
	return lines, nil
}
