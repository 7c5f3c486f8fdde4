package s3store

import (
	"bytes"
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// Uploads returns how many uploads in parts are unfinished in the bucket.
func (s *Store) Uploads(ctx context.Context) (int, error) {
	keys, err := s.UploadKeys(ctx)
	return len(keys), err
}

// UploadKeys returns the keys of the uploads in parts that are unfinished in the bucket.
func (s *Store) UploadKeys(ctx context.Context) ([]string, error) {
	out, err := s.client.ListMultipartUploads(ctx, &s3.ListMultipartUploadsInput{Bucket: &s.cfg.Bucket})
	if err != nil {
		return nil, err
	}
	var keys []string
	for _, u := range out.Uploads {
		keys = append(keys, aws.ToString(u.Key))
	}
	return keys, nil
}

// LeaveUpload begins an upload in parts of the object and sends some, as a writer does
// that is killed then.
func (s *Store) LeaveUpload(ctx context.Context, object string, parts map[int32][]byte) error {
	out, err := s.client.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: &s.cfg.Bucket, Key: &object})
	if err != nil {
		return err
	}
	for n, p := range parts {
		_, err := s.client.UploadPart(ctx, &s3.UploadPartInput{
			Bucket: &s.cfg.Bucket, Key: &object, UploadId: out.UploadId, PartNumber: &n, Body: bytes.NewReader(p),
		})
		if err != nil {
			return err
		}
	}
	return nil
}
