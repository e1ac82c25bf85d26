package scan

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/prerun/prerun"
)

// ruleXMLDocType is for all formats that are XML.
var ruleXMLDocType = prerun.Rule{
	ID: "scan.xml.document-type", Title: "XML that declares a document type", Severity: prerun.Medium,
	Help: "The document has a document type declaration. Parsers that follow it read files and addresses of the author's choosing or expand entities without end. The finding is high when it declares entities or refers to something outside. No model needs one. Do not load the file.",
	Refs: []prerun.Reference{
		cwe("CWE-611"),
		cwe("CWE-776"),
	},
}

// Bounds of XML documents.
const (
	maxXML         = 256 << 20
	maxXMLDepth    = 256
	maxXMLElements = 8 << 20
	maxXMLToken    = 16 << 20 // bytes of a text, a tag or all open tags, which are held in memory
)

// An xmlElement is one element of a document.
type xmlElement struct {
	Space, Name string
	Attrs       []xml.Attr
	At          int64 // offset of the start tag

	size int64 // of the start tag
}

// Attr is the value of an attribute without a name space, or "".
func (e xmlElement) Attr(name string) string {
	for _, a := range e.Attrs {
		if a.Name.Local == name && a.Name.Space == "" {
			return a.Value
		}
	}
	return ""
}

// xmlLike reports whether a file starts like XML, in any encoding that a
// lenient parser takes.
func xmlLike(p Probe) bool {
	head := p.Head
	for _, bom := range []string{"\xef\xbb\xbf", "\xff\xfe", "\xfe\xff"} {
		head = bytes.TrimPrefix(head, []byte(bom))
	}
	return bytes.HasPrefix(bytes.TrimLeft(head, " \t\r\n\x00"), []byte("<"))
}

// walkXML yields every element, with the elements around it: the last of path
// is the one that starts. It reads strictly, resolves nothing that a document
// declares, and reports document types. Text is not yielded. What is no UTF-8,
// not well-formed or beyond the bounds is an error. path is valid until yield
// returns.
func walkXML(a *Artifact, out *Sink, yield func(path []xmlElement) error) error {
	if a.Size > maxXML {
		return fmt.Errorf("XML of %d bytes; %d are read: %w", a.Size, maxXML, ErrBudget)
	}
	counted := &xmlReader{r: a.Section(0, a.Size)}
	d := xml.NewDecoder(counted)
	var path []xmlElement
	elements, held := 0, int64(0) // bytes of the tags in path
	for {
		counted.left = maxXMLToken
		at := d.InputOffset()
		token, err := d.RawToken()
		if errors.Is(err, io.EOF) {
			if len(path) > 0 {
				return fmt.Errorf("offset %d: the XML ends within %q", at, excerpt(path[len(path)-1].Name, 80))
			}
			return nil
		}
		if err != nil {
			return err
		}
		switch t := token.(type) {
		case xml.Directive:
			docType(out, t, at, d.InputOffset()-at)
		case xml.StartElement:
			if elements++; elements > maxXMLElements || len(path) == maxXMLDepth {
				return fmt.Errorf("offset %d: more than %d elements or %d levels: %w", at, maxXMLElements, maxXMLDepth, ErrBudget)
			}
			e := xmlElement{Space: t.Name.Space, Name: t.Name.Local, Attrs: t.Attr, At: at, size: d.InputOffset() - at}
			if held += e.size; held > maxXMLToken {
				return fmt.Errorf("offset %d: nested tags of more than %d bytes: %w", at, maxXMLToken, ErrBudget)
			}
			path = append(path, e)
			if err := yield(path); err != nil {
				return err
			}
		case xml.EndElement:
			last := len(path) - 1
			if last < 0 || path[last].Name != t.Name.Local || path[last].Space != t.Name.Space {
				return fmt.Errorf("offset %d: end of %q, which did not start", at, excerpt(t.Name.Local, 80))
			}
			held -= path[last].size
			path = path[:last]
		}
	}
}

// xmlReader bounds how much one token takes.
type xmlReader struct {
	r    io.Reader
	left int
}

func (x *xmlReader) Read(p []byte) (int, error) {
	if x.left <= 0 {
		return 0, fmt.Errorf("text or tag of more than %d bytes: %w", maxXMLToken, ErrBudget)
	}
	n, err := x.r.Read(p[:min(len(p), x.left)])
	x.left -= n
	return n, err
}

func docType(out *Sink, t xml.Directive, at, n int64) {
	text := strings.ToUpper(string(t))
	sev := prerun.Medium
	for _, w := range []string{"ENTITY", "SYSTEM", "PUBLIC"} {
		if strings.Contains(text, w) {
			sev = prerun.High
		}
	}
	out.Finding(prerun.Finding{
		Rule:       ruleXMLDocType,
		Severity:   sev,
		Confidence: prerun.ConfidenceHigh,
		Locations:  []prerun.Location{{Offset: at, Length: n}},
		Message:    fmt.Sprintf("the document declares %q", excerpt(string(t), 120)),
		Key:        "doctype",
	})
}
