package integrity_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/integrity"
	"github.com/prerun/prerun/internal/keys"
	"github.com/prerun/prerun/internal/limits"
)

const serializeShards = `{"method":"shards","hash_type":"sha256","allow_symlinks":false,"shard_size":8}`

// A defect is one thing wrong, and the kind of the error that it must cause.
// TestRefusals holds FORMAT.md to the lists of them.
type defect struct {
	name  string
	input string // the statement, or the bundle
	want  error
}

// signedDefects are statements with one defect each.
func signedDefects(t *testing.T) []defect {
	a, w := resource{Name: "a.txt", Digest: sumA}, resource{Name: "sub/w.bin", Digest: sumW}
	good := statement(serializeFiles, a, w)
	named := func(name string) string { return statement(serializeFiles, resource{Name: name, Digest: sumA}) }
	shards := func(names ...string) string {
		var list []resource
		for _, name := range names {
			list = append(list, resource{Name: name, Digest: sumA})
		}
		return statement(serializeShards, list...)
	}
	in := func(s, old, new string) string { return replace(t, s, old, new) }
	with := func(serialization string) string { return statement(serialization, a, w) }

	return []defect{
		{"no_json", "statement", integrity.ErrStatement},
		{"array", "[]", integrity.ErrStatement},
		{"truncated", good[:len(good)-1], integrity.ErrStatement},
		{"trailing_data", good + "{}", integrity.ErrStatement},
		{"invalid_utf8", in(good, "tiny", "t\xff"), integrity.ErrStatement},
		{"duplicate_member", in(good, `"_type"`, `"predicateType":"x","_type"`), integrity.ErrStatement},
		{"duplicate_nested_member", in(good, `"method"`, `"method":"shards","method"`), integrity.ErrStatement},
		{"case_variant", in(good, `"predicate":`, `"Predicate":`), integrity.ErrStatement},
		{"case_variant_beside", in(good, `"predicate":`, `"Predicate":{},"predicate":`), integrity.ErrStatement},
		{"case_variant_in_resource", in(good, `{"name":"a.txt"`, `{"Digest":"00","name":"a.txt"`), integrity.ErrStatement},
		{"too_deep", in(good, `{"_type"`, `{"x":`+strings.Repeat("[", 40)+strings.Repeat("]", 40)+`,"_type"`), integrity.ErrStatement},
		{"other_type", in(good, "Statement/v1", "Statement/v0.1"), integrity.ErrStatement},
		{"no_type", in(good, `"_type":"https://in-toto.io/Statement/v1",`, ""), integrity.ErrStatement},
		{"foreign_predicate", in(good, "https://model_signing/signature/v1.0", "https://slsa.dev/provenance/v1"), integrity.ErrStatement},
		{"later_predicate", in(good, "signature/v1.0", "signature/v1.1"), integrity.ErrStatement},
		{"no_subject", in(good, good[strings.Index(good, `[{"name":"tiny"`):strings.Index(good, `,"predicateType"`)], "[]"), integrity.ErrStatement},
		{"two_subjects", in(good, `[{"name":"tiny"`, `[{"name":"other","digest":{"sha256":"00"}},{"name":"tiny"`), integrity.ErrStatement},
		{"subject_without_name", in(good, `"name":"tiny"`, `"name":""`), integrity.ErrStatement},
		{"subject_without_sha256", in(good, `{"sha256":`, `{"sha512":`), integrity.ErrStatement},
		{"subject_digest_short", in(good, `{"sha256":"c8`, `{"sha256":"`), integrity.ErrStatement},
		{"no_predicate", good[:strings.Index(good, `,"predicate":`)] + "}", integrity.ErrStatement},
		{"no_serialization", in(good, `,"serialization":`+serializeFiles, ""), integrity.ErrStatement},
		{"resources_no_array", in(good, `"resources":[`, `"resources":{},"x":[`), integrity.ErrStatement},
		{"no_resources", statement(serializeFiles), integrity.ErrStatement},
		{"resource_without_digest", in(good, `,"digest":"`+sumA+`"`, ""), integrity.ErrStatement},
		{"resource_name_number", in(good, `"name":"a.txt"`, `"name":1`), integrity.ErrStatement},
		{"unknown_method", with(in(serializeFiles, `"files"`, `"chunks"`)), integrity.ErrStatement},
		{"unknown_hash", with(in(serializeFiles, `"sha256"`, `"md5"`)), integrity.ErrStatement},
		{"no_allow_symlinks", with(in(serializeFiles, `,"allow_symlinks":false`, "")), integrity.ErrStatement},
		{"allow_symlinks_string", with(in(serializeFiles, `:false`, `:"false"`)), integrity.ErrStatement},
		{"shard_size_under_files", with(in(serializeFiles, `false}`, `false,"shard_size":8}`)), integrity.ErrStatement},
		{"no_shard_size", in(shards("a.txt:0:6"), `,"shard_size":8`, ""), integrity.ErrStatement},
		{"shard_size_zero", in(shards("a.txt:0:6"), `"shard_size":8`, `"shard_size":0`), integrity.ErrStatement},
		{"shard_size_negative", in(shards("a.txt:0:6"), `"shard_size":8`, `"shard_size":-8`), integrity.ErrStatement},
		{"shard_size_fraction", in(shards("a.txt:0:6"), `"shard_size":8`, `"shard_size":8.5`), integrity.ErrStatement},
		{"shard_size_huge", in(shards("a.txt:0:6"), `"shard_size":8`, `"shard_size":1e17`), integrity.ErrStatement},
		{"shard_size_overflow", in(shards("a.txt:0:6"), `"shard_size":8`, `"shard_size":9223372036854775808`), integrity.ErrStatement},
		{"shard_size_string", in(shards("a.txt:0:6"), `"shard_size":8`, `"shard_size":"8"`), integrity.ErrStatement},
		{"ignore_absolute", with(in(serializeFiles, `false}`, `false,"ignore_paths":["/etc"]}`)), integrity.ErrStatement},
		{"ignore_upwards", with(in(serializeFiles, `false}`, `false,"ignore_paths":["../x"]}`)), integrity.ErrStatement},
		{"ignore_everything", with(in(serializeFiles, `false}`, `false,"ignore_paths":["."]}`)), integrity.ErrStatement},
		{"ignore_number", with(in(serializeFiles, `false}`, `false,"ignore_paths":[1]}`)), integrity.ErrStatement},

		{"wrong_root", in(good, `{"sha256":"c8`, `{"sha256":"c9`), integrity.ErrManifest},
		{"root_of_other_order", rootOf(good) + statement(serializeFiles, w, a)[len(rootOf(good)):], integrity.ErrManifest},
		{"digest_short", statement(serializeFiles, resource{Name: "a.txt", Digest: sumA[2:]}), integrity.ErrManifest},
		{"digest_long", statement(serializeFiles, resource{Name: "a.txt", Digest: sumA + "00"}), integrity.ErrManifest},
		{"digest_odd", in(good, sumA, sumA[1:]), integrity.ErrManifest},
		{"algorithm_differs", statement(serializeFiles, a, resource{"b", sumA, "blake3"}), integrity.ErrManifest},
		{"algorithm_unknown", statement(serializeFiles, a, resource{"b", sumA, "md5"}), integrity.ErrManifest},
		{"sharded_algorithm_under_files", statement(serializeFiles, resource{"a.txt", sumA, "sha256-sharded-8"}), integrity.ErrManifest},
		{"sharded_algorithm_other_size", statement(serializeShards, resource{"a.txt:0:6", sumA, "sha256-sharded-9"}), integrity.ErrManifest},
		{"duplicate", statement(serializeFiles, a, a), integrity.ErrManifest},
		{"absolute", named("/etc/passwd"), integrity.ErrManifest},
		{"upwards", named("../a.txt"), integrity.ErrManifest},
		{"upwards_inside", named("sub/../../a.txt"), integrity.ErrManifest},
		{"dot_component", named("./a.txt"), integrity.ErrManifest},
		{"double_slash", named("sub//w.bin"), integrity.ErrManifest},
		{"trailing_slash", named("sub/"), integrity.ErrManifest},
		{"nul", named("a.txt\x00"), integrity.ErrManifest},
		{"self_among_others", statement(serializeFiles, resource{Name: ".", Digest: sumA}, w), integrity.ErrManifest},
		{"shard_without_range", shards("a.txt"), integrity.ErrManifest},
		{"shard_one_number", shards("a.txt:6"), integrity.ErrManifest},
		{"shard_empty", shards("a.txt:0:0"), integrity.ErrManifest},
		{"shard_backwards", shards("a.txt:6:0"), integrity.ErrManifest},
		{"shard_negative", shards("a.txt:-1:6"), integrity.ErrManifest},
		{"shard_plus", shards("a.txt:+0:6"), integrity.ErrManifest},
		{"shard_leading_zero", shards("a.txt:00:6"), integrity.ErrManifest},
		{"shard_overflow", shards("a.txt:0:9223372036854775808"), integrity.ErrManifest},
		{"shard_no_path", shards(":0:6"), integrity.ErrManifest},
		{"shard_too_large", shards("a.txt:0:9"), integrity.ErrManifest},
		{"shard_late_start", shards("a.txt:8:14"), integrity.ErrManifest},
		{"shard_gap", shards("a.txt:0:8", "a.txt:16:24"), integrity.ErrManifest},
		{"shard_overlap", shards("a.txt:0:8", "a.txt:4:12"), integrity.ErrManifest},
		{"shard_short_inside", shards("a.txt:0:6", "a.txt:6:14"), integrity.ErrManifest},
		{"shard_twice", shards("a.txt:0:6", "a.txt:0:6"), integrity.ErrManifest},
		{"shard_absolute", shards("/a.txt:0:6"), integrity.ErrManifest},

		{"blake2b_of_256_bits", statement(in(serializeFiles, "sha256", "blake2b"), resource{"a.txt", sumA, "blake2b"}), integrity.ErrManifest},
		{"blake3_of_512_bits", statement(in(serializeFiles, "sha256", "blake3"), resource{"a.txt", sumA + sumA, "blake3"}), integrity.ErrManifest},
		{"v02", in(in(good, "https://model_signing/signature/v1.0", "https://model_signing/Digests/v0.1"), `"tiny"`, `"a.txt"`), integrity.ErrUnsupported},
	}
}

