package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/snapfs/snapfs/cmd/snapfs/internal/content"
	"github.com/snapfs/snapfs/cmd/snapfs/internal/failure"
	"github.com/snapfs/snapfs/cmd/snapfs/internal/inspect"
	"github.com/snapfs/snapfs/manifest"
	"github.com/snapfs/snapfs/ops"
	"github.com/urfave/cli/v2"
)

func (p *program) manifestCommand() *cli.Command {
	return &cli.Command{
		Name:  "manifest",
		Usage: "look into manifests, check and convert them",
		Subcommands: []*cli.Command{
			p.showCommand(), p.lsCommand(), p.catCommand(), p.duCommand(),
			p.validateCommand(), p.verifyCommand(), p.convertCommand(), p.sumCommand(),
		},
	}
}

func (p *program) showCommand() *cli.Command {
	return &cli.Command{
		Name:      "show",
		Usage:     "say what a manifest is and holds",
		ArgsUsage: "MANIFEST",
		Flags:     s3Flags(),
		Action:    p.show,
	}
}

func (p *program) show(c *cli.Context) error {
	list, err := args(c, 1, 1)
	if err != nil {
		return err
	}
	in, err := p.read(c, list[0])
	if err != nil {
		return err
	}
	s := inspect.Summarize(in.Name, in.Document)
	return p.result(s, func() error { return p.printSummary(s) })
}

func (p *program) printSummary(s inspect.Summary) error {
	var b strings.Builder
	line(&b, "manifest   %s", shown(s.Name))
	line(&b, "kind       %s (%s)", s.Kind, s.Format)
	line(&b, "hash       %s (%s of text)", s.Hash, size(s.TextSize))
	if s.ParentHash != "" {
		line(&b, "parent     %s", s.ParentHash)
	}
	if s.Root != "" {
		line(&b, "root       %s", shown(s.Root))
	}
	line(&b, "files      %s, %s, %s", count(s.Files, "file"), count(s.Links, "link"), count(s.Dirs, "directory"))
	if s.DeletedFiles+s.DeletedDirs > 0 {
		line(&b, "deleted    %s, %s", count(s.DeletedFiles, "file"), count(s.DeletedDirs, "directory"))
	}
	line(&b, "size       %s (%s bytes)", size(s.Bytes), humanize.Comma(s.Bytes))
	line(&b, "contents   %s, %s", count(s.Blobs, "blob"), size(s.BlobBytes))
	if s.Unhashed > 0 {
		line(&b, "unhashed   %s", count(s.Unhashed, "file"))
	}
	if s.ChunkSize == manifest.WholeFile {
		line(&b, "chunks     none")
	} else {
		line(&b, "chunks     of %s", size(s.ChunkSize))
	}
	_, err := fmt.Fprint(p.stdout, b.String())
	return err
}

func (p *program) lsCommand() *cli.Command {
	return &cli.Command{
		Name:        "ls",
		Usage:       "list the entries of a manifest",
		ArgsUsage:   "MANIFEST [PATH]",
		Description: "Lists everything, or what lies at PATH and below it, sorted. Directories end in a slash.\n" + globHelp,
		Flags: append([]cli.Flag{
			&cli.BoolFlag{Name: "long", Aliases: []string{"l"}, Usage: "show sizes, times (UTC) and the targets of links"},
			&cli.StringSliceFlag{Name: "glob", Usage: "list only paths that match `GLOB` (repeatable)"},
		}, s3Flags()...),
		Action: p.ls,
	}
}

func (p *program) ls(c *cli.Context) error {
	list, err := args(c, 1, 2)
	if err != nil {
		return err
	}
	globs, err := ops.NewGlobFilter(c.StringSlice("glob"), nil)
	if err != nil {
		return badArgument(err)
	}
	in, err := p.read(c, list[0])
	if err != nil {
		return err
	}
	entries := inspect.Of(in.Manifest)
	below := inspect.Below("")
	if len(list) == 2 {
		if below = inspect.Below(list[1]); !entries.Holds(list[1]) {
			return noEntry(in.Name, list[1])
		}
	}
	for e := range entries.Entries(func(path string) bool { return below(path) && globs.Match(path) }) {
		err := p.result(e, func() error { return p.print("%s", entryLine(&e, c.Bool("long"))) })
		if err != nil {
			return err
		}
	}
	return nil
}

