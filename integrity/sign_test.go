package integrity_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"io"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/integrity"
	"github.com/prerun/prerun/internal/keys"
	"github.com/prerun/prerun/internal/testutil"
)

func TestKeysRefused(t *testing.T) {
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []crypto.Signer{edKey, rsaKey, p224} {
		_, err := integrity.NewKeySigner(key)
		wantKind(t, err, integrity.ErrUnsupported)
		_, err = integrity.NewKeyVerifier(key.Public())
		wantKind(t, err, integrity.ErrUnsupported)
	}
	_, err = integrity.NewKeySigner(nil)
	wantKind(t, err, integrity.ErrUnsupported)
	_, err = integrity.NewKeyVerifier(nil)
	wantKind(t, err, integrity.ErrUnsupported)
}

func TestParsePrivateKey(t *testing.T) {
	want := keys.Demo("parse")
	file, err := keys.MarshalPrivate(want)
	if err != nil {
		t.Fatal(err)
	}
	for _, passphrase := range [][]byte{nil, []byte("not needed")} {
		if key, err := integrity.ParsePrivateKey(file, passphrase); err != nil || !want.Equal(key) {
			t.Errorf("passphrase %q: %v", passphrase, err)
		}
	}
	if _, err := integrity.ParsePrivateKey([]byte("no key"), nil); err == nil {
		t.Error("a key in a file without one")
	}
}

// opaqueKey is a crypto.Signer that is not a key in memory.
type opaqueKey struct{ crypto.Signer }

func TestOpaqueKey(t *testing.T) {
	key := keys.Demo("opaque")
	signer, err := integrity.NewKeySigner(opaqueKey{key})
	if err != nil {
		t.Fatal(err)
	}
	_, trust := testKeys(t, "opaque")
	bundle := mustSign(t, mustHash(t, integrity.Hasher{}, tiny()), signer)
	if _, err := (integrity.Verifier{}).Verify(t.Context(), tiny(), bundle, trust); err != nil {
		t.Error(err)
	}
}

type signerFunc func(ctx context.Context, payloadType string, payload []byte) ([]byte, error)

func (f signerFunc) Sign(ctx context.Context, payloadType string, payload []byte) ([]byte, error) {
	return f(ctx, payloadType, payload)
}

