"""Drafts: a step brings one token, and every draft if it and all before it are accepted."""

from __future__ import annotations

import numpy as np
import pytest

from simulator.conftest import ASYNC, SYNC, flat_surface, small
from sizewell.costs.step_policy import mean_accepted_tokens
from sizewell.simulator.facts import Disaggregated, Fleet, SchedulerRules
from sizewell.simulator.simulate import Options, play
from sizewell.traffic.requests import Requests

TOKENS = 4_000


def tokens_a_step(rules: SchedulerRules, drafts: int, acceptance: float) -> float:
    """Return how many tokens a sequence that is alone gets in each step after the first."""
    facts = small(
        surface=flat_surface(1.0, drafts=drafts), drafts=drafts, acceptance=acceptance, rules=rules,
        blocks=TOKENS, max_model_len_tokens=2 * TOKENS,
    )  # fmt: skip
    run = play(facts, Requests.of([0.0], [4], [TOKENS])).run
    return float((TOKENS - 1) / (run.last_token_s[0] - run.first_token_s[0]))


@pytest.mark.parametrize("rules", [SYNC, ASYNC])
@pytest.mark.parametrize(("drafts", "acceptance"), [(1, 0.7), (2, 0.7), (3, 0.4), (5, 0.9)])
def test_a_step_brings_the_sum_of_powers(rules: SchedulerRules, drafts: int, acceptance: float) -> None:
    """1 + p + p² + …, as the planner has it; within three standard errors of so many steps."""
    expected = float(mean_accepted_tokens(np.array([acceptance]), drafts)[0])
    assert expected == pytest.approx(sum(acceptance**k for k in range(drafts + 1)))
    error = drafts / 2 / (TOKENS / expected) ** 0.5
    assert tokens_a_step(rules, drafts, acceptance) == pytest.approx(expected, abs=3 * error)


@pytest.mark.parametrize("compiled", [False, True])
def test_a_decode_pool_drafts_too(compiled: bool) -> None:
    """All accepted: the first token after prefill and move, then three a step."""
    one = small(surface=flat_surface(1.0, drafts=2), drafts=2, acceptance=1.0)
    pools = Disaggregated(prefill=Fleet(replica=one), decode=Fleet(replica=one))
    run = play(pools, Requests.of([0.0], [4], [7]), Options(compiled=compiled)).run
    assert (run.first_token_s[0], run.last_token_s[0]) == (2.0, 4.0)
    assert run.output_tokens[0] == 7
