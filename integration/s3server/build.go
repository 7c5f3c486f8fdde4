package s3server

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/gofrs/flock"
)

// module is the version of the server that the tests are written for.
const module = "github.com/versity/versitygw/cmd/versitygw@v1.8.0"

// buildBinary builds the server in dir unless it is there, and returns its path.
// Tests of several packages run at the same time: a lock lets one of them build.
func buildBinary(dir string) (string, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	lock := flock.New(filepath.Join(dir, "versitygw.lock"))
	if err := lock.Lock(); err != nil {
		return "", err
	}
	defer func() { _ = lock.Close() }()
	path := filepath.Join(dir, "versitygw")
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	cmd := exec.Command("go", "install", module)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOBIN="+dir, "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go install %s: %w\n%s\nset SNAPFS_VERSITYGW to a binary, or skip these tests with -short", module, err, out)
	}
	return path, nil
}
