package main

import (
	"bufio"
	"bytes"
	crand "crypto/rand"
	"errors"
	"fmt"
	iofs "io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	smallFiles = 5000
	smallDirs  = 100
	accessKey  = "snapfsbench"
	secretKey  = "snapfsbenchsecret"
)

func smallPath(dir string, i int) string {
	return filepath.Join(dir, fmt.Sprintf("d%02d", i*smallDirs/smallFiles), fmt.Sprintf("f%04d", i))
}

// bench holds what the systems share.
type bench struct {
	*options
	dir      string
	junk     []byte // that does not compress
	homes    int
	server   *exec.Cmd
	endpoint string
}

func (b *bench) path(parts ...string) string {
	return filepath.Join(append([]string{b.dir}, parts...)...)
}

// prepare makes the tree, starts the S3 server on it and uploads a snapshot.
func (b *bench) prepare() error {
	b.junk = make([]byte, 2<<20)
	if _, err := crand.Read(b.junk); err != nil {
		return err
	}
	for _, d := range []string{"s3", "s3/bucket", "s3/bucket/tree", "mnt", "home0"} {
		if err := os.Mkdir(b.path(d), 0o755); err != nil {
			return err
		}
	}
	if err := b.makeTree(b.path("s3", "bucket", "tree")); err != nil {
		return err
	}
	if err := b.startServer(); err != nil {
		return err
	}
	return b.snapfsRun("snapshot", b.path("s3", "bucket", "tree"), "-o", b.path("tree.json"), "-q")
}

func (b *bench) makeTree(dir string) error {
	f, err := os.Create(filepath.Join(dir, "big"))
	if err != nil {
		return err
	}
	for i := range b.size { // every MiB is another one
		copy(b.junk, strconv.FormatInt(i, 10))
		if _, err := f.Write(b.junk[:1<<20]); err != nil {
			return errors.Join(err, f.Close())
		}
	}
	if err := f.Close(); err != nil {
		return err
	}
	for i := range smallFiles {
		path := smallPath(dir, i)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		copy(b.junk, strconv.Itoa(i))
		if err := os.WriteFile(path, b.junk[:16<<10], 0o644); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) startServer() error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	address := l.Addr().String()
	_ = l.Close()
	b.endpoint = "http://" + address
	b.server = exec.Command(b.versitygw, "--port", address, "--keep-alive", "--quiet", "posix", b.path("s3"))
	b.server.Env = append(os.Environ(), "ROOT_ACCESS_KEY="+accessKey, "ROOT_SECRET_KEY="+secretKey)
	b.server.SysProcAttr = &unix.SysProcAttr{Pdeathsig: unix.SIGKILL}
	if err := b.server.Start(); err != nil {
		return fmt.Errorf("start the S3 server: %w", err)
	}
	for range 200 {
		if r, err := http.Get(b.endpoint); err == nil {
			return r.Body.Close()
		}
		time.Sleep(50 * time.Millisecond)
	}
	return errors.New("the S3 server does not answer")
}

func (b *bench) close() {
	if b.server != nil && b.server.Process != nil {
		_ = b.server.Process.Kill()
		_ = b.server.Wait()
	}
}

// settle writes everything back and empties the page cache.
func settle() {
	unix.Sync()
	_ = os.WriteFile("/proc/sys/vm/drop_caches", []byte("3"), 0)
}

// system is one way to reach the tree.
type system struct {
	name  string
	mount func(*bench) (*mounted, error) // with nothing cached
}

// mounted is a system in use.
type mounted struct {
	dir string
	pid int // of the process that serves it, 0 for none
	end func() error
}

// peak returns the peak resident set of the server, in MB.
func (m *mounted) peak() float64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", m.pid))
	if m.pid == 0 || err != nil {
		return 0
	}
	for s := bufio.NewScanner(bytes.NewReader(text)); s.Scan(); {
		if f := strings.Fields(s.Text()); len(f) > 1 && f[0] == "VmHWM:" {
			kb, _ := strconv.ParseFloat(f[1], 64)
			return kb * 1024 / 1e6
		}
	}
	return 0
}

func (b *bench) systems() []*system {
	list := []*system{{"native", func(b *bench) (*mounted, error) {
		return &mounted{dir: b.path("s3", "bucket", "tree"), end: func() error { return nil }}, nil
	}}}
	for _, s := range []struct {
		system
		program string
	}{
		{system{"snapfs", mountSnapfs()}, b.snapfs},
		{system{"snapfs-ask", mountSnapfs("--passthrough", "off")}, b.snapfs},
		{system{"rclone", mountRclone}, "rclone"},
		{system{"s3fs", mountS3fs}, "s3fs"},
	} {
		if b.wanted(s.name, s.program) {
			list = append(list, &s.system)
		}
	}
	return list
}

