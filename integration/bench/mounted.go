package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// mountedRows are about mounts in use.
func mountedRows() []row {
	return []row{
		{
			name: "list a directory of 1 M entries", once: flatMillion, limit: 3 * time.Second,
			before: mounted("flat.json"), do: timed(listFlat), after: unmounted,
		},
		{
			name: "make 100 000 files without content", once: emptyBase, memory: 60 * mb,
			before: mounted("empty.json"), do: makeFiles, after: unmounted,
		},
		{
			name: "commit a renamed directory of 100 000 files", once: hundredThousand, limit: time.Second,
			before: mounted("all.json"), do: renamedCommit, after: unmounted,
		},
		{
			name: "commit 1 byte of a committed 10 GiB file", once: emptyBase, limit: 2 * time.Second,
			before: hugeFile, do: byteCommit, after: unmounted,
		},
		{
			name: "longest write while 10 000 files are committed, ≤ 50 ms more than beside it", once: emptyBase,
			before: func(b *bench) error { return errors.Join(mounted("empty.json")(b), smallFiles(b)) },
			do:     longestWrite, after: unmounted,
		},
		{
			name: "longest write while 10 GiB are committed, the same", once: emptyBase,
			before: func(b *bench) error { return errors.Join(mounted("empty.json")(b), sparse(b)) },
			do:     longestWrite, after: unmounted,
		},
		{
			name: "8 × 200 writes with fsync, ≤ 1.5 × the disk", once: emptyBase,
			before: mounted("empty.json"), do: fsyncers, after: unmounted,
		},
	}
}

// mounted mounts a manifest with an overlay of its own.
func mounted(manifest string) func(*bench) error {
	return func(b *bench) error {
		err := errors.Join(os.MkdirAll(b.path("mnt"), 0o755), os.MkdirAll(b.path("run"), 0o700), os.MkdirAll(b.path("store"), 0o755))
		if err != nil {
			return err
		}
		_, err = snapfs("mount", manifest, "mnt", "--overlay", "overlay", "--on-unmount", "keep")(b)
		return err
	}
}

// unmounted ends the mount and forgets what was changed.
func unmounted(b *bench) error {
	_ = b.command("umount", "mnt").Run() // exit 4: there are changes, which are kept
	return os.RemoveAll(b.path("overlay"))
}

// timed measures the time of fn.
func timed(fn func(*bench) error) func(*bench) (measure, error) {
	return func(b *bench) (measure, error) {
		start := time.Now()
		err := fn(b)
		return measure{wall: time.Since(start)}, err
	}
}

func emptyBase(b *bench) error {
	return b.input("empty", func() error { return writeManifest(b.path("empty.json"), 0, 0) })
}

func flatMillion(b *bench) error {
	return b.input("flat", func() error { return writeFlat(b.path("flat.json"), 1_000_000) })
}

func hundredThousand(b *bench) error {
	return b.input("all", func() error { return writeFlat(b.path("all.json"), 100_000) })
}

