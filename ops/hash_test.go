package ops

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/snapfs/snapfs/manifest"
	"golang.org/x/sys/unix"
)

// writeTree writes files with the given contents below a new directory, dated
// vectorTime.
func writeTree(t testing.TB, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, content := range files {
		at := filepath.Join(root, name)
		writeFile(t, at, content, 0o644)
		must(t, os.Chtimes(at, vectorTime, vectorTime))
	}
	return root
}

// hashesOf returns the hashes of the files of m by their names below root.
func hashesOf[K manifest.Kind](m *manifest.Manifest[manifest.Abs, K], root string) map[string][]manifest.Hash {
	out := map[string][]manifest.Hash{}
	for i := range m.Files {
		f := &m.Files[i]
		if f.IsRegular() {
			hs := f.Chunks
			if f.Hash != "" {
				hs = append([]manifest.Hash{f.Hash}, hs...)
			}
			out[strings.TrimPrefix(f.Path, root+"/")] = hs
		}
	}
	return out
}

func sums(parts ...string) []manifest.Hash {
	var out []manifest.Hash
	for _, p := range parts {
		out = append(out, manifest.Sum([]byte(p)))
	}
	return out
}

// Spec/ops.md §2 statements 3 and 10: what is chunked, and into what.
func TestHashChunks(t *testing.T) {
	big := strings.Repeat("0123456789abcdef", 20_000) // 320 000 bytes: streamed
	root := writeTree(t, map[string]string{
		"empty": "", "small": "abc", "equal": "abcd", "over": "abcde", "double": "abcdabcd", "big": big,
	})
	for _, tc := range []struct {
		name            string
		collect, option int64
		want            map[string][]manifest.Hash
		chunk           int64
	}{
		{
			name: "chunk size of the manifest", collect: 4, chunk: 4,
			want: map[string][]manifest.Hash{
				"empty": sums(""), "small": sums("abc"), "equal": sums("abcd"), "over": sums("abcd", "e"), "double": sums("abcd", "abcd"),
			},
		},
		{
			name: "G-03 an override is stored in the result", collect: 4, option: 5, chunk: 5,
			want: map[string][]manifest.Hash{
				"empty": sums(""), "small": sums("abc"), "equal": sums("abcd"), "over": sums("abcde"), "double": sums("abcda", "bcd"),
			},
		},
		{
			name: "hash_whole_file_disables_chunking", collect: 4, option: manifest.WholeFile, chunk: manifest.WholeFile,
			want: map[string][]manifest.Hash{
				"empty": sums(""), "small": sums("abc"), "equal": sums("abcd"), "over": sums("abcde"), "double": sums("abcdabcd"), "big": sums(big),
			},
		},
		{
			name: "override_chunk_size_affects_chunking_decision", collect: manifest.WholeFile, option: 300_000, chunk: 300_000,
			want: map[string][]manifest.Hash{
				"empty": sums(""), "small": sums("abc"), "equal": sums("abcd"), "over": sums("abcde"), "double": sums("abcdabcd"),
				"big": sums(big[:300_000], big[300_000:]),
			},
		},
	} {
		for _, workers := range []int{1, 4} {
			t.Run(fmt.Sprintf("%s, %d workers", tc.name, workers), func(t *testing.T) {
				m := collect(t, CollectOptions{ChunkSize: tc.collect}, root)
				got, stats, err := Hash(t.Context(), m, HashOptions{ChunkSize: tc.option, Workers: workers, MaxMemory: 100 << 10})
				must(t, err)
				hashes := hashesOf(got, root)
				if _, ok := tc.want["big"]; !ok {
					delete(hashes, "big")
				}
				if diff := cmp.Diff(tc.want, hashes); diff != "" {
					t.Errorf("hashes (-want +got):\n%s", diff)
				}
				if got.ChunkSize != tc.chunk {
					t.Errorf("chunk size %d, want %d", got.ChunkSize, tc.chunk)
				}
				if stats.HashedFiles != 6 || stats.HashedBytes != m.TotalSize() || stats.TotalBytes != m.TotalSize() || stats.ChangedFiles != 0 {
					t.Errorf("stats %+v", stats)
				}
				if m.Files[0].IsHashed() {
					t.Error("the argument was changed")
				}
			})
		}
	}
}

