package scan

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"path"
	"slices"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/internal/digestx"
	"github.com/prerun/prerun/internal/strictjson"
)

// configFormat reads JSON, above all the configuration files of Hugging Face
// repositories: what they make a loader import or fetch. Facts: "model_type",
// "base_model" of an adapter, "chat_template" the digest of a chat template.
type configFormat struct{}

var (
	ruleAutoMap = prerun.Rule{
		ID: "scan.config.auto-map", Title: "model that brings its own code", Severity: prerun.Medium,
		Help: "The configuration maps model classes to Python files of the repository. A loader that trusts remote code imports them. Review those files like any program you run, or use a model whose classes the framework has.",
		Refs: []prerun.Reference{refForeignCode, refUnsafeModel, refOWASP},
	}
	ruleRemoteCode = prerun.Rule{
		ID: "scan.config.remote-repository", Title: "code from another repository", Severity: prerun.Medium,
		Help: "The configuration takes Python code from another repository, at whatever revision is there on the day of loading. It is not part of what was scanned, hashed or signed. Copy the code into the model and review it.",
		Refs: []prerun.Reference{refForeignCode, refSupply, refOWASP},
	}
	ruleTrustRemote = prerun.Rule{
		ID: "scan.config.trust-remote-code", Title: "configuration that switches remote code on", Severity: prerun.Medium,
		Help: "The configuration itself states trust_remote_code. That decision belongs to who loads the model, not to who published it. Remove the entry.",
		Refs: []prerun.Reference{refForeignCode, refOWASP},
	}
	ruleCustomPipeline = prerun.Rule{
		ID: "scan.config.custom-pipeline", Title: "pipeline that brings its own code", Severity: prerun.Medium,
		Help: "The configuration names pipeline or module classes outside the framework, which are imported on load. Review the code, or use the framework's own classes.",
		Refs: []prerun.Reference{refForeignCode, refUnsafeModel},
	}
	ruleHydraTarget = prerun.Rule{
		ID: "scan.config.hydra-target", Title: "configuration that names a callable", Severity: prerun.Low,
		Help: "The configuration names a Python callable under _target_, which Hydra imports and calls while the model is set up, or as a pyref of Fiddle, as NeMo 2 does in io.json. The finding is high when the callable runs commands or code, medium when it looks up what its arguments name, or when interpolation puts the target or its part of the configuration together. Allow only targets that you know.",
		Refs: []prerun.Reference{refForeignCode, cve("2025-23304")},
	}
)

func (configFormat) Info() Info {
	return Info{
		ID: "json", Within: []string{"text", "keras-config"},
		Rules: []prerun.Rule{
			ruleAutoMap, ruleTorchExpression, ruleRemoteCode, ruleTrustRemote, ruleCustomPipeline, ruleHydraTarget,
			ruleImported, ruleShardPath, ruleShardFormat, ruleOutsidePath, rulePatternBomb, ruleTemplateAttack, ruleTemplateReach,
		},
	}
}

func (configFormat) Match(p Probe) Match {
	head := bytes.TrimLeft(jsonText(p.Head), " \t\r\n")
	if len(head) == 0 && len(p.Head) > 0 && p.Ext() == ".json" {
		return Maybe // padded beyond the head
	}
	if len(head) > 0 && (head[0] == '{' || head[0] == '[') && bytes.IndexByte(head, 0) < 0 {
		return Maybe
	}
	return No
}

