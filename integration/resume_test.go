package integration

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/snapfs/snapfs/blobstore"
	"github.com/snapfs/snapfs/blobstore/s3store"
	"github.com/snapfs/snapfs/integration/s3server"
	"golang.org/x/sys/unix"
)

const (
	// smallFiles is how many small files there are to move, before one large one.
	smallFiles = 200
	// largeSize is above the size from which blobs move in parts and in ranges.
	largeSize = 66 << 20
)

// killPoints are the numbers of files moved at which a run is killed: among the small
// ones, and in the middle of the large one.
var killPoints = []int{smallFiles / 4, smallFiles}

// moved is what the commands that move contents say about that with --json.
type moved struct {
	UploadedBytes   int64 `json:"uploaded_bytes"`
	DownloadedFiles int   `json:"downloaded_files"`
	SkippedFiles    int   `json:"skipped_files"`
	CopiedBlobs     int   `json:"copied_blobs"`
	SkippedBlobs    int   `json:"skipped_blobs"`
}

// plantWork makes a tree of many small files and a large one, which comes last.
func plantWork(w *world, name string) {
	w.t.Helper()
	for i := range smallFiles {
		w.write(fmt.Sprintf("%s/d%d/f%03d", name, i%7, i), strings.Repeat(fmt.Sprintf("%08d", i), 1000))
	}
	w.write(name+"/large", strings.Repeat("large content ", largeSize/14+1))
}

// runKilled starts snapfs and kills it when it has done enough.
func (w *world) runKilled(enough func() bool, args ...string) {
	w.t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Dir, cmd.Env = w.dir, w.env
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // it is killed, as a rule
		close(ended)
	}()
	for !enough() {
		select {
		case <-ended:
			return
		case <-time.After(time.Millisecond):
		}
	}
	time.Sleep(10 * time.Millisecond)
	_ = cmd.Process.Kill()
	<-ended
	time.Sleep(300 * time.Millisecond) // a server may still finish what it was sent
}

// blobs returns the sizes of the blobs in a directory.
func blobs(t *testing.T, dir string) map[string]int64 {
	t.Helper()
	found := map[string]int64{}
	entries, err := os.ReadDir(dir)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	for _, e := range entries {
		if info, err := e.Info(); err == nil && strings.HasSuffix(e.Name(), ".xxh128") {
			found[e.Name()] = info.Size()
		}
	}
	return found
}

// countFiles counts the files two levels below dir.
func countFiles(dir string) int {
	names, _ := filepath.Glob(dir + "/*/*")
	return len(names)
}

func sumOf(sizes map[string]int64) (total int64) {
	for _, n := range sizes {
		total += n
	}
	return total
}

// place is a store, and the directory in which its blobs can be looked at.
type place struct {
	url, dir string
	s3       bool
}

func newPlace(w *world, server *s3server.Server, name string) place {
	if server == nil {
		w.mkdir(name)
		return place{url: w.path(name), dir: w.path(name)}
	}
	return place{url: server.URL(name), dir: filepath.Join(server.BucketDir(), name), s3: true}
}

// wantNoLeftovers fails when the store holds something that is no blob and that nobody
// would ever use.
func (p place) wantNoLeftovers(t *testing.T) {
	t.Helper()
	if !p.s3 {
		if left, _ := filepath.Glob(p.dir + "/.tmp/*"); len(left) > 0 {
			t.Errorf("left in the store: %q", left)
		}
		return
	}
	loc, err := blobstore.ParseURL(p.url)
	if err != nil {
		t.Fatal(err)
	}
	store, err := s3store.Open(t.Context(), s3store.FromLocation(loc))
	if err != nil {
		t.Fatal(err)
	}
	if n, err := store.Clean(t.Context(), 0); n != 0 || err != nil {
		t.Errorf("%d unfinished uploads are left in the store, %v", n, err)
	}
}

// onBoth runs a test with directories and with a real S3 server.
func onBoth(t *testing.T, test func(t *testing.T, w *world, server *s3server.Server)) {
	if testing.Short() {
		t.Skip("kills processes")
	}
	t.Run("directory", func(t *testing.T) { test(t, newHome(t), nil) })
	t.Run("s3", func(t *testing.T) {
		server := s3server.Start(t)
		s3server.Setenv(t, server.Env())
		w := newHome(t)
		for name, value := range server.Env() {
			if value != "" {
				w.env = append(w.env, name+"="+value)
			}
		}
		test(t, w, server)
	})
}

