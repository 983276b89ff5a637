#!/bin/sh
# Builds .venv from requirements.lock and puts this checkout on its path. `make` calls it.
#
# The lock is installed by uv where uv can be had, and by pip where it cannot: the same hashes
# either way. Packages come from wherever pip and uv are configured to look.
# PYTHON names the interpreter (3.11 or newer) that .venv is made with.
set -eu
cd "$(dirname "$0")/.."

python=${PYTHON:-python3}
venv_python=.venv/bin/python
lock=requirements.lock

fail() {
    echo "$1" >&2
    exit 1
}

is_new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

make_venv() {
    if is_new_enough $venv_python; then return; fi
    is_new_enough "$python" || fail "Python 3.11 or newer is needed, and \`$python\` is not. \
Install it, or name another: make PYTHON=/path/to/python3.12 ..."
    if "$python" -c 'import ensurepip' 2>/dev/null; then
        "$python" -m venv --clear .venv
    elif uv --version >/dev/null 2>&1; then
        uv venv --quiet --seed --clear --python "$python" .venv
    else
        fail "\`$python -m venv\` is incomplete here. On Debian and Ubuntu: apt-get install python3-venv"
    fi
}

# Prints the uv to use, installing one into .venv where the machine has none.
find_uv() {
    if uv --version >/dev/null 2>&1; then
        echo uv
    elif .venv/bin/uv --version >/dev/null 2>&1 || install_uv; then
        echo .venv/bin/uv
    fi
}

install_uv() {
    $venv_python -m pip install --quiet --disable-pip-version-check uv >&2
}

# `uv pip sync` removes what the lock does not name, this checkout included: so sync comes first.
install_by_uv() {
    "$1" pip sync --python $venv_python --require-hashes $lock &&
        "$1" pip install --python $venv_python --no-deps --no-build-isolation --editable .
}

install_by_pip() {
    pip="$venv_python -m pip --disable-pip-version-check install --no-deps"
    $pip --require-hashes --requirement $lock && $pip --no-build-isolation --editable .
}

make_venv
uv=$(find_uv)
if [ -n "$uv" ] && install_by_uv "$uv"; then exit; fi
echo "uv could not install $lock; trying pip, which takes some minutes more." >&2
$venv_python -m pip --version >/dev/null 2>&1 || $venv_python -m ensurepip --upgrade >/dev/null
install_by_pip
