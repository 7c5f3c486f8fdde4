package fusefs

import (
	"os"
	"os/exec"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// runAs runs a shell command as another user in the directory of the mount.
func (m *mount) runAs(uid uint32, command string) {
	m.t.Helper()
	cmd := exec.Command("sh", "-c", command)
	cmd.Dir = m.config.Dir
	cmd.SysProcAttr = &unix.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	if out, err := cmd.CombinedOutput(); err != nil {
		m.t.Fatalf("%s: %v: %s", command, err, out)
	}
}

// TestChangesDropSetUserID checks that a program loses the rights of its owner when
// somebody else changes it, and only then.
func TestChangesDropSetUserID(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root, to be somebody else")
	}
	const nobody = 65534
	tests := []struct {
		name    string
		command string
		uid     uint32
		want    uint32
	}{
		{"write", "echo x >> f", nobody, 0o777},
		{"overwrite", "echo x > f", nobody, 0o777},
		{"truncate", "truncate -s 1 f", nobody, 0o777},
		{"allocate", "fallocate -l 100 f", nobody, 0o777},
		{"read", "cat f", nobody, 0o6777},
		{"write as root", "echo x >> f", 0, 0o6777},
		{"chown as root", "chown 1:1 f", 0, 0o777},
		{"chmod as root", "chmod 4711 f", 0, 0o4711},
	}
	m := prepare(t, "f=base")
	m.config.AllowOther = true
	m.giveTo(nobody)
	m.start()
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if err := os.Chown(m.path("f"), 0, 0); err != nil {
				t.Fatal(err)
			}
			if err := unix.Chmod(m.path("f"), 0o6777); err != nil {
				t.Fatal(err)
			}
			m.runAs(test.uid, test.command)
			if got := m.stat("f").Mode & 0o7777; got != test.want {
				t.Errorf("mode %o, want %o", got, test.want)
			}
		})
	}
}
