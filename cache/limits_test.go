package cache

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/snapfs/snapfs/blobstore"
	"github.com/snapfs/snapfs/manifest"
)

func isMismatch(err error) bool { return errors.Is(err, blobstore.ErrMismatch) }

// readerAt is a blob as an io.ReaderAt.
type readerAt struct {
	b    *Blobs
	blob manifest.Blob
}

func (r readerAt) ReadAt(p []byte, off int64) (int, error) {
	return r.b.ReadBlobAt(context.Background(), r.blob, p, off)
}

// occupied returns what the blobs in the directory occupy.
func occupied(t testing.TB, dir string) (n int64) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() == controlName {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil // renamed meanwhile
		}
		if err == nil {
			n += min(info.Sys().(*syscall.Stat_t).Blocks*512, charge(info.Size()))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestTheLimitHolds(t *testing.T) {
	const limit = 4 << 20
	f := newFixture(t, Options{MaxBytes: limit, MaxMemory: 4 << 20})
	var blobs []readerAt
	var contents [][]byte
	for i := range 60 {
		data, blob := content(200<<10, uint64(100+i))
		put(t, f.store, data)
		blobs = append(blobs, readerAt{f.Blobs, blob})
		contents = append(contents, data)
	}
	for range 2 {
		for i := range blobs {
			mustReadAll(t, f.Blobs, blobs[i].blob, contents[i])
			settled(t, f.Blobs)
			if got := occupied(t, f.dir); got > limit {
				t.Fatalf("%d bytes in the cache, limit %d", got, limit)
			}
		}
	}
	settled(t, f.Blobs)
	st := f.Stats()
	if st.Evictions == 0 || st.CachedBytes > limit || st.CachedBytes < limit/2 {
		t.Errorf("stats %+v", st)
	}
	if got := occupied(t, f.dir); got != st.CachedBytes {
		t.Errorf("ledger says %d, the directory has %d", st.CachedBytes, got)
	}
}

func TestWhatWasUsedLeastRecentlyGoesFirst(t *testing.T) {
	f := newFixture(t, Options{MaxBytes: 10 * 200 << 10})
	var blobs []manifest.Blob
	for i := range 10 {
		data, blob := content(200<<10-100, uint64(200+i))
		put(t, f.store, data)
		blobs = append(blobs, blob)
		mustReadAll(t, f.Blobs, blob, data)
		settled(t, f.Blobs)
		// As if it had been used a while ago; 3 more recently than 2.
		age := time.Duration(100-i) * time.Hour
		if i == 2 {
			age = 1000 * time.Hour
		}
		at := time.Now().Add(-age)
		if err := os.Chtimes(filepath.Join(f.dir, string(keyOf(blob))), at, at); err != nil {
			t.Fatal(err)
		}
	}
	f.space.start() // what was found when the cache was opened is out of date
	data, blob := content(200<<10-100, 300)
	put(t, f.store, data)
	mustReadAll(t, f.Blobs, blob, data)
	settled(t, f.Blobs)
	for i, blob := range blobs {
		_, err := os.Stat(filepath.Join(f.dir, string(keyOf(blob))))
		if gone := err != nil; gone != (i == 2) {
			t.Errorf("blob %d: gone is %v", i, gone)
		}
	}
}

func TestWhatIsOpenIsNotEvicted(t *testing.T) {
	data, blob := content(500<<10, 50)
	f := newFixture(t, Options{MaxBytes: 2 << 20}, data)
	if err := f.Ensure(t.Context(), blob); err != nil {
		t.Fatal(err)
	}
	file, ok := f.File(blob)
	if !ok {
		t.Fatal("no file")
	}
	for i := range 20 {
		other, otherBlob := content(300<<10, uint64(400+i))
		put(t, f.store, other)
		mustReadAll(t, f.Blobs, otherBlob, other)
		settled(t, f.Blobs)
	}
	settled(t, f.Blobs)
	path := filepath.Join(f.dir, string(keyOf(blob)))
	if _, err := os.Stat(path); err != nil {
		t.Errorf("evicted while open: %v", err)
	}
	file.Close()
	for i := range 20 {
		other, otherBlob := content(300<<10, uint64(500+i))
		put(t, f.store, other)
		mustReadAll(t, f.Blobs, otherBlob, other)
		settled(t, f.Blobs)
	}
	settled(t, f.Blobs)
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("not evicted after it was closed: %v", err)
	}
}