// Spec/ops.md §2 statement 2: hash_mixed_entries, diff_mixed_entries.
func TestHashPassesOtherEntriesThrough(t *testing.T) {
	root := writeTree(t, map[string]string{"f": "x"})
	in := &manifest.AbsSnapshotDiff{
		HashAlg: manifest.XXH128, ChunkSize: 100, ParentHash: manifest.Sum(nil),
		Files: []manifest.File{
			{Path: "/gone", Deleted: true},
			{Path: root + "/f", Size: 1, ModTime: vectorTime.UnixMicro(), Runnable: true},
			{Path: "/link", Target: "/nowhere"},
		},
		Dirs: []manifest.Dir{{Path: "/d"}, {Path: "/old", Deleted: true}},
	}
	got, _, err := Hash(t.Context(), in, HashOptions{})
	must(t, err)
	want := *in
	want.Files = append([]manifest.File(nil), in.Files...)
	want.Files[1].Hash = manifest.Sum([]byte("x"))
	if diff := cmp.Diff(&want, got, cmp.AllowUnexported(manifest.AbsSnapshotDiff{})); diff != "" {
		t.Errorf("result (-want +got):\n%s", diff)
	}
}

func TestHashRefusesWhatIsHashedOrRelative(t *testing.T) {
	for _, tc := range []struct {
		name string
		file manifest.File
		text string
	}{
		{"rejects_already_hashed_file", manifest.File{Path: "/f", Hash: "ab"}, "already has hashes set"},
		{"rejects_already_chunkhashed_file", manifest.File{Path: "/f", Chunks: []manifest.Hash{"ab"}}, "already has hashes set"},
		{"hash_rejects_relative_paths", manifest.File{Path: "f"}, "not an absolute path"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, _, err := Hash(t.Context(), &manifest.AbsSnapshot{ChunkSize: 1, Files: []manifest.File{tc.file}}, HashOptions{})
			if !errors.Is(err, manifest.ErrInvalid) || !strings.Contains(err.Error(), tc.text) {
				t.Errorf("got %v", err)
			}
		})
	}
	ok := []manifest.File{{Path: "/l", Target: "/x", Hash: "ab"}, {Path: "/d", Deleted: true, Hash: "ab"}}
	if _, _, err := Hash(t.Context(), &manifest.AbsSnapshot{ChunkSize: 1, Files: ok}, HashOptions{}); err != nil {
		t.Errorf("already_hashed_symlink_not_rejected, already_hashed_deleted_not_rejected: %v", err)
	}
}

func TestHashReportsEveryFailure(t *testing.T) {
	root := writeTree(t, map[string]string{"a": "1", "b": "2", "c": "3", "d": "4"})
	m := collect(t, CollectOptions{}, root)
	must(t, os.Remove(filepath.Join(root, "a")))
	must(t, os.Remove(filepath.Join(root, "c")))
	must(t, unix.Mkfifo(filepath.Join(root, "c"), 0o644))
	must(t, os.Remove(filepath.Join(root, "d")))
	must(t, os.Mkdir(filepath.Join(root, "d"), 0o755))
	got, _, err := Hash(t.Context(), m, HashOptions{})
	var fails *Failures
	if !errors.As(err, &fails) || got != nil || len(fails.List) != 3 {
		t.Fatalf("got %v, %v", got, err)
	}
	if !errors.Is(err, os.ErrNotExist) || !errors.Is(err, ErrChanged) {
		t.Errorf("causes are lost: %v", err)
	}
	for i, name := range []string{"a", "c", "d"} {
		if fails.List[i].Path != filepath.Join(root, name) {
			t.Errorf("failure %d is of %s, want %s", i, fails.List[i].Path, name)
		}
	}
}

