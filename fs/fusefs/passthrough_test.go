package fusefs

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/snapfs/snapfs/manifest"
	"golang.org/x/sys/unix"
)

// oldContent is that of a base file which is large enough to be lent to the kernel.
var oldContent = bytes.Repeat([]byte("old content. "), 2*minStored/13)

// newLent returns a mount of the base file "f" whose store lends its files.
func newLent(t *testing.T) *mount {
	t.Helper()
	m := prepare(t, "small=s")
	m.config.Lend = true
	m.config.Snapshot.ChunkSize = 8 << 20
	m.config.Snapshot.Files = append(m.config.Snapshot.Files, m.store().file(t, "f", oldContent, 8<<20))
	m.start()
	m.needPassthrough()
	return m
}

// needPassthrough ends a test that has nothing to test here.
func (m *mount) needPassthrough() {
	m.t.Helper()
	if s := m.passthrough(); !s.Active {
		m.t.Skip("no passthrough here: ", s.Why)
	}
}

func (m *mount) passthrough() (s Passthrough) {
	m.t.Helper()
	if err := json.Unmarshal([]byte(m.ask("passthrough")), &s); err != nil {
		m.t.Fatal(err)
	}
	return s
}

// wantBlobs checks that no file of the store was written to.
func (m *mount) wantBlobs() {
	m.t.Helper()
	for _, f := range m.config.Snapshot.Files {
		p, err := os.ReadFile(filepath.Join(m.config.Store, string(f.Hash)))
		if err != nil || manifest.Sum(p) != f.Hash {
			m.t.Fatalf("the stored content of %s was changed (%v)", f.Path, err)
		}
	}
}

// reads checks what an open file reads.
func reads(t *testing.T, who string, f *os.File, want []byte) {
	t.Helper()
	got, err := io.ReadAll(io.NewSectionReader(f, 0, 1<<40))
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s reads %d bytes %.20q, want %d bytes %.20q (%v)", who, len(got), got, len(want), want, err)
	}
}

// ways are the ways to begin changing the content of a file, and what it is then. What
// they open they return.
var ways = map[string]func(path string) (*os.File, []byte, error){
	"write only": func(path string) (*os.File, []byte, error) {
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		return writeAt(f, err, 3, append([]byte("old"), append([]byte("NEW"), oldContent[6:]...)...))
	},
	"read and write": func(path string) (*os.File, []byte, error) {
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		return writeAt(f, err, 3, append([]byte("old"), append([]byte("NEW"), oldContent[6:]...)...))
	},
	"truncating open": func(path string) (*os.File, []byte, error) {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_TRUNC, 0)
		return writeAt(f, err, 0, []byte("NEW"))
	},
	"creating open": func(path string) (*os.File, []byte, error) {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
		return writeAt(f, err, 0, append([]byte("NEW"), oldContent[3:]...))
	},
	"append": func(path string) (*os.File, []byte, error) {
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
		if err == nil {
			_, err = f.Write([]byte("NEW"))
		}
		return f, append(bytes.Clone(oldContent), "NEW"...), err
	},
	"truncate": func(path string) (*os.File, []byte, error) {
		return nil, oldContent[:10], os.Truncate(path, 10)
	},
	"rename over": func(path string) (*os.File, []byte, error) {
		err := os.WriteFile(path+".tmp", []byte("NEW"), 0o644)
		return nil, []byte("NEW"), errors.Join(err, os.Rename(path+".tmp", path))
	},
	"mapping": func(path string) (*os.File, []byte, error) {
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			return f, nil, err
		}
		p, err := unix.Mmap(int(f.Fd()), 0, len(oldContent), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		if err != nil {
			return f, nil, err
		}
		copy(p, "NEW")
		return f, append([]byte("NEW"), oldContent[3:]...), unix.Munmap(p)
	},
}

// writeAt writes what the content shall be from off on.
func writeAt(f *os.File, err error, off int, want []byte) (*os.File, []byte, error) {
	if err == nil {
		_, err = f.WriteAt(want[off:min(off+3, len(want))], int64(off))
	}
	return f, want, err
}

