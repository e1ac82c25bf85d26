package integrity

import (
	"io/fs"
	"syscall"
)

func systemState(info fs.FileInfo) (s fileState, ok bool) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return s, false
	}
	return fileState{
		int64(st.Dev), int64(st.Ino), // the widths differ between architectures
		int64(st.Mtim.Sec), int64(st.Mtim.Nsec), int64(st.Ctim.Sec), int64(st.Ctim.Nsec),
	}, true
}
