"""The process meets the rate asked for, whatever the rate, the count and the burstiness."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sizewell.specs.errors import BadInputError
from sizewell.traffic.arrivals import (
    WRITTEN_S,
    AllAtOnce,
    Arrivals,
    Constant,
    Gamma,
    Pause,
    Recorded,
    Users,
    Varying,
    Window,
    mean_rate_per_s,
    poisson,
)
from sizewell.traffic.profile import RateProfile, diurnal, ramp
from sizewell.traffic.requests import Floats

RATES = st.floats(min_value=1e-3, max_value=1e4)
COUNTS = st.integers(min_value=1, max_value=2000)
SEEDS = st.integers(min_value=0, max_value=2**32)


def starts(arrivals: Arrivals, count: int, seed: int = 0) -> Floats:
    return arrivals.starts(count, count, np.random.default_rng(seed))


@given(rate=RATES, count=COUNTS, burstiness=st.floats(min_value=0.05, max_value=100), seed=SEEDS)
def test_n_requests_take_n_over_rate_seconds(rate: float, count: int, burstiness: float, seed: int) -> None:
    for process in (poisson(rate), Gamma(rate_per_s=rate, burstiness=burstiness), Constant(rate_per_s=rate)):
        times = starts(process, count, seed)
        assert len(times) == count
        assert times[-1] == pytest.approx(count / rate)
        assert (np.diff(times) >= 0).all()
        assert times[0] >= 0


@given(rate=RATES, sessions=st.integers(1, 500), turns=st.floats(1, 20), seed=SEEDS)
def test_sessions_start_so_that_their_requests_meet_the_rate(
    rate: float, sessions: int, turns: float, seed: int
) -> None:
    requests = int(sessions * turns)
    for process in (poisson(rate), Constant(rate_per_s=rate)):
        times = process.starts(sessions, requests, np.random.default_rng(seed))
        assert times[-1] == pytest.approx(requests / rate)


@pytest.mark.parametrize("burstiness", [0.25, 1.0, 4.0])
def test_burstiness_is_one_over_the_squared_variation_of_the_gaps(burstiness: float) -> None:
    gaps = np.diff(starts(Gamma(rate_per_s=7.0, burstiness=burstiness), 200_000))
    assert gaps.mean() == pytest.approx(1 / 7, rel=1e-3)
    assert gaps.std() / gaps.mean() == pytest.approx(burstiness**-0.5, rel=0.02)


def test_poisson_counts_have_a_variance_like_their_mean() -> None:
    times = starts(poisson(50.0), 200_000)
    counts = np.bincount(times.astype(int))[:-1]
    assert counts.var() / counts.mean() == pytest.approx(1, abs=0.08)


@given(
    rates=st.lists(st.just(0.0) | st.floats(1e-3, 100), min_size=2, max_size=6).filter(lambda rates: max(rates) > 0.1),
    step=st.floats(0.5, 100),
    repeats=st.booleans(),
    seed=SEEDS,
)
def test_a_varying_rate_is_met_at_every_request(rates: list[float], step: float, repeats: bool, seed: int) -> None:
    """The integral of the rate up to each arrival is the mark it was drawn at; the last one is the count."""
    at_s = tuple(step * number for number in range(len(rates)))
    profile = RateProfile(at_s=at_s, rate_per_s=tuple(rates), repeats=repeats)
    whole = profile.requests_until(at_s[-1])
    marks = np.sort(np.random.default_rng(seed).uniform(0, whole * (3 if repeats or rates[-1] > 0 else 1), 50))
    times = profile.times_of(marks)
    assert (np.diff(times) >= 0).all()
    back = [profile.requests_until(float(time)) for time in times]
    assert back == pytest.approx(marks, rel=1e-6, abs=1e-6 * max(1.0, whole))


def test_a_ramp_by_hand() -> None:
    """From 0 to 10 a second over 10 s: t² / 2 requests by t, 50 at the end, then 10 a second."""
    profile = ramp(0.0, 10.0, 10.0)
    assert profile.times_of(np.array([0.0, 2.0, 8.0, 50.0, 70.0])).tolist() == pytest.approx([0, 2, 4, 10, 12])
    assert profile.requests_until(12.0) == pytest.approx(70)
    assert profile.mean_per_s == pytest.approx(5)


def test_a_day_has_its_mean_and_its_peak() -> None:
    day = diurnal(10.0, 1.8)
    assert day.mean_per_s == pytest.approx(10)
    assert max(day.rate_per_s) == pytest.approx(18)
    assert min(day.rate_per_s) == pytest.approx(2)
    times = starts(Varying(profile=day), 864_000 * 2)
    assert times[-1] == pytest.approx(2 * 86_400)
    by_hour = np.bincount((times[:-1] / 3600).astype(int), minlength=48) / 3600
    assert by_hour[:24].argmax() in (11, 12)
    assert by_hour[35:37] == pytest.approx([18, 18], rel=0.03)
    assert by_hour[24] == pytest.approx(2, rel=0.15)
    assert Varying(profile=day).at_rate(5.0).requests_within(86_400) == pytest.approx(5 * 86_400)


@settings(max_examples=40)
@given(share=st.floats(0.002, 0.999), peak_h=st.floats(0, 24), swing=st.floats(1, 2), seed=SEEDS)
def test_less_than_a_day_lies_around_its_peak_and_meets_its_rate(
    share: float, peak_h: float, swing: float, seed: int
) -> None:
    """The window of any length has as many requests as the integral of the rate over it, half of them by the peak."""
    around = Varying(profile=diurnal(1.0, swing, peak_h * 3600), middle_s=peak_h * 3600)
    window_s = share * 86_400
    count = round(around.requests_within(window_s))
    mean = 1 + (swing - 1) * np.sin(np.pi * share) / (np.pi * share)
    assert count == pytest.approx(mean * window_s, rel=2e-4, abs=1)
    times = starts(around, count, seed=seed)
    assert times[-1] == pytest.approx(window_s, rel=2e-4, abs=3)
    assert (np.diff(times, prepend=0.0) >= 0).all()
    assert np.searchsorted(times, window_s / 2) == pytest.approx(count / 2, abs=6 * np.sqrt(count))


def test_a_day_may_begin_at_any_hour() -> None:
    evening = starts(Varying(profile=diurnal(10.0, 1.8), begin_s=18 * 3600.0), 864_000)
    by_hour = np.bincount((evening[:-1] / 3600).astype(int), minlength=24) / 3600
    assert evening[-1] == pytest.approx(86_400)
    assert (by_hour.argmin(), by_hour.argmax()) in {(low, high) for low in (5, 6) for high in (17, 18)}
    with pytest.raises(BadInputError, match="repeats"):
        Varying(profile=ramp(1.0, 2.0, 3.0), begin_s=1.0)


def test_a_profile_that_ends_at_nothing_offers_no_more() -> None:
    triangle = Varying(profile=RateProfile(at_s=(0.0, 5.0, 10.0), rate_per_s=(0.0, 10.0, 0.0)))
    assert starts(triangle, 50)[-1] == pytest.approx(10)
    with pytest.raises(BadInputError, match="falls to 0 after 50 requests"):
        starts(triangle, 60)


def test_batches_start_at_once_and_closed_loops_as_fast_as_a_client_writes() -> None:
    assert starts(AllAtOnce(), 3).tolist() == [0, 0, 0]
    assert starts(Window(concurrency=3), 5).tolist() == pytest.approx([0, WRITTEN_S, *[2 * WRITTEN_S] * 3])


def test_users_start_one_after_another_and_then_pause() -> None:
    times = starts(Users(users=4, pause=Pause(mean_s=3.0), start_over_s=8.0), 6)
    assert times.tolist() == [0, 2, 4, 6, 3, 3]


@given(mean=st.floats(0.01, 100), count=COUNTS, seed=SEEDS)
def test_pauses_have_their_mean(mean: float, count: int, seed: int) -> None:
    for spread in ("fixed", "exponential"):
        pauses = Pause(mean_s=mean, spread=spread).draw(count, np.random.default_rng(seed))  # type: ignore[arg-type]
        assert pauses.mean() == pytest.approx(mean)


@settings(max_examples=30)
@given(rate=RATES)
def test_recorded_times_stretch_to_a_rate(rate: float) -> None:
    recorded = Recorded(np.array([1.0, 2.0, 5.0, 9.0]))
    assert mean_rate_per_s(recorded.arrival_s) == pytest.approx(3 / 8)
    assert mean_rate_per_s(recorded.at_rate(rate).arrival_s) == pytest.approx(rate)


def test_what_cannot_be_a_process_is_refused() -> None:
    for make in (
        lambda: poisson(0.0), lambda: poisson(float("nan")), lambda: Gamma(rate_per_s=1.0, burstiness=0.0),
        lambda: Constant(rate_per_s=-1.0), lambda: Window(concurrency=0), lambda: Users(users=0),
        lambda: Pause(mean_s=-1.0), lambda: Recorded(np.array([])), lambda: Recorded(np.array([2.0, 1.0])),
        lambda: Recorded(np.array([np.nan])), lambda: Recorded(np.array([1.0, 1.0])).at_rate(1.0),
        lambda: starts(Recorded(np.array([1.0])), 2), lambda: ramp(0.0, 0.0, 10.0), lambda: ramp(1.0, -1.0, 10.0),
        lambda: ramp(1.0, 1.0, 0.0), lambda: RateProfile(at_s=(0.0,), rate_per_s=(1.0,)), lambda: diurnal(1.0, 3.0),
    ):  # fmt: skip
        with pytest.raises(BadInputError):
            make()
