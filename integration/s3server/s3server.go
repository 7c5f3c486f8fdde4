// Package s3server runs a real S3 server, versitygw, for tests: on the loopback
// interface, with its own port, credentials and directory, for as long as the test
// lasts.
//
// The same server without a test, for a demonstration:
//
//	mkdir /tmp/s3 /tmp/s3/blobs
//	ROOT_ACCESS_KEY=test ROOT_SECRET_KEY=testtest versitygw --port 127.0.0.1:7070 --keep-alive --quiet posix /tmp/s3
//	export AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=testtest
//	snapfs … --store 's3://blobs/Data?endpoint=http://127.0.0.1:7070&path-style=1'
//
// The file system of /tmp/s3 must have extended attributes; otherwise add
// --sidecar DIR after posix.
package s3server

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// startTimeout bounds how long the server may take until it answers.
const startTimeout = 20 * time.Second

// Server is a running S3 server with one bucket.
type Server struct {
	Endpoint             string // http://127.0.0.1:port
	Region               string
	Bucket               string
	AccessKey, SecretKey string

	t       testing.TB
	binary  string
	root    string // one directory per bucket below it
	sidecar string // holds metadata where the file system has no attributes; or ""
	log     bytes.Buffer
	cmd     *exec.Cmd
}

// Start starts a server, waits until it answers, and stops it when the test ends.
// When the test failed, it then prints what the server said. Under -short the test
// is skipped.
func Start(t testing.TB) *Server {
	t.Helper()
	if testing.Short() {
		t.Skip("starts an S3 server")
	}
	binary, err := findBinary()
	if err != nil {
		t.Fatalf("versitygw: %v", err)
	}
	s := &Server{
		Endpoint:  "http://" + freeAddress(t),
		Region:    "us-east-1",
		Bucket:    "bucket",
		AccessKey: "snapfs-" + rand.Text(),
		SecretKey: rand.Text(),
		t:         t,
		binary:    binary,
		root:      t.TempDir(),
	}
	if unix.Setxattr(s.root, "user.snapfs", []byte("x"), 0) != nil {
		s.sidecar = t.TempDir()
	}
	t.Cleanup(func() {
		s.Stop()
		if t.Failed() {
			t.Logf("versitygw said:\n%s", s.log.String())
		}
	})
	s.Restart()
	s.CreateBucket(s.Bucket)
	return s
}

