package pipeline_test

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"testing/fstest"
	"time"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/integrity"
	"github.com/prerun/prerun/internal/keys"
	"github.com/prerun/prerun/pipeline"
	"github.com/prerun/prerun/pipeline/report"
)

// demo is a model in memory, signed by a key that anybody can derive.
func demo() (files fstest.MapFS, trust prerun.Verifier) {
	files = fstest.MapFS{"model/config.json": {Data: []byte(`{"model_type": "linear"}`)}}
	key := keys.Demo("model")
	signer, _ := integrity.NewKeySigner(key)
	tree, _ := fs.Sub(files, "model")
	manifest, _ := integrity.Hasher{}.Hash(context.Background(), tree)
	bundle, _ := integrity.Signing{Name: "tiny"}.Sign(context.Background(), manifest, signer)
	files["model.sig"] = &fstest.MapFile{Data: bundle}
	trust, _ = integrity.NewKeyVerifier(key.Public())
	return files, trust
}

// A gate without the evidence that its tier asks for says no, and why.
func Example() {
	files, trust := demo()
	decision, err := pipeline.Gate{
		Name:    "tiny",
		Profile: pipeline.ProfileOf(pipeline.LOW),
		Checks: []pipeline.Check{
			pipeline.VerifyModel{FS: files, Model: "model", Signature: "model.sig", Trust: trust},
			pipeline.ScanModel{FS: files, Path: "model"},
		},
		Now: time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC),
	}.Run(context.Background())
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(decision.Verdict)
	for f := range decision.Findings() {
		fmt.Println(f.Message)
	}
	// Output:
	// fail
	// no evidence answers ALL-1 (risk classification documented and approved)
	// no evidence answers ALL-4 (pace plan documented for critical components)
	// no evidence answers ALL-5 (logging configured and verified)
	// no evidence answers ALL-6 (rollback documented and tested)
	// no evidence answers ALL-7 (runtime security team notified)
	// profile LOW requires check provenance.verify and the gate has none
	// profile LOW requires check validate.run and the gate has none
}

// licensed is a third party's check: the model's folder must hold a licence.
type licensed struct{ files fs.FS }

func (licensed) Meta() pipeline.Meta {
	return pipeline.Meta{ID: "acme.licence", Version: "1", Controls: []string{"SUP-01"}}
}

func (c licensed) Run(context.Context, *pipeline.Input) (*pipeline.Result, error) {
	missing := prerun.Rule{
		ID: "acme.licence.missing", Title: "no licence", Severity: prerun.Medium,
		Help: "Nobody may use a model that comes without a licence. Ask its publisher for one.",
	}
	subject := prerun.Subject{Path: "model"}
	var findings []prerun.Finding
	if _, err := fs.Stat(c.files, "model/LICENSE"); err != nil {
		findings = append(findings, prerun.Finding{
			Rule: missing, Severity: missing.Severity, Confidence: prerun.ConfidenceHigh,
			Subject: subject, Message: "the model's folder holds no LICENSE",
		})
	}
	return &pipeline.Result{Source: prerun.NewSource([]prerun.Subject{subject}, findings, nil)}, nil
}

// A check of one's own takes part like any other.
func ExampleCheck() {
	files, _ := demo()
	profile := pipeline.Profile{
		Tier:  pipeline.LOW,
		Items: []pipeline.Item{{ID: "ACME-1", Title: "Licensed", Checks: []string{"acme.licence"}}},
	}
	gate := pipeline.Gate{Profile: profile, Checks: []pipeline.Check{licensed{files}}, Now: time.Unix(0, 0)}
	decision, _ := gate.Run(context.Background())
	fmt.Println(decision.Verdict, decision.Reason)
	files["model/LICENSE"] = &fstest.MapFile{}
	decision, _ = gate.Run(context.Background())
	fmt.Println(decision.Verdict, decision.Reason)
	// Output:
	// fail not satisfied: acme.licence
	// pass all 1 checks of profile LOW are satisfied
}

// The file form of a gate, its report, and its verdict as a deployer checks it.
func ExampleConfig() {
	files, _ := demo()
	public, _ := keys.MarshalPublic(keys.Demo("model").Public())
	files["model.pub"] = &fstest.MapFile{Data: public}
	config, err := pipeline.ParseConfig([]byte(`
schema: prerun/gate/v1
name: tiny
profile: LOW
resource_uri: pkg:generic/tiny@1.0.0
verifier: https://example.com/gate
keys: {model: model.pub}
checks:
  - {kind: integrity, path: model, signature: model.sig}
`))
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, now := context.Background(), time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	gate, err := config.Gate(ctx, files, pipeline.Deps{Now: now})
	if err != nil {
		fmt.Println(err)
		return
	}
	gate.Profile = pipeline.Profile{ // a profile of one's own: only the signature
		Tier: pipeline.LOW, Items: []pipeline.Item{{ID: "ACME-1", Checks: []string{pipeline.CheckIntegrity}}},
	}
	decision, err := gate.Run(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	var page bytes.Buffer
	if err := report.HTML(&page, decision.Document()); err != nil {
		fmt.Println(err)
	}
	signer, _ := integrity.NewKeySigner(keys.Demo("gate"))
	bundle, _ := decision.Sign(ctx, config.Info("gate.yaml"), signer)

	trust, _ := integrity.NewKeyVerifier(keys.Demo("gate").Public())
	verdict, err := pipeline.VerifyVerdict(ctx, bundle, trust, pipeline.VerdictPolicy{
		Subjects:     []string{decision.Model.Root},
		PolicyDigest: config.Digest(),
		Verifier:     "https://example.com/gate",
		Now:          now.AddDate(0, 0, 1),
	})
	fmt.Println(verdict.Passed, verdict.Levels, err)
	// Output: true [AISBD_GATE_LOW] <nil>
}

// A signed waiver excuses a finding for a time, with an owner and an approver.
func ExampleSignWaivers() {
	ctx, now := context.Background(), time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	signer, _ := integrity.NewKeySigner(keys.Demo("approver"))
	trust, _ := integrity.NewKeyVerifier(keys.Demo("approver").Public())
	bundle, _ := pipeline.SignWaivers(ctx, []pipeline.Waiver{{
		ID: "W-1", Rule: "acme.licence.missing", Path: "model", MaxSeverity: prerun.Medium,
		Reason: "the licence is being negotiated", Owner: "model team", Approvers: []string{"legal desk"},
		Created: now, Expires: now.AddDate(0, 1, 0),
	}}, signer)

	files, _ := demo()
	profile := pipeline.ProfileOf(pipeline.LOW)
	profile.Items = []pipeline.Item{{ID: "ACME-1", Checks: []string{"acme.licence"}}}
	decision, _ := pipeline.Gate{
		Profile: profile, Checks: []pipeline.Check{licensed{files}}, Now: now,
		Waivers: []*pipeline.Waivers{pipeline.OpenWaivers(ctx, "waivers.json", bundle, trust)},
	}.Run(ctx)
	fmt.Println(decision.Verdict)
	for f := range decision.Findings() {
		fmt.Println(f.Rule.ID, "is waived by", decision.WaivedBy(f).ID)
	}
	// Output:
	// pass
	// acme.licence.missing is waived by W-1
}