// Spec/ops.md §2 statements 4 to 8.
func TestHashUsesTheCache(t *testing.T) {
	root := writeTree(t, map[string]string{"whole": "abc", "chunked": "abcdefgh"})
	m := collect(t, CollectOptions{ChunkSize: 4}, root)
	cache := newMapCache()
	first, _, err := Hash(t.Context(), m, HashOptions{Cache: cache})
	must(t, err)
	if len(cache.rows) != 3 || cache.rows[HashRow{Path: root + "/chunked", Start: 4, End: 8}] != manifest.Sum([]byte("efgh")) {
		t.Fatalf("cache_populated_after_hashing: %v", cache.rows)
	}
	must(t, os.Remove(filepath.Join(root, "whole"))) // proves that nothing is opened
	must(t, os.Remove(filepath.Join(root, "chunked")))
	second, stats, err := Hash(t.Context(), m, HashOptions{Cache: cache})
	must(t, err)
	if diff := cmp.Diff(first.Files, second.Files); diff != "" {
		t.Errorf("the second run differs:\n%s", diff)
	}
	if stats.HashedFiles != 0 || stats.SkippedFiles != 2 || stats.SkippedBytes != 11 {
		t.Errorf("stats %+v", stats)
	}
	if _, _, err := Hash(t.Context(), m, HashOptions{Cache: cache, ForceRehash: true}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("force_rehash_ignores_cache: %v", err)
	}
	m.Files[0].ModTime++
	if _, _, err := Hash(t.Context(), m, HashOptions{Cache: cache}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("cache_miss_on_stale_mtime: %v", err)
	}
}

func TestHashIgnoresUnusableRows(t *testing.T) {
	root := writeTree(t, map[string]string{"chunked": "abcdefgh", "whole": "abc"})
	m := collect(t, CollectOptions{ChunkSize: 4}, root)
	cache := newMapCache()
	us := vectorTime.UnixMicro()
	cache.Store([]HashRow{
		{Path: root + "/chunked", End: 4, ModTime: us, Hash: manifest.Sum([]byte("fake"))}, // the other chunk is missing
		{Path: root + "/whole", End: -1, ModTime: us, Hash: "../../x"},                     // G-31
	})
	got, _, err := Hash(t.Context(), m, HashOptions{Cache: cache})
	must(t, err)
	want := map[string][]manifest.Hash{"chunked": sums("abcd", "efgh"), "whole": sums("abc")}
	if diff := cmp.Diff(want, hashesOf(got, root)); diff != "" {
		t.Errorf("hashes (-want +got):\n%s", diff)
	}
}

// A cached hash must never outlive a change that the file's time cannot show.
func TestHashNeverCachesWithinATickOfTheClock(t *testing.T) {
	root := t.TempDir()
	at := filepath.Join(root, "f")
	now := time.Now().Truncate(time.Second)
	for _, tc := range []struct {
		name   string
		mtime  time.Time
		stored bool
	}{
		{"just written, ordinary clock", time.Time{}, true}, // read after the tick has passed
		{"just written, clock of whole seconds", now, false},
		{"in the future", now.Add(time.Hour + time.Millisecond), false},
		{"long ago", now.Add(-time.Hour), true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			writeFile(t, at, "x", 0o644)
			if !tc.mtime.IsZero() {
				must(t, os.Chtimes(at, tc.mtime, tc.mtime))
			}
			cache := newMapCache()
			m := collect(t, CollectOptions{}, root)
			_, _, err := Hash(t.Context(), m, HashOptions{Cache: cache})
			must(t, err)
			if (cache.stored == 1) != tc.stored {
				t.Errorf("%d rows were stored", cache.stored)
			}
			age := time.Since(time.UnixMicro(m.Files[0].ModTime))
			if tc.mtime.IsZero() && age < fineTick {
				t.Errorf("the file was read only %v after it was written", age)
			}
		})
	}
}

