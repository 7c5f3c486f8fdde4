package main

import (
	"errors"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/dustin/go-humanize"
	"github.com/snapfs/snapfs/cmd/snapfs/internal/docs"
	"github.com/snapfs/snapfs/cmd/snapfs/internal/failure"
	"github.com/snapfs/snapfs/cmd/snapfs/internal/mountd"
	"github.com/snapfs/snapfs/manifest"
	"github.com/urfave/cli/v2"
)

func (p *program) commitCommand() *cli.Command {
	return &cli.Command{
		Name:      "commit",
		Usage:     "publish what has changed in a mount as a diff manifest",
		ArgsUsage: "[DIR]",
		Description: "Uploads changed contents to the store, then writes the diff. Programs go on working\n" +
			"meanwhile. --overlay commits the overlay of a mount that has ended.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "where to write the `MANIFEST`: a file, - or s3://bucket/key (default: beside the base)"},
			&cli.StringFlag{Name: "overlay", Usage: "overlay `DIR` to commit, when nothing is mounted"},
			&cli.BoolFlag{Name: "full", Usage: "write the composed snapshot instead of the diff"},
			&cli.StringSliceFlag{Name: "include", Aliases: []string{"i"}, Usage: "publish only paths that match `GLOB` (repeatable)"},
			&cli.StringSliceFlag{Name: "exclude", Aliases: []string{"e"}, Usage: "leave paths that match `GLOB` in the overlay (repeatable)"},
			&cli.StringFlag{Name: "parent-hash", Value: "auto", Usage: "what the diff names as its parent: auto, none or a hash"},
			&cli.BoolFlag{Name: "keep-mtime", Usage: "publish files too of which only the time has changed"},
			formatFlag(),
		},
		Action: p.commit,
	}
}

func formatFlag() cli.Flag {
	return &cli.StringFlag{Name: "format", Value: string(manifest.V2025), Usage: "manifest format: v2025 or v2023"}
}

func (p *program) commit(c *cli.Context) error {
	list, err := args(c, 0, 1)
	if err != nil {
		return err
	}
	overlay := c.String("overlay")
	if (overlay == "") == (len(list) == 0) {
		return usage("commit takes either a mounted DIR or --overlay DIR")
	}
	opts := mountd.PublishOptions{
		Format: manifest.Format(c.String("format")), Full: c.Bool("full"), KeepMtime: c.Bool("keep-mtime"),
		Include: c.StringSlice("include"), Exclude: c.StringSlice("exclude"), ParentHash: c.String("parent-hash"),
	}
	switch out := c.String("output"); {
	case out == "-" || docs.IsSpecial(out):
		opts.Inline = true // the process of the mount has another stdout
	case out != "" && !strings.Contains(out, "://"):
		if opts.Output, err = filepath.Abs(out); err != nil {
			return err
		}
		opts.Force = true
	default:
		opts.Output, opts.Force = out, out != ""
	}
	done, err := p.runCommit(c, list, overlay, opts)
	if err != nil {
		return err
	}
	p.partial(done)
	p.recovered(done)
	for _, d := range done.Dropped {
		p.warn("the %s format cannot hold: %s", opts.Format, d)
	}
	if opts.Inline {
		return p.handOver(c, done)
	}
	return p.result(done, func() error { return p.printCommit(done) })
}

// handOver writes the manifest of a commit where the process of the mount could not. The
// commit has happened by then: the file that holds the manifest meanwhile is deleted
// only when that has succeeded.
func (p *program) handOver(c *cli.Context, done *mountd.Published) error {
	signal.Ignore(syscall.SIGPIPE) // a reader that has gone is an error like others
	err := p.docs(c).Write(c.Context, c.String("output"), []byte(done.Text))
	if err = errors.Join(err, p.flush()); err == nil {
		return os.Remove(done.Manifest)
	}
	e := *failure.Classify(err)
	e.Hint = "the commit itself has succeeded, and its manifest is " + done.Manifest
	return &e
}

// runCommit asks the process of the mount, or without one opens the overlay itself.
func (p *program) runCommit(c *cli.Context, list []string, overlay string, opts mountd.PublishOptions) (*mountd.Published, error) {
	if overlay == "" {
		dir, err := mountd.Canonical(list[0])
		if err != nil {
			return nil, err
		}
		client, err := mountd.Find(dir)
		if err != nil {
			return nil, err
		}
		return client.Commit(c.Context, opts)
	}
	dir, err := filepath.Abs(overlay)
	if err != nil {
		return nil, err
	}
	return mountd.CommitOverlay(c.Context, dir, opts, p.docs(c), p.logger(false))
}

// maxListed is how many entries that were left out people get to see; scripts get all.
const maxListed = 100

// partial sets the exit code when entries were left out, and lists them.
func (p *program) partial(done *mountd.Published) {
	for i, problem := range done.Problems {
		if i == maxListed {
			p.warn("… and %s more: --json lists all", count(len(done.Problems)-i, "entry"))
			break
		}
		p.warn("not committed: %s: %s", shown(problem.Path), problem.Reason)
	}
	if len(done.Problems) > 0 {
		p.code = failure.Partial
	}
}

// recovered tells people that a commit outlived its mount.
func (p *program) recovered(done *mountd.Published) {
	if done.Recovered {
		p.warn("the process of the mount died behind the commit; what was committed is safe in %s. Mount again to go on", done.Manifest)
	}
}

func (p *program) printCommit(done *mountd.Published) error {
	if done.Manifest == "" {
		p.note("nothing to commit")
		return nil
	}
	if done.Recovered {
		p.note("%d added or modified, %d deleted", done.Modified, done.Deleted)
		return p.print("%s", done.Manifest)
	}
	p.note("%s added, %d modified, %d deleted; %s uploaded (%s)", humanize.Comma(int64(done.Added)), done.Modified, done.Deleted,
		count(int(done.UploadedBlobs), "blob"), size(done.UploadedBytes))
	return p.print("%s", done.Manifest)
}
