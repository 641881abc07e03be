"""A run as tables for other programs: a row for each request, and a timeline of the engine."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from importlib import import_module
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sizewell.catalog.whole_files import check_writable, whole_file
from sizewell.specs.errors import BadInputError
from sizewell.traffic.run import HANDOVER_COLUMNS, RUN_COLUMNS, STATUS_NAMES

if TYPE_CHECKING:
    from sizewell.traffic.run import Run, Timeline

TIMELINE_COLUMNS = ("time_s", "running", "waiting", "kv_used_fraction", "preemptions", "tokens", "pool", "moving")
PLOT_SUFFIXES = (".html", ".svg")
ROWS_AT_ONCE = 50_000
NO_PARQUET = "Parquet files need pyarrow: pip install 'sizewell[parquet]', or name a file that ends in .csv"


def write_rows(path: Path, run: Run) -> None:
    """Write one row for each request, as CSV or, where the name ends so, Parquet.

    Columns are those of `Run`, of two pools with those of `Handovers`: times in seconds (empty where they never came),
    counts, and the status in words. Raises BadInputError where pyarrow is not installed.
    """
    columns = {name: _column(run, name) for name in RUN_COLUMNS}
    if run.handovers is not None:
        columns |= {name: getattr(run.handovers, name) for name in HANDOVER_COLUMNS}
    if path.suffix.lower() == ".parquet":
        _write_parquet(path, columns)
    else:
        _write_csv(path, tuple(columns), list(columns.values()))


def write_timeline(path: Path, run: Run) -> None:
    """Write the sampled state of the engine as CSV, of each pool a row for each of its samples.

    `moving` are the caches that are sent for and have not come: zero for a run of one pool.
    """
    if run.timeline is None:
        return
    if run.handovers is None:
        columns = _timeline_columns(run.timeline, "both", run)
    else:
        parts = (
            _timeline_columns(run.handovers.timeline, "prefill", run),
            _timeline_columns(run.timeline, "decode", run),
        )
        columns = [np.concatenate(pair) for pair in zip(*parts, strict=True)]
        in_order = np.argsort(columns[0], kind="stable")
        columns = [column[in_order] for column in columns]
    _write_csv(path, TIMELINE_COLUMNS, columns)


def _timeline_columns(timeline: Timeline, pool: str, run: Run) -> list[Any]:
    moving = run.handovers.moving(timeline.time_s) if run.handovers else np.zeros_like(timeline.running)
    seen = [getattr(timeline, name) for name in TIMELINE_COLUMNS[:-2]]
    return [*seen, np.full(len(timeline.time_s), pool), moving]


def _column(run: Run, name: str) -> Any:
    values = getattr(run, name)
    return np.array(STATUS_NAMES)[values] if name == "status" else values


def _write_csv(path: Path, names: tuple[str, ...], columns: list[Any]) -> None:
    with whole_file(path) as file:
        writer = csv.writer(file)
        writer.writerow(names)
        for start in range(0, len(columns[0]), ROWS_AT_ONCE):
            part = [_texts(column[start : start + ROWS_AT_ONCE]) for column in columns]
            writer.writerows(zip(*part, strict=True))


def _texts(values: Any) -> list[Any]:
    """Return values as they are written: times to the nanosecond, what never came as nothing."""
    if values.dtype.kind != "f":
        plain: list[Any] = values.tolist()
        return plain
    return ["" if isnan(value) else round(value, 9) for value in values.tolist()]


def _write_parquet(path: Path, columns: Mapping[str, Any]) -> None:
    arrow, parquet = _pyarrow()
    table = arrow.table(dict(columns))
    with whole_file(path, binary=True) as file:
        parquet.write_table(table, file)


def check_files(given: Mapping[str, Any], flags: Iterable[str]) -> None:
    """Refuse places named by `flags` that cannot be written before any work is done for them; raises BadInputError."""
    for flag in flags:
        if given[flag] is not None:
            check_writable(Path(given[flag]))
    if given["rows"] is not None and Path(given["rows"]).suffix.lower() == ".parquet":
        _pyarrow()
    if given["plots"] is not None and Path(given["plots"]).suffix.lower() not in PLOT_SUFFIXES:
        raise BadInputError(f"--plots {given['plots']}: plots are {' or '.join(PLOT_SUFFIXES)}: name one so")


def _pyarrow() -> tuple[Any, Any]:
    try:
        return import_module("pyarrow"), import_module("pyarrow.parquet")
    except ImportError:
        raise BadInputError(NO_PARQUET) from None


def write_text(path: Path, text: str) -> None:
    """Write one text as a whole file."""
    with whole_file(path) as file:
        file.write(text)
