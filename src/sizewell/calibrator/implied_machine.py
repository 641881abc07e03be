"""A machine the catalogue does not know, described by what it was seen to reach."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import cast

from sizewell.calibrator.side_by_side import predict_probe
from sizewell.specs.calibration import Efficiencies
from sizewell.specs.encoding import ComputeType
from sizewell.specs.hardware import ClusterSpec, GpuSpec
from sizewell.specs.machine_figure import FigureKind, MachineFigure

_NARROW = ("fp8", "int8")
_WIDE = ("bf16", "fp16", "fp32")
_ROUNDS = 12
_SENSITIVE = 0.95
"""A rate is told by a figure only if twice the rate would shorten the prediction to less than this share of it."""


def implied_machine(
    bare: GpuSpec,
    figures: Iterable[MachineFigure],
    efficiencies: Efficiencies,
    placed: Callable[[GpuSpec], ClusterSpec],
) -> GpuSpec | None:
    """Return `bare` with the rates at which its best stream and its best product of each type are predicted right.

    `placed` puts an accelerator into a node. Narrow types that do not beat the wide ones are left out: the chip has no
    fast path for them. None when no stream or no product in a wide type was measured.
    """
    measured = tuple(figures)
    stream = max(_of(measured, "memory"), key=lambda figure: figure.bytes_per_s, default=None)
    best: dict[ComputeType, MachineFigure] = {}
    for figure in sorted(_of(measured, "gemm"), key=lambda figure: figure.flops_per_s):
        best[cast(ComputeType, figure.probe.dtype)] = figure
    wide = max((figure.flops_per_s for name, figure in best.items() if name in _WIDE), default=0.0)
    if stream is None or not wide:
        return None
    kept = {name: figure for name, figure in best.items() if name in _WIDE or figure.flops_per_s > wide}
    return _Implied(stream, kept, efficiencies, placed).settled(bare)


@dataclass(frozen=True, slots=True)
class _Implied:
    stream: MachineFigure
    products: dict[ComputeType, MachineFigure]
    efficiencies: Efficiencies
    placed: Callable[[GpuSpec], ClusterSpec]

    def settled(self, bare: GpuSpec) -> GpuSpec:
        """Start from what was reached, and raise each rate until its figure is predicted right."""
        gpu = replace(
            bare,
            bytes_per_s=self.stream.bytes_per_s,
            flops_per_s={name: figure.flops_per_s for name, figure in self.products.items()},
        )
        for _ in range(_ROUNDS):
            gpu = self._scaled(gpu, self.stream, _with_bytes)
            for name, figure in self.products.items():
                gpu = self._scaled(gpu, figure, partial(_with_flops, name))
        return gpu

    def _scaled(
        self, gpu: GpuSpec, figure: MachineFigure, faster: Callable[[GpuSpec, float], GpuSpec]
    ) -> GpuSpec:  # fmt: skip
        now = self._seconds(gpu, figure)
        if self._seconds(faster(gpu, 2.0), figure) > _SENSITIVE * now:
            return gpu
        return faster(gpu, now / figure.seconds)

    def _seconds(self, gpu: GpuSpec, figure: MachineFigure) -> float:
        predicted = predict_probe(figure.probe, self.placed(gpu), self.efficiencies, {})
        return predicted.seconds if predicted else figure.seconds


def _with_bytes(gpu: GpuSpec, factor: float) -> GpuSpec:
    return replace(gpu, bytes_per_s=gpu.bytes_per_s * factor)


def _with_flops(name: ComputeType, gpu: GpuSpec, factor: float) -> GpuSpec:
    return replace(gpu, flops_per_s={**gpu.flops_per_s, name: gpu.flops_per_s[name] * factor})


def _of(figures: Iterable[MachineFigure], kind: FigureKind) -> list[MachineFigure]:
    return [figure for figure in figures if figure.probe.kind == kind]
