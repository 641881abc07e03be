"""Weight formats by name: what a matrix takes when a model is served as stored, or in another format.

Embeddings, heads, norms and routers stay in 16 bits as released checkpoints keep them; GGUF files and MLX
quantize embedding and head too. Mixes inside GGUF files: `sizewell.specs.gguf_mix`.
"""

from __future__ import annotations

import re
from functools import lru_cache

from sizewell.specs.encoding import (
    AWQ_INT4,
    BF16,
    BNB_NF4,
    BNB_NF4_DOUBLE,
    FP8_BLOCK128,
    FP8_CHANNEL,
    FP8_TENSOR,
    FP16,
    FP32,
    GGUF_BITS_PER_WEIGHT,
    GPTQ_INT4,
    INT8_CHANNEL,
    MXFP4,
    MXFP8,
    NVFP4,
    Encoding,
    fp8_block,
    int4_grouped,
    int8_grouped,
    mlx_affine,
)
from sizewell.specs.errors import UnknownNameError
from sizewell.specs.gguf_mix import MIXES, gguf_encoding
from sizewell.specs.model import ModelSpec
from sizewell.specs.tensor import Role, Tensor

NATIVE = "native"

FORMATS: dict[str, Encoding] = {
    "bf16": BF16, "fp16": FP16, "fp32": FP32,
    "fp8": FP8_CHANNEL, "fp8-channel": FP8_CHANNEL, "fp8-tensor": FP8_TENSOR, "fp8-block128": FP8_BLOCK128,
    "mxfp8": MXFP8, "int8": INT8_CHANNEL, "int8-channel": INT8_CHANNEL,
    "awq-int4": AWQ_INT4, "gptq-int4": GPTQ_INT4, "int4-g32": int4_grouped(32, zeros=False),
    "int4-g64": int4_grouped(64, zeros=False), "int4-g128": int4_grouped(128, zeros=False),
    "nvfp4": NVFP4, "mxfp4": MXFP4, "bnb-nf4": BNB_NF4, "bnb-nf4-double": BNB_NF4_DOUBLE,
}  # fmt: skip
"""One encoding for every quantized matrix. `fp8` is what vLLM makes of 16-bit weights on load."""

MLX_FORMATS = ("mlx-3bit", "mlx-4bit", "mlx-5bit", "mlx-6bit", "mlx-8bit")

ALIASES: dict[str, str] = {
    "auto": NATIVE, "none": NATIVE, "bfloat16": "bf16", "float16": "fp16", "half": "fp16", "float32": "fp32",
    "fp8-dynamic": "fp8", "fp8_e4m3": "fp8", "w8a8": "int8", "w8a8-int8": "int8", "w8a8-fp8": "fp8",
    "awq": "awq-int4", "gptq": "gptq-int4", "w4a16": "gptq-int4", "int4": "gptq-int4", "nf4": "bnb-nf4",
    "fp4": "nvfp4", "bitsandbytes": "bnb-nf4", "bnb-int8": "int8",
    "bitsandbytes-nf4": "bnb-nf4", "gptq-int8": "int8-g128", "fp8-dynamic-channel": "fp8-channel",
    "fp8-per-channel": "fp8-channel", "fp8-per-tensor": "fp8-tensor",
}  # fmt: skip

QUANTIZED_ROLES: frozenset[Role] = frozenset(
    {"attention", "indexer", "recurrent", "mlp", "routed-experts", "shared-experts"}
)
KEPT_WIDE = ("weights_proj", ".compressor.", "shared_expert_gate", "eh_proj")
"""Small selectors engines build without quantization."""

OUTPUT_PROJECTION = "o_proj"

MXFP4_FILE = "gguf-mxfp4_moe"
"""What llama.cpp's makers publish of mixtures trained in MXFP4 (ggml-org/gpt-oss-20b-GGUF): all else in 8 bits."""

_GROUPED = re.compile(r"(int4|int8)-g(\d{1,5})(-zp)?")
_BLOCKED = re.compile(r"fp8-block(\d{1,4})(?:x(\d{1,4}))?")
_MLX = re.compile(r"mlx-([234568])bit(?:-g(\d{1,4}))?")


