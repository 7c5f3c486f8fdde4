package docs

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/snapfs/snapfs/manifest"
)

func snapshot(paths ...string) *manifest.Snapshot {
	m := &manifest.Snapshot{HashAlg: manifest.XXH128, ChunkSize: manifest.DefaultChunkSize}
	for _, p := range paths {
		m.Files = append(m.Files, manifest.File{Path: p, Size: 1, ModTime: 1, Hash: manifest.Sum([]byte(p))})
	}
	return m
}

func TestWriteManifestWritesAndHashesTheText(t *testing.T) {
	m := snapshot("a", "d/b")
	for _, format := range []manifest.Format{manifest.V2025, manifest.V2023} {
		want, err := Encode(m, format)
		if err != nil {
			t.Fatal(err)
		}
		var stdout bytes.Buffer
		file := filepath.Join(t.TempDir(), "m.json")
		io := &IO{Stdout: &stdout}
		for _, dest := range []string{"-", file} {
			hash, err := io.WriteManifest(t.Context(), dest, m, format)
			if err != nil || hash != manifest.Sum(want) {
				t.Errorf("%s to %s: hash %s, %v; want %s", format, dest, hash, err, manifest.Sum(want))
			}
		}
		got, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) || !bytes.Equal(stdout.Bytes(), want) {
			t.Errorf("%s: the file has %q and stdout %q, want %q", format, got, stdout.Bytes(), want)
		}
	}
}

func TestFailedWriteLeavesTheOldFile(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "m.json")
	if err := os.WriteFile(file, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := new(IO).WriteManifest(t.Context(), file, snapshot("../a"), manifest.V2025); !errors.Is(err, manifest.ErrInvalid) {
		t.Errorf("error %v, want ErrInvalid", err)
	}
	if got, err := os.ReadFile(file); err != nil || string(got) != "old" {
		t.Errorf("the file has %q, %v", got, err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("%d files are left, %v", len(entries), err)
	}
}
