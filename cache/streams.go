package cache

// How much is fetched at a time. A first touch fetches firstFetch; a reader that goes on
// sequentially gets a window ahead of it that doubles from firstFetch to maxAhead, in
// requests of up to maxFetch; one that jumps about gets single blocks.
const (
	firstFetch = 1 << 20
	maxFetch   = 8 << 20
	maxAhead   = 64 << 20
	maxStreams = 8 // interleaved sequential readers recognised in one blob
	scattered  = 4 // jumps in a row after which a reader counts as random
	// slack is how far behind the expected offset a read still belongs to a stream:
	// the kernel's own read-ahead sends requests out of order.
	slack = 1 << 20
)

// streams recognises the sequential readers of one blob. Its methods need the lock of
// the blob.
type streams struct {
	list  []stream // most recently used first
	jumps int      // reads in a row that continued no stream
}

// stream is one sequential reader.
type stream struct {
	next   int64 // where the next read is expected
	ahead  int64 // everything before it has been asked for
	window int64 // how far ahead of next to ask
}

// plan says what to fetch for a read.
type plan struct {
	demand   int64 // bytes to ask for at once, from the first missing one
	from, to int64 // what to fetch ahead; nothing when from >= to
	random   bool  // the reader jumps about
}

// observe notes the read of n bytes at off.
func (s *streams) observe(off, n int64) plan {
	for i := range s.list {
		st := &s.list[i]
		if off >= st.next-slack && off <= st.next+max(st.window, slack) {
			p := st.advance(off + n)
			s.jumps = 0
			s.use(i)
			return p
		}
	}
	s.jumps++
	p := plan{demand: firstFetch}
	if s.jumps > scattered {
		p.demand, p.random = blockSize, true
	}
	s.add(stream{next: off + n, ahead: off + max(n, p.demand)})
	return p
}

// expect notes that a reader is about to come to off, and that n bytes from there on
// have been asked for.
func (s *streams) expect(off, n int64) {
	for i := range s.list {
		if off >= s.list[i].next-slack && off <= s.list[i].ahead {
			s.list[i].ahead = max(s.list[i].ahead, off+n)
			return
		}
	}
	s.add(stream{next: off, ahead: off + n, window: min(n, maxAhead)})
}

// add puts a stream in the place of the one that was used least recently.
func (s *streams) add(st stream) {
	if len(s.list) < maxStreams {
		s.list = append(s.list, stream{})
	}
	s.list[len(s.list)-1] = st
	s.use(len(s.list) - 1)
}

// advance moves the stream on to the end of a read, and extends its window when the
// reader has used up half of what was fetched ahead.
func (st *stream) advance(end int64) plan {
	st.next = max(st.next, end)
	st.ahead = max(st.ahead, st.next)
	p := plan{demand: min(max(st.window, firstFetch), maxFetch)}
	if st.ahead-st.next > st.window/2 && st.ahead-st.next > firstFetch/2 {
		return p
	}
	st.window = min(max(2*st.window, firstFetch), maxAhead)
	p.from, p.to = st.ahead, st.next+st.window
	st.ahead = max(st.ahead, p.to)
	return p
}

// use moves stream i to the front.
func (s *streams) use(i int) {
	st := s.list[i]
	copy(s.list[1:i+1], s.list[:i])
	s.list[0] = st
}
