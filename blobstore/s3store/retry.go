package s3store

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"

	"github.com/snapfs/snapfs/blobstore"
)

// Why requests are repeated, in the words of blobstore.Retrier.
const (
	throttled    = "throttled"   // the server asked for fewer requests
	serverError  = "server"      // it failed
	noConnection = "unreachable" // it could not be connected to
	stalledOut   = "stalled"     // it did not answer, or stopped sending
	brokenOff    = "broken-off"  // the connection ended early
	credentials  = "credentials" // they had expired, and were renewed
)

// Retries implements blobstore.Retrier.
func (s *Store) Retries() map[string]int64 { return s.retries.Counts() }

// retryer decides about every repetition of a request, except for the resumption of
// streams. Attempts are bounded by their number alone: the SDK's quota, shared by all
// requests, would give up early in a mount where many readers wait out the same outage,
// and its adaptive mode would go on at less than a request per second long after the
// server has recovered. The waits end at MaxBackoff, so that recovery is noticed soon.
type retryer struct {
	aws.Retryer
	retries *blobstore.Tally
}

func (c Config) retryer(attempts int, retries *blobstore.Tally) aws.Retryer {
	return retryer{retry.NewStandard(func(o *retry.StandardOptions) {
		o.MaxAttempts = attempts
		o.RateLimiter = ratelimit.None
		o.Backoff = retry.BackoffDelayerFunc(func(attempt int, _ error) (time.Duration, error) {
			return c.delay(attempt), nil
		})
	}), retries}
}

// RetryDelay implements aws.Retryer. It is called once for each repetition.
func (r retryer) RetryDelay(attempt int, err error) (time.Duration, error) {
	r.retries.Add(reasonOf(err))
	return r.Retryer.RetryDelay(attempt, err)
}

// delay returns how long to wait before something is repeated that was repeated n
// times. Half of it is chance, so that those who failed together do not come back together.
func (c Config) delay(n int) time.Duration {
	d := min(resumeDelay<<min(n, 16), c.MaxBackoff)
	return d/2 + rand.N(d/2+1)
}

// reasonOf says in a word why a request is repeated.
func reasonOf(err error) string {
	var (
		api  smithy.APIError
		resp *awshttp.ResponseError
		late *slowAnswer
		old  expired
		op   *net.OpError
		dns  *net.DNSError
		when net.Error
	)
	switch {
	case errors.As(err, &old):
		return credentials
	case errors.As(err, &api) && (api.ErrorCode() == "SlowDown" || api.ErrorCode() == "Throttling"):
		return throttled
	case errors.As(err, &resp) && (resp.HTTPStatusCode() == 429 || resp.HTTPStatusCode() == 503):
		return throttled
	case errors.As(err, &resp) && resp.HTTPStatusCode() >= 300, errors.As(err, &api):
		return serverError
	case errors.As(err, &late):
		return stalledOut
	case errors.As(err, &op) && op.Op == "dial", errors.As(err, &dns):
		return noConnection
	case errors.As(err, &when) && when.Timeout():
		return stalledOut
	}
	return brokenOff
}

// slowAnswer is the error of an attempt that was given up.
type slowAnswer struct{ after time.Duration }

func (e *slowAnswer) Error() string        { return "no answer within " + e.after.String() }
func (e *slowAnswer) Timeout() bool        { return true }
func (e *slowAnswer) RetryableError() bool { return true }
func (e *slowAnswer) Unwrap() error        { return context.DeadlineExceeded }

// impatient gives up each attempt of a read that is not answered within StallTimeout.
// Requests that write may take longer: the server has work to do before it answers.
func (s *Store) impatient(stack *middleware.Stack) error {
	return stack.Finalize.Insert(middleware.FinalizeMiddlewareFunc("GiveUpSlowAnswers",
		func(ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler) (
			middleware.FinalizeOutput, middleware.Metadata, error,
		) {
			// The body is read with the same context: it is cancelled by this timer or by
			// the reader that ends.
			ctx, cancel := context.WithCancel(ctx)
			timer := time.AfterFunc(s.cfg.StallTimeout, cancel)
			out, md, err := next.HandleFinalize(ctx, in)
			if !timer.Stop() && err != nil {
				err = &slowAnswer{s.cfg.StallTimeout}
			}
			if err != nil {
				cancel()
			}
			return out, md, err
		}), "Retry", middleware.After)
}
