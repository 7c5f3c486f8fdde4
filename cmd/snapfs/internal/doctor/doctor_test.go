package doctor

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestFuse(t *testing.T) {
	dir := t.TempDir()
	there := filepath.Join(dir, "there")
	if err := os.WriteFile(there, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if c := fuse(there); c.Status != OK || c.Hint != "" {
		t.Errorf("a device that can be opened: %+v", c)
	}
	if c := fuse(filepath.Join(dir, "missing")); c.Status != Fail || !strings.Contains(c.Hint, "modprobe fuse") {
		t.Errorf("a missing device: %+v", c)
	}
	if c := fuse(dir); c.Status != Fail || c.Hint == "" {
		t.Errorf("a device that cannot be opened: %+v", c)
	}
}

func TestDirectory(t *testing.T) {
	dir := t.TempDir()
	if c := Directory("cache", filepath.Join(dir, "not", "yet")); c.Status == Fail || !strings.Contains(c.Detail, "free") {
		t.Errorf("a directory that can be made: %+v", c)
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if c := Directory("cache", "/proc/nowhere"); c.Status != Fail || c.Hint == "" {
		t.Errorf("a directory that cannot be made: %+v", c)
	}
}

func TestSkew(t *testing.T) {
	for _, tt := range []struct {
		d    time.Duration
		want string
	}{{0, OK}, {time.Second, OK}, {time.Minute, Warn}, {-time.Hour, Warn}} {
		if c := skew(tt.d); c.Status != tt.want || (c.Status != OK) != (c.Hint != "") {
			t.Errorf("%v: %+v", tt.d, c)
		}
	}
	if c := Clock(t.TempDir()); c.Status != OK {
		t.Errorf("this machine: %+v", c)
	}
}

func TestAllowOther(t *testing.T) {
	conf := filepath.Join(t.TempDir(), "fuse.conf")
	if err := os.WriteFile(conf, []byte("# comment\n  user_allow_other  \n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if c := allowOther(conf); c.Status != OK {
		t.Errorf("allowed: %+v", c)
	}
	if c := allowOther(conf + ".missing"); os.Geteuid() != 0 && c.Status != Warn {
		t.Errorf("not allowed: %+v", c)
	}
}
