// Package metrics writes figures in the text format of Prometheus.
package metrics

import (
	"bufio"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Kind is the type of a family.
type Kind string

// The kinds of families.
const (
	Counter   Kind = "counter"
	Gauge     Kind = "gauge"
	Histogram Kind = "histogram"
)

// Family is a figure with all the labels that it has.
type Family struct {
	Name, Help string
	Kind       Kind
	Samples    []Sample
}

// Sample is one value of a family.
type Sample struct {
	Labels    []Label
	Value     float64
	Durations *Durations // of a histogram, instead of Value
}

// Label is a name with a value.
type Label struct{ Name, Value string }

// Durations is a histogram: Counts are the events up to each of Bounds, and above the
// bound before; one more is above all.
type Durations struct {
	Bounds []time.Duration
	Counts []int64
	Sum    time.Duration
}

// Count is the number of events.
func (d *Durations) Count() (n int64) {
	for _, c := range d.Counts {
		n += c
	}
	return n
}

// Single is a family with one value and no labels.
func Single(kind Kind, name, help string, value float64) Family {
	return Family{Name: name, Help: help, Kind: kind, Samples: []Sample{{Value: value}}}
}

// Labelled is a family of counters with one label, sorted by its value.
func Labelled(name, help, label string, values map[string]int64) Family {
	f := Family{Name: name, Help: help, Kind: Counter}
	for value, n := range values {
		f.Samples = append(f.Samples, Sample{Labels: []Label{{label, value}}, Value: float64(n)})
	}
	slices.SortFunc(f.Samples, func(a, b Sample) int { return strings.Compare(a.Labels[0].Value, b.Labels[0].Value) })
	return f
}

// ContentType is that of what Write writes.
const ContentType = "text/plain; version=0.0.4; charset=utf-8"

// Write writes the families in the text format, version 0.0.4.
func Write(w io.Writer, families []Family) error {
	b := bufio.NewWriter(w)
	for i := range families {
		f := &families[i]
		text(b, "# HELP ", f.Name, " ", helpEscaper().Replace(f.Help), "\n# TYPE ", f.Name, " ", string(f.Kind), "\n")
		for k := range f.Samples {
			f.Samples[k].write(b, f.Name)
		}
	}
	return b.Flush()
}

func (s *Sample) write(b *bufio.Writer, name string) {
	if s.Durations == nil {
		text(b, name, labels(s.Labels), " ", number(s.Value), "\n")
		return
	}
	var total int64
	for i, n := range s.Durations.Counts {
		total += n
		bound := "+Inf"
		if i < len(s.Durations.Bounds) {
			bound = number(s.Durations.Bounds[i].Seconds())
		}
		at := append(slices.Clone(s.Labels), Label{"le", bound})
		text(b, name, "_bucket", labels(at), " ", strconv.FormatInt(total, 10), "\n")
	}
	text(b, name, "_sum", labels(s.Labels), " ", number(s.Durations.Sum.Seconds()), "\n")
	text(b, name, "_count", labels(s.Labels), " ", strconv.FormatInt(total, 10), "\n")
}

// text writes parts one after the other. The writer remembers a failure until the end.
func text(b *bufio.Writer, parts ...string) {
	for _, p := range parts {
		_, _ = b.WriteString(p)
	}
}

func labels(list []Label) string {
	if len(list) == 0 {
		return ""
	}
	parts := make([]string, len(list))
	for i, l := range list {
		parts[i] = l.Name + `="` + labelEscaper().Replace(l.Value) + `"`
	}
	return "{" + strings.Join(parts, ",") + "}"
}

func number(x float64) string { return strconv.FormatFloat(x, 'g', -1, 64) }

func helpEscaper() *strings.Replacer { return strings.NewReplacer(`\`, `\\`, "\n", `\n`) }

func labelEscaper() *strings.Replacer { return strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`) }
