package scan_test

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/prerun/prerun/integrity/scan"
	"github.com/prerun/prerun/integrity/scan/internal/build"
)

const (
	kerasCode = `{"module": "keras.layers", "class_name": "Lambda", "config": {"function": {"class_name": "__lambda__", "config": {"code": "4wEAAAA="}}}}`
	kerasBody = `{"module": "keras", "class_name": "Sequential", "config": {"layers": [` + kerasCode + `]}}`
)

// encoded is text in an encoding that json.loads of Python finds out by itself.
func encoded(text, as string) []byte {
	var order binary.AppendByteOrder = binary.LittleEndian
	if strings.Contains(as, "be") {
		order = binary.BigEndian
	}
	var out []byte
	if strings.HasPrefix(as, "utf16") {
		for _, u := range utf16.Encode([]rune(text)) {
			out = order.AppendUint16(out, u)
		}
		return out
	}
	for _, r := range text {
		out = order.AppendUint32(out, uint32(r))
	}
	return out
}

// TestKerasDisguised hides a Lambda layer in ways that Keras 3.8 was seen to load
// and run.
func TestKerasDisguised(t *testing.T) {
	archive := func(config []byte) []byte {
		return build.Zip(
			build.Member{Name: "metadata.json", Data: []byte(`{"keras_version": "3.8.0"}`)},
			build.Member{Name: "config.json", Data: config, Method: 8},
			build.Member{Name: "model.weights.h5", Data: kerasH5(kerasDense).Bytes()})
	}
	for name, config := range map[string][]byte{
		"dictionary":   []byte(`{"a": ` + kerasBody + `}`),
		"list":         []byte(`[` + kerasBody + `]`),
		"padded":       []byte(`{"pad": "` + strings.Repeat("x", 6000) + `", ` + kerasBody[1:]),
		"blanks":       []byte(strings.Repeat(" ", 6000) + kerasBody),
		"escaped":      []byte(strings.ReplaceAll(kerasBody, "class_name", `class\u005fname`)),
		"utf8 mark":    []byte("\xef\xbb\xbf" + kerasBody),
		"utf16le":      encoded(kerasBody, "utf16le"),
		"utf16be":      encoded(kerasBody, "utf16be"),
		"utf32le":      encoded(kerasBody, "utf32le"),
		"utf32be":      encoded(kerasBody, "utf32be"),
		"utf16le mark": encoded("\ufeff"+kerasBody, "utf16le"),
		"utf16be mark": encoded("\ufeff"+kerasBody, "utf16be"),
		"utf32le mark": encoded("\ufeff"+kerasBody, "utf32le"),
		"utf32be mark": encoded("\ufeff"+kerasBody, "utf32be"),
	} {
		if got := one(t, scan.Scanner{}, "m.keras", archive(config)); got.Verdict != scan.Malicious {
			t.Errorf("%s: %v, want malicious", name, got.Verdict)
		}
		if got := one(t, scan.Scanner{}, "model.json", config); got.Verdict != scan.Malicious {
			t.Errorf("%s as model.json: %v, want malicious", name, got.Verdict)
		}
	}
	for _, lenient := range []string{`{"x": NaN, ` + kerasBody[1:], `{"class_name": "Dense", ` + kerasBody[1:]} {
		if got := one(t, scan.Scanner{}, "m.keras", archive([]byte(lenient))); got.Verdict == scan.Clean && got.Completeness == scan.Complete {
			t.Errorf("%.30s...: clean and complete", lenient)
		}
	}
}

func TestKerasReach(t *testing.T) {
	function := func(module, name string) string {
		return fmt.Sprintf(`{"class_name": "Dense", "config": {"activation": {"module": %q, "class_name": "function", "config": %q, "registered_name": %q}}}`, module, name, name)
	}
	for config, want := range map[string]scan.Verdict{
		function("keras.src.utils.file_utils", "rmtree"):                              scan.Malicious,
		function("keras.utils", "save_img"):                                           scan.Malicious,
		function("keras.src.utils.python_utils", "func_load"):                         scan.Malicious,
		function("tensorflow.python.keras.saving", "f"):                               scan.Suspicious,
		function("keras.activations", "relu"):                                         scan.Clean,
		function("keras.src.activations.activations", "relu"):                         scan.Clean,
		function("builtins", "relu"):                                                  scan.Clean,
		function("keras.ops", "softmax"):                                              scan.Clean,
		`{"class_name": "StringLookup", "config": {"vocabulary": "/etc/passwd"}}`:     scan.Malicious,
		`{"class_name": "StringLookup", "config": {"vocabulary": "https://x.test/"}}`: scan.Malicious,
		`{"class_name": "StringLookup", "config": {"vocabulary": "words.txt"}}`:       scan.Suspicious,
		`{"class_name": "StringLookup", "config": {"vocabulary": ["/etc/passwd"]}}`:   scan.Clean,
		`{"class_name": "StringLookup", "config": {"vocabulary": null}}`:              scan.Clean,
	} {
		if got := one(t, scan.Scanner{}, "config.json", []byte(config)); got.Verdict != want {
			t.Errorf("%s: %v, want %v", config, got.Verdict, want)
		}
	}
}

