package cache

import "testing"

func TestObserve(t *testing.T) {
	const read = 128 << 10
	t.Run("a sequential reader gets a window that doubles", func(t *testing.T) {
		var s streams
		var asked, most int64
		for off := int64(0); off < 256<<20; off += read {
			p := s.observe(off, read)
			if p.from < p.to {
				if p.from < asked {
					t.Fatalf("at %d: asked again for what lies before %d", off, asked)
				}
				asked = p.to
				most = max(most, p.to-off-read)
			}
			if off > 4<<20 && asked < off+read+firstFetch {
				t.Fatalf("at %d: only %d is asked for", off, asked)
			}
		}
		if most != maxAhead {
			t.Errorf("window grew to %d, want %d", most, maxAhead)
		}
	})
	t.Run("requests out of order are one reader", func(t *testing.T) {
		var s streams
		for i := range int64(100) {
			off := (i ^ 1) * read // each pair swapped
			if s.observe(off, read); len(s.list) != 1 {
				t.Fatalf("at %d: %d streams", off, len(s.list))
			}
		}
	})
	t.Run("a probe of header and footer fetches nothing ahead", func(t *testing.T) {
		var s streams
		for _, off := range []int64{0, 200 << 20, 100 << 20} {
			if p := s.observe(off, 4096); p.from < p.to || p.demand != firstFetch {
				t.Errorf("at %d: %+v", off, p)
			}
		}
	})
	t.Run("jumping about fetches single blocks, going on sequentially recovers", func(t *testing.T) {
		var s streams
		for i := range int64(20) {
			p := s.observe(i*37%20*(50<<20), 4096)
			if i >= scattered && (p.demand != blockSize || p.from < p.to) {
				t.Errorf("jump %d: %+v", i, p)
			}
		}
		at := int64(2000 << 20)
		s.observe(at, 4096)
		if p := s.observe(at+4096, 4096); p.demand != firstFetch {
			t.Errorf("after going on: %+v", p)
		}
	})
	t.Run("many interleaved readers keep their streams", func(t *testing.T) {
		var s streams
		ahead := make([]bool, maxStreams)
		for step := range int64(100) {
			for i := range int64(maxStreams) {
				p := s.observe(i*(1<<30)+step*read, read)
				ahead[i] = ahead[i] || p.from < p.to
			}
		}
		for i, ok := range ahead {
			if !ok {
				t.Errorf("stream %d was not recognised", i)
			}
		}
	})
}
