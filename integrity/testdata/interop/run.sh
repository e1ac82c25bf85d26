#!/usr/bin/env bash
# Installs the Python tool model-signing from PyPI into a temporary environment
# and checks interoperation with it in both directions. Prints the counts.
set -euo pipefail
cd "$(dirname "$0")"
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
./install.sh "$dir/python"
cd ../../..
PRERUN_MODEL_SIGNING=$dir/python/bin/python go test -count=1 -v -run '^TestInterop' ./integrity
