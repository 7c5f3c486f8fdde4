package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/snapfs/snapfs/cmd/snapfs/internal/dirs"
	"github.com/snapfs/snapfs/cmd/snapfs/internal/mountd"
	"github.com/urfave/cli/v2"
)

func (p *program) statusCommand() *cli.Command {
	return &cli.Command{
		Name:      "status",
		Usage:     "show what has changed in a mount, or all mounts",
		ArgsUsage: "[DIR]",
		Description: "With DIR, lists what a commit would publish (A added, M modified, D deleted, R renamed,\n" +
			"T type changed) and what was fetched and uploaded. Without it, lists the mounts of this user\n" +
			"and the overlays of mounts that ended without a commit.",
		Action: p.status,
	}
}

func (p *program) status(c *cli.Context) error {
	list, err := args(c, 0, 1)
	if err != nil {
		return err
	}
	if len(list) == 0 {
		return p.statusAll(c)
	}
	dir, err := mountd.Canonical(list[0])
	if err != nil {
		return err
	}
	client, err := mountd.Find(dir)
	if err != nil {
		return err
	}
	st, err := client.Status(c.Context)
	if err != nil {
		return err
	}
	return p.result(st, func() error { return p.printStatus(st) })
}

func (p *program) printStatus(st *mountd.Status) error {
	var b strings.Builder
	fmt.Fprintf(&b, "mount     %s (pid %d, since %s)\n", st.MountPoint, st.PID, st.Started.Local().Format(time.DateTime))
	fmt.Fprintf(&b, "base      %s, %s\n", count(st.Entries, "entry"), size(st.Bytes))
	for _, m := range st.Manifests {
		fmt.Fprintf(&b, "          %s\n", m)
	}
	fmt.Fprintf(&b, "store     %s\n", st.Store)
	if st.CredentialsExpire != nil {
		fmt.Fprintf(&b, "          credentials expire %s\n", st.CredentialsExpire.Local().Format(time.DateTime))
	}
	if st.ReadOnly {
		fmt.Fprintf(&b, "overlay   none: read-only\n")
	} else {
		fmt.Fprintf(&b, "overlay   %s, %s so far\n", st.Overlay, count(st.Commits, "commit"))
	}
	h := st.CacheHits
	fmt.Fprintf(&b, "fetched   %s; reads served by memory %d, disk %d, store files %d, fetching %d\n",
		fetched(st), h.Memory, h.Disk, h.StoreFile, h.Fetched)
	b.WriteString("reading   " + passthroughLine(&st.Passthrough) + "\n")
	fmt.Fprintf(&b, "uploaded  %s in %s\n", size(st.UploadedBytes), count(int(st.UploadedBlobs), "blob"))
	if st.Mismatches > 0 {
		fmt.Fprintf(&b, "DAMAGED   %s did not match the hash\n", count(int(st.Mismatches), "content"))
	}
	fmt.Fprintf(&b, "changes   %s\n", changesTitle(st.Changes))
	for i := range st.Changes {
		b.WriteString(changeLine(&st.Changes[i]) + "\n")
	}
	_, err := fmt.Fprint(p.stdout, b.String())
	return err
}

// fetched says what came from the store. A directory that is used in place gets no
// requests: its files are read.
func fetched(st *mountd.Status) string {
	if st.Requests == 0 && st.FetchedBytes > 0 {
		return size(st.FetchedBytes) + " read in place from the store"
	}
	return size(st.FetchedBytes) + " in " + count(int(st.Requests), "request")
}

func passthroughLine(s *mountd.Passthrough) string {
	if s.Active {
		line := fmt.Sprintf("the kernel uses local files directly (%s so far)", count(int(s.Opens), "open"))
		if s.Why != "" {
			line += ", but not all: " + s.Why
		}
		return line
	}
	return "through the mount process: no passthrough, " + s.Why
}

func changesTitle(changes []mountd.ChangeStatus) string {
	if len(changes) == 0 {
		return "none"
	}
	return fmt.Sprint(len(changes))
}

func changeLine(c *mountd.ChangeStatus) string {
	slash := ""
	if c.Dir {
		slash = "/"
	}
	line := c.Kind + " " + shown(c.Path) + slash
	if c.From != "" {
		line = c.Kind + " " + shown(c.From) + slash + " -> " + shown(c.Path) + slash
	}
	if c.Problem != "" {
		line += "   (cannot be committed: " + c.Problem + ")"
	}
	return line
}

func (p *program) statusAll(c *cli.Context) error {
	clients, err := mountd.All()
	if err != nil {
		return err
	}
	for _, client := range clients {
		st, err := client.Status(c.Context)
		if err != nil {
			p.warn("%s: %v", client.Info.MountPoint, err)
			continue
		}
		err = p.result(st, func() error {
			return p.print("%s   %s, %s fetched, store %s", st.MountPoint,
				count(len(st.Changes), "change"), size(st.FetchedBytes), st.Store)
		})
		if err != nil {
			return err
		}
	}
	dir, err := dirs.Overlays()
	if err != nil {
		return err
	}
	overlays, err := mountd.Overlays(dir)
	if err != nil {
		return err
	}
	for _, o := range overlays {
		err := p.result(o, func() error {
			return p.print("%s   overlay without a mount, was at %s; commit it with: snapfs commit --overlay %s",
				o.Overlay, o.MountPoint, o.Overlay)
		})
		if err != nil {
			return err
		}
	}
	if len(clients)+len(overlays) == 0 && !p.json {
		p.note("no mounts")
	}
	return nil
}
