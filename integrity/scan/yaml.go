package scan

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/internal/strictjson"
)

// yamlFormat reads YAML, above all the configuration of NeMo and Hydra models:
// what it makes a loader import, call or build. Anchors are not expanded.
type yamlFormat struct{}

var ruleYAMLTag = prerun.Rule{
	ID: "scan.yaml.python-tag", Title: "YAML that builds Python objects", Severity: prerun.High,
	Help: "The document has a tag that makes a lenient YAML loader import, build or call a Python object. No configuration needs one. Load YAML with the safe loader only, and remove the tag.",
	Refs: []prerun.Reference{refDeserialize, refUnsafeModel},
}

func (yamlFormat) Info() Info {
	return Info{
		ID: "yaml", Within: []string{"text", "json", "keras-config"},
		Rules: []prerun.Rule{ruleYAMLTag, ruleHydraTarget, ruleTrustRemote, ruleImported},
	}
}

func (yamlFormat) Match(p Probe) Match {
	switch p.Ext() {
	case ".yaml", ".yml":
		if bytes.IndexByte(p.Head, 0) < 0 || p.Starts("\xff\xfe") || p.Starts("\xfe\xff") {
			return Maybe // in UTF-16 as well, as loaders read it
		}
	}
	if p.Base() == "MLmodel" { // of MLflow
		return Maybe
	}
	return No
}

// maxYAML bounds documents: the parser takes some hundred bytes for each one.
const maxYAML = 1 << 20

func (yamlFormat) Scan(ctx context.Context, a *Artifact, out *Sink) error {
	if a.Size > maxYAML {
		out.Gap(fmt.Sprintf("YAML of %d bytes; %d are read", a.Size, maxYAML), 0, 0)
		return nil
	}
	data, err := a.Bytes(0, a.Size)
	if err != nil {
		return err
	}
	y := yamlScan{configScan{a: a, out: out}}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	for range 1000 {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		var doc yaml.Node
		err := dec.Decode(&doc)
		if err != nil {
			if err.Error() != "EOF" {
				return fmt.Errorf("yaml: %w", err)
			}
			return nil
		}
		y.walk(&doc, "", 0)
	}
	return errors.New("yaml: more than 1000 documents")
}

type yamlScan struct{ configScan }

func (y *yamlScan) finding(rule prerun.Rule, sev prerun.Severity, n *yaml.Node, at, key, format string, args ...any) {
	y.out.Finding(prerun.Finding{
		Rule:       rule,
		Severity:   sev,
		Confidence: prerun.ConfidenceHigh,
		Locations:  []prerun.Location{{Line: n.Line, Column: n.Column, Fragment: at}},
		Message:    fmt.Sprintf(format, args...),
		Key:        key,
	})
}

func (y *yamlScan) walk(n *yaml.Node, at string, depth int) {
	if depth > 200 {
		y.out.Gap("YAML that is nested more than 200 deep", 0, 0)
		return
	}
	if strings.Contains(n.Tag, "python/") {
		y.finding(ruleYAMLTag, 0, n, at, excerpt(n.Tag, 120), "the tag %q builds a Python object", excerpt(n.Tag, 120))
	}
	// HyperPyYAML imports and calls by tags, as Hydra does by _target_.
	for _, tag := range []string{"!new:", "!name:", "!apply:", "!module:"} {
		if target, ok := strings.CutPrefix(n.Tag, tag); ok {
			shown := excerpt(target, 120)
			y.finding(ruleHydraTarget, targetSeverity(target), n, at, shown, "callable %q", shown)
		}
	}
	if n.Kind != yaml.MappingNode {
		for i, c := range n.Content { // none for aliases
			p := at
			if n.Kind == yaml.SequenceNode {
				p = fmt.Sprintf("%s/%d", at, i)
			}
			y.walk(c, p, depth+1)
		}
		return
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		p := at + "/" + pointerEscaper.Replace(excerpt(k.Value, 80))
		y.walk(k, p, depth+1)
		name := k.Value
		if k.Kind == yaml.AliasNode && k.Alias != nil {
			name = k.Alias.Value
		}
		value := v
		if v.Kind == yaml.AliasNode && v.Alias != nil {
			value = v.Alias
		}
		switch name {
		case "_target_":
			if value.Kind == yaml.ScalarNode {
				shown := excerpt(value.Value, 120)
				y.finding(ruleHydraTarget, targetSeverity(value.Value), v, p, shown, "callable %q", shown)
			}
		case "loader_module":
			if value.Kind == yaml.ScalarNode {
				name := value.Value
				if !strings.Contains(name, ".") {
					name += ".*" // a module of its own
				}
				y.imported(&strictjson.Value{Kind: strictjson.String, Text: name, Line: v.Line, Column: v.Column}, p, "mlflow")
			}
		case "trust_remote_code":
			if value.Kind == yaml.ScalarNode && strings.EqualFold(value.Value, "true") {
				y.finding(ruleTrustRemote, 0, v, p, k.Value, "trust_remote_code is true")
			}
		}
		y.walk(v, p, depth+1)
	}
}
