package report_test

import (
	"fmt"
	"io"
	"os"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/pipeline/report"
)

// A document is filled from any source, and a format is chosen by name.
func Example() {
	rule := prerun.Rule{
		ID: "acme.licence.unknown", Title: "licence that nobody approved", Severity: prerun.Medium,
		Help: "The model card names a licence that is not on the list. Ask before you ship.",
	}
	doc := report.Document{
		Command: "acme", Verdict: prerun.Fail,
		Source: prerun.NewSource(
			[]prerun.Subject{{Path: "model/README.md"}},
			[]prerun.Finding{{
				Rule: rule, Severity: rule.Severity, Subject: prerun.Subject{Path: "model/README.md"},
				Locations: []prerun.Location{{Path: "model/README.md", Line: 3}},
				Message:   `licence "yolo-1.0" is not approved`,
			}}, nil),
	}
	write, err := report.For("text")
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := write(os.Stdout, doc); err != nil {
		fmt.Println(err)
	}
	// Output:
	// acme: FAIL
	// 1 finding at medium or above.
	//
	// medium
	//   model/README.md:3  acme.licence.unknown
	//     licence "yolo-1.0" is not approved
	//
	// 1 subject, 1 finding at medium or above, 0 below, 0 waived, 0 not checked
}

// A format of one's own is a function of the same shape.
func ExampleWriter() {
	var csv report.Writer = func(w io.Writer, doc report.Document) error {
		for f := range doc.Source.Findings() {
			if _, err := fmt.Fprintf(w, "%s,%s,%q\n", f.Severity, f.Rule.ID, f.Path()); err != nil {
				return err
			}
		}
		return nil
	}
	if err := csv(os.Stdout, sample()); err != nil {
		fmt.Println(err)
	}
	// Output:
	// high,datasec.trigger.label-contradiction,"data/train.jsonl"
	// critical,scan.pickle.call-on-load,"model/a b.zip!/archive/data%21.pkl"
	// medium,scan.config.auto-map,"model/config.json"
	// unrated,scan.other.not-rated,"model/extra.bin"
	// low,weights.value.nan,"model/model.safetensors"
	// info,pipeline.waiver.unused,"waivers.json"
}
