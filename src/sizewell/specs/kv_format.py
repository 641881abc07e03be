"""What one cached element takes in each KV cache format, whatever format the weights have."""

from __future__ import annotations

from sizewell.specs.errors import UnknownNameError
from sizewell.specs.model import ModelSpec

_ELEMENT_BYTES: dict[str, float] = {
    "bf16": 2.0, "fp16": 2.0, "fp32": 4.0,
    "fp8": 1.0, "fp8_ds_mla": 1.0, "int8": 1.0,
    "nvfp4": 0.5625, "nvfp4_ds_mla": 0.5625, "fp4": 0.5625, "mxfp8": 1.03125,
    "q8_0": 1.0625, "q5_1": 0.75, "q5_0": 0.6875, "q4_1": 0.625, "q4_0": 0.5625, "iq4_nl": 0.5625,
}  # fmt: skip
_ALIASES = {
    "bfloat16": "bf16", "float16": "fp16", "half": "fp16", "f16": "fp16", "f32": "fp32", "float": "fp32",
    "fp8_e4m3": "fp8", "fp8_e5m2": "fp8", "fp8_inc": "fp8", "fp4_e2m1": "fp4", "nvfp4_4over6": "nvfp4", "": "auto",
}  # fmt: skip


def parse_kv_format(name: str) -> str:
    """Return the name this project uses for a KV cache format; raise UnknownNameError for one nobody serves."""
    lowered = name.strip().lower()
    known = _ALIASES.get(lowered, lowered)
    if known != "auto" and known not in _ELEMENT_BYTES:
        raise UnknownNameError("KV cache format", name, ["auto", *_ELEMENT_BYTES, *_ALIASES])
    return known


def resolved_kv_format(name: str, model: ModelSpec) -> str:
    """Return the format in use: `auto` is what the checkpoint asks for, else the model's activation type."""
    parsed = parse_kv_format(name)
    if parsed != "auto":
        return parsed
    asked = parse_kv_format(model.kv_format)
    return ("fp32" if model.dtype.bits_per_weight == 32 else "bf16") if asked == "auto" else asked


def kv_element_bytes(kv_format: str, model: ModelSpec) -> float:
    """Return bytes of one cached element, block scales included (nvfp4: 4 bits plus one byte for 16)."""
    return _ELEMENT_BYTES[resolved_kv_format(kv_format, model)]
