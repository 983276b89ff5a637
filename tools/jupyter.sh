#!/bin/sh
# usage: tools/jupyter.sh VENV [PACKAGE ...]
#
# Builds a venv with a Jupyter kernel over .venv: what is installed there can be imported, and what
# both need is of the version in requirements.lock. Does nothing where VENV is whole already.
#
# Jupyter brings a hundred packages that the rest never needs, so they stay out of .venv.
# Packages are asked for by name, wherever pip and uv are configured to look.
set -eu

[ $# -ge 1 ] || { echo "usage: $0 VENV [PACKAGE ...]" >&2; exit 2; }
venv=$1
shift
root=$(cd "$(dirname "$0")/.." && pwd)
below=$root/.venv/bin/python
python=$venv/bin/python
wanted="ipykernel>=6.29,<8 nbclient>=0.10,<1 $*"
stamp=$venv/.whole
locked=$venv/locked.txt

if [ -x "$python" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; then exit; fi
if uv --version >/dev/null 2>&1; then
    [ -x "$python" ] || uv venv --quiet --python "$below" "$venv"
    install="uv pip install --quiet --python $python"
else
    [ -x "$python" ] || "$below" -m venv "$venv"
    install="$python -m pip --disable-pip-version-check install --quiet"
fi
echo '*' > "$venv/.gitignore"
sed -n 's/^\([a-z0-9][^ ]*==[^\\]*\) \\$/\1/p' "$root/requirements.lock" > "$locked"
# shellcheck disable=SC2086 - several words
$install --constraint "$locked" $wanted
"$python" - "$("$below" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')" <<'PYTHON'
import sys
import sysconfig
from pathlib import Path

# After its own packages, those of .venv, and what their .pth files name: this checkout.
# A kernel tells its children to draw with Jupyter's backend, which the commands of .venv do not
# have, unless one is named.
lines = (
    f"import site; site.addsitedir({sys.argv[1]!r})\n"
    "import os; os.environ.setdefault('MPLBACKEND', 'agg')\n"
)
Path(sysconfig.get_path("purelib"), "below.pth").write_text(lines)
PYTHON
"$python" -c 'import curation, ipykernel, nbclient'
echo "$wanted" > "$stamp"