// TestSignedDefects verifies statements that are validly signed, so that only
// the check in question can refuse them.
func TestSignedDefects(t *testing.T) {
	for _, tt := range signedDefects(t) {
		t.Run(tt.name, func(t *testing.T) {
			signer, trust := testKeys(t, "defects")
			bundle, err := signer.Sign(t.Context(), integrity.StatementType, []byte(tt.input))
			if err != nil {
				t.Fatal(err)
			}
			fsys := spy(tiny())
			r, err := integrity.Verifier{}.Verify(t.Context(), fsys, bundle, trust)
			wantKind(t, err, tt.want)
			if n := fsys.opened.Load(); n != 0 {
				t.Errorf("%d files of the model were opened", n)
			}
			if r == nil || r.Signed == nil {
				t.Fatal("the signature is good, and the result does not say so")
			}
			checkSource(t, r, err)
		})
	}
}

// rootOf is a statement up to and with its root digest.
func rootOf(statement string) string { return statement[:strings.Index(statement, `,"predicateType"`)] }

// kinds are all, by name; TestRefusals compares them with the source.
var kinds = map[string]error{
	"ErrBundle": integrity.ErrBundle, "ErrSignature": integrity.ErrSignature, "ErrUntrusted": integrity.ErrUntrusted,
	"ErrStatement": integrity.ErrStatement, "ErrManifest": integrity.ErrManifest, "ErrMismatch": integrity.ErrMismatch,
	"ErrUnsupported": integrity.ErrUnsupported, "ErrRead": integrity.ErrRead, "ErrChanged": integrity.ErrChanged,
	"ErrSymlink": integrity.ErrSymlink, "ErrSpecial": integrity.ErrSpecial, "ErrEmpty": integrity.ErrEmpty,
	"ErrEncrypted": integrity.ErrEncrypted, "ErrPassphrase": integrity.ErrPassphrase,
}

