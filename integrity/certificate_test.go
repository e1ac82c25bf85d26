package integrity_test

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"math/big"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/integrity"
	"github.com/prerun/prerun/internal/keys"
)

var (
	past   = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	then   = time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)
	future = time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)
)

func atTime(t time.Time) func() time.Time { return func() time.Time { return t } }

func TestCorpusCertificate(t *testing.T) {
	roots, err := integrity.ParseCertificates(corpusFile(t, "keys/ca-cert.pem"))
	if err != nil {
		t.Fatal(err)
	}
	trust, err := integrity.NewCertificateVerifier(roots...)
	if err != nil {
		t.Fatal(err)
	}
	trust.Now = atTime(then)
	all := vectors(t, "certificate")
	if len(all) != 5 {
		t.Errorf("%d bundles, want 5", len(all))
	}
	for _, v := range all {
		t.Run(path.Base(v.Dir), func(t *testing.T) {
			old := path.Base(v.Dir) == "v0.2.0-certificate"
			r, err := v.verify(t, integrity.Verifier{}, trust)
			if old {
				wantKind(t, err, integrity.ErrUnsupported)
				checkSource(t, r, err)
				r, err = v.verify(t, integrity.Verifier{InsecureAcceptV02: true}, trust)
			}
			if err != nil {
				t.Fatal(err)
			}
			checkSource(t, r, err)
			if got := slices.Contains(codes(r), integrity.LenientV02); got != old {
				t.Errorf("leniencies %v", codes(r))
			}
			if s := r.Signed; s.Method != integrity.MethodCertificate || s.Signer != "CN=intermediate-ca" || len(s.Chain) != 3 {
				t.Errorf("signed %q %q by a chain of %d", s.Method, s.Signer, len(s.Chain))
			}
			expired := *trust
			expired.Now = atTime(then.AddDate(20, 0, 0))
			_, err = v.verify(t, integrity.Verifier{InsecureAcceptV02: true}, &expired)
			wantKind(t, err, integrity.ErrUntrusted)
		})
	}
	leaf, err := integrity.ParseCertificates(corpusFile(t, "keys/signing-key-cert.pem"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := integrity.NewCertificateVerifier(leaf...); err == nil {
		t.Error("a leaf whose issuer has its name was taken for a root")
	}
}

// A testCert is a certificate and its key.
type testCert struct {
	*x509.Certificate
	key crypto.Signer
}

// issue makes a certificate by parent, or by itself where parent is nil.
func issue(t testing.TB, name string, parent *testCert, change func(*x509.Certificate)) *testCert {
	t.Helper()
	key := crypto.Signer(keys.Demo("certificate " + name))
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(int64(len(name))),
		Subject:               pkix.Name{CommonName: name},
		NotBefore:             past,
		NotAfter:              future,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true,
	}
	if change != nil {
		change(template)
	}
	if k, ok := template.PublicKey.(crypto.Signer); ok {
		key, template.PublicKey = k, nil
	}
	if parent == nil {
		parent = &testCert{template, key}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent.Certificate, key.Public(), parent.key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &testCert{c, key}
}

func authority(c *x509.Certificate) { c.IsCA, c.KeyUsage = true, x509.KeyUsageCertSign }

// A certificateCase is a chain, and the kind of the error that it must cause.
type certificateCase struct {
	name  string
	leaf  *testCert
	chain []*testCert
	trust integrity.CertificateVerifier
	want  error
}

func certs(list ...*testCert) (out []*x509.Certificate) {
	for _, c := range list {
		out = append(out, c.Certificate)
	}
	return out
}

func trusting(roots ...*testCert) integrity.CertificateVerifier {
	return integrity.CertificateVerifier{Roots: certs(roots...), Now: atTime(then)}
}

func certificateCases(t *testing.T) []certificateCase {
	root := issue(t, "root", nil, authority)
	middle := issue(t, "middle", root, authority)
	leaf := issue(t, "leaf", middle, nil)
	other := issue(t, "other", nil, authority)
	self := issue(t, "self", nil, nil)
	under := func(parent *testCert, change func(*x509.Certificate)) *testCert {
		return issue(t, "odd", parent, change)
	}
	leafWith := func(change func(*x509.Certificate)) *testCert { return under(middle, change) }
	expired := func(c *x509.Certificate) { c.NotAfter = then.Add(-time.Hour) }
	with := func(v integrity.CertificateVerifier, change func(*integrity.CertificateVerifier)) integrity.CertificateVerifier {
		change(&v)
		return v
	}
	deadMiddle := issue(t, "dead", root, func(c *x509.Certificate) { authority(c); expired(c) })
	noCA := issue(t, "no ca", root, nil)
	noSign := issue(t, "no sign", root, func(c *x509.Certificate) { c.IsCA, c.KeyUsage = true, x509.KeyUsageCRLSign })

	return []certificateCase{
		{"intermediate_in_bundle", leaf, []*testCert{middle}, trusting(root), nil},
		{"root_in_bundle", leaf, []*testCert{middle, root}, trusting(root), nil},
		{"any_order", leaf, []*testCert{root, other, middle}, trusting(root), nil},
		{"intermediate_of_caller", leaf, nil, with(trusting(root), func(v *integrity.CertificateVerifier) { v.Intermediates = certs(middle) }), nil},
		{"leaf_is_root", self, nil, trusting(self), nil},
		{"leaf_is_root_twice", self, []*testCert{self}, trusting(self), nil},
		{"code_signing", leafWith(func(c *x509.Certificate) {
			c.KeyUsage, c.ExtKeyUsage = 0, []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}
		}), []*testCert{middle}, trusting(root), nil},
		{"accepted_by_caller", leaf, []*testCert{middle}, with(trusting(root), func(v *integrity.CertificateVerifier) {
			v.Accept = func(c *x509.Certificate) error {
				if c.Subject.CommonName != "leaf" {
					return errors.New("another name")
				}
				return nil
			}
		}), nil},
		{"expired_at_not_before", leafWith(expired), []*testCert{middle}, with(trusting(root), func(v *integrity.CertificateVerifier) { v.InsecureAtNotBefore = true }), nil},

		{"expired", leafWith(expired), []*testCert{middle}, trusting(root), integrity.ErrUntrusted},
		{"not_yet_valid", leafWith(func(c *x509.Certificate) { c.NotBefore = then.Add(time.Hour) }), []*testCert{middle}, trusting(root), integrity.ErrUntrusted},
		{"expired_intermediate", under(deadMiddle, nil), []*testCert{deadMiddle}, trusting(root), integrity.ErrUntrusted},
		{"intermediate_is_no_ca", under(noCA, nil), []*testCert{noCA}, trusting(root), integrity.ErrUntrusted},
		{"intermediate_may_not_sign", under(noSign, nil), []*testCert{noSign}, trusting(root), integrity.ErrUntrusted},
		{"no_intermediate", leaf, nil, trusting(root), integrity.ErrUntrusted},
		{"other_root", leaf, []*testCert{middle, root}, trusting(other), integrity.ErrUntrusted},
		{"root_only_in_bundle", self, []*testCert{self}, trusting(root), integrity.ErrUntrusted},
		{"refused_by_caller", leaf, []*testCert{middle}, with(trusting(root), func(v *integrity.CertificateVerifier) {
			v.Accept = func(*x509.Certificate) error { return errors.New("no") }
		}), integrity.ErrUntrusted},
	}
}

func TestCertificates(t *testing.T) {
	for _, tt := range certificateCases(t) {
		t.Run(tt.name, func(t *testing.T) {
			signer, err := integrity.NewCertificateSigner(tt.leaf.key, tt.leaf.Certificate, certs(tt.chain...)...)
			if err != nil {
				t.Fatal(err)
			}
			bundle := mustSign(t, mustHash(t, integrity.Hasher{}, tiny()), signer)
			r, err := integrity.Verifier{Strict: true}.Verify(t.Context(), tiny(), bundle, &tt.trust)
			wantKind(t, err, tt.want)
			if (err == nil) != (tt.want == nil) {
				t.Errorf("error %v, want %v", err, tt.want)
			}
			checkSource(t, r, err)
			if err != nil {
				return
			}
			if r.Signed.Signer != tt.leaf.Subject.String() || !bytes.Equal(r.Signed.Chain[0], tt.leaf.Raw) || r.Signed.Times != nil {
				t.Errorf("signed %+v", r.Signed)
			}
			mutant := replace(t, string(bundle), `"sig":"M`, `"sig":"N`)
			_, err = integrity.Verifier{}.Verify(t.Context(), tiny(), []byte(mutant), &tt.trust)
			wantKind(t, err, integrity.ErrSignature)
		})
	}

	root := issue(t, "root", nil, authority)
	middle := issue(t, "middle", root, authority)
	leaf := issue(t, "leaf", middle, nil)
	leafWith := func(change func(*x509.Certificate)) *testCert { return issue(t, "odd", middle, change) }
	signer, err := integrity.NewCertificateSigner(leaf.key, leaf.Certificate, middle.Certificate)
	if err != nil {
		t.Fatal(err)
	}
	bundle := mustSign(t, mustHash(t, integrity.Hasher{}, tiny()), signer)
	trust := trusting(root)

	t.Run("no_roots", func(t *testing.T) {
		r, err := integrity.Verifier{}.Verify(t.Context(), tiny(), bundle, &integrity.CertificateVerifier{})
		if err == nil || integrity.Rejected(err) {
			t.Errorf("error %v", err)
		}
		checkSource(t, r, err)
	})
	t.Run("methods_do_not_mix", func(t *testing.T) {
		keySigner, keyTrust := testKeys(t, "certificate leaf")
		_, err := integrity.Verifier{}.Verify(t.Context(), tiny(), bundle, keyTrust)
		wantKind(t, err, integrity.ErrUntrusted)
		byKey := mustSign(t, mustHash(t, integrity.Hasher{}, tiny()), keySigner)
		_, err = integrity.Verifier{}.Verify(t.Context(), tiny(), byKey, &trust)
		wantKind(t, err, integrity.ErrUntrusted)
	})
	t.Run("field_of_keyless_signing", func(t *testing.T) {
		trust := trust
		trust.Intermediates = certs(middle)
		b64 := func(c *testCert) string { return base64.StdEncoding.EncodeToString(c.Raw) }
		moved := replace(t, string(bundle),
			`"x509CertificateChain":{"certificates":[{"rawBytes":"`+b64(leaf)+`"},{"rawBytes":"`+b64(middle)+`"}]}`,
			`"certificate":{"rawBytes":"`+b64(leaf)+`"}`)
		r, err := integrity.Verifier{}.Verify(t.Context(), tiny(), []byte(moved), &trust)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{integrity.LenientCertificate}, codes(r)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		_, err = integrity.Verifier{Strict: true}.Verify(t.Context(), tiny(), []byte(moved), &trust)
		wantKind(t, err, integrity.ErrBundle)
	})
	t.Run("certificate_no_der", func(t *testing.T) {
		bad := replace(t, string(bundle), base64.StdEncoding.EncodeToString(leaf.Raw), "AAAA")
		_, err := integrity.Verifier{}.Verify(t.Context(), tiny(), []byte(bad), &trust)
		wantKind(t, err, integrity.ErrBundle)
	})
	t.Run("signers_refused", func(t *testing.T) {
		rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			t.Fatal(err)
		}
		rsaLeaf := leafWith(func(c *x509.Certificate) { c.PublicKey = rsaKey })
		noUse := leafWith(func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyEncipherment })
		for name, err := range map[string]error{
			"no key":   newSignerError(nil, leaf.Certificate),
			"no leaf":  newSignerError(leaf.key, nil),
			"rsa":      newSignerError(rsaLeaf.key, rsaLeaf.Certificate),
			"too many": newSignerError(leaf.key, leaf.Certificate, slices.Repeat(certs(middle), 16)...),
		} {
			if !errors.Is(err, integrity.ErrUnsupported) {
				t.Errorf("%s: %v", name, err)
			}
		}
		for name, err := range map[string]error{
			"other key": newSignerError(leaf.key, middle.Certificate),
			"no use":    newSignerError(noUse.key, noUse.Certificate),
		} {
			if !errors.Is(err, integrity.ErrUntrusted) {
				t.Errorf("%s: %v", name, err)
			}
		}
		// The same certificates in a bundle that somebody else made.
		for _, c := range []struct {
			leaf *testCert
			want error
		}{{rsaLeaf, integrity.ErrUnsupported}, {noUse, integrity.ErrUntrusted}} {
			b64 := func(c *testCert) string { return base64.StdEncoding.EncodeToString(c.Raw) }
			odd := replace(t, string(bundle), b64(leaf), b64(c.leaf))
			_, err := integrity.Verifier{}.Verify(t.Context(), tiny(), []byte(odd), &trust)
			wantKind(t, err, c.want)
		}
	})
}

