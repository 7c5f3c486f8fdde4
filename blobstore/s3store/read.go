package s3store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/snapfs/snapfs/blobstore"
)

const (
	// maxResumes bounds how often one stream is resumed after it broke off.
	maxResumes = 8
	// resumeDelay is the wait before something is repeated; it doubles every time.
	resumeDelay = 50 * time.Millisecond
)

// Open implements blobstore.Store.
func (s *Store) Open(ctx context.Context, key blobstore.Key, off, n int64) (io.ReadCloser, error) {
	err := check(ctx, key)
	if err != nil {
		return nil, s.wrap("open", key, err)
	}
	r := &reader{s: s, ctx: ctx, object: s.objectKey(key), pos: off, end: -1}
	switch {
	case n == 0 || off < 0 || off+n < off && n > 0:
		err = r.openEmpty(n) // not a range that can be asked for
	default:
		if n > 0 {
			r.end = off + n
		}
		if err = r.request(); errors.Is(err, blobstore.ErrRange) {
			err = r.openEmpty(n)
		}
	}
	if err != nil {
		return nil, s.wrap("open", key, err)
	}
	return r, nil
}

// reader is the stream of one object. It is resumed when it breaks off.
type reader struct {
	s        *Store
	ctx      context.Context
	object   string
	etag     *string // of the first response: a resumption must yield the same object
	pos, end int64   // what is still to come; end < 0 until the object's size is known

	body    io.ReadCloser // nil when nothing is to come
	stalled *time.Timer   // ends the request when Read waits too long
	late    atomic.Bool   // stalled has fired
	cancel  context.CancelFunc
	resumes int
	err     error // final
}

// openEmpty settles a range that S3 cannot express or has refused: it is empty and
// inside of the object, or not inside.
func (r *reader) openEmpty(n int64) error {
	size, err := r.s.head(r.ctx, r.object)
	if err != nil {
		return err
	}
	if n, err = blobstore.Span(size, r.pos, n); err != nil {
		return err
	}
	if n > 0 {
		return fmt.Errorf("%w: the server refused a range that is inside of the object", blobstore.ErrUnavailable)
	}
	r.end = r.pos
	return nil
}

// request asks for the bytes from pos to end, and checks that the response is about
// these and no others.
func (r *reader) request() error {
	in := &s3.GetObjectInput{Bucket: &r.s.cfg.Bucket, Key: &r.object, IfMatch: r.etag}
	switch {
	case r.end >= 0:
		in.Range = aws.String(fmt.Sprintf("bytes=%d-%d", r.pos, r.end-1))
	case r.pos > 0:
		in.Range = aws.String(fmt.Sprintf("bytes=%d-", r.pos))
	}
	ctx, cancel := context.WithCancel(r.ctx)
	out, err := r.s.client.GetObject(ctx, in, func(o *s3.Options) {
		o.APIOptions = append(o.APIOptions, r.s.impatient)
	})
	if err != nil {
		cancel()
		return r.s.mayPass(classify(r.ctx, err))
	}
	if err := r.accept(out, in.Range != nil); err != nil {
		cancel()
		out.Body.Close()
		return err
	}
	r.s.bucketSeen.Store(true)
	r.etag, r.body, r.cancel = out.ETag, out.Body, cancel
	r.late.Store(false)
	r.stalled = time.AfterFunc(r.s.cfg.StallTimeout, func() {
		r.late.Store(true)
		cancel()
	})
	r.stalled.Stop() // only Read waits for the server
	return nil
}

// accept checks what a response says of itself, and learns the end from it.
func (r *reader) accept(out *s3.GetObjectOutput, ranged bool) error {
	first, last, size := int64(0), aws.ToInt64(out.ContentLength)-1, aws.ToInt64(out.ContentLength)
	if out.ContentLength == nil {
		return fmt.Errorf("%w: the server does not say how long the object is", blobstore.ErrUnavailable)
	}
	if ranged {
		var ok bool
		first, last, size, ok = parseContentRange(aws.ToString(out.ContentRange))
		if !ok || first != r.pos || *out.ContentLength != last-first+1 {
			return fmt.Errorf("%w: asked for %d-%d, the server sent range %q of %d bytes",
				blobstore.ErrUnavailable, r.pos, r.end-1, aws.ToString(out.ContentRange), *out.ContentLength)
		}
	}
	if r.end < 0 {
		r.end = size
	}
	if _, err := blobstore.Span(size, r.pos, r.end-r.pos); err != nil {
		return err
	}
	if last+1 != r.end {
		return fmt.Errorf("%w: asked for %d-%d, the server sent %d-%d", blobstore.ErrUnavailable, r.pos, r.end-1, first, last)
	}
	return nil
}

// parseContentRange parses "bytes first-last/size".
func parseContentRange(s string) (first, last, size int64, ok bool) {
	span, total, ok1 := strings.Cut(strings.TrimPrefix(s, "bytes "), "/")
	from, to, ok2 := strings.Cut(span, "-")
	first, err1 := strconv.ParseInt(from, 10, 64)
	last, err2 := strconv.ParseInt(to, 10, 64)
	size, err3 := strconv.ParseInt(total, 10, 64)
	return first, last, size, ok1 && ok2 && err1 == nil && err2 == nil && err3 == nil
}

// Read implements io.Reader.
func (r *reader) Read(p []byte) (int, error) {
	for r.err == nil && r.pos < r.end {
		if len(p) == 0 {
			return 0, nil
		}
		r.stalled.Reset(r.s.cfg.StallTimeout)
		n, err := r.body.Read(p[:min(int64(len(p)), r.end-r.pos)])
		r.stalled.Stop()
		r.pos += int64(n)
		if err != nil && r.pos < r.end {
			r.err = r.resume(err)
		}
		if n > 0 {
			return n, nil
		}
	}
	if r.err == nil {
		r.err = io.EOF
	}
	return 0, r.err
}

// resume asks for what is still to come, after the body has broken off with cause.
func (r *reader) resume(cause error) error {
	r.drop()
	if err := r.ctx.Err(); err != nil {
		return err
	}
	reason := brokenOff
	if r.late.Load() {
		reason, cause = stalledOut, &slowAnswer{r.s.cfg.StallTimeout}
	}
	if r.resumes == maxResumes {
		return fmt.Errorf("read s3://%s/%s: %w: the stream broke off at byte %d of %d, for the %dth time: %v",
			r.s.cfg.Bucket, r.object, blobstore.ErrUnavailable, r.pos, r.end, maxResumes+1, cause)
	}
	if err := sleep(r.ctx, r.s.cfg.delay(r.resumes)); err != nil {
		return err
	}
	r.resumes++
	r.s.retries.Add(reason)
	err := r.request()
	if is(err, "PreconditionFailed") {
		err = fmt.Errorf("%w: the object was replaced while it was read", blobstore.ErrUnavailable)
	}
	if err != nil {
		return fmt.Errorf("read s3://%s/%s: %w", r.s.cfg.Bucket, r.object, err)
	}
	return nil
}

// drop ends the request.
func (r *reader) drop() {
	if r.body == nil {
		return
	}
	r.stalled.Stop()
	r.body.Close()
	r.cancel()
	r.body = nil
}

// Close implements io.Closer.
func (r *reader) Close() error {
	r.drop()
	if r.err == nil {
		r.err = errors.New("read of a closed stream")
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
