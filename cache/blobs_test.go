package cache

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/snapfs/snapfs/blobstore"
	"github.com/snapfs/snapfs/blobstore/dirstore"
	"github.com/snapfs/snapfs/blobstore/faulty"
	"github.com/snapfs/snapfs/blobstore/memstore"
	"github.com/snapfs/snapfs/manifest"
)

// content returns n random bytes that depend on seed, and the blob they make.
func content(n int, seed uint64) ([]byte, manifest.Blob) {
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(n), byte(n >> 8)})
	data := make([]byte, n)
	_, _ = r.Read(data)
	return data, manifest.Blob{Hash: manifest.Sum(data), Size: int64(n)}
}

func keyOf(blob manifest.Blob) blobstore.Key { return blobstore.Key(blob.Hash + ".xxh128") }

func put(t testing.TB, s blobstore.Store, data []byte) {
	t.Helper()
	key := keyOf(manifest.Blob{Hash: manifest.Sum(data)})
	if err := s.Put(t.Context(), key, io.NewSectionReader(bytes.NewReader(data), 0, int64(len(data)))); err != nil {
		t.Fatal(err)
	}
}

// fixture is a cache over a store in memory that can be made to fail.
type fixture struct {
	*Blobs
	store *faulty.Store
	dir   string
}

func newFixture(t testing.TB, opts Options, contents ...[]byte) *fixture {
	t.Helper()
	f := &fixture{store: faulty.Wrap(memstore.New())}
	for _, data := range contents {
		put(t, f.store, data)
	}
	if opts.Dir == "" {
		opts.Dir = filepath.Join(t.TempDir(), "cache")
	}
	f.dir = opts.Dir
	f.Blobs = open(t, f.store, opts)
	return f
}

func open(t testing.TB, store blobstore.Store, opts Options) *Blobs {
	t.Helper()
	opts.IOTimeout = cmp.Or(opts.IOTimeout, 5*time.Second)
	b, err := Open(store, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

func mustRead(t testing.TB, b *Blobs, blob manifest.Blob, want []byte, off, n int) {
	t.Helper()
	p := make([]byte, n)
	got, err := b.ReadBlobAt(context.Background(), blob, p, int64(off))
	if err != nil || got != n {
		t.Fatalf("read %d at %d: n = %d, err = %v", n, off, got, err)
	}
	if !bytes.Equal(p, want[off:off+n]) {
		t.Fatalf("read %d at %d: wrong bytes", n, off)
	}
}

func mustReadAll(t testing.TB, b *Blobs, blob manifest.Blob, want []byte) {
	t.Helper()
	for off := 0; off < len(want); off += 128 << 10 {
		mustRead(t, b, blob, want, off, min(128<<10, len(want)-off))
	}
}

// settled waits until no transfer is under way.
func settled(t testing.TB, b *Blobs) {
	t.Helper()
	eventually(t, "transfers end", func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, e := range b.entries {
			if e.refs > 0 {
				return false
			}
		}
		return true
	})
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited too long: %s", what)
		}
	}
}

// sizes of blobs that take every path.
var sizes = map[string]int{
	"one byte":            1,
	"a few KiB":           5000,
	"exactly a block":     blockSize,
	"largest whole blob":  int(WholeBlob),
	"smallest ranged":     int(WholeBlob) + 1,
	"ranged, whole block": 40 * blockSize,
	"ranged, odd end":     45*blockSize + 12345,
}

func TestReadBlobAtReturnsTheBytes(t *testing.T) {
	for name, size := range sizes {
		t.Run(name, func(t *testing.T) {
			data, blob := content(size, 1)
			f := newFixture(t, Options{}, data)
			for range 200 {
				off := rand.IntN(size)
				mustRead(t, f.Blobs, blob, data, off, min(1+rand.IntN(300<<10), size-off))
			}
			mustReadAll(t, f.Blobs, blob, data)
			settled(t, f.Blobs)
			if got := f.Stats().FetchedBytes; got != int64(size) {
				t.Errorf("fetched %d bytes of %d", got, size)
			}
			file, ok := f.File(blob)
			if !ok {
				t.Fatal("no complete file after everything was read")
			}
			defer file.Close()
			got, err := io.ReadAll(file)
			if err != nil || !bytes.Equal(got, data) {
				t.Errorf("file: %d bytes, err = %v", len(got), err)
			}
			if st, _ := file.Stat(); st.Mode() != 0o444 || st.Size() != int64(size) {
				t.Errorf("file has mode %v and %d bytes", st.Mode(), st.Size())
			}
		})
	}
}

