package digestx_test

import (
	"strings"
	"testing"

	"github.com/prerun/prerun/internal/digestx"
)

const abc = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"

func TestOf(t *testing.T) {
	d := digestx.Of([]byte("abc"))
	if d.String() != abc {
		t.Errorf("Of = %s, want %s", d, abc)
	}
	if digestx.Algorithm(d) != "sha256" || digestx.Hex(d) != abc[7:] {
		t.Errorf("parts of %s: %q, %q", d, digestx.Algorithm(d), digestx.Hex(d))
	}
}

func TestParse(t *testing.T) {
	if _, err := digestx.Parse(abc); err != nil {
		t.Errorf("Parse(%q): %v", abc, err)
	}
	for _, s := range []string{
		"", "sha256", "sha256:", ":" + abc[7:], abc[7:], "sha256:ba78", "md5:d41d8cd98f00b204e9800998ecf8427e",
		strings.ToUpper(abc), "sha256:" + strings.ToUpper(abc[7:]), abc + " ", abc + "0",
	} {
		if d, err := digestx.Parse(s); err == nil || d != "" {
			t.Errorf("Parse(%q) = %q, %v; want an error and no digest", s, d, err)
		}
	}
	if digestx.Hex("nonsense") != "" || digestx.Algorithm("nonsense") != "" {
		t.Error("a string without colon has parts")
	}
}
