package fusefs

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestFullDisk fills the disk under the overlay through the mount: programs see
// ENOSPC, can delete, and find after a crash what they were told is written.
func TestFullDisk(t *testing.T) {
	m := prepare(t, "base=0123456789")
	disk := filepath.Join(filepath.Dir(m.config.Dir), "disk")
	if err := os.Mkdir(disk, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", disk, "tmpfs", 0, "size=12m"); err != nil {
		t.Skip("needs a small file system: ", err)
	}
	t.Cleanup(func() { unix.Unmount(disk, unix.MNT_DETACH) })
	m.config.Overlay = filepath.Join(disk, "overlay")
	m.start()
	content := bytes.Repeat([]byte("x"), 300_000)
	var whole []string
	for i := 0; ; i++ {
		name := fmt.Sprintf("f%d", i)
		err := os.WriteFile(m.path(name), content, 0o644)
		if errors.Is(err, unix.ENOSPC) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		whole = append(whole, name)
	}
	m.want("base", "0123456789")
	m.kill()
	m.start()
	for _, name := range whole {
		m.want(name, string(content))
	}
	for _, name := range whole {
		if err := os.Remove(m.path(name)); err != nil {
			t.Fatalf("delete on a full disk: %v", err)
		}
	}
	m.write("after", "there is room again")
	m.stop()
	m.start()
	m.want("after", "there is room again")
	m.stop() // before its disk goes
}