// An upload that is killed leaves whole blobs only; the next one sends the rest, and
// nothing that nobody needs is left.
func TestKilledUploadIsResumed(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world, server *s3server.Server) {
		plantWork(w, "tree")
		all := newPlace(w, server, "all")
		w.ok("snapshot", "tree", "--store", all.url, "--no-hash-cache", "-o", "all.json")
		want := blobs(t, all.dir)
		for i, point := range killPoints {
			store := newPlace(w, server, fmt.Sprint("store", i))
			args := []string{"snapshot", "tree", "--store", store.url, "-o", "m.json", "--json"}
			w.runKilled(func() bool { return len(blobs(t, store.dir)) >= point }, args...)
			before := blobs(t, store.dir)
			for key, size := range before {
				if want[key] != size {
					t.Errorf("killed at %v: blob %s has %d bytes, not %d", point, key, size, want[key])
				}
			}
			var again moved
			w.decode(w.ok(args...), &again)
			t.Logf("killed at %v with %d of %d blobs, then uploaded %d bytes", point, len(before), len(want), again.UploadedBytes)
			if again.UploadedBytes != sumOf(want)-sumOf(before) {
				t.Errorf("killed at %v: uploaded %d bytes, %d were missing", point, again.UploadedBytes, sumOf(want)-sumOf(before))
			}
			if w.read("m.json") != w.read("all.json") {
				t.Errorf("killed at %v: the manifest is another", point)
			}
			w.ok("manifest", "verify", "m.json", "--deep", "--store", store.url)
			store.wantNoLeftovers(t)
		}
	})
}

// A download that is killed leaves complete files only; the next one fetches the rest.
func TestKilledDownloadIsResumed(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world, server *s3server.Server) {
		const files = smallFiles + 1
		plantWork(w, "tree")
		store := newPlace(w, server, "store")
		w.ok("snapshot", "tree", "--store", store.url, "-o", "m.json")
		want := tree(t, w.path("tree"))
		for i, point := range killPoints {
			out := fmt.Sprint("out", i)
			args := []string{"download", "m.json", out, "--store", store.url, "--json"}
			w.mkdir(out)
			w.runKilled(func() bool { return countFiles(w.path(out)) >= point }, args...)
			complete := 0
			for name, is := range tree(t, w.path(out)) {
				switch {
				case is == "dir", strings.HasSuffix(name, ".part"): // the next run goes on with it
				case is != want[name]:
					t.Errorf("killed at %v: %s is %s, not %s", point, name, is, want[name])
				default:
					complete++
				}
			}
			var again moved
			w.decode(w.ok(args...), &again)
			t.Logf("killed at %v with %d of %d files, then downloaded %d", point, complete, files, again.DownloadedFiles)
			if again.DownloadedFiles != files-complete || again.SkippedFiles != complete {
				t.Errorf("killed at %v with %d files: then %+v", point, complete, again)
			}
			same(t, tree(t, w.path(out)), want)
		}
	})
}

// The same for a copy from store to store, in both directions.
func TestKilledCacheSyncIsResumed(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world, server *s3server.Server) {
		plantWork(w, "tree")
		from := newPlace(w, nil, "from")
		w.ok("snapshot", "tree", "--store", from.url, "-o", "m.json")
		want := blobs(t, from.dir)
		for i, point := range killPoints {
			to := newPlace(w, server, fmt.Sprint("to", i))
			args := []string{"cache-sync", "m.json", "--from", from.url, "--to", to.url, "--json"}
			w.runKilled(func() bool { return len(blobs(t, to.dir)) >= point }, args...)
			before := blobs(t, to.dir)
			var again moved
			w.decode(w.ok(args...), &again)
			t.Logf("killed at %v with %d of %d blobs, then copied %d", point, len(before), len(want), again.CopiedBlobs)
			if again.CopiedBlobs != len(want)-len(before) || again.SkippedBlobs != len(before) {
				t.Errorf("killed at %v with %d blobs: then %+v", point, len(before), again)
			}
			w.ok("manifest", "verify", "m.json", "--deep", "--store", to.url)
			to.wantNoLeftovers(t)
			back := newPlace(w, nil, fmt.Sprint("back", i))
			reverse := []string{"cache-sync", "m.json", "--from", to.url, "--to", back.url}
			w.runKilled(func() bool { return len(blobs(t, back.dir)) >= point }, reverse...)
			w.ok(reverse...)
			w.ok("manifest", "verify", "m.json", "--deep", "--store", back.url)
			back.wantNoLeftovers(t)
		}
	})
}

