package ops

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"
)

// ErrChanged means that a file kept changing while it was read, so that no
// consistent content of it could be had.
var ErrChanged = errors.New("the file keeps changing while it is read; try again when nothing writes to it")

// Failure is one entry that an operation could not handle.
type Failure struct {
	Path string // path of the entry, or key of the blob
	Err  error
}

// Failures is the error of an operation that went on past the entries it could not
// handle. It lists all of them, sorted by path.
type Failures struct {
	List []Failure
}

// maxListed is how many failures the text of Failures spells out.
const maxListed = 10

// Error lists the first few failures, one a line.
func (f *Failures) Error() string {
	if len(f.List) == 1 {
		return f.List[0].String()
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d entries failed:", len(f.List))
	for _, one := range f.List[:min(maxListed, len(f.List))] {
		b.WriteString("\n  " + one.String())
	}
	if more := len(f.List) - maxListed; more > 0 {
		fmt.Fprintf(&b, "\n  and %d more", more)
	}
	return b.String()
}

// Unwrap returns the causes, for errors.Is and errors.As.
func (f *Failures) Unwrap() []error {
	errs := make([]error, len(f.List))
	for i := range f.List {
		errs[i] = f.List[i].Err
	}
	return errs
}

// String returns "path: cause", and never the path twice.
func (f Failure) String() string {
	var pe *fs.PathError
	if errors.As(f.Err, &pe) && pe.Path == f.Path && pe.Error() == f.Err.Error() {
		return fmt.Sprintf("%s: %s: %v", printable(f.Path), pe.Op, pe.Err)
	}
	return fmt.Sprintf("%s: %v", printable(f.Path), f.Err)
}

// printable returns path, quoted when it holds anything that would garble a
// terminal or a line of a log.
func printable(path string) string {
	if q := fmt.Sprintf("%q", path); q != `"`+path+`"` {
		return q
	}
	return path
}

// failureList collects failures from any number of goroutines. The zero value is
// empty and ready.
type failureList struct {
	mu   sync.Mutex
	list []Failure
}

// add records that path failed because of err. What merely follows from the end of
// ctx is not recorded: the operation reports that once.
func (l *failureList) add(ctx context.Context, path string, err error) {
	if ctx.Err() != nil && (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)) {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.list = append(l.list, Failure{Path: path, Err: err})
}

// err returns what was collected as *Failures, or nil.
func (l *failureList) err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.list) == 0 {
		return nil
	}
	slices.SortStableFunc(l.list, func(a, b Failure) int { return cmp.Compare(a.Path, b.Path) })
	return &Failures{List: slices.Clone(l.list)}
}

// outcome returns the error of a whole operation: that the caller cancelled it, or
// else the failures of its entries, or nil.
func (l *failureList) outcome(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		if cause := context.Cause(ctx); !errors.Is(cause, err) {
			err = fmt.Errorf("%w: %w", err, cause)
		}
		return errors.Join(fmt.Errorf("operation cancelled: %w", err), l.err())
	}
	return l.err()
}

// notFoundError is the error for a path the caller named that is not there.
type notFoundError struct{ path string }

func (e *notFoundError) Error() string   { return "File not found: " + printable(e.path) }
func (e *notFoundError) Is(t error) bool { return t == os.ErrNotExist }
