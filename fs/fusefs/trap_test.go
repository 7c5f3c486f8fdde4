package fusefs

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/snapfs/snapfs/fs"
	"golang.org/x/sys/unix"
)

// The tests in this file are named after the traps in which file systems of this
// kind have been caught.

// hang makes reads of the content of a base file wait, until the answer is called.
func (m *mount) hang(name string) (release func()) {
	m.t.Helper()
	var markers []string
	for _, f := range m.config.Snapshot.Files {
		if f.Path != name {
			continue
		}
		for _, b := range f.Blobs(testChunk) {
			markers = append(markers, filepath.Join(m.config.Store, string(b.Hash)+".hang"))
		}
	}
	for _, path := range markers {
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			m.t.Fatal(err)
		}
	}
	return sync.OnceFunc(func() {
		for _, path := range markers {
			os.Remove(path)
		}
	})
}

func (m *mount) stat(name string) unix.Stat_t {
	m.t.Helper()
	var st unix.Stat_t
	if err := unix.Lstat(m.path(name), &st); err != nil {
		m.t.Fatalf("lstat %s: %v", name, err)
	}
	return st
}

// changes lists what a commit would publish.
func (m *mount) changes() (list []string) {
	m.t.Helper()
	if err := json.Unmarshal([]byte(m.ask("changes")), &list); err != nil {
		m.t.Fatal(err)
	}
	return list
}

func (m *mount) stats() (s fs.Stats) {
	m.t.Helper()
	if err := json.Unmarshal([]byte(m.ask("stats")), &s); err != nil {
		m.t.Fatal(err)
	}
	return s
}

// open opens a file of the mount, and closes it at the end of the test.
func (m *mount) open(name string, flags int) *os.File {
	m.t.Helper()
	f, err := os.OpenFile(m.path(name), flags, 0o644)
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { f.Close() })
	return f
}

