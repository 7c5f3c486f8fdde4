package cache

import (
	"math/rand/v2"
	"testing"
)

func TestDenseRandomReadsFetchTheWholeRegion(t *testing.T) {
	const size = 96 << 20
	data, blob := content(size, 80)
	for name, tt := range map[string]struct {
		opts  Options
		reads int
		whole bool
	}{
		"a few dozen":              {Options{}, 300, true},
		"few":                      {Options{}, 15, false},
		"larger than half a cache": {Options{MaxBytes: size + size/2}, 60, false},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, tt.opts, data)
			r := rand.New(rand.NewPCG(1, 2))
			for range tt.reads {
				mustRead(t, f.Blobs, blob, data, r.IntN(size/4096)*4096, 4096)
			}
			settled(t, f.Blobs)
			file, ok := f.File(blob)
			if ok {
				file.Close()
			}
			if ok != tt.whole {
				t.Errorf("complete: %v, want %v", ok, tt.whole)
			}
			s := f.Stats()
			if tt.whole && (s.FetchedBytes != size || s.ReadAhead == 0 || s.ReadAheadUseful == 0 || s.ReadAheadUseful > s.ReadAhead) {
				t.Errorf("fetched %d bytes, %d ahead, %d of them useful", s.FetchedBytes, s.ReadAhead, s.ReadAheadUseful)
			}
		})
	}
}

func TestRegionsAreCountedApart(t *testing.T) {
	var r regions
	const blocks = 3 * regionBlocks
	dense := 0
	for i := range 200 {
		if r.spot(i%2*regionBlocks+i, blocks) {
			dense++
		}
	}
	if dense != 2 {
		t.Errorf("%d regions of two were dense", dense)
	}
	if r.spot(2*regionBlocks, blocks) {
		t.Error("a region of which one block was touched is dense")
	}
}
