// Package dsse reads and writes signing envelopes: DSSE envelopes alone, and
// Sigstore bundles (version 0.3) around them.
//
// Parsing says nothing about trust. [KeySigner] and [KeyVerifier] are the
// implementations of the vocabulary's Signer and Verifier for a key in hand.
package dsse

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/prerun/prerun/internal/limits"
	"github.com/prerun/prerun/internal/strictjson"
)

// Errors of this package, by class.
var (
	ErrMalformed   = errors.New("not well-formed")
	ErrSignature   = errors.New("signature does not verify")
	ErrKey         = errors.New("signed by another key")
	ErrUnsupported = errors.New("unsupported signature")
)

// MediaType is what every OMS producer writes.
const MediaType = "application/vnd.dev.sigstore.bundle.v0.3+json"

// InTotoType is the payload type of in-toto statements.
const InTotoType = "application/vnd.in-toto+json"

// MaxSignatures bounds the signatures of one envelope.
const MaxSignatures = 64

// bundleLimits hold before anything is authenticated. A payload is one value,
// however long; 32 log entries with their proofs are some thousands.
var bundleLimits = strictjson.Limits{Bytes: limits.MaxBundle, Nodes: 1 << 16}

// PAE is the pre-authentication encoding: the bytes that are really signed.
func PAE(payloadType string, payload []byte) []byte {
	out := make([]byte, 0, len(payloadType)+len(payload)+32)
	return append(appendPreamble(out, payloadType, payload), payload...)
}

// appendPreamble is the encoding but for the payload, which may be large.
func appendPreamble(out []byte, payloadType string, payload []byte) []byte {
	out = append(out, "DSSEv1 "...)
	out = strconv.AppendInt(out, int64(len(payloadType)), 10)
	out = append(out, ' ')
	out = append(out, payloadType...)
	out = append(out, ' ')
	out = strconv.AppendInt(out, int64(len(payload)), 10)
	return append(out, ' ')
}

// A Signature is one signature of an envelope. KeyID is an unauthenticated
// hint.
type Signature struct {
	KeyID string
	Sig   []byte
}

// An Envelope is a DSSE envelope with its payload decoded.
type Envelope struct {
	PayloadType string
	Payload     []byte
	Signatures  []Signature
}

// ParseEnvelope reads a bare DSSE envelope. Unknown members are ignored, as
// the DSSE specification asks.
func ParseEnvelope(data []byte) (*Envelope, error) {
	tree, err := strictjson.Parse(data, bundleLimits)
	if err != nil {
		return nil, malformed(err)
	}
	return envelopeOf(tree, strictjson.Options{AllowUnknown: true})
}

func malformed(err error) error { return fmt.Errorf("%w: %w", ErrMalformed, err) }

func envelopeOf(tree *strictjson.Value, opts strictjson.Options) (*Envelope, error) {
	var wire struct {
		Payload     string `json:"payload,required"`
		PayloadType string `json:"payloadType,required"`
		Signatures  []struct {
			KeyID *string `json:"keyid"`
			Sig   string  `json:"sig,required"`
		} `json:"signatures,required"`
	}
	if _, err := strictjson.Decode(tree, &wire, opts); err != nil {
		return nil, malformed(err)
	}
	payload, err := decodeBase64(wire.Payload)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: payload: %w", ErrMalformed, err)
	case len(payload) == 0:
		return nil, fmt.Errorf("%w: empty payload", ErrMalformed)
	case len(wire.Signatures) == 0:
		return nil, fmt.Errorf("%w: no signature", ErrMalformed)
	case len(wire.Signatures) > MaxSignatures:
		return nil, fmt.Errorf("%w: %d signatures, the limit is %d", ErrMalformed, len(wire.Signatures), MaxSignatures)
	}
	env := &Envelope{PayloadType: wire.PayloadType, Payload: payload}
	for i, s := range wire.Signatures {
		sig, err := decodeBase64(s.Sig)
		if err != nil || len(sig) == 0 {
			return nil, fmt.Errorf("%w: signature %d is not base64 of at least one byte", ErrMalformed, i)
		}
		var keyID string
		if s.KeyID != nil {
			keyID = *s.KeyID
		}
		env.Signatures = append(env.Signatures, Signature{keyID, sig})
	}
	return env, nil
}

// decodeBase64 takes the standard and the URL-safe alphabet, both of which DSSE
// allows, with padding. Stray bits after the last byte and line breaks are
// refused: one payload, one spelling in each alphabet.
func decodeBase64(s string) ([]byte, error) {
	for _, c := range []byte(s) {
		if c == '\n' || c == '\r' {
			return nil, errors.New("line break in base64")
		}
	}
	if b, err := base64.StdEncoding.Strict().DecodeString(s); err == nil {
		return b, nil
	}
	return base64.URLEncoding.Strict().DecodeString(s)
}

// Encode writes the envelope as compact JSON in a fixed order.
func (e *Envelope) Encode() []byte {
	return append(e.appendJSON(nil), '\n')
}

func (e *Envelope) appendJSON(out []byte) []byte {
	out = append(out, `{"payload":"`...)
	out = base64.StdEncoding.AppendEncode(out, e.Payload)
	out = append(out, `","payloadType":`...)
	out = appendString(out, e.PayloadType)
	out = append(out, `,"signatures":[`...)
	for i, s := range e.Signatures {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, `{"sig":"`...)
		out = base64.StdEncoding.AppendEncode(out, s.Sig)
		out = append(out, `","keyid":`...)
		out = appendString(out, s.KeyID)
		out = append(out, '}')
	}
	return append(out, "]}"...)
}

func appendString(out []byte, s string) []byte {
	text, err := json.Marshal(s)
	if err != nil {
		panic("a string always marshals: " + err.Error())
	}
	return append(out, text...)
}
