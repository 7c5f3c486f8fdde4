package ops

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/snapfs/snapfs/manifest"
)

// glob is a compiled pattern in the dialect of the reference (spec/ops.md §7):
// "*" and "?" match slashes and leading dots, too; "**" stands for any number of
// whole components; "[a-c]", "[!a]" and "[]]" are classes; there are no braces and
// no escapes. A pattern matches whole paths, character by character.
type glob struct {
	text   string
	tokens []globToken
}

type globKind uint8

const (
	globChar     globKind = iota
	globAny               // ?
	globClass             // [abc]
	globNotClass          // [!abc]
	globSeq               // *
	globDirs              // ** and the slash behind it
)

type globToken struct {
	kind   globKind
	char   rune
	ranges []runeRange
}

type runeRange struct{ low, high rune }

func compileGlob(pattern string) (*glob, error) {
	g := &glob{text: pattern}
	chars := []rune(pattern)
	for i := 0; i < len(chars); {
		var token globToken
		n := 1
		reason := ""
		switch chars[i] {
		case '*':
			token, n, reason = starToken(chars, i)
		case '[':
			token, n, reason = classToken(chars[i:])
		case '?':
			token.kind = globAny
		default:
			token.char = chars[i]
		}
		if reason != "" {
			return nil, fmt.Errorf("%w: glob %q: %s at character %d", manifest.ErrInvalid, pattern, reason, i+1)
		}
		if last := len(g.tokens) - 1; token.kind != globDirs || last < 0 || g.tokens[last].kind != globDirs {
			g.tokens = append(g.tokens, token)
		}
		i += n
	}
	return g, nil
}

// starToken reads the run of stars at chars[i], with the slash behind "**".
func starToken(chars []rune, i int) (token globToken, n int, reason string) {
	for i+n < len(chars) && chars[i+n] == '*' {
		n++
	}
	switch {
	case n == 1:
		return globToken{kind: globSeq}, 1, ""
	case n > 2:
		return token, n, "wildcards are either * or **"
	case i > 0 && chars[i-1] != '/':
		return token, n, "** must be a whole component"
	case i+2 == len(chars):
		return globToken{kind: globDirs}, 2, ""
	case chars[i+2] == '/':
		return globToken{kind: globDirs}, 3, ""
	}
	return token, n, "** must be a whole component"
}

// classToken reads the class that chars starts with. A "]" right after the opening
// is a member.
func classToken(chars []rune) (token globToken, n int, reason string) {
	from := 1
	token.kind = globClass
	if len(chars) > 1 && chars[1] == '!' {
		from = 2
		token.kind = globNotClass
	}
	for to := from + 1; to < len(chars); to++ {
		if chars[to] == ']' {
			token.ranges = classRanges(chars[from:to])
			return token, to + 1, ""
		}
	}
	return token, 0, "[ is not closed"
}

func classRanges(chars []rune) (ranges []runeRange) {
	for i := 0; i < len(chars); {
		if i+3 <= len(chars) && chars[i+1] == '-' {
			ranges = append(ranges, runeRange{chars[i], chars[i+2]})
			i += 3
			continue
		}
		ranges = append(ranges, runeRange{chars[i], chars[i]})
		i++
	}
	return ranges
}

// match reports whether the pattern matches the whole of path. On a mismatch only
// the last star needs to take more: whatever an earlier one could still reach, the
// last one reaches, too. So the time is at most the product of the two lengths.
func (g *glob) match(path string) bool {
	token, at := 0, 0
	star, resume := -1, 0
	for {
		if token < len(g.tokens) && g.tokens[token].kind >= globSeq {
			star, resume = token, at
			token++
			continue
		}
		if token == len(g.tokens) && at == len(path) {
			return true
		}
		if token < len(g.tokens) && at < len(path) {
			r, n := utf8.DecodeRuneInString(path[at:])
			if g.tokens[token].matchesRune(r) {
				token, at = token+1, at+n
				continue
			}
		}
		if star < 0 || resume == len(path) {
			return false
		}
		resume += g.tokens[star].step(path[resume:])
		token, at = star+1, resume
	}
}

// step returns how much more of rest a star takes at least: a character, or all of
// a component with its slash.
func (t globToken) step(rest string) int {
	if t.kind == globSeq {
		_, n := utf8.DecodeRuneInString(rest)
		return n
	}
	if slash := strings.IndexByte(rest, '/'); slash >= 0 {
		return slash + 1
	}
	return len(rest)
}

func (t globToken) matchesRune(r rune) bool {
	switch t.kind {
	case globAny:
		return true
	case globClass, globNotClass:
		for _, in := range t.ranges {
			if in.low <= r && r <= in.high {
				return t.kind == globClass
			}
		}
		return t.kind == globNotClass
	}
	return t.char == r
}
