// Package walk lists a tree in a fixed order, never following a link.
package walk

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/prerun/prerun/internal/limits"
)

// A Kind tells apart what has content of its own from what has not.
type Kind uint8

// Kinds of entries. Other is a socket, pipe, device or anything irregular.
const (
	Regular Kind = iota
	Symlink
	Dir
	Other
)

func (k Kind) String() string {
	return [...]string{"regular file", "symbolic link", "folder", "special file"}[k]
}

// An Entry is one name below the root.
type Entry struct {
	Path string // slash-separated, relative to the root
	Kind Kind
	Size int64       // of a regular file
	Info fs.FileInfo // from Lstat
}

// ErrName is wrapped by the error for a name that cannot be reported: one that
// is not valid UTF-8.
var ErrName = errors.New("name is not valid UTF-8")

// Files lists all entries below the root of fsys but the root itself, in order
// of their path's bytes. A folder that skip reports true for is not entered and
// not listed; nil skips nothing. Unreadable folders, names that are not UTF-8,
// and trees beyond [limits.MaxTreeFiles] or [limits.MaxTreeDepth] are errors: a
// file that was not seen is a file that was not checked.
func Files(ctx context.Context, fsys fs.FS, skip func(path string) bool) ([]Entry, error) {
	var out []Entry
	err := fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		if cause := context.Cause(ctx); cause != nil {
			return cause
		}
		switch {
		case err != nil:
			return err
		case name == ".":
			return nil
		case !utf8.ValidString(name):
			return fmt.Errorf("%q: %w", name, ErrName)
		case strings.Count(name, "/") >= limits.MaxTreeDepth:
			return &limits.Error{Name: path.Dir(name), Unit: "levels of folders", Max: limits.MaxTreeDepth}
		case skip != nil && skip(name):
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		case len(out) == limits.MaxTreeFiles:
			return &limits.Error{Name: ".", Unit: "files", Max: limits.MaxTreeFiles}
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		out = append(out, Entry{name, kindOf(info.Mode()), info.Size(), info})
		return nil
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(out, func(a, b Entry) int { return strings.Compare(a.Path, b.Path) })
	return out, nil
}

func kindOf(mode fs.FileMode) Kind {
	switch {
	case mode.IsRegular():
		return Regular
	case mode.IsDir():
		return Dir
	case mode&fs.ModeSymlink != 0:
		return Symlink
	}
	return Other
}
