package main

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/snapfs/snapfs/cmd/snapfs/internal/docs"
	"github.com/snapfs/snapfs/cmd/snapfs/internal/failure"
	"github.com/snapfs/snapfs/manifest"
	"github.com/snapfs/snapfs/ops"
	"github.com/urfave/cli/v2"
)

func (p *program) snapshotCommand() *cli.Command {
	return &cli.Command{
		Name:      "snapshot",
		Usage:     "store a directory tree and write its manifest",
		ArgsUsage: "DIR",
		Description: "Lists DIR, hashes the files, uploads what the store lacks, and writes a relative snapshot.\n" +
			"Files that have not changed since the last time are not read again.",
		Flags: append([]cli.Flag{
			outputFlag(),
			&cli.StringSliceFlag{Name: "include", Aliases: []string{"i"}, Usage: "take only paths that match `GLOB` (repeatable)"},
			&cli.StringSliceFlag{Name: "exclude", Aliases: []string{"e"}, Usage: "leave out paths that match `GLOB` (repeatable)"},
			symlinksFlag(),
			chunkSizeFlag(),
			&cli.BoolFlag{Name: "no-upload", Usage: "hash only, store nothing"},
			&cli.BoolFlag{Name: "force-rehash", Usage: "read every file, whatever the hash cache knows"},
			formatFlag(),
		}, storeFlags()...),
		Action: p.snapshot,
	}
}

func outputFlag() cli.Flag {
	return &cli.StringFlag{Name: "output", Aliases: []string{"o"}, Value: "-", Usage: "where to write the `MANIFEST`: a file, - for stdout, or s3://bucket/key"}
}

func symlinksFlag() cli.Flag {
	return &cli.StringFlag{Name: "symlinks", Value: ops.CollapseEscaping.String(), Usage: "`POLICY` for symbolic links: collapse-escaping, collapse-all, exclude-escaping, exclude-all, preserve, transitive-include-targets"}
}

func chunkSizeFlag() cli.Flag {
	return &cli.StringFlag{Name: "chunk-size", Usage: "size at which contents are cut, like 64MiB, or whole (default: 256MiB)"}
}

// chunkSizeOf returns the chunk size in bytes, 0 when none was given.
func chunkSizeOf(c *cli.Context) (int64, error) {
	if text := c.String("chunk-size"); text == "whole" || text == "-1" {
		return manifest.WholeFile, nil
	}
	n, err := sizeFlag(c, "chunk-size")
	if err == nil && c.IsSet("chunk-size") && n <= 0 {
		return 0, usage("--chunk-size: %q is not a size above 0, nor whole", c.String("chunk-size"))
	}
	return n, err
}

// snapshotResult is what snapshot prints under --json.
type snapshotResult struct {
	Type          string        `json:"type"` // always "snapshot"
	Manifest      string        `json:"manifest"`
	Hash          manifest.Hash `json:"manifest_hash"`
	Files         int           `json:"files"`
	Dirs          int           `json:"dirs"`
	Bytes         int64         `json:"bytes"`
	HashedBytes   int64         `json:"hashed_bytes"`
	UploadedBytes int64         `json:"uploaded_bytes"`
	Skipped       []string      `json:"skipped"` // entries left out, with the reason
}

func (p *program) snapshot(c *cli.Context) error {
	list, err := args(c, 1, 1)
	if err != nil {
		return err
	}
	root, err := filepath.Abs(list[0])
	if err != nil {
		return err
	}
	out := &snapshotResult{Type: "snapshot", Manifest: c.String("output"), Skipped: []string{}}
	m, err := p.collectTree(c, root, out)
	if err != nil {
		return err
	}
	hashed, err := p.store(c, m, out)
	if err != nil {
		return err
	}
	rel, err := ops.Subtree(hashed, manifest.NormalizePath(root), ops.CollapseEscaping)
	if err != nil {
		return err
	}
	out.Files, out.Dirs, out.Bytes = len(rel.Files), len(rel.Dirs), rel.TotalSize()
	return p.writeManifest(c, rel, func(h manifest.Hash) error {
		out.Hash = h
		p.note("%s, %s; %s uploaded", count(out.Files, "file"), size(out.Bytes), size(out.UploadedBytes))
		if p.json {
			return p.emit(out)
		}
		return nil
	})
}

// collectTree lists the tree. Entries that no manifest can hold are left out, with a
// warning and exit code 3.
func (p *program) collectTree(c *cli.Context, root string, out *snapshotResult) (*manifest.AbsSnapshot, error) {
	policy, err := ops.ParseSymlinkPolicy(c.String("symlinks"))
	if err != nil {
		return nil, usage("--symlinks: %v", strings.TrimPrefix(err.Error(), manifest.ErrInvalid.Error()+": "))
	}
	chunk, err := chunkSizeOf(c)
	if err != nil {
		return nil, err
	}
	m, err := ops.Collect(c.Context, []string{root}, ops.CollectOptions{
		Symlinks: policy, ChunkSize: chunk,
		Skipped: func(path string, reason error) {
			out.Skipped = append(out.Skipped, fmt.Sprintf("%s: %v", path, reason))
		},
	})
	if err != nil {
		return nil, err
	}
	for _, s := range out.Skipped {
		p.warn("left out: %s", s)
	}
	if len(out.Skipped) > 0 {
		p.code = failure.Partial
	}
	return m, nil
}

// store hashes the files of m, and uploads them unless --no-upload is given.
func (p *program) store(c *cli.Context, m *manifest.AbsSnapshot, out *snapshotResult) (*manifest.AbsSnapshot, error) {
	if c.Bool("no-upload") {
		hashed, stats, err := ops.Hash(c.Context, m, ops.HashOptions{ForceRehash: c.Bool("force-rehash")})
		out.HashedBytes = stats.HashedBytes
		return hashed, err
	}
	store, err := openStore(c.Context, c, true)
	if err != nil {
		return nil, err
	}
	hashed, stats, err := ops.HashUpload(c.Context, m, store, ops.UploadOptions{ForceRehash: c.Bool("force-rehash")})
	out.HashedBytes, out.UploadedBytes = stats.HashedBytes, stats.UploadedBytes
	return hashed, err
}

// writeManifest encodes m, writes it where --output says, and calls then with the
// hash of the text. With the manifest on stdout nothing else may go there.
func (p *program) writeManifest(c *cli.Context, m manifest.Any, then func(manifest.Hash) error) error {
	text, err := docs.Encode(m, manifest.Format(c.String("format")))
	if err != nil {
		return err
	}
	if err := p.docs(c).Write(c.Context, c.String("output"), text); err != nil {
		return err
	}
	if c.String("output") == "-" {
		return nil
	}
	return then(manifest.Sum(text))
}