// jsonText is JSON as UTF-8 without a byte order mark. Python's json.loads finds
// out the encoding of bytes by a mark or by where the zeros are, and so do Keras
// and skops, which hand it bytes.
func jsonText(p []byte) []byte {
	var order binary.ByteOrder = binary.LittleEndian
	width := 0
	switch {
	case bytes.HasPrefix(p, []byte("\xef\xbb\xbf")):
		return p[3:]
	case bytes.HasPrefix(p, []byte{0xff, 0xfe, 0, 0}):
		p, width = p[4:], 4
	case bytes.HasPrefix(p, []byte{0, 0, 0xfe, 0xff}):
		p, width, order = p[4:], 4, binary.BigEndian
	case bytes.HasPrefix(p, []byte{0xff, 0xfe}):
		p, width = p[2:], 2
	case bytes.HasPrefix(p, []byte{0xfe, 0xff}):
		p, width, order = p[2:], 2, binary.BigEndian
	case len(p) < 4:
	case p[0] == 0:
		order = binary.BigEndian
		if width = 4; p[1] != 0 {
			width = 2
		}
	case p[1] == 0:
		if width = 4; p[2] != 0 || p[3] != 0 {
			width = 2
		}
	}
	switch width {
	case 2:
		units := make([]uint16, len(p)/2)
		for i := range units {
			units[i] = order.Uint16(p[2*i:])
		}
		return []byte(string(utf16.Decode(units)))
	case 4:
		out := make([]byte, 0, len(p)/4)
		for ; len(p) >= 4; p = p[4:] {
			out = utf8.AppendRune(out, rune(min(order.Uint32(p), utf8.MaxRune+1)))
		}
		return out
	}
	return p
}

// Sizes up to which JSON is parsed: tables and vocabularies grow large and say
// nothing to a loader, configuration stays small and is never skipped quietly.
const (
	maxConfig = 16 << 20
	maxOther  = 2 << 20
)

// loaderReads reports whether a loader opens a file of that name as
// configuration.
func loaderReads(base string) bool {
	switch base {
	case "modules.json", "model_index.json", "modular_model_index.json", "chat_template.json", "configuration.json", "io.json":
		return true
	}
	return strings.HasSuffix(base, "config.json") || shardIndex(base) ||
		strings.HasPrefix(base, "config.") && strings.HasSuffix(base, ".json") // of one version of transformers
}

// shardIndex reports the name of an index of weights; that of a variant has the
// variant's name in it, such as model.safetensors.index.fp16.json.
func shardIndex(base string) bool {
	return strings.Contains(base, ".index.") && strings.HasSuffix(base, ".json")
}

func (configFormat) Scan(_ context.Context, a *Artifact, out *Sink) error {
	config := loaderReads(a.Base()) || exportedProgram(a.Probe)
	switch {
	case a.Size > maxConfig && config:
		out.Gap(fmt.Sprintf("configuration of %d bytes; %d are read", a.Size, maxConfig), 0, 0)
		return nil
	case a.Size > maxOther && !config:
		return a.table(out)
	}
	data, err := a.peek(0, a.Size)
	if err != nil {
		return err
	}
	if vocabulary(a.Base()) && !config {
		if ok, err := strictjson.Plain(jsonText(data), strictjson.Limits{Bytes: maxOther}, configures); ok && err == nil {
			out.Claim(0, a.Size)
			return nil
		}
	}
	root, err := strictjson.ParseWords(jsonText(data), strictjson.Limits{Bytes: maxConfig, Nodes: 1 << 18}, switches)
	if err != nil {
		if config || a.Ext() == ".json" && !vocabulary(a.Base()) && speaks(data) {
			return err // a loader may read it all the same
		}
		return fmt.Errorf("json: %w: %w", err, ErrNotFormat)
	}
	out.Claim(0, a.Size)
	c := configScan{a: a, out: out}
	c.walk(root, "", 0)
	c.file(root)
	return nil
}

// switches names members that a number may switch on. No other number matters
// here, and vocabularies have many.
func switches(name string) bool { return name == "trust_remote_code" || name == "allow_remote" }

// A configScan is the reading of one JSON file.
type configScan struct {
	a   *Artifact
	out *Sink
}

func (c *configScan) finding(rule prerun.Rule, sev prerun.Severity, v *strictjson.Value, pointer, key, format string, args ...any) {
	c.out.Finding(prerun.Finding{
		Rule:       rule,
		Severity:   sev,
		Confidence: prerun.ConfidenceHigh,
		Locations:  []prerun.Location{{Line: v.Line, Column: v.Column, Fragment: pointer}},
		Message:    fmt.Sprintf(format, args...),
		Key:        key,
	})
}

