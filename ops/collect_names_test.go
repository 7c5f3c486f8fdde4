package ops

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/snapfs/snapfs/manifest"
)

// plantWords makes a real tree of words: "a/b=7" is a file of seven bytes, "a/" a
// directory, and "l>x" a link with the text x.
func plantWords(t testing.TB, root, words string) {
	t.Helper()
	for _, word := range strings.Fields(words) {
		dir, isDir := strings.CutSuffix(word, "/")
		path, text, isLink := strings.Cut(word, ">")
		name, size, _ := strings.Cut(word, "=")
		switch {
		case isLink:
			at := filepath.Join(root, path)
			must(t, os.MkdirAll(filepath.Dir(at), 0o755))
			must(t, os.Symlink(strings.ReplaceAll(text, "$ROOT", root), at))
		case isDir:
			must(t, os.MkdirAll(filepath.Join(root, dir), 0o755))
		default:
			n, err := strconv.Atoi(size)
			must(t, err)
			writeFile(t, filepath.Join(root, name), strings.Repeat("x", n), 0o644)
		}
	}
}

// plantedWords is what plantWords would have to make for the tree of m, sorted; targets
// of links are relative to root.
func plantedWords(m *manifest.AbsSnapshot, root string) string {
	var words []string
	rel := func(p string) string { return strings.TrimPrefix(p, root+"/") }
	for _, f := range m.Files {
		if f.Target != "" {
			words = append(words, rel(f.Path)+">"+rel(f.Target))
		} else {
			words = append(words, fmt.Sprintf("%s=%d", rel(f.Path), f.Size))
		}
	}
	for _, d := range m.Dirs {
		words = append(words, rel(d.Path)+"/")
	}
	slices.Sort(words)
	return strings.Join(words, " ")
}

