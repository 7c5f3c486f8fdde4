package ops

import (
	"math/bits"
	"slices"
	"sort"
	"strings"

	"github.com/snapfs/snapfs/manifest"
)

// paths is a sorted list of distinct paths. Operations on trees work with ranks,
// positions in this list: what lies below a directory is a range of ranks.
type paths struct {
	list   []string
	cursor int // the last rank looked up: the next one is usually near
}

// newPaths returns the union of sorted, a sorted list of distinct paths, and others,
// in any order, together with all ancestors of every path. "." is nobody's ancestor.
func newPaths(sorted, others []string) *paths {
	extra := appendAncestors(nil, sorted)
	extra = append(appendAncestors(extra, others), others...)
	slices.Sort(extra)
	return &paths{list: mergeUnique(sorted, slices.Compact(extra))}
}

// appendAncestors appends the ancestors of all paths. Some may be repeated.
func appendAncestors(out, list []string) []string {
	known := "."
	for _, path := range list {
		if parent := manifest.Parent(path); parent != known {
			out = appendNewAncestors(out, parent, known)
			known = parent
		}
	}
	return out
}

// appendNewAncestors appends dir and its ancestors, except for those that are at or
// above known.
func appendNewAncestors(out []string, dir, known string) []string {
	if dir == "." || dir == known {
		return out
	}
	if _, above := manifest.Within(known, dir); above {
		return out
	}
	out = append(out, dir)
	if up := manifest.Parent(dir); up != dir {
		return appendNewAncestors(out, up, known)
	}
	return out
}

// mergeUnique merges two sorted lists of distinct strings.
func mergeUnique(a, b []string) []string {
	if len(b) == 0 {
		return a
	}
	out := make([]string, 0, len(a)+len(b))
	for len(a) > 0 || len(b) > 0 {
		order := headOrder(a, b, strings.Compare)
		if order <= 0 {
			out = append(out, a[0])
			a = a[1:]
		} else {
			out = append(out, b[0])
		}
		if order >= 0 {
			b = b[1:]
		}
	}
	return out
}

// search returns the first rank whose path is not less than path. It looks near the
// last answer first.
func (p *paths) search(path string) int {
	n, at := len(p.list), p.cursor
	low, high := 0, n // the answer is in [low, high]
	if at < n && p.list[at] < path {
		low = at + 1
		for step := 1; low+step < n; step *= 2 {
			if p.list[low+step] >= path {
				high = low + step
				break
			}
			low += step + 1
		}
	} else {
		high = at
	}
	p.cursor = low + sort.Search(high-low, func(i int) bool { return p.list[low+i] >= path })
	return p.cursor
}

// rank returns the rank of a path that is in the list.
func (p *paths) rank(path string) int {
	if p.cursor+1 < len(p.list) && p.list[p.cursor+1] == path {
		p.cursor++
		return p.cursor
	}
	return p.search(path)
}

// below returns the ranks of what lies strictly below the path of rank r.
func (p *paths) below(r int) (from, to int) {
	dir := p.list[r]
	if dir == "." { // nobody's ancestor
		return r, r
	}
	prefix := strings.TrimSuffix(dir, "/") + "/"
	if from = r + 1; from == len(p.list) || p.list[from] > prefix && !strings.HasPrefix(p.list[from], prefix) {
		return from, from
	}
	cursor := p.cursor
	p.cursor = r
	from = p.search(prefix)
	to = p.search(prefix[:len(prefix)-1] + "0") // "0" is the successor of "/"
	p.cursor = cursor
	if from < len(p.list) && p.list[from] == dir { // the root itself
		from++
	}
	return from, to
}

// rankSet is a set of ranks. The next member after any rank is found in a few steps,
// however sparse the set is: every bit of a level tells whether a word of the level
// below holds anything.
type rankSet struct{ levels [][]uint64 }

func newRankSet(n int) rankSet {
	var s rankSet
	for {
		n = (n + 63) / 64
		s.levels = append(s.levels, make([]uint64, max(n, 1)))
		if n <= 1 {
			return s
		}
	}
}

func (s *rankSet) has(r int) bool { return s.levels[0][r>>6]>>(r&63)&1 == 1 }

func (s *rankSet) add(r int) {
	for _, level := range s.levels {
		level[r>>6] |= 1 << (r & 63)
		r >>= 6
	}
}

func (s *rankSet) remove(r int) {
	for _, level := range s.levels {
		level[r>>6] &^= 1 << (r & 63)
		if level[r>>6] != 0 {
			return
		}
		r >>= 6
	}
}

// count returns the number of members.
func (s *rankSet) count() int {
	n := 0
	for _, word := range s.levels[0] {
		n += bits.OnesCount64(word)
	}
	return n
}

// next returns the first member that is at least r, or -1.
func (s *rankSet) next(r int) int {
	for l := 0; l < len(s.levels); l++ {
		word := r >> 6
		if word >= len(s.levels[l]) {
			return -1
		}
		if rest := s.levels[l][word] >> (r & 63); rest != 0 {
			return s.descend(l, r+bits.TrailingZeros64(rest))
		}
		r = word + 1
	}
	return -1
}

// descend returns the first member below position r of level l.
func (s *rankSet) descend(l, r int) int {
	for ; l > 0; l-- {
		r = r<<6 + bits.TrailingZeros64(s.levels[l-1][r])
	}
	return r
}

// anyIn reports whether there is a member in [from, to).
func (s *rankSet) anyIn(from, to int) bool {
	r := s.next(from)
	return r >= 0 && r < to
}

// removeIn removes all members in [from, to).
func (s *rankSet) removeIn(from, to int) {
	for r := s.next(from); r >= 0 && r < to; r = s.next(r + 1) {
		s.remove(r)
	}
}