func newSignerError(key crypto.Signer, leaf *x509.Certificate, chain ...*x509.Certificate) error {
	_, err := integrity.NewCertificateSigner(key, leaf, chain...)
	return err
}

func TestParseCertificates(t *testing.T) {
	c := issue(t, "root", nil, authority)
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
	key, err := keys.MarshalPublic(c.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	got, err := integrity.ParseCertificates(slices.Concat([]byte("text\n"), block, key, block))
	if err != nil || len(got) != 2 {
		t.Errorf("%d certificates, %v", len(got), err)
	}
	for name, file := range map[string][]byte{
		"empty":    nil,
		"key_only": key,
		"no_der":   pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")}),
		"too_many": bytes.Repeat(block, 1001),
	} {
		if got, err := integrity.ParseCertificates(file); err == nil {
			t.Errorf("%s: %d certificates", name, len(got))
		}
	}
	if _, err := integrity.NewCertificateVerifier(); err == nil {
		t.Error("a verifier without certificates")
	}
	v, err := integrity.NewCertificateVerifier(c.Certificate, issue(t, "middle", c, authority).Certificate)
	if err != nil || len(v.Roots) != 1 || len(v.Intermediates) != 1 {
		t.Errorf("%+v, %v", v, err)
	}
}

var _ = []prerun.Verifier{&integrity.CertificateVerifier{}, &integrity.KeyVerifier{}}

// FuzzChain puts other bytes in the place of the certificates of a bundle: only
// the signer's own certificate may verify, whatever comes with it. The bytes are
// read as a file of certificates, too.
func FuzzChain(f *testing.F) {
	root := issue(f, "root", nil, authority)
	middle := issue(f, "middle", root, authority)
	leaf := issue(f, "leaf", middle, nil)
	signer, err := integrity.NewCertificateSigner(leaf.key, leaf.Certificate, middle.Certificate)
	if err != nil {
		f.Fatal(err)
	}
	trust := trusting(root)
	tree := tiny()
	bundle := string(mustSign(f, mustHash(f, integrity.Hasher{}, tree), signer))
	before, rest, ok := strings.Cut(bundle, `"rawBytes":"`)
	_, after, ok2 := strings.Cut(rest, `"}]}`)
	if !ok || !ok2 {
		f.Fatalf("no chain in %s", bundle)
	}
	f.Add(leaf.Raw, middle.Raw)
	f.Add(middle.Raw, leaf.Raw)
	f.Add(leaf.Raw, root.Raw)
	f.Add(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf.Raw}), []byte{})
	f.Fuzz(func(t *testing.T, first, second []byte) {
		b64 := base64.StdEncoding.EncodeToString
		text := before + `"rawBytes":"` + b64(first) + `"},{"rawBytes":"` + b64(second) + `"}]}` + after
		r, err := integrity.Verifier{}.Verify(t.Context(), tree, []byte(text), &trust)
		if err == nil {
			// The process that makes the seeds issues the same with other signatures.
			if c, err := x509.ParseCertificate(first); err != nil || !bytes.Equal(c.RawTBSCertificate, leaf.RawTBSCertificate) {
				t.Errorf("accepted by %x and %x", first, second)
			}
		}
		if err != nil && !integrity.Rejected(err) && !errors.Is(err, integrity.ErrUnsupported) {
			t.Errorf("unclassed error: %v", err)
		}
		checkSource(t, r, err)
		if certs, err := integrity.ParseCertificates(first); err == nil && len(certs) == 0 {
			t.Error("no certificates, and no error")
		}
	})
}
