//go:build !linux && !darwin

package integrity

import "io/fs"

func systemState(fs.FileInfo) (s fileState, ok bool) { return s, false }

func systemLinks(fs.FileInfo) (n uint64, ok bool) { return 0, false }
