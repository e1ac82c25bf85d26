package scan_test

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"

	"github.com/prerun/prerun/integrity/scan"
)

// TestTemplateEvasion has ways to reach Python from a template, and to hide
// that. None may be clean; those that spell a name out, however, are malicious.
func TestTemplateEvasion(t *testing.T) {
	for _, tt := range []struct {
		name, template string
		want           scan.Verdict
	}{
		// Where expressions start and end.
		{"plain", `{{ ''.__class__ }}`, scan.Malicious},
		{"white_space_control", "{{-\n''.__class__\n-}}", scan.Malicious},
		{"plus_control", `{%+ if ''.__class__ +%}{% endif %}`, scan.Malicious},
		{"statement", `{% if x.__class__ %}{% endif %}`, scan.Malicious},
		{"closing_in_dict", `{{ {'a': {'b': 1}}.x.__class__ }}`, scan.Malicious},
		{"closing_in_string", `{{ '}}' ~ x.__class__ }}`, scan.Malicious},
		{"closing_in_brackets", `{% set a = [ '%}', {1: 2}] %}{% set b = x[{1: {2: 3}}].__class__ %}`, scan.Malicious},
		{"percent_in_brackets", `{% set a = (3 %}2) or x.__class__ %}`, scan.Malicious},
		{"behind_comment", `{# {{ #}{{ x.__class__ }}`, scan.Malicious},
		{"comment_in_string", `{{ '{#' }}{{ x.__class__ }}{{ '#}' }}`, scan.Malicious},
		{"comment_without_end", `{# {{ x.__class__ }}`, scan.Malicious}, // refused by Jinja, and not believed
		{"comment_in_raw", `{% raw %}{#{% endraw %}{{ x.__class__ }}`, scan.Malicious},
		{"behind_raw", `{%- raw -%}{{{%- endraw -%}{{ x.__class__ }}`, scan.Malicious},
		{"raw_without_end", `{% raw %}{{ x.__class__ }}`, scan.Malicious},
		{"raw_in_string", `{{ '{% raw %}' }}{{ x.__class__ }}{{ '{% endraw %}' }}`, scan.Malicious},
		{"raw_in_comment", `{# {% raw %} #}{{ x.__class__ }}{# {% endraw %} #}`, scan.Malicious},
		{"spaces_in_raw", `{% ` + strings.Repeat(" ", 1000) + `raw %}{#{% endraw %}{{ x.__class__ }}#}`, scan.Malicious},
		{"many_braces", `{{{'a': x.__class__}}}`, scan.Malicious},
		{"string_without_end", `{{ 'abc }}{{ x.__class__ }}`, scan.Unknown},
		{"padding_in_block", `{{ [` + strings.Repeat("1, ", 10_000) + `x.__class__] }}`, scan.Malicious},
		{"padding_of_spaces", `{{` + strings.Repeat(" ", 100_000) + `x.__class__ }}`, scan.Malicious},
		{"far_down", strings.Repeat("text {{ a }} ", 20_000) + `{{ x.__class__ }}`, scan.Malicious},

		// How names are spelt.
		{"subscript", `{{ x['__class__'] }}`, scan.Malicious},
		{"hex", `{{ x["\x5f\x5fclass\x5f\x5f"] }}`, scan.Malicious},
		{"octal", `{{ x["\137\137class\137\137"] }}`, scan.Malicious},
		{"unicode", `{{ x["\u005f\u005fclass\u005f\u005f"] }}`, scan.Malicious},
		{"long_unicode", `{{ x["\U0000005f_class_\U0000005f"] }}`, scan.Malicious},
		{"character_name", `{{ x["\N{LOW LINE}\N{low line}class__"] }}`, scan.Malicious},
		{"continued_line", "{{ x['__cla\\\nss__'] }}", scan.Malicious},
		{"adjacent", `{{ x["__cla" "ss__"] }}`, scan.Malicious},
		{"tilde", `{{ x["__cla" ~ "ss__"] }}`, scan.Malicious},
		{"plus", `{{ x["__cla" + "ss__"] }}`, scan.Malicious},
		{"single_letters", `{{ x["_" ~ "_" ~ "c" ~ "l" ~ "a" ~ "s" ~ "s" ~ "_" ~ "_"] }}`, scan.Malicious},
		{"join", `{{ x[["__", "class", "__"]|join] }}`, scan.Malicious},
		{"join_method", `{{ x["".join(["_", "_class_", "_"])] }}`, scan.Malicious},
		{"percent", `{{ x["%s%s" % ("__cla", "ss__")] }}`, scan.Malicious},
		{"format_filter", `{{ x["%s%s"|format("__cla", "ss__")] }}`, scan.Malicious},
		{"format_method", `{{ x["{}{}".format("__cla", "ss__")] }}`, scan.Malicious},
		{"dict_keys", `{{ x[dict(__cla=1, ss__=2)|join] }}`, scan.Malicious},
		{"upper_case", `{{ x["__CLASS__"|lower] }}`, scan.Malicious},
		{"backwards", `{{ x["__ssalc__"|reverse] }}`, scan.Malicious},
		{"slice_inside", `{% set a = "_" ~ n %}{{ x[a[1:]] }}`, scan.Suspicious},
		{"slice_of_result", `{% set a = "_" ~ n %}{{ x[(a)[:9] ~ ""] }}`, scan.Suspicious},
		{"colon_in_dict", `{% set a = "_" ~ n %}{{ x[{1: a}[1]] }}`, scan.Suspicious},
		{"minus_in_branch", `{% set a = "_" ~ n %}{{ x[a if true else b - 1] }}`, scan.Suspicious},
		{"minus_behind_and", `{% set a = "_" ~ n %}{{ x[b - 1 and a] }}`, scan.Suspicious},
		{"minus_in_brackets", `{% set a = "_" ~ n %}{{ x[f(b - 1, a)] }}`, scan.Suspicious},
		{"minus_and_filter", `{% set a = "_" ~ n %}{{ x[b - 1 |default(a)] }}`, scan.Suspicious},
		{"minus_sign", `{% set a = "_" ~ n %}{{ x[-1 ~ a] }}`, scan.Suspicious},
		{"length_and_text", `{% set a = "_" ~ n %}{{ x[a|length ~ a] }}`, scan.Suspicious},
		{"length_of_other", `{% set a = "_" ~ n %}{% for i in [a|length, a] %}{{ x[i] }}{% endfor %}`, scan.Suspicious},
		{"length_as_name", `{% set a = "_" ~ n %}{% set length = a %}{{ x[length] }}`, scan.Suspicious},
		{"slice", `{{ x["xx__class__xx"[2:-2]] }}`, scan.Malicious},
		{"replace_filter", `{{ x["__clZass__"|replace("Z", "")] }}`, scan.Malicious},
		{"replace_method", `{{ x["--class--".replace("-", "_")] ~ "_" }}`, scan.Suspicious}, // see replace_dashes
		{"replace_dashes", `{{ x["_-_-class-_-_"|replace("-", "")] }}`, scan.Malicious},
		{"repeated", `{{ x["_" * 2 ~ "class" ~ "_" * 2] }}`, scan.Suspicious},
		{"characters", `{{ x["%c%cclass%c%c"|format(95, 95, 95, 95)] }}`, scan.Suspicious},
		{"character_format", `{{ x["{:c}{:c}class{:c}{:c}".format(95, 95, 95, 95)] }}`, scan.Suspicious},
		{"entities", `{{ x["&#95;&#95;class&#95;&#95;"|striptags] }}`, scan.Suspicious},
		{"part", `{{ x["__cla" ~ y] }}`, scan.Suspicious},
		{"part_behind", `{{ x[y ~ "ss__"] }}`, scan.Suspicious},
		{"text_of_generator", `{{ (()|select|string)[24] }}`, scan.Suspicious},
		{"text_of_map", `{% set u = ([]|map|string|list)[20] %}`, scan.Suspicious},

		// Through variables, blocks and functions.
		{"set", `{% set a = "__cla" %}{% set b = "ss__" %}{{ x[a ~ b] }}`, scan.Malicious},
		{"set_other_order", `{% set b = "ss__" %}{% set a = "__cla" %}{{ x[a ~ b] }}`, scan.Suspicious},
		{"set_underscore", `{% set u = "_" %}{{ x[u ~ u ~ "class" ~ u ~ u] }}`, scan.Suspicious},
		{"set_underscore_plus", `{% set u = "_" %}{{ x[u + u + "class" + u + u] }}`, scan.Suspicious},
		{"set_block", `{% set a %}__cla{% endset %}{% set b %}ss__{% endset %}{{ x[a ~ b] }}`, scan.Malicious},
		{"set_block_underscore", `{% set u %}_{% endset %}{{ x[u ~ u ~ "class" ~ u ~ u] }}`, scan.Suspicious},
		{"set_block_raw", `{% set a %}{% raw %}__cla{% endraw %}ss__{% endset %}{{ x[a] }}`, scan.Malicious},
		{"macro_arguments", `{% macro j(a, b) %}{{ x[a ~ b] }}{% endmacro %}{{ j("__cla", "ss__") }}`, scan.Malicious},
		{"macro_text", `{% macro u() %}_{% endmacro %}{{ x[u() ~ u() ~ "class" ~ u() ~ u()] }}`, scan.Suspicious},
		{"namespace", `{% set n = namespace(a="__cla", b="ss__") %}{{ x[n.a ~ n.b] }}`, scan.Malicious},
		{"dict", `{% set d = {"k": "__class__"} %}{{ x[d.k] }}`, scan.Malicious},
		{"list", `{% set l = ["__class__"] %}{{ x[l[0]] }}`, scan.Malicious},
		{"loop", `{% for n in ["__class__", "__base__"] %}{{ x[n] }}{% endfor %}`, scan.Malicious},
		{"loop_object", `{% for a in [1] %}{{ loop.__class__ }}{% endfor %}`, scan.Malicious},
		{"macro_object", `{% macro m() %}{% endmacro %}{{ m.__globals__ }}`, scan.Malicious},
		{"private_of_engine", `{{ self._TemplateReference__context }}`, scan.Malicious},
		{"frames", `{{ (x for y in z).gi_frame.f_globals }}`, scan.Malicious},

		// Filters that take names.
		{"attr", `{{ x|attr("name") }}`, scan.Suspicious},
		{"attr_spaces", "{{ x |\n attr ('name') }}", scan.Suspicious},
		{"attr_block", `{% filter attr("name") %}x{% endfilter %}`, scan.Suspicious},
		{"attr_by_map", `{{ [x]|map("attr", "name")|list }}`, scan.Suspicious},
		{"computed_filter", `{{ [x]|map("at" ~ "tr", "name")|list }}`, scan.Suspicious},
		{"map_attribute", `{{ [x]|map(attribute="__class__")|list }}`, scan.Malicious},
		{"map_attribute_path", `{{ [x]|map(attribute="a.__class__.b")|list }}`, scan.Malicious},
		{"map_attribute_computed", `{{ [x]|map(attribute=y)|list }}`, scan.Suspicious},
		{"map_attribute_joined", `{{ [x]|map(attribute="a" ~ y)|list }}`, scan.Suspicious},
		{"selectattr_computed", `{{ [x]|selectattr(y)|list }}`, scan.Suspicious},
		{"groupby", `{{ [x]|groupby("__class__") }}`, scan.Malicious},
		{"sort", `{{ [x]|sort(attribute="__class__.x") }}`, scan.Malicious},
		{"format_attribute", `{{ "{0.name}".format(x) }}`, scan.Suspicious},
		{"format_index", `{{ "{x[name]}".format(x=x) }}`, scan.Suspicious},
		{"format_class", `{{ "{0.__class__}".format(x) }}`, scan.Malicious},

		// Objects of the engine and calls.
		{"lipsum", `{{ lipsum }}`, scan.Suspicious},
		{"lipsum_alias", `{% set l = lipsum %}{{ l.x }}`, scan.Suspicious},
		{"lipsum_text", `{{ (lipsum|string)[3] }}`, scan.Suspicious},
		{"cycler", `{{ cycler("a").next }}`, scan.Suspicious},
		{"joiner", `{{ joiner.x }}`, scan.Suspicious},
		{"self", `{{ self.x }}`, scan.Suspicious},
		{"self_alias", `{% set s = self %}`, scan.Suspicious},
		{"self_in_list", `{{ [self][0] }}`, scan.Suspicious},
		{"namespace_object", `{{ namespace.x }}`, scan.Suspicious},
		{"namespace_alias", `{% set n = namespace %}`, scan.Suspicious},
		{"config", `{{ config.items() }}`, scan.Suspicious},
		{"request", `{{ request["application"] }}`, scan.Suspicious},
		{"function_object", `{{ raise_exception.x }}`, scan.Suspicious},
		{"include", `{% include "a" %}`, scan.Suspicious},
		{"import", `{%- import "a" as b -%}`, scan.Suspicious},
		{"from", `{% from "a" import b %}`, scan.Suspicious},
		{"extends", `{% extends "a" %}`, scan.Suspicious},
		{"debug", `{% debug %}`, scan.Suspicious},
		{"popen", `{{ x.popen("id").read() }}`, scan.Malicious},
		{"popen_subscript", `{{ x["popen"]("id") }}`, scan.Malicious},
		{"eval", `{{ eval("1") }}`, scan.Malicious},
		{"shadowed_call", `{% macro system(x) %}{% endmacro %}{{ a.system("id") }}`, scan.Malicious},
		{"whole_attack", `{{ cycler.__init__.__globals__.os.popen('id').read() }}`, scan.Malicious},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := one(t, scan.Scanner{}, "chat_template.jinja", []byte(tt.template))
			if tt.want == scan.Unknown {
				return // Jinja refuses it; nothing may crash
			}
			if f.Verdict != tt.want || f.Completeness != scan.Complete {
				report(t, f)
				t.Errorf("%s, %s; want %s", f.Verdict, f.Completeness, tt.want)
			}
		})
	}
}

