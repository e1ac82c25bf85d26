package scan

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/integrity/scan/globals"
	"github.com/prerun/prerun/internal/strictjson"
)

var (
	ruleImported = prerun.Rule{
		ID: "scan.config.imported-name", Title: "configuration that names what to import", Severity: prerun.Medium,
		Help: "A member of the configuration, or of what jsonpickle wrote, is a Python name that the loader imports, and calls in some cases, and it is not one of the framework's own. The finding is high when the name reaches commands, files or other code. Review the module like any program, or use a name of the framework.",
		Refs: []prerun.Reference{refForeignCode, refUnsafeModel},
	}
	ruleShardPath = prerun.Rule{
		ID: "scan.repo.shard-path", Title: "weights outside the model", Severity: prerun.High,
		Help: "The index of the weights, or the list of a model's parts (modules.json, MLmodel), names a file that leaves the folder of the model. Loading reads what is there, which was neither scanned nor signed with the model. Do not load it.",
		Refs: []prerun.Reference{refTraversal, refSupply},
	}
	ruleShardFormat = prerun.Rule{
		ID: "scan.repo.shard-format", Title: "index of safe weights that names others", Severity: prerun.Medium,
		Help: "The index of safetensors files names a file of another kind. Loaders choose the parser by the file's ending, so that weights that look safe are unpickled. Convert the shards, or write the index anew.",
		Refs: []prerun.Reference{refDeserialize, refAmbiguous},
	}
	ruleGenerate = prerun.Rule{
		ID: "scan.repo.custom-generate", Title: "generation that brings its own code", Severity: prerun.Medium,
		Help: "The folder custom_generate holds Python that transformers imports and runs instead of its own generation when remote code is trusted. Review it like any program, or delete the folder.",
		Refs: []prerun.Reference{refForeignCode, refUnsafeModel},
	}
)

// judgeNames is the policy for names that stand in configurations.
var judgeNames = sync.OnceValue(func() func(module, name string) globals.Grade {
	p := globals.Policy{}
	return p.Grade
})

// reachedModules are modules that many others import, so that a name reaches
// them through any of those: a.b.os.system.
var reachedModules = []string{
	"os", "posix", "nt", "sys", "subprocess", "builtins", "__builtins__", "importlib", "ctypes", "shutil", "socket", "pickle", "runpy", "pty",
}

// quotedModules are those that others import as well, of which only some names
// are dangerous.
var quotedModules = strings.Fields("pathlib io yaml torch numpy np pandas pd tempfile urllib joblib dill cloudpickle marshal timeit webbrowser typing operator functools")

// dangerousName reports a dotted Python name through which commands, files or
// other code are reached, by the tables that judge pickles.
func dangerousName(name string) bool {
	parts := strings.Split(strings.TrimSpace(name), ".")
	if len(parts) > maxParents {
		return true // no module is that deep
	}
	for i, p := range parts {
		if i > 0 && slices.Contains(reachedModules, strings.TrimLeft(p, "_")) {
			return true
		}
		if len(p) > 4 && strings.HasPrefix(p, "__") && strings.HasSuffix(p, "__") && p != "__main__" {
			return true
		}
		if i > 0 && slices.Contains(quotedModules, p) && deniedName(fullModule(p)+strings.Join(parts[i:], ".")[len(p):]) {
			return true
		}
	}
	return deniedName(strings.Join(parts, "."))
}

// fullModule undoes the usual abbreviations.
func fullModule(name string) string {
	switch name {
	case "np":
		return "numpy"
	case "pd":
		return "pandas"
	}
	return name
}

// deniedName reports a name that the tables deny, with its module up to the
// last part or up to the first class.
func deniedName(name string) bool {
	last := strings.LastIndexByte(name, '.')
	if last < 0 {
		return judgeNames()("builtins", name).Level == globals.Malicious
	}
	class := last
	for i := range last {
		if name[i] == '.' && name[i+1] >= 'A' && name[i+1] <= 'Z' {
			class = i
			break
		}
	}
	return judgeNames()(name[:last], name[last+1:]).Level == globals.Malicious ||
		judgeNames()(name[:class], name[class+1:]).Level == globals.Malicious
}

// plainName reports a name that pickles may call with anything.
func plainName(name string) bool {
	k := strings.LastIndexByte(name, '.')
	if k < 0 {
		return false
	}
	g := judgeNames()(name[:k], name[k+1:])
	return g.Level == globals.Allowed && g.Need == globals.NeedNothing
}

