package main

import (
	"context"

	"github.com/snapfs/snapfs/blobstore"
	"github.com/snapfs/snapfs/cmd/snapfs/internal/verbs"
	"github.com/snapfs/snapfs/manifest"
	"github.com/snapfs/snapfs/ops"
	"github.com/urfave/cli/v2"
)

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
