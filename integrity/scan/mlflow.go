package scan

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/internal/strictjson"
)

// mlflowPaths are members of flavours that MLflow joins to the folder of the
// model, or takes as they are. Of others, such as where an artifact once came
// from, only a path that climbs is a finding.
var mlflowPaths = strings.Fields(`data code env conda virtualenv path model_path pickled_model model_data model_file model_binary
	saved_model_dir serialized_explainer parameters_path python_model local_base_model_path peft_adaptor adapter_weights
	weight_name tools_data agent_data requirements artifact_path`)

// mlflowFree are members whose text is the author's, or is not used on loading:
// model_code_path loses its folder first.
var mlflowFree = strings.Fields("uri model_config metadata prompt_template model_code_path")

// mlflow reads the file MLmodel of a model of MLflow as its loader does, with
// aliases and merged mappings resolved.
func (y *yamlScan) mlflow(doc *yaml.Node) {
	m := mlflowScan{y: y, left: 10_000}
	for _, root := range doc.Content {
		for k, v := range m.members(root) {
			switch k {
			case "flavors":
				m.flavour(v, "/flavors", "", 0)
			case "saved_input_example_info":
				m.flavour(v, "/"+k, "", 0)
			}
		}
	}
	if m.left < 0 {
		y.out.Gap("flavours of MLflow with more than 10000 members", 0, 0)
	}
}

type mlflowScan struct {
	y    *yamlScan
	left int // nodes that are still looked at: aliases multiply them
}

// resolved is what an alias stands for.
func resolved(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode && n.Alias != nil {
		return n.Alias
	}
	return n
}

// members yields those of a mapping and of what it merges.
func (m *mlflowScan) members(n *yaml.Node) func(yield func(string, *yaml.Node) bool) {
	return func(yield func(string, *yaml.Node) bool) { m.each(n, 0, yield) }
}

func (m *mlflowScan) each(n *yaml.Node, depth int, yield func(string, *yaml.Node) bool) bool {
	n = resolved(n)
	if depth > 50 {
		m.left = -1
		return false
	}
	if n.Kind == yaml.SequenceNode { // what is merged may be several mappings
		for _, c := range n.Content {
			if !m.each(c, depth+1, yield) {
				return false
			}
		}
		return true
	}
	for i := 0; n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
		if m.left--; m.left < 0 {
			return false
		}
		k, v := resolved(n.Content[i]), resolved(n.Content[i+1])
		if k.Value == "<<" {
			if !m.each(v, depth+1, yield) {
				return false
			}
		} else if !yield(k.Value, v) {
			return false
		}
	}
	return true
}

// flavour looks at the members of a flavour, and of what is inside; known says
// of which member of mlflowPaths it is a part.
func (m *mlflowScan) flavour(n *yaml.Node, at, known string, depth int) {
	if n = resolved(n); depth > 20 || m.left < 0 {
		m.left = -1
		return
	}
	switch n.Kind {
	case yaml.ScalarNode:
		m.location(n, at, known != "")
	case yaml.SequenceNode:
		for i, c := range n.Content {
			if m.left--; m.left < 0 {
				return
			}
			m.flavour(c, fmt.Sprintf("%s/%d", at, i), known, depth+1)
		}
	case yaml.MappingNode:
		for k, v := range m.members(n) {
			p := at + "/" + pointerEscaper.Replace(excerpt(k, 80))
			switch {
			case slices.Contains(mlflowFree, k):
				continue
			case k == "keras_module" && v.Kind == yaml.ScalarNode:
				m.y.imported(moduleOf(v), p, "keras", "tensorflow", "tf_keras")
			case k == "model_class" && v.Kind == yaml.ScalarNode:
				m.y.imported(scalarOf(v, v.Value), p, "xgboost", "lightgbm", "pyspark", "synapse", "sklearn", "catboost", "mlflow")
			}
			inside := known
			if slices.Contains(mlflowPaths, k) {
				inside = k
			}
			m.flavour(v, p, inside, depth+1)
		}
	}
}

// location judges where a part of the model is said to be, as it is written and
// as a URL.
func (m *mlflowScan) location(n *yaml.Node, at string, known bool) {
	forms := []string{n.Value}
	if plain, err := url.PathUnescape(n.Value); err == nil && plain != n.Value {
		forms = append(forms, plain)
	}
	for _, f := range forms {
		slashed := strings.ReplaceAll(f, `\`, "/")
		if known && (elsewhere(slashed) || strings.Contains(slashed, ":/")) || climbs(slashed) {
			shown := excerpt(n.Value, 120)
			m.y.finding(ruleShardPath, 0, n, at, shown, "a part is said to be in %q", shown)
			return
		}
	}
}

func scalarOf(n *yaml.Node, text string) *strictjson.Value {
	return &strictjson.Value{Kind: strictjson.String, Text: text, Line: n.Line, Column: n.Column}
}

// moduleOf is the name of a module, which is imported whole.
func moduleOf(n *yaml.Node) *strictjson.Value { return scalarOf(n, wholeModule(n.Value)) }

func wholeModule(name string) string {
	if !strings.Contains(name, ".") {
		return name + ".*" // a module of its own
	}
	return name
}

// mlflowModuleFormat reads the files in which MLflow keeps the name of a module
// that it imports on loading: what pickles a model of PyTorch, and which Keras
// it is.
type mlflowModuleFormat struct{}

// mlflowModules are those files with the names that MLflow writes.
var mlflowModules = map[string][]string{
	"pickle_module_info.txt": {"mlflow.pytorch.pickle_module", "pickle", "cloudpickle", "dill"},
	"keras_module.txt":       {"keras", "tensorflow.keras", "tf_keras", "tensorflow.python.keras", "keras.api", "tensorflow.python.keras.api._v2.keras"},
}

func (mlflowModuleFormat) Info() Info {
	return Info{ID: "mlflow-module", Within: []string{"text", "yaml"}, Rules: []prerun.Rule{ruleImported}}
}

func (mlflowModuleFormat) Match(p Probe) Match {
	if _, ok := mlflowModules[p.Base()]; ok && p.Size > 0 && p.Size <= ProbeSize {
		return Maybe
	}
	return No
}

func (mlflowModuleFormat) Scan(_ context.Context, a *Artifact, out *Sink) error {
	name := strings.TrimSpace(string(a.Head))
	if !slices.Contains(mlflowModules[a.Base()], name) {
		c := configScan{a: a, out: out}
		c.imported(&strictjson.Value{Kind: strictjson.String, Text: wholeModule(name), Line: 1, Column: 1}, "")
	}
	return nil
}
