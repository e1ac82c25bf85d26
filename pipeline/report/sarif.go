package report

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/internal/ruledoc"
)

const (
	sarifSchema  = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
	sarifVersion = "2.1.0"
)

// object is a JSON object; encoding/json writes its members sorted by name.
type object = map[string]any

// SARIF writes a log of the Static Analysis Results Interchange Format, 2.1.0.
// Rules carry their metadata and references. Every file that is spoken of is an
// artifact; what lies in a container has its container's index as parentIndex,
// as deep as it is nested. A location inside a container is two of a result's
// locations: first the outermost file, because code hosts show the first only
// and would look for a member's path among their own files, then the member,
// with ranges that count in it. Waived findings are suppressed results. Gaps and checks that are not satisfied are
// notifications, and the execution counts as not successful when the verdict
// is incomplete or a check did not come to an answer, so that no reader takes
// an empty list of results for clean. Columns are left out: the vocabulary
// counts bytes, SARIF characters.
func SARIF(w io.Writer, doc Document) error {
	rules := doc.rules()
	index := make(map[string]int, len(rules))
	driver := object{"name": "prerun", "informationUri": "https://github.com/prerun/prerun", "rules": sarifRules(rules, index)}
	var files artifacts
	for s := range doc.source().Subjects() {
		files.index(s.Path, s.Digest)
	}
	results := []object{}
	for f := range doc.source().Findings() {
		results = append(results, sarifResult(&files, f, index[f.Rule.ID], doc.Waived))
	}
	notifications, complete := sarifNotifications(&files, doc)
	log := object{
		"$schema": sarifSchema, "version": sarifVersion,
		"runs": []object{{
			"tool": object{"driver": driver}, "results": results, "artifacts": files.list(),
			"columnKind": "utf16CodeUnits",
			"invocations": []object{{
				"executionSuccessful": complete && doc.Verdict != prerun.Incomplete, "exitCode": doc.Verdict.ExitCode(),
				"toolExecutionNotifications": notifications,
			}},
			"automationDetails": object{"id": text("prerun/" + doc.Command + "/")},
			"properties":        object{"verdict": doc.Verdict.String(), "checks": jsonChecks(doc.Checks)},
		}},
	}
	return writeJSON(w, log)
}

// text is never empty, because the schema wants something to show, has nothing
// that does not print, and no link: SARIF reads [text](target) as one.
func text(s string) string {
	if s = clean(s); s == "" {
		return "-"
	}
	return strings.ReplaceAll(s, "](", "] (")
}

func sarifNotifications(files *artifacts, doc Document) (out []object, complete bool) {
	out, complete = []object{}, true
	for g := range doc.source().Gaps() {
		out = append(out, object{
			"level": "error", "message": object{"text": text(g.Reason)},
			"locations": files.locations([]prerun.Location{g.Location}),
		})
	}
	for _, c := range doc.Checks {
		switch c.Outcome {
		case "pass", "waived", "not-applicable":
			continue
		case "fail":
		default:
			complete = false
		}
		out = append(out, object{
			"level": "error", "message": object{"text": text(fmt.Sprintf("check %s: %s: %s", c.ID, c.Outcome, c.Reason))},
		})
	}
	return out, complete
}

// artifacts is the run's list of files: subjects in their order, then what
// results and notifications name, each behind the container that it lies in.
type artifacts struct {
	all   []object
	known map[artifact]int // without a digest: the first of that place
}

// An artifact is what makes one: another digest is another file.
type artifact struct {
	parent int // index of the container, -1 outside of one
	uri    string
	sha256 string
}

func (a *artifacts) list() []object {
	if a.all == nil {
		return []object{}
	}
	return a.all
}

// index is where a path's artifact stands; it is added where it is missing, as
// are the containers around it.
func (a *artifacts) index(path, digest string) int {
	at := -1
	parts := strings.Split(path, "!/")
	for i, name := range parts {
		sum := ""
		if i == len(parts)-1 {
			if hex, ok := strings.CutPrefix(digest, "sha256:"); ok {
				sum = clean(hex)
			}
		}
		at = a.put(artifact{at, address(at, name), sum})
	}
	return at
}

func (a *artifacts) put(key artifact) int {
	if at, ok := a.known[key]; ok {
		return at
	}
	if a.known == nil {
		a.known = make(map[artifact]int)
	}
	bare := artifact{key.parent, key.uri, ""}
	at, ok := a.known[bare]
	if !ok || a.all[at]["hashes"] != nil { // one without a digest yet is the same file
		at = len(a.all)
		a.all = append(a.all, object{"location": object{"uri": key.uri}})
	}
	if key.parent >= 0 {
		a.all[at]["parentIndex"] = key.parent
	}
	if key.sha256 != "" {
		a.all[at]["hashes"] = object{"sha-256": key.sha256}
	}
	a.known[key] = at
	if !ok {
		a.known[bare] = at
	}
	return at
}

// location is an artifactLocation; its address and its index name the same file.
func (a *artifacts) location(at int) object {
	return object{"uri": a.all[at]["location"].(object)["uri"], "index": at}
}

