package ops

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/snapfs/snapfs/manifest"
)

// Spec/ops.md §8 statements 4, 6 and 8, by the names of spec/tests.md §13.
func TestSubtreeByName(t *testing.T) {
	for _, tc := range []struct {
		name, tree, root string
		policy           SymlinkPolicy
		want             string
	}{
		{"is_within_subtree_exact_match", "foo/ foo/x", "foo", CollapseEscaping, "x"},
		{"is_within_subtree_prefix_not_directory", "foo/bar foo/b/x", "foo/b", CollapseEscaping, "x"},
		{"empty_result", "a/x", "b", CollapseEscaping, ""},
		{"nested_subtree", "a/b/c/x=xx* a/b/y", "a/b", CollapseEscaping, "c/x=xx* y"},
		{"rebase_path: the root is normalised", "a/b/x", "./a//b/../b/", CollapseEscaping, "x"},
		{"self_referential_symlink_cycle", "a/l>a/l a/x", "a", CollapseAll, "x"},
		{"two_symlink_cycle", "a/l>a/m a/m>a/l a/x", "a", CollapseAll, "x"},
		{"three_symlink_cycle", "a/l>a/m a/m>a/n a/n>a/l a/x", "a", CollapseAll, "x"},
		{"cycle_with_collapse_escaping", "a/l>b b>c c>b a/x", "a", CollapseEscaping, "x"},
		{"symlink_chain_no_cycle", "a/l>a/m a/m>a/n a/n>a/x a/x=xx", "a", CollapseAll, "l=xx m=xx n=xx x=xx"},
		{"cycle_in_directory_symlink", "a/l>b b/x b/m>b/m", "a", CollapseAll, "l/ l/x"},
		{"directory_symlink_collapsed_with_implicit_dirs", "a/l>b b/c/d/x", "a", CollapseEscaping, "l/ l/c/d/x"},
		{"directory_symlink_with_nested_symlink_collapse_all_resolves", "a/l>b b/m>c c=xxx", "a", CollapseAll, "l/ l/m=xxx"},
		{"exclude_escaping_directory_symlink", "a/l>b a/x b/y", "a", ExcludeEscaping, "x"},
		{"symlink_to_missing_target_excluded", "a/l>no a/x", "a", CollapseEscaping, "x"},
		{"identity_collapse_policy_collapses_all_symlinks", "a/x=x l>a/x", ".", CollapseAll, "a/x=x l=x"},
		{"identity_exclude_policy_excludes_all_symlinks", "a/x=x l>a/x", ".", ExcludeAll, "a/x=x"},
		{"identity_collapse_escaping_preserves_symlinks", "a/x=x l>a/x m>no", "", CollapseEscaping, "a/x=x l>a/x m>no"},
		{"identity_collapse_directory_symlink", "a/x=x l>a", ".", CollapseAll, "a/x=x l/ l/x=x"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			sameWords(t, tc.want, got[manifest.Rel, manifest.Full](t)(Subtree(snap(tc.tree), tc.root, tc.policy)))
		})
	}
}

// Absolute manifests: the root directory, drives, and what is left of UNC paths, which
// keep one slash (G-20).
func TestSubtreeOfAbsolute(t *testing.T) {
	for _, tc := range []struct{ name, tree, root, want string }{
		{"posix_root_subtree", "/ /a/x /l>/a/x", "/", "a/x l>a/x"},
		{"absolute_paths_converted_to_relative", "/p/a/x=xx /p/l>/p/a/x", "/p", "a/x=xx l>a/x"},
		{"a drive", "C:/p/x D:/p/x", "C:/", "p/x"},
		{"unc_path_subtree_extraction", "/server/share/d/x", "//server/share", "d/x"},
		{"unc_path_deep_nesting_no_infinite_loop", "/server/share/a/b/c/d/e/f/x", "//server/share/a/b/c/d", "e/f/x"},
		{"unc_path_multiple_servers", "/one/share/x /two/share/y", "//two/share/", "y"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			sameWords(t, tc.want, got[manifest.Rel, manifest.Full](t)(Subtree(absSnap(tc.tree), tc.root, CollapseEscaping)))
		})
	}
}

