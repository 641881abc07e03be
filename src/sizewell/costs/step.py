"""The seconds of a step: every operator takes its slowest resource, operators add, waiting is named.

    operator = max(flops / (peak × share), bytes / (bandwidth × share)) × skew + launches × gap
    step     = Σ operators + Σ collectives + bubble + offload + host, and in eager mode no less than the launches
    floor    = max(Σ flops / peak, Σ bytes / bandwidth, Σ wire time), everything at 100 %

Because every share is at most 1 the step is never faster than its floor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sizewell.costs.batch import Floats
from sizewell.costs.collectives import exchange
from sizewell.costs.machines import Reached
from sizewell.costs.work import Collective, Operator, OperatorKind

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """How steps are issued: `eager` or as recorded graphs; `sequences` [B] are scheduled each step.

    `stages` is the pipeline depth and `slowest_stage` its longest stage over the mean one; `offload_bytes` of
    weights per accelerator come over the host link each step.
    """

    sequences: Floats
    eager: bool = False
    stages: int = 1
    slowest_stage: float = 1.0
    offload_bytes: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTime:
    """Seconds of steps, arrays of shape [M, B].

    `total_s` is the sum of `parts`; `limits` splits it by what it waits for (compute, memory, link, link latency,
    launch, host, host link, bubble). Under pipeline parallelism the step is the trip of one micro-batch through all
    stages and the next one starts after `interval_s`.
    """

    total_s: Floats
    floor_s: Floats
    interval_s: Floats
    parts: Mapping[str, Floats]
    limits: Mapping[str, Floats]

    @property
    def bound_by(self) -> NDArray[np.str_]:
        """What most of the time is spent waiting for, shape [M, B]."""
        names = np.array(list(self.limits))
        return names[np.argmax(np.stack(list(self.limits.values())), axis=0)]  # type: ignore[no-any-return]


def price(operators: Sequence[Operator], reached: Reached, launch: Launch) -> StepTime:
    """Return the time of the step made of `operators` on every machine; shapes [M, B]."""
    kernels = _kernels(operators, reached)
    messages = _messages(operators, reached)
    shape = kernels.seconds.shape[1:]
    parts: dict[str, Floats] = {}
    for name, rows in _rows_by_part(operators).items():
        parts[name] = kernels.seconds[rows].sum(axis=0)
    limits = {"compute": kernels.compute_s, "memory": kernels.memory_s}
    if messages:
        parts["collectives"] = messages.latency_s + messages.wire_s
        limits["link latency"], limits["link"] = messages.latency_s, messages.wire_s
    waiting = _waiting(operators, reached, launch, np.sum(list(parts.values()), axis=0))
    for name, seconds in waiting.items():
        parts[name] = limits[name] = np.broadcast_to(seconds, shape)
    total = np.sum(list(parts.values()), axis=0)
    floor = np.maximum(kernels.floor_s, messages.floor_s) if messages else kernels.floor_s
    return StepTime(
        total_s=total, floor_s=floor, interval_s=total / launch.stages, parts=parts, limits=limits
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Kernels:
    seconds: Floats
    compute_s: Floats
    memory_s: Floats
    floor_s: Floats


def _kernels(operators: Sequence[Operator], reached: Reached) -> _Kernels:
    """Return the time of each operator, shape [O, M, B], and what it waits for."""
    machines, factors = reached.machines, reached.factors
    flops = np.stack([o.flops * o.repeats for o in operators])[:, None, :]
    sizes = np.stack([o.hbm_bytes * o.repeats for o in operators])[:, None, :]
    peak = np.stack([machines.flops_per_s[o.compute] for o in operators])[:, :, None]
    stated_compute, stated_memory = flops / peak, sizes / machines.bytes_per_s[None, :, None]
    floor = np.maximum(stated_compute.sum(axis=0), stated_memory.sum(axis=0))
    share = np.stack([_flops_share(o, factors) for o in operators])[:, :, None]
    compute = stated_compute / share * _tile_padding(operators, factors)
    memory = stated_memory / np.stack([factors[_HBM_FACTOR[o.kind]] for o in operators])[:, :, None]
    seconds = np.maximum(compute, memory)
    if any(o.skew is not None for o in operators):
        seconds = seconds * np.stack([np.ones_like(o.flops) if o.skew is None else o.skew for o in operators])[:, None]
    by_compute = np.where(compute > memory, seconds, 0.0).sum(axis=0)
    return _Kernels(seconds, by_compute, seconds.sum(axis=0) - by_compute, floor)


def _flops_share(operator: Operator, factors: Mapping[str, Floats]) -> Floats:
    share = factors[_FLOPS_FACTOR[operator.kind]]
    return share * factors["flops_narrow"] if operator.compute in NARROW else share


def _tile_padding(operators: Sequence[Operator], factors: Mapping[str, Floats]) -> Floats:
    """Matrix units work on whole tiles: few rows take as long as some more would; shape [O, M, B]."""
    padding = [
        factors[_TILES[o.kind]][:, None] / np.maximum(o.rows, 1e-9) if o.kind in _TILES else np.zeros((1, len(o.rows)))
        for o in operators
    ]
    return 1.0 + np.stack(np.broadcast_arrays(*padding))


@dataclass(frozen=True, slots=True)
class _Messages:
    latency_s: Floats
    wire_s: Floats
    floor_s: Floats


def _messages(operators: Sequence[Operator], reached: Reached) -> _Messages | None:
    """Return all collectives of the step; a message that recurs is priced once."""
    counts: dict[int, float] = {}
    known: dict[int, Collective] = {}
    for operator in operators:
        for collective in operator.collectives:
            known[id(collective)] = collective
            counts[id(collective)] = counts.get(id(collective), 0.0) + operator.repeats * collective.repeats
    if not known:
        return None
    priced = [(counts[key], exchange(collective, reached)) for key, collective in known.items()]
    return _Messages(
        latency_s=np.sum([count * each.latency_s for count, each in priced], axis=0),
        wire_s=np.sum([count * each.wire_s for count, each in priced], axis=0),
        floor_s=np.sum([count * each.floor_s for count, each in priced], axis=0),
    )


def _waiting(operators: Sequence[Operator], reached: Reached, launch: Launch, busy_s: Floats) -> dict[str, Floats]:
    """Return launches, host work, offloaded weights and pipeline bubble as named seconds."""
    factors = reached.factors
    launches = sum(o.repeats * o.launches for o in operators)
    gaps = launches * factors["kernel_gap_s"][:, None]
    if launch.eager:
        gaps = gaps + np.maximum(launches * factors["eager_launch_s"][:, None] - gaps - busy_s, 0.0)
    host = factors["host_step_s"][:, None] + factors["host_sequence_s"][:, None] * launch.sequences[None, :]
    found = {"launch": gaps, "host": host}
    if launch.offload_bytes:
        rate = reached.machines.host_link_bytes_per_s * factors["link_host"]
        found["host link"] = (launch.offload_bytes / rate)[:, None]
    if launch.stages > 1:
        found["bubble"] = (launch.slowest_stage - 1.0) * (busy_s + gaps)
    return found


def _rows_by_part(operators: Sequence[Operator]) -> dict[str, list[int]]:
    rows: dict[str, list[int]] = {}
    for at, operator in enumerate(operators):
        rows.setdefault(operator.part, []).append(at)
    return rows
