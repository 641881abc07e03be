"""Routed experts as kernels want them: padded axes, and copies left behind.

`inputs` (Triton): the packed input axis of MXFP4 experts grows to a multiple of 256, scales do not. `both` (Marlin):
the intermediate axis grows to 128 and the hidden one to 256, scales included; `wide` (FlashInfer on Blackwell, ROCm):
both to 256. On ROCm the 16-bit down-projection is
padded by 128 inputs and its unpadded original stays. Checked against start-up logs; see docs/memory-ledger.md.
"""

from __future__ import annotations

from math import ceil
from typing import Literal

from sizewell.specs.encoding import Encoding
from sizewell.specs.model import ModelSpec
from sizewell.specs.tensor import Tensor
from sizewell.specs.weight_format import stored_encoding

Mxfp4Padding = Literal["none", "inputs", "both", "wide"]
HIDDEN_MULTIPLE, INTERMEDIATE_MULTIPLE, ROCM_EXTRA_INPUTS = 256, 128, 128


def expert_buffers(
    tensor: Tensor, encoding: Encoding, shape: tuple[int, int, int], padding: Mxfp4Padding, *, rocm: bool
) -> tuple[float, ...]:
    """Return the bytes of each buffer of stacked experts of `shape` (matrices, rows, columns) on one rank."""
    matrices, rows, columns = shape
    down = tensor.columns is not None and tensor.columns.sharded
    if encoding.name == "mxfp4" and padding in {"both", "wide"}:
        hidden, inner = (rows, columns) if down else (columns, rows)
        multiple = INTERMEDIATE_MULTIPLE if padding == "both" else HIDDEN_MULTIPLE
        hidden, inner = _up(hidden, HIDDEN_MULTIPLE), _up(inner, multiple * len(tensor.rows))
        return encoding.buffers(hidden, inner, matrices) if down else encoding.buffers(inner, hidden, matrices)
    buffers = encoding.buffers(rows, columns, matrices)
    if encoding.name == "mxfp4" and padding == "inputs":
        return (buffers[0] * _up(columns, HIDDEN_MULTIPLE) / columns, *buffers[1:])
    if rocm and down and encoding.bits_per_weight == 16:
        return (*buffers, *encoding.buffers(rows, columns + ROCM_EXTRA_INPUTS, matrices))
    return buffers


def expert_formats(model: ModelSpec, weight_format: str) -> frozenset[str]:
    """Return the names of the encodings in which routed experts are stored."""
    layers = {id(layer): layer for layer in (*model.layers, *model.mtp_layers)}.values()
    experts = (tensor for layer in layers for tensor in layer.tensors if tensor.role == "routed-experts")
    return frozenset(stored_encoding(tensor, model, weight_format).name for tensor in experts)


def _up(size: int, multiple: int) -> int:
    return ceil(size / multiple) * multiple
