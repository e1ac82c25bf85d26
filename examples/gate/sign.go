package main

import (
	"context"
	"os"
	"path/filepath"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/examples/internal/outfile"
	"github.com/prerun/prerun/integrity"
	"github.com/prerun/prerun/internal/digestx"
	"github.com/prerun/prerun/internal/keys"
	"github.com/prerun/prerun/pipeline"
	"github.com/prerun/prerun/provenance"
)

// Facts of the demo's story. Nothing in it expires, because the gate is asked
// to evaluate as of a fixed date.
const (
	trainerID = "https://example.com/mailtriage/trainer"
	curatorID = "https://example.com/mailtriage/curator"

	// The public corpus as npm serves it.
	corpusURI    = "pkg:npm/%40stdlib/datasets-spam-assassin@0.2.3"
	corpusSHA512 = "a6b86c2ed6489d0e1f5fd91d602fab86eae281a7c976d5e5a7f7d39c1630fff02ddb51dcc38ce149b8b2c80723d90baffc42a5f2c1373cc941d8827b207bfa0f"
)

var (
	curatedOn  = time.Date(2026, 10, 5, 9, 0, 0, 0, time.UTC)
	trainedOn  = time.Date(2026, 10, 12, 14, 30, 0, 0, time.UTC)
	approvedOn = time.Date(2026, 10, 20, 10, 0, 0, 0, time.UTC)
)

// A signatory signs everything in one copy of the demo, in the order in which
// it would happen: data, training, model, approval.
type signatory struct {
	dir  string
	root *os.Root
	err  error // the first; later steps do nothing

	// claimed replaces the digest of the training data that the provenance
	// names, for a trainer whose records do not match the data.
	claimed digest.Digest
}

func (s *signatory) digestOf(name string) digest.Digest {
	data, err := s.root.ReadFile(name)
	s.fail(err)
	return digestx.Of(data)
}

func (s *signatory) fail(err error) {
	if s.err == nil {
		s.err = err
	}
}

func (s *signatory) write(name string, data []byte) {
	if s.err != nil {
		return
	}
	path := filepath.Join(s.dir, filepath.FromSlash(name))
	s.fail(os.MkdirAll(filepath.Dir(path), 0o755))
	s.fail(outfile.Write(path, data, 0o644))
}

func (s *signatory) signer(role string) prerun.Signer {
	signer, err := demoSigner(role)
	s.fail(err)
	return signer
}

// publicKeys writes the DEMO public keys that the configuration trusts.
func (s *signatory) publicKeys() {
	for file, role := range map[string]string{
		"keys/DEMO-model.pub": demoModelSigner, "keys/DEMO-trainer.pub": demoTrainer,
		"keys/DEMO-curator.pub": demoCurator, "keys/DEMO-approver.pub": demoApprover,
		"keys/DEMO-gate.pub": demoGate,
	} {
		text, err := keys.MarshalPublic(demoKey(role).Public())
		s.fail(err)
		s.write(file, text)
	}
}

// statement signs a provenance statement and writes it.
func (s *signatory) statement(ctx context.Context, file, role string, p provenance.Provenance, subjects ...provenance.Descriptor) {
	if s.err != nil {
		return
	}
	st, err := p.Statement(subjects...)
	if err != nil {
		s.fail(err)
		return
	}
	bundle, err := st.Sign(ctx, s.signer(role))
	s.fail(err)
	s.write(file, bundle)
}

func described(name, kind string, d digest.Digest) provenance.Descriptor {
	return provenance.Descriptor{
		Name: name, Digest: provenance.DigestsOf(d),
		Annotations: map[string]any{provenance.KindAnnotation: kind},
	}
}

// curation says which public corpus the rows were made of, and by which script.
func (s *signatory) curation(ctx context.Context) {
	s.statement(ctx, "provenance/curation.sigstore.json", demoCurator, provenance.Provenance{
		BuildType:          provenance.BuildTypeTraining,
		ExternalParameters: map[string]any{"recipe": "build/build.py", "hyperparameters": map[string]any{"seed": 20021010}},
		ResolvedDependencies: []provenance.Descriptor{
			{
				Name: "spamassassin public corpus", URI: corpusURI,
				Digest:      provenance.DigestSet{"sha512": corpusSHA512},
				Annotations: map[string]any{provenance.KindAnnotation: "dataset"},
			},
			described("build/build.py", "code", s.digestOf("build/build.py")),
		},
		BuilderID: curatorID, StartedOn: curatedOn, FinishedOn: curatedOn.Add(time.Hour),
	}, described("train.jsonl", "dataset", s.digestOf("data/train.jsonl")),
		described("heldout.jsonl", "dataset", s.digestOf("data/heldout.jsonl")))
}

