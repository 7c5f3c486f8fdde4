package ops

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
)

// placing says how a finished file or link gets its name.
type placing struct {
	create  func(name string) error // fails with fs.ErrExist when the name is taken
	replace func(name string) error
}

// do gives it the name, or another one, as the policy says. It returns the name, or
// "" when what exists was kept.
func (p placing) do(name string, policy ConflictPolicy) (string, error) {
	err := p.create(name)
	if !errors.Is(err, fs.ErrExist) {
		return name, err
	}
	switch policy {
	case Skip:
		return "", nil
	case CreateCopy:
		for n := 1; ; n++ {
			at := copyName(name, n)
			if err := p.create(at); !errors.Is(err, fs.ErrExist) {
				return at, err
			}
		}
	}
	return name, p.replace(name)
}

// copyName returns the name of the n-th copy of a file: the number goes before what
// stands from the last dot on, unless that dot comes first (spec/ops.md §4.5).
func copyName(name string, n int) string {
	stem, ext := name, ""
	if dot := strings.LastIndexByte(name, '.'); dot > 0 {
		stem, ext = name[:dot], name[dot:]
	}
	return fmt.Sprintf("%s (%d)%s", stem, n, ext)
}
