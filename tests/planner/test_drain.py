"""A run that starts at once is as long as its longest answer."""

from __future__ import annotations

import numpy as np

from sizewell.catalog.calibrations import read_efficiencies
from sizewell.costs.machines import Machines, Reached
from sizewell.costs.step_policy import StepPolicy
from sizewell.planner.drain import drained
from sizewell.planner.steady_state import Limits, Rates, rates
from sizewell.planner.step_table import Lengths, step_table, step_work
from sizewell.specs.deployment import Formats, Parallelism
from specimens import H200, cluster, llama_70b

LENGTHS = Lengths(prompt_tokens=220, cached_tokens=0, output_tokens=200)


def settled(most: float) -> Rates:
    reached = Reached.of(Machines.of([cluster(H200, 8)]), read_efficiencies(), "vllm")
    work = step_work(llama_70b(), Formats(), Parallelism(tp=8), LENGTHS, StepPolicy(chunk_tokens=8192))
    return rates(step_table(work, reached), Limits(max_sequences=most))


def test_varied_answers_drain_slower_than_equal_ones() -> None:
    free = settled(1024)
    for count in (100, 1000):
        varied, equal = drained(free, count), free.all_at_once(count)
        assert (varied.requests_per_s < equal.requests_per_s).all()


def test_one_request_takes_its_own_time_and_many_approach_the_steady_rate() -> None:
    free = settled(256)
    full = free.at_sequences(free.most).requests_per_s
    assert np.allclose(drained(free, 1e6).requests_per_s, full, rtol=0.01)
    alone = drained(free, 1)
    own_s = free.table.prompt_s[:, 0] + 199 * free.table.decode_s[:, 0]
    assert np.allclose(1 / alone.requests_per_s, own_s)


def test_more_requests_never_end_earlier() -> None:
    free = settled(256)
    run_s = [float((count / drained(free, count).requests_per_s)[0]) for count in (2, 16, 256, 257, 4000)]
    assert run_s == sorted(run_s)