// Spec/ops.md §1.2 statements 8 to 12 and 17, by the names of spec/tests.md §5. Root is
// the directory in, and more where it says so.
func TestCollectChains(t *testing.T) {
	const (
		toFile = "in/f=7 in/a>b in/b>f"
		toDir  = "in/d/f=7 in/a>b in/b>d"
	)
	for _, tc := range []struct {
		name, tree string
		policy     SymlinkPolicy
		more       []string // roots beside in
		want       string
	}{
		{"chain_in_in_file_in", toFile, CollapseEscaping, nil, "in/ in/f=7 in/a>in/b in/b>in/f"},
		{"chain_in_in_dir_in", toDir, CollapseEscaping, nil, "in/ in/d/ in/d/f=7 in/a>in/b in/b>in/d"},
		{"chain_in_in_file_out", "in/a>b in/b>../o o=3", CollapseEscaping, nil, "in/ in/a>in/b in/b=3"},
		{"chain_in_in_dir_out", "in/a>b in/b>../o o/f=3", CollapseEscaping, nil, "in/ in/a>in/b in/b/ in/b/f=3"},
		{"chain_in_out_file_in", "in/f=7 in/a>../l l>in/f", CollapseEscaping, nil, "in/ in/f=7 in/a=7"},
		{"chain_in_out_dir_in", "in/d/f=7 in/a>../l l>in/d", CollapseEscaping, nil, "in/ in/d/ in/d/f=7 in/a/ in/a/f=7"},
		{"chain_partial_escape", "in/f=1 in/a>b in/b>c in/c>../o o=3", CollapseEscaping, nil, "in/ in/f=1 in/a>in/b in/b>in/c in/c=3"},
		{"sibling_directory_preserved", "in/a>../sib/f sib/f=1", CollapseEscaping, []string{"sib"}, "in/ sib/ in/a>sib/f sib/f=1"},
		{"relative_symlink", "in/d/a>../../o o=3", CollapseEscaping, nil, "in/ in/d/ in/d/a=3"},
		{"absolute_symlink", "in/a>$ROOT/o in/b>$ROOT/in/f in/f=1 o=3", CollapseEscaping, nil, "in/ in/f=1 in/a=3 in/b>in/f"},
		{"deeply_nested_dir", "in/a>../o o/p/q/r/f=3 o/e/", CollapseEscaping, nil, "in/ in/a/ in/a/e/ in/a/p/ in/a/p/q/ in/a/p/q/r/ in/a/p/q/r/f=3"},
		{"broken_symlinks_skipped", "in/a>../no in/b>../no/dir/ in/f=1", CollapseEscaping, nil, "in/ in/f=1"},
		{"nested_symlinks_escaping_collapsed", "in/a>../o o/n>../p p=4", CollapseEscaping, nil, "in/ in/a/ in/a/n=4"},
		{"nested_symlinks_internal_preserved", "in/a>../o o/f=2 o/n>f", CollapseEscaping, nil, "in/ in/a/ in/a/f=2 in/a/n>in/a/f"},
		{"missing_below_a_collected_directory_is_inside", "in/a>no/such in/f=1", CollapseEscaping, nil, "in/ in/f=1 in/a>in/no/such"},

		{"exclude_escaping_chain_in_in_file_in", toFile, ExcludeEscaping, nil, "in/ in/f=7 in/a>in/b in/b>in/f"},
		{"exclude_escaping_chain_in_in_dir_in", toDir, ExcludeEscaping, nil, "in/ in/d/ in/d/f=7 in/a>in/b in/b>in/d"},
		{"exclude_escaping_chain_in_in_file_out", "in/a>b in/b>../o o=3", ExcludeEscaping, nil, "in/ in/a>in/b"},
		{"exclude_escaping_chain_in_in_dir_out", "in/a>b in/b>../o o/f=3", ExcludeEscaping, nil, "in/ in/a>in/b"},
		{"exclude_escaping_chain_in_out_file_in", "in/f=7 in/a>../l l>in/f", ExcludeEscaping, nil, "in/ in/f=7"},
		{"exclude_escaping_chain_in_out_dir_in", "in/d/f=7 in/a>../l l>in/d", ExcludeEscaping, nil, "in/ in/d/ in/d/f=7"},
		{"exclude_escaping_partial_escape", "in/f=1 in/a>b in/b>c in/c>../o o=3", ExcludeEscaping, nil, "in/ in/f=1 in/a>in/b in/b>in/c"},
		{"exclude_escaping_symlink_to_sibling_directory_preserved", "in/a>../sib sib/f=1", ExcludeEscaping, []string{"sib"}, "in/ sib/ in/a>sib sib/f=1"},
		{"exclude_escaping_broken_symlink_excluded", "in/a>../no in/f=1", ExcludeEscaping, nil, "in/ in/f=1"},
		{"exclude_escaping_no_symlinks_works", "in/f=1", ExcludeEscaping, nil, "in/ in/f=1"},

		{"collapse_symlink_chain", "in/f=7 in/a>b in/b>c in/c>f", CollapseAll, nil, "in/ in/f=7 in/a=7 in/b=7 in/c=7"},
		{"cycle_self_referential_with_collapse_all", "in/f=1 in/a>a", CollapseAll, nil, "in/ in/f=1"},
		{"cycle_two_node_with_collapse_all", "in/f=1 in/a>b in/b>a", CollapseAll, nil, "in/ in/f=1"},
		{"cycle_three_node_with_collapse_all", "in/f=1 in/a>b in/b>c in/c>a", CollapseAll, nil, "in/ in/f=1"},
		{"broken_symlink_skipped_with_collapse_all", "in/f=1 in/a>no", CollapseAll, nil, "in/ in/f=1"},
		{"cycle_with_collapse_escaping", "in/f=1 in/a>../x x>y y>x", CollapseEscaping, nil, "in/ in/f=1"},
		{"cycle_preserved_as_symlinks", "in/a>b in/b>a", Preserve, nil, "in/ in/a>in/b in/b>in/a"},
		{"cycle_with_transitive_include", "in/a>../x/b x/b>../in/a", TransitiveIncludeTargets, nil, "in/ in/a>x/b x/b>in/a"},

		{"preserve_directory_symlink_not_followed", "in/d/f=1 in/a>d", Preserve, nil, "in/ in/d/ in/d/f=1 in/a>in/d"},
		{"preserve_keeps_all_symlinks_in_chain", "in/f=1 in/a>b in/b>c in/c>f", Preserve, nil, "in/ in/f=1 in/a>in/b in/b>in/c in/c>in/f"},
		{"preserve_escaping_symlink_kept", "in/a>../o o=3", Preserve, nil, "in/ in/a>o"},
		{"multiple_symlinks_to_same_target_dedup", "in/f=1 in/a>f in/b>f", Preserve, nil, "in/ in/f=1 in/a>in/f in/b>in/f"},
		{"exclude_all", "in/f=1 in/d/g=1 in/a>f in/b>d in/c>no", ExcludeAll, nil, "in/ in/d/ in/d/g=1 in/f=1"},

		{"transitive_escaping_file_target_collected", "in/a>../o o=15", TransitiveIncludeTargets, nil, "in/ in/a>o o=15"},
		{"transitive_multiple_symlinks_same_target_once", "in/a>../o in/b>../o o=3", TransitiveIncludeTargets, nil, "in/ in/a>o in/b>o o=3"},
		{"transitive_non_escaping_target_not_duplicated", "in/f=1 in/a>f", TransitiveIncludeTargets, nil, "in/ in/f=1 in/a>in/f"},
		{"transitive_dir_target_contents_collected", "in/a>../o o/f=2 o/d/g=3", TransitiveIncludeTargets, nil, "in/ in/a>o o/ o/d/ o/d/g=3 o/f=2"},
		{"transitive_chain_of_escaping_symlinks", "in/a>../x x>y y=4", TransitiveIncludeTargets, nil, "in/ in/a>x x>y y=4"},
		{"transitive_broken_target_skipped", "in/a>../no in/b>../no/dir", TransitiveIncludeTargets, nil, "in/ in/a>no in/b>no/dir"},
		{"multiple_escaping_symlinks_different_targets", "in/a>../o in/b>../p in/c>../q o=3 p=3 q=5", TransitiveIncludeTargets, nil, "in/ in/a>o in/b>p in/c>q o=3 p=3 q=5"},
		{"symlinks_in_transitive_dir_transitively_included", "in/a>../o o/l>../p p=2", TransitiveIncludeTargets, nil, "in/ in/a>o o/ o/l>p p=2"},
		{"dir_symlinks_in_transitive_dir_transitively_included", "in/a>../o o/l>../p p/f=2", TransitiveIncludeTargets, nil, "in/ in/a>o o/ o/l>p p/ p/f=2"},

		{"statement 17: a target is resolved lexically", "in/d/e/ in/f=1 in/ln>d/e in/odd>ln/../f", CollapseEscaping, nil, "in/ in/d/ in/d/e/ in/f=1 in/ln>in/d/e in/odd>in/f"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			root := t.TempDir()
			plantWords(t, root, tc.tree)
			roots := []string{filepath.Join(root, "in")}
			for _, r := range tc.more {
				roots = append(roots, filepath.Join(root, r))
			}
			m := collect(t, CollectOptions{Symlinks: tc.policy}, roots...)
			sameWords(t, tc.want, plantedWords(m, root))
			must(t, m.Validate())
		})
	}
}

