package fs

import "testing"

func TestHoldsMoreThanManifestsCan(t *testing.T) {
	mtime := int64(1_000_000_000)
	for name, test := range map[string]struct {
		do   func(*fixture)
		want bool
	}{
		"nothing":       {func(*fixture) {}, false},
		"a file":        {func(f *fixture) { f.write("new", "x", 0); f.mkdir("d/sub") }, false},
		"made runnable": {func(f *fixture) { f.chmod("a", 0o755) }, false},
		"mode":          {func(f *fixture) { f.chmod("a", 0o600) }, true},
		"directory":     {func(f *fixture) { f.chmod("d", 0o700) }, true},
		"time": {func(f *fixture) {
			if _, err := f.tree.SetAttr(f.ino("a"), SetAttr{Mtime: &mtime}); err != nil {
				f.t.Fatal(err)
			}
		}, true},
		"attribute": {func(f *fixture) {
			if err := f.tree.SetXattr(f.ino("a"), "user.k", []byte("v"), 0); err != nil {
				f.t.Fatal(err)
			}
		}, true},
		"hard link": {func(f *fixture) {
			if _, err := f.tree.Link(f.ino("a"), RootIno, "b"); err != nil {
				f.t.Fatal(err)
			}
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, "a=1", "d/e=2")
			test.do(f)
			if got := f.tree.HoldsMore(); got != test.want {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}
