"""The bracketing search finds the edge it is asked for, in few probes."""

from __future__ import annotations

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sizewell.planner.saturation import TOLERANCE, saturation


@given(edge=st.floats(0.01, 1000), guess=st.floats(0.01, 1000))
def test_the_edge_lies_between_what_holds_and_what_breaks(edge: float, guess: float) -> None:
    found = saturation(lambda load: load <= edge, guess)
    if found.holds and found.breaks < inf:
        assert found.holds <= edge < found.breaks <= found.holds * (1 + TOLERANCE) * (1 + 1e-9)
    assert found.probes <= 22


@given(edge=st.integers(1, 4000), guess=st.integers(1, 500))
def test_counts_are_found_to_the_tolerance_or_exactly(edge: int, guess: int) -> None:
    found = saturation(lambda load: load <= edge, guess, whole=True)
    assert found.holds <= edge < found.breaks
    assert found.breaks - found.holds <= 1 or found.breaks / found.holds <= 1 + TOLERANCE


def test_nothing_holds() -> None:
    assert saturation(lambda _: False, 8, whole=True).holds == 0
    assert saturation(lambda _: False, 1.0).holds == 0


def test_everything_holds() -> None:
    found = saturation(lambda _: True, 1.0)
    assert found.breaks == inf
    assert found.holds == pytest.approx(4096)
