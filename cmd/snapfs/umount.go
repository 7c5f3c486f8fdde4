package main

import (
	"context"
	"errors"
	"os"

	"github.com/snapfs/snapfs/cmd/snapfs/internal/failure"
	"github.com/snapfs/snapfs/cmd/snapfs/internal/mountd"
	"github.com/urfave/cli/v2"
)

func (p *program) umountCommand() *cli.Command {
	return &cli.Command{
		Name:      "umount",
		Aliases:   []string{"unmount"},
		Usage:     "unmount, and publish what has changed",
		ArgsUsage: "DIR",
		Description: "Commits what is left to the --diff-out of the mount, and ends it. Nothing is ever thrown\n" +
			"away: when the commit fails, or with --no-commit, the overlay is kept and its place printed.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "no-commit", Usage: "keep the changes in the overlay"},
			&cli.StringFlag{Name: "diff-out", Usage: "where to write the diff `MANIFEST`"},
			&cli.BoolFlag{Name: "lazy", Aliases: []string{"l"}, Usage: "detach now, and finish when the last process has let go"},
		},
		Action: p.umount,
	}
}

func (p *program) umount(c *cli.Context) error {
	list, err := args(c, 1, 1)
	if err != nil {
		return err
	}
	dir, err := mountd.Canonical(list[0])
	if err != nil {
		return err
	}
	req := mountd.UnmountRequest{NoCommit: c.Bool("no-commit"), Lazy: c.Bool("lazy")}
	if out := c.String("diff-out"); out != "" {
		abs, err := absoluteManifests([]string{out})
		if err != nil {
			return err
		}
		req.DiffOut = abs[0]
	}
	client, err := mountd.Find(dir)
	if err != nil {
		return p.umountDead(dir, err)
	}
	// Whoever stands in the mount holds it, this process included.
	if err := os.Chdir("/"); err != nil {
		return err
	}
	done, err := client.Unmount(c.Context, req)
	if errors.Is(err, context.Canceled) {
		return &failure.Error{
			Code: failure.Interrupted, Message: err.Error(), Err: err,
			Hint: "unmounting goes on in the background; `snapfs status` lists the mount until it has ended",
		}
	}
	if err != nil && client.Died(c.Context) {
		return p.umountDead(dir, err)
	}
	if err != nil {
		return err
	}
	if done.Changes > 0 && !done.Pending {
		p.code = failure.Differences
	}
	if done.Commit != nil {
		p.partial(done.Commit)
		p.recovered(done.Commit)
	}
	return p.result(done, func() error { return p.printUnmounted(done) })
}

func (p *program) printUnmounted(done *mountd.Unmounted) error {
	if done.Pending {
		p.note("detached; what is left is committed when the last process lets go of it (until then: %s)", done.Kept)
		return nil
	}
	switch {
	case done.Changes > 0:
		p.warn("%s kept in %s", count(done.Changes, "uncommitted change"), done.Kept)
	case done.Kept != "":
		p.note("nothing to commit; what no manifest can hold, like times and attributes, is kept in %s", done.Kept)
	}
	if done.Commit == nil {
		return nil
	}
	return p.printCommit(done.Commit)
}

// umountDead detaches a mount whose process has died. cause is the answer when there
// is no mount at all, or a living one.
func (p *program) umountDead(dir string, cause error) error {
	if err := mountd.DetachDead(dir, cause); err != nil {
		return err
	}
	p.warn("the process of this mount had died; it was detached. `snapfs status` lists the overlay with its changes")
	p.code = failure.Differences
	return nil
}
