"""Encodings from the words and numbers of quantization settings; what they do not cover is refused."""

from __future__ import annotations

from dataclasses import replace

from sizewell.catalog.config_fields import Fields, MissingFieldError
from sizewell.specs.encoding import (
    FP8_CHANNEL,
    FP8_TENSOR,
    INT8_CHANNEL,
    MXFP4,
    MXFP8,
    NVFP4,
    Encoding,
    fp8_block,
    int4_grouped,
    int8_grouped,
)


def fp8_encoding(found: Fields) -> Encoding:
    """Return FP8 with a scale per tile of `weight_block_size`, per tensor without one."""
    tile = found.counts("weight_block_size")
    if tile is None:
        return FP8_TENSOR
    if len(tile) != 2 or 0 in tile:
        raise found.wrong("weight_block_size", list(tile), "two positive numbers")
    return fp8_block(*tile)


def integer_encoding(found: Fields, *, zeros: bool) -> Encoding:
    """Return the grouped integer encoding of `bits` and `group_size`."""
    if "group_size" not in found:
        raise MissingFieldError(found.source, f"{found.path}group_size")
    bits, group = found.size("bits"), group_size(found)
    if bits == 4:
        return int4_grouped(group, zeros=zeros)
    if bits == 8:
        return int8_grouped(group)
    if bits in (2, 3):
        return replace(int4_grouped(group, zeros=zeros), name=f"int{bits}-g{group}", bits_per_weight=bits)
    raise found.wrong("bits", bits, "2, 3, 4 or 8")


def group_size(found: Fields) -> int:
    """Return the inputs that share a scale; -1 in the file, no word of it, and 0 here mean the whole row."""
    stated = found.values.get("group_size")
    if stated is None or stated == -1:
        return 0
    if isinstance(stated, int | float) and stated < 1:
        raise found.wrong("group_size", stated, "-1 (a whole row) or at least 1")
    return found.size("group_size")


def scheme_encoding(weights: Fields, group: Fields, found: Fields) -> Encoding:
    """Return the encoding of one group of compressed-tensors or ModelOpt settings."""
    bits, kind, size = weights.size("num_bits", 16), weights.text("type", "int"), group_size(weights)
    quantizes_inputs = group.section("input_activations") is not None
    if kind == "float" and bits == 8:
        return _float8(weights, size)
    if kind == "float" and bits == 4:
        return NVFP4 if size == 16 else MXFP4
    if kind == "int" and bits == 8:
        return INT8_CHANNEL if quantizes_inputs and not size else int8_grouped(size)
    if kind == "int" and bits == 4:
        return int4_grouped(size, zeros=not weights.flag("symmetric", True))
    raise found.wrong("config_groups", f"{bits}-bit {kind}", "8 or 4 bits, int or float")


def _float8(weights: Fields, size: int) -> Encoding:
    strategy = weights.text("strategy", "group" if size else "tensor")
    if strategy == "block":
        tile = weights.counts("block_structure") or (128, 128)
        if len(tile) != 2 or 0 in tile:
            raise weights.wrong("block_structure", list(tile), "two positive numbers")
        return fp8_block(*tile)
    return {"channel": FP8_CHANNEL, "group": MXFP8}.get(strategy, FP8_TENSOR)


ALGORITHMS: dict[str, Encoding] = {
    "FP8": FP8_TENSOR, "NVFP4": NVFP4, "W4A16_NVFP4": NVFP4, "NVFP4_AWQ": NVFP4, "W4A8_NVFP4_FP8": NVFP4,
    "MXFP8": MXFP8, "MXFP4": MXFP4, "W4A8_MXFP4_FP8": MXFP4, "FP8_PER_CHANNEL_PER_TOKEN": FP8_CHANNEL,
    "FP8_PB_WO": fp8_block(128, 128), "FP8_PB": fp8_block(128, 128), "W8A8_SQ_PER_CHANNEL": INT8_CHANNEL,
    "W4A16_AWQ": int4_grouped(128, zeros=False), "W4A8_AWQ": int4_grouped(128, zeros=False),
}  # fmt: skip
"""ModelOpt's names of weight formats."""


def algorithm_encoding(found: Fields, algorithm: str) -> Encoding:
    """Return the encoding ModelOpt calls `algorithm`."""
    encoding = ALGORITHMS.get(algorithm)
    if encoding is None:
        raise found.wrong("quant_algo", algorithm, f"one of {', '.join(ALGORITHMS)}")
    return encoding
