package mountd

import (
	"testing"

	"github.com/snapfs/snapfs/cmd/snapfs/internal/failure"
)

func TestParseMetricsAddress(t *testing.T) {
	for text, want := range map[string]MetricsAddress{
		"":                   {},
		"127.0.0.1:9464":     {"tcp", "127.0.0.1:9464"},
		"127.8.8.8:0":        {"tcp", "127.8.8.8:0"},
		"[::1]:9464":         {"tcp", "[::1]:9464"},
		"localhost:9464":     {"tcp", "127.0.0.1:9464"},
		"/run/snapfs.sock":   {"unix", "/run/snapfs.sock"},
		"unix:/run/s.sock":   {"unix", "/run/s.sock"},
		"unix:///run/s.sock": {"unix", "/run/s.sock"},
	} {
		if got, err := ParseMetricsAddress(text); err != nil || got != want {
			t.Errorf("%q is %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{
		":9464", "0.0.0.0:9464", "[::]:9464", "192.0.2.1:9464", "example.org:9464", "9464", "127.0.0.1", "127.0.0.1:http-no",
		"unix:relative.sock", "127.0.0.1:99999",
	} {
		if got, err := ParseMetricsAddress(text); failure.Classify(err) == nil || failure.Classify(err).Code != failure.Usage {
			t.Errorf("%q is %v, %v; want an error of usage", text, got, err)
		}
	}
}
