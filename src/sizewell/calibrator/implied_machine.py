"""A machine the catalogue does not know, described by what it was seen to reach."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import cast

from sizewell.specs.calibration import Efficiencies
from sizewell.specs.encoding import ComputeType
from sizewell.specs.hardware import GpuSpec
from sizewell.specs.machine_figure import FigureKind, MachineFigure

_NARROW = ("fp8", "int8")
_WIDE = ("bf16", "fp16", "fp32")


def implied_machine(bare: GpuSpec, figures: Iterable[MachineFigure], efficiencies: Efficiencies) -> GpuSpec | None:
    """Return `bare` with the rates at which the usual shares of large streams and products give the best figures.

    Narrow types that do not beat the wide ones are left out: the chip has no fast path for them. None when no stream
    or no product in a wide type was measured.
    """
    measured = tuple(figures)
    stream = max((f.bytes_per_s for f in _of(measured, "memory")), default=0.0)
    reached = {f.probe.dtype: 0.0 for f in _of(measured, "gemm")}
    for figure in _of(measured, "gemm"):
        reached[figure.probe.dtype] = max(reached[figure.probe.dtype], figure.flops_per_s)
    wide = {name: rate for name, rate in reached.items() if name in _WIDE}
    if not stream or not wide:
        return None
    kept = {n: rate for n, rate in reached.items() if n in _WIDE or (n in _NARROW and rate > max(wide.values()))}
    rates = {cast(ComputeType, name): rate / _share(name, efficiencies) for name, rate in kept.items()}
    return replace(bare, bytes_per_s=stream / efficiencies.value("hbm_gemm"), flops_per_s=rates)


def _of(figures: Iterable[MachineFigure], kind: FigureKind) -> list[MachineFigure]:
    return [figure for figure in figures if figure.probe.kind == kind]


def _share(dtype: str, efficiencies: Efficiencies) -> float:
    share = efficiencies.value("flops_gemm")
    return share * efficiencies.value("flops_narrow") if dtype in _NARROW else share
