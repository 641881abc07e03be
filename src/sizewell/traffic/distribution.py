"""What can be said of a sample of times: mean and percentiles, each only where there are enough values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from sizewell.traffic.requests import Floats, Ints

PERCENTILES = (50, 90, 95, 99)
LEAST_FOR_P99 = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """Mean and percentiles of n times; None where there are too few, and `refused` says why.

    Percentiles lie on straight lines between order statistics (numpy's default, and that of other benches).
    """

    n: int
    mean_s: float | None = None
    p50_s: float | None = None
    p90_s: float | None = None
    p95_s: float | None = None
    p99_s: float | None = None
    refused: str = ""

    @classmethod
    def of(cls, values: Floats) -> Distribution:
        """Return the distribution of the values that are there [n]; NaN is none."""
        there = values[~np.isnan(values)]
        if len(there) == 0:
            return cls(n=0, refused="no values")
        return _described(len(there), float(there.mean()), np.percentile(there, PERCENTILES))

    @classmethod
    def counted(cls, values: Floats, counts: Ints) -> Distribution:
        """Return the distribution of values [k] that each came `counts` times: as `of` would say of all of them."""
        n = int(counts.sum())
        if n == 0:
            return cls(n=0, refused="no values")
        order = np.argsort(values)
        ordered, up_to = values[order], np.cumsum(counts[order])
        place = np.array(PERCENTILES) / 100 * (n - 1)
        low = ordered[np.searchsorted(up_to, np.floor(place), side="right")]
        high = ordered[np.searchsorted(up_to, np.ceil(place), side="right")]
        return _described(n, float(values @ counts) / n, low + (high - low) * (place - np.floor(place)))

    @classmethod
    def stated(cls, n: int, mean_s: float | None, percentiles_s: Mapping[int, float]) -> Distribution:
        """Return what somebody says of n values, as far as there are enough of them; nothing where all is zero."""
        if n == 0 or not (mean_s or any(percentiles_s.values())):
            return cls(n=0, refused="no values")
        few = n < LEAST_FOR_P99
        p50, p90, p95, p99 = map(percentiles_s.get, PERCENTILES)
        return cls(
            n=n, mean_s=mean_s, p50_s=p50, p90_s=p90, p95_s=p95, p99_s=None if few else p99,
            refused=f"p99 of {n} values is a guess: it needs {LEAST_FOR_P99}" if few else "",
        )  # fmt: skip


def _described(n: int, mean_s: float, percentiles: Floats) -> Distribution:
    p50, p90, p95, p99 = map(float, percentiles)
    enough = n >= LEAST_FOR_P99
    return Distribution(
        n=n, mean_s=mean_s, p50_s=p50, p90_s=p90, p95_s=p95, p99_s=p99 if enough else None,
        refused="" if enough else f"p99 of {n} values is a guess: it needs {LEAST_FOR_P99}",
    )  # fmt: skip
