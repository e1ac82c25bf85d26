package sigstore

import (
	"context"
	"net/http"

	"github.com/prerun/prerun/internal/sigstorex"
)

// A Signer signs without a long-lived key. It is a [prerun.Signer], safe for
// concurrent use if its transport is.
//
// Each signature is by a new P-256 key, which is forgotten. The identity of the
// token and the digest of what is signed become public in the logs.
type Signer struct {
	IDToken  string // OpenID Connect identity token, by an issuer that the authority accepts
	Services Services

	// Transport carries every request; nil is an error. To reach a real
	// instance, use a clone of http.DefaultTransport.
	Transport http.RoundTripper

	// Root, where it is given, is what the finished bundle must verify against,
	// by everything but the identity, before Sign returns it.
	Root *TrustedRoot
}

// Sign implements [prerun.Signer]. The bundle is of version 0.3.
func (s Signer) Sign(ctx context.Context, payloadType string, payload []byte) ([]byte, error) {
	signing := sigstorex.Signing{Token: s.IDToken, Services: s.Services.internal(), Transport: s.Transport}
	if s.Root != nil {
		signing.Root = s.Root.root
	}
	bundle, err := signing.Sign(ctx, payloadType, payload)
	if err != nil {
		return nil, kinded(err)
	}
	return bundle, nil
}
