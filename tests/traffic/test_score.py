"""Scores of runs worked out by hand; percentiles as of the whole list; what is missing is never a zero."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sizewell.specs.errors import BadInputError
from sizewell.traffic.distribution import Distribution
from sizewell.traffic.run import FAILED, OK, REJECTED, UNFINISHED, GapCounts, Run
from sizewell.traffic.score import score
from sizewell.traffic.workload import Slo

NAN = float("nan")
ROWS = (
    # scheduled, sent, first, first answer, last, input, think, output, cached, preemptions, status
    (0.0, 0.0, 1.0, 3.0, 5.0, 100, 4, 9, 50, 0, OK),
    (1.0, 2.0, 3.0, 3.0, 3.0, 200, 0, 1, 0, 1, OK),  # one token: no TPOT; waited a second to be sent
    (2.0, 2.0, 4.0, NAN, 8.0, 300, 5, 5, 50, 0, OK),  # all tokens spent thinking: no answer
    (3.0, 3.0, NAN, NAN, NAN, 400, 0, 0, 0, 0, REJECTED),
    (4.0, 4.0, 5.0, NAN, NAN, 500, 2, 2, 0, 2, UNFINISHED),
    (5.0, NAN, NAN, NAN, NAN, 600, 0, 0, 0, 0, FAILED),
)


def run_of(rows: tuple[Any, ...], gaps: GapCounts | None = None) -> Run:
    columns = [np.array(column) for column in zip(*rows, strict=True)] if rows else [np.empty(0)] * 11
    times = [column.astype(np.float64) for column in columns[:5]]
    counts = [column.astype(np.int64) for column in columns[5:10]]
    return Run(
        scheduled_s=times[0], sent_s=times[1], first_token_s=times[2], first_answer_s=times[3], last_token_s=times[4],
        input_tokens=counts[0], think_tokens=counts[1], output_tokens=counts[2], cached_tokens=counts[3],
        preemptions=counts[4], replica=np.zeros(len(rows), dtype=np.int64), status=columns[10].astype(np.int8),
        gaps=gaps or GapCounts.none(), origin="measured",
    )  # fmt: skip


SIX = run_of(ROWS, GapCounts.of(np.array([0.5] * 8 + [1.0] * 4)))


def test_a_score_by_hand() -> None:
    found = score(SIX)
    assert (found.offered, found.ok, found.rejected, found.unfinished, found.failed) == (6, 3, 1, 1, 1)
    assert (found.ttft.n, found.ttft.mean_s, found.ttft.p50_s) == (3, pytest.approx(5 / 3), 2)
    assert (found.ttfa.n, found.ttfa.mean_s) == (2, pytest.approx((3 + 2) / 2))
    assert (found.tpot.n, found.tpot.mean_s) == (2, pytest.approx((4 / 8 + 4 / 4) / 2))
    assert found.tpot_token_weighted_s == pytest.approx(8 / 12)
    assert (found.e2e.n, found.e2e.mean_s, found.e2e.p50_s) == (3, pytest.approx((5 + 2 + 6) / 3), 5)
    assert (found.itl.n, found.itl.p50_s) == (12, 0.5)
    assert found.itl.mean_s == pytest.approx(found.tpot_token_weighted_s)
    assert found.cached_fraction == pytest.approx(100 / 600)
    assert found.preemptions == 3


def test_throughput_by_hand() -> None:
    """Wall: 0 to 12 s. Steady: from the first end (3 s) to the last start (9 s).

    Within it: of the first request 8 gaps × 2/4, which are 4 of its 9 tokens; the second ended when the window opened;
    the third whole; of the last, which begins as the window closes, nothing. Prompts count as far as their requests do.
    """
    found = score(run_of((*ROWS, (9.0, 9.0, 10.0, 10.0, 12.0, 50, 0, 3, 0, 0, OK))))
    assert found.wall is not None
    assert found.wall.window_s == 12
    assert found.wall.output_tokens_per_s == pytest.approx(18 / 12)
    assert found.wall.total_tokens_per_s == pytest.approx(668 / 12)
    assert found.wall.requests_per_s == pytest.approx(4 / 12)
    assert found.steady is not None
    assert found.steady.window_s == 6
    assert found.steady.output_tokens_per_s == pytest.approx((4 + 5) / 6)
    assert found.steady.total_tokens_per_s == pytest.approx((4 + 5 + 100 * 4 / 9 + 300) / 6)
    assert found.steady.requests_per_s == pytest.approx((4 / 9 + 1) / 6)


def test_rates_of_users_in_step_agree_with_each_other() -> None:
    """Nine waves of eight alike, a wave every 10 s: nearly eight waves of ends lay in seven waves of tokens, and a
    simulation said 931 tokens/s beside 0.664 requests/s of 1,600 tokens.
    """
    waves = [
        (start, start, start + 1.0, start + 1.0, start + 10.0 + late, 100, 0, 91, 0, 0, OK)
        for start in np.arange(9) * 10.05
        for late in np.arange(8) * 0.001
    ]
    found = score(run_of(tuple(waves))).steady
    assert found is not None
    assert found.output_tokens_per_s == pytest.approx(91 * found.requests_per_s)
    assert found.total_tokens_per_s == pytest.approx(191 * found.requests_per_s)
    assert found.requests_per_s == pytest.approx(8 / 10.05, rel=0.03)


def test_a_window_shorter_than_a_request_is_no_steady_state() -> None:
    """Two waves of a closed loop: between the first end and the last start lies the moment of a prefill.

    Tokens of that moment over its length once told a fifth of what was served, or three times as much.
    """
    waves = [(start, start, start + 1.0, start + 1.0, start + 10.0, 100, 0, 91, 0, 0, OK) for start in (0.0, 10.05)]
    found = score(run_of((*waves[:1] * 8, *waves[1:] * 8)))
    assert found.steady is None
    assert "less than one request takes" in found.no_steady_because
    assert found.wall is not None


def test_attainment_counts_all_that_was_offered() -> None:
    found = score(SIX, Slo(ttft_s=2.0, tpot_s=0.5))
    assert found.good == 2
    assert found.attainment_fraction == pytest.approx(2 / 6)
    assert found.goodput_requests_per_s == pytest.approx(2 / 8)
    assert found.goodput_output_tokens_per_s == pytest.approx(10 / 8)
    assert score(SIX).attainment_fraction == pytest.approx(3 / 6)
    assert score(SIX, Slo(ttfa_s=100.0)).good == 2, "an answer that never came meets no limit on its first token"
    assert score(SIX, Slo(e2e_s=5.0)).good == 2


def test_limits_stand_beside_the_statistic_they_bind() -> None:
    held = {limit.name: limit for limit in score(SIX, Slo(ttft_s=1.9, tpot_s=0.5, statistic="mean")).limits}
    assert held["mean ttft"].held is True
    assert held["mean tpot"].held is False
    assert held["mean tpot"].value_s == pytest.approx(0.75)
    (p99,) = score(SIX, Slo(e2e_s=9.0, statistic="p99")).limits
    assert (p99.value_s, p99.held) == (None, None), "p99 of three requests is no value"


def test_an_empty_run_is_no_perfect_zero() -> None:
    for rows in ((), ROWS[3:4]):
        found = score(run_of(rows), Slo(ttft_s=1.0))
        for felt in (found.ttft, found.ttfa, found.tpot, found.itl, found.e2e):
            assert felt == Distribution(n=0, refused="no values")
        assert found.attainment_fraction == (None if not rows else 0)
        assert found.steady is None
        assert found.no_steady_because == "no request was served"
        assert found.tpot_token_weighted_s is None
        assert found.cached_fraction is None
        assert found.limits[0].held is None


def test_there_is_no_steady_state_when_all_start_before_one_ends() -> None:
    found = score(run_of(ROWS[:1] + ROWS[2:3]))
    assert found.steady is None
    assert "started before" in found.no_steady_because


def test_there_is_no_steady_state_where_nothing_happens_between_requests() -> None:
    """Two requests long apart: the first has ended, the second has no token when it starts."""
    later = (*(time + 100.0 for time in ROWS[0][:5]), *ROWS[0][5:])
    found = score(run_of((ROWS[0], later)))
    assert found.steady is None
    assert "no token came" in found.no_steady_because


def test_failures_never_enter_latencies() -> None:
    late = (0.0, 0.0, 1e6, 1e6, 2e6, 1, 0, 9, 0, 0, FAILED)
    assert score(run_of((*ROWS, late))).ttft == score(SIX).ttft


@pytest.mark.parametrize("n", [99, 100])
def test_p99_needs_a_hundred_values(n: int) -> None:
    felt = Distribution.of(np.arange(n, dtype=np.float64))
    assert felt.n == n
    if n < 100:
        assert felt.p99_s is None
        assert felt.refused == "p99 of 99 values is a guess: it needs 100"
    else:
        assert felt.p99_s == pytest.approx(98.01)
        assert felt.refused == ""


@given(st.lists(st.tuples(st.floats(0, 100), st.integers(1, 60)), min_size=1, max_size=30))
def test_counted_gaps_are_described_as_if_they_were_listed(counted: list[tuple[float, int]]) -> None:
    values = np.array([value for value, _ in counted])
    counts = np.array([count for _, count in counted])
    listed = Distribution.of(np.repeat(values, counts))
    found = Distribution.counted(values, counts)
    assert (found.n, found.refused) == (listed.n, listed.refused)
    for name in ("mean_s", "p50_s", "p90_s", "p95_s", "p99_s"):
        assert getattr(found, name) == (
            None if getattr(listed, name) is None else pytest.approx(getattr(listed, name), rel=1e-9, abs=1e-12)
        )


def test_steady_state_throughput_of_a_steady_engine_is_its_rate() -> None:
    """A request every second, each 10 s long with 101 tokens: 101 tokens a second, once it is full."""
    rows = tuple((t, t, t + 1.0, t + 1.0, t + 11.0, 50, 0, 101, 0, 0, OK) for t in map(float, range(200)))
    found = score(run_of(rows))
    assert found.steady is not None
    assert found.wall is not None
    assert found.steady.output_tokens_per_s == pytest.approx(101, rel=1e-6)
    assert found.steady.total_tokens_per_s == pytest.approx(151, rel=1e-6)
    assert found.steady.requests_per_s == pytest.approx(1)
    assert found.wall.output_tokens_per_s == pytest.approx(101 * 200 / 210)


@pytest.mark.parametrize(
    "columns",
    [
        {"last_token_s": SIX.first_token_s - 1},
        {"first_token_s": np.full(6, NAN)},
        {"output_tokens": np.zeros(6, dtype=np.int64)},
        {"status": np.full(6, 9, dtype=np.int8)},
        {"scheduled_s": np.full(6, NAN)},
        {"sent_s": np.zeros(5)},
    ],
)
def test_runs_that_contradict_themselves_are_refused(columns: dict[str, Any]) -> None:
    with pytest.raises(BadInputError):
        replace(SIX, **columns)
