package s3store

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/snapfs/snapfs/blobstore"
)

// CopyFrom implements blobstore.Copier for a store on the same server that is used
// with the same identity: the server copies, and no byte comes here. A blob that is
// present is replaced by its like.
func (s *Store) CopyFrom(ctx context.Context, src blobstore.Store, key blobstore.Key) error {
	from, ok := blobstore.As[*Store](src)
	if !ok || !s.reaches(from) {
		return errors.ErrUnsupported
	}
	info, err := from.Stat(ctx, key)
	if err != nil {
		return err
	}
	if s.objectKey(key) == from.objectKey(key) && s.cfg.Bucket == from.cfg.Bucket {
		return nil
	}
	if info.Size > s.cfg.CopyThreshold {
		err = s.copyLarge(ctx, from, key, info.Size)
	} else {
		err = s.copySmall(ctx, from, key)
	}
	if err != nil {
		return s.wrap("copy to", key, err)
	}
	return nil
}

// reaches reports whether the server of s can read from the other store in our name.
func (s *Store) reaches(from *Store) bool {
	return aws.ToString(s.client.Options().BaseEndpoint) == aws.ToString(from.client.Options().BaseEndpoint) &&
		s.cfg.Profile == from.cfg.Profile && s.cfg.NoSignRequest == from.cfg.NoSignRequest
}

// copySource names an object as the source of a copy. The server decodes it, so
// everything is encoded that is not a letter, a digit or a slash (spec/gaps.md G-41).
func (s *Store) copySource(key blobstore.Key) *string {
	source := s.cfg.Bucket + "/" + s.objectKey(key)
	if strings.HasPrefix(s.cfg.Bucket, "arn:") {
		source = s.cfg.Bucket + "/object/" + s.objectKey(key)
	}
	parts := strings.Split(source, "/")
	for i, p := range parts {
		parts[i] = strings.ReplaceAll(url.QueryEscape(p), "+", "%20")
	}
	return aws.String(strings.Join(parts, "/"))
}

// owner returns the account that must own the bucket of s, as the source of a copy.
func (s *Store) owner() *string {
	if s.cfg.ExpectedBucketOwner == "" {
		return nil
	}
	return &s.cfg.ExpectedBucketOwner
}

// copySmall copies a blob with one request.
func (s *Store) copySmall(ctx context.Context, from *Store, key blobstore.Key) error {
	in := &s3.CopyObjectInput{
		Bucket:                    &s.cfg.Bucket,
		Key:                       aws.String(s.objectKey(key)),
		CopySource:                from.copySource(key),
		ExpectedSourceBucketOwner: from.owner(),
		StorageClass:              types.StorageClass(s.cfg.StorageClass),
	}
	in.ServerSideEncryption, in.SSEKMSKeyId = s.encryption()
	_, err := s.client.CopyObject(ctx, in)
	return classify(ctx, err)
}

// copyLarge copies a blob in parts, several at once.
func (s *Store) copyLarge(ctx context.Context, from *Store, key blobstore.Key, size int64) error {
	parts := splitParts(size, s.cfg.CopyPartSize)
	return s.inParts(ctx, key, parts, func(ctx context.Context, upload *string, p part) (*string, error) {
		out, err := s.client.UploadPartCopy(ctx, &s3.UploadPartCopyInput{
			Bucket:                    &s.cfg.Bucket,
			Key:                       aws.String(s.objectKey(key)),
			UploadId:                  upload,
			PartNumber:                &p.number,
			CopySource:                from.copySource(key),
			CopySourceRange:           aws.String(fmt.Sprintf("bytes=%d-%d", p.off, p.off+p.n-1)),
			ExpectedSourceBucketOwner: from.owner(),
		})
		if err != nil {
			return nil, classify(ctx, err)
		}
		return out.CopyPartResult.ETag, nil
	})
}
