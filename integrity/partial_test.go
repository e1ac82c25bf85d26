package integrity_test

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/integrity"
)

func subjects(r *integrity.Result) (out []string) {
	for s := range r.Subjects() {
		out = append(out, s.Path)
	}
	return out
}

func TestVerifyPaths(t *testing.T) {
	signer, trust := testKeys(t, "paths")
	for _, shard := range []int64{0, 3} {
		tree := fstest.MapFS{"a": {Data: []byte("aaaa")}, "ab": {Data: []byte("b")}, "d/x": {Data: []byte("xxxx")}, "d/y": {Data: []byte("y")}}
		bundle := mustSign(t, mustHash(t, integrity.Hasher{ShardSize: shard}, tree), signer)
		damaged := maps.Clone(tree)
		damaged["d/y"] = &fstest.MapFile{Data: []byte("z")}
		damaged["d/new"] = &fstest.MapFile{Data: []byte("n")}
		damaged["new/f"] = &fstest.MapFile{Data: []byte("n")}
		damaged["none"] = &fstest.MapFile{}
		delete(damaged, "ab")
		for _, tt := range []struct {
			paths    string
			tolerate bool
			want     []string // differences; nil verifies
		}{
			{"a", false, nil},
			{"a d/x", false, nil},
			{"ab", false, []string{`"ab" missing`}},
			{"d", false, []string{`"d/new" extra`, `"d/y" modified`}},
			{"d", true, []string{`"d/y" modified`}},
			{"d/x d/new", false, []string{`"d/new" extra (asked for, and nothing of this name was signed)`}},
			{"d/x d/new", true, []string{`"d/new" extra (asked for, and nothing of this name was signed)`}},
			{"new", true, []string{`"new/f" extra (asked for, and nothing of this name was signed)`}},
			{"none", true, []string{`"none" extra (asked for, and nothing of this name was signed)`}},
			{"absent absent", false, []string{`"absent" extra (asked for, and nothing of this name was signed)`}},
		} {
			t.Run(tt.paths, func(t *testing.T) {
				opened := spy(damaged)
				v := integrity.Verifier{InsecureIgnoreUnsigned: tt.tolerate}
				r, err := v.VerifyPaths(t.Context(), opened, strings.Fields(tt.paths), bundle, trust)
				var got []string
				for _, d := range r.Differences {
					got = append(got, d.String())
				}
				if diff := cmp.Diff(tt.want, got); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
				if (err == nil) != (tt.want == nil) {
					t.Errorf("error %v", err)
				}
				checkSource(t, r, err)
			})
		}
		r, err := integrity.Verifier{}.VerifyPaths(t.Context(), damaged, []string{"a"}, bundle, trust)
		if err != nil || !slices.Equal(subjects(r), []string{"a", "model.sig"}) {
			t.Errorf("subjects %v, %v", subjects(r), err)
		}
		for _, paths := range [][]string{nil, {""}, {"."}, {"../a"}} {
			if r, err := (integrity.Verifier{}).VerifyPaths(t.Context(), tree, paths, bundle, trust); r != nil || err == nil {
				t.Errorf("paths %q: %v, %v", paths, r, err)
			}
		}
	}
}

func TestVerifyManifest(t *testing.T) {
	signer, trust := testKeys(t, "manifests")
	m := mustHash(t, integrity.Hasher{Ignore: []string{"tmp"}}, tiny())
	bundle := mustSign(t, m, signer)
	known := &integrity.Manifest{
		Parameters: integrity.Parameters{Algorithm: integrity.SHA256},
		Resources: []integrity.Resource{
			{Path: "sub/w.bin", Digest: "sha256:" + sumW},
			{Path: "tmp/x", Digest: "sha256:" + sumW},
			{Path: "a.txt", Digest: "sha256:" + sumA},
		},
	}
	r, err := integrity.Verifier{}.VerifyManifest(t.Context(), known, bundle, trust)
	if err != nil || !slices.Equal(r.Ignored, []string{"tmp/x"}) {
		t.Errorf("ignored %v, %v", r.Ignored, err)
	}
	checkSource(t, r, err)
	known.Resources[0].Digest = "sha256:" + sumA
	r, err = integrity.Verifier{}.VerifyManifest(t.Context(), known, bundle, trust)
	wantKind(t, err, integrity.ErrMismatch)
	if diff := cmp.Diff([]string{"integrity.model.modified sub/w.bin"}, ruleIDs(r, prerun.Medium)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	known.ShardSize = 8
	r, err = integrity.Verifier{}.VerifyManifest(t.Context(), known, bundle, trust)
	wantKind(t, err, integrity.ErrUnsupported)
	checkSource(t, r, err)
}

func TestGuard(t *testing.T) {
	signer, trust := testKeys(t, "guard")
	tree := tiny()
	guard := integrity.Verifier{}.Guard(mustSign(t, mustHash(t, integrity.Hasher{}, tree), signer), trust)
	if err := guard(t.Context(), tree); err != nil {
		t.Error(err)
	}
	tree["a.txt"].Data[0] ^= 1
	wantKind(t, guard(t.Context(), tree), integrity.ErrMismatch)
}
