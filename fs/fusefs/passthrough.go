package fusefs

import (
	"errors"
	"os"
	"sync"

	"github.com/hanwen/go-fuse/v2/fuse"
	"github.com/snapfs/snapfs/fs"
	"golang.org/x/sys/unix"
)

// minStored is the size, in bytes, from which on it pays to let the kernel read a
// stored file directly. Below, the page cache of the mount itself is faster, because
// it outlasts the open file.
const minStored = 1 << 20

// passthrough is the ability of the kernel to use local files in place of open files of
// the mount.
type passthrough struct {
	conn *fuse.Server

	mu  sync.Mutex
	off string // why it is not used, "" while it is
	// stacked notes that files of the overlay, or stored ones, lie on a file system
	// that the kernel will not use: it is itself made of others.
	noData, noStored bool
	opens            uint64 // that were served so
}

// start finds out whether the kernel offers it and lets us use it.
func (p *passthrough) start(conn *fuse.Server) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conn = conn
	switch {
	case p.off != "":
	case conn.KernelSettings().Flags64()&fuse.CAP_PASSTHROUGH == 0:
		p.off = "the kernel does not offer it; Linux 6.9 and later do"
	case !MayPassThrough():
		p.off = "it needs the capability CAP_SYS_ADMIN, as root has"
	}
}

// MayPassThrough reports whether this process may let the kernel read and write local
// files directly: it takes the capability CAP_SYS_ADMIN.
func MayPassThrough() bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	return unix.Capget(&header, &data[0]) == nil && data[0].Effective&(1<<unix.CAP_SYS_ADMIN) != 0
}

// offers reports whether it is worth trying to serve a file so.
func (p *passthrough) offers(stored bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.off == "" && (stored && !p.noStored || !stored && !p.noData)
}

// register makes a local file known to the kernel.
func (p *passthrough) register(f *os.File, stored bool) (int32, bool) {
	id, errno := p.conn.RegisterBackingFd(&fuse.BackingMap{Fd: int32(f.Fd())})
	if errno == 0 {
		return id, true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case errno == unix.EMFILE || errno == unix.ENFILE || errno == unix.ENOMEM: // this time
	case errno == unix.ELOOP && stored:
		p.noStored = true
	case errno == unix.ELOOP:
		p.noData = true
	case p.off == "":
		p.off = "the kernel refuses it: " + errno.Error()
	}
	return 0, false
}

func (p *passthrough) unregister(id int32) { _ = p.conn.UnregisterBackingFd(id) }

func (p *passthrough) count() {
	p.mu.Lock()
	p.opens++
	p.mu.Unlock()
}

// Passthrough says whether the kernel reads and writes local files directly.
type Passthrough struct {
	Active bool
	Why    string // it is not, or only partly
	Opens  uint64 // files that were opened so
}

func (p *passthrough) state() Passthrough {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := Passthrough{Active: p.off == "" && (!p.noData || !p.noStored), Why: p.off, Opens: p.opens}
	if s.Why == "" && (p.noData || p.noStored) {
		s.Why = "the file system of the cache or the overlay is stacked on others, as in a container"
	}
	return s
}

// errElsewhere means that the name has got another inode of the kernel, which must look
// it up again: that is how it takes ESTALE.
var errElsewhere = errors.New("the inode has a new number")

// admit decides how an open file is served, and returns the flags of the reply.
func (f *FS) admit(x *inode, file *fs.File, open uint32, out *fuse.OpenOut) error {
	if x.opens == 0 {
		f.choose(x, file)
	} else if err := join(x, file); err != nil {
		return err
	}
	x.opens++
	f.inodes.keep(x)
	out.OpenFlags = openFlags(open)
	if x.direct {
		// What the page cache of the mount holds goes, since it would get out of date.
		out.OpenFlags = fuse.FOPEN_PASSTHROUGH | fuse.FOPEN_NOFLUSH
		out.BackingID = x.id
		f.direct.count()
	}
	out.Fh = f.files.add(&openFile{File: file, inode: x})
	return nil
}

// choose decides how the open files of an inode are served from now on.
func (f *FS) choose(x *inode, file *fs.File) {
	x.direct, x.stored = false, ""
	if f.direct.offers(false) {
		if data, err := file.Borrow(false); err == nil && data != nil {
			x.id, x.direct = f.direct.register(data, false)
			return
		}
	}
	if file.Writable() || file.Size() < minStored || !f.direct.offers(true) {
		return
	}
	if stored, ok := file.Stored(); ok {
		x.stored = file.StoredID()
		if x.id, x.direct = f.direct.register(stored, true); !x.direct {
			stored.Close()
			return
		}
		x.lent = stored
	}
}

// join serves a file like those of its inode that are open. Those that read a stored file
// may be left alone with it. Those that use a file of the overlay may write to it, so
// that nobody can be served in another way, whatever it costs.
func join(x *inode, file *fs.File) error {
	switch {
	case !x.direct:
		return nil
	case x.stored == "":
		_, err := file.Borrow(true)
		return err
	case file.Writable() || file.StoredID() != x.stored:
		return errElsewhere
	}
	return nil
}

// split gives the names of an inode a new inode of the kernel.
func (f *FS) split(number uint64) fuse.Status {
	f.aliases.replace(number)
	// The attributes of the old one must not be remembered any more. Not from within
	// this request: the kernel may hold locks for it.
	go f.conn.InodeNotify(number, -1, 0)
	return fuse.Status(unix.ESTALE)
}
