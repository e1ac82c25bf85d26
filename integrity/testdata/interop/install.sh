#!/usr/bin/env bash
# Installs the Python tool model-signing into a new environment:
# install.sh DIR; the interpreter is DIR/bin/python.
set -euo pipefail
python3 -m venv "$1"
"$1/bin/pip" install --quiet --disable-pip-version-check model-signing==1.1.1 pyopenssl
