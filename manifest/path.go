package manifest

import (
	"strings"
	"unicode/utf8"
)

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

// NormalizePath returns path without empty, "." and resolvable ".." components and
// without a trailing slash (spec/types.md §2). It is purely lexical. A relative
// path keeps the ".." components that lead out of its root; an absolute one stops
// at "/" or "X:/". A backslash is an ordinary character, and Unicode is left as it
// is. The empty path stays empty.
func NormalizePath(path string) string {
	if isNormal(path) {
		return path
	}
	prefix, body := splitRoot(path)
	var parts []string
	for part := range strings.SplitSeq(body, "/") {
		switch {
		case part == "" || part == ".":
		case part != "..":
			parts = append(parts, part)
		case len(parts) > 0 && parts[len(parts)-1] != "..":
			parts = parts[:len(parts)-1]
		case prefix == "":
			parts = append(parts, part)
		}
	}
	if prefix == "" && len(parts) == 0 {
		return "."
	}
	return prefix + strings.Join(parts, "/")
}

// splitRoot splits path into its root ("", "/" or "X:/") and the rest. Whatever
// character follows the colon of a drive is dropped, as the reference does
// (spec/gaps.md G-20), but never only a part of a character.
func splitRoot(path string) (root, body string) {
	if hasDrive(path) {
		_, n := utf8.DecodeRuneInString(path[2:])
		return path[:2] + "/", path[2+n:]
	}
	if strings.HasPrefix(path, "/") {
		return "/", path
	}
	return "", path
}

// isNormal reports whether NormalizePath would return path as it is. It answers
// false for some normal paths, which is only slower.
func isNormal(path string) bool {
	if path == "" || path == "/" || path == "." {
		return true
	}
	if hasDrive(path) {
		return false
	}
	rest := strings.TrimPrefix(path, "/")
	for start := 0; ; {
		n := strings.IndexByte(rest[start:], '/')
		part := rest[start:]
		if n >= 0 {
			part = rest[start : start+n]
		}
		if part == "" || part == "." || part == ".." {
			return false
		}
		if n < 0 {
			return true
		}
		start += n + 1
	}
}

// Parent returns the directory that holds path: what stands before the last slash,
// "/" or "X:/" for an entry directly below a root, and "." for a relative path of
// one component. The path must be normalised.
func Parent(path string) string {
	i := strings.LastIndexByte(path, '/')
	switch {
	case i < 0:
		return "."
	case i == 0:
		return "/"
	case i == 2 && hasDrive(path):
		return path[:3]
	}
	return path[:i]
}

// Within returns the part of path that lies below dir, and whether it lies there at
// all. Both must be normalised. Every relative path lies below ".", and no path
// lies below itself.
func Within(path, dir string) (rest string, ok bool) {
	switch {
	case path == dir:
		return "", false
	case dir == ".":
		return path, !IsAbsPath(path)
	case strings.HasSuffix(dir, "/"):
		return strings.CutPrefix(path, dir)
	case len(path) > len(dir) && path[len(dir)] == '/' && path[:len(dir)] == dir:
		return path[len(dir)+1:], true
	}
	return "", false
}

// ComparePaths orders paths by their UTF-16 code units, the order of files in both
// formats (spec/formats.md §1.4). It differs from the order of the bytes only where
// a character beyond U+FFFF meets one of U+E000 to U+FFFF.
func ComparePaths(a, b string) int {
	n := min(len(a), len(b))
	i := 0
	for i < n && a[i] == b[i] {
		i++
	}
	if i == n {
		return len(a) - len(b)
	}
	x, y := a[i], b[i]
	if (x >= 0xf0) != (y >= 0xf0) && x >= 0xee && y >= 0xee {
		x, y = y, x
	}
	return int(x) - int(y)
}
