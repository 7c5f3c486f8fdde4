// Package blobstore defines what holds the contents of files: a Store of immutable
// blobs named after their own hash, and the small optional abilities a store may
// have besides.
//
// Implementations live in the packages below: dirstore (a directory), s3store (an
// S3 bucket) and memstore (memory, for tests). Package storetest checks any of them
// against the contract written here.
package blobstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// Key names a blob: "<hash>.<algorithm>", for example
// "99aa06d3014798d86001c324468d497f.xxh128". Every method of a store refuses any
// other form (see Key.Check), so that a key is always safe as a file name.
type Key string

// SizeUnknown is the Size of a blob of which it is only remembered that the store has it.
const SizeUnknown int64 = -1

// Info describes a stored blob.
type Info struct {
	Size int64 // bytes, or SizeUnknown when a cache answered instead of the store
}

// Store holds blobs. All methods may be called by any number of goroutines.
//
// Errors wrap one of the sentinel errors below where one fits, so that callers
// branch with errors.Is and never on text.
type Store interface {
	// Stat describes the blob. A blob that is not there is ErrNotFound; any other
	// error says nothing about whether the blob exists.
	Stat(ctx context.Context, key Key) (Info, error)

	// Open returns the n bytes of the blob that start at off; n < 0 means to the
	// end. A range that is not wholly inside the blob is ErrRange. The stream ends
	// with io.EOF only after exactly the promised bytes: a transfer that breaks
	// off is an error. The caller must close it. The content is not verified here.
	Open(ctx context.Context, key Key, off, n int64) (io.ReadCloser, error)

	// Put stores the whole of body under key. It is atomic (readers see all or
	// nothing), idempotent (a blob that is present is a success) and verified: a
	// body whose hash is not that of the key is ErrMismatch, and nothing is stored.
	// The body may be read several times, from the start.
	Put(ctx context.Context, key Key, body *io.SectionReader) error
}

// Copier is a store that can take a blob from another store without moving its
// bytes through this process.
type Copier interface {
	// CopyFrom copies the blob from src. It returns errors.ErrUnsupported when src
	// is of a kind that it cannot copy from.
	CopyFrom(ctx context.Context, src Store, key Key) error
}

// Syncer is a store whose Put may return before the blob is durable.
type Syncer interface {
	// Sync is a barrier: when it returns, every blob whose Put returned before is
	// durable. Publishers call it before they write a manifest.
	Sync(ctx context.Context) error
}

// Lister is a store that can enumerate its blobs.
type Lister interface {
	// List calls fn for every blob, in no particular order, until fn fails.
	List(ctx context.Context, fn func(Key, Info) error) error
}

// Deleter is a store that can remove blobs. Normal operation never deletes.
type Deleter interface {
	// Delete removes the blob; a blob that is not there is a success.
	Delete(ctx context.Context, key Key) error
}

// Cleaner is a store in which a writer that was killed may leave something that is no
// blob, and that nobody sees.
type Cleaner interface {
	// Clean removes such leftovers that are older than age, and returns how many there
	// were. An age below a day may disturb writers that are alive: they fail, and
	// nothing worse.
	Clean(ctx context.Context, age time.Duration) (removed int, err error)
}

// Files is a store whose blobs are local files.
type Files interface {
	// Path returns the absolute path at which the blob lies, present or not.
	// Callers open it read-only.
	Path(key Key) (string, error)
}

// Locator is a store that can say where it is, for messages.
type Locator interface {
	// Location returns the URL of the store, without credentials.
	Location() string
}

// Retrier is a store that repeats requests by itself.
type Retrier interface {
	// Retries returns how many requests were repeated, by reason, since the store was
	// opened.
	Retries() map[string]int64
}

// Sentinel errors of stores.
var (
	// ErrNotFound means that the store answered and has no such blob. It does not
	// match io/fs.ErrNotExist on purpose: a missing blob is an I/O error of the
	// file that needs it, never a missing file.
	ErrNotFound = errors.New("blob not found")
	// ErrNoStore means that the bucket or directory itself does not exist.
	ErrNoStore = errors.New("store does not exist")
	// ErrMismatch means that bytes do not have the hash they were stored under.
	ErrMismatch = errors.New("content does not match its hash")
	// ErrRange means that a requested range is not inside the blob.
	ErrRange = errors.New("range outside of the blob")
	// ErrPermission means that credentials are missing, wrong or not sufficient.
	ErrPermission = errors.New("access denied")
	// ErrExpired means that credentials which were good once are refused, or that none
	// can be had any more: new ones may appear. It comes together with ErrPermission.
	ErrExpired = errors.New("credentials have expired")
	// ErrNoSpace means that the store is full or over its quota.
	ErrNoSpace = errors.New("no space left in the store")
	// ErrUnavailable means that the store could not be reached or kept failing
	// after retries.
	ErrUnavailable = errors.New("store unavailable")
	// ErrBadKey means that a key is not "<32 hex digits>.<algorithm>".
	ErrBadKey = errors.New("invalid blob key")
)

// KeyOf returns the key of the blob with the given hash and algorithm, or ErrBadKey
// when the hash is not 32 lower-case hexadecimal digits.
func KeyOf(hash, algorithm string) (Key, error) {
	k := Key(hash + "." + algorithm)
	return k, k.Check()
}

// Check returns an error that wraps ErrBadKey unless k is 32 lower-case hexadecimal
// digits, a dot and "xxh128".
func (k Key) Check() error {
	const suffix = ".xxh128"
	if len(k) != 32+len(suffix) || string(k[32:]) != suffix {
		return fmt.Errorf("%w: %q", ErrBadKey, string(k))
	}
	for i := range 32 {
		if c := k[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return fmt.Errorf("%w: %q", ErrBadKey, string(k))
		}
	}
	return nil
}

// Hash returns the hash part of a valid key.
func (k Key) Hash() string { return string(k[:32]) }

// As returns the outermost store in the chain of wrappers around s, s included,
// that has the ability T. Always use it instead of a type assertion: wrappers hide
// the abilities of what they wrap.
func As[T any](s Store) (T, bool) {
	for s != nil {
		if t, ok := s.(T); ok {
			return t, true
		}
		w, ok := s.(interface{ Unwrap() Store })
		if !ok {
			break
		}
		s = w.Unwrap()
	}
	var none T
	return none, false
}
