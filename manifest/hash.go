package manifest

import (
	"encoding/hex"
	"fmt"
	"io"

	"github.com/zeebo/xxh3"
)

// Algorithm names a content hash function, as it is spelled in manifests and in
// the file extension of blobs.
type Algorithm string

// XXH128 is XXH3 with 128 bits of output, seed 0: the only algorithm of both
// manifest formats. It detects accidents, not attacks.
const XXH128 Algorithm = "xxh128"

// Hash is the text form of a content hash. The codecs treat it as opaque
// alphanumeric text, because manifests in the wild carry hashes of other forms in
// test fixtures; anything that touches a store must hold a hash that IsXXH128
// accepts (spec/gaps.md G-31).
type Hash string

// IsXXH128 reports whether h is exactly 32 lower-case hexadecimal digits, the only
// form that may become part of a file name or an object key.
func (h Hash) IsXXH128() bool {
	if len(h) != 32 {
		return false
	}
	for i := range len(h) {
		c := h[i]
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// ParseHash returns s as a Hash, or an error that names s when it is not 32
// lower-case hexadecimal digits.
func ParseHash(s string) (Hash, error) {
	h := Hash(s)
	if !h.IsXXH128() {
		return "", fmt.Errorf("%q is not an xxh128 hash (32 lower-case hexadecimal digits)", s)
	}
	return h, nil
}

// Sum returns the XXH128 hash of p.
func Sum(p []byte) Hash {
	return fromUint128(xxh3.Hash128(p))
}

// SumReader returns the XXH128 hash of everything r yields, and how many bytes
// that was.
func SumReader(r io.Reader) (Hash, int64, error) {
	h := NewHasher()
	n, err := io.Copy(h, r)
	if err != nil {
		return "", n, err
	}
	return h.Hash(), n, nil
}

// Hasher computes the XXH128 hash of the bytes written to it. It never fails.
type Hasher struct{ h *xxh3.Hasher }

// NewHasher returns a Hasher that has seen no bytes.
func NewHasher() *Hasher { return &Hasher{h: xxh3.New()} }

// Write adds p to the hashed bytes.
func (h *Hasher) Write(p []byte) (int, error) { return h.h.Write(p) }

// Reset forgets every byte seen so far.
func (h *Hasher) Reset() { h.h.Reset() }

// Hash returns the hash of the bytes written so far.
func (h *Hasher) Hash() Hash { return fromUint128(h.h.Sum128()) }

func fromUint128(u xxh3.Uint128) Hash {
	b := u.Bytes()
	return Hash(hex.EncodeToString(b[:]))
}
