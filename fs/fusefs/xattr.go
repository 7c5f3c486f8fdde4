package fusefs

import (
	"github.com/hanwen/go-fuse/v2/fuse"
)

// GetXAttr answers with an extended attribute.
func (f *FS) GetXAttr(_ <-chan struct{}, h *fuse.InHeader, name string, dest []byte) (uint32, fuse.Status) {
	v, err := f.tree.GetXattr(f.aliases.ino(h.NodeId), name)
	if err != nil {
		return 0, status(err)
	}
	return fillXattr(dest, v)
}

func fillXattr(dest, v []byte) (uint32, fuse.Status) {
	if len(v) > len(dest) {
		return uint32(len(v)), fuse.ERANGE
	}
	return uint32(copy(dest, v)), fuse.OK
}

// ListXAttr answers with the names of all extended attributes.
func (f *FS) ListXAttr(_ <-chan struct{}, h *fuse.InHeader, dest []byte) (uint32, fuse.Status) {
	names, err := f.tree.ListXattr(f.aliases.ino(h.NodeId))
	if err != nil {
		return 0, status(err)
	}
	var list []byte
	for _, name := range names {
		list = append(append(list, name...), 0)
	}
	return fillXattr(dest, list)
}

// SetXAttr sets an extended attribute.
func (f *FS) SetXAttr(_ <-chan struct{}, in *fuse.SetXAttrIn, name string, data []byte) fuse.Status {
	return status(f.tree.SetXattr(f.aliases.ino(in.NodeId), name, data, in.Flags))
}

// RemoveXAttr removes an extended attribute.
func (f *FS) RemoveXAttr(_ <-chan struct{}, h *fuse.InHeader, name string) fuse.Status {
	return status(f.tree.RemoveXattr(f.aliases.ino(h.NodeId), name))
}
