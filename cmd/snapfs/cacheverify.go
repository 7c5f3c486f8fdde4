package main

import (
	"github.com/snapfs/snapfs/blobstore"
	"github.com/snapfs/snapfs/cache"
	"github.com/snapfs/snapfs/cmd/snapfs/internal/failure"
	"github.com/urfave/cli/v2"
)

func (p *program) cacheVerifyCommand() *cli.Command {
	return &cli.Command{
		Name:  "verify",
		Usage: "read everything that mounts have fetched, and remove what is damaged",
		Description: "Contents are verified when they arrive, and large ones once after each start of the machine.\n" +
			"This finds what a disk has damaged since. What is removed is fetched again when it is read.\n" +
			"The exit code is 7 when something was damaged.",
		Flags:  []cli.Flag{cacheDirFlag()},
		Action: p.cacheVerify,
	}
}

// cacheVerified is the result of cache verify.
type cacheVerified struct {
	Type    string          `json:"type"` // always "cache-verify"
	Dir     string          `json:"dir"`
	Blobs   int             `json:"blobs"`
	Bytes   int64           `json:"bytes"`
	Damaged []blobstore.Key `json:"damaged"`
}

func (p *program) cacheVerify(c *cli.Context) error {
	if _, err := args(c, 0, 0); err != nil {
		return err
	}
	dir, err := cacheDir(c)
	if err != nil {
		return err
	}
	done, err := cache.Verify(c.Context, dir)
	if err != nil {
		return failure.Named(dir, err)
	}
	if len(done.Damaged) > 0 {
		p.code = failure.Integrity
	}
	v := cacheVerified{Type: "cache-verify", Dir: dir, Blobs: done.Blobs, Bytes: done.Bytes, Damaged: done.Damaged}
	if v.Damaged == nil {
		v.Damaged = []blobstore.Key{}
	}
	return p.result(v, func() error {
		for _, key := range v.Damaged {
			p.warn("damaged, and removed: %s", key)
		}
		p.note("%s (%s) read, %d damaged", count(v.Blobs, "blob"), size(v.Bytes), len(v.Damaged))
		return nil
	})
}
