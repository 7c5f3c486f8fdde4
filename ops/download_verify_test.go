package ops

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/snapfs/snapfs/blobstore"
	"github.com/snapfs/snapfs/blobstore/dirstore"
	"github.com/snapfs/snapfs/blobstore/faulty"
	"github.com/snapfs/snapfs/blobstore/memstore"
	"github.com/snapfs/snapfs/manifest"
)

// chunked_file_downloaded_when_hash_mismatch: all chunks must be known, not only the first.
func TestDownloadWantsEveryChunkToBeKnown(t *testing.T) {
	s := memstore.New()
	f := chunked(t, s, "f", strings.Repeat("a", 1<<20)+"bb", 1<<20)
	dir, cache := t.TempDir(), newMapCache()
	at := filepath.Join(dir, "f")
	writeFile(t, at, strings.Repeat("a", 1<<20)+"??", 0o644)
	must(t, os.Chtimes(at, time.UnixMicro(testTime), time.UnixMicro(testTime)))
	cache.Store([]HashRow{
		{Path: at, End: 1 << 20, ModTime: testTime, Hash: f.Chunks[0]},
		{Path: at, Start: 1 << 20, End: 1<<20 + 2, ModTime: testTime, Hash: manifest.Sum([]byte("??"))},
	})
	_, stats := downloadTo(t, snapshot(f), dir, s, DownloadOptions{Cache: cache})
	if stats.DownloadedFiles != 1 {
		t.Errorf("stats %+v", stats)
	}
	if text, err := os.ReadFile(at); err != nil || !strings.HasSuffix(string(text), "abb") {
		t.Errorf("the file ends in %q, %v", text[len(text)-3:], err)
	}
}

// Spec/ops.md §4 statement 6: the cache knows what is on disk.
func TestDownloadUsesTheCache(t *testing.T) {
	s := memstore.New()
	chunky := chunked(t, s, "c", strings.Repeat("ab", 1<<20), 1<<20)
	m := snapshot(entry(t, s, "f", "hello"), chunky)
	dir, cache := t.TempDir(), newMapCache()
	downloadTo(t, m, dir, s, DownloadOptions{Cache: cache})
	if len(cache.rows) != 3 || cache.rows[HashRow{Path: dir + "/c", Start: 1 << 20, End: 2 << 20}] != chunky.Chunks[1] {
		t.Fatalf("hash_cache_updated_after_chunked_download: %v", cache.rows)
	}
	counted := faulty.Wrap(s)
	opens := func() int { return countCalls(counted, faulty.Open) }
	// The times in the manifest do not matter, those on disk do.
	other := snapshot(slices.Clone(m.Files)...)
	other.Files[0].ModTime, other.Files[1].ModTime = 5, 6
	other.Files[0].Runnable = true
	got, stats := downloadTo(t, other, dir, counted, DownloadOptions{Cache: cache})
	if stats.SkippedFiles != 2 || stats.SkippedBytes != 5+2<<20 || opens() != 0 {
		t.Errorf("hash_cache_skip_on_second_download: %+v", stats)
	}
	if got.Files[0].ModTime != testTime || got.Files[1].ModTime != testTime {
		t.Errorf("reported times %d, %d", got.Files[0].ModTime, got.Files[1].ModTime)
	}
	if info, _ := os.Stat(filepath.Join(dir, "f")); info.Mode().Perm() != 0o755 {
		t.Errorf("G-02: a file that is there already has mode %o", info.Mode())
	}
	for _, tc := range []struct {
		name    string
		disturb func() error
	}{
		{"stale_hash_cache_triggers_redownload", func() error { return os.WriteFile(filepath.Join(dir, "f"), []byte("HELLO"), 0o644) }},
		{"hash_cache_deleted_file_redownloads", func() error { return os.Remove(filepath.Join(dir, "f")) }},
		{"another file of that size and time", func() error {
			must(t, os.WriteFile(filepath.Join(dir, "f"), []byte("HELLO"), 0o644))
			at := time.UnixMicro(testTime)
			cache.Store([]HashRow{{Path: dir + "/f", End: -1, ModTime: testTime, Hash: manifest.Sum([]byte("HELLO"))}})
			return os.Chtimes(filepath.Join(dir, "f"), at, at)
		}},
	} {
		must(t, tc.disturb())
		_, stats := downloadTo(t, m, dir, counted, DownloadOptions{Cache: cache})
		if stats.DownloadedFiles != 1 || stats.SkippedFiles != 1 {
			t.Errorf("%s: %+v", tc.name, stats)
		}
		wantTree(t, dir, "c: 2097152 bytes", "f: hello")
	}
}

// Without a cache, what has the right size and time is read instead of fetched: the
// reference always fetches (deliberately different).
func TestDownloadResumesWithoutCache(t *testing.T) {
	s := faulty.Wrap(memstore.New())
	m := snapshot(entry(t, s, "a", "aaa"), entry(t, s, "b", "bbb"), chunked(t, s, "c", strings.Repeat("c", 2<<20), 1<<20))
	dir := t.TempDir()
	downloadTo(t, m, dir, s, DownloadOptions{})
	must(t, os.WriteFile(filepath.Join(dir, "b"), []byte("BBB"), 0o644))
	must(t, os.Chtimes(filepath.Join(dir, "b"), time.UnixMicro(testTime), time.UnixMicro(testTime)))
	before := countCalls(s, faulty.Open)
	_, stats := downloadTo(t, m, dir, s, DownloadOptions{})
	if stats.SkippedFiles != 2 || stats.DownloadedFiles != 1 || countCalls(s, faulty.Open) != before+1 {
		t.Errorf("stats %+v, %d requests", stats, countCalls(s, faulty.Open)-before)
	}
	wantTree(t, dir, "a: aaa", "b: bbb", "c: 2097152 bytes")
}

