// Command bench measures snapfs as whole processes and prints a table that a person
// can read: what was done, how long it took, how much memory it needed at its peak,
// and the limits.
//
// usage: bench [-snapfs PROGRAM] [-runs N] [-only WORDS]
//
// The limits in time are those of a quiet machine with two processors; on a busy one
// compare processor times with each other. The limits in memory hold anywhere.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

func main() {
	program := flag.String("snapfs", "bin/snapfs", "the program to measure")
	runs := flag.Int("runs", 3, "how often each row is run; the table shows the fastest and the median")
	only := flag.String("only", "", "run only rows whose name holds this")
	flag.Parse()
	if err := run(*program, *runs, *only); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(program string, runs int, only string) error {
	program, err := filepath.Abs(program)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "snapfs-bench")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	b := &bench{program: program, dir: dir, made: map[string]bool{}}
	table := tabwriter.NewWriter(os.Stdout, 2, 0, 2, ' ', 0)
	fmt.Fprintln(table, "work\tfastest\tmedian\tlimit\tprocessor\tpeak memory\tlimit\t")
	for _, row := range slices.Concat(rows(), mountedRows(), scaleRows()) {
		if !strings.Contains(row.name, only) {
			continue
		}
		fmt.Fprintf(os.Stderr, "%s …\n", row.name)
		text, err := b.row(row, runs)
		if err != nil {
			return fmt.Errorf("%s: %w", row.name, err)
		}
		fmt.Fprintln(table, text)
	}
	return table.Flush()
}

// row is a line of the table.
type row struct {
	name string
	// once prepares what all runs share; before prepares one run and is not timed.
	once, before func(*bench) error
	// do is what is measured.
	do func(*bench) (measure, error)
	// after cleans up behind one run.
	after func(*bench) error

	limit  time.Duration // 0 for none
	memory int64         // bytes; 0 for none
}

// measure is the cost of one run.
type measure struct {
	wall   time.Duration
	cpu    time.Duration // of all threads, user and system
	memory int64         // peak resident set, bytes
	limit  time.Duration // where that of the row depends on the machine
}

// bench holds what the rows share.
type bench struct {
	program string
	dir     string
	made    map[string]bool // inputs that exist
}

func (b *bench) path(parts ...string) string {
	return filepath.Join(append([]string{b.dir}, parts...)...)
}

// row runs one row and returns its line.
func (b *bench) row(r row, runs int) (string, error) {
	if r.once != nil {
		if err := r.once(b); err != nil {
			return "", err
		}
	}
	var all []measure
	for range runs {
		m, err := b.once(r)
		if err != nil {
			return "", err
		}
		all = append(all, m)
	}
	slices.SortFunc(all, func(x, y measure) int { return int(x.wall - y.wall) })
	fastest, median := all[0].wall, all[len(all)/2].wall
	var memory int64
	cpu := all[0].cpu
	for _, m := range all {
		memory, cpu = max(memory, m.memory), min(cpu, m.cpu)
		r.limit = max(r.limit, m.limit)
	}
	return strings.Join([]string{
		r.name, seconds(fastest), seconds(median), verdict(r.limit > 0, fastest <= r.limit, seconds(r.limit)),
		seconds(cpu), megabytes(memory), verdict(r.memory > 0, memory <= r.memory, megabytes(r.memory)), "",
	}, "\t"), nil
}

func (b *bench) once(r row) (measure, error) {
	if r.before != nil {
		if err := r.before(b); err != nil {
			return measure{}, err
		}
	}
	m, err := r.do(b)
	if err == nil && r.after != nil {
		err = r.after(b)
	}
	return m, err
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.3f s", d.Seconds()) }

func megabytes(n int64) string {
	if n == 0 {
		return "–"
	}
	return fmt.Sprintf("%d MB", n/1e6)
}

func verdict(limited, ok bool, limit string) string {
	switch {
	case !limited:
		return "–"
	case ok:
		return "≤ " + limit + " ok"
	}
	return "≤ " + limit + " OVER"
}
