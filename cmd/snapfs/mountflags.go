package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/snapfs/snapfs/cache"
	"github.com/snapfs/snapfs/cmd/snapfs/internal/docs"
	"github.com/snapfs/snapfs/cmd/snapfs/internal/mountd"
	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"
)

// readingFlags are the flags of mount about fetching and keeping contents.
func readingFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "cache-min-free", Category: "Reading", Usage: "space that the cache leaves free on its disk, like 10GiB (default: 1GiB, or 5% of a small disk)"},
		&cli.StringFlag{Name: "max-memory", Category: "Reading", Usage: "limit of the memory for contents, like 256MiB (default: a tenth of the memory, 512MiB at most)"},
		&cli.DurationFlag{Name: "io-timeout", Category: "Reading", Value: cache.DefaultIOTimeout, Usage: "how long a read waits for a store that makes no progress before it fails with EIO"},
		&cli.StringFlag{Name: "verify", Category: "Reading", Value: "lazy", Usage: "lazy verifies contents above 8 MiB when they are complete, strict before their first byte is served"},
		&cli.StringFlag{Name: "trace", Category: "Reading", Usage: "record what is read first, and write it to `FILE` at the end (turns passthrough off)"},
		&cli.StringFlag{Name: "replay", Category: "Reading", Usage: "fetch in the background what the trace in `FILE` names"},
	}
}

func readingOf(c *cli.Context) (r mountd.Reading, err error) {
	if r.MinFree, err = sizeFlag(c, "cache-min-free"); err != nil {
		return r, err
	}
	if r.MaxMemory, err = sizeFlag(c, "max-memory"); err != nil {
		return r, err
	}
	for _, f := range []struct {
		name string
		path *string
	}{{"trace", &r.Trace}, {"replay", &r.Replay}} {
		if name := c.String(f.name); name != "" {
			if *f.path, err = filepath.Abs(name); err != nil {
				return r, err
			}
		}
	}
	if r.Trace != "" {
		if err := docs.CheckFile(r.Trace); err != nil {
			return r, err
		}
	}
	if least := int64(16 << 20); r.MaxMemory != 0 && r.MaxMemory < least {
		return r, usage("--max-memory: %s are not enough to read with; the least is %s", size(r.MaxMemory), size(least))
	}
	if r.IOTimeout = c.Duration("io-timeout"); r.IOTimeout < time.Second {
		return r, usage("--io-timeout: %v is too short for any store; the least is 1s", r.IOTimeout)
	}
	switch v := c.String("verify"); v {
	case "lazy":
	case "strict":
		r.Strict = true
	default:
		return r, usage("--verify is lazy or strict, not %q", v)
	}
	return r, nil
}

func metricsFlag() cli.Flag {
	return &cli.StringFlag{Name: "metrics", Usage: "serve Prometheus metrics on `ADDR`: a port like 127.0.0.1:9464 of the loopback interface, or unix:/PATH"}
}

// readyFlag is how supervisors learn that a mount answers.
func readyFlag() cli.Flag {
	return &cli.StringFlag{Name: "ready-fd", Usage: "when the mount answers, write a line to file descriptor `N` and close it"}
}

// readiness tells supervisors that a mount answers.
type readiness struct {
	fd *os.File // of --ready-fd; nil without it
}

func readinessOf(c *cli.Context) (*readiness, error) {
	text := c.String("ready-fd")
	if text == "" {
		return &readiness{}, nil
	}
	n, err := strconv.ParseUint(text, 10, 31)
	if err == nil {
		_, err = unix.FcntlInt(uintptr(n), unix.F_GETFD, 0)
	}
	if err != nil {
		return nil, usage("--ready-fd: %q is not the number of an open file descriptor", text)
	}
	unix.CloseOnExec(int(n)) // a process in the background does not hold it open
	return &readiness{os.NewFile(uintptr(n), "ready-fd")}, nil
}

// tell writes the result of mount as one line to --ready-fd, and tells systemd, or who
// else set NOTIFY_SOCKET (sd_notify(3)).
func (r *readiness) tell(started mounted) error {
	var err error
	if r.fd != nil {
		err = errors.Join(json.NewEncoder(r.fd).Encode(started), r.fd.Close())
	}
	return errors.Join(err, notify(fmt.Sprintf("READY=1\nMAINPID=%d\nSTATUS=mounted on %s\n", started.PID, started.MountPoint)))
}

// notify sends a message to the supervisor. Without one it does nothing.
func notify(message string) error {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return nil
	}
	conn, err := net.Dial("unixgram", path) // net knows the abstract ones that begin with "@"
	if err != nil {
		return fmt.Errorf("notify the supervisor: %w", err)
	}
	_, err = conn.Write([]byte(message))
	return errors.Join(err, conn.Close())
}
