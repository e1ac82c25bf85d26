package provenance

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/prerun/prerun/internal/digestx"
)

// A DigestSet holds digests of one artefact by algorithm, as in-toto writes
// them: "sha256" to lower-case hex. Algorithms that this package does not count
// are kept and ignored.
type DigestSet map[string]string

// DigestsOf is the set with the one digest d.
func DigestsOf(d digest.Digest) DigestSet {
	return DigestSet{digestx.Algorithm(d): digestx.Hex(d)}
}

// hexLengths are the digests that count, with the lengths their values may
// have. What is not here (md5, sha1, vendors' image ids) is as good as absent.
// A Git id of 40 digits is SHA-1; see weakGit.
var hexLengths = map[string][]int{
	"sha256":    {64},
	"sha384":    {96},
	"sha512":    {128},
	"gitCommit": {40, 64},
	"gitTree":   {40, 64},
	"gitBlob":   {40, 64},
	"gitTag":    {40, 64},
}

// strength orders the algorithms that count; the first present names a node.
var strength = []string{"sha256", "sha512", "sha384", "gitCommit", "gitTree", "gitBlob", "gitTag"}

const gitSHA1Length = 40

// check refuses values that no two readers need to agree on, such as
// upper-case hex.
func (s DigestSet) check() error {
	for _, algorithm := range slices.Sorted(maps.Keys(s)) {
		lengths, counts := hexLengths[algorithm]
		if !counts {
			continue
		}
		value := s[algorithm]
		if !slices.Contains(lengths, len(value)) || strings.Trim(value, "0123456789abcdef") != "" {
			return fmt.Errorf("%q is not the lower-case hex of a %s digest", clip(value), algorithm)
		}
	}
	return nil
}

// counted yields the digests that count as algorithm:hex, strongest first.
func (s DigestSet) counted() []string {
	var out []string
	for _, algorithm := range strength {
		if value, ok := s[algorithm]; ok {
			out = append(out, algorithm+":"+value)
		}
	}
	return out
}

// pinned reports whether some digest counts; with sha1 false, Git ids of 40
// digits do not.
func (s DigestSet) pinned(sha1 bool) bool {
	for _, algorithm := range strength {
		if value, ok := s[algorithm]; ok && (sha1 || !weakGit(algorithm, value)) {
			return true
		}
	}
	return false
}

// weakGit reports whether a digest is a SHA-1 object id, for which collisions
// can be made.
func weakGit(algorithm, value string) bool {
	return strings.HasPrefix(algorithm, "git") && len(value) == gitSHA1Length
}

// relation is the answer to "is this the same thing".
type relation uint8

const (
	unrelated   relation = iota
	same                 // some digest agrees, none disagrees
	conflicting          // some digest agrees, another disagrees
)

// An identity is everything that one artefact is known by: by algorithm, one
// digest or several aliases, such as the root of a folder and the digest of the
// same model in a registry.
type identity map[string][]string

func (id identity) add(s DigestSet) {
	for _, algorithm := range strength {
		if value, ok := s[algorithm]; ok && !slices.Contains(id[algorithm], value) {
			id[algorithm] = append(id[algorithm], value)
		}
	}
}

func identityOf(s DigestSet) identity {
	id := make(identity, len(s))
	id.add(s)
	return id
}

func (id identity) compare(s DigestSet) relation {
	agree, disagree := false, false
	for algorithm, values := range id {
		value, ok := s[algorithm]
		switch {
		case !ok:
		case slices.Contains(values, value):
			agree = true
		default:
			disagree = true
		}
	}
	switch {
	case agree && disagree:
		return conflicting
	case agree:
		return same
	}
	return unrelated
}

// parseDigests checks digests that come from the caller or a policy.
func parseDigests(digests []digest.Digest) (identity, error) {
	id := make(identity, len(digests))
	for _, d := range digests {
		ok, err := digestx.Parse(string(d))
		if err != nil {
			return nil, err
		}
		id.add(DigestsOf(ok))
	}
	return id, nil
}

// clip keeps a quoted value from outside short enough for a sentence.
func clip(s string) string {
	const max = 160
	if len(s) <= max {
		return s
	}
	return s[:max] + "…"
}
