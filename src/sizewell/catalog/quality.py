"""Reads the published scores of quantized models; the user's file of a format replaces the shipped one."""

from __future__ import annotations

from typing import cast, get_args

from sizewell.catalog.facts import Facts
from sizewell.catalog.overlay import data_files
from sizewell.specs.quality import QualityResult, QualityTable, Tasks


def read_quality() -> QualityTable:
    """Return all published results; raises BadInputError naming the file and the row."""
    files = [Facts.read(path) for path in data_files("quality").values()]
    for file in files:
        file.only_known()
    return QualityTable(
        results={file.text("format"): tuple(map(_result, file.rows("result"))) for file in files},
        notes={file.text("format"): file.text("note", "") for file in files},
    )


def _result(row: Facts) -> QualityResult:
    origin = row.check_source("from", row.text("from"))
    return QualityResult(
        model=row.text("model"),
        benchmark=row.text("benchmark"),
        tasks=cast(Tasks, row.choice("tasks", get_args(Tasks))),
        scheme=row.text("scheme"),
        recovery_fraction=row.plain_number("recovery_fraction"),
        source=row.source(origin),
        date=row.source_date(origin),
        size_b=row.plain_number("size_b") if row.has("size_b") else None,
        several_models=row.flag("several_models"),
        trained=row.flag("trained"),
    )
