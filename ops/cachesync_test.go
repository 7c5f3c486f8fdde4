package ops

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/snapfs/snapfs/blobstore"
	"github.com/snapfs/snapfs/blobstore/dirstore"
	"github.com/snapfs/snapfs/blobstore/faulty"
	"github.com/snapfs/snapfs/blobstore/memstore"
	"github.com/snapfs/snapfs/manifest"
)

// plain hides every ability of a store.
type plain struct{ s blobstore.Store }

func (p plain) Stat(ctx context.Context, k blobstore.Key) (blobstore.Info, error) {
	return p.s.Stat(ctx, k)
}

func (p plain) Open(ctx context.Context, k blobstore.Key, off, n int64) (io.ReadCloser, error) {
	return p.s.Open(ctx, k, off, n)
}

func (p plain) Put(ctx context.Context, k blobstore.Key, body *io.SectionReader) error {
	return p.s.Put(ctx, k, body)
}

func newDirStore(t testing.TB) *dirstore.Store {
	t.Helper()
	s, err := dirstore.Open(t.TempDir(), dirstore.Options{})
	must(t, err)
	return s
}

// cache_sync_*_to_*: every way a blob can take, with and without abilities.
func TestCacheSyncCopiesWhatIsMissing(t *testing.T) {
	large := strings.Repeat("0123456789", 300_000) // does not fit a buffer
	stores := map[string]func() blobstore.Store{
		"memory":    func() blobstore.Store { return memstore.New() },
		"directory": func() blobstore.Store { return newDirStore(t) },
		"plain":     func() blobstore.Store { return plain{memstore.New()} },
	}
	for from, makeSrc := range stores {
		for to, makeDst := range stores {
			t.Run(from+" to "+to, func(t *testing.T) {
				src, dst := makeSrc(), makeDst()
				m := snapshot(entry(t, src, "a", "small"), entry(t, src, "b", large), entry(t, src, "empty", ""),
					chunked(t, src, "c", strings.Repeat("x", 1<<20)+"tail", 1<<20), entry(t, src, "there", "there"))
				storePut(t, dst, "there")
				spool := t.TempDir()
				stats, err := CacheSync(t.Context(), src, dst, []manifest.Any{m}, SyncOptions{SpoolDir: spool, Workers: 3})
				must(t, err)
				for _, f := range m.Files {
					if c := content(t, dst, f, m.ChunkSize); int64(len(c)) != f.Size {
						t.Errorf("%s has %d bytes", f.Path, len(c))
					}
				}
				want := SyncStats{TotalObjects: 6, TotalBytes: m.TotalSize(), CopiedObjects: 5, CopiedBytes: m.TotalSize() - 5, SkippedObjects: 1, SkippedBytes: 5}
				if stats.Elapsed, stats.Rate = 0, 0; stats != want {
					t.Errorf("stats %+v, want %+v", stats, want)
				}
				if left, _ := os.ReadDir(spool); len(left) > 0 {
					t.Errorf("left in the spool: %v", left)
				}
				stats, err = CacheSync(t.Context(), src, dst, []manifest.Any{m, m}, SyncOptions{})
				must(t, err)
				if stats.SkippedObjects != 6 || stats.CopiedObjects != 0 {
					t.Errorf("the second run did %+v", stats)
				}
			})
		}
	}
}

// _multiple_manifests_deduplicates, _skips_non_syncable_entries, _handles_chunk_hashes,
// G-23: the last chunk counts with its real size.
func TestCacheSyncCountsDistinctBlobs(t *testing.T) {
	s := memstore.New()
	a := snapshot(entry(t, s, "a", "same"), manifest.File{Path: "unhashed", Size: 9}, manifest.File{Path: "l", Target: "a"})
	b := &manifest.AbsSnapshotDiff{ChunkSize: 4, Files: []manifest.File{
		entry(t, s, "/b", "same"), {Path: "/gone", Deleted: true}, chunked(t, s, "/c", "aaaabbbbc", 4),
	}}
	rel := &manifest.SnapshotDiff{ChunkSize: 4, Files: []manifest.File{chunked(t, s, "d", "bbbbe", 4)}}
	abs := &manifest.AbsSnapshot{ChunkSize: 4, Files: []manifest.File{entry(t, s, "/f", "f")}}
	stats, err := CacheSync(t.Context(), s, memstore.New(), []manifest.Any{a, b, rel, abs}, SyncOptions{})
	must(t, err)
	if stats.TotalObjects != 6 || stats.TotalBytes != 4+9+1+1 || stats.CopiedBytes != stats.TotalBytes {
		t.Errorf("stats %+v", stats)
	}
	stats, err = CacheSync(t.Context(), s, s, []manifest.Any{a}, SyncOptions{})
	must(t, err)
	if stats.SkippedObjects != 1 {
		t.Errorf("_same_cache_is_noop: %+v", stats)
	}
	stats, err = CacheSync(t.Context(), s, s, nil, SyncOptions{})
	must(t, err)
	if stats.Message() != "Synced 0 B (0 objects) in 0.00s" {
		t.Errorf("message %q", stats.Message())
	}
}

