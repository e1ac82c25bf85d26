package sigstore_test

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prerun/prerun/integrity"
	"github.com/prerun/prerun/integrity/sigstore"
	"github.com/prerun/prerun/internal/sigstorex/sigstoretest"
)

// What a log has recorded and proves is about this signature, by this
// certificate, over these bytes, or it proves nothing.
func TestRecordsOfSomethingElse(t *testing.T) {
	good := sigstoretest.New("good", then)
	root := trustedRoot(t, good)
	var other struct {
		VerificationMaterial struct{ Certificate struct{ RawBytes []byte } }
		DSSEEnvelope         struct{ Signatures []struct{ Sig string } }
	}
	if err := json.Unmarshal([]byte(sign(t, signer(good, services(1)))), &other); err != nil {
		t.Fatal(err)
	}
	der := other.VerificationMaterial.Certificate.RawBytes
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	signature := other.DSSEEnvelope.Signatures[0].Sig
	sum := sha256.Sum256([]byte("something else"))

	member := func(m map[string]any, path ...string) map[string]any {
		for _, name := range path {
			m = m[name].(map[string]any)
		}
		return m
	}
	first := func(m map[string]any) map[string]any { return m["signatures"].([]any)[0].(map[string]any) }
	for _, tt := range []struct {
		name   string
		log    int
		change func(spec map[string]any)
	}{
		{"v1_certificate", 1, func(m map[string]any) { first(m)["verifier"] = base64.StdEncoding.EncodeToString(text) }},
		{"v1_signature", 1, func(m map[string]any) { first(m)["signature"] = signature }},
		{"v1_payload", 1, func(m map[string]any) {
			m["payloadHash"] = map[string]string{"algorithm": "sha256", "value": hex.EncodeToString(sum[:])}
		}},
		{"v2_certificate", 2, func(m map[string]any) {
			member(m, "hashedRekordV002", "signature", "verifier", "x509Certificate")["rawBytes"] = base64.StdEncoding.EncodeToString(der)
		}},
		{"v2_signature", 2, func(m map[string]any) { member(m, "hashedRekordV002", "signature")["content"] = signature }},
		{"v2_digest", 2, func(m map[string]any) {
			member(m, "hashedRekordV002", "data")["digest"] = base64.StdEncoding.EncodeToString(sum[:])
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bundle := sign(t, signer(good.With(func(i *sigstoretest.Instance) { i.Recorded = tt.change }), services(tt.log)))
			got, err := trusting(root, nil).Verify(t.Context(), []byte(bundle))
			if got != nil || !errors.Is(err, sigstore.ErrLog) || !errors.Is(err, integrity.ErrUntrusted) {
				t.Errorf("error %v", err)
			}
			s := signer(good.With(func(i *sigstoretest.Instance) { i.Recorded = tt.change }), services(tt.log))
			s.Root = root
			if made, err := s.Sign(t.Context(), integrity.StatementType, []byte("{}")); made != nil || err == nil {
				t.Errorf("a signer that checks its work: %v", err)
			}
		})
	}
}

// A service counts for as long as the root says, whatever its key can sign.
func TestServicesThatAreRetired(t *testing.T) {
	good := sigstoretest.New("good", then)
	noStamps := services(1)
	noStamps.Timestamps = nil
	v1, v1Alone, v2 := sign(t, signer(good, services(1))), sign(t, signer(good, noStamps)), sign(t, signer(good, services(2)))

	window := func(list string, index int, key bool, start, end time.Time) *sigstore.TrustedRoot {
		var document map[string]any
		if err := json.Unmarshal(good.Root(), &document); err != nil {
			t.Fatal(err)
		}
		service := document[list].([]any)[index].(map[string]any)
		if key {
			service = service["publicKey"].(map[string]any)
		}
		service["validFor"] = map[string]string{"start": start.Format(time.RFC3339), "end": end.Format(time.RFC3339)}
		text, err := json.Marshal(document)
		if err != nil {
			t.Fatal(err)
		}
		root, err := sigstore.ParseTrustedRoot(text)
		if err != nil {
			t.Fatal(err)
		}
		return root
	}
	const hour, instant = time.Hour, 30 * time.Second
	for _, tt := range []struct {
		name   string
		bundle string
		list   string
		index  int
		key    bool
		want   error
	}{
		{"authority", v1, "certificateAuthorities", 0, false, sigstore.ErrCertificate},
		{"authority_v2", v2, "certificateAuthorities", 0, false, sigstore.ErrCertificate},
		{"certificate_log", v1, "ctlogs", 0, true, sigstore.ErrSCT},
		{"certificate_log_v2", v2, "ctlogs", 0, true, sigstore.ErrSCT},
		{"log_1", v1Alone, "tlogs", 0, true, sigstore.ErrLog},
		{"log_2", v2, "tlogs", 1, true, sigstore.ErrLog},
		{"log_2_with_a_time_that_nobody_signed", edit(t, v2, func(m map[string]any) {
			m["tlogEntries"].([]any)[0].(map[string]any)["integratedTime"] = strconv.FormatInt(then.Add(-time.Minute).Unix(), 10)
		}), "tlogs", 1, true, sigstore.ErrLog},
		{"timestamp_authority", v2, "timestampAuthorities", 0, false, sigstore.ErrTime},
	} {
		for when, span := range map[string][2]time.Time{
			"before": {then.Add(-hour), then.Add(-instant)}, "after": {then.Add(instant), then.Add(hour)},
			"while": {then.Add(-hour), then.Add(hour)},
		} {
			t.Run(tt.name+"_"+when, func(t *testing.T) {
				got, err := trusting(window(tt.list, tt.index, tt.key, span[0], span[1]), nil).Verify(t.Context(), []byte(tt.bundle))
				if when == "while" {
					if err != nil {
						t.Error(err)
					}
					return
				}
				if got != nil || !errors.Is(err, tt.want) {
					t.Errorf("error %v, want %v", err, tt.want)
				}
			})
		}
	}
}

