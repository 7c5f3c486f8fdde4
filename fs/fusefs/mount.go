package fusefs

import (
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/hanwen/go-fuse/v2/fuse"
	"github.com/rs/zerolog"
	"github.com/snapfs/snapfs/fs"
)

const (
	fsType = "snapfs" // the mount table shows fuse.snapfs

	// maxRequest is the largest READ and WRITE, in bytes: what the kernel allows by
	// default.
	maxRequest = 1 << 20

	// maxBackground is how many read-ahead requests the kernel keeps in flight.
	maxBackground = 64

	// readAheadKiB is how far the kernel reads ahead, and so how many requests of a
	// sequential reader are under way at a time. Its default, 128 KiB, costs half the
	// throughput, and 1 MiB a quarter. Only root may change it.
	readAheadKiB = 4096
)

// MountOptions configure a mount. The zero value is usable.
type MountOptions struct {
	AllowOther bool     // users other than the one who mounts may see the mount
	ReadOnly   bool     // the kernel refuses every change
	Ask        bool     // the kernel asks for every byte, even where it could use local files
	Stacked    bool     // local files may lie on a file system that is stacked on others, as overlayfs
	FSName     string   // first column of df; "snapfs" when empty
	Options    []string // further options, as after mount -o: "noexec", "noatime", …

	Log   zerolog.Logger // failed requests, and troubles of the connection
	Debug bool           // log every request and reply to standard error
}

// Server serves one mount.
type Server struct {
	dir   string
	fs    *FS
	meter *metered
	fuse  *fuse.Server
}

// Mount makes tree visible at the directory dir. The mount answers as soon as Serve
// runs; until then whoever touches it waits. As root it mounts directly; for anybody
// else fusermount3 does.
//
// The process that serves a mount must not use it: a system call that waits for its
// own process may never return.
func Mount(tree *fs.Tree, dir string, opts MountOptions) (*Server, error) {
	dir, err := filepath.Abs(dir)
	if err == nil {
		dir, err = filepath.EvalSymlinks(dir) // as the mount table will show it
	}
	if err != nil {
		return nil, fmt.Errorf("mount point: %w", err)
	}
	if opts.FSName == "" {
		opts.FSName = fsType
	}
	fd, err := attach(dir, &opts)
	if err != nil {
		return nil, fmt.Errorf("mount on %s: %w", dir, err)
	}
	// A path of this form makes go-fuse take over a connection that exists.
	raw := New(tree, opts.Log)
	if opts.Ask {
		raw.direct.off = "it is switched off"
	}
	meter := meter(raw)
	server, err := fuse.NewServer(meter, "/dev/fd/"+strconv.Itoa(fd), opts.forServer())
	if err != nil {
		_ = detach(dir, true)
		return nil, fmt.Errorf("mount on %s: %w", dir, err)
	}
	setReadAhead(dir)
	return &Server{dir: dir, fs: raw, meter: meter, fuse: server}, nil
}

func (o *MountOptions) forServer() *fuse.MountOptions {
	depth := 1
	if o.Stacked {
		depth = 2 // the deepest there is: nothing can be stacked on this mount then
	}
	return &fuse.MountOptions{
		MaxStackDepth: depth,
		FsName:        o.FSName,
		Name:          fsType,
		MaxWrite:      maxRequest,
		MaxBackground: maxBackground,
		Debug:         o.Debug,
		DisableSplice: true, // copying is as fast, and works whatever the limit of pipes is
		Logger:        log.New(o.Log, "", 0),

		// The tree changes only through the mount: whatever the kernel has cached is right.
		ExplicitDataCacheControl: true,
		EnableSymlinkCaching:     true,

		// Without it every write is preceded by a question for the capabilities of the
		// file. With it we drop set-user-ID bits ourselves.
		// And whoever opens a file to replace its content says so, instead of truncating it
		// afterwards, when it is too late to choose how to serve it.
		ExtraCapabilities: fuse.CAP_HANDLE_KILLPRIV_V2 | fuse.CAP_ATOMIC_O_TRUNC,
	}
}

// Dir returns the mount point: absolute, without symbolic links.
func (s *Server) Dir() string { return s.dir }

// Passthrough says whether the kernel reads and writes local files directly.
func (s *Server) Passthrough() Passthrough { return s.fs.direct.state() }

// Serve answers requests until the file system is unmounted, by whomever, and the
// last process has let go of it. It must be called once.
func (s *Server) Serve() { s.fuse.Serve() }

// Unmount detaches the mount, which makes Serve return. The error matches
// unix.EBUSY while files of it are open or processes work in it.
func (s *Server) Unmount() error { return detach(s.dir, false) }

// UnmountLazy takes the mount out of sight at once. Serve returns when the last
// process has let go of it.
func (s *Server) UnmountLazy() error { return detach(s.dir, true) }

// Detach takes the mount at dir out of sight, whoever serves it. It is for mounts
// whose process has died.
func Detach(dir string) error { return detach(dir, true) }

// setReadAhead widens the read-ahead of the mount. It is a precaution against slow
// reads only, so failing, as everybody but root does, is no error.
func setReadAhead(dir string) {
	// The mount table, not stat: stat would ask the server, which does not run yet.
	dev, err := mountDevice(dir)
	if err != nil {
		return
	}
	_ = os.WriteFile("/sys/class/bdi/"+dev+"/read_ahead_kb", []byte(strconv.Itoa(readAheadKiB)), 0)
}

// mountDevice returns the device number, "major:minor", of what is mounted on dir.
func mountDevice(dir string) (string, error) {
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", err
	}
	dev := ""
	escaped := strings.NewReplacer(" ", `\040`, "\t", `\011`, "\n", `\012`, `\`, `\134`).Replace(dir)
	for line := range strings.Lines(string(table)) {
		if f := strings.Fields(line); len(f) > 4 && f[4] == escaped {
			dev = f[2] // the last one covers those before it
		}
	}
	if dev == "" {
		return "", fmt.Errorf("nothing is mounted on %s", dir)
	}
	return dev, nil
}
