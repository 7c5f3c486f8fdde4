package content

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/snapfs/snapfs/blobstore"
	"github.com/snapfs/snapfs/blobstore/memstore"
	"github.com/snapfs/snapfs/cmd/snapfs/internal/failure"
	"github.com/snapfs/snapfs/manifest"
)

// liar is a store that returns bytes for a blob which are not those of its hash.
type liar struct {
	blobstore.Store
	content []byte
}

func (l liar) Stat(context.Context, blobstore.Key) (blobstore.Info, error) {
	return blobstore.Info{Size: int64(len(l.content))}, nil
}

func (l liar) Open(context.Context, blobstore.Key, int64, int64) (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(l.content)), nil
}

func random(n int) []byte {
	data := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{byte(n)}).Read(data)
	return data
}

func put(t *testing.T, s blobstore.Store, data []byte) manifest.Hash {
	t.Helper()
	hash := manifest.Sum(data)
	err := s.Put(t.Context(), blobstore.Key(hash+".xxh128"), io.NewSectionReader(bytes.NewReader(data), 0, int64(len(data))))
	if err != nil {
		t.Fatal(err)
	}
	return hash
}

func TestWrite(t *testing.T) {
	for _, n := range []int{0, 1, holdBack - 1, holdBack, holdBack + 1, 3*holdBack + 12345} {
		store, data := memstore.New(), random(n)
		f := &manifest.File{Path: "f", Size: int64(n), Hash: put(t, store, data)}
		var got bytes.Buffer
		if err := Write(t.Context(), &got, store, f, manifest.WholeFile); err != nil || !bytes.Equal(got.Bytes(), data) {
			t.Errorf("%d bytes: wrote %d, %v", n, got.Len(), err)
		}
	}
}

func TestWriteChunks(t *testing.T) {
	store, data := memstore.New(), random(2500)
	f := &manifest.File{Path: "f", Size: 2500, Chunks: []manifest.Hash{put(t, store, data[:1000]), put(t, store, data[1000:2000]), put(t, store, data[2000:])}}
	var got bytes.Buffer
	if err := Write(t.Context(), &got, store, f, 1000); err != nil || !bytes.Equal(got.Bytes(), data) {
		t.Errorf("wrote %d bytes, %v", got.Len(), err)
	}
}

// TestWriteDamaged checks that who reads damaged content never gets all of it.
func TestWriteDamaged(t *testing.T) {
	data := random(2*holdBack + 1000)
	flipped := bytes.Clone(data)
	flipped[len(flipped)/2] ^= 1
	f := &manifest.File{Path: "f", Size: int64(len(data)), Hash: manifest.Sum(data)}
	small := &manifest.File{Path: "f", Size: 1000, Hash: manifest.Sum(data[:1000])}
	for _, tt := range []struct {
		name    string
		file    *manifest.File
		content []byte
		most    int // bytes that may be written
	}{
		{"flipped bit", f, flipped, len(data) - holdBack},
		{"too short", f, data[:len(data)-1], len(data) - holdBack},
		{"too long", f, append(bytes.Clone(data), 0), len(data) - holdBack},
		{"small", small, flipped[1:1001], 0},
		{"small and too long", small, data, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got bytes.Buffer
			err := Write(t.Context(), &got, liar{content: tt.content}, tt.file, manifest.WholeFile)
			if !errors.Is(err, blobstore.ErrMismatch) || failure.Classify(err).Code != failure.Integrity {
				t.Errorf("error %v", err)
			}
			if e := failure.Classify(err); e.Path != "f" || e.Key != string(tt.file.Hash)+".xxh128" {
				t.Errorf("path %q, key %q", e.Path, e.Key)
			}
			if got.Len() > tt.most {
				t.Errorf("wrote %d bytes, at most %d may be", got.Len(), tt.most)
			}
		})
	}
}