// freeAddress returns a loopback address that nobody listened on a moment ago.
func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// Restart starts the server, after stopping it if it runs, at the same address and
// with the same data.
func (s *Server) Restart() {
	s.t.Helper()
	s.Stop()
	args := []string{"--port", strings.TrimPrefix(s.Endpoint, "http://"), "--region", s.Region, "--keep-alive", "posix"}
	if s.sidecar != "" {
		args = append(args, "--sidecar", s.sidecar)
	}
	s.cmd = exec.Command(s.binary, append(args, s.root)...)
	s.cmd.Env = []string{"ROOT_ACCESS_KEY=" + s.AccessKey, "ROOT_SECRET_KEY=" + s.SecretKey, "HOME=" + s.root}
	s.cmd.Stdout, s.cmd.Stderr = &s.log, &s.log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // even if the test is killed
	if err := s.cmd.Start(); err != nil {
		s.t.Fatalf("start versitygw: %v", err)
	}
	deadline := time.Now().Add(startTimeout)
	for !s.answers() {
		if time.Now().After(deadline) {
			s.t.Fatalf("versitygw at %s does not answer after %v", s.Endpoint, startTimeout)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// answers reports whether the server speaks HTTP.
func (s *Server) answers() bool {
	resp, err := http.Get(s.Endpoint)
	if err != nil {
		return false
	}
	resp.Body.Close()
	return true
}

// Stop stops the server at once, as a crash would. Its data stays for Restart.
func (s *Server) Stop() {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait() // killed is what it should be
	s.cmd = nil
}

// Pause makes the server hang: it keeps its connections, takes new ones, and
// answers nothing until Resume.
func (s *Server) Pause() {
	s.t.Helper()
	s.signal(syscall.SIGSTOP)
	for !s.stopped() { // the threads stop one by one
		time.Sleep(time.Millisecond)
	}
}

// Resume ends Pause.
func (s *Server) Resume() {
	s.t.Helper()
	s.signal(syscall.SIGCONT)
}

func (s *Server) signal(sig os.Signal) {
	s.t.Helper()
	if s.cmd == nil {
		s.t.Fatal("versitygw does not run")
	}
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.t.Fatalf("signal versitygw: %v", err)
	}
}

// stopped reports whether every thread of the server is.
func (s *Server) stopped() bool {
	s.t.Helper()
	stats, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", s.cmd.Process.Pid))
	if err != nil || len(stats) == 0 {
		s.t.Fatalf("versitygw is gone: %v", err)
	}
	for _, name := range stats {
		stat, err := os.ReadFile(name)
		if err == nil && !bytes.Contains(stat, []byte(") T ")) {
			return false
		}
	}
	return true
}

// CreateBucket creates another bucket, owned by the account AccessKey.
func (s *Server) CreateBucket(name string) {
	s.t.Helper()
	cmd := exec.Command(s.binary, "admin", "--endpoint-url", s.Endpoint, "create-bucket", "--owner", s.AccessKey, "--bucket", name)
	cmd.Env = []string{"ADMIN_ACCESS_KEY=" + s.AccessKey, "ADMIN_SECRET_KEY=" + s.SecretKey, "ADMIN_REGION=" + s.Region}
	if out, err := cmd.CombinedOutput(); err != nil {
		s.t.Fatalf("create bucket %s: %v\n%s", name, err, out)
	}
}

// BucketDir returns the directory in which the objects of the bucket lie as files.
func (s *Server) BucketDir() string { return filepath.Join(s.root, s.Bucket) }

// URL returns the location of a store in the bucket, as snapfs takes it.
func (s *Server) URL(prefix string) string {
	q := url.Values{"endpoint": {s.Endpoint}, "region": {s.Region}, "path-style": {"1"}}
	return "s3://" + s.Bucket + "/" + strings.Trim(prefix, "/") + "?" + q.Encode()
}

// Env returns the environment that gives a program access to the server, and hides
// whatever AWS configuration the machine has.
func (s *Server) Env() map[string]string {
	return env(s.AccessKey, s.SecretKey)
}

// WrongEnv returns an environment with credentials that the server refuses.
func (s *Server) WrongEnv() map[string]string {
	return env(s.AccessKey, "wrong-"+s.SecretKey)
}

// Setenv puts an environment like that of Env in place for the rest of the test.
func Setenv(t testing.TB, env map[string]string) {
	t.Helper()
	for name, value := range env {
		t.Setenv(name, value)
	}
}

func env(access, secret string) map[string]string {
	return map[string]string{
		"AWS_ACCESS_KEY_ID":           access,
		"AWS_SECRET_ACCESS_KEY":       secret,
		"AWS_SESSION_TOKEN":           "",
		"AWS_PROFILE":                 "",
		"AWS_REGION":                  "",
		"AWS_DEFAULT_REGION":          "",
		"AWS_ENDPOINT_URL":            "",
		"AWS_ENDPOINT_URL_S3":         "",
		"AWS_CA_BUNDLE":               "",
		"AWS_MAX_ATTEMPTS":            "",
		"AWS_CONFIG_FILE":             os.DevNull,
		"AWS_SHARED_CREDENTIALS_FILE": os.DevNull,
		"AWS_EC2_METADATA_DISABLED":   "true",
	}
}

// findBinary returns the path of versitygw, which it builds when there is none.
func findBinary() (string, error) {
	if path := os.Getenv("SNAPFS_VERSITYGW"); path != "" {
		return path, nil
	}
	if path, err := exec.LookPath("versitygw"); err == nil {
		return path, nil
	}
	repo, err := findRepo()
	if err != nil {
		return "", err
	}
	return buildBinary(filepath.Join(repo, ".cache", "bin"))
}

// findRepo returns the directory of go.mod; tests run somewhere below it.
func findRepo() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("no go.mod above the working directory; set SNAPFS_VERSITYGW to the binary")
		}
		dir = parent
	}
}
