package datasec

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// observation is what one rule saw in a field.
type observation struct {
	kind  int
	count int
	text  string // decoded, raw
}

const (
	minHidden  = 4  // printable characters that make a decoded payload a text
	minBits    = 6  // the same for bits, where chance decodes more easily
	longRun    = 16 // invisible characters in a row that nothing legitimate has
	maxPayload = 64 << 10
)

// plainASCII reports that there is nothing to inspect.
func plainASCII(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c >= utf8.RuneSelf || c < ' ' && c != '\t' && c != '\n' && c != '\r' || c == 0x7f {
			return false
		}
	}
	return true
}

// inspect returns what was seen for hidden text, bidirectional controls and
// invisible characters, in this order.
func inspect(s string) [3]observation {
	in := inspector{bidi: bidi{}}
	runes := []rune(s)
	for i := 0; i < len(runes); i++ {
		i += in.look(runes, i)
	}
	return in.result()
}

type inspector struct {
	tags, selectors  []byte
	zero             []rune
	strays           int
	run, longest     int // of invisible characters in a row
	tagged, selected int
	bidi             bidi
	rtl              bool
}

// look takes the rune at i and returns how many more it used up.
func (in *inspector) look(runes []rune, i int) int {
	r := runes[i]
	if r < utf8.RuneSelf && r >= ' ' && r != 0x7f {
		in.run = 0
		return 0
	}
	switch {
	case r == '\n' || r == 0x2029:
		in.bidi.paragraph()
		in.run = 0
		return 0
	case r == '\t' || r == '\r':
		in.run = 0
		return 0
	case isTag(r):
		if i > 0 && runes[i-1] == 0x1f3f4 {
			if n := flag(runes[i:]); n > 0 {
				return n - 1
			}
		}
		in.tagged++
		if c := r - 0xe0000; c >= ' ' && c < 0x7f && len(in.tags) < maxPayload {
			in.tags = append(in.tags, byte(c))
		}
		in.invisible()
		return 0
	case isSelector(r):
		in.selector(runes, i)
		return 0
	case isZeroWidth(r):
		if in.needed(runes, i) {
			in.run = 0
			return 0
		}
		if len(in.zero) < maxPayload {
			in.zero = append(in.zero, r)
		}
		in.invisible()
		return 0
	case in.bidi.take(r):
		return 0
	case isFiller(r):
		in.invisible()
		return 0
	case r < ' ' || r >= 0x7f && r < 0xa0 || r >= 0xfff9 && r <= 0xfffb:
		in.strays++ // controls come in runs where text was decoded wrongly
		return 0
	}
	in.rtl = in.rtl || r >= 0x590 && r <= 0x8ff || r >= 0xfb1d && r <= 0xfeff || r >= 0x10800 && r <= 0x10fff || r >= 0x1e800 && r <= 0x1efff
	in.run = 0
	return 0
}

func (in *inspector) invisible() {
	in.strays++
	in.run++
	in.longest = max(in.longest, in.run)
}

// selector takes a variation selector. One behind something that has variants
// is writing; a second one, or one behind a letter of an alphabet that has
// none, carries a byte.
func (in *inspector) selector(runes []rune, i int) {
	alone := (i == 0 || !isSelector(runes[i-1])) && (i+1 == len(runes) || !isSelector(runes[i+1]))
	if alone && i > 0 && hasVariants(runes[i-1]) {
		return
	}
	in.selected++
	if len(in.selectors) < maxPayload {
		b := runes[i] - 0xfe00
		if runes[i] >= 0xe0100 {
			b = runes[i] - 0xe0100 + 16
		}
		in.selectors = append(in.selectors, byte(b))
	}
	in.invisible()
}

