package manifest

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// TestWhatIsWrittenCanBeRead writes links into deep directories that exist nowhere: the
// text lists all of them, and readers refuse a text whose paths are too long for it.
// What is written must be readable, and what is not must not be written.
func TestWhatIsWrittenCanBeRead(t *testing.T) {
	for _, links := range []int{5, 15, 60} {
		m := &Snapshot{HashAlg: XXH128, ChunkSize: DefaultChunkSize}
		for i := range links {
			m.Files = append(m.Files, File{Path: fmt.Sprintf("link%d", i), Target: fmt.Sprintf("%d", i) + strings.Repeat("/d", 1900)})
		}
		var text strings.Builder
		err := EncodeV2025(&text, m)
		if err == nil {
			_, err = DecodeDocument(strings.NewReader(text.String()), DecodeOptions{})
		} else if !errors.Is(err, ErrInvalid) || text.Len() > 0 {
			t.Errorf("%d links: %d bytes written, %v", links, text.Len(), err)
		}
		if (err == nil) != (links < 20) {
			t.Errorf("%d links: %v", links, err)
		}
		if err != nil && !strings.Contains(err.Error(), "link targets") {
			t.Errorf("%d links: written, but not read: %v", links, err)
		}
	}
}
