package manifest

import (
	"bytes"
	"fmt"
	"io"
	"testing"
)

// bigSnapshot returns a hashed snapshot of n files, a thousand to a directory, in
// the order of the wire formats.
func bigSnapshot(n int) *Snapshot {
	m := &Snapshot{HashAlg: XXH128, ChunkSize: DefaultChunkSize, Files: make([]File, n)}
	for i := range m.Files {
		if i%1000 == 0 {
			m.Dirs = append(m.Dirs, Dir{Path: fmt.Sprintf("project/shots/sh%04d", i/1000)})
		}
		m.Files[i] = File{
			Path:    fmt.Sprintf("project/shots/sh%04d/render_v001.%06d.exr", i/1000, i%1000),
			Size:    int64(i * 7),
			ModTime: 1700000000000000 + int64(i),
			Hash:    Sum(fmt.Append(nil, i)),
		}
	}
	return m
}

const bigEntries = 1_000_000

func BenchmarkDecode(b *testing.B) {
	var text bytes.Buffer
	if err := EncodeV2025(&text, bigSnapshot(bigEntries)); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(text.Len()))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Decode(bytes.NewReader(text.Bytes())); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEncode(b *testing.B) {
	m := bigSnapshot(bigEntries)
	b.ReportAllocs()
	for b.Loop() {
		if err := EncodeV2025(io.Discard, m); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkValidate(b *testing.B) {
	m := bigSnapshot(bigEntries)
	for b.Loop() {
		if _, err := m.check(); err != nil {
			b.Fatal(err)
		}
	}
}
