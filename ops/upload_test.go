package ops

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/snapfs/snapfs/blobstore"
	"github.com/snapfs/snapfs/blobstore/dirstore"
	"github.com/snapfs/snapfs/blobstore/faulty"
	"github.com/snapfs/snapfs/blobstore/memstore"
	"github.com/snapfs/snapfs/manifest"
)

// upload is HashUpload that must succeed.
func upload(t testing.TB, m *manifest.AbsSnapshot, dst blobstore.Store, opts UploadOptions) (*manifest.AbsSnapshot, UploadStats) {
	t.Helper()
	got, stats, err := HashUpload(t.Context(), m, dst, opts)
	must(t, err)
	return got, stats
}

// content reads what the store holds for f.
func content(t testing.TB, s blobstore.Store, f manifest.File, chunk int64) string {
	t.Helper()
	var b strings.Builder
	for _, blob := range f.Blobs(chunk) {
		key, _, err := keyOf(blob.Hash)
		must(t, err)
		r, err := s.Open(t.Context(), key, 0, -1)
		must(t, err)
		_, err = io.Copy(&b, r)
		must(t, err)
		r.Close()
	}
	return b.String()
}

func countCalls(s *faulty.Store, op faulty.Op) (n int) {
	for _, c := range s.Calls() {
		if c.Op == op {
			n++
		}
	}
	return n
}

// cancelAt returns a context that is cancelled once s has received n calls of op.
func cancelAt(t testing.TB, s *faulty.Store, op faulty.Op, n int) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		defer cancel()
		for ctx.Err() == nil && countCalls(s, op) < n {
			time.Sleep(time.Millisecond)
		}
	}()
	return ctx
}

// counters picks the numbers of UploadStats.
type counters struct{ Hashed, HashedB, Up, UpB, Skip, SkipB int64 }

func countersOf(s UploadStats) counters {
	return counters{s.HashedFiles, s.HashedBytes, s.UploadedFiles, s.UploadedBytes, s.SkippedFiles, s.SkippedBytes}
}

// Spec/ops.md §3 statements 1 to 5 and G-15: what is stored, and how it is counted.
// Large contents take the streaming path, because the buffers are small.
func TestHashUploadStoresAndCounts(t *testing.T) {
	big := strings.Repeat("0123456789", 30_000)
	for _, tc := range []struct {
		name   string
		files  map[string]string
		chunk  int64
		before []string // contents the store has already
		want   counters
		blobs  int
	}{
		{"empty_manifest", nil, 100, nil, counters{}, 0},
		{"single_file_hashed_and_stored", map[string]string{"f": "abc"}, 100, nil, counters{1, 3, 1, 3, 0, 0}, 1},
		{"an empty file", map[string]string{"f": ""}, 100, nil, counters{1, 0, 1, 0, 0, 0}, 1},
		{"an empty file that is there", map[string]string{"f": ""}, 100, []string{""}, counters{1, 0, 0, 0, 1, 0}, 1},
		{"duplicate_content_stored_once", map[string]string{"f": "abc", "g": "abc"}, 100, nil, counters{2, 6, 1, 3, 1, 3}, 1},
		{"second_upload_skips_existing", map[string]string{"f": "abc"}, 100, []string{"abc"}, counters{1, 3, 0, 0, 1, 3}, 1},
		{"chunked_upload_produces_chunk_hashes", map[string]string{"f": "aaaabbbbcc"}, 4, nil, counters{1, 10, 1, 10, 0, 0}, 3},
		{"chunked_file_with_some_duplicate_chunks", map[string]string{"f": "aaaabbbbaaaa"}, 4, nil, counters{1, 12, 1, 8, 0, 4}, 2},
		{"chunked, all present", map[string]string{"f": "aaaabb"}, 4, []string{"aaaa", "bb"}, counters{1, 6, 0, 0, 1, 6}, 2},
		{"large and whole", map[string]string{"f": big}, manifest.WholeFile, nil, counters{1, 300_000, 1, 300_000, 0, 0}, 1},
		{"large and chunked", map[string]string{"f": big}, 100_000, nil, counters{1, 300_000, 1, 100_000, 0, 200_000}, 1},
	} {
		for _, workers := range []int{1, 8} {
			t.Run(fmt.Sprintf("%s, %d workers", tc.name, workers), func(t *testing.T) {
				root := writeTree(t, tc.files)
				store := memstore.New()
				for _, c := range tc.before {
					storePut(t, store, c)
				}
				var p Progress
				got, stats := upload(t, collect(t, CollectOptions{ChunkSize: tc.chunk}, root), store,
					UploadOptions{Workers: workers, MaxMemory: 1024, Progress: &p})
				for _, f := range got.Files {
					if c := content(t, store, f, got.ChunkSize); c != tc.files[filepath.Base(f.Path)] {
						t.Errorf("%s: the store holds %d bytes, not the content", f.Path, len(c))
					}
				}
				if diff := cmp.Diff(tc.want, countersOf(stats)); diff != "" {
					t.Errorf("stats (-want +got):\n%s", diff)
				}
				if stats.UploadedBytes+stats.SkippedBytes != stats.TotalBytes || stats.UploadedFiles+stats.SkippedFiles != stats.TotalFiles {
					t.Errorf("the parts do not make up the whole: %+v", stats)
				}
				if len(tc.files) > 0 && stats.TotalBytes > 0 && p.Counts().Percent() != 100 {
					t.Errorf("progress %v", p.Counts().Percent())
				}
				blobs := 0
				must(t, store.List(t.Context(), func(blobstore.Key, blobstore.Info) error { blobs++; return nil }))
				if blobs != tc.blobs {
					t.Errorf("%d blobs, want %d", blobs, tc.blobs)
				}
			})
		}
	}
}

