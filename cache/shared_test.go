package cache

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/snapfs/snapfs/blobstore"
	"github.com/snapfs/snapfs/blobstore/dirstore"
	"github.com/snapfs/snapfs/blobstore/faulty"
)

// TestMain runs the test binary as another process of a test when it is asked to.
func TestMain(m *testing.M) {
	if dir := os.Getenv("SNAPFS_TEST_FILL"); dir != "" {
		fillForever(dir, os.Getenv("SNAPFS_TEST_STORE"))
	}
	os.Exit(m.Run())
}

// fillSize and fillSeed make the blob that fillForever reads.
const fillSize, fillSeed = 40 << 20, 77

// fillForever reads a large blob through the cache in dir, bit by bit, and says so.
func fillForever(dir, root string) {
	store, err := dirstore.Open(root, dirstore.Options{})
	if err == nil {
		var b *Blobs
		if b, err = Open(store, Options{Dir: dir, CopyLocal: true}); err == nil {
			_, blob := content(fillSize, fillSeed)
			p := make([]byte, 64<<10)
			fmt.Println("ready")
			for err == nil {
				_, err = b.ReadBlobAt(context.Background(), blob, p, rand.Int64N(fillSize-64<<10))
			}
		}
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func TestKilledProcessLeavesAUsableCache(t *testing.T) {
	data, blob := content(fillSize, fillSeed)
	root := t.TempDir()
	store, err := dirstore.Open(root, dirstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	put(t, store, data)
	dir := filepath.Join(t.TempDir(), "cache")
	for round := range 6 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "SNAPFS_TEST_FILL="+dir, "SNAPFS_TEST_STORE="+root)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(1+round*3+rand.IntN(5)) * time.Millisecond)
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()

		b := open(t, store, Options{Dir: dir, CopyLocal: true})
		for range 5 {
			mustRead(t, b, blob, data, rand.IntN(fillSize-1<<20), 1<<20)
		}
		settled(t, b)
		b.Close()
	}
	b := open(t, store, Options{Dir: dir, CopyLocal: true})
	mustReadAll(t, b, blob, data)
	settled(t, b)
	if st := b.Stats(); st.Mismatches != 0 || st.FetchedBytes >= fillSize {
		t.Errorf("stats %+v: what the killed processes stored was of no use", st)
	}
	if file, ok := b.File(blob); !ok {
		t.Error("the blob was not completed")
	} else {
		file.Close()
	}
}

func TestPartialBlobsSurviveARestart(t *testing.T) {
	data, blob := content(30<<20, 40)
	f := newFixture(t, Options{}, data)
	mustRead(t, f.Blobs, blob, data, 3<<20, 5<<20)
	mustRead(t, f.Blobs, blob, data, 20<<20, 1<<20)
	settled(t, f.Blobs)
	fetched := f.Stats().FetchedBytes
	f.Close()

	again := open(t, f.store, Options{Dir: f.dir})
	f.store.Inject(faulty.Fault{Op: faulty.Open, Times: faulty.Always, Err: blobstore.ErrUnavailable})
	mustRead(t, again, blob, data, 3<<20, 5<<20)
	mustRead(t, again, blob, data, 20<<20, 1<<20)
	f.store.Heal()
	mustReadAll(t, again, blob, data)
	settled(t, again)
	if got := again.Stats().FetchedBytes; got != blob.Size-fetched {
		t.Errorf("fetched %d bytes, want the %d that were missing", got, blob.Size-fetched)
	}
}

func TestBlobStoredCompletelyButNotPublishedIsPublished(t *testing.T) {
	data, blob := content(9<<20, 41)
	f := newFixture(t, Options{})
	part, err := openPartial(t.Context(), f.Blobs.dir.partPath(keyOf(blob), blob.Size), f.Blobs.dir.blobPath(keyOf(blob)), blob.Size)
	if err != nil {
		t.Fatal(err)
	}
	if err := part.store(t.Context(), 0, data, false); err != nil {
		t.Fatal(err)
	}
	part.f.Close()
	mustReadAll(t, f.Blobs, blob, data) // the store does not even have it
	if file, ok := f.File(blob); !ok {
		t.Error("not complete")
	} else {
		file.Close()
	}
}

