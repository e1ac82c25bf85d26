package scan

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/internal/digestx"
	"github.com/prerun/prerun/internal/dsse"
	"github.com/prerun/prerun/internal/strictjson"
)

// ScanPredicate is the predicate type of a signed scan.
const ScanPredicate = "https://github.com/prerun/prerun/scan-result/v1"

const statementType = "https://in-toto.io/Statement/v1"

// An Attestation says that somebody scanned a model and what came of it. It is
// signed by [Attestation.Sign] and read by [OpenScan].
type Attestation struct {
	Model   prerun.Subject // name and root digest of the model, as package integrity computes it
	Scanner string         // what scanned: name and version, or a URI
	Time    time.Time      // of the scan, kept in seconds
	Result  *Result

	// Signed is who says so. OpenScan sets it.
	Signed *prerun.Signed
}

// ErrUnbound is wrapped by the error for a result that says nothing about
// content: some file of it has no digest, as with [Scanner.NoDigests].
var ErrUnbound = errors.New("scan result is not bound to digests")

type (
	wireStatement struct {
		Type          string        `json:"_type,required"`
		Subject       []wireSubject `json:"subject,required"`
		PredicateType string        `json:"predicateType,required"`
		Predicate     wirePredicate `json:"predicate,required"`
	}
	wireSubject struct {
		Name   string            `json:"name,required"`
		Digest map[string]string `json:"digest,required"`
	}
	wirePredicate struct {
		Scanner      string       `json:"scanner,required"`
		Time         time.Time    `json:"time,required"`
		Verdict      Verdict      `json:"verdict,required"`
		Completeness Completeness `json:"completeness,required"`
		Result       wireResult   `json:"result,required"`
	}
)

// Statement is what is signed: an in-toto statement, the same bytes for the same
// attestation. Its first subject is the model by its root digest, the others are
// the scanned files by path.
//
//	{"_type": "https://in-toto.io/Statement/v1",
//	 "subject": [{"name": "model", "digest": {"sha256": "..."}}, {"name": "m.zip", "digest": {"sha256": "..."}}],
//	 "predicateType": "https://github.com/prerun/prerun/scan-result/v1",
//	 "predicate": {"scanner": "...", "time": "2026-11-01T12:00:00Z",
//	               "verdict": "malicious", "completeness": "complete", "result": {...}}}
//
// The result is as [Result.Encode] writes it.
func (a Attestation) Statement() ([]byte, error) {
	switch {
	case a.Result == nil || len(a.Result.Files) == 0:
		return nil, fmt.Errorf("%w: it has no file", ErrUnbound)
	case a.Model.Path == "" || a.Scanner == "" || a.Time.IsZero():
		return nil, fmt.Errorf("%w: model, scanner or time is left empty", ErrResult)
	}
	root, err := wireDigest(a.Model.Digest)
	if err != nil {
		return nil, fmt.Errorf("%w: model: %w", ErrResult, err)
	}
	result, err := a.Result.wire()
	if err != nil {
		return nil, err
	}
	w := wireStatement{
		Type: statementType, Subject: []wireSubject{{a.Model.Path, root}}, PredicateType: ScanPredicate,
		Predicate: wirePredicate{a.Scanner, a.Time.UTC().Truncate(time.Second), a.Result.Verdict(), a.Result.Completeness(), result},
	}
	for i := range a.Result.Files {
		f := &a.Result.Files[i]
		if f.Digest == "" {
			if f.Completeness == Complete && !slices.Contains(f.Formats, "link") {
				return nil, fmt.Errorf("%w: %q", ErrUnbound, f.Path)
			}
			continue // not content, or not read: its gap stands in the result
		}
		d, err := wireDigest(string(f.Digest))
		if err != nil {
			return nil, fmt.Errorf("%w: %q: %w", ErrResult, f.Path, err)
		}
		w.Subject = append(w.Subject, wireSubject{f.Path, d})
	}
	return canonical(w)
}

