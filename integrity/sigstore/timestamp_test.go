package sigstore_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/integrity"
	"github.com/prerun/prerun/integrity/sigstore"
	"github.com/prerun/prerun/internal/keys"
	"github.com/prerun/prerun/internal/sigstorex/sigstoretest"
)

// certificateOfTwoDays is a certificate by itself, around then.
func certificateOfTwoDays() (*integrity.CertificateSigner, *x509.Certificate, error) {
	key := keys.Demo("long lived")
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "release"}, KeyUsage: x509.KeyUsageDigitalSignature,
		NotBefore: then.AddDate(0, 0, -1), NotAfter: then.AddDate(0, 0, 1),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, nil, err
	}
	s, err := integrity.NewCertificateSigner(key, leaf)
	return s, leaf, err
}

func longKey(t testing.TB) (*integrity.KeySigner, *integrity.KeyVerifier) {
	t.Helper()
	key := keys.Demo("long lived")
	s, err := integrity.NewKeySigner(key)
	if err != nil {
		t.Fatal(err)
	}
	v, err := integrity.NewKeyVerifier(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return s, v
}

func signModel(t testing.TB, s prerun.Signer) []byte {
	t.Helper()
	m, err := integrity.Hasher{}.Hash(t.Context(), model())
	if err != nil {
		t.Fatal(err)
	}
	bundle, err := integrity.Signing{}.Sign(t.Context(), m, s)
	if err != nil {
		t.Fatal(err)
	}
	return bundle
}

// withToken adds a token of another signature to bundles.
type withToken struct {
	prerun.Signer
	token []byte
}

func (s withToken) Sign(ctx context.Context, payloadType string, payload []byte) ([]byte, error) {
	bundle, err := s.Signer.Sign(ctx, payloadType, payload)
	if err != nil {
		return nil, err
	}
	return bytes.Replace(bundle, []byte(`"tlogEntries":[]`), fmt.Appendf(nil,
		`"tlogEntries":[],"timestampVerificationData":{"rfc3161Timestamps":[{"signedTimestamp":"%s"}]}`,
		base64.StdEncoding.EncodeToString(s.token)), 1), nil
}

func TestTimestamps(t *testing.T) {
	good, other := sigstoretest.New("good", then), sigstoretest.New("other", then)
	byCertificate, leaf, err := certificateOfTwoDays()
	if err != nil {
		t.Fatal(err)
	}
	byKey, keyTrust := longKey(t)
	stamping := func(s prerun.Signer, i *sigstoretest.Instance) sigstore.TimestampSigner {
		return sigstore.TimestampSigner{Signer: s, Authorities: []string{sigstoretest.Stamps}, Transport: i}
	}
	trust := func(change func(*integrity.CertificateVerifier)) prerun.Verifier {
		v := &integrity.CertificateVerifier{
			Roots: []*x509.Certificate{leaf}, Now: func() time.Time { return then.AddDate(3, 0, 0) },
			Times: sigstore.TimestampVerifier{Root: trustedRoot(t, good)},
		}
		if change != nil {
			change(v)
		}
		return v
	}
	chain, err := sigstore.NewTimestampRoot("office", good.TimestampChain()...)
	if err != nil {
		t.Fatal(err)
	}
	rootOnly, err := sigstore.NewTimestampRoot("office", good.TimestampChain()[1])
	if err != nil {
		t.Fatal(err)
	}
	byRoot := func(root *sigstore.TrustedRoot) func(*integrity.CertificateVerifier) {
		return func(v *integrity.CertificateVerifier) { v.Times = sigstore.TimestampVerifier{Root: root} }
	}
	proven := map[string]time.Time{sigstoretest.Stamps: then}
	office := map[string]time.Time{"office": then}
	two := stamping(stamping(byCertificate, good), other)

	for _, tt := range []struct {
		name   string
		signer prerun.Signer
		trust  prerun.Verifier
		want   error
		times  map[string]time.Time
		warns  int
	}{
		{"certificate_expired_since", stamping(byCertificate, good), trust(nil), nil, proven, 0},
		{"authority_by_chain", stamping(byCertificate, good), trust(byRoot(chain)), nil, office, 0},
		{"authority_by_root", stamping(byCertificate, good), trust(byRoot(rootOnly)), nil, office, 0},
		{"one_trusted_of_two", two, trust(nil), nil, proven, 1},
		{"twice_by_one_authority", stamping(stamping(byCertificate, good), good), trust(nil), nil, proven, 1},
		{"key", stamping(byKey, good), func() prerun.Verifier {
			v := *keyTrust
			v.Times, v.RequireTime = sigstore.TimestampVerifier{Root: trustedRoot(t, good)}, true
			return &v
		}(), nil, proven, 0},

		{"no_timestamp", byCertificate, trust(nil), integrity.ErrUntrusted, nil, 0},
		{"untrusted_authority", stamping(byCertificate, other), trust(nil), integrity.ErrUntrusted, nil, 0},
		{"public_good", stamping(byCertificate, good), trust(byRoot(nil)), integrity.ErrUntrusted, nil, 0},
		{"over_other_bytes", withToken{byCertificate, good.Timestamp([]byte("x"))}, trust(nil), integrity.ErrUntrusted, nil, 0},
		{"after_the_certificate", stamping(byCertificate, good.With(func(i *sigstoretest.Instance) { i.StampTime = then.AddDate(0, 0, 2) })), trust(nil), integrity.ErrUntrusted, nil, 0},
		{"before_the_certificate", stamping(byCertificate, good.With(func(i *sigstoretest.Instance) { i.StampTime = then.AddDate(0, 0, -2) })), trust(nil), integrity.ErrUntrusted, nil, 0},
		{"after_the_authority", stamping(byCertificate, good.With(func(i *sigstoretest.Instance) { i.StampTime = then.AddDate(2, 0, 0) })), trust(nil), integrity.ErrUntrusted, nil, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, err := integrity.Verifier{Strict: true}.Verify(t.Context(), model(), signModel(t, tt.signer), tt.trust)
			if !errors.Is(err, tt.want) {
				t.Fatalf("error %v, want %v", err, tt.want)
			}
			if err != nil {
				return
			}
			if diff := cmp.Diff(tt.times, r.Signed.Times); diff != "" {
				t.Errorf("times (-want +got):\n%s", diff)
			}
			if len(r.Signed.Warnings) != tt.warns {
				t.Errorf("warnings %q", r.Signed.Warnings)
			}
		})
	}
}

