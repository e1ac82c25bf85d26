package report

import (
	"bytes"
	"encoding/json"
	"io"
	"net/url"
	"strings"

	"github.com/prerun/prerun"
)

const (
	sarifSchema  = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
	sarifVersion = "2.1.0"
)

// object is a JSON object; encoding/json writes its members sorted by name.
type object = map[string]any

// SARIF writes a log of the Static Analysis Results Interchange Format, 2.1.0.
// Rules carry their metadata and references. A nested path keeps its outermost
// file as the artifact and stands whole as a logical location. Waived findings
// are suppressed results. Gaps are notifications, and a verdict of incomplete
// says that the execution was not successful, so that no reader takes it for
// clean.
func SARIF(w io.Writer, doc Document) error {
	rules := doc.rules()
	index := make(map[string]int, len(rules))
	driver := object{"name": "prerun", "informationUri": "https://github.com/prerun/prerun", "rules": sarifRules(rules, index)}
	results := []object{}
	for f := range doc.source().Findings() {
		results = append(results, sarifResult(f, index[f.Rule.ID], doc.Waived))
	}
	notifications := []object{}
	for g := range doc.source().Gaps() {
		notifications = append(notifications, object{
			"level": "error", "message": object{"text": text(g.Reason)},
			"locations": []object{sarifLocation(g.Location)},
		})
	}
	artifacts := []object{}
	for s := range doc.source().Subjects() {
		a := object{"location": object{"uri": uri(s.Path)}}
		if algorithm, hex, ok := strings.Cut(s.Digest, ":"); ok && algorithm == "sha256" {
			a["hashes"] = object{"sha-256": hex}
		}
		artifacts = append(artifacts, a)
	}
	log := object{
		"$schema": sarifSchema, "version": sarifVersion,
		"runs": []object{{
			"tool": object{"driver": driver}, "results": results, "artifacts": artifacts,
			"columnKind": "utf16CodeUnits",
			"invocations": []object{{
				"executionSuccessful": doc.Verdict != prerun.Incomplete, "exitCode": doc.Verdict.ExitCode(),
				"toolExecutionNotifications": notifications,
			}},
			"automationDetails": object{"id": "prerun/" + doc.Command},
			"properties":        object{"verdict": doc.Verdict.String()},
		}},
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", " ")
	if err := enc.Encode(log); err != nil {
		return err
	}
	_, err := w.Write(b.Bytes())
	return err
}

// text is never empty: the schema wants something to show.
func text(s string) string {
	if s == "" {
		return "-"
	}
	return strings.ToValidUTF8(s, "\ufffd")
}

func sarifRules(rules []prerun.Rule, index map[string]int) []object {
	out := []object{}
	for i, r := range rules {
		index[r.ID] = i
		tags := []string{"security"}
		references := []object{}
		for _, ref := range r.Refs {
			tags = append(tags, strings.ToLower(ref.Catalogue)+"/"+ref.ID)
			references = append(references, object{"catalogue": ref.Catalogue, "edition": ref.Edition, "id": ref.ID})
		}
		out = append(out, object{
			"id": r.ID, "name": camel(r.ID),
			"shortDescription":     object{"text": text(r.Title)},
			"fullDescription":      object{"text": text(r.Help)},
			"help":                 object{"text": text(r.Help), "markdown": md(text(r.Help))},
			"defaultConfiguration": object{"level": level(r.Severity)},
			"properties": object{
				"tags": tags, "references": references, "precision": "high",
				"security-severity": score(r.Severity),
			},
		})
	}
	return out
}

// camel is a rule id as a name without punctuation, which some readers want.
func camel(id string) string {
	var b strings.Builder
	for part := range strings.FieldsFuncSeq(id, func(r rune) bool { return r == '.' || r == '-' }) {
		b.WriteString(strings.ToUpper(part[:1]) + part[1:])
	}
	return b.String()
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

func sarifResult(f prerun.Finding, rule int, waived map[string]Waiver) object {
	fingerprint := f.Fingerprint()
	locations := []object{}
	for _, l := range f.Locations {
		locations = append(locations, sarifLocation(l))
	}
	if len(locations) == 0 {
		locations = append(locations, sarifLocation(prerun.Location{Path: f.Subject.Path}))
	}
	evidence := object{}
	for key, value := range f.Evidence {
		evidence[key] = strings.ToValidUTF8(value, "\ufffd")
	}
	out := object{
		"ruleId": f.Rule.ID, "ruleIndex": rule, "level": level(f.Severity),
		"message":             object{"text": text(f.Message)},
		"locations":           locations,
		"partialFingerprints": object{"prerun/v1": fingerprint},
		"rank":                rank(f.Severity),
		"properties": object{
			"severity": f.Severity.String(), "confidence": f.Confidence.String(), "evidence": evidence,
			"subject": f.Subject.Path, "digest": f.Subject.Digest,
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

// sarifLocation puts the outermost file into the artifact and everything else
// where SARIF has a place for it.
func sarifLocation(l prerun.Location) object {
	outer, _, nested := strings.Cut(l.Path, "!/")
	physical := object{"artifactLocation": object{"uri": uri(outer)}}
	region := object{}
	if l.Line > 0 {
		region["startLine"] = l.Line
	}
	// Offsets inside a nested file are no offsets of the artifact.
	if l.Length > 0 && l.Offset >= 0 && !nested {
		region["byteOffset"], region["byteLength"] = l.Offset, l.Length
	}
	if len(region) > 0 {
		physical["region"] = region
	}
	out := object{"physicalLocation": physical}
	name := l.Path
	if l.Fragment != "" {
		name += "#" + l.Fragment
	}
	if name != outer {
		out["logicalLocations"] = []object{{"fullyQualifiedName": text(name), "kind": "member"}}
	}
	return out
}

// uri is a path as a relative reference. The path's own escapes are escaped
// again, so that decoding gives the path of the vocabulary.
func uri(path string) string {
	if path == "" {
		return "."
	}
	u := url.URL{Path: strings.ToValidUTF8(path, "\ufffd")}
	return strings.TrimPrefix(u.String(), "./")
}