// walk looks for members that mean the same wherever they stand: nested
// configurations of composed models hold them too.
func (c *configScan) walk(v *strictjson.Value, pointer string, depth int) {
	if depth > 32 {
		return // the parser's own limit on depth is a gap
	}
	if v.Kind == strictjson.String && composes(v.Text) {
		shown := excerpt(v.Text, 120)
		c.finding(ruleHydraTarget, prerun.Medium, v, pointer, shown, "a part of the configuration is made of the text %q", shown)
	}
	for i := range v.Items {
		if item := &v.Items[i]; item.Kind == strictjson.Object || item.Kind == strictjson.Array || composes(item.Text) {
			c.walk(item, fmt.Sprintf("%s/%d", pointer, i), depth+1)
		}
	}
	c.pyref(v, pointer)
	for i := range v.Members {
		m := &v.Members[i]
		at := pointer + "/" + pointerEscaper.Replace(m.Name)
		switch m.Name {
		case "auto_map":
			c.autoMap(&m.Value, at)
		case "trust_remote_code", "allow_remote": // see switches
			if truthy(&m.Value, loaderReads(c.a.Base())) {
				c.finding(ruleTrustRemote, 0, &m.Value, at, m.Name, "%s is %s", m.Name, excerpt(m.Value.Text, 20))
			}
		case "custom_pipelines":
			if m.Value.Kind == strictjson.Object && len(m.Value.Members) > 0 {
				c.finding(ruleCustomPipeline, 0, &m.Value, at, m.Name, "the model defines %d pipelines of its own", len(m.Value.Members))
			}
		case "_target_":
			c.target(&m.Value, v, at)
		case "expr_str", "guards_code":
			c.expression(&m.Value, at)
		case "chat_template":
			c.chatTemplate(&m.Value, at)
		default:
			if strings.HasSuffix(m.Name, "template") && m.Value.Kind == strictjson.String {
				c.template(&m.Value, at)
			}
			c.named(m, at)
			c.opened(m, at)
		}
		c.walk(&m.Value, at, depth+1)
	}
}

var pointerEscaper = strings.NewReplacer("~", "~0", "/", "~1")

// autoMap reads the classes of a model's own code: strings such as
// "modeling_x.XModel", and "owner/repository--modeling_x.XModel" for those of
// another repository; tokenizers have pairs.
func (c *configScan) autoMap(v *strictjson.Value, at string) {
	switch v.Kind {
	case strictjson.String:
		shown := excerpt(v.Text, 120)
		if repository, class, ok := strings.Cut(v.Text, "--"); ok {
			c.finding(ruleRemoteCode, 0, v, at, shown, "class %q is taken from repository %q",
				excerpt(class, 80), excerpt(repository, 80))
			return
		}
		c.finding(ruleAutoMap, 0, v, at, shown, "class %q comes from the model's own code", shown)
	case strictjson.Array:
		for i := range v.Items {
			c.autoMap(&v.Items[i], fmt.Sprintf("%s/%d", at, i))
		}
	case strictjson.Object:
		for i := range v.Members {
			m := &v.Members[i]
			c.autoMap(&m.Value, at+"/"+pointerEscaper.Replace(m.Name))
		}
	}
}

// dangerousTargets are modules whose callables run commands or code, or fetch.
var dangerousTargets = []string{
	"os.", "posix.", "nt.", "subprocess.", "builtins.eval", "builtins.exec", "builtins.compile", "builtins.__import__",
	"importlib.", "runpy.", "pty.", "shutil.", "socket.", "ctypes.", "pickle.", "dill.", "joblib.", "code.", "pdb.",
	"torch.load", "torch.hub.", "urllib.", "requests.", "webbrowser.", "sys.", "multiprocessing.", "asyncio.",
}

