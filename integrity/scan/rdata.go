package scan

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"

	"github.com/prerun/prerun"
)

// rFormat walks the serialisation of R, versions 2 and 3, in the files of
// saveRDS and of save, which are mostly compressed: the engine unpacks that
// first. Nothing is built or evaluated. Facts: "framework", "version" of R,
// "functions", "calls", "packages" that loading looks for.
//
// What is code in such a file, and what it means:
//
//   - A promise is an expression that R evaluates when its value is first
//     looked at. A promise that is the object itself, an element of a list, a
//     value of a saved workspace, or has no environment to be evaluated in, is
//     evaluated by whoever prints, copies or uses it: CVE-2024-27322 is exactly this, a file with a bare promise whose
//     value is unbound and whose expression calls system(). R 4.4.0 refuses it
//     as the outermost object of readRDS. No program writes one. It is high.
//   - Promises as variables of an environment are arguments of a function that
//     were not needed before it returned something that keeps the environment:
//     common in models that hold closures, and evaluated only by code that reads
//     that variable. Low, and information once they have their value.
//   - Functions and byte code run when somebody calls them, above all predict.
//     Each fitted glm holds the functions of its family, and smoothers hold
//     theirs, so by themselves they are counted and no more. Byte code that
//     belongs to no function is medium: R runs it unverified.
//   - Calls and formulas are in every fitted model (its "call" and "terms").
//     predict and update evaluate them, so they count for what they name:
//     functions that run commands, load native code or fetch from the network
//     are medium there and in functions, high in a promise.
//   - A memory-mapped vector names a file that is opened, and possibly written,
//     when the object is built: high, since no model needs it.
//
// Names are compared, not followed: a call that computes the name of what it
// calls is medium where the text is put together in the call itself, and is not
// recognised where it comes from a variable. Of compiled code the expression that it was compiled from
// is read, and the names that it looks up. External pointers arrive as null and hooks are never
// run; packages that loading attaches are code of the machine, not of the file.
type rFormat struct{}

var (
	ruleRPromise = prerun.Rule{
		ID: "scan.r.promise", Title: "expression that runs when the object is used", Severity: prerun.High,
		Help: "The file holds a promise that no environment owns: R evaluates its expression as soon as the object is printed, copied or used. No program saves such an object. R before 4.4.0 evaluates it even as the object itself. Do not load the file.",
		Refs: []prerun.Reference{refDeserialize, refUnsafeModel, cve("2024-27322")},
	}
	ruleRPending = prerun.Rule{
		ID: "scan.r.pending-argument", Title: "argument that is not evaluated yet", Severity: prerun.Low,
		Help: "An environment of the file holds an argument whose expression has not been evaluated. It runs when code of the model reads that variable. Models that keep functions have such arguments; review the expression, or save the model after all arguments were forced.",
		Refs: []prerun.Reference{refDeserialize},
	}
	ruleRCall = prerun.Rule{
		ID: "scan.r.dangerous-call", Title: "call of a function that reaches out", Severity: prerun.Medium,
		Help: "A function, formula or call of the file names a function of R that runs commands, loads native code, opens connections or changes the session. It runs when the model is printed, updated or used for a prediction; the finding is high where it runs on the first look at the object. Do not use the model before you know what it does.",
		Refs: []prerun.Reference{refDeserialize, refUnsafeModel},
	}
	ruleRBytecode = prerun.Rule{
		ID: "scan.r.loose-bytecode", Title: "byte code outside a function", Severity: prerun.Medium,
		Help: "The file holds compiled code that is not the body of a function. R evaluates byte code without verifying it, so it can do what no expression could. No program saves it. Do not load the file.",
		Refs: []prerun.Reference{refDeserialize},
	}
	ruleRMapped = prerun.Rule{
		ID: "scan.r.mapped-file", Title: "vector that is a file of the machine", Severity: prerun.High,
		Help: "A vector of the object is the content of a file on the machine that loads it: R opens it, for writing too if the object says so, when the object is built. It reads what the file's author chose. Do not load the file; save the vector itself.",
		Refs: []prerun.Reference{refTraversal, refDeserialize},
	}
	ruleRComputed = prerun.Rule{
		ID: "scan.r.computed-name", Title: "function looked up by a name that is put together", Severity: prerun.Medium,
		Help: "A function, formula or call of the file puts a text together and has R call what it names, or read it as code. Functions that models keep name what they call; this is how a name is kept from those who look for it. Review the expression before you use the model.",
		Refs: []prerun.Reference{refDeserialize, refUnsafeModel},
	}
	ruleRHook = prerun.Rule{
		ID: "scan.r.session-hook", Title: "function that R calls by itself", Severity: prerun.Medium,
		Help: "The workspace has a function that R calls when a session starts or ends (.First, .Last): loading the file is enough for it to run when R is left. A model needs none. Load the file into an environment of its own, or remove the function.",
		Refs: []prerun.Reference{refDeserialize},
	}
	ruleRMasked = prerun.Rule{
		ID: "scan.r.masked-function", Title: "function in the place of one of R", Severity: prerun.Medium,
		Help: "The workspace has a function with the name of one that every program calls. After loading the file into the session, calls from the prompt run the function of the file. Load the file into an environment of its own, or remove the function.",
		Refs: []prerun.Reference{refDeserialize, refUnsafeModel},
	}
	ruleRClass = prerun.Rule{
		ID: "scan.r.package-vector", Title: "vector of a package's own kind", Severity: prerun.Low,
		Help: "A vector is of a class that a package defines. R loads that package, and calls its native code with what the file says, when the object is built. Make sure that the package is one that you know.",
		Refs: []prerun.Reference{refForeignCode},
	}
)

