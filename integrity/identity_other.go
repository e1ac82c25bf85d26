//go:build !linux && !darwin

package integrity

import "io/fs"

// SystemIdentity is the identity that the operating system gives a file. It is
// false for files that are not the operating system's, such as those of an
// archive, and on systems other than Linux and macOS.
func SystemIdentity(fs.FileInfo) (Identity, bool) { return Identity{}, false }
