package datasec_test

import (
	"fmt"
	"testing"

	"github.com/prerun/prerun/datasec"
)

// BenchmarkScan measures whole scans in bytes of JSONL: reading alone, each
// detector with reading, and all of them.
func BenchmarkScan(b *testing.B) {
	data := jsonl(mails(4000))
	fsys := tree("d.jsonl", data)
	type set struct {
		name string
		det  []datasec.Detector
	}
	sets := []set{{"read", []datasec.Detector{}}}
	for _, d := range datasec.Builtin() {
		sets = append(sets, set{d.Info().Name, []datasec.Detector{d}})
	}
	sets = append(sets, set{"all", nil})
	for _, s := range sets {
		for _, workers := range []int{1, 2} {
			b.Run(fmt.Sprintf("%s/workers=%d", s.name, workers), func(b *testing.B) {
				b.SetBytes(int64(len(data)))
				b.ReportAllocs()
				for b.Loop() {
					if _, err := (datasec.Scanner{Detectors: s.det, Workers: workers}).Scan(b.Context(), datasec.Files(fsys, schema, "d.jsonl")...); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// BenchmarkObserve measures single detectors without reading, on text bytes.
func BenchmarkObserve(b *testing.B) {
	rows := mails(1000)
	size := 0
	for _, r := range rows {
		size += len(r.Fields[0].Value)
	}
	for _, d := range datasec.Builtin() {
		b.Run(d.Info().Name, func(b *testing.B) {
			b.SetBytes(int64(size))
			b.ReportAllocs()
			state := d.New(datasec.Params{})
			for b.Loop() {
				for i := range rows {
					state.Observe(&rows[i])
				}
			}
		})
	}
}
