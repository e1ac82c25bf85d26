package scan

import (
	"fmt"
	"io/fs"
	"path"
	"strings"
	"unicode"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/internal/redact"
)

// Rules that zip and tar share.
var (
	ruleTraversal = prerun.Rule{
		ID: "scan.archive.path-traversal", Title: "name that leaves the folder", Severity: prerun.High,
		Help: "A member's name climbs out of the folder that the archive is extracted to, so that extracting overwrites files elsewhere. No exporter writes such names. Do not extract the archive.",
		Refs: []prerun.Reference{refTraversal, refSupply},
	}
	ruleAbsolute = prerun.Rule{
		ID: "scan.archive.absolute-path", Title: "absolute name", Severity: prerun.High,
		Help: "A member's name is an absolute path or names a drive or a network share, so that extracting writes to a place of the archive's choosing. Do not extract the archive.",
		Refs: []prerun.Reference{refTraversal, refSupply},
	}
	ruleOddName = prerun.Rule{
		ID: "scan.archive.odd-name", Title: "name that readers take differently", Severity: prerun.Medium,
		Help: "A member's name holds a NUL, a control character or a backslash, or is empty. Readers cut, translate or refuse such names, so they disagree about what the archive holds. Do not extract the archive; write it again with plain names.",
		Refs: []prerun.Reference{refAmbiguous},
	}
	ruleArchiveLink = prerun.Rule{
		ID: "scan.archive.link", Title: "link inside an archive", Severity: prerun.Low,
		Help: "A member is a symbolic or hard link. The finding is high when the link leads out of the archive, because extracting it lets later members write through it or lets the loader read files of the host. Do not extract the archive; write it again without links.",
		Refs: []prerun.Reference{refLink},
	}
	ruleSpecial = prerun.Rule{
		ID: "scan.archive.special-member", Title: "device or pipe inside an archive", Severity: prerun.Medium,
		Help: "A member is a device, a pipe or a socket. No model needs one; opening it after extraction blocks or reaches hardware. Do not extract the archive.",
		Refs: []prerun.Reference{refSupply},
	}
	ruleDuplicate = prerun.Rule{
		ID: "scan.archive.duplicate-name", Title: "two members of one name", Severity: prerun.Medium,
		Help: "Two members have the same name. Some readers use the first, others the last, so one can be shown and the other loaded. Both were scanned. Re-create the archive with the original tool.",
		Refs: []prerun.Reference{refAmbiguous},
	}
	ruleBomb = prerun.Rule{
		ID: "scan.archive.bomb", Title: "decompression bomb", Severity: prerun.Medium,
		Help: "A compressed stream decodes to hundreds of times its size, and to more than the limit (256 MiB unless set otherwise). Decoding stopped there. Loading it may fill memory or disk. Do not load the file, or raise the limit if you expect that much.",
		Refs: []prerun.Reference{refBomb},
	}
)

var archiveRules = []prerun.Rule{
	ruleTraversal, ruleAbsolute, ruleOddName, ruleArchiveLink, ruleSpecial, ruleDuplicate, ruleBomb,
}

// A names checks the names of one archive's members.
type names struct {
	out  *Sink
	seen map[string]bool
}

// report adds a finding about a member whose header is at off.
func (n *names) report(rule prerun.Rule, sev prerun.Severity, name string, off int64, format string, args ...any) {
	if n.out.full(rule, sev) {
		return
	}
	shown := excerpt(name, 120)
	n.out.Finding(prerun.Finding{
		Rule:       rule,
		Severity:   sev,
		Confidence: prerun.ConfidenceHigh,
		Locations:  []prerun.Location{{Offset: off, Length: 1}},
		Message:    fmt.Sprintf("member %q: %s", shown, fmt.Sprintf(format, args...)),
		Key:        shown,
	})
}

// check looks at one name as it stands in a header.
func (n *names) check(name string, off int64) {
	if n.seen == nil {
		n.seen = make(map[string]bool)
	}
	slashed := strings.ReplaceAll(name, `\`, "/")
	switch {
	case absolute(slashed):
		n.report(ruleAbsolute, 0, name, off, "the name is absolute")
	case climbs(slashed):
		n.report(ruleTraversal, 0, name, off, "the name leads out of the archive")
	case name == "" || strings.ContainsFunc(name, func(r rune) bool { return r == '\\' || unicode.IsControl(r) }):
		n.report(ruleOddName, 0, name, off, "readers take the name differently")
	}
	clean := path.Clean("/" + slashed)
	if n.seen[clean] {
		n.report(ruleDuplicate, 0, name, off, "the name was used before")
	}
	n.seen[clean] = true
}

// link looks at where a link leads from.
func (n *names) link(name, target string, off int64, hard bool) {
	slashed := strings.ReplaceAll(target, `\`, "/")
	base := path.Dir(strings.ReplaceAll(name, `\`, "/"))
	if hard {
		base = "." // hard links name members from the root of the archive
	}
	sev, where := prerun.Low, "leads to"
	if absolute(slashed) || climbs(path.Join(base, slashed)) || strings.HasPrefix(slashed, "../") && base == "." {
		sev, where = prerun.High, "leads out of the archive to"
	}
	if !n.out.full(ruleArchiveLink, sev) {
		n.report(ruleArchiveLink, sev, name, off, "it is a link and %s %q", where, excerpt(target, 120))
	}
}

// special looks at the type of a member and reports whether it has content.
func (n *names) special(name string, mode fs.FileMode, off int64) {
	if mode&(fs.ModeDevice|fs.ModeNamedPipe|fs.ModeSocket|fs.ModeCharDevice) != 0 {
		n.report(ruleSpecial, 0, name, off, "it is a device, pipe or socket")
	}
}

func absolute(slashed string) bool {
	return strings.HasPrefix(slashed, "/") ||
		len(slashed) >= 2 && slashed[1] == ':' && unicode.IsLetter(rune(slashed[0]))
}

// elsewhere reports whether a path that a model states does not start in the
// model's folder at all: it is absolute, a URL, or cut short by a NUL byte.
func elsewhere(slashed string) bool {
	return absolute(slashed) || strings.Contains(slashed, "://") || strings.ContainsRune(slashed, 0)
}

// climbs reports whether a path leaves its root at any point, even if it comes
// back.
func climbs(slashed string) bool {
	depth := 0
	for part := range strings.SplitSeq(slashed, "/") {
		switch part {
		case "", ".":
		case "..":
			if depth--; depth < 0 {
				return true
			}
		default:
			depth++
		}
	}
	return false
}

// unread adds a member that could not be looked at.
func (s *Sink) unread(name string, size int64, c Completeness, reason string) {
	inner := Sink{a: &Artifact{Probe: Probe{Path: prerun.NestPath(s.a.Path, name), Name: name, Size: size}, run: s.a.run}}
	inner.res = FileResult{Path: inner.a.Path, Size: size, Completeness: Complete}
	inner.gap(c, reason, 0, 0)
	s.add(inner.res)
}

// excerpt is an outside text as it may stand in a report. Names from headers
// can be long; only as much is looked at as can be shown.
func excerpt(s string, max int) string {
	return redact.Excerpt([]byte(s[:min(len(s), 8*max)]), max)
}

// leaves reports names that lead out of the folder they are looked up in, for
// any system, if only on the way.
func leaves(name string) bool {
	slashed := strings.ReplaceAll(name, `\`, "/")
	return elsewhere(slashed) || climbs(slashed)
}
