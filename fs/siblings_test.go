package fs

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/snapfs/snapfs/manifest"
)

// asked is a BlobReader that notes what it is asked to fetch.
type asked struct {
	BlobReader
	blobs map[manifest.Hash]int
}

func (a *asked) Prefetch(_ context.Context, b manifest.Blob, off, n int64) {
	if off != 0 || n != min(b.Size, nearFile) {
		panic(fmt.Sprintf("range %d+%d of a blob of %d bytes", off, n, b.Size))
	}
	a.blobs[b.Hash]++
}

// shelf is a base of dirs directories with files files each of the given size, and the
// rows of the files.
func shelf(t *testing.T, dirs, files int, size int64) (*Base, []uint32) {
	t.Helper()
	m := &manifest.Snapshot{HashAlg: manifest.XXH128, ChunkSize: manifest.WholeFile}
	for d := range dirs {
		m.Dirs = append(m.Dirs, manifest.Dir{Path: fmt.Sprintf("d%03d", d)})
		for f := range files {
			path := fmt.Sprintf("d%03d/f%05d", d, f)
			m.Files = append(m.Files, manifest.File{Path: path, Size: size, Hash: manifest.Sum([]byte(path))})
		}
	}
	base, err := NewBase(m)
	if err != nil {
		t.Fatal(err)
	}
	var rows []uint32
	for r := range base.rows {
		if r > 0 && base.rows[r].kind == rowFile {
			rows = append(rows, uint32(r))
		}
	}
	return base, rows
}

func TestNeighboursAreFetchedInOrder(t *testing.T) {
	for name, tt := range map[string]struct {
		dirs, files int
		size        int64
		order       func(rows []uint32) []uint32
		lacking     int  // files that may be opened without having been asked for
		wasted      int  // files that may be asked for without being opened
		again       bool // one reader comes to where another was
	}{
		"one directory":     {1, 1000, 16 << 10, func(r []uint32) []uint32 { return r }, 2, 0, false},
		"many directories":  {50, 20, 16 << 10, func(r []uint32) []uint32 { return r }, 2, 0, false},
		"every second file": {1, 1000, 100, everySecond, 2, 500, false},
		"two at a time":     {1, 1000, 100, swapped, 4, 0, false},
		"two readers":       {2, 500, 100, zipped, 4, maxNear, true},
		"the first ten":     {1, 1000, 100, func(r []uint32) []uint32 { return r[:10] }, 2, maxNear, false},
		"files of 1 MiB":    {1, 1000, 1 << 20, func(r []uint32) []uint32 { return r }, 2, 0, false},
		"files of 1 GiB":    {1, 1000, 1 << 30, func(r []uint32) []uint32 { return r }, 2, 0, false},
		"in random order":   {1, 10000, 100, shuffled, 10000, 2000, true},
		"a single file":     {1, 100, 100, func(r []uint32) []uint32 { return r[50:51] }, 1, 0, false},
		"one file again":    {1, 100, 100, func(r []uint32) []uint32 { return []uint32{r[5], r[5], r[5]} }, 3, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			base, rows := shelf(t, tt.dirs, tt.files, tt.size)
			a := &asked{blobs: map[manifest.Hash]int{}}
			s := newSiblings(base, a)
			lacking := 0
			opened := map[manifest.Hash]bool{}
			for _, r := range tt.order(rows) {
				h := base.blob(r, 0).Hash
				if a.blobs[h] == 0 {
					lacking++
				}
				opened[h] = true
				s.opened(r)
			}
			wasted := 0
			for h, n := range a.blobs {
				if n > 1 && !tt.again {
					t.Errorf("a blob was asked for %d times", n)
				}
				if !opened[h] {
					wasted++
				}
			}
			if lacking > tt.lacking || wasted > tt.wasted {
				t.Errorf("%d files were not fetched ahead, and %d were in vain; want at most %d and %d", lacking, wasted, tt.lacking, tt.wasted)
			}
		})
	}
}

func everySecond(rows []uint32) (out []uint32) {
	for i := 0; i < len(rows); i += 2 {
		out = append(out, rows[i])
	}
	return out
}

func swapped(rows []uint32) []uint32 {
	for i := 0; i+1 < len(rows); i += 2 {
		rows[i], rows[i+1] = rows[i+1], rows[i]
	}
	return rows
}

func zipped(rows []uint32) (out []uint32) {
	half := len(rows) / 2
	for i := range half {
		out = append(out, rows[i], rows[half+i])
	}
	return out
}

func shuffled(rows []uint32) []uint32 {
	r := rand.New(rand.NewPCG(1, 2))
	r.Shuffle(len(rows), func(i, j int) { rows[i], rows[j] = rows[j], rows[i] })
	return rows
}

func TestNeighboursAreFetchedWhenFilesAreOpened(t *testing.T) {
	base, rows := shelf(t, 1, 100, 100)
	a := &asked{blobs: map[manifest.Hash]int{}}
	tree, err := New(base, a, "", Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer tree.Close()
	for _, r := range rows[:3] {
		f, err := tree.Open(Ino(r), 0)
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	if len(a.blobs) < minNear {
		t.Errorf("%d neighbours were asked for, want at least %d", len(a.blobs), minNear)
	}
}
