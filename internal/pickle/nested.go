package pickle

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"github.com/prerun/prerun/internal/limits"
)

// maxEncodings is how many encodings may lie around a nested pickle.
const maxEncodings = 4

// A lead says what a literal may hold, by its first byte.
type lead uint8

const (
	leadPickle lead = 1 << iota
	leadZlib
	leadGzip
	leadHex
	leadBase64
	leadLatin
)

var leads = func() (leads [256]lead) {
	for i := range leads {
		c, l := byte(i), &leads[i]
		if mayStart[c] {
			*l |= leadPickle | leadLatin
		}
		if c&15 == 8 {
			*l |= leadZlib
		}
		if hexDigit(c) {
			*l |= leadHex
		}
		if alphabet(c) || space(c) || c == '=' {
			*l |= leadBase64
		}
	}
	leads[0x1f] |= leadGzip
	leads[0xc2] |= leadLatin
	return leads
}()

// nestedLeast is how long a literal must be to be worth a closer look, by its
// first byte: an opcode that can start a stream, or the start of an encoding.
var nestedLeast = func() (least [256]uint8) {
	for c := range 256 {
		switch {
		case mayStart[c]:
			least[c] = 6
		case hexDigit(byte(c)):
			least[c] = leastHex
		case alphabet(byte(c)):
			least[c] = leastBase64
		default:
			least[c] = 255 // and nothing then, see unwrap
		}
	}
	for _, c := range []byte{0x78, 0x1f, 0xc2} {
		least[c] = 6
	}
	return least
}()

// smallNested is up to how long literals are followed on little evidence.
const smallNested = 1 << 20

const deflateRatio = 1032 // the most that deflate can do

const (
	leastHex    = 12 // characters of the shortest pickle that names something
	leastBase64 = 16 // of which fewer are no evidence
)

func alphabet(c byte) bool {
	return c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z' || c == '+' || c == '/' || c == '-' || c == '_'
}

// nestedIn reports whether a literal of size bytes that starts with head holds
// a pickle that names something, and in which encodings, outermost first.
func nestedIn(head []byte, size int64, e encoding) ([]string, bool) {
	switch whole := int64(len(head)) >= size; e {
	case quoted:
		head, size = decodedHead(unescape(head), whole, size)
	case escaped:
		head, size = decodedHead([]byte(unescapeUnicode(head)), whole, size)
	}
	return unwrap(head, size, nil)
}

// SniffNested reports whether text holds a pickle that names something, as it
// stands or in up to four encodings, which it returns outermost first.
func SniffNested(text []byte) ([]string, bool) {
	return unwrap(text[:min(len(text), sniffSize)], int64(len(text)), nil)
}

// decodedHead is a decoded head with the size of the content it starts, which is
// at most that.
func decodedHead(head []byte, whole bool, most int64) ([]byte, int64) {
	if whole && len(head) < sniffSize {
		return head, int64(len(head))
	}
	return head, max(min(most, someSize), int64(len(head)))
}

// wrappings are the encodings that are undone.
var wrappings = [...]struct {
	name   string
	lead   lead
	decode func([]byte) []byte
}{
	{"zlib", leadZlib, inflateHead},
	{"gzip", leadGzip, gunzipHead},
	{"hex", leadHex, unhexHead},
	{"base64", leadBase64, unbase64Head},
	{"latin1", leadLatin, unlatinHead},
}

// barren reports that unwrap finds nothing in head, without a closer look.
func barren(head []byte) bool {
	l := leads[head[0]]
	return l == 0 || l == leadBase64 && !base64Start(head)
}

func unwrap(head []byte, size int64, around []string) ([]string, bool) {
	if len(head) < 6 {
		return nil, false
	}
	line := false
	// Behind its marker a pickle counts that names nothing itself: another may
	// follow it, or lie in its literals. So does a small one without, of which
	// a long literal hides the rest, or a long line, unless that is an encoding;
	// of a large one see [machine.nestedBehind].
	if marked := head[0] == byte(OpProto) && head[1] <= 5; marked || mayStart[head[0]] && names(head, size) {
		p := probe(head, size)
		if p.globals > 0 && p.likelihood() == Certain || marked && (p.ranOut || p.stopped || p.ops >= 2) ||
			p.ranOut && p.ops == 0 && size <= smallNested {
			return around, true
		}
		line = p.line && p.ops == 0 && size <= smallNested
	}
	if len(around) >= maxEncodings {
		return around, line
	}
	l := leads[head[0]]
	for i := range wrappings {
		step := &wrappings[i]
		if l&step.lead == 0 {
			continue
		}
		if inner := step.decode(head); len(inner) >= 6 {
			most := size
			if step.name == "zlib" || step.name == "gzip" {
				most = min(size, someSize) * deflateRatio
			}
			inner, size := decodedHead(inner, int64(len(head)) >= size, most)
			if all, ok := unwrap(inner, size, append(around[:len(around):len(around)], step.name)); ok {
				return all, true
			}
		}
	}
	return around, line
}

// names reports whether b, the start of size bytes, can name a global at all: by
// two lines, from the stack or by a code.
func names(b []byte, size int64) bool {
	for _, c := range b {
		switch c {
		case '\n', byte(OpStackGlobal), byte(OpExt1), byte(OpExt2), byte(OpExt4):
			return true
		}
	}
	return len(b) >= sniffSize/8 && size > int64(len(b))
}

func inflateHead(b []byte) []byte {
	if b[0]&0x0f != 8 || (uint(b[0])<<8|uint(b[1]))%31 != 0 {
		return nil
	}
	r, err := zlib.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil
	}
	return readHead(r)
}

