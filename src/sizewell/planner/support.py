"""Which engine runs on which accelerator, and in which weight formats.

Sources: vLLM's release wheels and images are built with CUDA 13 from 0.20 on (vllm-project/vllm pull request 39878),
which has no Volta and begins with compute capability 7.5 (0.14.0 lists 7.0: issue 32732); the quantization support
tables of vLLM (up to 0.15.1: GPTQ and bitsandbytes on Volta, no AWQ, INT8, FP8 or Marlin) and SGLang (Marlin kernels
from 8.0 on, fp8 arithmetic from 8.9, CDNA3 and Gaudi); vLLM's page on INT8 W8A8 (from 10.0 on not supported);
the checks of block sizes in both engines' fp8 layers (vLLM 0.8.5 to 0.33, where experts' scales are refined; SGLang
0.4.6 to 0.5.23: "not divisible by weight quantization block_n");
llama.cpp's back ends (MXFP4 on all of them: ggml-org/llama.cpp pull request 15091; on CDNA3 vLLM widens it in the
kernel: gpt-oss-120b is served on one MI300X).
"""

from __future__ import annotations

from math import inf

from sizewell.specs.deployment import Parallelism
from sizewell.specs.engine import AMPERE, EngineName, EngineSpec
from sizewell.specs.hardware import GpuSpec
from sizewell.specs.model import ModelSpec
from sizewell.specs.release import release_numbers
from sizewell.specs.tensor import Tensor

FROM_CAPABILITY = {
    "bf16": 7.0, "fp16": 7.0, "gptq": 7.0, "bnb": 7.0, "awq": 7.5, "int8": 7.5,
    "int4": 8.0, "fp8": 8.0, "nvfp4": 8.0, "mxfp4": 8.0, "mxfp8": 10.0,
}  # fmt: skip
"""NVIDIA: below the arithmetic of the format weights are widened in the kernel (Marlin); bf16 is run as fp16."""
UP_TO_CAPABILITY = {"int8": 9.0, "int8-channel": 9.0}
"""NVIDIA: on Blackwell nothing multiplies 8-bit integers; formats that are widened first are not meant."""

ON_AMD = {
    "cdna2": ("bf16", "fp16", "awq", "gptq", "int8"),
    "cdna3": ("bf16", "fp16", "awq", "gptq", "int8", "fp8", "int4", "mxfp4"),
    "cdna4": ("bf16", "fp16", "awq", "gptq", "int8", "fp8", "int4", "mxfp4"),
    "rdna3": ("bf16", "fp16", "awq", "gptq"),
    "rdna4": ("bf16", "fp16", "awq", "gptq", "fp8"),
}
AITER_ON = ("cdna3", "cdna4")
"""Architectures AMD's own kernels are made for: others that are told to use them do not start (gfx1151)."""
NEVER_IN_FP16, VLLM_REFUSES_FP16 = ("Gemma2For", "Gemma3For", "Glm4For"), (0, 10)
"""How the architectures begin that vLLM refuses to compute in fp16, which is all there is before Ampere, and the first
release read that does."""
ON_GAUDI = ("bf16", "fp16", "fp8", "awq", "gptq")
ON_CPU = ("bf16", "fp16", "awq", "gptq", "int8")
IN_GGUF = ("bf16", "fp16", "mxfp4")
"""Formats of checkpoints that llama.cpp keeps as they are."""
OLDEST_CAPABILITY = 7.5
VLLM_WITHOUT_VOLTA, VOLTA = (0, 20), 7.0
"""The first release of vLLM without kernels for Volta, and what that is."""
VLLM_POOLS, VLLM_ANY_RATIO = (0, 10), (0, 14)
"""Of the releases read, the first whose NIXL connector hands caches over, and the first that does to fewer ranks."""
VLLM_REFINES_BLOCKS = (0, 33)
"""Of the releases read, the first that cuts experts through their blocks."""
SGLANG_EQUAL_CUTS = "0.4.6"
"""The release whose pools cannot be told of each other's cut."""


def hands_over(engine: EngineSpec, prefill: Parallelism, decode: Parallelism) -> bool:
    """Return whether an engine hands caches from one cut to another; hardly any does between stages."""
    if engine.name == "llama.cpp" or max(prefill.pp, decode.pp) > 1:
        return False
    if engine.name == "sglang":
        return prefill == decode or engine.version != SGLANG_EQUAL_CUTS
    release = release_numbers(engine.version)
    return release >= VLLM_POOLS and (decode.tp >= prefill.tp or release >= VLLM_ANY_RATIO)


def engine_runs(engine: EngineSpec, gpu: GpuSpec, *, asked: bool = False) -> bool:
    """Return whether an engine's release has a back end for an accelerator.

    vLLM runs on processors where it is `asked` for by name; where nobody names an engine, llama.cpp serves them.
    """
    if engine.name == "llama.cpp":
        return not gpu.architecture.startswith("gaudi")
    if gpu.vendor == "nvidia":
        return float(gpu.compute_capability or 0) >= _oldest(engine)
    if gpu.vendor == "amd":
        return gpu.architecture in ON_AMD
    return engine.name == "vllm" and (gpu.architecture.startswith("gaudi") or (asked and gpu.kind == "cpu"))


