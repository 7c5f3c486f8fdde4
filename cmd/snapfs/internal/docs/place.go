package docs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/snapfs/snapfs/cmd/snapfs/internal/failure"
)

// place is where a file that was named for output is written.
type place struct {
	path    string // links are followed: a link to a manifest stays one
	special bool   // a pipe or device: written to, never replaced
}

// placeOf refuses what cannot be written. Replacing by renaming would put a file into
// the place of /dev/null as well.
func placeOf(name string) (place, error) {
	if name == "" {
		return place{}, &failure.Error{Code: failure.Usage, Message: "the name of the manifest to write is empty"}
	}
	fi, err := os.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return place{path: name}, nil
	case err != nil:
		return place{}, err
	case fi.IsDir():
		return place{}, &failure.Error{
			Code: failure.Conflict, Path: name, Message: name + " is a directory",
			Hint: "name the manifest, too: " + filepath.Join(name, "manifest.json"),
		}
	case !fi.Mode().IsRegular():
		return place{path: name, special: true}, nil
	}
	real, err := filepath.EvalSymlinks(name)
	return place{path: real}, err
}

// IsSpecial reports whether name is a pipe or a device, like /dev/stdout, which means
// something else to every process.
func IsSpecial(name string) bool {
	p, err := placeOf(name)
	return err == nil && p.special
}

// CheckFile reports why no manifest can be put at name: it stands for something else
// than a file, or its directory does not exist.
func CheckFile(name string) error {
	p, err := placeOf(name)
	if err != nil {
		return err
	}
	if p.special {
		return &failure.Error{Code: failure.Conflict, Path: name, Message: name + " is not a regular file"}
	}
	dir := filepath.Dir(name)
	switch fi, err := os.Stat(dir); {
	case err != nil:
		return fmt.Errorf("the directory of %s: %w", filepath.Base(name), err)
	case !fi.IsDir():
		return &failure.Error{Code: failure.NotFound, Path: name, Message: dir + " is not a directory"}
	}
	return nil
}

// writeSpecial writes to what is there.
func writeSpecial(path string, text func(io.Writer) error) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	return errors.Join(text(f), f.Close())
}

// unhide makes an error about the temporary file that stands for path one about path.
func unhide(path string, err error) error {
	var pathErr *fs.PathError
	var linkErr *os.LinkError
	switch {
	case errors.As(err, &pathErr):
		return &fs.PathError{Op: "write", Path: path, Err: pathErr.Err}
	case errors.As(err, &linkErr):
		return &fs.PathError{Op: "write", Path: path, Err: linkErr.Err}
	}
	return err
}
