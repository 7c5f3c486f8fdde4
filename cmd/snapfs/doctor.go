package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/snapfs/snapfs/blobstore"
	"github.com/snapfs/snapfs/cache"
	"github.com/snapfs/snapfs/cmd/snapfs/internal/content"
	"github.com/snapfs/snapfs/cmd/snapfs/internal/dirs"
	"github.com/snapfs/snapfs/cmd/snapfs/internal/doctor"
	"github.com/snapfs/snapfs/cmd/snapfs/internal/failure"
	"github.com/snapfs/snapfs/cmd/snapfs/internal/mountd"
	"github.com/snapfs/snapfs/cmd/snapfs/internal/stores"
	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"
)

func (p *program) doctorCommand() *cli.Command {
	return &cli.Command{
		Name:  "doctor",
		Usage: "check what snapfs needs on this machine",
		Description: "Looks at the FUSE device and its helper, limits, directories and their space, the clock, the caches,\n" +
			"the store and its credentials, and at mounts that need attention. Exits 1 when something does not work.",
		Flags:  storeFlags(),
		Action: p.doctor,
	}
}

// diagnosis is the result of doctor.
type diagnosis struct {
	Type   string         `json:"type"` // always "doctor"
	OK     bool           `json:"ok"`   // nothing failed; there may be warnings
	Checks []doctor.Check `json:"checks"`
}

func (p *program) doctor(c *cli.Context) error {
	if _, err := args(c, 0, 0); err != nil {
		return err
	}
	v := diagnosis{Type: "doctor", OK: true, Checks: p.examine(c)}
	for _, check := range v.Checks {
		if check.Status == doctor.Fail {
			v.OK, p.code = false, failure.Failed
		}
	}
	return p.result(v, func() error {
		for _, check := range v.Checks {
			if err := p.print("%-4s  %-13s %s", check.Status, check.Name, check.Detail); err != nil {
				return err
			}
			if check.Hint != "" {
				if err := p.print("      %-13s %s", "", "→ "+check.Hint); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

func (p *program) examine(c *cli.Context) []doctor.Check {
	list := []doctor.Check{doctor.FuseDevice(), doctor.MountHelper(), doctor.AllowOther(), doctor.Passthrough(), doctor.Limits()}
	for _, d := range []struct {
		what string
		dir  func() (string, error)
	}{{"cache", dirs.Cache}, {"overlays", dirs.Overlays}} {
		dir, err := d.dir()
		if err != nil {
			list = append(list, doctor.Check{Name: d.what, Status: doctor.Fail, Detail: err.Error()})
			continue
		}
		list = append(list, doctor.Directory(d.what, dir))
		if d.what == "cache" {
			list = append(list, doctor.Clock(dir))
		}
	}
	return append(list, checkRuntime(), checkHashCache(), checkStore(c), checkMounts(c.Context))
}

func checkRuntime() doctor.Check {
	dir, err := dirs.Runtime()
	if err != nil {
		return doctor.Check{Name: "sockets", Status: doctor.Fail, Detail: err.Error()}
	}
	return doctor.Check{Name: "sockets", Status: doctor.OK, Detail: dir}
}

func checkHashCache() doctor.Check {
	check := doctor.Check{Name: "hash cache", Status: doctor.OK}
	hashes, err := cache.OpenHashCache("")
	if err == nil {
		err = hashes.Close()
	}
	if err != nil {
		check.Status, check.Detail = doctor.Warn, err.Error()
		check.Hint = "without it files are read again although they have not changed"
		return check
	}
	check.Detail, err = cache.DefaultDir()
	if err != nil {
		check.Status, check.Detail = doctor.Warn, err.Error()
	}
	return check
}

// storeTimeout bounds how long a store is waited for.
const storeTimeout = 20 * time.Second

func checkStore(c *cli.Context) doctor.Check {
	ctx, cancel := context.WithTimeout(c.Context, storeTimeout)
	defer cancel()
	check := doctor.Check{Name: "store", Status: doctor.OK}
	store, err := openStore(ctx, c, false)
	if err == nil {
		check.Detail = locationOf(store) + " can be read"
		err = content.Probe(ctx, store, false)
	}
	if err != nil {
		e := failure.Classify(err)
		check.Status, check.Detail, check.Hint = doctor.Fail, e.Message, e.Hint
		return check
	}
	if e, ok := blobstore.As[stores.Expirer](store); ok {
		if at, ok := e.CredentialsExpire(ctx); ok {
			check.Detail += ", credentials until " + at.Local().Format(time.DateTime)
		}
	}
	return check
}

// checkMounts looks for mounts whose process has died, and for overlays that wait for
// being committed.
func checkMounts(ctx context.Context) doctor.Check {
	check := doctor.Check{Name: "mounts", Status: doctor.OK}
	dir, err := dirs.Overlays()
	if err != nil {
		return doctor.Check{Name: check.Name, Status: doctor.Warn, Detail: err.Error()}
	}
	overlays, err := mountd.Overlays(dir)
	if err != nil {
		return doctor.Check{Name: check.Name, Status: doctor.Warn, Detail: err.Error()}
	}
	mounts, dead := 0, ""
	entries, err := mountd.Mounts()
	if err != nil {
		return doctor.Check{Name: check.Name, Status: doctor.Warn, Detail: err.Error()}
	}
	for _, m := range entries {
		if m.Type != mountd.FSType {
			continue
		}
		mounts++
		if isDead(ctx, m.Dir) {
			dead = m.Dir
		}
	}
	check.Detail = fmt.Sprintf("%s, %s without a mount", count(mounts, "mount"), count(len(overlays), "overlay"))
	switch {
	case dead != "":
		check.Status, check.Hint = doctor.Warn, "the process of the mount at "+dead+" has died: snapfs umount "+dead
	case len(overlays) > 0:
		check.Status, check.Hint = doctor.Warn, "they hold changes that are not committed; snapfs status lists them"
	}
	return check
}

// isDead reports whether a mount point has lost its process. One that does not answer
// within a second is busy, not dead.
func isDead(ctx context.Context, dir string) bool {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	dead := make(chan bool, 1)
	go func() {
		_, err := os.Stat(dir)
		dead <- errors.Is(err, unix.ENOTCONN)
	}()
	select {
	case d := <-dead:
		return d
	case <-ctx.Done():
		return false
	}
}
