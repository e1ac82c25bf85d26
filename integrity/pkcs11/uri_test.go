package pkcs11_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/prerun/prerun/integrity/pkcs11"
)

func TestParseURI(t *testing.T) {
	const module = "?module-path=/lib/m.so"
	for _, tt := range []struct {
		uri  string
		want pkcs11.URI
		text string // String, where it is not the uri
	}{
		{"pkcs11:" + module, pkcs11.URI{}, ""},
		{"PKCS11:token=t" + module, pkcs11.URI{Token: "t"}, "pkcs11:token=t" + module},
		{"pkcs11:token=t;object=o" + module, pkcs11.URI{Token: "t", Object: "o"}, ""},
		{"pkcs11:object=o;token=t" + module, pkcs11.URI{Token: "t", Object: "o"}, "pkcs11:token=t;object=o" + module},
		{"pkcs11:type=private;id=%01%ff%00" + module, pkcs11.URI{ID: []byte{1, 255, 0}}, "pkcs11:id=%01%FF%00" + module},
		{"pkcs11:id=ab" + module, pkcs11.URI{ID: []byte("ab")}, ""},
		{"pkcs11:slot-id=0" + module, pkcs11.URI{SlotID: new(uint(0))}, ""},
		{"pkcs11:slot-id=1893748" + module, pkcs11.URI{SlotID: new(uint(1893748))}, ""},
		{
			"pkcs11:token=My%20token%3b;manufacturer=ACME&Co;model=M%2f1;serial=00:11" + module,
			pkcs11.URI{Token: "My token;", Manufacturer: "ACME&Co", Model: "M/1", Serial: "00:11"},
			"pkcs11:token=My%20token%3B;manufacturer=ACME&Co;model=M%2F1;serial=00:11" + module,
		},
		{"pkcs11:object=gr%c3%b6%c3%9fe" + module, pkcs11.URI{Object: "größe"}, "pkcs11:object=gr%C3%B6%C3%9Fe" + module},
		{"pkcs11:" + module + "&pin-value=12%2634", pkcs11.URI{PINValue: "12&34"}, "pkcs11:" + module},
		{"pkcs11:?pin-source=file:/etc/pin&module-path=/lib/m.so", pkcs11.URI{PINSource: "file:/etc/pin"}, "pkcs11:" + module + "&pin-source=file:/etc/pin"},
	} {
		got, err := pkcs11.ParseURI(tt.uri)
		if err != nil {
			t.Errorf("%q: %v", tt.uri, err)
			continue
		}
		tt.want.ModulePath = "/lib/m.so"
		if diff := cmp.Diff(&tt.want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", tt.uri, diff)
		}
		if tt.text == "" {
			tt.text = tt.uri
		}
		if got.String() != tt.text {
			t.Errorf("%q is written %q", tt.uri, got)
		}
	}
}