func TestTrap3MappedWritesOutliveTheDescriptor(t *testing.T) {
	m := newMount(t, "f="+strings.Repeat("base", 2000))
	f := m.open("f", os.O_RDWR)
	p, err := unix.Mmap(int(f.Fd()), 0, 8000, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	copy(p[4000:], "mapped")
	f.Close()
	copy(p[6000:], "later")
	if err := unix.Munmap(p); err != nil {
		t.Fatal(err)
	}
	dir := m.open(".", os.O_RDONLY)
	if err := unix.Syncfs(int(dir.Fd())); err != nil {
		t.Fatal(err)
	}
	dir.Close()
	m.kill()
	m.start()
	got, err := os.ReadFile(m.path("f"))
	if err != nil || string(got[4000:4006]) != "mapped" || string(got[6000:6005]) != "later" || string(got[:4000]) != strings.Repeat("base", 1000) {
		t.Fatalf("after a crash: %.20q %.20q, %v", got[4000:], got[6000:], err)
	}
}

func TestTrap4LateContentDoesNotComeBack(t *testing.T) {
	m := newMount(t, "f="+strings.Repeat("x", testChunk*2))
	release := m.hang("f")
	defer release()
	f := m.open("f", os.O_RDWR)
	read := make(chan error, 1)
	go func() {
		_, err := f.ReadAt(make([]byte, 4096), testChunk) // keeps the kernel's read-ahead waiting for the store
		read <- err
	}()
	time.Sleep(50 * time.Millisecond)
	cut := make(chan error, 1)
	go func() {
		err := os.Truncate(m.path("f"), 10)
		if err == nil {
			err = os.Truncate(m.path("f"), testChunk*2)
		}
		cut <- err
	}()
	time.Sleep(50 * time.Millisecond)
	release()
	if err := errors.Join(<-cut, <-read); err != nil && !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	m.want("f", "xxxxxxxxxx"+strings.Repeat("\x00", testChunk*2-10))
}

func TestTrap5RenameOfABaseDirectoryCostsNothing(t *testing.T) {
	var lines []string
	for i := range 500 {
		lines = append(lines, fmt.Sprintf("big/d%d/f%d=x", i%50, i))
	}
	m := newMount(t, append(lines, "target/", "full/f=x")...)
	before := m.stats()
	if err := unix.Rename(m.path("big"), m.path("target")); err != nil { // os.Rename refuses it by itself
		t.Fatal(err)
	}
	after := m.stats()
	if after.Nodes > before.Nodes+4 || after.LogBytes > before.LogBytes+200 {
		t.Errorf("before %+v, after %+v", before, after)
	}
	m.want("target/d7/f57", "x")
	for _, test := range []struct {
		from, to string
		flags    uint
		want     error
	}{
		{"target", "target/d1/below", 0, unix.EINVAL},
		{"target", "target/d1", 0, unix.EINVAL},
		{"target/d1", "target", 0, unix.ENOTEMPTY},
		{"target", "full", 0, unix.ENOTEMPTY},
		{"target", "full", unix.RENAME_NOREPLACE, unix.EEXIST},
		{"target", "full", unix.RENAME_EXCHANGE, nil},
		{"target", "absent", unix.RENAME_EXCHANGE, unix.ENOENT},
		{"full", "target", unix.RENAME_WHITEOUT, unix.EINVAL},
	} {
		err := unix.Renameat2(unix.AT_FDCWD, m.path(test.from), unix.AT_FDCWD, m.path(test.to), test.flags)
		if !errors.Is(err, test.want) {
			t.Errorf("rename %s to %s, flags %#x: %v, want %v", test.from, test.to, test.flags, err, test.want)
		}
	}
	m.want("full/d7/f57", "x")
	m.want("target/f", "x")
}

func TestTrap6UnlinkedButOpen(t *testing.T) {
	m := newMount(t, "f=base content", "g=other")
	f := m.open("f", os.O_RDWR)
	if err := os.Remove(m.path("f")); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(m.path("g"), m.path("h")); err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("COPIED"), 2); err != nil { // copy-up of a file without a name
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil || st.Nlink != 0 || st.Size != 12 {
		t.Errorf("fstat: nlink %d, size %d, %v", st.Nlink, st.Size, err)
	}
	if err := f.Chmod(0o600); err != nil {
		t.Errorf("fchmod: %v", err)
	}
	if err := unix.Fsetxattr(int(f.Fd()), "user.a", []byte("b"), 0); err != nil {
		t.Errorf("fsetxattr: %v", err)
	}
	m.write("f", "new")
	m.want("f", "new")
	p := make([]byte, 20)
	if n, err := f.ReadAt(p, 0); string(p[:n]) != "baCOPIEDtent" {
		t.Errorf("the old file reads %q, %v", p[:n], err)
	}
	if want := []string{"M f", "D g", "A h"}; !slices.Equal(m.changes(), want) {
		t.Errorf("changes %q, want %q", m.changes(), want)
	}
	f.Close()
	waitFor(t, "the unlinked file to be dropped", func() bool { return m.stats().Unlinked == 0 })
	m.kill()
	m.start()
	m.want("f", "new")
	if left, _ := os.ReadDir(filepath.Join(m.config.Overlay, "data")); len(left) != 1 {
		t.Errorf("%d data files are left for one written file", len(left))
	}
}

// waitFor waits for what happens by itself, but not at once.
func waitFor(t *testing.T, what string, done func() bool) {
	t.Helper()
	for range 300 {
		if done() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("still waiting for %s", what)
}

func TestTrap7EqualContentIsNoHardLink(t *testing.T) {
	m := newMount(t, "a=same", "b=same", "d/c=same")
	a, b, c := m.stat("a"), m.stat("b"), m.stat("d/c")
	if a.Ino == b.Ino || b.Ino == c.Ino || a.Ino == c.Ino || a.Nlink != 1 {
		t.Fatalf("inodes %d, %d, %d; nlink %d", a.Ino, b.Ino, c.Ino, a.Nlink)
	}
}

func TestTrap8IdentityAndTimes(t *testing.T) {
	m := newMount(t, "d/f=x", "d/e/g=y", "h=z")
	m.write("d/new", "n")
	base, made, dir := m.stat("d/f"), m.stat("d/new"), m.stat("d/e")
	if ns := base.Mtim.Nano(); ns != 1_700_000_000_123_456_000 {
		t.Errorf("mtime %d", ns)
	}
	m.write("d/e/g", "written") // changes no directory
	if got := m.stat("d/e"); got.Mtim != dir.Mtim || got.Ctim != dir.Ctim {
		t.Error("writing to a file changed its directory")
	}
	// More precise than a manifest can tell: not a change of what it says.
	times := []unix.Timespec{{Sec: 1_700_000_000, Nsec: 123_456_789}, {Sec: 1_700_000_000, Nsec: 123_456_789}}
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, m.path("h"), times, 0); err != nil {
		t.Fatal(err)
	}
	if want := []string{"M d/e/g", "A d/new"}; !slices.Equal(m.changes(), want) {
		t.Errorf("changes %q, want %q", m.changes(), want)
	}
	for _, end := range []func(){m.stop, m.kill} {
		end()
		m.start()
		if got := m.stat("d/f"); got.Ino != base.Ino || got.Mtim != base.Mtim || got.Ctim != base.Ctim {
			t.Errorf("base file: %+v, was %+v", got, base)
		}
		if got := m.stat("d/new"); got.Ino != made.Ino {
			t.Errorf("new file: inode %d, was %d", got.Ino, made.Ino)
		}
		if got := m.stat("h"); got.Mtim.Nano() != 1_700_000_000_123_456_789 {
			t.Errorf("h: mtime %d", got.Mtim.Nano())
		}
	}
	if err := os.Remove(m.path("d/new")); err != nil {
		t.Fatal(err)
	}
	m.write("d/new", "n")
	if got := m.stat("d/new"); got.Ino == made.Ino {
		t.Error("an inode number was used twice")
	}
}

// TestTrap9ForgetRaces makes the kernel forget inodes all the time while they are
// looked up, listed, replaced and removed.
func TestTrap9ForgetRaces(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can make the kernel forget")
	}
	var lines []string
	const files = 100 // more than one reply lists
	for i := range files {
		lines = append(lines, fmt.Sprintf("d/f%d=base", i))
	}
	m := newMount(t, lines...)
	var stop atomic.Bool
	var wg sync.WaitGroup
	run := func(what string, step func(i int) error) {
		wg.Go(func() {
			for i := 0; !stop.Load(); i++ {
				if err := step(i); err != nil {
					t.Errorf("%s: %v", what, err)
					stop.Store(true)
				}
			}
		})
	}
	run("forget", func(int) error { return m.forgetAll() })
	run("replace", func(i int) error {
		tmp := m.path("d/tmp")
		if err := os.WriteFile(tmp, []byte("new!"), 0o644); err != nil {
			return err
		}
		return os.Rename(tmp, m.path(fmt.Sprintf("d/f%d", i%(files/2))))
	})
	run("make and remove", func(i int) error {
		path := m.path(fmt.Sprintf("d/g%d", i%5))
		if err := os.WriteFile(path, []byte("xxxx"), 0o644); err != nil {
			return err
		}
		return os.Remove(path)
	})
	run("list", func(int) error {
		names, err := os.ReadDir(m.path("d"))
		stable := 0
		for _, e := range names {
			if strings.HasPrefix(e.Name(), "f") && !strings.HasSuffix(e.Name(), "tmp") {
				stable++
			}
		}
		if err == nil && stable != files {
			err = fmt.Errorf("%d files listed", stable)
		}
		return err
	})
	run("use without a name", func(i int) error {
		return useUnlinked(m.path(fmt.Sprintf("d/f%d", files/2+i%(files/2))), i)
	})
	for range 2 {
		run("read", func(i int) error {
			b, err := os.ReadFile(m.path(fmt.Sprintf("d/f%d", i%files)))
			if err == nil && len(b) != 4 {
				err = fmt.Errorf("read %q", b)
			}
			return err
		})
	}
	time.Sleep(time.Second)
	stop.Store(true)
	wg.Wait()
	if err := m.forgetAll(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "unlinked files to be dropped", func() bool { return m.stats().Unlinked == 0 })
}

