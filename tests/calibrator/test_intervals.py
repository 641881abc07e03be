"""Interval widths hold what they say, and thin strata lean on the others."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sizewell.calibrator.intervals import MOST_WIDENING, equal_shares, widening, width, widths


@given(st.lists(st.floats(-2, 2), min_size=1, max_size=60), st.floats(0.05, 0.95))
def test_a_width_holds_at_least_its_share(errors: list[float], covered: float) -> None:
    sizes = np.array(errors)
    held = np.abs(sizes) <= width(sizes, np.ones(len(sizes)), covered)
    assert held.mean() >= covered - 1e-9


def test_labels_count_the_same_whatever_their_number() -> None:
    shares = equal_shares(["a", "a", "a", "b"])
    assert shares[:3].sum() == pytest.approx(shares[3])


def test_a_thin_stratum_leans_on_all() -> None:
    errors = np.concatenate([np.full(100, 0.1), np.full(2, 2.0)])
    found = widths(errors, np.ones(102), ["many"] * 100 + ["few"] * 2)
    assert found["many"] == pytest.approx(0.1)
    assert 0.1 < found["few"] < 2.0


def test_ignorance_never_narrows_and_never_explodes() -> None:
    ones = np.ones(3)
    assert widening(np.full(3, 0.2), np.full(3, 0.1), ones) == 1.0
    assert widening(np.full(3, 0.1), np.full(3, 9.0), ones) == MOST_WIDENING
    assert widening(np.zeros(3), np.full(3, 9.0), ones) == 1.0
