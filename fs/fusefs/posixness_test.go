package fusefs

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func TestXattrs(t *testing.T) {
	m := newMount(t, "f=base", "d/")
	path := m.path("f")
	buf := make([]byte, 100)
	if n, err := unix.Getxattr(path, "user.snapfs.hash", buf); err != nil || len(buf[:n]) != 32 {
		t.Errorf("hash: %q, %v", buf[:max(n, 0)], err)
	}
	if n, err := unix.Listxattr(path, buf); err != nil || n != 0 {
		t.Errorf("a fresh file lists %q, %v", buf[:max(n, 0)], err)
	}
	for name, want := range map[string]error{
		"user.snapfs.hash":         unix.EPERM,
		"security.a":               unix.EOPNOTSUPP,
		"user.a":                   nil,
		"trusted.a":                nil,
		"other.a":                  unix.EOPNOTSUPP,
		"user." + long("x", 250):   nil,
		"user.\xff not UTF-8 \x01": nil,
	} {
		if os.Getuid() != 0 && (strings.HasPrefix(name, "trusted.") || strings.HasPrefix(name, "security.")) {
			continue // the kernel refuses them before it asks
		}
		if err := unix.Setxattr(path, name, []byte("v"), 0); !errors.Is(err, want) {
			t.Errorf("set %q: %v, want %v", name, err, want)
		}
	}
	m.write("f", "changed")
	if _, err := unix.Getxattr(path, "user.snapfs.hash", buf); !errors.Is(err, unix.ENODATA) {
		t.Errorf("hash of a changed file: %v", err)
	}
}

func long(s string, n int) string { return strings.Repeat(s, n) }

func TestAccessControlListsAreRefused(t *testing.T) {
	m := newMount(t, "f=base")
	acl := []byte{2, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255, 4, 0, 4, 0, 255, 255, 255, 255, 32, 0, 4, 0, 255, 255, 255, 255}
	if err := unix.Setxattr(m.path("f"), "system.posix_acl_access", acl, 0); !errors.Is(err, unix.EOPNOTSUPP) {
		t.Errorf("set: %v", err)
	}
	if _, err := unix.Getxattr(m.path("f"), "system.posix_acl_access", acl); !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.ENODATA) {
		t.Errorf("get: %v", err)
	}
}

// TestSpecialFiles makes what no manifest can hold.
func TestSpecialFiles(t *testing.T) {
	m := newMount(t, "f=base")
	for name, mode := range map[string]uint32{"fifo": unix.S_IFIFO, "socket": unix.S_IFSOCK, "null": unix.S_IFCHR, "loop": unix.S_IFBLK} {
		dev := unix.Mkdev(1, 3)
		err := unix.Mknod(m.path(name), mode|0o640, int(dev))
		if errors.Is(err, unix.EPERM) && os.Getuid() != 0 {
			continue
		}
		if err != nil {
			t.Fatalf("mknod %s: %v", name, err)
		}
		st := m.stat(name)
		if st.Mode&unix.S_IFMT != mode {
			t.Errorf("%s: mode %o", name, st.Mode)
		}
		if (mode == unix.S_IFCHR || mode == unix.S_IFBLK) && st.Rdev != dev {
			t.Errorf("%s: device %#x, want %#x", name, st.Rdev, dev)
		}
	}
	go func() {
		if w, err := os.OpenFile(m.path("fifo"), os.O_WRONLY, 0); err == nil {
			w.WriteString("through the pipe")
			w.Close()
		}
	}()
	if b, err := os.ReadFile(m.path("fifo")); err != nil || string(b) != "through the pipe" {
		t.Errorf("the fifo delivers %q, %v", b, err)
	}
	m.kill()
	m.start()
	if st := m.stat("fifo"); st.Mode != unix.S_IFIFO|0o640 {
		t.Errorf("fifo after a crash: mode %o", st.Mode)
	}
}