// useUnlinked replaces a file and goes on using the old one, of which the kernel
// holds nothing but the inode.
func useUnlinked(path string, i int) error {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	tmp := path + ".tmp"
	if err := os.WriteFile(tmp, fmt.Appendf(nil, "%04d", i%10000), 0o644); err != nil {
		return err
	}
	old, err := os.ReadFile(path)
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Nlink != 0 {
		return fmt.Errorf("fstat of a replaced file: nlink %d, %v", st.Nlink, err)
	}
	if b, err := os.ReadFile(fmt.Sprintf("/proc/self/fd/%d", fd)); err != nil || string(b) != string(old) {
		return fmt.Errorf("a replaced file reads %q, was %q: %v", b, old, err)
	}
	return nil
}

// forgetAll makes the kernel drop every inode that nobody uses: remounting does.
func (m *mount) forgetAll() error {
	return unix.Mount("", m.config.Dir, "", unix.MS_REMOUNT|unix.MS_NOSUID|unix.MS_NODEV, "")
}

func TestTrap11DeadServerIsNoticed(t *testing.T) {
	m := newMount(t, "f=x")
	m.cmd.Process.Kill()
	m.wait()
	if _, err := os.Stat(m.path("f")); !errors.Is(err, unix.ENOTCONN) && !errors.Is(err, unix.ECONNABORTED) {
		t.Errorf("stat: %v", err)
	}
	if err := detach(m.config.Dir, true); err != nil {
		t.Fatal(err)
	}
	m.start()
	m.want("f", "x")
}

