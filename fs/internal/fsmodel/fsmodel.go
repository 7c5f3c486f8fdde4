// Package fsmodel checks file systems against each other: a state machine runs the
// same random operations on two of them and compares every answer, and after every
// step the whole trees. It is used by tests only.
//
// The alphabet of names is tiny, so that operations meet: names are created where
// others were removed, renamed onto each other, and used through handles that were
// opened before.
package fsmodel

import (
	"flag"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// Kind is the kind of an operation.
type Kind string

// The kinds of operation. Those with a slot work on the file that Open or Tmpfile
// has put there.
const (
	Mkdir    Kind = "mkdir"    // Path, Mode
	Rmdir    Kind = "rmdir"    // Path
	Unlink   Kind = "unlink"   // Path
	Rename   Kind = "rename"   // Path, To, Flags
	Link     Kind = "link"     // Path, To
	Symlink  Kind = "symlink"  // Path, To is the text
	Mkfifo   Kind = "mkfifo"   // Path, Mode
	Chmod    Kind = "chmod"    // Path, Mode
	Utimens  Kind = "utimens"  // Path, Off is the modification time in nanoseconds
	SetXattr Kind = "setxattr" // Path, Name, Data, Flags
	DelXattr Kind = "delxattr" // Path, Name
	Truncate Kind = "truncate" // Path, Len

	Open      Kind = "open"      // Slot, Path, Flags, Mode; what was in the slot is closed
	Tmpfile   Kind = "tmpfile"   // Slot, Path of the directory, Mode
	Close     Kind = "close"     // Slot
	Read      Kind = "read"      // Slot, Off, Len
	Write     Kind = "write"     // Slot, Off, Data
	Append    Kind = "append"    // Slot, Data; written at the end of the file
	Ftruncate Kind = "ftruncate" // Slot, Len
	Fallocate Kind = "fallocate" // Slot, Flags, Off, Len
	Fsync     Kind = "fsync"     // Slot
	Fstat     Kind = "fstat"     // Slot
	Fchmod    Kind = "fchmod"    // Slot, Mode
	Flink     Kind = "flink"     // Slot, To: gives a tmpfile a name
)

// Slots is how many files can be open at once.
const Slots = 3

// Op is one operation. Which fields it uses is said at its kind.
type Op struct {
	Kind     Kind
	Slot     int
	Path, To string
	Flags    int
	Mode     uint32
	Off, Len int64
	Name     string
	Data     []byte
}

func (o Op) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s", o.Kind)
	for _, f := range []struct {
		name  string
		value any
		zero  bool
	}{
		{"slot", o.Slot, !o.usesSlot()},
		{"path", o.Path, o.Path == ""},
		{"to", o.To, o.To == ""},
		{"flags", fmt.Sprintf("%#x", o.Flags), o.Flags == 0},
		{"mode", fmt.Sprintf("%#o", o.Mode), o.Mode == 0},
		{"off", o.Off, o.Off == 0},
		{"len", o.Len, o.Len == 0},
		{"name", o.Name, o.Name == ""},
		{"data", fmt.Sprintf("%d×%q", len(o.Data), o.Data[:min(1, len(o.Data))]), o.Data == nil},
	} {
		if !f.zero {
			fmt.Fprintf(&b, " %s=%v", f.name, f.value)
		}
	}
	return b.String()
}

func (o Op) usesSlot() bool {
	return slices.Contains([]Kind{Open, Tmpfile, Close, Read, Write, Append, Ftruncate, Fallocate, Fsync, Fstat, Fchmod, Flink}, o.Kind)
}

// Result is the answer to an operation.
type Result struct {
	Errno unix.Errno
	Text  string // what Read has read, or Fstat seen
}

func (r Result) String() string {
	if r.Errno != 0 {
		return unix.ErrnoName(r.Errno)
	}
	return fmt.Sprintf("ok %.300q", r.Text)
}

// Target is a file system under test.
type Target interface {
	// Do carries out an operation. Work on an empty slot yields EBADF.
	Do(Op) Result
	// Dump lists everything that the tree holds, one line for each name, sorted.
	Dump() ([]string, error)
	// CloseAll closes every slot.
	CloseAll()
}

// Config bounds what the machine generates.
type Config struct {
	Unit     int64 // offsets and lengths are small multiples of it, and one beside
	MaxUnits int64
	Modes    []uint32 // permission bits
}

// Machine runs operations on a subject and on the reference that it must equal.
type Machine struct {
	Config
	Reference, Subject Target

	kinds            []Kind   // each as often as it is to be drawn
	all, files, dirs []string // paths that exist
	open             []int    // slots in use
}

// NewMachine returns a machine for two trees that are equal now.
func NewMachine(reference, subject Target, c Config) *Machine {
	return &Machine{Config: c, Reference: reference, Subject: subject, kinds: kinds()}
}

// Step draws up to four operations, runs them on both and compares the answers.
func (m *Machine) Step(t *rapid.T) {
	for range 1 + uniform(t, 4) {
		m.step(t)
	}
}

func (m *Machine) step(t *rapid.T) {
	op := m.draw(t)
	m.do(t, op)
	if op.Kind == Open || op.Kind == Tmpfile || op.Kind == Close {
		m.open = m.open[:0]
		for i := range Slots {
			if m.Reference.Do(Op{Kind: Fstat, Slot: i}).Errno == 0 {
				m.open = append(m.open, i)
			}
		}
	}
}

// CloseAll closes every slot of both.
func (m *Machine) CloseAll() {
	m.Reference.CloseAll()
	m.Subject.CloseAll()
	m.open = m.open[:0]
}

func (m *Machine) do(t *rapid.T, op Op) {
	t.Log(op)
	want, got := m.Reference.Do(op), m.Subject.Do(op)
	if want != got {
		t.Fatalf("%v\nreference: %v\nsubject:   %v", op, want, got)
	}
}

// Compare compares the trees.
func (m *Machine) Compare(t *rapid.T) {
	want, err := m.Reference.Dump()
	if err != nil {
		t.Fatalf("reference: %v", err)
	}
	got, err := m.Subject.Dump()
	if err != nil {
		t.Fatalf("subject: %v", err)
	}
	if !slices.Equal(want, got) {
		t.Fatalf("trees differ:\n%s", diff(want, got))
	}
	m.all, m.files, m.dirs = m.all[:0], m.files[:0], m.dirs[:0]
	for _, line := range want {
		path, rest, _ := strings.Cut(line, " ")
		m.all = append(m.all, path)
		if strings.HasPrefix(rest, "mode 4") {
			m.dirs = append(m.dirs, path)
		} else {
			m.files = append(m.files, path)
		}
	}
}

// diff shows the lines that are not in both lists.
func diff(want, got []string) string {
	var b strings.Builder
	for _, line := range want {
		if !slices.Contains(got, line) {
			fmt.Fprintf(&b, "reference: %s\n", line)
		}
	}
	for _, line := range got {
		if !slices.Contains(want, line) {
			fmt.Fprintf(&b, "subject:   %s\n", line)
		}
	}
	return b.String()
}

// LimitChecks makes rapid run n checks, unless the command line says how many.
func LimitChecks(t testing.TB, n int) {
	f := flag.Lookup("rapid.checks")
	if old := f.Value.String(); old == f.DefValue {
		f.Value.Set(strconv.Itoa(n))
		t.Cleanup(func() { f.Value.Set(old) })
	}
}
