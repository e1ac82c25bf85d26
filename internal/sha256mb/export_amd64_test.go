//go:build !noasm

package sha256mb

import "testing"

// EachMachine runs f as this machine and as each lesser one.
func EachMachine(t *testing.T, f func(t *testing.T)) {
	sha, avx512 := features()
	defer func() { hasSHA, hasAVX512, lanes = sha, avx512, preferred(sha, avx512) }()
	for _, m := range []struct {
		name        string
		sha, avx512 bool
	}{{"portable", false, false}, {"sha", true, false}, {"avx512", false, true}, {"both", true, true}} {
		if m.sha && !sha || m.avx512 && !avx512 {
			continue
		}
		hasSHA, hasAVX512, lanes = m.sha, m.avx512, preferred(m.sha, m.avx512)
		t.Run(m.name, f)
	}
}
