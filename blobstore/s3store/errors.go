package s3store

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/snapfs/snapfs/blobstore"
)

// byCode says what the error codes of S3 mean to a caller.
var byCode = map[string]error{
	"NotFound":     blobstore.ErrNotFound,
	"NoSuchKey":    blobstore.ErrNotFound,
	"NoSuchBucket": blobstore.ErrNoStore,
	"InvalidRange": blobstore.ErrRange,

	"AccessDenied":          blobstore.ErrPermission,
	"AccountProblem":        blobstore.ErrPermission,
	"BadRequest":            blobstore.ErrPermission, // all that HEAD says of expired credentials
	"AllAccessDisabled":     blobstore.ErrPermission,
	"ExpiredToken":          blobstore.ErrPermission,
	"InvalidAccessKeyId":    blobstore.ErrPermission,
	"InvalidToken":          blobstore.ErrPermission,
	"RequestTimeTooSkewed":  blobstore.ErrPermission,
	"SignatureDoesNotMatch": blobstore.ErrPermission,

	"QuotaExceeded":                  blobstore.ErrNoSpace,
	"InsufficientStorage":            blobstore.ErrNoSpace,
	"XMinioStorageFull":              blobstore.ErrNoSpace,
	"XMinioAdminBucketQuotaExceeded": blobstore.ErrNoSpace,

	"InvalidObjectState": blobstore.ErrUnavailable, // archived, and not restored
	"RequestTimeout":     blobstore.ErrUnavailable,
	"SlowDown":           blobstore.ErrUnavailable,
}

// byStatus says the same of responses that have no code, as those to HEAD, or one
// that we do not know.
var byStatus = map[int]error{
	http.StatusUnauthorized:        blobstore.ErrPermission,
	http.StatusForbidden:           blobstore.ErrPermission,
	http.StatusNotFound:            blobstore.ErrNotFound,
	http.StatusRequestTimeout:      blobstore.ErrUnavailable,
	http.StatusTooManyRequests:     blobstore.ErrUnavailable,
	http.StatusInsufficientStorage: blobstore.ErrNoSpace,
}

// hints say what may be behind an error that is not obvious.
var hints = map[string]string{
	"BadRequest":           "the credentials may have expired, or the region may be wrong",
	"Forbidden":            "S3 says so of a missing object, too, when s3:ListBucket is not granted",
	"InvalidObjectState":   "the object is archived and must be restored first",
	"RequestTimeTooSkewed": "the clock of this machine is wrong",
}

// refused is an error that S3 answered. It keeps the code for those who must know.
type refused struct {
	kind   error // sentinel of blobstore, or nil
	code   string
	status int
	detail string
}

func (e *refused) Error() string { return e.detail }
func (e *refused) Unwrap() error { return e.kind }

// unanswered is the error of a request that was sent and got no response: what
// became of it is not known.
type unanswered struct{ detail string }

func (e *unanswered) Error() string { return e.detail }
func (e *unanswered) Unwrap() error { return blobstore.ErrUnavailable }

// is reports whether err is the answer of S3 with one of the codes.
func is(err error, codes ...string) bool {
	var r *refused
	if !errors.As(err, &r) {
		return false
	}
	for _, c := range codes {
		if r.code == c {
			return true
		}
	}
	return false
}

// classify turns an error of the SDK into one of ours: the sentinel that fits and,
// in one line, what the server said or what happened to the network.
func classify(ctx context.Context, err error) error {
	var api smithy.APIError
	var resp *awshttp.ResponseError
	var none noCredentials
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.As(err, &none):
		return fmt.Errorf("%w: no usable AWS credentials: set AWS_PROFILE, or run aws sso login: %v", blobstore.ErrPermission, none.err)
	case errors.As(err, &resp) && resp.HTTPStatusCode() >= 300:
		code, message := "", ""
		if errors.As(err, &api) {
			code, message = api.ErrorCode(), api.ErrorMessage()
		}
		return answer(resp, code, message, attempts(err))
	case errors.As(err, &api): // an error in the body of a success
		return fmt.Errorf("%w: %s: %s", blobstore.ErrUnavailable, api.ErrorCode(), api.ErrorMessage())
	case isNetwork(err):
		return unreachable(err)
	default:
		return err
	}
}

// answer describes a response that is an error.
func answer(resp *awshttp.ResponseError, code, message, attempts string) error {
	status := resp.HTTPStatusCode()
	kind := byCode[code]
	if kind == nil {
		kind = byStatus[status]
	}
	if kind == nil && status >= 500 && status != http.StatusNotImplemented {
		kind = blobstore.ErrUnavailable
	}
	text := fmt.Sprintf("HTTP %d", status)
	if code != "" {
		text = fmt.Sprintf("%s (HTTP %d", code, status)
		if id := resp.ServiceRequestID(); id != "" {
			text += ", request " + id
		}
		text += ")"
	}
	if hint, ok := hints[code]; ok {
		message = hint
	}
	if message != "" && message != code {
		text += ": " + message
	}
	if region := resp.Response.Header.Get("X-Amz-Bucket-Region"); region != "" && (status == 301 || status == 400) {
		text += ": the bucket is in region " + region
	}
	if kind != nil {
		text = kind.Error() + ": " + text
	}
	if errors.Is(kind, blobstore.ErrUnavailable) {
		text += attempts
	}
	return &refused{kind, code, status, text}
}

// attempts says how often a request was tried in vain, if more than once.
func attempts(err error) string {
	var m *retry.MaxAttemptsError
	if errors.As(err, &m) && m.Attempt > 1 {
		return fmt.Sprintf(", after %d attempts", m.Attempt)
	}
	return ""
}

// isNetwork reports whether err came from sending a request or waiting for its
// response.
func isNetwork(err error) bool {
	var send *smithyhttp.RequestSendError
	var retries *retry.MaxAttemptsError
	return errors.As(err, &send) || errors.As(err, &retries)
}

// unreachable describes a network error by the part of it that says something: the
// SDK wraps that in the operation, the request and the attempts.
func unreachable(err error) error {
	cause := err
	var op *net.OpError
	var netErr net.Error
	switch {
	case errors.As(err, &op):
		cause = op
	case errors.As(err, &netErr):
		cause = netErr
	}
	if op != nil && op.Op == "dial" { // nothing was sent
		return fmt.Errorf("%w: %v%s", blobstore.ErrUnavailable, cause, attempts(err))
	}
	return &unanswered{fmt.Sprintf("%v: %v%s", blobstore.ErrUnavailable, cause, attempts(err))}
}
