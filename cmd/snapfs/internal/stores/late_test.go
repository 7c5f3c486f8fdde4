package stores

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/snapfs/snapfs/blobstore"
	"github.com/snapfs/snapfs/blobstore/memstore"
	"github.com/snapfs/snapfs/blobstore/storetest"
)

func TestLateIsAStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) blobstore.Store {
		inner := memstore.New()
		return Late(func(context.Context) (blobstore.Store, error) { return inner, nil })
	})
}

// A store that is out of reach is tried again, but not for every reader.
func TestLateTriesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tries, reachable := 0, false
		s := Late(func(context.Context) (blobstore.Store, error) {
			if tries++; !reachable {
				return nil, blobstore.ErrNoStore
			}
			return memstore.New(), nil
		})
		key := blobstore.Key("00000000000000000000000000000000.xxh128")
		for range 10 {
			if _, err := s.Stat(t.Context(), key); !errors.Is(err, blobstore.ErrUnavailable) || !errors.Is(err, blobstore.ErrNoStore) {
				t.Fatalf("out of reach: %v", err)
			}
		}
		if tries != 1 {
			t.Errorf("%d tries at once", tries)
		}
		reachable = true
		time.Sleep(lateInterval)
		if _, err := s.Stat(t.Context(), key); !errors.Is(err, blobstore.ErrNotFound) {
			t.Errorf("within reach again: %v", err)
		}
	})
}
