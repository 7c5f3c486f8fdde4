package ops

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/snapfs/snapfs/manifest"
)

// transformVector is a case of testdata/vectors for one of the pure
// transformations: arguments, and the answer of the reference.
type transformVector struct {
	Name string
	Gap  string

	M               rawManifest
	Parent, Current rawManifest
	Base            rawManifest
	Diffs           []rawManifest

	ParentHash       manifest.Hash `json:"parent_hash"`
	IgnoreHashes     bool          `json:"ignore_hashes"`
	PreserveRunnable bool          `json:"preserve_runnable"`

	Include, Exclude  []string
	Path, Prefix      string
	Symlinks          string
	Relative          bool
	Roots, Referenced []string
	Op                string
	N                 uint64

	Expect struct {
		OK    json.RawMessage
		Error string
	}
}

// rawManifest is the shape of spec/formats.md §4.
type rawManifest struct {
	Kind     string
	Manifest struct {
		Files []struct {
			Path        string
			Hash        manifest.Hash
			Size, Mtime int64
			ChunkHashes []manifest.Hash
			Symlink     string `json:"symlinkTarget"`
			Runnable    bool
			Deleted     bool
		}
		Dirs       []manifest.Dir
		ParentHash manifest.Hash `json:"parentManifestHash"`
		ChunkSize  int64         `json:"fileChunkSizeBytes"`
	}
}

func build[P manifest.PathStyle, K manifest.Kind](r rawManifest) *manifest.Manifest[P, K] {
	m := &manifest.Manifest[P, K]{
		HashAlg: manifest.XXH128, ChunkSize: r.Manifest.ChunkSize, ParentHash: r.Manifest.ParentHash,
		Dirs: r.Manifest.Dirs,
	}
	for _, f := range r.Manifest.Files {
		m.Files = append(m.Files, manifest.File{
			Path: f.Path, Size: f.Size, ModTime: f.Mtime, Hash: f.Hash, Chunks: f.ChunkHashes,
			Target: f.Symlink, Runnable: f.Runnable, Deleted: f.Deleted,
		})
	}
	return m
}

func buildAll[P manifest.PathStyle](list []rawManifest) (diffs []*manifest.Manifest[P, manifest.Diff]) {
	for _, r := range list {
		diffs = append(diffs, build[P, manifest.Diff](r))
	}
	return diffs
}

// forEachVector runs f as a subtest for every case of a file.
func forEachVector(t *testing.T, file string, f func(t *testing.T, v *transformVector)) {
	t.Helper()
	in, err := os.Open(filepath.Join("testdata", "vectors", file))
	must(t, err)
	defer in.Close()
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 1<<20)
	n := 0
	for ; lines.Scan(); n++ {
		v := &transformVector{}
		if err := json.Unmarshal(lines.Bytes(), v); err != nil {
			t.Fatalf("line %d: %v", n+1, err)
		}
		t.Run(v.Name, func(t *testing.T) { f(t, v) })
	}
	must(t, lines.Err())
	if n < 40 {
		t.Errorf("%s: only %d vectors", file, n)
	}
}

func encoded(t *testing.T, m manifest.Any) string {
	t.Helper()
	var out bytes.Buffer
	must(t, manifest.EncodeV2025(&out, m))
	return out.String()
}

// check compares the result of an operation with the answer of the reference.
func (v *transformVector) check(t *testing.T, got manifest.Any, err error) {
	t.Helper()
	if v.Expect.Error != "" {
		if !errors.Is(err, manifest.ErrInvalid) {
			t.Fatalf("got error %v, want one that is manifest.ErrInvalid", err)
		}
		return
	}
	must(t, err)
	var want struct{ Kind, V2025 string }
	must(t, json.Unmarshal(v.Expect.OK, &want))
	if kind := manifest.KindOf(got); kind != want.Kind {
		t.Errorf("kind %s, want %s", kind, want.Kind)
	}
	text := encoded(t, got)
	if v.Gap != "" {
		v.checkGap(t, got, want.V2025, text)
		return
	}
	if diff := cmp.Diff(want.V2025, text); diff != "" {
		t.Error(diff)
	}
}

// checkGap checks an answer where that of the reference is wrong.
func (v *transformVector) checkGap(t *testing.T, got manifest.Any, reference, text string) {
	t.Helper()
	if _, err := manifest.Decode(strings.NewReader(text)); err != nil {
		t.Errorf("%s: our answer cannot be decoded: %v", v.Gap, err)
	}
	switch v.Gap {
	case "G-04":
		// The reference makes the same diff, but refuses to read it.
		if diff := cmp.Diff(reference, text); diff != "" {
			t.Error(diff)
		}
	case "G-10":
		// The reference lists a deletion both as file and as directory.
		if text == reference {
			t.Errorf("same answer as the reference: %s", text)
		}
	default:
		t.Errorf("no rule for %s", v.Gap)
	}
}

// byStyle calls the function for the path style of the kind.
func byStyle(kind string, abs, rel func() (manifest.Any, error)) (manifest.Any, error) {
	if strings.HasPrefix(kind, "abs-") {
		return abs()
	}
	return rel()
}

func TestDiffVectors(t *testing.T) {
	forEachVector(t, "diff.jsonl", func(t *testing.T, v *transformVector) {
		got, err := byStyle(v.Parent.Kind, diffVector[manifest.Abs](v), diffVector[manifest.Rel](v))
		v.check(t, got, err)
	})
}

