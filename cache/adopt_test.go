package cache

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/snapfs/snapfs/blobstore/memstore"
	"github.com/snapfs/snapfs/manifest"
)

// TestAdopt reads blobs that the store does not have: they were adopted from a range of a
// file. What does not match its hash is refused.
func TestAdopt(t *testing.T) {
	b, err := Open(memstore.New(), Options{Dir: filepath.Join(t.TempDir(), "cache")})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	content := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	path := filepath.Join(t.TempDir(), "data")
	if err := os.WriteFile(path, append([]byte("before"), content...), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for name, test := range map[string]struct {
		size, off int64
		adopted   bool
	}{
		"all":     {int64(len(content)), 6, true},
		"a range": {1000, 6, true},
		"empty":   {0, 0, true},
		"wrong":   {2000, 7, false},
		"too far": {3000, int64(len(content)), false},
	} {
		blob := manifest.Blob{Hash: manifest.Sum(content[:test.size]), Size: test.size}
		b.Adopt(blob, f, test.off)
		got := make([]byte, test.size)
		_, err := b.ReadBlobAt(context.Background(), blob, got, 0)
		if ok := err == nil && bytes.Equal(got, content[:test.size]); ok != test.adopted {
			t.Errorf("%s: adopted: %t, want %t (%v)", name, ok, test.adopted, err)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(b.Dir(), "*"+tempSuffix)); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
