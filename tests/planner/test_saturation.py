"""The bracketing search finds the edge it is asked for, in few probes, and the bracket that trying every load finds."""

from __future__ import annotations

from math import exp, inf, sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sizewell.planner.saturation import MOST_DOUBLINGS, TOLERANCE, saturation

EDGES = st.floats(0.01, 5000)


@given(edge=st.floats(0.01, 1000), guess=st.floats(0.01, 1000))
def test_the_edge_lies_between_what_holds_and_what_breaks(edge: float, guess: float) -> None:
    found = saturation(lambda load: load / edge, guess)
    if found.holds and found.breaks < inf:
        assert found.holds <= edge < found.breaks <= found.holds * (1 + TOLERANCE) * (1 + 1e-9)
    assert found.probes <= 22


@given(edge=st.integers(1, 4000), guess=st.integers(1, 500))
def test_counts_are_found_to_the_tolerance_or_exactly(edge: int, guess: int) -> None:
    found = saturation(lambda load: 0.5 if load <= edge else 2.0, guess, whole=True)
    assert found.holds <= edge < found.breaks
    assert found.breaks - found.holds <= 1 or found.breaks / found.holds <= 1 + TOLERANCE


@given(
    edge=EDGES, guess=EDGES, whole=st.booleans(), power=st.floats(0.05, 3), wall=st.sampled_from([0.0, 20.0, inf]),
    known=st.lists(st.floats(0.05, 2), max_size=2),
)  # fmt: skip
def test_what_is_not_tried_is_as_if_it_had_been(
    edge: float, guess: float, whole: bool, power: float, wall: float, known: list[float]
) -> None:
    def strain(load: float) -> float:
        beyond = load / edge - 1
        return (1 + beyond) ** power * (exp(min(wall * beyond, 100)) if beyond > 0 else 1.0)

    guess = max(1.0, round(guess)) if whole else guess
    loads = [max(1.0, round(guess * one)) if whole else guess * one for one in known]
    found = saturation(strain, guess, whole=whole, known={load: strain(load) for load in loads})
    assert (found.holds, found.breaks) == every_load_tried(lambda load: load <= edge, guess, whole)


def every_load_tried(holds, guess: float, whole: bool) -> tuple[float, float]:  # type: ignore[no-untyped-def]
    """Double or halve from the guess until both sides are seen, then halve the gap, trying each load."""

    def offered(load: float) -> float:
        return float(max(1, round(load))) if whole else load

    load = offered(guess)
    tried = {load: holds(load)}
    good = tried[load]
    for _ in range(MOST_DOUBLINGS):
        load = offered(load * 2 if good else load / 2)
        if load in tried or len(set(tried.values())) == 2:
            break
        tried[load] = holds(load)
    low = max((load for load, held in tried.items() if held), default=0.0)
    high = min((load for load, held in tried.items() if not held), default=inf)
    while low and high < inf and high > low * (1 + TOLERANCE) and not (whole and high - low <= 1):
        middle = offered(sqrt(low * high))
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low, high


def test_a_load_whose_strain_is_known_is_not_tried_again() -> None:
    tried: list[float] = []

    def strain(load: float) -> float:
        tried.append(load)
        return sqrt(load / 90)

    saturation(strain, 256, whole=True, known={64: sqrt(64 / 90), 257: inf})
    assert len(tried) <= 3
    assert all(64 < load < 257 for load in tried)


def test_nothing_holds() -> None:
    assert saturation(lambda _: 2.0, 8, whole=True).holds == 0
    assert saturation(lambda _: inf, 1.0).holds == 0


def test_everything_holds() -> None:
    found = saturation(lambda _: 0.0, 1.0)
    assert found.breaks == inf
    assert found.holds == pytest.approx(4096)
