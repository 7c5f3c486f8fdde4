// Package extent keeps sets of byte ranges.
package extent

import "slices"

// Range is the bytes from Off up to, and not including, End.
type Range struct{ Off, End int64 }

// Len returns the number of bytes in r.
func (r Range) Len() int64 { return r.End - r.Off }

// Set is a set of bytes, kept as sorted ranges that neither overlap nor touch. The
// zero value is empty.
type Set struct{ rs []Range }

// Ranges returns the ranges of s in order. The caller must not change them.
func (s *Set) Ranges() []Range { return s.rs }

// Empty reports whether s holds no byte.
func (s *Set) Empty() bool { return len(s.rs) == 0 }

// Bytes returns the number of bytes in s.
func (s *Set) Bytes() int64 {
	var n int64
	for _, r := range s.rs {
		n += r.Len()
	}
	return n
}

// search returns the index of the first range that ends after off.
func (s *Set) search(off int64) int {
	i, _ := slices.BinarySearchFunc(s.rs, off, func(r Range, off int64) int {
		if r.End <= off {
			return -1
		}
		return 1
	})
	return i
}

// Add puts the bytes of r into s and reports whether s changed.
func (s *Set) Add(r Range) bool {
	if r.Len() <= 0 {
		return false
	}
	// Ranges that touch r at either side join it: hence the search for r.Off-1.
	i := s.search(r.Off - 1)
	j := i
	for j < len(s.rs) && s.rs[j].Off <= r.End {
		j++
	}
	if j == i+1 && s.rs[i].Off <= r.Off && r.End <= s.rs[i].End {
		return false
	}
	if j > i {
		r.Off = min(r.Off, s.rs[i].Off)
		r.End = max(r.End, s.rs[j-1].End)
	}
	s.rs = slices.Replace(s.rs, i, j, r)
	return true
}

// Clip removes every byte at or after end.
func (s *Set) Clip(end int64) {
	i := s.search(end)
	if i < len(s.rs) && s.rs[i].Off < end {
		s.rs[i].End = end
		i++
	}
	s.rs = s.rs[:i]
}

// Overlaps reports whether any byte of r is in s.
func (s *Set) Overlaps(r Range) bool {
	i := s.search(r.Off)
	return r.Len() > 0 && i < len(s.rs) && s.rs[i].Off < r.End
}

// Covers reports whether every byte of r is in s.
func (s *Set) Covers(r Range) bool {
	if r.Len() <= 0 {
		return true
	}
	i := s.search(r.Off)
	return i < len(s.rs) && s.rs[i].Off <= r.Off && r.End <= s.rs[i].End
}

// Split cuts r into consecutive pieces, each wholly inside or wholly outside of s,
// and calls fn for each in order.
func (s *Set) Split(r Range, fn func(piece Range, inside bool)) {
	pos := r.Off
	for i := s.search(pos); pos < r.End; i++ {
		if i == len(s.rs) || s.rs[i].Off >= r.End {
			fn(Range{pos, r.End}, false)
			return
		}
		if e := s.rs[i]; pos < e.Off {
			fn(Range{pos, e.Off}, false)
			pos = e.Off
		}
		end := min(s.rs[i].End, r.End)
		fn(Range{pos, end}, true)
		pos = end
	}
}

// Clone returns a copy of s.
func (s *Set) Clone() Set { return Set{rs: slices.Clone(s.rs)} }
