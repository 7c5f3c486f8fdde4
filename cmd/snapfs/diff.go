package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/dustin/go-humanize"
	"github.com/snapfs/snapfs/cmd/snapfs/internal/compare"
	"github.com/snapfs/snapfs/cmd/snapfs/internal/failure"
	"github.com/snapfs/snapfs/cmd/snapfs/internal/inspect"
	"github.com/snapfs/snapfs/cmd/snapfs/internal/trees"
	"github.com/snapfs/snapfs/cmd/snapfs/internal/verbs"
	"github.com/snapfs/snapfs/manifest"
	"github.com/snapfs/snapfs/ops"
	"github.com/urfave/cli/v2"
)

func (p *program) diffCommand() *cli.Command {
	return &cli.Command{
		Name:      "diff",
		Usage:     "show what differs between two trees, or write it as a diff manifest",
		ArgsUsage: "A B",
		Description: "A and B are snapshots, directories or mounts. Prints a line for each path that is added (A),\n" +
			"modified (M), deleted (D) or of another type (T) in B. Files are equal when size, time, execute bit\n" +
			"and, where both are known, hash are equal.\n\n" +
			"With -o, writes the diff manifest that leads from snapshot A to snapshot B instead.\n\n" +
			globHelp + " A directory that matches stands for all that lies below it.",
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "write the diff `MANIFEST`: to a file, - for stdout, or s3://bucket/key"},
			formatFlag(),
			&cli.BoolFlag{Name: "stat", Usage: "print only how much differs"},
			&cli.BoolFlag{Name: "exit-code", Usage: "exit 4 when anything differs"},
			&cli.BoolFlag{Name: "checksum", Usage: "let contents decide and not times; reads the files of directories"},
			&cli.BoolFlag{Name: "ignore-hashes", Usage: "compare sizes and times only"},
			&cli.BoolFlag{Name: "preserve-runnable", Usage: "do not compare execute bits; a diff manifest takes those of A"},
			&cli.StringFlag{Name: "parent-hash", Value: "auto", Usage: "hash of the parent in the diff manifest: auto (of the text of A), none, or 32 hexadecimal digits"},
			&cli.StringSliceFlag{Name: "include", Aliases: []string{"i"}, Usage: "compare only paths that match `GLOB` (repeatable)"},
			&cli.StringSliceFlag{Name: "exclude", Aliases: []string{"e"}, Usage: "do not compare paths that match `GLOB` (repeatable)"},
			symlinksFlag(),
			&cli.BoolFlag{Name: "no-hash-cache", Usage: "neither use nor fill the cache of the hashes of files"},
		}, s3Flags()...),
		Action: p.diff,
	}
}

// side is one of the two trees that diff compares.
type side struct {
	verbs.Named
	isDir    bool // a directory, which has no document
	contents inspect.Contents
}

func (p *program) diff(c *cli.Context) error {
	list, err := args(c, 2, 2)
	if err != nil {
		return err
	}
	if c.Bool("checksum") && (c.Bool("ignore-hashes") || c.String("output") != "") {
		return usage("--checksum goes neither with --ignore-hashes nor with -o")
	}
	opts, err := treeOptions(c)
	if err != nil {
		return err
	}
	sides, err := p.openSides(c, list)
	if err != nil {
		return err
	}
	for i := range sides {
		if sides[i].isDir {
			if err := p.listSide(c, &sides[i], sides[1-i], opts); err != nil {
				return err
			}
			continue
		}
		if !opts.Select.All() {
			doc := *sides[i].Document
			doc.Manifest = verbs.Filter(doc.Manifest, opts.Select.Keep)
			sides[i].Document = &doc
		}
		sides[i].contents = inspect.Of(sides[i].Manifest)
	}
	changes := compare.Trees(sides[0].contents, sides[1].contents, compare.Options{
		IgnoreHashes: c.Bool("ignore-hashes"), IgnoreTimes: c.Bool("checksum"), IgnoreRunnable: c.Bool("preserve-runnable"),
	})
	summary := compare.Summarize(changes)
	if c.Bool("exit-code") && summary.Any() && p.code == failure.OK {
		p.code = failure.Differences
	}
	if c.String("output") != "" {
		return p.writeDiff(c, sides, summary)
	}
	return p.printChanges(c, changes, summary)
}

