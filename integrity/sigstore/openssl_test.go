package sigstore_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"io"
	"math/big"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/prerun/prerun/integrity"
	"github.com/prerun/prerun/integrity/sigstore"
)

// openSSL is a timestamp authority of another make.
type openSSL struct {
	t   *testing.T
	dir string
}

func (o openSSL) RoundTrip(req *http.Request) (*http.Response, error) {
	query, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(o.dir, "query"), query, 0o600); err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(o.t.Context(), "openssl", "ts", "-reply", "-config", "tsa.conf", "-section", "tsa",
		"-queryfile", "query", "-inkey", "tsa.key", "-signer", "tsa.crt", "-out", "reply")
	cmd.Dir = o.dir
	if out, err := cmd.CombinedOutput(); err != nil {
		o.t.Errorf("%v: %s", err, out)
		return nil, err
	}
	reply, err := os.ReadFile(filepath.Join(o.dir, "reply"))
	if err != nil {
		return nil, err
	}
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(bytes.NewReader(reply)), Request: req}, nil
}

func newOpenSSL(t *testing.T) (openSSL, *x509.Certificate) {
	t.Helper()
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Skip("openssl is missing")
	}
	o := openSSL{t, t.TempDir()}
	write := func(name, kind string, data []byte) {
		if kind != "" {
			data = pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: data})
		}
		if err := os.WriteFile(filepath.Join(o.dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	rootKey, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	parent := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority of time"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
	}
	uses, err := asn1.Marshal([]asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 8}})
	if err != nil {
		t.Fatal(err)
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "time"}, KeyUsage: x509.KeyUsageDigitalSignature,
		NotBefore: parent.NotBefore, NotAfter: parent.NotAfter,
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 37}, Critical: true, Value: uses}},
	}
	rootDER, err := x509.CreateCertificate(rand.Reader, parent, parent, rootKey.Public(), rootKey)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, parent, key.Public(), rootKey)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	root, err := x509.ParseCertificate(rootDER)
	if err != nil {
		t.Fatal(err)
	}
	write("tsa.key", "PRIVATE KEY", private)
	write("tsa.crt", "CERTIFICATE", der)
	write("serial", "", []byte("01\n"))
	write("tsa.conf", "", []byte(`[tsa]
serial = serial
signer_digest = sha256
default_policy = 1.2.3.4
digests = sha256
ess_cert_id_alg = sha256
`))
	return o, root
}

// A timestamp by OpenSSL is verified by its root alone: the request asks for
// the certificate.
func TestTimestampsOfOpenSSL(t *testing.T) {
	authority, root := newOpenSSL(t)
	office, err := sigstore.NewTimestampRoot("office", root)
	if err != nil {
		t.Fatal(err)
	}
	byKey, trust := longKey(t)
	bundle := signModel(t, sigstore.TimestampSigner{
		Signer: byKey, Authorities: []string{"https://time.test"}, Transport: authority, Root: office,
	})
	trust.Times, trust.RequireTime = sigstore.TimestampVerifier{Root: office}, true
	r, err := integrity.Verifier{Strict: true}.Verify(t.Context(), model(), bundle, trust)
	if err != nil {
		t.Fatal(err)
	}
	if at := r.Signed.Times["office"]; time.Since(at).Abs() > time.Minute {
		t.Errorf("times %v", r.Signed.Times)
	}
}
