package cache

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/snapfs/snapfs/blobstore"
	"github.com/snapfs/snapfs/blobstore/memstore"
	"github.com/snapfs/snapfs/manifest"
)

// setUsed sets the time of the last use of a cached blob.
func setUsed(t *testing.T, dir string, blob manifest.Blob, at time.Time) {
	t.Helper()
	path := filepath.Join(dir, string(keyOf(blob)))
	ts := []unix.Timespec{unix.NsecToTimespec(at.UnixNano()), {Nsec: unix.UTIME_OMIT}}
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, path, ts, 0); err != nil {
		t.Fatal(err)
	}
}

// filled makes a cache with four complete blobs of 64 KiB, the first of which was not
// used for longest, and which no process has open.
func filled(t *testing.T) (dir string, store blobstore.Store, blobs []manifest.Blob) {
	t.Helper()
	dir, store = filepath.Join(t.TempDir(), "cache"), memstore.New()
	b, err := Open(store, Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 4 {
		data, blob := content(64<<10, uint64(i))
		put(t, store, data)
		if err := b.Ensure(t.Context(), blob); err != nil {
			t.Fatal(err)
		}
		blobs = append(blobs, blob)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	for i, blob := range blobs {
		setUsed(t, dir, blob, time.Now().Add(time.Duration(i-10)*time.Hour))
	}
	return dir, store, blobs
}

func TestInspect(t *testing.T) {
	dir, _, _ := filled(t)
	u, err := Inspect(dir)
	if err != nil {
		t.Fatal(err)
	}
	if want := (Usage{Blobs: 4, BlobBytes: 4 * 64 << 10}); u != want {
		t.Errorf("got %+v, want %+v", u, want)
	}
}

func TestInspectCountsPartialBlobs(t *testing.T) {
	data, blob := content(int(WholeBlob)+1, 9)
	f := newFixture(t, Options{}, data)
	mustRead(t, f.Blobs, blob, data, 1<<20, 1000)
	u, err := Inspect(f.dir)
	if err != nil || u.Blobs != 0 || u.Partial != 1 || u.PartialBytes <= 0 || u.PartialBytes > WholeBlob {
		t.Errorf("got %+v, %v, want one partial blob", u, err)
	}
}

func TestPruneRemovesTheLeastRecentlyUsed(t *testing.T) {
	dir, store, blobs := filled(t)
	running := open(t, store, Options{Dir: dir})
	got, err := Prune(t.Context(), dir, 2*64<<10)
	if err != nil {
		t.Fatal(err)
	}
	if want := (Pruned{Files: 2, Bytes: 2 * 64 << 10, Kept: 2 * 64 << 10}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	for i, blob := range blobs {
		_, err := os.Stat(filepath.Join(dir, string(keyOf(blob))))
		if gone := errors.Is(err, os.ErrNotExist); gone != (i < 2) {
			t.Errorf("blob %d: gone %v", i, gone)
		}
	}
	if got := running.Stats().CachedBytes; got != 2*64<<10 {
		t.Errorf("the process that has the cache open counts %d bytes", got)
	}
}

func TestPruneLeavesWhatIsOpen(t *testing.T) {
	dir, store, blobs := filled(t)
	file, ok := open(t, store, Options{Dir: dir}).File(blobs[0])
	if !ok {
		t.Fatal("not cached")
	}
	defer file.Close()
	got, err := Prune(t.Context(), dir, 0)
	if err != nil || got.Files != 3 || got.Kept != 64<<10 {
		t.Errorf("got %+v, %v, want all but the open one removed", got, err)
	}
	if _, err := os.Stat(filepath.Join(dir, string(keyOf(blobs[0])))); err != nil {
		t.Error(err)
	}
}

func TestManageWithoutCache(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing")
	if u, err := Inspect(missing); err != nil || u != (Usage{}) {
		t.Errorf("Inspect: %+v, %v", u, err)
	}
	if p, err := Prune(t.Context(), missing, 0); err != nil || p != (Pruned{}) {
		t.Errorf("Prune: %+v, %v", p, err)
	}
	if _, err := os.Stat(missing); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the directory was made: %v", err)
	}
}

func TestPruneIsCancelled(t *testing.T) {
	dir, _, _ := filled(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if p, err := Prune(ctx, dir, 0); !errors.Is(err, context.Canceled) || p.Files != 0 {
		t.Errorf("got %+v, %v", p, err)
	}
}
