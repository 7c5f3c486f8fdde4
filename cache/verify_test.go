package cache

import (
	"path/filepath"
	"testing"
)

func TestVerifyRemovesWhatIsDamaged(t *testing.T) {
	dir, store, blobs := filled(t)
	path := filepath.Join(dir, string(keyOf(blobs[1])))
	rot(t, path, 1000)
	v, err := Verify(t.Context(), dir)
	if err != nil || v.Blobs != 4 || v.Bytes != 4*64<<10 || len(v.Damaged) != 1 || v.Damaged[0] != keyOf(blobs[1]) {
		t.Fatalf("%+v, %v", v, err)
	}
	b := open(t, store, Options{Dir: dir})
	for _, blob := range blobs {
		if err := b.Ensure(t.Context(), blob); err != nil {
			t.Error(err)
		}
	}
	if v, err := Verify(t.Context(), dir); err != nil || v.Blobs != 4 || len(v.Damaged) != 0 {
		t.Errorf("after it was fetched again: %+v, %v", v, err)
	}
	if v, err := Verify(t.Context(), filepath.Join(dir, "absent")); err != nil || v.Blobs != 0 {
		t.Errorf("of no cache: %+v, %v", v, err)
	}
}
