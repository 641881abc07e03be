"""`sizewell validate`: what was measured beside what would have been predicted."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sizewell.cli.options import OnceCommand, as_json
from sizewell.cli.output import print_json, show, talk
from sizewell.specs.errors import BadInputError

if TYPE_CHECKING:
    from sizewell.planner.accuracy import Accuracy, Comparison

HEADER = ("point_id", "metric", "measured", "predicted", "low", "high", "provenance", "reason")
PROGRESS_EVERY = 500
REASONS_SHOWN = 5


@click.command("validate", cls=OnceCommand)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, readable=True, path_type=Path))
@click.option(
    "--predictions", metavar="OUT.csv", type=click.Path(dir_okay=False, path_type=Path),
    help="Write every figure with its prediction, or the reason why there is none.",
)  # fmt: skip
@click.option(
    "--closed-form", is_flag=True,
    help="Answer measured points by formulas alone instead of playing their load: faster, further off.",
)  # fmt: skip
@as_json()
def command(file: Path, predictions: Path | None, closed_form: bool, as_json: bool) -> None:
    """Predict every measured figure of FILE and report the error by group.

    FILE is a CSV of memory figures from start-up logs, of measured points, or of machine figures as `sizewell measure`
    writes them; its header says which.
    """
    from sizewell.catalog.whole_files import check_writable
    from sizewell.planner.accuracy import balanced, by_group, by_metric

    if predictions is not None and predictions.exists() and predictions.samefile(file):
        raise BadInputError(f"--predictions {predictions} would overwrite the figures it is about: name another file")
    if predictions is not None:
        check_writable(predictions)
    kind, comparisons = compare(file, simulate=not closed_form)
    if not comparisons:
        raise BadInputError(f"{file}: the table holds no figures")
    if predictions is not None:
        _write(predictions, comparisons)
    groups, metrics, equal = by_group(comparisons), by_metric(comparisons), balanced(comparisons)
    if as_json:
        answer = {"kind": kind, "figures": len(comparisons), "by_metric": metrics, "balanced": equal}
        print_json("validate", {**answer, "by_group": groups})
        return
    heads = f"{'':<29}{'n':>5}{'none':>5}{'median':>8}{'mean':>8}{'bias':>9}{'worst':>10}"
    heads += f"{'≤1%':>6}{'≤5%':>6}{'≤10%':>6}{'in80%':>6}"
    show(heads, *_grouped(groups))
    show("", "ALL, each first label weighted equally", *(_line(row) for row in equal))
    show("", f"ALL {len(comparisons):,} figures pooled, which hides the differences above", *map(_line, metrics))
    show(*_unanswered(comparisons))


def _unanswered(comparisons: Iterable[Comparison]) -> Iterator[str]:
    """Yield the commonest reasons why there is no prediction."""
    reasons = Counter(one.reason for one in comparisons if one.predicted is None)
    if reasons:
        yield from ("", "Without a prediction:")
        yield from (f"{count:>7} × {reason}" for reason, count in reasons.most_common(REASONS_SHOWN))


def compare(file: Path, *, simulate: bool = True) -> tuple[str, list[Comparison]]:
    """Return what a file holds and all its comparisons; raises BadInputError when it is no such format."""
    from sizewell.catalog.measurements import file_kind

    try:
        kind = file_kind(file)
        if kind == "memory":
            from sizewell.cli.memory_validation import compare_memory

            return kind, _all(compare_memory(file))
        if kind == "figures":
            from sizewell.cli.figure_validation import compare_figures

            return kind, _all([compare_figures(file)])
        from sizewell.cli.point_validation import compare_points

        return kind, _all(compare_points(file, simulate=simulate))
    except (OSError, UnicodeDecodeError, OverflowError, csv.Error) as error:
        raise BadInputError(f"{file}: cannot be read as a table of figures: {error}") from error


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
    from sizewell.catalog.whole_files import whole_file

    with whole_file(out) as file:
        writer = csv.writer(file)
        writer.writerow(HEADER)
        writer.writerows([_cell(getattr(one, name)) for name in HEADER] for one in comparisons)
    talk(f"wrote {out}")


def _cell(value: object) -> str:
    return "" if value is None else f"{value:.9g}" if isinstance(value, float) else str(value)


def _grouped(groups: Iterable[Accuracy]) -> Iterator[str]:
    last: tuple[str, ...] = ()
    for row in sorted(groups, key=lambda row: row.group):
        if row.group != last:
            yield f"\n{' / '.join(row.group)}"
        last = row.group
        yield _line(row)


def _line(row: Accuracy) -> str:
    errors = (row.median_error_fraction, row.mean_error_fraction, row.bias_fraction, row.worst_error_fraction)
    shares = (
        row.within_1_percent_fraction, row.within_5_percent_fraction, row.within_10_percent_fraction,
        row.covered_fraction,
    )  # fmt: skip
    shown = "".join(f"{_percent(error, 1):>{width}}" for error, width in zip(errors, (8, 8, 9, 10), strict=True))
    counted = "".join(f"{_percent(share, 0):>6}" for share in shares)
    return f"  {row.metric:<27}{row.count:>5}{row.unanswered:>5}{shown}{counted}"


def _percent(fraction: float | None, digits: int) -> str:
    """Return a share or an error; one of a hundred times and more as a multiple, which still fits its column."""
    if fraction is None:
        return "–"
    if abs(fraction) >= 100:
        return f"{fraction:,.0f}×"
    return f"{fraction * 100:,.{digits if abs(fraction) < 10 else 0}f}%"