// A second run of an unchanged tree opens no file, and sends no request: the server is
// not even there.
func TestSecondSnapshotOpensNothingAndAsksNobody(t *testing.T) {
	server := s3server.Start(t)
	s := newHome(t)
	for name, value := range server.Env() {
		if value != "" {
			s.env = append(s.env, name+"="+value)
		}
	}
	for i := range 300 {
		s.write(fmt.Sprintf("tree/d%d/f%03d", i%3, i), strings.Repeat(fmt.Sprint(i), 100))
	}
	args := []string{"snapshot", "tree", "--store", server.URL("Data"), "-o", "m.json"}
	s.ok(args...)
	first := s.read("m.json")
	server.Stop()
	opened := watchOpens(t, s.path("tree/d0"), s.path("tree/d1"), s.path("tree/d2"))
	s.ok(args...)
	if names := opened(); len(names) > 0 {
		t.Errorf("%d files were opened, like %s", len(names), names[0])
	}
	if s.read("m.json") != first {
		t.Error("the manifest is another")
	}
}

// watchOpens returns a function that returns the names of the files in dirs that anybody
// has opened.
func watchOpens(t *testing.T, dirs ...string) func() []string {
	t.Helper()
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	for _, dir := range dirs {
		if _, err := unix.InotifyAddWatch(fd, dir, unix.IN_OPEN); err != nil {
			t.Fatal(err)
		}
	}
	return func() (names []string) {
		buf := make([]byte, 64<<10)
		for {
			n, err := unix.Read(fd, buf)
			if err != nil || n <= 0 {
				return names
			}
			for at := 0; at < n; {
				event := (*unix.InotifyEvent)(unsafe.Pointer(&buf[at]))
				at += unix.SizeofInotifyEvent
				if event.Mask&unix.IN_ISDIR == 0 {
					names = append(names, strings.TrimRight(string(buf[at:at+int(event.Len)]), "\x00"))
				}
				at += int(event.Len)
			}
		}
	}
}

// Promise 9 of spec/users.md §6: Ctrl-C is answered within two seconds, whatever the
// server does, and what was done by then is not done again.
func TestInterruptIsAnsweredInTime(t *testing.T) {
	server := s3server.Start(t)
	w := newHome(t)
	for name, value := range server.Env() {
		if value != "" {
			w.env = append(w.env, name+"="+value)
		}
	}
	plantWork(w, "tree")
	w.mkdir("local")
	w.ok("snapshot", "tree", "--store", w.path("local"), "-o", "m.json")
	w.ok("snapshot", "tree", "--store", server.URL("full"), "-o", "m.json")
	for _, args := range [][]string{
		{"snapshot", "tree", "--store", server.URL("a"), "-o", "n.json", "--force-rehash"},
		{"download", "m.json", "out", "--store", server.URL("full")},
		{"cache-sync", "m.json", "--from", w.path("local"), "--to", server.URL("b")},
		{"cache-sync", "m.json", "--from", server.URL("full"), "--to", w.path("fresh")},
		{"manifest", "verify", "m.json", "--deep", "--store", server.URL("full")},
	} {
		w.mkdir("fresh")
		server.Pause()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		cmd := exec.CommandContext(ctx, program, args...)
		cmd.Dir, cmd.Env = w.dir, w.env
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(300 * time.Millisecond)
		start := time.Now()
		if err := cmd.Process.Signal(unix.SIGINT); err != nil {
			t.Errorf("%v had ended: %v", args, err)
		}
		_ = cmd.Wait()
		if d, code := time.Since(start), cmd.ProcessState.ExitCode(); d > 2*time.Second || code != 130 {
			t.Errorf("%v ended %v after SIGINT with code %d", args, d, code)
		}
		cancel()
		server.Resume()
		w.ok(args...)
	}
}
