package cache

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/snapfs/snapfs/blobstore"
	"github.com/snapfs/snapfs/blobstore/faulty"
)

// TestReadersUnderFaults reads blobs of all sizes through two small caches that share a
// directory, with readers that give up and a store that fails in every way: what is read
// without an error must be right, and everything must recover at once.
func TestReadersUnderFaults(t *testing.T) {
	f := newFixture(t, Options{MaxBytes: 40 << 20, MaxMemory: 16 << 20})
	caches := []*Blobs{f.Blobs, open(t, f.store, Options{Dir: f.dir, MaxBytes: 40 << 20, MaxMemory: 16 << 20})}
	var contents [][]byte
	var blobs []readerAt
	for i, size := range []int{1, 4096, 20_000, 300 << 10, int(WholeBlob), 9 << 20, 12<<20 + 3, 25 << 20} {
		data, blob := content(size, uint64(3000+i))
		put(t, f.store, data)
		contents, blobs = append(contents, data), append(blobs, readerAt{blob: blob})
	}
	faults := []faulty.Fault{
		{Err: blobstore.ErrUnavailable},
		{Delay: 3 * time.Millisecond, Times: 5},
		{Stream: true, After: 70_000, Err: io.ErrUnexpectedEOF},
		{Stream: true, After: 300, Err: io.EOF},
		{Stream: true, After: 1000, Corrupt: true, Key: keyOf(blobs[3].blob)},
		{Stream: true, After: 200_000, Delay: 10 * time.Millisecond},
	}
	stop := time.Now().Add(time.Second)
	var wg sync.WaitGroup
	for reader := range 12 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(reader), 1))
			for time.Now().Before(stop) {
				if r.IntN(10) == 0 {
					fault := faults[r.IntN(len(faults))]
					fault.Op = faulty.Open
					f.store.Inject(fault)
				}
				i := r.IntN(len(blobs))
				off := r.IntN(len(contents[i]))
				p := make([]byte, min(1+r.IntN(2<<20), len(contents[i])-off))
				ctx, cancel := context.WithTimeout(context.Background(), time.Duration(r.IntN(100_000))*time.Microsecond)
				n, err := caches[reader%2].ReadBlobAt(ctx, blobs[i].blob, p, int64(off))
				cancel()
				switch {
				case !bytes.Equal(p[:n], contents[i][off:off+n]):
					t.Errorf("blob %d at %d: wrong bytes", i, off)
				case err == nil && n < len(p), errors.Is(err, io.EOF):
					t.Errorf("blob %d at %d: n = %d of %d, err = %v", i, off, n, len(p), err)
				}
			}
		})
	}
	wg.Wait()
	f.store.Heal()
	for _, b := range caches {
		for i := range blobs {
			mustReadAll(t, b, blobs[i].blob, contents[i])
		}
		settled(t, b)
	}
	if got := occupied(t, f.dir); got > 40<<20 {
		t.Errorf("%d bytes in the cache", got)
	}
}
