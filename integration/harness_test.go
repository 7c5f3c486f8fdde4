package integration

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// program is the path of the snapfs binary under test.
var program string

func TestMain(m *testing.M) {
	if dir := os.Getenv(writerVar); dir != "" {
		writer(dir)
		return
	}
	os.Exit(testMain(m))
}

func testMain(m *testing.M) int {
	dir, err := os.MkdirTemp("", "snapfs-bin")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	program = filepath.Join(dir, "snapfs")
	args := []string{"build", "-o", program}
	if raceEnabled {
		args = append(args, "-race")
	}
	build := exec.Command("go", append(args, "github.com/snapfs/snapfs/cmd/snapfs")...)
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build snapfs: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// watchSources reads every source directory of the module, so that go test does not
// take results from its cache that an older program under test has given: it knows of
// no files but those that tests read themselves.
func watchSources() error {
	return filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && strings.HasPrefix(d.Name(), ".") && d.Name() != ".." {
			return filepath.SkipDir
		}
		return err
	})
}

// world is a user with a home directory of his own, and all that he has.
type world struct {
	t   *testing.T
	dir string // working directory
	env []string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	if _, err := os.Stat("/dev/fuse"); err != nil {
		t.Skip("no /dev/fuse")
	}
	return newHome(t)
}

