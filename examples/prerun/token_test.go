package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/prerun/prerun/integrity/pkcs11"
)

func TestReadPIN(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pin")
	other := file + "2"
	if err := errors.Join(os.WriteFile(file, []byte("1234\r\n"), 0o600), os.WriteFile(other, []byte("5678"), 0o600)); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, source, passwordFile, want string
		err                              error
	}{
		{"password_file", "", file, "1234", nil},
		{"password_file_first", other, file, "1234", nil},
		{"path", file, "", "1234", nil},
		{"file", "file:" + other, "", "5678", nil},
		{"file_url", "file://" + other, "", "5678", nil},

		{"nothing", "", "", "", pkcs11.ErrPIN},
		{"relative", "pin", "", "", pkcs11.ErrPIN},
		{"program", "|/bin/echo", "", "", pkcs11.ErrPIN},
		{"host", "file://host/pin", "", "", pkcs11.ErrPIN},
		{"not_there", file + "3", "", "", fs.ErrNotExist},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := readPIN(&pkcs11.URI{PINSource: tt.source}, tt.passwordFile)
			if got != tt.want || !errors.Is(err, tt.err) {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
}
