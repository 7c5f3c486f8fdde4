// Package s3store keeps blobs as objects of a bucket on Amazon S3, or on a server
// that speaks its protocol.
//
// The blob lies at <prefix>/<hash>.xxh128, where the Deadline tools look for it
// (spec/caches.md §3). Blobs are verified while they are sent, and an upload in
// parts is completed only when every part was right; nothing is buffered whole.
// Streams that break off, or from which nothing comes for 15 s, are resumed. Requests are
// repeated by the SDK, in one place, a bounded number of times, with waits that end at
// 2 s, so that the end of an outage is noticed soon. Credentials that the server refuses
// are read again where they came from. A cancelled context ends every call within two
// seconds; what an upload in parts had sent is removed first.
package s3store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/snapfs/snapfs/blobstore"
)

// Store is a blobstore.Store in a bucket. It must be made by Open.
type Store struct {
	cfg      Config
	client   *s3.Client
	identity *identity
	retries  blobstore.Tally

	bucketSeen    atomic.Bool // the bucket is known to exist
	unconditional atomic.Bool // the server does not know If-None-Match
}

var (
	_ blobstore.Store   = (*Store)(nil)
	_ blobstore.Copier  = (*Store)(nil)
	_ blobstore.Lister  = (*Store)(nil)
	_ blobstore.Deleter = (*Store)(nil)
	_ blobstore.Cleaner = (*Store)(nil)
	_ blobstore.Locator = (*Store)(nil)
	_ blobstore.Retrier = (*Store)(nil)
)

// Open returns the store that c describes. It reads the AWS configuration and asks
// no server; Check does.
func Open(ctx context.Context, c Config) (*Store, error) {
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("open S3 store: %w", err)
	}
	c = c.withDefaults()
	s := &Store{cfg: c}
	var err error
	if s.client, s.identity, err = c.newClient(ctx, &s.retries); err != nil {
		return nil, fmt.Errorf("open store %s: %w", c.location(), err)
	}
	return s, nil
}

// Check asks the server whether the bucket is there and may be used: the error is
// blobstore.ErrNoStore, ErrPermission or ErrUnavailable if not. It needs the
// permission s3:ListBucket, which reading and writing blobs does not.
func (s *Store) Check(ctx context.Context) error {
	if err := s.headBucket(ctx); err != nil {
		return fmt.Errorf("check store %s: %w", s.Location(), err)
	}
	return nil
}

func (s *Store) headBucket(ctx context.Context) error {
	_, err := s.client.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: &s.cfg.Bucket})
	err = classify(ctx, err)
	if errors.Is(err, blobstore.ErrNotFound) {
		return blobstore.ErrNoStore
	}
	return err
}

// Location implements blobstore.Locator. ParseURL and FromLocation lead back to
// the store.
func (s *Store) Location() string { return s.cfg.location().String() }

// objectKey returns the key of the object that holds a blob.
func (s *Store) objectKey(key blobstore.Key) string { return s.prefix() + string(key) }

// prefix returns what the keys of all blobs start with; an empty prefix has no
// slash (spec/gaps.md G-41).
func (s *Store) prefix() string {
	if s.cfg.Prefix == "" {
		return ""
	}
	return s.cfg.Prefix + "/"
}

// wrap says what failed, for which blob and where.
func (s *Store) wrap(op string, key blobstore.Key, err error) error {
	return fmt.Errorf("%s blob %s in s3://%s: %w", op, key, strings.TrimSuffix(s.cfg.Bucket+"/"+s.cfg.Prefix, "/"), err)
}

func check(ctx context.Context, key blobstore.Key) error {
	if err := key.Check(); err != nil {
		return err
	}
	return ctx.Err()
}

// Stat implements blobstore.Store.
func (s *Store) Stat(ctx context.Context, key blobstore.Key) (blobstore.Info, error) {
	if err := check(ctx, key); err != nil {
		return blobstore.Info{}, s.wrap("stat", key, err)
	}
	size, err := s.head(ctx, s.objectKey(key))
	if err != nil {
		return blobstore.Info{}, s.wrap("stat", key, err)
	}
	return blobstore.Info{Size: size}, nil
}

// head returns the size of an object.
func (s *Store) head(ctx context.Context, object string) (int64, error) {
	out, err := s.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &s.cfg.Bucket, Key: &object})
	switch err := classify(ctx, err); {
	case errors.Is(err, blobstore.ErrNotFound):
		return 0, s.whyNotFound(ctx, err)
	case err != nil:
		return 0, err
	case out.ContentLength == nil:
		return 0, fmt.Errorf("%w: the server does not say how long the object is", blobstore.ErrUnavailable)
	}
	s.bucketSeen.Store(true)
	return *out.ContentLength, nil
}

// whyNotFound tells a missing object from a missing bucket, which HEAD cannot: once
// in the life of the store it asks for the bucket. Without permission for that, the
// object it is.
func (s *Store) whyNotFound(ctx context.Context, notFound error) error {
	if s.bucketSeen.Load() {
		return notFound
	}
	err := s.headBucket(ctx)
	if errors.Is(err, blobstore.ErrNoStore) {
		return err
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	s.bucketSeen.Store(true)
	return notFound
}

// List implements blobstore.Lister.
func (s *Store) List(ctx context.Context, fn func(blobstore.Key, blobstore.Info) error) error {
	prefix := s.prefix()
	pages := s3.NewListObjectsV2Paginator(s.client, &s3.ListObjectsV2Input{
		Bucket:    &s.cfg.Bucket,
		Prefix:    &prefix,
		Delimiter: aws.String("/"),
	})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return fmt.Errorf("list store %s: %w", s.Location(), classify(ctx, err))
		}
		for _, object := range page.Contents {
			key := blobstore.Key(strings.TrimPrefix(aws.ToString(object.Key), prefix))
			if key.Check() != nil {
				continue
			}
			if err := fn(key, blobstore.Info{Size: aws.ToInt64(object.Size)}); err != nil {
				return err
			}
		}
	}
	return nil
}

// Delete implements blobstore.Deleter.
func (s *Store) Delete(ctx context.Context, key blobstore.Key) error {
	if err := check(ctx, key); err != nil {
		return s.wrap("delete", key, err)
	}
	object := s.objectKey(key)
	_, err := s.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &s.cfg.Bucket, Key: &object})
	if err := classify(ctx, err); err != nil && !errors.Is(err, blobstore.ErrNotFound) {
		return s.wrap("delete", key, err)
	}
	return nil
}
