package cache

import (
	"os"
	"path/filepath"
	"testing"
)

func TestVerifyRemovesWhatIsDamaged(t *testing.T) {
	dir, store, blobs := filled(t)
	path := filepath.Join(dir, string(keyOf(blobs[1])))
	st, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[1000] ^= 1
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(path, st.ModTime(), st.ModTime()); err != nil { // as if the disk had done it
		t.Fatal(err)
	}
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
