package tardir_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
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
		"pax":       {build.Tar(build.TarMember{Name: "p", Kind: 'x', Data: []byte("99 path=a\n")}), tardir.ErrMalformed},
		"pax_size":  {build.Tar(build.TarMember{Name: "p", Kind: 'x', Data: []byte("11 size=-5\n")}), tardir.ErrMalformed},
		"pax_large": {build.Tar(build.TarMember{Name: "p", Kind: 'x', Data: make([]byte, tardir.MaxText+1)}), tardir.ErrMalformed},
	} {
		if _, _, err := list(tt.data); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
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
			if m.DataAt < 0 || m.Size < 0 || m.DataAt > size || m.Size > size-m.DataAt {
				t.Errorf("data %d+%d of %d", m.DataAt, m.Size, size)
			}
			return nil
		})
		if end < 0 || end > size {
			t.Errorf("ends at %d of %d", end, size)
		}
	})
}
