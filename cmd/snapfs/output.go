package main

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/snapfs/snapfs/cmd/snapfs/internal/docs"
	"github.com/snapfs/snapfs/cmd/snapfs/internal/inspect"
	"github.com/snapfs/snapfs/cmd/snapfs/internal/verbs"
	"github.com/snapfs/snapfs/manifest"
	"github.com/urfave/cli/v2"
	"golang.org/x/sync/errgroup"
)

// read reads the manifest that arg names, and passes its warnings on.
func (p *program) read(c *cli.Context, arg string) (verbs.Named, error) {
	doc, err := p.docs(c).Read(c.Context, arg)
	if err != nil {
		return verbs.Named{}, err
	}
	n := verbs.Named{Name: arg, Document: doc}
	p.passOn(n)
	return n, nil
}

// readAll reads several manifests. Stdin can be one of them only.
func (p *program) readAll(c *cli.Context, names []string) ([]verbs.Named, error) {
	if i := slices.Index(names, "-"); i >= 0 && slices.Contains(names[i+1:], "-") {
		return nil, usage("only one manifest can be read from stdin")
	}
	list := make([]verbs.Named, len(names))
	group, ctx := errgroup.WithContext(c.Context)
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i, name := range names {
		group.Go(func() error {
			doc, err := p.docs(c).Read(ctx, name)
			list[i] = verbs.Named{Name: name, Document: doc}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	for _, n := range list {
		p.passOn(n)
	}
	return list, nil
}

// passOn tells people what is odd about a manifest.
func (p *program) passOn(n verbs.Named) {
	for _, w := range n.Warnings() {
		p.warn("%s: %s", n.Name, w)
	}
}

// written describes a manifest that was written: the result under --json of the
// commands that write one. They embed it and add their own figures.
type written struct {
	Type    string          `json:"type"` // name of the command
	Name    string          `json:"manifest"`
	Kind    string          `json:"kind"`
	Format  manifest.Format `json:"format"`
	Hash    manifest.Hash   `json:"manifest_hash"`
	Files   int             `json:"files"` // live regular ones
	Links   int             `json:"links"`
	Dirs    int             `json:"dirs"`
	Deleted int             `json:"deleted"`
	Bytes   int64           `json:"bytes"`
}

// write encodes m and writes it where --output says.
func (p *program) write(c *cli.Context, m manifest.Any) (written, error) {
	return p.writeTo(c, c.String("output"), m)
}

func (p *program) writeTo(c *cli.Context, dest string, m manifest.Any) (written, error) {
	format := manifest.Format(c.String("format"))
	hash, err := p.docs(c).WriteManifest(c.Context, dest, m, format)
	if err != nil {
		return written{}, err
	}
	losses, err := docs.Losses(m, format)
	if err != nil {
		return written{}, err
	}
	for _, loss := range losses {
		p.warn("%s cannot hold %s", format, loss)
	}
	return describe(c.Command.Name, dest, format, m, hash), nil
}

func describe(command, dest string, format manifest.Format, m manifest.Any, hash manifest.Hash) written {
	w := written{
		Type: command, Name: dest, Kind: manifest.KindOf(m), Format: format, Hash: hash, Bytes: m.TotalSize(),
	}
	entries := inspect.Of(m)
	for i := range entries.Files {
		switch f := &entries.Files[i]; {
		case f.Deleted:
			w.Deleted++
		case f.IsLink():
			w.Links++
		default:
			w.Files++
		}
	}
	for _, d := range entries.Dirs {
		if d.Deleted {
			w.Deleted++
		} else {
			w.Dirs++
		}
	}
	return w
}

// report prints v, the result of a command that wrote w: as JSON, or as a sentence for
// people. With the manifest on stdout nothing else may go there.
func (p *program) report(w written, v any) error {
	if w.Name == "-" {
		return nil
	}
	if p.json {
		return p.emit(v)
	}
	p.note("wrote %s: %s", w.Name, w.summary())
	return nil
}

func (w *written) summary() string {
	parts := []string{count(w.Files, "file"), count(w.Links, "link"), count(w.Dirs, "directory")}
	if w.Deleted > 0 {
		parts = append(parts, count(w.Deleted, "deletion"))
	}
	return strings.Join(append(parts, size(w.Bytes)), ", ")
}

// transform is the body of commands that read one manifest and write another.
func (p *program) transform(c *cli.Context, arg string, f func(context.Context, verbs.Named) (manifest.Any, error)) error {
	in, err := p.read(c, arg)
	if err != nil {
		return err
	}
	out, err := f(c.Context, in)
	if err != nil {
		return err
	}
	w, err := p.write(c, out)
	if err != nil {
		return err
	}
	return p.report(w, w)
}

// shown returns a path as it goes into text for people: quoted when it holds what
// would garble a terminal or a list.
func shown(path string) string {
	if q := strconv.Quote(path); q != `"`+path+`"` && !printable(path) {
		return q
	}
	return path
}

func printable(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r != ' ' && !strconv.IsPrint(r) })
}

// badArgument turns an error about a manifest into one of usage, where the manifest
// is known to be good and only the arguments can be at fault.
func badArgument(err error) error {
	if err == nil {
		return nil
	}
	return usage("%s", strings.TrimPrefix(err.Error(), manifest.ErrInvalid.Error()+": "))
}

// line is one line of text on stdout.
func line(b *strings.Builder, format string, args ...any) { fmt.Fprintf(b, format+"\n", args...) }
