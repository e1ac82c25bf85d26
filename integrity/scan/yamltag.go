package scan

import (
	"bytes"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/prerun/prerun"
)

// pythonTags is what tags start with that build Python objects.
const pythonTags = "tag:yaml.org,2002:python/"

// hyperTags are those by which HyperPyYAML imports and calls.
var hyperTags = []string{"!new:", "!name:", "!apply:", "!module:"}

// plainTags name values that only lenient loaders build, and that do nothing.
var plainTags = strings.Fields("none bool str unicode bytes int long float complex list tuple dict")

// tagSeverity judges what stands behind pythonTags: the kind of an object, and
// the name of one that is imported.
func tagSeverity(rest string) prerun.Severity {
	kind, name, named := strings.Cut(rest, ":")
	if !named {
		if slices.Contains(plainTags, kind) {
			return prerun.Low
		}
		return prerun.High
	}
	if strings.HasPrefix(kind, "object") && plainName(name) {
		return prerun.Low
	}
	return prerun.High
}

// yamlTail is how much of a tag or directive is looked at to tell what it is:
// each letter may be three bytes.
const yamlTail = 256

// yamlSpells reports text that holds what may be a tag or a key that makes
// loaders import something. What it is follows from the parser.
func yamlSpells(p []byte) bool {
	return bytes.Contains(p, []byte("_target_")) || bytes.Contains(p, []byte("oc.create")) || yamlDirective(p) || yamlTagAt(p, false)
}

// yamlPlaced reports a tag of Python objects that stands where a node may start,
// or a directive that abbreviates one, in text that could not be parsed.
func yamlPlaced(p []byte) bool { return yamlDirective(p) || yamlTagAt(p, true) }

// yamlTagAt looks for a tag; placed looks for those of Python objects alone, and
// where a node may start.
func yamlTagAt(p []byte, placed bool) bool {
	for i := 0; ; i++ {
		k := bytes.IndexByte(p[i:], '!')
		if k < 0 {
			return false
		}
		i += k
		rest := p[i:min(len(p), i+yamlTail)]
		switch {
		case bytes.HasPrefix(rest, []byte("!!")):
			if strings.HasPrefix(unescapedTag(rest[2:]), "python/") && (!placed || nodeStarts(p[:i])) {
				return true
			}
		case bytes.HasPrefix(rest, []byte("!<")):
			if strings.HasPrefix(unescapedTag(rest[2:]), pythonTags) && (!placed || nodeStarts(p[:i])) {
				return true
			}
		case !placed && len(rest) > 1 && strings.IndexByte("namN%", rest[1]) >= 0:
			tag := unescapedTag(rest)
			if slices.ContainsFunc(hyperTags, func(h string) bool { return strings.HasPrefix(tag, h) }) {
				return true
			}
		}
	}
}

// yamlDirective looks for a directive that makes a handle stand for a part of
// such tags.
func yamlDirective(p []byte) bool {
	for {
		k := bytes.Index(p, []byte("%TAG"))
		if k < 0 {
			return false
		}
		p = p[k+len("%TAG"):]
		fields := bytes.Fields(p[:min(len(p), yamlTail)])
		if len(fields) < 2 {
			continue
		}
		prefix := unescapedTag(fields[1])
		for _, tag := range append([]string{pythonTags}, hyperTags...) {
			if prefix != "" && prefix != "!" && (strings.HasPrefix(prefix, tag) || strings.HasPrefix(tag, prefix)) {
				return true
			}
		}
	}
}

// unescapedTag undoes the escapes of the start of a tag, up to a blank.
func unescapedTag(p []byte) string {
	out := make([]byte, 0, 64)
	for i := 0; i < len(p) && p[i] > ' '; i++ {
		c := p[i]
		if c == '%' && i+2 < len(p) && hexDigit(p[i+1]) >= 0 && hexDigit(p[i+2]) >= 0 {
			c = byte(hexDigit(p[i+1])<<4 | hexDigit(p[i+2]))
			i += 2
		}
		out = append(out, c)
	}
	return string(out)
}

// yamlBreaks end lines of YAML, and with them comments.
const yamlBreaks = "\n\r\u0085\u2028\u2029"

// nodeStarts reports whether a node may start behind that text: at the start of
// a line or behind an indicator or an anchor, and not in a line of comment.
func nodeStarts(p []byte) bool {
	p = p[max(0, len(p)-4096):]
	if k := bytes.LastIndexAny(p, yamlBreaks); k >= 0 {
		p = bytes.TrimLeft(p[k:], yamlBreaks)
	}
	line := bytes.TrimLeft(p, " \t")
	if bytes.HasPrefix(line, []byte("#")) {
		return false
	}
	line = bytes.TrimRight(line, " \t")
	if len(line) == 0 || bytes.IndexByte([]byte("-?:[{,"), line[len(line)-1]) >= 0 {
		return true
	}
	k := bytes.LastIndexAny(line, " \t")
	return line[k+1] == '&'
}

// yamlName reports files that loaders open as YAML by their name.
func yamlName(p Probe) bool {
	return p.Ext() == ".yaml" || p.Ext() == ".yml" || p.Base() == "MLmodel" // of MLflow
}

// notYAML are endings of documents, sources and tables, which may quote YAML and
// are not opened as such.
var notYAML = strings.Fields(`.md .markdown .mdx .rst .html .htm .xml .svg .tex .ipynb .jsonl .ndjson .csv .tsv .log .diff .patch
	.py .pyi .pyx .js .mjs .ts .tsx .jsx .go .c .h .cc .cpp .hpp .cu .cuh .java .kt .swift .rs .rb .pl .lua .r .jl
	.sh .bash .ps1 .bat .cs .scala .css .sql`)

// markdown reports model cards, of which loaders read what stands in front of
// the text as YAML.
func markdown(p Probe) bool {
	switch p.Ext() {
	case ".md", ".markdown", ".mdx":
		return true
	}
	return strings.EqualFold(strings.TrimSuffix(p.Base(), path.Ext(p.Base())), "readme")
}

// frontMatter is what stands between the lines of dashes in front of a text,
// with the first of them, or nothing.
func frontMatter(p []byte) []byte {
	start, off := -1, 0
	for line := range bytes.Lines(p) {
		dashes := string(bytes.TrimRight(line, " \t\r\n")) == "---"
		switch {
		case start < 0 && dashes:
			start = off
		case start < 0 && len(bytes.TrimSpace(line)) > 0:
			return nil
		case start >= 0 && dashes:
			return p[:off]
		}
		off += len(line)
	}
	return nil
}

// undirected is text whose directives that say nothing of tags are comments:
// loaders pass over them that the parser refuses.
func undirected(p []byte) []byte {
	out := bytes.Clone(p)
	for i := range out {
		before, _ := utf8.DecodeLastRune(out[:i])
		if out[i] == '%' && (i == 0 || strings.ContainsRune(yamlBreaks, before)) && !bytes.HasPrefix(out[i:], []byte("%TAG")) {
			out[i] = '#'
		}
	}
	return out
}
