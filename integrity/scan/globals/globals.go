// Package globals judges what a pickle names and calls: which Python objects
// are dangerous to reach, which ones ordinary models need, and what the
// arguments of a call look like. It is data and pure functions; the pickle
// machine that finds the names knows nothing of it.
//
// A name is looked up as it is written and as Python 3 renames it, with every
// attribute of a dotted name: exact entries first, then denied modules with all
// below them, denied attributes, and the private modules of the standard
// library. What is on no list is [Low] while only named and [Suspicious] once
// called; arguments that look like a command, an address, code or a payload
// make it [Malicious]. A deny list is open by construction and an allow list
// refuses honest models, so neither decides alone.
//
// [Policy.Assess] judges a whole trace, [Policy.Grade] one name, [Classify] one
// text, and [WeightsOnly] says whether torch.load would read the file with
// weights_only and why not.
package globals

import (
	"cmp"
	_ "embed"
	"fmt"
	"maps"
	"strings"
	"sync"
)

// A Level grades a reference or a call. Higher is worse.
type Level uint8

// Levels.
const (
	Allowed    Level = iota // on an allow list
	Low                     // on no list, only named; or harmless as far as can be seen
	Suspicious              // on no list and called, or odd in itself
	Malicious               // on a deny list, or built only to run something
)

var levelNames = [...]string{"allowed", "low", "suspicious", "malicious"}

func (l Level) String() string {
	if int(l) < len(levelNames) {
		return levelNames[l]
	}
	return fmt.Sprintf("level(%d)", uint8(l))
}

// An Effect is what a denied object is denied for.
type Effect string

// Effects.
const (
	Execute Effect = "execute" // runs code or commands
	Import  Effect = "import"  // reaches other objects by a computed name
	Network Effect = "network" // talks to other machines
	File    Effect = "file"    // reads, writes or deletes files
	Load    Effect = "load"    // runs another serialised program
	Inspect Effect = "inspect" // debugs, traces or changes the interpreter
	Scanner Effect = "scanner" // touches the tools that would look at the file
	Private Effect = "private" // private module of the standard library
)

// A Need is what an allowed object's calls must meet to be harmless.
type Need uint8

// Needs, with the mark that stands before a name in a [Profile].
const (
	NeedNothing Need = iota
	NeedPlain        // "!": no argument may be callable or unknown
	NeedJudged       // ">": callables among the arguments count as called
	NeedAttr         // "?": getattr of a plain literal name on an allowed object
	NeedPayload      // "~": only a literal payload, which is scanned itself
	NeedSibling      // "/": the file that it reads lies beside this one
)

// A Grade is what the tables say about one name.
type Grade struct {
	Level   Level
	Effect  Effect // of a denied object
	Profile string // that allows it
	Need    Need   // of an allowed object
	Reason  string // of anything not allowed: which entry decided
}

// A Profile is an allow list: what models of one framework need, by module and
// exact name. A name may carry the mark of its [Need].
type Profile struct {
	Name  string
	Names map[string][]string
}

// A Policy judges. The zero value uses the built-in tables.
type Policy struct {
	Profiles []Profile // allow lists; nil means Profiles()
	Deny     *DenyList // nil means Denied()

	ready *tables // of both, made once
}

// A DenyList holds denied modules, objects and attributes, each with its
// effect.
type DenyList struct {
	Modules    map[string]Effect // with all that lies below them
	Names      map[[2]string]Effect
	Components map[string]Effect // attributes, wherever they stand in a name
}

//go:embed allow.txt
var allowText string

//go:embed deny.txt
var denyText string

// Profiles returns the built-in allow lists.
func Profiles() []Profile { return must(ParseProfiles(allowText)) }

// Denied returns the built-in deny list.
func Denied() *DenyList { return must(ParseDeny(denyText)) }

// must is for the embedded tables, which a test parses.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// ParseProfiles reads allow lists: "profile NAME" starts one, each line
// "MODULE...: NAME..." allows every name in every module, "#" starts a comment
// line. Errors give the line.
func ParseProfiles(text string) ([]Profile, error) {
	var profiles []Profile
	for line, fields := range lines(text) {
		if fields[0] == "profile" && len(fields) == 2 {
			profiles = append(profiles, Profile{fields[1], make(map[string][]string)})
			continue
		}
		modules, names, err := columns(fields)
		if err != nil {
			return nil, fmt.Errorf("allow list: line %d: %w", line, err)
		}
		if len(profiles) == 0 {
			return nil, fmt.Errorf("allow list: line %d: names before the first profile", line)
		}
		p := &profiles[len(profiles)-1]
		for _, m := range modules {
			p.Names[m] = append(p.Names[m], names...)
		}
	}
	return profiles, nil
}

