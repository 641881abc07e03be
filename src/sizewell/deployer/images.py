"""The container image of an engine release, where its project publishes one."""

from __future__ import annotations

import re
from collections.abc import Mapping

from sizewell.deployer.launch import Launch
from sizewell.specs.errors import BadInputError
from sizewell.specs.hardware import GpuSpec

VLLM_ROUTER = "vllm/vllm-router:nightly"
"""Its project tags nights, no releases."""
LLAMA_CPP = "ghcr.io/ggml-org/llama.cpp:server"
PUBLISHED: Mapping[tuple[str, str], str] = {
    ("vllm", "nvidia"): "vllm/vllm-openai:v{}",
    ("vllm", "amd"): "vllm/vllm-openai-rocm:v{}",
    ("vllm", "cpu"): "public.ecr.aws/q9t5s3a7/vllm-cpu-release-repo:v{}",
    ("sglang", "nvidia"): "lmsysorg/sglang:v{}",
    ("llama.cpp", "nvidia"): f"{LLAMA_CPP}-cuda-{{}}",
    ("llama.cpp", "amd"): f"{LLAMA_CPP}-rocm-{{}}",
    ("llama.cpp", "cpu"): f"{LLAMA_CPP}-{{}}",
}
"""Engine and maker of the accelerator → the image of a release; SGLang's for AMD also name a ROCm and a chip, which no
rule tells (v0.5.12-rocm720-mi30x)."""

RELEASED = re.compile(r"(?P<minor>\d+\.\d+)(?P<patch>\.\d+)?(?P<more>(\.post\d+|rc\d+)?)")
"""Versions of which images are tagged; 0.33 is 0.33.0 there."""


def image(launch: Launch) -> str:
    """Return the image the site names, else the one the engine's own project publishes for the release asked for.

    Raises BadInputError where it publishes none for the accelerator, or of a build that is no release.
    """
    if launch.site.image:
        return launch.site.image
    gpu, engine = launch.deployment.cluster.gpu, launch.flags.engine
    published = PUBLISHED.get((engine, gpu.vendor))
    if published is None:
        raise BadInputError(f"no image of {engine} is known for {gpu.name}: name one with --image")
    version = launch.deployment.engine.version
    if engine == "llama.cpp":
        return published.format(version)
    named = RELEASED.fullmatch(version)
    if named is None:
        raise BadInputError(f"no image of {engine} {version} is published: name one with --image")
    return published.format(version if named["patch"] else f"{named['minor']}.0{named['more']}")


def image_caution(launch: Launch) -> str:
    """Return why the image named by rule may not be there, or nothing: llama.cpp builds images once a day, not of each
    build (ggml-org/llama.cpp pull request 10503).
    """
    if launch.site.image or launch.flags.engine != "llama.cpp":
        return ""
    return f"llama.cpp publishes images of one build a day: if {image(launch)} is none, name another with --image"


def is_gaudi(gpu: GpuSpec) -> bool:
    """Return whether an accelerator of Intel is none of its graphics cards: containers reach those another way."""
    return "Gaudi" in gpu.name


def router_image(launch: Launch) -> str:
    """Return the image of the router before several pools: SGLang's own holds its router, vLLM's does not."""
    if launch.site.router_image:
        return launch.site.router_image
    return VLLM_ROUTER if launch.flags.engine == "vllm" else image(launch)
