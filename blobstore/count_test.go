package blobstore_test

import (
	"errors"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/snapfs/snapfs/blobstore"
	"github.com/snapfs/snapfs/blobstore/faulty"
	"github.com/snapfs/snapfs/blobstore/memstore"
	"github.com/snapfs/snapfs/blobstore/storetest"
)

func TestCountedStoreKeepsContract(t *testing.T) {
	storetest.Run(t, func(*testing.T) blobstore.Store {
		return blobstore.Count(memstore.New(), new(blobstore.Stats))
	})
}

func TestCount(t *testing.T) {
	broken := faulty.Wrap(memstore.New())
	var stats blobstore.Stats
	s := blobstore.Count(broken, &stats)
	key := storetest.Put(t, s, storetest.Bytes(100))
	storetest.Put(t, s, storetest.Bytes(11))
	if _, err := storetest.Get(t.Context(), s, key, 10, 20); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Stat(t.Context(), storetest.Key([]byte("absent"))); !errors.Is(err, blobstore.ErrNotFound) {
		t.Fatal(err)
	}
	broken.Inject(faulty.Fault{Stream: true, After: 30, Err: io.ErrUnexpectedEOF})
	if _, err := storetest.Get(t.Context(), s, key, 0, -1); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatal(err)
	}
	broken.Inject(faulty.Fault{Op: faulty.Put, Err: blobstore.ErrNoSpace})
	if err := s.Put(t.Context(), key, storetest.Body(storetest.Bytes(100))); !errors.Is(err, blobstore.ErrNoSpace) {
		t.Fatal(err)
	}
	want := blobstore.Totals{Stats: 1, Opens: 2, Puts: 3, Failures: 2, BytesFetched: 50, BytesPut: 111}
	if diff := cmp.Diff(want, stats.Totals()); diff != "" {
		t.Errorf("Totals (-want +got):\n%s", diff)
	}
}

func TestNilStatsCountNothing(t *testing.T) {
	s := memstore.New()
	if blobstore.Count(s, nil) != blobstore.Store(s) {
		t.Error("Count with nil wraps the store")
	}
	var stats *blobstore.Stats
	if got := stats.Totals(); got != (blobstore.Totals{}) {
		t.Errorf("Totals = %+v, want zeros", got)
	}
}

func TestAsFindsAbilitiesOfWrappedStores(t *testing.T) {
	inner := memstore.New()
	s := blobstore.Count(faulty.Wrap(inner), new(blobstore.Stats))
	if got, ok := blobstore.As[*memstore.Store](s); !ok || got != inner {
		t.Errorf("As found %v, %v; want the innermost store", got, ok)
	}
	if _, ok := blobstore.As[blobstore.Lister](s); !ok {
		t.Error("As did not find that the store can list")
	}
	if _, ok := blobstore.As[blobstore.Syncer](s); ok {
		t.Error("As found an ability that nobody has")
	}
}

func TestKeyOf(t *testing.T) {
	if k, err := blobstore.KeyOf("99aa06d3014798d86001c324468d497f", "xxh128"); err != nil || k.Hash() != "99aa06d3014798d86001c324468d497f" {
		t.Errorf("KeyOf = %q, %v", k, err)
	}
	for _, c := range [][2]string{{"99AA06d3014798d86001c324468d497f", "xxh128"}, {"99aa06d3014798d86001c324468d497f", "sha256"}, {"", ""}} {
		if k, err := blobstore.KeyOf(c[0], c[1]); !errors.Is(err, blobstore.ErrBadKey) {
			t.Errorf("KeyOf(%q, %q) = %q, %v; want ErrBadKey", c[0], c[1], k, err)
		}
	}
}
