package mountd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/snapfs/snapfs/cmd/snapfs/internal/dirs"
	"github.com/snapfs/snapfs/cmd/snapfs/internal/failure"
	"github.com/snapfs/snapfs/fs"
	"github.com/snapfs/snapfs/manifest"
)

// readyVar names the environment variable through which the process behind a mount
// learns where to say that it is ready.
const readyVar = "SNAPFS_READY_FD_INTERNAL"

// report is what the process says over the pipe: that it is ready, or why not.
type report struct {
	Started *Started      `json:"started,omitempty"`
	Error   *failure.JSON `json:"error,omitempty"`
}

// Started describes a mount that has just begun.
type Started struct {
	Info
	Resumed *Resumed `json:"resumed,omitempty"`
}

// Resumed says what an overlay held when it was mounted again.
type Resumed struct {
	Changes int       `json:"changes"` // that no commit has published
	Since   time.Time `json:"since"`   // when the overlay was made
}

// Resumed returns what the overlay held already, nil when that is nothing.
func (s *Session) Resumed() (*Resumed, error) {
	if s.Tree.ReadOnly() {
		return nil, nil
	}
	changes := s.changes()
	if changes == 0 {
		return nil, nil
	}
	info, err := fs.ReadOverlayInfo(s.Config.Overlay)
	return &Resumed{Changes: changes, Since: info.Created}, err
}

// Background starts this program anew with the same arguments as a process of its
// own that outlives the terminal, and waits until it reports. When ctx ends before
// that, the process is told to end.
func Background(ctx context.Context, mountPoint string) (Started, error) {
	logPath, logFile, err := openLog(mountPoint)
	if err != nil {
		return Started{}, err
	}
	defer logFile.Close()
	r, w, err := os.Pipe()
	if err != nil {
		return Started{}, err
	}
	defer r.Close()
	self, err := os.Executable()
	if err != nil {
		return Started{}, err
	}
	cmd := exec.Command(self, os.Args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, logFile, logFile
	cmd.ExtraFiles = []*os.File{w}
	cmd.Env = append(os.Environ(), readyVar+"=3:"+logPath)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	w.Close()
	if err != nil {
		return Started{}, fmt.Errorf("start the mount process: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Signal(syscall.SIGTERM) })
	defer stop()
	return awaitReport(cmd, r, logPath)
}

func awaitReport(cmd *exec.Cmd, r io.Reader, logPath string) (Started, error) {
	var rep report
	err := json.NewDecoder(r).Decode(&rep)
	switch {
	case err != nil:
		_ = cmd.Wait() // it has closed the pipe without a word: it is dead
		return Started{}, &failure.Error{
			Code: failure.Failed, Err: err,
			Message: "the mount process ended before the mount was ready: " + cmd.ProcessState.String(),
			Hint:    "its log " + logPath + " says more",
		}
	case rep.Error != nil:
		_ = cmd.Wait()
		return Started{}, failure.FromJSON(*rep.Error)
	}
	// The mount answers when its root does: the parent may ask, the process itself
	// must not.
	if _, err := os.Stat(rep.Started.MountPoint); err != nil {
		return Started{}, fmt.Errorf("the mount does not answer: %w", err)
	}
	return *rep.Started, cmd.Process.Release()
}

// openLog opens the log of the mount at a mount point.
func openLog(mountPoint string) (string, *os.File, error) {
	dir, err := dirs.Logs()
	if err == nil {
		err = os.MkdirAll(dir, 0o700)
	}
	if err != nil { // no home, or one that cannot be written to: the mount may need none
		if dir, err = dirs.Runtime(); err != nil {
			return "", nil, err
		}
	}
	path := filepath.Join(dir, string(manifest.Sum([]byte(mountPoint)))[:16]+".log")
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return "", nil, err
	}
	_, err = fmt.Fprintf(f, "--- %s mount on %s\n", time.Now().Format(time.RFC3339), mountPoint)
	return path, f, err
}

// Reporter says how the start of a mount went.
type Reporter struct {
	pipe    *os.File // nil in the foreground
	LogPath string
}

// NewReporter returns the reporter of this process, and whether it was started by
// Background.
func NewReporter() (*Reporter, bool) {
	value, ok := os.LookupEnv(readyVar)
	if !ok {
		return &Reporter{}, false
	}
	_ = os.Unsetenv(readyVar)
	r := &Reporter{}
	for i := range value {
		if value[i] == ':' {
			if fd, err := strconv.Atoi(value[:i]); err == nil {
				syscall.CloseOnExec(fd)
				r.pipe = os.NewFile(uintptr(fd), "ready")
			}
			r.LogPath = value[i+1:]
			break
		}
	}
	return r, true
}

// Ready reports success.
func (r *Reporter) Ready(started Started) error {
	return r.send(report{Started: &started})
}

// Done reports an error, unless Ready was called before, and returns it.
func (r *Reporter) Done(err error) error {
	if err == nil {
		return nil
	}
	j := failure.Classify(err).JSON()
	return errors.Join(err, r.send(report{Error: &j}))
}

func (r *Reporter) send(rep report) error {
	if r.pipe == nil {
		return nil
	}
	err := json.NewEncoder(r.pipe).Encode(rep)
	err = errors.Join(err, r.pipe.Close())
	r.pipe = nil
	return err
}
