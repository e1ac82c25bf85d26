package scan

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"strings"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/internal/strictjson"
)

// kerasFormat reads the configuration of Keras models: config.json of the
// Keras 3 archive, and architectures saved as JSON. It names classes and
// functions that are looked up and called while the model is put together.
// Facts: "framework".
type kerasFormat struct{}

var (
	ruleKerasLambda = prerun.Rule{
		ID: "scan.keras.lambda", Title: "layer that holds code", Severity: prerun.High,
		Help: "The model has a Lambda layer: Python byte code or a function looked up by name, which runs when the model is loaded or called. Keras 3 refuses it in safe mode, older versions and other loaders run it. Replace the layer by one of Keras' own.",
		Refs: []prerun.Reference{refDeserialize, refUnsafeModel, cve("2024-3660"), cve("2025-9905")},
	}
	ruleKerasModule = prerun.Rule{
		ID: "scan.keras.foreign-module", Title: "object from a module outside Keras", Severity: prerun.Medium,
		Help: "The configuration names a Python module that is not part of Keras, which is imported while the model is loaded. The finding is high when the module can run commands, files or other code; Keras before 3.9 runs it even in safe mode. Do not load the model unless you know the module.",
		Refs: []prerun.Reference{refDeserialize, refForeignCode, cve("2025-1550")},
	}
	ruleKerasCustom = prerun.Rule{
		ID: "scan.keras.custom-object", Title: "class of the model's own program", Severity: prerun.Low,
		Help: "The configuration names a class that its author registered with Keras. It is not in the file: whoever loads the model has to bring that class, as code that was not scanned here. Review it like any program.",
		Refs: []prerun.Reference{refForeignCode},
	}
	ruleKerasGadget = prerun.Rule{
		ID: "scan.keras.gadget", Title: "Keras function that reaches out", Severity: prerun.High,
		Help: "The configuration names a function or class of Keras itself that downloads, loads other models or switches safe mode off. No saved model needs one. Do not load the file.",
		Refs: []prerun.Reference{refDeserialize, cve("2025-8747"), cve("2025-9906"), cve("2025-49655"), cve("2026-1462")},
	}
	ruleKerasFile = prerun.Rule{
		ID: "scan.keras.file-argument", Title: "layer that reads a file", Severity: prerun.Medium,
		Help: "The configuration gives a layer the name of a file in place of a vocabulary. Keras before 3.12 reads it while the model is loaded, even in safe mode, and the words become part of the model. The finding is high when the name is absolute, leads out of the folder or is an address. Save the model with the vocabulary itself.",
		Refs: []prerun.Reference{refTraversal, refUnsafeModel, cve("2025-12058")},
	}
)

var kerasRules = []prerun.Rule{ruleKerasLambda, ruleKerasModule, ruleKerasGadget, ruleKerasFile, ruleKerasCustom}

func (kerasFormat) Info() Info {
	return Info{ID: "keras-config", Within: []string{"text", "json"}, Operators: []string{"keras"}, Rules: kerasRules}
}

func (kerasFormat) Match(p Probe) Match {
	return (configFormat{}).Match(p) // what tells it apart may stand behind any padding
}

func (kerasFormat) Scan(_ context.Context, a *Artifact, out *Sink) error {
	if a.Size > maxConfig && !loaderReads(a.Base()) && !bytes.Contains(a.Head, []byte(`"class_name"`)) {
		return fmt.Errorf("keras: %w", ErrNotFormat)
	}
	data, err := a.small(out, "configuration")
	if data == nil {
		return err
	}
	data = jsonText(data)
	if !bytes.Contains(data, []byte(`"class_name"`)) && !bytes.Contains(data, []byte(`\u00`)) {
		return fmt.Errorf("keras: %w", ErrNotFormat)
	}
	root, err := strictjson.Parse(data, strictjson.Limits{Bytes: maxConfig, Nodes: 1 << 18})
	if err != nil {
		// A loader's parser may be more lenient; the shape decides whose file it is.
		if a.Base() == "config.json" || bytes.Contains(data, []byte(`"registered_name"`)) && bytes.Contains(data, []byte(`"class_name"`)) {
			return err
		}
		return fmt.Errorf("keras: %w: %w", err, ErrNotFormat)
	}
	if !kerasObject(root) {
		return fmt.Errorf("keras: %w", ErrNotFormat)
	}
	out.Fact("framework", "keras")
	k := kerasScan{out: out}
	k.walk(root, "", 0)
	return nil
}

// kerasObject reports a serialised object, or a list or dictionary with one:
// Keras builds those below before it looks at what it got.
func kerasObject(v *strictjson.Value) bool {
	if v.Get("class_name") != nil && v.Get("config") != nil {
		return true
	}
	for i := range v.Items {
		if kerasObject(&v.Items[i]) {
			return true
		}
	}
	for i := range v.Members {
		if kerasObject(&v.Members[i].Value) {
			return true
		}
	}
	return false
}

// A kerasScan is the reading of one configuration. When that is part of another
// file, in is where; otherwise findings have lines.
type kerasScan struct {
	out *Sink
	in  *prerun.Location
}

// kerasGadgets are names within Keras that do more than compute.
var kerasGadgets = []string{
	"get_file", "load_model", "load_weights", "enable_unsafe_deserialization", "TorchModuleWrapper", "TFSMLayer",
	"deserialize_keras_object", "extract_archive", "model_from_json", "FlaxLayer", "JaxLayer", "func_load", "func_dump",
	"model_from_config", "save_model", "save_weights",
}

// kerasReach are the parts of Keras whose functions work on files, archives,
// code and settings. Models name functions that compute, which stand elsewhere.
var kerasReach = map[string]bool{
	"utils": true, "saving": true, "callbacks": true, "datasets": true, "config": true, "export": true, "legacy": true,
	"trainers": true, "testing": true, "visualization": true, "preprocessing": true,
}

