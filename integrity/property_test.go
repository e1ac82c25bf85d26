package integrity_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/prerun/prerun"
	"github.com/prerun/prerun/integrity"
	"github.com/prerun/prerun/internal/digestx"
)

// drawTree draws a model with awkward names and sizes around the shard size.
func drawTree(t *rapid.T) fstest.MapFS {
	names := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{
		"a", "a-b", "a.b", "a b", "b/c", "b/d/e", "b-c", "ünï", "x:0:8", "q\"\\<>&\u2028", "new\nline", "Z", "b/.git/h", "model.safetensors",
	}), 1, 8, rapid.ID[string]).Draw(t, "names")
	tree := fstest.MapFS{}
	for _, name := range names {
		tree[name] = &fstest.MapFile{Data: rapid.SliceOfN(rapid.Byte(), 1, 40).Draw(t, "content")}
	}
	return tree
}

// shuffledFS lists folders in another order.
type shuffledFS struct {
	fstest.MapFS
	t *rapid.T
}

func (s shuffledFS) ReadDir(name string) ([]fs.DirEntry, error) {
	list, err := s.MapFS.ReadDir(name)
	return rapid.Permutation(list).Draw(s.t, "order"), err
}

func TestManifestIndependent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tree := drawTree(t)
		shard := rapid.Int64Range(0, 20).Draw(t, "shard")
		want, err := integrity.Hasher{ShardSize: shard, Workers: 1}.Hash(t.Context(), tree)
		if err != nil {
			t.Fatal(err)
		}
		for _, workers := range []int{0, 2, 8} {
			got, err := integrity.Hasher{ShardSize: shard, Workers: workers}.Hash(t.Context(), shuffledFS{tree, t})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("workers %d (-want +got):\n%s", workers, diff)
			}
		}
	})
}

// TestHashOfParts: the resources are what hashing each part by itself gives.
func TestHashOfParts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tree := drawTree(t)
		shard := rapid.Int64Range(1, 50).Draw(t, "shard")
		m, err := integrity.Hasher{ShardSize: shard}.Hash(t.Context(), tree)
		if err != nil {
			t.Fatal(err)
		}
		covered := map[string]int64{}
		for _, r := range m.Resources {
			if want := digestx.Of(tree[r.Path].Data[r.Start:r.End]); r.Digest != want {
				t.Fatalf("%s: %s, want %s", r.Name(), r.Digest, want)
			}
			covered[r.Path] += r.End - r.Start
		}
		for name, f := range tree {
			if covered[name] != int64(len(f.Data)) {
				t.Fatalf("%q: %d bytes of %d", name, covered[name], len(f.Data))
			}
		}
		if err := m.Check(); err != nil {
			t.Fatal(err)
		}
	})
}

