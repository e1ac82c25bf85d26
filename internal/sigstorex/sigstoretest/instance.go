// Package sigstoretest is a Sigstore instance in memory, for tests: a
// certificate authority, a certificate log, transparency logs of both versions
// and a timestamp authority, behind an [http.RoundTripper]. It opens no
// connection. Its keys are derived from a label and anybody can have them.
//
// What it makes is written by hand from the formats, so that a test compares
// sigstore-go with something else than itself.
package sigstoretest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/prerun/prerun/internal/keys"
)

// URLs of the services.
const (
	Authority = "https://fulcio.test"
	LogV1     = "https://rekor1.test"
	LogV2     = "https://rekor2.test"
	Stamps    = "https://tsa.test/api/v1/timestamp"
)

// An Instance is one set of services. Its clock stands still.
type Instance struct {
	Now time.Time // when the services answer

	// Defects, for what an instance does wrong.
	NoSCT      bool                    // certificates are not logged
	BadSCT     bool                    // certificates are logged elsewhere
	Leaf       func(*x509.Certificate) // changes what is certified
	LogTime    time.Time               // of entries, where it is not Now
	StampTime  time.Time               // of tokens, where it is not Now
	StampOver  []byte                  // what tokens are over, instead of what was sent
	StampNonce *big.Int                // of tokens, instead of what was sent
	Recorded   func(map[string]any)    // changes the spec that logs record
	Broken     string                  // the host that answers 400
	Requests   []string                // hosts that were asked, in order
	ca, middle *x509.Certificate
	tsaRoot    *x509.Certificate
	tsa        *x509.Certificate
	label      string
}

// New makes the services of a label. Certificates of authorities are valid for
// a year on both sides of now.
func New(label string, now time.Time) *Instance {
	i := &Instance{Now: now, label: label}
	i.ca = i.certificate("ca", "ca", i.authority("root"))
	i.middle = i.certificate("middle", "ca", i.authority("middle"))
	i.tsaRoot = i.certificate("tsa root", "tsa root", i.authority("timestamp root"))
	usage, err := asn1.Marshal([]asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 8}})
	must(err)
	i.tsa = i.certificate("tsa", "tsa root", &x509.Certificate{
		Subject: pkix.Name{CommonName: i.label + " timestamps"}, KeyUsage: x509.KeyUsageDigitalSignature,
		NotBefore: now.AddDate(-1, 0, 0), NotAfter: now.AddDate(1, 0, 0),
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 37}, Critical: true, Value: usage}},
	})
	return i
}

// With returns the same instance, with the same certificates, after a change.
func (i *Instance) With(change func(*Instance)) *Instance {
	c := *i
	c.Requests = nil
	change(&c)
	return &c
}

func must(err error) {
	if err != nil {
		panic(err) // in a test only
	}
}

func (i *Instance) key(name string) *ecdsa.PrivateKey { return keys.Demo(i.label + " " + name) }

func (i *Instance) authority(name string) *x509.Certificate {
	return &x509.Certificate{
		Subject: pkix.Name{CommonName: i.label + " " + name}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: i.Now.AddDate(-1, 0, 0), NotAfter: i.Now.AddDate(1, 0, 0),
	}
}

// certificate issues a certificate of one key by another.
func (i *Instance) certificate(name, issuer string, template *x509.Certificate) *x509.Certificate {
	template.SerialNumber = big.NewInt(int64(len(name)) + 1)
	parent := map[string]*x509.Certificate{"ca": i.ca, "tsa root": i.tsaRoot}[issuer]
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, i.key(name).Public(), i.key(issuer))
	must(err)
	c, err := x509.ParseCertificate(der)
	must(err)
	return c
}

func spki(key *ecdsa.PrivateKey) []byte {
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	must(err)
	return der
}

func keyID(key *ecdsa.PrivateKey) []byte {
	sum := sha256.Sum256(spki(key))
	return sum[:]
}

func signASN1(key *ecdsa.PrivateKey, message []byte) []byte {
	sum := sha256.Sum256(message)
	sig, err := key.Sign(rand.Reader, sum[:], crypto.SHA256)
	must(err)
	return sig
}

