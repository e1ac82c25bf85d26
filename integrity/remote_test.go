package integrity_test

import (
	"context"
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"math/big"
	"slices"
	"strings"
	"testing"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/integrity"
	"github.com/prerun/prerun/internal/keys"
)

// service is a RemoteKey whose answers a test may change.
type service struct {
	key    crypto.Signer
	pub    func(context.Context) (crypto.PublicKey, error)
	answer func(ctx context.Context, sig []byte) ([]byte, error)
}

func (s *service) PublicKey(ctx context.Context) (crypto.PublicKey, error) {
	if s.pub != nil {
		return s.pub(ctx)
	}
	return s.key.Public(), nil
}

func (s *service) SignDigest(ctx context.Context, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	sig, err := s.key.Sign(rand.Reader, digest, opts)
	if err == nil && s.answer != nil {
		return s.answer(ctx, sig)
	}
	return sig, err
}

func ecdsaKey(t testing.TB, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func rsaKey(t testing.TB, bits int) *rsa.PrivateKey {
	t.Helper()
	t.Setenv("GODEBUG", "rsa1024min=0")
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func ed25519Key(t testing.TB) ed25519.PrivateKey {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// joined is r and s side by side, as tokens and some services answer.
func joined(size int) func(context.Context, []byte) ([]byte, error) {
	return func(_ context.Context, sig []byte) ([]byte, error) {
		var pair struct{ R, S *big.Int }
		if _, err := asn1.Unmarshal(sig, &pair); err != nil {
			return nil, err
		}
		return append(pair.R.FillBytes(make([]byte, size)), pair.S.FillBytes(make([]byte, size))...), nil
	}
}

// Every kind of key, in memory and remote, by key and by certificate: the
// policy that names it accepts it and says so, the zero policy refuses it.
func TestKeys(t *testing.T) {
	root := issue(t, "root", nil, authority)
	rsa2048 := rsaKey(t, 2048)
	for _, tt := range []struct {
		name   string
		key    crypto.Signer
		policy integrity.KeyPolicy
		answer func(context.Context, []byte) ([]byte, error)
		warns  string
	}{
		{"P-256", keys.Demo("x"), integrity.KeyPolicy{}, nil, ""},
		{"P-384", ecdsaKey(t, elliptic.P384()), integrity.KeyPolicy{}, nil, ""},
		{"P-521", ecdsaKey(t, elliptic.P521()), integrity.KeyPolicy{}, nil, ""},
		{"P-256_joined", keys.Demo("x"), integrity.KeyPolicy{}, joined(32), ""},
		{"P-384_joined", ecdsaKey(t, elliptic.P384()), integrity.KeyPolicy{}, joined(48), ""},
		{"P-521_joined", ecdsaKey(t, elliptic.P521()), integrity.KeyPolicy{}, joined(66), ""},
		{"Ed25519", ed25519Key(t), integrity.KeyPolicy{Ed25519: true}, nil, "an Ed25519 key"},
		{"RSA", rsa2048, integrity.KeyPolicy{RSA: true}, nil, "an RSA key"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			remote, err := integrity.NewRemoteSigner(t.Context(), &service{key: tt.key, answer: tt.answer})
			if err != nil {
				t.Fatal(err)
			}
			leaf := issue(t, "leaf", root, func(c *x509.Certificate) { c.PublicKey = tt.key })
			trustKey, err := tt.policy.KeyVerifier(tt.key.Public())
			if err != nil {
				t.Fatal(err)
			}
			trustCert := &integrity.CertificateVerifier{Roots: []*x509.Certificate{root.Certificate}, Now: atTime(then), Keys: tt.policy}
			for name, key := range map[string]crypto.Signer{"memory": tt.key, "remote": remote} {
				byKey, err := tt.policy.KeySigner(key)
				if err != nil {
					t.Fatal(err)
				}
				byCert, err := tt.policy.CertificateSigner(key, leaf.Certificate)
				if err != nil {
					t.Fatal(err)
				}
				for _, pair := range []struct {
					signer prerun.Signer
					trust  prerun.Verifier
				}{{byKey, trustKey}, {byCert, trustCert}} {
					bundle := mustSign(t, mustHash(t, integrity.Hasher{}, tiny()), pair.signer)
					r, err := integrity.Verifier{}.Verify(t.Context(), tiny(), bundle, pair.trust)
					if err != nil {
						t.Fatalf("%s: %v", name, err)
					}
					checkSource(t, r, err)
					warned := slices.ContainsFunc(r.Leniencies, func(l integrity.Leniency) bool {
						return l.Code == integrity.LenientTrust && strings.Contains(l.Detail, tt.warns)
					})
					if warned != (tt.warns != "") {
						t.Errorf("%s: leniencies %+v", name, r.Leniencies)
					}
					if tt.warns != "" {
						trust := *trustCert
						trust.Keys = integrity.KeyPolicy{}
						if r.Signed.Method == integrity.MethodCertificate {
							_, err = integrity.Verifier{}.Verify(t.Context(), tiny(), bundle, &trust)
							wantKind(t, err, integrity.ErrUnsupported)
						}
					}
				}
			}
			if tt.warns == "" {
				return
			}
			_, err = integrity.NewKeySigner(tt.key)
			wantKind(t, err, integrity.ErrUnsupported)
			_, err = integrity.NewKeySigner(remote)
			wantKind(t, err, integrity.ErrUnsupported)
			_, err = integrity.NewKeyVerifier(tt.key.Public())
			wantKind(t, err, integrity.ErrUnsupported)
			_, err = integrity.NewCertificateSigner(tt.key, leaf.Certificate)
			wantKind(t, err, integrity.ErrUnsupported)
		})
	}

	// What no policy accepts.
	all := integrity.KeyPolicy{Ed25519: true, RSA: true}
	for name, key := range map[string]crypto.Signer{
		"RSA-1024": rsaKey(t, 1024), "P-224": ecdsaKey(t, elliptic.P224()),
	} {
		if _, err := all.KeySigner(key); !errors.Is(err, integrity.ErrUnsupported) {
			t.Errorf("%s signs: %v", name, err)
		}
		if _, err := all.KeyVerifier(key.Public()); !errors.Is(err, integrity.ErrUnsupported) {
			t.Errorf("%s verifies: %v", name, err)
		}
		if _, err := integrity.NewRemoteSigner(t.Context(), &service{key: key}); !errors.Is(err, integrity.ErrUnsupported) {
			t.Errorf("%s is remote: %v", name, err)
		}
	}
	// One opening does not open the other.
	if _, err := (integrity.KeyPolicy{Ed25519: true}).KeySigner(rsa2048); !errors.Is(err, integrity.ErrUnsupported) {
		t.Errorf("RSA by a policy of Ed25519: %v", err)
	}
	if _, err := (integrity.KeyPolicy{RSA: true}).KeySigner(ed25519Key(t)); !errors.Is(err, integrity.ErrUnsupported) {
		t.Errorf("Ed25519 by a policy of RSA: %v", err)
	}
}

// pss signs with the padding that we verify but do not write.
type pss struct{ *rsa.PrivateKey }

func (k pss) SignDigest(_ context.Context, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	return rsa.SignPSS(rand.Reader, k.PrivateKey, opts.HashFunc(), digest, nil)
}

func (k pss) PublicKey(context.Context) (crypto.PublicKey, error) { return k.Public(), nil }

func TestPSS(t *testing.T) {
	key := rsaKey(t, 2048)
	policy := integrity.KeyPolicy{RSA: true}
	remote, err := integrity.NewRemoteSigner(t.Context(), pss{key})
	if err != nil {
		t.Fatal(err)
	}
	signer, err := policy.KeySigner(remote)
	if err != nil {
		t.Fatal(err)
	}
	trust, err := policy.KeyVerifier(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	bundle := mustSign(t, mustHash(t, integrity.Hasher{}, tiny()), signer)
	if _, err := (integrity.Verifier{}).Verify(t.Context(), tiny(), bundle, trust); err != nil {
		t.Error(err)
	}
	other, err := policy.KeyVerifier(rsaKey(t, 2048).Public())
	if err != nil {
		t.Fatal(err)
	}
	_, err = integrity.Verifier{}.Verify(t.Context(), tiny(), bundle, other)
	wantKind(t, err, integrity.ErrUntrusted)
}

// A remoteDefect is a remote key that does one thing wrong.
type remoteDefect struct {
	name string
	key  *service
	want error
}

var errDown = errors.New("service unavailable")

func remoteDefects(t *testing.T) []remoteDefect {
	key := keys.Demo("remote")
	answer := func(sig []byte, err error) func(context.Context, []byte) ([]byte, error) {
		return func(context.Context, []byte) ([]byte, error) { return sig, err }
	}
	sum := sha256.Sum256([]byte("something else"))
	elsewhere, err := key.Sign(nil, sum[:], crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	return []remoteDefect{
		{"down", &service{key: key, answer: answer(nil, errDown)}, errDown},
		{"nothing", &service{key: key, answer: answer(nil, nil)}, integrity.ErrSignature},
		{"garbage", &service{key: key, answer: answer([]byte("signed"), nil)}, integrity.ErrSignature},
		{"zeros", &service{key: key, answer: answer(make([]byte, 64), nil)}, integrity.ErrSignature},
		{"over_something_else", &service{key: key, answer: answer(elsewhere, nil)}, integrity.ErrSignature},
		{"by_another_key", &service{key: keys.Demo("other"), pub: func(context.Context) (crypto.PublicKey, error) {
			return key.Public(), nil
		}}, integrity.ErrSignature},
		{"cut", &service{key: key, answer: func(_ context.Context, sig []byte) ([]byte, error) { return sig[:len(sig)-1], nil }}, integrity.ErrSignature},
		{"joined_of_another_size", &service{key: key, answer: joined(48)}, integrity.ErrSignature},
	}
}

// Whatever a remote key does wrong, no bundle comes out.
func TestRemoteKeyRefuses(t *testing.T) {
	key, reason := keys.Demo("remote"), errors.New("enough")
	for _, tt := range remoteDefects(t) {
		t.Run(tt.name, func(t *testing.T) {
			remote, err := integrity.NewRemoteSigner(t.Context(), tt.key)
			if err != nil {
				t.Fatal(err)
			}
			signer, err := integrity.NewKeySigner(remote)
			if err != nil {
				t.Fatal(err)
			}
			bundle, err := integrity.Signing{}.Sign(t.Context(), mustHash(t, integrity.Hasher{}, tiny()), signer)
			if bundle != nil || !errors.Is(err, tt.want) {
				t.Errorf("%s, %v; want %v", bundle, err, tt.want)
			}
		})
	}

	t.Run("cancelled", func(t *testing.T) {
		for name, wait := range map[string]func(context.Context, []byte) ([]byte, error){
			"obeys": func(ctx context.Context, _ []byte) ([]byte, error) { <-ctx.Done(); return nil, ctx.Err() },
			"signs": func(ctx context.Context, sig []byte) ([]byte, error) { <-ctx.Done(); return sig, nil },
		} {
			asked := make(chan struct{})
			remote, err := integrity.NewRemoteSigner(t.Context(), &service{key: key, answer: func(ctx context.Context, sig []byte) ([]byte, error) {
				close(asked)
				return wait(ctx, sig)
			}})
			if err != nil {
				t.Fatal(err)
			}
			signer, err := integrity.NewKeySigner(remote)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancelCause(t.Context())
			go func() { <-asked; cancel(reason) }()
			bundle, err := integrity.Signing{}.Sign(ctx, mustHash(t, integrity.Hasher{}, tiny()), signer)
			if bundle != nil || !errors.Is(err, reason) {
				t.Errorf("%s: %s, %v", name, bundle, err)
			}
		}
		over, cancel := context.WithCancelCause(t.Context())
		cancel(reason)
		if _, err := integrity.NewRemoteSigner(over, &service{key: key}); !errors.Is(err, reason) {
			t.Errorf("asked after the end: %v", err)
		}
	})

	if _, err := integrity.NewRemoteSigner(t.Context(), nil); !errors.Is(err, integrity.ErrUnsupported) {
		t.Errorf("no key: %v", err)
	}
	for name, pub := range map[string]struct {
		pub  crypto.PublicKey
		err  error
		want error
	}{"down": {nil, errDown, errDown}, "none": {nil, nil, integrity.ErrUnsupported}, "text": {"key", nil, integrity.ErrUnsupported}} {
		_, err := integrity.NewRemoteSigner(t.Context(), &service{pub: func(context.Context) (crypto.PublicKey, error) { return pub.pub, pub.err }})
		if !errors.Is(err, pub.want) {
			t.Errorf("public key %s: %v", name, err)
		}
	}
}

// A token is a crypto.Signer without context, and no more trusted.
type forger struct{ crypto.Signer }

func (f forger) Public() crypto.PublicKey { return keys.Demo("victim").Public() }

func TestSignaturesAreCheckedBeforeTheyAreWritten(t *testing.T) {
	signer, err := integrity.NewKeySigner(forger{keys.Demo("forger")})
	if err != nil {
		t.Fatal(err)
	}
	_, err = signer.Sign(t.Context(), integrity.StatementType, []byte("{}"))
	wantKind(t, err, integrity.ErrSignature)
}

// A remote key makes a certificate request, as any crypto.Signer does.
func TestRemoteSignerElsewhere(t *testing.T) {
	remote, err := integrity.NewRemoteSigner(t.Context(), &service{key: keys.Demo("remote")})
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, remote)
	if err != nil {
		t.Fatal(err)
	}
	req, err := x509.ParseCertificateRequest(der)
	if err != nil || req.CheckSignature() != nil {
		t.Errorf("%v", err)
	}
}

// A keyDefect is a key file, a passphrase and what is wrong with them.
type keyDefect struct {
	name             string
	file, passphrase []byte
	want             error
}

func keyDefects(t *testing.T) []keyDefect {
	block := func(name string, der []byte, err error) []byte {
		if err != nil {
			t.Fatal(err)
		}
		return pem.EncodeToMemory(&pem.Block{Type: name, Bytes: der})
	}
	marshal := func(key any) []byte {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		return block("PRIVATE KEY", der, err)
	}
	old, err := x509.MarshalECPrivateKey(keys.Demo("x"))
	if err != nil {
		t.Fatal(err)
	}
	md5 := pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: old, Headers: map[string]string{
		"Proc-Type": "4,ENCRYPTED", "DEK-Info": "AES-256-CBC,00112233445566778899AABBCCDDEEFF",
	}})
	exchange, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return []keyDefect{
		{"encrypted", []byte(lockedKey), nil, integrity.ErrEncrypted},
		{"encrypted in the old way", md5, nil, integrity.ErrEncrypted},
		{"wrong passphrase", []byte(lockedKey), []byte("hunter3"), integrity.ErrPassphrase},
		{"empty passphrase", []byte(lockedKey), []byte{}, integrity.ErrPassphrase},
		{"passphrase in the old way", md5, []byte("x"), integrity.ErrUnsupported},
		{"other curve", marshal(ecdsaKey(t, elliptic.P224())), nil, integrity.ErrUnsupported},
		{"short rsa", marshal(rsaKey(t, 1024)), nil, integrity.ErrUnsupported},
		{"not for signing", marshal(exchange), nil, integrity.ErrUnsupported},
	}
}

// lockedKey is keys.Demo("encrypted") by OpenSSL, under "hunter2".
const lockedKey = `-----BEGIN ENCRYPTED PRIVATE KEY-----
MIHsMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAj7Yh2vfC0EIgICCAAw
DAYIKoZIhvcNAgkFADAdBglghkgBZQMEASoEEMgQQaUzRJ6VFIeqHA0JzhQEgZAP
rDjFtmx1SnxiNTDhK+0tkLRg9dDuWxVuh9yCQ2ople387wLbnz2bGfgBCzQZeZ0Q
fAz+uRSIeIHDxp2F8nxj75GxXYzN4+SmcnTmxf3UmGWo3wz/Z1QSy4yeC+r7eYn/
SXARRfXFUoE44WmGo70uhlSYmq7HrLz0BIog6yDPRSMUVAS/aCktSGQ4oxZDvjg=
-----END ENCRYPTED PRIVATE KEY-----
`

func TestKeyFiles(t *testing.T) {
	for _, tt := range keyDefects(t) {
		key, err := integrity.ParsePrivateKey(tt.file, tt.passphrase)
		if key != nil {
			t.Errorf("%s: a key", tt.name)
		}
		wantKind(t, err, tt.want)
	}
	key, err := integrity.ParsePrivateKey([]byte(lockedKey), []byte("hunter2"))
	if err != nil || !keys.Equal(key.Public(), keys.Demo("encrypted").Public()) {
		t.Errorf("%v", err)
	}
	// No key file at all is none of the kinds.
	key, err = integrity.ParsePrivateKey([]byte("x"), nil)
	if key != nil || err == nil {
		t.Errorf("%v, %v", key, err)
	}
	wantKind(t, err, nil)
}
