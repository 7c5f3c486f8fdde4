package mountd

import (
	"time"

	"github.com/snapfs/snapfs/cache"
	"github.com/snapfs/snapfs/cmd/snapfs/internal/metrics"
	"github.com/snapfs/snapfs/fs/fusefs"
	"golang.org/x/sys/unix"
)

// Figures are the counters of a mount beside those that status prints for people. They
// are the same as the metrics.
type Figures struct {
	FetchErrors     int64            `json:"fetch_errors"`
	FetchLatency    Latency          `json:"fetch_latency"` // up to the first byte
	Retries         map[string]int64 `json:"retries"`       // by reason
	Hedges          map[string]int64 `json:"hedges"`        // by reason
	ReadAhead       int64            `json:"read_ahead_bytes"`
	ReadAheadUseful int64            `json:"read_ahead_useful_bytes"`
	ReadAheadWasted int64            `json:"read_ahead_wasted_bytes"`
	ServedBytes     int64            `json:"served_bytes"`
	CacheLimit      int64            `json:"cache_limit"` // 0: none
	CacheErrors     int64            `json:"cache_disk_errors"`
	Evictions       int64            `json:"evictions"`
	EvictedBytes    int64            `json:"evicted_bytes"`
	InFlight        int64            `json:"transfers_in_flight"`
	MemoryBytes     int64            `json:"memory_bytes"`
	MemoryLimit     int64            `json:"memory_limit"`
	OverlayNodes    int              `json:"overlay_nodes"`
	OverlayLogBytes int64            `json:"overlay_log_bytes"`
	Operations      []Operation      `json:"operations"`
}

// Latency is a histogram: Buckets are the events up to each bound, lower ones included.
type Latency struct {
	Count   int64    `json:"count"`
	Seconds float64  `json:"seconds"` // all together
	Buckets []Bucket `json:"buckets"`
}

// Bucket counts the events that took up to a number of seconds.
type Bucket struct {
	UpTo  float64 `json:"le"`
	Count int64   `json:"count"`
}

// Operation says how long requests of the kernel of one kind with one outcome took.
type Operation struct {
	Name  string `json:"operation"`
	Errno string `json:"errno"` // "OK", or a name like "ENOENT"
	Latency
}

// figures returns the present figures.
func (d *daemon) figures(c cache.Stats) Figures {
	overlay := d.session.Tree.Stats()
	f := Figures{
		FetchErrors: c.FetchErrors, FetchLatency: latencyOf(fetchLatency(c)), Retries: known(c.Retries), Hedges: known(c.Hedges),
		ReadAhead: c.ReadAhead, ReadAheadUseful: c.ReadAheadUseful, ReadAheadWasted: c.ReadAheadWasted, ServedBytes: c.ServedBytes,
		CacheLimit: c.CacheLimit, CacheErrors: c.DiskErrors, Evictions: c.Evictions, EvictedBytes: c.EvictedBytes,
		InFlight: c.InFlight, MemoryBytes: c.MemoryBytes, MemoryLimit: c.MemoryLimit,
		OverlayNodes: overlay.Nodes, OverlayLogBytes: overlay.LogBytes, Operations: []Operation{},
	}
	for _, o := range d.server.Operations() {
		f.Operations = append(f.Operations, Operation{Name: o.Operation, Errno: errnoName(o), Latency: latencyOf(operationLatency(o))})
	}
	return f
}

// known is a map that is there even when nothing was counted.
func known(m map[string]int64) map[string]int64 {
	if m == nil {
		return map[string]int64{}
	}
	return m
}

func fetchLatency(c cache.Stats) *metrics.Durations {
	return &metrics.Durations{Bounds: c.Latency.Bounds, Counts: c.Latency.Counts, Sum: c.Latency.Sum}
}

func operationLatency(o fusefs.OperationStats) *metrics.Durations {
	return &metrics.Durations{Bounds: fusefs.LatencyBounds(), Counts: o.Counts, Sum: o.Sum}
}

func errnoName(o fusefs.OperationStats) string {
	if o.Errno == 0 {
		return "OK"
	}
	return unix.ErrnoName(o.Errno)
}

func latencyOf(d *metrics.Durations) Latency {
	l := Latency{Count: d.Count(), Seconds: d.Sum.Seconds(), Buckets: []Bucket{}}
	var total int64
	for i, bound := range d.Bounds {
		if total += d.Counts[i]; total > 0 {
			l.Buckets = append(l.Buckets, Bucket{UpTo: bound.Seconds(), Count: total})
		}
		if total == l.Count {
			break // all others say the same
		}
	}
	return l
}

