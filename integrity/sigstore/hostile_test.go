package sigstore_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/prerun/prerun/integrity"
	"github.com/prerun/prerun/integrity/sigstore"
	"github.com/prerun/prerun/internal/sigstorex/sigstoretest"
)

// A mutant that passes says the same: payload, signer, chain, and no time that
// the original does not prove. What may change is white space; what nothing is
// made to rest on, such as the key id and, in a log entry of version 2, all that
// its checkpoint and the signature say already; and a timestamp beside a log's
// time, which then does not count and is named in the warnings.
func TestMutants(t *testing.T) {
	i := sigstoretest.New("good", then)
	trust := trusting(trustedRoot(t, i), nil)
	stride := 5 // prime to the four characters of base64
	if testing.Short() {
		stride = 37
	}
	for log := 1; log <= 2; log++ {
		bundle := []byte(sign(t, signer(i, services(log))))
		want, err := trust.Verify(t.Context(), bundle)
		if err != nil {
			t.Fatal(err)
		}
		passed := 0
		for at := 0; at < len(bundle); at += stride {
			mutant := bytes.Clone(bundle)
			mutant[at] ^= 1 << (at % 7)
			got, err := trust.Verify(t.Context(), mutant)
			if err != nil {
				if !integrity.Rejected(err) && !errors.Is(err, integrity.ErrUnsupported) {
					t.Errorf("byte %d: unclassed error %v", at, err)
				}
				continue
			}
			passed++
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
		t.Logf("log of version %d: %d of %d mutants pass", log, passed, len(bundle)/stride)
	}
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