func TestReadBlobAtHasReaderAtSemantics(t *testing.T) {
	for name, size := range map[string]int{"empty": 0, "small": 1000, "large": 9 << 20} {
		t.Run(name, func(t *testing.T) {
			data, blob := content(size, 2)
			f := newFixture(t, Options{}, data)
			p := make([]byte, 600)
			for _, off := range []int{size, size + 1, size + 1<<20} {
				if n, err := f.ReadBlobAt(t.Context(), blob, p, int64(off)); n != 0 || err != io.EOF {
					t.Errorf("at %d: n = %d, err = %v; want 0, io.EOF", off, n, err)
				}
			}
			off := max(size-100, 0)
			if n, err := f.ReadBlobAt(t.Context(), blob, p, int64(off)); n != size-off || err != io.EOF || !bytes.Equal(p[:n], data[off:]) {
				t.Errorf("across the end: n = %d, err = %v", n, err)
			}
			if n, err := f.ReadBlobAt(t.Context(), blob, nil, 0); n != 0 || err != nil {
				t.Errorf("no bytes: n = %d, err = %v", n, err)
			}
			if _, err := f.ReadBlobAt(t.Context(), blob, p, -1); err == nil || err == io.EOF {
				t.Errorf("negative offset: err = %v", err)
			}
		})
	}
}

func TestReadBlobAtRefusesHashesThatAreNot(t *testing.T) { // spec/gaps.md G-31
	f := newFixture(t, Options{})
	for _, h := range []manifest.Hash{"", "../../etc/passwd", "ABCDEF00000000000000000000000000"} {
		_, err := f.ReadBlobAt(t.Context(), manifest.Blob{Hash: h, Size: 10}, make([]byte, 1), 0)
		if !errors.Is(err, blobstore.ErrBadKey) {
			t.Errorf("hash %q: err = %v, want ErrBadKey", h, err)
		}
	}
	if calls := f.store.Calls(); len(calls) != 0 {
		t.Errorf("the store was asked: %v", calls)
	}
}

func TestReadingALittleFetchesALittle(t *testing.T) {
	size := 256 << 20
	if testing.Short() {
		size = 48 << 20
	}
	data, blob := content(size, 3)
	store := newFixture(t, Options{}, data).store
	for _, off := range []int{0, 64 << 10, size/2 - 1000, size - 64<<10, size / 2} {
		f := open(t, store, Options{Dir: t.TempDir()})
		mustRead(t, f, blob, data, off, 64<<10)
		settled(t, f)
		if got := f.Stats().FetchedBytes; got >= 3<<20 {
			t.Errorf("64 KiB at %d fetched %d bytes", off, got)
		}
		if off != size/2 {
			continue
		}
		mustReadAll(t, f, blob, data)
		settled(t, f)
		if got := f.Stats().FetchedBytes; got != int64(size) {
			t.Errorf("reading everything fetched %d bytes of %d", got, size)
		}
		mustReadAll(t, f, blob, data)
		if got := f.Stats().FetchedBytes; got != int64(size) {
			t.Errorf("reading everything again fetched %d bytes more", got-int64(size))
		}
		if n := f.Stats().Requests; n > 60 {
			t.Errorf("%d requests for a sequential read", n)
		}
	}
}

func TestRandomReadsFetchSingleBlocks(t *testing.T) {
	const size = 128 << 20
	data, blob := content(size, 4)
	f := newFixture(t, Options{}, data)
	const reads = 20
	for i := range reads {
		mustRead(t, f.Blobs, blob, data, (i*37%reads)*(size/reads), 4096)
	}
	settled(t, f.Blobs)
	if got, most := f.Stats().FetchedBytes, int64(scattered*firstFetch+reads*blockSize); got > most {
		t.Errorf("%d random reads fetched %d bytes, want at most %d", reads, got, most)
	}
}

