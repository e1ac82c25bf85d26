package pipeline

import (
	"time"

	"github.com/prerun/prerun/internal/redact"
	"github.com/prerun/prerun/pipeline/report"
)

// Document is the decision as a report. Its facts are tier, as_of, reason,
// model{name, root, files} and, under "figures" by check id, what each check put
// into [Result.Facts]; the checks themselves stand in Document.Checks.
func (d *Decision) Document() report.Document {
	doc := report.Document{
		Command: "gate", Title: d.Name, Summary: d.Reason, AsOf: d.asOf.Format(time.DateOnly),
		Verdict: d.Verdict, FailOn: d.failOn, Source: d,
		Facts:  map[string]any{"tier": d.Tier, "as_of": d.asOf.Format(time.RFC3339), "reason": d.Reason},
		Waived: make(map[string]report.Waiver),
		Graphs: d.graphs,
	}
	if d.Model != nil {
		doc.Facts["model"] = map[string]any{"name": d.Model.Name, "root": d.Model.Root, "files": len(d.Model.Files)}
	}
	byCheck := make(map[string]any)
	for _, c := range d.Checks {
		doc.Checks = append(doc.Checks, report.Check{
			ID: c.ID, Outcome: c.Outcome.String(), Reason: c.Reason, Required: c.Required,
			Items: c.Items, Controls: c.Controls,
		})
		if c.Facts != nil {
			byCheck[c.ID] = c.Facts
		}
		doc.Intervals = append(doc.Intervals, c.Intervals...)
	}
	doc.Facts["figures"] = byCheck
	for fingerprint, w := range d.waived {
		doc.Waived[fingerprint] = report.Waiver{
			ID: redact.Text(w.ID), Owner: redact.Text(w.Owner), Reason: redact.Text(w.Reason),
			Expires: w.Expires.UTC().Format(time.DateOnly),
		}
	}
	return doc
}
