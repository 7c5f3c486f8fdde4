package blobio

import (
	"context"
	"io"
)

// exact is a stream of a known length.
type exact struct {
	ctx  context.Context
	r    io.ReadCloser
	left int64
}

// Exactly returns a stream of the first n bytes of r. A source that ends before
// that yields io.ErrUnexpectedEOF, and a cancelled context its error. Close closes
// r.
func Exactly(ctx context.Context, r io.ReadCloser, n int64) io.ReadCloser {
	return &exact{ctx, r, n}
}

// Read implements io.Reader.
func (e *exact) Read(p []byte) (int, error) {
	if e.left == 0 {
		return 0, io.EOF
	}
	if err := e.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := e.r.Read(p[:min(int64(len(p)), e.left)])
	e.left -= int64(n)
	if err == io.EOF {
		err = nil
		if e.left > 0 {
			err = io.ErrUnexpectedEOF
		}
	}
	return n, err
}

// Close implements io.Closer.
func (e *exact) Close() error { return e.r.Close() }