func TestInterleavedStreamsEachGetReadAhead(t *testing.T) {
	const size, part = 96 << 20, 24 << 20
	data, blob := content(size, 5)
	f := newFixture(t, Options{}, data)
	for off := 0; off < part; off += 128 << 10 {
		for s := range 4 {
			mustRead(t, f.Blobs, blob, data, s*part+off, 128<<10)
		}
	}
	settled(t, f.Blobs)
	if st := f.Stats(); st.Requests > 80 || st.FetchedBytes != size {
		t.Errorf("%d requests for %d bytes", st.Requests, st.FetchedBytes)
	}
}

func TestConcurrentReadersShareOneFetch(t *testing.T) {
	for _, size := range []int{1 << 20, 30 << 20} {
		data, blob := content(size, 6)
		f := newFixture(t, Options{}, data)
		var wg sync.WaitGroup
		for range 16 {
			wg.Go(func() {
				off := rand.IntN(size / 2)
				for n := 0; off+n < size; n += 200 << 10 {
					mustRead(t, f.Blobs, blob, data, off+n, min(200<<10, size-off-n))
				}
				mustReadAll(t, f.Blobs, blob, data)
			})
		}
		wg.Wait()
		settled(t, f.Blobs)
		if got := f.Stats().FetchedBytes; got != int64(size) {
			t.Errorf("fetched %d bytes of %d", got, size)
		}
	}
}

func TestPrefetchFetchesWithoutAReader(t *testing.T) {
	small, smallBlob := content(100<<10, 7)
	large, largeBlob := content(20<<20, 7)
	f := newFixture(t, Options{}, small, large)
	f.Prefetch(t.Context(), smallBlob, 0, 1)
	f.Prefetch(t.Context(), largeBlob, 3<<20, 4<<20)
	want := smallBlob.Size + 4<<20
	eventually(t, "prefetch", func() bool { return f.Stats().FetchedBytes == want })
	settled(t, f.Blobs)
	f.store.Inject(faulty.Fault{Op: faulty.Open, Times: faulty.Always, Err: blobstore.ErrUnavailable})
	mustReadAll(t, f.Blobs, smallBlob, small)
	mustRead(t, f.Blobs, largeBlob, large, 3<<20, 4<<20)
}

func TestEnsureMakesTheBlobLocal(t *testing.T) {
	for _, size := range []int{1000, 50 << 20} {
		data, blob := content(size, 8)
		f := newFixture(t, Options{}, data)
		if _, ok := f.File(blob); ok {
			t.Fatal("file before anything was fetched")
		}
		if err := f.Ensure(t.Context(), blob); err != nil {
			t.Fatal(err)
		}
		file, ok := f.File(blob)
		if !ok {
			t.Fatal("no file")
		}
		file.Close()
		if got := f.Stats().FetchedBytes; got != int64(size) {
			t.Errorf("fetched %d bytes", got)
		}
	}
}

