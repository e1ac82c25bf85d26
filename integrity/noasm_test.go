//go:build noasm

package integrity_test

// portable says that a run is for the code without assembly, and what does not
// depend on it may be brief.
const portable = true
