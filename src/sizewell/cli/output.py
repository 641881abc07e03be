"""Answers on paper: JSON that is the same every time, and tables that fit 100 columns."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any, Literal

import click

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

    from sizewell.specs.figure import Figure

WIDTH = 100
DAY_S = 86_400.0
DURATIONS = (
    (1e-3, 1e6, "µs"), (1.0, 1e3, "ms"), (120.0, 1.0, "s"), (7200.0, 1 / 60, "min"), (2 * DAY_S, 1 / 3600, "h"),
)  # fmt: skip
"""Below so many seconds: the factor to the unit, and its name."""


def printable(text: str, instead: str = "·") -> str:
    """Return what others wrote, so that it does not steer a terminal: `instead` of every mark that is not printed."""
    return "".join(mark if mark.isprintable() else instead for mark in text)


def json_ready(value: object) -> Any:
    """Return `value` as plain JSON types: dataclasses become objects, tuples arrays, infinities and NaN null.

    Floats keep 15 significant digits, so that sums do not differ between machines in the last bit.
    """
    if isinstance(value, float):
        return float(f"{value:.15g}") if isfinite(value) else None
    if value is None or isinstance(value, str | int):
        return value
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: json_ready(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): json_ready(item) for key, item in value.items()}
    if isinstance(value, Sequence):
        return [json_ready(item) for item in value]
    raise TypeError(f"no JSON form for {type(value).__name__}")


def print_json(kind: str, answer: Mapping[str, object]) -> None:
    """Print one document with its schema's name; straight to stdout, where nothing wraps or colours it."""
    document = {"schema": f"sizewell/{kind}/1", **json_ready(answer)}
    sys.stdout.write(json.dumps(document, indent=2, allow_nan=False) + "\n")


def console() -> Console:
    """Return a console of at most 100 columns that takes names literally and honours NO_COLOR."""
    from rich.console import Console

    class Plain(Console):
        def on_broken_pipe(self) -> None:
            raise  # noqa: PLE0704  # rich calls this while it handles the error, and would end with code 1 by itself

    narrow = Plain(markup=False, emoji=False, highlight=False, soft_wrap=False)
    narrow.width = min(WIDTH, narrow.width) if narrow.is_terminal else WIDTH
    return narrow


def show(*parts: RenderableType) -> None:
    """Print tables and lines of text to stdout."""
    out = console()
    for part in parts:
        out.print(part)


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """Return a table; a column whose head starts with `>` is right-aligned, one with `|` (after it) never broken."""
    from rich import box
    from rich.table import Table

    made = Table(title=title or None, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    made.collapse_padding = any("|" in column[:2] for column in columns)
    made.min_width = min(WIDTH, max(len(line) for line in title.split("\n")))
    for column in columns:
        side: Literal["right", "left"] = "right" if column.startswith(">") else "left"
        made.add_column(column.lstrip(">|"), justify=side, overflow="fold", no_wrap="|" in column[:2])
    for row in rows:
        made.add_row(*row)
    return made


def broken(name: str, room: int) -> str:
    """Return a name on lines of at most `room` characters, broken after hyphens only."""
    lines = [""]
    for part in re.findall(r"[^-]*-|[^-]+", name):
        if lines[-1] and len(lines[-1]) + len(part) > room:
            lines.append("")
        lines[-1] += part
    return "\n".join(lines)


def talk(message: str) -> None:
    """Say something about the work, on stderr, unless --quiet."""
    context = click.get_current_context(silent=True)
    if context is None or not (context.find_root().obj or {}).get("quiet"):
        click.echo(message, err=True)


@contextmanager
def progress(most: int, label: str) -> Iterator[Callable[[int], None]]:
    """Show on stderr how far long work has come, where somebody watches; give what is to be told how much is done."""
    context = click.get_current_context(silent=True)
    quiet = context is not None and (context.find_root().obj or {}).get("quiet")
    if quiet or not sys.stderr.isatty():
        yield lambda done: None
        return
    with click.progressbar(length=most, label=label, file=sys.stderr) as bar:
        yield lambda done: bar.update(done - bar.pos)


def detail(message: str) -> None:
    """Say something only somebody who asked for --verbose wants to know."""
    context = click.get_current_context(silent=True)
    if context is not None and (context.find_root().obj or {}).get("verbose"):
        click.echo(message, err=True)


def gib(size_bytes: float) -> str:
    """Return bytes as GiB with the digits that matter."""
    size = size_bytes / 2**30
    return f"{size:,.2f}" if abs(size) < 100 else f"{size:,.1f}"


def duration(seconds: float) -> str:
    """Return a time as people read it: µs, ms, s, min, h or days."""
    if not isfinite(seconds):
        return "–"
    for limit, factor, unit in DURATIONS:
        if seconds < limit:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds / DAY_S:,.0f} days" if seconds >= 100 * DAY_S else f"{seconds / DAY_S:.3g} days"


def amount(value: float) -> str:
    """Return a number with three significant digits or thousands separators."""
    if not isfinite(value):
        return "–"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def spread(figure: Figure) -> str:
    """Return seconds with their interval and where they come from; a queue that never ends has no interval."""
    if not isfinite(figure.low):
        return f"{duration(figure.value)} [no interval, {figure.provenance}]"
    return f"{duration(figure.value)} [{duration(figure.low)}–{duration(figure.high)}, {figure.provenance}]"
