package cache

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/snapfs/snapfs/blobstore"
	"github.com/snapfs/snapfs/blobstore/faulty"
	"github.com/snapfs/snapfs/manifest"
)

func TestTransportErrorsKeepTheirMeaning(t *testing.T) {
	tests := map[string]struct {
		fault faulty.Fault
		want  error
	}{
		"not found":                 {faulty.Fault{Err: blobstore.ErrNotFound}, blobstore.ErrNotFound},
		"permission":                {faulty.Fault{Err: blobstore.ErrPermission}, blobstore.ErrPermission},
		"unavailable":               {faulty.Fault{Err: blobstore.ErrUnavailable}, blobstore.ErrUnavailable},
		"end of file at once":       {faulty.Fault{Err: io.EOF}, blobstore.ErrUnavailable},
		"stream ends early":         {faulty.Fault{Stream: true, Err: io.EOF}, blobstore.ErrUnavailable},
		"stream breaks off":         {faulty.Fault{Stream: true, Err: io.ErrUnexpectedEOF}, blobstore.ErrUnavailable},
		"cancelled inside of store": {faulty.Fault{Err: context.Canceled}, blobstore.ErrUnavailable},
		"timeout inside of store":   {faulty.Fault{Err: context.DeadlineExceeded}, blobstore.ErrUnavailable},
		"shorter than promised":     {faulty.Fault{Err: blobstore.ErrRange}, blobstore.ErrMismatch},
	}
	for name, tt := range tests {
		for _, size := range []int{5000, 10 << 20} {
			t.Run(name, func(t *testing.T) {
				data, blob := content(size, 20)
				f := newFixture(t, Options{IOTimeout: 100 * time.Millisecond}, data)
				tt.fault.Op, tt.fault.Times = faulty.Open, faulty.Always
				f.store.Inject(tt.fault)
				n, err := f.ReadBlobAt(t.Context(), blob, make([]byte, 5000), 0)
				if n != 0 || !errors.Is(err, tt.want) {
					t.Errorf("n = %d, err = %v; want 0, %v", n, err, tt.want)
				}
				for _, never := range []error{io.EOF, io.ErrUnexpectedEOF, context.Canceled, context.DeadlineExceeded, os.ErrNotExist} {
					if errors.Is(err, never) {
						t.Errorf("err = %v is %v", err, never)
					}
				}
				f.store.Heal()
				mustReadAll(t, f.Blobs, blob, data) // recovery is immediate
			})
		}
	}
}

func TestSmallBlobIsNeverServedWrong(t *testing.T) {
	data, blob := content(300<<10, 21)
	for name, after := range map[string]int64{"first byte": 0, "middle": 100_000, "last byte": blob.Size - 1} {
		t.Run(name, func(t *testing.T) {
			var reported []error
			f := newFixture(t, Options{OnProblem: func(err error) { reported = append(reported, err) }}, data)
			f.store.Inject(faulty.Fault{Op: faulty.Open, Times: faulty.Always, Stream: true, After: after, Corrupt: true})
			n, err := f.ReadBlobAt(t.Context(), blob, make([]byte, 100), 0)
			if n != 0 || !errors.Is(err, blobstore.ErrMismatch) {
				t.Fatalf("n = %d, err = %v; want 0, ErrMismatch", n, err)
			}
			settled(t, f.Blobs)
			if got := len(f.store.Calls()) - 1; got != 2 { // one was the Put
				t.Errorf("%d requests, want 2: fetched once more", got)
			}
			for _, err := range reported {
				if wrong := new(WrongContent); !errors.As(err, &wrong) || wrong.Hash != blob.Hash {
					t.Errorf("reported %v without the hash of the blob", err)
				}
			}
			if got := f.Stats().Mismatches; got != 2 || len(reported) != 2 {
				t.Errorf("%d mismatches counted, %d reported; want 2", got, len(reported))
			}
			wantNoBlobFiles(t, f.dir)
			f.store.Heal()
			mustReadAll(t, f.Blobs, blob, data)
		})
	}
}

