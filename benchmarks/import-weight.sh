#!/usr/bin/env bash
# What importing a package costs: outside packages and modules linked, and the
# size of a stripped program that does nothing else.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work" ./zz_weight' EXIT
module=$(go list -m)
export CGO_ENABLED GOFLAGS
mkdir -p zz_weight
for pkg in "" integrity integrity/sigstore integrity/pkcs11 integrity/oci integrity/scan integrity/weights provenance datasec datasec/embedding validate validate/target/openai pipeline pipeline/report; do
	CGO_ENABLED=0 GOFLAGS=
	[[ $pkg != integrity/pkcs11 ]] || CGO_ENABLED=1 GOFLAGS=-tags=pkcs11
	path=$module${pkg:+/$pkg}
	printf 'package main\n\nimport _ "%s"\n\nfunc main() {}\n' "$path" >zz_weight/main.go
	go build -trimpath -ldflags='-s -w' -o "$work/bin" ./zz_weight
	outside=$(go list -deps -f '{{with .Module}}{{.Path}}{{end}}' "$path" | grep -vxF "$module" | sort | uniq -c | awk 'NF' || true)
	printf '| `%s` | %s | %s | %s MB |\n' "${pkg:-prerun}" \
		"$(awk '{n += $1} END {print n + 0}' <<<"$outside")" "$(grep -c . <<<"$outside" || true)" \
		"$(awk -v b="$(stat -c %s "$work/bin")" 'BEGIN {printf "%.1f", b / 1e6}')"
done
