package scan

import (
	"fmt"
	"slices"
	"strings"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/internal/strictjson"
)

var (
	ruleOutsidePath = prerun.Rule{
		ID: "scan.config.outside-path", Title: "configuration that opens a file elsewhere", Severity: prerun.Medium,
		Help: "A member of the configuration is the path of a file that the loader opens as part of the model, such as a vocabulary, and the path is absolute or leaves the folder. Loading reads that file of the host into the model, where whoever uses the model sees it: transformers 4 opens what tokenizer_config.json names, transformers 5 still what special_tokens_map.json names. Remove the member; the loader finds the files of the folder by itself.",
		Refs: []prerun.Reference{refTraversal, refSupply},
	}
	rulePatternBomb = prerun.Rule{
		ID: "scan.config.pattern-bomb", Title: "pattern that takes forever", Severity: prerun.Medium,
		Help: "A regular expression of the configuration repeats what already repeats, such as (a+)+. The loader matches it against every layer of the model, and the time doubles with every letter that does not fit: loading hangs. Write the pattern without the outer repetition.",
		Refs: []prerun.Reference{{Catalogue: "CWE", Edition: "4.16", ID: "CWE-1333"}},
	}
)

// openedFiles are the members that hold paths which tokenizers and processors
// open; those that end in vocab_file or merges_file are too.
var openedFiles = []string{
	"tokenizer_file", "spm_file", "source_spm", "target_spm", "sentencepiece_model_file", "emoji_file", "normalizer_file",
	"word_shape_file", "word_pronunciation_file", "bpe_codes_file", "class_info_file", "repo_path",
	"audio_tokenizer_name_or_path", "semantic_prompt", "coarse_prompt", "fine_prompt", "cache_file", "covariance_file",
}

// opened looks at members whose values a loader opens as files, or matches.
func (c *configScan) opened(m *strictjson.Member, at string) {
	if !loaderReads(c.a.Base()) && c.a.Base() != "special_tokens_map.json" && c.a.Base() != "speaker_embeddings_path.json" {
		return
	}
	v := &m.Value
	switch {
	case m.Name == "transformers_weights" || m.Name == "checkpoint_path":
		c.inside(v, at)
	case m.Name == "backbone" || m.Name == "architecture":
		if dir, ok := strings.CutPrefix(textOf(v), "local-dir:"); ok && leaves(dir) { // of timm
			shown := excerpt(dir, 120)
			c.finding(ruleShardPath, 0, v, at, shown, "a part is said to be in %q", shown)
		}
	case m.Name == "init_inputs" || m.Name == "fast_tokenizer_files" || m.Name == "configuration_files":
		for i := range v.Items {
			c.elsewhere(&v.Items[i], fmt.Sprintf("%s/%d", at, i))
		}
	case slices.Contains(openedFiles, m.Name) || strings.HasSuffix(m.Name, "vocab_file") || strings.HasSuffix(m.Name, "merges_file"):
		c.elsewhere(v, at)
	case strings.HasSuffix(m.Name, "attn_implementation") || strings.Contains(m.Name, "attn_implementation_internal") || strings.HasSuffix(m.Name, "experts_implementation"):
		c.kernel(v, at)
	case m.Name == "target_modules" || m.Name == "exclude_modules" || m.Name == "modules_to_save" || m.Name == "layers_pattern":
		if t := textOf(v); repeatsRepeated(t) {
			shown := excerpt(t, 120)
			c.finding(rulePatternBomb, 0, v, at, shown, "%q repeats what repeats", shown)
		}
	}
}

// elsewhere reports a path that a loader opens outside the model's folder.
func (c *configScan) elsewhere(v *strictjson.Value, at string) {
	if text := textOf(v); text != "" && leaves(text) {
		shown := excerpt(text, 120)
		c.finding(ruleOutsidePath, 0, v, at, shown, "the loader opens %q", shown)
	}
}

// kernel reports an implementation that transformers fetches from a repository
// of compiled kernels: a name of the framework's own has no slash. Those of
// kernels-community are trusted by transformers itself.
func (c *configScan) kernel(v *strictjson.Value, at string) {
	for i := range v.Members { // one for each part of a composed model
		c.kernel(&v.Members[i].Value, at+"/"+pointerEscaper.Replace(v.Members[i].Name))
	}
	text := textOf(v)
	if !strings.Contains(text, "/") {
		return
	}
	sev := prerun.Medium
	repository := text[strings.LastIndex(text, "|")+1:]
	if strings.HasPrefix(repository, "kernels-community/") {
		sev = prerun.Low
	}
	shown := excerpt(text, 120)
	c.finding(ruleRemoteCode, sev, v, at, shown, "kernels are taken from repository %q", shown)
}

// repeatsRepeated reports a regular expression of Python in which a group that
// is nothing but one repeated atom is repeated itself, each without bound.
func repeatsRepeated(pattern string) bool {
	type group struct {
		atoms  int  // in its current branch
		single bool // a branch is one atom, repeated
		last   bool // its last atom is repeated without bound
	}
	stack := []group{{}}
	closed := false // the last atom is a group of one repeated atom
	for i := 0; i < len(pattern); i++ {
		g := &stack[len(stack)-1]
		n := unbounded(pattern[i:])
		switch ch := pattern[i]; {
		case n > 0 && g.atoms > 0:
			if closed {
				return true
			}
			g.last = true
			i += n - 1
			continue
		case ch == '(':
			g.atoms, g.last = g.atoms+1, false
			stack = append(stack, group{})
			if strings.HasPrefix(pattern[i+1:], "?:") {
				i += 2
			}
			closed = false
			continue
		case ch == '|' || ch == ')':
			g.single = g.single || g.atoms == 1 && g.last
			if single := g.single; ch == ')' && len(stack) > 1 {
				stack = stack[:len(stack)-1]
				closed = single
				stack[len(stack)-1].last = single // a group around such a group is one as well
				continue
			}
			g.atoms, g.last = 0, false
		case ch == '\\':
			i++
			g.atoms, g.last = g.atoms+1, false
		case ch == '[':
			if k := classEnd(pattern[i:]); k > 0 {
				i += k
			}
			g.atoms, g.last = g.atoms+1, false
		case ch == '?' && g.atoms > 0: // a lazy repetition, or an atom that may be missing
			continue
		default:
			g.atoms, g.last = g.atoms+1, false
		}
		closed = false
	}
	return false
}

// unbounded is the length of a quantifier without an upper bound at the start.
func unbounded(p string) int {
	if p[0] == '*' || p[0] == '+' {
		return 1
	}
	if p[0] == '{' {
		if k := strings.IndexByte(p, '}'); k > 2 && p[k-1] == ',' && strings.Trim(p[1:k-1], "0123456789") == "" {
			return k + 1
		}
	}
	return 0
}

// classEnd is where a class of characters ends that starts p, or 0.
func classEnd(p string) int {
	for i := 2; i < len(p); i++ {
		switch p[i] {
		case '\\':
			i++
		case ']':
			return i
		}
	}
	return 0
}
