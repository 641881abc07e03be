"""Tables of seconds over one, two or three axes, and plain interpolation that compiled code can run unchanged.

All tables lie in one array of numbers and one of places, because compiled functions count every array they are handed:

    places   for each table: its axes (a line: its last piece), and where its seconds start (−1: the table is absent)
             for each axis: where its points and the inverse gaps between them start, the last gap, how many buckets
             it has and whether they are whole numbers, then for each bucket a point at or below its start
    values   points of axes, each preceded by the logarithm of the first one; inverse gaps; seconds

A line holds seconds of work and of latency for every whole number from 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil, log
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sizewell.costs.batch import Floats

BUCKETS_PER_E = 128.0
"""Buckets of one e-fold: about as many as the finest axis has points, so that a search is a step or two."""

MOST_WHOLE = 2048
"""Axes that end below have a bucket for every whole number, which takes no logarithm."""

FIELDS, SECONDS = 4, 3
GAPS, LAST, BUCKETS, WHOLE, FIRST = range(1, 6)


class Tables(NamedTuple):
    """Many tables, as numbers and places."""

    values: Floats
    places: NDArray[np.int64]


class Table(NamedTuple):
    """Seconds over axes (points that grow), before they are put beside others; absent without seconds.

    A line has no axes: its shape is [whole numbers from 0, work and latency].
    """

    axes: tuple[Floats, ...] = ()
    seconds: Floats | None = None


def put_together(tables: Sequence[Table]) -> Tables:
    """Return some tables as two arrays; their numbers are those of their order."""
    shelf = _Shelf([], [-1] * (FIELDS * len(tables)), {})
    for number, table in enumerate(tables):
        if table.seconds is None:
            continue
        for which, points in enumerate(table.axes):
            shelf.places[number * FIELDS + which] = shelf.axis(points)
        if not table.axes:
            shelf.places[number * FIELDS] = len(table.seconds) - 2
        shelf.places[number * FIELDS + SECONDS] = shelf.keep(table.seconds)
    return Tables(np.concatenate([np.zeros(0), *shelf.values]), np.array(shelf.places, dtype=np.int64))


@dataclass(frozen=True, slots=True)
class _Shelf:
    values: list[Floats]
    places: list[int]
    known: dict[int, int]

    def keep(self, array: Floats) -> int:
        at = sum(each.size for each in self.values)
        self.values.append(array.ravel())
        return at

    def axis(self, points: Floats) -> int:
        if id(points) not in self.known:
            self.known[id(points)] = len(self.places)
            start = self.keep(np.concatenate([[log(points[0])], points])) + 1
            whole = points[-1] < MOST_WHOLE
            first = _first_points(points, whole)
            self.places.extend([start, self.keep(1.0 / np.diff(points)), len(points) - 2, len(first), whole, *first])
        return self.known[id(points)]


def _first_points(points: Floats, whole: bool) -> list[int]:
    start, end = float(points[0]), float(points[-1])
    starts = (
        np.arange(end) if whole else start * np.exp(np.arange(int(log(end / start) * BUCKETS_PER_E)) / BUCKETS_PER_E)
    )
    at_start = np.searchsorted(points, starts, side="right") - 1
    # One earlier, because the logarithm of a point may round into the bucket that follows.
    found: list[int] = np.clip(at_start - (not whole), 0, len(points) - 2).tolist()
    return found


def count_axis(exact: float, end: float, growth: float) -> Floats:
    """Return an axis of whole numbers: each one from 1 to `exact`, then apart by about a factor `growth` to `end`."""
    exact = min(exact, end)
    return np.unique(np.concatenate([np.arange(1, exact + 1), np.round(_geometric(exact, end, growth))]))


def smooth_axis(start: float, end: float, growth: float, kinks: Iterable[float] = ()) -> Floats:
    """Return an axis of points apart by a factor `growth`, and all `kinks` beyond its start."""
    return np.unique(np.concatenate([_geometric(start, end, growth), [kink for kink in kinks if kink > start]]))


def _geometric(start: float, end: float, growth: float) -> Floats:
    steps = max(1, ceil(log(end / start) / log(growth))) if end > start else 1
    return np.asarray(start * growth ** np.arange(steps + 1), dtype=np.float64)


def place(tables: Tables, axis: int, value: float) -> tuple[int, float]:
    """Return the point before `value` and how far it lies towards the next one; outside, the line goes on."""
    values, places = tables.values, tables.places
    start, last = places[axis], places[axis + LAST]
    at = 0
    if value > values[start]:
        bucket = int(value if places[axis + WHOLE] else (log(value) - values[start - 1]) * BUCKETS_PER_E)
        at = last if bucket >= places[axis + BUCKETS] else places[axis + FIRST + bucket]
        while at < last and values[start + at + 1] <= value:
            at += 1
    return at, (value - values[start + at]) * values[places[axis + GAPS] + at]


def on_line(tables: Tables, table: int, value: float) -> tuple[float, float]:
    """Return seconds of work and of latency of a table with one axis; none where it is absent."""
    values, places = tables.values, tables.places
    seconds = places[table * FIELDS + SECONDS]
    if seconds < 0:
        return 0.0, 0.0
    whole = min(int(value), places[table * FIELDS])
    beyond = value - whole
    at = seconds + 2 * whole
    work = values[at] + beyond * (values[at + 2] - values[at])
    return work, values[at + 1] + beyond * (values[at + 3] - values[at + 1])


def on_sheet(tables: Tables, table: int, row: float, column: float) -> float:
    """Return seconds of a table with two axes; none where it is absent."""
    places = tables.places
    seconds = places[table * FIELDS + SECONDS]
    if seconds < 0:
        return 0.0
    columns = places[table * FIELDS + 1]
    at, beyond = place(tables, places[table * FIELDS], row)
    before, past = place(tables, columns, column)
    width = places[columns + LAST] + 2
    return _on_square(tables.values, seconds + at * width + before, width, beyond, past)


def on_stack(tables: Tables, table: int, layer: float, row: float, column: float) -> float:
    """Return seconds of a table with three axes; none where it is absent."""
    places = tables.places
    seconds = places[table * FIELDS + SECONDS]
    if seconds < 0:
        return 0.0
    rows, columns = places[table * FIELDS + 1], places[table * FIELDS + 2]
    depth, below = place(tables, places[table * FIELDS], layer)
    at, beyond = place(tables, rows, row)
    before, past = place(tables, columns, column)
    width = places[columns + LAST] + 2
    size = (places[rows + LAST] + 2) * width
    corner = seconds + depth * size + at * width + before
    near = _on_square(tables.values, corner, width, beyond, past)
    return near + below * (_on_square(tables.values, corner + size, width, beyond, past) - near)


def _on_square(values: Floats, corner: int, width: int, beyond: float, past: float) -> float:
    under = corner + width
    low = values[corner] + past * (values[corner + 1] - values[corner])
    high = values[under] + past * (values[under + 1] - values[under])
    return low + beyond * (high - low)  # type: ignore[no-any-return]
