package ops

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/snapfs/snapfs/blobstore"
	"github.com/snapfs/snapfs/blobstore/memstore"
	"github.com/snapfs/snapfs/manifest"
)

// Spec/ops.md §2 statements 4 and 6: what ForceRehash does to a cache that is wrong.
func TestForceRehashCorrectsTheCache(t *testing.T) {
	root := writeTree(t, map[string]string{"whole": "abc", "chunked": "abcdefgh"})
	m := collect(t, CollectOptions{ChunkSize: 4}, root)
	fake := manifest.Sum([]byte("fake"))
	us := vectorTime.UnixMicro()
	cache := newMapCache()
	rows := []HashRow{
		{Path: root + "/whole", End: -1, ModTime: us, Hash: fake},
		{Path: root + "/chunked", Start: 0, End: 4, ModTime: us, Hash: fake},
		{Path: root + "/chunked", Start: 4, End: 8, ModTime: us, Hash: fake},
	}
	cache.Store(rows)
	got, stats, err := Hash(t.Context(), m, HashOptions{Cache: cache})
	must(t, err)
	if diff := cmp.Diff(map[string][]manifest.Hash{"whole": {fake}, "chunked": {fake, fake}}, hashesOf(got, root)); diff != "" {
		t.Errorf("cache_hit_returns_cached_hash (-want +got):\n%s", diff)
	}
	if c := (Counts{TotalBytes: stats.TotalBytes, DoneBytes: stats.HashedBytes, SkippedBytes: stats.SkippedBytes}); c.Percent() != 100 || stats.HashedFiles != 0 {
		t.Errorf("progress_with_cache_hits_counts_skipped: %+v", stats)
	}
	got, _, err = Hash(t.Context(), m, HashOptions{Cache: cache, ForceRehash: true})
	must(t, err)
	if diff := cmp.Diff(map[string][]manifest.Hash{"whole": sums("abc"), "chunked": sums("abcd", "efgh")}, hashesOf(got, root)); diff != "" {
		t.Errorf("force_rehash_ignores_cache, force_rehash_ignores_chunk_cache (-want +got):\n%s", diff)
	}
	want := []manifest.Hash{manifest.Sum([]byte("abc")), manifest.Sum([]byte("abcd")), manifest.Sum([]byte("efgh"))}
	for i, r := range rows {
		if h := cache.rows[rowKey(r)]; h != want[i] {
			t.Errorf("row %d is still %s", i, h)
		}
	}
}

// Spec/ops.md §3 statements 3 and 4: what is remembered of an upload, and how far that
// carries, by the names of spec/tests.md §7.
func TestHashUploadRemembers(t *testing.T) {
	root := writeTree(t, map[string]string{"a": "aaa", "b": "bbbbBBBB", "c": "ccc"})
	m := collect(t, CollectOptions{ChunkSize: 4}, root)
	store, cache := memstore.New(), newMapCache()
	first, stats := upload(t, m, store, UploadOptions{Cache: cache})
	if diff := cmp.Diff(counters{Hashed: 3, HashedB: 14, Up: 3, UpB: 14}, countersOf(stats)); diff != "" {
		t.Errorf("hash_cache_populates_on_first_run (-want +got):\n%s", diff)
	}
	for _, r := range []struct {
		row  HashRow
		text string
	}{
		{HashRow{Path: root + "/a", End: -1}, "aaa"},
		{HashRow{Path: root + "/b", Start: 0, End: 4}, "bbbb"},
		{HashRow{Path: root + "/b", Start: 4, End: 8}, "BBBB"},
	} {
		if cache.rows[r.row] != manifest.Sum([]byte(r.text)) {
			t.Errorf("hash_cache_stores_chunk_ranges: %+v", r.row)
		}
	}
	for range 2 {
		again, stats := upload(t, m, store, UploadOptions{Cache: cache})
		if diff := cmp.Diff(counters{Skip: 3, SkipB: 14}, countersOf(stats)); diff != "" || !cmp.Equal(first.Files, again.Files) {
			t.Errorf("three_passes_with_same_unhashed_manifest, hash_cache_hit_for_chunked_file (-want +got):\n%s", diff)
		}
	}

	delete(cache.rows, HashRow{Path: root + "/c", End: -1})
	delete(cache.rows, HashRow{Path: root + "/b", Start: 4, End: 8})
	again, stats := upload(t, m, store, UploadOptions{Cache: cache})
	if diff := cmp.Diff(counters{Hashed: 2, HashedB: 11, Skip: 3, SkipB: 14}, countersOf(stats)); diff != "" || !cmp.Equal(first.Files, again.Files) {
		t.Errorf("some_files_cached_others_not, some_chunks_cached_others_not (-want +got):\n%s", diff)
	}

	later := vectorTime.Add(time.Hour)
	must(t, os.Chtimes(root+"/a", later, later))
	_, stats = upload(t, collect(t, CollectOptions{ChunkSize: 4}, root), store, UploadOptions{Cache: cache})
	if stats.HashedFiles != 1 || stats.SkippedFiles != 3 {
		t.Errorf("hash_cache_miss_on_mtime_change: %+v", stats)
	}
}

