package main

import (
	"strings"

	"github.com/snapfs/snapfs/blobstore"
	"github.com/snapfs/snapfs/cache"
	"github.com/snapfs/snapfs/cmd/snapfs/internal/progress"
	"github.com/snapfs/snapfs/cmd/snapfs/internal/stores"
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
