package fusefs

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

var crashRounds = flag.Int("crash.rounds", 8, "how often TestCrash kills the server")

// ledger is what a directory must hold, as far as the server has acknowledged it,
// and the one operation whose fate is open when the server is killed.
type ledger struct {
	files map[string][]byte
	open  *crashOp
}

// crashOp is one operation. Both outcomes are right when it was not acknowledged.
type crashOp struct {
	kind     string
	name, to string
	off      int64
	data     []byte
}

func (o crashOp) String() string {
	return fmt.Sprintf("%s %s %s %d %d", o.kind, o.name, o.to, o.off, len(o.data))
}

// apply does to the ledger what the operation does to the directory.
func (l *ledger) apply(o *crashOp) {
	old := l.files[o.name]
	switch o.kind {
	case "create":
		l.files[o.name] = nil
	case "write":
		end := o.off + int64(len(o.data))
		p := make([]byte, max(end, int64(len(old))))
		copy(p, old)
		copy(p[o.off:], o.data)
		l.files[o.name] = p
	case "truncate":
		p := make([]byte, o.off)
		copy(p, old)
		l.files[o.name] = p
	case "remove":
		delete(l.files, o.name)
	case "rename":
		delete(l.files, o.name)
		l.files[o.to] = old
	}
}

// do carries the operation out.
func (o *crashOp) do(dir string) error {
	name := path.Join(dir, o.name)
	switch o.kind {
	case "create":
		f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
		if err != nil {
			return err
		}
		return f.Close()
	case "write":
		f, err := os.OpenFile(name, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		if _, err = f.WriteAt(o.data, o.off); err == nil && o.off%2 == 0 {
			err = f.Sync()
		}
		return err
	case "truncate":
		return os.Truncate(name, o.off)
	case "remove":
		return os.Remove(name)
	case "rename":
		return os.Rename(name, path.Join(dir, o.to))
	}
	return unix.ENOSYS
}

func drawCrashOp(rng *rand.Rand, l *ledger) crashOp {
	name := func() string { return fmt.Sprintf("f%d", rng.IntN(8)) }
	o := crashOp{name: name(), to: name()}
	if _, ok := l.files[o.name]; !ok {
		o.kind = "create"
		return o
	}
	switch k := rng.IntN(10); {
	case k < 6:
		o.kind = "write"
		o.off = rng.Int64N(3 * testChunk)
		o.data = bytes.Repeat([]byte{byte('A' + rng.IntN(26))}, 1+rng.IntN(5000)) // one request to the server
	case k < 8:
		o.kind, o.off = "truncate", rng.Int64N(3*testChunk)
	case k < 9 || o.name == o.to:
		o.kind = "remove"
	default:
		o.kind = "rename"
	}
	return o
}

// TestCrash kills the server at random moments while several writers work, and
// checks each time that everything is there that had been acknowledged, synced or
// not, and nothing else.
func TestCrash(t *testing.T) {
	const writers = 4
	base := bytes.Repeat([]byte("0123456789abcdef"), 2*testChunk/16)
	m := prepare(t)
	ledgers := make([]*ledger, writers)
	for w := range ledgers {
		ledgers[w] = &ledger{files: make(map[string][]byte)}
		for i := range 4 {
			name := fmt.Sprintf("f%d", i)
			m.addFile(fmt.Sprintf("w%d/%s", w, name), base)
			ledgers[w].files[name] = base
		}
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	m.start()
	for round := range *crashRounds {
		var wg sync.WaitGroup
		for w, l := range ledgers {
			writer := rand.New(rand.NewPCG(seed, uint64(round*writers+w+1)))
			wg.Go(func() {
				if err := l.work(writer, m.path(fmt.Sprintf("w%d", w))); err != nil {
					t.Errorf("round %d, writer %d: %v", round, w, err)
				}
			})
		}
		time.Sleep(time.Duration(5+rng.IntN(80)) * time.Millisecond)
		m.cmd.Process.Kill()
		wg.Wait()
		m.kill()
		m.start()
		for w, l := range ledgers {
			if err := l.check(m.path(fmt.Sprintf("w%d", w))); err != nil {
				t.Fatalf("round %d, writer %d: %v", round, w, err)
			}
		}
	}
}

// work changes a directory until the server is gone.
func (l *ledger) work(rng *rand.Rand, dir string) error {
	for {
		o := drawCrashOp(rng, l)
		err := o.do(dir)
		switch {
		case err == nil:
			l.apply(&o)
		case errors.Is(err, unix.ENOTCONN), errors.Is(err, unix.ECONNABORTED), errors.Is(err, unix.EIO):
			l.open = &o
			return nil
		default:
			return fmt.Errorf("%v: %w", o, err)
		}
	}
}

// check compares a directory with the ledger, with and without the operation that
// was under way, and makes the ledger say what there is.
func (l *ledger) check(dir string) error {
	got := make(map[string][]byte)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if got[e.Name()], err = fs.ReadFile(os.DirFS(dir), e.Name()); err != nil {
			return err
		}
	}
	err = l.compare(got)
	for _, o := range l.open.outcomes() {
		after := ledger{files: maps.Clone(l.files)}
		after.apply(&o)
		if e := after.compare(got); err != nil && e != nil {
			err = fmt.Errorf("%w; with %v: %w", err, o, e)
		} else {
			err = nil
		}
	}
	l.files, l.open = got, nil
	return err
}

// outcomes returns what an operation may have done that was not acknowledged. The
// kernel may cut a write into several requests, at the borders of pages.
func (o *crashOp) outcomes() (list []crashOp) {
	if o == nil {
		return nil
	}
	list = append(list, *o)
	for n := 1; o.kind == "write" && n < len(o.data); n++ {
		if (o.off+int64(n))%4096 == 0 {
			part := *o
			part.data = o.data[:n]
			list = append(list, part)
		}
	}
	return list
}

func (l *ledger) compare(got map[string][]byte) error {
	var bad []string
	for name, want := range l.files {
		p, ok := got[name]
		if !ok {
			bad = append(bad, name+" is missing")
		} else if err := compare(p, want, 0); err != nil {
			bad = append(bad, fmt.Sprintf("%s: %v", name, err))
		}
	}
	for name := range got {
		if _, ok := l.files[name]; !ok {
			bad = append(bad, name+" should not be there")
		}
	}
	if bad == nil {
		return nil
	}
	return errors.New(strings.Join(bad, ", "))
}
