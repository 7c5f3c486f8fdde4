// Package ops holds the verbs of snapfs: the operations that make, change and
// materialise manifests.
//
// The transformations (Diff, Compose, ComposeDiffs, Filter, Subtree, Join,
// Partition) are pure: they touch no file and no store, and they never change
// their arguments. The others (Collect, Hash, HashUpload, Download, CacheSync)
// take a context first, and an options struct whose zero value works.
package ops