func (rFormat) Info() Info {
	return Info{
		ID: "r", Within: []string{"text"}, Extensions: []string{".rds", ".rda", ".rdata"},
		Rules: []prerun.Rule{ruleRPromise, ruleRPending, ruleRCall, ruleRBytecode, ruleRMapped, ruleRClass, ruleRComputed, ruleRHook, ruleRMasked},
	}
}

func (rFormat) Match(p Probe) Match {
	if _, _, ok := rStart(p.Head); ok {
		return Maybe
	}
	return No
}

func (rFormat) Scan(_ context.Context, a *Artifact, out *Sink) error {
	order, at, ok := rStart(a.Head)
	if !ok {
		return fmt.Errorf("r: %w", ErrNotFormat)
	}
	s := &rScan{rReader: rReader{newForward(a, at+2), order}, out: out, packages: make(map[string]bool)}
	defer func() { a.run.release(Memory, s.held) }()
	writer, err := s.header()
	if err != nil && !errors.Is(err, ErrBudget) {
		return fmt.Errorf("r: %w: %w", err, ErrNotFormat)
	}
	if err != nil {
		return err
	}
	s.workspace = at > 0
	_, err = s.item(rFree, 0)
	s.facts(writer)
	if err == nil {
		out.Claim(0, s.off)
	}
	return err
}

// header reads the versions, and the encoding of texts in version 3.
func (s *rScan) header() (writer int32, err error) {
	var v [3]int32
	for i := range v {
		if v[i], err = s.int(); err != nil {
			return 0, err
		}
	}
	if v[1] < 1<<16 || v[1] > 255<<16 {
		return 0, fmt.Errorf("writer's version %#x", v[1])
	}
	if v[0] == 3 {
		n, err := s.int()
		if err != nil {
			return 0, err
		}
		if n < 0 || n > 64 {
			return 0, fmt.Errorf("offset %d: the name of an encoding has %d bytes", s.off, n)
		}
		if _, err := s.chars(uint64(n), 0); err != nil {
			return 0, err
		}
	}
	return v[1], nil
}

func (s *rScan) finding(rule prerun.Rule, sev prerun.Severity, at int64, key, format string, args ...any) {
	s.out.report(rule, sev, prerun.Location{Offset: at, Length: min(4, s.a.Size-at)}, key, format, args...)
}

// named judges a function that is called, or handed to what calls it.
func (s *rScan) named(name string, at int64, place rPlace) {
	reach, ok := rReach[name]
	if !ok {
		return
	}
	sev, where := prerun.Medium, "a call or formula"
	switch place {
	case rBody:
		where = "a function or argument"
	case rPending:
		sev, where = prerun.High, "an expression that is evaluated when its value is looked at"
	}
	s.finding(ruleRCall, sev, at, name, "%s names %s, which %s", where, name, reach.what)
}

// argument judges what is handed to a function that goes by it.
func (s *rScan) argument(in rArgument, car rItem, at int64, place rPlace) {
	callee, text := in.callee, car.name
	switch {
	case car.typ == rCall:
		if in.n == 1 && rByName[callee] && rBuilds[car.callee] || rReadsCode[callee] && rHides[car.callee] {
			s.finding(ruleRComputed, 0, at, callee, "%s is given what %s puts together", callee, car.callee)
		}
		return
	case (car.typ == rSymbol || car.typ == rReference) && rApplies[callee] && rReach[text].plain:
		s.named(text, at, place)
		return
	case car.typ != rStrings:
		return
	case rApplies[callee]:
		s.named(text, at, place)
		return
	}
	switch callee {
	case "get", "get0", "mget", "getFunction", "getExportedValue", "getFromNamespace", "getAnywhere", "as.name", "as.symbol", "call":
		s.named(text, at, place)
	case "parse", "str2lang", "str2expression":
		word := 0 // where a name starts that may end before a parenthesis
		for i, c := range text {
			switch {
			case c == '(':
				if f := strings.Fields(text[word:i]); len(f) > 0 {
					s.named(f[len(f)-1], at, place)
				}
				word = i + 1
			case c != '.' && c != '_' && c != ' ' && !unicode.IsLetter(c) && !unicode.IsDigit(c):
				word = i + 1
			}
		}
	}
}

