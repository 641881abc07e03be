"""Lengths meet the mean asked for, within their limits, at any count."""

from __future__ import annotations

from math import exp

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sizewell.specs.errors import BadInputError
from sizewell.traffic.classes import Observed, RequestClass
from sizewell.traffic.draws import allotted, even
from sizewell.traffic.lengths import Empirical, Fixed, Lengths, Lognormal, Uniform
from sizewell.traffic.requests import Ints, Requests

COUNTS = st.integers(min_value=1, max_value=3000)
SEEDS = st.integers(min_value=0, max_value=2**32)


def drawn(lengths: Lengths, count: int, seed: int = 0) -> Ints:
    return lengths.draw(count, np.random.default_rng(seed))


@given(tokens=st.floats(0, 10_000), count=COUNTS, seed=SEEDS)
def test_a_fixed_length_meets_a_fractional_mean(tokens: float, count: int, seed: int) -> None:
    lengths = drawn(Fixed(tokens), count, seed)
    assert lengths.mean() == pytest.approx(tokens, abs=0.51 / count)
    assert lengths.max() - lengths.min() <= 1


@given(least=st.integers(0, 5000), more=st.integers(0, 5000), count=COUNTS, seed=SEEDS)
def test_a_uniform_length_meets_its_mean_and_limits(least: int, more: int, count: int, seed: int) -> None:
    uniform = Uniform(least_tokens=least, most_tokens=least + more)
    lengths = drawn(uniform, count, seed)
    assert least <= lengths.min() <= lengths.max() <= least + more
    assert lengths.mean() == pytest.approx(uniform.mean_tokens, abs=(more + 1) / count + 0.5 * (count < 3))


def test_inferencex_draws_between_eight_tenths_and_all() -> None:
    lengths = drawn(Uniform.within(1024), 50_000)
    assert (lengths.min(), lengths.max()) == (819, 1024)
    assert lengths.mean() == pytest.approx(0.9 * 1024, rel=1e-3)


@given(mean=st.floats(1.5, 20_000), sigma=st.floats(0, 2.5), most=st.integers(2, 100_000), count=COUNTS, seed=SEEDS)
def test_a_lognormal_length_meets_its_mean_within_its_limits(
    mean: float, sigma: float, most: int, count: int, seed: int
) -> None:
    """Others cut the tail and lose a tenth of the load with it."""
    assume(mean < 0.95 * most)
    lengths = drawn(Lognormal(mean_tokens=mean, sigma=sigma, most_tokens=most), count, seed)
    assert 1 <= lengths.min() <= lengths.max() <= most
    assert lengths.mean() == pytest.approx(mean, rel=1e-6, abs=0.51 / count)


def test_a_lognormal_goes_through_its_percentiles() -> None:
    lengths = drawn(Lognormal.through(500, 8000), 200_000)
    assert np.percentile(lengths, [50, 99]) == pytest.approx([500, 8000], rel=0.02)
    assert Lognormal.through(500, 500).sigma == 0
    sigma = Lognormal.through(500, 8000).sigma
    assert Lognormal.through(500, 8000).mean_tokens == pytest.approx(500 * exp(sigma**2 / 2))


def test_observed_lengths_come_as_often_as_they_were_seen() -> None:
    lengths = drawn(Empirical(np.array([10, 20, 20, 900])), 400)
    assert np.unique(lengths, return_counts=True)[1].tolist() == [100, 200, 100]
    assert Empirical(np.array([10, 900]), most_tokens=100).mean_tokens == 55
    assert drawn(Empirical(np.array([10, 900]), most_tokens=100), 10).max() == 100


def test_strata_are_uniform_and_kinds_have_their_shares() -> None:
    rng = np.random.default_rng(0)
    assert sorted((even(1000, rng) * 1000).astype(int)) == list(range(1000))
    kinds = allotted(np.array([0.5, 0.3, 0.2]), 1000, rng)
    assert np.bincount(kinds).tolist() == [500, 300, 200]
    assert len(set(kinds[:50])) == 3


@given(weights=st.lists(st.floats(0, 10), min_size=1, max_size=5), count=COUNTS, seed=SEEDS)
def test_shares_are_met_to_within_one(weights: list[float], count: int, seed: int) -> None:
    assume(sum(weights) > 0.01)
    kinds = allotted(np.array(weights), count, np.random.default_rng(seed))
    wanted = np.array(weights) / sum(weights) * count
    assert len(kinds) == count
    assert np.abs(np.bincount(kinds, minlength=len(weights)) - wanted).max() <= 1 + 1e-9


def test_observed_rows_stay_together() -> None:
    recorded = Requests.of([0.0, 1.0, 2.0], [10, 20, 30], [1, 2, 3], [100, 200, 300])
    spoken = Observed(recorded=recorded).draw(300, np.random.default_rng(0))
    assert (spoken.text == 10 * spoken.answer).all()
    assert (spoken.think == 10 * spoken.text).all()
    assert np.bincount(spoken.answer).tolist() == [0, 100, 100, 100]


def test_lengths_that_cannot_be_are_refused() -> None:
    for make in (
        lambda: Fixed(-1), lambda: Fixed(float("nan")), lambda: Fixed(1e9),
        lambda: Uniform(least_tokens=5, most_tokens=4), lambda: Uniform(least_tokens=-1, most_tokens=4),
        lambda: Lognormal(mean_tokens=100, sigma=-1), lambda: Lognormal(mean_tokens=100, sigma=1, most_tokens=50),
        lambda: Lognormal(mean_tokens=float("nan"), sigma=1), lambda: Lognormal.through(500, 400),
        lambda: Lognormal.through(0, 400), lambda: Empirical(np.array([], dtype=np.int64)),
        lambda: Empirical(np.array([-1])), lambda: RequestClass(text=Fixed(1), answer=Fixed(1), weight=-1),
        lambda: Observed(recorded=Requests.of([], [], [])),
    ):  # fmt: skip
        with pytest.raises(BadInputError):
            make()
