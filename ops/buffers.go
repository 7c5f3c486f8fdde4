package ops

import "context"

// Bounds of the memory that an operation holds contents in. Contents stream through
// few buffers whatever the sizes of the files, so that more would not make anything
// faster.
const (
	defaultMemory = 64 << 20
	maxBuffer     = 1 << 20
	minBuffer     = 4 << 10
	// stride is how much is read at once into a buffer that is streamed through: it
	// fits the second level cache of a core, so that hashing finds it there.
	stride = 256 << 10
	// copyStride is how much is copied at once from one file to another. Larger steps
	// leave the caches between the two copies that the kernel makes, and were
	// measured to cost up to four times the processor time.
	copyStride = 64 << 10
)

// buffers hands out a bounded number of buffers of one size.
type buffers struct {
	size int
	free chan []byte // nil entries stand for buffers not allocated yet
}

// newBuffers returns buffers for workers goroutines that together hold at most
// maxMemory bytes (0 means the default), except that there is always one buffer.
func newBuffers(workers int, maxMemory int64) *buffers {
	if maxMemory <= 0 {
		maxMemory = defaultMemory
	}
	size := min(max(maxMemory/int64(workers), minBuffer), maxBuffer)
	count := min(max(maxMemory/size, 1), int64(workers))
	b := &buffers{size: int(size), free: make(chan []byte, count)}
	for range count {
		b.free <- nil
	}
	return b
}

// get waits for a buffer. It must be given back with put.
func (b *buffers) get(ctx context.Context) ([]byte, error) {
	select {
	case buf := <-b.free:
		if buf == nil {
			buf = make([]byte, b.size)
		}
		return buf, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (b *buffers) put(buf []byte) { b.free <- buf }
