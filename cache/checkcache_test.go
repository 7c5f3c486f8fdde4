package cache

import (
	"bytes"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/snapfs/snapfs/blobstore"
	"github.com/snapfs/snapfs/blobstore/faulty"
	"github.com/snapfs/snapfs/blobstore/memstore"
	"github.com/snapfs/snapfs/blobstore/storetest"
	"github.com/snapfs/snapfs/manifest"
)

func openChecks(t testing.TB, dir string) *CheckCache {
	t.Helper()
	c, err := OpenCheckCache(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestCheckCacheForgetsAfter30Days(t *testing.T) {
	const day = 24 * time.Hour
	dir := t.TempDir()
	c := openChecks(t, dir)
	ages := map[string]struct {
		age  time.Duration
		seen bool
	}{
		"b/fresh":         {0, true},
		"b/a day old":     {day, true},
		"b/nearly 30":     {30*day - time.Minute, true},
		"b/just 30":       {30*day + time.Minute, false},
		"b/31 days old":   {31 * day, false},
		"b/in the future": {-5 * day, true},
	}
	for key, tt := range ages {
		c.now = func() time.Time { return time.Now().Add(-tt.age) }
		c.Record(key)
	}
	c.now = time.Now
	if err := c.Flush(); err != nil {
		t.Fatal(err)
	}
	for key, tt := range ages {
		if got := c.Seen(key); got != tt.seen {
			t.Errorf("%s: seen is %v", key, got)
		}
	}
	if c.Seen("b/never") {
		t.Error("seen what was never recorded")
	}
	c.Close()
	again := openChecks(t, dir)
	var rows int
	if err := again.file.db.QueryRow("SELECT count(*) FROM s3checkV1").Scan(&rows); err != nil || rows != 4 {
		t.Errorf("%d rows after it was opened again, want the 4 that are fresh; err = %v", rows, err)
	}
}

// The schema and the stored types are those of the reference (spec/caches.md §5).
func TestCheckCacheSharesItsFileWithOtherTools(t *testing.T) {
	dir := t.TempDir()
	db, err := sql.Open("sqlite", filepath.Join(dir, "s3_check_cache.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	now := time.Now().Unix()
	for _, q := range []string{
		`CREATE TABLE s3checkV1 (s3_key text primary key, last_seen_time timestamp)`,
		fmt.Sprintf(`INSERT INTO s3checkV1 VALUES ('bucket/Data/text', '%d.25')`, now),
		fmt.Sprintf(`INSERT INTO s3checkV1 VALUES ('bucket/Data/old', '%d.25')`, now-31*24*3600),
		`INSERT INTO s3checkV1 VALUES ('bucket/Data/junk', 'junk')`,
		`INSERT INTO s3checkV1 VALUES ('bucket/Data/null', NULL)`,
	} {
		if _, err := db.Exec(q); err != nil {
			t.Fatal(err)
		}
	}
	c := openChecks(t, dir)
	for key, want := range map[string]bool{"text": true, "old": false, "junk": false, "null": false} {
		if got := c.Seen("bucket/Data/" + key); got != want {
			t.Errorf("%s: seen is %v", key, got)
		}
	}
	c.Record("bucket/Data/ours")
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	var kind string
	var at float64
	if err := db.QueryRow(`SELECT typeof(last_seen_time), CAST(last_seen_time AS REAL) FROM s3checkV1 WHERE s3_key = 'bucket/Data/ours'`).Scan(&kind, &at); err != nil || kind != "real" || at < float64(now) || at > float64(now)+60 {
		t.Errorf("stored as %s %f, err = %v", kind, at, err)
	}
}

// checkFixture is a checked store that was told, hours ago, about n blobs which its store
// has.
type checkFixture struct {
	*CheckedStore
	inner *faulty.Store
	cache *CheckCache
	keys  []blobstore.Key
}

func newCheckFixture(t *testing.T, n int, there func(i int) bool) *checkFixture {
	t.Helper()
	f := &checkFixture{inner: faulty.Wrap(memstore.New()), cache: openChecks(t, t.TempDir())}
	f.CheckedStore = Checked(f.inner, f.cache, CheckOptions{Bucket: "bucket", Prefix: "Data"})
	f.sample = func() bool { return false }
	f.cache.now = func() time.Time { return time.Now().Add(-2 * time.Hour) }
	defer func() { f.cache.now = time.Now }()
	for i := range n {
		data := fmt.Append(nil, "blob ", i)
		key := keyOf(manifest.Blob{Hash: manifest.Sum(data)})
		f.keys = append(f.keys, key)
		f.cache.Record("bucket/Data/" + string(key))
		if there(i) {
			if err := f.inner.Put(t.Context(), key, io.NewSectionReader(bytes.NewReader(data), 0, int64(len(data)))); err != nil {
				t.Fatal(err)
			}
		}
	}
	return f
}

func always(int) bool { return true }

// asked returns how often the store was asked by Stat.
func (f *checkFixture) asked() (n int) {
	for _, c := range f.inner.Calls() {
		if c.Op == faulty.Stat {
			n++
		}
	}
	return n
}

func TestCheckedAnswersFromTheCache(t *testing.T) {
	f := newCheckFixture(t, 300, always)
	for i, key := range f.keys {
		info, err := f.Stat(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		if unknown := info.Size == blobstore.SizeUnknown; unknown != (i >= alwaysVerified) {
			t.Errorf("answer %d: size %d", i, info.Size)
		}
	}
	if got := f.asked(); got != alwaysVerified {
		t.Errorf("the store was asked %d times, want the first %d", got, alwaysVerified)
	}
	f.sample = func() bool { return true }
	if info, err := f.Stat(t.Context(), f.keys[0]); err != nil || info.Size < 0 {
		t.Errorf("sampled: %+v, %v", info, err)
	}
	if err := f.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := f.asked(); got != alwaysVerified+1 {
		t.Errorf("the store was asked %d times though no answer was wrong", got)
	}
}

// A second run, soon after the first, sends no request. But what it believed is looked
// into when anything turns out to be wrong.
func TestCheckedBelievesWhatWasSeenLately(t *testing.T) {
	for _, large := range []bool{false, true} {
		f := newCheckFixture(t, 150, always)
		for _, key := range f.keys {
			f.cache.Record("bucket/Data/" + string(key))
		}
		f.CheckedStore = Checked(f.inner, f.cache, CheckOptions{Bucket: "bucket", Prefix: "Data"})
		f.sample = func() bool { return true }
		if large {
			if _, err := f.cache.file.db.Exec(`INSERT INTO s3checkV1 (rowid, s3_key, last_seen_time) VALUES (?, 'x', 0)`, preloadLimit+1); err != nil {
				t.Fatal(err)
			}
		}
		for _, key := range f.keys {
			if info, err := f.Stat(t.Context(), key); err != nil || info.Size != blobstore.SizeUnknown {
				t.Fatalf("%+v, %v", info, err)
			}
		}
		if err := f.Sync(t.Context()); err != nil || f.asked() != 0 {
			t.Errorf("large %v: %d requests, %v", large, f.asked(), err)
		}
		f.stale = true
		if err := f.Sync(t.Context()); err != nil || f.asked() != len(f.keys) {
			t.Errorf("large %v: %d of %d answers were looked into, %v", large, f.asked(), len(f.keys), err)
		}
	}
}

func TestCheckedSamplesOneInAHundred(t *testing.T) {
	s := Checked(memstore.New(), nil, CheckOptions{})
	n := 0
	for range 100_000 {
		if s.sample() {
			n++
		}
	}
	if n < 700 || n > 1300 {
		t.Errorf("%d of 100 000 are verified, want about 1 000", n)
	}
}

func TestCheckedRecordsWhatIsThere(t *testing.T) {
	f := newCheckFixture(t, 0, always)
	data := []byte("content")
	key := keyOf(manifest.Blob{Hash: manifest.Sum(data)})
	if _, err := f.Stat(t.Context(), key); !errors.Is(err, blobstore.ErrNotFound) {
		t.Fatalf("err = %v", err)
	}
	if f.cache.Seen("bucket/Data/" + string(key)) {
		t.Error("recorded though it is not there")
	}
	put(t, f, data)
	if !f.cache.Seen("bucket/Data/" + string(key)) {
		t.Error("not recorded after Put")
	}
	f.cache.Forget("bucket/Data/" + string(key))
	g := Checked(f.inner, f.cache, CheckOptions{Bucket: "bucket"})
	if _, err := g.Stat(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	if !f.cache.Seen("bucket/" + string(key)) {
		t.Error("not recorded after Stat, or under another key")
	}
}

func TestForceAsksTheStoreEachTime(t *testing.T) {
	f := newCheckFixture(t, 200, always)
	forced := Checked(f.inner, f.cache, CheckOptions{Bucket: "bucket", Prefix: "/Data/", Force: true})
	for _, key := range f.keys {
		if info, err := forced.Stat(t.Context(), key); err != nil || info.Size < 0 {
			t.Fatalf("%+v, %v", info, err)
		}
	}
	if got := f.asked(); got != len(f.keys) {
		t.Errorf("asked %d times", got)
	}
}

// spec/gaps.md G-26: the row is deleted, and what was skipped before is verified.
func TestWrongAnswerMakesTheCacheSuspect(t *testing.T) {
	f := newCheckFixture(t, 300, func(i int) bool { return i != 150 && i != 250 })
	for i, key := range f.keys[:200] {
		if _, err := f.Stat(t.Context(), key); err != nil {
			t.Fatalf("answer %d: %v", i, err) // 150 is a lie that was not looked into
		}
	}
	f.sample = func() bool { return true }
	gone := f.keys[250]
	if _, err := f.Stat(t.Context(), gone); !errors.Is(err, blobstore.ErrNotFound) {
		t.Fatalf("err = %v, want ErrNotFound", err)
	}
	if f.cache.Seen("bucket/Data/" + string(gone)) {
		t.Error("the row is still there")
	}
	f.sample = func() bool { return false }
	for _, key := range f.keys[200:250] {
		if info, err := f.Stat(t.Context(), key); err != nil || info.Size < 0 {
			t.Fatalf("%+v, %v: the cache is still believed", info, err)
		}
	}
	err := f.Sync(t.Context())
	var missing *MissingError
	if !errors.As(err, &missing) || !errors.Is(err, blobstore.ErrNotFound) || !slices.Equal(missing.Keys, f.keys[150:151]) {
		t.Fatalf("sync: err = %v, want blob 150 missing", err)
	}
	if f.cache.Seen("bucket/Data/" + string(f.keys[150])) {
		t.Error("the row of the skipped blob is still there")
	}
	if err := f.Sync(t.Context()); err != nil {
		t.Errorf("second sync: %v", err)
	}
}

// spec/gaps.md G-27: errors are not taken for "missing".
func TestCheckedPropagatesErrors(t *testing.T) {
	f := newCheckFixture(t, 10, always)
	for _, want := range []error{blobstore.ErrPermission, blobstore.ErrUnavailable} {
		f.inner.Inject(faulty.Fault{Op: faulty.Stat, Err: want, Times: 2})
		if _, err := f.Stat(t.Context(), f.keys[0]); !errors.Is(err, want) {
			t.Errorf("of a blob in the cache: err = %v, want %v", err, want)
		}
		other := keyOf(manifest.Blob{Hash: manifest.Sum([]byte("other"))})
		if _, err := f.Stat(t.Context(), other); !errors.Is(err, want) {
			t.Errorf("of another blob: err = %v, want %v", err, want)
		}
	}
	if !f.cache.Seen("bucket/Data/" + string(f.keys[0])) {
		t.Error("the row was deleted because of an error")
	}
}

func TestCheckedOfALargeCacheAsksItForEach(t *testing.T) {
	f := newCheckFixture(t, 150, always)
	if _, err := f.cache.file.db.Exec(`INSERT INTO s3checkV1 (rowid, s3_key, last_seen_time) VALUES (?, 'x', 0)`, preloadLimit+1); err != nil {
		t.Fatal(err)
	}
	for _, key := range f.keys {
		if _, err := f.Stat(t.Context(), key); err != nil {
			t.Fatal(err)
		}
	}
	if f.known != nil {
		t.Error("it was read as a whole")
	}
	if got := f.asked(); got != alwaysVerified {
		t.Errorf("the store was asked %d times", got)
	}
}

func TestCheckedWithoutACache(t *testing.T) {
	s := Checked(memstore.New(), nil, CheckOptions{Bucket: "bucket"})
	data := []byte("content")
	put(t, s, data)
	if info, err := s.Stat(t.Context(), keyOf(manifest.Blob{Hash: manifest.Sum(data)})); err != nil || info.Size != 7 {
		t.Errorf("%+v, %v", info, err)
	}
	if _, err := s.Stat(t.Context(), "../x"); !errors.Is(err, blobstore.ErrBadKey) {
		t.Errorf("err = %v, want ErrBadKey", err)
	}
	if err := s.Sync(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestCheckedIsFast(t *testing.T) {
	f := newCheckFixture(t, 10_000, func(i int) bool { return i < alwaysVerified })
	begin := time.Now()
	for _, key := range f.keys {
		if _, err := f.Stat(t.Context(), key); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("10 000 answers in %v", time.Since(begin))
	if d := time.Since(begin); d > 10*time.Second { // generous: the machine may be busy
		t.Errorf("10 000 answers took %v", d)
	}
}

func TestCheckedStoreKeepsTheContractOfStores(t *testing.T) {
	storetest.Run(t, func(t *testing.T) blobstore.Store {
		return Checked(memstore.New(), openChecks(t, t.TempDir()), CheckOptions{Bucket: "bucket", Prefix: "Data"})
	})
}
