// Package failure turns errors into what the command line promises about them: an
// exit code, a short name for scripts, and a hint what to do next.
package failure

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"strings"

	"github.com/snapfs/snapfs/blobstore"
	"github.com/snapfs/snapfs/cache"
	snapfs "github.com/snapfs/snapfs/fs"
	"github.com/snapfs/snapfs/manifest"
	"github.com/snapfs/snapfs/ops"
	"golang.org/x/sys/unix"
)

// Code is an exit code of the command line. Users' scripts rely on the numbers.
type Code int

// The exit codes.
const (
	OK          Code = 0
	Failed      Code = 1   // not classified
	Usage       Code = 2   // usage or configuration
	Partial     Code = 3   // finished, but some entries failed
	Differences Code = 4   // differences exist, or uncommitted changes are kept
	NotFound    Code = 5   // manifest, path or mount
	Permission  Code = 6   // credentials or permission
	Integrity   Code = 7   // content is missing or does not match its hash
	Conflict    Code = 8   // target exists, base changed
	NoSpace     Code = 9   // out of space, quota or limit
	NoStore     Code = 10  // the store does not exist
	Busy        Code = 11  // busy or locked
	Invalid     Code = 12  // manifest invalid or unsafe
	Timeout     Code = 124 // a deadline passed
	HungUp      Code = 129 // SIGHUP
	Interrupted Code = 130 // SIGINT
	Terminated  Code = 143 // SIGTERM
)

var names = map[Code]string{
	Failed: "failed", Usage: "usage", Partial: "partial", Differences: "differences", NotFound: "not-found",
	Permission: "permission", Integrity: "integrity", Conflict: "conflict", NoSpace: "no-space",
	NoStore: "no-store", Busy: "busy", Invalid: "invalid-manifest", Timeout: "timeout",
	HungUp: "hung-up", Interrupted: "interrupted", Terminated: "terminated",
}

// Name returns the word that stands for the code in JSON.
func (c Code) Name() string { return names[c] }

// Error is an error with everything that the command line says about it.
type Error struct {
	Code    Code
	Message string
	Path    string // file that the error is about, if any
	Key     string // blob that the error is about, if any
	Hint    string // what to do next, "" when there is nothing to say
	List    []Item // what failed, when the error is about several entries
	Err     error  // cause, for errors.Is
}

// Item is one of several entries that an error is about.
type Item struct {
	Code    string `json:"code"` // name of the exit code that it would have alone
	Path    string `json:"path"` // of the file, or key of the blob
	Message string `json:"message"`
}

func (e *Error) Error() string { return e.Message }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// JSON is the form of an error on stdout under --json.
type JSON struct {
	Type     string `json:"type"` // always "error"
	Code     string `json:"code"`
	ExitCode int    `json:"exit_code"`
	Message  string `json:"message"`
	Path     string `json:"path,omitempty"`
	Key      string `json:"key,omitempty"`
	Hint     string `json:"hint,omitempty"`
	Failures []Item `json:"failures,omitempty"`
}

// JSON returns e as it goes to stdout under --json, and over the control socket.
func (e *Error) JSON() JSON {
	return JSON{
		Type: "error", Code: e.Code.Name(), ExitCode: int(e.Code), Message: e.Message,
		Path: e.Path, Key: e.Key, Hint: e.Hint, Failures: e.List,
	}
}

// FromJSON is the inverse of JSON.
func FromJSON(j JSON) *Error {
	return &Error{Code: Code(j.ExitCode), Message: j.Message, Path: j.Path, Key: j.Key, Hint: j.Hint, List: j.Failures}
}

// Classify returns err with an exit code and a hint. An *Error in the chain is
// returned as it is.
func Classify(err error) *Error {
	if err == nil {
		return nil
	}
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	e = &Error{Code: Failed, Message: tidy(err.Error()), Err: err}
	var several *ops.Failures
	if errors.As(err, &several) && !stopped(err) {
		e.classifyList(several)
		return e
	}
	for _, rule := range rules {
		if rule.matches(err) {
			e.Code, e.Hint = rule.code, rule.hint
			break
		}
	}
	var path *fs.PathError
	if errors.As(err, &path) {
		e.Path = path.Path
	}
	return e
}

