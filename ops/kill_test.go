package ops

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/snapfs/snapfs/blobstore/dirstore"
	"github.com/snapfs/snapfs/blobstore/faulty"
	"github.com/snapfs/snapfs/blobstore/memstore"
	"github.com/snapfs/snapfs/manifest"
)

// killTree is what the child below downloads over an older tree.
func killTree(t testing.TB, s *faulty.Store) *manifest.Snapshot {
	var files []manifest.File
	for i := range 200 {
		files = append(files, entry(t, s, fmt.Sprintf("d%d/f%03d", i%7, i), strings.Repeat(fmt.Sprint(i), 10_000)))
	}
	files = append(files, entry(t, s, "large", strings.Repeat("large", rangedMin/5+1)))
	return snapshot(files...)
}

// TestKillChild is the body of the process that TestDownloadSurvivesKill kills.
func TestKillChild(t *testing.T) {
	dir := os.Getenv("SNAPFS_TEST_KILL_DIR")
	if dir == "" {
		t.Skip("only meant to run as a child process")
	}
	s := faulty.Wrap(memstore.New())
	m := killTree(t, s)
	s.Inject(faulty.Fault{Op: faulty.Open, Times: faulty.Always, Delay: 2 * time.Millisecond})
	fmt.Println("ready")
	downloadTo(t, m, dir, s, DownloadOptions{Workers: 4})
	fmt.Println("done")
}

// Spec/gaps.md G-12: whenever a download is killed, what has its name is complete,
// and the next run fetches only the rest and leaves nothing else behind.
func TestDownloadSurvivesKill(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	s := faulty.Wrap(memstore.New())
	m := killTree(t, s)
	want := map[string]manifest.Hash{}
	for _, f := range m.Files {
		want[f.Path] = f.Hash
	}
	for _, after := range []time.Duration{5, 30, 80} {
		dir := t.TempDir()
		for _, f := range m.Files[:50] {
			writeFile(t, dir+"/"+f.Path, "old", 0o644)
		}
		kill(t, dir, after*time.Millisecond)
		complete := int64(0)
		for _, line := range listing(t, dir) {
			name, text, isFile := strings.Cut(line, ": ")
			switch {
			case !isFile || text == "old":
			case strings.HasPrefix(name, ".snapfs-"): // killed between two system calls that replace a file
			case want[name] == "":
				t.Errorf("killed after %d ms: left behind: %s", after, line)
			default:
				content, err := os.ReadFile(dir + "/" + name)
				must(t, err)
				if manifest.Sum(content) != want[name] {
					t.Errorf("killed after %d ms: %s is not complete", after, name)
				}
				complete++
			}
		}
		_, stats := downloadTo(t, m, dir, s, DownloadOptions{})
		if stats.SkippedFiles != complete || stats.DownloadedFiles != int64(len(m.Files))-complete {
			t.Errorf("killed after %d ms: %d files were complete, the second run did %+v", after, complete, stats)
		}
		for _, line := range listing(t, dir) {
			if name, _, isFile := strings.Cut(line, ": "); isFile && want[name] == "" {
				t.Errorf("left behind for good: %s", line)
			}
		}
	}
}

// kill starts a download into dir in another process and kills it after a while.
func kill(t *testing.T, dir string, after time.Duration) {
	t.Helper()
	child := exec.Command(os.Args[0], "-test.run", "^TestKillChild$", "-test.v")
	child.Env = append(os.Environ(), "SNAPFS_TEST_KILL_DIR="+dir)
	out, err := child.StdoutPipe()
	must(t, err)
	must(t, child.Start())
	lines := bufio.NewScanner(out)
	for lines.Scan() && lines.Text() != "ready" {
	}
	time.Sleep(after)
	must(t, child.Process.Kill())
	_ = child.Wait() // it was killed
}

// The store that an upload was killed in holds whole blobs only.
func TestUploadIsResumable(t *testing.T) {
	root := t.TempDir()
	for i := range 50 {
		writeFile(t, fmt.Sprintf("%s/f%02d", root, i), strings.Repeat(fmt.Sprint(i), 1000), 0o644)
	}
	m := collect(t, CollectOptions{}, root)
	inner := newDirStore(t)
	s := faulty.Wrap(inner)
	s.Inject(faulty.Fault{Op: faulty.Put, Skip: 30, Times: faulty.Always, Hang: true})
	if _, _, err := HashUpload(cancelAt(t, s, faulty.Put, 34), m, s, UploadOptions{Workers: 4}); err == nil {
		t.Fatal("the upload was not cancelled")
	}
	_, stats := upload(t, m, inner, UploadOptions{})
	if stats.SkippedFiles != 30 || stats.UploadedFiles != 20 {
		t.Errorf("the second run did %+v", stats)
	}
	again, err := dirstore.Open(inner.Root(), dirstore.Options{})
	must(t, err)
	names, err := os.ReadDir(again.Root())
	must(t, err)
	if n := slices.IndexFunc(names, func(e os.DirEntry) bool { return !strings.HasSuffix(e.Name(), ".xxh128") && e.Name() != ".tmp" }); n >= 0 {
		t.Errorf("left behind: %s", names[n].Name())
	}
}
