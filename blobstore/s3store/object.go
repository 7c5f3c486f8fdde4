package s3store

import (
	"bytes"
	"context"
	"fmt"
	"io"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// GetObject opens any object of the bucket, such as a manifest, and returns its
// size. The key is whole: the prefix of the store is not put before it. The stream
// is resumed when it breaks off, and ends only after all bytes. The caller closes it.
func (s *Store) GetObject(ctx context.Context, key string) (io.ReadCloser, int64, error) {
	r := &reader{s: s, ctx: ctx, object: key, end: -1}
	if err := r.request(); err != nil {
		return nil, 0, fmt.Errorf("open s3://%s/%s: %w", s.cfg.Bucket, key, err)
	}
	return r, r.end, nil
}

// PutObject stores p as an object of the bucket, in place of what was there before:
// readers see the old bytes or the new. The key is whole, as for GetObject.
func (s *Store) PutObject(ctx context.Context, key string, p []byte) error {
	in := &s3.PutObjectInput{
		Bucket:        &s.cfg.Bucket,
		Key:           &key,
		Body:          bytes.NewReader(p),
		ContentLength: aws.Int64(int64(len(p))),
	}
	in.ServerSideEncryption, in.SSEKMSKeyId = s.encryption()
	if _, err := s.client.PutObject(ctx, in); err != nil {
		return fmt.Errorf("put s3://%s/%s: %w", s.cfg.Bucket, key, classify(ctx, err))
	}
	return nil
}