func TestSmallBlobThatIsWrongOnceIsFetchedOnceMore(t *testing.T) {
	data, blob := content(300<<10, 22)
	f := newFixture(t, Options{}, data)
	f.store.Inject(faulty.Fault{Op: faulty.Open, Stream: true, After: 5, Corrupt: true})
	mustReadAll(t, f.Blobs, blob, data)
}

func wantNoBlobFiles(t *testing.T, dir string) {
	t.Helper()
	for _, name := range blobFiles(t, dir) {
		t.Errorf("left in the cache: %s", name)
	}
}

func blobFiles(t testing.TB, dir string) (names []string) {
	t.Helper()
	all, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range all {
		if e.Name() != controlName && filepath.Ext(e.Name()) != partSuffix {
			names = append(names, e.Name())
		}
	}
	return names
}

func TestLargeBlobThatIsWrongEndsInAnError(t *testing.T) {
	data, blob := content(12<<20, 23)
	f := newFixture(t, Options{}, data)
	f.store.Inject(faulty.Fault{Op: faulty.Open, Times: faulty.Always, Stream: true, After: 1000, Corrupt: true})
	var failed error
	p := make([]byte, 100<<10)
	for off := int64(0); off < blob.Size && failed == nil; off += int64(len(p)) {
		n := min(int64(len(p)), blob.Size-off)
		_, failed = f.ReadBlobAt(t.Context(), blob, p[:n], off)
	}
	if !errors.Is(failed, blobstore.ErrMismatch) {
		t.Fatalf("err = %v: who reads all of a wrong blob must get ErrMismatch", failed)
	}
	if _, err := f.ReadBlobAt(t.Context(), blob, p, 5<<20); !errors.Is(err, blobstore.ErrMismatch) {
		t.Fatalf("err = %v: known to be wrong, want ErrMismatch", err)
	}
	requests := f.Stats().Requests
	if _, err := f.ReadBlobAt(t.Context(), blob, p, 5<<20); !errors.Is(err, blobstore.ErrMismatch) {
		t.Fatalf("err = %v, want ErrMismatch", err)
	}
	if f.Stats().Requests != requests {
		t.Error("a blob just found wrong twice was fetched again")
	}
	if _, ok := f.File(blob); ok {
		t.Error("there is a file of a wrong blob")
	}
	settled(t, f.Blobs)
	wantNoBlobFiles(t, f.dir)
}

func TestLargeBlobThatIsWrongOnceIsFetchedOnceMore(t *testing.T) {
	data, blob := content(12<<20, 24)
	corrupt := faulty.Fault{Op: faulty.Open, Stream: true, After: 1000, Corrupt: true}
	t.Run("nothing served before: invisible", func(t *testing.T) {
		f := newFixture(t, Options{}, data)
		f.store.Inject(corrupt)
		mustRead(t, f.Blobs, blob, data, 0, len(data))
		if got := f.Stats().Mismatches; got != 1 {
			t.Errorf("%d mismatches, want 1", got)
		}
	})
	t.Run("wrong bytes served: one error, then right", func(t *testing.T) {
		f := newFixture(t, Options{}, data)
		f.store.Inject(corrupt)
		p := make([]byte, 1000)
		if _, err := f.ReadBlobAt(t.Context(), blob, p, 0); err != nil {
			t.Fatal(err)
		}
		all := make([]byte, len(data))
		if _, err := f.ReadBlobAt(t.Context(), blob, all, 0); !errors.Is(err, blobstore.ErrMismatch) {
			t.Fatalf("err = %v, want ErrMismatch", err)
		}
		mustReadAll(t, f.Blobs, blob, data)
	})
	t.Run("strict: invisible", func(t *testing.T) {
		f := newFixture(t, Options{Strict: true}, data)
		f.store.Inject(corrupt)
		mustReadAll(t, f.Blobs, blob, data)
	})
}

