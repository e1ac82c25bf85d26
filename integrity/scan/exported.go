package scan

import (
	"fmt"
	"path"
	"regexp"
	"strings"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/internal/strictjson"
)

// A program that torch.export saved is a zip archive with the graph as JSON.
// Sizes that are symbols stand there as texts, which sympy.sympify evaluates on
// load (expr_str), and conditions on inputs as Python source, which runs when
// the program's module is first called (guards_code).

var ruleTorchExpression = prerun.Rule{
	ID: "scan.torch.expression", Title: "expression that does more than compute sizes", Severity: prerun.High,
	Help: "The graph has an expression for a size, or a condition on an input, that calls functions or reaches attributes which no size needs. torch.export.load evaluates such texts as Python. Do not load the file.",
	Refs: []prerun.Reference{refUnsafeModel, cwe("CWE-95")},
}

var ruleTorchPackage = prerun.Rule{
	ID: "scan.torch.package-code", Title: "package that brings its own code", Severity: prerun.Medium,
	Help: "The file is an archive of torch.package, with Python source that its importer runs when the model is loaded. Review that source like any program you run, or save the weights alone.",
	Refs: []prerun.Reference{refForeignCode, refUnsafeModel},
}

// packaged reports the source files of an archive of torch.package, which lists
// what it does not bring.
func packaged(p *Probe) bool {
	top, _, _ := strings.Cut(p.Name, "/")
	_, ok := p.Tree.Lookup(top + "/.data/extern_modules")
	return ok
}

// exportedProgram reports the graph of a program, by its place in the archive.
func exportedProgram(p Probe) bool {
	if p.Base() == "serialized_exported_program.json" {
		return true
	}
	dir := path.Dir(p.Name)
	_, ok := p.Tree.Lookup(path.Join(path.Dir(dir), "archive_format"))
	return ok && path.Base(dir) == "models" && p.Ext() == ".json"
}

// maxExpression bounds the text of one expression.
const maxExpression = 1 << 20

func (c *configScan) expression(v *strictjson.Value, at string) {
	if v.Kind == strictjson.Array {
		for i := range v.Items {
			c.expression(&v.Items[i], fmt.Sprintf("%s/%d", at, i))
		}
		return
	}
	if v.Kind != strictjson.String {
		return
	}
	if what := odd(v.Text[:min(len(v.Text), maxExpression)]); what != "" || len(v.Text) > maxExpression {
		shown := excerpt(what, 80)
		c.finding(ruleTorchExpression, 0, v, at, shown, "the expression has %q", shown)
	}
}

var (
	// symbolText is what stands in quotes: names of symbols and inputs, numbers.
	symbolText = regexp.MustCompile(`^[\w.+-]*$`)
	quoted     = regexp.MustCompile(`'[^']*'|"[^"]*"`)
	calledName = regexp.MustCompile(`([A-Za-z_]\w*)\s*\(`)
	attribute  = regexp.MustCompile(`\.\s*([A-Za-z_]\w*)`)
	statement  = regexp.MustCompile(`\b(?:lambda|import|exec|eval|for|while|with|yield|await|class|def)\b|:=|[;{}@\\]`)
)

// plainCalls are the functions in lower case that sizes and conditions call,
// and plainAttributes what the latter look up in tensors. Sympy's own classes,
// which sizes are made of, begin with a capital.
var (
	plainCalls = map[string]bool{
		"floor": true, "ceiling": true, "sqrt": true, "log": true, "exp": true, "abs": true, "min": true, "max": true, "len": true, "int": true,
		"float": true, "bool": true, "round": true, "isinstance": true, "size": true, "stride": true, "dim": true, "numel": true,
		"storage_offset": true, "item": true, "is_contiguous": true, "and": true, "or": true, "not": true, "in": true, "is": true, "if": true, "else": true,
	}
	plainAttributes = map[string]bool{
		"size": true, "stride": true, "shape": true, "dim": true, "ndim": true, "dtype": true, "device": true, "numel": true, "storage_offset": true,
		"item": true, "is_contiguous": true, "requires_grad": true, "type": true, "sym_max": true, "sym_min": true, "sqrt": true,
	}
	// evaluating are classes of sympy that evaluate texts again or run functions.
	evaluating = map[string]bool{"S": true, "N": true, "Lambda": true, "Function": true, "Interval": true}
)

// odd is the part of an expression that computes no size, or "".
func odd(text string) string {
	for _, q := range quoted.FindAllString(text, -1) {
		if !symbolText.MatchString(q[1:len(q)-1]) || strings.Contains(q, "__") {
			return q
		}
	}
	code := quoted.ReplaceAllString(text, "0")
	if strings.ContainsAny(code, `'"`) {
		return text
	}
	if m := statement.FindString(code); m != "" {
		return m
	}
	if i := strings.Index(code, "__"); i >= 0 {
		return code[i:]
	}
	for _, m := range calledName.FindAllStringSubmatch(code, -1) {
		name := m[1]
		if evaluating[name] || name[0] >= 'a' && !plainCalls[name] || name[0] == '_' {
			return name + "("
		}
	}
	for _, m := range attribute.FindAllStringSubmatch(code, -1) {
		if !plainAttributes[m[1]] {
			return "." + m[1]
		}
	}
	return ""
}
