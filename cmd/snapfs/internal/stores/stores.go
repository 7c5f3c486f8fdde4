// Package stores opens the stores that the command line names.
package stores

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/snapfs/snapfs/blobstore"
	"github.com/snapfs/snapfs/blobstore/dirstore"
	"github.com/snapfs/snapfs/blobstore/s3store"
	"github.com/snapfs/snapfs/cmd/snapfs/internal/dirs"
	"github.com/snapfs/snapfs/cmd/snapfs/internal/failure"
)

// S3 is what the command line can say about any bucket, beside its URL.
type S3 struct {
	Profile             string `json:"profile,omitempty"`
	Region              string `json:"region,omitempty"`
	Endpoint            string `json:"endpoint,omitempty"`
	PathStyle           bool   `json:"pathStyle,omitempty"`
	ExpectedBucketOwner string `json:"expectedBucketOwner,omitempty"`
	SSE                 string `json:"sse,omitempty"`
	KMSKeyID            string `json:"kmsKeyId,omitempty"`
	StorageClass        string `json:"storageClass,omitempty"`
	RequesterPays       bool   `json:"requesterPays,omitempty"`
	CABundle            string `json:"caBundle,omitempty"`
	NoSignRequest       bool   `json:"noSignRequest,omitempty"`
	MaxAttempts         int    `json:"maxAttempts,omitempty"`
}

// config merges what the URL says with the flags; the URL wins.
func (s S3) config(loc blobstore.Location) s3store.Config {
	c := s3store.FromLocation(loc)
	if c.Region == "" {
		c.Region = s.Region
	}
	if c.Endpoint == "" {
		c.Endpoint = s.Endpoint
	}
	if c.ExpectedBucketOwner == "" {
		c.ExpectedBucketOwner = s.ExpectedBucketOwner
	}
	c.PathStyle = c.PathStyle || s.PathStyle
	c.Profile, c.CABundle, c.NoSignRequest = s.Profile, s.CABundle, s.NoSignRequest
	c.SSE, c.KMSKeyID, c.StorageClass = s.SSE, s.KMSKeyID, s.StorageClass
	c.RequesterPays, c.MaxAttempts = s.RequesterPays, s.MaxAttempts
	return c
}

// Objects is a bucket for objects that are not blobs.
type Objects interface {
	GetObject(ctx context.Context, key string) (io.ReadCloser, int64, error)
	PutObject(ctx context.Context, key string, p []byte) error
}

// Expirer is a store whose credentials end at a known time.
type Expirer interface {
	CredentialsExpire(ctx context.Context) (time.Time, bool)
}

// OpenObjects opens the bucket of loc.
func OpenObjects(ctx context.Context, loc blobstore.Location, s S3) (Objects, error) {
	return s3store.Open(ctx, s.config(loc))
}

// Open opens the store at url. An empty url is the default: a directory in the data
// directory of the user, made on first use. Other directories must exist already
// unless create is set.
func Open(ctx context.Context, url string, s S3, create bool) (blobstore.Store, error) {
	if url == "" {
		dir, err := dirs.Store()
		if err != nil {
			return nil, err
		}
		return dirstore.Open(dir, dirstore.Options{Create: true})
	}
	loc, err := blobstore.ParseURL(url)
	if err != nil {
		return nil, &failure.Error{Code: failure.Usage, Message: err.Error(), Err: err}
	}
	if !loc.IsS3() {
		return dirstore.Open(loc.Path, dirstore.Options{Create: create})
	}
	store, err := s3store.Open(ctx, s.config(loc))
	if err != nil {
		return nil, fmt.Errorf("open store %s: %w", loc, err)
	}
	return store, nil
}

// Absolute returns the URL of a store in a form that means the same in another
// working directory.
func Absolute(url string) (string, error) {
	if url == "" {
		return dirs.Store()
	}
	loc, err := blobstore.ParseURL(url)
	if err != nil {
		return "", &failure.Error{Code: failure.Usage, Message: err.Error(), Err: err}
	}
	if loc.IsS3() {
		return url, nil
	}
	return filepath.Abs(loc.Path)
}
