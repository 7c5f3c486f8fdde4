// Package storetest checks a blob store against the contract written in package
// blobstore. The test of a store is
//
//	storetest.Run(t, func(t *testing.T) blobstore.Store { return … })
package storetest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/snapfs/snapfs/blobstore"
	"github.com/snapfs/snapfs/blobstore/internal/blobio"
)

// Run runs every check against stores that open returns. Each call of open must
// return a store that is empty, and that does not share blobs with the others.
// Abilities that the store has (blobstore.As) are checked too.
func Run(t *testing.T, open func(t *testing.T) blobstore.Store) {
	checks := []struct {
		name string
		run  func(*testing.T, func(*testing.T) blobstore.Store)
	}{
		{"round trip", one(testRoundTrip)},
		{"missing blob", one(testMissing)},
		{"bad keys are refused", one(testBadKeys)},
		{"ranges", one(testRanges)},
		{"put reads body from the start", one(testBodyPosition)},
		{"put is idempotent", one(testIdempotent)},
		{"mismatch stores nothing", one(testMismatch)},
		{"broken body stores nothing", one(testBrokenBody)},
		{"cancelled context", one(testCancelled)},
		{"cancelled while reading", one(testCancelledRead)},
		{"same key put concurrently", one(testConcurrentPut)},
		{"readers see all or nothing", one(testReadersDuringPut)},
		{"list", one(testList)},
		{"delete", one(testDelete)},
		{"sync", one(testSync)},
		{"files", one(testFiles)},
		{"location", one(testLocation)},
		{"copy", testCopy},
	}
	for _, c := range checks {
		t.Run(c.name, func(t *testing.T) { c.run(t, open) })
	}
}

func one(f func(*testing.T, blobstore.Store)) func(*testing.T, func(*testing.T) blobstore.Store) {
	return func(t *testing.T, open func(*testing.T) blobstore.Store) { f(t, open(t)) }
}

// Bytes returns n bytes that look random and are the same for the same n.
func Bytes(n int) []byte {
	p := make([]byte, n)
	rand.NewChaCha8([32]byte{byte(n), byte(n >> 8), byte(n >> 16)}).Read(p)
	return p
}

// Key returns the key of the blob that consists of p.
func Key(p []byte) blobstore.Key { return blobio.KeyOf(p) }

// Body returns p in the form that Put takes.
func Body(p []byte) *io.SectionReader {
	return io.NewSectionReader(bytes.NewReader(p), 0, int64(len(p)))
}

// Put stores p in s, fails the test if that fails, and returns the key.
func Put(t testing.TB, s blobstore.Store, p []byte) blobstore.Key {
	t.Helper()
	key := Key(p)
	if err := s.Put(t.Context(), key, Body(p)); err != nil {
		t.Fatalf("Put(%s): %v", key, err)
	}
	return key
}

// Get returns the n bytes at off of a blob.
func Get(ctx context.Context, s blobstore.Store, key blobstore.Key, off, n int64) ([]byte, error) {
	r, err := s.Open(ctx, key, off, n)
	if err != nil {
		return nil, err
	}
	p, err := io.ReadAll(r)
	return p, errors.Join(err, r.Close())
}

// wantBlob fails the test unless s holds exactly p under its key.
func wantBlob(t *testing.T, s blobstore.Store, p []byte) {
	t.Helper()
	key := Key(p)
	info, err := s.Stat(t.Context(), key)
	if err != nil || info.Size != int64(len(p)) {
		t.Errorf("Stat(%s) = %+v, %v; want %d bytes", key, info, err, len(p))
	}
	got, err := Get(t.Context(), s, key, 0, -1)
	if err != nil || !bytes.Equal(got, p) {
		t.Errorf("Open(%s): got %d bytes, %v; want the %d bytes put", key, len(got), err, len(p))
	}
}

// wantAbsent fails the test unless s says that it has no such blob.
func wantAbsent(t *testing.T, s blobstore.Store, key blobstore.Key) {
	t.Helper()
	if _, err := s.Stat(t.Context(), key); !errors.Is(err, blobstore.ErrNotFound) {
		t.Errorf("Stat(%s) = %v, want ErrNotFound", key, err)
	}
}

// badKeys are names that must never reach a store (spec/gaps.md G-31).
var badKeys = []blobstore.Key{
	"",
	".",
	"..",
	"../../etc/passwd",
	"99aa06d3014798d86001c324468d497f",
	"99aa06d3014798d86001c324468d497f.",
	"99aa06d3014798d86001c324468d497f.sha256",
	"99AA06D3014798D86001C324468D497F.xxh128",
	"99aa06d3014798d86001c324468d497.xxh128",
	"99aa06d3014798d86001c324468d497ff.xxh128",
	"../../99aa06d3014798d86001c3244.xxh128",
	"99aa06d3014798d8/001c324468d497f.xxh128",
	"99aa06d3014798d86001c324468d497f.xxh128\x00",
	"99aa06d3014798d86001c324468d497f.xxh128/",
	blobstore.Key(strings.Repeat("é", 16) + ".xxh128"),
}
