"""Operators whose weights lie in host memory under an engine that computes with them there.

    few tokens    ‖ weights / (host memory × share), arithmetic / (host's vector rate × share) ‖₄
                  + rows there and back / (host link × share) + a turn
    many tokens   weights / (host link × share) + a turn + the accelerator's own kernel

A turn is the wait until the other side notices. The engine's data say from how many tokens on it brings weights over.
Tensor-parallel ranks share one host: its memory is read for all of them. Derivation: docs/cost-model.md#offload.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from sizewell.costs.batch import Floats
from sizewell.costs.host_layers import Group, host_layers
from sizewell.costs.kernels import joined, kernels
from sizewell.costs.machines import Reached
from sizewell.costs.work import HostSide, Operator
from sizewell.specs.deployment import Parallelism
from sizewell.specs.model import ModelSpec

ROW_BYTES = 4
"""An element that crosses the host link: rows are fp32 between devices."""

ON_HOST = " on host"
"""What the lines of a step end in whose weights lie in host memory and are computed with there."""

OPERATORS: Mapping[str, Group] = {
    "routed experts": "routed experts", "mlp": "feed-forward", "shared experts": "feed-forward",
    "attention projections": "attention", "latent expansion": "attention",
}  # fmt: skip
"""Operators that read the weights of each group."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostSplit:
    """Splits operators into what stays on the accelerator and what is computed by the host.

    `shares` of each group lie in host memory; steps of `copied_from_tokens` or more bring weights over.
    """

    shares: Mapping[Group, float]
    hidden: int
    sharers: int
    copied_from_tokens: int

    @classmethod
    def of(
        cls, model: ModelSpec, weight_format: str, cut: Parallelism, host_bytes: float, copied_from_tokens: int
    ) -> HostSplit:
        """Return the split that gives `host_bytes` of every rank to its host, in whole layers."""
        moved = host_layers(model, weight_format, cut, host_bytes)
        return cls(
            shares={each.group: each.share for each in moved},
            hidden=model.hidden,
            sharers=cut.tp * cut.dp,
            copied_from_tokens=copied_from_tokens,
        )

    def split(self, operators: Sequence[Operator], tokens: Floats) -> tuple[Operator, ...]:
        """Return the operators of a step of `tokens` [B], those that moved as operators of their own."""
        return tuple(part for operator in operators for part in self._parts(operator, tokens))

    def _parts(self, operator: Operator, tokens: Floats) -> Iterator[Operator]:
        share = self.shares.get(OPERATORS[operator.name], 0.0) if operator.name in OPERATORS else 0.0
        if share < 1:
            yield replace(operator, repeats=operator.repeats * (1 - share)) if share else operator
        if share:
            side = HostSide(
                copied=np.asarray(tokens >= self.copied_from_tokens, dtype=np.float64),
                passed_bytes=tokens * float(2 * self.hidden * ROW_BYTES),
                sharers=self.sharers,
            )
            yield replace(operator, repeats=operator.repeats * share, part=operator.part + ON_HOST, host=side)


@dataclass(frozen=True, slots=True)
class Hosted:
    """Seconds of each operator [O, M, B], split into what is waited for [M, B], and what stated rates allow [M, B]."""

    seconds: Floats
    memory_s: Floats
    compute_s: Floats
    link_s: Floats
    accelerator_s: Floats
    floor_s: Floats


def hosted(operators: Sequence[Operator], reached: Reached) -> Hosted:
    """Return the time of operators that have a host side."""
    machines, factors = reached.machines, reached.factors
    sides = [operator.host for operator in operators if operator.host is not None]
    copied = _stack([side.copied for side in sides])
    shared = _stack([np.asarray(float(side.sharers)) for side in sides])
    times = _stack([np.asarray(operator.repeats) for operator in operators])
    size = times * _stack([operator.hbm_bytes for operator in operators])
    weights = times * _stack([operator.hbm_bytes - operator.row_bytes for operator in operators])
    flops = times * _stack([operator.flops for operator in operators])
    crossing = np.where(copied > 0, weights, times * _stack([side.passed_bytes for side in sides]))
    here = (1 - copied) * shared
    memory = here * size / _rows(machines.host_bytes_per_s * factors["hbm_host"])
    compute = here * flops / _rows(machines.host_flops_per_s * factors["flops_host"])
    link = crossing / _rows(machines.host_link_bytes_per_s * factors["link_host"]) + times * _rows(
        factors["host_turn_s"]
    )
    kernel = kernels(operators, reached)
    accelerator = copied * kernel.seconds
    computed = joined(memory, compute)
    waits_memory = memory >= compute
    floors = (
        (here * size / _rows(machines.host_bytes_per_s)).sum(axis=0),
        (crossing / _rows(machines.host_link_bytes_per_s)).sum(axis=0),
        kernel.floor_s * copied.min(axis=0),
    )
    return Hosted(
        seconds=computed + link + accelerator,
        memory_s=np.where(waits_memory, computed, 0.0).sum(axis=0),
        compute_s=np.where(waits_memory, 0.0, computed).sum(axis=0),
        link_s=link.sum(axis=0),
        accelerator_s=accelerator.sum(axis=0),
        floor_s=np.maximum.reduce(np.broadcast_arrays(*floors)),
    )


def _stack(values: Sequence[Floats]) -> Floats:
    """Return values of each operator, [] or [B], as [O, 1, B]."""
    return np.stack(np.broadcast_arrays(*(np.atleast_1d(value) for value in values)))[:, None, :]


def _rows(values: Floats) -> Floats:
    """Return values of each machine [M] as [1, M, 1]."""
    return values[None, :, None]
