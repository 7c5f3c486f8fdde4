package s3store_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/snapfs/snapfs/blobstore"
	"github.com/snapfs/snapfs/blobstore/storetest"
	"github.com/snapfs/snapfs/integration/s3server"
)

// breakOff answers a GET for blob, but closes the connection after n bytes.
func breakOff(w http.ResponseWriter, r *http.Request, blob []byte, n int) bool {
	first, last := 0, len(blob)-1
	w.Header().Set("ETag", `"e"`)
	if _, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-%d", &first, &last); err == nil {
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", first, last, len(blob)))
		w.Header().Set("Content-Length", fmt.Sprint(last-first+1))
		w.WriteHeader(http.StatusPartialContent)
	} else {
		w.Header().Set("Content-Length", fmt.Sprint(len(blob)))
	}
	_, _ = w.Write(blob[first:min(last+1, first+n)])
	_ = http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler)
}

func TestStreamIsResumed(t *testing.T) {
	server := s3server.Start(t)
	p, c := newProxy(t, server)
	s := open(t, c)
	blob := storetest.Bytes(1000)
	key := storetest.Key(blob)
	p.on(func(w http.ResponseWriter, r *http.Request) bool { return breakOff(w, r, blob, 300) })
	for _, c := range []struct {
		off, n int64
		want   []byte
		ranges []string
	}{
		{0, -1, blob, []string{"", "bytes=300-999", "bytes=600-999", "bytes=900-999"}},
		{100, 500, blob[100:600], []string{"bytes=100-599", "bytes=400-599"}},
	} {
		p.on(p.intercept)
		got, err := storetest.Get(t.Context(), s, key, c.off, c.n)
		if err != nil || !bytes.Equal(got, c.want) {
			t.Errorf("Open(%d, %d): %d bytes, %v; want %d", c.off, c.n, len(got), err, len(c.want))
		}
		var ranges []string
		for i, r := range p.seen() {
			ranges = append(ranges, r.Header.Get("Range"))
			if i > 0 && r.Header.Get("If-Match") != `"e"` {
				t.Errorf("the stream was resumed without asking for the same object")
			}
		}
		if diff := cmp.Diff(c.ranges, ranges); diff != "" {
			t.Errorf("Open(%d, %d): ranges (-want +got):\n%s", c.off, c.n, diff)
		}
	}
}

// What a stream does when it cannot go on: it fails, and never ends early.
func TestStreamFails(t *testing.T) {
	server := s3server.Start(t)
	p, c := newProxy(t, server)
	c.StallTimeout = 100 * time.Millisecond
	s := open(t, c)
	blob := storetest.Bytes(1000)
	for name, f := range map[string]func(w http.ResponseWriter, r *http.Request) bool{
		"breaks off too often": func(w http.ResponseWriter, r *http.Request) bool { return breakOff(w, r, blob, 0) },
		"the object is replaced": func(w http.ResponseWriter, r *http.Request) bool {
			if r.Header.Get("If-Match") != "" {
				return refuse(w, r, http.StatusPreconditionFailed, "PreconditionFailed")
			}
			return breakOff(w, r, blob, 300)
		},
		"the server goes away": func(w http.ResponseWriter, r *http.Request) bool {
			if r.Header.Get("If-Match") != "" {
				return refuse(w, r, http.StatusInternalServerError, "InternalError")
			}
			return breakOff(w, r, blob, 300)
		},
		"the body stalls": func(w http.ResponseWriter, r *http.Request) bool {
			if r.Header.Get("If-Match") != "" {
				return refuse(w, r, http.StatusInternalServerError, "InternalError")
			}
			w.Header().Set("ETag", `"e"`)
			w.Header().Set("Content-Length", "1000")
			_, _ = w.Write(blob[:300])
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
			return true
		},
	} {
		p.on(f)
		got, err := storetest.Get(t.Context(), s, storetest.Key(blob), 0, -1)
		if !errors.Is(err, blobstore.ErrUnavailable) || !bytes.HasPrefix(blob, got) {
			t.Errorf("%s: %d bytes, %v; want ErrUnavailable", name, len(got), err)
		}
	}
}

// A response that is about other bytes than those asked for is an error.
func TestWrongRange(t *testing.T) {
	server := s3server.Start(t)
	p, c := newProxy(t, server)
	s := open(t, c)
	for name, h := range map[string]struct {
		status       int
		contentRange string
		body         string
	}{
		"no range":        {200, "", "0123456789"},
		"another range":   {206, "bytes 0-4/100", "01234"},
		"a shorter range": {206, "bytes 10-12/100", "012"},
		"a longer body":   {206, "bytes 10-14/100", "0123456"},
		"nonsense":        {206, "bytes ten to fourteen", "01234"},
	} {
		p.on(func(w http.ResponseWriter, _ *http.Request) bool {
			if h.contentRange != "" {
				w.Header().Set("Content-Range", h.contentRange)
			}
			w.WriteHeader(h.status)
			_, _ = io.WriteString(w, h.body)
			return true
		})
		if got, err := storetest.Get(t.Context(), s, storetest.Key(nil), 10, 5); !errors.Is(err, blobstore.ErrUnavailable) {
			t.Errorf("%s: %q, %v; want ErrUnavailable", name, got, err)
		}
	}
}
