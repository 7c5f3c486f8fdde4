package main

import (
	"context"
	"strings"

	"github.com/snapfs/snapfs/blobstore"
	"github.com/snapfs/snapfs/cache"
	"github.com/snapfs/snapfs/cmd/snapfs/internal/progress"
	"github.com/snapfs/snapfs/cmd/snapfs/internal/stores"
	"github.com/snapfs/snapfs/cmd/snapfs/internal/trees"
	"github.com/snapfs/snapfs/cmd/snapfs/internal/verbs"
	"github.com/snapfs/snapfs/manifest"
	"github.com/snapfs/snapfs/ops"
	"github.com/urfave/cli/v2"
)

func outputFlag() cli.Flag {
	return &cli.StringFlag{Name: "output", Aliases: []string{"o"}, Value: "-", Usage: "where to write the `MANIFEST`: a file, - for stdout, or s3://bucket/key"}
}

func symlinksFlag() cli.Flag {
	return &cli.StringFlag{Name: "symlinks", Value: ops.CollapseEscaping.String(), Usage: "`POLICY` for symbolic links: collapse-escaping, collapse-all, exclude-escaping, exclude-all, preserve, transitive-include-targets"}
}

func policyOf(c *cli.Context) (ops.SymlinkPolicy, error) {
	policy, err := ops.ParseSymlinkPolicy(c.String("symlinks"))
	if err != nil {
		return policy, usage("--symlinks: %s", strings.TrimPrefix(err.Error(), manifest.ErrInvalid.Error()+": "))
	}
	return policy, nil
}

func chunkSizeFlag() cli.Flag {
	return &cli.StringFlag{Name: "chunk-size", Usage: "size at which contents are cut, like 64MiB, or whole (default: 256MiB; whole for --format v2023)"}
}

// chunkSizeOf returns the chunk size in bytes, 0 when none was given.
func chunkSizeOf(c *cli.Context) (int64, error) {
	text := c.String("chunk-size")
	if text == "whole" || text == "-1" || (text == "" && c.String("format") == string(manifest.V2023)) {
		return manifest.WholeFile, nil
	}
	n, err := sizeFlag(c, "chunk-size")
	if err == nil && text != "" && n <= 0 {
		return 0, usage("--chunk-size: %q is not a size above 0, nor whole", text)
	}
	return n, err
}

// contentFlags are the flags of commands that read the contents of files.
func contentFlags() []cli.Flag {
	return append([]cli.Flag{
		&cli.BoolFlag{Name: "force-rehash", Usage: "read every file, whatever the hash cache knows"},
	}, workFlags()...)
}

// workFlags are the flags of commands that move contents.
func workFlags() []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "no-hash-cache", Usage: "neither use nor fill the cache of the hashes of files"},
		&cli.IntFlag{Name: "workers", Usage: "how many contents are handled at once (default: by the command)"},
		&cli.StringFlag{Name: "max-memory", Usage: "limit of the memory for contents, like 1GiB (default: 64MiB)"},
	}
}

// contentOptions are the values of contentFlags.
type contentOptions struct {
	chunk, memory int64
	workers       int
	rehash        bool
}

func contentOf(c *cli.Context) (o contentOptions, err error) {
	if o.memory, err = sizeFlag(c, "max-memory"); err != nil {
		return o, err
	}
	if o.workers = c.Int("workers"); o.workers < 0 {
		return o, usage("--workers: %d is not a number above 0", o.workers)
	}
	o.rehash = c.Bool("force-rehash")
	return o, nil
}

func (o contentOptions) hash(hashes ops.HashCache, progress *ops.Progress) ops.HashOptions {
	return ops.HashOptions{
		Cache: hashes, ForceRehash: o.rehash, ChunkSize: o.chunk, Workers: o.workers, MaxMemory: o.memory, Progress: progress,
	}
}

func (o contentOptions) upload(hashes ops.HashCache, progress *ops.Progress) ops.UploadOptions {
	return ops.UploadOptions{
		Cache: hashes, ForceRehash: o.rehash, ChunkSize: o.chunk, Workers: o.workers, MaxMemory: o.memory, Progress: progress,
	}
}

// hashCache opens the cache of the hashes of files, unless it is not wanted, and
// returns it with what closes it. That it cannot be used is a warning: without it
// everything is slower, and nothing else.
func (p *program) hashCache(c *cli.Context) (ops.HashCache, func()) {
	if c.Bool("no-hash-cache") {
		return nil, func() {}
	}
	hashes, err := cache.OpenHashCache("")
	if err != nil {
		p.warnHashCache(err)
		return nil, func() {}
	}
	return hashes, func() {
		if err := hashes.Close(); err != nil {
			p.warnHashCache(err)
		}
	}
}

func (p *program) warnHashCache(err error) {
	p.warn("the hash cache cannot be used, so that files are read again although they have not changed: %v", err)
}

func forceCheckFlag() cli.Flag {
	return &cli.BoolFlag{Name: "force-check", Usage: "ask the bucket for every content, whatever was seen there before"}
}

// uploadTo runs an upload to the store of a command. An upload that finds out that the
// bucket has lost what was seen there before is repeated, without that knowledge.
func (p *program) uploadTo(c *cli.Context, run func(blobstore.Store) error) error {
	store, err := openStore(c.Context, c, true)
	if err != nil {
		return err
	}
	store, closeChecks, err := stores.Checked(store, c.String("store"), c.Bool("force-check"))
	if err != nil {
		p.warnCheckCache(err)
	}
	err = run(store)
	if stores.LostContents(err) {
		p.warn("%v; they are looked for again", err)
		err = run(store)
	}
	if err := closeChecks(); err != nil {
		p.warnCheckCache(err)
	}
	return err
}

