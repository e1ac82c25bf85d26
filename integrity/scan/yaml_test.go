package scan_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/prerun/prerun/integrity/scan"
	"github.com/prerun/prerun/integrity/scan/internal/build"
)

// yamlAttacks are texts that PyYAML 6.0.4 was seen to run with its unsafe
// loader, by the name under which they are scanned.
var yamlAttacks = map[string]string{
	"config":          "a: !!python/object/apply:os.mkdir [x]\n",
	"params.txt":      "a: !<tag:yaml.org,2002:python/object/apply:os.mkdir> [x]\n",
	"model.cfg":       "%TAG !x! tag:yaml.org,2002:python/\n---\na: !x!object/apply:os.mkdir [x]\n",
	"hparams":         "%TAG ! tag:yaml.org,2002:\n---\na: !python/object/apply:os.mkdir [x]\n",
	"conda.env":       "%TAG !! tag:yaml.org,2002:python/object/\n---\na: !!apply:os.mkdir [x]\n",
	"short":           "%TAG !x! t\n---\na: !x!ag:yaml.org,2002:python/object/apply:os.mkdir [x]\n",
	"escaped":         "a: !!p%79thon/object/apply:os.mkdir [x]\n",
	"escaped whole":   "a: !<%74ag:yaml.org,2002:pytho%6E/object/apply:os.mkdir> [x]\n",
	"escaped handle":  "%TAG !x! tag:yaml.org,2002:pyt%68on/\n---\na: !x!object/apply:os.mkdir [x]\n",
	"mark":            "\ufeffa: !!python/object/apply:os.mkdir [x]\n",
	"a.json":          `{"a":!!python/object/apply:os.mkdir ["x"]}`,
	"flow":            "{a: [1, {b: !!python/object/apply:os.mkdir [x]}]}",
	"anchor":          "a: !!python/object/apply:os.mkdir &x [x]\nb: {<<: {c: 1}}\n",
	"padded":          strings.Repeat("# x\n", 20_000) + "a: !!python/object/apply:os.mkdir [x]\n",
	"key":             "? !!python/object/apply:os.mkdir [x]\n: 1\n",
	"second":          "a: 1\n---\nb: !!python/object/apply:os.mkdir [x]\n",
	"then nothing":    "b: !!python/object/apply:os.mkdir [x]\n---\n}\n",
	"version":         "%YAML 1.9\n---\na: !!python/object/apply:os.mkdir [x]\n",
	"directive":       "%FOO bar\n---\na: !!python/object/apply:os.mkdir [x]\n",
	"next line":       "# x\u0085a: !!python/object/apply:os.mkdir [x]\n",
	"returns":         "# x\ra: !!python/object/apply:os.mkdir [x]\r",
	"new":             "a: !!python/object/new:os.mkdir [x]\n",
	"name":            "a: !!python/name:os.system\n",
	"module":          "a: !!python/module:antigravity\n",
	"README.md":       "---\nlicense: !!python/object/apply:os.mkdir [x]\n---\n# Model\n",
	"hyper":           "a: !new:os.mkdir [x]\n",
	"hyper escaped":   "a: !n%65w:os.mkdir [x]\n",
	"target":          "a:\n  _target_: os.mkdir\n  path: x\n",
	"target.cfg.json": "{_target_: os.mkdir, path: x}\n",
	"comma":           "%TAG !x! tag:yaml.org\n---\na: !x!,2002:python/name:os.mkdir\n",
	"directives":      "%FOO a\u0085%YAML 1.7\u0085---\na: !!python/name:os.mkdir\n",
	"broken":          "a: !!python/name:os.mkdir\n---\n'", // which load_all runs before it fails
}

func TestYAMLByContent(t *testing.T) {
	for name, text := range yamlAttacks {
		want := scan.Malicious
		if name == "broken" {
			want = scan.Suspicious
		}
		for what, data := range map[string][]byte{
			"": []byte(text), "utf16le": encoded("\ufeff"+strings.TrimPrefix(text, "\ufeff"), "utf16le"), "utf16be": encoded("\ufeff"+strings.TrimPrefix(text, "\ufeff"), "utf16be"),
		} {
			if got := one(t, scan.Scanner{}, name, data); got.Verdict != want {
				report(t, got)
				t.Errorf("%s %s: %v, want %v", name, what, got.Verdict, want)
			}
		}
		if got := one(t, scan.Scanner{}, "m.zip", build.Zip(build.Member{Name: name, Data: []byte(text), Method: 8})); got.Verdict != want {
			t.Errorf("%s in an archive: %v, want %v", name, got.Verdict, want)
		}
	}
	long := "a: !!python/object/apply:os.mkdir [x]\n" + strings.Repeat("# x\n", 1<<19)
	if got := one(t, scan.Scanner{}, "config", []byte(long)); got.Completeness == scan.Complete {
		t.Error("a long text with a tag is complete")
	}
}