func (in *inspector) result() (out [3]observation) {
	switch {
	case readable(string(in.tags), minHidden):
		out[0] = observation{kindTags, in.tagged, string(in.tags)}
	case readable(selectorText(in.selectors), minHidden):
		out[0] = observation{kindSelectors, in.selected, selectorText(in.selectors)}
	default:
		if text := bitText(in.zero); text != "" {
			out[0] = observation{kindZeroWidth, len(in.zero), text}
		}
	}
	overrides, unclosed := in.bidi.end()
	switch {
	case overrides > 0:
		out[1] = observation{kind: kindOverride, count: overrides}
	case unclosed > 0 && in.rtl:
		out[1] = observation{kind: kindUnclosed, count: unclosed}
	case unclosed > 0:
		out[1] = observation{kind: kindOverride, count: unclosed}
	}
	switch {
	case out[0].count > 0: // said already
	case in.longest >= longRun:
		out[2] = observation{kind: kindUndecoded, count: in.longest}
	case in.strays > 0:
		out[2] = observation{kind: kindStray, count: in.strays}
	}
	return out
}

func isTag(r rune) bool { return r >= 0xe0000 && r <= 0xe007f }

func isSelector(r rune) bool {
	return r >= 0xfe00 && r <= 0xfe0f || r >= 0xe0100 && r <= 0xe01ef
}

// isZeroWidth: space, non-joiner and joiner, word joiner, invisible operators,
// the byte order mark, the grapheme joiner, soft hyphen, and the Mongolian
// vowel separator. Directional marks are writing.
func isZeroWidth(r rune) bool {
	switch r {
	case 0x200b, 0x200c, 0x200d, 0x2060, 0x2061, 0x2062, 0x2063, 0x2064, 0xfeff, 0x034f, 0x00ad, 0x180e:
		return true
	}
	return false
}

func isFiller(r rune) bool {
	return r == 0x115f || r == 0x1160 || r == 0x3164 || r == 0xffa0
}

// flag is the length of the tags of a recommended subdivision flag, or 0.
func flag(runes []rune) int {
	for _, name := range []string{"gbeng", "gbsct", "gbwls"} {
		n := len(name)
		if len(runes) <= n || runes[n] != 0xe007f {
			continue
		}
		same := true
		for i := range n {
			same = same && runes[i] == 0xe0000+rune(name[i])
		}
		if same {
			return n + 1
		}
	}
	return 0
}

// hasVariants: emoji, ideographs, mathematical signs and scripts with
// standardised variants have; letters of these alphabets and spaces have not.
func hasVariants(r rune) bool {
	if r < utf8.RuneSelf {
		return r >= '0' && r <= '9' || r == '#' || r == '*'
	}
	return !isSelector(r) && !isZeroWidth(r) && !isTag(r) && !unicode.IsSpace(r) &&
		!unicode.In(r, unicode.Latin, unicode.Greek, unicode.Cyrillic, unicode.Armenian, unicode.Hebrew, unicode.Georgian)
}

// needed reports that a zero-width character has a use where it stands.
func (in *inspector) needed(runes []rune, i int) bool {
	r := runes[i]
	var before, after rune
	for j := i - 1; j >= 0; j-- { // past a selector or skin tone to what it modifies
		if before = runes[j]; !isSelector(before) && (before < 0x1f3fb || before > 0x1f3ff) {
			break
		}
	}
	if i+1 < len(runes) {
		after = runes[i+1]
	}
	switch r {
	case 0xfeff:
		return i == 0
	case 0x00ad:
		return unicode.IsLetter(before) && unicode.IsLetter(after)
	case 0x200d:
		if isPictograph(before) && isPictograph(after) {
			return true
		}
		return joins(before)
	case 0x200c, 0x034f:
		return joins(before)
	case 0x200b, 0x2060: // marks where a line may break in scripts without spaces
		return joins(before) || joins(after) || isUnspaced(before) || isUnspaced(after)
	case 0x180e:
		return unicode.Is(unicode.Mongolian, before)
	}
	return false // the invisible operators have no use in running text
}

// isPictograph is a superset of what emoji sequences are made of.
func isPictograph(r rune) bool {
	return r >= 0x1f000 && r <= 0x1faff || r >= 0x2190 && r <= 0x2bff || r == 0x3030 || r == 0x303d
}