func TestTimestampVerifier(t *testing.T) {
	v := sigstore.TimestampVerifier{Root: trustedRoot(t, sigstoretest.New("good", then))}
	times, warnings, err := v.VerifyTimes(t.Context(), []byte("sig"), [][]byte{nil, {0}, []byte("0\x80"), []byte(strings.Repeat("0\x80", 1000))})
	if len(times) > 0 || len(warnings) != 4 || err != nil {
		t.Errorf("garbage: %v, %q, %v", times, warnings, err)
	}
	if _, _, err := v.VerifyTimes(t.Context(), []byte("sig"), make([][]byte, 33)); !errors.Is(err, integrity.ErrBundle) {
		t.Errorf("33 tokens: %v", err)
	}
	v.Root = new(sigstore.TrustedRoot)
	if _, _, err := v.VerifyTimes(t.Context(), []byte("sig"), [][]byte{{0}}); err == nil || integrity.Rejected(err) {
		t.Errorf("a root that nobody made: %v", err)
	}
}

func TestTimestampSignerRefuses(t *testing.T) {
	good, other := sigstoretest.New("good", then), sigstoretest.New("other", then)
	byKey, _ := longKey(t)
	stamping := sigstore.TimestampSigner{
		Signer: byKey, Authorities: []string{sigstoretest.Stamps}, Transport: good, Root: trustedRoot(t, good),
	}
	if _, err := stamping.Sign(t.Context(), integrity.StatementType, []byte("{}")); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*sigstore.TimestampSigner){
		"no_signer":    func(s *sigstore.TimestampSigner) { s.Signer = nil },
		"no_authority": func(s *sigstore.TimestampSigner) { s.Authorities = nil },
		"no_url":       func(s *sigstore.TimestampSigner) { s.Authorities = []string{"x"} },
		"no_transport": func(s *sigstore.TimestampSigner) { s.Transport = nil },
		"down": func(s *sigstore.TimestampSigner) {
			s.Transport = good.With(func(i *sigstoretest.Instance) { i.Broken = "tsa.test" })
		},
		"untrusted_authority": func(s *sigstore.TimestampSigner) { s.Transport = other },
		"over_other_bytes": func(s *sigstore.TimestampSigner) {
			s.Transport, s.Root = good.With(func(i *sigstoretest.Instance) { i.StampOver = []byte("x") }), nil
		},
		"of_another_question": func(s *sigstore.TimestampSigner) {
			s.Transport, s.Root = good.With(func(i *sigstoretest.Instance) { i.StampNonce = big.NewInt(7) }), nil
		},
		"keyless": func(s *sigstore.TimestampSigner) { s.Signer = signer(good, services(1)) },
	} {
		s := stamping
		change(&s)
		if bundle, err := s.Sign(t.Context(), integrity.StatementType, []byte("{}")); err == nil {
			t.Errorf("%s: %s", name, bundle)
		}
	}
	for name, certs := range map[string][]*x509.Certificate{"office": nil, "": good.TimestampChain(), "nil": {nil}} {
		if _, err := sigstore.NewTimestampRoot(name, certs...); err == nil {
			t.Errorf("a root %q of %d certificates", name, len(certs))
		}
	}
}
