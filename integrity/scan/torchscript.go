package scan

import (
	"bytes"
	"context"
	"regexp"
	"slices"
	"strings"

	"github.com/prerun/prerun"
)

// torchscriptFormat reads the source files of a TorchScript archive. The
// language has no imports and no reach beyond its operators, so what matters is
// which operators it names. They run when the model is called, some when it is
// set up.
type torchscriptFormat struct{}

var (
	ruleTorchScriptReach = prerun.Rule{
		ID: "scan.torchscript.reaching-operator", Title: "operator that reaches files or other machines", Severity: prerun.High,
		Help: "The model's code calls an operator that reads or writes a file of its choosing or calls another process. No model needs one to compute. Do not load the file.",
		Refs: []prerun.Reference{refUnsafeModel, refForeignCode},
	}
	ruleTorchScriptCustom = prerun.Rule{
		ID: "scan.torchscript.custom-operator", Title: "operator of another library", Severity: prerun.Low,
		Help: "The model's code calls an operator or a class that torch does not have. A native library has to be loaded for it, which was not scanned here. Load it only with a library that you trust.",
		Refs: []prerun.Reference{refForeignCode},
	}
	ruleTorchScriptPython = prerun.Rule{
		ID: "scan.torchscript.python-code", Title: "Python that TorchScript does not have", Severity: prerun.Medium,
		Help: "A source file of the archive has Python that the language lacks, such as an import or eval. The exporter never writes it; tools that run these files as Python would execute it. Do not load the model; export it again.",
		Refs: []prerun.Reference{refEmbedded, refUnsafeModel},
	}
)

func (torchscriptFormat) Info() Info {
	return Info{
		ID: "torchscript", Within: []string{"text", "python", "json"},
		Rules: []prerun.Rule{ruleTorchScriptReach, ruleTorchScriptCustom, ruleTorchScriptPython},
	}
}

func (torchscriptFormat) Match(p Probe) Match {
	if p.Ext() == ".py" && torchScript(&p) {
		return Maybe
	}
	return No
}

// torchReach are the operators of torch itself that reach out.
var torchReach = []string{"from_file", "save", "load", "rpc_async", "rpc_sync", "rpc_remote", "PythonOp"}

// torchLibraries are the operators that torch and its sister projects bring.
var torchLibraries = []string{
	"aten", "prim", "prims", "quantized", "_quantized", "torch", "torchvision", "torchaudio", "torchtext", "torchrec", "fbgemm",
	"prepacked", "xnnpack", "mkldnn", "mkldnn_prepacked", "sparse", "inductor", "profiler", "static_runtime", "cuda", "metal",
	"metal_prepack", "vulkan", "vulkan_prepack", "tensorexpr", "nvprims", "c10d", "_c10d_functional", "quantized_decomposed",
	"rel", "onnx", "image", "debugprims", "preprocessing", "_test", "mtia", "xpu", "mps", "nnapi", "_caffe2", "internal",
}

// torchClasses are the namespaces of classes that torch itself registers: packed
// parameters of quantised, sparse and recurrent layers.
var torchClasses = []string{"quantized", "rnn", "sparse", "xnnpack"}

var (
	torchOperator = regexp.MustCompile(`(?:^|[^\w.])(?:(torch)\.(\w+)|ops\.(\w+)\.(\w+)|(__torch__\.torch\.classes\.\w+))`)
	pythonOnly    = regexp.MustCompile(`(?:^|[^\w.])((?:__import__|eval|exec|compile|open|getattr|globals)\s*\(|import\s+\w+|from\s+\w[\w.]*\s+import)|\.(__\w+__)`)
	// The exporter writes the attributes of containers, which are numbers.
	torchAttribute = regexp.MustCompile(`getattr\(\w+(?:\.\w+)*, "\d+"\)`)
	// Operators whose names look like methods of Python objects.
	torchDunder = regexp.MustCompile(`\btorch\.__(?:not|is|isnot|contains|and|or|xor|lshift|rshift|iand|ior|ixor|ilshift|irshift|getitem|range_length|derive_index)__\(|\b__torch__(?:\.\w+)+\.__new__\(`)
)

// A torch archive's own imports name its other files by this.
const torchImport = "import __torch__"

func (torchscriptFormat) Scan(ctx context.Context, a *Artifact, out *Sink) error {
	data, err := a.small(out, "code")
	if data == nil {
		return err
	}
	line := 0
	seen := make(map[string]bool)
	report := func(rule prerun.Rule, what, format string) {
		what = excerpt(what, 80)
		if seen[rule.ID+what] || len(seen) > 256 {
			return
		}
		seen[rule.ID+what] = true
		out.report(rule, 0, prerun.Location{Line: line}, what, format, what)
	}
	for text := range bytes.Lines(data) {
		line++
		if line&1023 == 0 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		code := withoutTexts(text)
		for _, m := range matches(torchOperator, code, "torch.", "ops.") {
			library, op := m[1]+m[3], m[2]+m[4]
			switch {
			case m[5] != "":
				if slices.Contains(torchClasses, strings.TrimPrefix(m[5], "__torch__.torch.classes.")) {
					continue
				}
				report(ruleTorchScriptCustom, m[5], "class %q is of a library")
			case slices.Contains(torchReach, op) && (library == "torch" || library == "aten" || library == "prim"):
				report(ruleTorchScriptReach, library+"."+op, "operator %q is called")
			case !slices.Contains(torchLibraries, library):
				report(ruleTorchScriptCustom, library+"."+op, "operator %q is of a library")
			}
		}
		if strings.HasPrefix(strings.TrimSpace(code), torchImport) {
			continue
		}
		if bytes.Contains(text, []byte("getattr(")) {
			code = withoutTexts(torchAttribute.ReplaceAll(text, nil))
		}
		if strings.Contains(code, "__") {
			code = torchDunder.ReplaceAllString(code, "")
		}
		for _, m := range matches(pythonOnly, code, "__", "import", "eval", "exec", "compile", "open", "getattr", "globals") {
			switch m[2] {
			case "__torch__", "__annotations__", "__parameters__", "__buffers__", "__module__", "__getitem__", "__setstate__", "__getstate__", "__init__":
				continue
			}
			report(ruleTorchScriptPython, strings.TrimSpace(m[1]+m[2]), "the code has %q")
		}
	}
	return nil
}

// matches is all that an expression finds in a line. There is nothing without
// one of those parts.
func matches(re *regexp.Regexp, line string, parts ...string) [][]string {
	if !slices.ContainsFunc(parts, func(p string) bool { return strings.Contains(line, p) }) {
		return nil
	}
	return re.FindAllStringSubmatch(line, -1)
}

// withoutTexts is a line without comments and with empty string literals. The
// exporter writes every literal on one line.
func withoutTexts(line []byte) string {
	out := make([]byte, 0, len(line))
	quote := byte(0)
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case quote != 0 && c == '\\':
			i++
		case quote != 0 && c == quote:
			quote = 0
			out = append(out, c)
		case quote != 0:
		case c == '\'' || c == '"':
			quote = c
			out = append(out, c)
		case c == '#':
			return string(out)
		default:
			out = append(out, c)
		}
	}
	return string(out)
}
