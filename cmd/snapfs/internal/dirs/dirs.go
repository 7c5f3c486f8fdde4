// Package dirs says where snapfs keeps its files, by the XDG conventions.
package dirs

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/snapfs/snapfs/cmd/snapfs/internal/failure"
	"golang.org/x/sys/unix"
)

// app is the name of our directory below those of XDG.
const app = "snapfs"

// Store returns the directory store that is used when no store is configured.
func Store() (string, error) { return data("store") }

// Cache returns the default directory of cached content, one for all mounts of a
// user on a host.
func Cache() (string, error) {
	if dir := os.Getenv("XDG_CACHE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, app), nil
	}
	return below(".cache", app)
}

// Overlays returns the directory in which overlays lie unless the user chose others.
func Overlays() (string, error) { return state("overlays") }

// Logs returns the directory of the logs of background mounts.
func Logs() (string, error) { return state("log") }

// Diffs returns the directory for diff manifests that have no better place.
func Diffs() (string, error) { return state("diffs") }

// Manifests returns the directory for manifests that came from stdin and are mounted.
func Manifests() (string, error) { return state("manifests") }

func data(name string) (string, error) {
	if dir := os.Getenv("XDG_DATA_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, app, name), nil
	}
	return below(".local", "share", app, name)
}

func state(name string) (string, error) {
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, app, name), nil
	}
	return below(".local", "state", app, name)
}

func below(parts ...string) (string, error) {
	home, err := os.UserHomeDir()
	if err != nil {
		return "", &failure.Error{
			Code: failure.Usage, Message: "find the home directory: " + err.Error(), Err: err,
			Hint: "set HOME, or the variables XDG_DATA_HOME, XDG_CACHE_HOME and XDG_STATE_HOME",
		}
	}
	return filepath.Join(append([]string{home}, parts...)...), nil
}

// Runtime returns the directory of control sockets, making it. It is private to the
// user and does not survive a reboot.
func Runtime() (string, error) {
	dir := runtimeDir()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	var st unix.Stat_t
	if err := unix.Lstat(dir, &st); err != nil {
		return "", &os.PathError{Op: "stat", Path: dir, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR || st.Uid != uint32(os.Geteuid()) || st.Mode&0o077 != 0 {
		return "", fmt.Errorf("%s is not a private directory of this user; remove it, or set XDG_RUNTIME_DIR", dir)
	}
	return dir, nil
}

// maxRuntimeDir leaves room for the name of a socket: the kernel takes paths of at
// most 107 bytes (unix(7)).
const maxRuntimeDir = 80

func runtimeDir() string {
	if dir := os.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(dir) && len(dir) < maxRuntimeDir {
		return filepath.Join(dir, app)
	}
	if os.Geteuid() == 0 {
		return "/run/" + app
	}
	return filepath.Join(os.TempDir(), fmt.Sprintf("%s-%d", app, os.Geteuid()))
}