// wantKind asserts that err is of one kind and of no other.
func wantKind(t *testing.T, err, want error) {
	t.Helper()
	for _, kind := range kinds {
		if errors.Is(err, kind) != (kind == want) {
			t.Errorf("error %v: is %q: %v; want %q alone", err, kind, errors.Is(err, kind), want)
		}
	}
}

// TestAccepted verifies what the specification and its producers may write.
func TestAccepted(t *testing.T) {
	a, w := resource{Name: "a.txt", Digest: sumA}, resource{Name: "sub/w.bin", Digest: sumW}
	good := statement(serializeFiles, a, w)
	for _, tt := range []struct {
		name    string
		payload string
		lenient string // the code, where strict refuses
	}{
		{"plain", good, ""},
		{"indented", indented(t, good), ""},
		{"unicode_escapes", replace(t, good, `"a.txt"`, `"\u0061.txt"`), ""},
		{"any_subject_name", replace(t, good, `"tiny"`, `"../tiny\u001b[31m"`), ""},
		{"extra_in_resource", replace(t, good, `{"name":"a.txt"`, `{"size":6,"name":"a.txt"`), ""},
		{"extra_in_subject", replace(t, good, `{"name":"tiny"`, `{"uri":"x","name":"tiny"`), ""},
		{"second_subject_digest", replace(t, good, `{"sha256":`, `{"sha512":"00","sha256":`), ""},
		{"ignore_any_order", statement(replace(t, serializeFiles, "false}", `false,"ignore_paths":["x",".git","a"]}`), a, w), ""},
		{"spec_shards", statement(serializeShards, resource{Name: "a.txt:0:6", Digest: sumA}, resource{Name: "sub/w.bin:0:4", Digest: sumW}), ""},
		{"other_order", statement(serializeFiles, w, a), integrity.LenientOrder},
		{"unknown_member", replace(t, good, `{"_type"`, `{"x":1,"_type"`), integrity.LenientUnknownMember},
		{"unknown_in_predicate", replace(t, good, `{"resources"`, `{"x":1,"resources"`), integrity.LenientUnknownMember},
		{"unknown_in_serialization", statement(replace(t, serializeFiles, "{", `{"x":1,`), a, w), integrity.LenientUnknownMember},
		{"upper_case", statement(serializeFiles, resource{Name: "a.txt", Digest: strings.ToUpper(sumA)}, w), integrity.LenientUpperCase},
		{"float_shard_size", statement(replace(t, serializeShards, ":8}", ":8.0}"), resource{Name: "a.txt:0:6", Digest: sumA}, resource{Name: "sub/w.bin:0:4", Digest: sumW}), integrity.LenientShardSize},
		{"python_shards", statement(serializeShards, resource{"a.txt:0:6", sumA, "sha256-sharded-8"}, resource{"sub/w.bin:0:4", sumW, "sha256-sharded-8"}), integrity.LenientShardName},
	} {
		t.Run(tt.name, func(t *testing.T) {
			signer, trust := testKeys(t, "accepted")
			bundle, err := signer.Sign(t.Context(), integrity.StatementType, []byte(tt.payload))
			if err != nil {
				t.Fatal(err)
			}
			r, err := integrity.Verifier{}.Verify(t.Context(), tiny(), bundle, trust)
			if err != nil {
				t.Fatal(err)
			}
			checkSource(t, r, err)
			if got := strings.Join(codes(r), " "); got != tt.lenient {
				t.Errorf("leniencies %q, want %q", got, tt.lenient)
			}
			r, err = integrity.Verifier{Strict: true}.Verify(t.Context(), tiny(), bundle, trust)
			if (err == nil) != (tt.lenient == "") {
				t.Errorf("strict: %v", err)
			}
			if err != nil && !errors.Is(err, integrity.ErrStatement) && !errors.Is(err, integrity.ErrManifest) {
				t.Errorf("strict: %v", err)
			}
			checkSource(t, r, err)
		})
	}
}

