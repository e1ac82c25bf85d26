// Command write puts the files of package technique into a folder, with a
// manifest that says how each is made and how it is judged here:
//
//	go run ./integrity/scan/internal/technique/write [-harmless] [-pairs] DIR
//
// The files call os.system("echo hello") when they are loaded, the harmless
// ones a class of a module that only testdata/oracle/run.py has. With -pairs
// there are those of every two techniques that compose, some twenty thousand.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"github.com/prerun/prerun/integrity/scan"
	"github.com/prerun/prerun/integrity/scan/internal/technique"
)

func main() {
	harmless := flag.Bool("harmless", false, "call something that does nothing")
	pairs := flag.Bool("pairs", false, "write what two techniques make, too")
	flag.Parse()
	if flag.NArg() != 1 {
		flag.Usage()
		os.Exit(2)
	}
	if err := write(flag.Arg(0), *harmless, *pairs); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func write(dir string, harmless, pairs bool) error {
	call := technique.Denied()
	if harmless {
		call = technique.Harmless()
	}
	var entries []technique.Entry
	for e, d := range technique.Make(call, pairs) {
		res, err := scan.Scanner{NoDigests: true}.ScanFile(context.Background(), d.Name, bytes.NewReader(d.Data), int64(len(d.Data)))
		if err != nil {
			return err
		}
		e.Verdict, e.Completeness = res.Files[0].Verdict.String(), res.Files[0].Completeness.String()
		path := filepath.Join(dir, filepath.FromSlash(e.File))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, d.Data, 0o644); err != nil {
			return err
		}
		entries = append(entries, e)
	}
	text, err := json.MarshalIndent(struct{ Files []technique.Entry }{entries}, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "manifest.json"), text, 0o644)
}
