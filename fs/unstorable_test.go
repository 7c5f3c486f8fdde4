package fs

import (
	"strings"
	"testing"

	"github.com/snapfs/snapfs/manifest"
	"golang.org/x/sys/unix"
)

// TestUnstorableNames makes entries that a file system takes and a manifest does not.
// Each is listed as a problem, and what remains makes a valid manifest.
func TestUnstorableNames(t *testing.T) {
	long := strings.Repeat("d", 250)
	tests := []struct {
		name, path, target string // of a file, or of a link
		bad                string // path that the problem is about, "" when there is none
	}{
		{"colon behind the first letter", "a:b", "", "a:b"},
		{"colon elsewhere", "ab:c", "", ""},
		{"drive deeper down", "d/a:b", "", ""},
		{"below a drive", "C:/x", "", "C:"},
		{"two backslashes", `\\server`, "", `\\server`},
		{"one backslash", `\x`, "", ""},
		{"bytes", "\xff/x", "", "\xff"},
		{"deep", strings.Repeat(long+"/", 17) + "x", "", strings.Repeat(long+"/", 16) + long},
		{"link with a long component", "l", strings.Repeat("t", 300), "l"},
		{"link to a drive", "l", "C:", "l"},
		{"link of bytes", "l", "\xff", "l"},
		{"link of many components", "d/l", strings.Repeat("t/", 2047) + "t", "d/l"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f := newFixture(t, "d/")
			f.makeDirs(test.path)
			if test.target == "" {
				f.write(test.path, "x", 0)
			} else {
				dir, name := f.parent(test.path)
				if _, err := f.tree.Symlink(dir, name, test.target, Owner{7, 8}); err != nil {
					t.Fatal(err)
				}
			}
			m := &manifest.Snapshot{HashAlg: manifest.XXH128, ChunkSize: testChunk}
			bad := ""
			for _, c := range f.tree.Changes() {
				switch {
				case c.Problem != "":
					bad += c.Path
				case c.Dir:
					m.Dirs = append(m.Dirs, manifest.Dir{Path: c.Path})
				default:
					if c.New.Target == "" {
						c.New.Hash = f.blobs.put([]byte("x"))
					}
					m.Files = append(m.Files, c.New)
				}
			}
			if bad != test.bad {
				t.Errorf("problems with %.40q, want %.40q", bad, test.bad)
			}
			if err := m.Validate(); err != nil {
				t.Error(err)
			}
			if err := m.CheckSafe(); err != nil {
				t.Error(err)
			}
		})
	}
}

// makeDirs makes the directories that path lies in.
func (f *fixture) makeDirs(path string) {
	f.t.Helper()
	for i := range path {
		if path[i] != '/' {
			continue
		}
		dir, name := f.parent(path[:i])
		if _, err := f.tree.Mkdir(dir, name, 0o755, Owner{7, 8}); err != nil && Errno(err) != unix.EEXIST {
			f.t.Fatal(err)
		}
	}
}

// TestLinksDeepIntoNowhere makes links below many directories that do not exist, each of
// which would be listed by a manifest, and the same below directories that do.
func TestLinksDeepIntoNowhere(t *testing.T) {
	f := newFixture(t)
	deep := strings.Repeat("d/", 40) + "f"
	for name, text := range map[string]string{"bad": deep, "good": strings.Repeat("e/", maxMissing) + "f"} {
		if _, err := f.tree.Symlink(RootIno, name, text, Owner{}); err != nil {
			t.Fatal(err)
		}
	}
	problems := func() (list []string) {
		for _, c := range f.tree.Changes() {
			if c.Problem != "" {
				list = append(list, c.Path)
			}
		}
		return list
	}
	if got := problems(); len(got) != 1 || got[0] != "bad" {
		t.Errorf("problems with %q", got)
	}
	f.makeDirs(deep)
	if got := problems(); len(got) != 0 {
		t.Errorf("problems with %q, although the directories exist", got)
	}
}
