"""The settled state agrees with itself: Little's law, limits and monotony."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sizewell.catalog.calibrations import read_efficiencies
from sizewell.costs.machines import Machines, Reached
from sizewell.costs.step_policy import StepPolicy
from sizewell.planner.steady_state import Limits, Overheads, Rates, rates
from sizewell.planner.step_table import Lengths, step_table, step_work
from sizewell.specs.deployment import Formats, Parallelism
from specimens import H100, H200, cluster, deepseek_r1, llama_70b

REACHED = Reached.of(Machines.of([cluster(H100, 8, 2), cluster(H200, 8)]), read_efficiencies(), "vllm")
LENGTHS = Lengths(prompt_tokens=1000, cached_tokens=0, output_tokens=300)


def state(limits: Limits, lengths: Lengths = LENGTHS) -> Rates:
    policy = StepPolicy(chunk_tokens=8192)
    work = step_work(llama_70b(), Formats(), Parallelism(tp=8), lengths, policy)
    return rates(step_table(work, REACHED), limits)


@settings(max_examples=40, deadline=None)
@given(users=st.floats(1, 5000), most=st.floats(1, 512))
def test_users_are_rate_times_residence(users: float, most: float) -> None:
    point = state(Limits(max_sequences=most)).at_users(users)
    assert np.allclose(users, point.requests_per_s * (point.ttft_s + 299 * point.tpot_s))
    assert (point.ttft_s > 0).all()


@settings(max_examples=40, deadline=None)
@given(users=st.floats(1, 300), prompt=st.sampled_from([1000, 30_000, 120_000]), output=st.sampled_from([2, 50, 1000]))
def test_prompts_never_come_faster_than_they_can_be_computed(users: float, prompt: int, output: int) -> None:
    lengths = Lengths(prompt_tokens=prompt, cached_tokens=0, output_tokens=output)
    found = state(Limits(max_sequences=256), lengths)
    point = found.at_users(users)
    assert (point.requests_per_s * found.table.prompt_s.min(axis=1) <= 1 + 1e-9).all()


def test_who_rides_waits_out_the_running_step_and_its_own() -> None:
    """At little load the first token takes half a step of the others, then one with the own prompt in it."""
    mixed = state(Limits(max_sequences=4096), Lengths(prompt_tokens=10, cached_tokens=0, output_tokens=100_000))
    table, calm = mixed.table, mixed.calm or mixed
    step_s, prompt_s = table.decode_s[:, -1], table.prompt_s[:, -1]
    expected = table.request_s + 1.5 * step_s + prompt_s
    assert np.allclose(calm.ttft_s[:, -1], expected, rtol=0.03)


def test_engines_that_compute_prompts_first_answer_sooner() -> None:
    policy = StepPolicy(chunk_tokens=8192, mixes=False)
    work = step_work(llama_70b(), Formats(), Parallelism(tp=8), LENGTHS, policy)
    first, riding = rates(step_table(work, REACHED), Limits(max_sequences=256)), state(Limits(max_sequences=256))
    assert (first.ttft_s[:, 1:] < riding.ttft_s[:, 1:]).all()
    assert np.allclose(first.tpot_s, riding.tpot_s)


def test_users_beyond_the_cache_only_wait() -> None:
    limited = state(Limits(max_sequences=1024, kv_tokens=64 * 1150))
    few, many = limited.at_users(100), limited.at_users(1000)
    assert np.allclose(few.tpot_s, many.tpot_s)
    assert (many.ttft_s > few.ttft_s).all()
    assert np.allclose(few.requests_per_s, many.requests_per_s)


def test_more_users_mean_more_throughput_and_slower_tokens() -> None:
    free = state(Limits(max_sequences=4096))
    points = [free.at_users(users) for users in (1, 8, 64, 512)]
    assert (np.diff([p.requests_per_s for p in points], axis=0) > 0).all()
    assert (np.diff([p.tpot_s for p in points], axis=0) > 0).all()


@pytest.mark.parametrize("cut", [Parallelism(tp=8), Parallelism(tp=8, pp=2), Parallelism(dp=8, ep=8)], ids=str)
def test_every_cut_stays_above_the_floor(cut: Parallelism) -> None:
    work = step_work(deepseek_r1(), Formats(), cut, LENGTHS, StepPolicy(chunk_tokens=8192))
    table = step_table(work, REACHED)
    assert (table.decode_s > table.floor_s).all()
    assert (table.prompt_s >= 0).all()


def test_a_rate_above_capacity_saturates_and_one_below_is_served() -> None:
    free = state(Limits(max_sequences=64))
    calm = free.calm or free
    capacity = calm.at_sequences(calm.most).requests_per_s
    over, under = free.at_rate(capacity * 1.2), free.at_rate(capacity * 0.5)
    assert np.isinf(over.ttft_s).all() and np.allclose(over.requests_per_s, capacity)
    assert np.isfinite(under.ttft_s).all() and np.allclose(under.requests_per_s, capacity * 0.5)


@settings(max_examples=40, deadline=None)
@given(busy=st.floats(0.001, 0.6), prompt=st.sampled_from([100, 8000, 100_000]), output=st.sampled_from([2, 20, 300]))
def test_who_comes_independently_meets_everybody_else(busy: float, prompt: int, output: int) -> None:
    """Of N decoding on average N are met, not N − 1 as in a closed loop: tpot = a/(1 − x·s)."""
    lengths = Lengths(prompt_tokens=prompt, cached_tokens=0, output_tokens=output)
    table = state(Limits(max_sequences=4096), lengths).table
    steady = rates(table, Limits(max_sequences=4096), Overheads.settled(table))
    rate = busy / (table.prompt_s[:, 0] + steady.gaps * table.decode_s[:, 0])
    point = steady.at_rate(rate)
    # So little is under way that batches of one tell what a step takes.
    assert np.allclose(point.tpot_s, table.decode_s[:, 0] / (1 - rate * table.prompt_s[:, 0]), rtol=0.15)
    assert (point.ttft_s >= table.request_s + table.alone_s * (1 - 1e-9)).all()
    more = steady.at_rate(rate * 1.2)
    assert (more.tpot_s >= point.tpot_s * (1 - 1e-9)).all()
    assert (more.ttft_s >= point.ttft_s * (1 - 1e-9)).all()


def test_a_saturated_rate_decodes_no_more_sequences_than_may() -> None:
    limited = state(Limits(max_sequences=1024, kv_tokens=362 * 1150))
    point = limited.at_rate(1e5)
    assert point.saturated.all()
    assert (point.requests_per_s * point.gaps * point.tpot_s <= limited.most * 1.0001).all()


def test_requests_that_start_together_finish_within_the_run() -> None:
    free = state(Limits(max_sequences=256))
    for count in (16, 256, 5000):
        point = free.all_at_once(count)
        run_s = count / point.requests_per_s
        assert (point.e2e_s <= run_s * 1.01).all()


def test_requests_that_start_together_wait_before_the_first_token_instead_of_between_tokens() -> None:
    together = state(Limits(max_sequences=256))
    calm = together.calm
    assert calm is not None
    assert (together.ttft_s[:, 5:] > calm.ttft_s[:, 5:]).all()
    assert (together.tpot_s[:, 5:] < calm.tpot_s[:, 5:]).all()
    assert np.allclose(
        together.ttft_s - calm.ttft_s, (calm.tpot_s - together.tpot_s) * together.gaps, rtol=0.2, atol=0.05
    )
