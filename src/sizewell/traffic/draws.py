"""Random numbers spread evenly over their distribution, so that what is offered has the mean that was asked for."""

from __future__ import annotations

from math import erfc, sqrt

import numpy as np

from sizewell.specs.errors import BadInputError
from sizewell.traffic.requests import Floats, Ints

_NORMALS = np.linspace(-8.0, 8.0, 6401)
_SHARES_BELOW = np.array([erfc(-z / sqrt(2)) / 2 for z in _NORMALS])


def even(count: int, rng: np.random.Generator) -> Floats:
    """Return uniforms in [0, 1) [count], one from each of `count` equal strata, in random order.

    Each is uniform by itself; together their histogram is flat, so sums err by far less than those of free draws.
    """
    uniforms = (np.arange(count) + rng.random(count)) / max(1, count)
    rng.shuffle(uniforms)
    return uniforms


def even_normals(count: int, rng: np.random.Generator) -> Floats:
    """Return standard normal numbers [count], evenly spread as in `even`."""
    uniforms = (np.arange(count) + rng.random(count)) / max(1, count)
    normals: Floats = np.interp(uniforms, _SHARES_BELOW, _NORMALS)
    rng.shuffle(normals)
    return normals


def rounded(values: Floats) -> Ints:
    """Return whole numbers next to `values`, up or down so that no sum of the first ones is off by more than a half."""
    below = np.floor(values)
    carried = np.floor(np.cumsum(values - below) + 0.5)
    whole: Ints = (below + np.diff(carried, prepend=0.0)).astype(np.int64)
    return whole


def allotted(shares: Floats, count: int, rng: np.random.Generator) -> Ints:
    """Return which of k kinds each of `count` draws is, in random order; each kind has its share to within one."""
    edges = np.round(np.cumsum(shares) / np.sum(shares) * count).astype(np.int64)
    kinds = np.repeat(np.arange(len(shares)), np.diff(edges, prepend=0))
    rng.shuffle(kinds)
    return kinds


def scaled_to_mean(values: Floats, mean: float, least: float, most: float) -> Floats:
    """Return positive `values` times the one factor after which, cut to [least, most], their mean is `mean`.

    The mean of the cut values rises with the factor in straight pieces: Newton's steps, kept inside a bracket.
    """
    low, high, factor = 0.0, float("inf"), mean / float(np.mean(values))
    for _ in range(100):
        cut = np.clip(values * factor, least, most)
        error = float(np.mean(cut)) - mean
        if abs(error) <= 1e-9 * mean:
            break
        low, high = (factor, high) if error < 0 else (low, factor)
        moving = cut == values * factor
        slope = float(np.mean(values * moving))
        step = factor - error / slope if slope > 0 else low
        beyond = 2 * factor if high == float("inf") else (low + high) / 2
        factor = step if low < step < high else beyond
    return np.clip(values * factor, least, most)


def require_mean_within(name: str, mean: float, least: float, most: float) -> None:
    """Raise BadInputError unless a mean lies strictly between the limits of its values."""
    if not least < mean < most:
        raise BadInputError(
            f"{name} have a mean of {mean:g} but lie between {least:g} and {most:g}: the mean must lie inside"
        )