func TestDamageOnDiskIsNotServed(t *testing.T) {
	flip := func(t *testing.T, path string, off int64) {
		t.Helper()
		if err := os.Chmod(path, 0o600); err != nil {
			t.Fatal(err)
		}
		file, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		b := make([]byte, 1)
		if _, err := file.ReadAt(b, off); err != nil {
			t.Fatal(err)
		}
		b[0] ^= 1
		if _, err := file.WriteAt(b, off); err != nil {
			t.Fatal(err)
		}
	}
	truncate := func(n int64) func(*testing.T, string) {
		return func(t *testing.T, path string) {
			if err := os.Chmod(path, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Truncate(path, n); err != nil {
				t.Fatal(err)
			}
		}
	}
	flipAt := func(off int64) func(*testing.T, string) {
		return func(t *testing.T, path string) { flip(t, path, off) }
	}
	const large = 10<<20 + 77
	trailer := roundUp(large, pageSize)
	tests := map[string]struct {
		size, read int
		damage     func(*testing.T, string)
	}{
		"complete small, flipped":          {5000, 5000, flipAt(4000)},
		"complete small, short":            {5000, 5000, truncate(100)},
		"complete small, empty":            {5000, 5000, truncate(0)},
		"complete small, longer":           {5000, 5000, truncate(5001)},
		"complete large, flipped":          {large, large, flipAt(9 << 20)},
		"complete large, short":            {large, large, truncate(5 << 20)},
		"complete large, zeros":            {large, large, func(t *testing.T, p string) { truncate(0)(t, p); truncate(large)(t, p) }},
		"partial, data flipped":            {large, 3 << 20, flipAt(1 << 20)},
		"partial, header flipped":          {large, 3 << 20, flipAt(trailer + 9)},
		"partial, mark flipped":            {large, 3 << 20, flipAt(trailer + headerSize + 3)},
		"partial, mark of absent block":    {large, 3 << 20, flipAt(trailer + headerSize + 30*markSize)},
		"partial, trailer cut off":         {large, 3 << 20, truncate(trailer + headerSize + 5)},
		"partial, header cut off":          {large, 3 << 20, truncate(trailer)},
		"partial, killed when publishing":  {large, 3 << 20, truncate(large)},
		"partial, emptied":                 {large, 3 << 20, truncate(0)},
		"partial, data became a hole":      {large, 3 << 20, func(t *testing.T, p string) { zero(t, p, 1<<20) }},
		"partial, longer than it could be": {large, 3 << 20, truncate(trailer + 1<<20)},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			data, blob := content(tt.size, 25)
			f := newFixture(t, Options{}, data)
			mustRead(t, f.Blobs, blob, data, 0, tt.read)
			settled(t, f.Blobs)
			f.Close()
			paths, err := filepath.Glob(filepath.Join(f.dir, string(blob.Hash)+"*"))
			if err != nil || len(paths) != 1 {
				t.Fatalf("files: %v, %v", paths, err)
			}
			tt.damage(t, paths[0])
			again := open(t, f.store, Options{Dir: f.dir})
			mustReadAll(t, again, blob, data)
			settled(t, again)
			if got := again.Stats().FetchedBytes; got == 0 || got > blob.Size {
				t.Errorf("fetched %d bytes", got)
			}
			if file, ok := again.File(blob); !ok {
				t.Error("not complete afterwards")
			} else {
				defer file.Close()
				if err := checkFile(file, blob); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func zero(t *testing.T, path string, off int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(make([]byte, 4096), off); err != nil {
		t.Fatal(err)
	}
}

func TestForeignCompleteFilesAreVerifiedBeforeUse(t *testing.T) {
	for name, size := range map[string]int{"small": 1000, "large": 9 << 20} {
		t.Run(name, func(t *testing.T) {
			data, blob := content(size, 26)
			f := newFixture(t, Options{})
			wrong := bytes.Clone(data)
			wrong[size/2] ^= 1
			path := filepath.Join(f.dir, string(keyOf(blob)))
			if err := os.WriteFile(path, wrong, 0o444); err != nil {
				t.Fatal(err)
			}
			if n, err := f.ReadBlobAt(t.Context(), blob, make([]byte, 10), 0); n != 0 || !errors.Is(err, blobstore.ErrNotFound) {
				t.Errorf("n = %d, err = %v; want the store's ErrNotFound", n, err)
			}
			settled(t, f.Blobs)
			f.dropIdle()
			if err := os.WriteFile(path, data, 0o444); err != nil {
				t.Fatal(err)
			}
			mustReadAll(t, f.Blobs, blob, data)
		})
	}
}

func TestCancelledReaderReturnsAndOthersGoOn(t *testing.T) {
	for name, size := range map[string]int{"small": 100 << 10, "large": 10 << 20} {
		t.Run(name, func(t *testing.T) {
			data, blob := content(size, 27)
			f := newFixture(t, Options{}, data)
			f.store.Inject(faulty.Fault{Op: faulty.Open, Delay: 300 * time.Millisecond})
			ctx, cancel := context.WithCancel(t.Context())
			first := make(chan error)
			go func() {
				_, err := f.ReadBlobAt(ctx, blob, make([]byte, 10), 0)
				first <- err
			}()
			eventually(t, "request", func() bool { return f.Stats().Requests == 1 })
			var wg sync.WaitGroup
			wg.Go(func() { mustRead(t, f.Blobs, blob, data, 0, 1000) })
			time.Sleep(20 * time.Millisecond) // let it join
			start := time.Now()
			cancel()
			if err := <-first; !errors.Is(err, context.Canceled) || time.Since(start) > 100*time.Millisecond {
				t.Errorf("err = %v after %v", err, time.Since(start))
			}
			wg.Wait()
			if got := f.Stats().Requests; got != 1 {
				t.Errorf("%d requests, want 1", got)
			}
		})
	}
}

func TestFetchThatNobodyWaitsForIsGivenUp(t *testing.T) {
	for name, size := range map[string]int{"small": 100 << 10, "large": 10 << 20} {
		t.Run(name, func(t *testing.T) {
			data, blob := content(size, 28)
			f := newFixture(t, Options{}, data)
			f.store.Inject(faulty.Fault{Op: faulty.Open, Hang: true})
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
			defer cancel()
			if _, err := f.ReadBlobAt(ctx, blob, make([]byte, 10), 0); !errors.Is(err, context.DeadlineExceeded) {
				t.Fatalf("err = %v", err)
			}
			mustReadAll(t, f.Blobs, blob, data) // a new flight, not the hanging one
			eventually(t, "the first request ends", func() bool { return f.Stats().InFlight == 0 })
		})
	}
}

func TestReadersAreWokenAsBytesLand(t *testing.T) {
	data, blob := content(64<<20, 29)
	f := newFixture(t, Options{}, data)
	f.store.Inject(faulty.Fault{Op: faulty.Open, Stream: true, After: 300 << 10, Hang: true})
	mustRead(t, f.Blobs, blob, data, 10, 200<<10) // of a request for 1 MiB that never ends
}

func TestFailedReadAheadDoesNotFailTheReader(t *testing.T) {
	data, blob := content(64<<20, 30)
	f := newFixture(t, Options{}, data)
	f.store.Inject(faulty.Fault{Op: faulty.Open, Skip: 1, Times: 3, Err: blobstore.ErrUnavailable})
	for off := 0; off < len(data); off += 128 << 10 {
		p := make([]byte, 128<<10)
		for try := 0; ; try++ {
			if _, err := f.ReadBlobAt(t.Context(), blob, p, int64(off)); err == nil {
				break
			} else if try == 4 {
				t.Fatalf("at %d: %v", off, err)
			}
		}
		if !bytes.Equal(p, data[off:off+len(p)]) {
			t.Fatalf("wrong bytes at %d", off)
		}
	}
}

func TestManifestThatLiesAboutASizeDoesNotServe(t *testing.T) {
	for name, size := range map[string]int{"small": 1000, "large": 9 << 20} {
		for _, delta := range []int64{-1, 1} {
			t.Run(name, func(t *testing.T) {
				data, blob := content(size, 31)
				f := newFixture(t, Options{Strict: true}, data)
				lie := manifest.Blob{Hash: blob.Hash, Size: blob.Size + delta}
				if _, err := f.ReadBlobAt(t.Context(), lie, make([]byte, 10), 0); !errors.Is(err, blobstore.ErrMismatch) {
					t.Errorf("size %+d: err = %v, want ErrMismatch", delta, err)
				}
			})
		}
	}
}
