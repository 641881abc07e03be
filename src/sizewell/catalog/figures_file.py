"""Files of measured machine figures: written by `measure`, read by `calibrate`; columns in docs/measure.md."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from math import isfinite
from pathlib import Path
from typing import get_args

from sizewell.catalog.endless import refuse_endless
from sizewell.catalog.whole_files import whole_file
from sizewell.specs.errors import BadInputError
from sizewell.specs.machine_figure import FigureKind, MachineFigure, Probe

FIGURE_COLUMNS = (
    "machine", "kind", "op", "model", "dtype", "shape", "kernel", "seconds", "repeats", "spread_fraction",
    "flops_per_s", "bytes_per_s", "partial", "remark", "versions", "command", "date",
)  # fmt: skip
_NEEDED = {"machine", "kind", "op", "dtype", "shape", "seconds"}
_KINDS: tuple[FigureKind, ...] = get_args(FigureKind)


def is_figures_header(columns: Iterable[str]) -> bool:
    """Return whether a table with these columns holds machine figures."""
    return set(columns) >= _NEEDED


def read_figures(path: Path) -> tuple[MachineFigure, ...]:
    """Return the figures of a file; raises BadInputError with the line of the first unreadable one."""
    refuse_endless(path)
    try:
        with path.open(newline="", encoding="utf-8-sig") as lines:
            reader = csv.DictReader(lines)
            if not is_figures_header(reader.fieldnames or ()):
                needed = ", ".join(sorted(_NEEDED))
                raise BadInputError(f"{path}: a file of machine figures needs the columns {needed} (docs/measure.md)")
            return tuple(_figure(path, reader.line_num, raw) for raw in reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadInputError(f"{path}: cannot be read as a file of figures: {error}") from error


def write_figures(path: Path, figures: Iterable[MachineFigure]) -> None:
    """Write figures to a file, all or nothing; raises BadInputError when it cannot be written."""
    with whole_file(path) as file:
        writer = csv.DictWriter(file, FIGURE_COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(_cells(figure) for figure in figures)


def _figure(path: Path, line: int, raw: dict[str, str]) -> MachineFigure:
    cells = {name: (value or "").strip() for name, value in raw.items() if isinstance(value, str) or value is None}
    try:
        return MachineFigure(
            machine=cells["machine"],
            probe=_probe(cells),
            kernel=cells.get("kernel", ""),
            seconds=_number(cells, "seconds", positive=True),
            repeats=int(cells.get("repeats") or 1),
            spread_fraction=_number(cells, "spread_fraction"),
            flops_per_s=_number(cells, "flops_per_s"),
            bytes_per_s=_number(cells, "bytes_per_s"),
            versions=cells.get("versions", ""),
            command=cells.get("command", ""),
            date=cells.get("date", ""),
            remark=cells.get("remark", ""),
            partial=_flag(cells.get("partial", "")),
        )
    except ValueError as error:
        raise BadInputError(f"{path}, line {line}: {error}; correct the row or remove it") from None


def _probe(cells: dict[str, str]) -> Probe:
    kind = next((known for known in _KINDS if known == cells["kind"]), None)
    if kind is None:
        raise ValueError(f"kind {cells['kind']!r} is none of {', '.join(_KINDS)}")
    return Probe(
        kind=kind, op=cells["op"], dtype=cells["dtype"], shape=_shape(cells["shape"]),
        model=cells.get("model", ""),
    )  # fmt: skip


def _shape(text: str) -> dict[str, int]:
    pairs = [word.partition("=") for word in text.split()]
    sizes = {name: int(size) for name, _, size in pairs}
    if any(size < 1 for size in sizes.values()):
        raise ValueError(f"shape {text!r} has a size below 1")
    return sizes


def _number(cells: dict[str, str], column: str, *, positive: bool = False) -> float:
    value = float(cells.get(column) or 0.0)
    if not isfinite(value) or value < 0 or (positive and value == 0):
        raise ValueError(f"{column} {cells.get(column)!r} is no {'positive ' if positive else ''}number")
    return value


def _flag(text: str) -> bool:
    if text not in ("yes", "no", ""):
        raise ValueError(f"partial {text!r} is neither yes nor no")
    return text == "yes"


def _cells(figure: MachineFigure) -> dict[str, str]:
    probe = figure.probe
    return {
        "machine": figure.machine, "kind": probe.kind, "op": probe.op, "model": probe.model, "dtype": probe.dtype,
        "shape": probe.shape_text, "kernel": figure.kernel, "seconds": f"{figure.seconds:.6g}",
        "repeats": str(figure.repeats), "spread_fraction": f"{figure.spread_fraction:.3g}",
        "flops_per_s": f"{figure.flops_per_s:.6g}", "bytes_per_s": f"{figure.bytes_per_s:.6g}",
        "partial": "yes" if figure.partial else "no", "remark": figure.remark, "versions": figure.versions,
        "command": figure.command, "date": figure.date,
    }  # fmt: skip
