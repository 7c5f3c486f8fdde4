package main

import (
	"strings"

	"github.com/snapfs/snapfs/blobstore"
	"github.com/snapfs/snapfs/cmd/snapfs/internal/failure"
	"github.com/snapfs/snapfs/cmd/snapfs/internal/stores"
	"github.com/snapfs/snapfs/cmd/snapfs/internal/verbs"
	"github.com/snapfs/snapfs/manifest"
	"github.com/snapfs/snapfs/ops"
	"github.com/urfave/cli/v2"
)

func (p *program) downloadCommand() *cli.Command {
	return &cli.Command{
		Name:      "download",
		Usage:     "make the files of a manifest",
		ArgsUsage: "MANIFEST [DIR]",
		Description: "Makes the tree of a relative manifest in DIR, equal to what a mount shows; a diff is applied to\n" +
			"what is there. An absolute manifest goes to its own paths, and takes no DIR. Files that are right\n" +
			"already are not fetched, so that an interrupted download goes on where it stopped. Nothing is\n" +
			"written through a symbolic link.",
		Flags: append(append([]cli.Flag{
			&cli.StringFlag{Name: "conflict", Value: ops.Overwrite.String(), Usage: "what becomes of files that are there and differ: overwrite, skip or create-copy"},
			&cli.BoolFlag{Name: "no-deletes", Usage: "leave alone what a diff says is deleted"},
			&cli.StringFlag{Name: "symlinks", Value: ops.Preserve.String(), Usage: "preserve, or exclude-all to make no links"},
			&cli.StringFlag{Name: "manifest-out", Usage: "write the `MANIFEST` of what was made, with the times and names that the files have"},
			formatFlag(),
		}, workFlags()...), storeFlags()...),
		Action: p.download,
	}
}

// downloadResult is the result of download.
type downloadResult struct {
	Type            string        `json:"type"` // always "download"
	Name            string        `json:"manifest"`
	Dir             string        `json:"dir,omitempty"` // of a relative manifest
	Files           int64         `json:"files"`         // regular files of the manifest
	Bytes           int64         `json:"bytes"`
	DownloadedFiles int64         `json:"downloaded_files"`
	DownloadedBytes int64         `json:"downloaded_bytes"`
	SkippedFiles    int64         `json:"skipped_files"` // right already, or kept by --conflict skip
	SkippedBytes    int64         `json:"skipped_bytes"`
	Links           int64         `json:"links"`
	CreatedDirs     int64         `json:"created_dirs"`
	DeletedFiles    int64         `json:"deleted_files"`
	DeletedDirs     int64         `json:"deleted_dirs"`
	KeptDirs        int64         `json:"kept_dirs"` // deleted by the diff, but not empty
	ManifestOut     string        `json:"manifest_out,omitempty"`
	Hash            manifest.Hash `json:"manifest_out_hash,omitempty"`
	Seconds         float64       `json:"seconds"`
}

func (p *program) download(c *cli.Context) error {
	list, err := args(c, 1, 2)
	if err != nil {
		return err
	}
	dir := ""
	if len(list) == 2 {
		dir = list[1]
	}
	opts, err := downloadOptions(c)
	if err != nil {
		return err
	}
	in, err := p.read(c, list[0])
	if err != nil {
		return err
	}
	store, err := openStore(c.Context, c, false)
	if err != nil {
		return err
	}
	out, stats, err := p.runDownload(c, in, dir, store, opts)
	if err != nil {
		return err
	}
	v := downloaded(in.Name, dir, stats)
	if v.ManifestOut = c.String("manifest-out"); v.ManifestOut != "" {
		w, err := p.writeTo(c, v.ManifestOut, out)
		if err != nil {
			return err
		}
		v.Hash = w.Hash
	}
	if v.ManifestOut == "-" {
		return nil
	}
	return p.result(v, func() error {
		p.note("downloaded %s (%s) in %.2f s; %s (%s) right already", count(int(v.DownloadedFiles), "file"), size(v.DownloadedBytes),
			v.Seconds, count(int(v.SkippedFiles), "file"), size(v.SkippedBytes))
		return nil
	})
}

// downloaded is the result for what was done.
func downloaded(name, dir string, stats ops.DownloadStats) downloadResult {
	return downloadResult{
		Type: "download", Name: name, Dir: dir, Files: stats.TotalFiles, Bytes: stats.TotalBytes,
		DownloadedFiles: stats.DownloadedFiles, DownloadedBytes: stats.DownloadedBytes,
		SkippedFiles: stats.SkippedFiles, SkippedBytes: stats.SkippedBytes, Links: stats.Links, CreatedDirs: stats.CreatedDirs,
		DeletedFiles: stats.DeletedFiles, DeletedDirs: stats.DeletedDirs, KeptDirs: stats.KeptDirs, Seconds: stats.Elapsed.Seconds(),
	}
}

