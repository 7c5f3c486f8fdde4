package ops

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/snapfs/snapfs/blobstore"
	"github.com/snapfs/snapfs/manifest"
)

const testTime = int64(1_600_000_000_123_456)

// entry makes the entry of a file whose content is in the store.
func entry(t testing.TB, s blobstore.Store, path, content string) manifest.File {
	t.Helper()
	storePut(t, s, content)
	return manifest.File{Path: path, Size: int64(len(content)), ModTime: testTime, Hash: manifest.Sum([]byte(content))}
}

// chunked makes the entry of a file split into chunks that are in the store.
func chunked(t testing.TB, s blobstore.Store, path, content string, chunk int) manifest.File {
	t.Helper()
	f := manifest.File{Path: path, Size: int64(len(content)), ModTime: testTime}
	for part := range slices.Chunk([]byte(content), chunk) {
		storePut(t, s, string(part))
		f.Chunks = append(f.Chunks, manifest.Sum(part))
	}
	return f
}

func snapshot(files ...manifest.File) *manifest.Snapshot {
	return &manifest.Snapshot{HashAlg: manifest.XXH128, ChunkSize: 1 << 20, Files: files}
}

// listing describes a tree: one line for each entry, in order.
func listing(t testing.TB, root string) []string {
	t.Helper()
	var out []string
	must(t, filepath.WalkDir(root, func(p string, e fs.DirEntry, err error) error {
		if err != nil || p == root {
			return err
		}
		name := strings.TrimPrefix(p, root+"/")
		switch {
		case e.IsDir():
			out = append(out, name+"/")
		case e.Type()&fs.ModeSymlink != 0:
			to, err := os.Readlink(p)
			must(t, err)
			out = append(out, name+" -> "+to)
		default:
			text, err := os.ReadFile(p)
			must(t, err)
			if len(text) > 40 {
				text = fmt.Appendf(nil, "%d bytes", len(text))
			}
			out = append(out, name+": "+string(text))
		}
		return nil
	}))
	return out
}

func wantTree(t testing.TB, root string, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, listing(t, root)); diff != "" {
		t.Errorf("tree (-want +got):\n%s", diff)
	}
}

// downloadTo is DownloadTo that must succeed.
func downloadTo[K manifest.Kind](t testing.TB, m *manifest.Manifest[manifest.Rel, K], dir string, s blobstore.Store, opts DownloadOptions) (*manifest.Manifest[manifest.Rel, K], DownloadStats) {
	t.Helper()
	got, stats, err := DownloadTo(t.Context(), m, dir, s, opts)
	must(t, err)
	return got, stats
}

func mustHash(t testing.TB, m *manifest.AbsSnapshot) *manifest.AbsSnapshot {
	t.Helper()
	got, _, err := Hash(t.Context(), m, HashOptions{})
	must(t, err)
	return got
}
