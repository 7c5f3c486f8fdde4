package blobstore

import (
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Location says where a store, or an object, lies. It is what ParseURL makes of the
// text that a user gives; opening the store is left to the caller.
type Location struct {
	// Path is the directory of a store of files, as it was given: absolute, or
	// relative to the working directory. It is empty for S3.
	Path string

	// Bucket is the name of the bucket, or the ARN of an access point. It is empty
	// for a directory, and so are the fields below.
	Bucket string
	// Prefix is what the keys of the blobs start with, or the key of an object that
	// is not a blob, without slashes at its ends. It may be empty.
	Prefix string
	// Region is the region of the bucket; empty means that of the environment.
	Region string
	// Endpoint is the http or https URL of a server other than AWS.
	Endpoint string
	// PathStyle puts the bucket in the path of the URL instead of the host name.
	PathStyle bool
	// Owner is the 12-digit account that must own the bucket; empty means anyone.
	Owner string
}

// IsS3 reports whether l is in a bucket; otherwise it is a directory.
func (l Location) IsS3() bool { return l.Bucket != "" }

// parameters sets the query parameters of an S3 URL.
var parameters = map[string]func(*Location, string) error{
	"region":     func(l *Location, v string) error { l.Region = v; return nil },
	"endpoint":   setEndpoint,
	"path-style": setPathStyle,
	"owner":      setOwner,
}

// ParseURL parses the location of a store: a plain path, file:///path, or
// s3://bucket/prefix with the optional parameters region, endpoint, path-style and
// owner. The bucket and prefix are taken as they are, as the tools of AWS do: a
// per cent sign in them is a per cent sign. Errors name s and what is wrong with it.
func ParseURL(s string) (Location, error) {
	scheme, rest, isURL := strings.Cut(s, "://")
	var l Location
	var err error
	switch {
	case isURL && strings.EqualFold(scheme, "s3"):
		l, err = parseS3(rest)
	case isURL && strings.EqualFold(scheme, "file"):
		l, err = parseFile(s)
	case isURL && isScheme(scheme):
		err = fmt.Errorf("unknown scheme %q: use s3://, file:// or a plain path", scheme)
	case strings.HasPrefix(s, "s3:"):
		err = fmt.Errorf("write s3://%s, or ./%s for a directory of that name", strings.TrimLeft(s[3:], "/"), s)
	case strings.HasPrefix(s, "file:"):
		err = fmt.Errorf("write file:///absolute/path, or a plain path for a relative one")
	default:
		l, err = parsePath(s)
	}
	if err != nil {
		return Location{}, fmt.Errorf("store %q: %w", s, err)
	}
	return l, nil
}

func isScheme(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+.-", r)
	})
}

func parsePath(s string) (Location, error) {
	if s == "" || strings.ContainsRune(s, 0) {
		return Location{}, fmt.Errorf("not a path: give a directory, file:///path or s3://bucket/prefix")
	}
	return Location{Path: filepath.Clean(s)}, nil
}

func parseFile(s string) (Location, error) {
	u, err := url.Parse(s)
	if err != nil {
		return Location{}, errors.Unwrap(err) // without "parse" and the URL, which the caller adds
	}
	switch {
	case u.Host != "" && u.Host != "localhost":
		return Location{}, fmt.Errorf("the path must be absolute: write file:///%s%s, or a plain path for a relative one", u.Host, u.Path)
	case u.RawQuery != "" || u.Fragment != "":
		return Location{}, fmt.Errorf("a directory takes no parameters: write %%3F for a question mark and %%23 for a number sign")
	}
	return parsePath(u.Path)
}

