package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	chacha "math/rand/v2"
	"os"
	"strconv"
)

type bench struct {
	dir, self, python, prerun string
	size                      int64
}

const small = 10_000_000 // bytes of the small model

func (b *bench) one() string  { return join(b.dir, "one") }
func (b *bench) many() string { return join(b.dir, "many") }
func (b *bench) tiny() string { return join(b.dir, "tiny") }

// makeModels writes a model of one file, one of 40 and one of 10 MB, and a key.
func (b *bench) makeModels() error {
	files := map[string]int64{join(b.one(), "model.safetensors"): b.size}
	for i := range 40 {
		files[join(b.many(), fmt.Sprintf("model-%02d-of-40.safetensors", i+1))] = b.size / 40
	}
	for i := range 10 {
		files[join(b.tiny(), fmt.Sprintf("part-%d", i))] = small / 10
	}
	for _, dir := range []string{b.one(), b.many(), b.tiny()} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	for name, size := range files {
		if err := makeFile(name, size); err != nil {
			return err
		}
	}
	return b.makeKey()
}

func makeFile(name string, size int64) error {
	if info, err := os.Stat(name); err == nil && info.Size() == size {
		f, err := os.Open(name) // brings it into the page cache
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = io.Copy(io.Discard, f)
		return err
	}
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := io.CopyN(f, chacha.NewChaCha8([32]byte{}), size); err != nil {
		return err
	}
	return f.Close()
}

func (b *bench) makeKey() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return err
	}
	err = os.WriteFile(join(b.dir, "key"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600)
	if err != nil {
		return err
	}
	return os.WriteFile(join(b.dir, "pub"), pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}), 0o600)
}

// onCores has a program run on that many cores. GOMAXPROCS alone would not do:
// what waits for the kernel does not count, and reading would be for free.
func onCores(n int, args ...string) contestant {
	if n == 1 {
		args = append([]string{"taskset", "-c", "0"}, args...)
	}
	return contestant{args: args, env: []string{"GOMAXPROCS=" + strconv.Itoa(n)}}
}

const (
	mib64    = 64 << 20
	giga     = 1_000_000_000 // the Python tool's shard size
	baseline = "crypto/sha256, one core"
)

func (b *bench) groups() []group {
	return []group{
		{"one file, SHA-256", b.size, b.sha256(b.one(), true)},
		{"40 files, SHA-256", b.size / 40 * 40, b.sha256(b.many(), false)},
		{"one file, BLAKE3 and BLAKE2b", b.size, b.blake(b.one())},
		{"sign a model of 10 MB", small, b.sign()},
		{"verify a model of 10 MB", small, b.verify()},
	}
}

func (b *bench) plain(name, algorithm, model string) contestant {
	c := onCores(1, b.self, "worker", "plain", algorithm, model, "0")
	c.name = name
	return c
}

func (b *bench) ours(name, algorithm, model string, shard int64, cores int) contestant {
	c := onCores(cores, b.self, "worker", "hasher", algorithm, model, strconv.FormatInt(shard, 10))
	c.name = name
	return c
}

func (b *bench) theirs(name, algorithm, model string, shard int64) contestant {
	return contestant{name: name, args: []string{b.python, "-c", peerHash, model, algorithm, strconv.FormatInt(shard, 10)}}
}

func (b *bench) sha256(model string, shards bool) []contestant {
	cases := []contestant{
		b.plain(baseline, "sha256", model),
		b.ours("files, one core", "sha256", model, 0, 1),
		b.ours("files, two cores", "sha256", model, 0, 2),
		b.ours("shards of 64 MiB, one core", "sha256", model, mib64, 1),
		b.ours("shards of 64 MiB, two cores", "sha256", model, mib64, 2),
		b.ours("shards of 1 GB, one core", "sha256", model, giga, 1),
		b.ours("shards of 1 GB, two cores", "sha256", model, giga, 2),
		b.theirs("Python API, files", "sha256", model, 0),
		b.theirs("Python API, shards of 64 MiB", "sha256", model, mib64),
		b.theirs("Python API, shards of 1 GB", "sha256", model, giga),
		{name: "Python command, sign", args: b.peerCommand("sign", model), whole: true},
	}
	ours := contestant{name: "prerun sign, shards of 64 MiB", args: b.command("sign", model, "--shard-size", strconv.Itoa(mib64)), whole: true, against: "Python command, sign"}
	if !shards {
		ours = contestant{name: "prerun sign", args: b.command("sign", model), whole: true, against: "Python command, sign"}
	}
	cases = append(cases, ours)
	against(cases, "files, two cores", "Python API, files")
	against(cases, "shards of 64 MiB, two cores", "Python API, shards of 64 MiB")
	against(cases, "shards of 1 GB, two cores", "Python API, shards of 1 GB")
	return cases
}