// target reads a callable that stands in an object with its arguments.
func (c *configScan) target(v, with *strictjson.Value, at string) {
	if v.Kind != strictjson.String {
		return
	}
	var args []string
	for i := range with.Members {
		m := &with.Members[i].Value
		if m.Kind == strictjson.String && m != v {
			args = append(args, m.Text)
		}
		for j := range m.Items {
			args = append(args, textOf(&m.Items[j]))
		}
	}
	shown := excerpt(v.Text, 120)
	c.finding(ruleHydraTarget, calledSeverity(v.Text, args), v, at, shown, "callable %q", shown)
}

// pyref reads a reference of Fiddle, which imports that name and may call it. A
// configuration of NeMo has hundreds, so only dangerous ones are findings.
func (c *configScan) pyref(v *strictjson.Value, at string) {
	if textOf(v.Get("type")) != "pyref" {
		return
	}
	module, name := textOf(v.Get("module")), textOf(v.Get("name"))
	if module == "" || name == "" {
		return
	}
	full := module + "." + name
	if sev := targetSeverity(full); sev >= prerun.High {
		shown := excerpt(full, 120)
		c.finding(ruleHydraTarget, sev, v, at, shown, "reference to %q", shown)
	}
}

// file reads what only files of a certain name mean.
func (c *configScan) file(root *strictjson.Value) {
	fact := func(key string, v *strictjson.Value) {
		if v != nil && v.Kind == strictjson.String && v.Text != "" {
			c.out.Fact(key, excerpt(v.Text, 120))
		}
	}
	switch c.a.Base() {
	case "config.json":
		fact("model_type", root.Get("model_type"))
	case "adapter_config.json":
		fact("base_model", root.Get("base_model_name_or_path"))
	case "model_index.json", "modular_model_index.json":
		c.modelIndex(root)
	case "modules.json":
		c.modules(root)
	}
	if shardIndex(c.a.Base()) {
		c.shards(root)
	}
	c.router(root)
	if strings.HasPrefix(c.a.Base(), "sentence_") && strings.HasSuffix(c.a.Base(), "_config.json") {
		c.locations(root, "", 0)
	}
}

// chatTemplate states the digest of a template; several are one digest over
// their names and texts. They come as a list of objects, whose member "template"
// is found by itself, or as an object of texts.
func (c *configScan) chatTemplate(v *strictjson.Value, at string) {
	var all bytes.Buffer
	add := func(name, text *strictjson.Value, key string) {
		if name != nil {
			key = name.Text
		}
		fmt.Fprintf(&all, "%d:%s%d:%s", len(key), key, len(text.Text), text.Text)
	}
	for i := range v.Items {
		if item := &v.Items[i]; item.Kind == strictjson.String {
			c.template(item, fmt.Sprintf("%s/%d", at, i))
			add(nil, item, "")
		} else if text := item.Get("template"); text != nil {
			add(item.Get("name"), text, "")
		}
	}
	for i := range v.Members {
		if m := &v.Members[i]; m.Value.Kind == strictjson.String {
			if !strings.HasSuffix(m.Name, "template") { // those are found by themselves
				c.template(&m.Value, at+"/"+pointerEscaper.Replace(m.Name))
			}
			add(nil, &m.Value, m.Name)
		}
	}
	if v.Kind == strictjson.String {
		c.template(v, at)
		all.WriteString(v.Text)
	}
	if at == "/chat_template" && v.Kind != strictjson.Null {
		c.out.Fact("chat_template", string(digestx.Of(all.Bytes())))
	}
}

func (c *configScan) template(v *strictjson.Value, at string) {
	template(c.out, v.Text, prerun.Location{Line: v.Line, Column: v.Column, Fragment: at})
}

