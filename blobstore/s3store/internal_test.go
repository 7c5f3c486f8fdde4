package s3store

import (
	"testing"

	"github.com/snapfs/snapfs/blobstore/internal/blobio"
)

func TestSplitParts(t *testing.T) {
	for _, c := range []struct {
		name           string
		size, partSize int64
		count          int
		first, last    int64
	}{
		{"nothing", 0, 5 * mib, 0, 0, 0},
		{"less than a part", 3, 5 * mib, 1, 3, 3},
		{"whole parts", 10 * mib, 5 * mib, 2, 5 * mib, 5 * mib},
		{"one byte more", 10*mib + 1, 5 * mib, 3, 5 * mib, 1},
		{"8 GiB (spec/caches.md §3)", 8 * gib, 256 * mib, 32, 256 * mib, 256 * mib},
		{"parts grow so that they are not too many", 5 * 1024 * gib, 5 * mib, maxParts, 549755814, 549754694},
	} {
		parts := splitParts(c.size, c.partSize)
		if len(parts) != c.count {
			t.Errorf("%s: %d parts, want %d", c.name, len(parts), c.count)
			continue
		}
		var end int64
		for i, p := range parts {
			if p.off != end || p.number != int32(i+1) {
				t.Fatalf("%s: part %d is %+v, but the one before ends at %d", c.name, i, p, end)
			}
			end += p.n
		}
		if end != c.size {
			t.Errorf("%s: the parts end at %d of %d", c.name, end, c.size)
		}
		if len(parts) > 0 && (parts[0].n != c.first || parts[len(parts)-1].n != c.last) {
			t.Errorf("%s: parts of %d to %d, want %d to %d", c.name, parts[0].n, parts[len(parts)-1].n, c.first, c.last)
		}
	}
}

func TestCopySource(t *testing.T) {
	key := blobio.KeyOf(nil)
	for want, c := range map[string]Config{
		"bkt/" + string(key):               {Bucket: "bkt"},
		"bkt/a%20b/c%2Bd/" + string(key):   {Bucket: "bkt", Prefix: "a b/c+d"},
		"bkt/100%25/%C3%BC/" + string(key): {Bucket: "bkt", Prefix: "100%/ü"},
		"arn%3Aaws%3As3%3Aeu-1%3A123456789012%3Aaccesspoint/mine/object/D/" + string(key): {
			Bucket: "arn:aws:s3:eu-1:123456789012:accesspoint/mine", Prefix: "D"},
	} {
		s := &Store{cfg: c}
		if got := *s.copySource(key); got != want {
			t.Errorf("source of a copy = %s, want %s", got, want)
		}
	}
}

func TestSumOfReversesKey(t *testing.T) {
	for _, p := range [][]byte{nil, []byte("a"), make([]byte, 1000)} {
		v := newVerified(nil, 0, sumOf(blobio.KeyOf(p)))
		v.hash.Write(p)
		if v.hash.Sum128() != v.want {
			t.Errorf("the sum of the key of %d bytes is not their hash", len(p))
		}
	}
}
