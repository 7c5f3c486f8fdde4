package main

import (
	"github.com/snapfs/snapfs/cmd/snapfs/internal/trees"
	"github.com/snapfs/snapfs/ops"
	"github.com/urfave/cli/v2"
)

func (p *program) collectCommand() *cli.Command {
	return &cli.Command{
		Name:      "collect",
		Usage:     "list directories and files as an absolute manifest without hashes",
		ArgsUsage: "[DIR…]",
		Flags: writeFlags(
			&cli.StringSliceFlag{Name: "file", Usage: "list this `FILE`, too (repeatable)"},
			&cli.StringSliceFlag{Name: "optional-file", Usage: "list this `FILE`, too, if it exists (repeatable)"},
			symlinksFlag(), chunkSizeFlag(),
		),
		Action: p.collect,
	}
}

// collected is the result of collect.
type collected struct {
	written
	Skipped []trees.Skipped `json:"skipped"`
}

func (p *program) collect(c *cli.Context) error {
	list, err := args(c, 0, -1)
	if err != nil {
		return err
	}
	opts := ops.CollectOptions{
		Filenames: c.StringSlice("file"), OptionalFilenames: c.StringSlice("optional-file"), Progress: new(ops.Progress),
	}
	if len(list)+len(opts.Filenames)+len(opts.OptionalFilenames) == 0 {
		return usage("collect needs at least one DIR, --file or --optional-file")
	}
	if opts.Symlinks, err = policyOf(c); err != nil {
		return err
	}
	if opts.ChunkSize, err = chunkSizeOf(c); err != nil {
		return err
	}
	out := collected{Skipped: []trees.Skipped{}}
	opts.Skipped = func(path string, reason error) {
		out.Skipped = append(out.Skipped, trees.Skipped{Path: path, Reason: reason.Error()})
	}
	stop := p.screen(c).Watch("listing", "file", opts.Progress.Counts)
	m, err := ops.Collect(c.Context, list, opts)
	stop()
	if err != nil {
		return unlisted("", err)
	}
	p.skipped(out.Skipped)
	if out.written, err = p.write(c, m); err != nil {
		return err
	}
	return p.report(out.written, out)
}