func b64(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

func object(v any) []byte {
	out, err := json.Marshal(v)
	must(err)
	return out
}

// RoundTrip implements [http.RoundTripper].
func (i *Instance) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := req.Context().Err(); err != nil {
		return nil, err
	}
	i.Requests = append(i.Requests, req.URL.Host)
	serve, ok := map[string]http.HandlerFunc{
		"fulcio.test": i.serveCertificate, "rekor1.test": i.serveLogV1, "rekor2.test": i.serveLogV2, "tsa.test": i.serveTimestamp,
	}[req.URL.Host]
	if !ok {
		return nil, fmt.Errorf("no service at %q", req.URL)
	}
	rec := httptest.NewRecorder()
	if i.Broken == req.URL.Host {
		http.Error(rec, "broken", http.StatusBadRequest)
	} else {
		serve(rec, req)
	}
	resp := rec.Result()
	resp.Request = req
	return resp, nil
}

// Root is the trusted root of the instance, in JSON.
func (i *Instance) Root() []byte { return object(i.root()) }

func (i *Instance) root() map[string]any {
	certs := func(list ...*x509.Certificate) map[string]any {
		var out []map[string]string
		for _, c := range list {
			out = append(out, map[string]string{"rawBytes": b64(c.Raw)})
		}
		return map[string]any{"certificates": out}
	}
	valid := map[string]string{
		"start": i.Now.AddDate(-1, 0, 0).UTC().Format(time.RFC3339), "end": i.Now.AddDate(1, 0, 0).UTC().Format(time.RFC3339),
	}
	log := func(name, url string) map[string]any {
		key := i.key(name)
		return map[string]any{
			"baseUrl": url, "hashAlgorithm": "SHA2_256", "logId": map[string]string{"keyId": b64(keyID(key))},
			"publicKey": map[string]any{"rawBytes": b64(spki(key)), "keyDetails": "PKIX_ECDSA_P256_SHA_256", "validFor": valid},
		}
	}
	return map[string]any{
		"mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
		"tlogs":     []any{log("log 1", LogV1), log("log 2", LogV2)},
		"ctlogs":    []any{log("ct log", "https://ct.test")},
		"certificateAuthorities": []any{map[string]any{
			"subject": map[string]string{"commonName": i.label}, "uri": Authority, "certChain": certs(i.middle, i.ca), "validFor": valid,
		}},
		"timestampAuthorities": []any{map[string]any{
			"subject": map[string]string{"commonName": i.label}, "uri": Stamps, "certChain": certs(i.tsa, i.tsaRoot), "validFor": valid,
		}},
	}
}

// TimestampChain is the timestamp authority's certificate and its root's.
func (i *Instance) TimestampChain() []*x509.Certificate { return []*x509.Certificate{i.tsa, i.tsaRoot} }

// TrustConfig is a client trust configuration, in JSON, with the signing
// configuration under the name given and services of a version of log.
func (i *Instance) TrustConfig(name string, log int) []byte {
	service := func(url string, version int) []any {
		return []any{map[string]any{
			"url": url, "majorApiVersion": version, "operator": "test",
			"validFor": map[string]string{"start": i.Now.AddDate(-1, 0, 0).UTC().Format(time.RFC3339)},
		}}
	}
	return object(map[string]any{
		"mediaType":   "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json",
		"trustedRoot": i.root(),
		name: map[string]any{
			"mediaType":       "application/vnd.dev.sigstore.signingconfig.v0.2+json",
			"caUrls":          service(Authority, 1),
			"rekorTlogUrls":   service(map[int]string{1: LogV1, 2: LogV2}[log], log),
			"tsaUrls":         service(Stamps, 1),
			"rekorTlogConfig": map[string]any{"selector": "ANY"},
			"tsaConfig":       map[string]any{"selector": "ANY"},
		},
	})
}

// Token is an identity token. Nobody signed it.
func Token(subject, issuer string) string {
	part := base64.RawURLEncoding.EncodeToString
	claims := object(map[string]any{"iss": issuer, "sub": subject, "email": subject, "email_verified": true})
	return part([]byte(`{"alg":"none"}`)) + "." + part(claims) + "." + part([]byte("x"))
}
