package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/snapfs/snapfs/cmd/snapfs/internal/docs"
	"github.com/snapfs/snapfs/cmd/snapfs/internal/failure"
	"github.com/snapfs/snapfs/cmd/snapfs/internal/verbs"
	"github.com/snapfs/snapfs/manifest"
	"github.com/snapfs/snapfs/ops"
	"github.com/urfave/cli/v2"
)

// globHelp explains the dialect of globs.
const globHelp = "In a GLOB, * and ? match any characters, slashes too; **/ any directories; [abc], [!abc] one\n" +
	"character. It must match the whole path."

// writeFlags are the flags of commands that write a manifest.
func writeFlags(more ...cli.Flag) []cli.Flag {
	return append(append([]cli.Flag{outputFlag(), formatFlag()}, more...), s3Flags()...)
}

func (p *program) composeCommand() *cli.Command {
	return &cli.Command{
		Name:      "compose",
		Usage:     "apply diffs to a manifest",
		ArgsUsage: "BASE [DIFF…]",
		Description: "Applies the diffs in order. A snapshot as BASE gives the snapshot that results; a diff gives\n" +
			"one diff with the effect of all.",
		Flags:  writeFlags(),
		Action: p.compose,
	}
}

func (p *program) compose(c *cli.Context) error {
	list, err := args(c, 1, -1)
	if err != nil {
		return err
	}
	in, err := p.readAll(c, list)
	if err != nil {
		return err
	}
	if len(in) > 1 {
		p.warnParent(in[0], in[1])
	}
	out, err := verbs.Compose(in[0], in[1:])
	if err != nil {
		return err
	}
	w, err := p.write(c, out)
	if err != nil {
		return err
	}
	return p.report(w, w)
}

// warnParent tells people when a diff says that it was made for another snapshot.
func (p *program) warnParent(base, diff verbs.Named) {
	if base.Manifest.IsDiff() {
		return
	}
	var parent manifest.Hash
	switch d := diff.Manifest.(type) {
	case *manifest.SnapshotDiff:
		parent = d.ParentHash
	case *manifest.AbsSnapshotDiff:
		parent = d.ParentHash
	}
	if parent != "" && parent != base.Hash {
		p.warn("%s was made for another manifest (hash %s), not for %s (%s)", diff.Name, parent, base.Name, base.Hash)
	}
}

func (p *program) filterCommand() *cli.Command {
	return &cli.Command{
		Name:      "filter",
		Usage:     "keep the entries of a manifest whose paths match",
		ArgsUsage: "MANIFEST",
		Description: "Keeps what matches any --include, or all without one, less what matches any --exclude.\n" +
			"Each entry is judged by its own path: directories that are listed do not stand for their files.\n" + globHelp,
		Flags: writeFlags(
			&cli.StringSliceFlag{Name: "include", Aliases: []string{"i"}, Usage: "keep paths that match `GLOB` (repeatable)"},
			&cli.StringSliceFlag{Name: "exclude", Aliases: []string{"e"}, Usage: "drop paths that match `GLOB` (repeatable)"},
		),
		Action: p.filter,
	}
}

func (p *program) filter(c *cli.Context) error {
	list, err := args(c, 1, 1)
	if err != nil {
		return err
	}
	globs, err := ops.NewGlobFilter(c.StringSlice("include"), c.StringSlice("exclude"))
	if err != nil {
		return badArgument(err)
	}
	return p.transform(c, list[0], func(_ context.Context, in verbs.Named) (manifest.Any, error) {
		return verbs.Filter(in.Manifest, globs.Keep), nil
	})
}

func (p *program) subtreeCommand() *cli.Command {
	return &cli.Command{
		Name:      "subtree",
		Usage:     "make a relative manifest of what lies below a path",
		ArgsUsage: "MANIFEST PATH",
		Description: "PATH is absolute for an absolute manifest, and relative otherwise. Links that lead out of it\n" +
			"are treated as --symlinks says, within the manifest: no file is looked at.",
		Flags:  writeFlags(subtreeLinksFlag()),
		Action: p.subtree,
	}
}

func subtreeLinksFlag() cli.Flag {
	return &cli.StringFlag{
		Name: "symlinks", Value: ops.CollapseEscaping.String(),
		Usage: "`POLICY` for symbolic links: collapse-escaping, collapse-all, exclude-escaping, exclude-all",
	}
}