// modelIndex reads the parts of a diffusers pipeline: [library, class].
func (c *configScan) modelIndex(root *strictjson.Value) {
	for i := range root.Members {
		m := &root.Members[i]
		if m.Name == "_class_name" {
			if m.Value.Kind == strictjson.Array {
				c.finding(ruleCustomPipeline, 0, &m.Value, "/_class_name", m.Name, "the pipeline class comes from the model's own code")
			}
			continue
		}
		if m.Value.Kind != strictjson.Array || len(m.Value.Items) < 2 {
			continue
		}
		for j := range m.Value.Items[2:] { // modular pipelines say where a part is fetched from
			repo := m.Value.Items[2+j].Get("repo")
			if repo == nil {
				repo = m.Value.Items[2+j].Get("pretrained_model_name_or_path")
			}
			if textOf(repo) != "" {
				shown := excerpt(repo.Text, 120)
				c.finding(ruleRemoteCode, 0, repo, "/"+pointerEscaper.Replace(m.Name), shown, "part %q is taken from repository %q", excerpt(m.Name, 80), shown)
			}
		}
		c.library(m, &m.Value.Items[0])
		for j := range m.Value.Items[2:] { // modular pipelines import what the hint names
			if hint := m.Value.Items[2+j].Get("type_hint"); hint != nil && len(hint.Items) > 0 {
				c.library(m, &hint.Items[0])
			}
		}
	}
}

// library reports a module that a part of a pipeline is imported from, unless it
// is one of the framework's.
func (c *configScan) library(m *strictjson.Member, v *strictjson.Value) {
	library := textOf(v)
	switch top, _, _ := strings.Cut(library, "."); {
	case library == "", library == "stable_diffusion":
		return
	case slices.Contains(pipelineLibraries, top) && !dangerousName(library+".x"):
		return
	}
	// A name without a module is a file of the model's own, or a folder of
	// diffusers' pipelines such as "stable_diffusion".
	if _, own := c.a.Tree.Lookup(path.Join(path.Dir(c.a.Name), m.Name, library+".py")); !own && slices.Contains(pipelineFolders, library) {
		return
	}
	shown := excerpt(library, 80)
	c.finding(ruleCustomPipeline, 0, &m.Value, "/"+pointerEscaper.Replace(m.Name), shown, "part %q comes from module %q",
		excerpt(m.Name, 80), shown)
}

// pipelineLibraries are packages whose classes a diffusers pipeline is made of,
// and pipelineFolders the folders of diffusers that model_index.json names as
// modules.
var (
	pipelineLibraries = []string{"diffusers", "transformers", "onnxruntime", "optimum", "flax"}
	pipelineFolders   = []string{
		"stable_diffusion", "stable_diffusion_xl", "latent_diffusion", "deepfloyd_if", "kandinsky", "paint_by_example", "audioldm", "shap_e",
	}
)

// modules reads the layers of a sentence-transformers model.
func (c *configScan) modules(root *strictjson.Value) {
	for i := range root.Items {
		c.layer(root.Items[i].Get("type"), fmt.Sprintf("/%d/type", i))
		c.inside(root.Items[i].Get("path"), fmt.Sprintf("/%d/path", i))
	}
}

// router reads the parts of a router of sentence-transformers, which imports the
// class of each before it asks for anything else.
func (c *configScan) router(root *strictjson.Value) {
	types := root.Get("types")
	if types == nil || types.Kind != strictjson.Object {
		return
	}
	if root.Get("structure") == nil && c.a.Base() != "router_config.json" && c.a.Base() != "config.json" {
		return
	}
	for i := range types.Members {
		m := &types.Members[i]
		if m.Value.Kind != strictjson.String || !strings.Contains(m.Value.Text, ".") {
			continue
		}
		at := "/types/" + pointerEscaper.Replace(m.Name)
		c.layer(&m.Value, at)
		c.inside(&strictjson.Value{Kind: strictjson.String, Text: m.Name, Line: m.Value.Line, Column: m.Value.Column}, at)
	}
}

