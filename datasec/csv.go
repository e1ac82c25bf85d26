package datasec

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// csvRows reads RFC 4180. The first record names the fields.
type csvRows struct {
	in     *csv.Reader
	bound  *allowance
	schema *Schema
	names  []string
	roles  []Role
}

func newCSV(in io.Reader, comma rune, schema *Schema) (*csvRows, error) {
	bound := &allowance{r: in}
	c := &csvRows{in: csv.NewReader(bound), bound: bound, schema: schema}
	c.in.Comma = comma
	// An opened quote that nobody closes would swallow the file, so each
	// record gets an allowance; the reader's own buffer of 4 KiB is on top.
	c.allow()
	names, err := c.in.Read()
	switch {
	case err == io.EOF:
		return c, nil // no header: no rows either
	case err != nil:
		return nil, fmt.Errorf("header: %w", c.reason(err))
	case !utf8.ValidString(strings.Join(names, "")):
		return nil, errors.New("header: not UTF-8")
	}
	c.names = names
	sorted := slices.Sorted(slices.Values(names))
	for i := 1; i < len(sorted); i++ {
		if sorted[i] == sorted[i-1] {
			return nil, fmt.Errorf("header: two fields are named %q", sorted[i])
		}
	}
	for _, name := range append(slices.Clone(schema.Text), schema.Label, schema.ID) {
		if name != "" && !slices.Contains(names, name) {
			return nil, fmt.Errorf("header: no field %q", name)
		}
	}
	for _, name := range names {
		c.roles = append(c.roles, schema.role(name, KindString))
	}
	return c, nil
}

func (c *csvRows) allow() { c.bound.left = c.schema.Limits.Record + 4<<10 }

func (c *csvRows) next() (Record, error) {
	start := c.in.InputOffset()
	c.allow()
	values, err := c.in.Read()
	if err == io.EOF || errors.Is(err, errAllowance) {
		return Record{}, c.reason(err)
	}
	parse, _ := errors.AsType[*csv.ParseError](err)
	if err != nil && parse == nil {
		return Record{}, err
	}
	rec := Record{}
	if len(values) > 0 {
		rec.Line, _ = c.in.FieldPos(0)
	}
	if parse != nil {
		rec.Line = parse.StartLine
		err = c.reason(err)
	}
	for _, value := range values {
		if !utf8.ValidString(value) {
			err = errors.New("not UTF-8")
		}
	}
	if err != nil {
		return Record{Line: rec.Line}, &RowError{Line: rec.Line, Offset: start, Err: err}
	}
	rec.Fields = make([]Field, len(values))
	for i, value := range values {
		rec.Fields[i] = Field{c.names[i], value, KindString, c.roles[i]}
		switch c.roles[i] {
		case RoleLabel:
			rec.Label, rec.Labelled = value, value != ""
		case RoleID:
			rec.ID = value
		}
	}
	return rec, nil
}

// reason states an error in the terms of this package.
func (c *csvRows) reason(err error) error {
	if errors.Is(err, errAllowance) {
		return fmt.Errorf("a record longer than %d bytes, or a quote that is not closed", c.schema.Limits.Record)
	}
	if e, ok := errors.AsType[*csv.ParseError](err); ok {
		return fmt.Errorf("column %d: %w", e.Column, e.Err)
	}
	return err
}

var errAllowance = errors.New("allowance used up")

// allowance is a reader that may be read so far and no further.
type allowance struct {
	r    io.Reader
	left int
}

func (a *allowance) Read(p []byte) (int, error) {
	if a.left == 0 {
		return 0, errAllowance
	}
	n, err := a.r.Read(p[:min(len(p), a.left)])
	a.left -= n
	return n, err
}
