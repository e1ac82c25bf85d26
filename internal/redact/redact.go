// Package redact makes excerpts of scanned material fit to be shown: what looks
// like a secret or like personal data is masked, and what a terminal or a page
// would act on is escaped. It errs on the side of masking; it is no detector.
package redact

import (
	"fmt"
	"regexp"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"
)

// A mask replaces what its expression matches. The first group, where there is
// one, is kept: it names what stood there.
type mask struct {
	may  func(*traits) bool // what a text must have for the expression to match, told without it
	re   *regexp.Regexp
	with string
}

// Order matters: a token inside a URL is masked as a token first. Compiling
// takes what a short run of a command would notice.
var masks = sync.OnceValue(func() []mask {
	return []mask{
		{has("-----BEGIN "), regexp.MustCompile(`(?s)-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----.*?(?:-----END [A-Z0-9 ]*PRIVATE KEY-----|$)`), "[private key]"},
		{has("eyJ"), regexp.MustCompile(`\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*)?`), "[token]"},
		{has("sk-", "sk_", "pk-", "pk_", "rk-", "rk_"), regexp.MustCompile(`\b(?:sk|pk|rk)[-_](?:ant-|proj-|live_|test_)?[A-Za-z0-9_-]{16,}`), "[secret]"},
		{
			has("ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-", "hf_", "xox", "npm_", "pypi-", "AKIA", "ASIA", "AIza", "ya29.", "SG."),
			regexp.MustCompile(`\b(?:gh[pousr]_|github_pat_|glpat-|hf_|xox[abposr]-|npm_|pypi-|AKIA|ASIA|AIza|ya29\.|SG\.)[A-Za-z0-9_.-]{12,}`), "[secret]",
		},
		{(*traits).assigns, regexp.MustCompile(`(?i)(\b(?:password|passwd|pwd|secret|token|api[_-]?key|authorization)["']?\s*[:=]\s*["']?(?:bearer\s+|basic\s+)?|\bbearer\s+)[^\s"',;]{4,}`), "${1}[secret]"},
		{has("://"), regexp.MustCompile(`(?i)\b([a-z][a-z0-9+.-]*://)[^\s/@:]+(?::[^\s/@]*)?@`), "${1}[credential]@"},
		{has("@"), regexp.MustCompile(`[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}`), "[email]"},
		{digits(9), regexp.MustCompile(`\b\d{3}-\d{2}-\d{4}\b`), "[number]"},
		{digits(13), regexp.MustCompile(`\b(?:\d[ -]?){12,18}\d\b`), "[number]"},
		{digits(2), regexp.MustCompile(`(?:\+|\b00)\d[\d ().-]{6,16}\d\b`), "[phone]"},
		{digits(10), regexp.MustCompile(`\(?\b\d{3}\)?[ .-]\d{3}[ .-]\d{4}\b`), "[phone]"},
		{func(t *traits) bool { return t.run >= 40 }, regexp.MustCompile(`\b[A-Za-z0-9+/_-]{40,}={0,2}`), "[opaque]"},
	}
})

// Traits are what one look at a text tells. Masks put in letters and brackets
// only, so they hold for the text while it is masked.
type traits struct {
	s      string
	digits int
	run    int       // the longest run of the letters of base64, in either alphabet
	seen   [2]uint64 // ASCII characters in the text
	ascii  bool      // nothing else is
}

func traitsOf(s string) traits {
	t := traits{s: s, ascii: true}
	run := 0
	for i := range len(s) {
		c := s[i]
		if c >= utf8.RuneSelf {
			t.ascii, run = false, 0
			continue
		}
		t.seen[c>>6] |= 1 << (c & 63)
		switch {
		case '0' <= c && c <= '9':
			t.digits++
			fallthrough
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', c == '+', c == '/', c == '_', c == '-':
			run++
			t.run = max(t.run, run)
		default:
			run = 0
		}
	}
	return t
}

func (t *traits) any(chars string) bool {
	for i := range len(chars) {
		if c := chars[i]; t.seen[c>>6]&(1<<(c&63)) != 0 {
			return true
		}
	}
	return false
}

func has(parts ...string) func(*traits) bool {
	return func(t *traits) bool {
		for _, p := range parts {
			if t.any(p[:1]) && strings.Contains(t.s, p) {
				return true
			}
		}
		return false
	}
}

func digits(n int) func(*traits) bool { return func(t *traits) bool { return t.digits >= n } }

// assigns tells of a name before a value, or of a header. Other scripts have
// letters that count as Latin ones when case does not matter.
func (t *traits) assigns() bool {
	if !t.ascii {
		return true
	}
	if !t.any(":=") && !t.any(" \t\n\f\r") {
		return false
	}
	for _, word := range []string{"pass", "pwd", "secret", "token", "api", "authorization", "bearer"} {
		if t.any(word[:1]+strings.ToUpper(word[:1])) && foldContains(t.s, word) {
			return true
		}
	}
	return false
}

// foldContains is strings.Contains whatever the case of the ASCII letters in s.
func foldContains(s, word string) bool {
	for i := 0; i+len(word) <= len(s); i++ {
		if s[i]|0x20 == word[0] && strings.EqualFold(s[i:i+len(word)], word) {
			return true
		}
	}
	return false
}

// Text masks secrets and personal data in s. It does not escape; use
// [Excerpt] for what goes into a report.
func Text(s string) string {
	t := traitsOf(s)
	for _, m := range masks() {
		if m.may(&t) {
			s = m.re.ReplaceAllString(s, m.with)
		}
	}
	return s
}

// Excerpt is the start of b as one printable line of at most max runes:
// masked, white space folded, control, invisible and bidirectional characters
// and bytes that are not UTF-8 written as escapes. A cut is shown by "…".
func Excerpt(b []byte, max int) string {
	const window = 16 << 10 // masking looks a little past the cut, not at gigabytes
	cut := len(b) > window
	if cut {
		b = b[:window]
	}
	s := Text(string(b))
	var out strings.Builder
	out.Grow(min(len(s), max+len("…")))
	n := 0
	space := false
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		piece := visible(r, s[i:i+size])
		i += size
		if piece == " " {
			if space || n == 0 {
				continue
			}
			space = true
		} else {
			space = false
		}
		width := utf8.RuneCountInString(piece)
		if n+width > max {
			cut = true
			break
		}
		out.WriteString(piece)
		n += width
	}
	excerpt := strings.TrimRight(out.String(), " ")
	if cut {
		excerpt += "…"
	}
	return excerpt
}

func visible(r rune, raw string) string {
	switch {
	case r == utf8.RuneError && len(raw) <= 1:
		return fmt.Sprintf(`\x%02x`, raw[0])
	case unicode.IsSpace(r):
		return " "
	case unicode.IsPrint(r) && !unicode.Is(unicode.Variation_Selector, r):
		return raw
	}
	return fmt.Sprintf("\\u{%x}", r)
}