func indented(t *testing.T, s string) string {
	t.Helper()
	out, err := json.MarshalIndent(json.RawMessage(s), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// bundleDefects are bundles with one defect each, in what is not signed. The
// second list may be accepted.
func bundleDefects(t *testing.T) (bad, good []defect) {
	signer, _ := testKeys(t, "bundles")
	whole := string(mustSign(t, mustHash(t, integrity.Hasher{}, tiny()), signer))
	payload := base64.StdEncoding.EncodeToString([]byte("{}"))
	sig := whole[strings.Index(whole, `{"sig":`):strings.Index(whole, `]}}`)]
	hint := whole[strings.Index(whole, `{"hint":`):strings.Index(whole, `,"tlogEntries"`)]
	in := func(old, new string) string { return replace(t, whole, old, new) }
	bad = []defect{
		{"empty", "", integrity.ErrBundle},
		{"over_the_limit", whole + strings.Repeat(" ", limits.MaxBundle), integrity.ErrBundle},
		{"no_json", "model.sig", integrity.ErrBundle},
		{"truncated", whole[:len(whole)/2], integrity.ErrBundle},
		{"trailing_data", whole + "x", integrity.ErrBundle},
		{"other_media_type", in("v0.3+json", "v0.4+json"), integrity.ErrBundle},
		{"no_media_type", in(`"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json",`, ""), integrity.ErrBundle},
		{"no_envelope", whole[:strings.Index(whole, `,"dsseEnvelope"`)] + "}", integrity.ErrBundle},
		{"bare_envelope", whole[strings.Index(whole, `{"payload"`) : len(whole)-2], integrity.ErrBundle},
		{"no_material", in(`"verificationMaterial":{"publicKey":`+hint+`,"tlogEntries":[]},`, ""), integrity.ErrBundle},
		{"empty_material", in(`"publicKey":`+hint+`,`, ""), integrity.ErrBundle},
		{"two_materials", in(`"publicKey":`, `"certificate":{"rawBytes":"AA=="},"publicKey":`), integrity.ErrBundle},
		{"message_signature", in(`{"mediaType"`, `{"messageSignature":{},"mediaType"`), integrity.ErrBundle},
		{"unknown_member", in(`{"mediaType"`, `{"x":1,"mediaType"`), integrity.ErrBundle},
		{"duplicate_member", in(`{"mediaType"`, `{"mediaType":"","mediaType"`), integrity.ErrBundle},
		{"case_variant", in(`"payload":`, `"Payload":`), integrity.ErrBundle},
		{"no_signatures", in(sig, ""), integrity.ErrBundle},
		{"two_signatures", in(sig, sig+","+sig), integrity.ErrBundle},
		{"payload_no_base64", in(`"payload":"`, `"payload":"!`), integrity.ErrBundle},
		{"other_payload_type", in("vnd.in-toto+json", "vnd.in-toto+yaml"), integrity.ErrBundle},
		{"too_deep", in(`"tlogEntries":[]`, `"tlogEntries":`+strings.Repeat("[", 100)+strings.Repeat("]", 100)), integrity.ErrBundle},
		{"other_payload", whole[:strings.Index(whole, `"payload":"`)+11] + payload + whole[strings.Index(whole, `","payloadType"`):], integrity.ErrSignature},
		{"other_signature", in(`"sig":"M`, `"sig":"N`), integrity.ErrSignature},
		{"other_signature_no_hint", replace(t, in(hint, `{}`), `"sig":"M`, `"sig":"N`), integrity.ErrSignature},
		{"other_hint", in(`{"hint":"`, `{"hint":"0`), integrity.ErrUntrusted},
		{"other_raw_key", in(hint, `{"rawBytes":"`+base64.StdEncoding.EncodeToString(demoPEM(t, "somebody else"))+`"}`), integrity.ErrUntrusted},
		{"raw_key_no_key", in(hint, `{"rawBytes":"AAAA"}`), integrity.ErrBundle},
		{"other_method", in(`"publicKey":`+hint, `"x509CertificateChain":{"certificates":[{"rawBytes":"AA=="}]}`), integrity.ErrUntrusted},
	}
	good = []defect{
		{"keyid_null", in(`"keyid":""`, `"keyid":null`), nil},
		{"keyid_absent", in(`,"keyid":""`, ``), nil},
		{"keyid_any", in(`"keyid":""`, `"keyid":"x"`), nil},
		{"no_log_entries", in(`,"tlogEntries":[]`, ``), nil},
		{"empty_timestamps", in(`"tlogEntries":[]`, `"timestampVerificationData":{}`), nil},
		{"no_hint", in(hint, `{}`), nil},
		{"empty_hint", in(hint, `{"hint":""}`), nil},
		{"raw_key", in(hint, `{"rawBytes":"`+base64.StdEncoding.EncodeToString(demoPEM(t, "bundles"))+`","keyDetails":"PKIX_ECDSA_P256_SHA_256"}`), nil},
	}
	return bad, good
}

func TestBundleDefects(t *testing.T) {
	_, trust := testKeys(t, "bundles")
	bad, good := bundleDefects(t)
	for _, tt := range bad {
		t.Run(tt.name, func(t *testing.T) {
			fsys := spy(tiny())
			r, err := integrity.Verifier{}.Verify(t.Context(), fsys, []byte(tt.input), trust)
			wantKind(t, err, tt.want)
			if n := fsys.opened.Load(); n != 0 {
				t.Errorf("%d files of the model were opened", n)
			}
			if r == nil || r.Signed != nil || r.Manifest != nil {
				t.Errorf("result %+v", r)
			}
			checkSource(t, r, err)
		})
	}
	for _, tt := range good {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := (integrity.Verifier{}).Verify(t.Context(), tiny(), []byte(tt.input), trust); err != nil {
				t.Error(err)
			}
		})
	}
}

