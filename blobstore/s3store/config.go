package s3store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/logging"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/snapfs/snapfs/blobstore"
)

// Sizes and limits of S3, and what we make of them.
const (
	mib = int64(1) << 20
	gib = int64(1) << 30

	minPartSize = 5 * mib  // S3 refuses smaller parts, the last one excepted
	maxPartSize = 5 * gib  // and larger ones
	maxParts    = 10_000   // and more of them
	maxCopySize = 5 * gib  // CopyObject takes no larger object
	defaultPart = 32 * mib // the reference's (spec/caches.md §1)

	defaultCopyPart    = 256 * mib
	defaultAttempts    = 16
	defaultConcurrency = 4
	defaultMaxBackoff  = 2 * time.Second
	defaultStall       = 15 * time.Second
	slowWrites         = 4 // how much longer than that the answer to any other request may take
)

// Config says which bucket to use, and how. Only Bucket is required: the rest comes
// from the AWS environment (variables, profiles, instance roles) or has defaults.
type Config struct {
	Bucket string // name, or ARN of an access point
	Prefix string // of every blob's key, without the slash; may be empty

	Region    string
	Endpoint  string // URL of a server other than AWS
	PathStyle bool   // bucket in the path of the URL, not in the host name
	Profile   string // of the AWS configuration files
	CABundle  string // PEM file of the authorities to trust

	// ExpectedBucketOwner is the account that must own the bucket; it is sent with
	// every request, so that a bucket that changed hands is refused.
	ExpectedBucketOwner string
	NoSignRequest       bool // anonymous access
	RequesterPays       bool

	SSE          string // AES256, aws:kms or aws:kms:dsse; empty: the bucket's default
	KMSKeyID     string // with aws:kms
	StorageClass string // for example INTELLIGENT_TIERING

	MaxAttempts  int           // per request; 0: AWS_MAX_ATTEMPTS, or 16
	MaxBackoff   time.Duration // longest wait between attempts; 0: 2 s
	StallTimeout time.Duration // longest wait for a byte when reading; 0: 15 s

	Concurrency        int   // parts of one blob that move at once; 0: 4
	PartSize           int64 // bytes of a part of an upload; 0: 32 MiB
	MultipartThreshold int64 // size from which a blob is put in parts; 0: two parts
	CopyPartSize       int64 // bytes of a part of a copy; 0: 256 MiB
	CopyThreshold      int64 // size above which a blob is copied in parts; 0: 5 GiB
}

// FromLocation returns the part of a Config that the URL of a store says.
func FromLocation(l blobstore.Location) Config {
	return Config{
		Bucket:              l.Bucket,
		Prefix:              l.Prefix,
		Region:              l.Region,
		Endpoint:            l.Endpoint,
		PathStyle:           l.PathStyle,
		ExpectedBucketOwner: l.Owner,
	}
}

// location is the reverse of FromLocation.
func (c Config) location() blobstore.Location {
	return blobstore.Location{
		Bucket:    c.Bucket,
		Prefix:    c.Prefix,
		Region:    c.Region,
		Endpoint:  c.Endpoint,
		PathStyle: c.PathStyle,
		Owner:     c.ExpectedBucketOwner,
	}
}

// sseModes are the kinds of encryption that S3 knows, besides none of our own.
var sseModes = []string{"", "AES256", "aws:kms", "aws:kms:dsse"}

func (c Config) check() error {
	switch {
	case c.Bucket == "":
		return errors.New("no bucket given")
	case !slices.Contains(sseModes, c.SSE):
		return fmt.Errorf("unknown encryption %q: there are %s", c.SSE, strings.Join(sseModes[1:], ", "))
	case c.KMSKeyID != "" && !strings.HasPrefix(c.SSE, "aws:kms"):
		return errors.New("a KMS key needs the encryption aws:kms")
	case c.NoSignRequest && c.Profile != "":
		return errors.New("a profile is of no use for requests that are not signed")
	}
	return nil
}

