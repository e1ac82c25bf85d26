package keys_test

import (
	"bytes"
	"encoding/pem"
	"errors"
	"testing"

	"github.com/prerun/prerun/internal/keys"
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
	{"triple_des", keys.ErrUnsupported, `-----BEGIN ENCRYPTED PRIVATE KEY-----
MIHjME4GCSqGSIb3DQEFDTBBMCkGCSqGSIb3DQEFDDAcBAhrL/4KwptlDwICA+gw
DAYIKoZIhvcNAgkFADAUBggqhkiG9w0DBwQI9Pfd+5Gis2IEgZA+//kNvtpJKbbC
RTPKSVr0NzItB2tBJGl+fufo4UFQGszpzCXhcc3KS96J272k35TwZaa39zJrBzWT
FVRU3tjVfzrUGHt6wiIk/tD9oOrihYIGXp6XAHOrXqPeG7gYxGKe4ftxlqh8r0c1
MLscPW54rjE6+wAn3s8XRlxg7s28ZjrDiUQjloMj/8nPEBJY3qw=
-----END ENCRYPTED PRIVATE KEY-----
`},
	{"scrypt", keys.ErrUnsupported, `-----BEGIN ENCRYPTED PRIVATE KEY-----
MIHkME8GCSqGSIb3DQEFDTBCMCEGCSsGAQQB2kcECzAUBAij4+pHb3EQ9gICQAAC
AQgCAQEwHQYJYIZIAWUDBAEqBBAyTMQMsAx+vyw5yIJSrfiVBIGQINQBFOsGXNKB
LJC45ZalNFcWFdjGLHKTHzIHw8+pRZAuA8pFAdwvvvNlr69Jh9uhMVqVx7lUUJNa
GBThqt2cxmLf5RBAsoLqEylgK6Aol7Z8I6tfxfQCijs6lVm10Xl0QNEDvYomZW/8
kqZHzG1eDegOxRJkE9cNc0dagqiOp6bv8lDeeK6Cjfd7WcHt+uw4
-----END ENCRYPTED PRIVATE KEY-----
`},
}

func TestParseEncrypted(t *testing.T) {
	want := keys.Demo("encrypted")
	for _, tt := range encryptedKeys {
		t.Run(tt.name, func(t *testing.T) {
			key, err := keys.ParseEncrypted([]byte(tt.file), []byte("hunter2"))
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
				if _, err := keys.ParseEncrypted([]byte(tt.file), []byte(wrong)); !errors.Is(err, keys.ErrPassphrase) {
					t.Errorf("passphrase %q: %v", wrong, err)
				}
			}
		})
	}
	plain, err := keys.MarshalPrivate(want)
	if err != nil {
		t.Fatal(err)
	}
	if key, err := keys.ParseEncrypted(plain, nil); err != nil || !want.Equal(key) {
		t.Errorf("a key that is not encrypted: %v", err)
	}
	if _, err := keys.ParseEncrypted(nil, nil); !errors.Is(err, keys.ErrNoPEM) {
		t.Errorf("no key: %v", err)
	}
}

// FuzzEncrypted: whatever a file holds, what comes out is a key that may be
// used here or an error. That it is the key that was locked is not promised:
// CBC does not authenticate.
func FuzzEncrypted(f *testing.F) {
	for _, k := range encryptedKeys {
		block, _ := pem.Decode([]byte(k.file))
		f.Add(block.Bytes)
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		if bytes.Contains(der, []byte{2, 3}) || bytes.Contains(der, []byte{2, 4}) {
			t.Skip("an integer above 65535 may be a number of iterations, which is time and no error")
		}
		file := pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: der})
		if key, err := keys.ParseEncrypted(file, []byte("hunter2")); err == nil && keys.Check(key.Public()) != nil {
			t.Error("a key that may not be used")
		}
	})
}