func TestSignRefuses(t *testing.T) {
	signer, _ := testKeys(t, "sign")
	m := mustHash(t, integrity.Hasher{}, tiny())
	if _, err := (integrity.Signing{}).Sign(t.Context(), m, nil); err == nil {
		t.Error("signed without a signer")
	}
	other := signerFunc(func(ctx context.Context, payloadType string, payload []byte) ([]byte, error) {
		return signer.Sign(ctx, payloadType, []byte("{}"))
	})
	_, err := integrity.Signing{}.Sign(t.Context(), m, other)
	wantKind(t, err, integrity.ErrBundle)
	greedy := signerFunc(func(ctx context.Context, payloadType string, payload []byte) ([]byte, error) {
		defer clear(payload)
		return signer.Sign(ctx, payloadType, payload)
	})
	if _, err := (integrity.Signing{}).Sign(t.Context(), m, greedy); err != nil {
		t.Errorf("a signer that clears its copy: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := (integrity.Signing{}).Sign(ctx, m, signer); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	_, err = integrity.Signing{Name: "a\xff"}.Sign(t.Context(), m, signer)
	wantKind(t, err, integrity.ErrStatement)

	good := integrity.Resource{Path: "a", Digest: "sha256:" + sumA}
	for name, tt := range map[string]struct {
		m    integrity.Manifest
		want error
	}{
		"zero":       {integrity.Manifest{}, integrity.ErrManifest},
		"no_files":   {integrity.Manifest{Parameters: integrity.Parameters{Algorithm: "sha256"}}, integrity.ErrManifest},
		"negative":   {integrity.Manifest{Parameters: integrity.Parameters{Algorithm: "sha256", ShardSize: -1}, Resources: []integrity.Resource{good}}, integrity.ErrManifest},
		"ignore":     {integrity.Manifest{Parameters: integrity.Parameters{Algorithm: "sha256", Ignore: []string{"/"}}, Resources: []integrity.Resource{good}}, integrity.ErrManifest},
		"pattern":    {integrity.Manifest{Parameters: integrity.Parameters{Algorithm: "sha256", Ignore: []string{"*"}}, Resources: []integrity.Resource{good}}, integrity.ErrManifest},
		"digest":     {integrity.Manifest{Parameters: integrity.Parameters{Algorithm: "sha256"}, Resources: []integrity.Resource{{Path: "a", Digest: "nonsense"}}}, integrity.ErrManifest},
		"utf8":       {integrity.Manifest{Parameters: integrity.Parameters{Algorithm: "sha256"}, Resources: []integrity.Resource{{Path: "a\xff", Digest: good.Digest}}}, integrity.ErrManifest},
		"range":      {integrity.Manifest{Parameters: integrity.Parameters{Algorithm: "sha256"}, Resources: []integrity.Resource{{Path: "a", End: 1, Digest: good.Digest}}}, integrity.ErrManifest},
		"two_single": {integrity.Manifest{Parameters: integrity.Parameters{Algorithm: "sha256"}, SingleFile: true, Resources: []integrity.Resource{good, {Path: "b", Digest: good.Digest}}}, integrity.ErrManifest},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := integrity.Signing{}.Sign(t.Context(), &tt.m, signer)
			wantKind(t, err, tt.want)
		})
	}
	blake3 := mustHash(t, integrity.Hasher{Algorithm: integrity.BLAKE3, ShardSize: 4}, tiny())
	_, err = integrity.Signing{Form: integrity.FormPython}.Sign(t.Context(), blake3, signer)
	wantKind(t, err, integrity.ErrUnsupported)
	if root := (&integrity.Manifest{Resources: []integrity.Resource{{Path: "a", Digest: "nonsense"}}}).Root(); root != "" {
		t.Errorf("root %q of a malformed digest", root)
	}
}

// TestSignPrecomputed signs digests that are known from elsewhere, without the
// files, and verifies the files.
func TestSignPrecomputed(t *testing.T) {
	signer, trust := testKeys(t, "precomputed")
	m := &integrity.Manifest{
		Parameters: integrity.Parameters{Algorithm: integrity.SHA256},
		Resources: []integrity.Resource{
			{Path: "sub/w.bin", Digest: "sha256:" + sumW},
			{Path: "a.txt", Digest: "sha256:" + sumA},
		},
	}
	m.Sort()
	if m.Root() != tinyRoot {
		t.Errorf("root %s, want %s", m.Root(), tinyRoot)
	}
	bundle := mustSign(t, m, signer)
	r, err := integrity.Verifier{Strict: true}.Verify(t.Context(), tiny(), bundle, trust)
	checkSource(t, r, err)
	if err != nil {
		t.Error(err)
	}
	m.Resources[0].Digest = "sha256:" + sumW
	_, err = integrity.Verifier{}.Verify(t.Context(), tiny(), mustSign(t, m, signer), trust)
	wantKind(t, err, integrity.ErrMismatch)
}

// TestZeroValues: what no constructor made has no key, and says so.
func TestZeroValues(t *testing.T) {
	signer, _ := testKeys(t, "zero")
	bundle := mustSign(t, mustHash(t, integrity.Hasher{}, tiny()), signer)
	sign := func(s prerun.Signer) error {
		_, err := s.Sign(t.Context(), integrity.StatementType, []byte("{}"))
		return err
	}
	_, verified := new(integrity.KeyVerifier).Verify(t.Context(), bundle)
	_, remote := new(integrity.RemoteSigner).Sign(nil, make([]byte, 32), crypto.SHA256)
	for name, err := range map[string]error{
		"KeySigner": sign(new(integrity.KeySigner)), "CertificateSigner": sign(new(integrity.CertificateSigner)),
		"KeyVerifier": verified, "RemoteSigner": remote,
	} {
		if !errors.Is(err, integrity.ErrUnsupported) {
			t.Errorf("%s: error %v, want %v", name, err, integrity.ErrUnsupported)
		}
	}
	if v, err := integrity.NewCertificateVerifier(nil); err == nil {
		t.Errorf("no certificate makes %v", v)
	}
}

