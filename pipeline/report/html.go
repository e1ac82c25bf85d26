package report

import "io"

// HTML writes one page.
func HTML(w io.Writer, doc Document) error { return Markdown(w, doc) }
