// Package blobio holds what every store needs to keep the promises of
// blobstore.Store: copying that verifies, ranges that are checked, and streams that
// fail instead of ending early.
package blobio

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"

	"github.com/zeebo/xxh3"

	"github.com/snapfs/snapfs/blobstore"
)

// bufferSize is the unit of copying: large enough to make system calls cheap, small
// enough to notice a cancelled context soon.
const bufferSize = 1 << 20

// KeyOf returns the key of the blob that consists of p.
func KeyOf(p []byte) blobstore.Key {
	return keyOf(xxh3.Hash128(p))
}

func keyOf(sum xxh3.Uint128) blobstore.Key {
	b := sum.Bytes()
	return blobstore.Key(hex.EncodeToString(b[:]) + ".xxh128")
}

// Verifier hashes what is written to it. It never fails. The zero value is not
// usable.
type Verifier struct{ h *xxh3.Hasher }

// NewVerifier returns a Verifier that has seen no bytes.
func NewVerifier() *Verifier { return &Verifier{xxh3.New()} }

// Write adds p to the hashed bytes.
func (v *Verifier) Write(p []byte) (int, error) { return v.h.Write(p) }

// Check returns an error that wraps blobstore.ErrMismatch unless the bytes written
// so far are the blob that key names.
func (v *Verifier) Check(key blobstore.Key) error {
	return mismatch(key, keyOf(v.h.Sum128()))
}

// CheckBytes is Verifier.Check for bytes that lie in memory.
func CheckBytes(key blobstore.Key, p []byte) error {
	return mismatch(key, KeyOf(p))
}

func mismatch(want, got blobstore.Key) error {
	if got == want {
		return nil
	}
	return fmt.Errorf("%w: the bytes hash to %s", blobstore.ErrMismatch, got.Hash())
}

// Copy writes the whole of body to w, and verifies that it is the blob that key
// names. It reads body from its start whatever its position is, and leaves the
// position alone. A body that has fewer bytes than its size is
// io.ErrUnexpectedEOF. What was written before an error must be discarded.
func Copy(ctx context.Context, w io.Writer, key blobstore.Key, body *io.SectionReader) error {
	return CopyBuffer(ctx, w, key, body, make([]byte, min(body.Size(), bufferSize)))
}

// CopyBuffer is Copy through a buffer of the caller. A body that fits into it is
// verified before anything is written.
func CopyBuffer(ctx context.Context, w io.Writer, key blobstore.Key, body *io.SectionReader, buf []byte) error {
	size := body.Size()
	if size <= int64(len(buf)) {
		return copyWhole(ctx, w, key, body, buf[:size])
	}
	v := NewVerifier()
	for off := int64(0); off < size; {
		if err := ctx.Err(); err != nil {
			return err
		}
		p := buf[:min(size-off, int64(len(buf)))]
		if err := ReadFullAt(body, p, off); err != nil {
			return err
		}
		_, _ = v.Write(p)
		if _, err := w.Write(p); err != nil {
			return err
		}
		off += int64(len(p))
	}
	return v.Check(key)
}

func copyWhole(ctx context.Context, w io.Writer, key blobstore.Key, body *io.SectionReader, p []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := ReadFullAt(body, p, 0); err != nil {
		return err
	}
	if err := CheckBytes(key, p); err != nil || len(p) == 0 {
		return err
	}
	_, err := w.Write(p)
	return err
}

// ReadFullAt fills p from r at off. Fewer bytes than that are
// io.ErrUnexpectedEOF, never io.EOF.
func ReadFullAt(r io.ReaderAt, p []byte, off int64) error {
	n, err := r.ReadAt(p, off)
	switch {
	case n == len(p):
		return nil
	case err == io.EOF:
		return io.ErrUnexpectedEOF
	default:
		return err
	}
}
