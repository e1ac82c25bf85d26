package sigstore_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/prerun/prerun/integrity"
	"github.com/prerun/prerun/integrity/sigstore"
	"github.com/prerun/prerun/internal/sigstorex/sigstoretest"
)

var everyBit = flag.Bool("every-bit", false, "have TestMutants flip each bit: some minutes")

// mutable is where a bundle may be changed and still verify, for each version of
// the log, and why that changes nothing.
var mutable = [3]map[string]string{
	1: {
		stampPlace: "a time beside the log's, which then does not count and is named in the warnings",
		entryPlace + "inclusionProof/checkpoint/envelope": "text around what the log signs",
		entryPlace + "kindVersion/kind":                   "the entry says it itself",
		entryPlace + "kindVersion/version":                "the entry says it itself",
	},
	2: {
		stampPlace:                             "parts of a token that its signature does not cover; the time is the same",
		entryPlace + "canonicalizedBody":       "what is looked up in the log is made of the signature",
		entryPlace + "inclusionProof/logIndex": "as the checkpoint and the proof have it",
		entryPlace + "inclusionProof/rootHash": "as the checkpoint has it",
		entryPlace + "inclusionProof/treeSize": "as the checkpoint has it",
		entryPlace + "kindVersion/kind":        "what is looked up in the log is made of the signature",
		entryPlace + "kindVersion/version":     "what is looked up in the log is made of the signature",
	},
}

const (
	stampPlace = "/verificationMaterial/timestampVerificationData/rfc3161Timestamps/0/signedTimestamp"
	entryPlace = "/verificationMaterial/tlogEntries/0/"
)

// A mutant that passes says the same: payload, signer, chain, and no time that
// the original does not prove. It differs only where mutable says.
func TestMutants(t *testing.T) {
	i := sigstoretest.New("good", then)
	trust := trusting(trustedRoot(t, i), nil)
	stride := 5 * 8 // bits; prime to the four characters of base64
	switch {
	case *everyBit:
		stride = 1
	case testing.Short():
		stride = 37 * 8
	}
	for log := 1; log <= 2; log++ {
		bundle := []byte(sign(t, signer(i, services(log))))
		want, err := trust.Verify(t.Context(), bundle)
		if err != nil {
			t.Fatal(err)
		}
		passed, tried := map[string]int{}, 0
		for bit := 0; bit < 8*len(bundle); bit += stride {
			at := bit / 8
			mutant := bytes.Clone(bundle)
			if stride == 1 {
				mutant[at] ^= 1 << (bit % 8)
			} else {
				mutant[at] ^= 1 << (at % 7)
			}
			tried++
			got, err := trust.Verify(t.Context(), mutant)
			if err != nil {
				if !integrity.Rejected(err) && !errors.Is(err, integrity.ErrUnsupported) {
					t.Errorf("byte %d: unclassed error %v", at, err)
				}
				continue
			}
			where := changedPlace(t, bundle, mutant)
			passed[where]++
			if _, ok := mutable[log][where]; !ok && where != "" {
				t.Errorf("log of version %d, byte %d: a change at %q passes, which is not on the list", log, at, where)
			}
			if len(got.Times) < len(want.Times) && len(got.Warnings) == 0 {
				t.Errorf("byte %d: times %v without a warning", at, got.Times)
			}
			for name, proven := range got.Times {
				if !proven.Equal(want.Times[name]) {
					t.Errorf("byte %d: %s proves %v", at, name, proven)
				}
			}
			got.Times, got.Warnings = want.Times, want.Warnings
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("byte %d, %q: (-want +got):\n%s", at, bundle[max(0, at-20):at+1], diff)
			}
		}
		t.Logf("log of version %d: of %d mutants these pass: %v", log, tried, passed)
	}
}

// changedPlace is the JSON pointers to the values in which two texts differ, ""
// when they hold the same.
func changedPlace(t *testing.T, a, b []byte) string {
	t.Helper()
	var va, vb any
	if err := errors.Join(json.Unmarshal(a, &va), json.Unmarshal(b, &vb)); err != nil {
		t.Fatal(err)
	}
	places := map[string]bool{}
	var compare func(at string, a, b any)
	compare = func(at string, a, b any) {
		switch a := a.(type) {
		case map[string]any:
			b, ok := b.(map[string]any)
			if !ok {
				break
			}
			for name := range a {
				compare(at+"/"+name, a[name], b[name])
			}
			for name := range b {
				if _, ok := a[name]; !ok {
					places[at+"/"+name] = true
				}
			}
			return
		case []any:
			b, ok := b.([]any)
			if !ok || len(a) != len(b) {
				break
			}
			for i := range a {
				compare(at+"/0", a[i], b[i])
			}
			return
		case string:
			b, ok := b.(string)
			if ok && sameBytes(a, b) {
				return
			}
		}
		if !reflect.DeepEqual(a, b) {
			places[at] = true
		}
	}
	compare("", va, vb)
	return strings.Join(slices.Sorted(maps.Keys(places)), " ")
}

// sameBytes reports whether two texts are the same bytes in base64, whichever
// the alphabet and the bits beyond the last byte. Which values have such bits
// depends on how long signatures come out.
func sameBytes(a, b string) bool {
	other := strings.NewReplacer("-", "+", "_", "/")
	x, err1 := base64.StdEncoding.DecodeString(other.Replace(a))
	y, err2 := base64.StdEncoding.DecodeString(other.Replace(b))
	return a == b || err1 == nil && err2 == nil && bytes.Equal(x, y)
}

func FuzzVerify(f *testing.F) {
	i := sigstoretest.New("good", then)
	root := trustedRoot(f, i)
	trust := trusting(root, nil)
	for log := range 3 {
		f.Add([]byte(sign(f, signer(i, services(log)))))
	}
	byKey, _ := longKey(f)
	f.Add(signModel(f, sigstore.TimestampSigner{Signer: byKey, Authorities: []string{sigstoretest.Stamps}, Transport: i}))
	f.Add([]byte(`{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","verificationMaterial":{"certificate":{"rawBytes":"AA=="},"tlogEntries":[{}]},"dsseEnvelope":{"payload":"YQ==","payloadType":"t","signatures":[{"sig":"YQ=="}]}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := trust.Verify(t.Context(), data)
		if err != nil {
			if got != nil || !integrity.Rejected(err) && !errors.Is(err, integrity.ErrUnsupported) {
				t.Fatalf("got %+v, unclassed error: %v", got, err)
			}
			return
		}
		if got.Signer != subject || got.Issuer != issuer || len(got.Times) == 0 {
			t.Fatalf("accepted %+v", got)
		}
	})
}

func FuzzTimestamp(f *testing.F) {
	i := sigstoretest.New("good", then)
	v := sigstore.TimestampVerifier{Root: trustedRoot(f, i)}
	f.Add(i.Timestamp([]byte("signature")))
	f.Fuzz(func(t *testing.T, token []byte) {
		times, warnings, err := v.VerifyTimes(t.Context(), []byte("signature"), [][]byte{token})
		if err != nil || len(times)+len(warnings) != 1 {
			t.Fatalf("%v, %q, %v", times, warnings, err)
		}
		for _, at := range times {
			if !at.Equal(then) {
				t.Fatalf("proves %v", at)
			}
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	i := sigstoretest.New("good", then)
	bundle := []byte(sign(b, signer(i, services(2))))
	trust := trusting(trustedRoot(b, i), nil)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := trust.Verify(b.Context(), bundle); err != nil {
			b.Fatal(err)
		}
	}
}