func TestCachesThatShareADirectoryFetchOnce(t *testing.T) {
	for name, size := range map[string]int{"small": 300 << 10, "large": 40 << 20} {
		t.Run(name, func(t *testing.T) {
			data, blob := content(size, 42)
			f := newFixture(t, Options{}, data)
			g := open(t, f.store, Options{Dir: f.dir})
			f.store.Inject(faulty.Fault{Op: faulty.Open, Times: faulty.Always, Delay: 5 * time.Millisecond})
			var wg sync.WaitGroup
			for _, b := range []*Blobs{f.Blobs, g} {
				wg.Go(func() { mustReadAll(t, b, blob, data) })
				wg.Go(func() {
					for range 50 {
						n := min(size, 100<<10)
						mustRead(t, b, blob, data, rand.IntN(size-n+1), n)
					}
				})
			}
			wg.Wait()
			settled(t, f.Blobs)
			settled(t, g)
			if got := f.Stats().FetchedBytes + g.Stats().FetchedBytes; got != int64(size) {
				t.Errorf("both fetched %d bytes of %d", got, size)
			}
			for _, b := range []*Blobs{f.Blobs, g} {
				mustReadAll(t, b, blob, data)
				if file, ok := b.File(blob); !ok {
					t.Error("a cache does not see the complete blob")
				} else {
					file.Close()
				}
			}
			if got, want := f.Stats().CachedBytes, charge(blob.Size)+charge(1); got < charge(blob.Size) || got > want {
				t.Errorf("ledger says %d bytes, want %d", got, charge(blob.Size))
			}
		})
	}
}

func TestACompletedBlobIsAHitForOthersAtOnce(t *testing.T) {
	data, blob := content(20<<20, 43)
	f := newFixture(t, Options{}, data)
	g := open(t, f.store, Options{Dir: f.dir})
	mustRead(t, g, blob, data, 5<<20, 100) // g has the partial file open
	if err := f.Ensure(t.Context(), blob); err != nil {
		t.Fatal(err)
	}
	settled(t, f.Blobs)
	settled(t, g)
	before := g.Stats().FetchedBytes
	f.store.Inject(faulty.Fault{Op: faulty.Open, Times: faulty.Always, Err: blobstore.ErrUnavailable})
	mustReadAll(t, g, blob, data)
	if got := g.Stats().FetchedBytes; got != before {
		t.Errorf("fetched %d bytes more", got-before)
	}
}

func TestAnotherProcessThatIsStuckDoesNotStopReaders(t *testing.T) {
	data, blob := content(9<<20, 44)
	f := newFixture(t, Options{}, data)
	g := open(t, f.store, Options{Dir: f.dir})
	g.patience = 200 * time.Millisecond
	f.store.Inject(faulty.Fault{Op: faulty.Open, Hang: true})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() { _, _ = f.ReadBlobAt(ctx, blob, make([]byte, 1), 0) }()
	eventually(t, "the first request", func() bool { return f.Stats().Requests == 1 })
	start := time.Now()
	mustRead(t, g, blob, data, 0, 1000)
	if d := time.Since(start); d < g.patience || d > 20*g.patience {
		t.Errorf("took %v", d)
	}
}

func TestDirectoryStoreIsUsedInPlace(t *testing.T) {
	for name, size := range map[string]int{"small": 3 << 20, "large": 40<<20 + 5} {
		t.Run(name, func(t *testing.T) {
			data, blob := content(size, 45)
			base := t.TempDir()
			store, err := dirstore.Open(filepath.Join(base, "store"), dirstore.Options{Create: true})
			if err != nil {
				t.Fatal(err)
			}
			put(t, store, data)
			b := open(t, store, Options{Dir: filepath.Join(base, "cache")})
			mustRead(t, b, blob, data, size/2, 64<<10)
			if got := b.Stats().FetchedBytes; got > 3<<20 {
				t.Errorf("64 KiB in the middle fetched %d bytes", got)
			}
			for range 2 {
				mustReadAll(t, b, blob, data)
				if got := b.Stats().FetchedBytes; got != int64(size) {
					t.Errorf("fetched %d bytes of %d", got, size)
				}
			}
			b.dropIdle()
			mustReadAll(t, b, blob, data)
			if st := b.Stats(); st.FetchedBytes != int64(size) || st.Requests != 0 || st.StoreFileHits == 0 {
				t.Errorf("stats %+v", st)
			}
			wantNoBlobFiles(t, b.dir.path)
			file, ok := b.File(blob)
			if !ok {
				t.Fatal("no file though all of it was read and verified")
			}
			defer file.Close()
			path, _ := store.Path(keyOf(blob))
			if file.Name() != path {
				t.Errorf("file is %s, want %s", file.Name(), path)
			}
		})
	}
}

