package s3store

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"

	"github.com/snapfs/snapfs/blobstore"
)

// renewInterval is the shortest time between two attempts at fresh credentials.
const renewInterval = time.Second

// expiredCodes are what S3 says of credentials that were right once.
var expiredCodes = map[string]bool{
	"ExpiredToken":          true,
	"ExpiredTokenException": true,
	"TokenRefreshRequired":  true,
	"BadRequest":            true, // all that HEAD says of it
	"InvalidAccessKeyId":    true, // these three also of some that never were
	"InvalidToken":          true,
	"SignatureDoesNotMatch": true,
}

// mayPass marks the refusal of credentials as blobstore.ErrExpired if they, or others in
// their place, were good for something before: then new ones may be on their way.
func (s *Store) mayPass(err error) error {
	var r *refused
	expired := errors.Is(err, blobstore.ErrPermission) && s.bucketSeen.Load() &&
		(!errors.As(err, &r) || expiredCodes[r.code])
	if !expired {
		return err
	}
	return fmt.Errorf("%w: %w", blobstore.ErrExpired, err)
}

// identity hands out credentials. The SDK renews those of which it knows when they
// end; those in a file that another program rewrites it would keep for ever, and a
// long mount with them. Therefore identity runs the whole chain again when the
// server says that they have expired.
type identity struct {
	cfg Config

	mu      sync.Mutex
	current aws.CredentialsProvider
	last    aws.Credentials // what was handed out last
	renewed time.Time       // when the chain was run last
	changed bool            // whether that brought other credentials
}

func newIdentity(c Config, p aws.CredentialsProvider) *identity {
	if c.NoSignRequest {
		p = aws.AnonymousCredentials{}
	}
	return &identity{cfg: c, current: p}
}

// provider returns what the client is to use. The SDK recognises anonymous
// credentials by their type, so they must not be wrapped.
func (id *identity) provider() aws.CredentialsProvider {
	if id.cfg.NoSignRequest {
		return id.current
	}
	return id
}

// noCredentials marks an error as the lack of usable credentials.
type noCredentials struct{ err error }

func (e noCredentials) Error() string { return e.err.Error() }
func (e noCredentials) Unwrap() error { return e.err }

// Retrieve implements aws.CredentialsProvider.
func (id *identity) Retrieve(ctx context.Context) (aws.Credentials, error) {
	id.mu.Lock()
	p := id.current
	id.mu.Unlock()
	c, err := p.Retrieve(ctx)
	if err != nil {
		return aws.Credentials{}, noCredentials{err}
	}
	id.mu.Lock()
	defer id.mu.Unlock()
	id.last = c
	return c, nil
}

// renew runs the chain again, and reports whether the credentials have changed, so
// that it makes sense to try once more. Requests that fail at the same time share
// one run.
func (id *identity) renew(ctx context.Context) bool {
	id.mu.Lock()
	defer id.mu.Unlock()
	if time.Since(id.renewed) < renewInterval {
		return id.changed
	}
	cfg, err := id.cfg.loadAWS(ctx)
	if err != nil {
		return false
	}
	c, err := cfg.Credentials.Retrieve(ctx)
	if err != nil {
		return false
	}
	id.renewed = time.Now()
	id.changed = c.AccessKeyID != id.last.AccessKeyID || c.SecretAccessKey != id.last.SecretAccessKey || c.SessionToken != id.last.SessionToken
	id.current, id.last = cfg.Credentials, c
	return id.changed
}

// expired is an error that the retry layer is to retry, because the credentials
// have been renewed since.
type expired struct{ err error }

func (e expired) Error() string        { return e.err.Error() }
func (e expired) Unwrap() error        { return e.err }
func (e expired) RetryableError() bool { return true }

// addRenewal adds the renewal of credentials to the handling of every attempt.
func (id *identity) addRenewal(stack *middleware.Stack) error {
	return stack.Finalize.Insert(middleware.FinalizeMiddlewareFunc("RenewCredentials",
		func(ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler) (
			middleware.FinalizeOutput, middleware.Metadata, error,
		) {
			out, md, err := next.HandleFinalize(ctx, in)
			var api smithy.APIError
			if errors.As(err, &api) && expiredCodes[api.ErrorCode()] && id.renew(ctx) {
				err = expired{err}
			}
			return out, md, err
		}), "Retry", middleware.After)
}

// CredentialsExpire returns when the credentials in use end. It reports false when
// they do not, or when there are none.
func (s *Store) CredentialsExpire(ctx context.Context) (time.Time, bool) {
	c, err := s.identity.provider().Retrieve(ctx)
	if err != nil || !c.CanExpire {
		return time.Time{}, false
	}
	return c.Expires, true
}
