"""Errors by group, worked out by hand."""

from __future__ import annotations

import pytest

from sizewell.planner.accuracy import Comparison, balanced, by_group, by_metric


def _one(group: str, measured: float, predicted: float | None, *, scored: bool = True) -> Comparison:
    wide = None if predicted is None else (predicted * 0.9, predicted * 1.1)
    return Comparison(
        point_id="x", metric="tpot", group=(group,), measured=measured, predicted=predicted,
        low=wide and wide[0], high=wide and wide[1], scored=scored,
    )  # fmt: skip


FIGURES = [
    _one("a", 100, 110), _one("a", 100, 80), _one("a", 100, 150), _one("a", 100, None),
    _one("b", 10, 10), _one("b", 10, 1000, scored=False),
]  # fmt: skip


def test_a_group_by_hand() -> None:
    a, b = by_group(FIGURES)
    assert (a.count, a.unanswered) == (3, 1)
    assert a.median_error_fraction == pytest.approx(0.2)
    assert a.mean_error_fraction == pytest.approx(0.8 / 3)
    assert a.worst_error_fraction == pytest.approx(0.5)
    assert a.bias_fraction == pytest.approx(0.1)
    assert a.covered_fraction == pytest.approx(1 / 3)
    assert (b.count, b.worst_error_fraction, b.covered_fraction) == (1, 0.0, 1.0)


def test_a_large_set_weighs_no_more_than_a_small_one() -> None:
    (equal,), (pooled,) = balanced(FIGURES), by_metric(FIGURES)
    assert equal.median_error_fraction == pytest.approx((0.2 + 0.0) / 2)
    assert pooled.median_error_fraction == pytest.approx((0.1 + 0.2) / 2)
    assert equal.count == pooled.count == 4


def test_no_prediction_is_no_perfect_score() -> None:
    (nothing,) = by_group([_one("a", 1, None)])
    assert nothing.count == 0
    assert nothing.median_error_fraction is None
    assert nothing.covered_fraction is None


def test_nothing_measured_has_no_error() -> None:
    assert _one("a", 0, 5).error_fraction is None


def test_an_exact_prediction_covers_what_rounds_to_the_figure() -> None:
    def exact(measured: float, rounding: float = 0.0) -> Comparison:
        return Comparison(
            point_id="x", metric="weights_gib_per_gpu", group=("a",), measured=measured, predicted=14.9888, low=14.9888,
            high=14.9888, provenance="exact", rounding=rounding,
        )  # fmt: skip

    assert not exact(14.99).covered
    assert exact(14.99, 0.005).covered
    assert not exact(15.0, 0.005).covered
