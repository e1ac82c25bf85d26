package datasec

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"maps"
	"math/bits"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// contentKey identifies a row's text: half of a SHA-256, so that nobody can
// prepare two texts that count as one.
type contentKey [16]byte

// keyOf returns the key of the row's text fields, lower case, with runs of
// white space as one space, and whether there is any text.
func keyOf(r *Record) (contentKey, bool) {
	var buf []byte
	any := false
	for f := range r.Texts() {
		start := len(buf)
		buf = appendNormal(buf, f.Value)
		any = any || len(buf) > start
		buf = append(buf, 0)
	}
	sum := sha256.Sum256(buf)
	return contentKey(sum[:16]), any
}

func appendNormal(buf []byte, s string) []byte {
	start := len(buf)
	space := false
	for _, r := range s {
		if unicode.IsSpace(r) {
			space = len(buf) > start
			continue
		}
		if space {
			buf = append(buf, ' ')
			space = false
		}
		if r < utf8.RuneSelf {
			if 'A' <= r && r <= 'Z' {
				r += 'a' - 'A'
			}
			buf = append(buf, byte(r))
		} else {
			buf = utf8.AppendRune(buf, unicode.ToLower(r))
		}
	}
	return buf
}

// contents is a table of distinct texts. When there are more than its limit it
// keeps those whose key starts with enough zero bits: a sample of the texts,
// with all occurrences of each, and the same one in whatever order the rows
// come, since a text is dropped only when more texts than the limit would
// remain without it.
type contents[E any] struct {
	limit   int
	level   int // zero bits that a key must start with
	entries map[contentKey]*E
}

func newContents[E any](limit int) contents[E] {
	return contents[E]{limit: limit, entries: make(map[contentKey]*E)}
}

func (k contentKey) level() int { return bits.LeadingZeros64(binary.BigEndian.Uint64(k[:8])) }

// at returns the entry of a key, or nil when the sample leaves it out.
func (c *contents[E]) at(k contentKey) *E {
	if e := c.entries[k]; e != nil {
		return e
	}
	if k.level() < c.level {
		return nil
	}
	e := new(E)
	c.entries[k] = e
	c.shrink(c.level)
	return c.entries[k]
}

// shrink raises the level to at least the given one, and until the table fits.
func (c *contents[E]) shrink(level int) {
	for c.level < level || len(c.entries) > c.limit && c.level < 64 {
		c.level++
		maps.DeleteFunc(c.entries, func(k contentKey, _ *E) bool { return k.level() < c.level })
	}
}

func (c *contents[E]) merge(d *contents[E], add func(into, from *E)) {
	c.shrink(d.level)
	for k, from := range d.entries {
		if into := c.at(k); into != nil {
			add(into, from)
		}
	}
}

func (c *contents[E]) keys() []contentKey {
	return slices.SortedFunc(maps.Keys(c.entries), func(a, b contentKey) int { return bytes.Compare(a[:], b[:]) })
}

func (c *contents[E]) append(b []byte, entry func([]byte, *E) []byte) []byte {
	b = append(b, byte(c.level))
	b = binary.AppendUvarint(b, uint64(len(c.entries)))
	for _, k := range c.keys() {
		b = append(b, k[:]...)
		b = entry(b, c.entries[k])
	}
	return b
}

func (c *contents[E]) read(r *stateReader, size int, entry func(*stateReader, *E)) {
	level := r.take(1)
	n := r.count(len(contentKey{}) + size)
	if r.err != nil {
		return
	}
	c.level = int(level[0])
	if c.level > 64 || n > c.limit {
		r.fail("%d texts at level %d", n, c.level)
		return
	}
	c.entries = make(map[contentKey]*E, n)
	var last contentKey
	for i := range n {
		var k contentKey
		copy(k[:], r.take(len(k)))
		if i > 0 && bytes.Compare(last[:], k[:]) >= 0 || k.level() < c.level {
			r.fail("texts out of order")
		}
		e := new(E)
		entry(r, e)
		if r.err != nil {
			return
		}
		c.entries[k] = e
		last = k
	}
}

// copies is what is kept of a text: how often it stands where.
type copies struct {
	count int64
	rows  refSet
	// labels that it carries, ascending; LabelConflict only
	labels []labelCount
}

type labelCount struct {
	label string
	count int64
}

const maxCopyRows = 8 // rows of a text that are listed

func (e *copies) add(r rowRef) {
	e.count++
	e.rows.add(r, maxCopyRows)
}

func (e *copies) label(label string, n int64) {
	i, found := slices.BinarySearchFunc(e.labels, label, func(l labelCount, s string) int {
		return strings.Compare(l.label, s)
	})
	if !found {
		e.labels = slices.Insert(e.labels, i, labelCount{label: label})
	}
	e.labels[i].count += n
}

func (e *copies) merge(f *copies) {
	e.count += f.count
	e.rows.merge(&f.rows, maxCopyRows)
	for _, l := range f.labels {
		e.label(l.label, l.count)
	}
}

func (e *copies) append(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(e.count))
	b = e.rows.append(b)
	b = binary.AppendUvarint(b, uint64(len(e.labels)))
	for _, l := range e.labels {
		b = binary.AppendUvarint(appendString(b, l.label), uint64(l.count))
	}
	return b
}

func (e *copies) read(r *stateReader) {
	e.count = r.int64()
	e.rows.read(r, maxCopyRows)
	n := r.count(2)
	for i := range n {
		l := labelCount{r.string(), r.int64()}
		if i > 0 && e.labels[i-1].label >= l.label {
			r.fail("labels out of order")
		}
		if r.err != nil {
			return
		}
		e.labels = append(e.labels, l)
	}
}

// byWeight orders texts by how often they stand, then by their first row.
func byWeight(a, b *copies) int {
	return cmp.Or(cmp.Compare(b.count, a.count), compareRefs(a.rows.refs[0], b.rows.refs[0]))
}
