#!/bin/sh
# usage: tools/label_studio.sh VENV
#
# Builds a venv with a Label Studio server, for the tests of the labeling bridge: half a minute
# and 800 MB. Does nothing where VENV is whole already. The server pins packages that the rest
# of us has newer, so it lives in a venv of its own.
#
# Packages are asked for by name, wherever pip and uv are configured to look.
# PYTHON names the interpreter (3.11 or newer).
set -eu

[ $# -eq 1 ] || { echo "usage: $0 VENV" >&2; exit 2; }
venv=$1
python=$venv/bin/python
wanted=label-studio==1.23.2
stamp=$venv/.whole-$wanted

if [ -x "$venv/bin/label-studio" ] && [ -f "$stamp" ]; then exit; fi
if uv --version >/dev/null 2>&1; then
    [ -x "$python" ] || uv venv --quiet --python "${PYTHON:-python3}" "$venv"
    uv pip install --quiet --python "$python" "$wanted"
else
    [ -x "$python" ] || "${PYTHON:-python3}" -m venv "$venv"
    "$python" -m pip --disable-pip-version-check install --quiet "$wanted"
fi
"$python" -c 'import importlib.metadata; importlib.metadata.version("label-studio")'
touch "$stamp"
