package prerun

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// A Reference ties a rule to an entry of somebody else's catalogue.
type Reference struct {
	Catalogue string // "CWE", "CVE", "ATLAS", "OWASP-LLM", "OWASP-ML", "SLSA", "AISBD"
	Edition   string // the edition that ID refers to, such as "2025" or "4.16"
	ID        string // as the catalogue writes it: "CWE-502", "AML.T0010"
}

// A Rule is what a detector can say. Its ID has the form package.area.name
// ("scan.pickle.call-on-load"), is never renamed and never reused.
type Rule struct {
	ID       string
	Title    string   // a noun phrase of a few words
	Severity Severity // of a finding that does not state its own
	Help     string   // what it means, why it matters, what to do
	Refs     []Reference
}

// Check returns an error when the rule cannot be published: a malformed ID, no
// title, no severity or no help.
func (r Rule) Check() error {
	parts := strings.Split(r.ID, ".")
	if len(parts) != 3 {
		return fmt.Errorf("rule %q: an id has the form package.area.name", r.ID)
	}
	for _, part := range parts {
		if part == "" || strings.Trim(part, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" ||
			part[0] == '-' || part[len(part)-1] == '-' {
			return fmt.Errorf("rule %q: an id is made of lower-case letters, digits and inner hyphens", r.ID)
		}
	}
	switch {
	case r.Title == "":
		return fmt.Errorf("rule %q: no title", r.ID)
	case r.Help == "":
		return fmt.Errorf("rule %q: no help", r.ID)
	case r.Severity == Unrated || r.Severity > Critical:
		return fmt.Errorf("rule %q: not rated", r.ID)
	}
	for _, ref := range r.Refs {
		if ref.Catalogue == "" || ref.ID == "" {
			return fmt.Errorf("rule %q: reference without catalogue or id", r.ID)
		}
	}
	return nil
}

// A Subject is something that was looked at: its path and, where it was
// computed, its digest in the form algorithm:hex, lower case.
type Subject struct {
	Path   string
	Digest string
}

// A Location says where in a subject. Only Path is required.
type Location struct {
	Path     string // nested path, see [NestPath]; never a path of the host
	Offset   int64  // first byte; stated when Length > 0
	Length   int64  // in bytes
	Line     int    // from 1; 0 means not stated
	Column   int    // in bytes, from 1; 0 means not stated
	Fragment string // the rest: a JSON pointer, "row=17", "cell=3", "vector=12", "case=a/7"
}

// A Finding is one thing that a rule noticed.
type Finding struct {
	Rule       Rule     // the value, so that writers have its metadata
	Severity   Severity // as found; most findings copy Rule.Severity
	Confidence Confidence
	Subject    Subject
	Locations  []Location        // the first is the main one
	Message    string            // one sentence; outside text in it is quoted and redacted
	Evidence   map[string]string // redacted
	Key        string            // redacted name of what was found, part of the fingerprint
	Ordinal    int               // among equal findings, from 0; set by [Sort]
}

// Path is the path of the main location, or of the subject when there is none.
func (f Finding) Path() string {
	if len(f.Locations) > 0 {
		return f.Locations[0].Path
	}
	return f.Subject.Path
}

// Fingerprint identifies the finding across runs. It is made of rule, path,
// redacted key and ordinal among equals: never of an offset, a line or a
// secret's value, because lines move and the hash of a phone number is
// reversible. It is 32 hexadecimal digits.
func (f Finding) Fingerprint() string {
	h := sha256.New()
	for _, s := range []string{f.Rule.ID, f.Path(), f.Key, strconv.Itoa(f.Ordinal)} {
		fmt.Fprintf(h, "%d:%s", len(s), s) // length-framed, so that fields cannot run together
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// Check returns an error when the finding cannot be reported: its rule is not
// publishable, it names no subject, or it says nothing.
func (f Finding) Check() error {
	if err := f.Rule.Check(); err != nil {
		return err
	}
	if f.Message == "" {
		return fmt.Errorf("finding of %s: no message", f.Rule.ID)
	}
	if f.Path() == "" {
		return fmt.Errorf("finding of %s: no path", f.Rule.ID)
	}
	return nil
}

// A Gap is something that could not be checked.
type Gap struct {
	Location Location
	Reason   string // one sentence; outside text in it is quoted
}

// Sort orders findings by path, offset, line, fragment, rule, key and message,
// and numbers those that only position tells apart. Results call it once they
// are complete; the order is the one that every report shows.
func Sort(findings []Finding) {
	slices.SortStableFunc(findings, compareFindings)
	type group struct{ rule, path, key string }
	seen := make(map[group]int)
	for i := range findings {
		f := &findings[i]
		g := group{f.Rule.ID, f.Path(), f.Key}
		f.Ordinal = seen[g]
		seen[g]++
	}
}

func compareFindings(a, b Finding) int {
	return cmp.Or(
		compareLocations(a.main(), b.main()),
		cmp.Compare(a.Rule.ID, b.Rule.ID),
		cmp.Compare(a.Key, b.Key),
		cmp.Compare(a.Message, b.Message),
	)
}

func (f Finding) main() Location {
	if len(f.Locations) > 0 {
		return f.Locations[0]
	}
	return Location{Path: f.Subject.Path}
}

func compareLocations(a, b Location) int {
	return cmp.Or(
		cmp.Compare(a.Path, b.Path),
		cmp.Compare(a.Offset, b.Offset),
		cmp.Compare(a.Line, b.Line),
		cmp.Compare(a.Column, b.Column),
		compareFragments(a.Fragment, b.Fragment),
		cmp.Compare(a.Length, b.Length),
	)
}

// compareFragments puts row=9 before row=17: numbers after an equal prefix are
// compared by value.
func compareFragments(a, b string) int {
	ap, an := splitNumber(a)
	bp, bn := splitNumber(b)
	return cmp.Or(cmp.Compare(ap, bp), cmp.Compare(len(an), len(bn)), cmp.Compare(an, bn))
}

func splitNumber(s string) (prefix, digits string) {
	prefix = strings.TrimRight(s, "0123456789")
	return prefix, strings.TrimLeft(s[len(prefix):], "0")
}

var errEmptyPath = errors.New("empty path")