// ordinaryTemplates are written for this test in the manner of well-known
// models' templates.
var ordinaryTemplates = map[string]string{
	"empty": "",
	"llama": `{{- bos_token }}
{%- if custom_tools is defined %}{%- set tools = custom_tools %}{%- endif %}
{%- if not date_string is defined %}{%- if strftime_now is defined %}{%- set date_string = strftime_now("%d %b %Y") %}{%- else %}{%- set date_string = "26 Jul 2024" %}{%- endif %}{%- endif %}
{%- if messages[0]['role'] == 'system' %}{%- set system_message = messages[0]['content']|trim %}{%- set messages = messages[1:] %}{%- else %}{%- set system_message = "" %}{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\n\n" }}
{%- if builtin_tools is defined or tools is not none %}{{- "Environment: ipython\n" }}{%- endif %}
{%- if builtin_tools is defined %}{{- "Tools: " + builtin_tools | reject('equalto', 'code_interpreter') | join(", ") + "\n\n"}}{%- endif %}
{%- for message in messages %}
    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim + '<|eot_id|>' }}
    {%- elif 'tool_calls' in message %}
        {%- if not message.tool_calls|length == 1 %}{{- raise_exception("This model only supports single tool-calls at once!") }}{%- endif %}
        {%- set tool_call = message.tool_calls[0].function %}
        {%- for arg_name, arg_val in tool_call.arguments | items %}{{- arg_name + '="' + arg_val + '"' }}{%- if not loop.last %}{{- ", " }}{%- endif %}{%- endfor %}
    {%- endif %}
{%- endfor %}`,
	"qwen": `{%- if tools %}
    {{- '<|im_start|>system\n' }}
    {{- "# Tools\n\nYou may call one or more functions to assist with the user query.\n\nYou are provided with function signatures within <tools></tools> XML tags:\n<tools>" }}
    {%- for tool in tools %}{{- "\n" }}{{- tool | tojson }}{%- endfor %}
    {{- "\n</tools>\n\n<tool_call>\n{\"name\": <function-name>, \"arguments\": <args-json-object>}\n</tool_call><|im_end|>\n" }}
{%- endif %}
{%- set ns = namespace(multi_step_tool=true, last_query_index=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.multi_step_tool and message.role == "user" and not(message.content.startswith('<tool_response>') and message.content.endswith('</tool_response>')) %}{%- set ns.multi_step_tool = false %}{%- set ns.last_query_index = index %}{%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if '</think>' in message.content %}{%- set reasoning = message.content.split('</think>')[0].rstrip('\n').split('<think>')[-1].lstrip('\n') %}{%- endif %}
    {%- if loop.index0 > ns.last_query_index %}{{- messages[loop.index0 + 1].role }}{{- messages[loop.index0 - 1]["role"] }}{%- endif %}
    {{- '{"name": "' }}{{- tool_call.name }}{{- '", "arguments": ' }}{{- tool_call.arguments | tojson }}{{- '}\n</tool_call>' }}
{%- endfor %}`,
	"mistral": `{%- set loop_messages = messages %}{%- set user_messages = loop_messages | selectattr("role", "equalto", "user") | list %}
{%- set ns = namespace() %}{%- set ns.index = 0 %}
{%- for message in loop_messages %}{%- if (message["role"] == "user") != (ns.index % 2 == 0) %}{{- raise_exception("roles must alternate") }}{%- endif %}
{%- if message["role"] == "user" %}{%- if tools is not none and (message == user_messages[-1]) %}{{- "[AVAILABLE_TOOLS][" }}
{%- for tool in tools %}{{- '{"type": "function", "function": {' }}{%- for key, val in tool.function.items() if key != "return" %}{%- if val is string %}{{- '"' + key + '": "' + val + '"' }}{%- else %}{{- '"' + key + '": ' + val|tojson }}{%- endif %}{%- if not loop.last %}{{- ", " }}{%- endif %}{%- endfor %}{{- "}}" }}{%- endfor %}{{- "[/AVAILABLE_TOOLS]" }}{%- endif %}{{- "[INST]" + message["content"] + "[/INST]" }}
{%- elif message.tool_calls is defined %}{%- set out = tool_call.function|tojson %}{{- out[:-1] }}{%- if not tool_call.id is defined or tool_call.id|length != 9 %}{{- raise_exception("Tool call IDs should be alphanumeric strings with length 9!") }}{%- endif %}{{- ', "id": "' + tool_call.id + '"}' }}{%- endif %}{%- endfor %}`,
	"deepseek": `{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}{% set ns = namespace(is_first=false, is_tool=false, is_output_first=true, system_prompt='') %}{%- for message in messages %}{%- if message['role'] == 'system' %}{% set ns.system_prompt = message['content'] %}{%- endif %}{%- endfor %}{{bos_token}}{{ns.system_prompt}}{%- for message in messages %}{%- if message['role'] == 'user' %}{%- set ns.is_tool = false -%}{{'<｜User｜>' + message['content']}}{%- endif %}{%- if message['role'] == 'assistant' and message['content'] is none %}{%- for tool in message['tool_calls']%}{{'<｜Assistant｜><｜tool▁calls▁begin｜>' + tool['type'] + '<｜tool▁sep｜>' + tool['function']['name'] + '\n' + tool['function']['arguments'] + '\n'}}{%- endfor %}{%- endif %}{% if '</think>' in content %}{% set content = content.split('</think>')[-1] %}{% endif %}{%- endfor -%}`,
	"gemma": `{{ bos_token }}{%- if messages[0]['role'] == 'system' -%}{%- if messages[0]['content'] is string -%}{%- set first_user_prefix = messages[0]['content'] + '

' -%}{%- else -%}{%- set first_user_prefix = messages[0]['content'][0]['text'] + '

' -%}{%- endif -%}{%- set loop_messages = messages[1:] -%}{%- endif -%}
{%- for message in loop_messages -%}{%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}{{ raise_exception("Conversation roles must alternate user/assistant/user/assistant/...") }}{%- endif -%}{%- if (message['role'] == 'assistant') -%}{%- set role = "model" -%}{%- else -%}{%- set role = message['role'] -%}{%- endif -%}{{ '<start_of_turn>' + role + '
' + (first_user_prefix if loop.first else "") }}{%- for item in message['content'] -%}{%- if item['type'] == 'image' -%}{{ '<start_of_image>' }}{%- elif item['type'] == 'text' -%}{{ item['text'] | trim }}{%- endif -%}{%- endfor -%}{{ '<end_of_turn>
' }}{%- endfor -%}`,
	"macros": `{#- renders a tool in the manner of a typed language -#}
{%- macro render_type(spec, required, is_nullable=false) -%}
    {%- if spec.type == "array" -%}{%- if spec['items'] -%}{%- if spec['items']['type'] == "string" -%}{{- "string[]" }}{%- else -%}{%- set inner = render_type(spec['items'], required) -%}{{- inner + "[]" }}{%- endif -%}{%- endif -%}
    {%- elif spec.type is defined and spec.type is iterable and spec.type is not string and spec.type|length > 1 -%}{{- spec.type | join(" | ") }}
    {%- elif spec.enum -%}{{- '"' + spec.enum|join('" | "') + '"' -}}
    {%- elif spec.oneOf -%}{%- for v in spec.oneOf -%}{{- render_type(v, required) }}{%- if not loop.last -%}{{- " | " }}{%- endif -%}{%- endfor -%}{%- endif -%}
{%- endmacro -%}
{%- macro system(content) -%}{{- "<|start|>system<|message|>" + content }}{%- endmacro -%}
{{- system("You are " + model_identity|default("a model")) }}{{- "Reasoning: " + reasoning_effort + "\n\n" }}
{%- set sep = joiner(", ") -%}{%- for n in names -%}{{ sep() }}{{ n.replace('_', ' ') ~ '_' ~ loop.index }}{%- endfor -%}
{{- (message.name.split('_')[0] ~ '_' ~ message.name.split('_')[1]) if '_' in message.name }}{{ tools | map(attribute='function.name') | join(', ') }}{{ x | string }}
{{- "{:.2f}".format(x) }}{{ "%d of %s" | format(1, "a") }}{{ '%s' % role }}{{ range(3) | list }}{{ dict(a=1) }}{{ config }}{{ ['a', 'b'][i + 1] }}{{ tools['x' ~ i] }}`,
	"counting": `{%- set parts = [] -%}{%- for m in messages -%}{%- set _ = parts.append(m.role ~ ': ' ~ m.content) -%}{%- endfor -%}
{%- for i in range(1, parts|length) -%}{{ parts[i] }}{%- endfor -%}{%- for i in range(ns.parts|count) -%}{{ parts[i - 1] }}{%- endfor -%}
{%- set indent = '  ' ~ '  ' -%}{%- set keep = (indent|length) - 2 -%}{{ indent[:(indent|length - " "|length)] }}{{ content[:keep] }}{{ content[keep:-1] }}{{ parts[keep - 1] }}`,
	"about_python": `{{ "def __init__(self): pass  # in __main__, see __name__ and the file __init__.py" }}{# eval(x.__class__) #}{% raw %}{{ x.__class__ }}{% endraw %}
# {{ a }} __class__ in text
% for __class__ in text
{{ messages[0].open }}{{ tool["system"] }}{{ messages['import'] }}{{ message.system }}`,
}

