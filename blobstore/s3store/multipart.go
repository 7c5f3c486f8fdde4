package s3store

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/zeebo/xxh3"
	"golang.org/x/sync/errgroup"

	"github.com/snapfs/snapfs/blobstore"
	"github.com/snapfs/snapfs/blobstore/internal/blobio"
)

// Time to remove what an upload in parts has sent: in all, in all after a cancelled
// context, when the caller must not wait for long, and until parts that were under
// way should have arrived.
const (
	abortTimeout       = 10 * time.Second
	cancelAbortTimeout = 1500 * time.Millisecond
	lateParts          = 100 * time.Millisecond
)

// part is a section of a blob.
type part struct {
	number  int32 // from 1
	off, n  int64
	content xxh3.Uint128 // hash of the section, when it is uploaded
}

// splitParts divides size bytes into parts of the given size, or of a larger one
// when there would be too many parts.
func splitParts(size, partSize int64) []part {
	partSize = max(partSize, (size+maxParts-1)/maxParts)
	var parts []part
	for off := int64(0); off < size; off += partSize {
		parts = append(parts, part{number: int32(len(parts) + 1), off: off, n: min(partSize, size-off)})
	}
	return parts
}

// putLarge puts a blob in parts, several at once. A first pass verifies the blob and
// notes the hash of every part; each part is verified again while it is sent, so
// that a file that changes in between is not stored under the wrong key (spec/gaps.md
// G-11).
func (s *Store) putLarge(ctx context.Context, key blobstore.Key, body *io.SectionReader) error {
	if _, err := s.head(ctx, s.objectKey(key)); !errors.Is(err, blobstore.ErrNotFound) {
		return err
	}
	parts := splitParts(body.Size(), s.cfg.PartSize)
	if err := hashParts(ctx, key, body, parts); err != nil {
		return err
	}
	return s.inParts(ctx, key, parts, func(ctx context.Context, upload *string, p part) (*string, error) {
		v := newVerified(io.NewSectionReader(body, p.off, p.n), p.n, p.content)
		out, err := s.client.UploadPart(ctx, &s3.UploadPartInput{
			Bucket:        &s.cfg.Bucket,
			Key:           aws.String(s.objectKey(key)),
			UploadId:      upload,
			PartNumber:    &p.number,
			Body:          v,
			ContentLength: &p.n,
		})
		if e := v.because(err); e != err { //nolint:errorlint // because returns another error or the same
			return nil, e
		}
		if err != nil {
			return nil, classify(ctx, err)
		}
		return out.ETag, nil
	})
}

// hashParts verifies that body is the blob that key names, and notes the hashes of
// its parts.
func hashParts(ctx context.Context, key blobstore.Key, body *io.SectionReader, parts []part) error {
	w := &partHasher{parts: parts, h: xxh3.New()}
	return blobio.Copy(ctx, w, key, body)
}

// partHasher is a writer that hashes parts one after the other.
type partHasher struct {
	parts []part // those not complete
	h     *xxh3.Hasher
	n     int64 // bytes in h
}

func (w *partHasher) Write(b []byte) (int, error) {
	for rest := b; len(rest) > 0; {
		p := &w.parts[0]
		m := min(int64(len(rest)), p.n-w.n)
		w.h.Write(rest[:m])
		w.n, rest = w.n+m, rest[m:]
		if w.n == p.n {
			p.content = w.h.Sum128()
			w.h.Reset()
			w.n, w.parts = 0, w.parts[1:]
		}
	}
	return len(b), nil
}

// sendPart stores one part of an upload and returns its ETag.
type sendPart func(ctx context.Context, upload *string, p part) (etag *string, err error)

// inParts makes an object of parts that send stores. Whatever goes wrong, no upload
// is left behind: its parts would be invisible, and cost money. What a killed process
// has left of the same object is removed, too.
func (s *Store) inParts(ctx context.Context, key blobstore.Key, parts []part, send sendPart) error {
	object := s.objectKey(key)
	in := &s3.CreateMultipartUploadInput{
		Bucket:       &s.cfg.Bucket,
		Key:          &object,
		StorageClass: types.StorageClass(s.cfg.StorageClass),
	}
	in.ServerSideEncryption, in.SSEKMSKeyId = s.encryption()
	out, err := s.client.CreateMultipartUpload(ctx, in)
	if err != nil {
		return classify(ctx, err)
	}
	upload := out.UploadId

	done := make([]types.CompletedPart, len(parts))
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(s.cfg.Concurrency)
	for i, p := range parts {
		group.Go(func() error {
			if err := groupCtx.Err(); err != nil {
				return err
			}
			etag, err := send(groupCtx, upload, p)
			done[i] = types.CompletedPart{ETag: etag, PartNumber: &p.number}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		s.abort(ctx, object, upload)
		return s.finished(ctx, object, err)
	}
	if err := s.complete(ctx, object, upload, done); err != nil {
		return err
	}
	s.clear(ctx, object, parts)
	return nil
}

// complete turns the parts into an object, unless one is there by now.
func (s *Store) complete(ctx context.Context, object string, upload *string, parts []types.CompletedPart) error {
	completed := false
	err := s.ifAbsent(ctx, func(condition *string) error {
		_, err := s.client.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{
			Bucket:          &s.cfg.Bucket,
			Key:             &object,
			UploadId:        upload,
			IfNoneMatch:     condition,
			MultipartUpload: &types.CompletedMultipartUpload{Parts: parts},
		})
		completed = err == nil
		return classify(ctx, err)
	})
	if is(err, "NoSuchUpload") {
		return s.finished(ctx, object, err)
	}
	if !completed {
		s.abort(ctx, object, upload)
	}
	return err
}

// abort removes an upload in parts, even when ctx has ended. A part that was under
// way may arrive after that and stay, as S3 says; so abort looks again and repeats.
// There is nobody to tell when all that fails; buckets have lifecycle rules for it.
func (s *Store) abort(ctx context.Context, object string, upload *string) {
	timeout := abortTimeout
	if ctx.Err() != nil {
		timeout = cancelAbortTimeout
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
	defer cancel()
	for ctx.Err() == nil {
		_, err := s.client.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{
			Bucket:   &s.cfg.Bucket,
			Key:      &object,
			UploadId: upload,
		})
		if err := classify(ctx, err); err != nil && !is(err, "NoSuchUpload") {
			return
		}
		if sleep(ctx, lateParts) != nil {
			return
		}
		_, err = s.client.ListParts(ctx, &s3.ListPartsInput{Bucket: &s.cfg.Bucket, Key: &object, UploadId: upload})
		if err != nil {
			return // there is no such upload, or we may not look
		}
	}
}
