"""The plans nothing else beats on both axes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def frontier(speed: NDArray[np.float64], cost: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return the indices, by falling speed, of points that no other point beats in both speed and cost.

    `speed` is better when larger, `cost` when smaller; both are [N]. Of equal points the first is kept.
    """
    order = np.lexsort((cost, -speed))
    cheapest_before = np.minimum.accumulate(cost[order])
    kept = np.concatenate(([True], cost[order][1:] < cheapest_before[:-1])) if len(order) else np.array([], bool)
    return order[kept]