func TestCacheSyncReportsFailures(t *testing.T) {
	src := memstore.New()
	m := snapshot(entry(t, src, "a", "a"), manifest.File{Path: "missing", Size: 1, Hash: manifest.Sum([]byte("?"))})
	for name, dst := range map[string]blobstore.Store{"by itself": memstore.New(), "through here": plain{memstore.New()}} {
		stats, err := CacheSync(t.Context(), src, dst, []manifest.Any{m}, SyncOptions{})
		var fails *Failures
		if !errors.As(err, &fails) || !errors.Is(err, blobstore.ErrNotFound) || fails.List[0].Path != string(m.Files[1].Hash)+".xxh128" {
			t.Errorf("_missing_source_object_errors %s: %v", name, err)
		}
		if stats.CopiedObjects != 1 {
			t.Errorf("%s: %+v", name, stats)
		}
	}
	broken := errors.New("broken")
	dst := faulty.Wrap(memstore.New())
	dst.Inject(faulty.Fault{Op: faulty.Stat, Err: broken, Times: faulty.Always})
	if _, err := CacheSync(t.Context(), src, dst, []manifest.Any{snapshot(m.Files[0])}, SyncOptions{}); !errors.Is(err, broken) {
		t.Errorf("G-27: a Stat that fails gives %v", err)
	}
	bad := snapshot(manifest.File{Path: "f", Size: 1, Hash: "../../x"})
	if _, err := CacheSync(t.Context(), src, dst, []manifest.Any{bad}, SyncOptions{}); !errors.Is(err, manifest.ErrInvalid) {
		t.Errorf("G-31: %v", err)
	}
}

// What comes from the source is verified, by whatever way it comes.
func TestCacheSyncVerifies(t *testing.T) {
	for _, size := range []int{5, 3_000_000} {
		inner := memstore.New()
		m := snapshot(entry(t, inner, "f", strings.Repeat("x", size)))
		src := faulty.Wrap(inner)
		src.Inject(faulty.Fault{Op: faulty.Open, Stream: true, Corrupt: true, Times: faulty.Always})
		dst := memstore.New()
		if _, err := CacheSync(t.Context(), plain{src}, plain{dst}, []manifest.Any{m}, SyncOptions{}); !errors.Is(err, blobstore.ErrMismatch) {
			t.Errorf("%d corrupted bytes give %v", size, err)
		}
		dir := newDirStore(t)
		short := storePut(t, dir, "short")
		must(t, os.Chmod(dir.Root()+"/"+string(short), 0o644))
		must(t, os.WriteFile(dir.Root()+"/"+string(short), []byte("sh"), 0o644))
		if _, err := CacheSync(t.Context(), dir, dst, []manifest.Any{snapshot(manifest.File{Path: "f", Size: 5, Hash: manifest.Sum([]byte("short"))})}, SyncOptions{}); err == nil {
			t.Error("a truncated blob was copied")
		}
	}
}