// TestTrap1CopyOnWriteNeverReachesTheStore changes a file in every way while it is read
// directly: the stored content stays as it was, who reads it goes on with it, and all
// others see the new content.
func TestTrap1CopyOnWriteNeverReachesTheStore(t *testing.T) {
	for name, change := range ways {
		for _, early := range []string{"", "reader", "reader and mapping"} {
			t.Run(name+"/"+early, func(t *testing.T) {
				m := newLent(t)
				before := m.stat("f")
				var old *os.File
				var mapped []byte
				if early != "" {
					old = m.open("f", os.O_RDONLY)
					reads(t, "the early reader", old, oldContent)
				}
				if strings.Contains(early, "mapping") {
					var err error
					if mapped, err = unix.Mmap(int(old.Fd()), 0, len(oldContent), unix.PROT_READ, unix.MAP_SHARED); err != nil {
						t.Fatal(err)
					}
					defer unix.Munmap(mapped)
				}
				w, want, err := change(m.path("f"))
				if err != nil {
					t.Fatalf("change: %v", err)
				}
				m.want("f", string(want))
				if old != nil {
					reads(t, "the early reader", old, oldContent)
				}
				if mapped != nil && !bytes.Equal(mapped, oldContent) {
					t.Error("the early mapping has changed")
				}
				if after := m.stat("f"); after.Size != int64(len(want)) || after.Ino != before.Ino && name != "rename over" {
					t.Errorf("inode %d, was %d; size %d, want %d", after.Ino, before.Ino, after.Size, len(want))
				}
				late := m.open("f", os.O_RDONLY)
				reads(t, "a late reader", late, want)
				if w != nil {
					w.Close()
				}
				if old != nil {
					old.Close()
				}
				reads(t, "the late reader", late, want)
				m.want("f", string(want))
				m.wantBlobs()
				m.kill()
				m.start()
				m.want("f", string(want))
				m.wantBlobs()
			})
		}
	}
}

// TestTrap1MetadataOfOldReaders changes metadata through a file that is read directly
// and whose name has since got another content.
func TestTrap1MetadataOfOldReaders(t *testing.T) {
	m := newLent(t)
	old := m.open("f", os.O_RDONLY)
	reads(t, "the early reader", old, oldContent)
	w := m.open("f", os.O_RDWR)
	if err := old.Chmod(0o600); err != nil {
		t.Error(err)
	}
	if err := unix.Fsetxattr(int(old.Fd()), "user.a", []byte("b"), 0); err != nil {
		t.Error(err)
	}
	when := []unix.Timespec{{Sec: 5}, {Sec: 7, Nsec: 8}}
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", old.Fd()), when, 0); err != nil {
		t.Error(err)
	}
	var byOld, byNew unix.Stat_t
	if err := errors.Join(unix.Fstat(int(old.Fd()), &byOld), unix.Fstat(int(w.Fd()), &byNew)); err != nil {
		t.Fatal(err)
	}
	if byOld != byNew || byOld != m.stat("f") || byNew.Mode&0o777 != 0o600 || byNew.Mtim.Nano() != 7e9+8 {
		t.Errorf("old %+v\nnew %+v\nname %+v", byOld, byNew, m.stat("f"))
	}
	if _, err := w.WriteAt([]byte("x"), int64(len(oldContent))); err != nil {
		t.Fatal(err)
	}
	if err := unix.Fstat(int(old.Fd()), &byOld); err != nil || byOld.Size != int64(len(oldContent))+1 {
		t.Errorf("fstat of the old reader: size %d, %v", byOld.Size, err)
	}
	m.wantBlobs()
}

// TestPassthroughOutlivesTheServer shows that the kernel really reads and writes local
// files: it goes on when nobody is there to be asked.
func TestPassthroughOutlivesTheServer(t *testing.T) {
	m := newLent(t)
	stored := m.open("f", os.O_RDONLY)
	made := m.open("made", os.O_RDWR|os.O_CREATE)
	small := m.open("small", os.O_RDONLY)
	m.cmd.Process.Kill()
	m.wait()
	reads(t, "a reader of a stored file", stored, oldContent)
	if _, err := made.WriteAt([]byte("content"), 0); err != nil {
		t.Error(err)
	}
	reads(t, "a reader of a written file", made, []byte("content"))
	if _, err := small.ReadAt(make([]byte, 1), 0); err == nil {
		t.Error("a small file was read without the server")
	}
	for _, f := range []*os.File{stored, made, small} {
		f.Close()
	}
	if err := detach(m.config.Dir, true); err != nil {
		t.Fatal(err)
	}
	m.start()
	m.want("made", "content")
	m.wantBlobs()
}

// TestPassthroughCanBeSwitchedOff checks that the server is asked when it wants to be.
func TestPassthroughCanBeSwitchedOff(t *testing.T) {
	m := newLent(t)
	m.stop()
	m.config.Ask = true
	m.start()
	f := m.open("f", os.O_RDONLY)
	w := m.open("f", os.O_RDWR)
	if _, err := w.WriteAt([]byte("NEW"), 0); err != nil {
		t.Fatal(err)
	}
	reads(t, "an early reader, who is asked for,", f, append([]byte("NEW"), oldContent[3:]...))
	if s := m.passthrough(); s.Active || s.Opens != 0 {
		t.Errorf("%+v", s)
	}
}