// locations looks for paths out of the model among the arguments with which
// sentence-transformers loads a part.
func (c *configScan) locations(v *strictjson.Value, at string, depth int) {
	if depth > 32 {
		return // the parser's own limit on depth is a gap
	}
	c.inside(v, at)
	for i := range v.Items {
		c.locations(&v.Items[i], fmt.Sprintf("%s/%d", at, i), depth+1)
	}
	for i := range v.Members {
		c.locations(&v.Members[i].Value, at+"/"+pointerEscaper.Replace(v.Members[i].Name), depth+1)
	}
}

func (c *configScan) layer(t *strictjson.Value, at string) {
	if textOf(t) == "" {
		return
	}
	own := strings.HasPrefix(t.Text, "sentence_transformers.") || strings.HasPrefix(t.Text, "pylate.")
	// A module that theirs import, such as torch, has a load as well.
	class := t.Text[strings.LastIndexByte(t.Text, '.')+1:]
	if own && class != "" && class[0] >= 'A' && class[0] <= 'Z' && !dangerousName(t.Text) {
		return
	}
	shown := excerpt(t.Text, 120)
	c.finding(ruleCustomPipeline, 0, t, at, shown, "layer %q is no class of sentence_transformers", shown)
}

// pythonFormat recognises Python source and bytecode.
type pythonFormat struct{}

var (
	rulePython = prerun.Rule{
		ID: "scan.repo.python-code", Title: "Python file beside a model", Severity: prerun.Low,
		Help: "Python source lies beside model weights. Loaders that trust remote code import such files. Review it like any program, or leave it out of the model folder.",
		Refs: []prerun.Reference{refForeignCode},
	}
	ruleBytecode = prerun.Rule{
		ID: "scan.repo.python-bytecode", Title: "compiled Python", Severity: prerun.Medium,
		Help: "The file is compiled Python. It runs when it is imported, and cannot be reviewed as source can; the source beside it may say something else. Remove it.",
		Refs: []prerun.Reference{refForeignCode, refEmbedded},
	}
)

func (pythonFormat) Info() Info {
	return Info{ID: "python", Within: []string{"text"}, Rules: []prerun.Rule{rulePython, ruleBytecode, ruleGenerate, ruleTorchPackage}}
}

func (pythonFormat) Match(p Probe) Match {
	switch p.Ext() {
	case ".py", ".pyw":
		if bytes.IndexByte(p.Head, 0) < 0 {
			return Maybe
		}
	case ".pyc", ".pyo":
		if len(p.Head) >= 16 && p.Head[2] == '\r' && p.Head[3] == '\n' {
			return Maybe
		}
	}
	return No
}

func (pythonFormat) Scan(_ context.Context, a *Artifact, out *Sink) error {
	if strings.HasPrefix(a.Ext(), ".pyc") || a.Ext() == ".pyo" {
		out.Claim(0, a.Size)
		out.Finding(prerun.Finding{Rule: ruleBytecode, Confidence: prerun.ConfidenceHigh, Message: "the file is compiled Python"})
		return nil
	}
	if packaged(&a.Probe) {
		out.Finding(prerun.Finding{Rule: ruleTorchPackage, Confidence: prerun.ConfidenceHigh, Message: "the package brings this source, which its importer runs"})
		return nil
	}
	if torchScript(&a.Probe) {
		return nil // its own language, which the archive's loader reads
	}
	if strings.Contains("/"+a.Name, "/custom_generate/") {
		out.Finding(prerun.Finding{Rule: ruleGenerate, Confidence: prerun.ConfidenceHigh, Message: "Python source for generation"})
		return nil
	}
	if a.Tree.besideWeights(path.Dir(a.Name)) {
		out.Finding(prerun.Finding{Rule: rulePython, Confidence: prerun.ConfidenceHigh, Message: "Python source lies beside model weights"})
	}
	return nil
}

// torchScript reports the source files of a TorchScript archive.
func torchScript(p *Probe) bool {
	top, rest, _ := strings.Cut(p.Name, "/")
	_, ok := p.Tree.Lookup(top + "/constants.pkl")
	return ok && strings.HasPrefix(rest, "code/")
}
