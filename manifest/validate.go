package manifest

import (
	"errors"
	"fmt"
	"strings"
)

// ErrInvalid is wrapped by every error that means "this manifest, or this argument
// of an operation on manifests, is not acceptable".
var ErrInvalid = errors.New("Manifest validation error")

func invalidf(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrInvalid, fmt.Sprintf(format, args...))
}

// IsAbsPath reports whether path counts as absolute on any platform: it starts with
// "/" or two backslashes, or with a drive letter and a colon (spec/types.md §3).
func IsAbsPath(path string) bool {
	return strings.HasPrefix(path, "/") || strings.HasPrefix(path, `\\`) || hasDrive(path)
}

func hasDrive(path string) bool {
	if len(path) < 2 || path[1] != ':' {
		return false
	}
	c := path[0] | 0x20
	return 'a' <= c && c <= 'z'
}

func (Abs) checkPath(path string) error {
	switch {
	case path == "":
		return invalidf("path must not be empty")
	case !IsAbsPath(path):
		return invalidf("expected absolute path, got: %s", path)
	}
	return nil
}

func (Rel) checkPath(path string) error {
	switch {
	case path == "":
		return invalidf("path must not be empty")
	case IsAbsPath(path):
		return invalidf("expected relative path, got: %s", path)
	}
	return nil
}

func (Full) checkDeleted(deleted bool) error {
	if deleted {
		return invalidf("a snapshot must not contain deleted entries")
	}
	return nil
}

func (Diff) checkDeleted(bool) error { return nil }

// Validate reports the first rule of spec/types.md §4.1 that m breaks.
func (m *Manifest[P, K]) Validate() error {
	var (
		style P
		kind  K
	)
	if m.ChunkSize != WholeFile && m.ChunkSize <= 0 {
		return invalidf("invalid fileChunkSizeBytes: got %d, must be -1 (WHOLE_FILE_CHUNK_SIZE) or a positive integer", m.ChunkSize)
	}
	for i := range m.Files {
		if err := style.checkPath(m.Files[i].Path); err != nil {
			return err
		}
		if err := kind.checkDeleted(m.Files[i].Deleted); err != nil {
			return err
		}
	}
	for i := range m.Dirs {
		if err := style.checkPath(m.Dirs[i].Path); err != nil {
			return err
		}
		if err := kind.checkDeleted(m.Dirs[i].Deleted); err != nil {
			return err
		}
	}
	return nil
}
