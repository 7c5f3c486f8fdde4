package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const (
	ms = time.Millisecond
	mb = int64(1e6)
)

// rows are the operations on files and on manifests.
func rows() []row {
	store := func(b *bench) error { return fresh(b.path("store")) }
	out := func(b *bench) error { return fresh(b.path("out")) }
	return []row{
		{
			name: "snapshot 10 000 × 16 KiB", once: smallTree, before: cold, limit: 530 * ms, memory: 200 * mb,
			do: snapfs("snapshot", "small", "-o", "small.json"),
		},
		{
			name: "snapshot it again, unchanged", limit: 150 * ms, memory: 200 * mb,
			do: snapfs("snapshot", "small", "-o", "small.json"),
		},
		{
			name: "download 10 000 × 16 KiB", before: out, limit: 660 * ms, memory: 200 * mb,
			do: snapfs("download", "small.json", "out"),
		},
		{
			name: "hash 4 × 512 MiB", once: bigTree, limit: 380 * ms, memory: 100 * mb,
			do: snapfs("snapshot", "big", "-o", "big.json", "--no-upload", "--no-hash-cache"),
		},
		{
			name: "snapshot 4 × 512 MiB", before: func(b *bench) error { return errors.Join(cold(b), store(b)) },
			limit: 5840 * ms, memory: 200 * mb, do: snapfs("snapshot", "big", "-o", "big.json"),
		},
		{
			name: "download 4 × 512 MiB", before: out, limit: 1400 * ms, memory: 200 * mb,
			do: snapfs("download", "big.json", "out"), after: out,
		},
		{
			name: "diff of 1 M entries, 1 % changed", once: millions, limit: 996 * ms, memory: 575 * mb,
			do: snapfs("diff", "m1000000.json", "m1000000b.json", "-o", "d.json"),
		},
		{
			name: "compose of 1 M entries with it", limit: 1480 * ms, memory: 712 * mb,
			do: snapfs("compose", "m1000000.json", "d.json", "-o", "c.json"),
		},
		{
			name: "mount of 1 M entries", once: millions, limit: 1000 * ms, memory: 250 * mb, do: mountMillion,
		},
	}
}

// scaleRows show that ten times the entries cost about ten times as much.
func scaleRows() []row {
	var list []row
	for _, verb := range [][]string{
		{"diff", "m%d.json", "m%db.json", "-o", "scaled.json"},
		{"compose", "m%d.json", "-o", "scaled.json"},
		{"subtree", "m%d.json", "d000001", "-o", "scaled.json"},
		{"filter", "m%d.json", "-i", "*7", "-o", "scaled.json"},
		{"partition", "m%d.json", "--root", "d000001", "-o", "parts"},
	} {
		for _, n := range []int{200_000, 2_000_000} {
			args := make([]string, len(verb))
			for i, a := range verb {
				if args[i] = a; strings.Contains(a, "%d") {
					args[i] = fmt.Sprintf(a, n)
				}
			}
			list = append(list, row{
				name:   fmt.Sprintf("%s of %d entries", verb[0], n),
				once:   func(b *bench) error { return manifests(b, n) },
				before: func(b *bench) error { return os.RemoveAll(b.path("parts")) },
				do:     snapfs(args...),
			})
		}
	}
	return list
}

// snapfs measures a run of the program.
func snapfs(args ...string) func(*bench) (measure, error) {
	return func(b *bench) (measure, error) {
		cmd := b.command(args...)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		start := time.Now()
		err := cmd.Run()
		wall := time.Since(start)
		if err != nil {
			return measure{}, fmt.Errorf("snapfs %s: %w\n%s", strings.Join(args, " "), err, stderr.String())
		}
		usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage)
		if !ok {
			return measure{}, errors.New("no resource usage on this system")
		}
		return measure{
			wall: wall, cpu: cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), memory: usage.Maxrss * 1024,
		}, nil
	}
}

func (b *bench) command(args ...string) *exec.Cmd {
	cmd := exec.Command(b.program, append(args, "--quiet")...)
	cmd.Dir = b.dir
	cmd.Env = append(os.Environ(), "HOME="+b.path("home"), "SNAPFS_STORE="+b.path("store"), "XDG_RUNTIME_DIR="+b.path("run"))
	return cmd
}

// mountMillion measures how long a mount takes to answer, and the peak memory of the
// process behind it.
func mountMillion(b *bench) (measure, error) {
	if err := errors.Join(os.MkdirAll(b.path("mnt"), 0o755), os.MkdirAll(b.path("run"), 0o700), os.MkdirAll(b.path("store"), 0o755)); err != nil {
		return measure{}, err
	}
	m, err := snapfs("mount", "m1000000.json", "mnt")(b)
	if err != nil {
		return m, err
	}
	pid, err := b.pid()
	if err == nil {
		m.memory, err = peak(pid)
	}
	if err != nil {
		return m, err
	}
	return m, b.command("umount", "mnt").Run()
}

