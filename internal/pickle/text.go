package pickle

import (
	"bytes"
	"errors"
	"strconv"
	"strings"
	"unicode/utf8"
)

// An encoding says how the bytes of a literal become its text.
type encoding uint8

const (
	raw     encoding = iota // bytes
	utf8Enc                 // BINUNICODE and lines of names
	eight                   // T, U, S: what the loader's encoding says; ASCII by default
	quoted                  // the inside of a STRING: backslash escapes, then eight
	escaped                 // UNICODE: raw-unicode-escape
	inline                  // an Int that does not stand in the file
)

// decode is the text of literal bytes. What a loader decodes by its own
// encoding reads as UTF-8 where it is, else as latin-1.
func (e encoding) decode(b []byte) string {
	switch e {
	case quoted:
		return eight.decode(unescape(b))
	case escaped:
		return unescapeUnicode(b)
	case eight:
		if !utf8.Valid(b) {
			return latin1(b)
		}
	}
	return string(b)
}

func latin1(b []byte) string {
	var s strings.Builder
	s.Grow(len(b))
	for _, c := range b {
		s.WriteRune(rune(c))
	}
	return s.String()
}

// unescape undoes the escapes of Python's bytes literals, as
// codecs.escape_decode does.
func unescape(b []byte) []byte {
	if bytes.IndexByte(b, '\\') < 0 {
		return b
	}
	out := make([]byte, 0, len(b))
	for i := 0; i < len(b); i++ {
		if b[i] != '\\' || i+1 == len(b) {
			out = append(out, b[i])
			continue
		}
		i++
		switch c := b[i]; c {
		case '\n':
		case '\\', '\'', '"':
			out = append(out, c)
		case 'a':
			out = append(out, 7)
		case 'b':
			out = append(out, 8)
		case 'f':
			out = append(out, 12)
		case 'n':
			out = append(out, 10)
		case 'r':
			out = append(out, 13)
		case 't':
			out = append(out, 9)
		case 'v':
			out = append(out, 11)
		case '0', '1', '2', '3', '4', '5', '6', '7':
			n, k := 0, 0
			for ; k < 3 && i+k < len(b) && b[i+k] >= '0' && b[i+k] <= '7'; k++ {
				n = n*8 + int(b[i+k]-'0')
			}
			i += k - 1
			out = append(out, byte(n))
		case 'x':
			if n, err := strconv.ParseUint(string(b[min(i+1, len(b)):min(i+3, len(b))]), 16, 8); err == nil && i+2 < len(b) {
				out = append(out, byte(n))
				i += 2
				continue
			}
			out = append(out, '\\', c)
		default:
			out = append(out, '\\', c)
		}
	}
	return out
}

