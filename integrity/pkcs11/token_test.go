//go:build pkcs11 && cgo

package pkcs11_test

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	raw "github.com/miekg/pkcs11"

	"github.com/prerun/prerun/integrity"
	"github.com/prerun/prerun/integrity/pkcs11"
	"github.com/prerun/prerun/internal/keys"
)

// PRERUN_SOFTHSM is the path of SoftHSM's library, which keeps its tokens in a
// folder of the test.
const softHSM = "PRERUN_SOFTHSM"

const pin = "1234"

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "softhsm")
	if err != nil {
		panic(err)
	}
	conf := filepath.Join(dir, "softhsm2.conf")
	text := fmt.Sprintf("directories.tokendir = %s\nobjectstore.backend = file\nlog.level = ERROR\nslots.removable = false\n", dir)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		panic(err)
	}
	os.Setenv("SOFTHSM2_CONF", conf) // the module reads it, we do not
	code := 1
	if path := os.Getenv(softHSM); path != "" {
		if err := furnish(path); err != nil {
			fmt.Fprintln(os.Stderr, "SoftHSM:", err)
		} else {
			code = m.Run()
		}
	} else {
		code = m.Run()
	}
	os.RemoveAll(dir)
	os.Exit(code)
}

var curveOf = map[string][]byte{
	"p256": {0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07},
	"p384": {0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22},
	"p521": {0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x23},
	"k256": {0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x0a},
}

// furnish makes two tokens of the name "twin" and one of the name "release".
// The latter has a key for each curve, under its name and the id of the name;
// two keys of the name "double"; one whose public half is missing; and one
// whose public half is in a certificate.
func furnish(path string) error {
	p := raw.New(path)
	if p == nil {
		return errors.New("not loaded")
	}
	defer p.Destroy()
	if err := p.Initialize(); err != nil {
		return err
	}
	defer p.Finalize()
	for _, label := range []string{"release", "twin", "twin"} {
		slots, err := p.GetSlotList(true)
		if err != nil {
			return err
		}
		slot := slots[len(slots)-1] // the one that is not initialised
		if err := p.InitToken(slot, "so-pin", label); err != nil {
			return err
		}
		s, err := p.OpenSession(slot, raw.CKF_SERIAL_SESSION|raw.CKF_RW_SESSION)
		if err != nil {
			return err
		}
		if err := p.Login(s, raw.CKU_SO, "so-pin"); err != nil {
			return err
		}
		if err := errors.Join(p.InitPIN(s, pin), p.Logout(s), p.Login(s, raw.CKU_USER, pin)); err != nil {
			return err
		}
		if label == "release" {
			for _, name := range []string{"p256", "p384", "p521", "k256", "double", "double", "rsa", "orphan", "certified", "asks"} {
				if err := generate(p, s, name); err != nil {
					return fmt.Errorf("%s: %w", name, err)
				}
			}
		}
		if err := errors.Join(p.Logout(s), p.CloseSession(s)); err != nil {
			return err
		}
	}
	return nil
}

func generate(p *raw.Ctx, s raw.SessionHandle, name string) error {
	common := func(list ...*raw.Attribute) []*raw.Attribute {
		return append(list, raw.NewAttribute(raw.CKA_TOKEN, true), raw.NewAttribute(raw.CKA_LABEL, name), raw.NewAttribute(raw.CKA_ID, []byte(name)))
	}
	private := common(raw.NewAttribute(raw.CKA_SIGN, true), raw.NewAttribute(raw.CKA_PRIVATE, true),
		raw.NewAttribute(raw.CKA_SENSITIVE, true), raw.NewAttribute(raw.CKA_ALWAYS_AUTHENTICATE, name == "asks"))
	public := common(raw.NewAttribute(raw.CKA_VERIFY, true))
	if name == "rsa" {
		public = append(public, raw.NewAttribute(raw.CKA_MODULUS_BITS, 2048), raw.NewAttribute(raw.CKA_PUBLIC_EXPONENT, []byte{1, 0, 1}))
		_, _, err := p.GenerateKeyPair(s, []*raw.Mechanism{raw.NewMechanism(raw.CKM_RSA_PKCS_KEY_PAIR_GEN, nil)}, public, private)
		return err
	}
	curve := curveOf[name]
	if curve == nil {
		curve = curveOf["p256"]
	}
	public = append(public, raw.NewAttribute(raw.CKA_EC_PARAMS, curve))
	pub, _, err := p.GenerateKeyPair(s, []*raw.Mechanism{raw.NewMechanism(raw.CKM_EC_KEY_PAIR_GEN, nil)}, public, private)
	if err != nil || name != "orphan" && name != "certified" {
		return err
	}
	v, err := p.GetAttributeValue(s, pub, []*raw.Attribute{raw.NewAttribute(raw.CKA_EC_POINT, nil)})
	if err != nil {
		return err
	}
	if err := p.DestroyObject(s, pub); err != nil || name == "orphan" {
		return err
	}
	return certify(p, s, v[0].Value, common)
}

