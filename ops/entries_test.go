package ops

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/snapfs/snapfs/manifest"
)

// Spec/ops.md §5 statement 2: which entries differ, by the names of spec/tests.md §10.
func TestDiffer(t *testing.T) {
	file := func(change func(*manifest.File)) manifest.File {
		f := manifest.File{Path: "f", Size: 9, ModTime: 1, Hash: "h"}
		change(&f)
		return f
	}
	same := file(func(*manifest.File) {})
	chunked := file(func(f *manifest.File) { f.Hash, f.Chunks = "", []manifest.Hash{"x", "y"} })
	link := manifest.File{Path: "f", Target: "a"}
	ignoring, preserving := DiffOptions{IgnoreHashes: true}, DiffOptions{PreserveRunnable: true}
	for _, tc := range []struct {
		name            string
		parent, current manifest.File
		opts            DiffOptions
		want            bool
	}{
		{"same_hash_not_different", same, same, DiffOptions{}, false},
		{"different_hash_is_different", same, file(func(f *manifest.File) { f.Hash = "i" }), DiffOptions{}, true},
		{"different_mtime_is_different", same, file(func(f *manifest.File) { f.ModTime++ }), DiffOptions{}, true},
		{"different_size_is_different", same, file(func(f *manifest.File) { f.Size++ }), DiffOptions{}, true},
		{"different_runnable_is_different", same, file(func(f *manifest.File) { f.Runnable = true }), DiffOptions{}, true},
		{"preserve_runnable_skips_comparison", same, file(func(f *manifest.File) { f.Runnable = true }), preserving, false},
		{"same_symlink_target_not_different", link, link, DiffOptions{}, false},
		{"links have no times", link, manifest.File{Path: "f", Target: "a", ModTime: 5, Runnable: true}, DiffOptions{}, false},
		{"different_symlink_target_is_different", link, manifest.File{Path: "f", Target: "b"}, DiffOptions{}, true},
		{"regular_to_symlink_is_different", same, link, DiffOptions{}, true},
		{"symlink_to_regular_is_different", link, same, DiffOptions{}, true},
		{"ignore_hashes_skips_hash", same, file(func(f *manifest.File) { f.Hash = "i" }), ignoring, false},
		{"ignore_hashes_skips_chunkhashes", chunked, file(func(f *manifest.File) { f.Hash, f.Chunks = "", []manifest.Hash{"x", "z"} }), ignoring, false},
		{"ignore_hashes_different_mtime_is_modified", same, file(func(f *manifest.File) { f.ModTime++ }), ignoring, true},
		{"ignore_hashes_different_size_is_modified", same, file(func(f *manifest.File) { f.Size++ }), ignoring, true},
		{"same_chunkhashes_not_different", chunked, chunked, DiffOptions{}, false},
		{"different_chunkhashes_is_different", chunked, file(func(f *manifest.File) { f.Hash, f.Chunks = "", []manifest.Hash{"x", "z"} }), DiffOptions{}, true},
		{"regular_to_chunked_is_different", same, chunked, DiffOptions{}, true},
		{"chunked_to_regular_is_different", chunked, same, DiffOptions{}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := differ(&tc.parent, &tc.current, tc.opts); got != tc.want {
				t.Errorf("differ is %v", got)
			}
			m := func(f manifest.File) *manifest.Snapshot {
				return &manifest.Snapshot{ChunkSize: 5, Files: []manifest.File{f}}
			}
			d, err := Diff(m(tc.parent), m(tc.current), tc.opts)
			must(t, err)
			if (len(d.Files) == 1) != tc.want {
				t.Errorf("the diff is %+v", d.Files)
			}
		})
	}
}

// Spec/ops.md §7 statement 1: predicates of one's own, by the names of spec/tests.md §12.
func TestFilterPredicates(t *testing.T) {
	m := snap("a.EXR=xxx b.exr=x c=xx* d/ l>b.exr")
	ext := func(e Entry) bool { return strings.HasSuffix(strings.ToLower(e.Path), ".exr") }
	for _, tc := range []struct {
		name string
		keep func(Entry) bool
		want string
	}{
		{"custom_filter_by_size", func(e Entry) bool { return e.File != nil && e.File.Size > 1 }, "a.EXR=xxx c=xx*"},
		{"custom_filter_by_extension_case_insensitive", ext, "a.EXR=xxx b.exr=x"},
		{"custom_filter_exclude_runnable", func(e Entry) bool { return e.File == nil || !e.File.Runnable }, "a.EXR=xxx b.exr=x d/ l>b.exr"},
		{"custom_filter_always_true", func(Entry) bool { return true }, "a.EXR=xxx b.exr=x c=xx* d/ l>b.exr"},
		{"custom_filter_always_false", func(Entry) bool { return false }, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			sameWords(t, tc.want, wordsOf(Filter(m, tc.keep)))
		})
	}
}

