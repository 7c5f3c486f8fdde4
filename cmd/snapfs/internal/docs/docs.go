// Package docs reads and writes manifests wherever the command line lets them be: in
// files, on stdin and stdout, and in S3.
package docs

import (
	"context"
	"errors"
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
	type outcome struct {
		doc *manifest.Document
		err error
	}
	ch := make(chan outcome, 1)
	go func() {
		doc, err := d.read(ctx, arg)
		ch <- outcome{doc, err}
	}()
	select {
	case o := <-ch:
		if o.err != nil {
			return nil, failure.Named(arg, o.err)
		}
		return o.doc, nil
	case <-ctx.Done(): // a terminal or a pipe may be silent for ever, and cannot be interrupted
		return nil, ctx.Err()
	}
}

func (d *IO) read(ctx context.Context, arg string) (*manifest.Document, error) {
	switch {
	case arg == "-":
		return manifest.DecodeDocument(d.Stdin, manifest.DecodeOptions{})
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
		defer body.Close()
		return manifest.DecodeDocument(body, manifest.DecodeOptions{})
	}
	return manifest.ReadFile(arg)
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
// durably: readers see the old or the new text.
func (d *IO) Write(ctx context.Context, dest string, text []byte) error {
	var err error
	switch {
	case dest == "-":
		_, err = d.Stdout.Write(text)
	case strings.HasPrefix(dest, "s3://"):
		var store stores.Objects
		var key string
		if store, key, err = d.object(ctx, dest); err == nil {
			err = store.PutObject(ctx, key, text)
		}
	default:
		err = WriteFile(dest, text)
	}
	if err != nil {
		return failure.Named(dest, err)
	}
	return nil
}

// WriteFile replaces a file at once and durably.
func WriteFile(path string, text []byte) error {
	if err := renameio.WriteFile(path, text, 0o644); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}