// A log that is retired beside one that is not does not count, and is named.
func TestRetiredLogBeside(t *testing.T) {
	good := sigstoretest.New("good", then)
	both := services(1)
	both.Logs = append(both.Logs, services(2).Logs...)
	bundle := []byte(sign(t, signer(good, both)))
	var document map[string]any
	if err := json.Unmarshal(good.Root(), &document); err != nil {
		t.Fatal(err)
	}
	log := document["tlogs"].([]any)[1].(map[string]any)["publicKey"].(map[string]any)
	log["validFor"] = map[string]string{"start": then.AddDate(-1, 0, 0).Format(time.RFC3339), "end": then.Add(-time.Hour).Format(time.RFC3339)}
	text, err := json.Marshal(document)
	if err != nil {
		t.Fatal(err)
	}
	root, err := sigstore.ParseTrustedRoot(text)
	if err != nil {
		t.Fatal(err)
	}
	got, err := trusting(root, nil).Verify(t.Context(), bundle)
	if err != nil || len(got.Warnings) != 1 {
		t.Errorf("%+v, %v", got, err)
	}
}

// Identities are workflows as often as they are people.
func TestWorkflowIdentities(t *testing.T) {
	const workflow = "https://ci.example.org/team/model/.workflow/release.yml@refs/tags/v1"
	uri, err := url.Parse(workflow)
	if err != nil {
		t.Fatal(err)
	}
	good := sigstoretest.New("good", then).With(func(i *sigstoretest.Instance) {
		i.Leaf = func(c *x509.Certificate) { c.EmailAddresses, c.URIs = nil, []*url.URL{uri} }
	})
	bundle := []byte(sign(t, signer(good, services(2))))
	root := trustedRoot(t, good)
	for _, tt := range []struct {
		name string
		id   sigstore.Identity
		ok   bool
	}{
		{"exact", sigstore.Identity{Subject: workflow}, true},
		{"tag", sigstore.Identity{SubjectPattern: `https://ci\.example\.org/team/model/\.workflow/release\.yml@refs/tags/v[0-9]+`}, true},
		{"lines_do_not_count", sigstore.Identity{SubjectPattern: `(?m)^https://ci\.example\.org/team$`}, false},
		{"prefix", sigstore.Identity{SubjectPattern: `https://ci\.example\.org/team/model/`}, false},
		{"suffix", sigstore.Identity{SubjectPattern: `release\.yml@refs/tags/v1`}, false},
		{"quoted_to_the_end", sigstore.Identity{SubjectPattern: `\Q` + workflow}, true},
		{"quoted_alternative", sigstore.Identity{SubjectPattern: `x|\Q` + workflow[:len(workflow)-1]}, false},
		{"case_folded", sigstore.Identity{SubjectPattern: `(?i)` + regexp.QuoteMeta(strings.ToUpper(workflow))}, true},
		{"other_case", sigstore.Identity{Subject: "HTTPS" + workflow[5:]}, false},
		{"other_tag", sigstore.Identity{Subject: workflow + "0"}, false},
		{"part", sigstore.Identity{Subject: workflow[:len(workflow)-1]}, false},
		{"no_pattern_in_exact", sigstore.Identity{Subject: `https://ci.example.org/.+`}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.id.Issuer = issuer
			got, err := sigstore.Verifier{Root: root, Identities: []sigstore.Identity{tt.id}}.Verify(t.Context(), bundle)
			if tt.ok && (err != nil || got.Signer != workflow) || !tt.ok && !errors.Is(err, sigstore.ErrIdentity) {
				t.Errorf("%v, %v", got, err)
			}
		})
	}
}
