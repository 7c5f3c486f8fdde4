package ops

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/snapfs/snapfs/blobstore"
	"github.com/snapfs/snapfs/manifest"
)

// maxAttempts is how often content that changes while it is read is read again.
const maxAttempts = 3

// Uploader stores runs of content in one store, each distinct content once however
// many goroutines come with it at the same time. It remembers what it has stored or
// seen there, so it should live no longer than one publication.
type Uploader struct {
	dst  blobstore.Store
	bufs *buffers

	mu      sync.Mutex
	flights map[digest]*flight
	landed  *flight // stands for every flight that ended well
}

// digest is the binary form of a hash: publications have millions of them.
type digest [16]byte

// flight is one attempt to make sure that a blob is in the store.
type flight struct {
	done chan struct{} // closed when err is valid
	err  error
}

// NewUploader returns an Uploader for dst whose buffers take at most maxMemory
// bytes together; 0 means 64 MiB.
func NewUploader(dst blobstore.Store, maxMemory int64) *Uploader {
	return newUploader(dst, newBuffers(defaultUploads, maxMemory))
}

func newUploader(dst blobstore.Store, bufs *buffers) *Uploader {
	landed := &flight{done: make(chan struct{})}
	close(landed.done)
	return &Uploader{dst: dst, bufs: bufs, flights: map[digest]*flight{}, landed: landed}
}

// Uploaded is the outcome of Uploader.Upload.
type Uploaded struct {
	Blob   manifest.Blob
	Stored bool // false when the store held the blob already
}

// Upload makes sure that the n bytes of r at off are in the store, and returns the
// blob they are. Content that changes while it is read is read again, and after a
// few attempts reported as ErrChanged; what was stored by then is intact, because
// stores verify what they are given. The blob is durable only after Sync.
//
// Upload reads content of more than a buffer twice: to name it, and to store it.
func (u *Uploader) Upload(ctx context.Context, r io.ReaderAt, off, n int64) (Uploaded, error) {
	buf, err := u.bufs.get(ctx)
	if err != nil {
		return Uploaded{}, err
	}
	defer u.bufs.put(buf)
	h, stored, err := u.take(ctx, r, off, n, buf)
	if err != nil {
		return Uploaded{}, err
	}
	return Uploaded{Blob: manifest.Blob{Hash: h, Size: n}, Stored: stored}, nil
}

// Sync waits until everything that Upload stored is durable. It must be called
// before anything is published that names those blobs.
func (u *Uploader) Sync(ctx context.Context) error {
	if s, ok := blobstore.As[blobstore.Syncer](u.dst); ok {
		if err := s.Sync(ctx); err != nil {
			return fmt.Errorf("make the stored blobs durable: %w", err)
		}
	}
	return nil
}

// take hashes and stores one run of content by means of buf.
func (u *Uploader) take(ctx context.Context, r io.ReaderAt, off, n int64, buf []byte) (manifest.Hash, bool, error) {
	body := io.NewSectionReader(r, off, n)
	for range maxAttempts {
		h, err := hashSection(ctx, body, buf)
		if err != nil {
			return "", false, err
		}
		source := body
		if n <= int64(len(buf)) { // hashSection left all of it there
			source = io.NewSectionReader(bytes.NewReader(buf[:n]), 0, n)
		}
		stored, err := u.ensure(ctx, manifest.Blob{Hash: h, Size: n}, source)
		if !errors.Is(err, blobstore.ErrMismatch) {
			return h, stored, err
		}
	}
	return "", false, ErrChanged
}

// hashSection returns the hash of body. When body fits into buf, all of it is in buf
// afterwards. Content that ends early is ErrChanged.
func hashSection(ctx context.Context, body *io.SectionReader, buf []byte) (manifest.Hash, error) {
	size := body.Size()
	if size <= int64(len(buf)) {
		if err := readFull(body, buf[:size], 0); err != nil {
			return "", err
		}
		return manifest.Sum(buf[:size]), nil
	}
	h := manifest.NewHasher()
	for off := int64(0); off < size; {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		p := buf[:min(int64(len(buf)), stride, size-off)]
		if err := readFull(body, p, off); err != nil {
			return "", err
		}
		_, _ = h.Write(p) // never fails
		off += int64(len(p))
	}
	return h.Hash(), nil
}

