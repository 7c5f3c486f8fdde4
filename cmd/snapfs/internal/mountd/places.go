package mountd

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/snapfs/snapfs/cmd/snapfs/internal/dirs"
	"github.com/snapfs/snapfs/cmd/snapfs/internal/docs"
	"github.com/snapfs/snapfs/cmd/snapfs/internal/failure"
	"github.com/snapfs/snapfs/cmd/snapfs/internal/stores"
)

// CheckPlaces refuses configurations in which the process of the mount would have to
// go through the mount itself. It would wait for itself then, and could not even be
// killed.
func (cfg *Config) CheckPlaces() error {
	for _, p := range []struct {
		what, chosen string
		deflt        func() (string, error)
		flag         string
	}{
		{"overlay", cfg.Overlay, dirs.Overlays, "--overlay"},
		{"cache", cfg.CacheDir, dirs.Cache, "--cache-dir"},
		{"store", cfg.Store, dirs.Store, "--store"},
		{"runtime directory", "", dirs.Runtime, "XDG_RUNTIME_DIR"},
		{"diff manifest", cfg.DiffOut, nil, "--diff-out"},
		{"trace", cfg.Reading.Trace, nil, "--trace"},
	} {
		path := p.chosen
		if path == "" && p.deflt != nil {
			var err error
			if path, err = p.deflt(); err != nil {
				return err
			}
		}
		if path == "" || isObject(path) {
			continue
		}
		if p.what == "store" {
			var err error
			if path, err = stores.Absolute(path); err != nil {
				return err
			}
		}
		if within(resolve(path), cfg.MountPoint) {
			return &failure.Error{
				Code: failure.Usage, Path: path,
				Message: fmt.Sprintf("the %s, %s, lies inside the mount point %s: the mount would hide it", p.what, path, cfg.MountPoint),
				Hint:    "choose another place for it with " + p.flag + ", or another mount point",
			}
		}
	}
	base := cfg.Manifests[0]
	cfg.hidden = base != "-" && !isObject(base) && within(resolve(filepath.Dir(base)), cfg.MountPoint)
	if cfg.DiffOut == "" || isObject(cfg.DiffOut) {
		return nil
	}
	return docs.CheckFile(cfg.DiffOut)
}

// checkOutput refuses places to which the process of the mount cannot write a
// manifest, before anything is done: those in the mount above all, however they are
// reached.
func (c *Client) checkOutput(dest string) error {
	if dest == "" || isObject(dest) {
		return nil
	}
	if err := docs.CheckFile(dest); err != nil {
		return err
	}
	var dir, mnt syscall.Stat_t
	if err := syscall.Stat(filepath.Dir(dest), &dir); err != nil {
		return &os.PathError{Op: "stat", Path: filepath.Dir(dest), Err: err}
	}
	if err := syscall.Stat(c.Info.MountPoint, &mnt); err != nil {
		return &os.PathError{Op: "stat", Path: c.Info.MountPoint, Err: err}
	}
	if dir.Dev != mnt.Dev {
		return nil
	}
	return &failure.Error{
		Code: failure.Usage, Path: dest,
		Message: dest + " lies inside the mount: the process of the mount cannot write to its own mount",
		Hint:    "choose a place outside of " + c.Info.MountPoint + ", or let a shell write: snapfs commit " + c.Info.MountPoint + " -o - > FILE",
	}
}

// isObject reports whether a place is in a bucket.
func isObject(dest string) bool { return strings.HasPrefix(strings.ToLower(dest), "s3://") }

// resolve follows the links in a path of which the end need not exist yet.
func resolve(path string) string {
	rest := ""
	for dir := path; ; dir = filepath.Dir(dir) {
		if real, err := filepath.EvalSymlinks(dir); err == nil {
			return filepath.Join(real, rest)
		}
		if dir == filepath.Dir(dir) {
			return path
		}
		rest = filepath.Join(filepath.Base(dir), rest)
	}
}
