"""Prompts that wait for all data-parallel ranks, and what pipeline stages may not overlap."""

from __future__ import annotations

import pytest

from simulator.conftest import said, schedule_of, small
from sizewell.simulator.facts import SchedulerRules
from sizewell.simulator.simulate import Options, play
from sizewell.traffic.requests import Requests

both = pytest.mark.parametrize("compiled", [False, True])
TWO_EACH = Requests.of([0.0, 0.0, 0.1], [4, 4, 4], [12, 12, 3])


@both
def test_a_prompt_waits_until_every_rank_has_one_or_so_many_steps(compiled: bool) -> None:
    """A and B decode on a rank each when C comes: nobody else does, so it waits the three steps it may be made to."""
    eager = play(small(ranks=2), TWO_EACH, Options(compiled=compiled, log=True))
    patient = play(small(ranks=2, balance_steps=3), TWO_EACH, Options(compiled=compiled, log=True))
    admitted = [next(step for step, request, _ in said(p.log, "admitted") if request == 2) for p in (eager, patient)]
    assert admitted[1] - admitted[0] == 3
    assert patient.run.output_tokens.tolist() == [12, 12, 3]


@both
def test_prompts_of_all_ranks_are_computed_at_once(compiled: bool) -> None:
    requests = Requests.of([0.0, 0.0, 1.5, 1.5], [4, 4, 4, 4], [12, 12, 3, 3])
    played = play(small(ranks=2, balance_steps=50), requests, Options(compiled=compiled, log=True))
    steps = [step for step, request, _ in said(played.log, "admitted") if request >= 2]
    assert len(set(steps)) == 1
    assert max(steps) <= 3


@both
def test_a_rank_without_work_waits_for_nobody(compiled: bool) -> None:
    run = play(small(ranks=2, balance_steps=50), Requests.of([0.0], [4], [3]), Options(compiled=compiled)).run
    assert run.first_token_s.tolist() == [1.0]


@both
@pytest.mark.parametrize("stages", [2, 3])
def test_a_token_leaves_the_last_stage_before_the_next_enters_the_first(compiled: bool, stages: int) -> None:
    """Whatever release: one sequence takes a whole step for each token, however many stages the step has."""
    facts = small(stages=stages, rules=SchedulerRules())
    played = play(facts, Requests.of([0.0], [4], [5]), Options(compiled=compiled, log=True))
    assert schedule_of(played.log)[1:] == [{0: 1}] * 4
    assert (played.run.last_token_s - played.run.first_token_s).tolist() == [4.0]
