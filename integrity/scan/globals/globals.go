// Package globals judges what a pickle names and calls: which Python objects
// are dangerous to reach, which ones ordinary models need, and what the
// arguments of a call look like. It is data and pure functions; the pickle
// machine that finds the names knows nothing of it.
package globals

import "github.com/prerun/prerun/internal/pickle"

// A Level grades a reference or a call. Higher is worse.
type Level uint8

// Levels.
const (
	Allowed    Level = iota // on an allow list
	Low                     // on no list, only named
	Suspicious              // on no list and called, or dangerous by its look
	Malicious               // on a deny list, or built only to run something
)

// A Cause names the reason for an assessment; one for each kind of finding.
type Cause string

// Causes.
const (
	DeniedGlobal   Cause = "denied-global"   // on a deny list, named or called
	UnlistedGlobal Cause = "unlisted-global" // on no list
	UnlistedCall   Cause = "unlisted-call"   // on no list and called
	DangerousArgs  Cause = "dangerous-args"  // arguments look like a command, URL, path, code or payload
	DynamicImport  Cause = "dynamic-import"  // a name is computed while loading
	ComputedCall   Cause = "computed-call"   // the result of a call, or something unknown, is called
	ExtensionCode  Cause = "extension-code"  // copyreg's registry decides
	LiveWrite      Cause = "live-write"      // a module, class or function is changed
	OddName        Cause = "odd-name"        // a name that no Python import has
)

// An Assessment is one thing to report about a trace.
type Assessment struct {
	Level   Level
	Cause   Cause
	Offset  int64
	Module  string // empty when not known
	Name    string
	Detail  string // one sentence; outside text in it is quoted and redacted
	Args    string // of a call, rendered and redacted
	Classes []Class
	Global  int // index in Trace.Globals, or -1
	Call    int // index in Trace.Calls, or -1
	Write   int // index in Trace.Writes, or -1
	Reading pickle.Reading
	// Dormant: no loader is known to get there.
	Dormant bool
}

// A Policy judges. The zero value uses every built-in table.
type Policy struct {
	Profiles []Profile // nil means Profiles()
}

// Assess judges everything in a trace, in order of offset.
func (p Policy) Assess(t *pickle.Trace) []Assessment { return nil }

// Profile is an allow list: the exact names that models of one framework need.
type Profile struct {
	Name  string
	Names map[string][]string // by module
}

// A Class is what a text in arguments looks like.
type Class string

// Classes.
const (
	Shell   Class = "shell"
	URL     Class = "url"
	Path    Class = "path"
	Source  Class = "source"
	Encoded Class = "encoded"
	Payload Class = "pickle"
)
