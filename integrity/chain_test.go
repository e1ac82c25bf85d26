package integrity_test

import (
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prerun/prerun/integrity"
	"github.com/prerun/prerun/internal/keys"
)

// A chainCase is a chain with one defect or none. The leaf itself is good unless
// the case says so, and every certificate is valid at every time that the case
// does not name.
type chainCase struct {
	name   string
	chain  []*testCert // leaf first
	proven time.Time
	want   error
	text   string // in the error or, where there is none, among the warnings
}

// chainCases are path rules at a proven time, and the root to trust.
func chainCases(t *testing.T) (*x509.Certificate, []chainCase) {
	type change = func(*x509.Certificate)
	and := func(changes ...change) change {
		return func(c *x509.Certificate) {
			for _, f := range changes {
				f(c)
			}
		}
	}
	with := func(key crypto.Signer) change { return func(c *x509.Certificate) { c.PublicKey = key } }
	until := func(end time.Time) change { return func(c *x509.Certificate) { c.NotAfter = end } }
	usage := func(u ...x509.ExtKeyUsage) change { return func(c *x509.Certificate) { c.ExtKeyUsage = u } }
	short := func(n int) change {
		return func(c *x509.Certificate) { c.MaxPathLen, c.MaxPathLenZero = n, n == 0 }
	}
	critical := func(c *x509.Certificate) {
		c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 3, 9999, 1}, Critical: true, Value: []byte{5, 0}}}
	}
	constrained := func(c *x509.Certificate) { // to names at example.org
		c.PermittedDNSDomainsCritical, c.PermittedEmailAddresses = true, []string{"example.org"}
	}
	mail := func(name string) change { return func(c *x509.Certificate) { c.EmailAddresses = []string{name} } }
	byRSA := func(alg x509.SignatureAlgorithm) change {
		return func(c *x509.Certificate) { c.SignatureAlgorithm = alg }
	}

	root := issue(t, "root", nil, authority)
	twin := issue(t, "root", nil, and(authority, with(keys.Demo("another root of this name"))))
	middle := func(changes ...change) *testCert {
		return issue(t, "middle", root, and(append([]change{authority}, changes...)...))
	}
	leaf := func(by *testCert, changes ...change) *testCert { return issue(t, "leaf", by, and(changes...)) }
	chain := func(list ...*testCert) []*testCert { return list }
	path2 := func(by *testCert) []*testCert {
		lower := issue(t, "lower", by, authority)
		return chain(leaf(lower), lower, by)
	}
	big, weak := rsaKey(t, 2048), rsaKey(t, 1024)
	rsaMiddle, weakMiddle := middle(with(big)), middle(with(weak))
	one := func(by *testCert, changes ...change) []*testCert { return chain(leaf(by, changes...), by) }

	return root.Certificate, []chainCase{
		{"good", one(middle()), then, nil, ""},
		{"rsa_authority", one(rsaMiddle), then, nil, ""},
		{"path_as_long_as_allowed", path2(middle(short(1))), then, nil, ""},
		{"name_within_constraints", one(middle(constrained), mail("a@example.org")), then, nil, ""},
		{"code_signing_all_the_way", one(middle(usage(x509.ExtKeyUsageCodeSigning)), usage(x509.ExtKeyUsageCodeSigning)), then, nil, ""},
		{"expired_since", one(middle(until(then.Add(time.Hour))), until(then.Add(time.Hour))), then, nil, ""},
		{"for_web_servers", one(middle(), usage(x509.ExtKeyUsageServerAuth)), then, nil, "other uses"},
		{"for_an_unknown_use", one(middle(), func(c *x509.Certificate) {
			c.UnknownExtKeyUsage = []asn1.ObjectIdentifier{{1, 3, 9999, 2}}
		}), then, nil, ""},

		{"leaf_expired_before", one(middle(), until(then.Add(-time.Hour))), then, integrity.ErrUntrusted, "expired"},
		{"leaf_not_yet_valid", one(middle(), func(c *x509.Certificate) { c.NotBefore = then.Add(time.Hour) }), then, integrity.ErrUntrusted, "not yet valid"},
		{"middle_expired_before", one(middle(until(then.Add(-time.Hour)))), then, integrity.ErrUntrusted, "expired"},
		{"middle_not_yet_valid", one(middle(func(c *x509.Certificate) { c.NotBefore = then.Add(time.Hour) })), then, integrity.ErrUntrusted, "not yet valid"},
		{"root_expired_before", one(middle()), future.Add(time.Hour), integrity.ErrUntrusted, "expired"},
		{"valid_at_start_of_leaf_only", one(middle(), until(past.Add(time.Hour))), then, integrity.ErrUntrusted, "expired"},

		{"path_too_long", path2(middle(short(0))), then, integrity.ErrUntrusted, "too many intermediates"},
		{"name_outside_constraints", one(middle(constrained), mail("a@example.com")), then, integrity.ErrUntrusted, "not permitted"},
		{"middle_is_no_authority", one(issue(t, "middle", root, nil)), then, integrity.ErrUntrusted, "cannot sign this kind"},
		{"middle_is_a_leaf_with_the_bit", one(issue(t, "middle", root, func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageCertSign })), then, integrity.ErrUntrusted, "cannot sign this kind"},
		{"middle_for_web_servers", one(middle(usage(x509.ExtKeyUsageServerAuth)), usage(x509.ExtKeyUsageCodeSigning)), then, integrity.ErrUntrusted, "incompatible key usage"},
		{"for_keys_only", one(middle(), func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyEncipherment }), then, integrity.ErrUntrusted, "neither for digital signatures"},
		{"for_web_servers_and_no_signatures", one(middle(), usage(x509.ExtKeyUsageServerAuth), func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyEncipherment }), then, integrity.ErrUntrusted, "neither for digital signatures"},
		{"weak_rsa_authority", one(weakMiddle), then, integrity.ErrUntrusted, "RSA key of 1024 bits"},
		{"sha1", one(rsaMiddle, byRSA(x509.SHA1WithRSA)), then, integrity.ErrUntrusted, "insecure algorithm"},
		{"unknown_critical_extension_of_leaf", one(middle(), critical), then, integrity.ErrUntrusted, "unhandled critical extension"},
		{"unknown_critical_extension_of_middle", one(middle(critical)), then, integrity.ErrUntrusted, "unhandled critical extension"},
		{"root_of_the_same_name", one(issue(t, "middle", twin, authority)), then, integrity.ErrUntrusted, ""},
		{"middle_of_the_same_name", chain(leaf(middle()), issue(t, "middle", root, and(authority, with(keys.Demo("x"))))), then, integrity.ErrUntrusted, ""},
		{"root_in_the_bundle_is_not_trusted", chain(leaf(twin), twin), then, integrity.ErrUntrusted, ""},
	}
}

