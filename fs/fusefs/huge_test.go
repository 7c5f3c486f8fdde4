package fusefs

import (
	"fmt"
	"os"
	"slices"
	"testing"

	"github.com/snapfs/snapfs/manifest"
)

// TestHugeDirectory lists a directory whose entries come without attributes, changes
// it, and looks at entries while it is listed.
func TestHugeDirectory(t *testing.T) {
	m := prepare(t)
	const entries = hugeDir + 10_000
	empty := m.store().put(t, nil)
	for i := range entries {
		m.config.Snapshot.Files = append(m.config.Snapshot.Files, manifest.File{
			Path: fmt.Sprintf("d/%06d", i), Hash: empty, ModTime: 1_700_000_000_000_000,
		})
	}
	m.start()
	names := func() []string {
		f := m.open("d", os.O_RDONLY)
		defer f.Close()
		list, err := f.Readdirnames(-1)
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(list)
		return list
	}
	want := make([]string, entries)
	for i := range want {
		want[i] = fmt.Sprintf("%06d", i)
	}
	if got := names(); !slices.Equal(got, want) {
		t.Fatalf("%d names, want %d", len(got), len(want))
	}
	if st := m.stat("d/199999"); st.Nlink != 1 { // an entry that came without attributes
		t.Errorf("stat: %+v", st)
	}
	if got := names(); !slices.Equal(got, want) {
		t.Fatalf("%d names after a look at one, want %d", len(got), len(want))
	}
	if err := os.Remove(m.path("d/000007")); err != nil {
		t.Fatal(err)
	}
	m.write("d/new", "content")
	want = append(slices.DeleteFunc(want, func(s string) bool { return s == "000007" }), "new")
	if got := names(); !slices.Equal(got, want) {
		t.Fatalf("%d names after changes, want %d", len(got), len(want))
	}
	m.stop()
	m.start()
	if got := names(); !slices.Equal(got, want) {
		t.Fatalf("%d names after a remount, want %d", len(got), len(want))
	}
	m.want("d/new", "content")
}
