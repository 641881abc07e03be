"""The seconds of kernels: each takes its slower resource, and small products the better of two ways to multiply.

    tiles      matrix units work on whole tiles: n rows are joined by tile_rows idle ones, at the type's own peak
    vectors    a matrix-vector kernel leaves the matrix units alone: n rows at the fp32 rate, without tiles
    product  = max(min(tiles, vectors), bytes / (bandwidth × share)) × skew

so that few rows wait for memory on any chip, unless its arithmetic is slower still.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sizewell.costs.batch import Floats
from sizewell.costs.machines import Reached
from sizewell.costs.work import Operator, OperatorKind

_FLOPS_FACTOR: dict[OperatorKind, str] = {
    "gemm": "flops_gemm",
    "dequantised-gemm": "flops_dequantised",
    "experts": "flops_experts",
    "dequantised-experts": "flops_dequantised_experts",
    "prefill-attention": "flops_prefill_attention",
    "decode-attention": "flops_decode_attention",
    "latent-attention": "flops_latent_attention",
    "state": "flops_state",
    "elementwise": "flops_state",
    "sampler": "flops_state",
}
_HBM_FACTOR: dict[OperatorKind, str] = {
    "gemm": "hbm_gemm",
    "dequantised-gemm": "hbm_dequantised",
    "experts": "hbm_experts",
    "dequantised-experts": "hbm_dequantised_experts",
    "prefill-attention": "hbm_attention",
    "decode-attention": "hbm_attention",
    "latent-attention": "hbm_latent_attention",
    "state": "hbm_state",
    "elementwise": "hbm_state",
    "sampler": "hbm_state",
}
_TILES: dict[OperatorKind, str] = {
    "gemm": "tile_rows",
    "dequantised-gemm": "tile_rows",
    "experts": "expert_tile_rows",
    "dequantised-experts": "expert_tile_rows",
}
NARROW = frozenset({"fp8", "int8", "fp4"})


@dataclass(frozen=True, slots=True)
class Kernels:
    """Seconds of each operator, shape [O, M, B], and of all of them without skew at every stated rate, [M, B]."""

    seconds: Floats
    compute_bound: NDArray[np.bool_]
    floor_s: Floats

    @property
    def compute_s(self) -> Floats:
        """Seconds of the operators that wait for arithmetic, shape [M, B]."""
        waits: Floats = np.where(self.compute_bound, self.seconds, 0.0).sum(axis=0)
        return waits


def kernels(operators: Sequence[Operator], reached: Reached) -> Kernels:
    """Return the time of each operator on every machine and what it waits for."""
    machines = reached.machines
    flops = np.stack([o.flops * o.repeats for o in operators])
    sizes = np.stack([o.hbm_bytes * o.repeats for o in operators])
    per_flop = 1 / np.stack([machines.flops_per_s[o.compute] for o in operators])
    floor = np.maximum(per_flop.T @ flops, sizes.sum(axis=0) / machines.bytes_per_s[:, None])
    compute = _arithmetic(operators, reached, flops, per_flop)
    share = np.stack([_hbm_share(o, reached) for o in operators])
    memory = sizes[:, None, :] / (share * machines.bytes_per_s)[:, :, None]
    bound = compute > memory
    seconds = np.maximum(compute, memory, out=memory)
    for row, operator in enumerate(operators):
        if operator.skew is not None:
            seconds[row] *= operator.skew
    return Kernels(seconds, bound, floor)


def _arithmetic(operators: Sequence[Operator], reached: Reached, flops: Floats, per_flop: Floats) -> Floats:
    """Return the seconds of arithmetic alone, shape [O, M, B]; products take the better of tiles and vectors."""
    factors, machines = reached.factors, reached.machines
    each = per_flop / np.stack([_flops_share(o, reached) for o in operators])
    seconds = flops[:, None, :] * each[:, :, None]
    by_vector = np.maximum(1 / machines.flops_per_s["fp32"], per_flop) / factors["flops_vector"]
    for row, operator in enumerate(operators):
        if operator.kind in _TILES:
            padding = factors[_TILES[operator.kind]] * per_flop[row] / factors["flops_gemm"]
            seconds[row] += padding[:, None] * (flops[row] / np.maximum(operator.rows, 1e-9))
            np.minimum(seconds[row], by_vector[row][:, None] * flops[row], out=seconds[row])
    return seconds


def _flops_share(operator: Operator, reached: Reached) -> Floats:
    """Return the share of the peak, shape [M]; chips without narrow arithmetic widen the weights and run 16-bit."""
    factors, rates = reached.factors, reached.machines.flops_per_s
    share = factors[_FLOPS_FACTOR[operator.kind]]
    if operator.compute not in NARROW:
        return share
    narrow = factors["flops_narrow"] * (factors["flops_scaled"] if operator.block_scaled else 1.0)
    native = rates[operator.compute] > rates["bf16"]
    return np.where(native, share * narrow, share)


def _hbm_share(operator: Operator, reached: Reached) -> Floats:
    share = reached.factors[_HBM_FACTOR[operator.kind]]
    return share * reached.factors["hbm_scaled"] if operator.block_scaled else share