// certify puts a certificate of the key at the point on the token.
func certify(p *raw.Ctx, s raw.SessionHandle, point []byte, common func(...*raw.Attribute) []*raw.Attribute) error {
	spki := append([]byte{
		0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06,
		0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
	}, point[2:]...)
	pub, err := x509.ParsePKIXPublicKey(spki)
	if err != nil {
		return err
	}
	ca := keys.Demo("authority of the token")
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "token"}, KeyUsage: x509.KeyUsageDigitalSignature,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	parent := *template
	parent.Subject.CommonName = "authority"
	der, err := x509.CreateCertificate(rand.Reader, template, &parent, pub, ca)
	if err != nil {
		return err
	}
	_, err = p.CreateObject(s, common(
		raw.NewAttribute(raw.CKA_CLASS, raw.CKO_CERTIFICATE), raw.NewAttribute(raw.CKA_CERTIFICATE_TYPE, raw.CKC_X_509),
		raw.NewAttribute(raw.CKA_SUBJECT, []byte("x")), raw.NewAttribute(raw.CKA_VALUE, der)))
	return err
}

func module(t *testing.T) string {
	t.Helper()
	path := os.Getenv(softHSM)
	if path == "" {
		t.Skip("SoftHSM is missing; set " + softHSM + " to its library")
	}
	return path
}

func givePIN(s string) pkcs11.PINFunc {
	return func(context.Context, *pkcs11.URI) (string, error) { return s, nil }
}

