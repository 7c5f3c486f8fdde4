package fusefs

import (
	"github.com/hanwen/go-fuse/v2/fuse"
	"github.com/snapfs/snapfs/fs"
)

// GetXAttr answers with an extended attribute.
func (f *FS) GetXAttr(_ <-chan struct{}, h *fuse.InHeader, name string, dest []byte) (uint32, fuse.Status) {
	v, err := f.tree.GetXattr(fs.Ino(h.NodeId), name)
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
	names, err := f.tree.ListXattr(fs.Ino(h.NodeId))
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
	return status(f.tree.SetXattr(fs.Ino(in.NodeId), name, data, in.Flags))
}

// RemoveXAttr removes an extended attribute.
func (f *FS) RemoveXAttr(_ <-chan struct{}, h *fuse.InHeader, name string) fuse.Status {
	return status(f.tree.RemoveXattr(fs.Ino(h.NodeId), name))
}
