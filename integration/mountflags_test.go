package integration

import (
	"bufio"
	"encoding/json"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/snapfs/snapfs/integration/s3server"
)

// withServer makes a world that knows a real S3 server.
func withServer(t *testing.T) (*world, *s3server.Server) {
	t.Helper()
	server := s3server.Start(t)
	w := newWorld(t)
	for name, value := range server.Env() {
		if value != "" {
			w.env = append(w.env, name+"="+value)
		}
	}
	return w, server
}

// A supervisor learns when the mount answers: by a file descriptor, or as systemd wants it.
func TestMountTellsItsSupervisor(t *testing.T) {
	w := small(t)
	w.fails(2, []string{"--ready-fd"}, "mount", "a.json", "mnt", "--ready-fd", "77")
	w.fails(2, []string{"--ready-fd"}, "mount", "a.json", "mnt", "--ready-fd", "x")
	socket := w.path("notify")
	notified, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer notified.Close()
	for _, background := range []bool{false, true} {
		r, wr, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		args := []string{"mount", "a.json", "mnt", "--ready-fd", "3"}
		if !background {
			args = append(args, "--foreground")
		}
		cmd := exec.Command(program, args...)
		cmd.Dir, cmd.Env, cmd.ExtraFiles = w.dir, append(w.env, "NOTIFY_SOCKET="+socket), []*os.File{wr}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		wr.Close()
		var ready struct{ Type, Mountpoint string }
		line, err := bufio.NewReader(r).ReadString('\n')
		if err != nil || json.Unmarshal([]byte(line), &ready) != nil || ready.Type != "mounted" || ready.Mountpoint != w.path("mnt") {
			t.Errorf("background %v: the descriptor says %q, %v", background, line, err)
		}
		if !isMounted(w.path("mnt")) {
			t.Errorf("background %v: ready before it is mounted", background)
		}
		message := make([]byte, 1000)
		_ = notified.SetReadDeadline(time.Now().Add(10 * time.Second))
		if n, err := notified.Read(message); err != nil || !strings.HasPrefix(string(message[:n]), "READY=1\n") {
			t.Errorf("background %v: the supervisor was told %q, %v", background, message[:n], err)
		}
		w.ok("umount", "mnt")
		if err := cmd.Wait(); err != nil {
			t.Errorf("background %v: %v", background, err)
		}
	}
}

// A read-only mount starts without its store, and everything that is cached works.
func TestReadOnlyMountStartsOffline(t *testing.T) {
	t.Run("s3", func(t *testing.T) {
		w, server := withServer(t)
		offline(t, w, server.URL("Data"), server.Stop)
	})
	t.Run("directory", func(t *testing.T) {
		w := newWorld(t)
		needOtherFileSystem(t, w.dir)
		store := filepath.Join("/dev/shm", filepath.Base(t.TempDir())+t.Name()[len("TestReadOnlyMountStartsOffline/"):])
		t.Cleanup(func() { _ = os.RemoveAll(store); _ = os.RemoveAll(store + ".away") })
		offline(t, w, store, func() {
			if err := os.Rename(store, store+".away"); err != nil {
				t.Fatal(err)
			}
		})
	})
}

func offline(t *testing.T, w *world, store string, vanish func()) {
	t.Helper()
	w.write("tree/cached", strings.Repeat("cached", 10_000))
	w.write("tree/other", strings.Repeat("other", 10_000))
	w.ok("snapshot", "tree", "--store", store, "-o", "a.json")
	w.ok("mount", "a.json", "mnt", "--store", store, "--read-only")
	want := w.read("mnt/cached")
	w.ok("umount", "mnt")
	vanish()
	w.ok("mount", "a.json", "mnt", "--store", store, "--read-only", "--max-attempts", "1")
	if w.read("mnt/cached") != want {
		t.Error("what is cached has another content")
	}
	if names := w.shell("ls mnt"); names != "cached\nother\n" {
		t.Errorf("listed are %q", names)
	}
	w.ok("umount", "mnt")
}

// needOtherFileSystem skips a test for which /dev/shm has to be another file system than
// dir, so that contents of a store there are copied into the cache.
func needOtherFileSystem(t *testing.T, dir string) {
	t.Helper()
	var here, there syscall.Stat_t
	if syscall.Stat(dir, &here) != nil || syscall.Stat("/dev/shm", &there) != nil || here.Dev == there.Dev {
		t.Skip("there is no other file system")
	}
}

// --verify strict serves not one byte of a large content that is damaged further behind.
func TestVerifyStrict(t *testing.T) {
	w, server := withServer(t)
	w.write("tree/large", strings.Repeat("0123456789abcdef", 1<<20))
	w.ok("snapshot", "tree", "--store", server.URL("Data"), "-o", "a.json")
	blobs, err := filepath.Glob(filepath.Join(server.BucketDir(), "Data", "*.xxh128"))
	if err != nil || len(blobs) != 1 {
		t.Fatalf("%q, %v", blobs, err)
	}
	f, err := os.OpenFile(blobs[0], os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("damaged"), 15<<20); err != nil {
		t.Fatal(err)
	}
	f.Close()
	w.ok("mount", "a.json", "mnt", "--store", server.URL("Data"), "--read-only", "--verify", "strict")
	mounted, err := os.Open(w.path("mnt/large"))
	if err != nil {
		t.Fatal(err)
	}
	defer mounted.Close()
	if n, err := mounted.Read(make([]byte, 4096)); err == nil {
		t.Errorf("%d bytes were served", n)
	}
	mounted.Close()
	w.ok("umount", "mnt")
}

// A reader waits for --io-timeout, and then gets an I/O error; what is cached can be read
// meanwhile.
func TestIOTimeout(t *testing.T) {
	w, server := withServer(t)
	w.write("tree/a", strings.Repeat("a", 10_000))
	w.write("tree/sub/b", strings.Repeat("b", 10_000))
	w.ok("snapshot", "tree", "--store", server.URL("Data"), "-o", "a.json")
	w.ok("warm", "a.json", "a", "--store", server.URL("Data"))
	w.ok("mount", "a.json", "mnt", "--store", server.URL("Data"), "--io-timeout", "2s")
	server.Stop()
	start := time.Now()
	_, err := os.ReadFile(w.path("mnt/sub/b"))
	if took := time.Since(start); !errors.Is(err, syscall.EIO) || took < time.Second || took > 30*time.Second {
		t.Errorf("after %v: %v", took, err)
	}
	if w.read("mnt/a") != w.read("tree/a") {
		t.Error("what is cached has another content")
	}
	w.ok("umount", "mnt")
}

func TestMountRefusesBadReadingFlags(t *testing.T) {
	w := small(t)
	for flag, value := range map[string]string{"--verify": "maybe", "--max-memory": "1KiB", "--cache-min-free": "much", "--io-timeout": "1ms"} {
		w.fails(2, []string{flag}, "mount", "a.json", "mnt", flag, value)
	}
	w.ok("mount", "a.json", "mnt", "--max-memory", "32MiB", "--cache-min-free", "1MiB", "--verify", "lazy")
	w.ok("umount", "mnt")
}
