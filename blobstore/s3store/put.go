package s3store

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/zeebo/xxh3"

	"github.com/snapfs/snapfs/blobstore"
	"github.com/snapfs/snapfs/blobstore/internal/blobio"
)

// maxConflicts bounds how often a write is repeated that raced with another one.
const maxConflicts = 5

// Put implements blobstore.Store. A blob is never written over another one, where
// the server can tell (If-None-Match): the first one stays.
func (s *Store) Put(ctx context.Context, key blobstore.Key, body *io.SectionReader) error {
	err := check(ctx, key)
	switch {
	case err != nil:
	case body.Size() >= s.cfg.MultipartThreshold:
		err = s.putLarge(ctx, key, body)
	default:
		err = s.putSmall(ctx, key, body)
	}
	if err != nil {
		return s.wrap("put", key, err)
	}
	s.bucketSeen.Store(true)
	return nil
}

// putSmall puts a blob with one request.
func (s *Store) putSmall(ctx context.Context, key blobstore.Key, body *io.SectionReader) error {
	if body.Size() == 0 {
		if err := blobio.CheckBytes(key, nil); err != nil {
			return err
		}
	}
	v := newVerified(body, body.Size(), sumOf(key))
	in := &s3.PutObjectInput{
		Bucket:        &s.cfg.Bucket,
		Key:           aws.String(s.objectKey(key)),
		Body:          v,
		ContentLength: aws.Int64(body.Size()),
		StorageClass:  types.StorageClass(s.cfg.StorageClass),
	}
	in.ServerSideEncryption, in.SSEKMSKeyId = s.encryption()
	err := s.ifAbsent(ctx, func(condition *string) error {
		in.IfNoneMatch = condition
		if _, err := v.Seek(0, io.SeekStart); err != nil {
			return err
		}
		_, err := s.client.PutObject(ctx, in)
		if e := v.because(err); e != err { //nolint:errorlint // because returns another error or the same
			return e
		}
		return classify(ctx, err)
	})
	// A server that has the blob may close the connection instead of reading it once
	// more, and the response is lost with it.
	if lost := new(unanswered); errors.As(err, &lost) {
		if size, e := s.head(ctx, *in.Key); e == nil && size == body.Size() {
			return nil
		}
	}
	return err
}

// ifAbsent calls write with the condition that no object is there. An object that
// is there is a success. A server that does not know the condition is not asked for
// it again.
func (s *Store) ifAbsent(ctx context.Context, write func(condition *string) error) error {
	for conflicts := 0; ; conflicts++ {
		var condition *string
		if !s.unconditional.Load() {
			condition = aws.String("*")
		}
		err := write(condition)
		switch {
		case condition != nil && is(err, "PreconditionFailed"):
			return nil
		case condition != nil && isUnsupported(err):
			s.unconditional.Store(true)
		case is(err, "ConditionalRequestConflict", "OperationAborted") && conflicts < maxConflicts:
			if err := sleep(ctx, s.cfg.delay(conflicts)); err != nil {
				return err
			}
		default:
			return err
		}
	}
}

// isUnsupported reports whether the server refused a header that it does not know.
func isUnsupported(err error) bool {
	var r *refused
	return errors.As(err, &r) && (r.code == "NotImplemented" || r.status == 501)
}

// encryption returns what the configuration says about it, for a request.
func (s *Store) encryption() (types.ServerSideEncryption, *string) {
	if s.cfg.KMSKeyID == "" {
		return types.ServerSideEncryption(s.cfg.SSE), nil
	}
	return types.ServerSideEncryption(s.cfg.SSE), &s.cfg.KMSKeyID
}

// sumOf returns the hash that a valid key names.
func sumOf(key blobstore.Key) xxh3.Uint128 {
	p, err := hex.DecodeString(key.Hash())
	if err != nil || len(p) != 16 {
		panic(fmt.Sprintf("s3store: key %q was not checked", string(key)))
	}
	var sum xxh3.Uint128
	for i := range 8 {
		sum.Hi = sum.Hi<<8 | uint64(p[i])
		sum.Lo = sum.Lo<<8 | uint64(p[8+i])
	}
	return sum
}
