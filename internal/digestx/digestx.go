// Package digestx is the only caller of go-digest's panicking methods. That
// module registers no hash, accepts strings it has not checked, and panics on
// them later; a digest that came from here is well-formed.
package digestx

import (
	"crypto/sha256"
	_ "crypto/sha512" // registers what go-digest's Parse asks for
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"
)

// Parse checks that s is algorithm:hex with a known algorithm, lower case, of
// the right length.
func Parse(s string) (digest.Digest, error) {
	d, err := digest.Parse(s) // on error d still holds the bad string
	if err != nil {
		return "", fmt.Errorf("digest %q: %w", s, err)
	}
	return d, nil
}

// Of is the SHA-256 digest of b.
func Of(b []byte) digest.Digest {
	sum := sha256.Sum256(b)
	return FromSHA256(sum[:])
}

// FromSHA256 wraps a raw SHA-256 sum.
func FromSHA256(sum []byte) digest.Digest {
	return digest.NewDigestFromBytes(digest.SHA256, sum)
}

// Hex is the part after the colon, or "" when d has no colon.
func Hex(d digest.Digest) string {
	_, hex, _ := strings.Cut(string(d), ":")
	return hex
}

// Algorithm is the part before the colon, or "" when d has no colon.
func Algorithm(d digest.Digest) string {
	algorithm, _, found := strings.Cut(string(d), ":")
	if !found {
		return ""
	}
	return algorithm
}