// ParseDeny reads a deny list: "EFFECT module MODULE...", "EFFECT component
// NAME...", "EFFECT name MODULE...: NAME...". Errors give the line.
func ParseDeny(text string) (*DenyList, error) {
	d := &DenyList{make(map[string]Effect), make(map[[2]string]Effect), make(map[string]Effect)}
	for line, fields := range lines(text) {
		if len(fields) < 3 || !known(Effect(fields[0])) {
			return nil, fmt.Errorf("deny list: line %d: want an effect, a kind and names", line)
		}
		effect, rest := Effect(fields[0]), fields[2:]
		switch fields[1] {
		case "module":
			for _, m := range rest {
				d.Modules[m] = effect
			}
		case "component":
			for _, c := range rest {
				d.Components[c] = effect
			}
		case "name":
			modules, names, err := columns(rest)
			if err != nil {
				return nil, fmt.Errorf("deny list: line %d: %w", line, err)
			}
			for _, m := range modules {
				for _, n := range names {
					d.Names[[2]string{m, n}] = effect
				}
			}
		default:
			return nil, fmt.Errorf("deny list: line %d: %q is none of module, name, component", line, fields[1])
		}
	}
	return d, nil
}

func known(e Effect) bool {
	switch e {
	case Execute, Import, Network, File, Load, Inspect, Scanner, Private:
		return true
	}
	return false
}

// lines yields the fields of each line that says something, by line number.
func lines(text string) func(yield func(int, []string) bool) {
	return func(yield func(int, []string) bool) {
		n := 0
		for line := range strings.Lines(text) {
			n++
			fields := strings.Fields(line)
			if len(fields) == 0 || fields[0][0] == '#' {
				continue
			}
			if !yield(n, fields) {
				return
			}
		}
	}
}

// columns splits "module...: name...".
func columns(fields []string) (modules, names []string, err error) {
	for i, f := range fields {
		if m, ok := strings.CutSuffix(f, ":"); ok {
			modules, names = append(fields[:i:i], m), fields[i+1:]
			break
		}
	}
	if len(names) == 0 {
		return nil, nil, fmt.Errorf("want \"module...: name...\"")
	}
	return modules, names, nil
}

// tables are a policy made ready for look-ups.
type tables struct {
	deny  *DenyList
	allow map[[2]string]allowed
}

type allowed struct {
	profile string
	need    Need
}

var builtin = sync.OnceValue(func() *tables { return compile(Profiles(), Denied()) })

func (p Policy) tables() *tables {
	if p.ready != nil {
		return p.ready
	}
	if p.Profiles == nil && p.Deny == nil {
		return builtin()
	}
	profiles := p.Profiles
	if profiles == nil {
		profiles = Profiles()
	}
	return compile(profiles, cmp.Or(p.Deny, builtin().deny))
}

// Allow returns the policy with further allow lists. They add names that the
// policy does not know, and only exact ones: what it denies or finds odd stays
// so, and names that it allows already keep their needs.
func (p Policy) Allow(profiles ...Profile) Policy {
	base := p.tables()
	t := &tables{base.deny, maps.Clone(base.allow)}
	for _, more := range profiles {
		for m, names := range more.Names {
			for _, n := range names {
				key := [2]string{m, n}
				if _, again := t.allow[key]; !again && base.grade(m, n).Level <= Low {
					t.allow[key] = allowed{more.Name, NeedNothing}
				}
			}
		}
	}
	p.ready = t
	return p
}

func compile(profiles []Profile, deny *DenyList) *tables {
	t := &tables{deny, make(map[[2]string]allowed)}
	for _, p := range profiles {
		for m, names := range p.Names {
			for _, n := range names {
				need := NeedNothing
				if k := strings.IndexByte("!>?~/", n[0]); k >= 0 && len(n) > 1 {
					need, n = Need(k+1), n[1:]
				}
				key := [2]string{m, n}
				if _, again := t.allow[key]; !again { // the first profile that allows it names it
					t.allow[key] = allowed{p.Name, need}
				}
			}
		}
	}
	return t
}
