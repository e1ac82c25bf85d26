// Package sigstorex is what the Sigstore leaves share: trusted roots, signer
// identities, verification and signing of bundles that hold a DSSE envelope.
//
// It is the only caller of sigstore-go. The bundle is read twice, by our strict
// decoder and by sigstore-go, and both readings must agree; so a verifier never
// authenticates other bytes than it returns. Verification opens no connection:
// nothing here imports a client but the signing side, which sends through the
// transport that it is given.
package sigstorex

import (
	"errors"
	"strings"

	"github.com/prerun/prerun/internal/dsse"
)

// Classes of errors. Each names the first thing that is wrong with a bundle, in
// this order.
var (
	ErrMalformed   = dsse.ErrMalformed
	ErrMethod      = errors.New("signed by another method")
	ErrUnsupported = dsse.ErrUnsupported
	ErrSignature   = dsse.ErrSignature
	ErrLog         = errors.New("no trusted log has recorded the signature")
	ErrTime        = errors.New("time of signing is not proven")
	ErrCertificate = errors.New("certificate is not by a trusted authority, or was not valid when it signed")
	ErrSCT         = errors.New("no trusted log has recorded the certificate")
	ErrIdentity    = errors.New("signed by another identity")
)

// oneLine flattens an error of sigstore-go, which may hold several lines and
// bytes from the bundle, for use in a message.
func oneLine(err error) string {
	const most = 300
	text := strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(err.Error(), "?"))
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "..."
	}
	return text
}

// A detail is an error of sigstore-go with its text made fit to print. It can
// still be unwrapped.
type detail struct{ err error }

func (d detail) Error() string { return oneLine(d.err) }
func (d detail) Unwrap() error { return d.err }