// A large blob comes in ranges at the same time, and once more when it is wrong.
func TestCacheSyncFetchesLargeBlobsInRanges(t *testing.T) {
	inner := memstore.New()
	m := snapshot(entry(t, inner, "f", strings.Repeat("0123456789abcdef", 2*rangeSize/16+1)))
	var together, most atomic.Int64
	src := faulty.Wrap(onOpen{plain{inner}, func() func() {
		for n := together.Add(1); n > most.Load(); {
			most.Store(n)
		}
		time.Sleep(20 * time.Millisecond)
		return func() { together.Add(-1) }
	}})
	src.Inject(faulty.Fault{Op: faulty.Open, Skip: 1, Stream: true, After: 5, Corrupt: true})
	dst := memstore.New()
	stats, err := CacheSync(t.Context(), src, plain{dst}, []manifest.Any{m}, SyncOptions{SpoolDir: t.TempDir()})
	must(t, err)
	if c := content(t, dst, m.Files[0], 1<<40); manifest.Sum([]byte(c)) != m.Files[0].Hash || stats.CopiedBytes != m.Files[0].Size {
		t.Errorf("%d bytes were copied, %+v", len(c), stats)
	}
	var offsets []int64
	for _, c := range src.Calls() {
		if c.Op == faulty.Open {
			offsets = append(offsets, c.Off)
		}
	}
	slices.Sort(offsets)
	if diff := cmp.Diff([]int64{0, 0, rangeSize, rangeSize, 2 * rangeSize, 2 * rangeSize}, offsets); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
	if most.Load() < 2 {
		t.Error("ranges came one after the other")
	}
}

// onOpen is a store with a hook around each Open.
type onOpen struct {
	blobstore.Store
	hook func() (done func())
}

func (s onOpen) Open(ctx context.Context, key blobstore.Key, off, n int64) (io.ReadCloser, error) {
	defer s.hook()()
	return s.Store.Open(ctx, key, off, n)
}

// unable is a store whose own copying fails.
type unable struct {
	blobstore.Store
	err   error
	tried int
}

func (u *unable) CopyFrom(context.Context, blobstore.Store, blobstore.Key) error {
	u.tried++
	return u.err
}

func TestCacheSyncFallsBackWhenTheStoreCannotCopy(t *testing.T) {
	src := memstore.New()
	m := snapshot(entry(t, src, "f", "content"))
	for _, err := range []error{errors.ErrUnsupported, blobstore.ErrPermission, errors.New("odd")} {
		inner := memstore.New()
		dst := &unable{Store: inner, err: err}
		if _, err := CacheSync(t.Context(), src, dst, []manifest.Any{m}, SyncOptions{}); err != nil {
			t.Error(err)
		}
		if dst.tried != 1 || content(t, inner, m.Files[0], 1<<20) != "content" {
			t.Errorf("after %v: tried %d times", err, dst.tried)
		}
	}
}

// What a store says to have copied by itself is looked at.
func TestCacheSyncChecksWhatWasCopiedUnseen(t *testing.T) {
	src := memstore.New()
	m := snapshot(entry(t, src, "f", "content"))
	dst := &unable{Store: plain{memstore.New()}} // its CopyFrom does nothing, and says that it did
	if _, err := CacheSync(t.Context(), src, dst, []manifest.Any{m}, SyncOptions{}); !errors.Is(err, blobstore.ErrMismatch) || dst.tried != 1 {
		t.Errorf("got %v after %d attempts", err, dst.tried)
	}
}

func TestCacheSyncStopsWhenCancelledAndResumes(t *testing.T) {
	src := memstore.New()
	var files []manifest.File
	for i := range 40 {
		files = append(files, entry(t, src, fmt.Sprint(i), fmt.Sprint("content", i)))
	}
	inner := memstore.New()
	dst := faulty.Wrap(plain{inner})
	dst.Inject(faulty.Fault{Op: faulty.Put, Skip: 20, Hang: true, Times: faulty.Always})
	ctx := cancelAt(t, dst, faulty.Put, 24)
	if _, err := CacheSync(ctx, src, dst, []manifest.Any{snapshot(files...)}, SyncOptions{Workers: 4}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	stats, err := CacheSync(t.Context(), src, inner, []manifest.Any{snapshot(files...)}, SyncOptions{})
	must(t, err)
	if stats.SkippedObjects != 20 || stats.CopiedObjects != 20 {
		t.Errorf("the second run did %+v", stats)
	}
}

func TestCacheSyncMakesBlobsDurable(t *testing.T) {
	src := memstore.New()
	dst := &syncStore{Store: memstore.New()}
	_, err := CacheSync(t.Context(), src, dst, []manifest.Any{snapshot(entry(t, src, "f", "x"))}, SyncOptions{})
	must(t, err)
	if dst.synced != 1 {
		t.Errorf("%d barriers", dst.synced)
	}
}
