package main

import (
	"context"
	"fmt"
	"math"
	"strings"

	"github.com/dustin/go-humanize"
	"github.com/snapfs/snapfs/blobstore"
	"github.com/snapfs/snapfs/cmd/snapfs/internal/docs"
	"github.com/snapfs/snapfs/cmd/snapfs/internal/stores"
	"github.com/urfave/cli/v2"
)

// storeFlags are the flags that name a store.
func storeFlags() []cli.Flag {
	return append([]cli.Flag{
		&cli.StringFlag{Name: "store", Usage: "where contents lie: a directory, file:///dir or s3://bucket/prefix (default: a directory of this user)"},
	}, s3Flags()...)
}

// s3Flags are the flags that say how to reach buckets, of stores and of manifests.
func s3Flags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "profile", Category: "S3", Usage: "AWS profile"},
		&cli.StringFlag{Name: "region", Category: "S3", Usage: "AWS region"},
		&cli.StringFlag{Name: "endpoint-url", Category: "S3", Usage: "URL of an S3-compatible server"},
		&cli.BoolFlag{Name: "path-style", Category: "S3", Usage: "bucket in the path of the URL, not in the host name"},
		&cli.StringFlag{Name: "expected-bucket-owner", Category: "S3", Usage: "account `ID` that must own the bucket"},
		&cli.StringFlag{Name: "sse", Category: "S3", Usage: "server-side encryption: AES256, aws:kms"},
		&cli.StringFlag{Name: "kms-key-id", Category: "S3", Usage: "key for aws:kms"},
		&cli.StringFlag{Name: "storage-class", Category: "S3", Usage: "storage class of new objects"},
		&cli.BoolFlag{Name: "requester-pays", Category: "S3", Usage: "pay for the requests"},
		&cli.StringFlag{Name: "ca-bundle", Category: "S3", Usage: "PEM `FILE` of authorities to trust"},
		&cli.BoolFlag{Name: "no-sign-request", Category: "S3", Usage: "anonymous access"},
		&cli.IntFlag{Name: "max-attempts", Category: "S3", Usage: "how often a request is tried (default: 8)"},
	}
}

func s3Of(c *cli.Context) stores.S3 {
	return stores.S3{
		Profile: c.String("profile"), Region: c.String("region"), Endpoint: c.String("endpoint-url"),
		PathStyle: c.Bool("path-style"), ExpectedBucketOwner: c.String("expected-bucket-owner"),
		SSE: c.String("sse"), KMSKeyID: c.String("kms-key-id"), StorageClass: c.String("storage-class"),
		RequesterPays: c.Bool("requester-pays"), CABundle: c.String("ca-bundle"),
		NoSignRequest: c.Bool("no-sign-request"), MaxAttempts: c.Int("max-attempts"),
	}
}

// docs returns what reads and writes the manifests of a command.
func (p *program) docs(c *cli.Context) *docs.IO {
	return &docs.IO{S3: s3Of(c), Stdin: p.stdin, Stdout: p.stdout}
}

// openStore opens the store that a command names. Commands that write to it may
// make the directory of a directory store.
func openStore(ctx context.Context, c *cli.Context, create bool) (blobstore.Store, error) {
	return stores.Open(ctx, c.String("store"), s3Of(c), create)
}

// sizeFlag returns the value of a flag like "50GiB" in bytes; "" is 0.
func sizeFlag(c *cli.Context, name string) (int64, error) {
	text := c.String(name)
	if text == "" {
		return 0, nil
	}
	n, err := humanize.ParseBytes(text)
	if err != nil || n > math.MaxInt64 {
		return 0, usage("--%s: %q is not a size; write it like 512MiB or 50GB", name, text)
	}
	return int64(n), nil
}

// size is a number of bytes for people.
func size(n int64) string { return humanize.IBytes(uint64(max(n, 0))) }

// count is a number with its noun: "1 file", "2 files".
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	if stem, ok := strings.CutSuffix(noun, "y"); ok && !strings.HasSuffix(stem, "a") { // overlays, but directories
		return fmt.Sprintf("%s %sies", humanize.Comma(int64(n)), stem)
	}
	return fmt.Sprintf("%s %ss", humanize.Comma(int64(n)), noun)
}

// args checks the number of arguments of a command and returns them.
func args(c *cli.Context, least, most int) ([]string, error) {
	list := c.Args().Slice()
	if len(list) < least || (most >= 0 && len(list) > most) {
		return nil, usage("%s takes %s; usage: %s %s", c.Command.HelpName, expected(least, most), c.Command.HelpName, c.Command.ArgsUsage)
	}
	return list, nil
}

func expected(least, most int) string {
	switch {
	case most < 0:
		return "at least " + count(least, "argument")
	case least == most:
		return count(least, "argument")
	}
	return fmt.Sprintf("%d to %s", least, count(most, "argument"))
}
