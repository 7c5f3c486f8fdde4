package ops

import (
	"fmt"
	"strings"

	"github.com/snapfs/snapfs/manifest"
)

// SymlinkPolicy says what becomes of symbolic links (spec/types.md §5). A link
// escapes when its immediate target is neither collected nor below anything that
// is; the end of a chain of links does not matter.
type SymlinkPolicy uint8

const (
	// CollapseEscaping keeps links that stay inside and replaces escaping ones by a
	// copy of what they point at. It is the default.
	CollapseEscaping SymlinkPolicy = iota
	// CollapseAll replaces every link by a copy of what it points at.
	CollapseAll
	// ExcludeEscaping keeps links that stay inside and drops escaping ones.
	ExcludeEscaping
	// ExcludeAll drops every link.
	ExcludeAll
	// Preserve keeps every link, dangling ones too, and never follows any.
	Preserve
	// TransitiveIncludeTargets keeps every link and adds what they point at, at its
	// own path, and so on for the links found there.
	TransitiveIncludeTargets
)

// symlinkPolicyNames holds the names of the policies in order.
func symlinkPolicyNames() []string {
	return []string{
		"collapse-escaping", "collapse-all", "exclude-escaping",
		"exclude-all", "preserve", "transitive-include-targets",
	}
}

// String returns the name of the policy as the command line spells it.
func (p SymlinkPolicy) String() string {
	names := symlinkPolicyNames()
	if int(p) >= len(names) {
		return fmt.Sprintf("SymlinkPolicy(%d)", uint8(p))
	}
	return names[p]
}

// ParseSymlinkPolicy returns the policy of the given name. Words may be joined by
// "-" or, as the reference prints them, by "_".
func ParseSymlinkPolicy(name string) (SymlinkPolicy, error) {
	want := strings.ReplaceAll(name, "_", "-")
	for i, n := range symlinkPolicyNames() {
		if n == want {
			return SymlinkPolicy(i), nil
		}
	}
	return 0, fmt.Errorf("%w: unknown symlink policy %q (one of %s)",
		manifest.ErrInvalid, name, strings.Join(symlinkPolicyNames(), ", "))
}