func storePut(t testing.TB, s blobstore.Store, content string) blobstore.Key {
	t.Helper()
	key, _, err := keyOf(manifest.Sum([]byte(content)))
	must(t, err)
	must(t, s.Put(t.Context(), key, io.NewSectionReader(strings.NewReader(content), 0, int64(len(content)))))
	return key
}

// concurrent_identical_files_upload_exactly_once, concurrent_mixed_content_uploads_once_per_unique_hash.
func TestHashUploadPutsIdenticalContentOnce(t *testing.T) {
	files := map[string]string{}
	for i := range 16 {
		files[fmt.Sprint("same", i)] = "the same"
		files[fmt.Sprint("mixed", i)] = fmt.Sprint("mixed", i%2)
	}
	root := writeTree(t, files)
	store := faulty.Wrap(memstore.New())
	store.Inject(faulty.Fault{Op: faulty.Put, Times: faulty.Always, Delay: 20 * time.Millisecond})
	_, stats := upload(t, collect(t, CollectOptions{}, root), store, UploadOptions{Workers: 8})
	if n := countCalls(store, faulty.Put); n != 3 || stats.UploadedFiles != 3 {
		t.Errorf("%d puts, %d uploaded files, want 3", n, stats.UploadedFiles)
	}
}

// The second run of an unchanged tree opens no file; a missing blob is read anew.
func TestHashUploadSecondRun(t *testing.T) {
	root := writeTree(t, map[string]string{"f": "abc", "g": "defghijk"})
	m := collect(t, CollectOptions{ChunkSize: 4}, root)
	store, cache := memstore.New(), newMapCache()
	first, _ := upload(t, m, store, UploadOptions{Cache: cache})
	must(t, os.Rename(root, root+".away")) // nothing can be opened now
	second, stats := upload(t, m, store, UploadOptions{Cache: cache})
	if diff := cmp.Diff(first.Files, second.Files); diff != "" {
		t.Errorf("the second run differs:\n%s", diff)
	}
	if diff := cmp.Diff(counters{Skip: 2, SkipB: 11}, countersOf(stats)); diff != "" {
		t.Errorf("hash_cache_enables_full_skip (-want +got):\n%s", diff)
	}
	must(t, os.Rename(root+".away", root))
	key, _, err := keyOf(manifest.Sum([]byte("hijk")))
	must(t, err)
	must(t, store.Delete(t.Context(), key))
	third, stats := upload(t, m, store, UploadOptions{Cache: cache})
	if diff := cmp.Diff(first.Files, third.Files); diff != "" {
		t.Errorf("the third run differs:\n%s", diff)
	}
	if diff := cmp.Diff(counters{Hashed: 1, HashedB: 8, Up: 1, UpB: 4, Skip: 1, SkipB: 7}, countersOf(stats)); diff != "" {
		t.Errorf("data_cache_miss_after_hash_cache_hit_reuploads (-want +got):\n%s", diff)
	}
	_, stats = upload(t, m, store, UploadOptions{Cache: cache, ForceRehash: true})
	if stats.HashedFiles != 2 {
		t.Errorf("force_rehash_bypasses_hash_cache: %+v", stats)
	}
}

