package fusefs

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/snapfs/snapfs/manifest"
	"golang.org/x/sys/unix"
)

// testChunk is the chunk size of test bases: files of more bytes are in chunks.
const testChunk = 64 << 10

// mount is a base served by a child process.
type mount struct {
	t      testing.TB
	config childConfig
	env    []string // of the server, beside that of the test
	user   uint32   // who serves

	cmd    *exec.Cmd
	in     io.WriteCloser
	out    *bufio.Scanner
	stderr *lockedBuffer
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// prepare lays out a base of lines "path=content", "path->target" and "path/",
// without serving it yet.
func prepare(t testing.TB, lines ...string) *mount {
	t.Helper()
	if _, err := os.Stat("/dev/fuse"); err != nil {
		t.Skip("no FUSE here: ", err)
	}
	dir := t.TempDir()
	m := &mount{t: t}
	m.config = childConfig{Dir: filepath.Join(dir, "mnt"), Overlay: filepath.Join(dir, "overlay"), Store: filepath.Join(dir, "store")}
	for _, d := range []string{m.config.Dir, m.config.Store} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	m.config.Snapshot = manifest.Snapshot{HashAlg: manifest.XXH128, ChunkSize: testChunk}
	for _, line := range lines {
		s := &m.config.Snapshot
		if path, target, ok := strings.Cut(line, "->"); ok {
			s.Files = append(s.Files, manifest.File{Path: path, Target: target})
		} else if path, content, ok := strings.Cut(line, "="); ok {
			m.addFile(path, []byte(content))
		} else {
			s.Dirs = append(s.Dirs, manifest.Dir{Path: strings.TrimSuffix(line, "/")})
		}
	}
	t.Cleanup(m.stop)
	return m
}

// giveTo lets another user reach the directories of the test.
func (m *mount) giveTo(uid uint32) {
	m.t.Helper()
	root := filepath.Dir(m.config.Dir)
	for _, dir := range []string{filepath.Dir(root), root, m.config.Dir, m.config.Store} {
		if err := errors.Join(os.Chmod(dir, 0o755), os.Chown(dir, int(uid), -1)); err != nil {
			m.t.Fatal(err)
		}
	}
}

func newMount(t testing.TB, lines ...string) *mount {
	t.Helper()
	m := prepare(t, lines...)
	m.start()
	return m
}

// addFile adds a file to the base, before start.
func (m *mount) addFile(path string, content []byte) {
	s := &m.config.Snapshot
	s.Files = append(s.Files, m.store().file(m.t, path, content, testChunk))
}

func (m *mount) store() dirBlobs { return dirBlobs(m.config.Store) }

// path returns where a name of the tree is seen.
func (m *mount) path(name string) string { return filepath.Join(m.config.Dir, name) }

func (m *mount) start() {
	m.t.Helper()
	config := filepath.Join(filepath.Dir(m.config.Dir), "config.json")
	text, err := json.Marshal(m.config)
	if err == nil {
		err = os.WriteFile(config, text, 0o644)
	}
	if err != nil {
		m.t.Fatal(err)
	}
	m.cmd = exec.Command("/proc/self/exe")
	m.cmd.Env = append(append(os.Environ(), childEnv+"="+config), m.env...)
	if m.user != 0 {
		m.cmd.SysProcAttr = &unix.SysProcAttr{Credential: &syscall.Credential{Uid: m.user, Gid: m.user}}
	}
	m.stderr = &lockedBuffer{}
	m.cmd.Stderr = m.stderr
	out, err := m.cmd.StdoutPipe()
	if err == nil {
		m.in, err = m.cmd.StdinPipe()
	}
	if err == nil {
		err = m.cmd.Start()
	}
	if err != nil {
		m.t.Fatal(err)
	}
	m.out = bufio.NewScanner(out)
	m.out.Buffer(nil, 64<<20)
	if !m.out.Scan() || m.out.Text() != "ready" {
		m.wait()
		m.t.Fatalf("the server did not start: %s", m.stderr)
	}
}

// ask sends a command to the server and returns its answer.
func (m *mount) ask(command string) string {
	m.t.Helper()
	if _, err := io.WriteString(m.in, command+"\n"); err != nil {
		m.t.Fatal(err)
	}
	if !m.out.Scan() {
		m.t.Fatalf("no answer to %q: %s", command, m.stderr)
	}
	return m.out.Text()
}

// wait waits for the end of the server process.
func (m *mount) wait() error {
	cmd := m.cmd
	m.cmd = nil
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	select {
	case err := <-done:
		return err
	case <-time.After(20 * time.Second):
		cmd.Process.Signal(unix.SIGQUIT) // to see where it hangs
		<-done
		return errors.New("the server did not end")
	}
}

// stop unmounts in order.
func (m *mount) stop() {
	m.t.Helper()
	if m.cmd == nil {
		return
	}
	m.in.Close()
	if err := m.wait(); err != nil {
		m.t.Errorf("server: %v\n%s", err, m.stderr)
	}
	if strings.Contains(m.stderr.String(), "DATA RACE") || strings.Contains(m.stderr.String(), "panic") {
		m.t.Errorf("server: %s", m.stderr)
	}
}

// kill ends the server as a crash would, and cleans the mount table up.
func (m *mount) kill() {
	m.t.Helper()
	m.cmd.Process.Kill()
	m.wait()
	if err := detach(m.config.Dir, true); err != nil {
		m.t.Fatal(err)
	}
}

func (m *mount) write(name, content string) {
	m.t.Helper()
	if err := os.WriteFile(m.path(name), []byte(content), 0o644); err != nil {
		m.t.Fatal(err)
	}
}

func (m *mount) want(name, content string) {
	m.t.Helper()
	got, err := os.ReadFile(m.path(name))
	if err != nil || string(got) != content {
		m.t.Fatalf("%s holds %.200q, %v; want %.200q", name, got, err, content)
	}
}

func TestMountServesAndKeeps(t *testing.T) {
	m := newMount(t, "a/b=base", "a/l->a/b", "empty/")
	m.want("a/b", "base")
	m.want("a/l", "base")
	m.write("a/new", "written")
	m.stop()
	if _, err := os.Stat(m.path("a")); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("after unmounting: %v", err)
	}
	m.start()
	m.want("a/new", "written")
	m.kill()
	m.start()
	m.want("a/new", "written")
}

