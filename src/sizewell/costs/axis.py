"""Axes of tabulated seconds, and plain interpolation over them that compiled code can run unchanged."""

from __future__ import annotations

from collections.abc import Iterable
from math import ceil, log
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sizewell.costs.batch import Floats

BUCKETS_PER_E = 128.0
"""Buckets of one e-fold: about as many as the finest axis has points, so that a search is a step or two."""


class Axis(NamedTuple):
    """Growing `points` of an axis; `first[b]` is the last point at or below the start of the logarithmic bucket b."""

    points: Floats
    first: NDArray[np.int64]
    log_start: float


class Line(NamedTuple):
    """Seconds of work and of message latency along one axis."""

    axis: Axis
    work_s: Floats
    latency_s: Floats


class Sheet(NamedTuple):
    """Seconds over two axes; shape [rows, columns]."""

    rows: Axis
    columns: Axis
    seconds: Floats


class Stack(NamedTuple):
    """Seconds over three axes; shape [layers, rows, columns]."""

    layers: Axis
    rows: Axis
    columns: Axis
    seconds: Floats


def count_axis(exact: float, end: float, growth: float) -> Axis:
    """Return an axis of whole numbers: each one from 1 to `exact`, then apart by about a factor `growth` to `end`."""
    exact = min(exact, end)
    return _axis(np.concatenate([np.arange(1, exact + 1), np.round(_geometric(exact, end, growth))]))


def smooth_axis(start: float, end: float, growth: float, kinks: Iterable[float] = ()) -> Axis:
    """Return an axis of points apart by a factor `growth`, and all `kinks` beyond its start."""
    return _axis(np.concatenate([_geometric(start, end, growth), [kink for kink in kinks if kink > start]]))


def _geometric(start: float, end: float, growth: float) -> Floats:
    steps = max(1, ceil(log(end / start) / log(growth))) if end > start else 1
    return np.asarray(start * growth ** np.arange(steps + 1), dtype=np.float64)


def _axis(given: Floats) -> Axis:
    points = np.unique(given)
    start = float(points[0])
    buckets = np.arange(int(log(points[-1] / start) * BUCKETS_PER_E) + 1)
    at_start = np.searchsorted(points, start * np.exp(buckets / BUCKETS_PER_E), side="right") - 1
    # One earlier, because the logarithm of a point may round into the bucket that follows.
    first = np.clip(at_start - 1, 0, len(points) - 2)
    return Axis(points, first.astype(np.int64), log(start))


def place(axis: Axis, value: float) -> tuple[int, float]:
    """Return the point before `value` and how far it lies towards the next one; outside, the line goes on."""
    points = axis.points
    last = points.shape[0] - 2
    if value <= points[0]:
        return 0, (value - points[0]) / (points[1] - points[0])
    bucket = int((log(value) - axis.log_start) * BUCKETS_PER_E)
    at = last if bucket >= axis.first.shape[0] else axis.first[bucket]
    while at < last and points[at + 1] <= value:
        at += 1
    return at, (value - points[at]) / (points[at + 1] - points[at])


def on_line(line: Line, value: float) -> tuple[float, float]:
    """Return seconds of work and of latency at `value`; none where nothing is tabulated."""
    if line.work_s.shape[0] == 0:
        return 0.0, 0.0
    at, beyond = place(line.axis, value)
    work = line.work_s[at] + beyond * (line.work_s[at + 1] - line.work_s[at])
    latency = line.latency_s[at] + beyond * (line.latency_s[at + 1] - line.latency_s[at])
    return work, latency


def on_sheet(sheet: Sheet, row: float, column: float) -> float:
    """Return seconds at (row, column); none where nothing is tabulated."""
    if sheet.seconds.shape[0] == 0:
        return 0.0
    at, beyond = place(sheet.rows, row)
    before, past = place(sheet.columns, column)
    low = between(sheet.seconds[at], before, past)
    return low + beyond * (between(sheet.seconds[at + 1], before, past) - low)


def on_stack(stack: Stack, layer: float, row: float, column: float) -> float:
    """Return seconds at (layer, row, column); none where nothing is tabulated."""
    if stack.seconds.shape[0] == 0:
        return 0.0
    depth, below = place(stack.layers, layer)
    at, beyond = place(stack.rows, row)
    before, past = place(stack.columns, column)
    found = 0.0
    for side in range(2):
        low = between(stack.seconds[depth + side, at], before, past)
        high = between(stack.seconds[depth + side, at + 1], before, past)
        share = below if side else 1.0 - below
        found += share * (low + beyond * (high - low))
    return found


def between(values: Floats, at: int, beyond: float) -> float:
    """Return the value `beyond` the point `at`, on the line to the next."""
    return float(values[at] + beyond * (values[at + 1] - values[at]))