func (p *program) subtree(c *cli.Context) error {
	list, err := args(c, 2, 2)
	if err != nil {
		return err
	}
	policy, err := policyOf(c)
	if err != nil {
		return err
	}
	return p.transform(c, list[0], func(_ context.Context, in verbs.Named) (manifest.Any, error) {
		out, err := verbs.Subtree(in.Manifest, list[1], policy)
		if errors.Is(err, manifest.ErrInvalid) {
			return nil, badArgument(err)
		}
		return out, err
	})
}

func (p *program) joinCommand() *cli.Command {
	return &cli.Command{
		Name:        "join",
		Usage:       "put everything in a relative manifest below a path",
		ArgsUsage:   "MANIFEST PREFIX",
		Description: "An absolute PREFIX gives an absolute manifest, a relative one a relative manifest.",
		Flags:       writeFlags(),
		Action:      p.join,
	}
}

func (p *program) join(c *cli.Context) error {
	list, err := args(c, 2, 2)
	if err != nil {
		return err
	}
	return p.transform(c, list[0], func(_ context.Context, in verbs.Named) (manifest.Any, error) {
		out, err := verbs.Join(in.Manifest, list[1])
		if err == nil {
			err = out.CheckSafe() // a prefix may hold ".."
		}
		if errors.Is(err, manifest.ErrInvalid) {
			return nil, badArgument(err)
		}
		return out, err
	})
}

func (p *program) partitionCommand() *cli.Command {
	return &cli.Command{
		Name:      "partition",
		Usage:     "cut a snapshot into subtrees",
		ArgsUsage: "MANIFEST",
		Description: "Makes one relative manifest for each --root, and for what they do not cover one for each\n" +
			"deepest common directory. They are written to the directory -o as 1.json, 2.json, …, and listed\n" +
			"on stdout; without -o, --json prints them all as one array.",
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "`DIR` for the manifests, made when it does not exist"},
			formatFlag(),
			&cli.StringSliceFlag{Name: "root", Usage: "`PATH` of a subtree of its own (repeatable)"},
			&cli.StringSliceFlag{Name: "referenced-path", Usage: "`PATH` of a directory to cover although it holds nothing yet (repeatable)"},
			subtreeLinksFlag(),
		}, s3Flags()...),
		Action: p.partition,
	}
}

// part is one line of partition -o DIR --json.
type part struct {
	written
	Root string `json:"root"`
}

// inlinePart is one element of what partition --json prints without -o.
type inlinePart struct {
	Root     string          `json:"root"`
	Manifest json.RawMessage `json:"manifest"`
}

func (p *program) partition(c *cli.Context) error {
	list, err := args(c, 1, 1)
	if err != nil {
		return err
	}
	dir := c.String("output")
	if dir == "" && !p.json {
		return usage("partition writes several manifests: give a directory with -o, or print them with --json")
	}
	policy, err := policyOf(c)
	if err != nil {
		return err
	}
	in, err := p.read(c, list[0])
	if err != nil {
		return err
	}
	parts, err := verbs.Partition(in.Manifest, ops.PartitionOptions{
		Roots: c.StringSlice("root"), ReferencedPaths: c.StringSlice("referenced-path"), Symlinks: policy,
	})
	if errors.Is(err, manifest.ErrInvalid) {
		return badArgument(err)
	}
	if err != nil {
		return err
	}
	if dir == "" {
		return p.printParts(c, parts)
	}
	return p.writeParts(c, dir, parts)
}

func (p *program) printParts(c *cli.Context, parts []ops.Part) error {
	list := make([]inlinePart, len(parts))
	for i, one := range parts {
		encoded, err := docs.Encode(one.Manifest, manifest.Format(c.String("format")))
		if err != nil {
			return failure.Named(one.Root, err)
		}
		list[i] = inlinePart{one.Root, encoded}
	}
	return p.emit(list)
}

func (p *program) writeParts(c *cli.Context, dir string, parts []ops.Part) error {
	if !strings.Contains(dir, "://") {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	for i, one := range parts {
		w, err := p.writeTo(c, fmt.Sprintf("%s/%d.json", strings.TrimSuffix(dir, "/"), i+1), one.Manifest)
		if err != nil {
			return failure.Named(one.Root, err)
		}
		err = p.result(part{w, one.Root}, func() error { return p.print("%s\t%s", w.Name, shown(one.Root)) })
		if err != nil {
			return err
		}
	}
	return nil
}
