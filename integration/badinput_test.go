package integration

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

const aHash = "99aa06d3014798d86001c324468d497f" // of nothing

func v2025(files string) string {
	return `{"dirs":[],"fileChunkSizeBytes":268435456,"files":[` + files + `],"hashAlg":"xxh128",` +
		`"specificationVersion":"relative-manifest-snapshot-beta-2025-12","totalSize":0}`
}

func entry(name, hash string) string {
	return fmt.Sprintf(`{"hash":%q,"mtime":1,"name":%q,"size":0}`, hash, name)
}

// TestBadManifests mounts and downloads manifests that must be refused: with the exit
// code for invalid ones, a message that helps, and nothing changed on disk.
func TestBadManifests(t *testing.T) {
	good := v2025(entry("f", aHash))
	tests := []struct {
		name, text string
		words      []string
	}{
		{"empty", "", nil},
		{"not JSON", "PK\x03\x04", nil},
		{"other JSON", `{"foo":1}`, []string{"manifest"}},
		{"other version", strings.Replace(good, "beta-2025-12", "beta-2031-01", 1), []string{"beta-2031-01"}},
		{"escapes", v2025(entry("..", aHash)), []string{".."}},
		{"escapes through a table", strings.Replace(v2025(entry("$0/x", aHash)), `"dirs":[]`, `"dirs":[{"name":".."}]`, 1), []string{".."}},
		{"v2023 escapes", `{"hashAlg":"xxh128","manifestVersion":"2023-03-03","paths":[{"hash":"` + aHash + `","mtime":1,"path":"../../etc/x","size":0}],"totalSize":0}`, []string{".."}},
		{"absolute", v2025(entry("/etc/passwd", aHash)), []string{"/etc/passwd"}},
		{"hash is a path", v2025(entry("f", "../../x")), []string{"../../x"}},
		{"hash is no hash", v2025(entry("f", "h1")), []string{"h1"}},
		{"below a file", strings.Replace(v2025(entry("a", aHash)+","+entry("$0/b", aHash)), `"dirs":[]`, `"dirs":[{"name":"a"}]`, 1), []string{"a"}},
		{"twice", v2025(entry("a", aHash) + "," + entry("a", aHash)), []string{"duplicate path: a"}},
		{"NUL", v2025(`{"hash":"` + aHash + `","mtime":1,"name":"a\u0000b","size":0}`), nil},
	}
	w := newWorld(t)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := *w
			w.t = t
			w.write("bad.json", test.text)
			w.fails(12, append(test.words, "bad.json"), "mount", "bad.json", "mnt")
			if isMounted(w.path("mnt")) {
				t.Error("it is mounted")
			}
			w.fails(12, test.words, "download", "bad.json", "out")
			if left, _ := os.ReadDir(w.path("out")); len(left) != 0 {
				t.Errorf("the download left %v", left)
			}
		})
	}
}

// TestTruncatedManifest cuts a manifest at every byte.
func TestTruncatedManifest(t *testing.T) {
	w := newWorld(t)
	text := v2025(entry("f", aHash))
	step := 1
	if testing.Short() {
		step = 7
	}
	for n := 0; n < len(text); n += step {
		w.write("cut.json", text[:n])
		w.fails(12, []string{"cut.json"}, "mount", "cut.json", "mnt")
	}
}

// small makes a project of two files, a store and a manifest of it.
func small(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	w.mkdir("store")
	w.env = append(w.env, "SNAPFS_STORE="+w.path("store"))
	w.write("project/good", strings.Repeat("good ", 1000))
	w.write("project/bad", strings.Repeat("bad ", 1000))
	w.ok("snapshot", "project", "-o", "a.json")
	return w
}

func (w *world) blob(content string) string {
	return w.path("store/" + string(sum([]byte(content))) + ".xxh128")
}

func TestMissingBlob(t *testing.T) {
	w := small(t)
	blob := w.blob(w.read("project/bad"))
	if err := os.Remove(blob); err != nil {
		t.Fatal(err)
	}
	w.fails(7, []string{strings.TrimSuffix(filepath.Base(blob), ".xxh128"), "bad"}, "manifest", "verify", "a.json")
	w.ok("mount", "a.json", "mnt")
	if _, err := os.ReadFile(w.path("mnt/bad")); !errors.Is(err, syscall.EIO) {
		t.Errorf("read of a file without content: %v, want EIO", err)
	}
	if got := w.read("mnt/good"); got != w.read("project/good") {
		t.Error("the other file is affected")
	}
	w.fails(7, []string{"bad"}, "download", "a.json", "out")
	w.ok("umount", "mnt")
}

