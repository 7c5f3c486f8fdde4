package integration

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/snapfs/snapfs/integration/s3server"
)

// soakVar says how long TestSoak goes on, as in "10m"; see `make soak`.
const soakVar = "SNAPFS_SOAK_TIME"

// soak is a mount at work while its store comes and goes.
type soak struct {
	*world
	server *s3server.Server
	files  []string // of the base, relative
	ctx    context.Context
	work   sync.WaitGroup
}

// TestSoak reads, writes and commits for a while, through a cache that is too small and a
// server that stalls, goes away and comes back. Every byte that is read is right, no read
// fails, nothing that was written is lost, and the process does not collect open files.
func TestSoak(t *testing.T) {
	if testing.Short() {
		t.Skip("takes its time")
	}
	length := 3 * time.Second
	if text := os.Getenv(soakVar); text != "" {
		var err error
		if length, err = time.ParseDuration(text); err != nil {
			t.Fatal(err)
		}
	}
	s := newSoak(t)
	s.ok("mount", "a.json", "mnt", "--cache-size", "24MiB", "--max-memory", "32MiB")
	pid := s.status("mnt").PID
	before := openFiles(t, pid)
	var end context.CancelFunc
	s.ctx, end = context.WithTimeout(t.Context(), length)
	defer end()
	for i := range 6 {
		s.work.Go(func() { s.read(rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), uint64(i)))) })
	}
	for i := range 2 {
		s.work.Go(func() { s.write(i) })
	}
	s.disturb()
	s.work.Wait()
	s.verify()
	// The cache keeps some hundred contents open for those who read them next.
	most := before + 600
	eventually(t, "the process closes the files that it has opened", func() bool { return openFiles(t, pid) <= most })
	t.Logf("%v; open files %d, then %d; %s", length, before, openFiles(t, pid), peakMemory(t, pid))
	s.ok("umount", "mnt")
}

func newSoak(t *testing.T) *soak {
	t.Helper()
	w, server := withServer(t)
	w.env = append(w.env, "SNAPFS_STORE="+server.URL("Data"))
	s := &soak{world: w, server: server}
	for i := range 120 {
		size := 1 << (i % 20) // up to half a megabyte
		if i%40 == 39 {
			size = 10 << 20
		}
		name := fmt.Sprintf("d%d/f%03d", i%6, i)
		s.files = append(s.files, name)
		s.world.write("tree/"+name, strings.Repeat(fmt.Sprintf("%08x", i), size/8+1))
	}
	s.ok("snapshot", "tree", "-o", "a.json")
	return s
}

// read compares random ranges of files with what they were made from.
func (s *soak) read(rng *rand.Rand) {
	for s.ctx.Err() == nil {
		name := s.files[rng.IntN(len(s.files))]
		want, err := os.ReadFile(s.path("tree/" + name))
		if err != nil {
			s.t.Error(err)
			return
		}
		off := rng.IntN(len(want))
		n := min(1+rng.IntN(256<<10), len(want)-off)
		f, err := os.Open(s.path("mnt/" + name))
		if err != nil {
			s.t.Error(err)
			return
		}
		got := make([]byte, n)
		_, err = f.ReadAt(got, int64(off))
		f.Close()
		if err != nil || !bytes.Equal(got, want[off:off+n]) {
			s.t.Errorf("%s at %d, %d bytes: %v, and they are not as they were stored", name, off, n, err)
			return
		}
	}
}

// write makes, changes and renames files of its own, and looks at them again.
func (s *soak) write(number int) {
	dir := s.path(fmt.Sprintf("mnt/own%d", number))
	if err := os.Mkdir(dir, 0o755); err != nil {
		s.t.Error(err)
		return
	}
	for i := 0; s.ctx.Err() == nil; i++ {
		name, content := filepath.Join(dir, fmt.Sprint(i%50)), fmt.Sprintf("%d %d\n%s", number, i, strings.Repeat("x", i%20_000))
		if err := os.WriteFile(name+"~", []byte(content), 0o644); err != nil {
			s.t.Error(err)
			return
		}
		if err := os.Rename(name+"~", name); err != nil {
			s.t.Error(err)
			return
		}
		if got, err := os.ReadFile(name); err != nil || string(got) != content {
			s.t.Errorf("%s: %v, and it is not what was written", name, err)
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// disturb stalls and stops the server, and commits in between, until the time is over.
func (s *soak) disturb() {
	for i := 0; s.ctx.Err() == nil; i++ {
		switch i % 4 {
		case 0:
			s.server.Pause()
			s.sleep(300 * time.Millisecond)
			s.server.Resume()
		case 2:
			s.server.Stop()
			s.sleep(500 * time.Millisecond)
			s.server.Restart()
		default:
			s.sleep(300 * time.Millisecond)
			s.ok("commit", "mnt", "-o", "d.json", "--exclude", "*~")
		}
	}
}

func (s *soak) sleep(d time.Duration) {
	select {
	case <-s.ctx.Done():
	case <-time.After(d):
	}
}

// verify compares the whole tree with its sources, and with what its manifests make.
func (s *soak) verify() {
	mounted := tree(s.t, s.path("mnt"))
	base := map[string]string{}
	for name, is := range mounted {
		if !strings.HasPrefix(name, "own") {
			base[name] = is
		}
	}
	same(s.t, base, tree(s.t, s.path("tree")))
	s.ok("commit", "mnt", "--full", "-o", "full.json")
	s.ok("download", "full.json", "out")
	same(s.t, tree(s.t, s.path("out")), mounted)
}

func openFiles(t *testing.T, pid int) int {
	t.Helper()
	list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// peakMemory is the line of the kernel about the most memory that a process had.
func peakMemory(t *testing.T, pid int) string {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "VmHWM:") {
			return strings.Join(strings.Fields(line), " ")
		}
	}
	return ""
}
