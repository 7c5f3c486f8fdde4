package fusefs

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// mountFlags are the mount options that the kernel takes as bits, not as text.
var mountFlags = map[string]struct{ set, clear uintptr }{
	"ro":         {set: unix.MS_RDONLY},
	"rw":         {clear: unix.MS_RDONLY},
	"dev":        {clear: unix.MS_NODEV},
	"nodev":      {set: unix.MS_NODEV},
	"suid":       {clear: unix.MS_NOSUID},
	"nosuid":     {set: unix.MS_NOSUID},
	"exec":       {clear: unix.MS_NOEXEC},
	"noexec":     {set: unix.MS_NOEXEC},
	"atime":      {clear: unix.MS_NOATIME},
	"noatime":    {set: unix.MS_NOATIME},
	"nodiratime": {set: unix.MS_NODIRATIME},
	"relatime":   {set: unix.MS_RELATIME},
	"async":      {clear: unix.MS_SYNCHRONOUS},
	"sync":       {set: unix.MS_SYNCHRONOUS},
	"dirsync":    {set: unix.MS_DIRSYNC},
}

// attach mounts a new connection on dir and returns its descriptor.
func attach(dir string, opts *MountOptions) (fd int, err error) {
	if os.Geteuid() == 0 {
		return attachDirect(dir, opts)
	}
	return attachHelper(dir, opts)
}

// text returns the options common to both ways of mounting.
func (o *MountOptions) text() []string {
	list := []string{"default_permissions", fmt.Sprintf("max_read=%d", maxRequest)}
	if o.AllowOther {
		list = append(list, "allow_other")
	}
	return list
}

func attachDirect(dir string, opts *MountOptions) (int, error) {
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return -1, err
	}
	fd, err := openDevice()
	if err != nil {
		return -1, err
	}
	flags := uintptr(unix.MS_NOSUID | unix.MS_NODEV)
	if opts.ReadOnly {
		flags |= unix.MS_RDONLY
	}
	data := append(opts.text(),
		fmt.Sprintf("fd=%d", fd), fmt.Sprintf("rootmode=%o", st.Mode&unix.S_IFMT),
		fmt.Sprintf("user_id=%d", os.Geteuid()), fmt.Sprintf("group_id=%d", os.Getegid()))
	for _, o := range opts.Options {
		if f, ok := mountFlags[o]; ok {
			flags = flags&^f.clear | f.set
		} else if !slices.Contains(data, o) {
			data = append(data, o)
		}
	}
	if err := unix.Mount(opts.FSName, dir, "fuse."+fsType, flags, strings.Join(data, ",")); err != nil {
		unix.Close(fd)
		if errors.Is(err, unix.EINVAL) && len(opts.Options) > 0 {
			err = fmt.Errorf("the kernel refuses the options %s: %w", strings.Join(opts.Options, ","), err)
		}
		return -1, err
	}
	return fd, nil
}

func openDevice() (int, error) {
	const device = "/dev/fuse"
	// Close-on-exec: a child that inherits the connection keeps a dead mount alive.
	fd, err := unix.Open(device, unix.O_RDWR|unix.O_CLOEXEC, 0)
	switch {
	case errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV):
		return -1, fmt.Errorf("open %s: %w; load the kernel module fuse, or give the container the device", device, err)
	case err != nil:
		return -1, fmt.Errorf("open %s: %w", device, err)
	}
	return fd, nil
}

// attachHelper has the set-uid helper of libfuse mount. The helper sends the
// descriptor over a socket whose number it learns from the environment.
func attachHelper(dir string, opts *MountOptions) (int, error) {
	bin, err := helper()
	if err != nil {
		return -1, err
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("socketpair: %w", err)
	}
	defer unix.Close(pair[0])
	remote := os.NewFile(uintptr(pair[1]), "fusermount")
	options := append(opts.text(), "nosuid", "nodev", "fsname="+opts.FSName, "subtype="+fsType)
	if opts.ReadOnly {
		options = append(options, "ro")
	}
	options = append(options, opts.Options...)
	escape := strings.NewReplacer(`\`, `\\`, `,`, `\,`)
	for i := range options {
		options[i] = escape.Replace(options[i])
	}
	cmd := exec.Command(bin, "-o", strings.Join(options, ","), "--", dir)
	cmd.Env = append(os.Environ(), "_FUSE_COMMFD=3")
	cmd.ExtraFiles = []*os.File{remote}
	err = runHelper(cmd)
	remote.Close()
	if err != nil {
		return -1, err
	}
	return receiveFD(pair[0])
}

// receiveFD takes the descriptor that the helper has sent.
func receiveFD(socket int) (int, error) {
	var data [8]byte
	control := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := unix.Recvmsg(socket, data[:], control, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("receive the connection from fusermount3: %w", err)
	}
	messages, err := unix.ParseSocketControlMessage(control[:n])
	if err != nil || len(messages) != 1 {
		return -1, errors.New("fusermount3 sent no connection")
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return -1, errors.New("fusermount3 sent no connection")
	}
	return fds[0], nil
}

// detach unmounts dir.
func detach(dir string, lazy bool) error {
	err := detachDirect(dir, lazy)
	if errors.Is(err, unix.EPERM) && os.Geteuid() != 0 {
		err = detachHelper(dir, lazy)
	}
	if err != nil {
		return fmt.Errorf("unmount %s: %w", dir, err)
	}
	return nil
}

func detachDirect(dir string, lazy bool) error {
	flags := unix.UMOUNT_NOFOLLOW
	if lazy {
		flags |= unix.MNT_DETACH
	}
	return unix.Unmount(dir, flags)
}

func detachHelper(dir string, lazy bool) error {
	bin, err := helper()
	if err != nil {
		return err
	}
	args := []string{"-u", "--", dir}
	if lazy {
		args[0] = "-uz"
	}
	return runHelper(exec.Command(bin, args...))
}

func helper() (string, error) {
	for _, name := range []string{"fusermount3", "/bin/fusermount3", "fusermount", "/bin/fusermount"} {
		if bin, err := exec.LookPath(name); err == nil {
			return bin, nil
		}
	}
	return "", errors.New("fusermount3 is not installed, and only root can do without; install the package fuse3")
}

// runHelper runs fusermount3. What it writes becomes the error; that the mount is
// busy can only be told from the text.
func runHelper(cmd *exec.Cmd) error {
	var text bytes.Buffer
	cmd.Stderr = &text
	cmd.Env = append(cmd.Environ(), "LC_ALL=C")
	err := cmd.Run()
	if err == nil {
		return nil
	}
	said := strings.TrimSpace(text.String())
	switch {
	case strings.Contains(said, "busy"):
		return unix.EBUSY
	case said != "":
		return errors.New(said)
	}
	return fmt.Errorf("%s: %w", cmd.Path, err)
}