func setOf(names string) map[string]bool {
	out := make(map[string]bool)
	for name := range strings.FieldsSeq(names) {
		out[name] = true
	}
	return out
}

var (
	// rApplies call a function that they are given, as itself or by its name.
	rApplies = setOf("do.call match.fun lapply sapply vapply eapply Map mapply Reduce Filter Find Position rapply outer " +
		"apply tapply sweep Vectorize mclapply parLapply clusterCall clusterApply")
	// rByName find a function by a text.
	rByName = setOf("do.call match.fun get get0 mget getFunction getExportedValue getFromNamespace getAnywhere as.name as.symbol call")
	// rReadsCode read code from a text. R itself pastes the text of formulas.
	rReadsCode = setOf("parse str2lang str2expression")
	rHides     = setOf("rawToChar intToUtf8 chartr rev base64decode memDecompress")
	// rBuilds put a text together.
	rBuilds = setOf("paste paste0 sprintf rawToChar intToUtf8 chartr gsub sub rev strtrim substr substring toupper tolower " +
		"base64decode memDecompress utf8ToInt")
	// rHooks are functions that R calls by itself when a session starts or ends.
	rHooks = setOf(".First .Last .First.sys .Last.sys")
	// rMasked are functions that every program calls, which a variable of the
	// same name in the workspace stands before.
	rMasked = setOf("library require requireNamespace loadNamespace attach source options print cat message paste paste0 format " +
		"c list data.frame matrix vector length names is.null inherits stop warning invisible suppressWarnings suppressMessages " +
		"eval get assign exists do.call lapply sapply vapply Map apply predict summary update plot str head q quit rm ls load save readRDS saveRDS " +
		"print.default print.data.frame print.function print.lm print.glm summary.lm summary.default summary.data.frame predict.lm predict.glm " +
		"format.default format.data.frame toString.default " +
		"<- = ( { [ [[ $ if for while function + - * / == < > ! && || ~ :: ::: @")
)

// global judges a function that loading puts into the workspace.
func (s *rScan) global(name string, at int64) {
	switch {
	case rHooks[name]:
		s.finding(ruleRHook, 0, at, name, "R calls the function %s of the workspace by itself", name)
	case rMasked[name]:
		s.finding(ruleRMasked, 0, at, name, "the function %s of the workspace stands before that of R", name)
	}
}

// rReach are functions of base R that no model needs. Those that are plain
// are no names of variables that functions have.
var rReach = map[string]struct {
	what  string
	plain bool
}{
	"system": {"runs a command", true}, "system2": {"runs a command", true}, "shell.exec": {"runs a command", true},
	"shell": {"runs a command", false}, "pipe": {"runs a command", false}, "fifo": {"opens a pipe", false},
	"socketConnection": {"talks to other machines", true}, "make.socket": {"talks to other machines", true},
	"download.file": {"fetches from the network", true}, "url": {"fetches from the network", false}, "browseURL": {"starts a browser", true},
	"install.packages": {"installs code", true}, "source": {"runs a file", false}, "sys.source": {"runs a file", true},
	"dyn.load": {"loads native code", true}, "library.dynam": {"loads native code", true},
	"unlink": {"deletes files", true}, "file.remove": {"deletes files", true}, "Sys.setenv": {"changes the session", true},
	"reg.finalizer": {"leaves code to be run later", true}, "addTaskCallback": {"leaves code to be run later", true},
	"file.create": {"writes files", true}, "file.copy": {"writes files", true}, "file.rename": {"writes files", true},
	"file.append": {"writes files", true}, "file.symlink": {"writes files", true}, "file.edit": {"starts an editor", true},
	"save.image": {"writes files", true}, "saveRDS": {"writes files", true}, "sink": {"writes files", false}, "makePSOCKcluster": {"starts programs", true},
	"makeForkCluster": {"starts programs", true}, "mcparallel": {"starts programs", true}, "mcfork": {"starts programs", true},
	"Rcmd":    {"runs a command", true},
	"setHook": {"leaves code to be run later", true}, "mmap_file": {"opens a file", true},
}

// needs notes a package that loading looks for.
func (s *rScan) needs(name string) {
	if len(s.packages) < rShown && name != "" {
		s.packages[strings.TrimPrefix(name, "package:")] = true
	}
}

func (s *rScan) facts(writer int32) {
	s.out.Fact("framework", "r")
	s.out.Fact("version", fmt.Sprintf("%d.%d.%d", writer>>16, writer>>8&0xff, writer&0xff))
	s.out.Fact("functions", strconv.Itoa(s.functions))
	s.out.Fact("calls", strconv.Itoa(s.calls))
	if names := sortedKeys(s.packages); len(names) > 0 {
		s.out.Fact("packages", excerpt(strings.Join(names, " "), 200))
	}
}
