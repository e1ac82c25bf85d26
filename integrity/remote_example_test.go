package integrity_test

import (
	"bytes"
	"context"
	"crypto"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"

	"github.com/prerun/prerun/integrity"
	"github.com/prerun/prerun/internal/keys"
)

// kmsKey is a key of a key management service: all that a client needs to
// write, be it over HTTP, as here, or over a vendor's library.
type kmsKey struct {
	url    string
	client *http.Client
}

func (k kmsKey) PublicKey(ctx context.Context) (crypto.PublicKey, error) {
	text, err := k.call(ctx, http.MethodGet, "/public-key", nil)
	if err != nil {
		return nil, err
	}
	return integrity.ParsePublicKey(text)
}

func (k kmsKey) SignDigest(ctx context.Context, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	body, err := json.Marshal(map[string]any{"algorithm": opts.HashFunc().String(), "digest": digest})
	if err != nil {
		return nil, err
	}
	return k.call(ctx, http.MethodPost, "/sign", body)
}

func (k kmsKey) call(ctx context.Context, method, path string, body []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, k.url+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	resp, err := k.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the service answers %s", resp.Status)
	}
	return io.ReadAll(io.LimitReader(resp.Body, 1<<16))
}

// A key that never leaves its service signs a model. Only digest and signature
// travel, and the signature is verified before it is written.
func ExampleNewRemoteSigner() {
	service := httptest.NewServer(fakeKMS(keys.Demo("key in a service")))
	defer service.Close()

	ctx := context.Background()
	remote, err := integrity.NewRemoteSigner(ctx, kmsKey{service.URL, service.Client()})
	if err != nil {
		log.Fatal(err)
	}
	signer, err := integrity.NewKeySigner(remote)
	if err != nil {
		log.Fatal(err)
	}
	manifest, err := integrity.Hasher{}.Hash(ctx, exampleModel)
	if err != nil {
		log.Fatal(err)
	}
	bundle, err := integrity.Signing{Name: "example"}.Sign(ctx, manifest, signer)
	if err != nil {
		log.Fatal(err)
	}

	trust, err := integrity.NewKeyVerifier(remote.Public())
	if err != nil {
		log.Fatal(err)
	}
	result, err := integrity.Verifier{Strict: true}.Verify(ctx, exampleModel, bundle, trust)
	fmt.Println(result.Verified(), err)
	// Output: true <nil>
}

// fakeKMS stands for the service.
func fakeKMS(key crypto.Signer) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /public-key", func(w http.ResponseWriter, _ *http.Request) {
		text, err := keys.MarshalPublic(key.Public())
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Write(text)
	})
	mux.HandleFunc("POST /sign", func(w http.ResponseWriter, r *http.Request) {
		var req struct{ Algorithm, Digest string }
		if err := json.NewDecoder(r.Body).Decode(&req); err != nil || req.Algorithm != crypto.SHA256.String() {
			http.Error(w, "bad request", http.StatusBadRequest)
			return
		}
		digest, err := base64.StdEncoding.DecodeString(req.Digest)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		sig, err := key.Sign(nil, digest, crypto.SHA256)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Write(sig)
	})
	return mux
}
