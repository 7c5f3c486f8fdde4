package fs

import (
	"context"
	"slices"
	"sync"
	"testing"

	"github.com/snapfs/snapfs/manifest"
)

func TestReaderIsFollowedIntoTheNextChunk(t *testing.T) {
	const chunk, step = 256 << 20, 1 << 20
	read := func(order ...int64) (asked []int) {
		var w follower
		for _, off := range order {
			if i := w.observe(off, step, chunk); i > 0 {
				asked = append(asked, i)
			}
		}
		return asked
	}
	var inOrder, backwards, scattered []int64
	for off := int64(0); off < 3*chunk; off += step {
		inOrder = append(inOrder, off)
		scattered = append(scattered, off*7919%(3*chunk))
	}
	backwards = slices.Clone(inOrder)
	slices.Reverse(backwards)
	shuffled := slices.Clone(inOrder) // as the kernel does when it reads ahead
	for i := 0; i+4 <= len(shuffled); i += 4 {
		slices.Reverse(shuffled[i : i+4])
	}
	for name, test := range map[string]struct {
		order []int64
		want  []int
	}{
		"in order":     {inOrder, []int{1, 2, 3}},
		"out of order": {shuffled, []int{1, 2, 3}},
		"scattered":    {scattered, nil},
		"a probe":      {[]int64{0, chunk - step, chunk - 2*step, 2 * chunk}, nil},
	} {
		if got := read(test.order...); !slices.Equal(got, test.want) {
			t.Errorf("%s: asked for chunks %v, want %v", name, got, test.want)
		}
	}
	if got := read(backwards...); len(got) > 3 {
		t.Errorf("backwards: asked for chunks %v", got)
	}
}

// askedBlobs is a store that notes what it is asked to fetch ahead.
type askedBlobs struct {
	blobs
	mu    sync.Mutex
	asked []manifest.Hash
}

func (a *askedBlobs) Prefetch(_ context.Context, b manifest.Blob, _, _ int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked = append(a.asked, b.Hash)
}

func TestNextChunkIsAskedFor(t *testing.T) {
	f := newFixture(t, "big=chunk 00chunk 01chunk 02end")
	store := &askedBlobs{blobs: f.blobs}
	tree, err := New(f.base, store, "", Options{})
	if err != nil {
		t.Fatal(err)
	}
	file, err := tree.Open(f.ino("big"), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for off := int64(0); off < 27; off += 3 {
		if _, err := file.ReadAt(t.Context(), make([]byte, 3), off); err != nil {
			t.Fatal(err)
		}
	}
	for i, text := range []string{"chunk 01", "chunk 02", "end"} {
		if !slices.Contains(store.asked, manifest.Sum([]byte(text))) {
			t.Errorf("chunk %d was not asked for ahead: %v", i+1, store.asked)
		}
	}
}
