package integration

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"net"
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
		acknowledged, killAt := 0, 10+rand.IntN(200)
		for sc := bufio.NewScanner(out); sc.Scan(); {
			if n, err := strconv.Atoi(sc.Text()); err == nil {
				acknowledged = n + 1
			}
			if acknowledged == killAt {
				// A little later, so that the kill falls into the middle of something.
				time.AfterFunc(time.Duration(rand.IntN(5000))*time.Microsecond, func() { syscall.Kill(pid, syscall.SIGKILL) })
			}
		}
		cmd.Wait() // it fails when the mount dies
		if acknowledged < killAt {
			t.Fatalf("only %d of %d files were written before the kill", acknowledged, killAt)
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

// TestKilledBeforeTheManifestIsDelivered kills the mount process when everything of a
// commit has happened but the last step, which hangs: the changes are not published, and
// the next commit publishes them.
func TestKilledBeforeTheManifestIsDelivered(t *testing.T) {
	w := small(t)
	silent, err := net.Listen("tcp", "127.0.0.1:0") // takes connections, and never answers
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	w.env = append(w.env, "AWS_ACCESS_KEY_ID=a", "AWS_SECRET_ACCESS_KEY=b", "AWS_REGION=us-east-1")
	w.ok("mount", "a.json", "mnt", "--overlay", "overlay")
	w.write("mnt/new", "new")
	commit := exec.Command(program, "commit", "mnt", "-o", "s3://bucket/d.json?path-style=1&endpoint=http://"+silent.Addr().String())
	commit.Dir, commit.Env = w.dir, w.env
	if err := commit.Start(); err != nil {
		t.Fatal(err)
	}
	conn, err := silent.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	syscall.Kill(w.status("mnt").PID, syscall.SIGKILL)
	commit.Wait() // it fails
	w.ok("mount", "a.json", "mnt", "--overlay", "overlay")
	w.ok("umount", "mnt", "--diff-out", "d.json")
	if got := w.ok("manifest", "cat", "d.json", "new"); got != "new" {
		t.Errorf("the diff has %q", got)
	}
}

// TestSecondSignalStopsTheLastCommit unmounts by a signal while the store hangs. The
// second signal must end the process, with everything still in the overlay.
func TestSecondSignalStopsTheLastCommit(t *testing.T) {
	w := small(t)
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	w.env = append(w.env, "AWS_ACCESS_KEY_ID=a", "AWS_SECRET_ACCESS_KEY=b", "AWS_REGION=us-east-1")
	w.ok("mount", "a.json", "mnt", "--overlay", "overlay", "--diff-out", "s3://bucket/d.json?path-style=1&endpoint=http://"+silent.Addr().String())
	w.write("mnt/new", "new")
	pid := w.status("mnt").PID
	syscall.Kill(pid, syscall.SIGTERM)
	conn, err := silent.Accept() // now the commit waits
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	syscall.Kill(pid, syscall.SIGTERM)
	start := time.Now()
	eventually(t, "the process ends", func() bool { return !alive(pid) })
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("it took %v", took)
	}
	w.ok("commit", "--overlay", "overlay", "-o", "d.json")
	if got := w.ok("manifest", "cat", "d.json", "new"); got != "new" {
		t.Errorf("the diff has %q", got)
	}
}

// TestStopTimeout ends a mount that is in use by a signal: for the time that was asked for
// it stays, then it is detached, and it ends with its last user, who loses nothing.
func TestStopTimeout(t *testing.T) {
	w := small(t)
	w.fails(2, []string{"--stop-timeout"}, "mount", "a.json", "mnt", "--stop-timeout", "-1s")
	w.ok("mount", "a.json", "mnt", "--stop-timeout", "1s", "--diff-out", "d.json")
	pid := w.status("mnt").PID
	f, err := os.Create(w.path("mnt/new"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	start := time.Now()
	syscall.Kill(pid, syscall.SIGTERM)
	eventually(t, "the mount is detached", func() bool { return !isMounted(w.path("mnt")) })
	if took := time.Since(start); took < 900*time.Millisecond || took > 8*time.Second {
		t.Errorf("it was detached after %v", took)
	}
	if _, err := f.WriteString("written afterwards"); err != nil {
		t.Error(err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	eventually(t, "the process ends", func() bool { return !alive(pid) })
	if got := w.ok("manifest", "cat", "d.json", "new"); got != "written afterwards" {
		t.Errorf("the diff has %q", got)
	}
}