// withDefaults returns c with every zero replaced that has a default.
func (c Config) withDefaults() Config {
	c.Prefix = strings.Trim(c.Prefix, "/") // spec/gaps.md G-41
	c.MaxBackoff = cmp.Or(c.MaxBackoff, defaultMaxBackoff)
	c.StallTimeout = cmp.Or(c.StallTimeout, defaultStall)
	c.Concurrency = max(1, cmp.Or(c.Concurrency, defaultConcurrency))
	c.PartSize = clampPart(cmp.Or(c.PartSize, defaultPart))
	c.MultipartThreshold = cmp.Or(c.MultipartThreshold, 2*c.PartSize)
	c.CopyPartSize = clampPart(cmp.Or(c.CopyPartSize, defaultCopyPart))
	c.CopyThreshold = min(cmp.Or(c.CopyThreshold, maxCopySize), maxCopySize)
	return c
}

func clampPart(n int64) int64 { return min(max(n, minPartSize), maxPartSize) }

// loadAWS runs the standard chain of the SDK.
func (c Config) loadAWS(ctx context.Context) (aws.Config, error) {
	options := []func(*config.LoadOptions) error{
		config.WithHTTPClient(c.httpClient()),
		config.WithRegion(c.Region),
		config.WithSharedConfigProfile(c.Profile),
		config.WithLogger(logging.Nop{}), // errors are returned, not printed
	}
	if c.CABundle != "" {
		pem, err := os.Open(c.CABundle)
		if err != nil {
			return aws.Config{}, fmt.Errorf("CA bundle: %w", err)
		}
		defer pem.Close()
		options = append(options, config.WithCustomCABundle(pem))
	}
	return config.LoadDefaultConfig(ctx, options...)
}

// idleConnection is how long a connection is kept that nobody uses.
const idleConnection = 20 * time.Second

// httpClient returns a client for many parallel requests to one host, that gives up
// on a server which accepts a request and then says nothing.
func (c Config) httpClient() *awshttp.BuildableClient {
	return awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) {
		t.MaxIdleConns = 256
		t.IdleConnTimeout = idleConnection
		t.MaxIdleConnsPerHost = 256
		t.ResponseHeaderTimeout = slowWrites * c.StallTimeout
		t.DisableCompression = true // a blob must arrive as it was stored
	})
}

// newClient returns the client for c, which has its defaults, and counts in retries what
// is repeated.
func (c Config) newClient(ctx context.Context, retries *blobstore.Tally) (*s3.Client, *identity, error) {
	cfg, err := c.loadAWS(ctx)
	if err != nil {
		return nil, nil, err
	}
	id := newIdentity(c, cfg.Credentials)
	attempts := cmp.Or(c.MaxAttempts, cfg.RetryMaxAttempts, defaultAttempts)
	client := s3.NewFromConfig(cfg, func(o *s3.Options) {
		o.Credentials = id.provider()
		o.Retryer = c.retryer(attempts, retries)
		o.RetryMaxAttempts = attempts
		o.UsePathStyle = c.PathStyle
		o.UseARNRegion = true
		if c.Endpoint != "" {
			o.BaseEndpoint = &c.Endpoint
		}
		if o.Region == "" && o.BaseEndpoint != nil {
			o.Region = "us-east-1" // servers other than AWS do not care
		}
		// Servers other than AWS may not know the SDK's checksums. Blobs are
		// verified anyway.
		o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
		o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
		// A server that refuses a request must be able to say so before the body.
		o.ContinueHeaderThresholdBytes = mib
		o.APIOptions = append(o.APIOptions, id.addRenewal)
		if c.ExpectedBucketOwner != "" {
			o.APIOptions = append(o.APIOptions, smithyhttp.SetHeaderValue("X-Amz-Expected-Bucket-Owner", c.ExpectedBucketOwner))
		}
		if c.RequesterPays {
			o.APIOptions = append(o.APIOptions, smithyhttp.SetHeaderValue("X-Amz-Request-Payer", "requester"))
		}
	})
	if client.Options().Region == "" {
		return nil, nil, errors.New("the region of the bucket is not known: give it as --region, as ?region= in the URL, or in AWS_REGION")
	}
	return client, id, nil
}