func TestParseURIRefuses(t *testing.T) {
	const module = "?module-path=/lib/m.so"
	for _, tt := range []struct{ uri, text string }{
		{"", "does not begin"},
		{"pkcs11", "does not begin"},
		{"file:/x", "does not begin"},
		{"pkcs11:", "module-path"},
		{"pkcs11:token=t", "module-path"},
		{"pkcs11:token=t?", "module-path"},
		{"pkcs11:?module-path=m.so", "absolute"},
		{"pkcs11:?module-path=lib/m.so", "absolute"},
		{"pkcs11:module-path=m.so" + module, "not supported"},
		{"pkcs11:?module-name=softhsm2", "module-name"},
		{"pkcs11:" + module + "&token=t", "attribute token"},
		{"pkcs11:colour=red" + module, "attribute colour"},
		{"pkcs11:x-vendor=1" + module, "attribute x-vendor"},
		{"pkcs11:library-version=3" + module, "attribute library-version"},
		{"pkcs11:slot-description=x" + module, "attribute slot-description"},
		{"pkcs11:type=public" + module, "type"},
		{"pkcs11:token=" + module, "token is empty"},
		{"pkcs11:token" + module, "list"},
		{"pkcs11:;token=t" + module, "list"},
		{"pkcs11:token=t;" + module, "list"},
		{"pkcs11:Token=t" + module, "list"},
		{"pkcs11:token=t;token=t" + module, "twice"},
		{"pkcs11:" + module + "&module-path=/lib/n.so", "twice"},
		{"pkcs11:" + module + "&", "list"},
		{"pkcs11:token=a b" + module, "percent-encoded"},
		{"pkcs11:token=a/b" + module, "percent-encoded"},
		{"pkcs11:token=a\nb" + module, "percent-encoded"},
		{"pkcs11:token=größe" + module, "percent-encoded"},
		{"pkcs11:token=t#x" + module, "percent-encoded"},
		{"pkcs11:token=%" + module, "percent-encoding"},
		{"pkcs11:token=%4" + module, "percent-encoding"},
		{"pkcs11:token=%4g" + module, "percent-encoding"},
		{"pkcs11:token=%+1" + module, "percent-encoding"},
		{"pkcs11:token=%ff" + module, "UTF-8"},
		{"pkcs11:token=%00" + module, "UTF-8"},
		{"pkcs11:?module-path=/lib/m.so%00.txt", "UTF-8"},
		{"pkcs11:token=" + strings.Repeat("t", 33) + module, "32 bytes"},
		{"pkcs11:serial=" + strings.Repeat("1", 17) + module, "16 bytes"},
		{"pkcs11:slot-id=-1" + module, "slot-id"},
		{"pkcs11:slot-id=01" + module, "slot-id"},
		{"pkcs11:slot-id=0x1" + module, "slot-id"},
		{"pkcs11:slot-id=99999999999999999999" + module, "slot-id"},
		{"pkcs11:" + module + "&pin-value=1&pin-source=file:/x", "both"},
		{"pkcs11:object=" + strings.Repeat("o", 5000) + module, "bytes"},
	} {
		got, err := pkcs11.ParseURI(tt.uri)
		if got != nil || !errors.Is(err, pkcs11.ErrURI) || !strings.Contains(err.Error(), tt.text) {
			t.Errorf("%q: %v, %v; want an error with %q", tt.uri, got, err, tt.text)
		}
	}
}

// A PIN appears in no message.
func TestNoPINInMessages(t *testing.T) {
	const secret = "hunter2"
	for _, uri := range []string{
		"pkcs11:?module-path=/lib/m.so&pin-value=" + secret + "%zz",
		"pkcs11:?module-path=/lib/m.so&pin-value=" + secret + "%ff",
		"pkcs11:?pin-value=" + secret,
		"pkcs11:?module-path=/lib/m.so&pin-value=" + secret + "&pin-value=" + secret,
		"pkcs11:?module-path=/lib/m.so&pin-value=" + secret + " ",
		"pkcs11:pin-value=" + secret + "?module-path=/lib/m.so",
		"pkcs11:?module-path=/lib/m.so&" + secret,
	} {
		if _, err := pkcs11.ParseURI(uri); err == nil || strings.Contains(err.Error(), secret) {
			t.Errorf("%v", err)
		}
	}
	u, err := pkcs11.ParseURI("pkcs11:?module-path=/nosuch&pin-value=" + secret)
	if err != nil {
		t.Fatal(err)
	}
	_, err = pkcs11.Open(t.Context(), u, nil)
	if err == nil || strings.Contains(err.Error()+u.String(), secret) {
		t.Errorf("%v, %s", err, u)
	}
}

// FuzzParseURI: what is read is written and read again the same, but for the
// PIN.
func FuzzParseURI(f *testing.F) {
	f.Add("pkcs11:token=My%20token;id=%01?module-path=/lib/m.so&pin-value=1")
	f.Add("pkcs11:slot-id=3;serial=00:11;type=private?pin-source=file:/x&module-path=/lib/m%3f.so")
	f.Fuzz(func(t *testing.T, s string) {
		u, err := pkcs11.ParseURI(s)
		if err != nil {
			if u != nil || !errors.Is(err, pkcs11.ErrURI) {
				t.Fatalf("%v, %v", u, err)
			}
			return
		}
		u.PINValue = ""
		again, err := pkcs11.ParseURI(u.String())
		if err != nil {
			t.Fatalf("%q: %v", u, err)
		}
		if diff := cmp.Diff(u, again); diff != "" {
			t.Error(diff)
		}
	})
}
