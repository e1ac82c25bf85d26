#!/usr/bin/env bash
# Installs the server that TestRealServer talks to into a new venv: install.sh DIR.
# Then run the tests with PRERUN_OPENAI_PYTHON=DIR/bin/python.
set -euo pipefail
python3 -m venv "$1"
"$1/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: cyllama==0.2.18
