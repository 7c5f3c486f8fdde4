package integration

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"strconv"
	"sync"
	"testing"
)

// TestManyReadersStayWithinLimits reads large files from S3 in many places at once: what
// is read is right, the memory stays near its limit, and files are closed afterwards.
func TestManyReadersStayWithinLimits(t *testing.T) {
	w, server := withServer(t)
	w.env = append(w.env, "SNAPFS_STORE="+server.URL("Data"))
	const files, size, readers, piece = 8, 24 << 20, 64, 64 << 10
	contents := make([][]byte, files)
	for i := range contents {
		contents[i] = make([]byte, size)
		_, _ = rand.NewChaCha8([32]byte{byte(i)}).Read(contents[i])
		w.write(fmt.Sprintf("dir/f%d", i), string(contents[i]))
	}
	w.ok("snapshot", "dir", "-o", "a.json")
	w.ok("mount", "a.json", "mnt", "--max-memory", "64MiB", "--passthrough", "off")
	pid := w.status("mnt").PID
	before := filesOpen(t, pid)
	var wg sync.WaitGroup
	for r := range readers {
		wg.Go(func() {
			f, err := os.Open(w.path(fmt.Sprintf("mnt/f%d", r%files)))
			if err != nil {
				t.Error(err)
				return
			}
			defer f.Close()
			got, start := make([]byte, piece), size/readers*r
			for i := 0; i < size; i += piece {
				off := (start + i) % size
				if _, err := f.ReadAt(got, int64(off)); err != nil || !bytes.Equal(got, contents[r%files][off:off+piece]) {
					t.Errorf("reader %d at %d: wrong content, %v", r, off, err)
					return
				}
			}
		})
	}
	wg.Wait()
	// What is not for contents: the program itself, buffers of the kernel's requests, garbage.
	const limit = 64<<20 + 160<<20
	if peak := peakOf(t, pid); peak > limit {
		t.Errorf("the mount took %d MB of memory, more than %d", peak>>20, limit>>20)
	}
	eventually(t, "files to be closed", func() bool { return filesOpen(t, pid) <= before+2 })
	w.ok("umount", "mnt")
}

func filesOpen(t *testing.T, pid int) int {
	t.Helper()
	list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	sockets := 0 // connections end in their own time
	for _, e := range list {
		if to, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", pid, e.Name())); err == nil && len(to) > 6 && to[:6] == "socket" {
			sockets++
		}
	}
	return len(list) - sockets
}

// peakOf returns the largest resident set that a process has had, in bytes.
func peakOf(t *testing.T, pid int) int64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(text)
	if found == nil {
		t.Fatalf("no VmHWM in %s", text)
	}
	kb, err := strconv.ParseInt(string(found[1]), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return kb << 10
}
