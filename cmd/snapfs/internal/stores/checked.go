package stores

import (
	"errors"

	"github.com/snapfs/snapfs/blobstore"
	"github.com/snapfs/snapfs/cache"
)

// Checked returns the store at url so that it remembers, between runs, which contents
// a bucket holds; force asks the bucket all the same. Close writes what is remembered.
// The error, and that of close, are about the memory only: the store works without.
func Checked(store blobstore.Store, url string, force bool) (s blobstore.Store, close func() error, err error) {
	none := func() error { return nil }
	loc, err := blobstore.ParseURL(url)
	if err != nil || !loc.IsS3() {
		return store, none, nil // a directory is asked as quickly as a database
	}
	checks, err := cache.OpenCheckCache("")
	if err != nil {
		return store, none, err
	}
	return cache.Checked(store, checks, cache.CheckOptions{Bucket: loc.Bucket, Prefix: loc.Prefix, Force: force}), checks.Close, nil
}

// LostContents reports whether an upload failed because the bucket had lost contents
// that were remembered to be there. They are forgotten then, and the upload can be
// repeated.
func LostContents(err error) bool {
	var missing *cache.MissingError
	return errors.As(err, &missing)
}