func demoPEM(t *testing.T, label string) []byte {
	t.Helper()
	text, err := keys.MarshalPublic(keys.Demo(label).Public())
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// TestOtherKey is a bundle that is good in itself, by a key nobody trusts.
func TestOtherKey(t *testing.T) {
	signer, _ := testKeys(t, "mallory")
	_, trust := testKeys(t, "alice")
	bundle := mustSign(t, mustHash(t, integrity.Hasher{}, tiny()), signer)
	r, err := integrity.Verifier{}.Verify(t.Context(), tiny(), bundle, trust)
	wantKind(t, err, integrity.ErrUntrusted)
	if diff := cmp.Diff([]string{"integrity.signature.untrusted model.sig"}, ruleIDs(r, prerun.Info)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

type verifierFunc func(ctx context.Context, bundle []byte) (*prerun.Signed, error)

func (f verifierFunc) Verify(ctx context.Context, bundle []byte) (*prerun.Signed, error) {
	return f(ctx, bundle)
}

// TestTrust tells apart a verifier that refuses from one that cannot decide.
func TestTrust(t *testing.T) {
	signer, trust := testKeys(t, "trust")
	bundle := mustSign(t, mustHash(t, integrity.Hasher{}, tiny()), signer)
	signed, err := trust.Verify(t.Context(), bundle)
	if err != nil {
		t.Fatal(err)
	}
	if r, err := (integrity.Verifier{}).Verify(t.Context(), tiny(), bundle, nil); r != nil || err == nil {
		t.Errorf("without trust: %v, %v", r, err)
	}
	for _, tt := range []struct {
		name     string
		signed   *prerun.Signed
		err      error
		rejected bool
	}{
		{"nothing", nil, nil, false},
		{"unreachable", nil, errors.New("service unreachable"), false},
		{"untrusted", nil, &integrity.Error{Kind: integrity.ErrUntrusted}, true},
		{"other_type", &prerun.Signed{PayloadType: "text/plain", Payload: signed.Payload}, nil, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, err := integrity.Verifier{}.Verify(t.Context(), tiny(), bundle, verifierFunc(func(context.Context, []byte) (*prerun.Signed, error) {
				return tt.signed, tt.err
			}))
			if err == nil || integrity.Rejected(err) != tt.rejected {
				t.Errorf("error %v, rejected %v, want %v", err, integrity.Rejected(err), tt.rejected)
			}
			checkSource(t, r, err)
		})
	}
}

// A modelDefect is one change of a model, and the findings that it must cause;
// none means that it may be accepted.
type modelDefect struct {
	name   string
	damage func(t *testing.T, dir string)
	want   []string
}

func modelDefects() []modelDefect {
	return []modelDefect{
		{"nothing", func(*testing.T, string) {}, nil},
		{"flipped", write("a", "aaab"), []string{"integrity.model.modified a"}},
		{"flipped_in_second_shard", write("c/y", "yyyyyyyyyyzyyyyyyyyy"), []string{"integrity.model.modified c/y"}},
		{"truncated", write("c/y", "yyyyyyyy"), []string{"integrity.model.modified c/y"}},
		{"appended", write("a", "aaaaa"), []string{"integrity.model.modified a"}},
		{"deleted", remove("b"), []string{"integrity.model.missing b"}},
		{"added", write("c/z", "z"), []string{"integrity.model.extra c/z"}},
		{"added_below_nested_git", write("c/.git/x", "z"), []string{"integrity.model.extra c/.git/x"}},
		{"added_below_root_git", write(".git/x", "z"), nil},
		{"added_ignored", write("tmp/x", "z"), nil},
		{"added_beside_ignored", write("tmp2/x", "z"), []string{"integrity.model.extra tmp2/x"}},
		{"renamed", rename("b", "d"), []string{"integrity.model.missing b", "integrity.model.extra d"}},
		{"case", rename("b", "B"), []string{"integrity.model.extra B", "integrity.model.missing b"}},
		{"swapped", func(t *testing.T, dir string) {
			write("a", "bbbb")(t, dir)
			write("b", "aaaa")(t, dir)
		}, []string{"integrity.model.modified a", "integrity.model.modified b"}},
		{"linked_to_copy", func(t *testing.T, dir string) {
			rename("b", "tmp")(t, dir)
			symlink(t, "tmp", dir, "b")
		}, []string{"integrity.model.kind-changed b"}},
		{"added_link", func(t *testing.T, dir string) { symlink(t, "/etc", dir, "l") }, []string{"integrity.model.extra l"}},
		{"folder_for_file", func(t *testing.T, dir string) {
			remove("b")(t, dir)
			write("b/b", "bbbb")(t, dir)
		}, []string{"integrity.model.kind-changed b", "integrity.model.extra b/b"}},
		{"empty_folder_for_file", func(t *testing.T, dir string) {
			remove("b")(t, dir)
			if err := os.Mkdir(dir+"/b", 0o755); err != nil {
				t.Fatal(err)
			}
		}, []string{"integrity.model.kind-changed b"}},
		{"file_for_folder", func(t *testing.T, dir string) {
			remove("c/x")(t, dir)
			remove("c/y")(t, dir)
			remove("c")(t, dir)
			write("c", "cccc")(t, dir)
		}, []string{"integrity.model.kind-changed c", "integrity.model.missing c/x", "integrity.model.missing c/y"}},
	}
}

// TestModelDefects changes one thing of a signed model.
func TestModelDefects(t *testing.T) {
	files := map[string]string{"a": "aaaa", "b": "bbbb", "c/x": "xxxx", "c/y": "yyyyyyyyyyyyyyyyyyyy"}
	for _, shard := range []int64{0, 8} {
		for _, tt := range modelDefects() {
			name := tt.name
			if shard > 0 {
				name += "_sharded"
			}
			t.Run(name, func(t *testing.T) {
				dir, fsys := writeTree(t, files)
				signer, trust := testKeys(t, "models")
				m := mustHash(t, integrity.Hasher{ShardSize: shard, Ignore: []string{"tmp"}}, fsys)
				bundle := mustSign(t, m, signer)
				tt.damage(t, dir)
				r, err := integrity.Verifier{}.Verify(t.Context(), fsys, bundle, trust)
				if tt.want == nil {
					if err != nil {
						t.Error(err)
					}
				} else {
					wantKind(t, err, integrity.ErrMismatch)
					d, ok := errors.AsType[*integrity.MismatchError](err)
					if !ok || cmp.Diff(d.Differences, r.Differences) != "" {
						t.Errorf("error %v does not hold the result's differences", err)
					}
				}
				if diff := cmp.Diff(tt.want, ruleIDs(r, prerun.Medium)); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
				checkSource(t, r, err)
			})
		}
	}
}

func write(name, content string) func(t *testing.T, dir string) {
	return func(t *testing.T, dir string) {
		t.Helper()
		if i := strings.LastIndexByte(name, '/'); i > 0 {
			if err := os.MkdirAll(dir+"/"+name[:i], 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(dir+"/"+name, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func remove(name string) func(t *testing.T, dir string) {
	return func(t *testing.T, dir string) {
		t.Helper()
		if err := os.Remove(dir + "/" + name); err != nil {
			t.Fatal(err)
		}
	}
}

func rename(from, to string) func(t *testing.T, dir string) {
	return func(t *testing.T, dir string) {
		t.Helper()
		if err := os.Rename(dir+"/"+from, dir+"/"+to); err != nil {
			t.Fatal(err)
		}
	}
}

// TestUnreadable: what could not be read is a gap, and what differs besides is
// a finding that decides.
func TestUnreadable(t *testing.T) {
	signer, trust := testKeys(t, "unreadable")
	bundle := mustSign(t, mustHash(t, integrity.Hasher{}, tiny()), signer)
	broken := brokenFS{tiny(), "a.txt"}
	r, err := integrity.Verifier{}.Verify(t.Context(), broken, bundle, trust)
	wantKind(t, err, integrity.ErrRead)
	checkSource(t, r, err)
	if len(r.Differences) > 0 {
		t.Errorf("differences %v", r.Differences)
	}

	more := tiny()
	more["extra"] = &fstest.MapFile{}
	r, err = integrity.Verifier{}.Verify(t.Context(), brokenFS{more, "a.txt"}, bundle, trust)
	if !errors.Is(err, integrity.ErrRead) || !errors.Is(err, integrity.ErrMismatch) || !integrity.Rejected(err) {
		t.Errorf("error %v", err)
	}
	checkSource(t, r, err)

	r, err = integrity.Verifier{}.Verify(t.Context(), os.DirFS(t.TempDir()+"/absent"), bundle, trust)
	wantKind(t, err, integrity.ErrRead)
	checkSource(t, r, err)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if r, err := (integrity.Verifier{}).Verify(ctx, tiny(), bundle, trust); r != nil || !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v, %v", r, err)
	}
}

// TestUnlistable: a name that no manifest can hold may hide anything.
func TestUnlistable(t *testing.T) {
	signer, trust := testKeys(t, "unreadable")
	tree := tiny()
	bundle := mustSign(t, mustHash(t, integrity.Hasher{}, tree), signer)
	tree["sub/w\xff.bin"] = &fstest.MapFile{}
	for _, v := range []integrity.Verifier{{}, {InsecureIgnoreUnsigned: true}} {
		r, err := v.Verify(t.Context(), tree, bundle, trust)
		wantKind(t, err, integrity.ErrUnsupported)
		checkSource(t, r, err)
		r, err = v.VerifyPaths(t.Context(), tree, []string{"a.txt"}, bundle, trust)
		wantKind(t, err, integrity.ErrUnsupported)
		checkSource(t, r, err)
	}
	if _, err := (integrity.Verifier{Ignore: []string{"sub"}}).VerifyFile(t.Context(), tree, "a.txt", bundle, trust); err == nil {
		t.Error("a folder was verified as a file")
	}
}

// A brokenFS cannot open one of its files.
type brokenFS struct {
	fs.FS
	name string
}

func (b brokenFS) Open(name string) (fs.File, error) {
	if name == b.name {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrPermission}
	}
	return b.FS.Open(name)
}

func TestZeroResult(t *testing.T) {
	for _, r := range []*integrity.Result{nil, {}} {
		if got := prerun.Decide(r, prerun.Low); got != prerun.Incomplete || r.Verified() {
			t.Errorf("a result that was never filled: %v", got)
		}
	}
}

func TestRules(t *testing.T) {
	prev := ""
	for _, r := range integrity.Rules() {
		if err := r.Check(); err != nil {
			t.Error(err)
		}
		if r.ID <= prev {
			t.Errorf("%s after %s", r.ID, prev)
		}
		prev = r.ID
	}
}
