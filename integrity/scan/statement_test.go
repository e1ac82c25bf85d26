package scan_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/integrity/scan"
	"github.com/prerun/prerun/integrity/scan/internal/build"
	"github.com/prerun/prerun/internal/digestx"
	"github.com/prerun/prerun/internal/dsse"
	"github.com/prerun/prerun/internal/keys"
)

var rootDigest = "sha256:" + strings.Repeat("ab", 32)

func keyPair(t testing.TB, label string) (prerun.Signer, prerun.Verifier) {
	t.Helper()
	key := keys.Demo(label)
	signer, err := dsse.NewKeySigner(key)
	if err != nil {
		t.Fatal(err)
	}
	trust, err := dsse.NewKeyVerifier(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return signer, trust
}

func attestation(t testing.TB) scan.Attestation {
	return scan.Attestation{
		Model: prerun.Subject{Path: "tiny", Digest: rootDigest}, Scanner: "prerun v1", Time: time.Date(2026, 11, 1, 12, 0, 0, 5, time.UTC),
		Result: folder(t, scan.Scanner{}, map[string][]byte{"a.zip": build.Zip(build.Member{Name: "x", Data: build.Attack()}), "b.txt": []byte("hello\n")}),
	}
}

func TestAttestation(t *testing.T) {
	signer, trust := keyPair(t, "scanner")
	a := attestation(t)
	bundle, err := a.Sign(t.Context(), signer)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := a.Sign(t.Context(), signer); err != nil || !bytes.Equal(bundle, again) {
		t.Errorf("%v: another bundle for the same attestation", err)
	}
	got, err := scan.OpenScan(t.Context(), bundle, trust)
	if err != nil {
		t.Fatal(err)
	}
	if got.Model != a.Model || got.Scanner != a.Scanner || !got.Time.Equal(a.Time.Truncate(time.Second)) || got.Signed.Method != "key" {
		t.Errorf("%+v", got)
	}
	if diff := cmp.Diff(slices.Collect(a.Result.Findings()), slices.Collect(got.Result.Findings())); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	_, other := keyPair(t, "somebody")
	if _, err := scan.OpenScan(t.Context(), bundle, other); !errors.Is(err, dsse.ErrKey) && !errors.Is(err, dsse.ErrSignature) {
		t.Errorf("another key: %v", err)
	}

	files := slices.Collect(a.Result.Subjects())
	if err := got.Covers(rootDigest, files); err != nil {
		t.Error(err)
	}
	changed := slices.Clone(files)
	changed[0].Digest = rootDigest
	for name, err := range map[string]error{
		"other_root":    got.Covers("sha256:"+strings.Repeat("cd", 32), files),
		"changed_file":  got.Covers(rootDigest, changed),
		"further_file":  got.Covers(rootDigest, append(slices.Clone(files), prerun.Subject{Path: "c", Digest: rootDigest})),
		"other_hashing": got.Covers(rootDigest, []prerun.Subject{{Path: "c", Digest: "blake3:00"}}),
	} {
		if !errors.Is(err, scan.ErrResult) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := got.Covers(rootDigest, []prerun.Subject{{Path: "a.zip", Digest: "blake3:00"}}); err != nil {
		t.Error(err)
	}
}

// Findings inside a container are about the file that has the digest.
func TestNestedSubject(t *testing.T) {
	res := attestation(t).Result
	for f := range res.Findings() {
		if f.Subject.Path != "a.zip" || f.Subject.Digest != string(res.Files[0].Digest) || f.Path() != "a.zip!/x" {
			t.Errorf("%+v at %s", f.Subject, f.Path())
		}
	}
}

func TestAttestationNeedsDigests(t *testing.T) {
	a := attestation(t)
	for name, change := range map[string]func(a *scan.Attestation){
		"no_result":  func(a *scan.Attestation) { a.Result = nil },
		"no_files":   func(a *scan.Attestation) { a.Result = &scan.Result{} },
		"no_digests": func(a *scan.Attestation) { a.Result = folder(t, scan.Scanner{NoDigests: true}, mixed()) },
	} {
		b := a
		change(&b)
		if _, err := b.Statement(); !errors.Is(err, scan.ErrUnbound) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, change := range map[string]func(a *scan.Attestation){
		"no_model":   func(a *scan.Attestation) { a.Model.Path = "" },
		"no_root":    func(a *scan.Attestation) { a.Model.Digest = "" },
		"bad_root":   func(a *scan.Attestation) { a.Model.Digest = "sha256:x" },
		"no_scanner": func(a *scan.Attestation) { a.Scanner = "" },
		"no_time":    func(a *scan.Attestation) { a.Time = time.Time{} },
	} {
		b := a
		change(&b)
		if _, err := b.Statement(); !errors.Is(err, scan.ErrResult) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Validly signed statements that no scan makes are refused.
func TestOpenScanRefuses(t *testing.T) {
	signer, trust := keyPair(t, "scanner")
	good, err := attestation(t).Statement()
	if err != nil {
		t.Fatal(err)
	}
	digest := string(digestx.Of([]byte("hello\n")))[len("sha256:"):]
	for name, tt := range map[string]struct{ from, to string }{
		"statement_type":   {"in-toto.io/Statement/v1", "in-toto.io/Statement/v0.1"},
		"predicate_type":   {"scan-result/v1\",\"predicate\"", "scan-result/v2\",\"predicate\""},
		"unknown_member":   {`"scanner":`, `"note":"x","scanner":`},
		"no_subject":       {`"subject":[`, `"subject":[],"x":[`},
		"two_digests":      {`"digest":{"sha256":"abab`, `"digest":{"sha512":"00","sha256":"abab`},
		"subject_digest":   {`{"name":"b.txt","digest":{"sha256":"` + digest, `{"name":"b.txt","digest":{"sha256":"` + strings.Repeat("0", 64)},
		"subject_left_out": {`,{"name":"b.txt","digest":{"sha256":"` + digest + `"}}`, ""},
		"verdict":          {`"verdict":"malicious","completeness":"complete","result"`, `"verdict":"clean","completeness":"complete","result"`},
		"result":           {`"severity":"critical","confidence"`, `"severity":"low","confidence"`},
		"time":             {`"2026-11-01T12:00:00Z"`, `"2026-11-01T13:00:00+01:00"`},
		"no_json":          {`{"_type"`, `"_type"`},
	} {
		bad := strings.Replace(string(good), tt.from, tt.to, 1)
		if bad == string(good) {
			t.Errorf("%s: nothing changed", name)
			continue
		}
		bundle, err := signer.Sign(t.Context(), dsse.InTotoType, []byte(bad))
		if err != nil {
			t.Fatal(err)
		}
		a, err := scan.OpenScan(t.Context(), bundle, trust)
		if name == "result" && err == nil { // lower than its verdict is no contradiction, and what was signed is shown
			if a.Result.Verdict() != scan.Malicious {
				t.Errorf("%s: %v", name, a.Result.Verdict())
			}
			continue
		}
		if !errors.Is(err, scan.ErrResult) {
			t.Errorf("%s: %v", name, err)
		}
	}
	bundle, err := signer.Sign(t.Context(), "text/plain", good)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := scan.OpenScan(t.Context(), bundle, trust); !errors.Is(err, scan.ErrResult) {
		t.Errorf("payload type: %v", err)
	}
	if _, err := scan.OpenScan(t.Context(), nil, silent{}); !errors.Is(err, scan.ErrResult) {
		t.Errorf("a verifier that says nothing: %v", err)
	}
}

type silent struct{}

func (silent) Verify(context.Context, []byte) (*prerun.Signed, error) { return nil, nil }

// Sign what a scan found, so that a gate elsewhere need not scan again.
func ExampleAttestation() {
	ctx := context.Background()
	data := build.Attack()
	result, err := scan.Scanner{}.ScanFile(ctx, "model.pkl", bytes.NewReader(data), int64(len(data)))
	if err != nil {
		fmt.Println(err)
		return
	}
	signer, _ := dsse.NewKeySigner(keys.Demo("scanner")) // integrity.NewKeySigner, outside of this module
	trust, _ := dsse.NewKeyVerifier(keys.Demo("scanner").Public())
	bundle, err := scan.Attestation{
		Model:   prerun.Subject{Path: "tiny", Digest: rootDigest},
		Scanner: "acme-scan v3", Time: time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC), Result: result,
	}.Sign(ctx, signer)
	if err != nil {
		fmt.Println(err)
		return
	}

	opened, err := scan.OpenScan(ctx, bundle, trust)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(opened.Scanner, opened.Result.Verdict(), opened.Covers(rootDigest, nil))
	// Output:
	// acme-scan v3 malicious <nil>
}

// plain is a verifier that believes everything.
type plain struct{}

func (plain) Verify(_ context.Context, bundle []byte) (*prerun.Signed, error) {
	return &prerun.Signed{PayloadType: dsse.InTotoType, Payload: bundle}, nil
}

func FuzzStatement(f *testing.F) {
	good, err := attestation(f).Statement()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Fuzz(func(t *testing.T, data []byte) {
		a, err := scan.OpenScan(t.Context(), data, plain{})
		if err != nil {
			if !errors.Is(err, scan.ErrResult) && !errors.Is(err, scan.ErrUnbound) {
				t.Error(err)
			}
			return
		}
		if again, err := a.Statement(); err != nil || !bytes.Equal(again, data) {
			t.Errorf("%v: another statement", err)
		}
	})
}