// plainText reports whether b is ASCII without a backslash.
func plainText(b []byte) bool {
	for _, c := range b {
		if c == '\\' || c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// unescapeUnicode decodes raw-unicode-escape: \uXXXX and \UXXXXXXXX behind an
// odd number of backslashes, other bytes as latin-1.
func unescapeUnicode(b []byte) string {
	if plainText(b) {
		return string(b)
	}
	var out strings.Builder
	for i := 0; i < len(b); i++ {
		if b[i] == '\\' && i+1 < len(b) {
			n := 0
			switch b[i+1] {
			case 'u':
				n = 4
			case 'U':
				n = 8
			}
			if n > 0 && i+2+n <= len(b) {
				if r, err := strconv.ParseUint(string(b[i+2:i+2+n]), 16, 32); err == nil && r <= utf8.MaxRune {
					out.WriteRune(rune(r))
					i += 1 + n
					continue
				}
			}
			if b[i+1] == '\\' { // a pair of backslashes starts no escape
				out.WriteString(`\\`)
				i++
				continue
			}
		}
		out.WriteRune(rune(b[i]))
	}
	return out.String()
}

// A number is what the readers make of the line of INT, LONG, GET or PUT.
type number struct {
	value  int64
	text   string // decimal or as written, when value does not hold it
	ok     bool   // some reader accepts it
	differ bool   // not every reader does, or they see different numbers
}

// parseInt reads the line as the readers do: base 10, or with base 0 as C
// strtol and Python's int(s, 0) do.
func parseInt(b []byte, bases bool) number {
	if bases {
		if before, _, ok := bytes.Cut(b, []byte{0}); ok { // strtol stops there, Python does not
			n := parseInt(before, true)
			n.differ = true
			return n
		}
	}
	s := string(bytes.Trim(b, " \t\v\f\r\n"))
	sign, digits := "", s
	if s != "" && (s[0] == '-' || s[0] == '+') {
		sign, digits = s[:1], s[1:]
	}
	base, differ := 10, false
	if len(digits) > 1 && digits[0] == '0' && bases {
		switch digits[1] | 0x20 {
		case 'x':
			base, digits, differ = 16, digits[2:], true
		case 'o':
			base, digits, differ = 8, digits[2:], true
		case 'b':
			base, digits, differ = 2, digits[2:], true
		default:
			differ = strings.Trim(digits, "0_") != "" // octal for C
		}
		if base != 10 {
			digits = strings.TrimPrefix(digits, "_")
		}
	}
	if digits == "" || strings.HasPrefix(digits, "_") || strings.HasSuffix(digits, "_") || strings.Contains(digits, "__") {
		return number{}
	}
	digits = strings.ReplaceAll(digits, "_", "")
	v, err := strconv.ParseInt(sign+digits, base, 64)
	if err == nil {
		return number{value: v, ok: true, differ: differ}
	}
	for _, c := range []byte(digits) {
		if !hexDigit(c) || base == 10 && (c < '0' || c > '9') || base == 8 && c > '7' || base == 2 && c > '1' {
			return number{}
		}
	}
	return number{text: s, ok: true, differ: differ}
}

func hexDigit(c byte) bool {
	return c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'f'
}

// decimal reads the number of 1 to 15 digits, the first of which is no zero, that
// b starts with, or the digit zero alone. It returns how many digits it read.
func decimal(b []byte) (n int64, digits int) {
	for digits < min(len(b), 15) && b[digits]-'0' <= 9 {
		n = 10*n + int64(b[digits]-'0')
		digits++
	}
	if digits > 1 && b[0] == '0' {
		return 0, 0
	}
	return n, digits
}

// simpleFloat reports whether b is digits, perhaps with a sign, a point and more
// digits.
func simpleFloat(b []byte) bool {
	if len(b) > 1 && b[0] == '-' {
		b = b[1:]
	}
	points := 0
	for _, c := range b {
		if c == '.' {
			points++
		} else if c-'0' > 9 {
			return false
		}
	}
	return points <= 1 && len(b) > points && len(b) <= maxNumber
}

// validFloat reports whether a reader takes the line of FLOAT.
func validFloat(b []byte) bool {
	if simpleFloat(b) {
		return true
	}
	if k := bytes.IndexByte(b, 0); k >= 0 {
		b = b[:k]
	}
	s := strings.ReplaceAll(string(bytes.Trim(b, " \t\v\f\r\n")), "_", "")
	if s == "" || len(s) > maxNumber {
		return false
	}
	if len(s) > 1 && s[1]|0x20 == 'x' || len(s) > 2 && s[2]|0x20 == 'x' {
		return false // Go's hexadecimal floats are not Python's
	}
	_, err := strconv.ParseFloat(s, 64)
	return err == nil || isRange(err)
}

func isRange(err error) bool {
	return errors.Is(err, strconv.ErrRange)
}

// dequote returns the inside of a STRING's quotes. Every reader wants the two
// quotes to be equal; old ones forgive white space behind the second.
func dequote(b []byte) ([]byte, bool) {
	if len(b) >= 1 && len(bytes.TrimRight(b, " \t\r")) >= 2 {
		t := bytes.TrimRight(b, " \t\r")
		if (t[0] == '\'' || t[0] == '"') && t[len(t)-1] == t[0] {
			return t[1 : len(t)-1], true
		}
	}
	if len(b) == 1 && (b[0] == '\'' || b[0] == '"') {
		return nil, true // pickletools takes one quote for both
	}
	return nil, false
}

// validName reports whether a GLOBAL's line can name anything for a loader.
func validName(b []byte) bool { return utf8.Valid(b) }

func ascii(b []byte) bool {
	for _, c := range b {
		if c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}
