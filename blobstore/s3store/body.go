package s3store

import (
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/zeebo/xxh3"

	"github.com/snapfs/snapfs/blobstore"
)

// verified is a request body that hands out its last bytes only when everything
// before them, and they themselves, have the hash that they should have. A server
// that was promised more bytes than it gets stores nothing, so that one pass over
// the bytes both sends and verifies them. The SDK rewinds the body to sign it and to
// repeat a request; the verification starts anew then. A body without bytes is never
// read: it must be verified beforehand.
//
// A request that failed may still be read from while the next one begins, hence the
// mutex.
type verified struct {
	mu     sync.Mutex
	src    io.ReaderAt
	size   int64
	want   xxh3.Uint128
	hash   *xxh3.Hasher
	hashed int64 // bytes in hash, from the start
	pos    int64
	err    error // the failure of the body itself; final
}

func newVerified(src io.ReaderAt, size int64, want xxh3.Uint128) *verified {
	return &verified{src: src, size: size, want: want, hash: xxh3.New()}
}

// Read implements io.Reader.
func (v *verified) Read(p []byte) (int, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.err != nil {
		return 0, v.err
	}
	if v.pos == v.size {
		return 0, io.EOF
	}
	if v.pos == 0 {
		v.hash.Reset()
		v.hashed = 0
	}
	if v.hashed != v.pos {
		return 0, v.fail(fmt.Errorf("request body read at %d, after %d", v.pos, v.hashed))
	}
	n, err := v.src.ReadAt(p[:min(int64(len(p)), v.size-v.pos)], v.pos)
	v.hash.Write(p[:n])
	v.hashed += int64(n)
	switch {
	case v.hashed == v.size && v.hash.Sum128() != v.want:
		return 0, v.fail(blobstore.ErrMismatch)
	case v.hashed == v.size:
		err = nil
	case err == io.EOF:
		return 0, v.fail(io.ErrUnexpectedEOF)
	case err != nil:
		return 0, v.fail(err)
	}
	v.pos += int64(n)
	return n, err
}

func (v *verified) fail(err error) error {
	v.err = err
	return err
}

// Seek implements io.Seeker.
func (v *verified) Seek(offset int64, whence int) (int64, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.err != nil {
		return 0, v.err // keeps the SDK from repeating what cannot succeed
	}
	switch whence {
	case io.SeekCurrent:
		offset += v.pos
	case io.SeekEnd:
		offset += v.size
	}
	if offset < 0 || offset > v.size {
		return 0, errors.New("seek outside of the request body")
	}
	v.pos = offset
	return offset, nil
}

// because returns the failure of the body, if that is why a request failed, or else
// err: what the network makes of a body that fails does not matter.
func (v *verified) because(err error) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if err != nil && v.err != nil {
		return v.err
	}
	return err
}