// families returns the figures as metrics.
func (d *daemon) families() []metrics.Family {
	c, up, overlay := d.session.Cache.Stats(), d.session.Traffic.Totals(), d.session.Tree.Stats()
	pass := d.server.Passthrough()
	counter := func(name, help string, n int64) metrics.Family {
		return metrics.Single(metrics.Counter, "snapfs_"+name, help, float64(n))
	}
	gauge := func(name, help string, x float64) metrics.Family {
		return metrics.Single(metrics.Gauge, "snapfs_"+name, help, x)
	}
	list := []metrics.Family{
		counter("fetch_requests_total", "Range requests sent to the store.", c.Requests),
		counter("fetch_errors_total", "Requests to the store that failed.", c.FetchErrors),
		counter("fetched_bytes_total", "Bytes read from the store.", c.FetchedBytes),
		{Name: "snapfs_fetch_latency_seconds", Help: "Time from a request to the store to its first byte.", Kind: metrics.Histogram,
			Samples: []metrics.Sample{{Durations: fetchLatency(c)}}},
		metrics.Labelled("snapfs_fetch_retries_total", "Requests sent again because they had failed.", "reason", c.Retries),
		metrics.Labelled("snapfs_fetch_hedges_total", "Requests sent again because they took long.", "reason", c.Hedges),
		metrics.Labelled("snapfs_reads_total", "Reads, by what answered them.", "tier", map[string]int64{
			"memory": c.MemoryHits, "disk": c.DiskHits, "store_file": c.StoreFileHits, "fetched": c.Fetches}),
		counter("served_bytes_total", "Bytes of contents given to readers.", c.ServedBytes),
		counter("read_ahead_bytes_total", "Bytes asked for before anybody needed them.", c.ReadAhead),
		counter("read_ahead_useful_bytes_total", "Of those, what was read later.", c.ReadAheadUseful),
		counter("read_ahead_wasted_bytes_total", "Of those, what was given up unread.", c.ReadAheadWasted),
		counter("verification_failures_total", "Contents that did not have their hash.", c.Mismatches),
		counter("uploaded_blobs_total", "Contents stored by commits.", up.Puts),
		counter("uploaded_bytes_total", "Bytes stored by commits.", up.BytesPut),
		gauge("passthrough_active", "Whether the kernel uses local files directly.", boolean(pass.Active)),
		counter("passthrough_opens_total", "Files opened so that the kernel uses them directly.", int64(pass.Opens)),
		gauge("cache_bytes", "Bytes in the cache directory, by all processes.", float64(c.CachedBytes)),
		gauge("cache_limit_bytes", "Limit of the cache directory; 0 is none.", float64(c.CacheLimit)),
		counter("cache_disk_errors_total", "Times that the cache directory could not be written.", c.DiskErrors),
		counter("cache_evictions_total", "Files evicted from the cache by this process.", c.Evictions),
		counter("cache_evicted_bytes_total", "Bytes evicted from the cache by this process.", c.EvictedBytes),
		gauge("transfers_in_flight", "Transfers from the store under way.", float64(c.InFlight)),
		gauge("memory_bytes", "Memory held for contents.", float64(c.MemoryBytes)),
		gauge("memory_limit_bytes", "What it may grow to.", float64(c.MemoryLimit)),
		gauge("overlay_nodes", "Inodes in the overlay.", float64(overlay.Nodes)),
		gauge("overlay_log_bytes", "Size of the log of the overlay.", float64(overlay.LogBytes)),
		gauge("start_time_seconds", "When the mount began, since the epoch.", seconds(d.info.Started)),
	}
	if at := d.credentialsExpire(); at != nil {
		list = append(list, gauge("credentials_expire_seconds", "When the credentials of the store end, since the epoch.", seconds(*at)))
	}
	return append(list, d.operationFamily())
}

func (d *daemon) operationFamily() metrics.Family {
	f := metrics.Family{
		Name: "snapfs_fuse_latency_seconds", Help: "Time that requests of the kernel took, by kind and outcome.", Kind: metrics.Histogram,
	}
	for _, o := range d.server.Operations() {
		f.Samples = append(f.Samples, metrics.Sample{
			Labels:    []metrics.Label{{Name: "operation", Value: o.Operation}, {Name: "errno", Value: errnoName(o)}},
			Durations: operationLatency(o),
		})
	}
	return f
}

func boolean(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func seconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }
