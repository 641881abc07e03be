"""What one machine was seen to reach at one small piece of work: the rows `measure` writes and `calibrate` reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

FigureKind = Literal["memory", "gemm", "experts", "attention", "launch", "copy", "collective", "layers"]
"""Families of work, in the order they are measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One piece of work to time: `op` within its kind, the arithmetic it runs in, and its shape.

    Names of sizes are those of docs/measure.md (`m`, `n`, `k`, `sequences`, `context_tokens` …); `dtype` is empty
    where nothing is multiplied, `model` names the catalogue's model whose layers are run.
    """

    kind: FigureKind
    op: str
    dtype: str
    shape: Mapping[str, int] = field(default_factory=dict)
    model: str = ""

    @property
    def shape_text(self) -> str:
        """Return the shape as the file writes it: `m=16 n=4096 k=4096`."""
        return " ".join(f"{name}={size}" for name, size in self.shape.items())

    def __str__(self) -> str:
        """Return one line that names the work."""
        return " ".join(part for part in (self.kind, self.op, self.model, self.dtype, self.shape_text) if part)


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineFigure:
    """One measured piece of work.

    `seconds` is the median of `repeats` runs and `spread_fraction` the distance between their quartiles over it.
    Rates count the work the cost model counts, not what the kernel happened to do. `kernel` says how it was done,
    `remark` what was odd; `partial` marks figures of a session that was cut short.
    """

    machine: str
    probe: Probe
    kernel: str
    seconds: float
    repeats: int
    spread_fraction: float
    flops_per_s: float
    bytes_per_s: float
    versions: str
    command: str
    date: str
    remark: str = ""
    partial: bool = False
