package integrity_test

import (
	"testing"

	"github.com/prerun/prerun/integrity"
)

// TestNil: whoever forgets an argument is told, and the program goes on.
func TestNil(t *testing.T) {
	signer, trust := testKeys(t, "nil")
	manifest := mustHash(t, integrity.Hasher{}, tiny())
	bundle := mustSign(t, manifest, signer)
	ctx := t.Context()
	for name, call := range map[string]func() (any, error){
		"hash":           func() (any, error) { return integrity.Hasher{}.Hash(ctx, nil) },
		"hash_each":      func() (any, error) { return integrity.Hasher{}.HashEach(ctx, nil, integrity.Variant{}) },
		"hash_file":      func() (any, error) { return integrity.Hasher{}.HashFile(ctx, nil, "a") },
		"hash_file_each": func() (any, error) { return integrity.Hasher{}.HashFileEach(ctx, nil, "a", integrity.Variant{}) },
		"statement":      func() (any, error) { return integrity.Signing{}.Statement(nil) },
		"sign_manifest":  func() (any, error) { return integrity.Signing{}.Sign(ctx, nil, signer) },
		"sign_signer":    func() (any, error) { return integrity.Signing{}.Sign(ctx, manifest, nil) },
		"check":          func() (any, error) { var m *integrity.Manifest; return nil, m.Check() },
		"verify_tree":    func() (any, error) { return integrity.Verifier{}.Verify(ctx, nil, bundle, trust) },
		"verify_trust":   func() (any, error) { return integrity.Verifier{}.Verify(ctx, tiny(), bundle, nil) },
		"verify_bundle":  func() (any, error) { return integrity.Verifier{}.Verify(ctx, tiny(), nil, trust) },
		"file_tree":      func() (any, error) { return integrity.Verifier{}.VerifyFile(ctx, nil, "a", bundle, trust) },
		"file_trust":     func() (any, error) { return integrity.Verifier{}.VerifyFile(ctx, tiny(), "a", bundle, nil) },
		"paths_tree": func() (any, error) {
			return integrity.Verifier{}.VerifyPaths(ctx, nil, []string{"a.txt"}, bundle, trust)
		},
		"paths_trust": func() (any, error) {
			return integrity.Verifier{}.VerifyPaths(ctx, tiny(), []string{"a.txt"}, bundle, nil)
		},
		"manifest":       func() (any, error) { return integrity.Verifier{}.VerifyManifest(ctx, nil, bundle, trust) },
		"manifest_trust": func() (any, error) { return integrity.Verifier{}.VerifyManifest(ctx, manifest, bundle, nil) },
		"guard_tree":     func() (any, error) { return nil, integrity.Verifier{}.Guard(bundle, trust)(ctx, nil) },
		"guard_trust":    func() (any, error) { return nil, integrity.Verifier{}.Guard(bundle, nil)(ctx, tiny()) },
		"key_signer":     func() (any, error) { return integrity.NewKeySigner(nil) },
		"key_verifier":   func() (any, error) { return integrity.NewKeyVerifier(nil) },
		"certificate":    func() (any, error) { return integrity.NewCertificateSigner(nil, nil) },
		"remote":         func() (any, error) { return integrity.NewRemoteSigner(ctx, nil) },
		"cert_verifier":  func() (any, error) { return integrity.NewCertificateVerifier(nil) },
		"policy_signer":  func() (any, error) { return integrity.KeyPolicy{RSA: true}.KeySigner(nil) },
		"policy_key":     func() (any, error) { return integrity.KeyPolicy{RSA: true}.KeyVerifier(nil) },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if p := recover(); p != nil {
					t.Errorf("panic: %v", p)
				}
			}()
			if _, err := call(); err == nil {
				t.Error("no error")
			}
		})
	}
}