// G-25, spec/caches.md §6: a blob of the wrong size is not believed in.
func TestHashUploadReplacesTruncatedBlob(t *testing.T) {
	root := writeTree(t, map[string]string{"f": "abcdef"})
	dir := t.TempDir()
	store, err := dirstore.Open(dir, dirstore.Options{})
	must(t, err)
	key, _, err := keyOf(manifest.Sum([]byte("abcdef")))
	must(t, err)
	writeFile(t, filepath.Join(dir, string(key)), "abc", 0o444)
	cache := newMapCache()
	m := collect(t, CollectOptions{}, root)
	_, _, err = Hash(t.Context(), m, HashOptions{Cache: cache}) // so that the cache vouches for it
	must(t, err)
	got, stats := upload(t, m, store, UploadOptions{Cache: cache})
	if c := content(t, store, got.Files[0], 1<<20); c != "abcdef" || stats.UploadedFiles != 1 {
		t.Errorf("the store holds %q, stats %+v", c, stats)
	}
}

// onPut is a store that calls a hook before each Put.
type onPut struct {
	blobstore.Store
	hook func(blobstore.Key)
}

func (s onPut) Put(ctx context.Context, key blobstore.Key, body *io.SectionReader) error {
	s.hook(key)
	return s.Store.Put(ctx, key, body)
}

// G-11: content that changes between being hashed and being stored is noticed.
func TestHashUploadReadsChangingFilesAgain(t *testing.T) {
	long := func(s string) string { return strings.Repeat(s, 50_000) }
	for _, tc := range []struct {
		name    string
		before  string
		after   string
		changes int // how often it changes
		fails   bool
	}{
		{"small, rewritten once", "abc", "xyz", 1, false},
		{"small, grows", "abc", "abcdef", 1, false},
		{"large, rewritten once", long("abc"), long("xyz"), 1, false},
		{"large, shrinks", long("abcd"), long("xyz"), 1, false},
		{"chunked, grows", long("ab"), long("abcde"), 1, false},
		{"never holds still", long("abc"), long("xyz"), 1000, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			root := writeTree(t, map[string]string{"f": tc.before})
			at := filepath.Join(root, "f")
			m := collect(t, CollectOptions{ChunkSize: 120_000}, root)
			changes := 0
			var mu sync.Mutex
			store := onPut{memstore.New(), func(blobstore.Key) {
				mu.Lock()
				defer mu.Unlock()
				if changes < tc.changes {
					changes++
					must(t, os.WriteFile(at, []byte(tc.after[:len(tc.after)-changes+1]), 0o644))
				}
			}}
			got, _, err := HashUpload(t.Context(), m, store, UploadOptions{MaxMemory: 32 << 10, Workers: 2})
			if tc.fails {
				var fails *Failures
				if !errors.As(err, &fails) || !errors.Is(err, ErrChanged) || fails.List[0].Path != at {
					t.Fatalf("got %v, want ErrChanged of %s", err, at)
				}
				return
			}
			must(t, err)
			f := got.Files[0]
			if c := content(t, store, f, got.ChunkSize); c != tc.after || f.Size != int64(len(tc.after)) {
				t.Errorf("%d bytes are stored and %d listed, want %d", len(c), f.Size, len(tc.after))
			}
		})
	}
}