func listFlat(b *bench) error {
	d, err := os.Open(b.path("mnt/flat"))
	if err != nil {
		return err
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err == nil && len(names) != 1_000_000 {
		err = fmt.Errorf("%d names", len(names))
	}
	return err
}

// makeFiles measures the memory of the process of the mount, too.
func makeFiles(b *bench) (measure, error) {
	pid, err := b.pid() // now: asking takes memory for every change
	if err != nil {
		return measure{}, err
	}
	m, err := timed(func(b *bench) error {
		return fill(b.path("mnt"), 100_000, func(path string) error { return unix.Mknod(path, unix.S_IFREG|0o644, 0) })
	})(b)
	if err == nil {
		m.memory, err = peak(pid)
	}
	return m, err
}

// fill makes n files in directories of a thousand.
func fill(dir string, n int, file func(path string) error) error {
	for i := range n {
		d := filepath.Join(dir, fmt.Sprintf("d%03d", i/1000))
		if i%1000 == 0 {
			if err := os.Mkdir(d, 0o755); err != nil {
				return err
			}
		}
		if err := file(filepath.Join(d, fmt.Sprintf("f%03d", i%1000))); err != nil {
			return err
		}
	}
	return nil
}

// commit commits the mount and returns what it says.
func commit(b *bench) (out struct {
	Hashed   int64 `json:"hashed_bytes"`
	Uploaded int   `json:"uploaded_blobs"`
}, err error) {
	text, err := b.command("commit", "mnt", "-o", "diff.json", "--json", "--exclude", "writer").Output()
	if err == nil {
		err = json.Unmarshal(text, &out)
	}
	return out, err
}

func renamedCommit(b *bench) (measure, error) {
	if err := os.Rename(b.path("mnt/flat"), b.path("mnt/moved")); err != nil {
		return measure{}, err
	}
	return timed(func(b *bench) error {
		done, err := commit(b)
		if err == nil && (done.Hashed > 0 || done.Uploaded > 0) {
			err = fmt.Errorf("a rename has hashed %d bytes and uploaded %d blobs", done.Hashed, done.Uploaded)
		}
		return err
	})(b)
}

const hugeSize = 10 << 30

// sparse makes a file of 10 GiB, most of it a hole.
func sparse(b *bench) error {
	f, err := os.Create(b.path("mnt/huge"))
	if err != nil {
		return err
	}
	_, err = f.WriteString("begins")
	return errors.Join(err, f.Truncate(hugeSize), f.Close())
}

// hugeFile makes a file of 10 GiB that is committed.
func hugeFile(b *bench) error {
	if err := errors.Join(mounted("empty.json")(b), sparse(b)); err != nil {
		return err
	}
	_, err := commit(b)
	return err
}

func byteCommit(b *bench) (measure, error) {
	f, err := os.OpenFile(b.path("mnt/huge"), os.O_WRONLY, 0)
	if err != nil {
		return measure{}, err
	}
	// Another byte in each run: the store must not have the chunk.
	_, err = f.WriteAt(fmt.Append(nil, time.Now().UnixNano()), hugeSize/2)
	if err := errors.Join(err, f.Close()); err != nil {
		return measure{}, err
	}
	return timed(func(b *bench) error {
		done, err := commit(b)
		if err == nil && done.Uploaded != 1 {
			err = fmt.Errorf("%d blobs were uploaded", done.Uploaded)
		}
		return err
	})(b)
}

func smallFiles(b *bench) error {
	content := fmt.Append(nil, time.Now().UnixNano())
	return fill(b.path("mnt"), 10_000, func(path string) error { return os.WriteFile(path, content, 0o644) })
}

// longestWrite commits, and measures the longest time that a small write to the mount
// takes meanwhile. The barrier of a commit holds up whoever writes to the same disk, so
// the same is measured beside the mount, and comes on top of the limit.
func longestWrite(b *bench) (measure, error) {
	if err := fresh(b.path("plain")); err != nil {
		return measure{}, err
	}
	stop := make(chan struct{})
	longest, errs := make([]time.Duration, 2), make([]error, 2)
	var wg sync.WaitGroup
	for i, dir := range []string{"mnt", "plain"} {
		wg.Go(func() { longest[i], errs[i] = writeUntil(stop, b.path(dir, "writer")) })
	}
	_, err := commit(b)
	close(stop)
	wg.Wait()
	return measure{wall: longest[0], limit: longest[1] + 50*ms}, errors.Join(err, errs[0], errs[1])
}

// writeUntil writes to a file again and again, and returns the longest time that took.
func writeUntil(stop <-chan struct{}, path string) (longest time.Duration, err error) {
	f, err := os.Create(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	for i := int64(0); ; i++ {
		start := time.Now()
		if _, err := f.WriteAt([]byte("x"), i%1e6*4096); err != nil {
			return longest, err
		}
		longest = max(longest, time.Since(start))
		select {
		case <-stop:
			return longest, nil
		case <-time.After(200 * time.Microsecond):
		}
	}
}

// fsyncers measures programs that each write and sync a file of their own, and the same
// beside the mount: that is the limit.
func fsyncers(b *bench) (measure, error) {
	if err := fresh(b.path("plain")); err != nil {
		return measure{}, err
	}
	var times [2]time.Duration
	for i, dir := range []string{b.path("plain"), b.path("mnt")} {
		start := time.Now()
		if err := parallelSync(dir); err != nil {
			return measure{}, err
		}
		times[i] = time.Since(start)
	}
	return measure{wall: times[1], limit: times[0] * 3 / 2}, nil
}

func parallelSync(dir string) error {
	var wg sync.WaitGroup
	errs := make([]error, 8)
	for i := range errs {
		wg.Go(func() {
			f, err := os.Create(filepath.Join(dir, fmt.Sprint(i)))
			for n := int64(0); n < 200 && err == nil; n++ {
				if _, err = f.WriteAt(make([]byte, 4096), n*4096); err == nil {
					err = unix.Fsync(int(f.Fd()))
				}
			}
			errs[i] = errors.Join(err, f.Close())
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}
