package fusefs

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// places are where benchmarks work: on a mount, and on the file system below it.
func places(b *testing.B, run func(b *testing.B, dir string)) {
	m := newMount(b)
	b.Run("mount", func(b *testing.B) { run(b, m.config.Dir) })
	b.Run("native", func(b *testing.B) { run(b, b.TempDir()) })
}

// BenchmarkWriteSmallFiles makes files of 16 KiB, a thousand in a directory.
func BenchmarkWriteSmallFiles(b *testing.B) {
	content := bytes.Repeat([]byte("x"), 16<<10)
	places(b, func(b *testing.B, dir string) {
		for i := range b.N {
			sub := filepath.Join(dir, fmt.Sprintf("d%d-%d", b.N, i/1000))
			if i%1000 == 0 {
				if err := os.Mkdir(sub, 0o755); err != nil {
					b.Fatal(err)
				}
			}
			if err := os.WriteFile(filepath.Join(sub, fmt.Sprint(i)), content, 0o644); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkWrite4KiB writes to one file.
func BenchmarkWrite4KiB(b *testing.B) {
	p := bytes.Repeat([]byte("x"), 4096)
	places(b, func(b *testing.B, dir string) {
		f, err := os.Create(filepath.Join(dir, "f"))
		if err != nil {
			b.Fatal(err)
		}
		defer f.Close()
		b.SetBytes(4096)
		for i := range b.N {
			if _, err := f.WriteAt(p, int64(i%1000)*4096); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkFsync8 lets eight writers make files and sync each.
func BenchmarkFsync8(b *testing.B) {
	places(b, func(b *testing.B, dir string) {
		var wg sync.WaitGroup
		for w := range 8 {
			wg.Go(func() {
				for i := range (b.N + 7) / 8 {
					f, err := os.Create(filepath.Join(dir, fmt.Sprintf("f%d-%d-%d", b.N, w, i)))
					if err == nil {
						_, err = f.Write(make([]byte, 4096))
					}
					if err == nil {
						err = f.Sync()
					}
					if err != nil {
						b.Error(err)
						return
					}
					f.Close()
				}
			})
		}
		wg.Wait()
	})
}
