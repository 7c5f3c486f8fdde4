package integration

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/snapfs/snapfs/integration/faultproxy"
	"golang.org/x/sys/unix"
)

// faultyMount is a mount that reads through a proxy.
type faultyMount struct {
	*world
	proxy *faultproxy.Proxy
	files map[string][]byte
	next  int
}

const faultCases = 16

func newFaultyMount(t *testing.T, timeout time.Duration) *faultyMount {
	t.Helper()
	w, server := withServer(t)
	m := &faultyMount{world: w, proxy: faultproxy.Start(t, server.Endpoint), files: map[string][]byte{}}
	random := rand.NewChaCha8([32]byte{1})
	for i := range faultCases {
		for name, size := range map[string]int{"small": 100 << 10, "large": 9 << 20} {
			data := make([]byte, size)
			_, _ = random.Read(data)
			m.files[fmt.Sprintf("%s%02d", name, i)] = data
			w.write(fmt.Sprintf("src/%s%02d", name, i), string(data))
		}
	}
	w.write("src/cached", "read before")
	w.ok("snapshot", "src", "-o", "a.json", "--store", server.URL("Data"))
	through := strings.Replace(server.URL("Data"), url.QueryEscape(server.Endpoint), url.QueryEscape(m.proxy.URL), 1)
	w.ok("mount", "a.json", "mnt", "--store", through, "--read-only", "--io-timeout", timeout.String())
	w.read("mnt/cached")
	return m
}

// fresh returns the names of a small and a large file that nobody has read. They come
// backwards, since the files after those that were read are fetched ahead.
func (m *faultyMount) fresh() []string {
	m.next++
	i := faultCases - m.next
	return []string{fmt.Sprintf("small%02d", i), fmt.Sprintf("large%02d", i)}
}

// check reads a file, which must have its bytes.
func (m *faultyMount) check(name string) error {
	got, err := os.ReadFile(filepath.Join(m.dir, "mnt", name))
	if err == nil && !bytes.Equal(got, m.files[name]) {
		err = fmt.Errorf("%s has %d wrong bytes", name, len(got))
	}
	return err
}

func TestReadersGetTheRightBytesWhenAFaultEnds(t *testing.T) {
	m := newFaultyMount(t, time.Minute)
	for _, tt := range []struct {
		name  string
		fault faultproxy.Fault
	}{
		{"503 SlowDown", faultproxy.Fault{Status: 503, Code: "SlowDown"}},
		{"416 of a range that is there", faultproxy.Fault{Status: 416, Code: "InvalidRange"}},
		{"reset in the middle", faultproxy.Fault{Reset: true, Cut: 30_000}},
		{"body that is cut off", faultproxy.Fault{Short: true, Cut: 30_000}},
		{"length that is too large", faultproxy.Fault{Longer: 10}},
		{"page of HTML with 200", faultproxy.Fault{Page: true}},
		{"stall", faultproxy.Fault{Stall: true, Cut: 30_000}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m.proxy.Set(tt.fault)
			names := m.fresh()
			results := make(chan error, len(names))
			for _, name := range names {
				go func() { results <- m.check(name) }()
			}
			eventually(t, "requests", func() bool { return m.proxy.Gets() >= 2 })
			start := time.Now()
			if got := m.read("mnt/cached"); got != "read before" || time.Since(start) > time.Second {
				t.Errorf("what is cached reads as %q after %v", got, time.Since(start))
			}
			time.Sleep(300 * time.Millisecond)
			m.proxy.Heal()
			start = time.Now()
			for range names {
				if err := <-results; err != nil {
					t.Error(err)
				}
			}
			if took := time.Since(start); took > 5*time.Second {
				t.Errorf("readers were served %v after the fault had ended", took)
			}
		})
	}
}

func TestReadersGetAnErrorWhenAFaultLasts(t *testing.T) {
	const timeout = 2 * time.Second
	m := newFaultyMount(t, timeout)
	for _, tt := range []struct {
		name  string
		set   func()
		least time.Duration
	}{
		{"500", func() { m.proxy.Set(faultproxy.Fault{Status: 500, Code: "InternalError"}) }, timeout},
		{"server is gone", m.proxy.Gone, timeout},
		{"no answer", func() { m.proxy.Set(faultproxy.Fault{Hang: true}) }, timeout},
		{"wrong bytes", func() { m.proxy.Set(faultproxy.Fault{Flip: true, Cut: 1000}) }, 0},
		{"blob is missing", func() { m.proxy.Set(faultproxy.Fault{Status: 404, Code: "NoSuchKey"}) }, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.set()
			name := m.fresh()[0]
			start := time.Now()
			err := m.check(name)
			took := time.Since(start)
			if !errors.Is(err, unix.EIO) || took < tt.least || took > tt.least+5*time.Second {
				t.Errorf("err = %v after %v; want EIO after %v", err, took, tt.least)
			}
			m.proxy.Heal()
			eventually(t, "right bytes after the fault", func() bool { return m.check(name) == nil })
		})
	}
}

// TestWrongBytesAreForgotten has a large content arrive wrong: what was served before that
// was known must not be served again, not even from the page cache of the kernel.
func TestWrongBytesAreForgotten(t *testing.T) {
	m := newFaultyMount(t, 5*time.Second)
	name := m.fresh()[1]
	m.proxy.Set(faultproxy.Fault{Flip: true, Cut: 1000})
	if err := m.check(name); !errors.Is(err, unix.EIO) {
		t.Fatalf("wrong bytes: %v, want EIO", err)
	}
	m.proxy.Heal()
	var last error
	eventually(t, "right bytes", func() bool {
		last = m.check(name)
		return last == nil
	})
	for range 5 {
		if err := m.check(name); err != nil {
			t.Fatal(err)
		}
	}
}