// mountSnapfs mounts the snapshot with an empty cache.
func mountSnapfs(flags ...string) func(*bench) (*mounted, error) {
	return func(b *bench) (*mounted, error) {
		if err := b.newHome(); err != nil {
			return nil, err
		}
		args := append([]string{"mount", b.path("tree.json"), b.path("mnt"), "--on-unmount", "keep", "-q"}, flags...)
		if err := b.snapfsRun(args...); err != nil {
			return nil, err
		}
		return &mounted{dir: b.path("mnt"), pid: pidOf("mount " + b.path("tree.json")), end: func() error {
			return errors.Join(b.snapfsRun("umount", b.path("mnt"), "--no-commit", "-q"), b.emptyHome())
		}}, nil
	}
}

func (b *bench) snapfsRun(args ...string) error {
	cmd := exec.Command(b.snapfs, args...)
	cmd.Env = append(b.environ(), "SNAPFS_STORE=s3://bucket/store?path-style=1&region=us-east-1&endpoint="+b.endpoint)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 4 { // changes are kept, as was asked for
		return nil
	}
	if err != nil {
		return fmt.Errorf("snapfs %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}

func (b *bench) environ() []string {
	return append(os.Environ(), "AWS_ACCESS_KEY_ID="+accessKey, "AWS_SECRET_ACCESS_KEY="+secretKey,
		"HOME="+b.home(), "XDG_CACHE_HOME="+b.home("cache"), "XDG_DATA_HOME="+b.home("data"),
		"XDG_STATE_HOME="+b.home("state"), "XDG_RUNTIME_DIR="+b.home())
}

// home is the home directory of the present mount.
func (b *bench) home(parts ...string) string {
	return b.path(append([]string{fmt.Sprintf("home%d", b.homes)}, parts...)...)
}

// newHome makes a home directory in which nothing is cached.
func (b *bench) newHome() error {
	b.homes++
	return os.Mkdir(b.home(), 0o755)
}

// emptyHome frees the space of the home directory. It deletes no file: ext4 is slow to
// make files where many were deleted within the last minute, and that is nothing to
// measure.
func (b *bench) emptyHome() error {
	return filepath.WalkDir(b.home(), func(path string, d iofs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		return os.Truncate(path, 0)
	})
}

// pidOf returns the youngest process whose command line holds text.
func pidOf(text string) int {
	out, err := exec.Command("pgrep", "-n", "-f", text).Output()
	if err != nil {
		return 0
	}
	pid, _ := strconv.Atoi(strings.TrimSpace(string(out)))
	return pid
}

func mountRclone(b *bench) (*mounted, error) {
	if err := b.newHome(); err != nil {
		return nil, err
	}
	cmd := exec.Command("rclone", "mount", ":s3:bucket/tree", b.path("mnt"), "--vfs-cache-mode", "full",
		"--cache-dir", b.home("rclone"), "--s3-provider", "Other", "--s3-endpoint", b.endpoint, "--config", "/dev/null")
	cmd.Env = append(b.environ(), "RCLONE_S3_ENV_AUTH=true")
	cmd.Env = slices.DeleteFunc(cmd.Env, func(e string) bool { return strings.HasPrefix(e, "AWS_CA_BUNDLE=") }) // not for HTTP
	return b.serve(cmd)
}

func mountS3fs(b *bench) (*mounted, error) {
	if err := b.newHome(); err != nil {
		return nil, err
	}
	if err := os.Mkdir(b.home("s3fs"), 0o755); err != nil {
		return nil, err
	}
	cmd := exec.Command("s3fs", "bucket:/tree", b.path("mnt"), "-f", "-o", "url="+b.endpoint, "-o", "use_path_request_style",
		"-o", "use_cache="+b.home("s3fs"))
	cmd.Env = b.environ()
	return b.serve(cmd)
}

// serve starts the server of a mount and waits for the mount.
func (b *bench) serve(cmd *exec.Cmd) (*mounted, error) {
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	cmd.SysProcAttr = &unix.SysProcAttr{Pdeathsig: unix.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	for range 200 {
		if _, err := os.Stat(filepath.Join(b.path("mnt"), "big")); err == nil {
			return &mounted{dir: b.path("mnt"), pid: cmd.Process.Pid, end: func() error {
				err := exec.Command("umount", b.path("mnt")).Run()
				_ = cmd.Wait()
				return errors.Join(err, b.emptyHome())
			}}, nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	return nil, fmt.Errorf("%s does not mount: %s", cmd.Args[0], said.String())
}