// Spec/ops.md §3: what is refused, passed through, or cannot be read.
func TestHashUploadRefusesAndPassesThrough(t *testing.T) {
	root := writeTree(t, map[string]string{"f": "x"})
	for _, tc := range []struct {
		name string
		file manifest.File
		want error
		text string
	}{
		{"rejects_already_hashed_files", manifest.File{Path: root + "/f", Hash: "ab"}, manifest.ErrInvalid, "already has hashes set"},
		{"rejects_already_chunk_hashed_files", manifest.File{Path: root + "/f", Chunks: []manifest.Hash{"ab"}}, manifest.ErrInvalid, "already has hashes set"},
		{"rejects_relative_file_path", manifest.File{Path: "f"}, manifest.ErrInvalid, "not an absolute path"},
		{"upload_file_not_found_error", manifest.File{Path: root + "/no"}, os.ErrNotExist, root + "/no"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			store := memstore.New()
			_, _, err := HashUpload(t.Context(), &manifest.AbsSnapshot{ChunkSize: 1, Files: []manifest.File{tc.file}}, store, UploadOptions{})
			if !errors.Is(err, tc.want) || !strings.Contains(err.Error(), tc.text) {
				t.Errorf("got %v", err)
			}
			must(t, store.List(t.Context(), func(k blobstore.Key, _ blobstore.Info) error { t.Errorf("stored %s", k); return nil }))
		})
	}
	in := &manifest.AbsSnapshotDiff{
		HashAlg: manifest.XXH128, ChunkSize: manifest.WholeFile, ParentHash: manifest.Sum(nil),
		Files: []manifest.File{
			{Path: root + "/f", Size: 1, ModTime: vectorTime.UnixMicro(), Runnable: true},
			{Path: "/l", Target: "/x"}, {Path: "/gone", Deleted: true},
		},
		Dirs: []manifest.Dir{{Path: "relative/dir"}, {Path: "/old", Deleted: true}},
	}
	want := in.Clone()
	want.Files[0].Hash = manifest.Sum([]byte("x"))
	got, stats, err := HashUpload(t.Context(), in, memstore.New(), UploadOptions{})
	must(t, err)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("links, deletions and directories, relative ones too, pass through (-want +got):\n%s", diff)
	}
	if stats.TotalFiles != 1 {
		t.Errorf("stats %+v", stats)
	}
}

func TestUnreadableFilesAreReported(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("root may read everything")
	}
	root := writeTree(t, map[string]string{"f": "x"})
	must(t, os.Chmod(filepath.Join(root, "f"), 0))
	_, _, err := HashUpload(t.Context(), collect(t, CollectOptions{}, root), memstore.New(), UploadOptions{})
	if !errors.Is(err, os.ErrPermission) {
		t.Errorf("got %v", err)
	}
}

// Spec/ops.md §0.2: the closing lines of uploads.
func TestUploadMessages(t *testing.T) {
	root := writeTree(t, map[string]string{"a": "1", "b": "22", "c": "333"})
	for chunk, unit := range map[int64]string{manifest.WholeFile: "files", 100: "chunks"} {
		_, stats := upload(t, collect(t, CollectOptions{ChunkSize: chunk}, root), memstore.New(), UploadOptions{})
		if msg := stats.Message(); !strings.HasPrefix(msg, "Hashed/uploaded 6 B (3 "+unit+") in ") || !strings.HasSuffix(msg, "/s)") || stats.Rate <= 0 {
			t.Errorf("message %q, rate %v", msg, stats.Rate)
		}
	}
	_, stats := upload(t, &manifest.AbsSnapshot{ChunkSize: 1}, memstore.New(), UploadOptions{})
	if msg := stats.Message(); msg != "Hashed/uploaded 0 B (0 chunks) in 0.00s" {
		t.Errorf("message %q", msg)
	}
}

// The sizes around which files are split (spec/ops.md §3 statement 5).
func TestUploadChunkBoundaries(t *testing.T) {
	root := writeTree(t, map[string]string{"32": strings.Repeat("x", 32), "33": strings.Repeat("x", 33), "64": strings.Repeat("x", 64), "200": strings.Repeat("y", 200)})
	got, _ := upload(t, collect(t, CollectOptions{ChunkSize: 32}, root), memstore.New(), UploadOptions{MaxMemory: 1024})
	for name, want := range map[string]int{"32": 1, "33": 2, "64": 2, "200": 7} {
		if n := len(hashesOf(got, root)[name]); n != want {
			t.Errorf("a file of %s bytes has %d hashes, want %d", name, n, want)
		}
	}
}
