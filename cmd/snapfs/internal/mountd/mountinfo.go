package mountd

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// FSType is the type of our mounts in the mount table.
const FSType = "fuse.snapfs"

// MountEntry is a line of the mount table.
type MountEntry struct {
	Dir    string
	Type   string
	Source string
}

// Mounts returns the mount table of this process. Later entries cover earlier ones.
func Mounts() ([]MountEntry, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var list []MountEntry
	for sc := bufio.NewScanner(f); sc.Scan(); {
		// See proc(5): fields 5 is the mount point; type and source follow a "-".
		fields := strings.Fields(sc.Text())
		for i := 6; i+2 < len(fields); i++ {
			if fields[i] == "-" {
				list = append(list, MountEntry{unescape(fields[4]), fields[i+1], unescape(fields[i+2])})
				break
			}
		}
	}
	return list, nil
}

// unescape undoes the octal escapes of the mount table.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// MountAt returns the topmost mount at dir, if any.
func MountAt(dir string) (MountEntry, bool, error) {
	list, err := Mounts()
	if err != nil {
		return MountEntry{}, false, err
	}
	for i := len(list) - 1; i >= 0; i-- {
		if list[i].Dir == dir {
			return list[i], true, nil
		}
	}
	return MountEntry{}, false, nil
}

// below returns the mount points inside of dir.
func below(dir string) []string {
	list, err := Mounts()
	if err != nil {
		return nil
	}
	var dirs []string
	for _, m := range list {
		if m.Dir != dir && within(m.Dir, dir) {
			dirs = append(dirs, m.Dir)
		}
	}
	return dirs
}

// Holder is a process that uses a mount.
type Holder struct {
	PID     int    `json:"pid"`
	Command string `json:"command"`
	How     string `json:"how"` // "working directory", "open file …", …
}

func (h Holder) String() string { return fmt.Sprintf("%s (pid %d): %s", h.Command, h.PID, h.How) }

// maxHolders bounds the list: it is for a message.
const maxHolders = 20

// Holders lists the processes that use the mount at dir, as far as this user may
// look at them. It reads only links in /proc, so that it never touches the mount.
func Holders(dir string) []Holder {
	procs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil
	}
	var list []Holder
	for _, proc := range procs {
		how, ok := uses(proc, dir)
		if !ok {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(proc))
		if err != nil {
			continue
		}
		comm, err := os.ReadFile(proc + "/comm")
		if err != nil {
			continue // it is gone
		}
		list = append(list, Holder{PID: pid, Command: strings.TrimSpace(string(comm)), How: how})
		if len(list) == maxHolders {
			break
		}
	}
	return list
}

func uses(proc, dir string) (how string, ok bool) {
	for _, l := range []struct{ link, what string }{{"cwd", "working directory"}, {"root", "root directory"}, {"exe", "running program"}} {
		if target, err := os.Readlink(filepath.Join(proc, l.link)); err == nil && within(target, dir) {
			return l.what + " " + target, true
		}
	}
	fds, err := os.ReadDir(proc + "/fd")
	if err != nil {
		return "", false
	}
	for _, fd := range fds {
		if target, err := os.Readlink(filepath.Join(proc, "fd", fd.Name())); err == nil && within(target, dir) {
			return "open file " + target, true
		}
	}
	return "", false
}

func within(path, dir string) bool {
	return path == dir || strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/")
}
