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
    "prefill-attention", "decode-attention", "latent-attention", "index-selection", "state", "elementwise", "sampler",
]  # fmt: skip
"""Which efficiency an operator reaches: it depends on the structure of the kernel, not on the model."""

PRODUCTS = frozenset({"gemm", "experts"})
DEQUANTISED: dict[OperatorKind, OperatorKind] = {"dequantised-gemm": "gemm", "dequantised-experts": "experts"}
"""Products that widen their weights first, and what they would be without."""

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
class HostSide:
    """How an operator with weights in host memory runs: where `copied` [B] is 1 they come to the accelerator, where it
    is 0 the host computes, and `passed_bytes` [B] of rows cross the host link a repeat; `sharers` ranks have one host.
    """

    copied: Floats
    passed_bytes: Floats
    sharers: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """A kernel or a few alike, `repeats` times a step ([B] where steps differ); `flops`, `hbm_bytes` and `rows` are per
    repeat, shape [B].

    `rows` is how many rows share one read of what is multiplied (tokens for weights, queries of a key head in decode,
    elements of a head in prefill); `row_bytes` is the part of `hbm_bytes` that belongs to those rows. `products` are
    the main kernels of one repeat, `depth` the inputs they sum over together, `units` the sequences or experts they
    serve; `launches` counts all kernels, `uncompiled` those more where small operations are not compiled into one.
    `skew` is how many times the mean the fullest rank's rows are, `stream_skew` the weights that these read.
    `block_scaled` products rescale sums after every block of inputs; `microscaled` weights of four bits are multiplied
    by 8-bit rows where the hardware scales so; a `narrow_cache` holds 8-bit rows.
    `part` is the line of the step it is reported under; `host` is set where its weights are computed with by the host.
    """

    name: str
    part: str
    kind: OperatorKind
    compute: ComputeType
    repeats: Floats | float
    flops: Floats
    hbm_bytes: Floats
    rows: Floats
    row_bytes: Floats | float = 0.0
    products: Floats | int = 1
    depth: Floats | float = 0.0
    units: Floats | None = None
    launches: Floats | int = 1
    uncompiled: int = 0
    skew: Floats | None = None
    stream_skew: Floats | float = 1.0
    block_scaled: bool = False
    microscaled: bool = False
    narrow_cache: bool = False
    collectives: tuple[Collective, ...] = field(default=())
    host: HostSide | None = None

    @property
    def curve(self) -> str:
        """The class of kernels whose curve it follows."""
        if self.kind in DEQUANTISED:
            return f"{DEQUANTISED[self.kind]}.{'mx4' if self.microscaled and self.kind != 'dequantised-gemm' else 'w4'}"
        if self.kind in PRODUCTS:
            return f"{self.kind}.{self._numbers}"
        return f"{self.kind}.fp8" if self.narrow_cache else self.kind

    @property
    def _numbers(self) -> str:
        if self.compute in {"fp16", "fp16-short", "fp32", "bf16"}:
            return "bf16"
        if self.block_scaled:
            return "fp8-block"
        # Only dense int8 products were measured: experts of eight bits reach alike.
        return "fp8" if self.compute == "int8" and self.kind == "experts" else self.compute

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