func sarifRules(rules []prerun.Rule, index map[string]int) []object {
	out := []object{}
	for i, r := range rules {
		index[r.ID] = i
		tags := []string{"security"}
		var help strings.Builder
		help.WriteString(md(r.Help))
		references := []object{}
		for _, ref := range r.Refs {
			if tag := text(strings.ToLower(ref.Catalogue) + "/" + ref.ID); !slices.Contains(tags, tag) {
				tags = append(tags, tag)
			}
			references = append(references, object{"catalogue": clean(ref.Catalogue), "edition": clean(ref.Edition), "id": clean(ref.ID)})
			if address := ruledoc.Link(ref); address != "" {
				help.WriteString("\n\n[" + md(ref.ID) + "](" + address + ")")
			}
		}
		out = append(out, object{
			"id": text(r.ID), "name": camel(r.ID),
			"shortDescription":     object{"text": text(r.Title)},
			"fullDescription":      object{"text": text(r.Help)},
			"help":                 object{"text": text(r.Help), "markdown": help.String()},
			"defaultConfiguration": object{"level": level(r.Severity)},
			"properties": object{
				"tags": tags, "references": references,
				"security-severity": score(r.Severity),
			},
		})
	}
	return out
}

// camel is a rule id as a name without punctuation, which some readers want.
func camel(id string) string {
	var b strings.Builder
	for part := range strings.FieldsFuncSeq(clean(id), func(r rune) bool { return r == '.' || r == '-' }) {
		_, size := utf8.DecodeRuneInString(part)
		b.WriteString(strings.ToUpper(part[:size]) + part[size:])
	}
	return text(b.String())
}

// level is SARIF's three-step scale; unrated counts as the gravest.
func level(s prerun.Severity) string {
	switch s {
	case prerun.Info:
		return "note"
	case prerun.Low, prerun.Medium:
		return "warning"
	}
	return "error"
}

// score is the middle of the band that code hosts show for a severity.
func score(s prerun.Severity) string {
	switch s {
	case prerun.Info:
		return "0.0"
	case prerun.Low:
		return "3.0"
	case prerun.Medium:
		return "5.5"
	case prerun.High:
		return "8.0"
	}
	return "9.5"
}

func sarifResult(files *artifacts, f prerun.Finding, rule int, waived map[string]Waiver) object {
	fingerprint := f.Fingerprint()
	places := f.Locations
	if len(places) == 0 {
		places = []prerun.Location{{Path: f.Subject.Path}}
	}
	evidence := object{}
	for key, value := range f.Evidence {
		evidence[clean(key)] = clean(value)
	}
	out := object{
		"ruleId": text(f.Rule.ID), "ruleIndex": rule, "level": level(f.Severity),
		"message":             object{"text": text(f.Message)},
		"locations":           files.locations(places),
		"partialFingerprints": object{"prerun/v1": fingerprint},
		"rank":                rank(f.Severity),
		"properties": object{
			"severity": f.Severity.String(), "confidence": f.Confidence.String(), "evidence": evidence,
			"subject": clean(f.Subject.Path), "digest": clean(f.Subject.Digest),
		},
	}
	if w, ok := waived[fingerprint]; ok {
		out["suppressions"] = []object{{
			"kind": "external", "status": "accepted",
			"justification": text(w.Reason + " (owner " + w.Owner + ", until " + w.Expires + ")"),
		}}
	} else {
		out["suppressions"] = []object{}
	}
	return out
}

func rank(s prerun.Severity) float64 {
	if s == prerun.Unrated {
		return 100
	}
	return float64(s) * 20
}

// locations are those of a result. A container comes once before the members.
func (a *artifacts) locations(places []prerun.Location) []object {
	out := []object{}
	shown := make(map[string]bool)
	for _, l := range places {
		at := a.index(l.Path, "")
		outer, _, nested := strings.Cut(l.Path, "!/")
		if nested && !shown[outer] {
			shown[outer] = true
			out = append(out, object{"physicalLocation": object{"artifactLocation": a.location(a.index(outer, ""))}})
		}
		physical := object{"artifactLocation": a.location(at)}
		region := object{}
		if l.Line > 0 {
			region["startLine"] = l.Line
		}
		if l.Length > 0 && l.Offset >= 0 {
			region["byteOffset"], region["byteLength"] = l.Offset, l.Length
		}
		if len(region) > 0 {
			physical["region"] = region
		}
		location := object{"physicalLocation": physical}
		name := l.Path
		if l.Fragment != "" {
			name += "#" + l.Fragment
		}
		if nested || l.Fragment != "" {
			location["logicalLocations"] = []object{{"fullyQualifiedName": text(name), "kind": "member"}}
		}
		out = append(out, location)
	}
	return out
}

// address is a name relative to its container, or to where the run began.
// Inside a container it begins with a slash, as section 3.24.2 of the standard
// wants of files that have a path and no offset.
func address(parent int, name string) string {
	if parent < 0 {
		return uri(name)
	}
	if name == "" {
		return "/"
	}
	return "/" + uri(name)
}

// uri is a path as a relative reference. The path's own escapes are escaped
// again, so that decoding gives the path of the vocabulary. A colon is escaped
// because it would make a scheme, a leading slash because it would make a host
// or a root.
func uri(path string) string {
	if path == "" {
		return "."
	}
	const plain = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/"
	var b strings.Builder
	for i := range len(path) {
		if c := path[i]; strings.IndexByte(plain, c) >= 0 && (i > 0 || c != '/') {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}
