package report

import "io"

func HTML(w io.Writer, doc Document) error     { return nil }
func JUnit(w io.Writer, doc Document) error    { return nil }
func Markdown(w io.Writer, doc Document) error { return nil }
func SARIF(w io.Writer, doc Document) error    { return nil }
func Text(w io.Writer, doc Document) error     { return nil }
