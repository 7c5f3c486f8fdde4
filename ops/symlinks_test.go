package ops

import (
	"errors"
	"testing"

	"github.com/snapfs/snapfs/manifest"
)

func TestSymlinkPolicyNamesRoundTrip(t *testing.T) {
	for p := CollapseEscaping; p <= TransitiveIncludeTargets; p++ {
		got, err := ParseSymlinkPolicy(p.String())
		if err != nil || got != p {
			t.Errorf("ParseSymlinkPolicy(%q) = %v, %v", p.String(), got, err)
		}
	}
	if p, err := ParseSymlinkPolicy("transitive_include_targets"); err != nil || p != TransitiveIncludeTargets {
		t.Errorf("the reference's spelling: %v, %v", p, err)
	}
	if _, err := ParseSymlinkPolicy("follow"); !errors.Is(err, manifest.ErrInvalid) {
		t.Errorf("an unknown name gives %v, want ErrInvalid", err)
	}
}
