package dirstore

// ByName makes s behave as on a file system that has no files without a name.
func ByName(s *Store) { s.byName.Store(true) }

// ByProc makes s name files as those do who lack the privilege for the direct way.
func ByProc(s *Store) { s.byProc.Store(true) }
