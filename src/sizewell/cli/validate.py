"""`sizewell validate`: what was measured beside what would have been predicted."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sizewell.cli.options import as_json
from sizewell.cli.output import print_json, show, table, talk
from sizewell.specs.errors import BadInputError

if TYPE_CHECKING:
    from rich.table import Table

    from sizewell.planner.accuracy import Accuracy, Comparison

HEADER = ("point_id", "metric", "measured", "predicted", "low", "high", "provenance", "reason")
PROGRESS_EVERY = 200


@click.command("validate")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, readable=True, path_type=Path))
@click.option(
    "--predictions", metavar="OUT.csv", type=click.Path(dir_okay=False, path_type=Path),
    help="Write every figure with its prediction, or the reason why there is none.",
)  # fmt: skip
@as_json()
def command(file: Path, predictions: Path | None, as_json: bool) -> None:
    """Predict every measured figure of FILE and report the error by group.

    FILE is a CSV of memory figures from start-up logs or of measured points; its header says which.
    """
    from sizewell.planner.accuracy import by_group, by_metric

    kind, comparisons = compare(file)
    if predictions is not None:
        _write(predictions, comparisons)
    groups, metrics = by_group(comparisons), by_metric(comparisons)
    if as_json:
        answer = {"kind": kind, "figures": len(comparisons), "by_metric": metrics, "by_group": groups}
        print_json("validate", answer)
        return
    show(
        _table("By group", groups),
        _table(f"All {len(comparisons):,} figures, pooled (hides the differences above)", metrics),
    )


def compare(file: Path) -> tuple[str, list[Comparison]]:
    """Return what a file holds and all its comparisons; raises BadInputError when it is neither format."""
    from sizewell.catalog.measurements import file_kind

    try:
        kind = file_kind(file)
        if kind == "memory":
            from sizewell.cli.memory_validation import compare_memory

            return kind, _all(compare_memory(file))
        from sizewell.cli.point_validation import compare_points

        return kind, _all(compare_points(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadInputError(f"{file}: cannot be read as CSV: {error}") from error


def _all(parts: Iterable[Sequence[Comparison]]) -> list[Comparison]:
    found: list[Comparison] = []
    said = 0
    for part in parts:
        found.extend(part)
        if len(found) >= said + PROGRESS_EVERY:
            said = len(found)
            talk(f"{said} figures")
    return found


def _write(out: Path, comparisons: Iterable[Comparison]) -> None:
    try:
        with out.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(HEADER)
            writer.writerows([_cell(getattr(one, name)) for name in HEADER] for one in comparisons)
    except OSError as error:
        raise BadInputError(f"{out}: cannot be written: {error}") from error
    talk(f"wrote {out}")


def _cell(value: object) -> str:
    return "" if value is None else f"{value:.9g}" if isinstance(value, float) else str(value)


def _table(title: str, rows: Sequence[Accuracy]) -> Table:
    labels = max((len(row.group) for row in rows), default=0)
    heads = (
        "metric",
        *[""] * labels,
        ">n",
        ">no answer",
        ">median %",
        ">mean %",
        ">bias %",
        ">worst %",
        ">in interval %",
    )
    return table(title, heads, [_row(row) for row in rows])


def _row(row: Accuracy) -> tuple[str, ...]:
    figures = (
        row.median_error_fraction,
        row.mean_error_fraction,
        row.bias_fraction,
        row.worst_error_fraction,
        row.covered_fraction,
    )
    shown = ("–" if figure is None else f"{figure * 100:.1f}" for figure in figures)
    return (row.metric, *row.group, str(row.count), str(row.unanswered), *shown)
