// Package limits holds the bounds that input meets before it reaches make, and
// readers that fail when there is more instead of returning a short slice.
package limits

import (
	"fmt"
	"io"
	"io/fs"
)

// Bounds shared by several packages.
const (
	MaxBundle    = 64 << 20 // bytes of a signature bundle or statement
	MaxConfig    = 4 << 20  // bytes of a file that a person writes
	MaxRecord    = 1 << 20  // bytes of one data record
	MaxTreeFiles = 1 << 20  // files below one root
	MaxTreeDepth = 128      // folders above one file
)

// An Error says that input is larger than its bound.
type Error struct {
	Name string // of the input, "" when the reader has none
	Unit string // "bytes", "files"
	Max  int64
}

func (e *Error) Error() string {
	name := "input"
	if e.Name != "" {
		name = fmt.Sprintf("%q", e.Name)
	}
	return fmt.Sprintf("%s: more than %d %s", name, e.Max, e.Unit)
}

// ReadAll reads r to its end and fails with an [*Error] when it holds more than
// max bytes.
func ReadAll(r io.Reader, max int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, max+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > max {
		return nil, &Error{"", "bytes", max}
	}
	return data, nil
}

// ReadFile reads a whole file of at most max bytes.
func ReadFile(fsys fs.FS, name string, max int64) ([]byte, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := ReadAll(f, max)
	if e, ok := err.(*Error); ok {
		e.Name = name
	}
	return data, err
}
