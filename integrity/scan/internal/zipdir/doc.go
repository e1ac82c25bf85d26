// Package zipdir reads the structure of a zip archive the way all its readers
// do at once: the central directory from the back, and local headers from the
// front. It names every place where these two views, or two readers, would
// disagree, and returns the members of both. It decodes nothing.
//
// Memory is bounded by [MaxNames] bytes of names and by what the caller allows
// through its entry callback; nothing is allocated from a claimed size.
package zipdir

import (
	"errors"
	"fmt"
	"io/fs"
)

// ErrNotZip is wrapped when there is neither an end record nor a local header.
var ErrNotZip = errors.New("not a zip archive")

// ErrMalformed is wrapped when the directory cannot be read on.
var ErrMalformed = errors.New("malformed zip directory")

// ErrLimit is wrapped when the directory is larger than this package reads.
var ErrLimit = errors.New("zip directory beyond a limit")

// MaxNames bounds the bytes of all names kept.
const MaxNames = 64 << 20

// A Kind says what two readers would see differently.
type Kind uint8

// Kinds.
const (
	NameMismatch   Kind = iota // local header and directory name a member differently
	HeaderMismatch             // they differ in method, flags, size or checksum
	HiddenMember               // a local header that no directory entry names
	DirMismatch                // the end record miscounts or misplaces the directory
	AmbiguousEnd               // two end records that different readers use
	BadLocal                   // a directory entry without a local header
	Trailing                   // bytes after the end record and its comment
	Prefix                     // bytes before the archive
	NoDirectory                // local headers only
	Cut                        // the data of a member reaches beyond the file
)

// A Problem is one such place. Detail is one clause; outside text in it is
// quoted.
type Problem struct {
	Kind   Kind
	Offset int64
	Length int64
	Name   string // of the member, raw
	Detail string
}

// A Member is one entry of the archive.
type Member struct {
	Name     string // raw bytes, as the directory has it
	Local    string // raw bytes, as the local header has it
	Hidden   bool   // no directory entry
	Mode     fs.FileMode
	Method   uint16
	Flags    uint16 // of directory and local header together
	CRC      uint32
	Packed   int64 // bytes stored
	Size     int64 // bytes decoded, as claimed
	EntryAt  int64 // directory record; that of the local header for hidden members
	HeaderAt int64 // local header, as claimed
	DataAt   int64 // first stored byte; -1 when there is no local header
}

// A Span is a range [Off, End) that the structure uses.
type Span struct{ Off, End int64 }

// A Directory is what an archive holds.
type Directory struct {
	Members  []Member // directory order, then hidden ones by offset
	Problems []Problem
	Spans    []Span // headers, stored data, directory, end records
}

func malformed(off int64, format string, args ...any) error {
	return fmt.Errorf("offset %d: %s: %w", off, fmt.Sprintf(format, args...), ErrMalformed)
}