// targetSeverity is that of a name that a loader imports and calls.
func targetSeverity(target string) prerun.Severity {
	for _, d := range dangerousTargets {
		if strings.HasPrefix(target, d) {
			return prerun.High
		}
	}
	if strings.Contains(target, ".") && dangerousName(target) {
		return prerun.High
	}
	switch {
	case strings.Contains(target, "${"):
		return prerun.Medium // put together from other members, or by a resolver
	case findsNames(target):
		return prerun.Medium // a name that stands in its arguments
	}
	return prerun.Low
}

// lookUps are functions, of whatever package, that find or make what their
// arguments name.
var lookUps = strings.Fields(`getattr get_class get_method get_object get_obj_from_str get_class_from_dynamic_module import_class
	import_class_by_path import_from_string import_module import_object import_string instantiate_class instantiate_from_config
	locate optional_import resolve_name`)

func findsNames(target string) bool {
	return strings.HasPrefix(target, "hydra.utils.") || strings.HasPrefix(target, "hydra._internal.") ||
		slices.Contains(lookUps, target[strings.LastIndexByte(target, '.')+1:])
}

// calledSeverity is that of a target with its arguments: a look-up is as bad as
// the name that it is given.
func calledSeverity(target string, args []string) prerun.Severity {
	sev := targetSeverity(target)
	if sev == prerun.Medium && findsNames(target) {
		for _, a := range args {
			a = strings.ReplaceAll(a, ":", ".") // as pkgutil separates
			if strings.Contains(a, ".") && targetSeverity(a) == prerun.High {
				return prerun.High
			}
		}
	}
	return sev
}

// composes reports text out of which OmegaConf makes a part of a configuration:
// the resolver oc.create, or one whose name is put together, so that keys and
// targets need not stand there.
func composes(text string) bool {
	steps := 0
	for {
		k := strings.Index(text, "${")
		if k < 0 {
			return false
		}
		text = text[k+2:]
		name, nested, n := resolverName(text)
		if strings.HasPrefix(text[n:], ":") && (nested || name == "oc.create") {
			return true
		}
		if steps += n; steps > 1<<20 {
			return true // no configuration is like that
		}
	}
}

// resolverName reads what may be the name of a resolver, with interpolations in
// it, and says how long it is.
func resolverName(text string) (name string, nested bool, n int) {
	depth := 0
	for ; n < len(text); n++ {
		c := text[n]
		switch {
		case strings.HasPrefix(text[n:], "${"):
			nested = true
			depth++
			n++
		case depth > 0 && c == '}':
			depth--
		case depth > 0, isLetter(c), c >= '0' && c <= '9', strings.IndexByte("_. \t", c) >= 0:
		default:
			return strings.TrimSpace(text[:n]), nested, n
		}
	}
	return text, nested, n
}

// imported reports a name that a loader imports, unless it lies in one of its
// own modules. A name without a module is looked up in the framework.
func (c *configScan) imported(v *strictjson.Value, at string, own ...string) {
	if v == nil || v.Kind != strictjson.String || !strings.Contains(v.Text, ".") {
		return
	}
	sev := prerun.Medium
	switch {
	case dangerousName(v.Text):
		sev = prerun.High
	case slices.ContainsFunc(own, func(o string) bool { return strings.HasPrefix(v.Text+".", o+".") }):
		return
	}
	shown := excerpt(v.Text, 120)
	c.finding(ruleImported, sev, v, at, shown, "%q is imported", shown)
}

// named looks at members by which loaders import something, wherever they
// stand.
func (c *configScan) named(m *strictjson.Member, at string) {
	switch m.Name {
	case "activation_function", "activation_fn", "sbert_ce_default_activation_function", "default_activation_function":
		c.imported(&m.Value, at, "torch.nn", "torch", "sentence_transformers")
	case "megatron_core":
		c.imported(&m.Value, at, "megatron")
	case "parent_library":
		c.parent(&m.Value, at)
	case "loader_module":
		c.imported(&m.Value, at, "mlflow")
	case "py/object", "py/type", "py/function", "py/class", "py/repr": // of jsonpickle, whatever it is called with
		if !plainName(textOf(&m.Value)) {
			c.imported(&m.Value, at)
		}
	case "tokenizer_class": // a dotted one of sentence-transformers; others are looked up in the framework
		c.imported(&m.Value, at, "transformers", "sentence_transformers")
	case "object_constructor": // of a model of LlamaIndex in MLflow
		c.imported(&m.Value, at, "llama_index")
	}
}

// parentLibraries are the packages that adapters are made for.
var parentLibraries = []string{"transformers", "diffusers", "peft", "torch", "timm", "sentence_transformers", "__main__"}

// parent reports the module that PEFT imports to find the class of the base
// model, with a dot in its name or not.
func (c *configScan) parent(v *strictjson.Value, at string) {
	text := textOf(v)
	if top, _, dotted := strings.Cut(text, "."); text == "" || dotted || slices.Contains(parentLibraries, top) {
		c.imported(v, at, parentLibraries...)
		return
	}
	sev := prerun.Medium
	if dangerousName(text + ".x") {
		sev = prerun.High
	}
	shown := excerpt(text, 120)
	c.finding(ruleImported, sev, v, at, shown, "module %q is imported", shown)
}

