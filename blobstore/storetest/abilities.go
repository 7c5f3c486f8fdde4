package storetest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/snapfs/snapfs/blobstore"
)

func testConcurrentPut(t *testing.T, s blobstore.Store) {
	p := Bytes(2 << 20)
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			if err := s.Put(t.Context(), Key(p), Body(p)); err != nil {
				t.Errorf("Put: %v", err)
			}
		})
	}
	wg.Wait()
	wantBlob(t, s, p)
}

// testReadersDuringPut stops a Put half way, at a moment when a store that writes
// in place would show half a blob, and then lets it race with readers.
func testReadersDuringPut(t *testing.T, s blobstore.Store) {
	p := Bytes(4 << 20)
	key := Key(p)
	half, resume := make(chan struct{}), make(chan struct{})
	var once sync.Once
	body := readerFunc(func(b []byte, off int64) (int, error) {
		if off+int64(len(b)) > int64(len(p)/2) {
			once.Do(func() { close(half); <-resume })
		}
		return bytes.NewReader(p).ReadAt(b, off)
	})
	done := make(chan error)
	go func() { done <- s.Put(t.Context(), key, io.NewSectionReader(body, 0, int64(len(p)))) }()
	<-half
	wantAbsent(t, s, key)
	if _, err := s.Open(t.Context(), key, 0, -1); !errors.Is(err, blobstore.ErrNotFound) {
		t.Errorf("Open during Put = %v, want ErrNotFound", err)
	}
	close(resume)

	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 10 {
				got, err := Get(t.Context(), s, key, 0, -1)
				if !errors.Is(err, blobstore.ErrNotFound) && (err != nil || !bytes.Equal(got, p)) {
					t.Errorf("a reader saw %d of %d bytes, %v", len(got), len(p), err)
				}
			}
		})
	}
	if err := <-done; err != nil {
		t.Errorf("Put: %v", err)
	}
	wg.Wait()
	wantBlob(t, s, p)
}

func testList(t *testing.T, s blobstore.Store) {
	l, ok := blobstore.As[blobstore.Lister](s)
	if !ok {
		t.Skip("the store cannot list")
	}
	want := map[blobstore.Key]blobstore.Info{}
	list := func() map[blobstore.Key]blobstore.Info {
		got := map[blobstore.Key]blobstore.Info{}
		err := l.List(t.Context(), func(k blobstore.Key, i blobstore.Info) error {
			got[k] = i
			return nil
		})
		if err != nil {
			t.Fatalf("List: %v", err)
		}
		return got
	}
	if diff := cmp.Diff(want, list()); diff != "" {
		t.Errorf("List of an empty store (-want +got):\n%s", diff)
	}
	for n := range 30 {
		want[Put(t, s, Bytes(n))] = blobstore.Info{Size: int64(n)}
	}
	if diff := cmp.Diff(want, list()); diff != "" {
		t.Errorf("List (-want +got):\n%s", diff)
	}
	stop, calls := errors.New("stop"), 0
	err := l.List(t.Context(), func(blobstore.Key, blobstore.Info) error { calls++; return stop })
	if !errors.Is(err, stop) || calls != 1 {
		t.Errorf("List with a failing function = %v after %d calls, want its error after one", err, calls)
	}
}

func testDelete(t *testing.T, s blobstore.Store) {
	d, ok := blobstore.As[blobstore.Deleter](s)
	if !ok {
		t.Skip("the store cannot delete")
	}
	key, other := Put(t, s, Bytes(10)), Bytes(11)
	Put(t, s, other)
	for _, which := range []string{"present", "absent"} {
		if err := d.Delete(t.Context(), key); err != nil {
			t.Errorf("Delete of a blob that is %s: %v", which, err)
		}
		wantAbsent(t, s, key)
	}
	wantBlob(t, s, other)
	Put(t, s, Bytes(10))
	wantBlob(t, s, Bytes(10))
}

func testSync(t *testing.T, s blobstore.Store) {
	y, ok := blobstore.As[blobstore.Syncer](s)
	if !ok {
		t.Skip("Put of the store is durable by itself")
	}
	Put(t, s, Bytes(10))
	if err := y.Sync(t.Context()); err != nil {
		t.Errorf("Sync: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := y.Sync(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Sync with a cancelled context = %v, want context.Canceled", err)
	}
}

func testFiles(t *testing.T, s blobstore.Store) {
	f, ok := blobstore.As[blobstore.Files](s)
	if !ok {
		t.Skip("the blobs are not local files")
	}
	p := Bytes(10)
	for _, when := range []string{"absent", "present"} {
		path, err := f.Path(Key(p))
		if err != nil || !filepath.IsAbs(path) {
			t.Fatalf("Path of a blob that is %s = %q, %v; want an absolute path", when, path, err)
		}
		Put(t, s, p)
		if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, p) {
			t.Errorf("the file holds %q, %v; want the blob", got, err)
		}
	}
}

func testLocation(t *testing.T, s blobstore.Store) {
	if l, ok := blobstore.As[blobstore.Locator](s); ok && l.Location() == "" {
		t.Error("Location is empty")
	}
}

// foreign is a store of a kind that nobody can copy from.
type foreign struct{}

func (foreign) Stat(context.Context, blobstore.Key) (blobstore.Info, error) {
	return blobstore.Info{}, blobstore.ErrNotFound
}

func (foreign) Open(context.Context, blobstore.Key, int64, int64) (io.ReadCloser, error) {
	return nil, blobstore.ErrNotFound
}

func (foreign) Put(context.Context, blobstore.Key, *io.SectionReader) error {
	return blobstore.ErrPermission
}

func testCopy(t *testing.T, open func(*testing.T) blobstore.Store) {
	dst, src := open(t), open(t)
	c, ok := blobstore.As[blobstore.Copier](dst)
	if !ok {
		t.Skip("the store cannot copy by itself")
	}
	for _, n := range []int{0, 10, 6<<20 + 1} {
		p := Bytes(n)
		key := Put(t, src, p)
		wantAbsent(t, dst, key)
		for _, when := range []string{"absent", "present"} {
			if err := c.CopyFrom(t.Context(), src, key); err != nil {
				t.Errorf("CopyFrom of %d bytes to a store where they are %s: %v", n, when, err)
			}
			wantBlob(t, dst, p)
		}
		wantBlob(t, src, p)
	}
	absent := Key([]byte("never stored"))
	if err := c.CopyFrom(t.Context(), src, absent); !errors.Is(err, blobstore.ErrNotFound) {
		t.Errorf("CopyFrom of a blob that the source lacks = %v, want ErrNotFound", err)
	}
	if err := c.CopyFrom(t.Context(), foreign{}, absent); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("CopyFrom of another kind of store = %v, want ErrUnsupported", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.CopyFrom(ctx, src, Key(Bytes(10))); !errors.Is(err, context.Canceled) {
		t.Errorf("CopyFrom with a cancelled context = %v, want context.Canceled", err)
	}
}
