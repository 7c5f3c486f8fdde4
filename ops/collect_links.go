package ops

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/snapfs/snapfs/manifest"
	"golang.org/x/sys/unix"
)

// maxNesting bounds how deep directories found behind links are copied into each
// other, and how many links are followed for one path.
const maxNesting = 40

var (
	errDangling = errors.New("the link leads nowhere, so there is nothing to put in its place")
	errTooDeep  = errors.New("links to directories are nested too deeply")
)

// applyPolicy turns the links found so far into entries (spec/ops.md §1.1). Targets
// are resolved lexically, and only the immediate target of a link decides whether
// it escapes.
func (c *collector) applyPolicy(ctx context.Context) {
	links := c.takeLinks()
	if c.opts.Symlinks == TransitiveIncludeTargets {
		c.followAll(ctx, links)
		return
	}
	for _, l := range links {
		if ctx.Err() != nil {
			return
		}
		target := l.resolve()
		switch c.opts.Symlinks {
		case ExcludeAll:
		case Preserve:
			c.keep(l.path, target)
		case CollapseAll:
			if !c.isInside(target) {
				c.tellCollapsed(l.path, target)
			}
			c.collapse(ctx, l, nil)
		default:
			switch {
			case c.isInside(target):
				c.keep(l.path, target)
			case c.opts.Symlinks == CollapseEscaping:
				c.tellCollapsed(l.path, target)
				c.collapse(ctx, l, nil)
			}
		}
	}
}

// tellCollapsed tells the caller that something from elsewhere takes the place of a link.
func (c *collector) tellCollapsed(link, target string) {
	if c.opts.Collapsed != nil {
		c.opts.Collapsed(link, target)
	}
}

// takeLinks returns the links to treat. A link that is a root, or that leads to a
// path the caller named, has been walked through and is listed as the directory it
// stands for (G-08).
func (c *collector) takeLinks() []foundLink {
	through := map[string]bool{}
	for name, kind := range c.named {
		if kind == namedRoot {
			through[name] = true
		}
		for dir := path.Dir(name); !through[dir]; dir = path.Dir(dir) {
			through[dir] = true
		}
	}
	var links []foundLink
	for _, l := range sortedUnique(c.links, func(l foundLink) string { return l.path }) {
		if through[l.path] {
			c.dirs = append(c.dirs, manifest.Dir{Path: l.path})
		} else {
			links = append(links, l)
		}
	}
	c.links = nil
	return links
}

// resolve returns the absolute path the link names, lexically.
func (l foundLink) resolve() string {
	if strings.HasPrefix(l.target, "/") {
		return path.Clean(l.target)
	}
	return path.Join(path.Dir(l.path), l.target)
}

func (c *collector) keep(path, target string) {
	c.files = append(c.files, manifest.File{Path: path, Target: target})
}

// isInside reports whether target is collected or below something that is. All that
// was collected before the links is at or below a named path, so looking for those
// among the ancestors of target is enough (G-37).
func (c *collector) isInside(target string) bool {
	for {
		if c.named[target] != 0 {
			return true
		}
		parent := path.Dir(target)
		if parent == target {
			return false
		}
		target = parent
	}
}

// inlined is a directory behind a link whose content is being copied in place of
// the link. The chain of outer ones is the guard against cycles (G-09).
type inlined struct {
	real  string // resolved path of the directory
	path  string // manifest path that stands for it
	outer *inlined
}

// collapse replaces a link by what it leads to. Inside a directory that is copied
// in, links that stay within the outermost such directory remain links, as in the
// reference; all others are collapsed in turn.
func (c *collector) collapse(ctx context.Context, l foundLink, within *inlined) {
	var st unix.Stat_t
	if err := ignoringEINTR(func() error { return unix.Stat(l.real, &st) }); err != nil {
		c.skip(l.path, fmt.Errorf("%w (%w)", errDangling, err))
		return
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		c.addFile(fileEntry(l.path, &st))
	case unix.S_IFDIR:
		c.collapseDir(ctx, l, within)
	default:
		c.skip(l.path, errSpecial)
	}
}

