package fusefs

import (
	"errors"

	"github.com/hanwen/go-fuse/v2/fuse"
	"github.com/snapfs/snapfs/fs"
	"golang.org/x/sys/unix"
)

// Open opens a file.
func (f *FS) Open(_ <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	x := f.inodes.enter(in.NodeId)
	defer f.inodes.leave(x)
	if f.aliases.isOld(in.NodeId) {
		return fuse.Status(unix.ESTALE)
	}
	if x.readsStored() && (in.Flags&unix.O_ACCMODE != unix.O_RDONLY || in.Flags&unix.O_TRUNC != 0) {
		return f.split(in.NodeId)
	}
	file, err := f.tree.Open(f.aliases.ino(in.NodeId), in.Flags)
	if err != nil {
		return status(err)
	}
	if in.Mode&fuse.OPEN_KILL_SUIDGID != 0 {
		_, err = file.DropPrivileges()
	}
	if err == nil {
		err = f.admit(x, file, in.Flags, out)
	}
	if errors.Is(err, errElsewhere) {
		file.Close()
		return f.split(in.NodeId)
	}
	if err != nil {
		file.Close()
		return status(err)
	}
	return fuse.OK
}

// openFile is an open file of the kernel.
type openFile struct {
	*fs.File
	inode *inode
}

// openFlags returns how the kernel is to treat a file that was opened with the given
// flags. Content stays cached, since nobody changes it behind the back of the kernel.
// Closing needs no FLUSH, unless the file may have been mapped for writing: then the
// kernel hands on what was written before the application goes on.
func openFlags(flags uint32) uint32 {
	if flags&unix.O_ACCMODE == unix.O_RDWR {
		return fuse.FOPEN_KEEP_CACHE
	}
	return fuse.FOPEN_KEEP_CACHE | fuse.FOPEN_NOFLUSH
}

// Create makes a file and opens it.
func (f *FS) Create(_ <-chan struct{}, in *fuse.CreateIn, name string, out *fuse.CreateOut) fuse.Status {
	file, a, err := f.tree.Create(fs.Ino(in.NodeId), name, in.Mode, owner(&in.InHeader))
	return f.created(file, &a, err, in, out)
}

// Tmpfile makes a file without a name and opens it.
func (f *FS) Tmpfile(_ <-chan struct{}, in *fuse.CreateIn, out *fuse.CreateOut) fuse.Status {
	file, a, err := f.tree.Tmpfile(fs.Ino(in.NodeId), in.Mode, owner(&in.InHeader))
	return f.created(file, &a, err, in, out)
}

func (f *FS) created(file *fs.File, a *fs.Attr, err error, in *fuse.CreateIn, out *fuse.CreateOut) fuse.Status {
	if err != nil {
		return status(err)
	}
	x := f.inodes.enter(uint64(a.Ino))
	defer f.inodes.leave(x)
	if err := f.admit(x, file, in.Flags, &out.OpenOut); err != nil {
		file.Close()
		f.tree.Forget(a.Ino, 1) // the kernel never hears of it
		return status(err)
	}
	f.fillEntry(a, &out.EntryOut)
	return fuse.OK
}

// Read reads. It waits for the store as long as that takes, or until the reader is
// interrupted; the fetch itself goes on for others.
func (f *FS) Read(cancel <-chan struct{}, in *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	file, ok := f.files.get(in.Fh)
	if !ok {
		return nil, fuse.EBADF
	}
	req := newRequest(cancel, in.Pid)
	n, err := file.ReadAt(req, buf, int64(in.Offset))
	req.finish()
	if err != nil {
		return nil, f.failed("read", file.Ino(), err)
	}
	return fuse.ReadResultData(buf[:n]), fuse.OK
}

// failed answers a request that failed, and logs what an application will only see
// as EIO. A file that fails again and again is logged once in a while.
func (f *FS) failed(op string, ino fs.Ino, err error) fuse.Status {
	errno := fs.Errno(err)
	if errno == unix.EIO && f.quiet.allow(uint64(ino)) {
		f.log.Error().Str("op", op).Str("path", f.tree.Path(ino)).Err(err).Msg("I/O error returned to the application")
	}
	return fuse.Status(errno)
}

// Write writes.
func (f *FS) Write(_ <-chan struct{}, in *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	file, ok := f.files.get(in.Fh)
	if !ok {
		return 0, fuse.EBADF
	}
	if in.WriteFlags&fuse.WRITE_KILL_SUIDGID != 0 {
		if err := f.dropPrivileges(file); err != nil {
			return 0, f.failed("write", file.Ino(), err)
		}
	}
	write := file.WriteAt
	if in.WriteFlags&fuse.WRITE_CACHE != 0 {
		write = file.WriteBackAt
	}
	n, err := write(data, int64(in.Offset))
	if err != nil {
		return 0, f.failed("write", file.Ino(), err)
	}
	return uint32(n), fuse.OK
}

// dropPrivileges makes a file that somebody unprivileged writes to lose its set-user-ID
// bit. The kernel leaves that to the server, and does not know the new mode by itself.
func (f *FS) dropPrivileges(file *openFile) error {
	had, err := file.DropPrivileges()
	if had {
		go f.conn.InodeNotify(file.inode.number, -1, 0) // attributes only; it must not run in a handler
	}
	return err
}

// Flush has nothing to do: every write was handed on when it was made.
func (f *FS) Flush(<-chan struct{}, *fuse.FlushIn) fuse.Status { return fuse.OK }

// Release closes a file.
func (f *FS) Release(_ <-chan struct{}, in *fuse.ReleaseIn) {
	if file, ok := f.files.remove(in.Fh); ok {
		f.close(file)
	}
}

func (f *FS) close(file *openFile) {
	x := file.inode
	x.mu.Lock()
	if !x.direct && !file.Writable() && file.Size() >= minStored && f.direct.offers(true) {
		file.Prepare()
	}
	file.Close()
	if x.opens--; x.opens == 0 && x.direct {
		f.direct.unregister(x.id)
		x.direct = false
		if x.lent != nil {
			x.lent.Close()
			x.lent = nil
		}
	}
	f.inodes.leave(x)
}

// Fsync makes a file durable.
func (f *FS) Fsync(_ <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	file, ok := f.files.get(in.Fh)
	if !ok {
		return fuse.EBADF
	}
	if err := file.Sync(); err != nil {
		return f.failed("fsync", file.Ino(), err)
	}
	return fuse.OK
}

// Fallocate reserves space or makes zeros.
func (f *FS) Fallocate(_ <-chan struct{}, in *fuse.FallocateIn) fuse.Status {
	file, ok := f.files.get(in.Fh)
	if !ok {
		return fuse.EBADF
	}
	if in.Uid != 0 && file.Writable() {
		if err := f.dropPrivileges(file); err != nil {
			return status(err)
		}
	}
	return status(file.Allocate(in.Mode, int64(in.Offset), int64(in.Length)))
}

// Lseek finds data and holes.
func (f *FS) Lseek(_ <-chan struct{}, in *fuse.LseekIn, out *fuse.LseekOut) fuse.Status {
	file, ok := f.files.get(in.Fh)
	if !ok {
		return fuse.EBADF
	}
	pos, err := file.Seek(int64(in.Offset), int(in.Whence))
	out.Offset = uint64(pos)
	return status(err)
}