// truthy reports values that switch something on. Where a loader reads them, as
// Python sees it: a text does unless it is empty, even "false". Elsewhere a text
// may be the description of a switch.
func truthy(v *strictjson.Value, loaded bool) bool {
	switch v.Kind {
	case strictjson.Bool:
		return v.Text == "true"
	case strictjson.Number:
		return strings.Trim(v.Text, "-0.eE") != ""
	case strictjson.String:
		switch strings.ToLower(strings.TrimSpace(v.Text)) {
		case "true", "1", "yes", "on", "y", "t":
			return true
		}
		return loaded && v.Text != ""
	case strictjson.Array:
		return loaded && len(v.Items) > 0
	case strictjson.Object:
		return loaded && len(v.Members) > 0
	}
	return false
}

// shards reads the index of a model whose weights are in several files.
func (c *configScan) shards(root *strictjson.Value) {
	m := root.Get("weight_map")
	if m == nil || m.Kind != strictjson.Object {
		return
	}
	seen := make(map[string]bool)
	missing, first := 0, ""
	safe := strings.Contains(c.a.Base(), ".safetensors.index.")
	for i := range m.Members {
		v := &m.Members[i].Value
		if v.Kind != strictjson.String || seen[v.Text] {
			continue
		}
		seen[v.Text] = true
		at, shown := "/weight_map/"+pointerEscaper.Replace(excerpt(m.Members[i].Name, 80)), excerpt(v.Text, 120)
		if leaves(v.Text) {
			c.finding(ruleShardPath, 0, v, at, shown, "a tensor is said to be in %q", shown)
			continue
		}
		if safe && !strings.HasSuffix(v.Text, ".safetensors") {
			c.finding(ruleShardFormat, 0, v, at, shown, "a tensor is said to be in %q", shown)
		}
		if _, ok := c.a.Tree.Lookup(path.Join(path.Dir(c.a.Name), v.Text)); !ok {
			if missing++; missing == 1 {
				first = shown
			}
		}
	}
	c.out.Fact("shards", fmt.Sprint(len(seen)))
	if missing > 0 {
		c.out.Gap(fmt.Sprintf("%d of %d shards are not here, such as %q", missing, len(seen), first), 0, 0)
	}
}

// inside reports a path of a model's part that leaves the model.
func (c *configScan) inside(v *strictjson.Value, at string) {
	if text := textOf(v); text != "" && leaves(text) {
		shown := excerpt(text, 120)
		c.finding(ruleShardPath, 0, v, at, shown, "a part is said to be in %q", shown)
	}
}

// configWords are members that make a loader run or fetch something.
var configWords = [][]byte{
	[]byte(`"auto_map"`), []byte(`"_target_"`), []byte(`"py/`), []byte(`"pyref"`), []byte(`"trust_remote_code"`), []byte(`"custom_pipelines"`), []byte(`"chat_template"`),
}

// speaks reports bytes that hold such a member.
func speaks(data []byte) bool {
	return slices.ContainsFunc(configWords, func(k []byte) bool { return bytes.Contains(data, k) })
}

// configures reports names and texts of JSON that may mean something to a loader.
func configures(text []byte) bool {
	if bytes.HasSuffix(text, []byte("template")) || bytes.HasPrefix(text, []byte("py/")) || bytes.Contains(text, []byte("${")) {
		return true
	}
	return slices.ContainsFunc(configWords, func(k []byte) bool { return bytes.Equal(text, k[1:len(k)-1]) })
}

// vocabulary reports files of which the loader takes tokens, whatever they
// spell.
func vocabulary(base string) bool {
	switch base {
	case "tokenizer.json", "vocab.json", "added_tokens.json", "merges.json":
		return true
	}
	return false
}

// table reads a JSON file that is too long to be parsed: it is a table unless it
// has the members of a configuration, which are a gap.
func (a *Artifact) table(out *Sink) error {
	const overlap = 32
	buf := make([]byte, min(a.Size, 256<<10))
	for off := int64(0); !vocabulary(a.Base()) && off < a.Size; off += int64(len(buf)) - overlap {
		n, err := a.ReadAt(buf, off)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if speaks(buf[:n]) {
			out.Gap(fmt.Sprintf("JSON of %d bytes with members of a configuration; %d are read", a.Size, maxOther), 0, 0)
			return nil
		}
		if n < len(buf) || len(buf) <= overlap {
			break
		}
	}
	return fmt.Errorf("json: table: %w", ErrNotFormat)
}
