package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/snapfs/snapfs/blobstore"
	"github.com/snapfs/snapfs/cmd/snapfs/internal/content"
	"github.com/snapfs/snapfs/cmd/snapfs/internal/failure"
	"github.com/snapfs/snapfs/cmd/snapfs/internal/stores"
	"github.com/urfave/cli/v2"
)

func (p *program) storeCommand() *cli.Command {
	return &cli.Command{
		Name:        "store",
		Usage:       "look at a store, and check it",
		Subcommands: []*cli.Command{p.storeInfoCommand(), p.storeCheckCommand()},
	}
}

func (p *program) storeInfoCommand() *cli.Command {
	return &cli.Command{
		Name:  "info",
		Usage: "say where a store is and how much it holds",
		Flags: append([]cli.Flag{
			&cli.BoolFlag{Name: "no-count", Usage: "do not count the contents, which takes a request for every 1000 in a bucket"},
		}, storeFlags()...),
		Action: p.storeInfo,
	}
}

// storeState is the result of store info.
type storeState struct {
	Type    string     `json:"type"` // always "store"
	Store   string     `json:"store"`
	Kind    string     `json:"kind"`            // directory or s3
	Blobs   *int       `json:"blobs,omitempty"` // absent with --no-count
	Bytes   *int64     `json:"bytes,omitempty"`
	Expires *time.Time `json:"credentials_expire,omitempty"`
}

func (p *program) storeInfo(c *cli.Context) error {
	if _, err := args(c, 0, 0); err != nil {
		return err
	}
	store, err := openStore(c.Context, c, false)
	if err != nil {
		return err
	}
	v := storeState{Type: "store", Store: locationOf(store), Kind: "directory"}
	if strings.HasPrefix(v.Store, "s3://") {
		v.Kind = "s3"
	}
	if e, ok := blobstore.As[stores.Expirer](store); ok {
		if at, ok := e.CredentialsExpire(c.Context); ok {
			v.Expires = &at
		}
	}
	if !c.Bool("no-count") {
		blobs, bytes, err := content.Count(c.Context, store)
		if err != nil {
			return err
		}
		v.Blobs, v.Bytes = &blobs, &bytes
	}
	return p.result(v, func() error {
		var b strings.Builder
		line(&b, "store      %s", shown(v.Store))
		line(&b, "kind       %s", v.Kind)
		if v.Blobs != nil {
			line(&b, "contents   %s, %s", count(*v.Blobs, "blob"), size(*v.Bytes))
		}
		if v.Expires != nil {
			line(&b, "expires    credentials end %s", v.Expires.Local().Format(time.DateTime))
		}
		_, err := fmt.Fprint(p.stdout, b.String())
		return err
	})
}

func locationOf(store blobstore.Store) string {
	if l, ok := blobstore.As[blobstore.Locator](store); ok {
		return l.Location()
	}
	return ""
}

func (p *program) storeCheckCommand() *cli.Command {
	return &cli.Command{
		Name:  "check",
		Usage: "check that a store can be used, and is intact",
		Description: "Checks that the store is there and can be read. --write puts the empty content into it, too, and\n" +
			"removes what writers that were killed have left there more than a day ago: unfinished uploads cost money.\n" +
			"--deep reads everything and names the contents that are damaged; then it exits 7 if there is any.",
		Flags: append([]cli.Flag{
			&cli.BoolFlag{Name: "write", Usage: "check that it can be written to"},
			&cli.BoolFlag{Name: "deep", Usage: "read every content and check its hash"},
			&cli.IntFlag{Name: "workers", Usage: "requests at once (default: 32)"},
		}, storeFlags()...),
		Action: p.storeCheck,
	}
}

// storeChecked is the result of store check.
type storeChecked struct {
	Type      string            `json:"type"` // always "store-check"
	Store     string            `json:"store"`
	OK        bool              `json:"ok"`
	Write     bool              `json:"write"`             // writing was checked
	Leftovers int               `json:"removed_leftovers"` // of killed writers; 0 unless write
	Deep      bool              `json:"deep"`              // all contents were read
	Blobs     int               `json:"blobs"`             // read; 0 unless deep
	ReadBytes int64             `json:"read_bytes"`
	Problems  []content.Problem `json:"problems"`
}

func (p *program) storeCheck(c *cli.Context) error {
	if _, err := args(c, 0, 0); err != nil {
		return err
	}
	store, err := openStore(c.Context, c, false)
	if err != nil {
		return err
	}
	v := storeChecked{
		Type: "store-check", Store: locationOf(store), Write: c.Bool("write"), Deep: c.Bool("deep"), Problems: []content.Problem{},
	}
	if err := content.Probe(c.Context, store, v.Write); err != nil {
		return failure.Named(v.Store, err)
	}
	if v.Write {
		if v.Leftovers, err = clean(c.Context, store); err != nil {
			return err
		}
	}
	if v.Deep {
		verifier := content.NewVerifier(store, content.VerifyOptions{Workers: c.Int("workers")})
		stop := p.screen(c).Watch("reading", "blob", verifier.Counts)
		report, err := verifier.Scan(c.Context)
		stop()
		if errors.Is(err, errors.ErrUnsupported) {
			return usage("this store cannot list its contents")
		}
		if err != nil {
			return err
		}
		v.Blobs, v.ReadBytes, v.Problems = report.Blobs, report.Read, append(v.Problems, report.Problems...)
	}
	if v.OK = len(v.Problems) == 0; !v.OK {
		p.code = failure.Integrity
	}
	return p.result(v, func() error { return p.printStoreCheck(v) })
}

// clean removes what killed writers have left in a store. Who may not look for that may
// still use the store.
func clean(ctx context.Context, store blobstore.Store) (int, error) {
	c, ok := blobstore.As[blobstore.Cleaner](store)
	if !ok {
		return 0, nil
	}
	n, err := c.Clean(ctx, 24*time.Hour)
	if errors.Is(err, blobstore.ErrPermission) {
		err = nil
	}
	return n, err
}

func (p *program) printStoreCheck(v storeChecked) error {
	for _, problem := range v.Problems {
		if err := p.print("%s", problemLine(problem)); err != nil {
			return err
		}
	}
	if v.Leftovers > 0 {
		p.note("removed %s of killed writers", count(v.Leftovers, "leftover"))
	}
	switch {
	case !v.OK:
		p.warn("%s of %s damaged", count(len(v.Problems), "blob"), shown(v.Store))
		p.note("hint: remove them, and upload their contents again from good copies of the files")
	case v.Deep:
		p.note("%s is in order: all %s are intact (%s)", shown(v.Store), count(v.Blobs, "blob"), size(v.ReadBytes))
	default:
		p.note("%s can be used", shown(v.Store))
	}
	return nil
}
