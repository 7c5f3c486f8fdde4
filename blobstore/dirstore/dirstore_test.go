package dirstore_test

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/snapfs/snapfs/blobstore"
	"github.com/snapfs/snapfs/blobstore/dirstore"
	"github.com/snapfs/snapfs/blobstore/storetest"
)

func open(t *testing.T) *dirstore.Store {
	t.Helper()
	s, err := dirstore.Open(t.TempDir(), dirstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// openByName returns a store on a file system that has no files without a name.
func openByName(t *testing.T) *dirstore.Store {
	t.Helper()
	s := open(t)
	dirstore.ByName(s)
	return s
}

// openers opens stores on every kind of file system, and with fewer privileges.
var openers = map[string]func(*testing.T) *dirstore.Store{
	"files without a name": open,
	"files with a name":    openByName,
	"named through /proc": func(t *testing.T) *dirstore.Store {
		s := open(t)
		dirstore.ByProc(s)
		return s
	},
}

// path returns where the blob p lies in s.
func path(s *dirstore.Store, p []byte) string {
	return filepath.Join(s.Root(), string(storetest.Key(p)))
}

func TestContract(t *testing.T) {
	for name, open := range openers {
		t.Run(name, func(t *testing.T) {
			storetest.Run(t, func(t *testing.T) blobstore.Store { return open(t) })
		})
	}
}

// The layout is shared with the reference (spec/caches.md §2), and its own objects,
// which are writable, are blobs too.
func TestLayoutOfReference(t *testing.T) {
	s := open(t)
	storetest.Put(t, s, nil)
	fi, err := os.Lstat(filepath.Join(s.Root(), "99aa06d3014798d86001c324468d497f.xxh128"))
	if err != nil || fi.Mode() != 0o444 {
		t.Errorf("the empty blob is %v, %v; want a read-only file", fi, err)
	}
	theirs := []byte("theirs")
	if err := os.WriteFile(path(s, theirs), theirs, 0o644); err != nil {
		t.Fatal(err)
	}
	if got, err := storetest.Get(t.Context(), s, storetest.Key(theirs), 0, -1); err != nil || !bytes.Equal(got, theirs) {
		t.Errorf("Open of an object of the reference = %q, %v", got, err)
	}
}

func TestOpenMissingDirectory(t *testing.T) {
	root := filepath.Join(t.TempDir(), "a", "b")
	_, err := dirstore.Open(root, dirstore.Options{})
	if !errors.Is(err, blobstore.ErrNoStore) || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Open = %v, want ErrNoStore that is not fs.ErrNotExist", err)
	}
	if _, err := dirstore.Open(root, dirstore.Options{Create: true}); err != nil {
		t.Fatalf("Open with Create: %v", err)
	}
	if fi, err := os.Stat(root); err != nil || fi.Mode().Perm() != 0o700 {
		t.Errorf("the created directory is %v, %v; want mode 0700", fi, err)
	}
}

func TestOpenFileAsDirectory(t *testing.T) {
	root := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(root, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := dirstore.Open(root, dirstore.Options{}); !errors.Is(err, blobstore.ErrNoStore) {
		t.Errorf("Open = %v, want ErrNoStore", err)
	}
}

func TestStoreVanishes(t *testing.T) {
	s := open(t)
	key := storetest.Put(t, s, []byte("x"))
	if err := os.RemoveAll(s.Root()); err != nil {
		t.Fatal(err)
	}
	_, statErr := s.Stat(t.Context(), key)
	_, openErr := s.Open(t.Context(), key, 0, -1)
	for call, err := range map[string]error{
		"Stat":   statErr,
		"Open":   openErr,
		"Put":    s.Put(t.Context(), key, storetest.Body([]byte("x"))),
		"Delete": s.Delete(t.Context(), key),
		"Sync":   s.Sync(t.Context()),
		"List":   s.List(t.Context(), func(blobstore.Key, blobstore.Info) error { return nil }),
	} {
		if !errors.Is(err, blobstore.ErrNoStore) {
			t.Errorf("%s = %v, want ErrNoStore", call, err)
		}
	}
}

// What was durable in one directory must not be reported of another.
func TestSyncOfReplacedDirectory(t *testing.T) {
	s := open(t)
	if err := os.Rename(s.Root(), s.Root()+".old"); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(s.Root(), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := s.Sync(t.Context()); !errors.Is(err, blobstore.ErrNoStore) {
		t.Errorf("Sync = %v, want ErrNoStore", err)
	}
}

// spec/gaps.md G-25: a blob cut short by a crash is not believed in.
func TestTruncatedBlobIsReplaced(t *testing.T) {
	for name, open := range openers {
		for _, n := range []int{0, 999, 1001, 90_000} {
			s := open(t)
			p := storetest.Bytes(1000)
			if n > 1000 { // Put looks first whether large ones are there
				p = storetest.Bytes(80_000)
			}
			if err := os.WriteFile(path(s, p), make([]byte, n), 0o444); err != nil {
				t.Fatal(err)
			}
			storetest.Put(t, s, p)
			if got, err := os.ReadFile(path(s, p)); err != nil || !bytes.Equal(got, p) {
				t.Errorf("%s: a blob of %d bytes was not replaced by the %d that it should have: %v", name, n, len(p), err)
			}
			fi, err := os.Lstat(path(s, p))
			if err != nil || fi.Mode() != 0o444 {
				t.Errorf("%s: the blob is %v, %v; want a read-only file", name, fi, err)
			}
		}
	}
}

// spec/gaps.md G-25: nothing but whole blobs and the directory for unfinished ones
// is ever in the root, and unfinished ones do not stay.
func TestFailedPutLeavesNothing(t *testing.T) {
	s := openByName(t)
	key := storetest.Key([]byte("right"))
	if err := s.Put(t.Context(), key, storetest.Body([]byte("wrong"))); !errors.Is(err, blobstore.ErrMismatch) {
		t.Fatalf("Put = %v, want ErrMismatch", err)
	}
	var names []string
	err := filepath.WalkDir(s.Root(), func(p string, _ fs.DirEntry, err error) error {
		names = append(names, strings.TrimPrefix(p, s.Root()))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"", "/.tmp"}, names); diff != "" {
		t.Errorf("in the store (-want +got):\n%s", diff)
	}
}

func TestPlantedEntriesAreNotBlobs(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, plant := range map[string]func(string) error{
		"symlink":          func(p string) error { return os.Symlink(secret, p) },
		"dangling symlink": func(p string) error { return os.Symlink("/nowhere", p) },
		"named pipe":       func(p string) error { return syscall.Mkfifo(p, 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			for _, open := range openers {
				s := open(t)
				p := []byte("public")
				key := storetest.Key(p)
				if err := plant(path(s, p)); err != nil {
					t.Fatal(err)
				}
				if _, err := s.Stat(t.Context(), key); !errors.Is(err, blobstore.ErrNotFound) {
					t.Errorf("Stat = %v, want ErrNotFound", err)
				}
				if got, err := storetest.Get(t.Context(), s, key, 0, -1); !errors.Is(err, blobstore.ErrNotFound) {
					t.Errorf("Open = %q, %v; want ErrNotFound", got, err)
				}
				storetest.Put(t, s, p)
				if fi, err := os.Lstat(path(s, p)); err != nil || !fi.Mode().IsRegular() {
					t.Errorf("after Put there is %v, %v; want a file", fi, err)
				}
				if got, err := os.ReadFile(secret); err != nil || string(got) != "secret" {
					t.Errorf("the target now holds %q, %v", got, err)
				}
			}
		})
	}
}

func TestStaleTemporaryFiles(t *testing.T) {
	root := t.TempDir()
	precious := t.TempDir()
	tmp := filepath.Join(root, ".tmp")
	if err := os.Mkdir(tmp, 0o700); err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-25 * time.Hour)
	write := func(path string, mtime time.Time) {
		t.Helper()
		if err := errors.Join(os.WriteFile(path, nil, 0o400), os.Chtimes(path, mtime, mtime)); err != nil {
			t.Fatal(err)
		}
	}
	write(filepath.Join(tmp, "put-old"), old)
	write(filepath.Join(tmp, "put-new"), time.Now())
	write(filepath.Join(precious, "file"), old)

	reopen := func() {
		t.Helper()
		if _, err := dirstore.Open(root, dirstore.Options{}); err != nil {
			t.Fatal(err)
		}
	}
	reopen()
	wantNames(t, tmp, "put-new")

	// A link planted in a shared store must not make us clean up elsewhere.
	if err := errors.Join(os.RemoveAll(tmp), os.Symlink(precious, tmp)); err != nil {
		t.Fatal(err)
	}
	reopen()
	wantNames(t, precious, "file")
}

// A failed Put leaves nothing at all where files need no name.
func TestFailedPutWithoutNameLeavesNothing(t *testing.T) {
	s := open(t)
	if err := s.Put(t.Context(), storetest.Key([]byte("right")), storetest.Body([]byte("wrong"))); !errors.Is(err, blobstore.ErrMismatch) {
		t.Fatalf("Put = %v, want ErrMismatch", err)
	}
	wantNames(t, s.Root())
}

// Blobs are readable for everybody whatever the umask of the writer is.
func TestModeDoesNotDependOnUmask(t *testing.T) {
	old := syscall.Umask(0o077)
	defer syscall.Umask(old)
	for name, open := range openers {
		s := open(t)
		for _, p := range []string{"one", "two"} {
			storetest.Put(t, s, []byte(p))
			if fi, err := os.Lstat(path(s, []byte(p))); err != nil || fi.Mode() != 0o444 {
				t.Errorf("%s: the blob is %v, %v; want a read-only file for all", name, fi, err)
			}
		}
	}
}

// A writer of this machine that was killed leaves a file that nobody has locked: it is
// rubbish at once. One that is alive keeps its file however old it seems.
func TestTemporaryFilesOfKilledWriters(t *testing.T) {
	s := openByName(t)
	tmp := filepath.Join(s.Root(), ".tmp")
	blob := storetest.Bytes(100)
	var left string
	body := io.NewSectionReader(readerAt(func(p []byte, off int64) (int, error) {
		names, err := filepath.Glob(filepath.Join(tmp, "put-*"))
		if err != nil || len(names) != 1 {
			t.Errorf("while a blob is written there are %q, %v", names, err)
			return 0, io.ErrUnexpectedEOF
		}
		old := time.Now().Add(-25 * time.Hour)
		if err := os.Chtimes(names[0], old, old); err != nil {
			t.Error(err)
		}
		other, err := dirstore.Open(s.Root(), dirstore.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if n, err := other.Clean(t.Context(), 0); n != 0 || err != nil {
			t.Errorf("Clean = %d, %v while the writer is alive", n, err)
		}
		left = names[0]
		return bytes.NewReader(blob).ReadAt(p, off)
	}), 0, int64(len(blob)))
	if err := s.Put(t.Context(), storetest.Key(blob), body); err != nil {
		t.Fatal(err)
	}
	wantNames(t, tmp)
	if err := os.WriteFile(left, nil, 0o600); err != nil { // as if the writer had been killed
		t.Fatal(err)
	}
	if n, err := s.Clean(t.Context(), time.Hour); n != 1 || err != nil {
		t.Errorf("Clean = %d, %v after the writer was killed", n, err)
	}
	wantNames(t, tmp)
}

type readerAt func(p []byte, off int64) (int, error)

func (r readerAt) ReadAt(p []byte, off int64) (int, error) { return r(p, off) }

func wantNames(t *testing.T, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("in %s (-want +got):\n%s", dir, diff)
	}
}

// A writer in another account must be able to use the directory that the first
// writer made, whatever the umask of that one.
func TestTempDirHasModeOfRoot(t *testing.T) {
	s := openByName(t)
	want := fs.ModeDir | fs.ModeSetgid | 0o775
	if err := os.Chmod(s.Root(), want); err != nil {
		t.Fatal(err)
	}
	storetest.Put(t, s, nil)
	if fi, err := os.Stat(filepath.Join(s.Root(), ".tmp")); err != nil || fi.Mode() != want {
		t.Errorf(".tmp is %v, %v; want %v", fi, err, want)
	}
}

// Bodies that are files take another path: the kernel copies them. The part of the
// file that counts begins and ends anywhere.
func TestPutFromFile(t *testing.T) {
	whole := storetest.Bytes(9 << 20)
	name := filepath.Join(t.TempDir(), "source")
	if err := os.WriteFile(name, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s := open(t)
	for _, c := range []struct{ off, n int64 }{{0, 9 << 20}, {4096, 4 << 20}, {1, 5<<20 + 7}} {
		p := whole[c.off : c.off+c.n]
		if err := s.Put(t.Context(), storetest.Key(p), io.NewSectionReader(f, c.off, c.n)); err != nil {
			t.Errorf("Put of %+v: %v", c, err)
		}
		if got, err := os.ReadFile(path(s, p)); err != nil || !bytes.Equal(got, p) {
			t.Errorf("%+v: the blob has %d bytes, %v", c, len(got), err)
		}
	}
	key := storetest.Key([]byte("something else"))
	if err := s.Put(t.Context(), key, io.NewSectionReader(f, 0, 5<<20)); !errors.Is(err, blobstore.ErrMismatch) {
		t.Errorf("Put of a file with other content = %v, want ErrMismatch", err)
	}
	if err := s.Put(t.Context(), key, io.NewSectionReader(f, 0, 10<<20)); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("Put of a file that is too short = %v, want io.ErrUnexpectedEOF", err)
	}
}

// A reader of a blob that loses its tail hears of it.
func TestFileShrinksWhileRead(t *testing.T) {
	s := open(t)
	p := storetest.Bytes(100)
	key := storetest.Put(t, s, p)
	r, err := s.Open(t.Context(), key, 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := errors.Join(os.Chmod(path(s, p), 0o600), os.Truncate(path(s, p), 50)); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(r); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("read %d bytes, %v; want io.ErrUnexpectedEOF", len(got), err)
	}
}

func TestListSkipsWhatIsNoBlob(t *testing.T) {
	s := open(t)
	key := storetest.Put(t, s, []byte("x"))
	for _, name := range []string{"README", string(key) + ".part", "hash_cache.db"} {
		if err := os.WriteFile(filepath.Join(s.Root(), name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(string(key), path(s, []byte("y"))); err != nil {
		t.Fatal(err)
	}
	var got []blobstore.Key
	err := s.List(t.Context(), func(k blobstore.Key, _ blobstore.Info) error { got = append(got, k); return nil })
	if diff := cmp.Diff([]blobstore.Key{key}, got); diff != "" || err != nil {
		t.Errorf("List: %v (-want +got):\n%s", err, diff)
	}
}

func TestLocation(t *testing.T) {
	s, err := dirstore.Open(filepath.Join(t.TempDir(), "my store"), dirstore.Options{Create: true})
	if err != nil {
		t.Fatal(err)
	}
	if got := s.Location(); !strings.HasPrefix(got, "file:///") || !strings.HasSuffix(got, "/my%20store") {
		t.Errorf("Location = %s", got)
	}
}
