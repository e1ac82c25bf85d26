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
		int64(st.Dev), int64(st.Ino),
		st.Mtimespec.Sec, st.Mtimespec.Nsec, st.Ctimespec.Sec, st.Ctimespec.Nsec,
	}, true
}
