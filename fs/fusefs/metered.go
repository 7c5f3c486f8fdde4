package fusefs

import "github.com/hanwen/go-fuse/v2/fuse"

// The methods of metered: those of FS, measured.

// Lookup is part of fuse.RawFileSystem.
func (m *metered) Lookup(cancel <-chan struct{}, in *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	start := m.now()
	return m.done(opLookup, start, m.FS.Lookup(cancel, in, name, out))
}

// GetAttr is part of fuse.RawFileSystem.
func (m *metered) GetAttr(cancel <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	start := m.now()
	return m.done(opGetAttr, start, m.FS.GetAttr(cancel, in, out))
}

// SetAttr is part of fuse.RawFileSystem.
func (m *metered) SetAttr(cancel <-chan struct{}, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	start := m.now()
	return m.done(opSetAttr, start, m.FS.SetAttr(cancel, in, out))
}

// Mknod is part of fuse.RawFileSystem.
func (m *metered) Mknod(cancel <-chan struct{}, in *fuse.MknodIn, name string, out *fuse.EntryOut) fuse.Status {
	start := m.now()
	return m.done(opMknod, start, m.FS.Mknod(cancel, in, name, out))
}

// Mkdir is part of fuse.RawFileSystem.
func (m *metered) Mkdir(cancel <-chan struct{}, in *fuse.MkdirIn, name string, out *fuse.EntryOut) fuse.Status {
	start := m.now()
	return m.done(opMkdir, start, m.FS.Mkdir(cancel, in, name, out))
}

// Unlink is part of fuse.RawFileSystem.
func (m *metered) Unlink(cancel <-chan struct{}, in *fuse.InHeader, name string) fuse.Status {
	start := m.now()
	return m.done(opUnlink, start, m.FS.Unlink(cancel, in, name))
}

// Rmdir is part of fuse.RawFileSystem.
func (m *metered) Rmdir(cancel <-chan struct{}, in *fuse.InHeader, name string) fuse.Status {
	start := m.now()
	return m.done(opRmdir, start, m.FS.Rmdir(cancel, in, name))
}

// Rename is part of fuse.RawFileSystem.
func (m *metered) Rename(cancel <-chan struct{}, in *fuse.RenameIn, oldName, newName string) fuse.Status {
	start := m.now()
	return m.done(opRename, start, m.FS.Rename(cancel, in, oldName, newName))
}

// Link is part of fuse.RawFileSystem.
func (m *metered) Link(cancel <-chan struct{}, in *fuse.LinkIn, name string, out *fuse.EntryOut) fuse.Status {
	start := m.now()
	return m.done(opLink, start, m.FS.Link(cancel, in, name, out))
}

// Symlink is part of fuse.RawFileSystem.
func (m *metered) Symlink(cancel <-chan struct{}, in *fuse.InHeader, text, name string, out *fuse.EntryOut) fuse.Status {
	start := m.now()
	return m.done(opSymlink, start, m.FS.Symlink(cancel, in, text, name, out))
}

// Readlink is part of fuse.RawFileSystem.
func (m *metered) Readlink(cancel <-chan struct{}, in *fuse.InHeader) ([]byte, fuse.Status) {
	start := m.now()
	x, s := m.FS.Readlink(cancel, in)
	return x, m.done(opReadlink, start, s)
}

// Open is part of fuse.RawFileSystem.
func (m *metered) Open(cancel <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	start := m.now()
	return m.done(opOpen, start, m.FS.Open(cancel, in, out))
}

// Create is part of fuse.RawFileSystem.
func (m *metered) Create(cancel <-chan struct{}, in *fuse.CreateIn, name string, out *fuse.CreateOut) fuse.Status {
	start := m.now()
	return m.done(opCreate, start, m.FS.Create(cancel, in, name, out))
}

