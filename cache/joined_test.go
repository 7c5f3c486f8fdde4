package cache

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/snapfs/snapfs/blobstore"
	"github.com/snapfs/snapfs/blobstore/memstore"
	"github.com/snapfs/snapfs/manifest"
)

// chunks are the contents of a file in two chunks, put into a store.
func chunks(t *testing.T, store blobstore.Store) (whole []byte, blobs []manifest.Blob) {
	t.Helper()
	for i, n := range []int{9 << 20, 3<<20 + 17} {
		data, blob := content(n, uint64(i))
		put(t, store, data)
		whole, blobs = append(whole, data...), append(blobs, blob)
	}
	return whole, blobs
}

// lent waits until the file is lent.
func lent(t *testing.T, b *Blobs, blobs []manifest.Blob) *os.File {
	t.Helper()
	for range 1000 {
		if f, ok := b.Lend(blobs); ok {
			t.Cleanup(func() { f.Close() })
			return f
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatal("the file is not lent")
	return nil
}

func wantContent(t *testing.T, f *os.File, want []byte) {
	t.Helper()
	got, err := io.ReadAll(f)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("the lent file has %d bytes, which differ from the %d of the blobs (%v)", len(got), len(want), err)
	}
}

func TestChunksAreJoinedOnceAllAreLocal(t *testing.T) {
	store := memstore.New()
	whole, blobs := chunks(t, store)
	dir := filepath.Join(t.TempDir(), "cache")
	b := open(t, store, Options{Dir: dir})
	if err := b.Ensure(t.Context(), blobs[0]); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		if f, ok := b.Lend(blobs); ok {
			f.Close()
			t.Fatal("a file was lent of which a part is missing")
		}
		time.Sleep(time.Millisecond)
	}
	if err := b.Ensure(t.Context(), blobs[1]); err != nil {
		t.Fatal(err)
	}
	wantContent(t, lent(t, b, blobs), whole)
	if f, ok := b.Lend([]manifest.Blob{blobs[1], blobs[0]}); ok {
		f.Close()
		t.Error("the same chunks in another order are the same file")
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	again := open(t, memstore.New(), Options{Dir: dir}) // of a later process
	f, ok := again.Lend(blobs)
	if !ok {
		t.Fatal("the joined file is not found again")
	}
	wantContent(t, f, whole)
	f.Close()
}

func TestJoinedFileThatIsNotSureIsMadeAgain(t *testing.T) {
	store := memstore.New()
	whole, blobs := chunks(t, store)
	dir := filepath.Join(t.TempDir(), "cache")
	b := open(t, store, Options{Dir: dir})
	for _, x := range blobs {
		if err := b.Ensure(t.Context(), x); err != nil {
			t.Fatal(err)
		}
	}
	lent(t, b, blobs)
	key, _ := joinedKey(blobs)
	path := b.dir.joinedPath(key)
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	// Another time of change is another file than the one that was marked, as after a
	// power loss.
	if err := os.WriteFile(path, make([]byte, len(whole)), 0o600); err != nil {
		t.Fatal(err)
	}
	if f, ok := b.Lend(blobs); ok {
		f.Close()
		t.Fatal("a file was lent that is not marked as verified")
	}
	wantContent(t, lent(t, b, blobs), whole)
}

func TestJoinedChunksAreEvictedFirst(t *testing.T) {
	store := memstore.New()
	whole, blobs := chunks(t, store)
	dir := filepath.Join(t.TempDir(), "cache")
	b := open(t, store, Options{Dir: dir})
	other, otherBlob := content(1<<20, 77)
	put(t, store, other)
	for _, x := range append(blobs, otherBlob) {
		if err := b.Ensure(t.Context(), x); err != nil {
			t.Fatal(err)
		}
	}
	setUsed(t, dir, otherBlob, time.Now().Add(-time.Hour))
	lent(t, b, blobs).Close()
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Prune(t.Context(), dir, int64(len(whole))+5<<20); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		path string
		want bool
	}{
		{string(keyOf(blobs[0])), false},
		{string(keyOf(otherBlob)), true},
		{filepath.Base(func() string { k, _ := joinedKey(blobs); return b.dir.joinedPath(k) }()), true},
	} {
		if _, err := os.Lstat(filepath.Join(dir, test.path)); (err == nil) != test.want {
			t.Errorf("%s is there: %v, want %v", test.path, err == nil, test.want)
		}
	}
}

// rot changes one byte of a file as a disk does it, which nothing else shows.
func rot(t *testing.T, path string, at int64) {
	t.Helper()
	st, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	c := make([]byte, 1)
	if _, err := f.ReadAt(c, at); err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte{c[0] ^ 1}, at); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(path, st.ModTime(), st.ModTime()); err != nil {
		t.Fatal(err)
	}
}

func TestVerifyReadsJoinedFiles(t *testing.T) {
	for name, test := range map[string]struct {
		harm    func(t *testing.T, path string)
		damaged int // number of the blob that is
	}{
		"first part": {func(t *testing.T, path string) { rot(t, path, 5) }, 0},
		"last part":  {func(t *testing.T, path string) { rot(t, path, 12<<20) }, 1},
		"no record": {func(t *testing.T, path string) {
			if err := errors.Join(os.Chmod(path, 0o600), unix.Removexattr(path, partsAttr)); err != nil {
				t.Fatal(err)
			}
		}, -1},
	} {
		t.Run(name, func(t *testing.T) {
			store := memstore.New()
			whole, blobs := chunks(t, store)
			dir := filepath.Join(t.TempDir(), "[cache]")
			b := open(t, store, Options{Dir: dir})
			for _, x := range blobs {
				if err := b.Ensure(t.Context(), x); err != nil {
					t.Fatal(err)
				}
			}
			lent(t, b, blobs).Close()
			if v, err := Verify(t.Context(), dir); err != nil || v.Blobs != 4 || v.Bytes != 2*int64(len(whole)) || len(v.Damaged) != 0 {
				t.Fatalf("before: %+v, %v", v, err)
			}
			key, size := joinedKey(blobs)
			path := b.dir.joinedPath(key)
			test.harm(t, path)
			used := b.Stats().CachedBytes
			v, err := Verify(t.Context(), dir)
			switch {
			case err != nil:
				t.Error(err)
			case test.damaged < 0 && len(v.Damaged) != 0,
				test.damaged >= 0 && (len(v.Damaged) != 1 || v.Damaged[0] != keyOf(blobs[test.damaged])):
				t.Errorf("damaged: %v", v.Damaged)
			}
			if freed := used - b.Stats().CachedBytes; freed != charge(size) {
				t.Errorf("%d bytes are free again, want %d", freed, charge(size))
			}
			if f, ok := b.Lend(blobs); ok {
				f.Close()
				t.Error("it is still lent")
			}
			wantContent(t, lent(t, b, blobs), whole)
		})
	}
}
