package fs

import (
	"slices"
	"testing"

	"github.com/snapfs/snapfs/manifest"
)

func TestHoldersOfABlob(t *testing.T) {
	f := newFixture(t, "a=same", "b=other", "d/c=same", "d/big=chunk 00same", "empty/")
	want := []Ino{f.ino("a"), f.ino("d/big"), f.ino("d/c")}
	got := f.tree.Holders(manifest.Sum([]byte("same")))
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := f.tree.Holders(manifest.Sum([]byte("nowhere"))); len(got) != 0 {
		t.Errorf("got %v for a blob that does not occur", got)
	}
}
