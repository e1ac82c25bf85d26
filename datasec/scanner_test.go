package datasec_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"go.uber.org/goleak"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/datasec"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func tree(files ...string) fstest.MapFS {
	fsys := make(fstest.MapFS)
	for i := 0; i < len(files); i += 2 {
		fsys[files[i]] = &fstest.MapFile{Data: []byte(files[i+1])}
	}
	return fsys
}

func scan(t testing.TB, s datasec.Scanner, fsys fstest.MapFS, schema datasec.Schema, names ...string) *datasec.Result {
	t.Helper()
	res, err := s.Scan(t.Context(), datasec.Files(fsys, schema, names...)...)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// said are rule, severity and main location of every finding.
func said(src prerun.Source) []string {
	var out []string
	for f := range src.Findings() {
		at := prerun.Location{Path: f.Path()}
		if len(f.Locations) > 0 {
			at = f.Locations[0]
		}
		out = append(out, strings.TrimSpace(fmt.Sprintf("%s %v %s %s", f.Rule.ID, f.Severity, at.Path, at.Fragment)))
	}
	return out
}

func gaps(src prerun.Source) []string {
	var out []string
	for g := range src.Gaps() {
		out = append(out, fmt.Sprintf("%s:%d: %s", g.Location.Path, g.Location.Line, g.Reason))
	}
	return out
}

func gz(t testing.TB, s string) string {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write([]byte(s)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func zst(t testing.TB, s string) string {
	t.Helper()
	w, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	return string(w.EncodeAll([]byte(s), nil))
}

const threeRows = `{"id":"a","text":"first row of text","label":"x"}
{"id":"b","text":"second row of text","label":"y"}

{"id":"c","text":"third row of text","label":null}
`

var schema = datasec.Schema{Text: []string{"text"}, Label: "label", ID: "id"}

func TestFormatsReadTheSame(t *testing.T) {
	csvRows := "id,text,label\na,first row of text,x\nb,\"second row\nof text\",y\n"
	for _, tt := range []struct {
		name, file, data string
		rows             int64
	}{
		{"jsonl", "d.jsonl", threeRows, 3},
		{"jsonl_gzip", "d.jsonl.gz", gz(t, threeRows), 3},
		{"jsonl_zstd", "d.jsonl.zst", zst(t, threeRows), 3},
		{"compressed_under_a_plain_name", "d.jsonl", zst(t, threeRows), 3},
		{"told_by_content", "d.data", threeRows, 3},
		{"byte_order_mark", "d.jsonl", "\ufeff" + threeRows, 3},
		{"crlf_and_no_last_newline", "d.jsonl", strings.TrimRight(strings.ReplaceAll(threeRows, "\n", "\r\n"), "\r\n"), 3},
		{"empty", "d.jsonl", "", 0},
		{"csv", "d.csv", csvRows, 2},
		{"csv_gzip", "d.csv.gz", gz(t, csvRows), 2},
		{"tsv", "d.tsv", "id\ttext\tlabel\na\tb c\tx\n", 1},
		{"csv_without_rows", "d.csv", "id,text,label\n", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			res := scan(t, datasec.Scanner{Detectors: []datasec.Detector{datasec.HiddenText{}}}, tree(tt.file, tt.data), schema, tt.file)
			if got := gaps(res); got != nil {
				t.Errorf("gaps: %q", got)
			}
			if res.Rows() != tt.rows {
				t.Errorf("%d rows, want %d", res.Rows(), tt.rows)
			}
			if res.Root() == "" {
				t.Error("no root")
			}
		})
	}
}

func TestNothingIsLostSilently(t *testing.T) {
	long := strings.Repeat("x", 300)
	bomb := `{"id":"a","text":"` + strings.Repeat("0", 8<<20) + `","label":"x"}`
	tight := schema
	tight.Limits = datasec.Limits{Record: 200, Rows: 3}
	for _, tt := range []struct {
		name, file, data string
		schema           datasec.Schema
		want             []string
	}{
		{
			"broken_row", "d.jsonl", "{\"id\":1\n" + threeRows, schema,
			[]string{"d.jsonl:1: row not read, at offset 0: column 8: expected ',' or '}'"},
		},
		{
			"duplicate_key", "d.jsonl", threeRows + `{"id":"d","text":"a","text":"b","label":"x"}`, schema,
			[]string{`d.jsonl:5: row not read, at offset 153: column 22: duplicate name "text"`},
		},
		{"array", "d.jsonl", "[1]\n", schema, []string{"d.jsonl:1: row not read, at offset 0: a JSON array where an object is expected"}},
		{"no_text", "d.jsonl", `{"id":"a","label":"x"}`, schema, []string{`d.jsonl:1: row not read, at offset 0: no text field "text"`}},
		{"no_label", "d.jsonl", `{"id":"a","text":"x"}`, schema, []string{`d.jsonl:1: row not read, at offset 0: no label field "label"`}},
		{
			"not_utf8", "d.jsonl", "{\"id\":\"a\",\"text\":\"\xff\",\"label\":\"x\"}", schema,
			[]string{"d.jsonl:1: row not read, at offset 0: column 19: invalid UTF-8"},
		},
		{
			"long_row", "d.jsonl", `{"id":"` + long + "\"}\n" + threeRows, tight,
			[]string{"d.jsonl:0: not read beyond row 3: more than 3 rows", "d.jsonl:1: row not read, at offset 0: longer than 200 bytes"},
		},
		{"many_rows", "d.jsonl", threeRows + threeRows, tight, []string{"d.jsonl:0: not read beyond row 3: more than 3 rows"}},
		{"ratio", "d.jsonl.gz", gz(t, bomb), schema, []string{"d.jsonl.gz:0: not read beyond row 0: 8218 compressed bytes decompress to more than 200 times their size"}},
		{"cut_gzip", "d.jsonl.gz", gz(t, threeRows)[:60], schema, []string{"d.jsonl.gz:0: not read beyond row 0: unexpected EOF"}},
		{"missing_file", "e.jsonl", "", schema, []string{"d.jsonl:0: not read beyond row 0: file does not exist"}},
		{"unknown_format", "d.bin", "\x00\x01", schema, []string{"d.bin:0: not read beyond row 0: neither the name nor the first character tells the format; state it in the schema"}},
		{"ragged_csv", "d.csv", "id,text,label\na,b\nc,d,x\n", schema, []string{"d.csv:2: row not read, at offset 14: column 1: wrong number of fields"}},
		{
			"open_quote", "d.csv", "id,text,label\na,\"" + strings.Repeat("y\n", 9000), tight,
			[]string{"d.csv:0: not read beyond row 0: a record longer than 200 bytes, or a quote that is not closed"},
		},
		{"latin1_csv", "d.csv", "id,text,label\na,\xe4,x\n", schema, []string{"d.csv:2: row not read, at offset 14: not UTF-8"}},
		{"csv_without_the_field", "d.csv", "id,label\na,x\n", schema, []string{`d.csv:0: not read beyond row 0: header: no field "text"`}},
		{"doubled_header", "d.csv", "id,text,label,id\n", schema, []string{`d.csv:0: not read beyond row 0: header: two fields are named "id"`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			name := tt.file
			if name == "e.jsonl" {
				name = "d.jsonl"
			}
			res := scan(t, datasec.Scanner{Detectors: []datasec.Detector{datasec.HiddenText{}}}, tree(tt.file, tt.data), tt.schema, name)
			if diff := cmp.Diff(tt.want, gaps(res)); diff != "" {
				t.Errorf("gaps (-want +got):\n%s", diff)
			}
			if res.Root() != "" {
				t.Error("an incomplete data set has a root")
			}
			if _, err := res.Manifest(); !errors.Is(err, datasec.ErrIncomplete) {
				t.Errorf("manifest of an incomplete data set: %v", err)
			}
			if got := prerun.Decide(res, prerun.Medium); got != prerun.Incomplete {
				t.Errorf("verdict %v", got)
			}
		})
	}
}

func TestScanOfNothing(t *testing.T) {
	res, err := datasec.Scanner{}.Scan(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, src := range []prerun.Source{res, new(datasec.Result)} {
		if got := prerun.Decide(src, prerun.Medium); got != prerun.Incomplete {
			t.Errorf("verdict %v", got)
		}
	}
}

// Rows that were read for their manifest alone were not checked.
func TestScanWithoutDetectors(t *testing.T) {
	shards := datasec.Files(tree("d.jsonl", threeRows), schema, "d.jsonl")
	none := datasec.Scanner{Detectors: []datasec.Detector{}}
	res, err := none.Scan(t.Context(), shards...)
	if err != nil {
		t.Fatal(err)
	}
	if got := len(slices.Collect(res.Gaps())); got != 1 {
		t.Errorf("%d gaps", got)
	}
	if none.Against, err = res.Manifest(); err != nil {
		t.Fatal(err)
	}
	if res, err = none.Scan(t.Context(), shards...); err != nil {
		t.Fatal(err)
	}
	for g := range res.Gaps() {
		t.Errorf("compared with a manifest: %v", g)
	}
}

func TestScanErrors(t *testing.T) {
	fsys := tree("d.jsonl", threeRows)
	if _, err := (datasec.Scanner{}).Scan(t.Context(), datasec.Files(fsys, schema, "d.jsonl", "d.jsonl")...); !errors.Is(err, datasec.ErrConfig) {
		t.Errorf("same shard twice: %v", err)
	}
	twice := datasec.Scanner{Detectors: []datasec.Detector{datasec.HiddenText{}, datasec.HiddenText{}}}
	if _, err := twice.Scan(t.Context()); !errors.Is(err, datasec.ErrConfig) {
		t.Errorf("same detector twice: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := (datasec.Scanner{}).Scan(ctx, datasec.Files(fsys, schema, "d.jsonl")...); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}
