package pickle_test

import (
	"bytes"
	"testing"

	"github.com/prerun/prerun/internal/pickle"
)

func BenchmarkScan(b *testing.B) {
	for _, bm := range []struct {
		name string
		data []byte
	}{
		{"vocabulary", vocabulary(1 << 18)},
		{"tree", tree(1 << 17)},
		{"objects", forest(1 << 16)},
		{"estimator", estimator()},
		{"settings", settings()},
		{"floats", asm(pickle.OpProto, 4, pickle.OpEmptyList, pickle.OpMark,
			bytes.Repeat(asm(pickle.OpBinfloat, u64(12345)), 1<<19), pickle.OpAppends, pickle.OpStop)},
		{"noise", asm(bytes.Repeat(asm(pickle.OpNone, pickle.OpPop), 1<<21), pickle.OpNone, pickle.OpStop)},
		{"array", asm(pickle.OpProto, 4, pickle.OpBinbytes8, u64(64<<20), make([]byte, 64<<20), pickle.OpStop)},
	} {
		b.Run(bm.name, func(b *testing.B) {
			b.SetBytes(int64(len(bm.data)))
			b.ReportAllocs()
			var ops int64
			for b.Loop() {
				trace, err := pickle.Machine{Literal: func(pickle.Literal) {}}.Scan(b.Context(), bytes.NewReader(bm.data), int64(len(bm.data)))
				if err != nil {
					b.Fatal(err)
				}
				if !trace.Streams[0].Complete {
					b.Fatal(trace.Streams[0].Faults)
				}
				ops += trace.Ops
			}
			b.ReportMetric(float64(ops)/b.Elapsed().Seconds()/1e6, "Mops/s")
		})
	}
}

func BenchmarkSniff(b *testing.B) {
	data := vocabulary(1 << 10)[:4096]
	b.ReportAllocs()
	for b.Loop() {
		pickle.Sniff(data, 1<<20)
	}
}
