package integrity

import (
	"fmt"
	"io/fs"
	"syscall"
	"time"
)

// SystemIdentity is the identity that the operating system gives a file. It is
// false for files that are not the operating system's, such as those of an
// archive, and on systems other than Linux and macOS.
func SystemIdentity(info fs.FileInfo) (Identity, bool) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return Identity{}, false
	}
	return Identity{
		Key: fmt.Sprintf("%d:%d:%d.%09d:%d.%09d", st.Dev, st.Ino,
			st.Mtim.Sec, st.Mtim.Nsec, st.Ctim.Sec, st.Ctim.Nsec),
		Changed: time.Unix(int64(st.Ctim.Sec), int64(st.Ctim.Nsec)),
	}, true
}
