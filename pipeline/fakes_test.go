package pipeline_test

import (
	"context"
	"encoding/json"
	"io/fs"
	"testing"
	"testing/fstest"
	"time"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/internal/digestx"
	"github.com/prerun/prerun/internal/dsse"
	"github.com/prerun/prerun/internal/keys"
	"github.com/prerun/prerun/pipeline"
	"github.com/prerun/prerun/provenance"
)

// A fake is a check that does what a test wants.
type fake struct {
	id           string
	needs, gives []string
	timeout      time.Duration
	network      bool
	result       *pipeline.Result
	err          error
	run          func(ctx context.Context, in *pipeline.Input) (*pipeline.Result, error)
}

func (f *fake) Meta() pipeline.Meta {
	return pipeline.Meta{ID: f.id, Needs: f.needs, Gives: f.gives, Timeout: f.timeout, Network: f.network}
}

func (f *fake) Run(ctx context.Context, in *pipeline.Input) (*pipeline.Result, error) {
	if f.run != nil {
		return f.run(ctx, in)
	}
	return f.result, f.err
}

// passes is a result that passes.
func passes() *pipeline.Result {
	return &pipeline.Result{Source: prerun.NewSource([]prerun.Subject{{Path: "a"}}, nil, nil)}
}

// requiring is a profile that requires checks and no evidence.
func requiring(ids ...string) pipeline.Profile {
	return pipeline.Profile{
		Tier: pipeline.LOW, Items: []pipeline.Item{{ID: "T-1", Title: "test", Tier: pipeline.LOW, Checks: ids}},
		MaxWaiverAge: 180 * day, Approvers: 1,
	}
}

func fakeGate(checks ...pipeline.Check) pipeline.Gate {
	var ids []string
	for _, c := range checks {
		ids = append(ids, c.Meta().ID)
	}
	return pipeline.Gate{Name: "fakes", Profile: requiring(ids...), Checks: checks, Now: now}
}

func runFakes(t testing.TB, checks ...pipeline.Check) *pipeline.Decision {
	t.Helper()
	d, err := fakeGate(checks...).Run(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func finding(rule string, severity prerun.Severity) prerun.Finding {
	return findingAt(rule, severity, "a")
}

func findingAt(rule string, severity prerun.Severity, path string) prerun.Finding {
	return prerun.Finding{
		Rule:     prerun.Rule{ID: rule, Title: "test", Severity: prerun.Medium, Help: "Test."},
		Severity: severity, Confidence: prerun.ConfidenceHigh,
		Subject: prerun.Subject{Path: path}, Locations: []prerun.Location{{Path: path}}, Message: "found",
	}
}

func found(findings ...prerun.Finding) *pipeline.Result {
	return &pipeline.Result{Source: prerun.NewSource([]prerun.Subject{{Path: "a"}}, findings, nil)}
}

func digestOf(w *world, name string) string { return digestx.Of(w.fs[name].Data).String() }

// withPayloadOf is bundle a with the payload of bundle b.
func withPayloadOf(t testing.TB, a, b string) string {
	t.Helper()
	var to, from map[string]any
	for text, into := range map[string]*map[string]any{a: &to, b: &from} {
		if err := json.Unmarshal([]byte(text), into); err != nil {
			t.Fatal(err)
		}
	}
	to["dsseEnvelope"].(map[string]any)["payload"] = from["dsseEnvelope"].(map[string]any)["payload"]
	return mustJSON(t, to)
}

// payloadOf is what a bundle signs.
func payloadOf(t testing.TB, bundle []byte) []byte {
	t.Helper()
	b, err := dsse.ParseBundle(bundle)
	if err != nil {
		t.Fatal(err)
	}
	return b.Envelope.Payload
}

func link(target string) *fstest.MapFile {
	return &fstest.MapFile{Data: []byte(target), Mode: fs.ModeSymlink}
}

// A signer and its verifier for tests that have no testing.TB at hand.
var (
	rapidSigner, _ = provenance.NewKeySigner(keys.Demo("approver"))
	rapidTrust, _  = provenance.NewKeyVerifier(keys.Demo("approver").Public())
)

const digestOfNothing = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
