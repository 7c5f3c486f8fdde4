package ops

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/snapfs/snapfs/blobstore/memstore"
	"github.com/snapfs/snapfs/manifest"
)

// Absolute manifests write absolute links, as the reference does, unless asked.
func TestDownloadLinkTexts(t *testing.T) {
	root := t.TempDir()
	at := func(p string) string { return filepath.Join(root, p) }
	m := &manifest.AbsSnapshot{HashAlg: manifest.XXH128, ChunkSize: 1, Files: []manifest.File{
		{Path: at("d/in"), Target: at("x/y")}, {Path: at("d/root"), Target: root}, {Path: at("out"), Target: "/etc/passwd"},
	}}
	for _, tc := range []struct {
		name string
		opts DownloadOptions
		want []string
		fail bool
	}{
		{"no root", DownloadOptions{}, []string{"d/", "d/in -> " + at("x/y"), "d/root -> " + root, "out -> /etc/passwd"}, false},
		{"in a root", DownloadOptions{Root: root}, []string{"d/", "d/in -> " + at("x/y"), "d/root -> " + root}, true},
		{"relative", DownloadOptions{Root: root, RelativeLinks: true}, []string{"d/", "d/in -> ../x/y", "d/root -> .."}, true},
		{"escaping allowed", DownloadOptions{Root: root, RelativeLinks: true, AllowEscapingLinks: true}, []string{"d/", "d/in -> ../x/y", "d/root -> ..", "out -> /etc/passwd"}, false},
		{"none", DownloadOptions{Symlinks: ExcludeAll}, nil, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			must(t, os.RemoveAll(at("d")))
			must(t, os.RemoveAll(at("out")))
			_, _, err := Download(t.Context(), m, memstore.New(), tc.opts)
			if errors.Is(err, ErrUnsafe) != tc.fail || (err != nil) != tc.fail {
				t.Errorf("error %v", err)
			}
			wantTree(t, root, tc.want...)
		})
	}
}

// G-30, spec/users.md §5: a destination prepared by an attacker.
func TestDownloadIsConfined(t *testing.T) {
	s := memstore.New()
	for _, tc := range []struct {
		name  string
		plant func(dir, outside string) error
		m     *manifest.Snapshot
	}{
		{
			"a directory is a planted link",
			func(dir, outside string) error { return os.Symlink(outside, filepath.Join(dir, "d")) },
			snapshot(entry(t, s, "d/f", "x")),
		},
		{
			"a directory above is a planted link",
			func(dir, outside string) error { return os.Symlink(outside, filepath.Join(dir, "d")) },
			snapshot(entry(t, s, "d/sub/f", "x")),
		},
		{
			"only a directory below a planted link",
			func(dir, outside string) error { return os.Symlink(outside, filepath.Join(dir, "d")) },
			&manifest.Snapshot{ChunkSize: 1, Dirs: []manifest.Dir{{Path: "d/new"}}},
		},
		{
			"a link below a planted link",
			func(dir, outside string) error { return os.Symlink(outside, filepath.Join(dir, "d")) },
			snapshot(manifest.File{Path: "d/l", Target: "x"}),
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir, outside := t.TempDir(), t.TempDir()
			must(t, tc.plant(dir, outside))
			_, _, err := DownloadTo(t.Context(), tc.m, dir, s, DownloadOptions{})
			var fails *Failures
			if !errors.As(err, &fails) || !errors.Is(err, ErrUnsafe) {
				t.Errorf("got %v, want failures that are ErrUnsafe", err)
			}
			wantTree(t, outside)
		})
	}
}

// G-30, G-31: manifests that must be refused before anything is touched.
func TestDownloadRefusesHostileManifests(t *testing.T) {
	s := memstore.New()
	good := entry(t, s, "good", "x")
	for _, tc := range []struct {
		name string
		file manifest.File
		more []manifest.File
	}{
		{"..", manifest.File{Path: "../f", Hash: good.Hash, Size: 1}, nil},
		{".. in the middle", manifest.File{Path: "a/../../f", Hash: good.Hash, Size: 1}, nil},
		{"a link that climbs out", manifest.File{Path: "l", Target: "../x"}, nil},
		{"an absolute link", manifest.File{Path: "l", Target: "/etc/passwd"}, nil},
		{"an absolute path", manifest.File{Path: "/f", Hash: good.Hash, Size: 1}, nil},
		{"link and write through it", manifest.File{Path: "l", Target: "good"}, []manifest.File{{Path: "l/f", Hash: good.Hash, Size: 1}}},
		{"a hash that is a path", manifest.File{Path: "f", Hash: "../../x", Size: 1}, nil},
		{"a short hash", manifest.File{Path: "f", Hash: "abc", Size: 1}, nil},
		{"rejects_file_with_no_hash", manifest.File{Path: "f", Size: 1}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			m := snapshot(append([]manifest.File{good, tc.file}, tc.more...)...)
			if _, _, err := DownloadTo(t.Context(), m, dir, s, DownloadOptions{}); !errors.Is(err, manifest.ErrInvalid) {
				t.Errorf("got %v, want ErrInvalid", err)
			}
			wantTree(t, dir)
		})
	}
	abs := &manifest.AbsSnapshot{ChunkSize: 1, Files: []manifest.File{{Path: "relative", Hash: good.Hash, Size: 1}}}
	if _, _, err := Download(t.Context(), abs, s, DownloadOptions{}); !errors.Is(err, manifest.ErrInvalid) {
		t.Errorf("download_relative_path_raises_error: %v", err)
	}
	abs.Files[0].Path = "/somewhere/else"
	if _, _, err := Download(t.Context(), abs, s, DownloadOptions{Root: t.TempDir()}); !errors.Is(err, ErrUnsafe) {
		t.Errorf("a file outside of the root gives %v", err)
	}
}

// G-06: directories that only links lead to are not made.
func TestDownloadMakesNoDirectoriesForLinkTargets(t *testing.T) {
	root := t.TempDir()
	at := func(p string) string { return filepath.Join(root, p) }
	m := &manifest.AbsSnapshot{ChunkSize: 1,
		Files: []manifest.File{{Path: at("job/d/l"), Target: at("lib/v1/x")}, {Path: at("job/e/l"), Target: at("job/e/dir/x")}},
		Dirs:  []manifest.Dir{{Path: root}, {Path: at("job")}, {Path: at("job/d")}, {Path: at("job/e")}, {Path: at("job/e/dir")}, {Path: at("lib")}, {Path: at("lib/v1")}},
	}
	_, _, err := Download(t.Context(), m, memstore.New(), DownloadOptions{})
	must(t, err)
	wantTree(t, root, "job/", "job/d/", "job/d/l -> "+at("lib/v1/x"), "job/e/", "job/e/dir/", "job/e/l -> "+at("job/e/dir/x"))
}
