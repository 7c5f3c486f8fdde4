package mountd

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"time"

	"golang.org/x/sys/unix"
)

// StopTimeout is how long a signal waits for a busy mount, unless Config says otherwise,
// before it unmounts lazily.
const StopTimeout = 10 * time.Second

// watchSignals unmounts on SIGTERM and SIGINT. The last commit is part of that, and
// may take long: another signal calls abort, which ends it and keeps the changes.
func (d *daemon) watchSignals(ctx context.Context, served <-chan struct{}, abort func()) {
	ch := make(chan os.Signal, 4)
	signal.Reset(unix.SIGTERM, unix.SIGINT, unix.SIGHUP)
	signal.Notify(ch, unix.SIGTERM, unix.SIGINT)
	signal.Ignore(unix.SIGHUP, unix.SIGPIPE)
	select {
	case <-served: // somebody else has unmounted
		<-ch
		d.session.Log.Info().Msg("ending with the commit; one more signal stops it")
	case <-ctx.Done():
		d.unmount(ch, served)
	case sig := <-ch:
		d.session.Log.Info().Stringer("signal", sig).Msg("unmounting")
		d.unmount(ch, served)
	}
	<-ch
	d.session.Log.Warn().Msg("stopping; what is not committed stays in the overlay")
	abort()
}

// unmount unmounts gracefully at first, lazily when the mount stays busy or a second
// signal comes.
func (d *daemon) unmount(ch <-chan os.Signal, served <-chan struct{}) {
	lazily := time.After(d.session.Config.StopTimeout)
	for {
		err := d.server.Unmount()
		if err == nil {
			return
		}
		if !errors.Is(err, unix.EBUSY) {
			d.session.Log.Error().Err(err).Msg("unmount")
		}
		select {
		case <-served:
			return
		case <-time.After(200 * time.Millisecond):
			continue
		case <-ch:
		case <-lazily:
		}
		d.session.Log.Warn().Msg("the mount is still in use: it is detached, and ends with its last user")
		if err := d.server.UnmountLazy(); err != nil {
			d.session.Log.Error().Err(err).Msg("unmount lazily")
		}
		return
	}
}
