package integrity

import (
	"github.com/opencontainers/go-digest"

	"github.com/prerun/prerun/internal/strictjson"
)

// legacyStatement reads what version 0.2.0 of the Python tool signed: one
// subject for each file, no root digest and no parameters.
func (p *statementParser) legacyStatement(v *strictjson.Value) (*statement, error) {
	if err := p.let(ErrStatement, v, LenientV02, "a bundle of version 0.2, which commits to less"); err != nil {
		return nil, err
	}
	list := v.Get("subject")
	switch {
	case list.Kind != strictjson.Array || len(list.Items) == 0:
		return nil, at(list, "no subjects")
	case len(list.Items) > MaxResources:
		return nil, newError(ErrManifest, "", "%d subjects, the limit is %d", len(list.Items), MaxResources)
	}
	m := &Manifest{Parameters: Parameters{Algorithm: SHA256}}
	for i := range list.Items {
		s := &list.Items[i]
		if err := p.members(s, "a subject", true, "name digest", ""); err != nil {
			return nil, err
		}
		name, sum := s.Get("name"), s.Get("digest").Get(SHA256)
		if name.Kind != strictjson.String || sum == nil || sum.Kind != strictjson.String {
			return nil, at(s, "a subject has no name or no sha256 digest")
		}
		text, err := p.hexadecimal(sum, sum.Text)
		if err != nil {
			return nil, err
		}
		m.Resources = append(m.Resources, Resource{Path: name.Text, Digest: digest.Digest(SHA256 + ":" + text)})
	}
	m.SingleFile = len(m.Resources) == 1 && m.Resources[0].Path == selfName
	if err := m.Check(); err != nil {
		return nil, err
	}
	return &statement{manifest: m, old: true}, nil
}