// TestYAMLQuoted has texts that speak of such tags, or look like them, and that
// no loader runs.
func TestYAMLQuoted(t *testing.T) {
	const tag = "!!python/object/apply:os.system"
	for name, text := range map[string]string{
		"README.md":          "---\nlicense: mit\n---\n# Model\n\n```yaml\na: " + tag + " [x]\n```\n",
		"README":             "Do not load\n\n    " + tag + "\n",
		"card.md":            "# Model\n\na: " + tag + " [x]\n",
		"dashes.md":          "---\n\nText: " + tag + "\n",
		"notes.txt":          "We refuse tags such as " + tag + " here.\n",
		"plain.txt":          "a: see " + tag + "\n",
		"quoted.txt":         "a: \"" + tag + " [x]\"\nb: '" + tag + "'\n",
		"comment":            "# a: " + tag + " [x]\na: 1\n",
		"block":              "a: |\n  " + tag + " [x]\n",
		"load.py":            "import yaml\nyaml.load(\"a: " + tag + " [x]\", Loader=yaml.Loader)\n",
		"doc.py":             "\"\"\"\na: " + tag + "\n\"\"\"\n",
		"test.rst":           "::\n\n    " + tag + " [x]\n\n* {x\n",
		"a.json":             `{"a": "` + tag + ` [x]", "b": "%TAG ! tag:yaml.org,2002:python/"}`,
		"code.jsonl":         `{"text": "a: ` + tag + ` [x]"}` + "\n" + `{"text": "` + tag + `"}` + "\n",
		"merges.txt":         "#version: 0.2\n!! p\n! <\n!< tag\n!!p ython\n",
		"vocab.txt":          "!\n!!\n!!!\n!<\n!!python\n%\n%TAG\n",
		"template.cfg":       "a: !Ref b\nc: !Sub ${d}\n",
		"own":                "%TAG !e! tag:example.com,2000:app/\n---\na: !e!foo bar\n",
		"own python":         "a: !python/name:x\n",
		"params":             "lr: 0.1\nlayers: [1, 2]\n",
		"hydra.txt":          "the key _target_: names a class\n_target_ is not: { a\n",
		"style.css":          "a { color: red !important }\n",
		"tuple":              "size: !!python/tuple [1, 2]\n",
		"args":               "a: !!python/object:argparse.Namespace {lr: 0.1}\n",
		"path":               "a: !!python/object/apply:pathlib.PosixPath [/data]\n",
		"ordered":            "a: !!python/object/apply:collections.OrderedDict [[[a, 1]]]\n",
		"target":             "a: {_target_: torch.optim.Adam, lr: 0.1}\n",
		"a.yaml":             "a: '" + tag + "'\n",
		"fixed.yaml":         "a: !!str 1\nb: !!float 2\n!!map {c: !!binary aGk=}: 1\n",
		"conda.yaml":         "name: env\nchannels: [defaults]\ndependencies:\n- python=3.11\n- pip:\n  - torch\n",
		"requirements.txt":   "torch==2.0 # !!python\n",
		"dialogue.txt":       "Wow!! pythons: !!python\n- really!!python/it is\n",
		"changelog.txt":      "- yaml: refuse " + tag + "\n- {unfinished\n",
		"not utf8 after all": "a: 1\n",
	} {
		got := one(t, scan.Scanner{}, name, []byte(text))
		if got.Verdict != scan.Clean || got.Completeness != scan.Complete {
			report(t, got)
			t.Errorf("%s: %v, %v", name, got.Verdict, got.Completeness)
		}
	}
	if got := one(t, scan.Scanner{}, "code.csv", append([]byte("a: !!python/name:os.system\n"), bytes.Repeat([]byte("x,y\n"), 1<<19)...)); got.Verdict != scan.Clean || got.Completeness != scan.Complete {
		t.Errorf("a long table: %v, %v", got.Verdict, got.Completeness)
	}
}
