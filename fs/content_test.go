package fs

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/snapfs/snapfs/fs/internal/extent"
	"github.com/snapfs/snapfs/manifest"
	"golang.org/x/sys/unix"
)

// gate is a store whose reads wait for permission.
type gate struct {
	blobs
	asked chan struct{} // gets one value for each read that waits
	open  chan struct{} // gives one value for each read that may go on
}

func (g gate) ReadBlobAt(ctx context.Context, b manifest.Blob, p []byte, off int64) (int, error) {
	g.asked <- struct{}{}
	select {
	case <-g.open:
		return g.blobs.ReadBlobAt(ctx, b, p, off)
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// gated makes the fixture read through a gate.
func (f *fixture) gated() gate {
	g := gate{f.blobs, make(chan struct{}, 100), make(chan struct{}, 100)}
	f.tree.blobs = g
	return g
}

// readLate reads a whole file while do runs between the request to the store and its
// answer.
func (f *fixture) readLate(path string, do func()) string {
	f.t.Helper()
	g := f.gated()
	file, err := f.tree.Open(f.ino(path), unix.O_RDONLY)
	if err != nil {
		f.t.Fatal(err)
	}
	defer file.Close()
	got := make(chan string, 1)
	go func() {
		p := make([]byte, 100)
		n, _ := file.ReadAt(context.Background(), p, 0)
		got <- strings.ReplaceAll(string(p[:n]), "\x00", "0")
	}()
	<-g.asked
	do()
	close(g.open)
	return <-got
}

func TestTrap4LateContentDoesNotComeBack(t *testing.T) {
	f := newFixture(t, "f=0123456789", "g=0123456789", "h=0123456789")
	cut := func(path string) func() {
		return func() { f.truncate(path, 3); f.truncate(path, 10) }
	}
	if got := f.readLate("f", cut("f")); got != "0120000000" {
		t.Errorf("an untouched file reads %q", got)
	}
	f.tree.blobs = f.blobs
	f.write("g", "A", 0)
	if got := f.readLate("g", cut("g")); got != "A120000000" {
		t.Errorf("a written file reads %q", got)
	}
	f.tree.blobs = f.blobs
	if got := f.readLate("h", func() { f.write("h", "B", 5) }); got != "01234B6789" {
		t.Errorf("a file written meanwhile reads %q", got)
	}
}

// TestSteadyWriterDoesNotStarveReaders reads from a slow store while somebody writes
// to another part of the file, faster than the store answers.
func TestSteadyWriterDoesNotStarveReaders(t *testing.T) {
	f := newFixture(t, "f="+strings.Repeat("x", 50))
	w, err := f.tree.Open(f.ino("f"), unix.O_RDWR)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	g := f.gated()
	got := make(chan error, 1)
	go func() {
		_, err := w.ReadAt(context.Background(), make([]byte, 8), 0)
		got <- err
	}()
	for i := range 10 {
		select {
		case err := <-got:
			if err != nil || i > 2 {
				t.Errorf("read after %d writes: %v", i, err)
			}
			return
		case <-g.asked:
			if _, err := w.WriteAt([]byte("w"), 40); err != nil {
				t.Fatal(err)
			}
			g.open <- struct{}{}
		}
	}
	t.Error("the reader is still waiting")
}

// TestSlowWriteKeepsNobodyWaiting holds the content lock of a file, as a write does
// that waits for the disk: whoever asks for attributes or names goes on.
func TestSlowWriteKeepsNobodyWaiting(t *testing.T) {
	f := newFixture(t, "d/f=x", "d/g=y")
	f.write("d/f", "w", 0)
	n := f.tree.nodes[f.ino("d/f")]
	n.io.Lock()
	defer n.io.Unlock()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f.ino("d/f")
		if _, err := f.tree.GetAttr(n.ino); err != nil {
			t.Error(err)
		}
		f.chmod("d/f", 0o600)
		f.tree.Checkpoint().Close()
		f.rename("d/f", "moved")
		f.remove("moved")
		f.write("new", "n", 0)
	}()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatal("somebody waits for the writer")
	}
}

// TestHashOfAHalfWrittenFileIsNotRemembered takes a cut and settles it while a write
// is under way that has not reached the data file: what was hashed is the old
// content, and must not pass for the new.
func TestHashOfAHalfWrittenFileIsNotRemembered(t *testing.T) {
	f := newFixture(t, "d/")
	f.write("f", "old content", 0)
	n := f.tree.nodes[f.ino("f")]
	n.hold()
	defer f.tree.release(n)

	n.io.Lock()
	r := extent.Range{Off: 0, End: 3}
	file, err := f.tree.begin(n, r, n.size)
	if err != nil {
		t.Fatal(err)
	}
	cut := f.tree.Checkpoint()
	defer cut.Close()
	content := cut.Changes[0].Content
	for i := range content.Chunks {
		c := &content.Chunks[i]
		p := make([]byte, c.Len)
		if _, err := content.ReaderAt(t.Context()).ReadAt(p, c.Off); err != nil {
			t.Fatal(err)
		}
		c.Hash = manifest.Sum(p)
	}
	settled := make(chan error, 1)
	go func() { settled <- f.tree.Settled(cut) }()
	time.Sleep(10 * time.Millisecond)
	if _, err := pwrite(file, []byte("new"), 0); err != nil {
		t.Fatal(err)
	}
	n.mu.Lock()
	f.tree.end(n, n.size)
	n.mu.Unlock()
	n.io.Unlock()
	if err := <-settled; err != nil {
		t.Fatal(err)
	}
	after := f.tree.Changes()[0]
	if after.Content == nil || after.Content.Chunks[0].Hash != "" {
		t.Fatal("the hash of the old content is taken for that of the new")
	}
}
