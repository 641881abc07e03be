"""Tables of seconds over one, two or three axes, and plain interpolation that compiled code can run unchanged.

All tables lie in one array of numbers and one of places, because compiled functions count every array they are handed:

    places   for each table: its axes (−1 none), its seconds (−1: the table is absent), its latency
             for each axis: where its points start, the last one a line starts from, how many buckets, then for each
             logarithmic bucket the last point at or below its start
    values   points of axes, each preceded by the logarithm of the first one; seconds
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import ceil, log
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sizewell.costs.batch import Floats

BUCKETS_PER_E = 128.0
"""Buckets of one e-fold: about as many as the finest axis has points, so that a search is a step or two."""

ABSENT = -1
FIELDS, SECONDS, LATENCY = 5, 3, 4


class Tables(NamedTuple):
    """Many tables, as numbers and places."""

    values: Floats
    places: NDArray[np.int64]


class Table(NamedTuple):
    """Seconds over up to three axes (points that grow), before they are put beside others; absent without seconds."""

    axes: tuple[Floats, ...] = ()
    seconds: Floats | None = None
    latency_s: Floats | None = None


def put_together(tables: Sequence[Table]) -> Tables:
    """Return some tables as two arrays; their numbers are those of their order."""
    values: list[Floats] = []
    index: list[int] = [ABSENT] * (FIELDS * len(tables))
    known: dict[int, int] = {}

    def kept(array: Floats) -> int:
        at = sum(len(each) for each in values)
        values.append(array.ravel())
        return at

    for number, table in enumerate(tables):
        if table.seconds is None:
            continue
        for place_of, points in enumerate(table.axes):
            if id(points) not in known:
                known[id(points)] = len(index)
                first = _buckets(points)
                at = kept(np.concatenate([[log(points[0])], points])) + 1
                index += [at, len(points) - 2, len(first), *first]
            index[number * FIELDS + place_of] = known[id(points)]
        index[number * FIELDS + SECONDS] = kept(table.seconds)
        index[number * FIELDS + LATENCY] = ABSENT if table.latency_s is None else kept(table.latency_s)
    return Tables(np.concatenate([np.zeros(0), *values]), np.array(index, dtype=np.int64))


def _buckets(points: Floats) -> list[int]:
    start = float(points[0])
    buckets = np.arange(int(log(points[-1] / start) * BUCKETS_PER_E) + 1)
    at_start = np.searchsorted(points, start * np.exp(buckets / BUCKETS_PER_E), side="right") - 1
    # One earlier, because the logarithm of a point may round into the bucket that follows.
    found: list[int] = np.clip(at_start - 1, 0, len(points) - 2).tolist()
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
    start, last = tables.places[axis], tables.places[axis + 1]
    points = tables.values
    at = 0
    if value > points[start]:
        bucket = int((log(value) - points[start - 1]) * BUCKETS_PER_E)
        at = last if bucket >= tables.places[axis + 2] else tables.places[axis + 3 + bucket]
        while at < last and points[start + at + 1] <= value:
            at += 1
    before = points[start + at]
    return at, (value - before) / (points[start + at + 1] - before)


def on_line(tables: Tables, table: int, value: float) -> tuple[float, float]:
    """Return seconds of work and of latency of a table with one axis; none where it is absent."""
    work_at = tables.places[table * FIELDS + SECONDS]
    if work_at < 0:
        return 0.0, 0.0
    at, beyond = place(tables, tables.places[table * FIELDS], value)
    work = between(tables.values, work_at + at, beyond)
    latency_at = tables.places[table * FIELDS + LATENCY]
    if latency_at < 0:
        return work, 0.0
    return work, between(tables.values, latency_at + at, beyond)


def on_sheet(tables: Tables, table: int, row: float, column: float) -> float:
    """Return seconds of a table with two axes; none where it is absent."""
    seconds = tables.places[table * FIELDS + SECONDS]
    if seconds < 0:
        return 0.0
    at, beyond = place(tables, tables.places[table * FIELDS], row)
    columns = tables.places[table * FIELDS + 1]
    before, past = place(tables, columns, column)
    width = tables.places[columns + 1] + 2
    return _on_square(tables.values, seconds + at * width + before, width, beyond, past)


def on_stack(tables: Tables, table: int, layer: float, row: float, column: float) -> float:
    """Return seconds of a table with three axes; none where it is absent."""
    seconds = tables.places[table * FIELDS + SECONDS]
    if seconds < 0:
        return 0.0
    depth, below = place(tables, tables.places[table * FIELDS], layer)
    rows, columns = tables.places[table * FIELDS + 1], tables.places[table * FIELDS + 2]
    at, beyond = place(tables, rows, row)
    before, past = place(tables, columns, column)
    width = tables.places[columns + 1] + 2
    size = (tables.places[rows + 1] + 2) * width
    corner = seconds + depth * size + at * width + before
    near = _on_square(tables.values, corner, width, beyond, past)
    return near + below * (_on_square(tables.values, corner + size, width, beyond, past) - near)


def _on_square(values: Floats, corner: int, width: int, beyond: float, past: float) -> float:
    low = between(values, corner, past)
    return low + beyond * (between(values, corner + width, past) - low)


def between(values: Floats, at: int, beyond: float) -> float:
    """Return the value `beyond` the place `at`, on the line to the next."""
    return values[at] + beyond * (values[at + 1] - values[at])  # type: ignore[no-any-return]
