package provenance

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prerun/prerun/internal/strictjson"
)

// A VSA is the predicate of a SLSA verification summary, version 1: a signed
// "I checked this".
type VSA struct {
	VerifierID        string
	VerifierVersion   map[string]string
	TimeVerified      time.Time // zero when not stated
	ResourceURI       string
	Policy            Descriptor
	InputAttestations []Descriptor // all of them, each with a digest, or nil
	Passed            bool
	VerifiedLevels    []string
	DependencyLevels  map[string]uint64 // nil makes no claim, empty says "no dependencies"
	SLSAVersion       string

	// Extensions are the members that the specification does not define. Their
	// names have the form vendor_field.
	Extensions map[string]any
}

type wireVSA struct {
	Verifier struct {
		ID      string            `json:"id,required"`
		Version map[string]string `json:"version"`
	} `json:"verifier,required"`
	TimeVerified     *time.Time        `json:"timeVerified"`
	ResourceURI      string            `json:"resourceUri,required"`
	Policy           *strictjson.Value `json:"policy,required"`
	Inputs           *strictjson.Value `json:"inputAttestations"`
	Result           string            `json:"verificationResult,required"`
	VerifiedLevels   []string          `json:"verifiedLevels,required"`
	DependencyLevels map[string]uint64 `json:"dependencyLevels"`
	SLSAVersion      *string           `json:"slsaVersion"`
}

var vsaMembers = []string{
	"verifier", "timeVerified", "resourceUri", "policy", "inputAttestations",
	"verificationResult", "verifiedLevels", "dependencyLevels", "slsaVersion",
}

// VSA decodes the predicate of a statement of type [VSAType], as strictly as
// the statement. A summary that passed lists at least one level and not
// FAILED; one that failed does not claim a level. Errors wrap [ErrStatement].
func (s *Statement) VSA() (*VSA, error) {
	var wire wireVSA
	tree, err := s.predicate(VSAType, &wire, vsaMembers)
	if err != nil {
		return nil, err
	}
	v, err := wire.vsa(tree)
	if err != nil {
		return nil, statementError("predicate", err)
	}
	return v, nil
}

func (w *wireVSA) vsa(tree *strictjson.Value) (*VSA, error) {
	switch {
	case w.Verifier.ID == "":
		return nil, at(tree.Get("verifier"), "empty verifier id")
	case w.ResourceURI == "":
		return nil, at(tree.Get("resourceUri"), "empty resource URI")
	case w.Result != "PASSED" && w.Result != "FAILED":
		return nil, at(tree.Get("verificationResult"), "the result is %q, not PASSED or FAILED", clip(w.Result))
	}
	v := &VSA{
		VerifierID:       w.Verifier.ID,
		VerifierVersion:  w.Verifier.Version,
		TimeVerified:     derefTime(w.TimeVerified),
		ResourceURI:      w.ResourceURI,
		Passed:           w.Result == "PASSED",
		VerifiedLevels:   w.VerifiedLevels,
		DependencyLevels: w.DependencyLevels,
		SLSAVersion:      deref(w.SLSAVersion),
	}
	if err := checkLevels(v.VerifiedLevels, v.Passed); err != nil {
		return nil, at(tree.Get("verifiedLevels"), "%v", err)
	}
	if err := v.Policy.read(w.Policy); err != nil {
		return nil, err
	}
	var err error
	if v.InputAttestations, err = descriptors(w.Inputs); err != nil {
		return nil, err
	}
	for i := range v.InputAttestations {
		if len(v.InputAttestations[i].Digest) == 0 {
			return nil, at(tree.Get("inputAttestations"), "input attestation %d has no digest", i)
		}
	}
	for i := range tree.Members {
		m := &tree.Members[i]
		if slices.Contains(vsaMembers, m.Name) {
			continue
		}
		if v.Extensions == nil {
			v.Extensions = make(map[string]any)
		}
		v.Extensions[m.Name] = plain(&m.Value)
	}
	return v, nil
}

