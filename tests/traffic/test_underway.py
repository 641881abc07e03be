"""What is said before requests have ended must be what is said once they have."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.test_twins import SEEDS, offered, replica
from sizewell.simulator.simulate import Options, simulate
from sizewell.traffic.score import score
from sizewell.traffic.underway import Underway
from sizewell.traffic.workload import Slo

LIMITS = ("ttft_s", "tpot_s", "e2e_s")


@settings(max_examples=60, deadline=None)
@given(SEEDS, st.sampled_from(LIMITS), st.sampled_from(["mean", "p50", "p99"]), st.floats(0.05, 40.0))
def test_a_limit_missed_halfway_is_missed_in_the_end(seed: int, name: str, statistic: str, limit_s: float) -> None:
    """And nothing else changes: who is never sure plays to the same end."""
    slo = Slo(**{name: limit_s, "statistic": statistic})  # type: ignore[arg-type]
    facts, requests = replica(seed), offered(seed)
    said: list[bool] = []

    def note(so_far: Underway) -> bool:
        said.append(so_far.misses(slo))
        return False

    whole = simulate(facts, requests)
    asked = simulate(facts, requests, Options(settled=note))
    assert asked.last_token_s.tolist() == pytest.approx(whole.last_token_s.tolist(), nan_ok=True, abs=0)
    held = all(limit.held for limit in score(whole, slo).limits) and whole.served.all()
    if held:
        assert not any(said)
    assert said == sorted(said)


def test_nothing_is_missed_before_it_began_and_all_that_waits_counts() -> None:
    nan = np.full(2, np.nan)
    begun = Underway(
        now_s=1.0, ended=np.zeros(2, bool), scheduled_s=nan, first_token_s=nan, last_token_s=nan,
        output_tokens=np.array([11, 1]),
    )  # fmt: skip
    assert not begun.misses(Slo(ttft_s=1e-6, tpot_s=1e-6, e2e_s=1e-6))
    waiting = replace(begun, scheduled_s=np.zeros(2))
    assert waiting.misses(Slo(ttft_s=0.9))
    assert not waiting.misses(Slo(ttft_s=1.0))
    decoding = replace(waiting, first_token_s=np.array([0.5, 0.5]))
    assert decoding.misses(Slo(tpot_s=0.049))
    assert not decoding.misses(Slo(tpot_s=0.051))
