package fusefs

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/snapfs/snapfs/fs/internal/fsmodel"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// TestModel runs random operations, crashes and remounts on a mount and on a plain
// directory and compares them after every step.
func TestModel(t *testing.T) {
	defer unix.Umask(unix.Umask(0))
	fsmodel.LimitChecks(t, 15)
	trees := &treePool{t: t}
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp("", "model")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		mounted := trees.get()
		plain := filepath.Join(dir, "plain")
		if err := copyTree(mounted, plain); err != nil {
			t.Fatal(err)
		}
		m := fsmodel.NewMachine(fsmodel.NewOS(plain), fsmodel.NewOS(mounted), fsmodel.Config{
			Unit: testChunk / 3, MaxUnits: 9, Modes: modelModes(),
		})
		defer m.CloseAll()
		again := func(what string, end func()) func(*rapid.T) {
			return func(t *rapid.T) {
				t.Log(what)
				m.CloseAll()
				end()
				trees.m.start()
			}
		}
		actions := map[string]func(*rapid.T){
			"91 crash":   again("crash", func() { trees.m.kill() }),
			"92 remount": again("remount", func() { trees.m.stop() }),
			"":           m.Compare,
		}
		for i := range 12 {
			actions[fmt.Sprintf("%2d step", i)] = m.Step
		}
		t.Repeat(actions)
	})
}

// modelModes are modes with which the machine can still look into everything.
func modelModes() []uint32 {
	modes := []uint32{0o644, 0o755, 0o600, 0o777, 0o2755, 0o1777, 0o4711}
	if os.Geteuid() == 0 {
		return modes
	}
	for i := range modes {
		modes[i] |= 0o700 // directories get them, too
	}
	return modes
}

// treePool serves bases of many equal directories: one for each run of a test, so
// that not every run needs a mount of its own.
type treePool struct {
	t    *testing.T
	m    *mount
	next int
}

const poolSize = 40

// modelTree has what the machine stumbles over: nested directories, files in
// several chunks, an empty file, links.
func modelTree(prefix string) (lines []string) {
	big := strings.Repeat("0123456789abcdef", testChunk/16)
	for _, line := range []string{
		"a/a/a=" + big + big + "tail", "a/a/b=" + big, "a/b=" + big + "x", "a/c->nowhere", "b/c/b=", "c=short", "b/a/",
	} {
		lines = append(lines, prefix+line)
	}
	return lines
}

// get returns a directory that no run has used.
func (p *treePool) get() string {
	if p.m == nil || p.next == poolSize {
		var lines []string
		for i := range poolSize {
			lines = append(lines, modelTree(fmt.Sprintf("t%d/", i))...)
		}
		if p.m != nil {
			p.m.stop()
		}
		p.m, p.next = newMount(p.t, lines...), 0
	}
	p.next++
	return p.m.path(fmt.Sprintf("t%d", p.next-1))
}

// copyTree copies a tree with its permissions and times, but for the times of dir.
func copyTree(from, to string) error {
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		return err
	}
	var walk func(dir string) error
	walk = func(dir string) error {
		entries, err := os.ReadDir(filepath.Join(from, dir))
		if err != nil {
			return err
		}
		for _, e := range entries {
			path := filepath.Join(dir, e.Name())
			if e.IsDir() {
				if err := walk(path); err != nil {
					return err
				}
			}
			var st unix.Stat_t
			if err := unix.Lstat(filepath.Join(from, path), &st); err != nil {
				return err
			}
			if e.Type()&os.ModeSymlink == 0 {
				if err := os.Chmod(filepath.Join(to, path), os.FileMode(st.Mode&0o777)); err != nil {
					return err
				}
			}
			times := []unix.Timespec{st.Atim, st.Mtim}
			if err := unix.UtimesNanoAt(unix.AT_FDCWD, filepath.Join(to, path), times, unix.AT_SYMLINK_NOFOLLOW); err != nil {
				return err
			}
		}
		return nil
	}
	return walk("")
}
