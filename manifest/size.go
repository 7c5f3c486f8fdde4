package manifest

import (
	"math"
	"strconv"
)

// FormatBytes returns n in decimal units with at most two decimals and no trailing
// zeros: "999 B", "1 KB", "268.44 MB" (spec/types.md §7).
func FormatBytes(n uint64) string {
	units := [...]string{"B", "KB", "MB", "GB", "TB", "PB", "EB"}
	if n < 1000 {
		return strconv.FormatUint(n, 10) + " B"
	}
	value, unit := float64(n), 0
	for roundCents(value) >= 1000 && unit < len(units)-1 {
		value /= 1000
		unit++
	}
	return strconv.FormatFloat(roundCents(value), 'f', -1, 64) + " " + units[unit]
}

// roundCents rounds to two decimals.
func roundCents(v float64) float64 {
	return math.Round(v*100) / 100
}
