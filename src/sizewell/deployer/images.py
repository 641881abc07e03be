"""The container image of an engine release, where its project publishes one."""

from __future__ import annotations

from sizewell.deployer.launch import Launch

VLLM_ROUTER = "vllm/vllm-router:nightly"
"""Its project tags nights, no releases."""


def image(launch: Launch) -> str:
    """Return the image the site names, else the one the engine's own project publishes for the release."""
    if launch.site.image:
        return launch.site.image
    amd, release = launch.deployment.cluster.gpu.vendor == "amd", launch.flags.release
    if launch.flags.engine == "vllm":
        return f"vllm/vllm-openai{'-rocm' if amd else ''}:v{release}"
    if launch.flags.engine == "sglang":
        return f"lmsysorg/sglang:v{release}{'-rocm' if amd else ''}"
    return f"ghcr.io/ggml-org/llama.cpp:server-{'rocm' if amd else 'cuda'}-{release}"


def router_image(launch: Launch) -> str:
    """Return the image of the router before several pools: SGLang's own holds its router, vLLM's does not."""
    if launch.site.router_image:
        return launch.site.router_image
    return VLLM_ROUTER if launch.flags.engine == "vllm" else image(launch)