func TestChainRules(t *testing.T) {
	root, cases := chainCases(t)
	good := issue(t, "good", nil, nil)
	for _, tt := range cases {
		t.Run(tt.name, func(t *testing.T) {
			var certs []*x509.Certificate
			for _, c := range tt.chain {
				certs = append(certs, c.Certificate)
			}
			signer, err := integrity.NewCertificateSigner(tt.chain[0].key, certs[0], certs[1:]...)
			if err != nil { // the signer sees it too; have another certificate's place taken
				if signer, err = integrity.NewCertificateSigner(good.key, good.Certificate, certs[1:]...); err != nil {
					t.Fatal(err)
				}
			}
			bundle := mustSign(t, mustHash(t, integrity.Hasher{}, tiny()), signer)
			if !strings.Contains(string(bundle), encoded(certs[0])) {
				bundle = []byte(replace(t, string(bundle), firstCertificate(t, bundle), encoded(certs[0])))
			}
			// Now is a time at which everything was valid, the proven one decides.
			trust := &integrity.CertificateVerifier{
				Roots: []*x509.Certificate{root}, Times: clocks{}, RequireTime: true, Now: atTime(then.Add(-2 * time.Hour)),
			}
			r, err := integrity.Verifier{}.Verify(t.Context(), tiny(), stamp(t, bundle, "a", tt.proven), trust)
			checkSource(t, r, err)
			wantKind(t, err, tt.want)
			switch {
			case tt.want != nil && err == nil:
				t.Fatal("accepted")
			case tt.want == nil && err != nil:
				t.Fatal(err)
			case err != nil && !strings.Contains(err.Error(), tt.text):
				t.Errorf("error %v, want one with %q", err, tt.text)
			case err == nil && tt.text == "" && len(r.Leniencies) > 0,
				err == nil && tt.text != "" && !slices.ContainsFunc(r.Leniencies, func(l integrity.Leniency) bool { return strings.Contains(l.Detail, tt.text) }):
				t.Errorf("leniencies %+v", r.Leniencies)
			}
		})
	}
}

func encoded(c *x509.Certificate) string { return base64.StdEncoding.EncodeToString(c.Raw) }

func firstCertificate(t testing.TB, bundle []byte) string {
	t.Helper()
	_, rest, ok := strings.Cut(string(bundle), `"rawBytes":"`)
	first, _, ok2 := strings.Cut(rest, `"`)
	if !ok || !ok2 {
		t.Fatal("no certificate")
	}
	return first
}