def weight_formats() -> tuple[str, ...]:
    """Return the names users can ask for, `native` first."""
    return (NATIVE, *FORMATS, *MLX_FORMATS, *(f"gguf-{mix}" for mix in MIXES))


def parse_weight_format(name: str) -> str:
    """Return the canonical name of a format; UnknownNameError for anything else."""
    lowered = name.strip().lower()
    lowered = ALIASES.get(lowered, lowered)
    if lowered not in FORMATS and (lowered in MIXES or lowered in GGUF_BITS_PER_WEIGHT):
        lowered = f"gguf-{lowered}"
    if lowered == NATIVE or _is_gguf(lowered) or _flat(lowered) is not None:
        return lowered
    raise UnknownNameError("weight format", name, weight_formats(), f"(known: {', '.join(weight_formats())})")


def kept_format(model: ModelSpec, engine: str, weight_format: str) -> str:
    """Return the format of the file an engine reads when asked for `weight_format`: llama.cpp has its own of MXFP4."""
    stored = model.weight_format if weight_format == NATIVE else weight_format
    return MXFP4_FILE if engine == "llama.cpp" and stored == "mxfp4" and model.is_moe else weight_format


def stored_encoding(tensor: Tensor, model: ModelSpec, weight_format: str) -> Encoding:
    """Return how `tensor` of `model` is stored in `weight_format`; UnknownNameError for an unknown format.

    `native` is what the checkpoint holds, ignore lists applied. Any other format describes a checkpoint of the
    same model quantized that way: what the original keeps wide for being small is kept wide.
    """
    if weight_format == NATIVE:
        return tensor.stored or model.dtype
    if _is_gguf(weight_format):
        return gguf_encoding(tensor, model, weight_format.removeprefix("gguf-"))
    encoding = _flat(weight_format)
    if encoding is None:
        return stored_encoding(tensor, model, parse_weight_format(weight_format))
    if encoding.bits_per_weight >= 16:
        return encoding if tensor.stored is not FP32 else FP32
    if tensor.is_matrix and _is_quantized(tensor, model, weight_format):
        return encoding
    return FP32 if tensor.stored is FP32 else model.dtype


def _is_quantized(tensor: Tensor, model: ModelSpec, weight_format: str) -> bool:
    if weight_format.startswith("mlx-") and tensor.role in ("embedding", "head"):
        return True
    if tensor.role not in QUANTIZED_ROLES or any(word in tensor.name for word in KEPT_WIDE):
        return False
    if weight_format == "mxfp4" and model.is_moe:
        return tensor.role == "routed-experts"
    if weight_format == "nvfp4":
        # Released NVFP4 checkpoints keep delta-rule mixers wide, and latent attention but for its output projection.
        wide = tensor.role == "attention" and model.is_latent and OUTPUT_PROJECTION not in tensor.name
        return tensor.role not in ("indexer", "recurrent") and not wide
    return True


def _is_gguf(name: str) -> bool:
    return name.startswith("gguf-") and (name[5:] in MIXES or name[5:] in GGUF_BITS_PER_WEIGHT)


@lru_cache(maxsize=256)
def _flat(name: str) -> Encoding | None:
    """Return the one encoding a name means, None for a mix or an unknown name."""
    if name in FORMATS:
        return FORMATS[name]
    if (grouped := _GROUPED.fullmatch(name)) and int(grouped[2]) > 0:
        if grouped[1] == "int8":
            return int8_grouped(int(grouped[2]))
        return int4_grouped(int(grouped[2]), zeros=bool(grouped[3]))
    if (blocked := _BLOCKED.fullmatch(name)) and int(blocked[1]) and int(blocked[2] or 1):
        return fp8_block(int(blocked[1]), int(blocked[2] or blocked[1]))
    if mlx := _MLX.fullmatch(name):
        return mlx_affine(int(mlx[1]), int(mlx[2] or 64) or 64)
    return None