func (p *program) warnCheckCache(err error) {
	p.warn("the cache of what the bucket holds cannot be used, so that it is asked for every content: %v", err)
}

// screen returns where the progress of a command is shown.
func (p *program) screen(c *cli.Context) progress.Screen {
	if p.quiet || c.Bool("no-progress") {
		return progress.Screen{}
	}
	return progress.New(p.stderr)
}

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

func (p *program) hashCommand() *cli.Command {
	return &cli.Command{
		Name:        "hash",
		Usage:       "add the hashes of the files to an absolute manifest",
		ArgsUsage:   "MANIFEST",
		Description: "Files that have changed since they were listed get their present size and time.",
		Flags:       writeFlags(append(contentFlags(), chunkSizeFlag())...),
		Action:      p.hash,
	}
}

// hashResult is the result of hash.
type hashResult struct {
	written
	HashedFiles  int64   `json:"hashed_files"` // read
	HashedBytes  int64   `json:"hashed_bytes"`
	SkippedFiles int64   `json:"skipped_files"` // known to the hash cache
	SkippedBytes int64   `json:"skipped_bytes"`
	ChangedFiles int64   `json:"changed_files"` // not as they were listed
	Seconds      float64 `json:"seconds"`
}

func (p *program) hash(c *cli.Context) error {
	return p.withContents(c, func(ctx context.Context, m manifest.Any, work contentOptions) (manifest.Any, func(written) any, error) {
		hashes, closeHashes := p.hashCache(c)
		defer closeHashes()
		progress := new(ops.Progress)
		defer p.screen(c).Watch("hashing", "file", progress.Counts)()
		out, stats, err := verbs.Hash(ctx, m, work.hash(hashes, progress))
		return out, func(w written) any {
			p.note("hashed %s (%s) in %.2f s; %s (%s) known already", count(int(stats.HashedFiles), "file"), size(stats.HashedBytes),
				stats.Elapsed.Seconds(), count(int(stats.SkippedFiles), "file"), size(stats.SkippedBytes))
			return hashResult{
				written: w, HashedFiles: stats.HashedFiles, HashedBytes: stats.HashedBytes, SkippedFiles: stats.SkippedFiles,
				SkippedBytes: stats.SkippedBytes, ChangedFiles: stats.ChangedFiles, Seconds: stats.Elapsed.Seconds(),
			}
		}, err
	})
}

func (p *program) uploadCommand() *cli.Command {
	return &cli.Command{
		Name:      "upload",
		Usage:     "hash the files of an absolute manifest, and put them into a store",
		ArgsUsage: "MANIFEST",
		Description: "Contents that the store holds are not sent again. The manifest is written when all of them are\n" +
			"there; an interrupted upload goes on where it stopped.",
		Flags:  append([]cli.Flag{outputFlag(), formatFlag(), chunkSizeFlag(), forceCheckFlag()}, append(contentFlags(), storeFlags()...)...),
		Action: p.upload,
	}
}

// uploadResult is the result of upload.
type uploadResult struct {
	written
	HashedFiles   int64   `json:"hashed_files"` // read
	HashedBytes   int64   `json:"hashed_bytes"`
	UploadedFiles int64   `json:"uploaded_files"` // with content that the store lacked
	UploadedBytes int64   `json:"uploaded_bytes"`
	SkippedFiles  int64   `json:"skipped_files"` // all of whose content the store held
	SkippedBytes  int64   `json:"skipped_bytes"`
	ChangedFiles  int64   `json:"changed_files"` // not as they were listed
	Seconds       float64 `json:"seconds"`
}

func (p *program) upload(c *cli.Context) error {
	return p.withContents(c, func(ctx context.Context, m manifest.Any, work contentOptions) (manifest.Any, func(written) any, error) {
		hashes, closeHashes := p.hashCache(c)
		defer closeHashes()
		var out manifest.Any
		var stats ops.UploadStats
		err := p.uploadTo(c, func(store blobstore.Store) (err error) {
			progress := new(ops.Progress)
			defer p.screen(c).Watch("uploading", "file", progress.Counts)()
			out, stats, err = verbs.HashUpload(ctx, m, store, work.upload(hashes, progress))
			return err
		})
		return out, func(w written) any {
			p.note("uploaded %s (%s) in %.2f s; %s (%s) there already", count(int(stats.UploadedFiles), "file"), size(stats.UploadedBytes),
				stats.Elapsed.Seconds(), count(int(stats.SkippedFiles), "file"), size(stats.SkippedBytes))
			return uploadResult{
				written: w, HashedFiles: stats.HashedFiles, HashedBytes: stats.HashedBytes, UploadedFiles: stats.UploadedFiles,
				UploadedBytes: stats.UploadedBytes, SkippedFiles: stats.SkippedFiles, SkippedBytes: stats.SkippedBytes,
				ChangedFiles: stats.ChangedFiles, Seconds: stats.Elapsed.Seconds(),
			}
		}, err
	})
}

// withContents is the body of hash and upload: it reads the manifest, lets work make
// another, writes that, and prints what the function that work returns says about it.
func (p *program) withContents(c *cli.Context, work func(context.Context, manifest.Any, contentOptions) (manifest.Any, func(written) any, error)) error {
	list, err := args(c, 1, 1)
	if err != nil {
		return err
	}
	opts, err := contentOf(c)
	if err != nil {
		return err
	}
	if opts.chunk, err = chunkSizeOf(c); err != nil {
		return err
	}
	in, err := p.read(c, list[0])
	if err != nil {
		return err
	}
	out, result, err := work(c.Context, in.Manifest, opts)
	if err != nil {
		return err
	}
	w, err := p.write(c, out)
	if err != nil {
		return err
	}
	return p.report(w, result(w))
}
