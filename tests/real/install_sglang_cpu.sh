#!/usr/bin/env bash
# Install SGLang without its kernels, for the tests against its real scheduler, cache and allocator.
#     tests/real/install_sglang_cpu.sh FOLDER REAL_FOLDER
# REAL_FOLDER is the environment of `make test-real`, whose torch and transformers are used: no model runs, so what the
# wheel asks for beside the modules it imports on its way is left out. The wheel is pinned by its hash.
set -euo pipefail
version=0.5.23
digest=00b3cd5b265ac76c64185fbb6b95424f324ddd9f428d0306b77bc9db9d859937
folder=${1:?usage: install_sglang_cpu.sh FOLDER REAL_FOLDER}
real=${2:?usage: install_sglang_cpu.sh FOLDER REAL_FOLDER}
imported=(
    apache-tvm-ffi==0.1.15.post2 compressed-tensors==0.20.1 dill==0.4.1 einops==0.8.2 gguf==0.19.0 ipython==9.18.1
    loguru==0.7.3 msgspec==0.23.0 openai==3.57.0 partial-json-parser pillow==13.0.0 psutil==7.2.2 pybase64==1.5.1
    pyzmq==27.3.0 sentencepiece==0.2.3 sniffio==1.3.1 torchvision==0.29.1 traitlets==5.16.1
)

skip() {
    echo "$1: the tests that need SGLang will be skipped" >&2
    rm -rf "$folder"
    exit 0
}
here=$(uname -s)-$(uname -m)-$("$real/bin/python" -c 'import sys; print(*sys.version_info[:2], sep=".")')
[ "$here" = Linux-x86_64-3.11 ] || skip "the pinned SGLang wheel is for Linux on x86-64 and Python 3.11, this is $here"

wheels=$(mktemp -d)
trap 'rm -rf "$wheels"' EXIT
"$real/bin/python" -m venv --clear "$folder"
packages=$("$folder/bin/python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')
"$real/bin/python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])' >"$packages/real.pth"
# A kernel that a model asks for when it is built, and that nothing calls where no model runs.
mkdir "$packages/vllm"
echo 'rotary_embedding = None' >"$packages/vllm/_custom_ops.py"
pip() { "$folder/bin/python" -m pip --quiet --disable-pip-version-check "$@"; }
pip download --no-deps --no-cache-dir --only-binary :all: --dest "$wheels" "sglang==$version" \
    || skip "sglang $version cannot be had"
sha256sum --check --quiet <<<"$digest  $(ls "$wheels"/*.whl)"
pip install --no-deps --no-cache-dir --ignore-installed "$wheels"/*.whl "${imported[@]}" \
    || skip "a package that SGLang imports cannot be had"
