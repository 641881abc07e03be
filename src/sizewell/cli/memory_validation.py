"""Memory figures from start-up logs, each beside its prediction."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from sizewell.catalog.measurements import read_memory_rows
from sizewell.catalog.memory_logs import logs, predict_memory_rows
from sizewell.planner.accuracy import Comparison
from sizewell.planner.validate_memory import MemoryPrediction


def compare_memory(path: Path) -> Iterator[tuple[Comparison, ...]]:
    """Yield the comparisons of one start-up log after the other; raises BadInputError on an unreadable table."""
    for rows in logs(read_memory_rows(path)):
        yield tuple(_comparison(answer) for answer in predict_memory_rows(rows))


def _comparison(answer: MemoryPrediction) -> Comparison:
    return Comparison(
        point_id=answer.point_id,
        metric=answer.metric,
        group=(answer.row.engine, answer.basis),
        measured=answer.measured,
        predicted=answer.predicted,
        low=answer.low,
        high=answer.high,
        provenance=answer.provenance,
        reason=answer.reason,
        rounding=answer.rounding,
    )
