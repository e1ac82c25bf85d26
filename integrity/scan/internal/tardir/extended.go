package tardir

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
)

// An extended is one header that says something about the next member.
type extended struct {
	kind   byte
	text   string  // of GNU's long names
	merged records // the global records at that place, and its own over them
	odd    string

	offsets, sizes []int64 // of pieces, which the oldest sparse layout repeats
}

// records are keys with their values in the order in which they were first set.
type records []record

type record struct{ key, value string }

func (r records) get(key string) (string, bool) {
	for _, kv := range r {
		if kv.key == key {
			return kv.value, true
		}
	}
	return "", false
}

func (r *records) set(key, value string) {
	for i := range *r {
		if (*r)[i].key == key {
			(*r)[i].value = value
			return
		}
	}
	*r = append(*r, record{key, value})
}

// extend reads a header that is about the next member.
func (d *reader) extend(h plain) error {
	if len(d.before) >= maxChain {
		return fmt.Errorf("offset %d: more than %d extended headers in a row: %w", h.at, maxChain, ErrMalformed)
	}
	e := extended{kind: h.kind, odd: h.odd}
	if h.size < 0 {
		return fmt.Errorf("offset %d: extended header of a negative size: %w", h.at, ErrMalformed)
	}
	if h.kind == 'L' || h.kind == 'K' {
		if h.size > MaxText {
			return fmt.Errorf("offset %d: a name of %d bytes: %w", h.at, h.size, ErrMalformed)
		}
		body := make([]byte, h.size)
		if err := readFull(d.r, body, h.dataAt); err != nil {
			return err
		}
		e.text = text(body)
		d.text += int64(len(e.text))
	} else {
		e.merged = append(e.merged, d.global...)
		// Python reads whole blocks, and what is in the padding.
		n := min(blocks(h.size), d.size-h.dataAt)
		if err := d.records(&e, io.NewSectionReader(d.r, h.dataAt, n), h.size); err != nil {
			return fmt.Errorf("offset %d: %w", h.at, err)
		}
		if h.kind == 'g' {
			d.global = e.merged
		}
	}
	if d.text > MaxText {
		return fmt.Errorf("offset %d: extended headers of more than %d bytes for one member: %w", h.at, MaxText, ErrMalformed)
	}
	d.before = append(d.before, e)
	return nil
}

// errRecord ends the reading of records where Python ends it, with or without
// an error.
var errRecord = errors.New("no record")

// records reads "LENGTH KEY=VALUE\n" as often as it comes. size is what the
// header states; what stands behind it is in the padding.
func (d *reader) records(e *extended, r io.Reader, size int64) error {
	in := bufio.NewReaderSize(r, 4096)
	for pos := int64(0); ; {
		c, err := in.Peek(1)
		if err != nil || c[0] == 0 {
			return realError(err)
		}
		n, err := d.record(e, in)
		if errors.Is(err, errRecord) {
			e.odd = "a record of its extended header is malformed, and some readers go on behind it"
			return nil
		}
		if err != nil {
			return err
		}
		if pos += n; pos > size {
			e.odd = "its extended header goes on in the padding, which some readers read"
		}
	}
}

func realError(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return err
}

// record reads one record and returns its length.
func (d *reader) record(e *extended, in *bufio.Reader) (int64, error) {
	head, err := in.Peek(12)
	if realError(err) != nil {
		return 0, err
	}
	n, digits := int64(0), 0
	for digits < len(head) && head[digits] >= '0' && head[digits] <= '9' {
		n = n*10 + int64(head[digits]-'0')
		digits++
	}
	if digits == 0 || digits == len(head) || head[digits] != ' ' || n < int64(digits)+4 {
		return 0, errRecord
	}
	in.Discard(digits + 1)
	rest := n - int64(digits) - 1
	key, err := in.Peek(int(min(rest, 64)))
	if realError(err) != nil {
		return 0, err
	}
	name, _, found := strings.Cut(string(key), "=")
	if !found && int64(len(key)) == rest || found && name == "" {
		return 0, errRecord
	}
	if !found || !matters(name) {
		skipped, err := in.Discard(int(min(rest-1, 1<<30)))
		if realError(err) != nil {
			return 0, err
		}
		last, err := in.ReadByte()
		if int64(skipped) != rest-1 || err != nil || last != '\n' {
			return 0, errRecord
		}
		return n, nil
	}
	if d.text += rest; d.text > MaxText {
		return 0, fmt.Errorf("extended headers of more than %d bytes for one member: %w", MaxText, ErrMalformed)
	}
	body := make([]byte, rest)
	if _, err := io.ReadFull(in, body); err != nil {
		return 0, errors.Join(errRecord, realError(err))
	}
	if body[rest-1] != '\n' {
		return 0, errRecord
	}
	return n, e.set(name, string(body[len(name)+1:rest-1]))
}

func matters(key string) bool {
	switch key {
	case "path", "linkpath", "size", "GNU.sparse.name", "GNU.sparse.size", "GNU.sparse.realsize", "GNU.sparse.map",
		"GNU.sparse.major", "GNU.sparse.minor", "GNU.sparse.offset", "GNU.sparse.numbytes":
		return true
	}
	return false
}

func (e *extended) set(key, value string) error {
	if key == "GNU.sparse.offset" || key == "GNU.sparse.numbytes" {
		v, _, ok := pyInt(value, 10)
		if !ok {
			return errRecord
		}
		if key == "GNU.sparse.offset" {
			e.offsets = append(e.offsets, v)
		} else {
			e.sizes = append(e.sizes, v)
		}
		return nil
	}
	if key == "size" {
		if _, plain, ok := pyInt(value, 10); !plain || !ok {
			e.odd = fmt.Sprintf("its extended header states the size %.40q", value)
		}
	}
	e.merged.set(key, value)
	return nil
}

// A naming tells what extended headers have set, to notice when two of them do.
type naming struct{ name, link, size bool }

// text applies a long name of GNU.
func (n *naming) text(m *Member, kind byte, s string) {
	own := naming{name: kind == 'L', link: kind == 'K'}
	was := *m
	if kind == 'L' {
		m.Name = s
	} else {
		m.Link = s
	}
	n.note(m, own, &was)
}

// note adds what one header set, and reports a value that another header had
// set differently.
func (n *naming) note(m *Member, own naming, was *Member) {
	if n.name && own.name && m.Name != was.Name || n.link && own.link && m.Link != was.Link {
		m.odd("two extended headers name it differently; some readers take the first, others the last")
	}
	if n.size && own.size && m.Size != was.Size {
		m.odd("two extended headers state its size; some readers take the first, others the last")
	}
	n.name, n.link, n.size = n.name || own.name, n.link || own.link, n.size || own.size
}

// apply sets what records say of m.
func (d *reader) apply(m *Member, r records, global bool) (set naming) {
	for _, kv := range r {
		switch kv.key {
		case "GNU.sparse.name":
			m.Name, set.name = kv.value, true
		case "path":
			m.Name, set.name = strings.TrimRight(kv.value, "/"), true
		case "linkpath":
			m.Link, set.link = kv.value, true
		case "size", "GNU.sparse.size", "GNU.sparse.realsize":
			v, _, ok := pyInt(kv.value, 10)
			if !ok {
				v = 0
			}
			if global && v != m.Size {
				m.odd("a global header states its size, which some readers do not apply")
			}
			m.Size, set.size = v, true
		}
	}
	return set
}
