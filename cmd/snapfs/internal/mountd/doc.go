// Package mountd is the process behind a mount: it puts store, cache, tree and kernel
// together, answers the command line over a control socket, and publishes what was
// changed.
//
// A mount is served by one process. Nobody in that process may use the mount itself,
// or it could wait for itself; the command line is always another process.
package mountd
