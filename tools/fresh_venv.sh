#!/bin/sh
# Builds a venv from requirements.lock, beside .venv, and asks a registered ensemble there what it
# was asked here: `make fresh-venv`. FOLDER is where it is built; it is left there.
set -eu
cd "$(dirname "$0")/.."

folder=${1:?usage: tools/fresh_venv.sh FOLDER}
python=${PYTHON:-python3}

uv venv --quiet --clear --python "$python" "$folder"
uv pip sync --quiet --python "$folder/bin/python" --require-hashes requirements.lock
uv pip install --quiet --python "$folder/bin/python" --no-deps --no-build-isolation .
CURATION_FRESH_PYTHON="$(cd "$folder" && pwd)/bin/python" \
    .venv/bin/python -m pytest -q tests/servers/test_mlflow.py -k "command or fresh_environment"
