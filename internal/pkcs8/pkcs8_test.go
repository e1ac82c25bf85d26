package pkcs8_test

import (
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/prerun/prerun/internal/keys"
	"github.com/prerun/prerun/internal/pkcs8"
)

// encryptedKeys are the demo key of label "encrypted" as OpenSSL 3.0 writes it
// under the passphrase "hunter2", for example by
//
//	openssl pkcs8 -topk8 -v2 aes-256-cbc -iter 2048
var encryptedKeys = []struct {
	name string
	want error
	file string
}{
	{"aes256_sha256", nil, `-----BEGIN ENCRYPTED PRIVATE KEY-----
MIHsMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAj7Yh2vfC0EIgICCAAw
DAYIKoZIhvcNAgkFADAdBglghkgBZQMEASoEEMgQQaUzRJ6VFIeqHA0JzhQEgZAP
rDjFtmx1SnxiNTDhK+0tkLRg9dDuWxVuh9yCQ2ople387wLbnz2bGfgBCzQZeZ0Q
fAz+uRSIeIHDxp2F8nxj75GxXYzN4+SmcnTmxf3UmGWo3wz/Z1QSy4yeC+r7eYn/
SXARRfXFUoE44WmGo70uhlSYmq7HrLz0BIog6yDPRSMUVAS/aCktSGQ4oxZDvjg=
-----END ENCRYPTED PRIVATE KEY-----
`},
	{"aes128_sha1", nil, `-----BEGIN ENCRYPTED PRIVATE KEY-----
MIHeMEkGCSqGSIb3DQEFDTA8MBsGCSqGSIb3DQEFDDAOBAhY91xKNzhCJgICA+gw
HQYJYIZIAWUDBAECBBDEvkoYXVHD4YrSlZso1YmdBIGQsZaNI+HhRP0ycGWh6Yi1
4g8uR8GtGYeu/8F/+aM5d1vLJUQHqAENkL3PFPRt4JVp37TxLhZFM0clxcvG+ZjG
05Axp7tkh7PKh4oTKfu8snY30GUfwmavZUPq7S6Gz05mZhcSNuMHGcRyDNNrym8o
ZkmMoV8oCnIbHMOV43YXqEd/LZW1T8PhP+mvCN8maSIj
-----END ENCRYPTED PRIVATE KEY-----
`},
	{"aes192_sha512", nil, `-----BEGIN ENCRYPTED PRIVATE KEY-----
MIHsMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAgupRfF25pJ2wICA+gw
DAYIKoZIhvcNAgsFADAdBglghkgBZQMEARYEELe4lvZAslBg3/gp6mSvSmcEgZAe
OLpA7RjhWSe/ymMtswqzPsBn9PlQrvPZx5VHF3DTYjOqpwiwOBX26XfecKtikqTb
Uyh1Y3rozmNXWzZe02Apqv58ajHysK8f3Ssnmzj8nCwyW1n0CiK2hKBOMu+qoeY+
UaV39OnTMLOVTclEZQY2JNERI+O4uTSogSR9J1hQ4cJXa1tkuJYl8vV+ekw/WEg=
-----END ENCRYPTED PRIVATE KEY-----
`},
	{"aes256_sha384", nil, `-----BEGIN ENCRYPTED PRIVATE KEY-----
MIHsMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAjWA08QlPsZSgICA+gw
DAYIKoZIhvcNAgoFADAdBglghkgBZQMEASoEEGtsurtq2ByUyTv1iI5A5scEgZDy
6eRqhUvGJ5If9vT43MhSAlMLYAjpSrgodMjsy7d2euyB3lNHPQy6fRNVY5JOGBdj
Osi65lAD0g79duIxvYqJXnspTupCtPKj+RoHuunJH2MtkphH6w54WGEAEw/QYCEK
VY93MWpKW2KsqZeNj4OLApvhjHFGkBtopO9Z6d+FbTRxtxSKy+2oqx4fu+m0DEQ=
-----END ENCRYPTED PRIVATE KEY-----
`},
	{"triple_des", nil, `-----BEGIN ENCRYPTED PRIVATE KEY-----
MIHjME4GCSqGSIb3DQEFDTBBMCkGCSqGSIb3DQEFDDAcBAhrL/4KwptlDwICA+gw
DAYIKoZIhvcNAgkFADAUBggqhkiG9w0DBwQI9Pfd+5Gis2IEgZA+//kNvtpJKbbC
RTPKSVr0NzItB2tBJGl+fufo4UFQGszpzCXhcc3KS96J272k35TwZaa39zJrBzWT
FVRU3tjVfzrUGHt6wiIk/tD9oOrihYIGXp6XAHOrXqPeG7gYxGKe4ftxlqh8r0c1
MLscPW54rjE6+wAn3s8XRlxg7s28ZjrDiUQjloMj/8nPEBJY3qw=
-----END ENCRYPTED PRIVATE KEY-----
`},
	{"scrypt", nil, `-----BEGIN ENCRYPTED PRIVATE KEY-----
MIHkME8GCSqGSIb3DQEFDTBCMCEGCSsGAQQB2kcECzAUBAij4+pHb3EQ9gICQAAC
AQgCAQEwHQYJYIZIAWUDBAEqBBAyTMQMsAx+vyw5yIJSrfiVBIGQINQBFOsGXNKB
LJC45ZalNFcWFdjGLHKTHzIHw8+pRZAuA8pFAdwvvvNlr69Jh9uhMVqVx7lUUJNa
GBThqt2cxmLf5RBAsoLqEylgK6Aol7Z8I6tfxfQCijs6lVm10Xl0QNEDvYomZW/8
kqZHzG1eDegOxRJkE9cNc0dagqiOp6bv8lDeeK6Cjfd7WcHt+uw4
-----END ENCRYPTED PRIVATE KEY-----
`},
}