def _oldest(engine: EngineSpec) -> float:
    """Return the oldest compute capability a release was built for."""
    return (
        VOLTA if engine.name == "vllm" and release_numbers(engine.version) < VLLM_WITHOUT_VOLTA else OLDEST_CAPABILITY
    )


def format_runs(engine: EngineName, weight_format: str, gpu: GpuSpec) -> bool:
    """Return whether an engine that runs on `gpu` has kernels there for a weight format (not `native`)."""
    if engine == "llama.cpp" or weight_format.startswith("gguf"):
        return engine == "llama.cpp" and (weight_format.startswith("gguf") or weight_format in IN_GGUF)
    family = _family(weight_format)
    if gpu.vendor == "nvidia":
        capability = float(gpu.compute_capability or 0)
        return FROM_CAPABILITY.get(family, 8.0) <= capability <= UP_TO_CAPABILITY.get(weight_format, inf)
    if gpu.kind == "cpu":
        return engine == "vllm" and family in ON_CPU
    allowed = ON_AMD.get(gpu.architecture, ()) if gpu.vendor == "amd" else ON_GAUDI
    return family in allowed


def unsupported(model: ModelSpec, weight_format: str, engine: EngineSpec, gpu: GpuSpec, *, asked: bool = False) -> str:
    """Return why an engine, perhaps `asked` for by name, does not run a model's weights somewhere, or nothing."""
    if not engine_runs(engine, gpu, asked=asked):
        if engine.name == "vllm" and gpu.vendor == "nvidia" and float(gpu.compute_capability or 0) >= VOLTA:
            before = ".".join(map(str, VLLM_WITHOUT_VOLTA))
            return f"vllm does not run on {gpu.key} from {before} on"
        return f"{engine.name} does not run on {gpu.key}"
    if lacks_arithmetic(model, engine, gpu):
        return f"{engine.name} computes {model.name} in bf16 alone, which {gpu.key} does not"
    stored = model.weight_format if weight_format == "native" else weight_format
    runs = format_runs(engine.name, stored, gpu)
    return "" if runs else f"{engine.name} has no {stored} kernels for {gpu.architecture}"


def lacks_arithmetic(model: ModelSpec, engine: EngineSpec, gpu: GpuSpec) -> bool:
    """Return whether an engine refuses a model for an accelerator without arithmetic in bf16."""
    if engine.name != "vllm" or release_numbers(engine.version) < VLLM_REFUSES_FP16:
        return False
    before_ampere = gpu.vendor == "nvidia" and float(gpu.compute_capability or 0) < AMPERE
    return before_ampere and model.architecture.startswith(NEVER_IN_FP16)


def parts_a_block(model: ModelSpec, weight_format: str, engine: EngineSpec, cut: Parallelism) -> str:
    """Return why an engine does not load weights stored in blocks that a cut would part, or nothing.

    Whole experts on each rank are not cut, and heads fill blocks.
    """
    refined = engine.name == "vllm" and release_numbers(engine.version) >= VLLM_REFINES_BLOCKS
    if weight_format != "native" or engine.name == "llama.cpp" or cut.tp == 1:
        return ""
    for tensor in (tensor for layer in model.layer_counts for tensor in layer.tensors):
        experts = tensor.role == "routed-experts"
        if (tensor.role == "mlp" or (experts and cut.ep == 1 and not refined)) and (left := _parted(tensor, cut.tp)):
            spread = f", or --ep {cut.tp * cut.dp}" if experts else ""
            return (
                f"{engine.name} {engine.version} loads no {model.weight_format} weights of which TP{cut.tp} leaves "
                f"{left} rows of {tensor.name} to a rank: a smaller --tp{spread}"
            )
    return ""


def _parted(tensor: Tensor, tp: int) -> int:
    """Return the outputs or inputs a rank holds that do not fill blocks, 0 where they do or there are none."""
    stored = tensor.stored
    if stored is None or stored.group_rows <= 1:
        return 0
    rows = [(part, stored.group_rows) for part in tensor.rows]
    columns = [] if tensor.columns is None else [(tensor.columns, stored.group_columns)]
    held = ((part.rank_elements(tp), block) for part, block in rows + columns if part.sharded)
    return next((count for count, block in held if count % block), 0)


def _family(weight_format: str) -> str:
    """Return whose kernels read a format; 4-bit integers with zero points are what AWQ stores."""
    if weight_format.startswith("int4") and weight_format.endswith("-zp"):
        return "awq"
    return next((name for name in FROM_CAPABILITY if weight_format.startswith(name)), weight_format)
