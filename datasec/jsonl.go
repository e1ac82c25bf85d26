package datasec

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/prerun/prerun/internal/strictjson"
)

// jsonl reads one JSON object from each line. Blank lines hold nothing and are
// passed over.
type jsonl struct {
	in     *bufio.Reader
	schema *Schema
	line   int
	offset int64
	buf    []byte
}

func (j *jsonl) next() (Record, error) {
	for {
		start := j.offset
		line, err := j.read()
		if err != nil && err != errLong {
			return Record{}, err
		}
		if err == nil && len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		rec := Record{Line: j.line}
		if err == nil {
			err = j.schema.parse(&rec, line)
		}
		if err != nil {
			if err == errLong {
				err = fmt.Errorf("longer than %d bytes", j.schema.Limits.Record)
			}
			return Record{Line: j.line}, &RowError{Line: j.line, Offset: start, Err: err}
		}
		return rec, nil
	}
}

var errLong = errors.New("line too long")

// read returns the next line without its end, valid until the next call. Of a
// line that is too long it keeps nothing, reads to its end and returns errLong.
func (j *jsonl) read() ([]byte, error) {
	j.buf = j.buf[:0]
	long := false
	started := false
	for {
		piece, err := j.in.ReadSlice('\n')
		j.offset += int64(len(piece))
		if len(piece) > 0 && !started {
			started = true
			j.line++
		}
		if long = long || len(j.buf)+len(piece) > j.schema.Limits.Record+1; !long {
			j.buf = append(j.buf, piece...)
		}
		switch {
		case err == bufio.ErrBufferFull:
			continue
		case err == io.EOF && started, err == nil:
			if long {
				return nil, errLong
			}
			return bytes.TrimRight(j.buf, "\r\n"), nil
		}
		return nil, err
	}
}

// parse fills the record from one JSON object.
func (s *Schema) parse(rec *Record, line []byte) error {
	v, err := strictjson.Parse(line, strictjson.Limits{Bytes: s.Limits.Record})
	if err != nil {
		if e, ok := errors.AsType[*strictjson.Error](err); ok {
			return fmt.Errorf("column %d: %s", e.Column, e.Msg)
		}
		return err
	}
	if v.Kind != strictjson.Object {
		return fmt.Errorf("a JSON %v where an object is expected", v.Kind)
	}
	// A leaf's name repeats the names above it, so long names over wide arrays
	// could multiply: their sum meets the record's own bound.
	f := flattener{schema: s, names: s.Limits.Record}
	if err := f.add("", v); err != nil {
		return err
	}
	rec.Fields = f.fields
	return s.roles(rec)
}

type flattener struct {
	schema *Schema
	fields []Field
	names  int // bytes of names still allowed
}

var pointerEscape = strings.NewReplacer("~", "~0", "/", "~1")

func (f *flattener) add(name string, v *strictjson.Value) error {
	below := func(part string) string {
		if name == "" {
			return part
		}
		return name + "/" + part
	}
	if f.names -= len(name); f.names < 0 {
		return errors.New("long names above many values")
	}
	switch {
	case len(v.Members) > 0:
		for i := range v.Members {
			m := &v.Members[i]
			part := m.Name
			if strings.ContainsAny(part, "~/") {
				part = pointerEscape.Replace(part)
			}
			if err := f.add(below(part), &m.Value); err != nil {
				return err
			}
		}
		return nil
	case len(v.Items) > 0:
		for i := range v.Items {
			if err := f.add(below(strconv.Itoa(i)), &v.Items[i]); err != nil {
				return err
			}
		}
		return nil
	}
	kind := leafKinds[v.Kind]
	f.fields = append(f.fields, Field{name, v.Text, kind, f.schema.role(name, kind)})
	return nil
}

var leafKinds = [...]Kind{
	strictjson.Null:   KindNull,
	strictjson.Bool:   KindBool,
	strictjson.Number: KindNumber,
	strictjson.String: KindString,
	strictjson.Array:  KindEmptyArray,
	strictjson.Object: KindEmptyObject,
}

// roles takes label and id out of the fields and complains about what the
// schema names and the row lacks: a detector would otherwise pass over it.
func (s *Schema) roles(rec *Record) error {
	var hasLabel, hasID bool
	for _, f := range rec.Fields {
		switch f.Role {
		case RoleLabel:
			hasLabel = true
			rec.Label = f.Value
			rec.Labelled = f.Kind != KindNull && f.Value != ""
		case RoleID:
			hasID = true
			rec.ID = f.Value
		}
	}
	switch {
	case s.Label != "" && !hasLabel:
		return fmt.Errorf("no label field %q", s.Label)
	case s.ID != "" && !hasID:
		return fmt.Errorf("no id field %q", s.ID)
	}
	for _, name := range s.Text {
		if !hasField(rec.Fields, name) {
			return fmt.Errorf("no text field %q", name)
		}
	}
	return nil
}

func hasField(fields []Field, name string) bool {
	for _, f := range fields {
		if rest, ok := strings.CutPrefix(f.Name, name); ok && (rest == "" || rest[0] == '/') {
			return true
		}
	}
	return false
}
