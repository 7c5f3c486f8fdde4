package main

import (
	"errors"
	"fmt"
	iofs "io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"
)

// work is a line of the table.
type work struct {
	name, unit string
	// factor is what snapfs must reach, as a multiple of the system to; 0 for none.
	factor float64
	to     string
	// most is what snapfs must not exceed; 0 for none.
	most float64
}

// works are what is measured. The limits are those of docs/performance.md. Some are
// multiples of mountpoint-s3, which is not measured here: it was measured together with
// rclone, and is taken to be as much faster or slower than that here as it was there.
var works = []work{
	{name: "SIZE, nothing cached", unit: "MB/s", factor: 1.5 * 500 / 525, to: "rclone"},
	{name: "SIZE again, not in the page cache", unit: "MB/s", factor: 0.95, to: "native"},
	{name: "SIZE once more, in the page cache", unit: "MB/s"},
	{name: "random 4 KiB, nothing cached", unit: "1/s", factor: 5 * 2.9 / 11, to: "rclone"},
	{name: "random 4 KiB, in the local cache", unit: "1/s", factor: 0.95, to: "native"},
	{name: "5 000 files of 16 KiB, nothing cached", unit: "µs", most: 250},
	{name: "5 000 files of 16 KiB again", unit: "µs", most: 60},
	{name: "find -size over 5 100 entries", unit: "s", most: 0.1},
	{name: "write SIZE and fsync", unit: "MB/s", factor: 0.8, to: "native"},
	{name: "write 1 000 files of 16 KiB", unit: "µs", most: 150},
	{name: "peak memory", unit: "MB", most: 150},
}

// judge compares the figures of one work, by system, with the limit.
func (w *work) judge(figures map[string][]float64) string {
	snapfs, other := median(figures["snapfs"]), median(figures[w.to])
	switch {
	case snapfs == 0, w.factor > 0 && other == 0:
		return "–"
	case w.factor > 0:
		return fmt.Sprintf("≥ %.2f × %s: %.2f %s", w.factor, w.to, snapfs/other, passed(snapfs >= w.factor*other))
	case w.most > 0:
		return fmt.Sprintf("≤ %v %s", w.most, passed(snapfs <= w.most))
	}
	return "–"
}

func passed(ok bool) string {
	if ok {
		return "ok"
	}
	return "MISSED"
}

// measure does all works on one system.
func (b *bench) measure(s *system) (map[string]float64, error) {
	v := map[string]float64{}
	steps := []func(dir string, v map[string]float64) error{b.sequential, b.random, b.small, b.write}
	for _, step := range steps {
		m, err := s.mount(b)
		if err != nil {
			return nil, err
		}
		err = step(m.dir, v)
		v["peak memory"] = max(v["peak memory"], m.peak())
		if err := errors.Join(err, m.end()); err != nil {
			return nil, err
		}
	}
	if v["peak memory"] == 0 {
		delete(v, "peak memory")
	}
	return v, nil
}

func (b *bench) sequential(dir string, v map[string]float64) error {
	for _, name := range []string{"SIZE, nothing cached", "SIZE again, not in the page cache", "SIZE once more, in the page cache"} {
		if name != "SIZE once more, in the page cache" {
			settle()
		}
		took, err := readAll(filepath.Join(dir, "big"), 1<<20)
		if err != nil {
			return err
		}
		v[name] = float64(b.size<<20) / 1e6 / took.Seconds()
	}
	return nil
}

// randomTime is how long random reads go on.
const randomTime = 2 * time.Second

func (b *bench) random(dir string, v map[string]float64) error {
	path := filepath.Join(dir, "big")
	for i, name := range []string{"random 4 KiB, nothing cached", "random 4 KiB, in the local cache"} {
		if i == 1 {
			if _, err := readAll(path, 1<<20); err != nil {
				return err
			}
		}
		settle()
		rate, err := b.randomReads(path)
		if err != nil {
			return err
		}
		v[name] = rate
	}
	return nil
}

func (b *bench) randomReads(path string) (float64, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	rng := rand.New(rand.NewPCG(1, 2))
	buf := make([]byte, 4096)
	begin, n := time.Now(), 0
	for ; time.Since(begin) < randomTime; n++ {
		if _, err := f.ReadAt(buf, rng.Int64N(b.size<<8)*4096); err != nil {
			return 0, err
		}
	}
	return float64(n) / time.Since(begin).Seconds(), nil
}

func (b *bench) small(dir string, v map[string]float64) error {
	settle()
	for _, name := range []string{"5 000 files of 16 KiB, nothing cached", "5 000 files of 16 KiB again"} {
		begin := time.Now()
		for i := range smallFiles {
			if _, err := os.ReadFile(smallPath(dir, i)); err != nil {
				return err
			}
		}
		v[name] = float64(time.Since(begin).Microseconds()) / smallFiles
	}
	settle()
	begin := time.Now()
	found := 0
	err := filepath.WalkDir(dir, func(_ string, d iofs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Size() > 0 {
			found++
		}
		return err
	})
	v["find -size over 5 100 entries"] = time.Since(begin).Seconds()
	if err == nil && found < smallFiles {
		err = fmt.Errorf("only %d entries found", found)
	}
	return err
}

func (b *bench) write(dir string, v map[string]float64) error {
	took, err := b.writeLarge(filepath.Join(dir, "written"))
	if err != nil {
		return err
	}
	v["write SIZE and fsync"] = float64(b.size<<20) / 1e6 / took.Seconds()
	sub := filepath.Join(dir, "writtendir")
	if err := os.Mkdir(sub, 0o755); err != nil {
		return err
	}
	begin := time.Now()
	for i := range 1000 {
		if err := os.WriteFile(filepath.Join(sub, fmt.Sprint(i)), b.junk[i<<10:i<<10+16<<10], 0o644); err != nil {
			return err
		}
	}
	v["write 1 000 files of 16 KiB"] = float64(time.Since(begin).Microseconds()) / 1000
	if dir == b.path("mnt") {
		return nil // it goes with the mount
	}
	return errors.Join(os.RemoveAll(sub), os.Remove(filepath.Join(dir, "written")))
}

func (b *bench) writeLarge(path string) (time.Duration, error) {
	begin := time.Now()
	f, err := os.Create(path)
	if err != nil {
		return 0, err
	}
	for range b.size {
		if _, err := f.Write(b.junk[:1<<20]); err != nil {
			return 0, errors.Join(err, f.Close())
		}
	}
	err = errors.Join(f.Sync(), f.Close())
	return time.Since(begin), err
}
