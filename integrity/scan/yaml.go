package scan

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/internal/strictjson"
)

// yamlFormat reads YAML, above all the configuration of NeMo and Hydra models:
// what it makes a loader import, call or build. Anchors are not expanded. Text
// under any other name is YAML when it parses as such and holds one of those
// tags or keys, of a model card what stands in front of the text.
type yamlFormat struct{}

var ruleYAMLTag = prerun.Rule{
	ID: "scan.yaml.python-tag", Title: "YAML that builds Python objects", Severity: prerun.High,
	Help: "The document has a tag that makes a lenient YAML loader import, build or call a Python object, whatever the file is called. No configuration needs one. The finding is medium where the text could not be parsed, and low where the tag makes a plain value, such as a tuple, or an object that is on the lists of harmless ones. Load YAML with the safe loader only, and remove the tag.",
	Refs: []prerun.Reference{refDeserialize, refUnsafeModel},
}

func (yamlFormat) Info() Info {
	return Info{
		ID: "yaml", Within: []string{"text", "json", "keras-config"},
		Rules: []prerun.Rule{ruleYAMLTag, ruleHydraTarget, ruleTrustRemote, ruleImported, ruleShardPath},
	}
}

func (yamlFormat) Match(p Probe) Match {
	// Loaders read UTF-16 as well.
	if p.Size > 0 && (!binaryIn(p.Head) || p.Starts("\xff\xfe") || p.Starts("\xfe\xff")) || yamlName(p) && bytes.IndexByte(p.Head, 0) < 0 {
		return Maybe
	}
	return No
}

// maxYAML bounds documents: the parser takes some hundred bytes for each one.
const maxYAML = 1 << 20

func (yamlFormat) Scan(ctx context.Context, a *Artifact, out *Sink) error {
	named := yamlName(a.Probe)
	if named && a.Size > maxYAML {
		out.Gap(fmt.Sprintf("YAML of %d bytes; %d are read", a.Size, maxYAML), 0, 0)
		return nil
	}
	if ok, err := yamlHolds(a, yamlSpells); err != nil {
		return err
	} else if !ok && !named {
		return fmt.Errorf("yaml: %w", ErrNotFormat)
	}
	if a.Size > maxYAML {
		if ok, err := yamlHolds(a, yamlPlaced); err != nil {
			return err
		} else if !ok || slices.Contains(notYAML, a.Ext()) || markdown(a.Probe) {
			return fmt.Errorf("yaml: %w", ErrNotFormat)
		}
		out.Gap(fmt.Sprintf("text of %d bytes with tags of Python objects; %d are read", a.Size, maxYAML), 0, 0)
		return nil
	}
	data, err := a.peek(0, a.Size)
	if err != nil {
		return err
	}
	data = yamlText(data)
	if !named {
		if _, err := strictjson.Parse(data, strictjson.Limits{Nodes: 1 << 18}); err == nil {
			return fmt.Errorf("yaml: JSON: %w", ErrNotFormat) // which has a format of its own, and no tags
		}
	}
	quotes := slices.Contains(notYAML, a.Ext())
	if markdown(a.Probe) {
		data, quotes = frontMatter(data), true
	}
	y := yamlScan{configScan: configScan{a: a, out: out}, seen: make(map[string]bool)}
	err = y.documents(ctx, data)
	if err != nil && ctx.Err() == nil {
		if lenient := undirected(data); !bytes.Equal(lenient, data) {
			err = y.documents(ctx, lenient)
		}
	}
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err == nil && (named || len(y.seen) > 0):
		return nil
	case err == nil:
		return fmt.Errorf("yaml: %w", ErrNotFormat)
	}
	if len(y.seen) == 0 && (named || !quotes) && yamlPlaced(data) {
		y.seen["?"] = true
		out.Finding(prerun.Finding{
			Rule: ruleYAMLTag, Severity: prerun.Medium, Confidence: prerun.ConfidenceMedium,
			Message: "text that could not be read as YAML has a tag of Python objects where a value starts",
		})
	}
	if named || len(y.seen) > 0 {
		return fmt.Errorf("yaml: %w", err)
	}
	return fmt.Errorf("yaml: %w: %w", err, ErrNotFormat)
}