func TestVerify(t *testing.T) {
	store := memstore.New()
	good := put(t, store, []byte("good"))
	missing := manifest.Sum([]byte("missing"))
	m := &manifest.Snapshot{ChunkSize: manifest.WholeFile, Files: []manifest.File{
		{Path: "a", Size: 4, Hash: good},
		{Path: "again", Size: 4, Hash: good},
		{Path: "bad", Size: 4, Hash: "abc"},
		{Path: "gone", Size: 7, Hash: missing},
		{Path: "link", Target: "a"},
		{Path: "plain", Size: 3},
		{Path: "size", Size: 5, Hash: good},
	}}
	v := NewVerifier(store, VerifyOptions{})
	report, err := v.Verify(t.Context(), m, m)
	if err != nil {
		t.Fatal(err)
	}
	want := Report{Blobs: 4, Bytes: 20, Problems: []Problem{
		{Reason: BadHash, Path: "bad", Detail: `"abc"`},
		{Reason: Missing, Path: "gone", Key: string(missing) + ".xxh128"},
		{Reason: Unhashed, Path: "plain"},
		{Reason: Unhashed, Path: "plain"},
		{Reason: WrongSize, Path: "size", Key: string(good) + ".xxh128", Detail: "4 bytes in the store, 5 in the manifest"},
	}}
	if diff := cmp.Diff(want, report); diff != "" {
		t.Error(diff)
	}
	if c := v.Counts(); c.TotalFiles != 4 || c.TotalBytes != 20 {
		t.Errorf("counts %+v", c)
	}
}

func TestVerifyDeep(t *testing.T) {
	data := []byte("right")
	m := &manifest.Snapshot{ChunkSize: manifest.WholeFile, Files: []manifest.File{{Path: "a", Size: 5, Hash: manifest.Sum(data)}}}
	for content, want := range map[string]string{"right": "", "wrong": Damaged} {
		v := NewVerifier(liar{content: []byte(content)}, VerifyOptions{Deep: true})
		report, err := v.Verify(t.Context(), m)
		if err != nil || report.Read != 5 {
			t.Fatalf("%+v, %v", report, err)
		}
		got := ""
		for _, p := range report.Problems {
			got += p.Reason
		}
		if got != want {
			t.Errorf("%s: problems %q, want %q", content, got, want)
		}
	}
}

// silent is a store that does not answer.
type silent struct{ blobstore.Store }

func (silent) Stat(ctx context.Context, _ blobstore.Key) (blobstore.Info, error) {
	return blobstore.Info{}, blobstore.ErrUnavailable
}

// TestVerifyStoreDown: a store that does not answer says nothing about what it holds.
func TestVerifyStoreDown(t *testing.T) {
	m := &manifest.Snapshot{ChunkSize: manifest.WholeFile, Files: []manifest.File{{Path: "a", Size: 5, Hash: manifest.Sum(nil)}}}
	_, err := NewVerifier(silent{}, VerifyOptions{}).Verify(t.Context(), m)
	if !errors.Is(err, blobstore.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := NewVerifier(silent{}, VerifyOptions{}).Verify(ctx, m); failure.Classify(err).Code != failure.Interrupted {
		t.Errorf("cancelled: got %v", err)
	}
}

func TestScanAndProbe(t *testing.T) {
	store := memstore.New()
	put(t, store, []byte("one"))
	put(t, store, []byte("three"))
	report, err := NewVerifier(store, VerifyOptions{}).Scan(t.Context())
	if err != nil || report.Blobs != 2 || report.Read != 8 || len(report.Problems) != 0 {
		t.Errorf("%+v, %v", report, err)
	}
	if err := Probe(t.Context(), store, true); err != nil {
		t.Error(err)
	}
	if blobs, size, err := Count(t.Context(), store); err != nil || blobs != 3 || size != 8 {
		t.Errorf("after Probe there are %d blobs of %d bytes, %v", blobs, size, err)
	}
	if err := Probe(t.Context(), silent{}, false); !errors.Is(err, blobstore.ErrUnavailable) {
		t.Errorf("silent store: %v", err)
	}
}
