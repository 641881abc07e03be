"""What a step asks of a machine, before any machine is named: operations, bytes, messages and launches."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from sizewell.costs.batch import Floats
from sizewell.specs.encoding import ComputeType

OperatorKind = Literal[
    "gemm", "dequantised-gemm", "experts", "dequantised-experts",
    "prefill-attention", "decode-attention", "latent-attention", "state", "elementwise", "sampler",
]  # fmt: skip
"""Which efficiency an operator reaches: it depends on the structure of the kernel, not on the model."""

CollectiveKind = Literal["all-reduce", "all-gather", "all-to-all", "send"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """Work of one rank: operations by arithmetic type, bytes moved from and to its memory, bytes it sends.

    Arrays have shape [B]. Works add.
    """

    flops: Mapping[ComputeType, Floats]
    hbm_bytes: Floats
    link_bytes: Floats

    def __add__(self, other: Work) -> Work:
        """Return the work of doing both."""
        flops = dict(self.flops)
        for compute, count in other.flops.items():
            flops[compute] = flops[compute] + count if compute in flops else count
        return Work(
            flops=flops,
            hbm_bytes=self.hbm_bytes + other.hbm_bytes,
            link_bytes=self.link_bytes + other.link_bytes,
        )

    @property
    def total_flops(self) -> Floats:
        """Operations of all types."""
        return np.sum(list(self.flops.values()), axis=0)  # type: ignore[no-any-return]


@dataclass(frozen=True, slots=True, kw_only=True)
class Collective:
    """A message of `bytes` (the full tensor, shape [B]) among `ranks` neighbouring ranks, `repeats` times.

    `send` passes it on between `ranks` pipeline stages of `stride` ranks each, once at every border.
    """

    kind: CollectiveKind
    ranks: int
    bytes: Floats
    repeats: float = 1.0
    stride: int = 1

    @property
    def sent_bytes(self) -> Floats:
        """Bytes a rank must send at least, whatever the algorithm."""
        if self.kind == "send":
            return self.repeats * (self.ranks - 1) * self.bytes
        return self.repeats * self.bytes * (self.ranks - 1) / self.ranks


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """A kernel or a few alike, `repeats` times a step; `flops`, `hbm_bytes` and `rows` are per repeat, shape [B].

    `rows` is how many tokens share one read of the weights, `skew` how much longer the fullest rank takes than the
    mean one, `launches` the kernels of one repeat; `block_scaled` products rescale sums after every block of inputs.
    `part` is the line of the step it is reported under.
    """

    name: str
    part: str
    kind: OperatorKind
    compute: ComputeType
    repeats: float
    flops: Floats
    hbm_bytes: Floats
    rows: Floats
    launches: int = 1
    skew: Floats | None = None
    block_scaled: bool = False
    collectives: tuple[Collective, ...] = field(default=())

    @property
    def work(self) -> Work:
        """All repeats and messages together."""
        sent = [c.sent_bytes for c in self.collectives]
        link = np.sum(sent, axis=0) if sent else np.zeros_like(self.flops)
        return Work(
            flops={self.compute: self.repeats * self.flops},
            hbm_bytes=self.repeats * self.hbm_bytes,
            link_bytes=self.repeats * link,
        )


def total_work(operators: Iterable[Operator]) -> Work:
    """Return the work of one rank in a whole step."""
    first, *rest = [operator.work for operator in operators]
    total = first
    for work in rest:
        total = total + work
    return total
