package fusefs

import "sync"

// handles gives numbers to open files or directories.
type handles[T any] struct {
	mu   sync.RWMutex
	next uint64
	open map[uint64]T
}

func newHandles[T any]() *handles[T] { return &handles[T]{open: make(map[uint64]T)} }

func (h *handles[T]) add(x T) uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.next++
	h.open[h.next] = x
	return h.next
}

func (h *handles[T]) get(id uint64) (T, bool) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	x, ok := h.open[id]
	return x, ok
}

func (h *handles[T]) remove(id uint64) (T, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	x, ok := h.open[id]
	delete(h.open, id)
	return x, ok
}

func (h *handles[T]) drain() []T {
	h.mu.Lock()
	defer h.mu.Unlock()
	var all []T
	for _, x := range h.open {
		all = append(all, x)
	}
	clear(h.open)
	return all
}
