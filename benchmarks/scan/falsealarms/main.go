// Command falsealarms scans folders of files that are taken to be benign and
// prints, as Markdown, what the scanner says about their model files: a line
// for each folder, then a line for each file about which it says anything at low
// severity or above, or that it does not recognise or read to the end.
//
// A model file is one whose name has an extension that models have. Findings
// about other files are counted too.
//
//	go run ./benchmarks/scan/falsealarms integrity/scan/testdata/models
package main

import (
	"context"
	"crypto/sha256"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/integrity/scan"
)

// models are the extensions of model files.
var models = strings.Fields(`.bin .binarypb .bz2 .caffemodel .cbm .ckpt .crfsuite .dat .data .dill .gguf .ggml .gz
	.h5 .hdf5 .index .jit .joblib .json .keras .lz4 .meta .mlmodel .model .msgpack .npy .npz .onnx .onnx_data .ort
	.p .params .pb .pbtxt .pdiparams .pdmodel .pickle .pkl .pmml .pt .pte .pth .ptl .rds .safetensors .skops .task
	.tflite .torchscript .ubj .weights .xz .zlib`)

// others are files with such an extension that never are models.
var others = []string{"package.json", "tsconfig.json", "direct_url.json"}

func main() {
	halves := flag.Bool("halves", false, "say to which half a package belongs, by the SHA-256 of its name")
	flag.Parse()
	if err := run(os.Stdout, flag.Args(), *halves); err != nil {
		log.Fatal(err)
	}
}

func run(w io.Writer, dirs []string, halves bool) error {
	var (
		rows, lines []string
		total       = make(map[string]*tally)
	)
	for _, dir := range dirs {
		res, err := (scan.Scanner{NoDigests: true}).Scan(context.Background(), os.DirFS(dir))
		if err != nil {
			return fmt.Errorf("%s: %w", dir, err)
		}
		label, half := filepath.Base(dir), "all"
		if halves {
			half = halfOf(label)
		}
		t := new(tally)
		for i := range res.Files {
			if line := t.add(label, &res.Files[i]); line != "" {
				lines = append(lines, line)
			}
		}
		rows = append(rows, t.row(label, half))
		if total[half] == nil {
			total[half] = new(tally)
		}
		total[half].join(t)
	}
	fmt.Fprint(w, "| folder | half | model files | clean and complete | not recognised | not read to the end | medium or above | low | other files, low or above |\n|---|---|---|---|---|---|---|---|---|\n")
	fmt.Fprint(w, strings.Join(rows, ""))
	for _, half := range []string{"all", "tuned on", "held out"} {
		if t := total[half]; t != nil {
			fmt.Fprint(w, t.row("**together**", half))
		}
	}
	fmt.Fprint(w, "\n| file | verdict | completeness | formats | what |\n|---|---|---|---|---|\n")
	fmt.Fprint(w, strings.Join(lines, ""))
	return nil
}

// halfOf reads the name out of "registry-name@version".
func halfOf(label string) string {
	_, name, _ := strings.Cut(label, "-")
	name = strings.ReplaceAll(name[:strings.LastIndexByte(name, '@')], "+", "/")
	if sum := sha256.Sum256([]byte(name)); sum[len(sum)-1]%2 == 0 {
		return "tuned on"
	}
	return "held out"
}

// A tally counts files.
type tally struct{ models, clean, unknown, partial, alarms, low, others int }

func (t *tally) join(o *tally) {
	t.models += o.models
	t.clean += o.clean
	t.unknown += o.unknown
	t.partial += o.partial
	t.alarms += o.alarms
	t.low += o.low
	t.others += o.others
}

func (t *tally) row(label, half string) string {
	return fmt.Sprintf("| %s | %s | %d | %d | %d | %d | %d | %d | %d |\n",
		label, half, t.models, t.clean, t.unknown, t.partial, t.alarms, t.low, t.others)
}

// add counts a file and returns its line where there is something to say.
func (t *tally) add(label string, f *scan.FileResult) string {
	said := make(map[string]int) // by severity and rule
	worst := prerun.Info
	for x := range f.All() {
		for _, finding := range x.Findings {
			if finding.Severity > prerun.Info {
				said[fmt.Sprintf("%s `%s`", finding.Severity, finding.Rule.ID)]++
				worst = max(worst, finding.Severity)
			}
		}
	}
	if !slices.Contains(models, strings.ToLower(path.Ext(f.Path))) || slices.Contains(others, path.Base(f.Path)) {
		if worst == prerun.Info {
			return ""
		}
		t.others++
		return line(label, f, said)
	}
	t.models++
	unknown, partial := len(f.Formats) == 0, f.Completeness != scan.Complete
	switch {
	case unknown:
		t.unknown++
	case partial:
		t.partial++
	}
	switch {
	case worst >= prerun.Medium:
		t.alarms++
	case worst == prerun.Low:
		t.low++
	}
	if !unknown && !partial && worst == prerun.Info {
		t.clean++
		return ""
	}
	return line(label, f, said)
}

func line(label string, f *scan.FileResult, said map[string]int) string {
	var what []string
	for rule, n := range said {
		what = append(what, fmt.Sprintf("%s × %d", rule, n))
	}
	slices.Sort(what)
	for x := range f.All() {
		for _, g := range x.Gaps {
			if len(what) < 6 {
				what = append(what, "gap: "+g.Reason)
			}
		}
	}
	text := strings.NewReplacer("|", "\\|", "\n", " ").Replace(strings.Join(what, "; "))
	return fmt.Sprintf("| %s/%s | %s | %s | %s | %s |\n", label, f.Path, f.Verdict, f.Completeness, strings.Join(f.Formats, ", "), text)
}
