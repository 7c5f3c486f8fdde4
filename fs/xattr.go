package fs

import (
	"maps"
	"slices"
	"strings"

	"github.com/snapfs/snapfs/manifest"
	"golang.org/x/sys/unix"
)

// HashXattr is the read-only extended attribute that shows the content hash of a
// file whose content has not changed since the base or the last commit. A file in
// chunks shows the hashes of its chunks, separated by commas. It is not listed: tools
// that copy attributes would fail to copy it.
const HashXattr = "user.snapfs.hash"

// Limits of extended attributes, as in Linux.
const (
	maxXattrName  = 255
	maxXattrValue = 64 << 10
	maxXattrTotal = 1 << 20 // names and values of one inode
)

// GetXattr returns an extended attribute, or ENODATA.
func (t *Tree) GetXattr(ino Ino, name string) ([]byte, error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if name == HashXattr {
		if v := t.hashXattr(ino); v != "" {
			return []byte(v), nil
		}
		return nil, unix.ENODATA
	}
	n := t.nodes[ino]
	if n == nil {
		return nil, unix.ENODATA
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	v, ok := n.xattrs[name]
	if !ok {
		return nil, unix.ENODATA
	}
	return slices.Clone(v), nil
}

// hashXattr needs t.mu.
func (t *Tree) hashXattr(ino Ino) string {
	var hashes []manifest.Hash
	if n := t.nodes[ino]; n != nil {
		if n.file == nil {
			return ""
		}
		n.mu.Lock()
		defer n.mu.Unlock()
		n.catchUp()
		count := chunkCount(n.size, t.base.chunkSize)
		for i := range count {
			hashes = append(hashes, t.knownHash(n, i, count))
		}
	} else if t.base.has(ino) && t.base.rows[ino].kind == rowFile {
		hashes = t.base.hashList(uint32(ino))
	}
	parts := make([]string, len(hashes))
	for i, h := range hashes {
		if h == "" {
			return ""
		}
		parts[i] = string(h)
	}
	return strings.Join(parts, ",")
}

// ListXattr returns the names of the extended attributes that were set, sorted.
func (t *Tree) ListXattr(ino Ino) ([]string, error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	n := t.nodes[ino]
	if n == nil {
		return nil, nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Sorted(maps.Keys(n.xattrs)), nil
}

// SetXattr sets an extended attribute. Flags are XATTR_CREATE and XATTR_REPLACE.
// Only the user namespace is stored, and for root the trusted one; access control
// lists are refused, so that nobody believes in permissions that are not enforced.
func (t *Tree) SetXattr(ino Ino, name string, value []byte, flags uint32) error {
	if err := checkXattr(name, value); err != nil {
		return err
	}
	n, err := t.writableNode(ino)
	if err != nil {
		return err
	}
	defer t.release(n)
	n.mu.Lock()
	defer n.mu.Unlock()
	old, exists := n.xattrs[name]
	total := len(name) + len(value) - len(old)
	for k, v := range n.xattrs {
		total += len(k) + len(v)
	}
	switch {
	case total > maxXattrTotal:
		return unix.ENOSPC
	case flags&unix.XATTR_CREATE != 0 && exists:
		return unix.EEXIST
	case flags&unix.XATTR_REPLACE != 0 && !exists:
		return unix.ENODATA
	}
	return t.logNode(n, &opXattr{ino: ino, name: name, value: value, when: t.now()})
}

func checkXattr(name string, value []byte) error {
	switch {
	case name == HashXattr:
		return unix.EPERM
	case !strings.HasPrefix(name, "user.") && !strings.HasPrefix(name, "trusted."):
		return unix.EOPNOTSUPP
	case len(name) > maxXattrName:
		return unix.ERANGE
	case len(value) > maxXattrValue:
		return unix.E2BIG
	}
	return nil
}

// RemoveXattr removes an extended attribute.
func (t *Tree) RemoveXattr(ino Ino, name string) error {
	if err := checkXattr(name, nil); err != nil {
		return err
	}
	n, err := t.writableNode(ino)
	if err != nil {
		return err
	}
	defer t.release(n)
	n.mu.Lock()
	defer n.mu.Unlock()
	if _, ok := n.xattrs[name]; !ok {
		return unix.ENODATA
	}
	return t.logNode(n, &opXattr{ino: ino, name: name, remove: true, when: t.now()})
}