func parseS3(rest string) (Location, error) {
	rest, query, _ := strings.Cut(rest, "?")
	bucket, prefix := cutBucket(rest)
	if err := checkBucket(bucket); err != nil {
		return Location{}, err
	}
	l := Location{Bucket: bucket, Prefix: strings.Trim(prefix, "/")}
	for part := range strings.SplitSeq(l.Prefix, "/") {
		if part == "." || part == ".." {
			return Location{}, fmt.Errorf("the prefix must not contain %q", part)
		}
	}
	values, err := url.ParseQuery(query)
	if err != nil {
		return Location{}, fmt.Errorf("parameters: %w", err)
	}
	for name, vs := range values {
		set, ok := parameters[name]
		switch {
		case !ok:
			return Location{}, fmt.Errorf("unknown parameter %q%s", name, suggest(name))
		case len(vs) > 1:
			return Location{}, fmt.Errorf("parameter %q is given %d times", name, len(vs))
		}
		if err := set(&l, vs[0]); err != nil {
			return Location{}, err
		}
	}
	return l, nil
}

// cutBucket separates the bucket from the prefix. The ARN of an access point has a
// slash of its own: arn:aws:s3:region:account:accesspoint/name.
func cutBucket(s string) (bucket, prefix string) {
	end := 0
	if strings.HasPrefix(s, "arn:") {
		if i := strings.Index(s, ":accesspoint/"); i >= 0 {
			end = i + len(":accesspoint/")
		}
	}
	if i := strings.IndexByte(s[end:], '/'); i >= 0 {
		return s[:end+i], s[end+i:]
	}
	return s, ""
}

func checkBucket(b string) error {
	switch {
	case b == "":
		return fmt.Errorf("the bucket is missing: write s3://bucket/prefix")
	case strings.HasPrefix(b, "arn:"):
		if strings.Count(b, ":") < 5 || strings.HasSuffix(b, "/") {
			return fmt.Errorf("%q is not the ARN of an access point (arn:aws:s3:region:account:accesspoint/name)", b)
		}
		return nil
	case strings.ContainsAny(b, "@:"):
		return fmt.Errorf("%q is not a bucket: credentials come from the AWS environment, a server from the parameter endpoint", b)
	case len(b) < 3 || len(b) > 255 || strings.Contains(b, "..") || strings.ContainsFunc(b, notInBucket):
		return fmt.Errorf("%q is not the name of a bucket (3 to 63 lower-case letters, digits, dots and hyphens)", b)
	}
	return nil
}

// notInBucket allows the upper case and underscores of old buckets.
func notInBucket(r rune) bool {
	return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_", r)
}

func setEndpoint(l *Location, v string) error {
	u, err := url.Parse(v)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.User != nil || u.RawQuery != "" {
		return fmt.Errorf("endpoint %q is not an address like https://host:port", v)
	}
	l.Endpoint = v
	return nil
}

func setPathStyle(l *Location, v string) error {
	on, err := strconv.ParseBool(v)
	if err != nil {
		return fmt.Errorf("path-style is %q, but must be 1 or 0", v)
	}
	l.PathStyle = on
	return nil
}

func setOwner(l *Location, v string) error {
	if len(v) != 12 || strings.Trim(v, "0123456789") != "" {
		return fmt.Errorf("owner %q is not a 12-digit account", v)
	}
	l.Owner = v
	return nil
}

// String returns the URL, or for a directory the path, that ParseURL turns into l.
func (l Location) String() string {
	if !l.IsS3() {
		return l.Path
	}
	q := url.Values{}
	set := func(name, value string) {
		if value != "" {
			q.Set(name, value)
		}
	}
	set("region", l.Region)
	set("endpoint", l.Endpoint)
	set("owner", l.Owner)
	if l.PathStyle {
		q.Set("path-style", "1")
	}
	s := "s3://" + l.Bucket
	if l.Prefix != "" {
		s += "/" + l.Prefix
	}
	if len(q) > 0 {
		s += "?" + q.Encode()
	}
	return s
}

// suggest returns a hint at the parameter that was probably meant.
func suggest(name string) string {
	names := make([]string, 0, len(parameters))
	for n := range parameters {
		names = append(names, n)
	}
	slices.Sort(names)
	best := slices.MinFunc(names, func(a, b string) int { return distance(name, a) - distance(name, b) })
	if distance(name, best) <= len(best)/2 {
		return fmt.Sprintf(": did you mean %q?", best)
	}
	return ": there are " + strings.Join(names, ", ")
}

// distance returns how many bytes must be inserted, removed or replaced to turn a
// into b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