// kerasPart is the first name below Keras of one of its modules, by whatever
// name Keras is imported.
func kerasPart(module string) string {
	for name := range strings.SplitSeq(module, ".") {
		switch name {
		case "keras", "tf_keras", "keras_core", "tensorflow", "python", "src", "api", "_tf_keras", "_v1", "_v2":
		default:
			return name
		}
	}
	return ""
}

func (k *kerasScan) finding(rule prerun.Rule, sev prerun.Severity, v *strictjson.Value, at, name, format string, args ...any) {
	k.out.report(rule, sev, k.where(v, at), name, format, args...)
}

func (k *kerasScan) where(v *strictjson.Value, at string) prerun.Location {
	if k.in == nil {
		return prerun.Location{Line: v.Line, Column: v.Column, Fragment: at}
	}
	where := *k.in
	where.Fragment += at
	return where
}

func (k *kerasScan) walk(v *strictjson.Value, at string, depth int) {
	if depth > 64 {
		return // the parser's own limit on depth is lower
	}
	if v.Kind == strictjson.Object {
		k.object(v, at)
	}
	for i := range v.Items {
		k.walk(&v.Items[i], fmt.Sprintf("%s/%d", at, i), depth+1)
	}
	for i := range v.Members {
		k.walk(&v.Members[i].Value, at+"/"+pointerEscaper.Replace(v.Members[i].Name), depth+1)
	}
}

// object looks at one serialised object.
func (k *kerasScan) object(v *strictjson.Value, at string) {
	class, module := textOf(v.Get("class_name")), textOf(v.Get("module"))
	registered := textOf(v.Get("registered_name"))
	shown := excerpt(strings.TrimPrefix(module+"."+class, "."), 120)
	if class == "" {
		return
	}
	k.out.Operator(Operator{Kind: "keras", Domain: module, Name: looksUp(v, class), Location: k.where(v, at)})
	k.vocabulary(v.Get("config").Get("vocabulary"), at, class)
	function := false
	switch class {
	case "__lambda__", "Lambda":
		k.lambda(v, at, class)
		return
	case "function", "builtin_function_or_method", "type":
		function = class != "type"
		class = looksUp(v, class)
		shown = excerpt(strings.TrimPrefix(module+"."+class, "."), 120)
	}
	for _, g := range kerasGadgets {
		if class == g || registered == g || strings.HasSuffix(registered, ">"+g) {
			k.finding(ruleKerasGadget, 0, v, at, shown, "%q is looked up in Keras", shown)
			return
		}
	}
	if function && kerasModule(module) && kerasReach[kerasPart(module)] {
		k.finding(ruleKerasGadget, 0, v, at, shown, "%q is looked up in Keras", shown)
		return
	}
	if module == "" || kerasModule(module) {
		if own, _, ok := strings.Cut(registered, ">"); ok && !kerasModule(own) && !strings.HasPrefix(own, "keras") {
			k.finding(ruleKerasCustom, 0, v, at, excerpt(registered, 120), "%q is registered by the model's own program", excerpt(registered, 120))
		}
		return
	}
	sev := prerun.Medium
	for _, d := range dangerousTargets {
		if strings.HasPrefix(module+"."+class+".", d) {
			sev = prerun.High
		}
	}
	k.finding(ruleKerasModule, sev, v, at, shown, "%q is imported", shown)
}

// vocabulary reports a layer whose table is a file: a list of words is one that
// the model brings.
func (k *kerasScan) vocabulary(v *strictjson.Value, at, class string) {
	file := textOf(v)
	if file == "" {
		return
	}
	sev := prerun.Medium
	if outside(file) {
		sev = prerun.High
	}
	shown := excerpt(file, 120)
	k.finding(ruleKerasFile, sev, v, at+"/config/vocabulary", shown, "a %s layer reads the file %q", excerpt(class, 40), shown)
}

// looksUp is what an object of that class is looked up as: the name of a
// function stands in its config.
func looksUp(v *strictjson.Value, class string) string {
	switch class {
	case "function", "builtin_function_or_method", "type":
		return textOf(v.Get("config"))
	}
	return class
}

// kerasModule reports modules whose objects a saved model normally names.
func kerasModule(m string) bool {
	switch m {
	case "keras", "builtins", "keras_core", "keras_nlp", "keras_hub", "keras_cv", "tensorflow.keras":
		return true
	}
	for _, p := range []string{"keras.", "keras_core.", "keras_nlp.", "keras_hub.", "keras_cv.", "tensorflow.keras.", "tf_keras."} {
		if strings.HasPrefix(m, p) {
			return true
		}
	}
	return false
}

// lambda reports a layer with code. Byte code is a marshalled object in
// base64; only that it is there matters.
func (k *kerasScan) lambda(v *strictjson.Value, at, class string) {
	what := "a function by name"
	code := textOf(v.Get("config").Get("code"))
	if f := v.Get("config").Get("function"); f != nil {
		switch textOf(f.Get("class_name")) {
		case "__lambda__":
			return // the nested object is looked at by itself
		case "__tuple__": // as Keras 2 writes the array
			f = f.Get("items")
		}
		if f != nil && f.Kind == strictjson.Array && len(f.Items) > 0 {
			code = textOf(&f.Items[0])
		}
	}
	if raw, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(code, "\n", "")); err == nil && len(raw) > 0 {
		what = fmt.Sprintf("%d bytes of code", len(raw))
	}
	k.finding(ruleKerasLambda, 0, v, at, class, "a %s layer holds %s", class, what)
}

func textOf(v *strictjson.Value) string {
	if v == nil || v.Kind != strictjson.String {
		return ""
	}
	return v.Text
}
