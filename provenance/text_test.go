package provenance_test

import (
	"encoding"
	"testing"

	"github.com/prerun/prerun/provenance"
)

func TestTextForms(t *testing.T) {
	for text, v := range map[string]interface {
		encoding.TextMarshaler
		String() string
	}{
		"unreadable":      provenance.Unreadable,
		"met":             provenance.Met,
		"not-met":         provenance.NotMet,
		"absent":          provenance.Absent,
		"claimed":         provenance.Claimed,
		"observed":        provenance.Observed,
		"signed-unpinned": provenance.SignedUnpinned,
		"verified":        provenance.Verified,
	} {
		got, err := v.MarshalText()
		if err != nil || string(got) != text || v.String() != text {
			t.Errorf("%q, %q, %v; want %q", got, v, err, text)
		}
	}
	var o provenance.Outcome
	var g provenance.Grade
	for _, v := range []encoding.TextUnmarshaler{&o, &g} {
		for _, bad := range []string{"", "Met", "verified ", "unknown"} {
			if err := v.UnmarshalText([]byte(bad)); err == nil {
				t.Errorf("%T reads %q", v, bad)
			}
		}
	}
	if err := o.UnmarshalText([]byte("absent")); err != nil || o != provenance.Absent {
		t.Errorf("%v, %v", o, err)
	}
	if err := g.UnmarshalText([]byte("verified")); err != nil || g != provenance.Verified {
		t.Errorf("%v, %v", g, err)
	}
	for _, v := range []encoding.TextMarshaler{provenance.Outcome(9), provenance.Grade(9)} {
		if got, err := v.MarshalText(); err == nil {
			t.Errorf("%v writes %q", v, got)
		}
	}
}
