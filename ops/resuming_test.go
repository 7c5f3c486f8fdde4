package ops

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/snapfs/snapfs/blobstore"
	"github.com/snapfs/snapfs/blobstore/dirstore"
	"github.com/snapfs/snapfs/blobstore/faulty"
	"github.com/snapfs/snapfs/blobstore/memstore"
	"github.com/snapfs/snapfs/manifest"
	"golang.org/x/sys/unix"
)

const resumedSize = 320 << 20

// far is a store whose blobs are no local files, and that counts what is read.
type far struct {
	blobstore.Store
	stats *blobstore.Stats
}

func newFar(t testing.TB, root string) far {
	inner, err := dirstore.Open(root, dirstore.Options{})
	must(t, err)
	stats := new(blobstore.Stats)
	return far{faulty.Wrap(onlyStore{blobstore.Count(inner, stats)}), stats}
}

// onlyStore hides all other abilities of a store.
type onlyStore struct{ blobstore.Store }

// largeStore makes a store with a blob of zeros that takes no space on disk, and the
// manifest of a file that consists of it once or often.
func largeStore(t testing.TB, root string, chunk int64) *manifest.Snapshot {
	h := manifest.NewHasher()
	size := int64(resumedSize)
	if chunk > 0 {
		size = chunk
	}
	_, err := io.CopyN(h, zeros{}, size)
	must(t, err)
	key := filepath.Join(root, string(h.Hash())+".xxh128")
	must(t, os.MkdirAll(root, 0o755))
	must(t, os.WriteFile(key, nil, 0o644))
	must(t, os.Truncate(key, size))
	f := manifest.File{Path: "dir/large", Size: resumedSize, ModTime: 1_700_000_000_000_000, Hash: h.Hash()}
	if chunk > 0 {
		f.Chunks, f.Hash = make([]manifest.Hash, resumedSize/chunk), ""
		for i := range f.Chunks {
			f.Chunks[i] = h.Hash()
		}
	}
	m := snapshot(f)
	m.ChunkSize = manifest.WholeFile
	if chunk > 0 {
		m.ChunkSize = chunk
	}
	return m
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// TestResumeChild is the body of the process that the tests below kill.
func TestResumeChild(t *testing.T) {
	root := os.Getenv("SNAPFS_TEST_RESUME_STORE")
	if root == "" {
		t.Skip("only meant to run as a child process")
	}
	chunk, err := strconv.ParseInt(os.Getenv("SNAPFS_TEST_RESUME_CHUNK"), 10, 64)
	must(t, err)
	s := newFar(t, root)
	m := largeStore(t, root, chunk)
	s.Store.(*faulty.Store).Inject(faulty.Fault{Op: faulty.Open, Times: faulty.Always, Delay: 30 * time.Millisecond})
	fmt.Println("ready")
	downloadTo(t, m, os.Getenv("SNAPFS_TEST_RESUME_DIR"), s, DownloadOptions{Workers: 2})
}

// parts returns the temporary files in dir, and the space they take.
func parts(t *testing.T, dir string) (names []string, size int64) {
	t.Helper()
	names, err := filepath.Glob(dir + "/.snapfs-*.part")
	must(t, err)
	for _, name := range names {
		var st syscall.Stat_t
		if syscall.Stat(name, &st) == nil {
			size += st.Blocks * 512
		}
	}
	return names, size
}

// killAt starts a download of a large file and kills it when so much is written.
func killAt(t *testing.T, root, dir string, chunk, size int64) {
	t.Helper()
	child := exec.Command(os.Args[0], "-test.run", "^TestResumeChild$", "-test.v")
	child.Env = append(os.Environ(), "SNAPFS_TEST_RESUME_STORE="+root, "SNAPFS_TEST_RESUME_DIR="+dir, fmt.Sprint("SNAPFS_TEST_RESUME_CHUNK=", chunk))
	out, err := child.StdoutPipe()
	must(t, err)
	must(t, child.Start())
	lines := bufio.NewScanner(out)
	for lines.Scan() && lines.Text() != "ready" {
	}
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if _, n := parts(t, dir+"/dir"); n >= size {
			break
		}
	}
	must(t, child.Process.Kill())
	_ = child.Wait() // it was killed
}

// A download of a large file that is killed goes on where it stopped: what was written is
// not fetched again, however the file is split.
func TestKilledDownloadOfOneFileGoesOn(t *testing.T) {
	if testing.Short() {
		t.Skip("writes a large file")
	}
	for name, chunk := range map[string]int64{"one blob": 0, "chunks": 8 << 20, "large chunks": 80 << 20} {
		t.Run(name, func(t *testing.T) {
			root, dir := t.TempDir(), t.TempDir()
			m := largeStore(t, root, chunk)
			s := newFar(t, root)
			killAt(t, root, dir, chunk, resumedSize/4)
			_, written := parts(t, dir+"/dir")
			if written < resumedSize/4 {
				t.Fatalf("%d bytes were written by the killed process", written)
			}
			_, stats := downloadTo(t, m, dir, s, DownloadOptions{})
			const cut = 64 * copyStride // last steps that were cut short
			if stats.SkippedBytes < written-cut || stats.DownloadedFiles != 1 {
				t.Errorf("%d bytes were written, the second run did %+v", written, stats)
			}
			if got := s.stats.Totals().BytesFetched; got > resumedSize-written+cut {
				t.Errorf("%d bytes were written, and %d of %d fetched", written, got, int64(resumedSize))
			}
			want := manifest.NewHasher()
			_, err := io.CopyN(want, zeros{}, resumedSize)
			must(t, err)
			if got := hashFile(t, dir+"/dir/large"); got != want.Hash() {
				t.Errorf("the file hashes to %s, want %s", got, want.Hash())
			}
			if left, _ := parts(t, dir+"/dir"); len(left) > 0 {
				t.Errorf("left behind: %q", left)
			}
		})
	}
}

