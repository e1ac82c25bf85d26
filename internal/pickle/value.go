package pickle

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/prerun/prerun/internal/redact"
)

// A Type is the type of an abstract value.
type Type uint8

// Types.
const (
	Unknown    Type = iota // may be anything
	None                   // None
	Bool                   // Int is 0 or 1
	Int                    // Int, or Text when it needs more than 64 bits
	Float                  // Text
	Str                    // Text, decoded
	Bytes                  // Text, raw; bytearrays too
	Tuple                  // Items
	List                   // Items
	Dict                   // Items: key, value, key, value
	Set                    // Items; frozensets too
	GlobalRef              // Int indexes Trace.Globals; Text is module and name
	Object                 // result of a call; Int indexes Trace.Calls; Text is the callee
	Persistent             // what the loader made of a persistent id
	OutOfBand              // buffer
)

var typeNames = [...]string{
	"unknown", "None", "bool", "int", "float", "str", "bytes", "tuple", "list", "dict", "set",
	"global", "object", "persistent", "buffer",
}

func (t Type) String() string { return nameOf(typeNames[:], int(t)) }

// A Value is an abstract value, cut to the limits of the scan.
type Value struct {
	Type   Type
	Int    int64
	Text   string
	Items  []Value
	Len    int64 // bytes of Str and Bytes, items of containers: more than is kept when cut
	Offset int64 // of the literal's bytes
}

// Cut reports whether the value is longer than what is kept of it.
func (v Value) Cut() bool {
	switch v.Type {
	case Str, Bytes:
		return v.Len > int64(len(v.Text))
	case Tuple, List, Set:
		return v.Len > int64(len(v.Items))
	case Dict:
		return v.Len*2 > int64(len(v.Items))
	}
	return false
}

// String is the value in Python's notation on one line, at most some 400
// bytes, with secrets and personal data masked.
func (v Value) String() string {
	var b strings.Builder
	v.render(&b, 400)
	return b.String()
}

const shown = 96 // runes of a text

func (v Value) render(b *strings.Builder, room int) {
	if b.Len() > room {
		b.WriteString("…")
		return
	}
	switch v.Type {
	case None:
		b.WriteString("None")
	case Bool:
		if v.Int != 0 {
			b.WriteString("True")
		} else {
			b.WriteString("False")
		}
	case Int:
		if v.Text != "" {
			b.WriteString(redact.Excerpt([]byte(v.Text), shown))
		} else {
			b.WriteString(strconv.FormatInt(v.Int, 10))
		}
	case Float:
		b.WriteString(redact.Excerpt([]byte(v.Text), shown))
	case Str:
		fmt.Fprintf(b, "'%s'", redact.Excerpt([]byte(v.Text), shown))
		v.more(b, "bytes")
	case Bytes:
		fmt.Fprintf(b, "b'%s'", redact.Excerpt([]byte(v.Text), shown))
		v.more(b, "bytes")
	case Tuple:
		b.WriteString("(")
		v.items(b, room)
		if v.Len == 1 {
			b.WriteString(",")
		}
		b.WriteString(")")
	case List:
		b.WriteString("[")
		v.items(b, room)
		b.WriteString("]")
	case Dict, Set:
		b.WriteString("{")
		v.items(b, room)
		b.WriteString("}")
	case GlobalRef:
		b.WriteString(redact.Excerpt([]byte(v.Text), shown))
	case Object:
		fmt.Fprintf(b, "<result of %s>", redact.Excerpt([]byte(v.Text), shown))
	case Persistent:
		b.WriteString("<persistent ")
		v.items(b, room)
		b.WriteString(">")
	case OutOfBand:
		b.WriteString("<buffer>")
	default:
		b.WriteString("<unknown>")
	}
}

func (v Value) items(b *strings.Builder, room int) {
	for i, item := range v.Items {
		switch {
		case i == 0:
		case v.Type == Dict && i%2 == 1:
			b.WriteString(": ")
		default:
			b.WriteString(", ")
		}
		if b.Len() > room {
			b.WriteString("…")
			return
		}
		item.render(b, room)
	}
	v.more(b, "items")
}

func (v Value) more(b *strings.Builder, unit string) {
	if v.Cut() {
		fmt.Fprintf(b, "… (%d %s)", v.Len, unit)
	}
}
