package pickle_test

import (
	"bytes"
	"context"
	"fmt"

	"github.com/prerun/prerun/internal/pickle"
)

// A pickle of protocol 0 that hides a call behind a harmless list: the result
// of the call is popped and never returned.
func ExampleMachine_Scan() {
	data := []byte("cos\nsystem\n(S'echo hello'\ntR0(lp0\nI1\na.")
	trace, err := pickle.Machine{}.Scan(context.Background(), bytes.NewReader(data), int64(len(data)))
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, s := range trace.Streams {
		fmt.Printf("pickle at %d to %d, complete %v, returns %s\n", s.Start, s.End, s.Complete, s.Result)
	}
	for _, g := range trace.Globals {
		fmt.Printf("offset %d: %s names %s.%s, called %d times\n", g.Offset, g.Op, g.Module, g.Name, g.Calls)
	}
	for _, c := range trace.Calls {
		fmt.Printf("offset %d: %s calls %s%s\n", c.Offset, c.Op, c.Callee, c.Args)
	}
	// Output:
	// pickle at 0 to 39, complete true, returns [1]
	// offset 0: GLOBAL names os.system, called 1 times
	// offset 27: REDUCE calls os.system('echo hello',)
}
