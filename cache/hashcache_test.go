package cache

import (
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/snapfs/snapfs/manifest"
)

func openHashes(t testing.TB, dir string) *HashCache {
	t.Helper()
	c, err := OpenHashCache(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func row(path string, start, end, modTime int64, hash string) HashRow {
	return HashRow{Path: path, Start: start, End: end, ModTime: modTime, Hash: manifest.Hash(hash)}
}

var (
	h1 = strings.Repeat("1", 32)
	h2 = strings.Repeat("2", 32)
)

// ask returns the hashes that the cache knows of the rows.
func ask(c *HashCache, rows ...HashRow) []manifest.Hash {
	for i := range rows {
		rows[i].Hash = ""
	}
	c.Lookup(rows)
	hashes := make([]manifest.Hash, len(rows))
	for i, r := range rows {
		hashes[i] = r.Hash
	}
	return hashes
}

func TestHashCacheRemembers(t *testing.T) {
	dir := t.TempDir()
	c := openHashes(t, dir)
	const odd = "/tmp/ü \"quoted\" \\ 100%?.txt"
	c.Store([]HashRow{row("/a", 0, -1, 5, h1), row("/a", 0, 10, 5, h2), row(odd, 0, -1, -7, h1)})
	check := func(c *HashCache) {
		t.Helper()
		got := ask(c,
			row("/a", 0, -1, 5, ""),  // whole file
			row("/a", 0, 10, 5, ""),  // its range, beside it
			row("/a", 10, 20, 5, ""), // another range
			row("/a", 0, -1, 6, ""),  // another time
			row("/b", 0, -1, 5, ""),
			row(odd, 0, -1, -7, ""), // before 1970
			row("/a", 0, -1, 5, ""), // asked twice
		)
		want := []manifest.Hash{manifest.Hash(h1), manifest.Hash(h2), "", "", "", manifest.Hash(h1), manifest.Hash(h1)}
		if d := cmp.Diff(want, got); d != "" {
			t.Error(d)
		}
	}
	check(c)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	c = openHashes(t, dir)
	check(c)
	c.Store([]HashRow{row("/a", 0, -1, 6, h2)})
	if got := ask(c, row("/a", 0, -1, 6, ""), row("/a", 0, -1, 5, "")); got[0] != manifest.Hash(h2) || got[1] != "" {
		t.Errorf("after replacing: %q", got)
	}
}

func TestHashCacheLeavesUnknownRowsAlone(t *testing.T) {
	c := openHashes(t, t.TempDir())
	rows := []HashRow{row("/a", 0, -1, 5, "before")}
	c.Lookup(rows)
	if rows[0].Hash != "before" {
		t.Errorf("hash became %q", rows[0].Hash)
	}
}

// The schema and the stored types are those of the reference (spec/caches.md §4).
func TestHashCacheSharesItsFileWithOtherTools(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "hash_cache.db")
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, q := range []string{
		`CREATE TABLE hashesV2 (file_path text primary key, x text)`, // of an older version
		`CREATE TABLE hashesV4 (file_path blob, hash_algorithm text, range_start integer, range_end integer,
			file_hash text, last_modified_time timestamp, PRIMARY KEY (file_path, hash_algorithm, range_start, range_end))`,
		`INSERT INTO hashesV4 VALUES (CAST('/text' AS BLOB), 'xxh128', 0, -1, '` + h1 + `', '1700000000000001')`,
		`INSERT INTO hashesV4 VALUES (CAST('/int' AS BLOB), 'xxh128', 0, -1, '` + h1 + `', 1700000000000001)`,
		`INSERT INTO hashesV4 VALUES (CAST('/junk' AS BLOB), 'xxh128', 0, -1, '` + h1 + `', 'junk')`,
		`INSERT INTO hashesV4 VALUES (CAST('/null' AS BLOB), 'xxh128', 0, -1, NULL, NULL)`,
		`INSERT INTO hashesV4 VALUES (CAST('/other' AS BLOB), 'md5', 0, -1, '` + h1 + `', 1)`,
		`INSERT INTO hashesV4 VALUES (CAST('/bad' AS BLOB), 'xxh128', 0, -1, '../../x', 1)`,
	} {
		if _, err := db.Exec(q); err != nil {
			t.Fatal(err)
		}
	}
	c := openHashes(t, dir)
	got := ask(c,
		row("/text", 0, -1, 1700000000000001, ""), row("/int", 0, -1, 1700000000000001, ""), row("/junk", 0, -1, 1, ""),
		row("/null", 0, -1, 0, ""), row("/other", 0, -1, 1, ""), row("/bad", 0, -1, 1, ""))
	if d := cmp.Diff([]manifest.Hash{manifest.Hash(h1), manifest.Hash(h1), "", "", "", ""}, got); d != "" {
		t.Error(d)
	}
	c.Store([]HashRow{row("/ours", 0, -1, 1700000000000002, h2)})
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	var kinds string
	if err := db.QueryRow(`SELECT typeof(file_path) || typeof(range_end) || typeof(file_hash) || typeof(last_modified_time) || last_modified_time
		FROM hashesV4 WHERE file_path = CAST('/ours' AS BLOB)`).Scan(&kinds); err != nil || kinds != "blobintegertextinteger1700000000000002" {
		t.Errorf("stored as %q, err = %v", kinds, err)
	}
	var mode string
	if err := db.QueryRow("PRAGMA journal_mode").Scan(&mode); err != nil || mode != "wal" {
		t.Errorf("journal mode %q, err = %v", mode, err)
	}
}

// The Deadline tools of Python write local times, rounded (found with version 0.1.5 of
// deadline-job-attachments; integration/interop_test.go has them at work).
func TestHashCacheReadsTheTimesOfPython(t *testing.T) {
	saved := time.Local
	time.Local = time.FixedZone("here", -3*3600-1800)
	t.Cleanup(func() { time.Local = saved })
	c := openHashes(t, t.TempDir())
	for _, tt := range []struct {
		name, text string
		modTime    int64
		known      bool
	}{
		{"with microseconds", "2023-11-14 18:43:20.000042", 1700000000000042, true},
		{"whole seconds", "2023-11-14 18:43:20", 1700000000000000, true},
		{"rounded up", "2023-11-14 18:43:21", 1700000000999999, true},
		{"before 1970", "1969-12-31 20:29:59.999993", -7, true},
		{"earlier", "2023-11-14 18:43:20.000041", 1700000000000042, false},
		{"later than rounding explains", "2023-11-14 18:43:20.000044", 1700000000000042, false},
		{"another zone", "2023-11-14 22:13:20.000042", 1700000000000042, false},
		{"begins with the digits of the time", "2023-11-14 18:43:20.000042", 2023, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := c.file.db.Exec(`INSERT OR REPLACE INTO hashesV4 VALUES (CAST('/f' AS BLOB), 'xxh128', 0, -1, ?, ?)`, h1, tt.text); err != nil {
				t.Fatal(err)
			}
			if got := ask(c, row("/f", 0, -1, tt.modTime, "")); (got[0] != "") != tt.known {
				t.Errorf("got %q", got)
			}
		})
	}
}

