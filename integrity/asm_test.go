//go:build !noasm

package integrity_test

const portable = false
