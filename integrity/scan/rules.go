package scan

//go:generate go test -count=1 -run ^Test(Rule|Format)Reference$ . -update

import (
	"slices"
	"strings"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/internal/catalogue"
)

// References that several rules share.
var (
	refDeserialize = cwe("CWE-502")
	refTraversal   = cwe("CWE-22")
	refLink        = cwe("CWE-59")
	refBomb        = cwe("CWE-409")
	refAmbiguous   = cwe("CWE-436")
	refEmbedded    = cwe("CWE-506")
	refForeignCode = cwe("CWE-829")
	refSupply      = catalogue.ATLAS("AML.T0010")
	refUnsafeModel = catalogue.ATLAS("AML.T0011.000")
	refOWASP       = catalogue.LLM("LLM03")
)

func cwe(id string) prerun.Reference { return catalogue.CWE(id) }

func cve(id string) prerun.Reference { return catalogue.CVE("CVE-" + id) }

// Rules of the engine itself.
var (
	rulePolyglot = prerun.Rule{
		ID: "scan.file.polyglot", Title: "file of two formats", Severity: prerun.Medium,
		Help: "Two unrelated formats recognise the same file. A loader may read one while a scanner or a reviewer sees the other. Find out which program wrote the file; no model exporter writes such files.",
		Refs: []prerun.Reference{refAmbiguous, refUnsafeModel},
	}
	ruleOverlap = prerun.Rule{
		ID: "scan.file.range-overlap", Title: "overlapping parts", Severity: prerun.Medium,
		Help: "Two parts of the file's structure use the same bytes, such as two archive entries with one content. Overlaps make decompression bombs and let two readers disagree. Re-create the file with the original tool.",
		Refs: []prerun.Reference{refAmbiguous, refBomb},
	}
	ruleExecutable = prerun.Rule{
		ID: "scan.file.executable", Title: "native executable", Severity: prerun.Medium,
		Help: "The file is a native program or library. Models do not need one, except for custom operators, which run with the rights of the process that loads the model. Remove it, or have it built and reviewed like any other program.",
		Refs: []prerun.Reference{refSupply, refForeignCode},
	}
	ruleEmbeddedExecutable = prerun.Rule{
		ID: "scan.file.embedded-executable", Title: "executable hidden in a file", Severity: prerun.High,
		Help: "A native program lies in bytes that no part of the file's format uses. Loading the model does not run it, but nothing legitimate puts it there: it is what a later stage of an attack picks up. Do not use the file.",
		Refs: []prerun.Reference{refEmbedded, refSupply},
	}
	ruleHidden = prerun.Rule{
		ID: "scan.file.hidden-content", Title: "content outside the structure", Severity: prerun.Medium,
		Help: "A complete archive, model or dangerous pickle lies in bytes that no part of the file's format uses. Some loaders find it, others do not. Re-create the file with the original tool and compare.",
		Refs: []prerun.Reference{refAmbiguous, refEmbedded},
	}
	ruleLinkEscape = prerun.Rule{
		ID: "scan.tree.link-escape", Title: "link out of the folder", Severity: prerun.Medium,
		Help: "A symbolic link leads out of the scanned folder or nowhere. Whoever opens it reads a file of the host, which may be secret or may change after the scan. The link was not followed. Replace it by the file itself.",
		Refs: []prerun.Reference{refLink, refSupply},
	}
)

// Rules lists every rule of the package: those of the engine and those of the
// built-in formats, by id.
func Rules() []prerun.Rule {
	rules := []prerun.Rule{rulePolyglot, ruleOverlap, ruleExecutable, ruleEmbeddedExecutable, ruleHidden, ruleLinkEscape, ruleSnapshotLink, ruleBlobMismatch}
	for _, f := range Builtin() {
		rules = append(rules, f.Info().Rules...)
	}
	slices.SortFunc(rules, func(a, b prerun.Rule) int { return strings.Compare(a.ID, b.ID) })
	return slices.CompactFunc(rules, func(a, b prerun.Rule) bool { return a.ID == b.ID })
}