// Links that are named, not found: the policies treat them alike.
func TestCollectNamedLinks(t *testing.T) {
	for _, tc := range []struct {
		name, tree string
		policy     SymlinkPolicy
		optional   bool
		want       string
	}{
		{"symlink_in_filenames_preserved", "f=1 l>f", Preserve, false, "l>f"},
		{"symlink_in_filenames_collapsed", "f=7 l>f", CollapseAll, false, "l=7"},
		{"symlink_in_optional_filenames", "f=7 l>f", CollapseEscaping, true, "l=7"},
		{"optional_symlink_included_when_exists", "l>no", Preserve, true, "l>no"},
		{"a dangling link exists", "l>no", Preserve, false, "l>no"},
		{"transitive_filenames_parameter", "f=7 l>f", TransitiveIncludeTargets, false, "f=7 l>f"},
		{"dir_symlink_in_filenames_transitive", "d/f=7 l>d", TransitiveIncludeTargets, false, "d/ d/f=7 l>d"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			root := t.TempDir()
			plantWords(t, root, tc.tree)
			opts := CollectOptions{Symlinks: tc.policy, Filenames: []string{root + "/l"}}
			if tc.optional {
				opts.Filenames, opts.OptionalFilenames = nil, opts.Filenames
			}
			sameWords(t, tc.want, plantedWords(collect(t, opts), root))
		})
	}
}

