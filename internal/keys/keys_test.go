package keys_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"testing"

	"github.com/prerun/prerun/internal/keys"
	"github.com/prerun/prerun/internal/testutil"
)

func TestRoundTrip(t *testing.T) {
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for name, key := range map[string]crypto.Signer{"P-256": keys.Demo("x"), "Ed25519": ed, "RSA": rsaKey} {
		text, err := keys.MarshalPrivate(key)
		if err != nil {
			t.Fatal(err)
		}
		got, err := keys.ParsePrivate(append([]byte("some text\n"), text...))
		if err != nil || !keys.Equal(got.Public(), key.Public()) {
			t.Errorf("%s private: %v", name, err)
		}
		text, err = keys.MarshalPublic(key.Public())
		if err != nil {
			t.Fatal(err)
		}
		pub, err := keys.ParsePublic(text)
		if err != nil || !keys.Equal(pub, key.Public()) {
			t.Errorf("%s public: %v", name, err)
		}
	}
	der, err := x509.MarshalECPrivateKey(keys.Demo("x"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := keys.ParsePrivate(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})); err != nil {
		t.Errorf("SEC 1: %v", err)
	}
}

func TestParseRefuses(t *testing.T) {
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	weak, err := keys.MarshalPrivate(p224)
	if err != nil {
		t.Fatal(err)
	}
	block := func(kind string, data string) []byte {
		return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: []byte(data)})
	}
	for _, tt := range []struct {
		name string
		file []byte
		want error // nil: any
	}{
		{"empty", nil, keys.ErrNoPEM},
		{"text", []byte("not a key"), keys.ErrNoPEM},
		{"public_only", block("PUBLIC KEY", "x"), keys.ErrNoPEM},
		{"garbage", block("PRIVATE KEY", "x"), nil},
		{"garbage_ec", block("EC PRIVATE KEY", "x"), nil},
		{"garbage_rsa", block("RSA PRIVATE KEY", "x"), nil},
		{"encrypted", block("ENCRYPTED PRIVATE KEY", "x"), keys.ErrEncrypted},
		{"weak_curve", weak, keys.ErrUnsupported},
		{"huge", make([]byte, 2<<20), keys.ErrNoPEM},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := keys.ParsePrivate(tt.file)
			if err == nil || tt.want != nil && !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
	for name, file := range map[string][]byte{
		"empty": nil, "private_only": block("PRIVATE KEY", "x"), "garbage": block("PUBLIC KEY", "x"),
		"garbage_certificate": block("CERTIFICATE", "x"),
	} {
		if _, err := keys.ParsePublic(file); err == nil {
			t.Errorf("%s was read as a public key", name)
		}
	}
}

// The hint is of the canonical text, not of the file as found: the corpus key
// has text before its PEM block.
func TestHintOfCorpusKey(t *testing.T) {
	file, err := os.ReadFile(testutil.Corpus(t, "oms", "signed", "keys", "signing-key-pub.pem"))
	if err != nil {
		t.Fatal(err)
	}
	pub, err := keys.ParsePublic(file)
	if err != nil {
		t.Fatal(err)
	}
	hint, err := keys.Hint(pub)
	if want := "e8450dec4eb99dae995da9af1bc2cc9f76ed669ee2e744f57abba763df3e3f8e"; err != nil || hint != want {
		t.Errorf("hint %s, %v; want %s", hint, err, want)
	}
}

func TestDemo(t *testing.T) {
	a, b := keys.Demo("model signer"), keys.Demo("model signer")
	if !a.Equal(b) {
		t.Error("one label gives two keys")
	}
	if a.Equal(keys.Demo("gate")) {
		t.Error("two labels give one key")
	}
}

func FuzzParse(f *testing.F) {
	text, err := keys.MarshalPrivate(keys.Demo("x"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Fuzz(func(t *testing.T, data []byte) {
		if k, err := keys.ParsePrivate(data); err == nil && keys.Check(k.Public()) != nil {
			t.Fatal("returned a key that is not accepted")
		}
		if k, err := keys.ParsePublic(data); err == nil && keys.Check(k) != nil {
			t.Fatal("returned a key that is not accepted")
		}
	})
}
