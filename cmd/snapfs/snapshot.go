package main

import (
	"errors"
	"path/filepath"

	"github.com/snapfs/snapfs/blobstore"
	"github.com/snapfs/snapfs/cmd/snapfs/internal/failure"
	"github.com/snapfs/snapfs/cmd/snapfs/internal/trees"
	"github.com/snapfs/snapfs/manifest"
	"github.com/snapfs/snapfs/ops"
	"github.com/urfave/cli/v2"
)

func (p *program) snapshotCommand() *cli.Command {
	return &cli.Command{
		Name:      "snapshot",
		Usage:     "store a directory tree and write its manifest",
		ArgsUsage: "DIR",
		Description: "Lists DIR, hashes the files, uploads what the store lacks, and writes a relative snapshot, to\n" +
			"stdout unless -o is given. Files that have not changed since the last time are not read again.\n\n" +
			globHelp + " Paths are relative to DIR; a directory that matches stands for all\n" +
			"that lies below it.",
		Flags: append(append([]cli.Flag{
			outputFlag(),
			&cli.StringSliceFlag{Name: "include", Aliases: []string{"i"}, Usage: "take only paths that match `GLOB` (repeatable)"},
			&cli.StringSliceFlag{Name: "exclude", Aliases: []string{"e"}, Usage: "leave out paths that match `GLOB` (repeatable)"},
			symlinksFlag(),
			chunkSizeFlag(),
			&cli.BoolFlag{Name: "no-upload", Usage: "hash only, store nothing"},
			forceCheckFlag(),
			formatFlag(),
		}, contentFlags()...), storeFlags()...),
		Action: p.snapshot,
	}
}

// snapshotResult is the result of snapshot.
type snapshotResult struct {
	written
	HashedBytes   int64           `json:"hashed_bytes"`
	UploadedBytes int64           `json:"uploaded_bytes"`
	Skipped       []trees.Skipped `json:"skipped"` // entries left out, with the reason
}

func (p *program) snapshot(c *cli.Context) error {
	list, err := args(c, 1, 1)
	if err != nil {
		return err
	}
	opts, err := treeOptions(c)
	if err != nil {
		return err
	}
	work, err := contentOf(c)
	if err != nil {
		return err
	}
	tree, err := p.collectTree(c, list[0], opts)
	if err != nil {
		return err
	}
	var out snapshotResult
	m, err := p.store(c, tree.Manifest, work, &out)
	if err != nil {
		return err
	}
	rel, err := tree.Relative(m)
	if err != nil {
		return err
	}
	if out.written, err = p.write(c, rel); err != nil {
		return err
	}
	out.Skipped = tree.Skipped
	if out.UploadedBytes > 0 {
		p.note("uploaded %s", size(out.UploadedBytes))
	}
	return p.report(out.written, out)
}

// treeOptions returns what the flags say about the listing of a directory.
func treeOptions(c *cli.Context) (opts trees.Options, err error) {
	if opts.Symlinks, err = policyOf(c); err != nil {
		return opts, err
	}
	if opts.ChunkSize, err = chunkSizeOf(c); err != nil {
		return opts, err
	}
	if opts.Select, err = trees.NewSelection(c.StringSlice("include"), c.StringSlice("exclude")); err != nil {
		return opts, badArgument(err)
	}
	return opts, nil
}

// collectTree lists a directory. Entries that no manifest can hold are left out, with
// a warning and exit code 3.
func (p *program) collectTree(c *cli.Context, dir string, opts trees.Options) (*trees.Tree, error) {
	root, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	opts.Progress = new(ops.Progress)
	defer p.screen(c).Watch("listing", "file", opts.Progress.Counts)()
	tree, err := trees.Collect(c.Context, root, opts)
	if err != nil {
		return nil, unlisted(dir, err)
	}
	p.skipped(tree.Skipped)
	return tree, nil
}

// unlisted is the error for what cannot be listed.
func unlisted(name string, err error) error {
	var several *ops.Failures
	switch {
	case !errors.Is(err, manifest.ErrInvalid):
		return failure.Named(name, err)
	case !errors.As(err, &several):
		return badArgument(err)
	}
	e := *failure.Classify(err)
	e.Hint = "no manifest can hold these names: rename them, or leave them out with --exclude"
	return &e
}

// skipped tells people about entries that were left out.
func (p *program) skipped(list []trees.Skipped) {
	for _, s := range list {
		p.warn("left out: %s", s)
	}
	if len(list) > 0 {
		p.code = failure.Partial
	}
}

// store hashes the files of m, and uploads them unless --no-upload is given.
func (p *program) store(c *cli.Context, m *manifest.AbsSnapshot, work contentOptions, out *snapshotResult) (*manifest.AbsSnapshot, error) {
	hashes, closeHashes := p.hashCache(c)
	defer closeHashes()
	if c.Bool("no-upload") {
		progress := new(ops.Progress)
		defer p.screen(c).Watch("hashing", "file", progress.Counts)()
		hashed, stats, err := ops.Hash(c.Context, m, work.hash(hashes, progress))
		out.HashedBytes = stats.HashedBytes
		return hashed, err
	}
	var hashed *manifest.AbsSnapshot
	err := p.uploadTo(c, func(store blobstore.Store) error {
		progress := new(ops.Progress)
		defer p.screen(c).Watch("storing", "file", progress.Counts)()
		var stats ops.UploadStats
		var err error
		hashed, stats, err = ops.HashUpload(c.Context, m, store, work.upload(hashes, progress))
		out.HashedBytes += stats.HashedBytes
		out.UploadedBytes += stats.UploadedBytes
		return err
	})
	return hashed, err
}
