"""Which weight formats are tried when nobody says."""

from __future__ import annotations

from sizewell.specs.model import ModelSpec

SIXTEEN_BIT = ("bf16", "fp16", "fp32")
USUAL_RECOVERY_FRACTION = 0.98
"""Least published accuracy recovery of a format that was not asked for by name."""


def usual_weight_formats(model: ModelSpec) -> tuple[str, ...]:
    """Return the checkpoint as it is, and for 16-bit checkpoints fp8 too, which engines make on load."""
    return ("native", "fp8") if model.weight_format in SIXTEEN_BIT else ("native",)
