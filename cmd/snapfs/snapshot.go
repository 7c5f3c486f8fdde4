package main

import (
	"cmp"
	"errors"
	"os"
	"path/filepath"
	"slices"

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
	CopiedLinks   []trees.Copied  `json:"copied_links"`
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
	opts.Readable = true
	tree, err := p.collectTree(c, list[0], opts)
	if err != nil {
		return err
	}
	var out snapshotResult
	m, err := p.store(c, tree.Manifest, work, &out)
	if err != nil {
		return unreadable(err)
	}
	rel, err := tree.Relative(m)
	if err != nil {
		return err
	}
	if out.written, err = p.write(c, rel); err != nil {
		return err
	}
	out.Skipped, out.CopiedLinks = tree.Skipped, tree.Copied
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
	p.copiedLinks(dir, tree.Copied, c.IsSet("symlinks"))
	return tree, nil
}

// maxShown is how many entries of a list a warning spells out.
const maxShown = 10

// copiedLinks tells people that they store what lies elsewhere, because of links. Those
// who have chosen a policy know it, and are only told how much.
func (p *program) copiedLinks(dir string, list []trees.Copied, chosen bool) {
	if len(list) == 0 {
		return
	}
	largest := slices.SortedFunc(slices.Values(list), func(a, b trees.Copied) int {
		return cmp.Or(cmp.Compare(b.Bytes, a.Bytes), cmp.Compare(a.Path, b.Path))
	})
	var files int
	var bytes int64
	for _, l := range list {
		files, bytes = files+l.Files, bytes+l.Bytes
	}
	tell := p.warn
	if chosen {
		tell = p.note
	}
	tell("%s out of %s; in their place is stored what they lead to: %s, %s", leading(len(list)), shown(dir), count(files, "file"), size(bytes))
	for _, l := range largest[:min(maxShown, len(largest))] {
		tell("  %s -> %s: %s, %s", shown(l.Path), shown(l.Target), count(l.Files, "file"), size(l.Bytes))
	}
	if more := len(list) - maxShown; more > 0 {
		tell("  and %d more", more)
	}
	if !chosen {
		p.note("--symlinks exclude-escaping leaves such links out; --symlinks collapse-escaping says that this is meant")
	}
}

func leading(links int) string {
	if links == 1 {
		return "1 link leads"
	}
	return count(links, "link") + " lead"
}

// unlisted is the error for what cannot be listed.
func unlisted(name string, err error) error {
	var several *ops.Failures
	switch {
	case errors.As(err, &several) && errors.Is(err, os.ErrPermission):
		return unreadable(err)
	case !errors.Is(err, manifest.ErrInvalid):
		return failure.Named(name, err)
	case !errors.As(err, &several):
		return badArgument(err)
	}
	e := *failure.Classify(err)
	e.Hint = "no manifest can hold these names: rename them, or leave them out with --exclude"
	return &e
}

// unreadable says what to do about files of a tree that this user may not read.
func unreadable(err error) error {
	var several *ops.Failures
	if !errors.As(err, &several) || !errors.Is(err, os.ErrPermission) || errors.Is(err, blobstore.ErrPermission) {
		return err
	}
	e := *failure.Classify(err)
	e.Hint = "nothing was written; make them readable for this user, or leave them out with --exclude GLOB (repeatable)"
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
