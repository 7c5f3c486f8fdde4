package integration

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// TestKillNineKeepsWhatWasSynced kills the mount process in the middle of writing, and
// mounts its overlay again: every file whose write and fsync had returned is there.
func TestKillNineKeepsWhatWasSynced(t *testing.T) {
	w := small(t)
	for round := range 3 {
		w.ok("mount", "a.json", "mnt", "--overlay", "overlay")
		pid := w.status("mnt").PID
		dir := fmt.Sprintf("round%d", round)
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), writerVar+"="+w.path("mnt/"+dir))
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(time.Duration(200+rand.IntN(600))*time.Millisecond, func() { syscall.Kill(pid, syscall.SIGKILL) })
		acknowledged := 0
		for sc := bufio.NewScanner(out); sc.Scan(); {
			if n, err := strconv.Atoi(sc.Text()); err == nil {
				acknowledged = n + 1
			}
		}
		cmd.Wait() // it fails when the mount dies
		if acknowledged < 5 {
			t.Fatalf("only %d files were written before the kill", acknowledged)
		}
		w.ok("mount", "a.json", "mnt", "--overlay", "overlay")
		for r := range round + 1 {
			n := acknowledged
			if r < round {
				n = 5
			}
			for i := range n {
				if got := w.read(fmt.Sprintf("mnt/round%d/f%05d", r, i)); got != content(i) {
					t.Fatalf("round %d: file %d of %d holds %d bytes, want %d", r, i, n, len(got), len(content(i)))
				}
			}
		}
		if got := w.read("mnt/good"); got != w.read("project/good") {
			t.Error("a base file differs")
		}
		w.fails(4, nil, "umount", "mnt", "--no-commit")
	}
}

func content(i int) string {
	return string(make([]byte, i*37%5000)) + fmt.Sprintln("content", i)
}

// writerVar makes the test binary a writer in the directory that it names.
const writerVar = "SNAPFS_TEST_WRITER"

// writer writes and syncs files one after the other, and prints the number of each
// when it is safe.
func writer(dir string) {
	if err := os.Mkdir(dir, 0o755); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return
	}
	for i := range 100000 {
		f, err := os.Create(filepath.Join(dir, fmt.Sprintf("f%05d", i)))
		if err != nil {
			return
		}
		if _, err := f.WriteString(content(i)); err != nil {
			return
		}
		if f.Sync() != nil || f.Close() != nil {
			return
		}
		fmt.Println(i)
	}
}