// Spec/ops.md §8 statement 8: a subtree taken in two steps, and where that differs.
func TestSubtreeInvariants(t *testing.T) {
	for _, tc := range []struct {
		name, tree    string
		first, second SymlinkPolicy
		equal         bool
	}{
		{"invariant_collapse_policy", "a/x=x a/l>a/x a/m>a/l", CollapseEscaping, CollapseAll, true},
		{"invariant_exclude_policy", "a/x=x a/l>a/x", CollapseEscaping, ExcludeAll, true},
		{"invariant_non_escaping_symlink", "a/x=x a/l>a/x", ExcludeEscaping, CollapseAll, true},
		{"invariant_with_escaping_symlink_collapsed", "a/x=x a/l>b b=xx", CollapseEscaping, CollapseAll, true},
		{"invariant_exception_escaping_symlink_collapse_vs_exclude", "a/x=x a/l>b b=xx", CollapseEscaping, ExcludeAll, false},
		{"invariant_exception_escaping_symlink_excluded", "a/x=x a/l>b b=xx", ExcludeEscaping, CollapseAll, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := snap(tc.tree)
			one, err := Subtree(m, "a", tc.second)
			must(t, err)
			first, err := Subtree(m, "a", tc.first)
			must(t, err)
			two, err := Subtree(first, ".", tc.second)
			must(t, err)
			if equal := cmp.Equal(one, two); equal != tc.equal {
				t.Errorf("in one step: %s, in two: %s", wordsOf(one), wordsOf(two))
			}
		})
	}
}

// Spec/ops.md §9: all kinds, and what a prefix may be.
func TestJoinKinds(t *testing.T) {
	d := delta("it's! é/日本 -gone -old/ l>m m>é/日本")
	d.ParentHash = "p"
	abs, err := Join(d, "/root/sub/../other")
	sameWords(t, "/root/other/it's! /root/other/é/日本 -/root/other/gone -/root/other/old/ /root/other/l>/root/other/m /root/other/m>/root/other/é/日本",
		got[manifest.Abs, manifest.Diff](t)(abs, err))
	rel, err := JoinRel(d, "p")
	must(t, err)
	if abs.ParentHash != "" || rel.ParentHash != "" {
		t.Error("the hash of the parent is of another tree")
	}
	sameWords(t, "/readme.md", got[manifest.Abs, manifest.Full](t)(Join(snap("readme.md"), "/")))
	sameWords(t, "", got[manifest.Abs, manifest.Full](t)(Join(snap(""), "/p")))
	sameWords(t, "a/b/x=xx*", got[manifest.Rel, manifest.Full](t)(JoinRel(snap("x=xx*"), "a/b")))
	// Backslashes are ordinary here; on the system they come from they are not.
	sameWords(t, `C:/p\q/x`, got[manifest.Abs, manifest.Full](t)(Join(snap("x"), `C:\p\q`)))
}