func TestOrdinaryTemplates(t *testing.T) {
	for name, text := range ordinaryTemplates {
		for file, data := range map[string][]byte{
			"chat_template.jinja":               []byte(text),
			"additional_chat_templates/a.jinja": []byte(text),
			"tokenizer_config.json":             mustJSON(map[string]any{"chat_template": text}),
			"chat_template.json":                mustJSON(map[string]any{"chat_template": text}),
			"m.gguf":                            gguf([]string{"tokenizer.chat_template", text}, 0, 0),
		} {
			if f := one(t, scan.Scanner{}, file, data); f.Verdict != scan.Clean || len(rules(f)) > 0 {
				report(t, f)
				t.Errorf("%s in %s: %s", name, file, f.Verdict)
			}
		}
	}
}

// ggufArrayed has a template as an array of one, which transformers takes for it.
func ggufArrayed(template string) []byte {
	text := binary.LittleEndian.AppendUint64(nil, uint64(len(template)))
	text = append(text, template...)
	single := append([]byte{8, 0, 0, 0}, text...)
	array := append([]byte{9, 0, 0, 0, 8, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0}, text...)
	return bytes.Replace(gguf([]string{"tokenizer.chat_template", template}, 0, 0), single, array, 1)
}

// TestTemplatePlaces puts one attack wherever loaders take templates from.
func TestTemplatePlaces(t *testing.T) {
	const attack = `{{ x.__class__ }}`
	padded := strings.Repeat("{{ message }} padding\n", 200_000) + attack
	for name, tt := range map[string]struct {
		file string
		data []byte
	}{
		"file":         {"chat_template.jinja", []byte(attack)},
		"file_of_any":  {"templates/x.j2", []byte(attack)},
		"file_padded":  {"chat_template.jinja", []byte(padded)},
		"text":         {"tokenizer_config.json", mustJSON(map[string]any{"chat_template": attack})},
		"text_padded":  {"tokenizer_config.json", mustJSON(map[string]any{"chat_template": padded})},
		"list":         {"tokenizer_config.json", mustJSON(map[string]any{"chat_template": []any{map[string]string{"name": "a", "template": "x"}, map[string]string{"name": "b", "template": attack}}})},
		"list_no_name": {"tokenizer_config.json", mustJSON(map[string]any{"chat_template": []any{map[string]string{"template": attack}}})},
		"list_of_text": {"tokenizer_config.json", mustJSON(map[string]any{"chat_template": []any{attack}})},
		"dict":         {"tokenizer_config.json", mustJSON(map[string]any{"chat_template": map[string]string{"default": "x", "tool_use": attack}})},
		"processor":    {"processor_config.json", mustJSON(map[string]any{"chat_template": attack})},
		"preprocessor": {"preprocessor_config.json", mustJSON(map[string]any{"chat_template": attack})},
		"own_file":     {"chat_template.json", mustJSON(map[string]any{"chat_template": attack})},
		"nested":       {"config.json", mustJSON(map[string]any{"tokenizer": map[string]any{"chat_template": attack}})},
		"prompt":       {"config.json", mustJSON(map[string]any{"prompt_template": attack})},
		"gguf":         {"m.gguf", gguf([]string{"tokenizer.chat_template", attack}, 0, 0)},
		"gguf_array":   {"m.gguf", ggufArrayed(attack)},
		"gguf_named":   {"m.gguf", gguf([]string{"tokenizer.chat_template.rag", padded}, 0, 0)},
	} {
		if f := one(t, scan.Scanner{}, tt.file, tt.data); f.Verdict != scan.Malicious {
			report(t, f)
			t.Errorf("%s: %s", name, f.Verdict)
		}
	}
	huge := append(make([]byte, 0, 17<<20), "{{ x }}"...)
	for len(huge) < 17<<20 {
		huge = append(huge, "padding\n"...)
	}
	if f := one(t, scan.Scanner{}, "chat_template.jinja", huge); f.Completeness != scan.Inconclusive || f.Verdict == scan.Clean {
		report(t, f)
		t.Error("a template over the limit is no gap")
	}
}

// TestTemplateCost reads long templates of nothing but what the lexer has to
// look at. A search that starts again at each of them would take hours.
func TestTemplateCost(t *testing.T) {
	for name, unit := range map[string]string{
		"braces": "{{", "comments": "{#", "raw": "{% raw %}", "quotes": "{{ '", "brackets": "{{ [", "subscripts": "{{ x[a ~ ",
		"underscores": "{{ '__' ~ '_' }}", "names": "{{ __a__ }}", "replace": "{{ '_-_'|replace('-', 'a') }}", "sets": "{% set %}_",
	} {
		data := []byte(strings.Repeat(unit, (1<<20)/len(unit)))
		if f := one(t, scan.Scanner{NoDigests: true}, "chat_template.jinja", data); f.Completeness != scan.Complete {
			t.Errorf("%s: %s", name, f.Completeness)
		}
	}
}
