package main

import (
	"bytes"
	"crypto/x509"
	"net/http"

	"github.com/spf13/cobra"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/integrity"
	"github.com/prerun/prerun/integrity/sigstore"
)

// timestampFlags say who is asked and who is believed about the time of a
// signature by key or certificate.
type timestampFlags struct {
	authority string
	servers   []string
}

func (f *timestampFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.authority, "timestamp-authority", "",
		"`FILE` with the certificates of a trusted timestamp authority (PEM), or a trusted root with some")
}

func (f *timestampFlags) addServers(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&f.servers, "timestamp-server", nil,
		"`URL` of a timestamp authority to ask, which sees the digest of the signature (repeatable)")
}

// stamped is the signer, or one that has its signatures timestamped. What the
// servers answer must be by the authority, where one is given.
func (f *timestampFlags) stamped(signer prerun.Signer) (prerun.Signer, error) {
	root, err := f.root()
	if err != nil || len(f.servers) == 0 {
		return signer, err
	}
	return sigstore.TimestampSigner{Signer: signer, Authorities: f.servers, Transport: http.DefaultTransport, Root: root}, nil
}

// trust is nil where nobody is to be believed.
func (f *timestampFlags) trust() (integrity.TimeVerifier, error) {
	root, err := f.root()
	if err != nil || root == nil {
		return nil, err
	}
	return sigstore.TimestampVerifier{Root: root}, nil
}

func (f *timestampFlags) root() (*sigstore.TrustedRoot, error) {
	if f.authority == "" {
		return nil, nil
	}
	data, err := readFile(f.authority)
	if err != nil {
		return nil, err
	}
	if bytes.HasPrefix(bytes.TrimSpace(data), []byte("{")) {
		root, err := sigstore.ParseTrustedRoot(data)
		if err != nil {
			return nil, named(f.authority, err)
		}
		return root, nil
	}
	certs, err := integrity.ParseCertificates(data)
	if err != nil {
		return nil, named(f.authority, err)
	}
	certs = rootLast(certs)
	root, err := sigstore.NewTimestampRoot(certs[len(certs)-1].Subject.String(), certs...)
	if err != nil {
		return nil, named(f.authority, err)
	}
	return root, nil
}

// rootLast moves the first certificate that signs itself to the end. Files have
// either order.
func rootLast(certs []*x509.Certificate) []*x509.Certificate {
	for i, c := range certs {
		if bytes.Equal(c.RawSubject, c.RawIssuer) && c.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature) == nil {
			return append(append(certs[:i:i], certs[i+1:]...), c)
		}
	}
	return certs
}
