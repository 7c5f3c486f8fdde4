package dirstore_test

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/snapfs/snapfs/blobstore/dirstore"
	"github.com/snapfs/snapfs/blobstore/storetest"
)

// benchSizes are a script, a texture and a chunk of a large file.
var benchSizes = []int{4 << 10, 1 << 20, 256 << 20}

// BenchmarkPut puts blobs that are files, as an upload does.
func BenchmarkPut(b *testing.B) {
	for _, size := range benchSizes {
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			s, err := dirstore.Open(b.TempDir(), dirstore.Options{})
			if err != nil {
				b.Fatal(err)
			}
			p := storetest.Bytes(size)
			key := storetest.Key(p)
			name := filepath.Join(b.TempDir(), "source")
			if err := os.WriteFile(name, p, 0o600); err != nil {
				b.Fatal(err)
			}
			f, err := os.Open(name)
			if err != nil {
				b.Fatal(err)
			}
			defer f.Close()
			b.SetBytes(int64(size))
			for b.Loop() {
				if err := s.Put(b.Context(), key, io.NewSectionReader(f, 0, int64(size))); err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				if err := s.Delete(b.Context(), key); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
			}
		})
	}
}

func BenchmarkGet(b *testing.B) {
	for _, size := range benchSizes {
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			s, err := dirstore.Open(b.TempDir(), dirstore.Options{})
			if err != nil {
				b.Fatal(err)
			}
			key := storetest.Put(b, s, storetest.Bytes(size))
			buf := make([]byte, 128<<10)
			b.SetBytes(int64(size))
			for b.Loop() {
				r, err := s.Open(b.Context(), key, 0, -1)
				if err != nil {
					b.Fatal(err)
				}
				if n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, r, buf); n != int64(size) || err != nil {
					b.Fatal(n, err)
				}
				r.Close()
			}
		})
	}
}
