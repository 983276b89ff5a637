#!/bin/sh
# usage: tools/kubernetes_validate.sh VENV
#
# Builds a venv with `kubernetes-validate`, which brings the schemas of Kubernetes along (140 MB),
# for the test of the CronJob that `curate jobs export` writes. Does nothing where VENV is whole.
#
# Packages are asked for by name, wherever pip and uv are configured to look.
# PYTHON names the interpreter (3.11 or newer).
set -eu

[ $# -eq 1 ] || { echo "usage: $0 VENV" >&2; exit 2; }
venv=$1
wanted=kubernetes-validate==1.37.0
stamp=$venv/.whole-$wanted

[ ! -e "$stamp" ] || exit 0
if uv --version >/dev/null 2>&1; then
    uv venv --quiet --clear --python "${PYTHON:-python3}" "$venv"
    uv pip install --quiet --python "$venv/bin/python" "$wanted"
else
    "${PYTHON:-python3}" -m venv --clear "$venv"
    "$venv/bin/python" -m pip --disable-pip-version-check install --quiet "$wanted"
fi
echo '*' > "$venv/.gitignore"
touch "$stamp"