// TestTemplateDisguised has templates that run their code under jinja2 3.1.
func TestTemplateDisguised(t *testing.T) {
	for _, text := range []string{
		`{% raw %}{#{% endraw %}{{ x.__init__ }}{% raw %}#}{% endraw %}`,
		`{%- raw -%}{#{%- endraw -%}{{ x.__init__ }}{% raw %}#}{% endraw %}`,
		`{{ ({1:{2:3}}, x)[1]['__init__'] }}`,
		`{{ ({1:{2:3}}, x)[1].__init__ }}`,
		`{{ x['__in' 'it__'] }}`,
		`{{ x['__in' ~ 'it__'] }}`,
		`{{ x['__in' + 'it__'] }}`,
		`{{ x['%c%cinit%c%c' % (95, 95, 95, 95)] }}`,
		`{{ x['tini'[::-1]] }}`,
		`{{ x['INIT'|lower] }}`,
		`{{ x['xxinit'.replace('x', y)] }}`,
		`{{ ''.join(y).z }}{{ x[''.join(y)] }}`,
		`{% set u = '%c'|format(95) %}{% set a = [u,u,'init',u,u]|join %}{{ x[a] }}`,
		`{% set a %}__init__{% endset %}{{ x[a] }}`,
		`{% macro a() %}__init__{% endmacro %}{{ x[a()] }}`,
		`{% macro f(o, a) %}{{ o[a] }}{% endmacro %}{{ f(x, '__in' ~ 'it__') }}`,
		`{% macro f() %}{{ x[caller()] }}{% endmacro %}{% call f() %}__init__{% endcall %}`,
		`{% set u = 'add_generation_prompt'[3] %}{{ x[u ~ u ~ 'init' ~ u ~ u] }}`,
		`{% set u = 'a_b'[1] %}{% set v = u * 2 %}{% set w = v + y %}{{ x[w] }}`,
		`{% for p in ['__in' ~ 'it__'] %}{{ x[p] }}{% endfor %}`,
		`{% set n = namespace(p='__in' ~ 'it__') %}{{ x[n.p] }}`,
		`{% set n = namespace() %}{% set n.p = '__in' ~ 'it__' %}{{ x[n.p] }}`,
		`{% with a = '__in' ~ 'it__' %}{{ x[a] }}{% endwith %}`,
		`{% set l = [] %}{% set _ = l.append('__in' ~ 'it__') %}{{ x[l[0]] }}`,
		`{{ [x]|map(attribute='__in' ~ 'it__')|first }}`,
		"{{ x|\fattr(y) }}",
		"{{ x.popen\u00a0('id') }}",
		`{% filter attr(y) %}a{% endfilter %}`,
		`{% set a = 'xxinitxx' %}{{ x[a|replace('x', messages[0].u)] }}`,
		`{{ x['gi_' ~ y] }}{{ x['a' ~ 'b'[::-1]] }}`,
		`{{ '{0.__init__.__code__}'.format(x) }}`,
		`{{ x[` + strings.Repeat("(", 300) + `a` + strings.Repeat(")", 300) + `] }}`,
	} {
		if got := one(t, scan.Scanner{}, "chat_template.jinja", []byte(text)); got.Verdict != scan.Suspicious && got.Verdict != scan.Malicious {
			t.Errorf("%q: %v", text, got.Verdict)
		}
	}
	for _, text := range []string{
		`{% raw %}{{ x.__init__ }}{% endraw %}`,
		`{% set content = '<s>' + message['content'] | trim %}{{ content }}{{ messages[loop.index0 + 1]['role'] }}`,
		`{% set messages = messages[1:] %}{% for m in messages %}{{ roles[m['role']] }}{{ m.content.split('</think>')[-1] }}{% endfor %}`,
		`{% for m in messages[::-1] %}{{ messages[messages|length - 1] }}{% endfor %}`,
		`{% for k in tool.parameters %}{{ tool.parameters[k] }}{{ {'a': {'b': 1}}[k] }}{% endfor %}`,
		`{% macro f(s) %}{{ types[s.type] }}{% endmacro %}{{ f(p.items) ~ '\n' }}`,
		`{{ tools | map(attribute='name') | join(', ') }}`,
		`{% for i in range(3) %}{{ tools['x' ~ i] }}{% endfor %}`,
		`{{ tools | selectattr('type', 'equalto', 'f') | list }}{{ x['a' if y else 'b'] }}`,
	} {
		if got := one(t, scan.Scanner{}, "chat_template.jinja", []byte(text)); got.Verdict != scan.Clean {
			t.Errorf("%q: %v, %v", text, got.Verdict, got.Findings)
		}
	}
}
