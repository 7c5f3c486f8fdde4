package warm

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/snapfs/snapfs/cmd/snapfs/internal/trace"
	"github.com/snapfs/snapfs/manifest"
	"github.com/snapfs/snapfs/ops"
)

// fakeCache notes what is fetched, and fails for one hash.
type fakeCache struct {
	mu    sync.Mutex
	calls []string
	bad   manifest.Hash
}

func (c *fakeCache) Fetch(_ context.Context, b manifest.Blob, off, n int64) error {
	if b.Hash == c.bad {
		return errors.New("broken")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls = append(c.calls, fmt.Sprintf("%s/%d %d+%d", b.Hash[:1], b.Size, off, n))
	return nil
}

func hash(letter string) manifest.Hash { return manifest.Hash(strings.Repeat(letter, 32)) }

var files = map[string]manifest.File{
	"small":   {Path: "small", Size: 7, Hash: hash("a")},
	"chunked": {Path: "chunked", Size: 25, Chunks: []manifest.Hash{hash("b"), hash("c"), hash("d")}},
	"empty":   {Path: "empty", Hash: hash("e")},
}

func lookup(path string) (manifest.File, bool) { f, ok := files[path]; return f, ok }

func TestTracedRanges(t *testing.T) {
	list, missing := Traced([]trace.Touch{
		{Path: "chunked", Offset: 5, Length: 10}, {Path: "gone", Length: 1}, {Path: "small", Length: 4096},
		{Path: "gone", Offset: 1, Length: 1}, {Path: "chunked", Offset: 25, Length: 1}, {Path: "empty", Length: 1},
	}, lookup)
	c := &fakeCache{}
	var p Progress
	if err := Run(t.Context(), c, 10, list, &p); err != nil {
		t.Fatal(err)
	}
	slices.Sort(c.calls)
	if diff := cmp.Diff([]string{"a/7 0+7", "b/10 5+5", "c/10 0+5"}, c.calls); diff != "" || missing != 1 {
		t.Errorf("%d missing, %s", missing, diff)
	}
	if got := p.Counts(); got.DoneBytes != 17 || got.TotalBytes != 17 || got.DoneFiles != 2 {
		t.Errorf("progress %+v", got)
	}
}

func TestRunGoesOnPastFailures(t *testing.T) {
	c := &fakeCache{bad: hash("c")}
	var p Progress
	err := Run(t.Context(), c, 10, Whole([]manifest.File{files["chunked"], files["empty"], files["small"]}), &p)
	var several *ops.Failures
	if !errors.As(err, &several) || len(several.List) != 1 || several.List[0].Path != "chunked" {
		t.Errorf("got %v", err)
	}
	if !slices.Contains(c.calls, "a/7 0+7") {
		t.Errorf("fetched only %q", c.calls)
	}
}