// Statement makes a statement that the verifier summarised the subjects so.
func (v VSA) Statement(subjects ...Descriptor) (*Statement, error) {
	members := map[string]any{
		"verifier": struct {
			ID      string            `json:"id"`
			Version map[string]string `json:"version,omitempty"`
		}{v.VerifierID, v.VerifierVersion},
		"resourceUri":        v.ResourceURI,
		"policy":             jsonDescriptor(v.Policy),
		"verificationResult": "FAILED",
		"verifiedLevels":     v.VerifiedLevels,
	}
	if v.Passed {
		members["verificationResult"] = "PASSED"
	}
	if !v.TimeVerified.IsZero() {
		members["timeVerified"] = v.TimeVerified.UTC()
	}
	if len(v.InputAttestations) > 0 {
		members["inputAttestations"] = jsonDescriptors(v.InputAttestations)
	}
	if v.DependencyLevels != nil {
		members["dependencyLevels"] = v.DependencyLevels
	}
	if v.SLSAVersion != "" {
		members["slsaVersion"] = v.SLSAVersion
	}
	for name, value := range v.Extensions {
		if _, taken := members[name]; taken || !isExtensionName(name) {
			return nil, statementError("predicate", fmt.Errorf("the extension name %q does not have the form vendor_field", clip(name)))
		}
		members[name] = value
	}
	raw, err := marshal(members)
	if err != nil {
		return nil, statementError("predicate", err)
	}
	return typedStatement(subjects, VSAType, raw, func(s *Statement) error {
		_, err := s.VSA()
		return err
	})
}

// isExtensionName reports whether a name has the form vendor_field, which the
// specification keeps free for extensions.
func isExtensionName(name string) bool {
	vendor, field, ok := strings.Cut(name, "_")
	return ok && vendor != "" && field != ""
}

const failedLevel = "FAILED"

// checkLevels holds verified levels to their grammar.
func checkLevels(levels []string, passed bool) error {
	if !passed {
		if len(levels) != 1 || levels[0] != failedLevel {
			return errors.New("a summary that failed lists FAILED and nothing else")
		}
		return nil
	}
	if len(levels) == 0 {
		return errors.New("no level, where a summary that passed lists at least one")
	}
	var tracks []string
	for _, level := range levels {
		if level == failedLevel || level == "" {
			return fmt.Errorf("%q in a summary that passed", level)
		}
		if !strings.HasPrefix(level, "SLSA_") {
			continue // somebody's own level
		}
		track, _, ok := parseLevel(level)
		switch {
		case !ok:
			return fmt.Errorf("%q does not have the form SLSA_TRACK_LEVEL_N", clip(level))
		case slices.Contains(tracks, track):
			return fmt.Errorf("two levels of the track %s", clip(track))
		}
		tracks = append(tracks, track)
	}
	return nil
}

// unevaluated is below level 0: the track was not looked at.
const unevaluated = -1

func parseLevel(level string) (track string, n int, ok bool) {
	rest, ok := strings.CutPrefix(level, "SLSA_")
	if !ok {
		return "", 0, false
	}
	track, number, ok := strings.Cut(rest, "_LEVEL_")
	if !ok || track == "" {
		return "", 0, false
	}
	if number == "UNEVALUATED" {
		return track, unevaluated, true
	}
	n, err := strconv.Atoi(number)
	if err != nil || strconv.Itoa(n) != number || n < 0 {
		return "", 0, false
	}
	return track, n, true
}

// reaches reports whether the levels hold want: the same level, or a higher
// one of the same SLSA track.
func reaches(levels []string, want string) bool {
	track, n, graded := parseLevel(want)
	return slices.ContainsFunc(levels, func(level string) bool {
		if level == want {
			return true
		}
		t, have, ok := parseLevel(level)
		return graded && ok && t == track && have >= n
	})
}
