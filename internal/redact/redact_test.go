package redact_test

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/prerun/prerun/internal/redact"
)

func TestTextMasks(t *testing.T) {
	for _, tt := range []struct{ name, in, secret string }{
		{"hub_token", "token hf_abcdefghijklmnopqrstuvwxyz0123 here", "hf_abc"},
		{"cloud_key", "AKIAIOSFODNN7EXAMPLE", "IOSFODNN"},
		{"api_key", "key sk-ant-REDACTED.", "api03"},
		{"assignment", `password = "hunter22"`, "hunter22"},
		{"header", "Authorization: Bearer abcdef123456", "abcdef123456"},
		{"jwt", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abcdefgh", "eyJzdWI"},
		{"url_user", "https://bob:s3cr3t@example.org/x", "s3cr3t"},
		{"private_key", "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEE\n-----END EC PRIVATE KEY-----", "MHcCAQEE"},
		{"private_key_cut", "-----BEGIN PRIVATE KEY-----\nMHcCAQEE", "MHcCAQEE"},
		{"mail", "write to jane.doe@example.co.uk now", "jane.doe"},
		{"phone", "call +49 (30) 123-4567 now", "123-4567"},
		{"phone_local", "call (555) 123-4567", "4567"},
		{"card", "4111 1111 1111 1111", "1111"},
		{"ssn", "078-05-1120", "05-1120"},
		{"opaque", strings.Repeat("Ab3/", 12), "Ab3/Ab3"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := redact.Text(tt.in); strings.Contains(got, tt.secret) {
				t.Errorf("%q still holds %q", got, tt.secret)
			}
		})
	}
}

func TestTextKeepsProse(t *testing.T) {
	for _, s := range []string{
		"The 3 models of 2024 have 7,000,000 rows.",
		"os.system called at offset 12345",
		"import numpy as np  # version 1.26.4",
		"pkg:npm/datasets-spam-assassin@0.2.3",
		"state_dict layer.12.attention.self.query.weight",
	} {
		if got := redact.Text(s); got != s {
			t.Errorf("%q became %q", s, got)
		}
	}
}

func TestExcerpt(t *testing.T) {
	for _, tt := range []struct {
		name, in string
		max      int
		want     string
	}{
		{"plain", "hello", 10, "hello"},
		{"cut", "hello world", 7, "hello w…"},
		{"space_folded", " a\n\t b ", 10, "a b"},
		{"terminal_escape", "a\x1b[31mb", 20, `a\u{1b}[31mb`},
		{"bidi", "a\u202eb", 20, `a\u{202e}b`},
		{"tag_character", "a\U000e0041", 20, `a\u{e0041}`},
		{"variation_selector", "a\ufe0f", 20, `a\u{fe0f}`},
		{"not_utf8", "a\xff", 20, `a\xff`},
		{"escape_not_split", "ab\xff", 4, "ab…"},
		{"empty", "", 5, ""},
		{"no_room", "abc", 0, "…"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := redact.Excerpt([]byte(tt.in), tt.max); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// What the traits of a text rule out must not have matched.
func FuzzText(f *testing.F) {
	for _, s := range []string{
		"key sk-ant-REDACTED.", "rk_live_abcdefghijklmnop0123", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abcdefgh",
		"xoxb-abcdefghijklmnop ghs_abcdefghijklmnop AKIAIOSFODNN7EXAMPLE SG.abcdefghijklmnop ya29.abcdefghijklmnop",
		"paſſword: hunter22 toKen=abcdefgh", "API-KEY=abcdefgh", "x\nBEARER\fabcdefgh", "Pwd:abcd", "authorization : basic abcdefgh",
		"HTTPS://bob:s3cr3t@example.org/x", "a@b.cd", "078-05-1120", "4111 1111-1111 1111", "00 49 30 123 +49301234567", "(555) 123-4567",
		"-----BEGIN PRIVATE KEY-----", strings.Repeat("Ab3/", 12) + "=", "hf_abcdefghijklmnop://x:password=abcdefgh@a.bc", "\xff+1\xff2345678",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if got, want := redact.Text(s), redact.TextByAll(s); got != want {
			t.Fatalf("%q became %q, and by all expressions %q", s, got, want)
		}
	})
}

func BenchmarkExcerpt(b *testing.B) {
	text := []byte("REDUCE calls torch.storage._load_from_bytes: a second pickle, loaded without a check")
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		redact.Excerpt(text, 120)
	}
}

func FuzzExcerpt(f *testing.F) {
	f.Add([]byte("mail a@b.c \x1b\xff\u202e"), 12)
	f.Fuzz(func(t *testing.T, b []byte, max int) {
		if max < 0 || max > 1000 {
			t.Skip()
		}
		got := redact.Excerpt(b, max)
		if !utf8.ValidString(got) || utf8.RuneCountInString(got) > max+1 {
			t.Fatalf("%q: invalid or longer than %d", got, max)
		}
		for _, r := range got {
			if !unicode.IsPrint(r) {
				t.Fatalf("%q holds %U", got, r)
			}
		}
	})
}
