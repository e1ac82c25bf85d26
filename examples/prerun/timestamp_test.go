package main

import (
	"bytes"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prerun/prerun/internal/keys"
	"github.com/prerun/prerun/internal/sigstorex/sigstoretest"
)

// A certificate that has expired is good for what an authority saw before; the
// authority is in memory, where the default transport stands.
func TestTimestamps(t *testing.T) {
	then := time.Now().AddDate(0, -1, 0)
	good, other := sigstoretest.New("good", then), sigstoretest.New("other", then)
	usual := http.DefaultTransport
	http.DefaultTransport = good
	t.Cleanup(func() { http.DefaultTransport = usual })

	dir := t.TempDir()
	write := func(name string, blocks ...*pem.Block) string {
		var text []byte
		for _, b := range blocks {
			text = append(text, pem.EncodeToMemory(b)...)
		}
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	certificates := func(certs ...*x509.Certificate) (out []*pem.Block) {
		for _, c := range certs {
			out = append(out, &pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
		}
		return out
	}
	key := keys.Demo("timestamps")
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "DEMO"}, KeyUsage: x509.KeyUsageDigitalSignature,
		NotBefore: then.AddDate(0, 0, -1), NotAfter: then.AddDate(0, 0, 1),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	keyFile := write("key.pem", &pem.Block{Type: "PRIVATE KEY", Bytes: private})
	pubFile := write("key.pub", &pem.Block{Type: "PUBLIC KEY", Bytes: public})
	leaf := write("leaf.crt", &pem.Block{Type: "CERTIFICATE", Bytes: der})
	chain := good.TimestampChain()
	authority := write("authority.crt", certificates(chain...)...)
	slices.Reverse(chain)
	reversed := write("reversed.crt", certificates(chain...)...)
	foreign := write("other.crt", certificates(other.TimestampChain()...)...)
	root := filepath.Join(dir, "root.json")
	if err := os.WriteFile(root, good.Root(), 0o600); err != nil {
		t.Fatal(err)
	}
	model := filepath.Join(dir, "model")
	if err := os.CopyFS(model, os.DirFS("testdata")); err != nil {
		t.Fatal(err)
	}
	file := func(name string) string { return filepath.Join(dir, name) }
	signCert := func(args ...string) []string {
		return append([]string{"sign", "certificate", model, "--private-key", keyFile, "--signing-certificate", leaf}, args...)
	}
	signKey := func(args ...string) []string {
		return append([]string{"sign", "key", model, "--private-key", keyFile}, args...)
	}
	verifyCert := func(args ...string) []string {
		return append([]string{"verify", "certificate", model, "--certificate-chain", leaf}, args...)
	}
	verifyKey := func(args ...string) []string {
		return append([]string{"verify", "key", model, "--public-key", pubFile}, args...)
	}
	server := []string{"--timestamp-server", sigstoretest.Stamps}
	trust := func(file string) []string { return []string{"--timestamp-authority", file} }

	for _, tt := range []struct {
		name string
		args []string
		want int
		text string // in the output
		asks bool
	}{
		{"sign", slices.Concat(signCert("-o", file("c.sig")), server), 0, "signed", true},
		{"sign_checked", slices.Concat(signCert("-o", file("d.sig")), server, trust(authority)), 0, "signed", true},
		{"sign_key", slices.Concat(signKey("-o", file("k.sig")), server), 0, "signed", true},
		{"sign_without", signCert("-o", file("plain.sig")), 0, "signed", false},
		{"verify", slices.Concat(verifyCert("--signature", file("c.sig")), trust(authority)), 0, "verified", false},
		{"verify_checked", slices.Concat(verifyCert("--signature", file("d.sig")), trust(authority)), 0, "verified", false},
		{"verify_reversed", slices.Concat(verifyCert("--signature", file("c.sig")), trust(reversed)), 0, "verified", false},
		{"verify_by_trusted_root", slices.Concat(verifyCert("--signature", file("c.sig"), "--strict", "--format", "json"), trust(root)), 0, then.UTC().Format("2006-01-02T15:04"), false},
		{"verify_key", slices.Concat(verifyKey("--signature", file("k.sig"), "--format", "json"), trust(root)), 0, sigstoretest.Stamps, false},
		{"verify_key_trusting_nobody", verifyKey("--signature", file("k.sig")), 0, "verified", false},

		{"expired", verifyCert("--signature", file("c.sig")), 1, "expired", false},
		{"expired_without_timestamp", slices.Concat(verifyCert("--signature", file("plain.sig")), trust(authority)), 1, "expired", false},
		{"untrusted_authority", slices.Concat(verifyCert("--signature", file("c.sig")), trust(foreign)), 1, "expired", false},
		{"key_and_untrusted_authority", slices.Concat(verifyKey("--signature", file("k.sig")), trust(foreign)), 0, "a timestamp does not count", false},
		{"sign_by_untrusted_authority", slices.Concat(signKey("-o", file("no.sig")), server, trust(foreign)), 2, "not trusted", true},
		{"sign_without_server", signKey("-o", file("no.sig"), "--timestamp-server", "https://nosuch.test"), 2, "nosuch.test", true},
		{"server_no_url", signKey("-o", file("no.sig"), "--timestamp-server", "nosuch"), 2, "not an http or https URL", false},
		{"authority_not_there", verifyKey("--signature", file("k.sig"), "--timestamp-authority", file("nosuch")), 2, "nosuch", false},
		{"authority_no_certificate", verifyKey("--signature", file("k.sig"), "--timestamp-authority", pubFile), 2, "no PEM block with a certificate", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			asked := len(good.Requests)
			var stdout, stderr bytes.Buffer
			got := run(t.Context(), tt.args, &stdout, &stderr)
			if text := stdout.String() + stderr.String(); got != tt.want || !strings.Contains(text, tt.text) {
				t.Errorf("exit status %d, want %d with %q:\n%s", got, tt.want, tt.text, text)
			}
			if asks := len(good.Requests) > asked; asks != tt.asks {
				t.Errorf("asks: %v, want %v", asks, tt.asks)
			}
		})
	}
	if _, err := os.Stat(file("no.sig")); err == nil {
		t.Error("a bundle was written all the same")
	}
}
