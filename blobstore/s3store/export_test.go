package s3store

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// Uploads returns how many uploads in parts are unfinished in the bucket.
func (s *Store) Uploads(ctx context.Context) (int, error) {
	out, err := s.client.ListMultipartUploads(ctx, &s3.ListMultipartUploadsInput{Bucket: &s.cfg.Bucket})
	if err != nil {
		return 0, err
	}
	return len(out.Uploads), nil
}
