package redact

// TextByAll masks with every expression, whatever the text looks like.
func TextByAll(s string) string {
	for _, m := range masks() {
		s = m.re.ReplaceAllString(s, m.with)
	}
	return s
}
