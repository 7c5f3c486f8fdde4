package integration

import (
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/snapfs/snapfs/integration/s3server"
	"github.com/snapfs/snapfs/manifest"
)

func sum(b []byte) manifest.Hash { return manifest.Sum(b) }

func TestStoryWithDirectoryStore(t *testing.T) {
	w := newWorld(t)
	w.mkdir("store")
	w.env = append(w.env, "SNAPFS_STORE="+w.path("store"))
	story(t, w)
}

func TestStoryWithS3(t *testing.T) {
	w := newWorld(t)
	useS3(t, w)
	story(t, w)
}

// useS3 gives the world a bucket on a server of its own.
func useS3(t *testing.T, w *world) *s3server.Server {
	t.Helper()
	s := s3server.Start(t)
	w.env = append(w.env,
		"AWS_ACCESS_KEY_ID="+s.AccessKey, "AWS_SECRET_ACCESS_KEY="+s.SecretKey, "AWS_REGION="+s.Region,
		"SNAPFS_STORE=s3://"+s.Bucket+"/some/prefix?path-style=1&endpoint="+s.Endpoint)
	return s
}

// bigSize makes the big file of the story: three chunks.
const (
	bigSize  = 24 << 20
	bigChunk = "9MiB"
)

// project makes a directory with everything that is hard about names and types.
func project(t *testing.T, w *world) {
	t.Helper()
	for i := range 300 {
		w.write(fmt.Sprintf("project/src/dir%02d/file%03d.txt", i%20, i), strings.Repeat(fmt.Sprintln("line", i), i))
	}
	w.write("project/odd/with space", "1")
	w.write("project/odd/Ünïcødé 日本語 😀", "2")
	w.write("project/odd/quote\"and\\backslash", "3")
	w.write("project/empty file", "")
	w.write("project/run.sh", "#!/bin/sh\necho ran\n")
	w.mkdir("project/empty/nested")
	f, err := os.Create(w.path("project/big.bin"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(f, rand.NewChaCha8([32]byte{1}), bigSize); err != nil {
		t.Fatal(err)
	}
	f.Close()
	if err := os.Chmod(w.path("project/run.sh"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"relative": "src/dir00", "odd/up": "../run.sh", "absolute": w.path("project/run.sh"),
	} {
		if err := os.Symlink(text, w.path("project/"+name)); err != nil {
			t.Fatal(err)
		}
	}
}

func story(t *testing.T, w *world) {
	project(t, w)
	before := tree(t, w.path("project"))
	w.ok("snapshot", "project", "-o", "a.json", "--chunk-size", bigChunk)

	w.ok("mount", "a.json", "mnt")
	want := tree(t, w.path("project"))
	want["absolute"] = "-> run.sh" // a manifest holds it relative to the root
	lazyReading(t, w)
	same(t, tree(t, w.path("mnt")), want)

	work(t, w)
	same(t, tree(t, w.path("project")), before)
	s := w.status("mnt")
	wantChanges := []string{
		"M big.bin", "A data.db", "R empty -> moved", "A new", "A new/file.txt", "A new/link", "M run.sh",
		"D src/dir01/file001.txt", "R src/dir02 -> src/renamed", "M src/dir03/file003.txt", "M src/dir04/file004.txt",
		"M src/dir05/file005.txt", "M src/renamed/file022.txt",
	}
	if diff := cmp.Diff(sorted(wantChanges), sorted(s.lines())); diff != "" {
		t.Errorf("status (-want +got):\n%s", diff)
	}
	commitAndMore(t, w)

	w.ok("compose", "a.json", "d1.json", "d2.json", "-o", "b.json")
	w.ok("download", "b.json", "out")
	final := tree(t, w.path("final"))
	same(t, tree(t, w.path("out")), final)
	w.ok("mount", "a.json", "--diff", "d1.json", "--diff", "d2.json", "mnt")
	same(t, tree(t, w.path("mnt")), final)
	if s := w.status("mnt"); len(s.Changes) != 0 {
		t.Errorf("a fresh mount has changes: %v", s.lines())
	}
	w.ok("umount", "mnt")
}

func sorted(list []string) []string {
	list = slices.Clone(list)
	slices.Sort(list)
	return list
}

// lazyReading checks that reads fetch what they touch, and nothing twice.
func lazyReading(t *testing.T, w *world) {
	t.Helper()
	f, err := os.Open(w.path("mnt/big.bin"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.ReadAt(make([]byte, 64<<10), bigSize/2); err != nil {
		t.Fatal(err)
	}
	some := w.status("mnt").FetchedBytes
	if some <= 0 || some >= 9<<20 {
		t.Errorf("reading 64 KiB fetched %d bytes", some)
	}
	for range 2 {
		got, err := os.ReadFile(w.path("mnt/big.bin"))
		if err != nil || sum(got) != sum([]byte(w.read("project/big.bin"))) {
			t.Fatalf("big.bin differs: %v", err)
		}
	}
	if all := w.status("mnt").FetchedBytes; all != bigSize {
		t.Errorf("reading all of %d bytes fetched %d", bigSize, all)
	}
}

// work changes the mount as programs do.
func work(t *testing.T, w *world) {
	t.Helper()
	w.shell(`
cd mnt
echo appended >> src/dir03/file003.txt
truncate -s 7 src/dir04/file004.txt
printf new | dd of=big.bin bs=1 seek=1000000 conv=notrunc status=none
mkdir new && echo hello > new/file.txt && ln -s ../src/dir00 new/link
rm src/dir01/file001.txt
chmod -x run.sh
mv src/dir02 src/renamed
mv empty moved
echo inside >> src/renamed/file022.txt
cp src/dir05/file005.txt tmp && echo saved >> tmp && mv tmp src/dir05/file005.txt
touch src/dir06/file006.txt
mv src/dir07 away && mv away src/dir07
sqlite3 data.db 'create table t(a); insert into t values (1),(2); pragma integrity_check;'
`)
}

func commitAndMore(t *testing.T, w *world) {
	t.Helper()
	var c struct {
		HashedBytes   int64 `json:"hashed_bytes"`
		UploadedBytes int64 `json:"uploaded_bytes"`
		Problems      []any
	}
	w.decode(w.ok("commit", "mnt", "-o", "d1.json", "--json"), &c)
	if c.HashedBytes < 9<<20 || c.HashedBytes > 10<<20 || len(c.Problems) != 0 {
		t.Errorf("one chunk of 9 MiB and some small files were changed, but %d bytes were hashed; problems: %v", c.HashedBytes, c.Problems)
	}
	if s := w.status("mnt"); len(s.Changes) != 0 {
		t.Errorf("changes after a commit: %v", s.lines())
	}
	w.shell(`echo later > mnt/later.txt; rm -r mnt/new
touch -r project/src/dir06/file006.txt mnt/src/dir06/file006.txt # only its time had changed: that is not published
echo again >> mnt/src/dir03/file003.txt; cp -a mnt final`)
	s := w.status("mnt")
	wantChanges := []string{"A later.txt", "D new", "D new/file.txt", "D new/link", "M src/dir03/file003.txt"}
	if diff := cmp.Diff(wantChanges, sorted(s.lines())); diff != "" {
		t.Errorf("status after the commit (-want +got):\n%s", diff)
	}
	w.ok("umount", "mnt", "--diff-out", "d2.json")
	if isMounted(w.path("mnt")) {
		t.Error("still mounted")
	}
	if _, err := os.Stat(s.Overlay); !os.IsNotExist(err) {
		t.Errorf("the overlay %s is still there after everything was published: %v", s.Overlay, err)
	}
}

// TestNothingIsDiscarded checks that changes survive every way of unmounting that
// does not publish them.
func TestNothingIsDiscarded(t *testing.T) {
	for _, how := range []string{"keep", "no-commit", "store-gone"} {
		t.Run(how, func(t *testing.T) {
			w := newWorld(t)
			w.mkdir("store")
			w.env = append(w.env, "SNAPFS_STORE="+w.path("store"))
			w.write("project/f", "1")
			w.ok("snapshot", "project", "-o", "a.json")
			args := []string{"mount", "a.json", "mnt", "--overlay", "overlay"}
			if how == "keep" {
				args = append(args, "--on-unmount", "keep")
			}
			w.ok(args...)
			w.write("mnt/precious", "kept")
			switch how {
			case "no-commit":
				w.fails(4, []string{"kept in", "overlay"}, "umount", "mnt", "--no-commit")
			case "keep":
				w.fails(4, []string{"kept in", "overlay"}, "umount", "mnt")
			case "store-gone":
				w.shell("mv store elsewhere")
				w.fails(10, []string{"kept in", "snapfs commit --overlay"}, "umount", "mnt")
				w.shell("mv elsewhere store")
			}
			w.ok("mount", "a.json", "mnt", "--overlay", "overlay")
			if got := w.read("mnt/precious"); got != "kept" {
				t.Fatalf("precious is %q", got)
			}
			w.fails(4, nil, "umount", "mnt", "--no-commit")
			w.ok("commit", "--overlay", "overlay", "-o", "d.json")
			w.ok("mount", "a.json", "--diff", "d.json", "mnt")
			if got := w.read("mnt/precious"); got != "kept" {
				t.Fatalf("precious is %q after the commit", got)
			}
			w.ok("umount", "mnt")
		})
	}
}

// TestUnmountByOthers checks that umount(8) and signals end the process cleanly, with
// a commit.
func TestUnmountByOthers(t *testing.T) {
	for _, how := range []string{"umount", "fusermount3", "SIGTERM", "SIGINT", "lazy"} {
		t.Run(how, func(t *testing.T) {
			if how == "umount" || how == "lazy" {
				needRoot(t)
			}
			w := newWorld(t)
			w.write("project/f", "1")
			w.ok("snapshot", "project", "-o", "a.json")
			w.ok("mount", "a.json", "mnt", "--diff-out", "d.json")
			w.write("mnt/new", "2")
			pid := w.status("mnt").PID
			switch how {
			case "umount":
				w.shell("umount mnt")
			case "lazy":
				w.shell("umount -l mnt")
			case "fusermount3":
				w.shell("fusermount3 -u mnt")
			default:
				w.shell(fmt.Sprintf("kill -%s %d", strings.TrimPrefix(how, "SIG"), pid))
			}
			eventually(t, "the process ends", func() bool { return !alive(pid) })
			if isMounted(w.path("mnt")) {
				t.Error("still mounted")
			}
			if got := w.ok("manifest", "ls", "d.json"); !strings.Contains(got, "new") {
				t.Errorf("the diff does not hold the new file: %q", got)
			}
			left, err := filepath.Glob(w.path("run/snapfs/*"))
			if err != nil || len(left) != 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
		})
	}
}
