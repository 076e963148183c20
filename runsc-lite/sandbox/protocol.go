// Package sandbox is the process that a container lives in, from both sides.
//
// Launch starts it: the process is cloned into namespaces of its own (user, mount, pid,
// ipc, uts, cgroup and, unless it gets one, network), with descriptors of everything
// that it will ever need, and executes this program again. There, Boot makes the
// container, shuts the process off from the host (lockdown.go), and answers requests on
// the container's control socket until the container's first program has ended. Its exit
// status is then the program's, so that whoever adopted the process sees the container
// end.
//
//	create                                the sandbox
//	Launch ── clone, exec ──────────────▶ reads bootArgs
//	hooks: prestart, createRuntime,       makes the container meanwhile
//	  createContainer
//	Proceed ── hooksDone ───────────────▶ empty root, no capabilities, filter
//	state "created" ◀──────────── ready ─ or why not
//	start ── control socket: start ─────▶ hooks: startContainer; the program runs
//
// A message is its length, four bytes, little endian, and JSON. Descriptors come with
// the first byte.
package sandbox

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// bootArgs is the first thing that the sandbox is told.
type bootArgs struct {
	ID       string      `json:"id"`
	Dir      string      `json:"dir"` // of the bundle
	Platform string      `json:"platform"`
	Debug    bool        `json:"debug"`
	Spec     *specs.Spec `json:"spec"`
	Hostname string      `json:"hostname"` // what the container's shall be

	// Descriptors. Mounts are those of the bind mounts in Spec, by their places in it.
	Listener int         `json:"listener"`
	Exit     int         `json:"exit"`
	Log      int         `json:"log"` // -1: none
	Root     int         `json:"root"`
	Mounts   map[int]int `json:"mounts"`
	Terminal int         `json:"terminal"` // the host's side of the terminal; -1: none
	Extra    []int       `json:"extra"`    // the program's from 3 on
}

// bootAnswer says that the sandbox is ready to be started, or why not.
type bootAnswer struct {
	Error string `json:"error,omitempty"`
}

// hooksDone lets the sandbox go on.
type hooksDone struct{}

// maxMessage bounds a message, in bytes: the environment of a program is the largest
// thing in one.
const maxMessage = 16 << 20

// maxFiles bounds the descriptors that come with a message (SCM_MAX_FD).
const maxFiles = 253

// send sends a message, with descriptors if the connection is a unix socket.
func send(c *net.UnixConn, v any, files ...*os.File) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if len(b) > maxMessage {
		return fmt.Errorf("a message of %d bytes is too long: at most %d", len(b), maxMessage)
	}
	var head [4]byte
	binary.LittleEndian.PutUint32(head[:], uint32(len(b)))
	msg := append(head[:], b...)
	var oob []byte
	if len(files) > 0 {
		fds := make([]int, len(files))
		for i, f := range files {
			fds[i] = int(f.Fd())
		}
		oob = unix.UnixRights(fds...)
	}
	n, _, err := c.WriteMsgUnix(msg, oob, nil)
	if err != nil {
		return err
	}
	if n < len(msg) { // an empty write would ask whether the other side is still there
		_, err = c.Write(msg[n:])
	}
	return err
}

// receive reads a message into v, and returns the descriptors that came with it.
func receive(c *net.UnixConn, v any) (fds []int, err error) {
	defer func() {
		if err != nil {
			for _, fd := range fds {
				unix.Close(fd)
			}
			fds = nil
		}
	}()
	var head [4]byte
	oob := make([]byte, unix.CmsgSpace(4*maxFiles))
	n, oobn, _, _, err := c.ReadMsgUnix(head[:], oob)
	if err != nil {
		return nil, err
	}
	if fds, err = parseRights(oob[:oobn]); err != nil {
		return fds, err
	}
	if n == 0 {
		return fds, io.EOF
	}
	if _, err = io.ReadFull(c, head[n:]); err != nil {
		return fds, err
	}
	size := binary.LittleEndian.Uint32(head[:])
	if size > maxMessage {
		return fds, fmt.Errorf("a message of %d bytes is too long: at most %d", size, maxMessage)
	}
	b := make([]byte, size)
	if _, err = io.ReadFull(c, b); err != nil {
		return fds, err
	}
	return fds, json.Unmarshal(b, v)
}

func parseRights(oob []byte) (fds []int, err error) {
	if len(oob) == 0 {
		return nil, nil
	}
	list, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, err
	}
	for i := range list {
		got, err := unix.ParseUnixRights(&list[i])
		if err != nil {
			continue // not descriptors
		}
		fds = append(fds, got...)
	}
	for _, fd := range fds {
		unix.CloseOnExec(fd)
	}
	return fds, nil
}

// unixConn makes a connection of a descriptor, which it takes over.
func unixConn(fd int) (*net.UnixConn, error) {
	f := os.NewFile(uintptr(fd), "socket")
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	u, ok := c.(*net.UnixConn)
	if !ok {
		c.Close()
		return nil, errors.New("not a unix socket")
	}
	return u, nil
}
