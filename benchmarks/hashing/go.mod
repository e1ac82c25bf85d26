// The peers that are measured here stay out of the library's own requirements.
module github.com/prerun/prerun/benchmarks/hashing

go 1.26.0

require (
	github.com/prerun/prerun v0.0.0
	github.com/zeebo/blake3 v0.2.4
	golang.org/x/crypto v0.58.0
	lukechampine.com/blake3 v1.4.1
)

require (
	github.com/klauspost/cpuid/v2 v2.0.12 // indirect
	github.com/opencontainers/go-digest v1.0.0 // indirect
	go.yaml.in/yaml/v3 v3.0.6 // indirect
	golang.org/x/sys v0.49.0 // indirect
)

replace github.com/prerun/prerun => ../..