// yamlHolds looks at a text of any length, in UTF-8 or UTF-16, piece by piece.
func yamlHolds(a *Artifact, holds func(p []byte) bool) (bool, error) {
	if a.Size <= maxYAML {
		data, err := a.Bytes(0, a.Size)
		return err == nil && holds(yamlText(data)), err
	}
	buf := make([]byte, 256<<10)
	for off := int64(0); off < a.Size; off += int64(len(buf)) - yamlTail {
		n, err := a.ReadAt(buf, off)
		if err != nil && !errors.Is(err, io.EOF) {
			return false, err
		}
		if holds(buf[:n]) {
			return true, nil
		}
		if n < len(buf) {
			break
		}
	}
	return false, nil
}

// yamlText is YAML as UTF-8 without a byte order mark.
func yamlText(p []byte) []byte {
	for _, mark := range []string{"\xef\xbb\xbf", "\xff\xfe", "\xfe\xff"} {
		if bytes.HasPrefix(p, []byte(mark)) {
			return jsonText(p)
		}
	}
	return p
}

// documents reads one document after the other, as far as they parse.
func (y *yamlScan) documents(ctx context.Context, data []byte) error {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	for range 1000 {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		var doc yaml.Node
		if err := dec.Decode(&doc); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		y.walk(&doc, "", 0)
		if y.a.Base() == "MLmodel" {
			y.mlflow(&doc)
		}
	}
	return errors.New("more than 1000 documents")
}

type yamlScan struct {
	configScan
	seen map[string]bool // findings, by place
}

func (y *yamlScan) finding(rule prerun.Rule, sev prerun.Severity, n *yaml.Node, at, key, format string, args ...any) {
	place := fmt.Sprintf("%s %d:%d %s", rule.ID, n.Line, n.Column, key)
	if y.seen[place] {
		return
	}
	y.seen[place] = true
	y.out.report(rule, sev, prerun.Location{Line: n.Line, Column: n.Column, Fragment: at}, key, format, args...)
}

func (y *yamlScan) walk(n *yaml.Node, at string, depth int) {
	if depth > 200 {
		y.out.Gap("YAML that is nested more than 200 deep", 0, 0)
		return
	}
	if rest, ok := strings.CutPrefix(n.LongTag(), pythonTags); ok && n.Kind != yaml.AliasNode {
		y.finding(ruleYAMLTag, tagSeverity(rest), n, at, excerpt(n.Tag, 120), "the tag %q builds a Python object", excerpt(n.Tag, 120))
	}
	// HyperPyYAML imports and calls by tags, as Hydra does by _target_.
	for _, tag := range hyperTags {
		if target, ok := strings.CutPrefix(n.Tag, tag); ok {
			shown := excerpt(target, 120)
			y.finding(ruleHydraTarget, targetSeverity(target), n, at, shown, "callable %q", shown)
		}
	}
	if n.Kind == yaml.ScalarNode && composes(n.Value) {
		shown := excerpt(n.Value, 120)
		y.finding(ruleHydraTarget, prerun.Medium, n, at, shown, "a part of the configuration is made of the text %q", shown)
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
				y.finding(ruleHydraTarget, calledSeverity(value.Value, texts(n)), v, p, shown, "callable %q", shown)
			}
		case "loader_module":
			if value.Kind == yaml.ScalarNode {
				y.imported(moduleOf(value), p, "mlflow")
			}
		case "trust_remote_code":
			if value.Kind == yaml.ScalarNode && strings.EqualFold(value.Value, "true") {
				y.finding(ruleTrustRemote, 0, v, p, k.Value, "trust_remote_code is true")
			}
		}
		y.walk(v, p, depth+1)
	}
}

// texts are the values of a mapping, and the items of its lists, that are text.
func texts(n *yaml.Node) []string {
	var out []string
	for i := 1; i < len(n.Content); i += 2 {
		v := resolved(n.Content[i])
		out = append(out, v.Value)
		for j := 0; v.Kind == yaml.SequenceNode && j < len(v.Content); j++ {
			out = append(out, resolved(v.Content[j]).Value)
		}
	}
	return out
}
