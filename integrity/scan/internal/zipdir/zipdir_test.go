package zipdir_test

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/prerun/prerun/integrity/scan/internal/build"
	"github.com/prerun/prerun/integrity/scan/internal/zipdir"
)

func always() error { return nil }

func read(t *testing.T, data []byte) *zipdir.Directory {
	t.Helper()
	d, err := zipdir.Read(bytes.NewReader(data), int64(len(data)), always)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range d.Spans {
		if s.Off < 0 || s.End <= s.Off || s.End > int64(len(data)) {
			t.Errorf("span %d-%d of %d", s.Off, s.End, len(data))
		}
	}
	return d
}

// written is an archive of the standard library, which streams: sizes follow
// the data in descriptors.
func written(t *testing.T, members int, method uint16) []byte {
	t.Helper()
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	for i := range members {
		f, err := w.CreateHeader(&zip.FileHeader{Name: fmt.Sprint(i), Method: method})
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(f, "content %d", i)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestStandardLibrary(t *testing.T) {
	for _, tt := range []struct {
		members int
		method  uint16
	}{{0, 0}, {1, 0}, {3, 8}, {70_000, 0}} { // the last one needs zip64 records
		t.Run(fmt.Sprint(tt.members), func(t *testing.T) {
			data := written(t, tt.members, tt.method)
			d := read(t, data)
			if len(d.Members) != tt.members || len(d.Problems) != 0 {
				t.Fatalf("%d members, problems %+v", len(d.Members), d.Problems[:min(3, len(d.Problems))])
			}
			// Every byte belongs to the structure: nothing is left to hide in.
			end := int64(0)
			for _, s := range d.Spans {
				if s.Off > end {
					t.Fatalf("bytes %d-%d belong to nothing", end, s.Off)
				}
				end = max(end, s.End)
			}
			if end != int64(len(data)) {
				t.Errorf("ends at %d of %d", end, len(data))
			}
		})
	}
}

func TestZip64Member(t *testing.T) {
	data := build.Zip(build.Member{Name: "a", Data: []byte("hello")})
	central := bytes.Index(data, []byte("PK\x01\x02"))
	end := bytes.Index(data, []byte("PK\x05\x06"))
	le := binary.LittleEndian
	extra := le.AppendUint64(le.AppendUint64([]byte{1, 0, 16, 0}, 5), 5) // size, then stored size
	rec := bytes.Clone(data[central:end])
	le.PutUint32(rec[20:], 1<<32-1)
	le.PutUint32(rec[24:], 1<<32-1)
	le.PutUint16(rec[30:], uint16(len(extra)))
	tail := bytes.Clone(data[end:])
	le.PutUint32(tail[12:], uint32(len(rec)+len(extra)))
	out := append(append(append(bytes.Clone(data[:central]), rec...), extra...), tail...)
	d := read(t, out)
	if len(d.Problems) != 0 || d.Members[0].Size != 5 || d.Members[0].Packed != 5 {
		t.Errorf("%+v %+v", d.Members, d.Problems)
	}
}

func TestUnicodePath(t *testing.T) {
	data := build.Zip(build.Member{Name: "a.pkl", Data: []byte("x")})
	central := bytes.Index(data, []byte("PK\x01\x02"))
	end := bytes.Index(data, []byte("PK\x05\x06"))
	le := binary.LittleEndian
	extra := le.AppendUint32([]byte{0x75, 0x70, 10, 0, 1}, crc32.ChecksumIEEE([]byte("a.pkl")))
	extra = append(extra, "b.pkl"...)
	rec := bytes.Clone(data[central:end])
	le.PutUint16(rec[30:], uint16(len(extra)))
	tail := bytes.Clone(data[end:])
	le.PutUint32(tail[12:], uint32(len(rec)+len(extra)))
	d := read(t, append(append(append(bytes.Clone(data[:central]), rec...), extra...), tail...))
	if len(d.Problems) != 1 || d.Problems[0].Kind != zipdir.NameMismatch {
		t.Errorf("%+v", d.Problems)
	}
}

func TestErrors(t *testing.T) {
	good := build.Zip(build.Member{Name: "a", Data: []byte("x")})
	moved := bytes.Clone(good)
	binary.LittleEndian.PutUint32(moved[len(moved)-6:], 1<<20) // the directory lies beyond the file
	binary.LittleEndian.PutUint32(moved[len(moved)-10:], 1<<20)
	for name, tt := range map[string]struct {
		data []byte
		want error
	}{
		"empty": {nil, zipdir.ErrNotZip},
		"text":  {[]byte("no archive at all, only words"), zipdir.ErrNotZip},
		"moved": {moved, zipdir.ErrMalformed},
	} {
		if _, err := zipdir.Read(bytes.NewReader(tt.data), int64(len(tt.data)), always); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
	}
	stop := errors.New("stop")
	if _, err := zipdir.Read(bytes.NewReader(good), int64(len(good)), func() error { return stop }); !errors.Is(err, stop) {
		t.Errorf("%v, want the error of the callback", err)
	}
}

// TestAgainstStandardLibrary compares names and places with archive/zip on
// archives that both read.
func TestAgainstStandardLibrary(t *testing.T) {
	data := written(t, 20, 8)
	want, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	type place struct {
		Name         string
		At           int64
		Packed, Size int64
	}
	var a, b []place
	for _, f := range want.File {
		at, err := f.DataOffset()
		if err != nil {
			t.Fatal(err)
		}
		a = append(a, place{f.Name, at, int64(f.CompressedSize64), int64(f.UncompressedSize64)})
	}
	for _, m := range read(t, data).Members {
		b = append(b, place{m.Name, m.DataAt, m.Packed, m.Size})
	}
	if diff := cmp.Diff(a, b); diff != "" {
		t.Errorf("(-archive/zip +zipdir):\n%s", diff)
	}
}

func FuzzRead(f *testing.F) {
	f.Add(build.Zip(build.Member{Name: "a", Data: []byte("x"), Method: 8}, build.Member{Name: "b", Hidden: true}))
	f.Add(build.Archive{Members: []build.Member{{Name: "a"}}, Prefix: []byte("p"), Suffix: []byte("s"), Comment: []byte("c")}.Bytes())
	f.Fuzz(func(t *testing.T, data []byte) {
		d, _ := zipdir.Read(bytes.NewReader(data), int64(len(data)), always)
		size := int64(len(data))
		for _, s := range d.Spans {
			if s.Off < 0 || s.End > size || s.Off >= s.End {
				t.Errorf("span %d-%d of %d", s.Off, s.End, size)
			}
		}
		for _, m := range d.Members {
			if m.DataAt >= 0 && (m.DataAt > size || m.Packed < 0 || m.Packed > size-m.DataAt) {
				t.Errorf("data %d+%d of %d", m.DataAt, m.Packed, size)
			}
		}
	})
}
