package ops

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"testing"
)

func TestFailuresText(t *testing.T) {
	denied := &fs.PathError{Op: "open", Path: "/a", Err: os.ErrPermission}
	for _, tc := range []struct {
		name string
		list []Failure
		want string
	}{
		{"one, the path not twice", []Failure{{"/a", denied}}, "/a: open: permission denied"},
		{"one, of another path", []Failure{{"/b", denied}}, "/b: open /a: permission denied"},
		{"one, wrapped", []Failure{{"/a", fmt.Errorf("hash: %w", denied)}}, "/a: hash: open /a: permission denied"},
		{"a name that would garble the terminal", []Failure{{"/a\x1b[2J\n", errors.New("no")}}, `"/a\x1b[2J\n": no`},
		{"two", []Failure{{"/a", errors.New("x")}, {"/b", errors.New("y")}}, "2 entries failed:\n  /a: x\n  /b: y"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := (&Failures{tc.list}).Error(); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
	many := &Failures{}
	for i := range 25 {
		many.List = append(many.List, Failure{fmt.Sprint("/", i), errors.New("x")})
	}
	if got := many.Error(); strings.Count(got, "\n") != 11 || !strings.HasSuffix(got, "\n  and 15 more") {
		t.Errorf("got %q", got)
	}
}

func TestFailureListKeepsCauses(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var l failureList
	if l.outcome(ctx) != nil {
		t.Error("no failures are an error")
	}
	l.add(ctx, "/b", os.ErrPermission)
	l.add(ctx, "/a", context.DeadlineExceeded) // of a store, not of this operation
	cancel()
	l.add(ctx, "/c", context.Canceled) // follows from the cancellation
	var fails *Failures
	err := l.outcome(ctx)
	if !errors.As(err, &fails) || len(fails.List) != 2 || fails.List[0].Path != "/a" || !errors.Is(err, os.ErrPermission) || !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestNotFoundError(t *testing.T) {
	err := error(&notFoundError{"/x"})
	if err.Error() != "File not found: /x" || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}