func mustParse(t *testing.T, s string) *pkcs11.URI {
	t.Helper()
	u, err := pkcs11.ParseURI(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func openKey(t *testing.T, uri string) *pkcs11.Signer {
	t.Helper()
	s, err := pkcs11.Open(t.Context(), mustParse(t, uri), givePIN(pin))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

var model = fstest.MapFS{"config.json": {Data: []byte("{}")}, "w.bin": {Data: []byte("weights")}}

func TestTokenSignsModels(t *testing.T) {
	path := module(t)
	for name, uri := range map[string]string{
		"p256":      "pkcs11:token=release;object=p256?module-path=" + path,
		"p384":      "pkcs11:token=release;object=p384?module-path=" + path,
		"p521":      "pkcs11:token=release;id=p521;type=private?module-path=" + path + "&pin-value=" + pin,
		"rsa":       "pkcs11:token=release;object=rsa?module-path=" + path,
		"certified": "pkcs11:token=release;object=certified?module-path=" + path,
		"asks":      "pkcs11:token=release;object=asks?module-path=" + path,
	} {
		t.Run(name, func(t *testing.T) {
			key := openKey(t, uri)
			policy := integrity.KeyPolicy{RSA: name == "rsa"}
			signer, err := policy.KeySigner(key)
			if err != nil {
				t.Fatal(err)
			}
			trust, err := policy.KeyVerifier(key.Public())
			if err != nil {
				t.Fatal(err)
			}
			manifest, err := integrity.Hasher{}.Hash(t.Context(), model)
			if err != nil {
				t.Fatal(err)
			}
			var wg sync.WaitGroup
			for range 4 { // one token, several callers
				wg.Go(func() {
					bundle, err := integrity.Signing{}.Sign(t.Context(), manifest, signer)
					if err != nil {
						t.Error(err)
						return
					}
					if _, err := (integrity.Verifier{Strict: true}).Verify(t.Context(), model, bundle, trust); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			if name == "rsa" {
				return
			}
			der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
			if err != nil {
				t.Fatal(err)
			}
			if req, err := x509.ParseCertificateRequest(der); err != nil || req.CheckSignature() != nil {
				t.Errorf("certificate request: %v", err)
			}
		})
	}
}

func TestTokenRefuses(t *testing.T) {
	path := "?module-path=" + module(t)
	asked := errors.New("nobody at the keyboard")
	for _, tt := range []struct {
		name, uri string
		pin       pkcs11.PINFunc
		want      error
	}{
		{"no_such_token", "pkcs11:token=nosuch;object=p256" + path, givePIN(pin), pkcs11.ErrNotFound},
		{"no_such_serial", "pkcs11:token=release;serial=0;object=p256" + path, givePIN(pin), pkcs11.ErrNotFound},
		{"no_such_slot", "pkcs11:slot-id=1;object=p256" + path, givePIN(pin), pkcs11.ErrNotFound},
		{"no_such_model", "pkcs11:token=release;model=other;object=p256" + path, givePIN(pin), pkcs11.ErrNotFound},
		{"two_tokens", "pkcs11:token=twin;object=p256" + path, givePIN(pin), pkcs11.ErrAmbiguous},
		{"any_token", "pkcs11:object=p256" + path, givePIN(pin), pkcs11.ErrAmbiguous},
		{"no_such_key", "pkcs11:token=release;object=nosuch" + path, givePIN(pin), pkcs11.ErrNotFound},
		{"no_such_id", "pkcs11:token=release;object=p256;id=p384" + path, givePIN(pin), pkcs11.ErrNotFound},
		{"two_keys", "pkcs11:token=release;object=double" + path, givePIN(pin), pkcs11.ErrAmbiguous},
		{"any_key", "pkcs11:token=release" + path, givePIN(pin), pkcs11.ErrAmbiguous},
		{"no_public_key", "pkcs11:token=release;object=orphan" + path, givePIN(pin), pkcs11.ErrNotFound},
		{"other_curve", "pkcs11:token=release;object=k256" + path, givePIN(pin), integrity.ErrUnsupported},
		{"wrong_pin", "pkcs11:token=release;object=p256" + path, givePIN("4321"), pkcs11.ErrPIN},
		{"wrong_pin_in_uri", "pkcs11:token=release;object=p256" + path + "&pin-value=4321", nil, pkcs11.ErrPIN},
		{"empty_pin", "pkcs11:token=release;object=p256" + path, givePIN(""), pkcs11.ErrPIN},
		{"no_pin", "pkcs11:token=release;object=p256" + path, nil, pkcs11.ErrPIN},
		{"pin_not_to_be_had", "pkcs11:token=release;object=p256" + path, func(context.Context, *pkcs11.URI) (string, error) { return "", asked }, asked},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, err := pkcs11.Open(t.Context(), mustParse(t, tt.uri), tt.pin)
			if s != nil || !errors.Is(err, tt.want) {
				t.Errorf("%v, %v; want %v", s, err, tt.want)
			}
			if err != nil && strings.Contains(err.Error(), "4321") {
				t.Errorf("the PIN is in %v", err)
			}
		})
	}
	file := filepath.Join(t.TempDir(), "module.so")
	if err := os.WriteFile(file, []byte("no library"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{file, "/nosuch.so"} {
		if _, err := pkcs11.Open(t.Context(), &pkcs11.URI{ModulePath: path}, nil); err == nil {
			t.Errorf("%s was loaded", path)
		}
	}
	t.Run("key_that_asks_again", func(t *testing.T) {
		n := 0
		key, err := pkcs11.Open(t.Context(), mustParse(t, "pkcs11:token=release;object=asks"+path), func(context.Context, *pkcs11.URI) (string, error) {
			if n++; n == 2 {
				return "", asked
			}
			return pin, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		defer key.Close()
		sum := sha256.Sum256(nil)
		if _, err := key.SignContext(t.Context(), sum[:], crypto.SHA256); !errors.Is(err, asked) {
			t.Errorf("without the PIN: %v", err)
		}
		if _, err := key.SignContext(t.Context(), sum[:], crypto.SHA256); err != nil {
			t.Errorf("with it: %v", err)
		}
	})
}

// Signers share a module and a login, and one that closes leaves the others
// alone.
func TestTokenIsShared(t *testing.T) {
	path := "?module-path=" + module(t)
	first := openKey(t, "pkcs11:token=release;object=p256"+path)
	second, err := pkcs11.Open(t.Context(), mustParse(t, "pkcs11:token=release;object=p384"+path), givePIN(pin))
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(nil)
	if _, err := first.Sign(nil, sum[:], crypto.SHA256); err != nil {
		t.Error(err)
	}
	if _, err := second.Sign(nil, sum[:], crypto.SHA256); !errors.Is(err, pkcs11.ErrClosed) {
		t.Errorf("closed: %v", err)
	}
}

// What a token signs satisfies the Python tool.
func TestPythonVerifiesTokens(t *testing.T) {
	python := os.Getenv("PRERUN_MODEL_SIGNING")
	if python == "" {
		t.Skip("the Python tool model-signing is missing; set PRERUN_MODEL_SIGNING to a Python that has it")
	}
	path := module(t)
	for _, name := range []string{"p256", "p384", "p521"} {
		key := openKey(t, "pkcs11:token=release;object="+name+"?module-path="+path)
		dir := t.TempDir()
		if err := os.CopyFS(filepath.Join(dir, "model"), model); err != nil {
			t.Fatal(err)
		}
		signer, err := integrity.NewKeySigner(key)
		if err != nil {
			t.Fatal(err)
		}
		manifest, err := integrity.Hasher{}.Hash(t.Context(), model)
		if err != nil {
			t.Fatal(err)
		}
		bundle, err := integrity.Signing{Form: integrity.FormPython}.Sign(t.Context(), manifest, signer)
		if err != nil {
			t.Fatal(err)
		}
		der, err := x509.MarshalPKIXPublicKey(key.Public())
		if err != nil {
			t.Fatal(err)
		}
		text := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
		sig, pub := filepath.Join(dir, "model.sig"), filepath.Join(dir, "key.pub")
		if err := errors.Join(os.WriteFile(sig, bundle, 0o600), os.WriteFile(pub, text, 0o600)); err != nil {
			t.Fatal(err)
		}
		out, err := exec.CommandContext(t.Context(), python, "-m", "model_signing", "verify", "key",
			"--signature", sig, "--public_key", pub, filepath.Join(dir, "model")).CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}
