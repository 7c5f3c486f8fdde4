package s3store_test

import (
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/snapfs/snapfs/blobstore/s3store"
	"github.com/snapfs/snapfs/blobstore/storetest"
	"github.com/snapfs/snapfs/integration/s3server"
)

func leave(t *testing.T, s *s3store.Store, object string, parts map[int32][]byte) {
	t.Helper()
	if err := s.LeaveUpload(t.Context(), object, parts); err != nil {
		t.Fatal(err)
	}
}

func wantUploads(t *testing.T, s *s3store.Store, want ...string) {
	t.Helper()
	got, err := s.UploadKeys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("unfinished uploads (-want +got):\n%s", diff)
	}
}

// A run that is killed and repeated leaves no upload behind: who completes the blob
// removes what others have left of it, unless that may be somebody else's.
func TestPutRemovesWhatKilledWritersLeft(t *testing.T) {
	server := s3server.Start(t)
	s := open(t, inParts(configFor(t, server, "Data")))
	blob := storetest.Bytes(12 * mib) // parts of 5, 5 and 2 MiB
	object := "Data/" + string(storetest.Key(blob))
	other := "Data/" + string(storetest.Key([]byte("other")))
	leave(t, s, object, map[int32][]byte{1: blob[:5*mib]})
	leave(t, s, object, map[int32][]byte{2: blob[5*mib : 10*mib], 3: blob[10*mib:]})
	leave(t, s, object, nil)
	leave(t, s, object, map[int32][]byte{1: blob[:6*mib]})  // of another tool
	leave(t, s, object, map[int32][]byte{17: blob[:5*mib]}) // too
	leave(t, s, other, map[int32][]byte{1: blob[:5*mib]})
	leave(t, s, object+".manifest", map[int32][]byte{1: blob[:5*mib]})
	storetest.Put(t, s, blob)
	wantUploads(t, s, object, object, other, object+".manifest")

	elsewhere := open(t, inParts(configFor(t, server, "Elsewhere")))
	for _, c := range []struct {
		s    *s3store.Store
		age  time.Duration
		want int
	}{{elsewhere, 0, 0}, {s, 24 * time.Hour, 0}, {s, 0, 3}} {
		if n, err := c.s.Clean(t.Context(), c.age); n != c.want || err != nil {
			t.Errorf("Clean of what is older than %v = %d, %v; want %d", c.age, n, err, c.want)
		}
	}
	wantUploads(t, s, object+".manifest") // not a blob
}

// Two writers of one blob: the slower one finds its upload gone, and the blob in place.
func TestTheSlowerOfTwoWritersSucceeds(t *testing.T) {
	server := s3server.Start(t)
	p, c := newProxy(t, server)
	c = inParts(c)
	c.Concurrency = 1
	slow, behind := open(t, c), c
	behind.Endpoint = server.Endpoint
	fast := open(t, behind)
	blob := storetest.Bytes(12 * mib)
	var once sync.Once
	p.on(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.URL.Query().Get("partNumber") == "2" {
			once.Do(func() { storetest.Put(t, fast, blob) })
		}
		return false
	})
	if err := slow.Put(t.Context(), storetest.Key(blob), storetest.Body(blob)); err != nil {
		t.Errorf("Put: %v", err)
	}
	wantNoUploads(t, fast)
}
