//go:build linux || darwin

package integrity

import (
	"io/fs"
	"syscall"
)

func systemLinks(info fs.FileInfo) (n uint64, ok bool) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, false
	}
	return uint64(st.Nlink), true // the width differs between architectures
}
