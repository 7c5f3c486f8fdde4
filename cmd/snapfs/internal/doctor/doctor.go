// Package doctor finds out whether this machine and this user can do what snapfs needs,
// and says what to do when not.
package doctor

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"golang.org/x/sys/unix"

	"github.com/snapfs/snapfs/fs/fusefs"
)

// Outcomes of checks.
const (
	OK   = "ok"
	Warn = "warn" // works, but not everything or not well
	Fail = "fail" // something does not work
)

// Check is the outcome of looking at one thing.
type Check struct {
	Name   string `json:"name"`
	Status string `json:"status"` // OK, Warn or Fail
	Detail string `json:"detail"`
	Hint   string `json:"hint,omitempty"` // what to do
}

// The files that tell whether mounting works. Tests use others.
const (
	fuseDevice = "/dev/fuse"
	fuseConf   = "/etc/fuse.conf"
)

// FuseDevice checks that mounts can be made at all.
func FuseDevice() Check { return fuse(fuseDevice) }

func fuse(device string) Check {
	c := Check{Name: "fuse device", Status: OK, Detail: device + " can be opened"}
	f, err := os.OpenFile(device, os.O_RDWR, 0)
	switch {
	case errors.Is(err, os.ErrNotExist):
		c.Status, c.Detail = Fail, device+" does not exist"
		c.Hint = "load the kernel module with: modprobe fuse; in a container, start it with --device /dev/fuse --cap-add SYS_ADMIN"
	case err != nil:
		c.Status, c.Detail, c.Hint = Fail, err.Error(), "give this user access to "+device
	default:
		f.Close()
	}
	return c
}

// MountHelper checks what an ordinary user needs for mounting.
func MountHelper() Check {
	c := Check{Name: "mount helper", Status: OK}
	if os.Geteuid() == 0 {
		c.Detail = "not needed: this is root"
		return c
	}
	path, err := exec.LookPath("fusermount3")
	if err != nil {
		c.Status, c.Detail, c.Hint = Fail, "fusermount3 is not installed", "install the package fuse3"
		return c
	}
	c.Detail = path
	if info, err := os.Stat(path); err == nil && info.Mode()&os.ModeSetuid == 0 {
		c.Status, c.Detail, c.Hint = Warn, path+" is not setuid root, which it usually has to be", "reinstall the package fuse3, or run: chmod u+s "+path
	}
	return c
}

// AllowOther checks whether other users can be let into a mount.
func AllowOther() Check { return allowOther(fuseConf) }

func allowOther(conf string) Check {
	c := Check{Name: "allow_other", Status: OK, Detail: "mounts can be opened to other users with -o allow_other"}
	if os.Geteuid() == 0 {
		return c
	}
	f, err := os.Open(conf)
	if err == nil {
		defer f.Close()
		for s := bufio.NewScanner(f); s.Scan(); {
			if strings.TrimSpace(s.Text()) == "user_allow_other" {
				return c
			}
		}
	}
	c.Status, c.Detail = Warn, "mounts of this user cannot be opened to others"
	c.Hint = "if that is needed, let root add the line user_allow_other to " + conf
	return c
}

// Passthrough checks whether the kernel can read and write local files directly, without
// the mount process in between.
func Passthrough() Check {
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return Check{Name: "passthrough", Status: Warn, Detail: err.Error()}
	}
	return passthrough(unix.ByteSliceToString(uts.Release[:]), fusefs.MayPassThrough())
}

func passthrough(release string, capable bool) Check {
	c := Check{Name: "passthrough", Status: OK, Detail: "the kernel reads and writes local files directly"}
	var major, minor int
	if _, err := fmt.Sscanf(release, "%d.%d", &major, &minor); err == nil && (major < 6 || major == 6 && minor < 9) {
		c.Status, c.Detail = Warn, "Linux "+release+" cannot read local files directly: all contents go through the mount process"
		c.Hint = "Linux 6.9 and later can, which makes cached files as fast as local ones"
	} else if !capable {
		c.Detail = "not for this user: all contents go through the mount process, only slower"
		c.Hint = "mounts of root (CAP_SYS_ADMIN) read cached files as fast as local ones"
	}
	return c
}

// minFiles is how many open files a busy mount may need.
const minFiles = 4096

// Limits checks how many files may be open. A soft limit is no problem: Go programs
// raise it on their own.
func Limits() Check {
	c := Check{Name: "open files", Status: OK}
	var lim unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &lim); err != nil {
		return Check{Name: c.Name, Status: Warn, Detail: err.Error()}
	}
	c.Detail = fmt.Sprintf("at most %s", humanize.Comma(int64(min(lim.Max, 1<<62))))
	if lim.Max < minFiles {
		c.Status, c.Hint = Warn, fmt.Sprintf("raise it with ulimit -Hn %d, or LimitNOFILE= in the service", minFiles)
	}
	return c
}

// minFree is the free space below which a directory is reported.
const minFree = 1 << 30

// Directory checks that a directory, or the nearest one above it, can be written to
// and has room. What is the name for people.
func Directory(what, dir string) Check {
	c := Check{Name: what, Status: OK}
	place := nearest(dir)
	f, err := os.CreateTemp(place, ".snapfs-doctor-*")
	if err != nil {
		c.Status, c.Detail, c.Hint = Fail, err.Error(), "make it writable, or choose another directory"
		return c
	}
	f.Close()
	os.Remove(f.Name())
	var fs unix.Statfs_t
	if err := unix.Statfs(place, &fs); err != nil {
		c.Status, c.Detail = Warn, err.Error()
		return c
	}
	free := int64(fs.Bavail) * fs.Bsize
	c.Detail = fmt.Sprintf("%s, %s free", dir, humanize.IBytes(uint64(max(free, 0))))
	if free < minFree {
		c.Status, c.Hint = Warn, "free some space"
	}
	return c
}

// nearest returns dir, or the first directory above it that exists.
func nearest(dir string) string {
	for {
		if info, err := os.Stat(dir); err == nil && info.IsDir() {
			return dir
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return dir
		}
		dir = parent
	}
}

// Clock checks that the file system of dir stamps files with the time that this process
// sees. Caches compare the two.
func Clock(dir string) Check {
	c := Check{Name: "clock", Status: OK}
	f, err := os.CreateTemp(nearest(dir), ".snapfs-doctor-*")
	if err != nil {
		return Check{Name: c.Name, Status: Warn, Detail: err.Error()}
	}
	defer os.Remove(f.Name())
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return Check{Name: c.Name, Status: Warn, Detail: err.Error()}
	}
	return skew(time.Since(info.ModTime()))
}

// maxSkew is how far two clocks may be apart.
const maxSkew = 2 * time.Second

func skew(d time.Duration) Check {
	c := Check{Name: "clock", Status: OK, Detail: "the clock of the file system agrees with that of this machine"}
	if d.Abs() > maxSkew {
		c.Status = Warn
		c.Detail = fmt.Sprintf("the clocks of the file system and of this machine are %s apart", d.Abs().Round(time.Second))
		c.Hint = "synchronise both with NTP; until then changes of files may go unnoticed"
	}
	return c
}