func TestTheDirectoryIsADirectoryStore(t *testing.T) {
	small, smallBlob := content(1000, 9)
	large, largeBlob := content(9<<20, 9)
	f := newFixture(t, Options{}, small, large)
	for _, blob := range []manifest.Blob{smallBlob, largeBlob} {
		if err := f.Ensure(t.Context(), blob); err != nil {
			t.Fatal(err)
		}
	}
	settled(t, f.Blobs)
	s, err := dirstore.Open(f.dir, dirstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, blob := range []manifest.Blob{smallBlob, largeBlob} {
		info, err := s.Stat(t.Context(), keyOf(blob))
		if err != nil || info.Size != blob.Size {
			t.Errorf("stat: %+v, %v", info, err)
		}
	}
}

func TestOpenRefusesDirectoriesOfOthers(t *testing.T) { // users.md §5
	world := t.TempDir()
	if err := os.Chmod(world, 0o777); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(memstore.New(), Options{Dir: world}); err == nil {
		t.Error("opened a world-writable directory")
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(memstore.New(), Options{Dir: file}); err == nil {
		t.Error("opened a file")
	}
	if os.Geteuid() == 0 {
		other := t.TempDir()
		if err := os.Chown(other, 12345, 12345); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(memstore.New(), Options{Dir: other}); err == nil {
			t.Error("opened a directory of another user")
		}
	}
	made := newFixture(t, Options{})
	if st, err := os.Stat(made.dir); err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("created with mode %v, err = %v", st.Mode(), err)
	}
}

func TestCloseFailsReadersThatWait(t *testing.T) {
	data, blob := content(20<<20, 10)
	f := newFixture(t, Options{}, data)
	f.store.Inject(faulty.Fault{Op: faulty.Open, Times: faulty.Always, Hang: true})
	errs := make(chan error)
	go func() {
		_, err := f.ReadBlobAt(context.Background(), blob, make([]byte, 10), 0)
		errs <- err
	}()
	eventually(t, "request", func() bool { return len(f.store.Calls()) > 0 })
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-errs; !errors.Is(err, ErrClosed) {
		t.Errorf("err = %v, want ErrClosed", err)
	}
	if _, err := f.ReadBlobAt(t.Context(), blob, make([]byte, 10), 0); !errors.Is(err, ErrClosed) {
		t.Errorf("after close: err = %v, want ErrClosed", err)
	}
}

func TestFetchFillsTheCacheWithARange(t *testing.T) {
	for name, tt := range map[string]struct {
		size           int
		off, n         int64
		bytes          int64 // fetched
		complete, fail bool
	}{
		"small":           {5000, 10, 20, 5000, true, false},
		"range of blocks": {20 << 20, 3 << 20, 2 << 20, 2 << 20, false, false},
		"part of a block": {20 << 20, 3<<20 + 5, 10, blockSize, false, false},
		"whole":           {20 << 20, 0, 20 << 20, 20 << 20, true, false},
		"past the end":    {20 << 20, 19 << 20, 1 << 40, 1 << 20, false, false},
		"outside":         {20 << 20, 30 << 20, 10, 0, false, false},
		"last block":      {20<<20 + 1, 20 << 20, 1, 1, false, false},
		"absent":          {-1, 0, 100, 0, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			data, blob := content(max(tt.size, 9<<20+tt.size), 70)
			if tt.size >= 0 {
				data, blob = content(tt.size, 70)
			}
			f := newFixture(t, Options{})
			if !tt.fail {
				put(t, f.store, data)
			}
			err := f.Fetch(t.Context(), blob, tt.off, tt.n)
			if (err != nil) != tt.fail {
				t.Fatalf("err = %v", err)
			}
			settled(t, f.Blobs)
			if got := f.Stats().FetchedBytes; got != tt.bytes {
				t.Errorf("fetched %d bytes, want %d", got, tt.bytes)
			}
			file, ok := f.File(blob)
			if ok {
				file.Close()
			}
			if ok != tt.complete {
				t.Errorf("complete: %v, want %v", ok, tt.complete)
			}
			if tt.fail || tt.bytes == 0 {
				return
			}
			f.store.Inject(faulty.Fault{Op: faulty.Open, Times: faulty.Always, Err: blobstore.ErrUnavailable})
			mustRead(t, f.Blobs, blob, data, int(tt.off), int(min(tt.n, blob.Size-tt.off)))
		})
	}
}

func TestStatsTellOfRequests(t *testing.T) {
	data, blob := content(1000, 71)
	f := newFixture(t, Options{MaxBytes: 1 << 30}, data)
	mustReadAll(t, f.Blobs, blob, data)
	settled(t, f.Blobs)
	s := f.Stats()
	total := int64(0)
	for _, n := range s.Latency.Counts {
		total += n
	}
	if total != 1 || s.Latency.Sum <= 0 || len(s.Latency.Counts) != len(s.Latency.Bounds)+1 {
		t.Errorf("latency of one request: %+v", s.Latency)
	}
	if s.CacheLimit != 1<<30 || s.MemoryLimit <= 0 || s.MemoryBytes < 0 || s.MemoryBytes > s.MemoryLimit {
		t.Errorf("limits: %+v", s)
	}
}
