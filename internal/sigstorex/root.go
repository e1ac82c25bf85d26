package sigstorex

import (
	"crypto/x509"
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	trustpb "github.com/sigstore/protobuf-specs/gen/pb-go/trustroot/v1"
	"github.com/sigstore/sigstore-go/pkg/root"

	"github.com/prerun/prerun/internal/strictjson"
)

// The trusted roots of sigstore.dev and of sigstage.dev: Copyright The Sigstore
// Authors, Apache License 2.0, as the Python package sigstore 4.5.1 ships them.
// The first is byte for byte what the npm package @sigstore/tuf 5.0.1 of
// 2026-11-05 ships.
var (
	//go:embed public_good.json
	publicGoodJSON []byte
	//go:embed staging.json
	stagingJSON []byte
)

// maxTrust bounds trust documents, which have some kilobytes.
const maxTrust = 1 << 20

// A Root is trust material: the keys and certificates of the services of an
// instance. It does not change and is safe for concurrent use.
type Root struct{ material root.TrustedMaterial }

// PublicGood returns the root of the public-good instance, and Staging that of
// its staging instance.
var (
	PublicGood = sync.OnceValue(func() *Root { return embedded(publicGoodJSON) })
	Staging    = sync.OnceValue(func() *Root { return embedded(stagingJSON) })
)

func embedded(data []byte) *Root {
	r, err := ParseRoot(data)
	if err != nil {
		panic("the embedded root: " + err.Error())
	}
	return r
}

// ParseRoot reads a trusted root, or the one in a client trust configuration.
func ParseRoot(data []byte) (*Root, error) {
	message := new(trustpb.TrustedRoot)
	config, err := parseTrust(data, message)
	if err != nil {
		return nil, err
	}
	if config != nil {
		message = config.TrustedRoot
	}
	material, err := root.NewTrustedRootFromProtobuf(message)
	if err != nil {
		return nil, detail{err}
	}
	for _, ca := range material.FulcioCertificateAuthorities() {
		if f, ok := ca.(*root.FulcioCertificateAuthority); ok && f.Root == nil {
			return nil, errors.New("an authority without certificates")
		}
	}
	if len(material.FulcioCertificateAuthorities())+len(material.TimestampingAuthorities()) == 0 {
		return nil, errors.New("it trusts no authority")
	}
	return &Root{material}, nil
}

// parseTrust reads a document that is either a client trust configuration or
// of the given kind. JSON is checked strictly first, because a member that is
// given twice would leave open what is trusted.
func parseTrust(data []byte, other proto.Message) (*trustpb.ClientTrustConfig, error) {
	tree, err := strictjson.Parse(data, strictjson.Limits{Bytes: maxTrust})
	if err != nil {
		return nil, err
	}
	const client = "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json"
	if v := tree.Get("mediaType"); v != nil && v.Text == client {
		config := new(trustpb.ClientTrustConfig)
		if err := protojson.Unmarshal(data, config); err != nil {
			return nil, fmt.Errorf("client trust configuration: %w", detail{err})
		}
		return config, nil
	}
	if err := protojson.Unmarshal(data, other); err != nil {
		return nil, detail{err}
	}
	return nil, nil
}

// NewTimestampRoot trusts one timestamp authority, whose tokens carry their
// certificate: name is what it is called in results, the last certificate is
// its root, those before lead to it.
func NewTimestampRoot(name string, certs ...*x509.Certificate) (*Root, error) {
	if len(certs) == 0 || slices.Contains(certs, nil) {
		return nil, errors.New("timestamp authority: no certificate")
	}
	if name == "" {
		return nil, errors.New("timestamp authority: no name")
	}
	authority := &root.SigstoreTimestampingAuthority{URI: name, Root: certs[len(certs)-1]}
	for i, c := range certs[:len(certs)-1] {
		if i == 0 && !c.IsCA {
			authority.Leaf = c
			continue
		}
		authority.Intermediates = append(authority.Intermediates, c)
	}
	material, err := root.NewTrustedRoot(root.TrustedRootMediaType01, nil, nil, []root.TimestampingAuthority{authority}, nil)
	if err != nil {
		return nil, err
	}
	return &Root{material}, nil
}

// A Log is a transparency log to write to.
type Log struct {
	URL     string
	Version int // of Rekor's interface: 1 or 2
}

// Services are where a signer asks.
type Services struct {
	Authority  string   // URL of the certificate authority (Fulcio)
	Logs       []Log    // each records the signature
	Timestamps []string // URLs of timestamp authorities; each is asked
}

// ParseServices reads a signing configuration, or the one in a client trust
// configuration, and selects the services of the highest version that are valid
// at the time. Where it leaves the choice open, the newest is taken.
func ParseServices(data []byte, at time.Time) (*Services, error) {
	message := new(trustpb.SigningConfig)
	config, err := parseTrust(data, message)
	if err != nil {
		return nil, err
	}
	if config != nil {
		message = config.SigningConfig
	}
	signing, err := root.NewSigningConfigFromProtobuf(message)
	if err != nil {
		return nil, detail{err}
	}
	authority, err := root.SelectService(signing.FulcioCertificateAuthorityURLs(), []uint32{1}, at)
	if err != nil {
		return nil, fmt.Errorf("certificate authority: %w", detail{err})
	}
	out := &Services{Authority: authority.URL}
	logs, err := choose(signing.RekorLogURLs(), message.GetRekorTlogConfig(), []uint32{1, 2}, at)
	if err != nil {
		return nil, fmt.Errorf("transparency logs: %w", err)
	}
	for _, s := range logs {
		out.Logs = append(out.Logs, Log{s.URL, int(s.MajorAPIVersion)})
	}
	stamps, err := choose(signing.TimestampAuthorityURLs(), message.GetTsaConfig(), []uint32{1}, at)
	if err != nil {
		return nil, fmt.Errorf("timestamp authorities: %w", err)
	}
	for _, s := range stamps {
		out.Timestamps = append(out.Timestamps, s.URL)
	}
	return out, nil
}

// choose is root.SelectServices without its dice.
func choose(services []root.Service, config *trustpb.ServiceConfiguration, versions []uint32, at time.Time) ([]root.Service, error) {
	if len(services) == 0 {
		return nil, nil
	}
	all := root.ServiceConfiguration{Selector: trustpb.ServiceSelector_ALL}
	valid, err := root.SelectServices(services, all, versions, at)
	if err != nil {
		return nil, detail{err}
	}
	switch selector := config.GetSelector(); selector {
	case trustpb.ServiceSelector_ALL:
		return valid, nil
	case trustpb.ServiceSelector_ANY:
		return valid[:1], nil
	case trustpb.ServiceSelector_EXACT:
		if n := int(config.GetCount()); n > 0 && n <= len(valid) {
			return valid[:n], nil
		}
		return nil, fmt.Errorf("%d of %d are asked for", config.GetCount(), len(valid))
	default:
		return nil, fmt.Errorf("no selector, but %s", selector)
	}
}