// G-22, G-12: whatever arrives is verified, and failures leave nothing behind.
func TestDownloadVerifiesAndCleansUp(t *testing.T) {
	big := strings.Repeat("0123456789abcdef", rangedMin/16+3)
	inner := memstore.New()
	files := map[string]manifest.File{
		"small": entry(t, inner, "f", "hello"), "large": entry(t, inner, "f", big),
		"chunked": chunked(t, inner, "f", strings.Repeat("x", 1<<20)+"y", 1<<20),
	}
	always := faulty.Always
	for _, tc := range []struct {
		name  string
		file  string
		fault faulty.Fault
		want  error
		text  string
	}{
		{"intact", "large", faulty.Fault{Op: faulty.Stat}, nil, ""},
		{"a byte is wrong once", "small", faulty.Fault{Op: faulty.Open, Stream: true, Corrupt: true}, nil, ""},
		{"a byte is wrong once in a range", "large", faulty.Fault{Op: faulty.Open, Stream: true, Corrupt: true, Skip: 2}, nil, ""},
		{"corrupted_cache_object", "small", faulty.Fault{Op: faulty.Open, Stream: true, Corrupt: true, Times: always}, blobstore.ErrMismatch, "hash mismatch"},
		{"corrupted_chunked_cache_object", "chunked", faulty.Fault{Op: faulty.Open, Stream: true, Corrupt: true, Times: always}, blobstore.ErrMismatch, "hash mismatch"},
		{"a byte is always wrong in a range", "large", faulty.Fault{Op: faulty.Open, Stream: true, Corrupt: true, Times: always}, blobstore.ErrMismatch, "hash mismatch"},
		{"a stream breaks off once", "large", faulty.Fault{Op: faulty.Open, Stream: true, After: 1 << 20, Err: io.ErrUnexpectedEOF, Skip: 1}, nil, ""},
		{"a stream ends early once", "small", faulty.Fault{Op: faulty.Open, Stream: true, After: 2, Err: io.EOF}, nil, ""},
		{"streams always break off", "large", faulty.Fault{Op: faulty.Open, Stream: true, After: 1 << 20, Err: io.ErrUnexpectedEOF, Times: always}, io.ErrUnexpectedEOF, ""},
		{"download_missing_object_returns_error", "chunked", faulty.Fault{Op: faulty.Open, Skip: 1, Err: blobstore.ErrNotFound, Times: always}, blobstore.ErrNotFound, ""},
		{"no permission", "large", faulty.Fault{Op: faulty.Open, Skip: 2, Err: blobstore.ErrPermission, Times: always}, blobstore.ErrPermission, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := faulty.Wrap(inner)
			s.Inject(tc.fault)
			dir := t.TempDir()
			_, stats, err := DownloadTo(t.Context(), snapshot(files[tc.file]), dir, s, DownloadOptions{Workers: 4})
			if tc.want == nil {
				must(t, err)
				text, err := os.ReadFile(filepath.Join(dir, "f"))
				must(t, err)
				if manifest.Sum(text) != manifest.Sum([]byte(map[string]string{"small": "hello", "large": big}[tc.file])) {
					t.Error("the content is wrong")
				}
				if stats.DownloadedBytes != files[tc.file].Size {
					t.Errorf("stats %+v", stats)
				}
				return
			}
			if !errors.Is(err, tc.want) || !strings.Contains(err.Error(), tc.text) || errors.Is(err, context.Canceled) {
				t.Errorf("got %v, want %v", err, tc.want)
			}
			if stats.DownloadedFiles != 0 || stats.DownloadedBytes != 0 {
				t.Errorf("stats %+v", stats)
			}
			wantTree(t, dir)
		})
	}
}

// A truncated or flipped blob of a local store takes another way to the file.
func TestDownloadVerifiesLocalBlobs(t *testing.T) {
	content := strings.Repeat("0123456789", 200_000)
	for _, tc := range []struct {
		name   string
		damage func(p []byte) []byte
		want   error
	}{
		{"intact", func(p []byte) []byte { return p }, nil},
		{"a byte flipped", func(p []byte) []byte { p[1_000_000] ^= 1; return p }, blobstore.ErrMismatch},
		{"download_with_truncated_cache_object", func(p []byte) []byte { return p[:1_000_000] }, blobstore.ErrMismatch},
	} {
		for _, size := range []int{2_000_000, 100_000_0 + 1} {
			t.Run(fmt.Sprint(tc.name, " of ", size), func(t *testing.T) {
				root := t.TempDir()
				s, err := dirstore.Open(root, dirstore.Options{})
				must(t, err)
				m := snapshot(entry(t, s, "f", content[:size]))
				at := filepath.Join(root, string(m.Files[0].Hash)+".xxh128")
				must(t, os.Chmod(at, 0o644))
				must(t, os.WriteFile(at, tc.damage([]byte(content[:size])), 0o644))
				dir := t.TempDir()
				_, _, err = DownloadTo(t.Context(), m, dir, s, DownloadOptions{})
				if !errors.Is(err, tc.want) || (err != nil) != (tc.want != nil) {
					t.Errorf("got %v, want %v", err, tc.want)
				}
				if tc.want != nil {
					wantTree(t, dir)
				}
			})
		}
	}
}
