// Package arch holds the tests that keep the house in shape: who may import
// whom, which outside modules each public package links, that rules are
// well-formed and unique, and that the README tells the truth.
package arch

//go:generate go test -count=1 -run ^TestRuleReference$ . -update
