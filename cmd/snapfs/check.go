package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/snapfs/snapfs/cmd/snapfs/internal/content"
	"github.com/snapfs/snapfs/cmd/snapfs/internal/failure"
	"github.com/snapfs/snapfs/cmd/snapfs/internal/verbs"
	"github.com/snapfs/snapfs/manifest"
	"github.com/urfave/cli/v2"
)

func (p *program) validateCommand() *cli.Command {
	return &cli.Command{
		Name:      "validate",
		Usage:     "check that a manifest is well-formed and safe",
		ArgsUsage: "MANIFEST",
		Description: "Exits 12 and says what is wrong when the manifest is not one, or could do harm. The store is not\n" +
			"looked at; snapfs manifest verify does that.",
		Flags: append([]cli.Flag{
			&cli.BoolFlag{Name: "ignore-case", Usage: "refuse names that differ in case only, which some file systems cannot hold"},
		}, s3Flags()...),
		Action: p.validate,
	}
}

// validation is the result of validate; what is not valid is an error.
type validation struct {
	Type     string          `json:"type"` // always "validation"
	Name     string          `json:"manifest"`
	Valid    bool            `json:"valid"` // always true
	Kind     string          `json:"kind"`
	Format   manifest.Format `json:"format"`
	Hash     manifest.Hash   `json:"manifest_hash"`
	Warnings []string        `json:"warnings"`
}

func (p *program) validate(c *cli.Context) error {
	list, err := args(c, 1, 1)
	if err != nil {
		return err
	}
	in, err := p.read(c, list[0])
	if err != nil {
		return err
	}
	if c.Bool("ignore-case") {
		if err := in.Manifest.CheckCase(); err != nil {
			return failure.Named(in.Name, err)
		}
	}
	v := validation{
		Type: "validation", Name: in.Name, Valid: true, Kind: manifest.KindOf(in.Manifest), Format: in.Format,
		Hash: in.Hash, Warnings: append([]string{}, in.Warnings()...),
	}
	return p.result(v, func() error { return p.print("%s: valid %s (%s)", shown(v.Name), v.Kind, v.Format) })
}

func (p *program) verifyCommand() *cli.Command {
	return &cli.Command{
		Name:      "verify",
		Usage:     "check that a store holds every content that manifests name",
		ArgsUsage: "MANIFEST…",
		Description: "Names every content that is missing or has the wrong size, and exits 7 if there is any. --deep\n" +
			"reads all of them and checks their hashes, too.",
		Flags: append([]cli.Flag{
			&cli.BoolFlag{Name: "deep", Usage: "read every content and check its hash"},
			&cli.IntFlag{Name: "workers", Usage: "requests at once (default: 32)"},
		}, storeFlags()...),
		Action: p.verify,
	}
}

// verification is the result of verify.
type verification struct {
	Type      string            `json:"type"` // always "verification"
	Manifests []string          `json:"manifests"`
	OK        bool              `json:"ok"`
	Deep      bool              `json:"deep"`
	Blobs     int               `json:"blobs"`
	Bytes     int64             `json:"bytes"`
	ReadBytes int64             `json:"read_bytes"`
	Problems  []content.Problem `json:"problems"`
}

func (p *program) verify(c *cli.Context) error {
	list, err := args(c, 1, -1)
	if err != nil {
		return err
	}
	in, err := p.readAll(c, list)
	if err != nil {
		return err
	}
	store, err := openStore(c.Context, c, false)
	if err != nil {
		return err
	}
	ms := make([]manifest.Any, len(in))
	for i := range in {
		ms[i] = in[i].Manifest
	}
	verifier := content.NewVerifier(store, content.VerifyOptions{Deep: c.Bool("deep"), Workers: c.Int("workers")})
	stop := p.screen(c).Watch("verifying", "blob", verifier.Counts)
	report, err := verifier.Verify(c.Context, ms...)
	stop()
	if err != nil {
		return err
	}
	v := verification{
		Type: "verification", Manifests: list, OK: len(report.Problems) == 0, Deep: c.Bool("deep"), Blobs: report.Blobs,
		Bytes: report.Bytes, ReadBytes: report.Read, Problems: append([]content.Problem{}, report.Problems...),
	}
	if !v.OK {
		p.code = failure.Integrity
	}
	return p.result(v, func() error { return p.printVerification(v) })
}

func (p *program) printVerification(v verification) error {
	var b strings.Builder
	for _, problem := range v.Problems {
		line(&b, "%s", problemLine(problem))
	}
	if _, err := fmt.Fprint(p.stdout, b.String()); err != nil {
		return err
	}
	if v.OK {
		p.note("nothing is missing of %s (%s)", count(v.Blobs, "content"), size(v.Bytes))
		return nil
	}
	p.warn("%s in %s", count(len(v.Problems), "problem"), count(v.Blobs, "content"))
	p.note("hint: is it the right --store? Otherwise upload the contents again from a good copy of the files.")
	return nil
}

func problemLine(problem content.Problem) string {
	parts := []string{fmt.Sprintf("%-10s", problem.Reason)}
	if problem.Key != "" {
		parts = append(parts, problem.Key)
	}
	if problem.Path != "" {
		parts = append(parts, shown(problem.Path))
	}
	if problem.Detail != "" {
		parts = append(parts, "("+problem.Detail+")")
	}
	return strings.Join(parts, "  ")
}

func (p *program) convertCommand() *cli.Command {
	return &cli.Command{
		Name:        "convert",
		Usage:       "write a manifest in another format",
		ArgsUsage:   "MANIFEST",
		Description: "Tells on stderr what the v2023 format leaves out.",
		Flags:       writeFlags(),
		Action:      p.convert,
	}
}

func (p *program) convert(c *cli.Context) error {
	list, err := args(c, 1, 1)
	if err != nil {
		return err
	}
	return p.transform(c, list[0], func(_ context.Context, in verbs.Named) (manifest.Any, error) { return in.Manifest, nil })
}

func (p *program) sumCommand() *cli.Command {
	return &cli.Command{
		Name:        "hash",
		Usage:       "print the XXH128 hash of the text of a manifest",
		ArgsUsage:   "MANIFEST",
		Description: "This is the hash by which diffs name their parent.",
		Flags:       s3Flags(),
		Action:      p.sum,
	}
}

// sumResult is the result of manifest hash.
type sumResult struct {
	Type string        `json:"type"` // always "manifest-hash"
	Name string        `json:"manifest"`
	Hash manifest.Hash `json:"manifest_hash"`
	Size int64         `json:"manifest_bytes"`
}

func (p *program) sum(c *cli.Context) error {
	list, err := args(c, 1, 1)
	if err != nil {
		return err
	}
	in, err := p.read(c, list[0])
	if err != nil {
		return err
	}
	v := sumResult{"manifest-hash", in.Name, in.Hash, in.Size}
	return p.result(v, func() error { return p.print("%s", v.Hash) })
}