// TestLocksExcludeOtherProcesses takes a lock and lets another process try.
func TestLocksExcludeOtherProcesses(t *testing.T) {
	m := newMount(t, "f=base")
	f := m.open("f", os.O_RDWR)
	try := func(command string) bool {
		cmd := exec.Command("sh", "-c", command)
		cmd.Dir = m.config.Dir
		return cmd.Run() == nil
	}
	const flock = "flock -n f true"
	if _, err := exec.LookPath("flock"); err != nil {
		t.Skip("needs the command flock")
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	if try(flock) {
		t.Error("two processes hold the same lock")
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_UN); err != nil {
		t.Fatal(err)
	}
	if !try(flock) {
		t.Error("a lock that was given back is still held")
	}
}

func TestOpenFlags(t *testing.T) {
	m := newMount(t, "f=0123456789", "l->f", "d/x=1")
	tests := []struct {
		name  string
		path  string
		flags int
		want  error
	}{
		{"O_EXCL on what exists", "f", unix.O_CREAT | unix.O_EXCL | unix.O_WRONLY, unix.EEXIST},
		{"O_EXCL on a link", "l", unix.O_CREAT | unix.O_EXCL | unix.O_WRONLY, unix.EEXIST},
		{"O_NOFOLLOW on a link", "l", unix.O_NOFOLLOW, unix.ELOOP},
		{"O_DIRECTORY on a file", "f", unix.O_DIRECTORY, unix.ENOTDIR},
		{"writing a directory", "d", unix.O_WRONLY, unix.EISDIR},
		{"O_CREAT on a directory", "d", unix.O_CREAT, unix.EISDIR},
		{"a name too long", long("n", 256), unix.O_CREAT | unix.O_WRONLY, unix.ENAMETOOLONG},
		{"the longest name", long("n", 255), unix.O_CREAT | unix.O_WRONLY, nil},
		{"O_TMPFILE", "d", unix.O_TMPFILE | unix.O_RDWR, nil},
		{"O_SYNC", "f", unix.O_SYNC | unix.O_WRONLY, nil},
		{"O_DIRECT", "f", unix.O_DIRECT, nil},
		{"O_PATH", "f", unix.O_PATH, nil},
		{"below a file", "f/x", unix.O_RDONLY, unix.ENOTDIR},
	}
	for _, test := range tests {
		fd, err := unix.Open(m.path(test.path), test.flags, 0o600)
		if !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", test.name, err, test.want)
		}
		if err == nil {
			unix.Close(fd)
		}
	}
	f := m.open("f", os.O_WRONLY|os.O_APPEND)
	g := m.open("f", os.O_WRONLY|os.O_APPEND)
	f.WriteString("a")
	g.WriteString("b")
	f.WriteString("c")
	m.want("f", "0123456789abc")
	m.open("f", os.O_WRONLY|os.O_TRUNC)
	m.want("f", "")
}

// TestPermissionsOfSeveralUsers checks that the kernel enforces what modes say.
func TestPermissionsOfSeveralUsers(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root, to be somebody else")
	}
	const alice, bob = 1001, 1002
	m := prepare(t, "f=base", "tmp/")
	m.config.AllowOther = true
	m.giveTo(0)
	m.start()
	if err := unix.Chmod(m.path("tmp"), 0o1777); err != nil {
		t.Fatal(err)
	}
	try := func(uid uint32, command string) bool {
		cmd := exec.Command("sh", "-c", command)
		cmd.Dir = m.config.Dir
		cmd.SysProcAttr = &unix.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
		return cmd.Run() == nil
	}
	for _, test := range []struct {
		uid     uint32
		command string
		works   bool
	}{
		{alice, "cat f", true},
		{alice, "echo x >> f", false},
		{alice, "rm -f f", false},
		{alice, "chmod 777 f", false},
		{alice, "touch -d 2001-01-01 f", false},
		{alice, "umask 077 && echo secret > tmp/a", true},
		{alice, "cat tmp/a && chmod 640 tmp/a", true},
		{bob, "cat tmp/a", false},
		{bob, "rm -f tmp/a", false}, // the directory is sticky
		{bob, "mv tmp/a tmp/b", false},
		{bob, "echo mine > tmp/b && rm tmp/b", true},
		{alice, "chown 1002 tmp/a", false},
		{alice, "test $(stat -c %u tmp/a) = 1001", true},
	} {
		if got := try(test.uid, test.command); got != test.works {
			t.Errorf("user %d: %s: works: %v, want %v", test.uid, test.command, got, test.works)
		}
	}
}
