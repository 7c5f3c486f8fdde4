package fs

import (
	"fmt"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/snapfs/snapfs/manifest"
)

// largeSnapshot has n files in directories of a thousand.
func largeSnapshot(n int) *manifest.Snapshot {
	m := &manifest.Snapshot{HashAlg: manifest.XXH128, ChunkSize: manifest.DefaultChunkSize, Files: make([]manifest.File, n)}
	for i := range m.Files {
		m.Files[i] = manifest.File{
			Path: fmt.Sprintf("project/shot%04d/frame_%06d.exr", i/1000, i), Size: int64(i), ModTime: int64(i),
			Hash: manifest.Hash(fmt.Sprintf("%032x", i)),
		}
	}
	return m
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func BenchmarkNewBase1M(b *testing.B) {
	m := largeSnapshot(1_000_000)
	before := heap()
	var base *Base
	for b.Loop() {
		var err error
		if base, err = NewBase(m); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(heap()-before)/float64(base.Entries()), "B/entry")
	runtime.KeepAlive(m)
}

func BenchmarkLookup1M(b *testing.B) {
	base, err := NewBase(largeSnapshot(1_000_000))
	if err != nil {
		b.Fatal(err)
	}
	tree, err := New(base, blobs{}, "", Options{})
	if err != nil {
		b.Fatal(err)
	}
	a, err := tree.resolve("project/shot0777", false)
	if err != nil {
		b.Fatal(err)
	}
	dir := a.Ino
	i := 0
	for b.Loop() {
		if _, err := tree.Lookup(dir, fmt.Sprintf("frame_%06d.exr", 777_000+i*7919%1000)); err != nil {
			b.Fatal(err)
		}
		i++
	}
}

// fillTree makes n files of the given size, a hundred in a directory.
func (f *fixture) fillTree(n, size int) {
	content := make([]byte, size)
	var dir Ino
	for i := range n {
		if i%100 == 0 {
			a, err := f.tree.Mkdir(RootIno, fmt.Sprintf("dir%d", i), 0o755, Owner{})
			if err != nil {
				f.t.Fatal(err)
			}
			dir = a.Ino
		}
		file, _, err := f.tree.Create(dir, fmt.Sprintf("file%d", i), 0o644, Owner{})
		if err == nil && size > 0 {
			_, err = file.WriteAt(content, 0)
		}
		if err != nil {
			f.t.Fatal(err)
		}
		file.Close()
	}
}

func BenchmarkCreate16KiB(b *testing.B) {
	f := newFixture(b, "d/")
	b.ResetTimer()
	f.fillTree(b.N, 16<<10)
}

func BenchmarkCreateEmpty(b *testing.B) {
	f := newFixture(b, "d/")
	b.ResetTimer()
	f.fillTree(b.N, 0)
}

// BenchmarkOverlay100k measures what a mount with 100 000 written files costs.
func BenchmarkOverlay100k(b *testing.B) {
	const files = 100_000
	f := newFixture(b, "d/")
	before := heap()
	f.fillTree(files, 10)
	b.Logf("%d bytes of memory for each file", (heap()-before)/files)
	b.Run("Checkpoint", func(b *testing.B) {
		for b.Loop() {
			f.tree.Checkpoint().Close()
		}
	})
	b.Run("Compact", func(b *testing.B) {
		for b.Loop() {
			if err := f.tree.compact(false); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(f.tree.ov.log.Size())/files, "log-B/file")
	})
	b.Run("ReopenAfterCrash", func(b *testing.B) {
		for b.Loop() {
			f.crash()
		}
	})
	b.Run("Reopen", func(b *testing.B) {
		for b.Loop() {
			f.reopen()
		}
	})
}

// BenchmarkReopenMillionChanges opens an overlay in which a million files were made
// and then changed again.
func BenchmarkReopenMillionChanges(b *testing.B) {
	f := newFixture(b, "d/")
	f.dir = filepath.Join(b.TempDir(), "overlay")
	f.tree.Close()
	f.open()
	f.fillTree(1_000_000, 0)
	for b.Loop() {
		f.crash()
	}
	b.ReportMetric(float64(f.tree.ov.log.Size())/1e6, "log-B/file")
}

// BenchmarkStall measures the longest time that somebody who makes files waits while
// the log is compacted, and while a cut is taken, of 100 000 files.
func BenchmarkStall(b *testing.B) {
	f := newFixture(b, "d/")
	f.fillTree(100_000, 0)
	for name, work := range map[string]func() error{
		"Nothing":    func() error { time.Sleep(100 * time.Millisecond); return nil },
		"Compact":    func() error { return f.tree.compact(false) },
		"Checkpoint": func() error { f.tree.Checkpoint().Close(); return nil },
	} {
		b.Run(name, func(b *testing.B) {
			var longest time.Duration
			for b.Loop() {
				done := make(chan error)
				go func() { done <- work() }()
				for running := true; running; {
					select {
					case err := <-done:
						if running = false; err != nil {
							b.Fatal(err)
						}
					default:
						start := time.Now()
						a, err := f.tree.Mkdir(RootIno, "stall", 0o755, Owner{})
						if err == nil {
							f.tree.Forget(a.Ino, 1)
							err = f.tree.Rmdir(RootIno, "stall")
						}
						if err != nil {
							b.Fatal(err)
						}
						longest = max(longest, time.Since(start))
					}
				}
			}
			b.ReportMetric(float64(longest.Microseconds())/1000, "ms-longest")
		})
	}
}
