"""Measured points, each figure beside its prediction: names are looked up here, the core predicts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from sizewell.catalog.calibrations import read_efficiencies
from sizewell.catalog.hardware import cluster
from sizewell.catalog.models import read_model
from sizewell.catalog.points import read_point_rows
from sizewell.planner.accuracy import Comparison
from sizewell.planner.measured_point import PointRow
from sizewell.planner.point_cases import point_case
from sizewell.planner.validate_points import PointPrediction, predict_point
from sizewell.specs.calibration import Efficiencies
from sizewell.specs.errors import SizewellError
from sizewell.specs.hardware import ClusterSpec

FULL_NODE = 8
"""Accelerators a node is taken to hold where a row does not state its nodes."""


def compare_points(path: Path) -> Iterator[tuple[Comparison, ...]]:
    """Yield the comparisons of one row after the other; raises BadInputError on an unreadable table."""
    efficiencies = read_efficiencies()
    for row in read_point_rows(path):
        yield _row(row, efficiencies)


def _row(row: PointRow, efficiencies: Efficiencies) -> tuple[Comparison, ...]:
    kind = "?"
    try:
        model = read_model(row.model)
        kind = "moe" if model.is_moe else "dense"
        case = point_case(row, model, row_cluster(row), efficiencies.value("acceptance"))
        answers = predict_point(case, efficiencies)
    except SizewellError as error:
        answers = tuple(
            PointPrediction(point_id=row.point_id, metric=metric, measured=value, predicted=None, reason=str(error))
            for metric, value in row.metrics.items()
        )
    group = (row.dataset, row.gpu, kind, row.load or "stages")
    return tuple(_comparison(answer, group, scored=row.trust != "drop") for answer in answers)


def row_cluster(row: PointRow) -> ClusterSpec:
    """Return the machines of a row: as many full nodes as its accelerators need where it states none."""
    if row.num_nodes or row.num_gpus <= FULL_NODE:
        nodes = row.num_nodes or 1
        return cluster(row.gpu, gpus_per_node=max(1, row.num_gpus // nodes), nodes=nodes)
    per_node = next((size for size in (FULL_NODE, 4, 2, 1) if row.num_gpus % size == 0), FULL_NODE)
    return cluster(row.gpu, gpus_per_node=per_node, nodes=-(-row.num_gpus // per_node))


def _comparison(answer: PointPrediction, group: tuple[str, ...], *, scored: bool) -> Comparison:
    figure = answer.predicted
    return Comparison(
        point_id=answer.point_id,
        metric=answer.metric,
        group=group,
        measured=answer.measured,
        predicted=figure.value if figure else None,
        low=figure.low if figure else None,
        high=figure.high if figure else None,
        provenance=figure.provenance if figure else "derived",
        reason=answer.reason,
        scored=scored,
    )