// openSides finds out what the arguments are, and reads the manifests.
func (p *program) openSides(c *cli.Context, list []string) ([]side, error) {
	sides := make([]side, len(list))
	var names []string
	for i, arg := range list {
		if info, err := os.Stat(arg); err == nil && info.IsDir() {
			sides[i] = side{Named: verbs.Named{Name: arg}, isDir: true}
			continue
		}
		names = append(names, arg)
	}
	if c.String("output") != "" && len(names) < len(list) {
		return nil, &failure.Error{
			Code: failure.Usage, Message: "a diff manifest is made from two manifests, not from directories",
			Hint: "make a manifest of the directory first: snapfs snapshot DIR -o MANIFEST",
		}
	}
	docs, err := p.readAll(c, names)
	if err != nil {
		return nil, err
	}
	for i := range sides {
		if !sides[i].isDir {
			sides[i].Named, docs = docs[0], docs[1:]
		}
	}
	return sides, verbs.Comparable(snapshots(sides)...)
}

func snapshots(sides []side) (list []verbs.Named) {
	for _, s := range sides {
		if !s.isDir {
			list = append(list, s.Named)
		}
	}
	return list
}

// listSide lists a directory, with the paths that the other side has.
func (p *program) listSide(c *cli.Context, s *side, other side, opts trees.Options) error {
	if !other.isDir {
		opts.ChunkSize = inspect.Of(other.Manifest).ChunkSize
	}
	tree, err := p.collectTree(c, s.Name, opts)
	if err != nil {
		return err
	}
	m := tree.Manifest
	if c.Bool("checksum") {
		hashes, closeHashes := p.hashCache(c)
		defer closeHashes()
		progress := new(ops.Progress)
		defer p.screen(c).Watch("hashing", "file", progress.Counts)()
		if m, _, err = ops.Hash(c.Context, m, ops.HashOptions{Cache: hashes, Progress: progress}); err != nil {
			return err
		}
	}
	if !other.isDir && other.Manifest.IsAbs() {
		s.contents = inspect.Of(m)
		return nil
	}
	rel, err := tree.Relative(m)
	if err != nil {
		return err
	}
	s.contents = inspect.Of(rel)
	return nil
}

// printChanges prints the changes, a line each. The summary follows under --json, and is
// all that is printed with --stat.
func (p *program) printChanges(c *cli.Context, changes []compare.Change, summary compare.Summary) error {
	if !c.Bool("stat") {
		for i := range changes {
			err := p.result(changes[i], func() error { return p.print("%s", diffLine(&changes[i])) })
			if err != nil {
				return err
			}
		}
	}
	return p.result(summary, func() error {
		if c.Bool("stat") {
			return p.print("%s", statLine(summary))
		}
		return nil
	})
}

func diffLine(c *compare.Change) string {
	if c.IsDir() {
		return c.Change + " " + shown(c.Path) + "/"
	}
	return c.Change + " " + shown(c.Path)
}

func statLine(s compare.Summary) string {
	return fmt.Sprintf("%s added, %s modified, %s deleted, %s of another type; +%s, -%s", humanize.Comma(int64(s.Added)),
		humanize.Comma(int64(s.Modified)), humanize.Comma(int64(s.Deleted)), humanize.Comma(int64(s.TypeChanged)),
		size(s.AddedBytes), size(s.DeletedBytes))
}

// diffResult is the result of diff -o.
type diffResult struct {
	written
	ParentHash  manifest.Hash `json:"parent_hash,omitempty"`
	Added       int           `json:"added"`
	Modified    int           `json:"modified"`
	Removed     int           `json:"removed"` // deleted paths; written has the deletions in the manifest
	TypeChanged int           `json:"type_changed"`
}

// writeDiff writes the diff manifest.
func (p *program) writeDiff(c *cli.Context, sides []side, summary compare.Summary) error {
	parentHash, err := parentHashOf(c, sides[0])
	if err != nil {
		return err
	}
	m, err := verbs.Diff(sides[0].Named, sides[1].Named, ops.DiffOptions{
		ParentHash: parentHash, IgnoreHashes: c.Bool("ignore-hashes"), PreserveRunnable: c.Bool("preserve-runnable"),
	})
	if err != nil {
		return err
	}
	w, err := p.write(c, m)
	if err != nil {
		return err
	}
	return p.report(w, diffResult{
		written: w, ParentHash: parentHash, Added: summary.Added, Modified: summary.Modified, Removed: summary.Deleted,
		TypeChanged: summary.TypeChanged,
	})
}

func parentHashOf(c *cli.Context, parent side) (manifest.Hash, error) {
	switch text := c.String("parent-hash"); text {
	case "auto":
		return parent.Hash, nil
	case "none", "":
		return "", nil
	default:
		hash, err := manifest.ParseHash(text)
		if err != nil {
			return "", usage("--parent-hash: %s", strings.TrimPrefix(err.Error(), manifest.ErrInvalid.Error()+": "))
		}
		return hash, nil
	}
}
