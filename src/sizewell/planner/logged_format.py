"""Which weight format a start-up log means, from the table's words and the checkpoint's name."""

from __future__ import annotations

from sizewell.specs.deployment import Formats
from sizewell.specs.memory_row import MemoryRow
from sizewell.specs.model import ModelSpec

_MADE_ON_LOAD = {"in-flight": "bnb-nf4-double", "bitsandbytes": "bnb-nf4"}
"""Quantising with bitsandbytes in flight quantises the scales as well."""
PLAIN_FORMATS = frozenset({"bf16", "fp16", "fp32"})
_WORDS = {
    "nvfp4": "nvfp4", "mxfp4": "mxfp4", "-fp4": "nvfp4", "fp8-block": "fp8-block128", "fp8-per-tensor": "fp8-tensor",
    "fp8-tensor": "fp8-tensor", "fp8": "fp8-channel", "awq": "awq-int4", "gptq-int8": "int8", "gptq": "gptq-int4",
    "w8a8": "int8", "w4a16": "int4-g128", "bnb-4bit": "bnb-nf4",
}  # fmt: skip
"""Words of tables and names, the more exact ones first."""


def logged_formats(row: MemoryRow, model: ModelSpec) -> Formats:
    """Return the formats a log states; a checkpoint whose config says how it is quantised is served as it is."""
    return Formats(weight=_weight_format(row, model), kv=row.kv_format)


def _weight_format(row: MemoryRow, model: ModelSpec) -> str:
    stated = row.weight_format.lower()
    on_load = next((name for word, name in _MADE_ON_LOAD.items() if word in stated), None)
    if on_load or model.weight_format not in PLAIN_FORMATS:
        return on_load or "native"
    texts = (stated, row.model.lower())
    return next((name for word, name in _WORDS.items() if any(word in text for text in texts)), "native")
