package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/snapfs/snapfs/cache"
	"github.com/snapfs/snapfs/cmd/snapfs/internal/dirs"
	"github.com/snapfs/snapfs/cmd/snapfs/internal/failure"
	"github.com/snapfs/snapfs/cmd/snapfs/internal/mountd"
	"github.com/urfave/cli/v2"
)

func (p *program) cacheCommand() *cli.Command {
	return &cli.Command{
		Name:        "cache",
		Usage:       "look at what mounts have fetched, and remove it",
		Subcommands: []*cli.Command{p.cacheInfoCommand(), p.cacheVerifyCommand(), p.cachePruneCommand(), p.cacheClearCommand()},
	}
}

func cacheDirFlag() cli.Flag {
	return &cli.StringFlag{Name: "cache-dir", Usage: "`DIR` of the cache (default: the one for all mounts of this user)"}
}

func cacheDir(c *cli.Context) (string, error) {
	if dir := c.String("cache-dir"); dir != "" {
		return filepath.Abs(dir)
	}
	return dirs.Cache()
}

func (p *program) cacheInfoCommand() *cli.Command {
	return &cli.Command{
		Name:   "info",
		Usage:  "say where the caches are and what they hold",
		Flags:  []cli.Flag{cacheDirFlag()},
		Action: p.cacheInfo,
	}
}

// cacheState is the result of cache info.
type cacheState struct {
	Type         string     `json:"type"` // always "cache"
	Dir          string     `json:"dir"`
	Blobs        int        `json:"blobs"` // complete contents
	BlobBytes    int64      `json:"blob_bytes"`
	Partial      int        `json:"partial"` // contents of which some blocks are there
	PartialBytes int64      `json:"partial_bytes"`
	Databases    []database `json:"databases"` // shared with the Deadline tools
}

// database is one of the caches in SQLite.
type database struct {
	Path  string `json:"path"`
	Bytes int64  `json:"bytes"`
}

func (p *program) cacheInfo(c *cli.Context) error {
	if _, err := args(c, 0, 0); err != nil {
		return err
	}
	dir, err := cacheDir(c)
	if err != nil {
		return err
	}
	u, err := cache.Inspect(dir)
	if err != nil {
		return failure.Named(dir, err)
	}
	v := cacheState{
		Type: "cache", Dir: dir, Blobs: u.Blobs, BlobBytes: u.BlobBytes, Partial: u.Partial, PartialBytes: u.PartialBytes,
	}
	if v.Databases, err = databases(); err != nil {
		return err
	}
	return p.result(v, func() error {
		var b strings.Builder
		line(&b, "contents   %s", shown(v.Dir))
		line(&b, "           %s (%s), %s of others", count(v.Blobs, "blob"), size(v.BlobBytes), size(v.PartialBytes))
		for _, d := range v.Databases {
			line(&b, "database   %s (%s)", shown(d.Path), size(d.Bytes))
		}
		_, err := fmt.Fprint(p.stdout, b.String())
		return err
	})
}

func databases() ([]database, error) {
	dir, err := cache.DefaultDir()
	if err != nil {
		return nil, err
	}
	list := []database{}
	for _, name := range []string{"hash_cache.db", "s3_check_cache.db"} {
		path := filepath.Join(dir, name)
		info, err := os.Stat(path)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		list = append(list, database{Path: path, Bytes: info.Size()})
	}
	return list, nil
}

func (p *program) cachePruneCommand() *cli.Command {
	return &cli.Command{
		Name:  "prune",
		Usage: "remove what was not used for longest, down to a size",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "max-size", Usage: "`SIZE` that may be left, like 50GiB"},
			cacheDirFlag(),
		},
		Action: func(c *cli.Context) error {
			if c.String("max-size") == "" {
				return usage("cache prune needs --max-size SIZE; snapfs cache clear removes everything")
			}
			keep, err := sizeFlag(c, "max-size")
			if err != nil {
				return err
			}
			return p.prune(c, keep)
		},
	}
}

func (p *program) cacheClearCommand() *cli.Command {
	return &cli.Command{
		Name:        "clear",
		Usage:       "remove everything that mounts have fetched",
		Description: "What mounts have open stays; they go on undisturbed. The databases stay, too.",
		Flags:       []cli.Flag{cacheDirFlag()},
		Action:      func(c *cli.Context) error { return p.prune(c, 0) },
	}
}

// pruned is the result of cache prune and cache clear.
type pruned struct {
	Type         string `json:"type"` // "cache-prune" or "cache-clear"
	Dir          string `json:"dir"`
	RemovedFiles int    `json:"removed_files"`
	RemovedBytes int64  `json:"removed_bytes"`
	KeptBytes    int64  `json:"kept_bytes"`
}

func (p *program) prune(c *cli.Context, keep int64) error {
	if _, err := args(c, 0, 0); err != nil {
		return err
	}
	dir, err := cacheDir(c)
	if err != nil {
		return err
	}
	done, err := cache.Prune(c.Context, dir, keep)
	if err == nil && keep == 0 {
		err = mountd.ClearIndexes(dir)
	}
	if err != nil {
		return failure.Named(dir, err)
	}
	v := pruned{
		Type: "cache-" + c.Command.Name, Dir: dir, RemovedFiles: done.Files, RemovedBytes: done.Bytes, KeptBytes: done.Kept,
	}
	return p.result(v, func() error {
		p.note("removed %s (%s); %s left", count(v.RemovedFiles, "file"), size(v.RemovedBytes), size(v.KeptBytes))
		return nil
	})
}
