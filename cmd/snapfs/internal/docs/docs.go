// Package docs reads and writes manifests wherever the command line lets them be: in
// files, on stdin and stdout, and in S3.
package docs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/renameio/v2"
	"github.com/snapfs/snapfs/blobstore"
	"github.com/snapfs/snapfs/cmd/snapfs/internal/failure"
	"github.com/snapfs/snapfs/cmd/snapfs/internal/stores"
	"github.com/snapfs/snapfs/manifest"
)

// IO reads and writes manifests.
type IO struct {
	S3     stores.S3 // how to reach buckets
	Stdin  io.Reader
	Stdout io.Writer
}

// Read decodes the manifest that arg names: a file, "-" for stdin, or
// s3://bucket/key.
func (d *IO) Read(ctx context.Context, arg string) (*manifest.Document, error) {
	return d.read(ctx, arg, func(text io.Reader) (*manifest.Document, error) {
		return manifest.DecodeDocument(text, manifest.DecodeOptions{})
	})
}

// Visit hands the entries of the manifest that arg names to v (see manifest.Visit).
func (d *IO) Visit(ctx context.Context, arg string, v manifest.Visitor) (*manifest.Document, error) {
	return d.read(ctx, arg, func(text io.Reader) (*manifest.Document, error) {
		return manifest.Visit(text, manifest.DecodeOptions{}, v)
	})
}

// read calls decode with the text of the manifest that arg names. It does not wait for it
// when ctx ends: a terminal or a pipe may be silent for ever, and cannot be interrupted.
func (d *IO) read(ctx context.Context, arg string, decode func(io.Reader) (*manifest.Document, error)) (*manifest.Document, error) {
	type outcome struct {
		doc *manifest.Document
		err error
	}
	ch := make(chan outcome, 1)
	go func() {
		text, err := d.Open(ctx, arg)
		if err != nil {
			ch <- outcome{nil, err}
			return
		}
		defer text.Close()
		doc, err := decode(text)
		if err != nil && arg != "-" {
			err = fmt.Errorf("read manifest %s: %w", arg, err)
		}
		ch <- outcome{doc, err}
	}()
	select {
	case o := <-ch:
		if o.err != nil {
			return nil, failure.Named(arg, o.err)
		}
		return o.doc, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Open opens the text that arg names.
func (d *IO) Open(ctx context.Context, arg string) (io.ReadCloser, error) {
	switch {
	case arg == "-":
		return io.NopCloser(d.Stdin), nil
	case strings.HasPrefix(arg, "s3://"):
		store, key, err := d.object(ctx, arg)
		if err != nil {
			return nil, err
		}
		body, _, err := store.GetObject(ctx, key)
		if errors.Is(err, blobstore.ErrNotFound) {
			return nil, &failure.Error{Code: failure.NotFound, Path: arg, Message: "there is no object " + arg, Err: err}
		}
		if err != nil {
			return nil, err
		}
		return body, nil
	}
	if fi, err := os.Stat(arg); err == nil && fi.IsDir() {
		return nil, &failure.Error{
			Code: failure.Usage, Path: arg, Message: arg + " is a directory, not a manifest",
			Hint: "make a manifest of it with: snapfs snapshot " + arg + " -o MANIFEST",
		}
	}
	return os.Open(arg)
}

// object opens the bucket of an s3:// URL and returns the key in it.
func (d *IO) object(ctx context.Context, arg string) (stores.Objects, string, error) {
	loc, err := blobstore.ParseURL(arg)
	if err != nil {
		return nil, "", err
	}
	if loc.Prefix == "" {
		return nil, "", &failure.Error{Code: failure.Usage, Message: arg + " names a bucket but no object in it"}
	}
	key := loc.Prefix
	loc.Prefix = ""
	store, err := stores.OpenObjects(ctx, loc, d.S3)
	return store, key, err
}

// Write puts the text of a manifest where dest says. A file is replaced at once and
// durably: readers see the old or the new text. A pipe or a device is written to.
func (d *IO) Write(ctx context.Context, dest string, text []byte) error {
	return d.writeFrom(ctx, dest, func(w io.Writer) error {
		_, err := w.Write(text)
		return err
	})
}

// WriteManifest is Write of the text of m, and returns the hash of the text. To files
// and to stdout the text goes as it is made: it is never in memory as a whole.
func (d *IO) WriteManifest(ctx context.Context, dest string, m manifest.Any, format manifest.Format) (manifest.Hash, error) {
	hasher := manifest.NewHasher()
	err := d.writeFrom(ctx, dest, func(w io.Writer) error {
		return EncodeTo(io.MultiWriter(hasher, w), m, format)
	})
	return hasher.Hash(), err
}

// writeFrom is Write of what text writes.
func (d *IO) writeFrom(ctx context.Context, dest string, text func(io.Writer) error) error {
	var err error
	switch {
	case dest == "-":
		err = text(d.Stdout)
	case strings.HasPrefix(dest, "s3://"):
		err = d.writeObject(ctx, dest, text)
	default:
		err = replaceFile(dest, text)
	}
	var own *failure.Error
	switch {
	case err == nil, errors.Is(err, manifest.ErrInvalid), errors.As(err, &own):
		return err // about the manifest, not about where it goes
	}
	return failure.Named(dest, err)
}

func (d *IO) writeObject(ctx context.Context, dest string, text func(io.Writer) error) error {
	var b bytes.Buffer
	if err := text(&b); err != nil {
		return err
	}
	store, key, err := d.object(ctx, dest)
	if err == nil {
		err = store.PutObject(ctx, key, b.Bytes())
	}
	if err != nil {
		return failure.Named(dest, err)
	}
	return nil
}

// WriteFile replaces a file at once and durably.
func WriteFile(path string, text []byte) error {
	return replaceFile(path, func(w io.Writer) error {
		_, err := w.Write(text)
		return err
	})
}

// replaceFile is WriteFile of what text writes. When that fails nothing is left of it.
func replaceFile(name string, text func(io.Writer) error) error {
	at, err := placeOf(name)
	if err != nil {
		return err
	}
	if at.special {
		return writeSpecial(at.path, text)
	}
	file, err := renameio.NewPendingFile(at.path, renameio.WithPermissions(0o644), renameio.WithExistingPermissions())
	if err != nil {
		return unhide(name, err)
	}
	defer func() { _ = file.Cleanup() }()
	if err := text(file); err != nil {
		return unhide(name, err)
	}
	if err := file.CloseAtomicallyReplace(); err != nil {
		return unhide(name, err)
	}
	return syncDir(at.path)
}

// Rename gives a file in the same directory another name, durably.
func Rename(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return err
	}
	return syncDir(to)
}

// syncDir makes the names in the directory of a file durable.
func syncDir(path string) error {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}
