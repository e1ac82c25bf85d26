package datasec

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/prerun/prerun"
)

// A Role says what a field is for.
type Role uint8

// Roles, as a [Schema] gives them. The list is append-only.
const (
	RoleOther Role = iota // part of the row and of its digest, not looked into
	RoleText              // what a model reads
	RoleLabel             // what it is to answer
	RoleID                // how the owner of the data names the row
)

// A Kind is the JSON kind of a field's value, so that the text "null" and no
// value at all stay two things. Fields of CSV are strings.
type Kind uint8

// Kinds. The list is append-only: the numbers are part of [Record.Digest].
const (
	KindString Kind = iota
	KindNumber
	KindBool
	KindNull
	KindEmptyArray
	KindEmptyObject
)

// A Field is one leaf of a record.
type Field struct {
	Name  string // a JSON pointer without its first slash: "text", "messages/0/content"
	Value string // the characters of a string, a number as written, "true", "false" or ""
	Kind  Kind
	Role  Role
}

// A Record is one row of a data set. Its strings belong to it: nothing is
// reused by the next row.
type Record struct {
	Shard    string // path of the shard, in the form of [prerun.EscapePath]
	Row      int64  // in the shard, from 0; rows that could not be read count
	Line     int    // the row's first line, from 1; 0 where there are no lines
	ID       string // "" when the schema names none
	Label    string
	Labelled bool    // false when the schema names no label or the row's is null or empty
	Fields   []Field // every leaf, in the order of the source
}

// Texts yields the fields of role text, in order.
func (r *Record) Texts() iter.Seq[Field] {
	return func(yield func(Field) bool) {
		for _, f := range r.Fields {
			if f.Role == RoleText && !yield(f) {
				return
			}
		}
	}
}

// Location says where the row stands.
func (r *Record) Location() prerun.Location { return r.ref().location() }

// Digest is the SHA-256 of the row's content, wherever the row stands: for
// each field, by ascending name, the name's length as a big-endian number of
// four bytes, the name, one byte of [Kind], the value's length in four bytes,
// the value. Roles are a matter of the reader and no part of it.
func (r *Record) Digest() [sha256.Size]byte {
	fields := r.Fields
	byName := func(a, b Field) int { return strings.Compare(a.Name, b.Name) }
	if !slices.IsSortedFunc(fields, byName) {
		fields = slices.Clone(fields)
		slices.SortFunc(fields, byName) // names of a row are distinct
	}
	size := 0
	for _, f := range fields {
		size += 9 + len(f.Name) + len(f.Value)
	}
	buf := make([]byte, 0, size)
	for _, f := range fields {
		buf = binary.BigEndian.AppendUint32(buf, uint32(len(f.Name)))
		buf = append(buf, f.Name...)
		buf = append(buf, byte(f.Kind))
		buf = binary.BigEndian.AppendUint32(buf, uint32(len(f.Value)))
		buf = append(buf, f.Value...)
	}
	return sha256.Sum256(buf)
}

// rowRef is a row without its content: what states keep of it.
type rowRef struct {
	shard string
	row   int64
	line  int
}

func (r *Record) ref() rowRef { return rowRef{r.Shard, r.Row, r.Line} }

func (r rowRef) location() prerun.Location {
	return prerun.Location{Path: r.shard, Line: r.line, Fragment: fmt.Sprintf("row=%d", r.row)}
}

func compareRefs(a, b rowRef) int {
	return cmp.Or(strings.Compare(a.shard, b.shard), cmp.Compare(a.row, b.row))
}