func hashFile(t *testing.T, path string) manifest.Hash {
	t.Helper()
	f, err := os.Open(path)
	must(t, err)
	defer f.Close()
	h := manifest.NewHasher()
	_, err = io.Copy(h, f)
	must(t, err)
	return h.Hash()
}

// interrupt starts a download into dir and cancels it after two ranges. It returns the
// part that is left.
func interrupt(t *testing.T, m *manifest.Snapshot, dir string, s *faulty.Store) string {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	s.Inject(faulty.Fault{Op: faulty.Open, Skip: 2, Times: faulty.Always, Hang: true})
	defer s.Heal()
	time.AfterFunc(300*time.Millisecond, cancel)
	if _, _, err := DownloadTo(ctx, m, dir, s, DownloadOptions{}); err == nil {
		t.Fatal("the download was not interrupted")
	}
	left, size := parts(t, dir)
	if len(left) != 1 || size == 0 {
		t.Fatalf("an interrupted download left %q with %d bytes", left, size)
	}
	return left[0]
}

// What a killed process has left may be wrong: after a crash of the machine, or because
// somebody has touched it. Then it is fetched again.
func TestDamagedPartIsFetchedAgain(t *testing.T) {
	s := faulty.Wrap(memstore.New())
	f := entry(t, s, "large", strings.Repeat("0123456789abcdef", (rangedMin+rangeSize)/16))
	m := snapshot(f)
	dir := t.TempDir()
	part, err := os.OpenFile(interrupt(t, m, dir, s), os.O_RDWR, 0)
	must(t, err)
	at, err := unix.Seek(int(part.Fd()), 0, unix.SEEK_DATA)
	must(t, err)
	_, err = part.WriteAt([]byte("damaged"), at+100)
	must(t, err)
	must(t, part.Close())
	_, stats := downloadTo(t, m, dir, s, DownloadOptions{})
	if stats.DownloadedBytes != f.Size || stats.SkippedBytes != 0 {
		t.Errorf("the second run did %+v", stats)
	}
	if got := hashFile(t, dir+"/large"); got != f.Hash {
		t.Errorf("the file hashes to %s", got)
	}
}

// A part of another version of a file is of no use, and goes away. One that belongs to
// another file, or that somebody is writing, is left alone.
func TestOldPartsGoAway(t *testing.T) {
	s := faulty.Wrap(memstore.New())
	dir := t.TempDir()
	before := interrupt(t, snapshot(entry(t, s, "large", strings.Repeat("x", rangedMin))), dir, s)
	other := filepath.Join(dir, ".snapfs-0000000000000000-0000000000000000.part")
	writeFile(t, other, "of another file", 0o644)
	next := snapshot(entry(t, s, "large", strings.Repeat("y", resumeMin)))
	held, err := os.Open(before)
	must(t, err)
	must(t, unix.Flock(int(held.Fd()), unix.LOCK_EX))
	downloadTo(t, next, dir, s, DownloadOptions{})
	if left, _ := parts(t, dir); !slices.Contains(left, before) {
		t.Errorf("left are %q, without the part that somebody holds", left)
	}
	must(t, held.Close())
	must(t, os.Remove(dir+"/large"))
	downloadTo(t, next, dir, s, DownloadOptions{})
	if left, _ := parts(t, dir); len(left) != 1 || left[0] != other {
		t.Errorf("left are %q", left)
	}
}

// A link in the place of a part is not followed, and nothing is written to a part that
// has another name, too.
func TestPartsOfOthersAreNotTouched(t *testing.T) {
	s := faulty.Wrap(memstore.New())
	dir, victim := t.TempDir(), filepath.Join(t.TempDir(), "victim")
	m := snapshot(entry(t, s, "large", strings.Repeat("x", rangedMin)))
	part := interrupt(t, m, dir, s)
	for name, plant := range map[string]func(old, new string) error{"symbolic link": os.Symlink, "hard link": os.Link} {
		must(t, os.Remove(part))
		writeFile(t, victim, "precious", 0o644)
		must(t, plant(victim, part))
		downloadTo(t, m, dir, s, DownloadOptions{})
		if content, err := os.ReadFile(victim); err != nil || string(content) != "precious" {
			t.Errorf("%s: the victim holds %.20q, %v", name, content, err)
		}
		must(t, os.Remove(dir+"/large"))
	}
}