// Tmpfile is part of fuse.RawFileSystem.
func (m *metered) Tmpfile(cancel <-chan struct{}, in *fuse.CreateIn, out *fuse.CreateOut) fuse.Status {
	start := m.now()
	return m.done(opTmpfile, start, m.FS.Tmpfile(cancel, in, out))
}

// Read is part of fuse.RawFileSystem.
func (m *metered) Read(cancel <-chan struct{}, in *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	start := m.now()
	x, s := m.FS.Read(cancel, in, buf)
	return x, m.done(opRead, start, s)
}

// Write is part of fuse.RawFileSystem.
func (m *metered) Write(cancel <-chan struct{}, in *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	start := m.now()
	x, s := m.FS.Write(cancel, in, data)
	return x, m.done(opWrite, start, s)
}

// Fsync is part of fuse.RawFileSystem.
func (m *metered) Fsync(cancel <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	start := m.now()
	return m.done(opFsync, start, m.FS.Fsync(cancel, in))
}

// FsyncDir is part of fuse.RawFileSystem.
func (m *metered) FsyncDir(cancel <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	start := m.now()
	return m.done(opFsyncDir, start, m.FS.FsyncDir(cancel, in))
}

// Fallocate is part of fuse.RawFileSystem.
func (m *metered) Fallocate(cancel <-chan struct{}, in *fuse.FallocateIn) fuse.Status {
	start := m.now()
	return m.done(opFallocate, start, m.FS.Fallocate(cancel, in))
}

// OpenDir is part of fuse.RawFileSystem.
func (m *metered) OpenDir(cancel <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	start := m.now()
	return m.done(opOpenDir, start, m.FS.OpenDir(cancel, in, out))
}

// ReadDir is part of fuse.RawFileSystem.
func (m *metered) ReadDir(cancel <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	start := m.now()
	return m.done(opReadDir, start, m.FS.ReadDir(cancel, in, out))
}

// ReadDirPlus is part of fuse.RawFileSystem.
func (m *metered) ReadDirPlus(cancel <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	start := m.now()
	return m.done(opReadDirPlus, start, m.FS.ReadDirPlus(cancel, in, out))
}

// StatFs is part of fuse.RawFileSystem.
func (m *metered) StatFs(cancel <-chan struct{}, in *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	start := m.now()
	return m.done(opStatFs, start, m.FS.StatFs(cancel, in, out))
}

// Lseek is part of fuse.RawFileSystem.
func (m *metered) Lseek(cancel <-chan struct{}, in *fuse.LseekIn, out *fuse.LseekOut) fuse.Status {
	start := m.now()
	return m.done(opLseek, start, m.FS.Lseek(cancel, in, out))
}

// GetXAttr is part of fuse.RawFileSystem.
func (m *metered) GetXAttr(cancel <-chan struct{}, in *fuse.InHeader, name string, dest []byte) (uint32, fuse.Status) {
	start := m.now()
	x, s := m.FS.GetXAttr(cancel, in, name, dest)
	return x, m.done(opGetXAttr, start, s)
}

// ListXAttr is part of fuse.RawFileSystem.
func (m *metered) ListXAttr(cancel <-chan struct{}, in *fuse.InHeader, dest []byte) (uint32, fuse.Status) {
	start := m.now()
	x, s := m.FS.ListXAttr(cancel, in, dest)
	return x, m.done(opListXAttr, start, s)
}

// SetXAttr is part of fuse.RawFileSystem.
func (m *metered) SetXAttr(cancel <-chan struct{}, in *fuse.SetXAttrIn, name string, data []byte) fuse.Status {
	start := m.now()
	return m.done(opSetXAttr, start, m.FS.SetXAttr(cancel, in, name, data))
}

// RemoveXAttr is part of fuse.RawFileSystem.
func (m *metered) RemoveXAttr(cancel <-chan struct{}, in *fuse.InHeader, name string) fuse.Status {
	start := m.now()
	return m.done(opRemoveXAttr, start, m.FS.RemoveXAttr(cancel, in, name))
}
