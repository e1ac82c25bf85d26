package prerun

import (
	"context"
	"time"
)

// A Signer signs a payload and returns a bundle: a self-contained document that
// holds the payload, the signature and what a verifier needs to find the key.
// It is made of standard types only, so one implementation, be it a key in
// memory, a token or a remote service, serves every package.
//
// Sign must not keep or change payload. An error ends the operation that asked
// for the signature; nothing half-signed is written.
type Signer interface {
	Sign(ctx context.Context, payloadType string, payload []byte) (bundle []byte, err error)
}

// A Verifier decides whether a bundle carries a signature that it trusts, and
// returns what was signed. It reads nothing but the bundle and its own trust
// material, and must not keep or change bundle. Whatever it returns with a nil
// error is authenticated except where [Signed] says otherwise.
type Verifier interface {
	Verify(ctx context.Context, bundle []byte) (*Signed, error)
}

// Signed is what a [Verifier] vouches for.
type Signed struct {
	PayloadType string
	Payload     []byte
	Method      string   // "key", "certificate" or "sigstore"
	Signer      string   // the key's digest, the certificate's subject, or the identity
	Issuer      string   // of the certificate or identity; empty for keys
	Chain       [][]byte // DER certificates, leaf first; nil for keys

	// Times are the proven times of signing by what each rests on, such as the
	// name of a transparency log. Empty means that none was proven.
	Times map[string]time.Time

	Warnings []string // leniencies used, such as a missing key hint
}
