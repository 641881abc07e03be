"""Measured figures beside what the cost model predicts for the same work on the same machine."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median, quantiles

import numpy as np

from sizewell.calibrator.probe_work import Models, ProbeWork, probe_work
from sizewell.costs.batch import Floats
from sizewell.costs.machines import Machines, Reached
from sizewell.costs.step import Launch, price
from sizewell.specs.calibration import Efficiencies
from sizewell.specs.hardware import ClusterSpec
from sizewell.specs.machine_figure import FigureKind, MachineFigure, Probe

_ENGINE_PARTS = ("host", "front end", "dispatch")
"""What an engine adds to a step; a bare kernel or layer has none of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictedProbe:
    """Seconds the cost model gives a probe, and the floor no machine of these stated rates beats."""

    seconds: float
    floor_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """One figure and its prediction; None where the cost model has no such part."""

    figure: MachineFigure
    predicted: PredictedProbe | None

    @property
    def ratio(self) -> float | None:
        """Return predicted over measured seconds: below 1 the prediction is too fast."""
        return self.predicted.seconds / self.figure.seconds if self.predicted else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """What one kind of work reached, and how predictions compare; ratios are None where nothing is predicted.

    Ratios are predicted over measured seconds; low and high are their 10th and 90th percentile.
    """

    kind: FigureKind
    op: str
    dtype: str
    figures: int
    best_flops_per_s: float
    best_bytes_per_s: float
    median_spread_fraction: float
    median_ratio: float | None
    low_ratio: float | None
    high_ratio: float | None
    median_error_fraction: float | None
    within_25_percent_fraction: float | None


def predict_probe(
    probe: Probe, cluster: ClusterSpec, efficiencies: Efficiencies, models: Models
) -> PredictedProbe | None:
    """Return the prediction for one probe: kernels, gaps between them and wires, without any engine.

    Raises BadInputError for a probe docs/measure.md does not list.
    """
    work = probe_work(probe, models)
    if not work.operators:
        return None
    seconds, floor_s = probe_seconds(work, Reached.of(Machines.of([cluster]), efficiencies))
    return PredictedProbe(seconds=float(seconds[0]), floor_s=float(floor_s[0]))


def probe_seconds(work: ProbeWork, reached: Reached) -> tuple[Floats, Floats]:
    """Return the seconds of a probe that has operators on every machine, and their floors, both [M]."""
    launch = Launch(sequences=np.zeros(1), front_end=False, offload_bytes=work.host_link_bytes)
    step = price(work.operators, reached, launch)
    added = sum((step.parts[name][:, 0] for name in _ENGINE_PARTS if name in step.parts), start=np.zeros(1))
    return step.total_s[:, 0] - added, step.floor_s[:, 0]


def side_by_side(
    figures: Iterable[MachineFigure], cluster: ClusterSpec, efficiencies: Efficiencies, models: Models
) -> tuple[Beside, ...]:
    """Return every figure with its prediction on `cluster`, in their order."""
    return tuple(
        Beside(figure=figure, predicted=predict_probe(figure.probe, cluster, efficiencies, models))
        for figure in figures
    )


def reach(rows: Iterable[Beside]) -> tuple[Reach, ...]:
    """Return what each kind, op and type reached, in the order they first occur."""
    groups: dict[tuple[FigureKind, str, str], list[Beside]] = {}
    for row in rows:
        probe = row.figure.probe
        groups.setdefault((probe.kind, probe.op, probe.dtype), []).append(row)
    return tuple(_reach(found) for found in groups.values())


def _reach(rows: list[Beside]) -> Reach:
    figures = [row.figure for row in rows]
    ratios = [row.ratio for row in rows if row.ratio is not None]
    errors = [abs(ratio - 1) for ratio in ratios]
    deciles = quantiles(ratios, n=10, method="inclusive") if len(ratios) > 1 else ratios * 9
    return Reach(
        kind=figures[0].probe.kind,
        op=figures[0].probe.op,
        dtype=figures[0].probe.dtype,
        figures=len(figures),
        best_flops_per_s=max(figure.flops_per_s for figure in figures),
        best_bytes_per_s=max(figure.bytes_per_s for figure in figures),
        median_spread_fraction=median(figure.spread_fraction for figure in figures),
        median_ratio=median(ratios) if ratios else None,
        low_ratio=deciles[0] if ratios else None,
        high_ratio=deciles[-1] if ratios else None,
        median_error_fraction=median(errors) if ratios else None,
        within_25_percent_fraction=sum(error <= 0.25 for error in errors) / len(errors) if ratios else None,
    )