func against(cases []contestant, name, other string) {
	for i := range cases {
		if cases[i].name == name {
			cases[i].against = other
		}
	}
}

func (b *bench) blake(model string) []contestant {
	cases := []contestant{
		b.plain("zeebo/blake3 v0.2.4, one core", "blake3-zeebo", model),
		b.plain("lukechampine.com/blake3 v1.4.1, one core", "blake3-lukechampine", model),
		b.ours("files by BLAKE3, one core", "blake3", model, 0, 1),
		b.ours("files by BLAKE3, two cores", "blake3", model, 0, 2),
		b.theirs("Python API, BLAKE3", "blake3", model, 0),
		b.plain("x/crypto/blake2b, one core", "blake2b", model),
		b.ours("files by BLAKE2b, one core", "blake2b", model, 0, 1),
	}
	against(cases, "files by BLAKE3, two cores", "files by BLAKE3, one core")
	against(cases, "files by BLAKE2b, one core", "x/crypto/blake2b, one core")
	return cases
}

func (b *bench) peerCommand(verb, model string) []string {
	key := []string{"--private_key", join(b.dir, "key")}
	if verb == "verify" {
		key = []string{"--public_key", join(b.dir, "pub")}
	}
	return append([]string{b.python, "-m", "model_signing", verb, "key", "--signature", join(b.dir, "python.sig"), model}, key...)
}

func (b *bench) command(verb, model string, more ...string) []string {
	sig := join(b.dir, "prerun.sig")
	args := []string{b.prerun, verb, "key", model, "--quiet"}
	if verb == "verify" {
		args = append(args, "--signature", sig, "--public-key", join(b.dir, "pub"))
	} else {
		args = append(args, "--output", sig, "--private-key", join(b.dir, "key"))
	}
	return append(args, more...)
}

func (b *bench) warm(verb string) contestant {
	return contestant{name: "Python API, warm", args: []string{b.python, "-c", peerWarm, verb, b.tiny(), join(b.dir, "warm.sig"), join(b.dir, "key"), join(b.dir, "pub")}}
}

func (b *bench) alone(verb string) contestant {
	return contestant{name: "program of package integrity alone", args: []string{b.self, "worker", "once", verb, b.tiny(), join(b.dir, "key")}, whole: true}
}

func (b *bench) sign() []contestant {
	return []contestant{
		{name: "Python command", args: b.peerCommand("sign", b.tiny()), whole: true},
		b.warm("sign"),
		{name: "prerun command", args: b.command("sign", b.tiny()), whole: true, against: "Python API, warm"},
		b.alone("sign"),
		{name: "package integrity, warm", args: []string{b.self, "worker", "sign", b.tiny(), join(b.dir, "key")}, against: "Python API, warm"},
	}
}

// verify takes what sign left.
func (b *bench) verify() []contestant {
	return []contestant{
		{name: "Python command", args: b.peerCommand("verify", b.tiny()), whole: true},
		b.warm("verify"),
		{name: "prerun command", args: b.command("verify", b.tiny()), whole: true, against: "Python API, warm"},
		b.alone("verify"),
		{name: "package integrity, warm", args: []string{b.self, "worker", "verify", b.tiny(), join(b.dir, "key")}, against: "Python API, warm"},
	}
}

const peerHash = `
import sys, time, pathlib, model_signing
model, algorithm, size = sys.argv[1:]
config = model_signing.hashing.Config()
if size == "0":
    config.use_file_serialization(hashing_algorithm=algorithm)
else:
    config.use_shard_serialization(hashing_algorithm=algorithm, shard_size=int(size))
start = time.perf_counter()
config.hash(pathlib.Path(model))
print(time.perf_counter() - start)
`

// peerWarm is the median of 20, after one that does not count.
const peerWarm = `
import sys, time, pathlib, statistics, model_signing
verb, model, sig, key, pub = [sys.argv[1]] + [pathlib.Path(p) for p in sys.argv[2:]]
def sign():
    model_signing.signing.Config().use_elliptic_key_signer(private_key=key).sign(model, sig)
def verify():
    model_signing.verifying.Config().use_elliptic_key_verifier(public_key=pub).verify(model, sig)
work = {"sign": sign, "verify": verify}[verb]
sign(); work()
times = []
for _ in range(20):
    start = time.perf_counter()
    work()
    times.append(time.perf_counter() - start)
print(statistics.median(times))
`
