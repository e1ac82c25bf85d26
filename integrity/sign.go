package integrity

import (
	"bytes"
	"context"
	"errors"
	"strings"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/internal/dsse"
)

// StatementType is the payload type of everything that is signed here.
const StatementType = dsse.InTotoType

// Signing says how a manifest is written down for signing.
type Signing struct {
	// Name is what the signer calls the model, such as the name of its folder.
	// It is informational, and "" means "model".
	Name string
	Form Form
}

// Statement is the statement that [Signing.Sign] has signed: an in-toto
// statement in compact JSON, the same bytes each time. It fails with the errors
// of [Manifest.Check], and with [ErrUnsupported] where the form cannot say what
// the manifest says.
func (s Signing) Statement(m *Manifest) ([]byte, error) {
	if err := m.Check(); err != nil {
		return nil, err
	}
	if err := checkNoGlob(m.Ignore); err != nil {
		return nil, &Error{Kind: ErrManifest, Err: err}
	}
	if s.Form == FormPython && m.ShardSize > 0 && m.Algorithm == BLAKE3 {
		return nil, newError(ErrUnsupported, "", "the Python tool cannot shard by %s", m.Algorithm)
	}
	if s.Form == FormPython && m.ShardSize > 0 && !m.SingleFile {
		for _, r := range m.Resources {
			if strings.Contains(r.Path, ":") {
				return nil, newError(ErrUnsupported, r.Path, "the Python tool cannot shard a path with a colon")
			}
		}
	}
	if s.Name == "" {
		s.Name = "model"
	}
	if strings.ToValidUTF8(s.Name, "") != s.Name {
		return nil, newError(ErrStatement, "", "the name %q is not valid UTF-8", s.Name)
	}
	return encodeStatement(s.Name, m, s.Form), nil
}

// Sign has the manifest signed and returns the bundle. A signer that returns
// anything but a bundle of the statement is an error: nothing half-signed
// leaves this package. What is odd about the names is in [Manifest.Findings].
func (s Signing) Sign(ctx context.Context, m *Manifest, signer prerun.Signer) ([]byte, error) {
	if signer == nil {
		return nil, errors.New("sign: no signer")
	}
	payload, err := s.Statement(m)
	if err != nil {
		return nil, err
	}
	bundle, err := signer.Sign(ctx, StatementType, bytes.Clone(payload))
	if err != nil {
		return nil, err
	}
	b, err := parseBundle(bundle)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(b.Envelope.Payload, payload) {
		return nil, newError(ErrBundle, "", "the signer signed something else")
	}
	return bundle, nil
}

// parseBundle reads a bundle and checks what every method has in common.
func parseBundle(data []byte) (*dsse.Bundle, error) {
	b, err := dsse.ParseBundle(data)
	switch {
	case err != nil:
		return nil, &Error{Kind: ErrBundle, Err: err}
	case b.MediaType != dsse.MediaType:
		return nil, newError(ErrBundle, "", "media type %q, want %q", b.MediaType, dsse.MediaType)
	case b.Envelope.PayloadType != StatementType:
		return nil, newError(ErrBundle, "", "payload type %q, want %q", b.Envelope.PayloadType, StatementType)
	case len(b.Envelope.Signatures) != 1:
		return nil, newError(ErrBundle, "", "%d signatures, want one", len(b.Envelope.Signatures))
	}
	return b, nil
}