func diffVector[P manifest.PathStyle](v *transformVector) func() (manifest.Any, error) {
	return func() (manifest.Any, error) {
		return Diff(build[P, manifest.Full](v.Parent), build[P, manifest.Full](v.Current), DiffOptions{
			ParentHash: v.ParentHash, IgnoreHashes: v.IgnoreHashes, PreserveRunnable: v.PreserveRunnable,
		})
	}
}

func TestComposeVectors(t *testing.T) {
	forEachVector(t, "compose.jsonl", func(t *testing.T, v *transformVector) {
		got, err := byStyle(v.Base.Kind,
			func() (manifest.Any, error) {
				return Compose(build[manifest.Abs, manifest.Full](v.Base), buildAll[manifest.Abs](v.Diffs)...)
			},
			func() (manifest.Any, error) {
				return Compose(build[manifest.Rel, manifest.Full](v.Base), buildAll[manifest.Rel](v.Diffs)...)
			})
		v.check(t, got, err)
	})
}

func TestComposeDiffsVectors(t *testing.T) {
	forEachVector(t, "compose-diffs.jsonl", func(t *testing.T, v *transformVector) {
		if len(v.Diffs) == 0 {
			got, err := ComposeDiffs[manifest.Rel](nil)
			v.check(t, got, err)
			return
		}
		got, err := byStyle(v.Diffs[0].Kind,
			func() (manifest.Any, error) {
				all := buildAll[manifest.Abs](v.Diffs)
				return ComposeDiffs(all[0], all[1:]...)
			},
			func() (manifest.Any, error) {
				all := buildAll[manifest.Rel](v.Diffs)
				return ComposeDiffs(all[0], all[1:]...)
			})
		v.check(t, got, err)
	})
}

func TestFilterVectors(t *testing.T) {
	forEachVector(t, "filter.jsonl", func(t *testing.T, v *transformVector) {
		f, err := NewGlobFilter(v.Include, v.Exclude)
		if err != nil {
			v.check(t, nil, err)
			return
		}
		var got manifest.Any
		switch v.M.Kind {
		case "snapshot":
			got = Filter(build[manifest.Rel, manifest.Full](v.M), f.Keep)
		case "diff":
			got = Filter(build[manifest.Rel, manifest.Diff](v.M), f.Keep)
		case "abs-snapshot":
			got = Filter(build[manifest.Abs, manifest.Full](v.M), f.Keep)
		case "abs-diff":
			got = Filter(build[manifest.Abs, manifest.Diff](v.M), f.Keep)
		}
		v.check(t, got, nil)
	})
}

func (v *transformVector) policy(t *testing.T) SymlinkPolicy {
	t.Helper()
	if v.Symlinks == "" {
		return CollapseEscaping
	}
	p, err := ParseSymlinkPolicy(v.Symlinks)
	must(t, err)
	return p
}

func TestSubtreeVectors(t *testing.T) {
	forEachVector(t, "subtree.jsonl", func(t *testing.T, v *transformVector) {
		var got manifest.Any
		var err error
		switch v.M.Kind {
		case "snapshot":
			got, err = Subtree(build[manifest.Rel, manifest.Full](v.M), v.Path, v.policy(t))
		case "diff":
			got, err = Subtree(build[manifest.Rel, manifest.Diff](v.M), v.Path, v.policy(t))
		case "abs-snapshot":
			got, err = Subtree(build[manifest.Abs, manifest.Full](v.M), v.Path, v.policy(t))
		case "abs-diff":
			got, err = Subtree(build[manifest.Abs, manifest.Diff](v.M), v.Path, v.policy(t))
		}
		v.check(t, got, err)
	})
}

func TestJoinVectors(t *testing.T) {
	forEachVector(t, "join.jsonl", func(t *testing.T, v *transformVector) {
		var got manifest.Any
		var err error
		switch full := v.M.Kind == "snapshot"; {
		case full && v.Relative:
			got, err = JoinRel(build[manifest.Rel, manifest.Full](v.M), v.Prefix)
		case full:
			got, err = Join(build[manifest.Rel, manifest.Full](v.M), v.Prefix)
		case v.Relative:
			got, err = JoinRel(build[manifest.Rel, manifest.Diff](v.M), v.Prefix)
		default:
			got, err = Join(build[manifest.Rel, manifest.Diff](v.M), v.Prefix)
		}
		v.check(t, got, err)
	})
}

func TestPartitionVectors(t *testing.T) {
	forEachVector(t, "partition.jsonl", func(t *testing.T, v *transformVector) {
		opts := PartitionOptions{Roots: v.Roots, ReferencedPaths: v.Referenced, Symlinks: v.policy(t)}
		var got []Part
		var err error
		if v.M.Kind == "snapshot" {
			got, err = Partition(build[manifest.Rel, manifest.Full](v.M), opts)
		} else {
			got, err = Partition(build[manifest.Abs, manifest.Full](v.M), opts)
		}
		if v.Expect.Error != "" {
			v.check(t, nil, err)
			return
		}
		must(t, err)
		type part struct {
			Root string
			Part struct{ V2025 string }
		}
		var want []part
		must(t, json.Unmarshal(v.Expect.OK, &want))
		var have []part
		for _, p := range got {
			h := part{Root: p.Root}
			h.Part.V2025 = encoded(t, p.Manifest)
			have = append(have, h)
		}
		if diff := cmp.Diff(want, have); len(want)+len(have) > 0 && diff != "" {
			t.Error(diff)
		}
	})
}

func TestHumanSizeVectors(t *testing.T) {
	forEachVector(t, "paths.jsonl", func(t *testing.T, v *transformVector) {
		if v.Op != "human" {
			return // package manifest's part
		}
		var want string
		must(t, json.Unmarshal(v.Expect.OK, &want))
		if got := HumanSize(v.N); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}
