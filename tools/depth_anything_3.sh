#!/bin/sh
# usage: tools/depth_anything_3.sh FOLDER
#
# Installs the package of Depth Anything 3 into FOLDER, for its tests: the versions that it pins
# cannot be installed beside today's NumPy, so it goes in without its dependencies.
set -eu

[ $# -eq 1 ] || { echo "usage: $0 FOLDER" >&2; exit 2; }
folder=$1
stamp=$folder/.complete

[ ! -e "$stamp" ] || exit 0
set -- depth-anything-3 addict omegaconf einops antlr4-python3-runtime
if uv --version >/dev/null 2>&1; then
    uv pip install --quiet --python .venv/bin/python --no-deps --target "$folder" "$@"
else
    .venv/bin/python -m pip --disable-pip-version-check install --quiet --no-deps \
        --target "$folder" "$@"
fi
echo '*' > "$folder/.gitignore"
touch "$stamp"
