package scan

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/prerun/prerun"
)

// pmmlFormat reads the Predictive Model Markup Language. Its elements are data
// that an engine interprets, with three ways out: what XML itself can do
// (document types, inclusion, references), functions that the engine looks up
// as classes of its own program, and extensions, which mean whatever some
// engine makes of them. Facts: "framework", "version", "application" that wrote
// it, "functions" that are none of PMML's, "extensions" their number.
//
// Of text only the start of what an extension holds is looked at. Expressions
// are not evaluated, nor are references between elements followed.
type pmmlFormat struct{}

var (
	rulePMMLReference = prerun.Rule{
		ID: "scan.pmml.external-reference", Title: "document that refers to another", Severity: prerun.Medium,
		Help: "An element refers to another document, which a parser or engine may fetch: a file of the machine, or an address that sees who loads the model. A model is one document. The finding is high where the parser itself includes the other document. Put the content into the document.",
		Refs: []prerun.Reference{cwe("CWE-611"), refSupply},
	}
	rulePMMLClass = prerun.Rule{
		ID: "scan.pmml.java-function", Title: "function that is a class", Severity: prerun.Medium,
		Help: "The model applies a function by the name of a Java class. Engines such as JPMML load a class of that name from the program's class path and call it. Make sure that the class is one that you mean to run.",
		Refs: []prerun.Reference{refForeignCode, cwe("CWE-470")},
	}
	rulePMMLExtension = prerun.Rule{
		ID: "scan.pmml.extension-code", Title: "code in an extension", Severity: prerun.Medium,
		Help: "An extension of the model holds program code or a script. Engines ignore extensions that they do not know; one that knows it runs the code. Remove the extension, or review it like any program.",
		Refs: []prerun.Reference{refForeignCode},
	}
)

func (pmmlFormat) Info() Info {
	return Info{
		ID: "pmml", Within: []string{"text"}, Extensions: []string{".pmml"},
		Rules: []prerun.Rule{rulePMMLReference, rulePMMLClass, rulePMMLExtension, ruleXMLDocType},
	}
}

func (pmmlFormat) Match(p Probe) Match {
	if xmlLike(p) && (p.Ext() == ".pmml" || strings.Contains(string(p.Head), "PMML")) {
		return Maybe
	}
	return No
}

// A pmmlScan is the reading of one document.
type pmmlScan struct {
	a          *Artifact
	out        *Sink
	root       bool
	extensions int
	functions  map[string]bool // none of PMML's
}

// pmmlShown bounds the functions in the facts.
const pmmlShown = 32

// pmmlText bounds what is read of the text in one element of an extension.
const pmmlText = 1 << 10

func (pmmlFormat) Scan(_ context.Context, a *Artifact, out *Sink) error {
	s := &pmmlScan{a: a, out: out, functions: make(map[string]bool)}
	err := walkXML(a, out, s.element)
	if !s.root && (err == nil || a.Ext() != ".pmml") {
		return fmt.Errorf("pmml: %w", ErrNotFormat)
	}
	out.Fact("framework", "pmml")
	out.Fact("extensions", strconv.Itoa(s.extensions))
	if names := sortedKeys(s.functions); len(names) > 0 {
		out.Fact("functions", excerpt(strings.Join(names, " "), 200))
	}
	if err != nil {
		return fmt.Errorf("pmml: %w", err)
	}
	out.Claim(0, a.Size)
	return nil
}

func (s *pmmlScan) element(path []xmlElement) error {
	e := &path[len(path)-1]
	if len(path) == 1 {
		if e.Name != "PMML" {
			return fmt.Errorf("root element %q: %w", excerpt(e.Name, 60), ErrNotFormat)
		}
		s.root = true
		s.out.Fact("version", excerpt(e.Attr("version"), 20))
		return nil
	}
	s.references(e)
	switch e.Name {
	case "Application":
		s.out.Fact("application", excerpt(e.Attr("name"), 60))
	case "Apply":
		s.function(e)
	case "Extension":
		s.extensions++
	}
	for i := range path {
		if path[i].Name == "Extension" {
			return s.extension(e)
		}
	}
	return nil
}

// references looks for inclusion, and for attributes that lead elsewhere. Where
// the schema of a document is found is no such attribute.
func (s *pmmlScan) references(e *xmlElement) {
	for _, a := range e.Attrs {
		name := strings.ToLower(a.Name.Local)
		if name != "href" && name != "src" || a.Value == "" || strings.HasPrefix(a.Value, "#") {
			continue
		}
		sev := prerun.Medium
		if strings.EqualFold(e.Name, "include") {
			sev = prerun.High
		}
		s.finding(rulePMMLReference, sev, e, excerpt(a.Value, 120), "element %q refers to %q", excerpt(e.Name, 60), excerpt(a.Value, 120))
	}
}

// function tells functions of PMML and of the document from classes: those have
// a package before their name.
func (s *pmmlScan) function(e *xmlElement) {
	name := e.Attr("function")
	before, after, dotted := strings.Cut(name, ".")
	if dotted && before != "" && after != "" && strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.$") == "" {
		s.finding(rulePMMLClass, 0, e, excerpt(name, 120), "function %q is a class", excerpt(name, 120))
	}
	if strings.ContainsAny(name, ".-:") && len(s.functions) < pmmlShown {
		s.functions[excerpt(name, 60)] = true
	}
}

// extension looks at an element that an extension is, or holds.
func (s *pmmlScan) extension(e *xmlElement) error {
	text, err := s.text(e)
	if err != nil {
		return err
	}
	what := codeIn(text)
	if strings.EqualFold(e.Name, "script") {
		what = "a script"
	}
	for _, a := range e.Attrs {
		if what == "" {
			what = codeIn(a.Value)
		}
	}
	if what != "" {
		s.finding(rulePMMLExtension, 0, e, excerpt(e.Attr("name"), 60), "an extension holds %s", what)
	}
	return nil
}

// text is the start of what stands behind a start tag, as it is written.
func (s *pmmlScan) text(e *xmlElement) (string, error) {
	off := e.At + e.size
	p, err := s.a.Bytes(off, min(pmmlText, s.a.Size-off))
	if err != nil {
		return "", err
	}
	if cdata, ok := strings.CutPrefix(string(p), "<![CDATA["); ok {
		text, _, _ := strings.Cut(cdata, "]]>")
		return text, nil
	}
	text, _, _ := strings.Cut(string(p), "<")
	return text, nil
}

func (s *pmmlScan) finding(rule prerun.Rule, sev prerun.Severity, e *xmlElement, key, format string, args ...any) {
	s.out.report(rule, sev, prerun.Location{Offset: e.At, Length: max(e.size, 1)}, key, format, args...)
}
