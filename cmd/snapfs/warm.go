package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/snapfs/snapfs/cmd/snapfs/internal/failure"
	"github.com/snapfs/snapfs/cmd/snapfs/internal/mountd"
	"github.com/snapfs/snapfs/cmd/snapfs/internal/trees"
	"github.com/snapfs/snapfs/cmd/snapfs/internal/warm"
	"github.com/snapfs/snapfs/manifest"
	"github.com/urfave/cli/v2"
)

func (p *program) warmCommand() *cli.Command {
	return &cli.Command{
		Name:      "warm",
		Usage:     "fetch contents into the cache before they are read",
		ArgsUsage: "MNT|MANIFEST [PATH…]",
		Description: "Fetches what a mount at MNT, or one of MANIFEST, would fetch: everything, or the files at or below\n" +
			"the PATHs, those that match a glob, or what a trace names (see mount --trace), in its order. What the\n" +
			"cache has is not fetched again, so that an interrupted run goes on where it stopped.\n\n" + globHelp,
		Flags: append([]cli.Flag{
			&cli.StringSliceFlag{Name: "glob", Usage: "fetch files whose path matches `GLOB` (repeatable)"},
			&cli.StringFlag{Name: "trace", Usage: "fetch what this `FILE` names"},
			&cli.StringSliceFlag{Name: "diff", Usage: "diff `MANIFEST` to apply to MANIFEST, in order (repeatable)"},
			cacheDirFlag(),
			&cli.StringFlag{Name: "cache-size", Usage: "limit of the cache, like 50GiB (default: none)"},
			&cli.StringFlag{Name: "cache-min-free", Usage: "space that the cache leaves free on its disk (default: 1GiB, or 5% of a small disk)"},
		}, storeFlags()...),
		Action: p.warm,
	}
}

// warmed is the result of warm.
type warmed struct {
	Type         string  `json:"type"` // always "warm"
	Source       string  `json:"source"`
	Files        int     `json:"files"` // of which something was asked for
	Bytes        int64   `json:"bytes"` // that were asked for
	FetchedBytes int64   `json:"fetched_bytes"`
	Requests     int64   `json:"fetch_requests"`
	Missing      int     `json:"missing"` // files of the trace that the manifest lacks
	Seconds      float64 `json:"seconds"`
}

func (p *program) warm(c *cli.Context) error {
	list, err := args(c, 1, -1)
	if err != nil {
		return err
	}
	if c.String("trace") != "" && len(list[1:])+len(c.StringSlice("glob")) > 0 {
		return usage("--trace names the files itself; it goes with neither PATH nor --glob")
	}
	cfg, err := p.warmConfig(c, list[0])
	if err != nil {
		return err
	}
	start := time.Now()
	session, err := mountd.OpenSession(c.Context, cfg, p.docs(c), p.logger(false))
	if err != nil {
		return err
	}
	v := warmed{Type: "warm", Source: list[0]}
	ranges, err := p.toWarm(c, session, list[1:], &v)
	if err == nil {
		err = p.runWarm(c, session, ranges)
	}
	stats := session.Cache.Stats()
	if err := errors.Join(err, session.Close()); err != nil {
		return err
	}
	v.FetchedBytes, v.Requests, v.Seconds = stats.FetchedBytes, stats.Requests, time.Since(start).Seconds()
	return p.result(v, func() error {
		p.note("%s of %s are there now; %s fetched in %s, %.2f s", size(v.Bytes), count(v.Files, "file"), size(v.FetchedBytes),
			count(int(v.Requests), "request"), v.Seconds)
		return nil
	})
}

// warmConfig returns how a mount at arg, or of arg, reads.
func (p *program) warmConfig(c *cli.Context, arg string) (cfg mountd.Config, err error) {
	if info, err := os.Stat(arg); err == nil && info.IsDir() {
		dir, err := mountd.Canonical(arg)
		if err != nil {
			return cfg, err
		}
		client, err := mountd.Find(dir)
		if err != nil {
			return cfg, err
		}
		return client.ReadingConfig(c.Context)
	}
	cfg = mountd.Config{Store: c.String("store"), S3: s3Of(c), ReadOnly: true}
	if cfg.Manifests, err = absoluteManifests(slices.Concat([]string{arg}, c.StringSlice("diff"))); err != nil {
		return cfg, err
	}
	if cfg.CacheDir, err = cacheDir(c); err != nil {
		return cfg, err
	}
	if cfg.CacheSize, err = sizeFlag(c, "cache-size"); err != nil {
		return cfg, err
	}
	cfg.Reading.MinFree, err = sizeFlag(c, "cache-min-free")
	return cfg, err
}

// toWarm returns what is to be fetched.
func (p *program) toWarm(c *cli.Context, s *mountd.Session, paths []string, v *warmed) ([]warm.Range, error) {
	var ranges []warm.Range
	if name := c.String("trace"); name != "" {
		touches, err := mountd.ReadTrace(name)
		if err != nil {
			return nil, err
		}
		if ranges, v.Missing = warm.Traced(touches, s.Tree.Base().File); v.Missing > 0 {
			p.note("%s of the trace are not in the manifest", count(v.Missing, "file"))
		}
	} else {
		files, err := selected(s.Tree.Base().Snapshot().Files, paths, c.StringSlice("glob"))
		if err != nil {
			return nil, err
		}
		ranges = warm.Whole(files)
	}
	seen := map[string]bool{}
	for i := range ranges {
		seen[ranges[i].File.Path] = true
		v.Bytes += ranges[i].N
	}
	v.Files = len(seen)
	if limit := s.Config.CacheSize; limit > 0 && v.Bytes > limit {
		p.warn("the cache is limited to %s, and %s are to be fetched: what comes first may be evicted again", size(limit), size(v.Bytes))
	}
	return ranges, nil
}

// selected returns the files at or below one of the paths, or matching one of the globs;
// all of them when there is neither.
func selected(files []manifest.File, paths, globs []string) ([]manifest.File, error) {
	if len(paths)+len(globs) == 0 {
		return files, nil
	}
	match := func(string) bool { return false }
	if len(globs) > 0 {
		selection, err := trees.NewSelection(globs, nil)
		if err != nil {
			return nil, badArgument(err)
		}
		match = selection.Match
	}
	found := make([]bool, len(paths))
	var list []manifest.File
	for i := range files {
		take := match(files[i].Path)
		for k, path := range paths {
			if _, below := manifest.Within(files[i].Path, manifest.NormalizePath(path)); below || files[i].Path == manifest.NormalizePath(path) {
				take, found[k] = true, true
			}
		}
		if take {
			list = append(list, files[i])
		}
	}
	if k := slices.Index(found, false); k >= 0 {
		return nil, &failure.Error{
			Code: failure.NotFound, Path: paths[k], Message: fmt.Sprintf("the manifest has no files at or below %s", shown(paths[k])),
			Hint: "paths are relative to the root of the manifest; snapfs manifest ls lists them",
		}
	}
	return list, nil
}

func (p *program) runWarm(c *cli.Context, s *mountd.Session, ranges []warm.Range) error {
	var progress warm.Progress
	defer p.screen(c).Watch("fetching", "range", progress.Counts)()
	return warm.Run(c.Context, s.Cache, s.Tree.Base().ChunkSize(), ranges, &progress)
}