func (p *program) runDownload(c *cli.Context, in verbs.Named, dir string, store blobstore.Store, opts ops.DownloadOptions) (manifest.Any, ops.DownloadStats, error) {
	hashes, closeHashes := p.hashCache(c)
	defer closeHashes()
	opts.Cache, opts.Progress = hashes, new(ops.Progress)
	defer p.screen(c).Watch("downloading", "file", opts.Progress.Counts)()
	return verbs.Download(c.Context, in.Manifest, dir, store, opts)
}

func downloadOptions(c *cli.Context) (opts ops.DownloadOptions, err error) {
	if opts.Conflict, err = ops.ParseConflictPolicy(c.String("conflict")); err != nil {
		return opts, usage("--conflict: %s", strings.TrimPrefix(err.Error(), manifest.ErrInvalid.Error()+": "))
	}
	switch policy := c.String("symlinks"); policy {
	case ops.Preserve.String():
		opts.Symlinks = ops.Preserve
	case ops.ExcludeAll.String():
		opts.Symlinks = ops.ExcludeAll
	default:
		return opts, usage("--symlinks of download is preserve or exclude-all, not %q", policy)
	}
	work, err := contentOf(c)
	if err != nil {
		return opts, err
	}
	opts.Workers, opts.MaxMemory, opts.KeepDeleted = work.workers, work.memory, c.Bool("no-deletes")
	return opts, nil
}

func (p *program) cacheSyncCommand() *cli.Command {
	return &cli.Command{
		Name:      "cache-sync",
		Usage:     "copy the contents that manifests name from one store to another",
		ArgsUsage: "MANIFEST…",
		Description: "Copies what the store --to lacks; buckets copy on the server where they can. Contents that are\n" +
			"there already are skipped, so that an interrupted run goes on where it stopped.",
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "from", Usage: "`URL` of the store to copy from"},
			&cli.StringFlag{Name: "to", Usage: "`URL` of the store to copy to"},
			&cli.IntFlag{Name: "workers", Usage: "how many contents are copied at once (default: 10)"},
			&cli.StringFlag{Name: "max-memory", Usage: "limit of the memory for contents, like 1GiB (default: 64MiB)"},
		}, s3Flags()...),
		Action: p.cacheSync,
	}
}

// syncResult is the result of cache-sync.
type syncResult struct {
	Type         string   `json:"type"` // always "cache-sync"
	Manifests    []string `json:"manifests"`
	Blobs        int64    `json:"blobs"`
	Bytes        int64    `json:"bytes"`
	CopiedBlobs  int64    `json:"copied_blobs"`
	CopiedBytes  int64    `json:"copied_bytes"`
	SkippedBlobs int64    `json:"skipped_blobs"` // there already
	SkippedBytes int64    `json:"skipped_bytes"`
	Seconds      float64  `json:"seconds"`
}

func (p *program) cacheSync(c *cli.Context) error {
	list, err := args(c, 1, -1)
	if err != nil {
		return err
	}
	if c.String("from") == "" || c.String("to") == "" {
		return usage("cache-sync needs both --from URL and --to URL")
	}
	work, err := contentOf(c)
	if err != nil {
		return err
	}
	in, err := p.readAll(c, list)
	if err != nil {
		return err
	}
	ms := make([]manifest.Any, len(in))
	for i := range in {
		ms[i] = in[i].Manifest
	}
	from, err := stores.Open(c.Context, c.String("from"), s3Of(c), false)
	if err != nil {
		return failure.Named(c.String("from"), err)
	}
	to, err := stores.Open(c.Context, c.String("to"), s3Of(c), true)
	if err != nil {
		return failure.Named(c.String("to"), err)
	}
	opts := ops.SyncOptions{Workers: work.workers, MaxMemory: work.memory, Progress: new(ops.Progress)}
	stop := p.screen(c).Watch("copying", "blob", opts.Progress.Counts)
	stats, err := ops.CacheSync(c.Context, from, to, ms, opts)
	stop()
	if err != nil {
		return err
	}
	v := syncResult{
		Type: "cache-sync", Manifests: list, Blobs: stats.TotalObjects, Bytes: stats.TotalBytes,
		CopiedBlobs: stats.CopiedObjects, CopiedBytes: stats.CopiedBytes,
		SkippedBlobs: stats.SkippedObjects, SkippedBytes: stats.SkippedBytes, Seconds: stats.Elapsed.Seconds(),
	}
	return p.result(v, func() error {
		p.note("copied %s (%s) in %.2f s; %s (%s) there already", count(int(v.CopiedBlobs), "content"), size(v.CopiedBytes),
			v.Seconds, count(int(v.SkippedBlobs), "content"), size(v.SkippedBytes))
		return nil
	})
}