func TestFlippedByteIsNeverServed(t *testing.T) {
	w := small(t)
	blob := w.blob(w.read("project/bad"))
	b, err := os.ReadFile(blob)
	if err != nil {
		t.Fatal(err)
	}
	b[1234] ^= 1
	if err := errors.Join(os.Chmod(blob, 0o644), os.WriteFile(blob, b, 0o644)); err != nil {
		t.Fatal(err)
	}
	w.ok("mount", "a.json", "mnt")
	got, err := os.ReadFile(w.path("mnt/bad"))
	if !errors.Is(err, syscall.EIO) || len(got) != 0 {
		t.Errorf("read %d bytes of damaged content, %v; want EIO", len(got), err)
	}
	if s := w.status("mnt"); s.Failures == 0 {
		t.Error("status does not count the failure")
	}
	w.fails(7, []string{"bad"}, "download", "a.json", "out")
	if _, err := os.Stat(w.path("out/bad")); !os.IsNotExist(err) {
		t.Errorf("the download left the damaged file: %v", err)
	}
	w.fails(7, []string{"bad"}, "manifest", "verify", "--deep", "a.json")
	w.ok("umount", "mnt")
}

func TestBadStores(t *testing.T) {
	w := small(t)
	w.fails(2, []string{"bucket"}, "mount", "a.json", "mnt", "--store", "s3://")
	w.fails(2, []string{"bukket", "s3://"}, "mount", "a.json", "mnt", "--store", "bukket://x")
	w.fails(10, []string{"nowhere"}, "mount", "a.json", "mnt", "--store", w.path("nowhere"))
	if isMounted(w.path("mnt")) {
		t.Error("it is mounted")
	}
}

func TestBadS3(t *testing.T) {
	w := newWorld(t)
	s := useS3(t, w)
	w.write("project/f", "content")
	w.ok("snapshot", "project", "-o", "a.json")

	w.write("project/more", "content that the bucket is not known to have")
	wrong := *w
	wrong.env = append(wrong.env, "AWS_SECRET_ACCESS_KEY=wrong")
	wrong.fails(6, []string{"credentials"}, "snapshot", "project", "-o", "b.json")
	wrong.fails(6, nil, "download", "a.json", "out")
	w.fails(10, []string{"nobucket"}, "download", "a.json", "out", "--store", "s3://nobucket/x?path-style=1&endpoint="+s.Endpoint)

	s.Stop()
	start := time.Now()
	w.fails(1, []string{"attempts"}, "download", "a.json", "out", "--max-attempts", "3")
	if d := time.Since(start); d > 30*time.Second {
		t.Errorf("it took %v to say that the server is down", d)
	}
	s.Restart()
	w.ok("download", "a.json", "out")
	if got := w.read("out/f"); got != "content" {
		t.Errorf("downloaded %q", got)
	}
}

func TestBadMountPoints(t *testing.T) {
	w := small(t)
	w.fails(5, []string{"does not exist", "mkdir"}, "mount", "a.json", "none")
	w.fails(2, []string{"not a directory"}, "mount", "a.json", "a.json")

	w.write("full/file", "hidden")
	r := w.run("mount", "a.json", "full")
	if r.code != 0 || !strings.Contains(r.stderr, "not empty") {
		t.Errorf("mount on a full directory: exit %d, %q; want a warning", r.code, r.stderr)
	}
	w.fails(8, []string{"already"}, "mount", "a.json", "full")
	w.ok("umount", "full")
	if got := w.read("full/file"); got != "hidden" {
		t.Errorf("the hidden file is %q", got)
	}
	w.fails(5, []string{"no snapfs mount"}, "umount", "full")
	w.fails(5, []string{"no snapfs mount"}, "status", "full")
}

