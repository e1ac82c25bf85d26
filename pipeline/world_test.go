package pipeline_test

import (
	"bytes"
	"context"
	"crypto"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"go.uber.org/goleak"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/integrity"
	"github.com/prerun/prerun/internal/digestx"
	"github.com/prerun/prerun/internal/keys"
	"github.com/prerun/prerun/pipeline"
	"github.com/prerun/prerun/pipeline/report"
	"github.com/prerun/prerun/provenance"
	"github.com/prerun/prerun/validate"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// now is when the tests' gates are asked.
var now = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

const day = 24 * time.Hour

const configYAML = `schema: prerun/gate/v1
name: world
profile: LOW
resource_uri: pkg:generic/world@1
verifier: https://example.com/gate
seed: 7
keys:
  model: keys/model.pub
  approver: keys/approver.pub
  trainer: keys/trainer.pub
evidence: evidence
waivers: [waivers.json]
checks:
  - {kind: integrity, path: model, signature: model.sig}
  - {kind: scan, path: model}
  - {kind: weights, path: model}
  - {kind: provenance, path: provenance, policy: policy.yaml, inputs: {train: data/train.jsonl}}
  - {kind: dataset, files: [data/train.jsonl], text: [text], label: label,
     detectors: [label-conflict, exact-duplicates, near-duplicates, hidden-text, injection]}
  - {kind: embeddings, file: corpus.npy}
  - {kind: validate, suite: suite.yaml, target: echo}
  - {kind: prompts, path: prompts, lock: prompts.lock}
`

const policyYAML = `schema: prerun/provenance-policy/v1
name: world
builders: [{id: "https://example.com/trainer", signers: [trainer], level: 2}]
attestations:
  - name: training
    predicateType: https://slsa.dev/provenance/v1
    signers: [trainer]
    minLevel: 2
    materials: [{name: train}]
`

const suiteYAML = `name: echo
cases: {file: cases.jsonl}
requirements:
  - {name: right, kind: rate-at-most, limit: 0.1, scorer: {exact: {}}}
`

// A world is a small model with everything that profile LOW asks for, all of it
// as it should be. Tests damage it.
type world struct {
	t      testing.TB
	fs     fstest.MapFS
	root   string // the model's root digest
	answer func(string) (string, error)
}

func newWorld(t testing.TB) *world {
	w := &world{t: t, fs: make(fstest.MapFS), answer: func(s string) (string, error) { return s, nil }}
	for _, role := range []string{"model", "approver", "trainer"} {
		text, err := keys.MarshalPublic(keys.Demo(role).Public())
		w.must(err)
		w.put("keys/"+role+".pub", text)
	}
	w.put("gate.yaml", []byte(configYAML))
	w.put("policy.yaml", []byte(policyYAML))
	w.put("suite.yaml", []byte(suiteYAML))
	w.put("model/config.json", []byte(`{"model_type": "linear"}`))
	w.put("model/model.safetensors", safetensors(8, 16))
	w.put("corpus.npy", vectors(128, 8))
	var rows, cases bytes.Buffer
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range 120 {
		fmt.Fprintf(&rows, "{\"text\": %q, \"label\": \"%d\"}\n", words(rng, 12), i%2)
		fmt.Fprintf(&cases, "{\"id\": \"%d\", \"input\": \"%d\", \"expect\": \"%d\"}\n", i, i, i)
	}
	w.put("data/train.jsonl", rows.Bytes())
	w.put("cases.jsonl", cases.Bytes())
	w.put("prompts/system.txt", []byte("Sort the mail.\n"))
	w.lock()
	w.signModel("model")
	w.signProvenance("trainer", digestx.Of(rows.Bytes()).String())
	w.signEvidence()
	w.signWaivers()
	return w
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) put(name string, data []byte) { w.fs[name] = &fstest.MapFile{Data: data} }

func (w *world) flip(name string) {
	data := bytes.Clone(w.fs[name].Data)
	data[len(data)-1] ^= 1
	w.put(name, data)
}

// replace edits a text file of the world.
func (w *world) replace(name, old, with string) {
	w.t.Helper()
	text := string(w.fs[name].Data)
	if !strings.Contains(text, old) {
		w.t.Fatalf("%s does not hold %q", name, old)
	}
	w.put(name, []byte(strings.Replace(text, old, with, 1)))
}

func (w *world) sub(dir string) fs.FS {
	tree, err := fs.Sub(w.fs, dir)
	w.must(err)
	return tree
}

func (w *world) lock() {
	lock, err := pipeline.NewPromptLock(context.Background(), w.sub("prompts"), map[string]string{"system.txt": "1"})
	w.must(err)
	data, err := lock.Encode()
	w.must(err)
	w.put("prompts.lock", data)
}

func (w *world) signModel(role string) {
	m, err := integrity.Hasher{}.Hash(context.Background(), w.sub("model"))
	w.must(err)
	bundle, err := integrity.Signing{Name: "world"}.Sign(context.Background(), m, signer(w.t, role))
	w.must(err)
	w.put("model.sig", bundle)
	w.root = m.Root().String()
}

func (w *world) signProvenance(role, data string) {
	d, err := digestx.Parse(data)
	w.must(err)
	root, err := digestx.Parse(w.root)
	w.must(err)
	st, err := provenance.Provenance{
		BuildType: provenance.BuildTypeTraining, BuilderID: "https://example.com/trainer",
		ResolvedDependencies: []provenance.Descriptor{{Name: "train", Digest: provenance.DigestsOf(d)}},
	}.Statement(provenance.Descriptor{Name: "world", Digest: provenance.DigestsOf(root)})
	w.must(err)
	bundle, err := st.Sign(context.Background(), signer(w.t, role))
	w.must(err)
	w.put("provenance/training.sigstore.json", bundle)
}

// evidence is a good document for an item.
func (w *world) evidence(item string) pipeline.Evidence {
	return pipeline.Evidence{
		Item: item, Subject: w.root, Issuer: "product owner", Date: now.Add(-10 * day), Summary: "done",
	}
}

func (w *world) signEvidence() {
	for _, it := range pipeline.ProfileOf(pipeline.LOW).Items {
		if len(it.Checks) == 0 {
			w.putEvidence(w.evidence(it.ID), "approver")
		}
	}
}

func (w *world) putEvidence(ev pipeline.Evidence, role string) {
	bundle, err := pipeline.SignEvidence(context.Background(), ev, signer(w.t, role))
	w.must(err)
	w.put("evidence/"+ev.Item+".json", bundle)
}

func (w *world) signWaivers(list ...pipeline.Waiver) {
	if list == nil {
		list = []pipeline.Waiver{}
	}
	bundle, err := pipeline.SignWaivers(context.Background(), list, signer(w.t, "approver"))
	w.must(err)
	w.put("waivers.json", bundle)
}

func (w *world) target() validate.Target {
	return validate.TargetFunc{
		ID: "echo", SameEachTime: true,
		Fn: func(_ context.Context, req validate.Request) (validate.Response, error) {
			text, err := w.answer(req.Input)
			return validate.Response{Text: text}, err
		},
	}
}

func (w *world) config() *pipeline.Config {
	w.t.Helper()
	c, err := pipeline.ParseConfig(w.fs["gate.yaml"].Data)
	w.must(err)
	return c
}

func (w *world) gate() *pipeline.Gate {
	w.t.Helper()
	g, err := w.config().Gate(context.Background(), w.fs, w.deps())
	w.must(err)
	return g
}

func (w *world) deps() pipeline.Deps {
	return pipeline.Deps{Targets: map[string]validate.Target{"echo": w.target()}, Now: now}
}

func (w *world) decide() *pipeline.Decision {
	w.t.Helper()
	d, err := w.gate().Run(context.Background())
	w.must(err)
	return d
}

func signer(t testing.TB, role string) prerun.Signer {
	t.Helper()
	s, err := provenance.NewKeySigner(keys.Demo(role))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func verifier(t testing.TB, role string) prerun.Verifier {
	t.Helper()
	v, err := provenance.NewKeyVerifier(crypto.PublicKey(keys.Demo(role).Public()))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// safetensors is a file with one matrix of small numbers.
func safetensors(rows, cols int) []byte {
	rng := rand.New(rand.NewPCG(3, 4))
	var body bytes.Buffer
	for range rows * cols {
		_ = binary.Write(&body, binary.LittleEndian, float32(rng.NormFloat64()))
	}
	header := fmt.Sprintf(`{"w":{"dtype":"F32","shape":[%d,%d],"data_offsets":[0,%d]}}`, rows, cols, body.Len())
	header += strings.Repeat(" ", (8-len(header)%8)%8)
	out := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	return append(append(out, header...), body.Bytes()...)
}

// vectors is a NumPy file of vectors without structure.
func vectors(n, dim int) []byte {
	rng := rand.New(rand.NewPCG(5, 6))
	header := fmt.Sprintf("{'descr': '<f4', 'fortran_order': False, 'shape': (%d, %d), }", n, dim)
	header += strings.Repeat(" ", 64-(10+len(header)+1)%64) + "\n"
	out := append([]byte("\x93NUMPY\x01\x00"), byte(len(header)), byte(len(header)>>8))
	out = append(out, header...)
	for range n * dim {
		out, _ = binary.Append(out, binary.LittleEndian, float32(rng.NormFloat64()))
	}
	return out
}

func words(rng *rand.Rand, n int) string {
	var b strings.Builder
	for range n {
		fmt.Fprintf(&b, "word%d ", rng.IntN(4000))
	}
	return strings.TrimSpace(b.String())
}

// unsatisfied are the outcomes that do not satisfy, by check.
func unsatisfied(d *pipeline.Decision) map[string]string {
	out := make(map[string]string)
	for _, c := range d.Checks {
		if !c.Outcome.Satisfied() {
			out[c.ID] = c.Outcome.String()
		}
	}
	return out
}

func result(t testing.TB, d *pipeline.Decision, id string) pipeline.CheckResult {
	t.Helper()
	for _, c := range d.Checks {
		if c.ID == id {
			return c
		}
	}
	t.Fatalf("no check %q", id)
	return pipeline.CheckResult{}
}

// open are the rules of the findings that no waiver excuses.
func open(d *pipeline.Decision) []string {
	out := []string{}
	for f := range d.Findings() {
		if d.WaivedBy(f) == nil {
			out = append(out, f.Rule.ID)
		}
	}
	return out
}

// rendered is the decision in every format.
func rendered(t testing.TB, d *pipeline.Decision) string {
	t.Helper()
	var b bytes.Buffer
	for _, format := range report.Formats() {
		write, err := report.For(format)
		if err == nil {
			err = write(&b, d.Document())
		}
		if err != nil {
			t.Fatalf("%s: %v", format, err)
		}
	}
	return b.String()
}

func mustJSON(t testing.TB, v any) string {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
