package fs

import (
	"path"
	"strings"
)

// relativeTarget turns a link target that is relative to the root of the tree into
// the text of a POSIX link in directory dir ("" for the root).
func relativeTarget(dir, target string) string {
	if target == "." {
		target = ""
	}
	from, to := components(dir), components(target)
	for len(from) > 0 && len(to) > 0 && from[0] == to[0] {
		from, to = from[1:], to[1:]
	}
	parts := make([]string, 0, len(from)+len(to))
	for range from {
		parts = append(parts, "..")
	}
	parts = append(parts, to...)
	if len(parts) == 0 {
		return "."
	}
	return strings.Join(parts, "/")
}

// rootTarget is the inverse: it resolves the text of a link in directory dir to a
// path relative to the root of the tree. An absolute text is resolved when it lies
// below mountPoint. The answer is false when the target lies outside of the tree,
// which no relative manifest can express. Resolution is lexical, as everywhere in
// manifests (spec/ops.md §1.1).
func rootTarget(dir, text, mountPoint string) (string, bool) {
	if path.IsAbs(text) {
		if mountPoint == "" {
			return "", false
		}
		clean := path.Clean(text)
		if clean == mountPoint {
			return ".", true
		}
		rest, ok := strings.CutPrefix(clean, strings.TrimSuffix(mountPoint, "/")+"/")
		return rest, ok
	}
	p := path.Clean(path.Join(dir, text))
	if p == ".." || strings.HasPrefix(p, "../") {
		return "", false
	}
	return p, true
}

func components(p string) []string {
	if p == "" {
		return nil
	}
	return strings.Split(p, "/")
}
