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
	re   *regexp.Regexp
	with string
}

// Order matters: a token inside a URL is masked as a token first. Compiling
// takes what a short run of a command would notice.
var masks = sync.OnceValue(func() []mask {
	return []mask{
		{regexp.MustCompile(`(?s)-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----.*?(?:-----END [A-Z0-9 ]*PRIVATE KEY-----|$)`), "[private key]"},
		{regexp.MustCompile(`\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*)?`), "[token]"},
		{regexp.MustCompile(`\b(?:sk|pk|rk)[-_](?:ant-|proj-|live_|test_)?[A-Za-z0-9_-]{16,}`), "[secret]"},
		{regexp.MustCompile(`\b(?:gh[pousr]_|github_pat_|glpat-|hf_|xox[abposr]-|npm_|pypi-|AKIA|ASIA|AIza|ya29\.|SG\.)[A-Za-z0-9_.-]{12,}`), "[secret]"},
		{regexp.MustCompile(`(?i)(\b(?:password|passwd|pwd|secret|token|api[_-]?key|authorization)["']?\s*[:=]\s*["']?(?:bearer\s+|basic\s+)?|\bbearer\s+)[^\s"',;]{4,}`), "${1}[secret]"},
		{regexp.MustCompile(`(?i)\b([a-z][a-z0-9+.-]*://)[^\s/@:]+(?::[^\s/@]*)?@`), "${1}[credential]@"},
		{regexp.MustCompile(`[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}`), "[email]"},
		{regexp.MustCompile(`\b\d{3}-\d{2}-\d{4}\b`), "[number]"},
		{regexp.MustCompile(`\b(?:\d[ -]?){12,18}\d\b`), "[number]"},
		{regexp.MustCompile(`(?:\+|\b00)\d[\d ().-]{6,16}\d\b`), "[phone]"},
		{regexp.MustCompile(`\(?\b\d{3}\)?[ .-]\d{3}[ .-]\d{4}\b`), "[phone]"},
		{regexp.MustCompile(`\b[A-Za-z0-9+/_-]{40,}={0,2}`), "[opaque]"},
	}
})

// Text masks secrets and personal data in s. It does not escape; use
// [Excerpt] for what goes into a report.
func Text(s string) string {
	for _, m := range masks() {
		s = m.re.ReplaceAllString(s, m.with)
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