func (c *collector) collapseDir(ctx context.Context, l foundLink, within *inlined) {
	real, err := filepath.EvalSymlinks(l.real)
	if err != nil {
		c.skip(l.path, fmt.Errorf("%w (%w)", errDangling, err))
		return
	}
	depth, outermost := 0, within
	for at := within; at != nil; at = at.outer {
		if at.real == real {
			c.keep(l.path, at.path)
			return
		}
		depth, outermost = depth+1, at
	}
	if depth >= maxNesting {
		c.skip(l.path, errTooDeep)
		return
	}
	here := &inlined{real: real, path: l.path, outer: within}
	if outermost == nil {
		outermost = here
	}
	found := c.walk(ctx, l.path, real)
	c.files = append(c.files, found.files...)
	c.dirs = append(c.dirs, found.dirs...)
	for _, nested := range found.links {
		if ctx.Err() != nil {
			return
		}
		end, err := filepath.EvalSymlinks(nested.real)
		switch {
		case err != nil:
			c.skip(nested.path, fmt.Errorf("%w (%w)", errDangling, err))
		case isBelow(end, outermost.real):
			c.keep(nested.path, path.Join(outermost.path, strings.TrimPrefix(end, outermost.real)))
		default:
			c.collapse(ctx, nested, here)
		}
	}
}

// isBelow reports whether p is dir or below it; both are absolute and normalised.
func isBelow(p, dir string) bool {
	return p == dir || dir == "/" || strings.HasPrefix(p, dir) && p[len(dir)] == '/'
}

// followAll keeps the links and adds what they lead to, link by link, until nothing
// new turns up.
func (c *collector) followAll(ctx context.Context, links []foundLink) {
	seen := map[string]bool{}
	for _, f := range c.files {
		seen[f.Path] = true
	}
	for _, d := range c.dirs {
		seen[d.Path] = true
	}
	known := map[string]string{} // links kept or waiting, with their targets
	queue := links
	for _, l := range links {
		known[l.path] = l.resolve()
	}
	for len(queue) > 0 && ctx.Err() == nil {
		l := queue[len(queue)-1]
		queue = queue[:len(queue)-1]
		c.keep(l.path, known[l.path])
		for _, found := range c.reach(ctx, throughLinks(known[l.path], known), seen) {
			if _, ok := known[found.path]; !ok {
				known[found.path] = found.resolve()
				queue = append(queue, found)
			}
		}
	}
}

// throughLinks replaces those links on the way to target that are entries
// themselves, so that nothing is listed below a link.
func throughLinks(target string, known map[string]string) string {
	for range maxNesting {
		again := false
		for dir := path.Dir(target); dir != "/"; dir = path.Dir(dir) {
			if to, ok := known[dir]; ok && !isBelow(to, dir) {
				target, again = path.Join(to, target[len(dir):]), true
				break
			}
		}
		if !again {
			break
		}
	}
	return target
}

// reach adds what lies at target, unless it was seen, and returns the links there.
func (c *collector) reach(ctx context.Context, target string, seen map[string]bool) []foundLink {
	var st unix.Stat_t
	if seen[target] || lstat(target, &st) != nil {
		return nil
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		seen[target] = true
		c.addFile(fileEntry(target, &st))
	case unix.S_IFLNK:
		text, err := os.Readlink(target)
		if err != nil {
			return nil
		}
		return []foundLink{{path: target, real: target, target: text}}
	case unix.S_IFDIR:
		found := c.walk(ctx, target, target)
		for _, f := range found.files {
			seen[f.Path] = true
		}
		for _, d := range found.dirs {
			seen[d.Path] = true
		}
		c.files = append(c.files, found.files...)
		c.dirs = append(c.dirs, found.dirs...)
		return found.links
	}
	return nil
}