func TestWrongFileOfADirectoryStore(t *testing.T) {
	for name, size := range map[string]int{"small": 3 << 20, "large": 10 << 20} {
		t.Run(name, func(t *testing.T) {
			data, blob := content(size, 46)
			base := t.TempDir()
			store, err := dirstore.Open(filepath.Join(base, "store"), dirstore.Options{Create: true})
			if err != nil {
				t.Fatal(err)
			}
			wrong := bytes.Clone(data)
			wrong[100] ^= 1
			path, _ := store.Path(keyOf(blob))
			if err := os.WriteFile(path, wrong, 0o444); err != nil {
				t.Fatal(err)
			}
			b := open(t, store, Options{Dir: filepath.Join(base, "cache")})
			all := make([]byte, size)
			if n, err := b.ReadBlobAt(t.Context(), blob, all, 0); n != 0 || !isMismatch(err) {
				t.Fatalf("all of it: n = %d, err = %v; want ErrMismatch", n, err)
			}
			if _, err := b.ReadBlobAt(t.Context(), blob, all[:10], 5000); !isMismatch(err) {
				t.Fatalf("known to be wrong: err = %v, want ErrMismatch", err)
			}
			if b.Stats().Mismatches == 0 {
				t.Error("not counted")
			}
			if _, ok := b.File(blob); ok {
				t.Error("there is a file of a wrong blob")
			}
			// the blob is put right, the way stores do it
			if err := os.WriteFile(path+".new", data, 0o444); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(path+".new", path); err != nil {
				t.Fatal(err)
			}
			settled(t, b)
			b.dropIdle()
			mustReadAll(t, b, blob, data)

			if err := os.Chmod(path, 0o644); err != nil { // not everybody who tests is root
				t.Fatal(err)
			}
			if err := os.Truncate(path, int64(size)/2); err != nil {
				t.Fatal(err)
			}
			b.dropIdle()
			b.memory.Clear()
			if n, err := b.ReadBlobAt(t.Context(), blob, all, 0); n != 0 || !isMismatch(err) {
				t.Fatalf("short file: n = %d, err = %v; want ErrMismatch", n, err)
			}
		})
	}
}

func TestStrictVerifiesFilesInPlaceFirst(t *testing.T) {
	data, blob := content(10<<20, 47)
	base := t.TempDir()
	store, err := dirstore.Open(filepath.Join(base, "store"), dirstore.Options{Create: true})
	if err != nil {
		t.Fatal(err)
	}
	put(t, store, data)
	path, _ := store.Path(keyOf(blob))
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = file.WriteAt([]byte("wrong"), 9<<20)
	file.Close()
	b := open(t, store, Options{Dir: filepath.Join(base, "cache"), Strict: true})
	if n, err := b.ReadBlobAt(t.Context(), blob, make([]byte, 10), 0); n != 0 || !isMismatch(err) {
		t.Errorf("n = %d, err = %v; want ErrMismatch", n, err)
	}
}

func BenchmarkReadFromCache(b *testing.B) {
	const size = 64 << 20
	data, blob := content(size, 48)
	f := newFixture(b, Options{}, data)
	if err := f.Ensure(b.Context(), blob); err != nil {
		b.Fatal(err)
	}
	b.Run("sequential 128 KiB", func(b *testing.B) {
		p := make([]byte, 128<<10)
		b.SetBytes(int64(len(p)))
		for i := range b.N {
			_, _ = f.ReadBlobAt(b.Context(), blob, p, int64(i)*int64(len(p))%size)
		}
	})
	b.Run("random 4 KiB", func(b *testing.B) {
		p := make([]byte, 4<<10)
		b.SetBytes(int64(len(p)))
		for range b.N {
			_, _ = f.ReadBlobAt(b.Context(), blob, p, rand.Int64N(size/4096)*4096)
		}
	})
}

func BenchmarkColdSequential(b *testing.B) {
	const size = 128 << 20
	data, blob := content(size, 49)
	f := newFixture(b, Options{}, data)
	p := make([]byte, 128<<10)
	b.SetBytes(size)
	for i := range b.N {
		c := open(b, f.store, Options{Dir: filepath.Join(b.TempDir(), fmt.Sprint(i))})
		if _, err := io.CopyBuffer(io.Discard, struct{ io.Reader }{io.NewSectionReader(readerAt{c, blob}, 0, size)}, p); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		c.Close()
		os.RemoveAll(c.dir.path)
		b.StartTimer()
	}
}

func BenchmarkColdSmallBlobs(b *testing.B) {
	const n = 2000
	f := newFixture(b, Options{})
	blobs := make([]readerAt, n)
	for i := range blobs {
		data, blob := content(16<<10, uint64(1000+i))
		put(b, f.store, data)
		blobs[i] = readerAt{f.Blobs, blob}
	}
	p := make([]byte, 16<<10)
	b.ResetTimer()
	for i := range b.N {
		if i > 0 && i%n == 0 {
			b.StopTimer()
			dir := filepath.Join(b.TempDir(), fmt.Sprint(i))
			c := open(b, f.store, Options{Dir: dir})
			for j := range blobs {
				blobs[j].b = c
			}
			b.StartTimer()
		}
		if _, err := blobs[i%n].ReadAt(p, 0); err != nil {
			b.Fatal(err)
		}
	}
}
