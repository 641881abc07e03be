"""Machine figures from a file, each beside its prediction on the catalogue's machine of its key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sizewell.calibrator.side_by_side import predict_probe
from sizewell.catalog.calibrations import read_efficiencies
from sizewell.catalog.figures_file import read_figures
from sizewell.catalog.hardware import cluster
from sizewell.catalog.models import read_model
from sizewell.planner.accuracy import Comparison
from sizewell.specs.calibration import Efficiencies
from sizewell.specs.errors import SizewellError
from sizewell.specs.machine_figure import MachineFigure
from sizewell.specs.model import ModelSpec


def compare_figures(path: Path) -> tuple[Comparison, ...]:
    """Return the comparison of every figure; raises BadInputError on an unreadable file."""
    figures = read_figures(path)
    models = {figure.probe.model: read_model(figure.probe.model) for figure in figures if figure.probe.model}
    ranks = max((figure.probe.shape.get("ranks", 1) for figure in figures), default=1)
    bench = _Predicting(read_efficiencies(), models, ranks)
    return tuple(bench.compared(number, figure) for number, figure in enumerate(figures, start=1))


@dataclass(frozen=True, slots=True)
class _Predicting:
    efficiencies: Efficiencies
    models: Mapping[str, ModelSpec]
    ranks: int

    def compared(self, number: int, figure: MachineFigure) -> Comparison:
        probe, seconds, reason = figure.probe, None, "the cost model has no such part"
        try:
            machine = cluster(figure.machine, gpus_per_node=self.ranks)
            predicted = predict_probe(probe, machine, self.efficiencies, self.models)
            seconds = predicted.seconds if predicted else None
        except SizewellError as error:
            reason = str(error)
        return Comparison(
            point_id=f"{number}: {probe}",
            metric="seconds",
            group=(figure.machine, probe.kind, probe.op, probe.dtype or "–"),
            measured=figure.seconds,
            predicted=seconds,
            reason="" if seconds is not None else reason,
        )