// The entry describes what was hashed, and the cache is keyed by that.
func TestHashTakesTheStateItFinds(t *testing.T) {
	root := writeTree(t, map[string]string{"f": "old", "g": "x"})
	m := collect(t, CollectOptions{ChunkSize: 4}, root)
	writeFile(t, filepath.Join(root, "f"), "new and longer", 0o644)
	later := vectorTime.Add(time.Hour)
	must(t, os.Chtimes(filepath.Join(root, "f"), later, later))
	cache := newMapCache()
	got, stats, err := Hash(t.Context(), m, HashOptions{Cache: cache})
	must(t, err)
	f := got.Files[0]
	if f.Size != 14 || f.ModTime != later.UnixMicro() || !cmp.Equal(f.Chunks, sums("new ", "and ", "long", "er")) {
		t.Errorf("entry %+v", f)
	}
	if stats.ChangedFiles != 1 || stats.TotalBytes != 15 || stats.HashedBytes != 15 {
		t.Errorf("stats %+v", stats)
	}
	if cache.times[HashRow{Path: f.Path, Start: 12, End: 14}] != later.UnixMicro() {
		t.Errorf("cache %v", cache.times)
	}
}

func TestHashStopsWhenCancelled(t *testing.T) {
	root := writeTree(t, map[string]string{"f": "x"})
	m := collect(t, CollectOptions{}, root)
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("no longer needed"))
	_, _, err := Hash(ctx, m, HashOptions{})
	if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "cancelled") || !strings.Contains(err.Error(), "no longer needed") {
		t.Errorf("got %v", err)
	}
}

func TestHashProgressAndMessage(t *testing.T) {
	root := writeTree(t, map[string]string{"a": "123", "b": "4567"})
	var p Progress
	_, stats, err := Hash(t.Context(), collect(t, CollectOptions{ChunkSize: manifest.WholeFile}, root), HashOptions{Progress: &p})
	must(t, err)
	if got := p.Counts(); got.Percent() != 100 || got.DoneFiles != 2 || got.DoneBytes != 7 {
		t.Errorf("counts %+v", got)
	}
	if msg := stats.Message(); !strings.HasPrefix(msg, "Hashed 7 B (2 files) in 0.") || !strings.HasSuffix(msg, "/s)") {
		t.Errorf("message %q", msg)
	}
	_, stats, err = Hash(t.Context(), &manifest.AbsSnapshot{ChunkSize: 1}, HashOptions{})
	must(t, err)
	if msg := stats.Message(); msg != "Hashed 0 B (0 chunks) in 0.00s" {
		t.Errorf("message %q", msg)
	}
}

func BenchmarkHashLarge(b *testing.B) {
	root := b.TempDir()
	writeLarge(b, root, 4, 512<<20)
	m := collect(b, CollectOptions{}, root)
	b.SetBytes(m.TotalSize())
	for b.Loop() {
		if _, _, err := Hash(b.Context(), m, HashOptions{}); err != nil {
			b.Fatal(err)
		}
	}
}

// writeLarge writes files of incompressible, distinct content.
func writeLarge(b *testing.B, root string, count int, size int64) {
	b.Helper()
	block := make([]byte, 1<<20)
	seed := uint64(1)
	for i := range count {
		f, err := os.Create(filepath.Join(root, fmt.Sprint("large", i)))
		must(b, err)
		for n := int64(0); n < size; n += int64(len(block)) {
			for k := 0; k < len(block); k += 512 {
				seed = seed*6364136223846793005 + 1442695040888963407
				copy(block[k:], fmt.Sprintf("%016x", seed))
			}
			_, err := f.Write(block)
			must(b, err)
		}
		must(b, f.Close())
	}
}