// G-27, G-28: failures of the store are reported for every file they concern.
func TestHashUploadReportsFailuresOfTheStore(t *testing.T) {
	broken := errors.New("broken")
	for _, tc := range []struct {
		name  string
		fault faulty.Fault
		files int
	}{
		{"G-27 a Stat that fails is not a missing blob", faulty.Fault{Op: faulty.Stat, Times: faulty.Always, Err: broken}, 4},
		{"G-28 those who wait for a Put learn that it failed", faulty.Fault{Op: faulty.Put, Times: faulty.Always, Err: broken, Delay: 10 * time.Millisecond}, 4},
	} {
		t.Run(tc.name, func(t *testing.T) {
			root := writeTree(t, map[string]string{"a": "same", "b": "same", "c": "same", "d": "same"})
			store := faulty.Wrap(memstore.New())
			store.Inject(tc.fault)
			_, stats, err := HashUpload(t.Context(), collect(t, CollectOptions{}, root), store, UploadOptions{})
			var fails *Failures
			if !errors.As(err, &fails) || !errors.Is(err, broken) || len(fails.List) != tc.files {
				t.Fatalf("got %v", err)
			}
			if stats.UploadedFiles != 0 || stats.SkippedFiles != 0 {
				t.Errorf("failed files are counted: %+v", stats)
			}
		})
	}
}

func TestHashUploadEndsEarlyWhenTheStoreIsUnusable(t *testing.T) {
	files := map[string]string{}
	for i := range 500 {
		files[fmt.Sprint(i)] = fmt.Sprint(i)
	}
	root := writeTree(t, files)
	store := faulty.Wrap(memstore.New())
	store.Inject(faulty.Fault{Op: faulty.Put, Times: faulty.Always, Err: blobstore.ErrNoSpace})
	_, _, err := HashUpload(t.Context(), collect(t, CollectOptions{}, root), store, UploadOptions{})
	if !errors.Is(err, blobstore.ErrNoSpace) || errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if n := countCalls(store, faulty.Put); n > 50 {
		t.Errorf("%d puts into a full store", n)
	}
}

// The cache keeps what was hashed before a failure, so that a second run resumes.
func TestHashUploadResumesAfterCancel(t *testing.T) {
	files := map[string]string{}
	for i := range 40 {
		files[fmt.Sprint(i)] = fmt.Sprint("content", i)
	}
	root := writeTree(t, files)
	m := collect(t, CollectOptions{}, root)
	inner := memstore.New()
	store := faulty.Wrap(inner)
	store.Inject(faulty.Fault{Op: faulty.Put, Skip: 20, Times: faulty.Always, Hang: true})
	cache := newMapCache()
	_, _, err := HashUpload(cancelAt(t, store, faulty.Put, 24), m, store, UploadOptions{Cache: cache, Workers: 4})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	_, stats := upload(t, m, inner, UploadOptions{Cache: cache})
	if stats.UploadedFiles != 20 || stats.SkippedFiles != 20 || stats.HashedFiles != 20 {
		t.Errorf("the second run did %+v", stats)
	}
}

// syncStore counts barriers and refuses puts after the last one.
type syncStore struct {
	blobstore.Store
	synced int
	err    error
}

func (s *syncStore) Unwrap() blobstore.Store { return s.Store }
func (s *syncStore) Sync(context.Context) error {
	s.synced++
	return s.err
}

func TestHashUploadSyncsOnceBeforeItReturns(t *testing.T) {
	root := writeTree(t, map[string]string{"a": "1", "b": "2"})
	m := collect(t, CollectOptions{}, root)
	store := &syncStore{Store: memstore.New()}
	upload(t, m, struct{ *syncStore }{store}, UploadOptions{})
	if store.synced != 1 {
		t.Errorf("%d barriers", store.synced)
	}
	// A run that finds everything there needs the barrier too: an earlier one may
	// have been interrupted before its own.
	upload(t, m, store, UploadOptions{})
	if store.synced != 2 {
		t.Errorf("%d barriers", store.synced)
	}
	store.err = errors.New("disk on fire")
	if got, _, err := HashUpload(t.Context(), m, store, UploadOptions{}); !errors.Is(err, store.err) || got != nil {
		t.Errorf("a failed barrier gives %v, %v", got, err)
	}
}

