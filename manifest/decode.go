package manifest

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/snapfs/snapfs/manifest/internal/jsonscan"
)

// Format is a wire format of manifests.
type Format string

// The wire formats, by the names the command line uses.
const (
	V2023 Format = "v2023" // "2023-03-03": hashed files only, relative paths
	V2025 Format = "v2025" // "beta-2025-12": all four kinds, everything a Manifest holds
)

const (
	// DefaultMaxBytes is how much text Decode reads: 4 GiB, about 30 million files.
	DefaultMaxBytes = 4 << 30
	// DefaultMaxEntries is how many files, and how many directories, Decode accepts.
	DefaultMaxEntries = 32 << 20
)

// DecodeOptions bounds what a decoder accepts, so that hostile text cannot exhaust
// the memory. Zero values mean the defaults. Whatever the options say, containers
// nest at most 127 deep, paths have at most MaxPathLen bytes, and all paths together
// at most 64 MiB plus sixteen times the text.
type DecodeOptions struct {
	MaxBytes   int64 // bytes of text
	MaxEntries int   // files, and separately directories
}

// Document is a decoded manifest with what is known of the text it came from.
type Document struct {
	Manifest      Any
	Format        Format
	Hash          Hash   // of the text
	Size          int64  // bytes of text
	DeclaredTotal uint64 // the totalSize of the text, which nothing relies on

	visited int64 // sum of the sizes of the live regular files that Visit has handed on
}

// Warnings lists what is odd about the document and yet acceptable, in sentences
// for people.
func (d *Document) Warnings() []string {
	if total := d.Manifest.TotalSize() + d.visited; uint64(total) != d.DeclaredTotal {
		return []string{fmt.Sprintf("totalSize is %d, but the files add up to %d", d.DeclaredTotal, total)}
	}
	return nil
}

// Decode reads a manifest of either format and any kind from r, which must hold
// nothing else. A v2023 text gives a relative snapshot. The manifest has passed
// Validate and CheckSafe; errors about its content wrap ErrInvalid.
func Decode(r io.Reader) (Any, error) {
	doc, err := DecodeDocument(r, DecodeOptions{})
	if err != nil {
		return nil, err
	}
	return doc.Manifest, nil
}

// DecodeAs is Decode for callers that accept one kind only. As a relative diff it
// accepts a v2023 text too, which is then a diff that deletes nothing.
func DecodeAs[P PathStyle, K Kind](r io.Reader) (*Manifest[P, K], error) {
	doc, err := DecodeDocument(r, DecodeOptions{})
	if err != nil {
		return nil, err
	}
	return As[P, K](doc)
}

// ErrKind means that a manifest is a good one of another kind than what was asked
// for. It is an ErrInvalid, too.
var ErrKind = fmt.Errorf("%w: wrong kind of manifest", ErrInvalid)

// As returns the manifest of doc when it is of the given kind, and an error that
// wraps ErrKind otherwise. A v2023 document is a relative snapshot and a relative
// diff at once.
func As[P PathStyle, K Kind](doc *Document) (*Manifest[P, K], error) {
	switch m := doc.Manifest.(type) {
	case *Manifest[P, K]:
		return m, nil
	case *Snapshot:
		diff := &SnapshotDiff{HashAlg: m.HashAlg, ChunkSize: m.ChunkSize, Files: m.Files}
		if as, ok := any(diff).(*Manifest[P, K]); ok && doc.Format == V2023 {
			return as, nil
		}
	}
	var want *Manifest[P, K]
	return nil, fmt.Errorf("%w: expected a manifest of kind %s, got %s", ErrKind, KindOf(want), KindOf(doc.Manifest))
}

// KindOf names the kind of m: "snapshot", "diff", "abs-snapshot" or "abs-diff".
func KindOf(m Any) string {
	name := "snapshot"
	if m.IsDiff() {
		name = "diff"
	}
	if m.IsAbs() {
		return "abs-" + name
	}
	return name
}

// ReadFile decodes the manifest in a file.
func ReadFile(name string) (*Document, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("read manifest: %w", err)
	}
	defer f.Close()
	doc, err := DecodeDocument(f, DecodeOptions{})
	if err != nil {
		return nil, fmt.Errorf("read manifest %s: %w", name, err)
	}
	return doc, nil
}

// DecodeDocument is Decode with limits of the caller's choice and with what is known
// of the text. The text is read as a stream and never held as a whole.
func DecodeDocument(r io.Reader, opts DecodeOptions) (*Document, error) {
	return newDecoder(r, opts).decode()
}

func newDecoder(r io.Reader, opts DecodeOptions) *decoder {
	if opts.MaxBytes <= 0 {
		opts.MaxBytes = DefaultMaxBytes
	}
	if opts.MaxEntries <= 0 {
		opts.MaxEntries = DefaultMaxEntries
	}
	hasher := NewHasher()
	return &decoder{
		scan:       jsonscan.New(io.TeeReader(r, hasher), opts.MaxBytes),
		hasher:     hasher,
		maxBytes:   opts.MaxBytes,
		maxEntries: opts.MaxEntries,
		textSize:   sizeOf(r),
	}
}

func (d *decoder) decode() (*Document, error) {
	if err := d.readText(); err != nil {
		return nil, d.textError(err)
	}
	doc := &Document{Hash: d.hasher.Hash(), Size: d.scan.Offset()}
	if err := d.build(doc); err != nil {
		return nil, err
	}
	return doc, nil
}

// sizeOf returns how many bytes r will yield when it can tell, and 0 otherwise. It
// is a hint for how much memory the entries will need.
func sizeOf(r io.Reader) int64 {
	switch r := r.(type) {
	case interface{ Len() int }:
		return int64(r.Len())
	case interface{ Stat() (fs.FileInfo, error) }:
		if info, err := r.Stat(); err == nil && info.Mode().IsRegular() {
			return info.Size()
		}
	}
	return 0
}

func (d *decoder) textError(err error) error {
	var syntax *jsonscan.SyntaxError
	switch {
	case errors.As(err, &syntax):
		return invalidf("Invalid JSON: %v", syntax)
	case errors.Is(err, jsonscan.ErrTooLarge):
		return invalidf("more than %d bytes of text", d.maxBytes)
	}
	return err
}

// build makes the manifest of what was read.
func (d *decoder) build(doc *Document) error {
	switch {
	case d.manifestVersion.seen:
		doc.Format = V2023
		return d.buildV2023(doc)
	case d.specVersion.seen:
		doc.Format = V2025
		return d.buildV2025(doc)
	}
	return invalidf("Unknown manifest format: no manifestVersion or specificationVersion")
}

// checkHeader makes the checks that both formats make first.
func (d *decoder) checkHeader() error {
	switch {
	case !d.hashAlg.ok:
		return invalidf("missing hashAlg")
	case Algorithm(d.hashAlg.text) != XXH128:
		return invalidf("Unsupported hash algorithm: %s", d.hashAlg.text)
	case !d.totalOK:
		return invalidf("missing or invalid totalSize")
	}
	return nil
}

// finish checks a manifest whose entries are complete.
func finish[P PathStyle, K Kind](m *Manifest[P, K], known knowledge) (Any, error) {
	set, err := m.validate(known)
	if err != nil {
		return nil, err
	}
	if err := m.checkSafe(set, known); err != nil {
		return nil, err
	}
	return m, nil
}
