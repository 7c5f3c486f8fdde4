package mountd

import (
	"context"
	"errors"
	"os"
	"sync"

	"github.com/snapfs/snapfs/cmd/snapfs/internal/docs"
	"github.com/snapfs/snapfs/cmd/snapfs/internal/failure"
	"github.com/snapfs/snapfs/cmd/snapfs/internal/trace"
	"github.com/snapfs/snapfs/cmd/snapfs/internal/warm"
	"github.com/snapfs/snapfs/fs"
)

// tracing is what a session records of its reads, and what it fetches because others
// were recorded.
type tracing struct {
	to       string          // where the trace goes
	recorder *trace.Recorder // nil when nothing is recorded

	stop      context.CancelFunc // ends the replay; nil without one
	replaying sync.WaitGroup
}

// ReadTrace reads the trace in a file.
func ReadTrace(path string) ([]trace.Touch, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	list, err := trace.Parse(f)
	if err != nil {
		return nil, &failure.Error{
			Code: failure.Usage, Path: path, Message: path + ": " + err.Error(), Err: err,
			Hint: "snapfs mount --trace FILE records traces",
		}
	}
	return list, nil
}

// Record records the reads of the mount, which has not begun, and writes them to the file
// at path when it ends.
func (s *Session) Record(path string) {
	r := trace.NewRecorder()
	s.tracing.to, s.tracing.recorder = path, r
	s.Tree.Observe(func(ino fs.Ino, off, n int64) { r.Read(uint64(ino), off, n) })
}

// Replay fetches in the background what a trace names. Failures are left to those who
// read.
func (s *Session) Replay(touches []trace.Touch) {
	base := s.Tree.Base()
	list, missing := warm.Traced(touches, base.File)
	ctx, stop := context.WithCancel(context.Background())
	s.tracing.stop = stop
	s.tracing.replaying.Go(func() {
		var p warm.Progress
		err := warm.Run(ctx, s.Cache, base.ChunkSize(), list, &p)
		switch {
		case errors.Is(err, context.Canceled):
		case err != nil:
			s.Log.Warn().Err(err).Msg("replay of the trace")
		default:
			s.Log.Info().Int64("bytes", p.Counts().DoneBytes).Int("missing", missing).Msg("the trace was replayed")
		}
	})
}

// endTracing writes the recording, and ends the replay.
func (s *Session) endTracing() {
	if s.tracing.stop != nil {
		s.tracing.stop()
		s.tracing.replaying.Wait()
	}
	if s.tracing.recorder == nil {
		return
	}
	base := s.Tree.Base()
	text, err := s.tracing.recorder.Text(func(n uint64) string { return base.PathOf(fs.Ino(n)) })
	if err == nil {
		err = docs.WriteFile(s.tracing.to, text)
	}
	if err != nil {
		s.Log.Error().Err(err).Str("trace", s.tracing.to).Msg("the trace is lost")
	}
}