// pid returns the process of the mount.
func (b *bench) pid() (int, error) {
	out, err := b.command("status", "mnt", "--json").Output()
	if err != nil {
		return 0, err
	}
	var status struct {
		PID int `json:"pid"`
	}
	err = json.Unmarshal(out, &status)
	return status.PID, err
}

// peak returns the peak memory of a process, in bytes.
func peak(pid int) (n int64, err error) {
	proc, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(proc)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			_, err := fmt.Sscan(rest, &n)
			return n * 1024, err
		}
	}
	return 0, errors.New("no VmHWM in /proc")
}

func fresh(dir string) error {
	return errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o755))
}

// cold forgets what was stored and hashed before.
func cold(b *bench) error {
	return errors.Join(fresh(b.path("store")), fresh(b.path("home")))
}

// once makes an input the first time it is asked for.
func (b *bench) input(name string, make func() error) error {
	if b.made[name] {
		return nil
	}
	b.made[name] = true
	return make()
}

func smallTree(b *bench) error {
	return b.input("small", func() error {
		r := rand.NewChaCha8([32]byte{1})
		buf := make([]byte, 16<<10)
		for i := range 10_000 {
			dir := b.path("small", fmt.Sprintf("d%02d", i/100))
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return err
			}
			_, _ = r.Read(buf)
			if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("f%02d", i%100)), buf, 0o644); err != nil {
				return err
			}
		}
		return nil
	})
}

func bigTree(b *bench) error {
	return b.input("big", func() error {
		if err := os.MkdirAll(b.path("big"), 0o755); err != nil {
			return err
		}
		for i := range byte(4) {
			f, err := os.Create(b.path("big", fmt.Sprint(i)))
			if err != nil {
				return err
			}
			_, err = io.CopyN(f, rand.NewChaCha8([32]byte{2, i}), 512<<20)
			if err := errors.Join(err, f.Close()); err != nil {
				return err
			}
		}
		return nil
	})
}

func millions(b *bench) error { return manifests(b, 1_000_000) }

// manifests makes two snapshots of n files, of which one in a hundred differs.
func manifests(b *bench, n int) error {
	return b.input(fmt.Sprint("manifests", n), func() error {
		return errors.Join(
			writeManifest(b.path(fmt.Sprintf("m%d.json", n)), n, 0),
			writeManifest(b.path(fmt.Sprintf("m%db.json", n)), n, 100))
	})
}

// writeManifest writes a snapshot of n files in directories of a thousand. Every
// file whose number is a multiple of changed, if that is not 0, has another content.
func writeManifest(path string, n, changed int) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	// Nothing large may stay in this process: the peak memory of a child starts at
	// that of its parent.
	text := bufio.NewWriterSize(f, 1<<20)
	fmt.Fprint(text, `{"dirs":[`)
	for d := range (n + 999) / 1000 {
		if d > 0 {
			fmt.Fprint(text, ",")
		}
		fmt.Fprintf(text, `{"name":"d%06d"}`, d)
	}
	fmt.Fprint(text, `],"fileChunkSizeBytes":268435456,"files":[`)
	total := 0
	for i := range n {
		if i > 0 {
			fmt.Fprint(text, ",")
		}
		version := 0
		if changed > 0 && i%changed == 0 {
			version = 1
		}
		fmt.Fprintf(text, `{"hash":"%016x%016x","mtime":%d,"name":"$%d/file%04d","size":%d}`,
			i*7919, version, 1_700_000_000_000_000+i+version, i/1000, i%1000, 1000+i%5000)
		total += 1000 + i%5000
	}
	fmt.Fprintf(text, `],"hashAlg":"xxh128","specificationVersion":"relative-manifest-snapshot-beta-2025-12","totalSize":%d}`, total)
	return errors.Join(text.Flush(), f.Close())
}

// writeFlat writes a snapshot of n files in one directory.
func writeFlat(path string, n int) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	text := bufio.NewWriterSize(f, 1<<20)
	fmt.Fprint(text, `{"dirs":[{"name":"flat"}],"fileChunkSizeBytes":268435456,"files":[`)
	for i := range n {
		if i > 0 {
			fmt.Fprint(text, ",")
		}
		fmt.Fprintf(text, `{"hash":"%032x","mtime":%d,"name":"$0/file%07d","size":1000}`, i, 1_700_000_000_000_000+i, i)
	}
	fmt.Fprintf(text, `],"hashAlg":"xxh128","specificationVersion":"relative-manifest-snapshot-beta-2025-12","totalSize":%d}`, 1000*n)
	return errors.Join(text.Flush(), f.Close())
}
