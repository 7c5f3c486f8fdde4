package s3store_test

import (
	"fmt"
	"io"
	"testing"

	"github.com/snapfs/snapfs/blobstore/storetest"
	"github.com/snapfs/snapfs/integration/s3server"
)

// benchSizes are a texture, a block of the cache and a chunk of a large file.
var benchSizes = []int{64 << 10, 4 << 20, 256 << 20}

func BenchmarkPut(b *testing.B) {
	server := s3server.Start(b)
	for _, size := range benchSizes {
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			s := open(b, configFor(b, server, "Data"))
			p := storetest.Bytes(size)
			key := storetest.Key(p)
			b.SetBytes(int64(size))
			for b.Loop() {
				if err := s.Put(b.Context(), key, storetest.Body(p)); err != nil {
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
	server := s3server.Start(b)
	for _, size := range benchSizes {
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			s := open(b, configFor(b, server, "Data"))
			key := storetest.Put(b, s, storetest.Bytes(size))
			b.SetBytes(int64(size))
			for b.Loop() {
				r, err := s.Open(b.Context(), key, 0, -1)
				if err != nil {
					b.Fatal(err)
				}
				if n, err := io.Copy(io.Discard, r); n != int64(size) || err != nil {
					b.Fatal(n, err)
				}
				r.Close()
			}
		})
	}
}