// stopped reports whether an operation was ended from outside, which says more than
// what had failed by then.
func stopped(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// classifyList gives e the code that all failures have in common, and Partial when
// they have none in common.
func (e *Error) classifyList(several *ops.Failures) {
	for i, f := range several.List {
		one := Classify(f.Err)
		e.List = append(e.List, Item{Code: one.Code.Name(), Path: f.Path, Message: one.Message})
		switch {
		case i == 0:
			e.Code, e.Hint = one.Code, one.Hint
		case e.Code != one.Code:
			e.Code, e.Hint = Partial, ""
		}
	}
	if e.Code == Failed && !errors.Is(several, blobstore.ErrUnavailable) {
		e.Code = Partial
	}
	if len(several.List) == 1 {
		e.Path = several.List[0].Path
	}
}

// tidy removes what says nothing to a user.
func tidy(s string) string {
	s = strings.ReplaceAll(s, manifest.ErrKind.Error()+": ", "")
	return strings.ReplaceAll(s, manifest.ErrInvalid.Error()+": ", "")
}

type rule struct {
	target error
	code   Code
	hint   string
}

func (r rule) matches(err error) bool { return errors.Is(err, r.target) }

// rules are tried in order: the cause that says most comes first.
var rules = []rule{
	{context.DeadlineExceeded, Timeout, "the deadline passed; try again, or allow more time"},
	{context.Canceled, Interrupted, "interrupted; run the same command again to go on where it stopped"},
	{manifest.ErrKind, Usage, "snapfs manifest show tells what kind a manifest is"},
	{manifest.ErrInvalid, Invalid, "the manifest is damaged, unsafe or not one of snapfs; nothing was changed"},
	{snapfs.ErrInUse, Busy, "unmount the other mount first, or choose another --overlay directory"},
	{snapfs.ErrOtherBase, Conflict, "name no MANIFEST to mount what the overlay was made from, or choose another --overlay directory"},
	{snapfs.ErrDamaged, Integrity, ""},
	{blobstore.ErrNoStore, NoStore, "check the --store URL, or create the bucket or directory"},
	{cache.ErrUntrusted, Permission, "give it to this user alone (chmod 0700), or choose another with --cache-dir"},
	{unix.EROFS, Permission, "choose a place that can be written to"},
	{os.ErrPermission, Permission, ""},
	{blobstore.ErrPermission, Permission, "check the credentials (AWS_PROFILE, AWS_ACCESS_KEY_ID, …) and what they are allowed to do"},
	{blobstore.ErrMismatch, Integrity, "the store holds damaged content; upload it again from a good copy"},
	{blobstore.ErrNotFound, Integrity, "the store lacks content that the manifest names; is it the right --store?"},
	{blobstore.ErrBadKey, Invalid, ""},
	{blobstore.ErrNoSpace, NoSpace, "free some space and run the same command again"},
	{blobstore.ErrUnavailable, Failed, "the store cannot be reached; check the network and the endpoint, then run the same command again"},
	{ops.ErrUnsafe, Invalid, "remove the link, or make the manifest relative (snapfs subtree MANIFEST PATH) and download it into the directory that is meant"},
	{ops.ErrChanged, Partial, ""},
	{unix.ENOSPC, NoSpace, "free some space and run the same command again"},
	{unix.EDQUOT, NoSpace, "free some space and run the same command again"},
	{unix.EBUSY, Busy, ""},
	{unix.EADDRINUSE, Busy, "choose another port, or 0 for any that is free"},
	{os.ErrNotExist, NotFound, ""},
	{unix.ENOTDIR, NotFound, ""},
	{unix.EISDIR, Conflict, ""},
	{os.ErrExist, Conflict, ""},
}

// Named adds the name of the file or object that err is about, unless the message
// holds it already.
func Named(name string, err error) error {
	e := *Classify(err)
	if !strings.Contains(e.Message, name) {
		e.Message = name + ": " + e.Message
	}
	if e.Path == "" {
		e.Path = name
	}
	return &e
}
