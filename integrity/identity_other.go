//go:build !linux && !darwin

package integrity

import "io/fs"

func systemState(fs.FileInfo) (s fileState, ok bool) { return s, false }