func noEntry(name, path string) error {
	return &failure.Error{
		Code: failure.NotFound, Path: path, Message: fmt.Sprintf("%s has no entry %s", name, shown(path)),
		Hint: "snapfs manifest ls " + name + " lists what there is",
	}
}

// entryLine is one line of ls.
func entryLine(e *inspect.Entry, long bool) string {
	name := shown(e.Path)
	if e.Type == inspect.TypeDir {
		name += "/"
	}
	if !long {
		return name
	}
	if e.Target != "" {
		name += " -> " + shown(e.Target)
	}
	when := "-"
	if e.Type == inspect.TypeFile && !e.Deleted {
		when = time.UnixMicro(e.ModTime).UTC().Format("2006-01-02T15:04:05.000000Z")
	}
	return fmt.Sprintf("%s %14d  %-27s  %s", mode(e), e.Size, when, name)
}

// mode is like the first column of ls -l, with D for a deletion.
func mode(e *inspect.Entry) string {
	switch {
	case e.Deleted:
		return "D---------"
	case e.Type == inspect.TypeDir:
		return "drwxr-xr-x"
	case e.Type == inspect.TypeLink:
		return "lrwxrwxrwx"
	case e.Runnable:
		return "-rwxr-xr-x"
	}
	return "-rw-r--r--"
}

func (p *program) catCommand() *cli.Command {
	return &cli.Command{
		Name:      "cat",
		Usage:     "write the content of a file in a manifest to stdout",
		ArgsUsage: "MANIFEST PATH",
		Description: "The content comes from the store and is verified: when it is damaged, the command fails before\n" +
			"the last bytes are written. Links are followed within the manifest.",
		Flags:  storeFlags(),
		Action: p.cat,
	}
}

func (p *program) cat(c *cli.Context) error {
	list, err := args(c, 2, 2)
	if err != nil {
		return err
	}
	in, err := p.read(c, list[0])
	if err != nil {
		return err
	}
	entries := inspect.Of(in.Manifest)
	file, err := entries.File(list[1])
	if err != nil {
		return failure.Named(in.Name, err)
	}
	store, err := openStore(c.Context, c, false)
	if err != nil {
		return err
	}
	return content.Write(c.Context, p.stdout, store, file, entries.ChunkSize)
}

func (p *program) duCommand() *cli.Command {
	return &cli.Command{
		Name:      "du",
		Usage:     "sum up the sizes of the files in the directories of a manifest",
		ArgsUsage: "MANIFEST [PATH]",
		Flags: append([]cli.Flag{
			&cli.IntFlag{Name: "depth", Aliases: []string{"d"}, Value: 1, Usage: "how many levels of directories to show; -1 for all"},
		}, s3Flags()...),
		Action: p.du,
	}
}

func (p *program) du(c *cli.Context) error {
	list, err := args(c, 1, 2)
	if err != nil {
		return err
	}
	in, err := p.read(c, list[0])
	if err != nil {
		return err
	}
	entries := inspect.Of(in.Manifest)
	top := "."
	if in.Manifest.IsAbs() {
		top = "/"
	}
	if len(list) == 2 {
		if top = list[1]; !entries.Holds(top) {
			return noEntry(in.Name, top)
		}
	}
	for _, u := range entries.DiskUsage(top, c.Int("depth")) {
		err := p.result(u, func() error {
			return p.print("%10s  %10s  %s", size(u.Bytes), count(u.Files, "file"), shown(u.Path))
		})
		if err != nil {
			return err
		}
	}
	return nil
}