func TestABlobLargerThanTheLimitIsRead(t *testing.T) {
	data, blob := content(20<<20, 51)
	f := newFixture(t, Options{MaxBytes: 5 << 20, MaxMemory: 64 << 20}, data)
	mustReadAll(t, f.Blobs, blob, data)
	settled(t, f.Blobs)
	if got := occupied(t, f.dir); got > 5<<20 {
		t.Errorf("%d bytes in the cache", got)
	}
	// Read-ahead that was under way when the room ended may have to be fetched again.
	if got := f.Stats().FetchedBytes; got > 30<<20 {
		t.Errorf("fetched %d bytes for one sequential read of %d", got, blob.Size)
	}
	if err := f.Ensure(t.Context(), blob); !errors.Is(err, errNoRoom) {
		t.Errorf("ensure: err = %v, want %v", err, errNoRoom)
	}
}

func TestScanCorrectsTheLedgerAndCleansUp(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cache")
	f := newFixture(t, Options{Dir: dir})
	f.Close()
	write := func(name string, n int, age time.Duration) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, make([]byte, n), 0o600); err != nil {
			t.Fatal(err)
		}
		at := time.Now().Add(-age)
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
	const h = "0123456789abcdef0123456789abcdef"
	write(h+".xxh128", 5000, time.Hour)
	write(h+".xxh128.1-1.tmp", 100, time.Hour)
	write(h+".xxh128.1-2.tmp", 100, 0)
	write("notes.txt", 100, time.Hour)
	write("x.y.tmp", 100, time.Hour)
	g := open(t, f.store, Options{Dir: dir})
	eventually(t, "the scan", func() bool { return g.Stats().CachedBytes == 8192+4096 })
	for name, want := range map[string]bool{
		h + ".xxh128": true, h + ".xxh128.1-1.tmp": false, h + ".xxh128.1-2.tmp": true, "notes.txt": true, "x.y.tmp": true,
	} {
		if _, err := os.Stat(filepath.Join(dir, name)); (err == nil) != want {
			t.Errorf("%s: present is %v, want %v", name, err == nil, want)
		}
	}
}

func TestFullDiskFailsNoRead(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to mount a small tmpfs")
	}
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=6m,mode=0700"); err != nil {
		t.Skipf("cannot mount a tmpfs: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	filler := filepath.Join(dir, "filler")
	if err := os.WriteFile(filler, make([]byte, 3<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	var reported []error
	f := newFixture(t, Options{Dir: dir, MinFree: -1, MaxMemory: 128 << 20, OnProblem: func(err error) { reported = append(reported, err) }})
	t.Cleanup(func() { f.Close() })
	large, largeBlob := content(20<<20, 52)
	put(t, f.store, large)
	mustReadAll(t, f.Blobs, largeBlob, large)
	settled(t, f.Blobs)
	for i := range 50 {
		data, blob := content(300<<10, uint64(600+i))
		put(t, f.store, data)
		mustReadAll(t, f.Blobs, blob, data)
	}
	settled(t, f.Blobs)
	st := f.Stats()
	if st.DiskErrors == 0 || st.Mismatches != 0 {
		t.Errorf("stats %+v", st)
	}
	if len(reported) != 1 || !errors.Is(reported[0], syscall.ENOSPC) {
		t.Errorf("reported %v, want one ENOSPC", reported)
	}
	if most := int64(22<<20 + 50*300<<10); st.FetchedBytes > most {
		t.Errorf("fetched %d bytes, want at most %d", st.FetchedBytes, most)
	}
}

func TestUnusableDirectoryFailsNoRead(t *testing.T) {
	f := newFixture(t, Options{})
	if err := os.RemoveAll(f.dir); err != nil {
		t.Fatal(err)
	}
	for i, size := range []int{1000, 300 << 10, 12 << 20} {
		data, blob := content(size, uint64(700+i))
		put(t, f.store, data)
		mustReadAll(t, f.Blobs, blob, data)
		settled(t, f.Blobs)
		mustReadAll(t, f.Blobs, blob, data)
	}
	if f.Stats().DiskErrors == 0 {
		t.Error("not counted")
	}
}

func TestManyBlobsKeepFewFilesOpen(t *testing.T) {
	f := newFixture(t, Options{})
	for i := range maxIdle + 100 {
		data, blob := content(100, uint64(2000+i))
		put(t, f.store, data)
		mustReadAll(t, f.Blobs, blob, data)
	}
	settled(t, f.Blobs)
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip(err)
	}
	if len(fds) > maxIdle+50 {
		t.Errorf("%d files are open", len(fds))
	}
}
