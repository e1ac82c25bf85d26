#!/usr/bin/env bash
# How fast models are hashed, signed and verified, beside the Python tool.
#
#	benchmarks/hash.sh [FOLDER [FLAGS]]
#
# The models (2 x 4 GiB) are made in FOLDER, or in a temporary folder, and must
# fit into memory: they are read from the page cache. Flags are those of
# benchmarks/hashing, such as -only 'one file' or -runs 3.
#
# On a machine with other work, `chrt -r 10 benchmarks/hash.sh` lets that wait; it
# takes five minutes and the rights of root.
#
# PRERUN_MODEL_SIGNING names a Python that has model-signing; without it, one is
# installed into a virtual environment in FOLDER.
set -euo pipefail
cd "$(dirname "$0")/.."
if [[ $# -gt 0 ]]; then
	work=$1
	shift
	mkdir -p "$work"
else
	work=$(mktemp -d)
	trap 'rm -rf "$work"' EXIT
fi
work=$(cd "$work" && pwd)
python=${PRERUN_MODEL_SIGNING:-}
if [[ -z $python ]]; then
	python=$work/venv/bin/python
	integrity/testdata/interop/install.sh "$work/venv"
fi
export CGO_ENABLED=0
go build -o "$work/prerun" ./examples/prerun
go build -C benchmarks/hashing -o "$work/hashing" .
"$work/hashing" -dir "$work/models" -python "$python" -prerun "$work/prerun" "$@"
