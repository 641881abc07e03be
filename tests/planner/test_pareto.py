"""No kept point is beaten; every dropped point is."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sizewell.planner.pareto import frontier

POINTS = st.lists(st.tuples(st.integers(1, 20), st.integers(1, 20)), min_size=1, max_size=30)


@given(POINTS)
def test_frontier_is_exactly_the_unbeaten_points(points: list[tuple[int, int]]) -> None:
    speed, cost = (np.array(axis, float) for axis in zip(*points, strict=True))
    kept = {(speed[i], cost[i]) for i in frontier(speed, cost)}
    unbeaten = {
        (s, c) for s, c in zip(speed, cost, strict=True)
        if not any((s2 >= s and c2 < c) or (s2 > s and c2 <= c) for s2, c2 in zip(speed, cost, strict=True))
    }  # fmt: skip
    assert kept == unbeaten
