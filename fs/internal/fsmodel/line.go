package fsmodel

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Line is what a dump says of one name.
type Line struct {
	Path    string
	Mode    uint32 // as in stat
	Nlink   uint32
	Size    int64
	Mtime   int64    // nanoseconds
	Same    string   // first path of the same inode, when it has several
	Content string   // of a file, see Summary; text of a link
	Xattrs  []string // name=value
}

func (l Line) String() string {
	slices.Sort(l.Xattrs)
	size := fmt.Sprintf(" size %d", l.Size)
	if l.Mode&unix.S_IFMT == unix.S_IFDIR {
		size = ""
	}
	return fmt.Sprintf("%s mode %o nlink %d%s mtime %s same %q content %q xattrs %s",
		l.Path, l.Mode, l.Nlink, size, Time(l.Mtime), l.Same, l.Content, strings.Join(l.Xattrs, ","))
}
