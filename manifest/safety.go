package manifest

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	// MaxNameLen is the longest component of a path that is accepted, in bytes:
	// the limit of Linux file systems.
	MaxNameLen = 255
	// MaxPathLen is the longest path that is accepted, in bytes: the limit of
	// Linux system calls, without the final NUL.
	MaxPathLen = 4095
)

// CheckSafe reports the first entry of m that could do harm when the manifest is
// materialised, even though Validate accepts it (spec/gaps.md G-30, G-31):
//
//   - a path or link target with a ".." component, a NUL, bytes that are not UTF-8,
//     a component above MaxNameLen or a whole above MaxPathLen;
//   - a path that is not in normal form, or a file or link at a root;
//   - a live entry below a live file or link;
//   - a hash that is not alphanumeric.
//
// The decoders and encoders call it. Operations that build paths from several
// manifests call it again on their result.
func (m *Manifest[P, K]) CheckSafe() error {
	return m.checkSafe(newPathSet(m.Files, m.Dirs, false, func(int, int) {}), knowledge{})
}

func (m *Manifest[P, K]) checkSafe(set *pathSet, known knowledge) error {
	above := ancestry{set: set}
	for i := range m.Files {
		if known.vetted {
			break
		}
		f := &m.Files[i]
		if err := checkSafeFile(f); err != nil {
			return err
		}
		if f.Deleted {
			continue
		}
		if err := above.check(f.Path); err != nil {
			return err
		}
	}
	for i := range m.Dirs {
		d := &m.Dirs[i]
		if err := checkSafePath("path", d.Path); err != nil {
			return err
		}
		if d.Deleted {
			continue
		}
		if err := above.check(d.Path); err != nil {
			return err
		}
	}
	return nil
}

func checkSafeFile(f *File) error {
	if err := checkSafePath("path", f.Path); err != nil {
		return err
	}
	if isRoot(f.Path) {
		return invalidf("a file or link cannot be the root: %s", f.Path)
	}
	if f.Target != "" {
		if _, err := checkSafeText("symlink target of "+f.Path, f.Target); err != nil {
			return err
		}
	}
	if !isAlphanumeric(f.Hash) {
		return invalidf("hash of %s is not alphanumeric: %q", f.Path, string(f.Hash))
	}
	for _, h := range f.Chunks {
		if h == "" || !isAlphanumeric(h) {
			return invalidf("chunk hash of %s is not alphanumeric: %q", f.Path, string(h))
		}
	}
	return nil
}

func checkSafePath(what, path string) error {
	normal, err := checkSafeText(what, path)
	if err == nil && !normal && NormalizePath(path) != path {
		return invalidf("%s is not in normal form: %q", what, path)
	}
	return err
}

// checkSafeText checks everything that holds for paths and link targets alike. It
// also tells whether path is certainly in normal form.
func checkSafeText(what, path string) (normal bool, err error) {
	if len(path) > MaxPathLen {
		return false, invalidf("%s is longer than %d bytes: %.60q…", what, MaxPathLen, path)
	}
	normal = !hasDrive(path)
	var or byte
	for start := 0; start <= len(path); {
		end := start
		for ; end < len(path) && path[end] != '/'; end++ {
			if path[end] == 0 {
				return false, invalidf("%s contains a NUL byte: %q", what, path)
			}
			or |= path[end]
		}
		switch part := path[start:end]; {
		case part == "..":
			return false, invalidf("%s must not contain \"..\": %q", what, path)
		case len(part) > MaxNameLen:
			return false, invalidf("%s has a component longer than %d bytes: %q", what, MaxNameLen, path)
		case part == ".", part == "" && start > 0:
			normal = false
		}
		start = end + 1
	}
	if or >= utf8.RuneSelf && !utf8.ValidString(path) {
		return false, invalidf("%s is not valid UTF-8: %q", what, path)
	}
	return normal, nil
}

func isRoot(path string) bool {
	return path == "." || path == "/" || len(path) == 3 && path[2] == '/' && hasDrive(path)
}

// notAlphanumeric is 1 for the bytes that a hash must not contain.
var notAlphanumeric = func() (t [256]byte) {
	for c := range t {
		letter := 'a' <= c|0x20 && c|0x20 <= 'z'
		if !letter && (c < '0' || c > '9') {
			t[c] = 1
		}
	}
	return t
}()

// isAlphanumeric has no branch in its loop: digits and letters alternate at random,
// and mispredicted branches would be a tenth of all decoding.
func isAlphanumeric(h Hash) bool {
	var bad byte
	for i := range len(h) {
		bad |= notAlphanumeric[h[i]]
	}
	return bad == 0
}

// ancestry checks that entries lie below directories. It remembers the last
// directory that passed, because neighbours usually share it.
type ancestry struct {
	set  *pathSet
	good string
}

func (a *ancestry) check(path string) error {
	end := strings.LastIndexByte(path, '/')
	if end <= 0 || path[:end] == a.good {
		return nil
	}
	for i := end; i > 0 && !isPrefixDir(path[:i], a.good); i = strings.LastIndexByte(path[:i], '/') {
		if a.set.isFile(path[:i]) {
			return invalidf("entry below a file or link: %q is below %q", path, path[:i])
		}
	}
	a.good = path[:end]
	return nil
}

// CheckCase reports two live entries whose paths differ only in case, or that
// contain a component which does. Such a manifest cannot be materialised on a file
// system that ignores case.
func (m *Manifest[P, K]) CheckCase() error {
	seen := make(map[string]string, len(m.Files)+len(m.Dirs))
	for i := range m.Files {
		if f := &m.Files[i]; !f.Deleted {
			if err := checkFold(seen, f.Path); err != nil {
				return err
			}
		}
	}
	for i := range m.Dirs {
		if d := &m.Dirs[i]; !d.Deleted {
			if err := checkFold(seen, d.Path); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkFold enters path and its ancestors into the map from folded to real paths.
func checkFold(seen map[string]string, path string) error {
	for end := len(path); end > 0; end = strings.LastIndexByte(path[:end], '/') {
		real, folded := path[:end], fold(path[:end])
		other, ok := seen[folded]
		if ok && other != real {
			return fmt.Errorf("%w: paths differ only in case: %q and %q", ErrInvalid, other, real)
		}
		if ok {
			return nil
		}
		seen[folded] = real
	}
	return nil
}

// fold maps every character to the smallest of those that differ from it only in
// case.
func fold(s string) string {
	return strings.Map(func(r rune) rune {
		least := r
		for o := unicode.SimpleFold(r); o != r; o = unicode.SimpleFold(o) {
			least = min(least, o)
		}
		return least
	}, s)
}
