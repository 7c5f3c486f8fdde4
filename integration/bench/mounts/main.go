// Command mounts compares snapfs with the local file system and with other mounts of
// S3, one after the other on one machine and one S3 server, and prints a table that a
// person can read.
//
// usage: mounts [-snapfs PROGRAM] [-versitygw PROGRAM] [-size MiB] [-runs N] [-only SYSTEMS] [-sweep WHAT]
//
// rclone and s3fs take part where they are installed. They mount plain objects; snapfs
// mounts a store of blobs, and verifies every byte. Only ratios mean anything: times
// depend on the machine and on what else it does. It must run as root, which can empty
// the page cache.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
)

func main() {
	o := options{}
	flag.StringVar(&o.snapfs, "snapfs", "bin/snapfs", "the program to measure")
	flag.StringVar(&o.versitygw, "versitygw", "versitygw", "the S3 server")
	flag.Int64Var(&o.size, "size", 1024, "size of the large file, in MiB")
	flag.IntVar(&o.runs, "runs", 3, "how often everything is done; the table shows medians")
	flag.StringVar(&o.sweep, "sweep", "", "instead of the table, print how figures depend on the size of requests, or the latency of the store: requests or latency")
	flag.StringVar(&o.only, "only", "", "comma-separated systems to measure, beside native")
	flag.Parse()
	if err := run(&o); err != nil {
		fmt.Fprintln(os.Stderr, "mounts:", err)
		os.Exit(1)
	}
}

type options struct {
	snapfs, versitygw string
	size              int64
	runs              int
	only, sweep       string
}

func run(o *options) error {
	if os.Geteuid() != 0 {
		return errors.New("only root can empty the page cache; run it as root")
	}
	program, err := filepath.Abs(o.snapfs)
	if err != nil {
		return err
	}
	o.snapfs = program
	dir, err := os.MkdirTemp("", "snapfs-mounts")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	b := &bench{options: o, dir: dir}
	defer b.close()
	if err := b.prepare(); err != nil {
		return err
	}
	if o.sweep != "" {
		return b.sweep(o.sweep)
	}
	results := map[string]map[string][]float64{} // by work and system
	var names []string
	for i := range o.runs {
		for _, s := range b.systems() {
			if i == 0 {
				names = append(names, s.name)
			}
			fmt.Fprintf(os.Stderr, "%s, run %d …\n", s.name, i+1)
			values, err := b.measure(s)
			if err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			for work, v := range values {
				if results[work] == nil {
					results[work] = map[string][]float64{}
				}
				results[work][s.name] = append(results[work][s.name], v)
			}
		}
	}
	return table(names, results, o.size)
}

// wanted reports whether a system takes part.
func (o *options) wanted(name, program string) bool {
	if o.only != "" && !slices.Contains(strings.Split(o.only, ","), name) {
		return false
	}
	_, err := exec.LookPath(program)
	return err == nil
}

func table(names []string, results map[string]map[string][]float64, size int64) error {
	w := tabwriter.NewWriter(os.Stdout, 2, 0, 2, ' ', 0)
	fmt.Fprintf(w, "work\tunit\t%s\tlimit\t\n", strings.Join(names, "\t"))
	for _, x := range works {
		name := strings.ReplaceAll(x.name, "SIZE", fmt.Sprintf("%d MiB", size))
		cells := []string{name, x.unit}
		for _, s := range names {
			cells = append(cells, number(median(results[x.name][s])))
		}
		cells = append(cells, x.judge(results[x.name]))
		fmt.Fprintln(w, strings.Join(cells, "\t")+"\t")
	}
	return w.Flush()
}

func median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	v = slices.Sorted(slices.Values(v))
	return v[len(v)/2]
}

func number(v float64) string {
	switch {
	case v == 0:
		return "–"
	case v < 1:
		return fmt.Sprintf("%.3f", v)
	case v < 100:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.0f", v)
}
