package weights_test

import (
	"context"
	"fmt"
	"log"
	"math"
	"testing/fstest"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/integrity/weights"
)

func ExampleScanner_Scan() {
	layer := trained(1, "layers.0.mlp", 64, 64)
	layer.data[17] = math.NaN()
	model := fstest.MapFS{"model.safetensors": {Data: file(trained(2, "embed", 400, 64), layer)}} // os.Root.FS() in earnest

	result, err := weights.Scanner{}.Scan(context.Background(), model)
	if err != nil {
		log.Fatal(err)
	}
	for f := range result.Findings() {
		fmt.Println(f.Severity, f.Message)
	}
	fmt.Println(len(result.Tensors), "tensors,", prerun.Decide(result, prerun.Medium))
	// Output:
	// high tensor "layers.0.mlp": 1 element is of 4096 not a number, first at element 17
	// 2 tensors, fail
}

func ExampleScanner_Compare() {
	embed := trained(1, "embed", 2000, 32)
	edited := embed.with(func(d []float64) { noise(d[32*1234 : 32*1235]) })

	delta, err := weights.Scanner{}.Compare(context.Background(), tree(embed), tree(edited))
	if err != nil {
		log.Fatal(err)
	}
	for f := range delta.Findings() {
		fmt.Println(f.Severity, f.Message)
		fmt.Println("token ids:", f.Evidence["rows"])
	}
	// Output:
	// medium tensor "embed": 1 row of 2000 differ from the base model, the others are equal
	// token ids: 1234
}
