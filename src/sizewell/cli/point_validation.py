"""Measured points, each figure beside its prediction: names are looked up here, the core predicts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from sizewell.catalog.calibrations import read_efficiencies
from sizewell.catalog.point_facts import point_facts
from sizewell.catalog.points import read_point_rows
from sizewell.planner.accuracy import Comparison
from sizewell.planner.measured_point import PointRow
from sizewell.planner.played_points import Player
from sizewell.planner.point_cases import point_case
from sizewell.planner.validate_points import PointPrediction, predict_point
from sizewell.specs.calibration import Efficiencies
from sizewell.specs.errors import SizewellError


def compare_points(path: Path, *, simulate: bool = True) -> Iterator[tuple[Comparison, ...]]:
    """Yield the comparisons of one row after the other; raises BadInputError on an unreadable table.

    With `simulate` every load that can be sent is played through the simulator, the others are answered in closed form.
    """
    efficiencies, player = read_efficiencies(), Player() if simulate else None
    for row in read_point_rows(path):
        yield _row(row, efficiencies, player)


def _row(row: PointRow, efficiencies: Efficiencies, player: Player | None) -> tuple[Comparison, ...]:
    kind = "?"
    try:
        facts = point_facts(row)
        kind = "moe" if facts.model.is_moe else "dense"
        case = point_case(row, facts)
        answers = predict_point(case, efficiencies, player)
    except SizewellError as error:
        answers = tuple(
            PointPrediction(point_id=row.point_id, metric=metric, measured=value, predicted=None, reason=str(error))
            for metric, value in row.metrics.items()
        )
    group = (row.dataset, row.gpu, kind, row.load or "stages")
    return tuple(_comparison(answer, group, scored=row.trust != "drop") for answer in answers)


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
