package fusefs

import (
	"testing"

	"github.com/hanwen/go-fuse/v2/posixtest"
)

// wrongTests are conformance tests that plain directories fail too.
var wrongTests = map[string]string{
	"FcntlFlockLocksFile": "expects POSIX locks of one process to exclude each other",
}

// TestPosix runs the conformance tests of go-fuse on a mount whose server has one
// processor, and on one whose server has several.
func TestPosix(t *testing.T) {
	for _, procs := range []string{"1", "4"} {
		t.Run("GOMAXPROCS="+procs, func(t *testing.T) {
			for name, test := range posixtest.All {
				t.Run(name, func(t *testing.T) {
					if why := wrongTests[name]; why != "" {
						t.Skip(why)
					}
					m := prepare(t)
					m.env = []string{"GOMAXPROCS=" + procs}
					m.start()
					test(t, m.config.Dir)
				})
			}
		})
	}
}