// readFull fills p from r at off. Content that ends early is ErrChanged.
func readFull(r io.ReaderAt, p []byte, off int64) error {
	n, err := r.ReadAt(p, off)
	switch {
	case n == len(p):
		return nil
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return ErrChanged
	}
	return err
}

// ensure makes sure that the store holds blob, from body if need be. Of callers with
// the same blob one does the work, and all learn how it went (G-28). When the one
// fails for a reason of its own, because its content changed or its context ended,
// another takes over.
func (u *Uploader) ensure(ctx context.Context, blob manifest.Blob, body *io.SectionReader) (stored bool, err error) {
	key, id, err := keyOf(blob.Hash)
	if err != nil {
		return false, err
	}
	for {
		u.mu.Lock()
		f, waiting := u.flights[id]
		if !waiting {
			f = &flight{done: make(chan struct{})}
			u.flights[id] = f
		}
		u.mu.Unlock()
		if !waiting {
			stored, f.err = u.store(ctx, key, blob.Size, body)
			u.finish(id, f)
			return stored, f.err
		}
		select {
		case <-f.done:
		case <-ctx.Done():
			return false, ctx.Err()
		}
		if !isPrivate(f.err) {
			return false, f.err
		}
	}
}

func (u *Uploader) finish(id digest, f *flight) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if f.err == nil {
		u.flights[id] = u.landed
	} else {
		delete(u.flights, id)
	}
	close(f.done)
}

// isPrivate reports whether err says something about who met it, and nothing about
// the blob.
func isPrivate(err error) bool {
	return errors.Is(err, blobstore.ErrMismatch) || errors.Is(err, ErrChanged) ||
		errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// store puts the blob unless the store has it in the right size. A store that cannot
// tell is not asked to take it (G-27).
func (u *Uploader) store(ctx context.Context, key blobstore.Key, size int64, body *io.SectionReader) (bool, error) {
	there, err := isStored(ctx, u.dst, key, size)
	if there || err != nil {
		return false, err
	}
	err = u.dst.Put(ctx, key, body)
	if errors.Is(err, io.ErrUnexpectedEOF) && isCutShort(body) {
		err = ErrChanged
	}
	return err == nil, err
}

// isCutShort reports whether body, which was complete when it was hashed, has lost
// its end.
func isCutShort(body *io.SectionReader) bool {
	size := body.Size()
	return size > 0 && errors.Is(readFull(body, make([]byte, 1), size-1), ErrChanged)
}

// isStored reports whether s holds the blob in the right size, as far as it can tell.
func isStored(ctx context.Context, s blobstore.Store, key blobstore.Key, size int64) (bool, error) {
	info, err := s.Stat(ctx, key)
	if errors.Is(err, blobstore.ErrNotFound) {
		return false, nil
	}
	return err == nil && (info.Size == size || info.Size == blobstore.SizeUnknown), err
}

// present reports whether the store holds all the blobs.
func (u *Uploader) present(ctx context.Context, blobs []manifest.Blob) (bool, error) {
	for _, b := range blobs {
		key, id, err := keyOf(b.Hash)
		if err != nil {
			return false, err
		}
		u.mu.Lock()
		f := u.flights[id]
		u.mu.Unlock()
		if f != nil {
			select {
			case <-f.done:
			case <-ctx.Done():
				return false, ctx.Err()
			}
			if f.err == nil {
				continue
			}
		}
		if there, err := isStored(ctx, u.dst, key, b.Size); !there || err != nil {
			return false, err
		}
		u.mu.Lock()
		if u.flights[id] == nil {
			u.flights[id] = u.landed
		}
		u.mu.Unlock()
	}
	return true, nil
}

// keyOf returns the key and the digest of a hash, or an error for a hash that must
// not come near a store (G-31).
func keyOf(h manifest.Hash) (blobstore.Key, digest, error) {
	key, err := blobstore.KeyOf(string(h), string(manifest.XXH128))
	if err != nil {
		return "", digest{}, err
	}
	var id digest
	_, err = hex.Decode(id[:], []byte(h))
	return key, id, err
}