func TestUnmountOfABusyMount(t *testing.T) {
	m := newMount(t, "f=x")
	f, err := os.Open(m.path("f"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if got := m.ask("unmount"); !strings.Contains(got, "busy") {
		t.Fatalf("unmount: %s", got)
	}
	f.Close()
	if got := m.ask("unmount"); got != "<nil>" {
		t.Fatalf("unmount: %s", got)
	}
	if err := m.wait(); err != nil {
		t.Fatalf("server: %v: %s", err, m.stderr)
	}
}

func TestReadOnlyMountRefusesChanges(t *testing.T) {
	m := prepare(t, "f=x")
	m.config.ReadOnly, m.config.Overlay = true, ""
	m.start()
	m.want("f", "x")
	if err := os.WriteFile(m.path("g"), nil, 0o644); !errors.Is(err, unix.EROFS) {
		t.Fatalf("create: %v", err)
	}
}

// TestMountAsOrdinaryUser mounts through the set-uid helper.
func TestMountAsOrdinaryUser(t *testing.T) {
	if _, err := helper(); err != nil || os.Getuid() != 0 {
		t.Skip("needs root, to become somebody else, and fusermount3")
	}
	if fi, err := os.Stat("/dev/fuse"); err != nil || fi.Mode().Perm()&0o006 != 0o006 {
		t.Skip("/dev/fuse is not open to everybody here")
	}
	m := prepare(t, "f=x", "d/")
	m.user = 65534
	m.giveTo(m.user)
	m.start()
	holder := exec.Command("sh", "-c", "cd d && cat ../f && read line")
	holder.Dir = m.config.Dir
	holder.SysProcAttr = &unix.SysProcAttr{Credential: &syscall.Credential{Uid: m.user, Gid: m.user}}
	in, err := holder.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := holder.StdoutPipe()
	if err == nil {
		err = holder.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	text := make([]byte, 1)
	if _, err := io.ReadFull(out, text); err != nil || string(text) != "x" {
		t.Fatalf("its user reads %q, %v", text, err)
	}
	if got := m.ask("unmount"); !strings.Contains(got, "busy") {
		t.Errorf("unmount while in use: %s", got)
	}
	in.Close()
	holder.Wait()
	if got := m.ask("unmount"); got != "<nil>" {
		t.Errorf("unmount: %s", got)
	}
}