// TestDirectWritesShow compares what stat tells of a file with what was written to it
// without asking the server.
func TestDirectWritesShow(t *testing.T) {
	m := newMount(t, "base=b")
	m.needPassthrough()
	f := m.open("f", os.O_RDWR|os.O_CREATE)
	if n := m.passthrough().Opens; n == 0 {
		t.Fatal("the file is not used directly")
	}
	last := m.stat("f")
	for i, step := range []func() error{
		func() error { _, err := f.WriteAt(make([]byte, 5000), 0); return err },
		func() error { _, err := f.WriteAt([]byte("x"), 100); return err },
		func() error { return f.Truncate(3000) },
		func() error { return unix.Fallocate(int(f.Fd()), 0, 0, 9000) },
		func() error { return os.Truncate(m.path("f"), 8192) },
		func() error {
			p, err := unix.Mmap(int(f.Fd()), 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
			if err == nil {
				p[7] = 'm'
				err = unix.Munmap(p)
			}
			time.Sleep(shortly) // such changes need not show at once
			return err
		},
	} {
		time.Sleep(2 * time.Millisecond)
		if err := step(); err != nil {
			t.Fatalf("step %d: %v", i, err)
		}
		now := m.stat("f")
		if want := []int64{5000, 5000, 3000, 9000, 8192, 8192}[i]; now.Size != want {
			t.Errorf("step %d: size %d, want %d", i, now.Size, want)
		}
		if now.Mtim.Nano() <= last.Mtim.Nano() || now.Ctim.Nano() <= last.Ctim.Nano() {
			t.Errorf("step %d: mtime %d, was %d; ctime %d, was %d", i, now.Mtim.Nano(), last.Mtim.Nano(), now.Ctim.Nano(), last.Ctim.Nano())
		}
		last = now
	}
	f.Close()
	m.want("f", "\x00\x00\x00\x00\x00\x00\x00m"+strings.Repeat("\x00", 92)+"x"+strings.Repeat("\x00", 8192-101))
	if now := m.stat("f"); now.Mtim != last.Mtim || now.Size != last.Size {
		t.Errorf("closing changed %+v to %+v", last, now)
	}
}

// TestTrap1AllWritersComeTogether opens a file for writing many times at once, by two
// names, while it is read directly: whatever is written must be seen by all of them.
func TestTrap1AllWritersComeTogether(t *testing.T) {
	for range 3 {
		m := newLent(t)
		if err := os.Link(m.path("f"), m.path("g")); err != nil {
			t.Fatal(err)
		}
		m.stat("g")
		old := m.open("f", os.O_RDONLY)
		reads(t, "the early reader", old, oldContent)
		writers := make([]*os.File, 8)
		var wg sync.WaitGroup
		for i := range writers {
			if i == 1 {
				wg.Wait() // the others find the name changed by the first
			}
			wg.Go(func() {
				f, err := os.OpenFile(m.path([]string{"f", "g"}[i%2]), os.O_RDWR, 0)
				if err == nil {
					_, err = f.ReadAt(make([]byte, 4096), 0) // which the kernel then remembers
				}
				if err != nil {
					t.Error(err)
				}
				writers[i] = f
			})
		}
		wg.Wait()
		for i, f := range writers {
			if _, err := f.WriteAt([]byte{byte('0' + i)}, int64(i)); err != nil {
				t.Error(err)
			}
		}
		want := append([]byte("01234567"), oldContent[8:]...)
		for i, f := range writers {
			reads(t, fmt.Sprintf("writer %d", i), f, want)
			f.Close()
		}
		reads(t, "the early reader", old, oldContent)
		old.Close()
		m.want("f", string(want))
		m.want("g", string(want))
		m.wantBlobs()
		m.stop()
	}
}

// TestWritersStayTogetherOnAFullDisk opens a file again that is written to directly, when
// the disk has become so full that nobody would be let write directly now.
func TestWritersStayTogetherOnAFullDisk(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can mount a small disk")
	}
	m := prepare(t, "small=s")
	disk := filepath.Join(filepath.Dir(m.config.Dir), "disk")
	if err := os.Mkdir(disk, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", disk, "tmpfs", 0, "size=300m"); err != nil {
		t.Skip("no tmpfs here: ", err)
	}
	t.Cleanup(func() {
		m.stop()
		unix.Unmount(disk, unix.MNT_DETACH)
	})
	m.config.Overlay = filepath.Join(disk, "overlay")
	m.start()
	m.needPassthrough()
	w := m.open("f", os.O_RDWR|os.O_CREATE)
	if _, err := w.WriteAt([]byte("old"), 0); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(disk, "ballast"), make([]byte, 60<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	second := m.open("f", os.O_RDWR)
	reads(t, "the second", second, []byte("old"))
	if _, err := w.WriteAt([]byte("new"), 0); err != nil {
		t.Fatal(err)
	}
	reads(t, "the second", second, []byte("new"))
	m.want("f", "new")
}
