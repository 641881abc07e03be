"""How many bytes a matrix takes in each weight format, buffer by buffer.

Sources: the vLLM and SGLang quantization layers and `GGML_QUANT_SIZES` of gguf; see docs/cost-model.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Literal

ComputeType = Literal["fp32", "fp16", "fp16-short", "bf16", "fp8", "int8", "fp4"]
"""The arithmetic a kernel runs in, which need not be the format the weights are stored in; `fp16-short` sums 16-bit
products in 16 bits, which GeForce cards do at twice the rate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoding:
    """One way to store the weights of a matrix with `rows` outputs and `columns` inputs.

    `bits_per_weight` covers the packed weights; scales are `scale_bytes` for each block of
    `group_rows` × `group_columns` weights (0 = one block over the whole axis); zero points take
    `zero_bits` a block. `compute` is the arithmetic of its matrix product on hardware that has it.
    """

    name: str
    bits_per_weight: float
    compute: ComputeType = "bf16"
    scale_bytes: float = 0.0
    group_rows: int = 0
    group_columns: int = 0
    zero_bits: int = 0
    extra_bytes: int = 0

    def blocks(self, rows: int, columns: int) -> int:
        """Return how many scale blocks cover a rows × columns matrix."""
        down = ceil(rows / self.group_rows) if self.group_rows else 1
        across = ceil(columns / self.group_columns) if self.group_columns else 1
        return down * across

    def buffers(self, rows: int, columns: int, matrices: int = 1) -> tuple[float, ...]:
        """Return the bytes of each tensor the engine allocates: weights, scales, zero points, extras."""
        weights = matrices * rows * columns * self.bits_per_weight / 8
        if not self.scale_bytes:
            return (weights,)
        blocks = matrices * self.blocks(rows, columns)
        scales = blocks * self.scale_bytes
        zeros = blocks * self.zero_bits / 8
        return tuple(b for b in (weights, scales, zeros, float(matrices * self.extra_bytes)) if b)

    def bytes(self, rows: int, columns: int, matrices: int = 1) -> float:
        """Return the bytes of the whole matrix, scales and zero points included, without allocator rounding."""
        return sum(self.buffers(rows, columns, matrices))


def _int4(name: str, group: int, *, zeros: bool, compute: ComputeType = "fp16") -> Encoding:
    return Encoding(
        name=name, bits_per_weight=4, compute=compute, scale_bytes=2,
        group_rows=1, group_columns=group, zero_bits=4 if zeros else 0,
    )  # fmt: skip


def int4_grouped(group: int, *, zeros: bool) -> Encoding:
    """Return the int4 encoding with one 16-bit scale for each `group` inputs (0 = whole row) of an output."""
    return _int4(f"int4-g{group}" + ("-zp" if zeros else ""), group, zeros=zeros)


def int8_grouped(group: int) -> Encoding:
    """Return the weight-only int8 encoding with one 16-bit scale for each `group` inputs (0 = whole row)."""
    return Encoding(
        name=f"int8-g{group}", bits_per_weight=8, compute="fp16", scale_bytes=2, group_rows=1, group_columns=group
    )


def fp8_block(rows: int, columns: int) -> Encoding:
    """Return DeepSeek-style FP8 with one float32 scale for each rows × columns tile."""
    return Encoding(
        name=f"fp8-block{rows}" if rows == columns else f"fp8-block{rows}x{columns}",
        bits_per_weight=8, compute="fp8", scale_bytes=4, group_rows=rows, group_columns=columns,
    )  # fmt: skip


def mlx_affine(bits: int, group: int) -> Encoding:
    """Return MLX's encoding: a 16-bit scale and a 16-bit bias for each group of inputs."""
    return Encoding(
        name=f"mlx-{bits}bit-g{group}", bits_per_weight=bits, compute="fp16", scale_bytes=2, group_rows=1,
        group_columns=group, zero_bits=16,
    )  # fmt: skip


FP32 = Encoding(name="fp32", bits_per_weight=32, compute="fp32")
BF16 = Encoding(name="bf16", bits_per_weight=16, compute="bf16")
FP16 = Encoding(name="fp16", bits_per_weight=16, compute="fp16")
FP8_TENSOR = Encoding(name="fp8-tensor", bits_per_weight=8, compute="fp8", scale_bytes=4, extra_bytes=4)
FP8_CHANNEL = Encoding(name="fp8-channel", bits_per_weight=8, compute="fp8", scale_bytes=4, group_rows=1)
FP8_BLOCK128 = fp8_block(128, 128)
INT8_CHANNEL = Encoding(name="int8-channel", bits_per_weight=8, compute="int8", scale_bytes=4, group_rows=1)
AWQ_INT4 = int4_grouped(128, zeros=True)
GPTQ_INT4 = int4_grouped(128, zeros=False)
NVFP4 = Encoding(
    name="nvfp4", bits_per_weight=4, compute="fp4", scale_bytes=1, group_rows=1, group_columns=16, extra_bytes=12
)
MXFP4 = Encoding(name="mxfp4", bits_per_weight=4, compute="bf16", scale_bytes=1, group_rows=1, group_columns=32)
MXFP8 = Encoding(name="mxfp8", bits_per_weight=8, compute="fp8", scale_bytes=1, group_rows=1, group_columns=32)
BNB_NF4 = Encoding(name="bnb-nf4", bits_per_weight=4, compute="bf16", scale_bytes=4, group_rows=1, group_columns=64)
BNB_NF4_DOUBLE = Encoding(
    name="bnb-nf4-double", bits_per_weight=4, compute="bf16", scale_bytes=1.016, group_rows=1, group_columns=64
)

GGUF_BITS_PER_WEIGHT: dict[str, float] = {
    "f32": 32, "f16": 16, "bf16": 16,
    "q8_0": 8.5, "q6_k": 6.5625, "q5_k": 5.5, "q5_0": 5.5, "q5_1": 6.0, "q4_k": 4.5, "q4_0": 4.5, "q4_1": 5.0,
    "q3_k": 3.4375, "q2_k": 2.625, "iq4_nl": 4.5, "iq4_xs": 4.25, "iq3_s": 3.4375, "iq3_xxs": 3.0625,
    "iq2_s": 2.5625, "iq2_xs": 2.3125, "iq2_xxs": 2.0625, "iq1_m": 1.75, "iq1_s": 1.5625,
    "mxfp4": 4.25, "nvfp4": 4.5, "tq1_0": 1.6875, "tq2_0": 2.0625,
}  # fmt: skip
"""Bits of one weight in each ggml block type, scales included (gguf 0.19.0 `GGML_QUANT_SIZES`)."""


def gguf(block_type: str) -> Encoding:
    """Return the encoding of one ggml block type, e.g. `q4_k`."""
    return Encoding(name=f"gguf-{block_type}", bits_per_weight=GGUF_BITS_PER_WEIGHT[block_type], compute="fp16")