// newHome is newWorld for tests that mount nothing.
func newHome(t *testing.T) *world {
	t.Helper()
	if err := watchSources(); err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, dir: t.TempDir()}
	w.mkdir("home", "run", "mnt")
	w.env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + w.path("home"), "XDG_RUNTIME_DIR=" + w.path("run"),
		"LANG=C.UTF-8", "AWS_EC2_METADATA_DISABLED=true", "GOMAXPROCS=" + os.Getenv("GOMAXPROCS"),
	}
	if os.Getenv("GOMAXPROCS") == "" {
		w.env = w.env[:len(w.env)-1]
	}
	if os.Geteuid() == 0 {
		if err := os.Chmod(w.path("run"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(w.cleanup)
	return w
}

// cleanup ends every mount that a test has left behind.
func (w *world) cleanup() {
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		w.t.Error(err)
		return
	}
	for line := range strings.Lines(string(table)) {
		if f := strings.Fields(line); len(f) > 4 && strings.HasPrefix(f[4], w.dir+"/") {
			w.run("umount", "--lazy", "--no-commit", f[4])
			syscall.Unmount(f[4], syscall.MNT_DETACH) // when its process is dead
		}
	}
	if w.t.Failed() {
		logs, _ := filepath.Glob(w.path("home/.local/state/snapfs/log/*"))
		for _, log := range logs {
			if b, err := os.ReadFile(log); err == nil {
				w.t.Logf("log of a mount:\n%s", b)
			}
		}
	}
}

func (w *world) path(name string) string { return filepath.Join(w.dir, name) }

func (w *world) mkdir(names ...string) {
	w.t.Helper()
	for _, name := range names {
		if err := os.MkdirAll(w.path(name), 0o755); err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w *world) write(name, content string) {
	w.t.Helper()
	w.mkdir(filepath.Dir(name))
	if err := os.WriteFile(w.path(name), []byte(content), 0o644); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) read(name string) string {
	w.t.Helper()
	b, err := os.ReadFile(w.path(name))
	if err != nil {
		w.t.Fatal(err)
	}
	return string(b)
}

// result is what a command has answered.
type result struct {
	stdout, stderr string
	code           int
}

// run runs snapfs.
func (w *world) run(args ...string) result {
	w.t.Helper()
	return w.exec(program, args...)
}

func (w *world) exec(name string, args ...string) result {
	w.t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Env = w.dir, w.env
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		w.t.Fatalf("%s %v: %v", name, args, err)
	}
	return result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// ok runs snapfs, which must succeed, and returns what it printed.
func (w *world) ok(args ...string) string {
	w.t.Helper()
	r := w.run(args...)
	if r.code != 0 {
		w.t.Fatalf("snapfs %s: exit %d\n%s%s", strings.Join(args, " "), r.code, r.stdout, r.stderr)
	}
	return r.stdout
}

// fails runs snapfs, which must end with the given code and say all of the words.
func (w *world) fails(code int, words []string, args ...string) result {
	w.t.Helper()
	r := w.run(args...)
	if r.code != code {
		w.t.Errorf("snapfs %s: exit %d, want %d\n%s%s", strings.Join(args, " "), r.code, code, r.stdout, r.stderr)
	}
	for _, word := range words {
		if !strings.Contains(r.stdout+r.stderr, word) {
			w.t.Errorf("snapfs %s does not say %q:\n%s%s", strings.Join(args, " "), word, r.stdout, r.stderr)
		}
	}
	return r
}

// shell runs a shell script in the world, which must succeed.
func (w *world) shell(script string) string {
	w.t.Helper()
	r := w.exec("bash", "-euo", "pipefail", "-c", script)
	if r.code != 0 {
		w.t.Fatalf("script failed with %d:\n%s\n%s%s", r.code, script, r.stdout, r.stderr)
	}
	return r.stdout
}

type change struct{ Kind, Path, From, Problem string }

// status is the part of `snapfs status --json` that the tests look at.
type status struct {
	PID          int      `json:"pid"`
	FetchedBytes int64    `json:"fetched_bytes"`
	Uploaded     int64    `json:"uploaded_bytes"`
	Failures     int64    `json:"verification_failures"`
	Overlay      string   `json:"overlay"`
	Changes      []change `json:"changes"`
}

func (w *world) status(dir string) status {
	w.t.Helper()
	var s status
	w.decode(w.ok("status", dir, "--json"), &s)
	return s
}

func (w *world) decode(text string, v any) {
	w.t.Helper()
	if err := json.Unmarshal([]byte(text), v); err != nil {
		w.t.Fatalf("not JSON: %v\n%s", err, text)
	}
}

// lines lists changes as "K path" or "R old -> new".
func (s *status) lines() []string {
	out := []string{}
	for _, c := range s.Changes {
		line := c.Kind + " " + c.Path
		if c.From != "" {
			line = c.Kind + " " + c.From + " -> " + c.Path
		}
		out = append(out, line)
	}
	return out
}

// tree describes every entry below a directory: type, execute bit, size, content
// hash and time of files, the text of links.
func tree(t *testing.T, root string) map[string]string {
	t.Helper()
	entries := map[string]string{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == root {
			return err
		}
		rel := strings.TrimPrefix(path, root+"/")
		fi, err := d.Info()
		if err != nil {
			return err
		}
		switch fi.Mode().Type() {
		case fs.ModeDir:
			entries[rel] = "dir"
		case fs.ModeSymlink:
			text, err := os.Readlink(path)
			entries[rel] = "-> " + text
			return err
		default:
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			entries[rel] = fmt.Sprintf("%t %d %s %s", fi.Mode()&0o111 != 0, fi.Size(),
				fi.ModTime().UTC().Truncate(time.Microsecond).Format(time.RFC3339Nano), sum(b))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return entries
}

// same fails the test unless two trees are equal. Times of files may be left out.
func same(t *testing.T, got, want map[string]string) {
	t.Helper()
	bad := 0
	for path, w := range want {
		if g := got[path]; g != w {
			t.Errorf("%s is %q, want %q", path, g, w)
			bad++
		}
		if bad > 20 {
			t.Fatal("and more")
		}
	}
	for path, g := range got {
		if _, ok := want[path]; !ok {
			t.Errorf("%s is %q, want nothing", path, g)
		}
	}
}

// eventually waits until cond holds.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !cond(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("timed out: %s", what)
		}
	}
}

func isMounted(dir string) bool {
	b, err := os.ReadFile("/proc/self/mountinfo")
	return err == nil && strings.Contains(string(b), " "+dir+" ")
}

func alive(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(b), ") Z ")
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
}