// Spec/tests.md §12: patterns, as they are used.
func TestGlobFilters(t *testing.T) {
	for _, tc := range []struct {
		name             string
		include, exclude []string
		path             string
		want             bool
	}{
		{"empty_patterns_matches_all", nil, nil, "/a/b", true},
		{"include_pattern_matches", []string{"*.blend"}, nil, "/project/model.blend", true},
		{"include_pattern_no_match", []string{"*.blend"}, nil, "/project/model.fbx", false},
		{"multiple_include_patterns", []string{"*.blend", "*.fbx"}, nil, "/project/model.fbx", true},
		{"exclude_pattern_matches", nil, []string{"*.tmp"}, "/a/x.tmp", false},
		{"exclude_backup", nil, []string{"backup/*", "/backup/*"}, "backup/x", false},
		{"exclude_backup, absolute", nil, []string{"backup/*", "/backup/*"}, "/backup/x", false},
		{"exclude_cache", nil, []string{"*/.cache/*"}, "a/.cache/x", false},
		{"exclude_no_match", nil, []string{"*.tmp"}, "/a/x.txt", true},
		{"include_and_exclude_combined", []string{"*.txt"}, []string{"*secret*"}, "a/secret.txt", false},
		{"wildcard_patterns", []string{"*/*.txt"}, nil, "a/b.txt", true},
		{"wildcard_patterns need their slash", []string{"*/*.txt"}, nil, "b.txt", false},
		{"recursive_wildcard", []string{"*/*/*.txt"}, nil, "a/b/c.txt", true},
		{"recursive_wildcard needs both slashes", []string{"*/*/*.txt"}, nil, "a/c.txt", false},
		{"filters_directory_entries", []string{"src*"}, nil, "src", true},
		{"case-sensitive", []string{"*.TXT"}, nil, "a.txt", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f, err := NewGlobFilter(tc.include, tc.exclude)
			must(t, err)
			if got := f.Match(tc.path); got != tc.want {
				t.Errorf("match is %v", got)
			}
		})
	}
}

// Spec/tests.md §8 and types.md §4.2: every operation keeps the chunk size, and what
// else an entry has.
func TestChunkSizeIsKept(t *testing.T) {
	for _, chunk := range []int64{16, manifest.DefaultChunkSize, manifest.WholeFile} {
		file := manifest.File{Path: "d/f", Size: 40, ModTime: 7, Hash: "h", Runnable: true}
		if chunk == 16 {
			file.Hash, file.Chunks = "", []manifest.Hash{"x", "y", "z"}
		}
		m := &manifest.Snapshot{HashAlg: manifest.XXH128, ChunkSize: chunk, Files: []manifest.File{file}}
		empty := &manifest.Snapshot{HashAlg: manifest.XXH128, ChunkSize: chunk}
		check := func(what string, got int64, files []manifest.File) {
			t.Helper()
			if got != chunk {
				t.Errorf("%s: chunk size %d, want %d", what, got, chunk)
			}
			want := file
			want.Path = files[0].Path
			if diff := cmp.Diff([]manifest.File{want}, files); diff != "" {
				t.Errorf("%s (-want +got):\n%s", what, diff)
			}
		}
		d, err := Diff(empty, m, DiffOptions{})
		must(t, err)
		check("diff", d.ChunkSize, d.Files)
		c, err := Compose(empty, d)
		must(t, err)
		check("compose", c.ChunkSize, c.Files)
		cd, err := ComposeDiffs(d, d)
		must(t, err)
		check("compose of diffs", cd.ChunkSize, cd.Files)
		f := Filter(m, func(Entry) bool { return true })
		check("filter", f.ChunkSize, f.Files)
		s, err := Subtree(m, "d", CollapseEscaping)
		must(t, err)
		check("subtree", s.ChunkSize, s.Files)
		sd, err := Subtree(d, "d", CollapseEscaping)
		must(t, err)
		check("subtree of a diff", sd.ChunkSize, sd.Files)
		abs, err := Join(m, "/p")
		must(t, err)
		check("join", abs.ChunkSize, abs.Files)
		back, err := Subtree(abs, "/p/d", CollapseEscaping)
		must(t, err)
		check("subtree of an absolute manifest", back.ChunkSize, back.Files)
		parts, err := Partition(abs, PartitionOptions{})
		must(t, err)
		check("partition", parts[0].Manifest.ChunkSize, parts[0].Manifest.Files)
	}
}