func TestUploaderUploadsRanges(t *testing.T) {
	store := memstore.New()
	up := NewUploader(store, 0)
	r := strings.NewReader("0123456789")
	for _, tc := range []struct {
		off, n int64
		stored bool
	}{{2, 3, true}, {2, 3, false}, {0, 0, true}, {5, 5, true}} {
		got, err := up.Upload(t.Context(), r, tc.off, tc.n)
		must(t, err)
		want := Uploaded{manifest.Blob{Hash: manifest.Sum([]byte("0123456789"[tc.off : tc.off+tc.n])), Size: tc.n}, tc.stored}
		if got != want {
			t.Errorf("Upload(%d, %d) = %+v, want %+v", tc.off, tc.n, got, want)
		}
	}
	if _, err := up.Upload(t.Context(), r, 8, 5); !errors.Is(err, ErrChanged) {
		t.Errorf("a range past the end gives %v", err)
	}
	must(t, up.Sync(t.Context()))
}

// Someone else's failure must not become one's own.
func TestUploaderTakesOverFromOneThatGaveUp(t *testing.T) {
	store := faulty.Wrap(memstore.New())
	store.Inject(faulty.Fault{Op: faulty.Put, Hang: true})
	up := NewUploader(store, 0)
	first, cancel := context.WithCancel(t.Context())
	var wait sync.WaitGroup
	wait.Go(func() {
		if _, err := up.Upload(first, strings.NewReader("x"), 0, 1); !errors.Is(err, context.Canceled) {
			t.Errorf("the first got %v", err)
		}
	})
	for countCalls(store, faulty.Put) == 0 {
		time.Sleep(time.Millisecond)
	}
	wait.Go(func() {
		if got, err := up.Upload(t.Context(), strings.NewReader("x"), 0, 1); err != nil || !got.Stored {
			t.Errorf("the second got %+v, %v", got, err)
		}
	})
	time.Sleep(5 * time.Millisecond)
	cancel()
	wait.Wait()
}

func TestBuffersStayWithinBounds(t *testing.T) {
	for _, tc := range []struct {
		workers   int
		maxMemory int64
		size      int
		count     int
	}{
		{10, 0, 1 << 20, 10}, {10, 1 << 30, 1 << 20, 10}, {4, 1 << 20, 256 << 10, 4},
		{10, 20 << 10, 4 << 10, 5}, {10, 1024, 4 << 10, 1}, {1, 32, 4 << 10, 1},
	} {
		b := newBuffers(tc.workers, tc.maxMemory)
		if b.size != tc.size || cap(b.free) != tc.count {
			t.Errorf("newBuffers(%d, %d): %d of %d bytes, want %d of %d", tc.workers, tc.maxMemory, cap(b.free), b.size, tc.count, tc.size)
		}
	}
	b := newBuffers(1, 0)
	_, err := b.get(t.Context())
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := b.get(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a second buffer: %v", err)
	}
}

func benchmarkUpload(b *testing.B, prepare func(root string)) {
	root := b.TempDir()
	prepare(root)
	b.ResetTimer()
	for b.Loop() {
		b.StopTimer()
		dir, err := os.MkdirTemp(b.TempDir(), "store")
		must(b, err)
		store, err := dirstore.Open(dir, dirstore.Options{})
		must(b, err)
		b.StartTimer()
		m, err := Collect(b.Context(), []string{root}, CollectOptions{})
		must(b, err)
		_, stats, err := HashUpload(b.Context(), m, store, UploadOptions{})
		must(b, err)
		b.SetBytes(stats.TotalBytes)
		b.StopTimer()
		must(b, os.RemoveAll(dir))
		b.StartTimer()
	}
}

func BenchmarkUploadSmall(b *testing.B) {
	benchmarkUpload(b, func(root string) { writeSmall(b, root, 10_000, 16<<10) })
}

func BenchmarkUploadLarge(b *testing.B) {
	benchmarkUpload(b, func(root string) { writeLarge(b, root, 4, 512<<20) })
}

// writeSmall writes files of distinct content into 100 directories.
func writeSmall(b *testing.B, root string, count, size int) {
	b.Helper()
	block := bytes.Repeat([]byte("0123456789abcdef"), size/16)
	for i := range count {
		dir := filepath.Join(root, fmt.Sprintf("d%02d", i%100))
		must(b, os.MkdirAll(dir, 0o755))
		copy(block, fmt.Sprintf("%016d", i))
		must(b, os.WriteFile(filepath.Join(dir, fmt.Sprint("f", i)), block, 0o644))
	}
}
