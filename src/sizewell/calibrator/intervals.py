"""How wide an interval must be: from the errors of predictions that never saw what they are about.

The half width is the error that a share of left-out measurements stays within (split conformal prediction), by kind
of load where there is enough evidence; what a prediction does not know widens it by as much as the same ignorance
widened the errors of those who had it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sizewell.calibrator.beliefs import Floats

COVERED = 0.8
ENOUGH = 12
"""Measurements a stratum must have before its own errors set its width alone."""
MOST_WIDENING = 3.0


def width(errors: Floats, weights: Floats, covered: float = COVERED) -> float:
    """Return the size of error, ln, that a share of the weight stays within; 0 without any."""
    if not len(errors):
        return 0.0
    sizes = np.abs(errors)
    order = np.argsort(sizes)
    held = np.cumsum(weights[order])
    return float(sizes[order][min(int(np.searchsorted(held, covered * held[-1])), len(order) - 1)])


def widths(errors: Floats, weights: Floats, strata: Sequence[str]) -> dict[str, float]:
    """Return the width of every stratum, drawn towards that of all (the empty name) where it is thin."""
    overall = width(errors, weights)
    names = np.array(strata)
    found = {"": overall}
    for name in sorted(set(strata)):
        mine = names == name
        share = min(1.0, float(mine.sum()) / ENOUGH)
        found[name] = share * width(errors[mine], weights[mine]) + (1 - share) * overall
    return found


def widening(known: Floats, unknown: Floats, weights: Floats) -> float:
    """Return how much wider errors are without some knowledge than with it, both [N]; between 1 and MOST_WIDENING."""
    with_it = width(known, weights)
    return float(np.clip(width(unknown, weights) / with_it, 1.0, MOST_WIDENING)) if with_it else 1.0


def equal_shares(labels: Sequence[str]) -> Floats:
    """Return weights under which every label counts the same, [N]."""
    _, place, counts = np.unique(np.array(labels), return_inverse=True, return_counts=True)
    inverse: NDArray[np.float64] = 1.0 / counts
    return inverse[place]
