package cache

import (
	"context"
	"io"
	"math/bits"
	"slices"
	"sync"
	"time"

	"github.com/snapfs/snapfs/blobstore"
)

const (
	hedgeSamples = 64 // latencies remembered of each class of sizes
	hedgeFrom    = 16 // latencies known before anything is hedged
	hedgeFactor  = 3  // times the 95th percentile is far beyond the usual
	hedgeShare   = 20 // one request in so many may be sent a second time
	hedgeLeast   = 20 * time.Millisecond
	hedgeReason  = "slow-first-byte" // the one there is
)

// hedger knows how long requests usually take to be answered, and decides when one is to
// be sent a second time because the first may have been lost.
type hedger struct {
	mu      sync.Mutex
	classes map[int]*usual
	sent    int64
	hedged  int64
}

// usual are the latencies of one class of requests, those of up to a power of four bytes.
type usual struct {
	last []time.Duration
	next int
	p95  time.Duration
}

func classOf(n int64) int { return bits.Len64(uint64(n)) / 2 }

// observe notes that a request for n bytes was answered after d.
func (h *hedger) observe(n int64, d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.classes == nil {
		h.classes = map[int]*usual{}
	}
	u := h.classes[classOf(n)]
	if u == nil {
		u = &usual{}
		h.classes[classOf(n)] = u
	}
	if len(u.last) < hedgeSamples {
		u.last = append(u.last, d)
	} else {
		u.last[u.next] = d
	}
	u.next = (u.next + 1) % hedgeSamples
	if u.next%8 == 0 {
		sorted := slices.Sorted(slices.Values(u.last))
		u.p95 = sorted[len(sorted)*95/100]
	}
}

// start counts a request for n bytes, and returns after what time it is far beyond the
// usual; 0 when that is not known.
func (h *hedger) start(n int64) time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.sent++
	u := h.classes[classOf(n)]
	if u == nil || len(u.last) < hedgeFrom || u.p95 == 0 {
		return 0
	}
	return max(hedgeFactor*u.p95, hedgeLeast)
}

// allow reports whether one more request may be sent a second time, and counts it.
func (h *hedger) allow() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if (h.hedged+1)*hedgeShare > h.sent {
		return false
	}
	h.hedged++
	return true
}

// opening is what came of one of the requests for the same range.
type opening struct {
	r   io.ReadCloser
	err error
	of  int
}

// openHedged opens a range of a blob. If the store has not answered long after it usually
// does, a second request races with the first, and the slower one is given up.
func (f *fetcher) openHedged(ctx context.Context, key blobstore.Key, off, n int64) (io.ReadCloser, error) {
	late := f.hedger.start(n)
	if late == 0 {
		return f.store.Open(ctx, key, off, n)
	}
	var cancels []context.CancelFunc
	results := make(chan opening, 2)
	send := func() {
		ctx, cancel := context.WithCancel(ctx)
		of := len(cancels)
		cancels = append(cancels, cancel)
		go func() {
			r, err := f.store.Open(ctx, key, off, n)
			results <- opening{r, err, of}
		}()
	}
	send()
	timer := time.NewTimer(late)
	defer timer.Stop()
	for pending := 1; ; {
		select {
		case <-timer.C:
			if f.hedger.allow() {
				f.stats.hedges.Add(hedgeReason)
				f.stats.requests.Add(1)
				send()
				pending++
			}
		case res := <-results:
			pending--
			if res.err != nil && pending > 0 {
				cancels[res.of]()
				continue
			}
			return settle(res, cancels, results, pending)
		}
	}
}

// settle gives up all requests but the one that is decisive.
func settle(res opening, cancels []context.CancelFunc, results <-chan opening, pending int) (io.ReadCloser, error) {
	for i, cancel := range cancels {
		if i != res.of || res.err != nil {
			cancel()
		}
	}
	if pending > 0 {
		go func() {
			if slower := <-results; slower.err == nil {
				slower.r.Close()
			}
		}()
	}
	if res.err != nil {
		return nil, res.err
	}
	return &response{res.r, cancels[res.of]}, nil
}

// response is a stream with something to do when it is closed.
type response struct {
	io.ReadCloser
	done func()
}

// Close implements io.Closer. It is called once.
func (r *response) Close() error {
	defer r.done()
	return r.ReadCloser.Close()
}
