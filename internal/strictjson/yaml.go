package strictjson

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// ParseYAML reads one YAML document into the tree that [Parse] makes. Anchors,
// aliases, explicit tags, merge keys, duplicate keys, keys that are not
// strings, several documents, and numbers that JSON cannot write are errors:
// a configuration says one thing, whoever reads it.
func ParseYAML(data []byte, lim Limits) (*Value, error) {
	lim = lim.withDefaults()
	if len(data) > lim.Bytes {
		return nil, &Error{Msg: fmt.Sprintf("%d bytes, the limit is %d", len(data), lim.Bytes)}
	}
	if !utf8.Valid(data) {
		return nil, &Error{Msg: "invalid UTF-8"}
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc yaml.Node
	if err := dec.Decode(&doc); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, &Error{Msg: "the input is empty"}
		}
		return nil, &Error{Msg: err.Error()}
	}
	var next yaml.Node
	if err := dec.Decode(&next); !errors.Is(err, io.EOF) {
		return nil, &Error{Msg: "more than one document"}
	}
	c := yamlConverter{lim: lim}
	v, err := c.convert(doc.Content[0], 0)
	if err != nil {
		return nil, err
	}
	return &v, nil
}

// ParseConfig reads a file that a person writes: JSON when its text starts with
// a brace, else YAML.
func ParseConfig(data []byte, lim Limits) (*Value, error) {
	if text := bytes.TrimLeft(data, " \t\r\n"); len(text) > 0 && text[0] == '{' {
		return Parse(data, lim)
	}
	return ParseYAML(data, lim)
}

type yamlConverter struct {
	lim   Limits
	nodes int
}

func yamlError(n *yaml.Node, format string, args ...any) error {
	return &Error{0, n.Line, n.Column, fmt.Sprintf(format, args...)}
}

func (c *yamlConverter) convert(n *yaml.Node, depth int) (Value, error) {
	v := Value{Line: n.Line, Column: n.Column}
	if c.nodes++; c.nodes > c.lim.Nodes {
		return v, yamlError(n, "more than %d values", c.lim.Nodes)
	}
	switch {
	case depth > c.lim.Depth:
		return v, yamlError(n, "nested deeper than %d", c.lim.Depth)
	case n.Kind == yaml.AliasNode || n.Anchor != "":
		return v, yamlError(n, "anchors and aliases are not accepted")
	case n.Style&yaml.TaggedStyle != 0:
		return v, yamlError(n, "the tag %s is not accepted", n.Tag)
	}
	switch n.Kind {
	case yaml.MappingNode:
		v.Kind = Object
		return v, c.mapping(n, &v, depth)
	case yaml.SequenceNode:
		v.Kind = Array
		for _, item := range n.Content {
			iv, err := c.convert(item, depth+1)
			if err != nil {
				return v, err
			}
			v.Items = append(v.Items, iv)
		}
		return v, nil
	}
	return v, yamlScalar(n, &v)
}

func (c *yamlConverter) mapping(n *yaml.Node, v *Value, depth int) error {
	seen := make(map[string]bool)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		switch {
		case key.Kind != yaml.ScalarNode || key.Tag != "!!str" || key.Anchor != "":
			return yamlError(key, "a key must be a string")
		case seen[key.Value]:
			return yamlError(key, "duplicate name %q", key.Value)
		}
		seen[key.Value] = true
		mv, err := c.convert(n.Content[i+1], depth+1)
		if err != nil {
			return err
		}
		v.Members = append(v.Members, Member{key.Value, mv})
	}
	return nil
}

func yamlScalar(n *yaml.Node, v *Value) error {
	v.Text = n.Value
	switch n.Tag {
	case "!!str", "!!timestamp": // a date is what its author wrote
		v.Kind = String
	case "!!null":
		v.Text = ""
	case "!!bool":
		var b bool
		if err := n.Decode(&b); err != nil {
			return yamlError(n, "%v", err)
		}
		v.Kind, v.Text = Bool, strconv.FormatBool(b)
	case "!!int", "!!float":
		v.Kind = Number
		text, err := yamlNumber(n)
		if err != nil {
			return err
		}
		v.Text = text
	default:
		return yamlError(n, "values of kind %s are not accepted", n.Tag)
	}
	return nil
}

func yamlNumber(n *yaml.Node) (string, error) {
	p := parser{data: []byte(n.Value), line: 1}
	if err := p.number(); err == nil && p.pos == len(n.Value) {
		return n.Value, nil
	}
	if n.Tag == "!!int" {
		var i int64
		if err := n.Decode(&i); err != nil {
			return "", yamlError(n, "%q is not an integer of 64 bits", n.Value)
		}
		return strconv.FormatInt(i, 10), nil
	}
	var f float64
	if err := n.Decode(&f); err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
		return "", yamlError(n, "%q is not a finite number", n.Value)
	}
	return strconv.FormatFloat(f, 'g', -1, 64), nil
}
