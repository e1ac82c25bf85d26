package dsse_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"strings"
	"testing"

	"github.com/prerun/prerun/internal/dsse"
	"github.com/prerun/prerun/internal/keys"
)

func TestPAE(t *testing.T) {
	got := dsse.PAE("http://example.com/HelloWorld", []byte("hello world"))
	if want := "DSSEv1 29 http://example.com/HelloWorld 11 hello world"; string(got) != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := string(dsse.PAE("", nil)); got != "DSSEv1 0  0 " {
		t.Errorf("empty: %q", got)
	}
}

func generate(t testing.TB, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func sign(t testing.TB, key crypto.Signer, payload string) []byte {
	t.Helper()
	s, err := dsse.NewKeySigner(key)
	if err != nil {
		t.Fatal(err)
	}
	bundle, err := s.Sign(t.Context(), dsse.InTotoType, []byte(payload))
	if err != nil {
		t.Fatal(err)
	}
	return bundle
}

func verifier(t testing.TB, pub crypto.PublicKey) *dsse.KeyVerifier {
	t.Helper()
	v, err := dsse.NewKeyVerifier(pub)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestRoundTrip(t *testing.T) {
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, key := range map[string]crypto.Signer{
		"P-256": generate(t, elliptic.P256()), "P-384": generate(t, elliptic.P384()),
		"P-521": generate(t, elliptic.P521()), "Ed25519": ed,
	} {
		t.Run(name, func(t *testing.T) {
			bundle := sign(t, key, `{"a":1}`)
			if again := sign(t, key, `{"a":1}`); !bytes.Equal(bundle, again) {
				t.Error("signing twice gives different bytes")
			}
			got, err := verifier(t, key.Public()).Verify(t.Context(), bundle)
			if err != nil {
				t.Fatal(err)
			}
			id, err := keys.ID(key.Public())
			if err != nil || string(got.Payload) != `{"a":1}` || got.PayloadType != dsse.InTotoType ||
				got.Method != "key" || got.Signer != id || len(got.Warnings) != 0 {
				t.Errorf("%+v, %v", got, err)
			}
			parsed, err := dsse.ParseBundle(bundle)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(parsed.Encode(), bundle) {
				t.Error("encoding what was parsed changes it")
			}
			bare := parsed.Envelope.Encode()
			if _, err := verifier(t, key.Public()).Verify(t.Context(), bare); err != nil {
				t.Errorf("bare envelope: %v", err)
			}
		})
	}
}

func TestVerifyRefuses(t *testing.T) {
	key, other := keys.Demo("a"), keys.Demo("b")
	good := string(sign(t, key, `{"a":1}`))
	hint, err := keys.Hint(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	payload := base64.StdEncoding.EncodeToString([]byte(`{"a":1}`))
	forged := base64.StdEncoding.EncodeToString([]byte(`{"a":2}`))
	replace := func(old, new string) string {
		if !strings.Contains(good, old) {
			t.Fatalf("no %q in %s", old, good)
		}
		return strings.Replace(good, old, new, 1)
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	for _, tt := range []struct {
		name, bundle string
		ctx          context.Context
		want         error
	}{
		{"other_payload", replace(payload, forged), t.Context(), dsse.ErrSignature},
		{"other_type", replace("vnd.in-toto+json", "vnd.in-toto-json"), t.Context(), dsse.ErrSignature},
		{"other_key", string(sign(t, other, `{"a":1}`)), t.Context(), dsse.ErrKey},
		{"other_key_same_hint", strings.Replace(string(sign(t, other, `{"a":1}`)), mustHint(t, other), hint, 1), t.Context(), dsse.ErrSignature},
		{"not_json", "DSSEv1", t.Context(), dsse.ErrMalformed},
		{"empty", "", t.Context(), dsse.ErrMalformed},
		{"cut", good[:len(good)/2], t.Context(), dsse.ErrMalformed},
		{"trailing", good + "{}", t.Context(), dsse.ErrMalformed},
		{"media_type", replace("bundle.v0.3+json", "bundle.v0.9+json"), t.Context(), dsse.ErrMalformed},
		{"unknown_member", replace(`{"mediaType"`, `{"extra":1,"mediaType"`), t.Context(), dsse.ErrMalformed},
		{"duplicate_member", replace(`{"mediaType"`, `{"mediaType":"x","mediaType"`), t.Context(), dsse.ErrMalformed},
		{"no_signature", good[:strings.Index(good, `"signatures":[`)] + `"signatures":[]}}`, t.Context(), dsse.ErrMalformed},
		{"two_signatures", replace(`"signatures":[`, `"signatures":[{"sig":"AAAA"},`), t.Context(), dsse.ErrMalformed},
		{"empty_payload", replace(payload, ""), t.Context(), dsse.ErrMalformed},
		{"loose_base64", replace(payload, payload[:len(payload)-2]+"F="), t.Context(), dsse.ErrMalformed},
		{"line_break_in_base64", replace(payload, payload[:4]+`\n`+payload[4:]), t.Context(), dsse.ErrMalformed},
		{"two_materials", replace(`"publicKey"`, `"certificate":{"rawBytes":"AA=="},"publicKey"`), t.Context(), dsse.ErrMalformed},
		{"certificate", replace(`"publicKey":{"hint":"`+hint+`"}`, `"certificate":{"rawBytes":"AA=="}`), t.Context(), dsse.ErrUnsupported},
		{"no_material", replace(`"publicKey":{"hint":"`+hint+`"},`, ``), t.Context(), dsse.ErrMalformed},
		{"cancelled", good, cancelled, context.Canceled},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := verifier(t, key.Public()).Verify(tt.ctx, []byte(tt.bundle))
			if got != nil || !errors.Is(err, tt.want) {
				t.Errorf("got %+v, %v; want %v", got, err, tt.want)
			}
		})
	}
}

func mustHint(t testing.TB, key crypto.Signer) string {
	t.Helper()
	hint, err := keys.Hint(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return hint
}

func TestMissingHintWarns(t *testing.T) {
	key := keys.Demo("a")
	bundle := strings.Replace(string(sign(t, key, `{}`)), `"hint":"`+mustHint(t, key)+`"`, "", 1)
	got, err := verifier(t, key.Public()).Verify(t.Context(), []byte(bundle))
	if err != nil || len(got.Warnings) != 1 {
		t.Errorf("%+v, %v; want one warning", got, err)
	}
}

func TestUnusableKeys(t *testing.T) {
	short, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for name, key := range map[string]crypto.Signer{
		"rsa": short, "P-224": generate(t, elliptic.P224()),
	} {
		if _, err := dsse.NewKeySigner(key); !errors.Is(err, dsse.ErrUnsupported) {
			t.Errorf("%s signs: %v", name, err)
		}
		if _, err := dsse.NewKeyVerifier(key.Public()); !errors.Is(err, dsse.ErrUnsupported) {
			t.Errorf("%s verifies: %v", name, err)
		}
	}
	if _, err := dsse.NewKeySigner(nil); !errors.Is(err, dsse.ErrUnsupported) {
		t.Errorf("nil signs: %v", err)
	}
}

func FuzzParseBundle(f *testing.F) {
	f.Add(sign(f, keys.Demo("a"), `{"a":1}`))
	f.Add([]byte(`{"mediaType":"m","verificationMaterial":{"x509CertificateChain":{"certificates":[{"rawBytes":"AA=="}]},"timestampVerificationData":{}},"dsseEnvelope":{"payload":"YQ==","payloadType":"t","signatures":[{"sig":"YQ==","keyid":null}]}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := dsse.ParseBundle(data)
		if err != nil {
			if !errors.Is(err, dsse.ErrMalformed) {
				t.Fatalf("unclassed error: %v", err)
			}
			return
		}
		if len(b.Material.LogEntries) > 0 || b.Material.Certificate != nil || b.Material.PublicKey != nil && b.Material.PublicKey.RawPEM != nil {
			return // not ours to write
		}
		again, err := dsse.ParseBundle(b.Encode())
		if err != nil || !bytes.Equal(again.Envelope.Payload, b.Envelope.Payload) {
			t.Fatalf("round trip: %v", err)
		}
	})
}

func FuzzParseEnvelope(f *testing.F) {
	f.Add([]byte(`{"payload":"YQ==","payloadType":"t","signatures":[{"sig":"YQ=="}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := dsse.ParseEnvelope(data)
		if err != nil {
			return
		}
		if _, err := dsse.ParseEnvelope(e.Encode()); err != nil {
			t.Fatalf("round trip: %v", err)
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	key := keys.Demo("a")
	bundle := sign(b, key, strings.Repeat(" ", 1<<16)+"{}")
	v := verifier(b, key.Public())
	b.ReportAllocs()
	for b.Loop() {
		if _, err := v.Verify(b.Context(), bundle); err != nil {
			b.Fatal(err)
		}
	}
}
