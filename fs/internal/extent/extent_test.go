package extent

import (
	"testing"

	"pgregory.net/rapid"
)

// TestSetAgainstBitmap runs random operations on a Set and on a plain array of
// flags, and compares every query.
func TestSetAgainstBitmap(t *testing.T) {
	const size = 40
	rapid.Check(t, func(t *rapid.T) {
		var (
			set  Set
			want [size]bool
		)
		draw := func() Range {
			a := rapid.IntRange(0, size).Draw(t, "a")
			b := rapid.IntRange(0, size).Draw(t, "b")
			return Range{int64(min(a, b)), int64(max(a, b))}
		}
		for range rapid.IntRange(1, 20).Draw(t, "steps") {
			r := draw()
			if rapid.IntRange(0, 4).Draw(t, "kind") == 0 {
				set.Clip(r.Off)
				for i := r.Off; i < size; i++ {
					want[i] = false
				}
			} else {
				changed := false
				for i := r.Off; i < r.End; i++ {
					changed = changed || !want[i]
					want[i] = true
				}
				if got := set.Add(r); got != changed {
					t.Fatalf("Add(%v) = %v, want %v", r, got, changed)
				}
			}
			check(t, &set, want[:], draw())
		}
	})
}

func check(t *rapid.T, set *Set, want []bool, r Range) {
	var last int64 = -1
	for _, x := range set.Ranges() {
		if x.Off <= last || x.Len() <= 0 {
			t.Fatalf("ranges not sorted, not joined or empty: %v", set.Ranges())
		}
		last = x.End
	}
	all, some := true, false
	for i := r.Off; i < r.End; i++ {
		all, some = all && want[i], some || want[i]
	}
	if set.Covers(r) != all || set.Overlaps(r) != some {
		t.Fatalf("%v: Covers(%v) = %v, Overlaps = %v", set.Ranges(), r, set.Covers(r), set.Overlaps(r))
	}
	pos := r.Off
	set.Split(r, func(p Range, inside bool) {
		if p.Off != pos || p.Len() <= 0 {
			t.Fatalf("Split(%v): piece %v does not follow %d", r, p, pos)
		}
		for i := p.Off; i < p.End; i++ {
			if want[i] != inside {
				t.Fatalf("Split(%v): byte %d inside = %v", r, i, inside)
			}
		}
		pos = p.End
	})
	if pos != r.End {
		t.Fatalf("Split(%v) stopped at %d", r, pos)
	}
}