func TestTwoHashCachesOfOneFile(t *testing.T) {
	dir := t.TempDir()
	caches := []*HashCache{openHashes(t, dir), openHashes(t, dir)}
	var wg sync.WaitGroup
	for k, c := range caches {
		wg.Go(func() {
			for i := range 50 {
				c.Store([]HashRow{row(fmt.Sprintf("/%d/%d", k, i), 0, -1, 1, h1)})
				if err := c.Flush(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	for _, c := range caches {
		if got := ask(c, row("/0/49", 0, -1, 1, ""), row("/1/49", 0, -1, 1, "")); got[0] == "" || got[1] == "" {
			t.Errorf("got %q", got)
		}
	}
}

func TestHashCacheThatFailsIsOnlyForgetful(t *testing.T) {
	t.Run("nil", func(t *testing.T) {
		var c *HashCache
		c.Store([]HashRow{row("/a", 0, -1, 1, h1)})
		if got := ask(c, row("/a", 0, -1, 1, "")); got[0] != "" {
			t.Errorf("got %q", got)
		}
		if c.Err() != nil || c.Flush() != nil || c.Close() != nil {
			t.Error("a nil cache has an error")
		}
	})
	t.Run("not a database", func(t *testing.T) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "hash_cache.db"), []byte(strings.Repeat("not a database ", 1000)), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := OpenHashCache(dir)
		if c != nil || err == nil || !strings.Contains(err.Error(), "hash_cache.db") {
			t.Errorf("c = %v, err = %v", c, err)
		}
	})
	t.Run("damaged while in use", func(t *testing.T) {
		dir := t.TempDir()
		c := openHashes(t, dir)
		if _, err := c.file.db.Exec("DROP TABLE hashesV4"); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if got := ask(c, row("/a", 0, -1, 1, "")); got[0] != "" {
				t.Errorf("got %q", got)
			}
			c.Store([]HashRow{row("/a", 0, -1, 1, h1)})
		}
		if c.Err() == nil || c.Flush() == nil {
			t.Error("the failure cannot be found out")
		}
	})
	t.Run("HOME is not set", func(t *testing.T) {
		t.Setenv("HOME", "")
		if _, err := OpenHashCache(""); err == nil || !strings.Contains(err.Error(), "HOME") {
			t.Errorf("err = %v", err)
		}
	})
}

func TestDefaultDirIsThatOfTheDeadlineTools(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	c, err := OpenHashCache("")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := os.Stat(filepath.Join(home, ".deadline/job_attachments/hash_cache.db")); err != nil {
		t.Error(err)
	}
}

// manyRows returns the rows of n files.
func manyRows(n int) []HashRow {
	rows := make([]HashRow, n)
	for i := range rows {
		rows[i] = row(fmt.Sprintf("/home/someone/projects/shot%03d/textures/file%06d.exr", i%100, i), 0, -1, int64(i), h1)
	}
	return rows
}

func TestHashCacheIsFast(t *testing.T) {
	c := openHashes(t, t.TempDir())
	rows := manyRows(10_000)
	begin := time.Now()
	c.Store(rows)
	if err := c.Flush(); err != nil {
		t.Fatal(err)
	}
	stored := time.Since(begin)
	begin = time.Now()
	got := ask(c, rows...)
	asked := time.Since(begin)
	for i, h := range got {
		if h == "" {
			t.Fatalf("row %d is unknown", i)
		}
	}
	t.Logf("10 000 rows stored in %v, looked up in %v", stored, asked)
	if stored > 10*time.Second || asked > 10*time.Second { // one transaction a row takes longer
		t.Errorf("10 000 rows stored in %v, looked up in %v", stored, asked)
	}
}

func BenchmarkHashCacheLookup10000(b *testing.B) {
	c := openHashes(b, b.TempDir())
	rows := manyRows(10_000)
	c.Store(rows)
	b.ResetTimer()
	for range b.N {
		c.Lookup(rows)
	}
}
