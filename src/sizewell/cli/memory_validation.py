"""Memory figures from start-up logs, each beside its prediction: names are looked up here, the core predicts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from sizewell.catalog.engines import read_engine
from sizewell.catalog.hardware import gpu_in_log
from sizewell.catalog.measurements import read_memory_rows
from sizewell.catalog.models import read_model
from sizewell.planner.accuracy import Comparison
from sizewell.planner.validate_memory import LogFacts, MemoryPrediction, predict_log, unanswered
from sizewell.specs.errors import SizewellError
from sizewell.specs.hardware import GpuSpec
from sizewell.specs.memory_row import MemoryRow

_VAGUE = ("class",)
"""Words in a log's accelerator that say it names a kind of card, not a card."""


def compare_memory(path: Path) -> Iterator[tuple[Comparison, ...]]:
    """Yield the comparisons of one start-up log after the other; raises BadInputError on an unreadable table."""
    logs: dict[tuple[object, ...], list[MemoryRow]] = defaultdict(list)
    for row in read_memory_rows(path):
        logs[row.log].append(row)
    for rows in logs.values():
        yield tuple(_comparison(answer) for answer in _answers(rows))


def _answers(rows: Sequence[MemoryRow]) -> tuple[MemoryPrediction, ...]:
    try:
        gpu = _gpu(rows[0])
        model = read_model(rows[0].model)
        engine = read_engine(rows[0].engine, _version(rows, gpu))
        return predict_log(rows, LogFacts(model=model, gpu=gpu, engine=engine))
    except SizewellError as error:
        return unanswered(rows, str(error))


def _version(rows: Sequence[MemoryRow], gpu: GpuSpec | None) -> str:
    version = max((row.engine_version for row in rows), key=len)
    old = gpu is not None and gpu.compute_capability is not None and float(gpu.compute_capability) < 8
    # Cards before Ampere stay on vLLM's first engine as long as there is one.
    return f"{version} V0" if old and version.startswith(("0.8", "0.9")) else version


def _gpu(row: MemoryRow) -> GpuSpec | None:
    if not row.gpu or any(word in row.gpu for word in _VAGUE):
        return None
    return gpu_in_log(row.gpu, row.memory_gib)


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
    )
