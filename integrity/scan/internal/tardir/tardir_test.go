package tardir_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/prerun/prerun/integrity/scan/internal/build"
	"github.com/prerun/prerun/integrity/scan/internal/tardir"
)

type entry struct {
	Name, Link string
	Size       int64
}

func list(data []byte) (out []entry, end int64, err error) {
	end, err = tardir.Read(bytes.NewReader(data), int64(len(data)), func(m tardir.Member) error {
		out = append(out, entry{m.Name, m.Link, m.Size})
		return nil
	})
	return out, end, err
}

// TestStandardLibrary writes long names in each format and compares with what
// the standard library reads back.
func TestStandardLibrary(t *testing.T) {
	long := strings.Repeat("folder/", 60) + "file"
	for _, format := range []tar.Format{tar.FormatUSTAR, tar.FormatPAX, tar.FormatGNU} {
		t.Run(format.String(), func(t *testing.T) {
			var out bytes.Buffer
			w := tar.NewWriter(&out)
			names := []string{"a", strings.Repeat("d/", 60) + "b", "ä"}
			if format != tar.FormatUSTAR {
				names = append(names, long)
			} else {
				names = names[:2]
			}
			for _, n := range names {
				if err := w.WriteHeader(&tar.Header{Name: n, Size: 5, Mode: 0o600, Format: format, Typeflag: tar.TypeReg}); err != nil {
					t.Fatal(err)
				}
				io.WriteString(w, "hello")
			}
			if err := w.WriteHeader(&tar.Header{Name: "l", Linkname: "a", Typeflag: tar.TypeSymlink, Format: format}); err != nil {
				t.Fatal(err)
			}
			w.Close()

			var want []entry
			for r := tar.NewReader(bytes.NewReader(out.Bytes())); ; {
				h, err := r.Next()
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				want = append(want, entry{h.Name, h.Linkname, h.Size})
			}
			got, end, err := list(out.Bytes())
			if err != nil || end != int64(out.Len()) {
				t.Errorf("ends at %d of %d: %v", end, out.Len(), err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-archive/tar +tardir):\n%s", diff)
			}
		})
	}
}

func TestErrors(t *testing.T) {
	good := build.Tar(build.TarMember{Name: "a", Data: make([]byte, 600)})
	for name, tt := range map[string]struct {
		data []byte
		want error
	}{
		"text":      {bytes.Repeat([]byte("words "), 200), tardir.ErrNotTar},
		"zeros":     {make([]byte, 2048), tardir.ErrNotTar},
		"cut":       {good[:1000], tardir.ErrMalformed},
		"junk":      {append(bytes.Clone(good[:1536]), bytes.Repeat([]byte("x"), 512)...), tardir.ErrMalformed},
		"pax_size":  {build.Tar(build.TarMember{Name: "p", Kind: 'x', Data: []byte("11 size=-5\n")}, build.TarMember{Name: "a"}), tardir.ErrMalformed},
		"pax_large": {build.Tar(build.TarMember{Name: "p", Kind: 'x', Data: build.PAX("path", strings.Repeat("a", tardir.MaxText))}, build.TarMember{Name: "a"}), tardir.ErrMalformed},
		"name":      {build.Tar(build.TarMember{Name: "p", Kind: 'L', Data: make([]byte, tardir.MaxText+1)}), tardir.ErrMalformed},
		"chain":     {build.Tar(append(slices.Repeat([]build.TarMember{{Name: "p", Kind: 'x'}}, 1001), build.TarMember{Name: "a"})...), tardir.ErrMalformed},
	} {
		if _, _, err := list(tt.data); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
	}
}

// resize writes the field of the size of the first header.
func resize(data []byte, field string) []byte { return build.PatchTar(data, 124, field) }

