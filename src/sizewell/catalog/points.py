"""Tables of measured serving points, read row by row."""

from __future__ import annotations

import csv
from pathlib import Path

from sizewell.catalog.endless import refuse_endless
from sizewell.catalog.table_cells import MOST, MOST_TOKENS, Cells
from sizewell.planner.measured_point import PointRow
from sizewell.specs.errors import BadInputError

_REQUIRED = {"point_id", "model", "gpu", "num_gpus", "load"}
_SETTINGS = {"request_rate_per_s"}


def read_point_rows(path: Path) -> tuple[PointRow, ...]:
    """Return the rows of a table of points; raise BadInputError with the line of the first unreadable one."""
    refuse_endless(path)
    with path.open(newline="", encoding="utf-8-sig") as lines:
        reader = csv.DictReader(lines)
        columns = tuple(reader.fieldnames or ())
        if not set(columns) >= _REQUIRED:
            raise BadInputError(f"{path}: a table of points needs the columns {', '.join(sorted(_REQUIRED))}")
        metrics = tuple(c for c in columns if _is_metric(c))
        return tuple(_row(path, number, raw, metrics) for number, raw in enumerate(reader, start=2))


def _is_metric(column: str) -> bool:
    return (column.endswith("_s") or "_per_s" in column) and column not in _SETTINGS


def _row(path: Path, number: int, raw: dict[str, str], metrics: tuple[str, ...]) -> PointRow:
    fields = Cells(raw)
    try:
        return PointRow(
            point_id=fields.text("point_id"),
            dataset=fields.text("dataset"),
            date=fields.text("date"),
            engine=fields.text("engine"),
            engine_version=fields.text("engine_version"),
            model=fields.text("model"),
            weight_format=fields.text("weight_format"),
            kv_format=fields.text("kv_format"),
            gpu=fields.text("gpu"),
            num_gpus=fields.whole("num_gpus") or 1,
            num_nodes=fields.whole("num_nodes"),
            tp=fields.whole("tp"),
            pp=fields.whole("pp"),
            ep=fields.whole("ep"),
            dp=fields.whole("dp"),
            load=fields.text("load"),
            concurrency=fields.number("concurrency", 0, MOST),
            request_rate_per_s=fields.number("request_rate_per_s", 0, 1e6),
            num_requests=fields.number("num_requests", 0, MOST),
            input_tokens=fields.number("input_tokens", 0, MOST_TOKENS),
            output_tokens=fields.number("output_tokens", 0, MOST_TOKENS),
            shared_prefix_tokens=fields.number("shared_prefix_tokens", 0, MOST_TOKENS) or 0.0,
            max_num_seqs=fields.whole("max_num_seqs"),
            max_num_batched_tokens=fields.whole("max_num_batched_tokens"),
            memory_fraction=fields.number("gpu_memory_utilization", 0, 1),
            eager=fields.text("enforce_eager") == "yes",
            speculative=fields.text("speculative"),
            attention_dp=fields.text("attention_dp") == "yes",
            disaggregated=fields.text("disaggregated"),
            trust=fields.text("trust"),
            notes=fields.text("notes"),
            metrics={name: value for name in metrics if (value := fields.number(name)) is not None},
        )
    except ValueError as error:
        raise BadInputError(f"{path}, line {number}: {error}; correct the row or remove it") from None
