package fs

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// indexed returns the prepared index of a base, as it lies in a file.
func indexed(t *testing.T, b *Base) []byte {
	t.Helper()
	var text bytes.Buffer
	if err := b.WriteIndex(&text); err != nil {
		t.Fatal(err)
	}
	return text.Bytes()
}

func openIndex(t *testing.T, text []byte) (*Base, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "index")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	return OpenIndex(f)
}

func TestPreparedIndexIsTheSameBase(t *testing.T) {
	for name, lines := range map[string][]string{
		"empty": nil,
		"tree":  {"a=1", "d/e/f=a content in several chunks", "d/link->a", "empty/", "run.sh=x", "zero="},
	} {
		t.Run(name, func(t *testing.T) {
			want := newFixture(t, lines...).base
			got, err := openIndex(t, indexed(t, want))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got, cmp.AllowUnexported(Base{}, row{}), cmpopts.EquateEmpty()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestDamagedIndexIsRefused damages every byte, and cuts the file.
func TestDamagedIndexIsRefused(t *testing.T) {
	text := indexed(t, newFixture(t, "a=1", "d/f=some content", "d/link->a").base)
	for at := range text {
		damaged := bytes.Clone(text)
		damaged[at] ^= 0x40
		b, err := openIndex(t, damaged)
		if !errors.Is(err, ErrNoIndex) {
			t.Fatalf("byte %d: %v, %v", at, b, err)
		}
	}
	for _, n := range []int{0, 7, 80, indexHeader, len(text) - 1} {
		if _, err := openIndex(t, text[:n]); !errors.Is(err, ErrNoIndex) {
			t.Errorf("cut to %d bytes: %v", n, err)
		}
	}
	if _, err := openIndex(t, append(bytes.Clone(text), 0)); !errors.Is(err, ErrNoIndex) {
		t.Errorf("a byte more: %v", err)
	}
}