// TestReadersDisagree has members that Python's tarfile takes differently from
// other readers. What it sees is what is returned, as noted when run with
// Python 3.8 to 3.13, and the member is reported as odd.
func TestReadersDisagree(t *testing.T) {
	inner := build.Tar(build.TarMember{Name: "in", Data: []byte("x")})
	size := fmt.Sprint(len(inner))
	around := func(kind byte, before ...build.TarMember) []byte {
		return build.Tar(append(before, build.TarMember{Name: "out", Kind: kind, Data: inner})...)
	}
	file := build.Tar(build.TarMember{Name: "a", Data: []byte("hello")}, build.TarMember{Name: "b"})
	ext := func(kind byte, pairs ...string) build.TarMember {
		return build.TarMember{Name: "p", Kind: kind, Data: build.PAX(pairs...)}
	}
	for name, tt := range map[string]struct {
		data []byte
		want []entry
	}{
		"folder_with_size":   {around('5'), []entry{{"out", "", 0}, {"in", "", 1}}},
		"pipe_with_size":     {around('6'), []entry{{"out", "", 0}, {"in", "", 1}}},
		"pax_size_zero":      {around('0', ext('x', "size", "0")), []entry{{"out", "", 0}, {"in", "", 1}}},
		"solaris_size_zero":  {around('0', ext('X', "size", "0")), []entry{{"out", "", 0}, {"in", "", 1}}},
		"first_pax_wins":     {around('0', ext('x', "size", "0"), ext('x', "size", size)), []entry{{"out", "", 0}, {"in", "", 1}}},
		"underscores_in_pax": {around('0', ext('x', "size", "0_0")), []entry{{"out", "", 0}, {"in", "", 1}}},
		"no_number_in_pax":   {around('0', ext('x', "size", "none")), []entry{{"out", "", 0}, {"in", "", 1}}},
		"global_size":        {build.Tar(ext('g', "size", size), build.TarMember{Name: "out"}, build.TarMember{Name: "in"}), []entry{{"out", "", 1536}, {"in", "", 1024}}},
		"pax_in_padding":     {build.PatchTar(build.Tar(ext('x', "path", "in"), build.TarMember{Name: "out"}), 124, "00000000001"), []entry{{"in", "", 0}}},
		"pax_breaks_off":     {build.Tar(build.TarMember{Name: "p", Kind: 'x', Data: []byte("11 path=in\njunk")}, build.TarMember{Name: "out"}), []entry{{"in", "", 0}}},
		"nul_before_size":    {resize(around('0'), "\x000000000001"), []entry{{"out", "", 0}, {"in", "", 1}}},
		"octal_prefix":       {resize(file, "0o000000005"), []entry{{"a", "", 5}, {"b", "", 0}}},
		"underscore":         {resize(file, "0_000000005"), []entry{{"a", "", 5}, {"b", "", 0}}},
		"sign":               {resize(file, "+0000000005"), []entry{{"a", "", 5}, {"b", "", 0}}},
		"tab":                {resize(file, "\t000000005\n"), []entry{{"a", "", 5}, {"b", "", 0}}},
		"small_negative":     {resize(around('0'), "-0000000001"), []entry{{"out", "", 0}, {"in", "", 1}}},
		"two_names":          {build.Tar(ext('x', "path", "in"), ext('x', "path", "other"), build.TarMember{Name: "out"}), []entry{{"in", "", 0}}},
		"two_kinds_of_names": {build.Tar(build.TarMember{Kind: 'L', Data: []byte("in\x00")}, ext('x', "path", "other"), build.TarMember{Name: "out"}), []entry{{"in", "", 0}}},
	} {
		t.Run(name, func(t *testing.T) {
			var got []entry
			odd := false
			// What follows the last member may be no header: Python stops there.
			_, err := tardir.Read(bytes.NewReader(tt.data), int64(len(tt.data)), func(m tardir.Member) error {
				got = append(got, entry{m.Name, m.Link, m.Size})
				odd = odd || m.Odd != ""
				return nil
			})
			if !errors.Is(err, tardir.ErrMalformed) && err != nil {
				t.Error(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-Python +tardir):\n%s", diff)
			}
			if !odd {
				t.Error("no member is reported")
			}
		})
	}
}