// direct are the ways to read that a signal may interrupt: through the page cache,
// and past it.
var direct = map[string]int{"buffered": 0, "O_DIRECT": unix.O_DIRECT}

func TestTrap12KilledReaderEnds(t *testing.T) {
	for name, flags := range direct {
		t.Run(name, func(t *testing.T) {
			m := newMount(t, "f="+strings.Repeat("x", 8192))
			defer m.hang("f")()
			reader := m.reader("f", flags)
			time.Sleep(100 * time.Millisecond)
			start := time.Now()
			reader.Process.Kill()
			reader.Wait()
			if d := time.Since(start); d > 2*time.Second {
				t.Errorf("the reader ended %v after it was killed", d)
			}
			start = time.Now()
			m.stop() // although the store still hangs
			if d := time.Since(start); d > 3*time.Second {
				t.Errorf("the server ended after %v", d)
			}
		})
	}
}

func TestTrap12SignalsDoNotFailReads(t *testing.T) {
	for name, flags := range direct {
		t.Run(name, func(t *testing.T) {
			m := newMount(t, "f="+strings.Repeat("x", 8192))
			release := m.hang("f")
			defer release()
			reader := m.reader("f", flags)
			done := make(chan error, 1)
			go func() { done <- reader.Wait() }()
			deadline := time.After(600 * time.Millisecond)
			for {
				select {
				case <-deadline:
					release()
					deadline = nil
				case err := <-done:
					if err != nil {
						t.Errorf("the reader failed: %v: %s", err, reader.Stderr)
					}
					return
				case <-time.After(3 * time.Millisecond):
					reader.Process.Signal(unix.SIGURG)
				}
			}
		})
	}
}

// readerEnv makes the test binary a reader: it holds the path of a file.
const readerEnv = "SNAPFS_TEST_READER"

// reader starts a process that reads a file with a single system call.
func (m *mount) reader(name string, flags int) *exec.Cmd {
	m.t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), readerEnv+"="+m.path(name), fmt.Sprintf("FLAGS=%d", flags))
	cmd.Stderr = &lockedBuffer{}
	if err := cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	return cmd
}

func readOnce(path, flags string) error {
	var extra int
	fmt.Sscan(flags, &extra)
	fd, err := syscall.Open(path, os.O_RDONLY|extra, 0)
	if err != nil {
		return err
	}
	p, err := unix.Mmap(-1, 0, 8192, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE) // aligned
	if err != nil {
		return err
	}
	n, err := syscall.Pread(fd, p, 0)
	if err == nil && n != 8192 {
		err = fmt.Errorf("read %d bytes", n)
	}
	return err
}

func TestTrap14NoErrorIsNoError(t *testing.T) {
	var none unix.Errno
	if got := fs.Errno(nil); got != 0 {
		t.Errorf("Errno(nil) = %d", got)
	}
	// A typed zero is an error to Go: it must not become success.
	if got := fs.Errno(error(none)); got == 0 {
		t.Error("an error that is not nil became success")
	}
	if got := status(nil); !got.Ok() {
		t.Errorf("status(nil) = %v", got)
	}
}

func TestTrap3MappedWritesLeaveTheTimeThatWasSet(t *testing.T) {
	for _, ask := range []bool{true, false} {
		m := prepare(t, "f="+strings.Repeat("base", 2000))
		m.config.Ask = ask
		m.start()
		f := m.open("f", os.O_RDWR)
		p, err := unix.Mmap(int(f.Fd()), 0, 8000, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		if err != nil {
			t.Fatal(err)
		}
		p[0] = 'm'
		when := time.Unix(1_000_000_000, 0)
		if err := os.Chtimes(m.path("f"), when, when); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(unix.Munmap(p), f.Close()); err != nil {
			t.Fatal(err)
		}
		if st := m.stat("f"); st.Mtim.Nano() != when.UnixNano() {
			t.Errorf("ask %v: mtime %d", ask, st.Mtim.Nano())
		}
		m.kill()
		m.start()
		if st := m.stat("f"); st.Mtim.Nano() != when.UnixNano() {
			t.Errorf("ask %v: mtime after a crash %d", ask, st.Mtim.Nano())
		}
		m.write("f", "later")
		if st := m.stat("f"); st.Mtim.Nano() == when.UnixNano() {
			t.Errorf("ask %v: writing does not change the time any more", ask)
		}
		m.stop()
	}
}
