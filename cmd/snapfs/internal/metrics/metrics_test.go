package metrics

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestText(t *testing.T) {
	var b strings.Builder
	err := Write(&b, []Family{
		Single(Gauge, "a_bytes", "What is\nheld.", 1.5e9),
		Labelled("b_total", "Things.", "reason", map[string]int64{"x": 2, `q"\`: 1}),
		{Name: "c_seconds", Help: "Times.", Kind: Histogram, Samples: []Sample{{
			Labels:    []Label{{"op", "read"}},
			Durations: &Durations{Bounds: []time.Duration{time.Millisecond, time.Second}, Counts: []int64{2, 0, 1}, Sum: 2500 * time.Millisecond},
		}}},
	})
	want := `# HELP a_bytes What is\nheld.
# TYPE a_bytes gauge
a_bytes 1.5e+09
# HELP b_total Things.
# TYPE b_total counter
b_total{reason="q\"\\"} 1
b_total{reason="x"} 2
# HELP c_seconds Times.
# TYPE c_seconds histogram
c_seconds_bucket{op="read",le="0.001"} 2
c_seconds_bucket{op="read",le="1"} 2
c_seconds_bucket{op="read",le="+Inf"} 3
c_seconds_sum{op="read"} 2.5
c_seconds_count{op="read"} 3
`
	if diff := cmp.Diff(want, b.String()); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
}
