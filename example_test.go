package prerun_test

import (
	"context"
	"fmt"
	"testing/fstest"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/integrity/scan"
)

// Every result of the module speaks the same vocabulary: range over what was
// found and what could not be checked, and decide at a threshold.
func Example() {
	model := fstest.MapFS{"optimizer.pkl": {Data: []byte("cposix\nsystem\n(S'id'\ntR.")}}
	result, err := scan.Scanner{}.Scan(context.Background(), model)
	if err != nil {
		fmt.Println("could not scan:", err)
		return
	}
	for f := range result.Findings() {
		fmt.Println(f.Severity, f.Rule.ID, f.Path())
	}
	for g := range result.Gaps() {
		fmt.Println("not checked:", g.Location.Path, g.Reason)
	}
	fmt.Println(prerun.Decide(result, prerun.Medium))
	// Output:
	// critical scan.pickle.call-on-load optimizer.pkl
	// fail
}