// training says which data the model was made of.
func (s *signatory) training(ctx context.Context, m *integrity.Manifest) {
	data := s.digestOf("data/train.jsonl")
	if s.claimed != "" {
		data = s.claimed
	}
	subjects := []provenance.Descriptor{described("mailtriage", "model", m.Root())}
	for name, d := range m.Files() {
		subjects = append(subjects, described(name, "model", d))
	}
	s.statement(ctx, "provenance/training.sigstore.json", demoTrainer, provenance.Provenance{
		BuildType:          provenance.BuildTypeTraining,
		ExternalParameters: map[string]any{"recipe": "build/build.py", "hyperparameters": map[string]any{"epochs": 60, "seed": 20021010}},
		ResolvedDependencies: []provenance.Descriptor{
			described("train.jsonl", "dataset", data),
			described("build/classifier.py", "code", s.digestOf("build/classifier.py")),
		},
		BuilderID: trainerID, StartedOn: trainedOn, FinishedOn: trainedOn.Add(20 * time.Minute),
	}, subjects...)
}

// model hashes and signs the model's folder.
func (s *signatory) model(ctx context.Context, role string) *integrity.Manifest {
	if s.err != nil {
		return &integrity.Manifest{}
	}
	tree, err := s.root.OpenRoot("model")
	if err != nil {
		s.fail(err)
		return &integrity.Manifest{}
	}
	defer tree.Close()
	m, err := integrity.Hasher{}.Hash(ctx, tree.FS())
	if err != nil {
		s.fail(err)
		return &integrity.Manifest{}
	}
	bundle, err := integrity.Signing{Name: "mailtriage"}.Sign(ctx, m, s.signer(role))
	s.fail(err)
	s.write("model.sig", bundle)
	return m
}

// evidence signs the documents that profile LOW asks for.
func (s *signatory) evidence(ctx context.Context, m *integrity.Manifest) {
	for _, ev := range []pipeline.Evidence{
		{
			Item: "ALL-1", Controls: []string{"SUP-02"}, Issuer: "DEMO product owner",
			Summary: "Tier LOW: it sorts public mailing-list mail, a person reads every message, a wrong answer costs a look into the spam folder. Review by 2027-10-20.",
		},
		{
			Item: "ALL-4", Controls: []string{"IR-04"}, Issuer: "DEMO service owner",
			Summary: "Primary: this model. Alternate: the previous model. Contingency: the filter's static rules. Emergency: deliver everything unsorted. Transitions rehearsed on 2026-10-16.",
		},
		{
			Item: "ALL-5", Controls: []string{"LOG-01", "LOG-08"}, Issuer: "DEMO platform team",
			Summary: "Label, score and model digest of every decision are logged without message text and kept for 90 days; a test message was found in the log.",
		},
		{
			Item: "ALL-6", Controls: []string{"IR-04"}, Issuer: "DEMO platform team",
			Summary: "Rolled back to the previous model in two minutes on 2026-10-16, by somebody who had not deployed it.",
		},
		{
			Item: "ALL-7", Issuer: "DEMO security desk",
			Summary: "The runtime security team has the model card, this gate's configuration and the escalation path.",
		},
	} {
		ev.Subject, ev.Date = m.Root().String(), approvedOn
		bundle, err := pipeline.SignEvidence(ctx, ev, s.signer(demoApprover))
		s.fail(err)
		s.write("evidence/"+ev.Item+".json", bundle)
	}
}

// waivers signs the one risk that is accepted for a time.
func (s *signatory) waivers(ctx context.Context, expires time.Time) {
	bundle, err := pipeline.SignWaivers(ctx, []pipeline.Waiver{{
		ID: "W-1", Rule: waivedRule, Path: waivedPath, MaxSeverity: prerun.Medium,
		Reason: waivedReason,
		Owner:  "DEMO model owner", Approvers: []string{"DEMO security reviewer"}, Ticket: "MAIL-17",
		Created: approvedOn, Expires: expires,
	}}, s.signer(demoApprover))
	s.fail(err)
	s.write("waivers.json", bundle)
}

// prompts locks the prompts at their versions.
func (s *signatory) prompts(ctx context.Context) {
	if s.err != nil {
		return
	}
	tree, err := s.root.OpenRoot("prompts")
	if err != nil {
		s.fail(err)
		return
	}
	defer tree.Close()
	lock, err := pipeline.NewPromptLock(ctx, tree.FS(), map[string]string{"system.txt": "1.0.0", "triage.txt": "1.0.0"})
	if err != nil {
		s.fail(err)
		return
	}
	data, err := lock.Encode()
	s.fail(err)
	s.write("prompts.lock", data)
}

// everything signs the whole demo.
func (s *signatory) everything(ctx context.Context) error {
	s.publicKeys()
	s.prompts(ctx)
	s.curation(ctx)
	m := s.model(ctx, demoModelSigner)
	s.training(ctx, m)
	s.evidence(ctx, m)
	s.waivers(ctx, approvedOn.AddDate(0, 3, 0))
	return s.err
}

// The waived finding: the tokeniser's configuration names Python code, which
// other people's loaders may run and this project's server does not.
const (
	waivedRule   = "scan.config.auto-map"
	waivedPath   = "model/tokenizer_config.json"
	waivedReason = "The file names tokenizer.py for users of the Python ecosystem. Serving has its own tokeniser and never loads code from the model's folder; the file was read by the reviewer."
)
