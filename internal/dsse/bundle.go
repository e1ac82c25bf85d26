package dsse

import (
	"encoding/base64"
	"fmt"

	"github.com/prerun/prerun/internal/strictjson"
)

// Bounds on what a bundle may carry, shared by parser and verifiers.
const (
	MaxCertificates = 16
	MaxTimestamps   = 32
	MaxLogEntries   = 32
)

// A Bundle is a Sigstore bundle that holds a DSSE envelope.
type Bundle struct {
	MediaType string
	Material  Material
	Envelope  Envelope
}

// Material says who signed and when, as the bundle claims. At most one of
// PublicKey, Chain and Certificate is set.
type Material struct {
	PublicKey   *PublicKey
	Chain       [][]byte // x509CertificateChain: DER, leaf first
	Certificate []byte   // certificate: one DER leaf
	Timestamps  [][]byte // RFC 3161 responses, DER
	LogEntries  []strictjson.Value
}

// A PublicKey names the key of a signature.
type PublicKey struct {
	Hint    string // see keys.Hint; may be empty
	RawPEM  []byte // legacy: the PEM text of the key
	Details string // legacy: such as "PKIX_ECDSA_P384_SHA_384"
}

type wireCertificate struct {
	RawBytes string `json:"rawBytes,required"`
}

type wireBundle struct {
	MediaType string           `json:"mediaType,required"`
	Material  wireMaterial     `json:"verificationMaterial,required"`
	Envelope  strictjson.Value `json:"dsseEnvelope,required"`
}

type wireMaterial struct {
	PublicKey *struct {
		Hint       *string `json:"hint"`
		RawBytes   *string `json:"rawBytes"`
		KeyDetails string  `json:"keyDetails"`
	} `json:"publicKey"`
	Chain *struct {
		Certificates []wireCertificate `json:"certificates,required"`
	} `json:"x509CertificateChain"`
	Certificate *wireCertificate   `json:"certificate"`
	LogEntries  []strictjson.Value `json:"tlogEntries"`
	Timestamps  *struct {
		RFC3161 []struct {
			SignedTimestamp string `json:"signedTimestamp,required"`
		} `json:"rfc3161Timestamps"`
	} `json:"timestampVerificationData"`
}

// ParseBundle reads a bundle. Unknown members are errors, as they are for
// every verifier of this format. The media type is not judged here.
func ParseBundle(data []byte) (*Bundle, error) {
	tree, err := strictjson.Parse(data, bundleLimits)
	if err != nil {
		return nil, malformed(err)
	}
	return bundleOf(tree)
}

func bundleOf(tree *strictjson.Value) (*Bundle, error) {
	var wire wireBundle
	if _, err := strictjson.Decode(tree, &wire, strictjson.Options{}); err != nil {
		return nil, malformed(err)
	}
	env, err := envelopeOf(&wire.Envelope, strictjson.Options{})
	if err != nil {
		return nil, err
	}
	material, err := wire.Material.decode()
	if err != nil {
		return nil, err
	}
	return &Bundle{wire.MediaType, *material, *env}, nil
}

func (w *wireMaterial) decode() (*Material, error) {
	m := &Material{LogEntries: w.LogEntries}
	given := 0
	if w.PublicKey != nil {
		given++
		m.PublicKey = &PublicKey{Details: w.PublicKey.KeyDetails}
		if w.PublicKey.Hint != nil {
			m.PublicKey.Hint = *w.PublicKey.Hint
		}
		if w.PublicKey.RawBytes != nil {
			raw, err := decodeBase64(*w.PublicKey.RawBytes)
			if err != nil {
				return nil, fmt.Errorf("%w: publicKey: %w", ErrMalformed, err)
			}
			m.PublicKey.RawPEM = raw
		}
	}
	if w.Chain != nil {
		given++
		if n := len(w.Chain.Certificates); n == 0 || n > MaxCertificates {
			return nil, fmt.Errorf("%w: %d certificates, from 1 to %d are allowed", ErrMalformed, n, MaxCertificates)
		}
		for i, c := range w.Chain.Certificates {
			der, err := decodeBase64(c.RawBytes)
			if err != nil {
				return nil, fmt.Errorf("%w: certificate %d: %w", ErrMalformed, i, err)
			}
			m.Chain = append(m.Chain, der)
		}
	}
	if w.Certificate != nil {
		given++
		der, err := decodeBase64(w.Certificate.RawBytes)
		if err != nil {
			return nil, fmt.Errorf("%w: certificate: %w", ErrMalformed, err)
		}
		m.Certificate = der
	}
	if given != 1 {
		return nil, fmt.Errorf("%w: %d of publicKey, x509CertificateChain and certificate, want one", ErrMalformed, given)
	}
	return m, w.decodeTimes(m)
}

func (w *wireMaterial) decodeTimes(m *Material) error {
	if len(w.LogEntries) > MaxLogEntries {
		return fmt.Errorf("%w: %d log entries, the limit is %d", ErrMalformed, len(w.LogEntries), MaxLogEntries)
	}
	if w.Timestamps == nil {
		return nil
	}
	if n := len(w.Timestamps.RFC3161); n > MaxTimestamps {
		return fmt.Errorf("%w: %d timestamps, the limit is %d", ErrMalformed, n, MaxTimestamps)
	}
	for i, t := range w.Timestamps.RFC3161 {
		der, err := decodeBase64(t.SignedTimestamp)
		if err != nil {
			return fmt.Errorf("%w: timestamp %d: %w", ErrMalformed, i, err)
		}
		m.Timestamps = append(m.Timestamps, der)
	}
	return nil
}

// Encode writes the bundle of a key or certificate signature as compact JSON
// in a fixed order. Log entries are not written: they come from services whose
// own encoder made them.
func (b *Bundle) Encode() []byte {
	out := append([]byte(nil), `{"mediaType":`...)
	out = appendString(out, b.MediaType)
	out = append(out, `,"verificationMaterial":{`...)
	if b.Material.PublicKey != nil {
		out = append(out, `"publicKey":{"hint":`...)
		out = appendString(out, b.Material.PublicKey.Hint)
	} else {
		out = append(out, `"x509CertificateChain":{"certificates":[`...)
		for i, der := range b.Material.Chain {
			if i > 0 {
				out = append(out, ',')
			}
			out = append(out, `{"rawBytes":"`...)
			out = base64.StdEncoding.AppendEncode(out, der)
			out = append(out, `"}`...)
		}
		out = append(out, ']')
	}
	out = append(out, `},"tlogEntries":[]`...)
	if len(b.Material.Timestamps) > 0 {
		out = append(out, `,"timestampVerificationData":{"rfc3161Timestamps":[`...)
		for i, der := range b.Material.Timestamps {
			if i > 0 {
				out = append(out, ',')
			}
			out = append(out, `{"signedTimestamp":"`...)
			out = base64.StdEncoding.AppendEncode(out, der)
			out = append(out, `"}`...)
		}
		out = append(out, "]}"...)
	}
	out = append(out, `},"dsseEnvelope":`...)
	out = b.Envelope.appendJSON(out)
	return append(out, "}\n"...)
}
