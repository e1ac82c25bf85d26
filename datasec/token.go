package datasec

import (
	"unicode"
	"unicode/utf8"
)

// A token is a word of a text: where it stands, and the hash of its lower-case
// form.
type token struct {
	hash       uint64
	start, end int // in bytes
}

// appendTokens splits s into words: runs of letters, marks and digits. In
// scripts that write no spaces each character is one. The hash depends on the
// seed, so that collisions cannot be prepared without knowing it.
func appendTokens(dst []token, s string, seed uint64) []token {
	const prime = 0x100000001b3 // FNV-1a
	basis := mix(seed) ^ 0xcbf29ce484222325
	h, start := basis, -1
	flush := func(end int) {
		if start >= 0 {
			dst = append(dst, token{mix(h), start, end})
			h, start = basis, -1
		}
	}
	for i := 0; i < len(s); {
		if c := s[i]; c < utf8.RuneSelf {
			switch class := asciiClass[c]; class {
			case 0:
				flush(i)
			default:
				if start < 0 {
					start = i
				}
				h = (h ^ uint64(class)) * prime
			}
			i++
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case isUnspaced(r) && unicode.IsLetter(r):
			flush(i)
			start = i
			h = (h ^ uint64(r)) * prime
			flush(i + size)
		case unicode.IsLetter(r) || unicode.IsMark(r) || unicode.IsDigit(r):
			if start < 0 {
				start = i
			}
			h = (h ^ uint64(unicode.ToLower(r))) * prime
		default:
			flush(i)
		}
		i += size
	}
	flush(len(s))
	return dst
}

// asciiClass maps letters to lower case, digits to themselves, the rest to 0.
var asciiClass = func() (t [utf8.RuneSelf]byte) {
	for c := range t {
		switch {
		case 'a' <= c && c <= 'z' || '0' <= c && c <= '9':
			t[c] = byte(c)
		case 'A' <= c && c <= 'Z':
			t[c] = byte(c) + 'a' - 'A'
		}
	}
	return t
}()

// mix is the finaliser of SplitMix64, a bijection that spreads every bit.
func mix(h uint64) uint64 {
	h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
	h = (h ^ h>>27) * 0x94d049bb133111eb
	return h ^ h>>31
}

// combine hashes a sequence: it is not symmetric.
func combine(h, next uint64) uint64 { return mix(h*0x9e3779b97f4a7c15 + next) }