// TestOrdinary has what writers do write and all readers take alike.
func TestOrdinary(t *testing.T) {
	ext := func(kind byte, pairs ...string) build.TarMember {
		return build.TarMember{Name: "p", Kind: kind, Data: build.PAX(pairs...)}
	}
	file := build.Tar(build.TarMember{Name: "a", Data: []byte("hello")})
	large := []string{strings.Repeat("v", 3<<20)}
	for name, tt := range map[string]struct {
		data []byte
		want []entry
	}{
		"folder":        {build.Tar(build.TarMember{Name: "d/", Kind: '5'}, build.TarMember{Name: "e/"}), []entry{{"d/", "", 0}, {"e/", "", 0}}},
		"spaces":        {resize(file, "         5 "), []entry{{"a", "", 5}}},
		"base_256":      {resize(file, "\x80\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x05"), []entry{{"a", "", 5}}},
		"same_size":     {build.Tar(ext('x', "size", "5"), build.TarMember{Name: "a", Data: []byte("hello")}), []entry{{"a", "", 5}}},
		"long_name":     {build.Tar(ext('x', "path", "long"), build.TarMember{Name: "lo"}), []entry{{"long", "", 0}}},
		"both_agree":    {build.Tar(build.TarMember{Kind: 'L', Data: []byte("in\x00")}, ext('x', "path", "in"), build.TarMember{Name: "i"}), []entry{{"in", "", 0}}},
		"comment":       {build.Tar(ext('g', "comment", "0123"), ext('x', "mtime", "1.5", "SCHILY.xattr.user.x", "y"), build.TarMember{Name: "a"}), []entry{{"a", "", 0}}},
		"large_comment": {build.Tar(ext('x', "comment", large[0], "path", "b"), build.TarMember{Name: "a"}), []entry{{"b", "", 0}}},
		"hard_link":     {build.Tar(build.TarMember{Name: "a"}, build.TarMember{Name: "b", Link: "a", Kind: '1'}), []entry{{"a", "", 0}, {"b", "a", 0}}},
		"link_in_pax":   {build.Tar(ext('x', "linkpath", "there"), build.TarMember{Name: "b", Link: "th", Kind: '2'}), []entry{{"b", "there", 0}}},
		"gnu_times":     {build.PatchTar(build.PatchTar(file, 257, "ustar  \x00"), 345, "15037634127\x0015037634127\x00"), []entry{{"a", "", 5}}},
		"unfilled":      {file[:512+5], []entry{{"a", "", 5}}},
	} {
		t.Run(name, func(t *testing.T) {
			var got []entry
			_, err := tardir.Read(bytes.NewReader(tt.data), int64(len(tt.data)), func(m tardir.Member) error {
				got = append(got, entry{m.Name, m.Link, m.Size})
				if m.Odd != "" {
					t.Errorf("%q: %s", m.Name, m.Odd)
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestSparse reads the same content, two pieces between holes, in each layout.
func TestSparse(t *testing.T) {
	const stored = "headtail"
	type piece = tardir.Piece
	ext := func(pairs ...string) build.TarMember {
		return build.TarMember{Name: "p", Kind: 'x', Data: build.PAX(pairs...)}
	}
	field := func(n int) string { return fmt.Sprintf("%011o\x00", n) }
	old := build.Tar(build.TarMember{Name: "s", Kind: 'S', Data: []byte(stored)})
	old = build.PatchTar(old, 386, field(0)+field(4)+field(1000)+field(4)+field(1024)+field(0)+field(0)+field(0)+"\x00"+field(1024))
	more := build.Tar(build.TarMember{Name: "s", Kind: 'S', Data: append([]byte(field(1000)+field(4)+strings.Repeat("\x00", 512-24)), stored...)})
	more = build.PatchTar(build.PatchTar(more, 386, field(0)+field(4)+strings.Repeat("\x00", 72)+"\x01"+field(1024)), 124, field(8))
	one := append([]byte("2\n0\n4\n1000\n4\n"+strings.Repeat("\x00", 512-15)), stored...)
	for name, tt := range map[string]struct {
		data []byte
		at   int64
	}{
		"old":      {old, 512},
		"extended": {more, 1024},
		"pax_0.0": {build.Tar(ext("GNU.sparse.size", "1024", "GNU.sparse.numblocks", "2", "GNU.sparse.offset", "0", "GNU.sparse.numbytes", "4",
			"GNU.sparse.offset", "1000", "GNU.sparse.numbytes", "4"), build.TarMember{Name: "s", Data: []byte(stored)}), 1536},
		"pax_0.1": {build.Tar(ext("GNU.sparse.size", "1024", "GNU.sparse.numblocks", "2", "GNU.sparse.name", "s", "GNU.sparse.map", "0,4,1000,4"),
			build.TarMember{Name: "x", Data: []byte(stored)}), 1536},
		"pax_1.0": {build.Tar(ext("GNU.sparse.major", "1", "GNU.sparse.minor", "0", "GNU.sparse.name", "s", "GNU.sparse.realsize", "1024"),
			build.TarMember{Name: "x", Data: one}), 2048},
	} {
		t.Run(name, func(t *testing.T) {
			var got []tardir.Member
			_, err := tardir.Read(bytes.NewReader(tt.data), int64(len(tt.data)), func(m tardir.Member) error {
				got = append(got, m)
				return nil
			})
			if err != nil || len(got) != 1 {
				t.Fatalf("%v %v", got, err)
			}
			m := got[0]
			if m.Name != "s" || m.Size != 1024 || !m.Sparse || m.Broken != "" || m.Odd != "" {
				t.Errorf("%+v", m)
			}
			if diff := cmp.Diff([]piece{{0, 4, tt.at}, {1000, 4, tt.at + 4}}, m.Pieces); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestPAXOverridesName(t *testing.T) {
	got, _, err := list(build.Tar(build.TarMember{Name: "p", Kind: 'x', Data: []byte("16 path=../../x\n")}, build.TarMember{Name: "safe"}))
	if err != nil || len(got) != 1 || got[0].Name != "../../x" {
		t.Errorf("%v %v", got, err)
	}
}

func FuzzRead(f *testing.F) {
	f.Add(build.Tar(build.TarMember{Name: "a", Data: []byte("x")}, build.TarMember{Name: "p", Kind: 'x', Data: []byte("16 path=../../x\n")}))
	f.Fuzz(func(t *testing.T, data []byte) {
		size := int64(len(data))
		end, _ := tardir.Read(bytes.NewReader(data), size, func(m tardir.Member) error {
			if m.DataAt < 0 || m.Size < 0 || m.DataAt > size || !m.Sparse && m.Size > size-m.DataAt {
				t.Errorf("data %d+%d of %d", m.DataAt, m.Size, size)
			}
			end := int64(0)
			for _, p := range m.Pieces {
				if p.Off < end || p.Len < 0 || p.At < 0 || p.Len > 0 && (p.At > size-p.Len || p.Off > m.Size-p.Len) {
					t.Errorf("piece %+v of %d in %d", p, m.Size, size)
				}
				end = p.Off + p.Len
			}
			return nil
		})
		if end < 0 || end > size {
			t.Errorf("ends at %d of %d", end, size)
		}
	})
}