// TestRoundTrip: parse gives back what encode wrote, and verify accepts what
// sign made, for each curve, form and method.
func TestRoundTrip(t *testing.T) {
	curves := []elliptic.Curve{elliptic.P256(), elliptic.P384(), elliptic.P521()}
	var signers []*integrity.KeySigner
	var trusts []*integrity.KeyVerifier
	for _, c := range curves {
		key, err := ecdsa.GenerateKey(c, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		s, v := keyPairOf(t, key)
		signers, trusts = append(signers, s), append(trusts, v)
	}
	rapid.Check(t, func(t *rapid.T) {
		tree := drawTree(t)
		i := rapid.IntRange(0, len(curves)-1).Draw(t, "curve")
		shard := rapid.Int64Range(0, 20).Draw(t, "shard")
		form := rapid.SampledFrom([]integrity.Form{integrity.FormSpec, integrity.FormPython}).Draw(t, "form")
		m, err := integrity.Hasher{ShardSize: shard, Ignore: []string{"model.sig"}}.Hash(t.Context(), tree)
		if err != nil {
			t.Fatal(err)
		}
		bundle, err := integrity.Signing{Name: "m", Form: form}.Sign(t.Context(), m, signers[i])
		if _, colon := tree["x:0:8"]; form == integrity.FormPython && shard > 0 && colon {
			if err == nil {
				t.Fatal("a form was written that the Python tool cannot read")
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		tree["model.sig"] = &fstest.MapFile{Data: bundle}
		r, err := integrity.Verifier{Strict: form == integrity.FormSpec}.Verify(t.Context(), tree, bundle, trusts[i])
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(m, r.Manifest); diff != "" {
			t.Fatalf("(-signed +verified):\n%s", diff)
		}
		if _, err := (integrity.Verifier{}).Verify(t.Context(), tree, bundle, trusts[(i+1)%len(trusts)]); err == nil {
			t.Fatal("verified with another key")
		}
	})
}

// TestDeterministic: a key in memory signs the same bytes each time.
func TestDeterministic(t *testing.T) {
	signer, _ := testKeys(t, "deterministic")
	m := mustHash(t, integrity.Hasher{}, tiny())
	if a, b := mustSign(t, m, signer), mustSign(t, m, signer); !bytes.Equal(a, b) {
		t.Errorf("two bundles of one manifest:\n%s%s", a, b)
	}
}

// signedView is what a bundle says, whatever its spelling.
type signedView struct{ Payload, Type, Sig string }

func view(bundle []byte) (v signedView) {
	var b struct {
		DSSEEnvelope struct {
			Payload     string
			PayloadType string
			Signatures  []struct{ Sig string }
		}
	}
	if json.Unmarshal(bundle, &b) != nil || len(b.DSSEEnvelope.Signatures) != 1 {
		return v
	}
	decode := func(s string) string {
		raw, err := base64.StdEncoding.DecodeString(strings.NewReplacer("-", "+", "_", "/").Replace(s))
		if err != nil {
			return s
		}
		return string(raw)
	}
	e := b.DSSEEnvelope
	return signedView{decode(e.Payload), e.PayloadType, decode(e.Signatures[0].Sig)}
}

// TestMutations changes each byte of the model and of the bundle in turn, by each
// method: each bit flipped, and characters that might mean the same. Nothing may
// be accepted but mutants of the bundle that say the same. Those are, and there
// are no others:
//   - white space for white space: the bundle ends with a line feed;
//   - a lone "+" or "/" of a base64 text in the other alphabet ("-", "_").
//
// Package integrity/sigstore has the same test for its method.
func TestMutations(t *testing.T) {
	tree := fstest.MapFS{"a": {Data: []byte("hello\n")}, "b/c": {Data: []byte{0, 1, 2}}}
	signer, trust := testKeys(t, "mutations")
	for _, shard := range []int64{0, 4} {
		bundle := mustSign(t, mustHash(t, integrity.Hasher{ShardSize: shard}, tree), signer)
		for _, name := range slices.Sorted(maps.Keys(tree)) {
			forEachMutant(tree[name].Data, func(i int, c byte) {
				if _, err := (integrity.Verifier{}).Verify(t.Context(), tree, bundle, trust); !integrity.Rejected(err) {
					t.Fatalf("%s: byte %d set to %#02x: %v", name, i, c, err)
				}
			})
		}
	}
	m := mustHash(t, integrity.Hasher{}, tree)
	t.Run("key", func(t *testing.T) { mutateBundle(t, tree, mustSign(t, m, signer), trust) })
	t.Run("certificate", func(t *testing.T) {
		if testing.Short() || portable {
			t.Skip("thousands of chains")
		}
		root := issue(t, "root", nil, authority)
		leaf := issue(t, "leaf", root, nil)
		signer, err := integrity.NewCertificateSigner(leaf.key, leaf.Certificate)
		if err != nil {
			t.Fatal(err)
		}
		trust := trusting(root)
		mutateBundle(t, tree, mustSign(t, m, signer), &trust)
	})
}

func mutateBundle(t *testing.T, tree fs.FS, bundle []byte, trust prerun.Verifier) {
	want := view(bundle)
	original := bytes.Clone(bundle)
	signed, err := trust.Verify(t.Context(), bundle)
	if err != nil {
		t.Fatal(err)
	}
	accepted := map[string]bool{}
	forEachMutant(bundle, func(i int, c byte) {
		r, err := integrity.Verifier{}.Verify(t.Context(), tree, bundle, trust)
		if err != nil {
			if !integrity.Rejected(err) && !errors.Is(err, integrity.ErrUnsupported) {
				t.Fatalf("byte %d set to %#02x: %v", i, c, err)
			}
			return
		}
		if view(bundle) != want || len(r.Leniencies) > 0 || cmp.Diff(signed, r.Signed) != "" {
			t.Fatalf("byte %d set to %#02x: accepted", i, c)
		}
		accepted[fmt.Sprintf("%q for %q", c, original[i])] = true
	})
	for change := range accepted {
		switch change {
		case `' ' for '\n'`, `'\t' for '\n'`, `'\r' for '\n'`, `'-' for '+'`, `'_' for '/'`:
		default:
			t.Errorf("accepted %s, which is not on the list", change)
		}
	}
}

// TestPayloadMutations flips a bit of each byte of the statement inside its
// base64. TestMutations does the same from outside, three bytes at a time.
func TestPayloadMutations(t *testing.T) {
	signer, trust := testKeys(t, "mutations")
	m := mustHash(t, integrity.Hasher{}, tiny())
	payload, err := integrity.Signing{Name: "tiny"}.Statement(m)
	if err != nil {
		t.Fatal(err)
	}
	bundle := string(mustSign(t, m, signer))
	encoded := base64.StdEncoding.EncodeToString(payload)
	for i := range payload {
		payload[i] ^= 1 << (i % 8)
		mutant := replace(t, bundle, encoded, base64.StdEncoding.EncodeToString(payload))
		_, err := integrity.Verifier{}.Verify(t.Context(), tiny(), []byte(mutant), trust)
		wantKind(t, err, integrity.ErrSignature)
		payload[i] ^= 1 << (i % 8)
	}
}

// forEachMutant sets each byte of data to other values in turn: each bit
// flipped, white space of JSON, and the second alphabet of base64.
func forEachMutant(data []byte, f func(i int, c byte)) {
	for i, original := range data {
		values := []byte(" \t\r-_")
		for bit := range 8 {
			values = append(values, original^1<<bit)
		}
		slices.Sort(values)
		for _, c := range slices.Compact(values) {
			if c != original {
				data[i] = c
				f(i, c)
			}
		}
		data[i] = original
	}
}

func FuzzVerify(f *testing.F) {
	signer, trust := testKeys(f, "fuzz")
	tree := tiny()
	bundle := mustSign(f, mustHash(f, integrity.Hasher{}, tree), signer)
	sharded := mustSign(f, mustHash(f, integrity.Hasher{ShardSize: 3}, tree), signer)
	signed := map[signedView]bool{view(bundle): true, view(sharded): true}
	f.Add(bundle)
	f.Add(sharded)
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := integrity.Verifier{}.Verify(t.Context(), tree, data, trust)
		if err == nil && !signed[view(data)] {
			t.Errorf("accepted %q", data)
		}
		checkSource(t, r, err)
	})
}

func FuzzStatement(f *testing.F) {
	a := resource{Name: "a.txt", Digest: sumA}
	f.Add([]byte(statement(serializeFiles, a)))
	f.Add([]byte(statement(serializeShards, resource{Name: "x:0:0:8", Digest: sumA}, resource{Name: "x:0:8:9", Digest: sumA})))
	f.Add([]byte(statement(`{"method":"shards","hash_type":"sha256","allow_symlinks":true,"shard_size":8.0,"ignore_paths":["x"]}`, resource{".:0:8", sumA, "sha256-sharded-8"})))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := integrity.ParseStatement(data, false, true)
		if err != nil {
			if !integrity.Rejected(err) && m != nil {
				t.Errorf("manifest %v with error %v", m, err)
			}
			return
		}
		if err := m.Check(); err != nil {
			t.Fatalf("parsed and inconsistent: %v", err)
		}
		// What was understood can be written down and understood again.
		form := integrity.FormSpec
		if m.SingleFile {
			form = integrity.FormPython
		}
		again, err := integrity.Signing{Form: form}.Statement(m)
		if err != nil {
			return // a pattern on the ignore list
		}
		m2, err := integrity.ParseStatement(again, false, false)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(m, m2); diff != "" {
			t.Errorf("(-first +second):\n%s", diff)
		}
	})
}

func FuzzShardName(f *testing.F) {
	for _, s := range []string{"a:0:8", "a:b:8:16", ":0:8", "a:00:8", "a:8:8", "a:0:9223372036854775807", "a:0:9223372036854775808"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		path, start, end, err := integrity.SplitShard(s)
		if err != nil {
			return
		}
		if start < 0 || end <= start {
			t.Errorf("%q: range %d to %d", s, start, end)
		}
		if got := integrity.JoinShard(path, start, end); got != s {
			t.Errorf("%q is also spelled %q", s, got)
		}
	})
}
