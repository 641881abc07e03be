"""Overload: a queue that grows for as long as requests come, told from one that only had a bad moment."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sizewell.traffic.arrivals import poisson
from sizewell.traffic.overload import overload
from sizewell.traffic.requests import Requests
from sizewell.traffic.run import OK, REJECTED, UNFINISHED, GapCounts, Run

SERVICE_S = 0.1


def queue(rate_per_s: float, count: int = 2000, seed: int = 0) -> tuple[Requests, Run]:
    """Return what one server that takes a tenth of a second for each request does with Poisson arrivals."""
    arrival = poisson(rate_per_s).starts(count, count, np.random.default_rng(seed))
    end = np.empty(count)
    free = 0.0
    for row, due in enumerate(arrival):
        free = end[row] = max(free, due) + SERVICE_S
    requests = Requests.of(arrival, 10, 1)
    none = np.zeros(count, dtype=np.int64)
    run = Run(
        scheduled_s=arrival, sent_s=arrival, first_token_s=end, first_answer_s=end, last_token_s=end,
        input_tokens=requests.input_tokens, think_tokens=none, output_tokens=none + 1, cached_tokens=none,
        preemptions=none, replica=none, status=np.full(count, OK, dtype=np.int8), gaps=GapCounts.none(),
        origin="simulated",
    )  # fmt: skip
    return requests, run


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("load", [0.3, 0.7, 0.9])
def test_a_server_that_keeps_up_is_not_overloaded(load: float, seed: int) -> None:
    assert overload(*queue(load / SERVICE_S, seed=seed)) == ""


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("load", [1.2, 2.0, 10.0])
def test_a_server_that_falls_behind_is(load: float, seed: int) -> None:
    said = overload(*queue(load / SERVICE_S, seed=seed))
    assert said.startswith(f"{load / SERVICE_S:.3g} requests/s came")
    assert "were waiting when the last one came" in said


def test_what_never_began_waits_and_what_was_refused_does_not() -> None:
    requests, run = queue(20.0)
    late = run.first_token_s > run.scheduled_s[-1]
    never = replace(
        run, first_token_s=np.where(late, np.nan, run.first_token_s),
        status=np.where(late, UNFINISHED, OK).astype(np.int8),
    )  # fmt: skip
    assert overload(requests, never) == overload(requests, run) != ""
    refused = replace(run, status=np.full(len(run), REJECTED, dtype=np.int8))
    assert overload(requests, refused) == ""


def test_a_closed_loop_and_a_batch_cannot_be_overloaded() -> None:
    requests, run = queue(20.0)
    assert overload(replace(requests, concurrency=4), run) == ""
    at_once = replace(run, scheduled_s=np.zeros(len(run)))
    assert overload(replace(requests, arrival_s=np.zeros(len(run))), at_once) == ""
