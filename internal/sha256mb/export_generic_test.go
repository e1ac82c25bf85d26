//go:build !amd64 || noasm

package sha256mb

import "testing"

// EachMachine runs f.
func EachMachine(t *testing.T, f func(t *testing.T)) { t.Run("portable", f) }
