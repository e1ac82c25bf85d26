package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	zeebo "github.com/zeebo/blake3"
	"golang.org/x/crypto/blake2b"
	lukechampine "lukechampine.com/blake3"

	"github.com/prerun/prerun/integrity"
)

// work is one contestant in a process of its own. It prints seconds.
func work(args []string) error {
	ctx := context.Background()
	root, err := os.OpenRoot(args[len(args)-2])
	if err != nil {
		return err
	}
	defer root.Close()
	var took time.Duration
	switch args[0] {
	case "plain":
		took, err = timed(func() error { return plain(root.FS(), args[1]) })
	case "hasher":
		shard, parseErr := strconv.ParseInt(args[3], 10, 64)
		if parseErr != nil {
			return parseErr
		}
		h := integrity.Hasher{Algorithm: args[1], ShardSize: shard}
		took, err = timed(func() error {
			_, err := h.Hash(ctx, root.FS())
			return err
		})
	case "once":
		err = once(ctx, args[1], root.FS(), args[3])
	default:
		took, err = warm(ctx, args[0], root.FS(), args[2])
	}
	fmt.Println(took.Seconds())
	return err
}

func timed(f func() error) (time.Duration, error) {
	start := time.Now()
	err := f()
	return time.Since(start), err
}

// plain hashes file after file, 1 MiB at a time: what the function itself does
// on one core.
func plain(fsys fs.FS, algorithm string) error {
	var h hash.Hash
	var err error
	switch algorithm {
	case "sha256":
		h = sha256.New()
	case "blake2b":
		h, err = blake2b.New512(nil)
	case "blake3-zeebo":
		h = zeebo.New()
	case "blake3-lukechampine":
		h = lukechampine.New(32, nil)
	default:
		err = fmt.Errorf("algorithm %q", algorithm)
	}
	if err != nil {
		return err
	}
	names, err := fs.Glob(fsys, "*")
	if err != nil {
		return err
	}
	buf := make([]byte, 1<<20)
	for _, name := range names {
		f, err := fsys.Open(name)
		if err != nil {
			return err
		}
		h.Reset()
		// The wrapping keeps either side from choosing another way to copy.
		_, err = io.CopyBuffer(struct{ io.Writer }{h}, struct{ io.Reader }{f}, buf)
		h.Sum(nil)
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
	}
	return nil
}

// once does what a program does that signs or verifies and ends.
func once(ctx context.Context, verb string, fsys fs.FS, keyFile string) error {
	sign, verify, err := jobs(ctx, fsys, keyFile)
	if err != nil {
		return err
	}
	sig := filepath.Join(filepath.Dir(keyFile), "once.sig")
	if verb == "sign" {
		bundle, err := sign()
		if err != nil {
			return err
		}
		return os.WriteFile(sig, bundle, 0o600)
	}
	bundle, err := os.ReadFile(sig)
	if err != nil {
		return err
	}
	return verify(bundle)
}

// jobs are to sign a model and to verify it.
func jobs(ctx context.Context, fsys fs.FS, keyFile string) (sign func() ([]byte, error), verify func([]byte) error, err error) {
	data, err := os.ReadFile(keyFile)
	if err != nil {
		return nil, nil, err
	}
	block, _ := pem.Decode(data)
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, nil, err
	}
	key := parsed.(*ecdsa.PrivateKey)
	signer, err := integrity.NewKeySigner(key)
	if err != nil {
		return nil, nil, err
	}
	trust, err := integrity.NewKeyVerifier(&key.PublicKey)
	sign = func() ([]byte, error) {
		m, err := integrity.Hasher{}.Hash(ctx, fsys)
		if err != nil {
			return nil, err
		}
		return integrity.Signing{}.Sign(ctx, m, signer)
	}
	verify = func(bundle []byte) error {
		_, err := integrity.Verifier{}.Verify(ctx, fsys, bundle, trust)
		return err
	}
	return sign, verify, err
}

// warm is the median of 20, after one that does not count.
func warm(ctx context.Context, verb string, fsys fs.FS, keyFile string) (time.Duration, error) {
	sign, verify, err := jobs(ctx, fsys, keyFile)
	if err != nil {
		return 0, err
	}
	bundle, err := sign()
	if err != nil {
		return 0, err
	}
	job := func() error { return verify(bundle) }
	if verb == "sign" {
		job = func() error {
			_, err := sign()
			return err
		}
	}
	if err := job(); err != nil {
		return 0, err
	}
	var times []time.Duration
	for range 20 {
		took, err := timed(job)
		if err != nil {
			return 0, err
		}
		times = append(times, took)
	}
	slices.Sort(times)
	return times[len(times)/2], nil
}