// TestLegacyDefects are statements of version 0.2, one defect each.
func TestLegacyDefects(t *testing.T) {
	const good = `{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"a.txt","digest":{"sha256":"` + sumA + `"},"annotations":{}}],` +
		`"predicateType":"https://model_signing/Digests/v0.1","predicate":{"unused":""}}`
	for _, tt := range []struct {
		name, payload string
		strict        bool
		want          error
	}{
		{"good", good, false, nil},
		{"strict", good, true, integrity.ErrStatement},
		{"no_subject", replace(t, good, good[strings.Index(good, `[{"name"`):strings.Index(good, `,"predicateType"`)], "[]"), false, integrity.ErrStatement},
		{"no_digest", replace(t, good, `"sha256":`, `"sha512":`), false, integrity.ErrStatement},
		{"name_number", replace(t, good, `"name":"a.txt"`, `"name":1`), false, integrity.ErrStatement},
		{"case_variant", replace(t, good, `"annotations":`, `"Digest":`), false, integrity.ErrStatement},
		{"short_digest", replace(t, good, sumA, sumA[2:]), false, integrity.ErrManifest},
		{"upwards", replace(t, good, "a.txt", "../a.txt"), false, integrity.ErrManifest},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := integrity.ParseStatement([]byte(tt.payload), tt.strict, true)
			wantKind(t, err, tt.want)
		})
	}
}

// A tornFS fails in the middle of its files.
type tornFS struct{ fstest.MapFS }

func (s tornFS) Open(name string) (fs.File, error) {
	f, err := s.MapFS.Open(name)
	if err != nil || name == "." {
		return f, err
	}
	return tornFile{f}, nil
}

type tornFile struct{ fs.File }

func (f tornFile) Read(p []byte) (int, error) { return 0, io.ErrNoProgress }

func TestTornRead(t *testing.T) {
	for _, shard := range []int64{0, 8} {
		_, err := integrity.Hasher{ShardSize: shard}.Hash(t.Context(), tornFS{fstest.MapFS{"a": {Data: []byte("x")}, "b": {Data: []byte("y")}}})
		wantKind(t, err, integrity.ErrRead)
		if got := err.Error(); !strings.Contains(got, `"a": `) || !strings.Contains(got, `"b": `) {
			t.Errorf("%q does not name every file", got)
		}
	}
}

// TestParseMemory: what a hostile bundle makes the parser allocate is bounded
// by a multiple of its size.
func TestParseMemory(t *testing.T) {
	_, trust := testKeys(t, "memory")
	good := statement(serializeFiles, resource{Name: "a", Digest: sumA})
	const size = 4 << 20
	for name, hostile := range map[string]string{
		"values":     "[" + strings.Repeat("[],", size/3) + "[]]",
		"nesting":    strings.Repeat("[", size),
		"members":    `{"a":` + strings.Repeat(`{"a":`, size/5),
		"long":       `"` + strings.Repeat("a", size) + `"`,
		"escapes":    `"` + strings.Repeat(`\u0061`, size/6) + `"`,
		"in_bundle":  `{"mediaType":"x","verificationMaterial":{"tlogEntries":[` + strings.Repeat("0,", size/2) + "0]}}",
		"whitespace": strings.Repeat(" ", size),
	} {
		t.Run(name, func(t *testing.T) {
			testutil.AllocBound(t, 8*size+(32<<20), func() {
				if _, err := (integrity.Verifier{}).Verify(t.Context(), tiny(), []byte(hostile), trust); !errors.Is(err, integrity.ErrBundle) {
					t.Errorf("error %v", err)
				}
			})
		})
	}
	// A statement is parsed only once its signer is trusted.
	t.Run("statement", func(t *testing.T) {
		payload := replace(t, good, `"resources":[`, `"resources":[`+strings.Repeat(`{},`, size/6))
		testutil.AllocBound(t, 256*size, func() {
			_, err := integrity.ParseStatement([]byte(payload), false, false)
			wantKind(t, err, integrity.ErrStatement)
		})
	})
}