// Spec/ops.md §10 statement 8, by the names of spec/tests.md §15.
func TestPartitionByName(t *testing.T) {
	roots := func(list ...string) PartitionOptions { return PartitionOptions{Roots: list} }
	refer := func(path string, list ...string) PartitionOptions {
		return PartitionOptions{Roots: list, ReferencedPaths: []string{path}}
	}
	for _, tc := range []struct {
		name, tree string
		opts       PartitionOptions
		want       string
	}{
		{"auto_root_common_prefix", "/projects/scene/assets/a /projects/scene/render/r", PartitionOptions{}, "/projects/scene: assets/a render/r"},
		{"auto_root_single_directory", "/root/a/x /root/b/y", PartitionOptions{}, "/root: a/x b/y"},
		{"auto_root_single_file_uses_parent", "/a/b/f", PartitionOptions{}, "/a/b: f"},
		{"auto_root_no_common_prefix_gives_slash", "/a/f /b/f", PartitionOptions{}, "/: a/f b/f"},
		{"empty_dir_affects_auto_root", "/a/c/ /a/b/f", PartitionOptions{}, "/a: b/f c/"},
		{"explicit_roots_first_in_order", "/z/1 /a/2 /m/3", roots("/z", "/a", "/m"), "/z: 1; /a: 2; /m: 3"},
		{"explicit_roots_with_remainder_creates_additional_roots", "/projects/scene/x /data/shared/x /home/user/cache/y", roots("/projects/scene"),
			"/projects/scene: x; /data/shared: x; /home/user/cache: y"},
		{"remainder_with_common_prefix_at_different_depths", "/p/x /libs/a/b/c/y /libs/a/z", roots("/p"), "/p: x; /libs/a: b/c/y z"},
		{"single_file_remainder_gets_parent_as_root", "/p/x /etc/config.ini", roots("/p"), "/p: x; /etc: config.ini"},
		{"explicit_root_covers_all_no_remainder", "/p/x /p/d/y", roots("/p"), "/p: d/y x"},
		{"empty_partition_for_explicit_root_with_no_entries", "/p/x", roots("/p", "/q"), "/p: x; /q: "},
		{"referenced_paths_affects_root_determination", "/project/src/main.py", refer("/project/output"), "/project: src/main.py"},
		{"referenced_paths_creates_additional_roots", "/project/x", refer("/other/output", "/project"), "/project: x; /other/output: "},
		{"referenced_paths_only_introduces_remainder", "/project/x", refer("/output/renders/final", "/project"), "/project: x; /output/renders/final: "},
		{"referenced_paths_deepens_remainder_root", "/project/x /data/assets/t", refer("/data/cache", "/project"), "/project: x; /data: assets/t"},
		{"preserves_symlinks_within_partition", "/p/x /p/l>/p/x", PartitionOptions{}, "/p: l>x x"},
		{"escaping_symlink_collapsed", "/p/l>/q/y /q/y=xx", roots("/p", "/q"), "/p: l=xx; /q: y=xx"},
		{"escaping_symlink_excluded_with_exclude_all", "/p/x /p/l>/q/y /q/y", PartitionOptions{Roots: []string{"/p", "/q"}, Symlinks: ExcludeAll}, "/p: x; /q: y"},
		{"escaping_symlink_excluded_with_exclude_escaping", "/p/x /p/k>/p/x /p/l>/q/y /q/y", PartitionOptions{Roots: []string{"/p", "/q"}, Symlinks: ExcludeEscaping}, "/p: k>x x; /q: y"},
		{"total_size_recomputed_per_partition", "/p/x=xx /q/y=xxx", roots("/p"), "/p: x=xx; /q: y=xxx"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			parts, err := Partition(absSnap(tc.tree), tc.opts)
			must(t, err)
			sameParts(t, tc.want, parts)
		})
	}
	for _, tc := range []struct {
		name, tree string
		opts       PartitionOptions
		want       string
	}{
		{"root_level_files_returns_dot_root", "a b", PartitionOptions{}, ".: a b"},
		{"top-level and nested", "a d/b", PartitionOptions{}, ".: a d/b"},
		{"relative_explicit_root_with_remainder", "project/src/x data/cache/y libs/common/z", roots("project/src"), "project/src: x; data/cache: y; libs/common: z"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			parts, err := Partition(snap(tc.tree), tc.opts)
			must(t, err)
			sameParts(t, tc.want, parts)
		})
	}
}

// A partition and a join of its parts is the whole again (spec/gaps.md C).
func TestJoinUndoesPartition(t *testing.T) {
	m := absSnap("/p/a/x=x /p/l>/p/a/x /q/r/y=xx* /q/r/d/")
	parts, err := Partition(m, PartitionOptions{Roots: []string{"/p"}})
	must(t, err)
	whole := &manifest.AbsSnapshot{HashAlg: m.HashAlg, ChunkSize: m.ChunkSize}
	for _, p := range parts {
		joined, err := Join(p.Manifest, p.Root)
		must(t, err)
		whole.Files, whole.Dirs = append(whole.Files, joined.Files...), append(whole.Dirs, joined.Dirs...)
	}
	sameWords(t, wordsOf(m), wordsOf(whole))
}
