package pipeline

import (
	"cmp"
	"context"
	"io/fs"
	"path"
	"slices"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/integrity"
	"github.com/prerun/prerun/internal/limits"
)

// VerifyModel checks the model's signature and that its files are those that
// were signed. It gives [ModelFact]. Its facts are those of the verify command:
// signer, times, parameters, leniencies.
type VerifyModel struct {
	ID        string // "" means CheckIntegrity
	FS        fs.FS  // the gate's root
	Model     string // folder of the model in FS
	Signature string // file of the bundle in FS
	Trust     prerun.Verifier
	Strict    bool     // see [integrity.Verifier.Strict]
	Ignore    []string // see [integrity.Verifier.Ignore]
	Name      string   // of the model in reports and in the verdict; "" means Model
}

// Meta implements [Check].
func (c VerifyModel) Meta() Meta {
	return Meta{
		ID: cmp.Or(c.ID, CheckIntegrity), Version: "1",
		Gives:    []string{string(ModelFact)},
		Items:    []string{"ALL-2"},
		Controls: []string{"SUP-01"},
	}
}

// Run implements [Check].
func (c VerifyModel) Run(ctx context.Context, in *Input) (*Result, error) {
	tree, err := subTree(c.FS, c.Model)
	if err != nil {
		return nil, err
	}
	bundle, err := limits.ReadFile(c.FS, c.Signature, limits.MaxBundle)
	if err != nil {
		return nil, err
	}
	v := integrity.Verifier{Ignore: c.Ignore, Strict: c.Strict, Workers: in.Workers, Progress: in.Progress, BundleName: c.Signature}
	res, err := v.Verify(ctx, tree, bundle, c.Trust)
	if res == nil {
		return nil, err
	}
	signature := prerun.EscapePath(c.Signature)
	out := &Result{Source: under(c.Model, res, signature), Facts: VerifyFacts(res)}
	switch {
	case err == nil:
		out.Reason = "signed by " + res.Signed.Signer + ", all files as signed"
		out.Inputs = []prerun.Subject{{Path: signature, Digest: res.Bundle.String()}}
		return out, Put(in, ModelFact, c.info(res))
	case integrity.Rejected(err):
		out.Outcome, out.Reason = Fail, err.Error()
	default:
		out.Err = err
	}
	return out, nil
}

func (c VerifyModel) info(res *integrity.Result) *ModelInfo {
	m := &ModelInfo{
		Name:   prerun.EscapePath(cmp.Or(c.Name, c.Model, "model")),
		Folder: prerun.EscapePath(path.Clean(c.Model)),
		Root:   res.Manifest.Root().String(),
	}
	for name, d := range res.Manifest.Files() {
		if d != "" {
			m.Files = append(m.Files, prerun.Subject{Path: prerun.EscapePath(name), Digest: d.String()})
		}
	}
	slices.SortFunc(m.Files, compareSubjects)
	return m
}

// VerifyFacts are the facts of a verification as reports show them: signer,
// times[]{source, time}, root, parameters{method, algorithm, shard_size,
// allow_symlinks, ignore[]}, ignored[] of what was left out and exists,
// leniencies[]{code, detail}. Without a good signature the last stands alone.
func VerifyFacts(res *integrity.Result) map[string]any {
	facts := map[string]any{"leniencies": leniencies(res)}
	if res.Signed != nil {
		facts["signer"] = map[string]any{"method": res.Signed.Method, "id": res.Signed.Signer, "issuer": res.Signed.Issuer}
		times := []map[string]any{}
		for _, source := range sortedKeys(res.Signed.Times) {
			times = append(times, map[string]any{"source": source, "time": res.Signed.Times[source].UTC()})
		}
		facts["times"] = times
	}
	if m := res.Manifest; m != nil {
		facts["root"] = m.Root().String()
		facts["parameters"] = map[string]any{
			"method": m.Method(), "algorithm": m.Algorithm, "shard_size": m.ShardSize,
			"allow_symlinks": m.AllowSymlinks, "ignore": notNil(m.Ignore),
		}
		facts["ignored"] = notNil(res.Ignored)
	}
	return facts
}

func leniencies(res *integrity.Result) []map[string]string {
	out := []map[string]string{}
	for _, l := range res.Leniencies {
		out = append(out, map[string]string{"code": l.Code, "detail": l.Detail})
	}
	return out
}
