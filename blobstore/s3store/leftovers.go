package s3store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/snapfs/snapfs/blobstore"
)

// clearTimeout bounds how long a Put looks for what killed ones have left of its blob.
const clearTimeout = 5 * time.Second

// Clean implements blobstore.Cleaner: it removes uploads in parts of blobs of this store
// that began longer ago than age. Their writers were killed, most likely; S3 keeps the
// parts, and charges for them.
func (s *Store) Clean(ctx context.Context, age time.Duration) (removed int, err error) {
	before := time.Now().Add(-age)
	err = s.unfinished(ctx, s.prefix(), func(u types.MultipartUpload) error {
		key := blobstore.Key(strings.TrimPrefix(aws.ToString(u.Key), s.prefix()))
		if key.Check() != nil || aws.ToTime(u.Initiated).After(before) {
			return nil
		}
		removed++
		return s.abandon(ctx, u)
	})
	if err != nil {
		return removed, fmt.Errorf("clean store %s: %w", s.Location(), err)
	}
	return removed, nil
}

// unfinished calls fn for each upload in parts of an object whose key starts with prefix.
func (s *Store) unfinished(ctx context.Context, prefix string, fn func(types.MultipartUpload) error) error {
	pages := s3.NewListMultipartUploadsPaginator(s.client, &s3.ListMultipartUploadsInput{Bucket: &s.cfg.Bucket, Prefix: &prefix})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return classify(ctx, err)
		}
		for _, u := range page.Uploads {
			if err := fn(u); err != nil {
				return err
			}
		}
	}
	return nil
}

// abandon removes an upload in parts. One that is gone by now is a success.
func (s *Store) abandon(ctx context.Context, u types.MultipartUpload) error {
	_, err := s.client.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: &s.cfg.Bucket, Key: u.Key, UploadId: u.UploadId})
	if err = classify(ctx, err); is(err, "NoSuchUpload") {
		return nil
	}
	return err
}

// clear removes the uploads that killed writers have left of an object that is complete
// now: those with no parts but such as we make. A writer that is alive and one of us finds
// its upload gone and the object in place, which is a success (see finished). Other tools
// make other parts; their uploads are left to Clean. There is nobody to tell when this
// fails.
func (s *Store) clear(ctx context.Context, object string, parts []part) {
	ctx, cancel := context.WithTimeout(ctx, clearTimeout)
	defer cancel()
	_ = s.unfinished(ctx, object, func(u types.MultipartUpload) error {
		if aws.ToString(u.Key) != object || !s.isOurs(ctx, u, parts) {
			return nil
		}
		return s.abandon(ctx, u)
	})
}

// isOurs reports whether an upload has no parts but such as we would make.
func (s *Store) isOurs(ctx context.Context, u types.MultipartUpload, parts []part) bool {
	out, err := s.client.ListParts(ctx, &s3.ListPartsInput{Bucket: &s.cfg.Bucket, Key: u.Key, UploadId: u.UploadId})
	if err != nil {
		return false
	}
	for _, p := range out.Parts {
		n := int(aws.ToInt32(p.PartNumber))
		if n < 1 || n > len(parts) || aws.ToInt64(p.Size) != parts[n-1].n {
			return false
		}
	}
	return true
}

// finished returns nil when err says that an upload is gone and the object is in place:
// another writer of the same blob was faster, or the response to our own last request
// was lost and it was repeated.
func (s *Store) finished(ctx context.Context, object string, err error) error {
	// A server may not read to its end what it refuses, and then the answer is lost.
	if !is(err, "NoSuchUpload") && !errors.Is(err, blobstore.ErrUnavailable) {
		return err
	}
	if _, e := s.head(ctx, object); e != nil {
		return err
	}
	return nil
}
