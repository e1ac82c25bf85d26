#!/usr/bin/env bash
# What picklescan, modelscan, fickling, modelaudit and prerun say about the same
# files, as Markdown; integrity/scan/COMPARISON.md says how to read it.
#
#	PRERUN_CORPUS=DIR benchmarks/scan/compare.sh [FOLDER]
#
# The peers are installed in their newest versions, one virtual environment each,
# in FOLDER or in a temporary folder. It needs Go, python3 and DIR/picklescan,
# and takes some minutes, most of them modelaudit's. PAIRS is how many pairs of
# techniques are tried, 600 unless set.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
: "${PRERUN_CORPUS:?names the folder that holds picklescan, with its manifest.json}"
corpus=$(cd "$PRERUN_CORPUS/picklescan" && pwd)
source "$here/peers/install.sh" "$@"
cd "$here/../.."
go build -o "$work/prerun" ./examples/prerun
rm -rf "$work/built" "$work/harmless"
go build -o "$work/write" ./integrity/scan/internal/technique/write
"$work/write" -pairs "$work/built"
"$work/write" -pairs -harmless "$work/harmless"
compare=$here/peers/compare.py
oracle=$PWD/integrity/scan/testdata/oracle/run.py
models=$PWD/integrity/scan/testdata/models
cd "$work" # some peers write files where they run
python3 "$compare" choose "$work/built" "$work/harmless" "${PAIRS:-600}"
python3 "$oracle" run "$work/harmless" >"$work/oracle.tsv"
python3 "$compare" list "$work" "$corpus" "$models"
python3 "$compare" scan prerun "$work"
for peer in "${peers[@]}"; do
	"$work/env/$peer/bin/python" "$compare" scan "$peer" "$work" >"$work/$peer.log" 2>&1 || { tail "$work/$peer.log" >&2; exit 1; }
done
python3 "$compare" table "$work"