func TestParse(t *testing.T) {
	want := keys.Demo("encrypted")
	for _, tt := range encryptedKeys {
		t.Run(tt.name, func(t *testing.T) {
			key, err := pkcs8.Parse([]byte(tt.file), []byte("hunter2"))
			if !errors.Is(err, tt.want) || (err == nil) != (tt.want == nil) {
				t.Fatalf("error %v, want %v", err, tt.want)
			}
			if err == nil && !want.Equal(key) {
				t.Error("another key")
			}
			if _, err := keys.ParsePrivate([]byte(tt.file)); !errors.Is(err, keys.ErrEncrypted) {
				t.Errorf("without a passphrase: %v", err)
			}
			if tt.want != nil {
				return
			}
			for _, wrong := range []string{"", "hunter", "Hunter2"} {
				if _, err := pkcs8.Parse([]byte(tt.file), []byte(wrong)); !errors.Is(err, pkcs8.ErrPassphrase) {
					t.Errorf("passphrase %q: %v", wrong, err)
				}
			}
		})
	}
	plain, err := keys.MarshalPrivate(want)
	if err != nil {
		t.Fatal(err)
	}
	if key, err := pkcs8.Parse(plain, nil); err != nil || !want.Equal(key) {
		t.Errorf("a key that is not encrypted: %v", err)
	}
	if _, err := pkcs8.Parse(nil, nil); !errors.Is(err, keys.ErrNoPEM) {
		t.Errorf("no key: %v", err)
	}
}

// remade is a file whose parameters of key derivation are others.
func remade(t *testing.T, kdf asn1.ObjectIdentifier, params any) []byte {
	t.Helper()
	marshal := func(v any) asn1.RawValue {
		der, err := asn1.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return asn1.RawValue{FullBytes: der}
	}
	type algorithm struct {
		ID     asn1.ObjectIdentifier
		Params asn1.RawValue
	}
	aes256 := algorithm{asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 1, 42}, marshal(make([]byte, 16))}
	outer := struct {
		Algorithm algorithm
		Data      []byte
	}{
		algorithm{asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 13}, marshal(struct{ KDF, Cipher algorithm }{
			algorithm{kdf, marshal(params)}, aes256,
		})},
		make([]byte, 32),
	}
	return pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: marshal(outer).FullBytes})
}

func TestParseIsBounded(t *testing.T) {
	pbkdf2, scrypt := asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 12}, asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11591, 4, 11}
	salt := []byte("salt")
	type iterated struct {
		Salt       []byte
		Iterations int64
		KeyLength  int `asn1:"optional"`
	}
	type hard struct {
		Salt      []byte
		N, R, P   int64
		KeyLength int `asn1:"optional"`
	}
	for _, tt := range []struct {
		name   string
		kdf    asn1.ObjectIdentifier
		params any
		want   error
	}{
		{"iterated", pbkdf2, iterated{salt, 2, 0}, pkcs8.ErrPassphrase},
		{"iterated_key_length", pbkdf2, iterated{salt, 2, 32}, pkcs8.ErrPassphrase},
		{"never_iterated", pbkdf2, iterated{salt, 0, 0}, keys.ErrUnsupported},
		{"backwards", pbkdf2, iterated{salt, -1, 0}, keys.ErrUnsupported},
		{"for_ever", pbkdf2, iterated{salt, 10_000_001, 0}, keys.ErrUnsupported},
		{"longer_than_for_ever", pbkdf2, iterated{salt, 1 << 62, 0}, keys.ErrUnsupported},
		{"other_key_length", pbkdf2, iterated{salt, 2, 16}, keys.ErrUnsupported},
		{"hard", scrypt, hard{salt, 16, 8, 1, 0}, pkcs8.ErrPassphrase},
		{"hard_key_length", scrypt, hard{salt, 16, 8, 1, 32}, pkcs8.ErrPassphrase},
		{"hard_other_key_length", scrypt, hard{salt, 16, 8, 1, 33}, keys.ErrUnsupported},
		{"one_block", scrypt, hard{salt, 1, 8, 1, 0}, keys.ErrUnsupported},
		{"no_power_of_two", scrypt, hard{salt, 17, 8, 1, 0}, keys.ErrUnsupported},
		{"memory_by_n", scrypt, hard{salt, 1 << 20, 1, 1, 0}, keys.ErrUnsupported},
		{"memory_by_both", scrypt, hard{salt, 1 << 14, 64, 1, 0}, keys.ErrUnsupported},
		{"memory_by_overflow", scrypt, hard{salt, 1 << 32, 1 << 32, 1, 0}, keys.ErrUnsupported},
		{"negative", scrypt, hard{salt, -16, 8, 1, 0}, keys.ErrUnsupported},
		{"no_blocks", scrypt, hard{salt, 16, 0, 1, 0}, keys.ErrUnsupported},
		{"passes", scrypt, hard{salt, 16, 8, 17, 0}, keys.ErrUnsupported},
		{"other_kdf", asn1.ObjectIdentifier{1, 2, 3}, hard{salt, 16, 8, 1, 0}, keys.ErrUnsupported},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if key, err := pkcs8.Parse(remade(t, tt.kdf, tt.params), []byte("x")); !errors.Is(err, tt.want) {
				t.Errorf("%v, %v; want %v", key, err, tt.want)
			}
		})
	}
}

