"""Which weight formats are tried when nobody says."""

from __future__ import annotations

from sizewell.specs.model import ModelSpec

SIXTEEN_BIT = ("bf16", "fp16", "fp32")
EIGHT_BIT = ("fp8", "int8", "mxfp8")
USUAL_RECOVERY_FRACTION = 0.98
"""Least published accuracy recovery of a format that was not asked for by name."""

PUBLISHED_FORMATS = (
    "fp8", "int8", "awq-int4", "nvfp4", "mxfp4", "gguf-q8_0", "gguf-q6_k", "gguf-q5_k_m", "gguf-q4_k_m",
)  # fmt: skip
"""Formats with published accuracy results that engines serve: the GGUF ones are llama.cpp's."""


def published_weight_formats(model: ModelSpec) -> tuple[str, ...]:
    """Return the checkpoint as it is and every format with published results that makes it smaller.

    MXFP4 is for models that route to experts: tools that write it quantize those alone.
    """
    if model.weight_format not in SIXTEEN_BIT and not model.weight_format.startswith(EIGHT_BIT):
        return ("native",)
    no_smaller = (*EIGHT_BIT, "gguf-q8") if model.weight_format.startswith(EIGHT_BIT) else ()
    left_out = no_smaller if model.is_moe else (*no_smaller, "mxfp4")
    return ("native", *(name for name in PUBLISHED_FORMATS if not name.startswith(left_out)))


def usual_weight_formats(model: ModelSpec) -> tuple[str, ...]:
    """Return the checkpoint as it is, and for 16-bit checkpoints fp8 too, which engines make on load."""
    return ("native", "fp8") if model.weight_format in SIXTEEN_BIT else ("native",)