func wireDigest(s string) (map[string]string, error) {
	d, err := digestx.Parse(s)
	if err != nil {
		return nil, err
	}
	return map[string]string{digestx.Algorithm(d): digestx.Hex(d)}, nil
}

// Sign signs the statement and returns a bundle.
func (a Attestation) Sign(ctx context.Context, signer prerun.Signer) ([]byte, error) {
	statement, err := a.Statement()
	if err != nil {
		return nil, err
	}
	return signer.Sign(ctx, dsse.InTotoType, statement)
}

// OpenScan verifies a bundle that [Attestation.Sign] made and reads what it
// says. It must be exactly what would be signed: a statement that this version
// writes differently is an error. Whether it is about the model at hand, and
// recent enough, is for the caller to compare.
//
// Errors are those of the verifier, and wrap [ErrResult] or [ErrUnbound] for
// what was signed and is no scan result.
func OpenScan(ctx context.Context, bundle []byte, trust prerun.Verifier) (*Attestation, error) {
	signed, err := trust.Verify(ctx, bundle)
	switch {
	case err != nil:
		return nil, err
	case signed == nil:
		return nil, fmt.Errorf("%w: the verifier returned nothing", ErrResult)
	case signed.PayloadType != dsse.InTotoType:
		return nil, fmt.Errorf("%w: payload type %q, want %q", ErrResult, signed.PayloadType, dsse.InTotoType)
	}
	a, err := parseStatement(signed.Payload)
	if err != nil {
		return nil, err
	}
	a.Signed = signed
	return a, nil
}

func parseStatement(payload []byte) (*Attestation, error) {
	var w wireStatement
	opts := strictjson.Options{Limits: strictjson.Limits{Bytes: maxResult, Depth: 512}}
	if _, err := strictjson.Unmarshal(payload, &w, opts); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrResult, err)
	}
	switch {
	case w.Type != statementType:
		return nil, fmt.Errorf("%w: statement type %q, want %q", ErrResult, w.Type, statementType)
	case w.PredicateType != ScanPredicate:
		return nil, fmt.Errorf("%w: predicate type %q, want %q", ErrResult, w.PredicateType, ScanPredicate)
	case len(w.Subject) == 0 || len(w.Subject[0].Digest) != 1:
		return nil, fmt.Errorf("%w: no model with one digest", ErrResult)
	}
	result, err := w.Predicate.Result.result()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrResult, err)
	}
	a := &Attestation{Scanner: w.Predicate.Scanner, Time: w.Predicate.Time, Result: result}
	a.Model.Path = w.Subject[0].Name
	for algorithm, hex := range w.Subject[0].Digest {
		a.Model.Digest = algorithm + ":" + hex
	}
	again, err := a.Statement()
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(again, payload) {
		return nil, fmt.Errorf("%w: the statement is not in the one form that this version writes", ErrResult)
	}
	return a, nil
}

// Covers returns an error unless the attestation is about the model of that
// root digest, and each of the files, which have the model's own paths, was
// scanned with the digest that it has there. Files whose digest is of another
// algorithm are compared by path only: the root digest stands for them.
func (a *Attestation) Covers(root string, files []prerun.Subject) error {
	if a.Model.Digest != root {
		return fmt.Errorf("%w: it is about model %q, not %q", ErrResult, a.Model.Digest, root)
	}
	scanned := make(map[string]string)
	for s := range a.Result.Subjects() {
		scanned[s.Path] = s.Digest
	}
	for _, f := range files {
		got, known := scanned[f.Path]
		if !known {
			return fmt.Errorf("%w: %q was not scanned", ErrResult, f.Path)
		}
		if strings.HasPrefix(f.Digest, "sha256:") && got != f.Digest {
			return fmt.Errorf("%w: %q was scanned as %q, the model has %q", ErrResult, f.Path, got, f.Digest)
		}
	}
	return nil
}
