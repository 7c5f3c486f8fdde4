//go:build !race

package integration

// raceEnabled builds the program under test with the race detector too.
const raceEnabled = false