func TestStaleMountIsCleaned(t *testing.T) {
	w := small(t)
	w.ok("mount", "a.json", "mnt")
	w.write("mnt/new", "survives")
	pid := w.status("mnt").PID
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the mount is dead", func() bool {
		var st syscall.Statfs_t
		return errors.Is(syscall.Statfs(w.path("mnt"), &st), syscall.ENOTCONN)
	})
	if out := w.ok("status"); !strings.Contains(out, "overlay") {
		t.Errorf("status does not list the overlay: %q", out)
	}
	r := w.run("mount", "a.json", "mnt")
	if r.code != 0 || !strings.Contains(r.stderr, "died") {
		t.Errorf("mount over a dead one: exit %d, %q", r.code, r.stderr)
	}
	if got := w.read("mnt/new"); got != "survives" {
		t.Errorf("the file written before is %q", got)
	}
	w.ok("umount", "mnt")

	w.ok("mount", "a.json", "mnt")
	if err := syscall.Kill(w.status("mnt").PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	w.fails(4, []string{"died"}, "umount", "mnt")
	if isMounted(w.path("mnt")) {
		t.Error("umount left the dead mount")
	}
}

func TestOverlayInUse(t *testing.T) {
	w := small(t)
	w.mkdir("mnt2")
	w.ok("mount", "a.json", "mnt", "--overlay", "overlay")
	w.fails(11, []string{"in use", "overlay"}, "mount", "a.json", "mnt2", "--overlay", "overlay")
	w.fails(11, []string{"in use"}, "commit", "--overlay", "overlay")
	w.ok("umount", "mnt")
}

func TestOverlayOfAnotherBase(t *testing.T) {
	w := small(t)
	w.write("other/f", "x")
	w.ok("snapshot", "other", "-o", "b.json")
	w.ok("mount", "a.json", "mnt", "--overlay", "overlay")
	w.write("mnt/new", "1")
	w.fails(4, nil, "umount", "mnt", "--no-commit")
	w.fails(8, []string{"another base"}, "mount", "b.json", "mnt", "--overlay", "overlay")
	w.ok("mount", "a.json", "mnt", "--overlay", "overlay")
	if got := w.read("mnt/new"); got != "1" {
		t.Errorf("new is %q", got)
	}
	w.ok("umount", "mnt")
}

func TestBusyMount(t *testing.T) {
	w := small(t)
	w.ok("mount", "a.json", "mnt")
	f, err := os.Open(w.path("mnt/good"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w.fails(11, []string{"in use", fmt.Sprint(os.Getpid()), "--lazy"}, "umount", "mnt")
	w.write("mnt/still", "works")
	f.Close()
	w.ok("umount", "mnt")
}

func TestNoFuseDevice(t *testing.T) {
	needRoot(t)
	w := small(t)
	// In a mount namespace of its own, the device is covered by an empty directory.
	r := w.exec("unshare", "--mount", "sh", "-c", "mount -t tmpfs none /dev && exec "+program+" mount a.json mnt")
	if r.code != 2 || !strings.Contains(r.stderr, "/dev/fuse") || !strings.Contains(r.stderr, "modprobe fuse") {
		t.Errorf("exit %d, want 2 and advice:\n%s", r.code, r.stderr)
	}
}

// TestFullDisk fills the disk of the overlay: the writer is told, deleting helps, and
// what was written before can be committed.
func TestFullDisk(t *testing.T) {
	needRoot(t)
	w := small(t)
	w.mkdir("tiny")
	if err := syscall.Mount("none", w.path("tiny"), "tmpfs", 0, "size=4m"); err != nil {
		t.Skipf("no tmpfs: %v", err)
	}
	t.Cleanup(func() { syscall.Unmount(w.path("tiny"), syscall.MNT_DETACH) })
	w.ok("mount", "a.json", "mnt", "--overlay", "tiny/overlay", "--diff-out", "d.json")
	w.write("mnt/before", "written before")
	f, err := os.Create(w.path("mnt/filler"))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; err == nil && i < 1000; i++ {
		_, err = f.Write(make([]byte, 64<<10))
	}
	f.Close()
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("writing to a full disk: %v, want ENOSPC", err)
	}
	if got := w.read("mnt/good"); got != w.read("project/good") {
		t.Error("reading fails on a full disk")
	}
	if err := os.Remove(w.path("mnt/filler")); err != nil {
		t.Fatalf("deleting on a full disk: %v", err)
	}
	w.write("mnt/after", "written after")
	w.ok("umount", "mnt")
	w.ok("mount", "a.json", "--diff", "d.json", "mnt")
	if w.read("mnt/before") != "written before" || w.read("mnt/after") != "written after" {
		t.Error("the committed files differ")
	}
	w.ok("umount", "mnt")
}