func gunzipHead(b []byte) []byte {
	if b[0] != 0x1f || b[1] != 0x8b || b[2] != 8 {
		return nil
	}
	r, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil
	}
	return readHead(r)
}

// readHead returns what comes before an error: the head itself is cut.
func readHead(r io.Reader) []byte {
	out := make([]byte, sniffSize)
	n, _ := io.ReadFull(r, out)
	return out[:n]
}

func unhexHead(b []byte) []byte {
	if !hexDigit(b[0]) || !hexDigit(b[1]) || !hexDigit(b[2]) || !hexDigit(b[3]) {
		return nil
	}
	n := 0
	for n < len(b) && hexDigit(b[n]) {
		n++
	}
	if n < leastHex || n < len(b) && !space(b[n]) {
		return nil
	}
	out := make([]byte, n/2)
	if _, err := hex.Decode(out, b[:n&^1]); err != nil {
		return nil
	}
	return out
}

// base64Start reports whether b starts like base64. A text of nothing but small
// letters is none.
func base64Start(b []byte) bool {
	if len(b) < leastBase64 {
		return false
	}
	words := true
	for _, c := range b[:leastBase64] {
		if !alphabet(c) {
			if !space(c) && c != '=' {
				return false
			}
		} else if c < 'a' && c != '_' && c != '-' {
			words = false
		}
	}
	return !words
}

func unbase64Head(b []byte) []byte {
	if !base64Start(b) {
		return nil
	}
	clean := make([]byte, 0, min(len(b), sniffSize))
	for _, c := range b {
		switch {
		case alphabet(c):
			if c == '-' {
				c = '+'
			} else if c == '_' {
				c = '/'
			}
			clean = append(clean, c)
		case space(c), c == '=':
		default:
			return nil
		}
	}
	if len(clean) < 12 || len(clean)%4 == 1 && len(b) < sniffSize {
		return nil
	}
	clean = clean[:len(clean)-len(clean)%4+tail(len(clean)%4)]
	out := make([]byte, base64.RawStdEncoding.DecodedLen(len(clean)))
	n, err := base64.RawStdEncoding.Decode(out, clean)
	if err != nil {
		return nil
	}
	return out[:n]
}

// tail is how many characters of an incomplete group can be decoded.
func tail(n int) int {
	if n == 1 {
		return 0
	}
	return n
}

// unlatinHead undoes what str(bytes, "latin-1") does to a pickle.
func unlatinHead(b []byte) []byte {
	if b[0] == 0xc2 || mayStart[b[0]] && bytes.IndexByte(b, 0xc2) > 0 {
		return unlatin(b)
	}
	return nil
}

func unlatin(b []byte) []byte {
	out := make([]byte, 0, len(b))
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case c < 0x80:
			out = append(out, c)
		case c&^1 == 0xc2 && i+1 < len(b) && b[i+1]&0xc0 == 0x80:
			out = append(out, c<<6|b[i+1]&0x3f)
			i++
		default:
			return out
		}
	}
	return out
}

func space(c byte) bool { return c == ' ' || c >= '\t' && c <= '\r' }

// ErrPayload is wrapped by errors of [Nested.Extract] about the payload itself.
var ErrPayload = errors.New("nested payload cannot be decoded")

// Extract decodes a nested payload found in r, to at most limit bytes at every
// step; more is an error. A payload that breaks off yields what came before
// together with an error.
func (n Nested) Extract(r io.ReaderAt, limit int64) ([]byte, error) {
	b, err := limits.ReadAll(io.NewSectionReader(r, n.Offset, n.Length), limit)
	if err != nil {
		return nil, fmt.Errorf("literal at offset %d: %w", n.Offset, err)
	}
	switch n.Op {
	case OpString:
		b = unescape(b)
	case OpUnicode:
		b = []byte(unescapeUnicode(b))
	}
	for _, name := range n.Encodings {
		var in io.Reader
		switch name {
		case "zlib":
			in, err = zlib.NewReader(bytes.NewReader(b))
		case "gzip":
			in, err = gzip.NewReader(bytes.NewReader(b))
		case "hex":
			in = hex.NewDecoder(bytes.NewReader(b))
		case "base64":
			in = bytes.NewReader(unbase64All(b))
		case "latin1":
			in = bytes.NewReader(unlatin(b))
		default:
			err = errors.New("unknown encoding")
		}
		if err == nil {
			b, err = io.ReadAll(io.LimitReader(in, limit+1))
			if int64(len(b)) > limit {
				return nil, fmt.Errorf("literal at offset %d: %s: %w", n.Offset, name, &limits.Error{Unit: "bytes", Max: limit})
			}
		}
		if err != nil {
			return b, fmt.Errorf("literal at offset %d: %s: %w: %w", n.Offset, name, ErrPayload, err)
		}
	}
	return b, nil
}

func unbase64All(b []byte) []byte {
	clean := make([]byte, 0, len(b))
	for _, c := range b {
		switch {
		case c == '-':
			c = '+'
		case c == '_':
			c = '/'
		case !alphabet(c) && c != '+' && c != '/':
			continue
		}
		clean = append(clean, c)
	}
	clean = clean[:len(clean)-len(clean)%4+tail(len(clean)%4)]
	out := make([]byte, base64.RawStdEncoding.DecodedLen(len(clean)))
	n, _ := base64.RawStdEncoding.Decode(out, clean) // the alphabet is clean
	return out[:n]
}