// The old way hashes a passphrase once, with MD5.
func TestOldPEMEncryption(t *testing.T) {
	file := pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: make([]byte, 16), Headers: map[string]string{
		"Proc-Type": "4,ENCRYPTED", "DEK-Info": "AES-256-CBC,00112233445566778899AABBCCDDEEFF",
	}})
	if _, err := pkcs8.Parse(file, []byte("x")); !errors.Is(err, keys.ErrUnsupported) {
		t.Errorf("error %v", err)
	}
}

// Whatever OpenSSL writes is read.
func TestOpenSSL(t *testing.T) {
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("openssl is missing")
	}
	dir := t.TempDir()
	run := func(args ...string) {
		t.Helper()
		if out, err := exec.CommandContext(t.Context(), openssl, args...).CombinedOutput(); err != nil {
			t.Fatalf("openssl %q: %v\n%s", args, err, out)
		}
	}
	plain, locked := filepath.Join(dir, "plain.pem"), filepath.Join(dir, "locked.pem")
	for name, args := range map[string][]string{
		"P-256":   {"-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"},
		"P-384":   {"-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"},
		"P-521":   {"-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-521"},
		"Ed25519": {"-algorithm", "ED25519"},
		"RSA":     {"-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"},
	} {
		run(append([]string{"genpkey", "-out", plain}, args...)...)
		text, err := os.ReadFile(plain)
		if err != nil {
			t.Fatal(err)
		}
		want, err := keys.ParsePrivate(text)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		ways := [][]string{
			{},
			{"-v2", "aes-128-cbc"},
			{"-v2", "aes-192-cbc", "-v2prf", "hmacWithSHA512"},
			{"-v2", "aes-256-cbc", "-v2prf", "hmacWithSHA1", "-iter", "10000"},
			{"-v2", "des3", "-v2prf", "hmacWithSHA384"},
			{"-scrypt"},
			{"-scrypt", "-scrypt_N", "1024", "-scrypt_r", "4", "-scrypt_p", "2"},
		}
		if name != "P-256" {
			ways = ways[:1] // the kind of key makes no difference to how it is locked
		}
		for _, how := range ways {
			run(append([]string{"pkcs8", "-topk8", "-in", plain, "-out", locked, "-passout", "pass:größe 1"}, how...)...)
			text, err := os.ReadFile(locked)
			if err != nil {
				t.Fatal(err)
			}
			key, err := pkcs8.Parse(text, []byte("größe 1"))
			if err != nil || !keys.Equal(key.Public(), want.Public()) {
				t.Errorf("%s %q: %v", name, how, err)
			}
			if _, err := pkcs8.Parse(text, []byte("größe 2")); !errors.Is(err, pkcs8.ErrPassphrase) {
				t.Errorf("%s %q by another passphrase: %v", name, how, err)
			}
		}
	}
}

// FuzzParse: whatever a file holds, what comes out is a key that may be
// used here or an error. That it is the key that was locked is not promised:
// CBC does not authenticate.
func FuzzParse(f *testing.F) {
	for _, k := range encryptedKeys {
		block, _ := pem.Decode([]byte(k.file))
		f.Add(block.Bytes)
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		file := pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: der})
		if key, err := pkcs8.ParseWithin(file, []byte("hunter2"), 1100, 1<<18); err == nil && keys.Check(key.Public()) != nil {
			t.Error("a key that may not be used")
		}
	})
}
