package fs

import "golang.org/x/sys/unix"

// HoldsMore reports whether the overlay holds what no manifest can: modes, owners,
// extended attributes, hard links; or times of files that are the same otherwise, which
// commits leave alone. A mount of what was committed would not show it.
func (t *Tree) HoldsMore() bool {
	if t.holdsMore() {
		return true
	}
	for _, c := range t.Changes() {
		if c.TimeOnly {
			return true
		}
	}
	return false
}

func (t *Tree) holdsMore() bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	for _, n := range t.nodes {
		if len(n.links) > 0 && t.isMore(n) {
			return true
		}
	}
	return false
}

// isMore is holdsMore for one inode. It needs t.mu.
func (t *Tree) isMore(n *node) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.uid != t.opts.UID || n.gid != t.opts.GID || len(n.xattrs) > 0 || n.dir == nil && len(n.links) > 1 {
		return true
	}
	plain, runnable := 0o666&^t.opts.Umask, 0o777&^t.opts.Umask
	switch mode := n.mode & 0o7777; n.typ {
	case unix.S_IFDIR:
		return mode != runnable
	case unix.S_IFREG:
		return mode != plain && mode != runnable
	}
	return false
}
