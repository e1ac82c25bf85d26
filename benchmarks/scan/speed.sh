#!/usr/bin/env bash
# How fast models are scanned, beside picklescan, pickletools, fickling,
# modelscan and modelaudit, as Markdown; ../scan-speed.md holds a run.
#
#	PRERUN_CORPUS=DIR benchmarks/scan/speed.sh [FOLDER]
#
# The peers are installed as by compare.sh. Two of the files are sparse, of 20
# GiB each. ROUNDS is how many rounds are run, 5 unless set; a run over a folder
# is stopped after PATIENCE seconds, 600 unless set.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
: "${PRERUN_CORPUS:?names the folder that holds picklescan}"
corpus=$(cd "$PRERUN_CORPUS/picklescan" && pwd)
source "$here/peers/install.sh" "$@"
cd "$here/../.."
go build -o "$work/prerun" ./examples/prerun
go build -o "$work/readpickle" ./benchmarks/scan/readpickle
python3 "$here/peers/speed.py" make "$work" "$PWD/integrity/scan/testdata/models" "$corpus"
"$work/env/modelscan/bin/python" "$here/peers/speed.py" ordinary "$work"
for part in decode-all start folder; do
	python3 "$here/peers/speed.py" "$part" "$work" "${ROUNDS:-5}"
	echo
done