// joins: letters and marks of scripts in which joiners have a function, which
// are those outside the alphabets and the East Asian scripts.
func joins(r rune) bool {
	return (unicode.IsLetter(r) || unicode.IsMark(r)) && r > 0x590 && !isUnspaced(r) &&
		!unicode.In(r, unicode.Latin, unicode.Greek, unicode.Cyrillic, unicode.Armenian, unicode.Hebrew,
			unicode.Georgian, unicode.Hangul)
}

// isUnspaced: scripts that write words without spaces between them.
func isUnspaced(r rune) bool {
	return r > 0xe00 && unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Thai,
		unicode.Lao, unicode.Khmer, unicode.Myanmar, unicode.Tibetan)
}

// bidi follows embeddings, overrides and isolates through paragraphs.
type bidi struct {
	open      []rune
	overrides int
	unclosed  int
}

func (b *bidi) take(r rune) bool {
	switch r {
	case 0x202d, 0x202e:
		b.overrides++
		b.push(r)
	case 0x202a, 0x202b, 0x2066, 0x2067, 0x2068:
		b.push(r)
	case 0x202c: // closes what 202A, 202B, 202D and 202E open
		if n := len(b.open); n > 0 && b.open[n-1] < 0x2066 {
			b.open = b.open[:n-1]
		}
	case 0x2069:
		for n := len(b.open); n > 0; n-- { // closes what is open inside the isolate too
			if b.open[n-1] >= 0x2066 {
				b.open = b.open[:n-1]
				break
			}
		}
	default:
		return false
	}
	return true
}

func (b *bidi) push(r rune) {
	const depth = 125 // UAX 9: what is deeper has no effect
	if len(b.open) < depth {
		b.open = append(b.open, r)
	}
}

func (b *bidi) paragraph() {
	b.unclosed += len(b.open)
	b.open = b.open[:0]
}

func (b *bidi) end() (overrides, unclosed int) {
	b.paragraph()
	return b.overrides, b.unclosed
}

// readable reports whether s looks like text of at least n characters.
func readable(s string, n int) bool {
	if !utf8.ValidString(s) {
		return false
	}
	letters, all := 0, 0
	for _, r := range s {
		if !unicode.IsPrint(r) && !unicode.IsSpace(r) {
			return false
		}
		all++
		if unicode.IsLetter(r) || unicode.IsDigit(r) || r == ' ' {
			letters++
		}
	}
	return all >= n && 2*letters >= all
}

// selectorText reads the bytes of variation selectors. The usual encoder puts
// byte b at selector b+1; some skip the first sixteen selectors.
func selectorText(b []byte) string {
	if s := string(b); readable(s, minHidden) {
		return s
	}
	shifted := make([]byte, len(b))
	for i, c := range b {
		shifted[i] = c - 16
	}
	return string(shifted)
}

// bitText reads a sequence of zero-width characters as bits, eight to a character,
// most significant first: two of the characters are the digits, others
// separate. It returns "" when no reading is a text.
func bitText(zero []rune) string {
	if len(zero) < 8*minBits {
		return ""
	}
	var kinds []rune
	for _, r := range zero {
		if !strings.ContainsRune(string(kinds), r) {
			kinds = append(kinds, r)
		}
	}
	if len(kinds) > 4 {
		return ""
	}
	for _, zero0 := range kinds {
		for _, one := range kinds {
			if zero0 == one {
				continue
			}
			if text := readBits(zero, zero0, one); readable(text, minBits) {
				return text
			}
		}
	}
	return ""
}

func readBits(seq []rune, zero, one rune) string {
	var out []byte
	var c byte
	n := 0
	for _, r := range seq {
		switch r {
		case zero:
			c <<= 1
		case one:
			c = c<<1 | 1
		default:
			continue
		}
		if n++; n == 8 {
			out = append(out, c)
			c, n = 0, 0
		}
	}
	return string(out)
}
