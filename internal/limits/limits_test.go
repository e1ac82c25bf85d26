package limits_test

import (
	"errors"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/prerun/prerun/internal/limits"
)

func TestReadAll(t *testing.T) {
	for _, tt := range []struct {
		in string
		ok bool
	}{{"", true}, {"1234", true}, {"12345", false}} {
		got, err := limits.ReadAll(strings.NewReader(tt.in), 4)
		if (err == nil) != tt.ok || tt.ok && string(got) != tt.in || !tt.ok && got != nil {
			t.Errorf("%q: got %q, %v", tt.in, got, err)
		}
	}
}

func TestReadFile(t *testing.T) {
	fsys := fstest.MapFS{"f": {Data: []byte("12345")}}
	if got, err := limits.ReadFile(fsys, "f", 5); err != nil || string(got) != "12345" {
		t.Errorf("got %q, %v", got, err)
	}
	_, err := limits.ReadFile(fsys, "f", 4)
	if e, ok := errors.AsType[*limits.Error](err); !ok || e.Name != "f" || !strings.Contains(err.Error(), `"f": more than 4 bytes`) {
		t.Errorf("too large: %v", err)
	}
	if _, err := limits.ReadFile(fsys, "absent", 4); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("absent: %v", err)
	}
}
