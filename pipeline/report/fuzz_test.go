package report_test

import (
	"encoding/json"
	"io"
	"testing"

	"github.com/prerun/prerun/pipeline/report"
)

// Any text anywhere in a document leaves each report well-formed and inert.
func FuzzHostileText(f *testing.F) {
	for _, s := range nasty {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if len(s) > 200 {
			s = s[:200] // longer texts try nothing new
		}
		doc := hostile(s)
		for format, check := range map[string]func(string) error{
			"html": checkPage, "junit": checkXML, "markdown": checkMarkdown, "text": checkText,
			"json":  func(s string) error { return json.Unmarshal([]byte(s), new(any)) },
			"sarif": func(s string) error { return json.Unmarshal([]byte(s), new(sarifLog)) },
		} {
			if err := check(render(t, format, doc)); err != nil {
				t.Errorf("%s of %q: %v", format, s, err)
			}
		}
	})
}

func BenchmarkWriters(b *testing.B) {
	doc := thousand()
	for _, format := range report.Formats() {
		write, err := report.For(format)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(format, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(render(b, format, doc))))
			for b.Loop() {
				if err := write(io.Discard, doc); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