// Spec/ops.md §1.2 statements 1, 2 and 3: names of all sorts, under absolute and
// normalised paths, with what is known of them.
func TestCollectNames(t *testing.T) {
	root := t.TempDir()
	names := []string{"Ελληνικά.txt", "back\\slash", "dir\\with\\backslash/x", "hidden/.h", "new\nline", "sp ace/a b", "Кириллица", ".hid/x", "empty"}
	for i, name := range names {
		writeFile(t, filepath.Join(root, name), strings.Repeat("x", len(names)-1-i), 0o644)
	}
	m := collect(t, CollectOptions{}, root+"/./hidden/..")
	slices.Sort(names)
	if diff := cmp.Diff(names, filePaths(m, root)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{".", ".hid", "dir\\with\\backslash", "hidden", "sp ace"}, dirPaths(m, root)); diff != "" {
		t.Errorf("directories (-want +got):\n%s", diff)
	}
	sizes := map[int64]bool{}
	for _, f := range m.Files {
		if f.Path != filepath.Clean(f.Path) || !filepath.IsAbs(f.Path) || f.IsHashed() || f.ModTime <= 0 {
			t.Errorf("entry %+v", f)
		}
		sizes[f.Size] = true
	}
	if len(sizes) != len(names) || m.HashAlg != manifest.XXH128 || m.TotalSize() != 36 {
		t.Errorf("sizes %v, algorithm %s, total %d", sizes, m.HashAlg, m.TotalSize())
	}
}

// Spec/ops.md §1.2 statements 3 and 5: an empty directory, no input at all, chunk sizes.
func TestCollectOfLittle(t *testing.T) {
	empty := t.TempDir()
	m := collect(t, CollectOptions{}, empty)
	if len(m.Files) != 0 || len(m.Dirs) != 1 || m.ChunkSize != manifest.DefaultChunkSize {
		t.Errorf("empty_directory_results_in_dir_entry_only: %+v", m)
	}
	if m = collect(t, CollectOptions{}); len(m.Files)+len(m.Dirs) != 0 {
		t.Errorf("no_inputs_results_in_empty_manifest: %+v", m)
	}
	for _, chunk := range []int64{1, 128 << 20, manifest.WholeFile} {
		if m = collect(t, CollectOptions{ChunkSize: chunk}, empty); m.ChunkSize != chunk {
			t.Errorf("chunk size %d, want %d", m.ChunkSize, chunk)
		}
	}
	f := filepath.Join(empty, "d", "f")
	writeFile(t, f, "x", 0o644)
	writeFile(t, filepath.Join(empty, "d", "g"), "x", 0o644)
	if m = collect(t, CollectOptions{Filenames: []string{f}}); len(m.Files) != 1 || len(m.Dirs) != 0 {
		t.Errorf("filenames_only_no_directories: %+v", m)
	}
}

// runnable_flag_preserved_through_collapse_escaping.
func TestCollapsedLinksAreAsRunnableAsTheirTargets(t *testing.T) {
	root := t.TempDir()
	writeFile(t, filepath.Join(root, "run"), "x", 0o755)
	writeFile(t, filepath.Join(root, "data"), "x", 0o644)
	plantWords(t, root, "in/a>../run in/b>../data")
	m := collect(t, CollectOptions{}, filepath.Join(root, "in"))
	if len(m.Files) != 2 || !m.Files[0].Runnable || m.Files[1].Runnable {
		t.Errorf("files %+v", m.Files)
	}
}
