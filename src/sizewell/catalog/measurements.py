"""Tables of published measurements, read row by row."""

from __future__ import annotations

import csv
import re
from dataclasses import replace
from pathlib import Path
from typing import Literal

from sizewell.catalog.endless import refuse_endless
from sizewell.catalog.figures_file import is_figures_header
from sizewell.catalog.table_cells import MOST, Cells
from sizewell.specs.deployment import Parallelism
from sizewell.specs.errors import BadInputError
from sizewell.specs.memory_row import MemoryRow

_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_MEMORY_COLUMNS = {"point_id", "engine", "model_hf_id", "metric", "value"}


def file_kind(path: Path) -> Literal["memory", "points", "figures"]:
    """Return which table a file holds, by its header; raise BadInputError for none of them."""
    refuse_endless(path)
    with path.open(newline="", encoding="utf-8-sig") as lines:
        header = set(next(csv.reader(lines), []))
    if header >= _MEMORY_COLUMNS:
        return "memory"
    if {"point_id", "load", "gpu"} <= header:
        return "points"
    if is_figures_header(header):
        return "figures"
    raise BadInputError(
        f"{path}: no table of memory figures, measured points or machine figures; see docs/commands.md for the columns"
    )


def read_memory_rows(path: Path) -> tuple[MemoryRow, ...]:
    """Return the rows of a memory table; raise BadInputError with the line of the first unreadable one."""
    refuse_endless(path)
    with path.open(newline="", encoding="utf-8-sig") as lines:
        reader = csv.DictReader(lines)
        if not set(reader.fieldnames or ()) >= _MEMORY_COLUMNS:
            raise BadInputError(f"{path}: a memory table needs the columns {', '.join(sorted(_MEMORY_COLUMNS))}")
        return tuple(_memory_row(path, number, raw) for number, raw in enumerate(reader, start=2))


def _memory_row(path: Path, number: int, raw: dict[str, str]) -> MemoryRow:
    cells = Cells(raw)
    text = cells.text
    try:
        value = cells.number("value", -MOST)
        if value is None:
            raise ValueError("value is empty, expected a number")
        sizes = {name: cells.whole(name) or 1 for name in ("tp", "pp", "dp", "ep")}
        cut = _cut(text("engine"), Parallelism(**sizes), cells.whole("num_gpus") or 0)
        settings = [cells.whole(name) for name in ("max_model_len", "max_num_batched_tokens", "max_num_seqs")]
    except ValueError as error:
        raise BadInputError(f"{path}, line {number}: {error}; correct the row or remove it") from None
    return MemoryRow(
        point_id=text("point_id"), thread=text("thread"), engine=text("engine"), version=text("version"),
        model=text("model_hf_id"), weight_format=text("weight_format"), kv_format=text("kv_dtype") or "auto",
        gpu=text("gpu"), memory_gib=_first_number(text("gpu_mem_gib_reported")), cut=cut,
        memory_fraction=_first_number(text("gpu_memory_utilization")),
        max_model_len_tokens=settings[0], max_num_batched_tokens=settings[1], max_num_seqs=settings[2],
        enforce_eager=text("enforce_eager").lower() == "true", metric=text("metric"), value=value, notes=text("notes"),
    )  # fmt: skip


def _cut(engine: str, stated: Parallelism, gpus: int) -> Parallelism:
    """Return the layout in our terms: SGLang's tensor-parallel size counts attention data-parallel ranks too."""
    shared = engine == "sglang" and stated.dp > 1 and gpus == stated.tp * stated.pp and stated.tp % stated.dp == 0
    return replace(stated, tp=stated.tp // stated.dp) if shared else stated


def _first_number(text: str) -> float | None:
    found = _NUMBER.search(text)
    return float(found.group()) if found else None
