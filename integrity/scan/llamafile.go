package scan

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/prerun/prerun"
)

// llamafileFormat recognises llamafiles: a program for several systems with a
// zip archive behind it that holds GGUF models. The archive's members are
// routed by the zip format. Facts: "framework".
type llamafileFormat struct{}

var (
	ruleLlamafile = prerun.Rule{
		ID: "scan.llamafile.program", Title: "model that is a program", Severity: prerun.Medium,
		Help: "The file is a native program with a model inside. Using it runs that program with your rights, and scanning cannot tell what it does. Take the model out (the GGUF member of the zip archive) and run it with a program that you built or trust.",
		Refs: []prerun.Reference{refForeignCode, refSupply},
	}
	ruleLlamafileArgs = prerun.Rule{
		ID: "scan.llamafile.arguments", Title: "arguments that reach out", Severity: prerun.High,
		Help: "The archive's .args, which the program adds to its command line, names files outside of the archive or opens the server to other machines. The one reads or writes files of the host, the other offers the model to the network. Do not run the file.",
		Refs: []prerun.Reference{refForeignCode, refTraversal},
	}
)

func (llamafileFormat) Info() Info {
	return Info{
		ID: "llamafile", Within: []string{"zip"}, Extensions: []string{".llamafile"},
		Rules: []prerun.Rule{ruleLlamafile, ruleLlamafileArgs},
	}
}

func (llamafileFormat) Match(p Probe) Match {
	if apeMagic(p.Head) || p.Starts("\x7fELF") || p.Starts("MZ") {
		return Maybe
	}
	return No
}

// apeMagic reports the starts of Actually Portable Executables: the usual one,
// the one that is no Windows program, and the one for debuggers.
func apeMagic(head []byte) bool {
	for _, magic := range []string{"MZqFpD='", "jartsr='", "APEDBG='"} {
		if strings.HasPrefix(string(head[:min(len(head), 8)]), magic) {
			return true
		}
	}
	return false
}

func (llamafileFormat) Scan(_ context.Context, a *Artifact, out *Sink) error {
	dir, err := a.zipDir()
	switch {
	case errors.Is(err, ErrBudget):
		return err
	case err != nil && dir == nil:
		return fmt.Errorf("llamafile: %w", ErrNotFormat)
	}
	models := 0
	members := membersOf(dir)
	for name := range members {
		if strings.EqualFold(path.Ext(name), ".gguf") {
			models++
		}
	}
	if models == 0 {
		return fmt.Errorf("llamafile: %w", ErrNotFormat)
	}
	out.Fact("framework", "llamafile")
	out.Finding(prerun.Finding{
		Rule: ruleLlamafile, Confidence: prerun.ConfidenceHigh, Message: fmt.Sprintf("a program that brings %d models", models),
	})
	args := members[".args"]
	if args == nil {
		return nil
	}
	text, err := a.memberText(args)
	if err != nil {
		return fmt.Errorf("llamafile: .args: %w", err)
	}
	n := names{out: out}
	lines := strings.Split(string(text), "\n")
	for i, line := range lines {
		next := ""
		if i+1 < len(lines) {
			next = strings.TrimSpace(lines[i+1])
		}
		if what := argument(strings.TrimSpace(line), next); what != "" {
			n.report(ruleLlamafileArgs, 0, ".args", args.EntryAt, "%s", what)
		}
	}
	return nil
}

// argument says what is wrong with one argument of the program, of which each
// stands on a line of its own. Members of the archive appear below /zip.
func argument(arg, next string) string {
	option, value, joined := strings.Cut(arg, "=")
	if !joined {
		value = next
	}
	switch option {
	case "--host":
		if value != "127.0.0.1" && value != "localhost" && value != "::1" {
			return fmt.Sprintf("the server listens on %q", excerpt(value, 60))
		}
		return ""
	case "--log-file", "--path", "--prompt-cache", "--slot-save-path", "--ssl-key-file", "--rpc":
		return fmt.Sprintf("%s %q", option, excerpt(value, 80))
	}
	if slashed := strings.ReplaceAll(arg, `\`, "/"); leaves(arg) && !strings.HasPrefix(path.Clean(slashed), "/zip/") {
		return fmt.Sprintf("the path %q", excerpt(arg, 80))
	}
	return ""
}
