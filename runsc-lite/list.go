package main

import (
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/user"
	"strconv"
	"text/tabwriter"
	"time"

	"runsc-lite/runsc-lite/container"
)

// shown is how state and list show a container, as runc does.
type shown struct {
	Version     string            `json:"ociVersion"`
	ID          string            `json:"id"`
	Pid         int               `json:"pid"`
	Status      string            `json:"status"`
	Bundle      string            `json:"bundle"`
	Rootfs      string            `json:"rootfs"`
	Created     time.Time         `json:"created"`
	Annotations map[string]string `json:"annotations,omitempty"`
	Owner       string            `json:"owner"`
}

func stateOf(c *container.Container) shown {
	st := c.OCI()
	s := shown{
		Version: st.Version, ID: st.ID, Pid: st.Pid, Status: string(c.Now()), Bundle: st.Bundle, Rootfs: c.Rootfs,
		Created: c.Created, Annotations: st.Annotations, Owner: strconv.Itoa(c.Owner),
	}
	if u, err := user.LookupId(s.Owner); err == nil {
		s.Owner = u.Username
	}
	return s
}

type listCommand struct {
	format string
	quiet  bool
}

func (*listCommand) Name() string     { return "list" }
func (*listCommand) Synopsis() string { return "list the containers" }
func (*listCommand) Usage() string {
	return `list [flags]

Lists the containers below the root directory (--root).

`
}

func (l *listCommand) SetFlags(f *flag.FlagSet) {
	for _, name := range []string{"format", "f"} {
		f.StringVar(&l.format, name, "table", "table or json")
	}
	for _, name := range []string{"quiet", "q"} {
		f.BoolVar(&l.quiet, name, false, "only the ids")
	}
}

func (l *listCommand) do(g *globals, _ *slog.Logger, args []string) (int, error) {
	if len(args) != 0 {
		return 0, fmt.Errorf("%w: list takes none", errUsage)
	}
	all, err := g.store().List()
	if err != nil {
		return 0, err
	}
	list := make([]shown, 0, len(all))
	for _, c := range all {
		list = append(list, stateOf(c))
	}
	switch {
	case l.quiet:
		for _, s := range list {
			fmt.Println(s.ID)
		}
		return 0, nil
	case l.format == "json":
		return 0, printJSON(list)
	case l.format != "table":
		return 0, fmt.Errorf("invalid format option: %q is neither table nor json", l.format)
	}
	w := tabwriter.NewWriter(os.Stdout, 12, 1, 3, ' ', 0)
	fmt.Fprint(w, "ID\tPID\tSTATUS\tBUNDLE\tCREATED\tOWNER\n")
	for _, s := range list {
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\t%s\n", s.ID, s.Pid, s.Status, s.Bundle, s.Created.Format(time.RFC3339Nano), s.Owner)
	}
	return 0, w.Flush()
}
