"""Steps priced together take what they take alone."""

from __future__ import annotations

import numpy as np
import pytest

from sizewell.catalog.calibrations import read_efficiencies
from sizewell.costs.machines import Machines, Reached
from sizewell.costs.step_policy import StepPolicy
from sizewell.planner.step_table import Lengths, StepWorks, step_table, step_tables, step_work
from sizewell.specs.deployment import Formats, Parallelism
from specimens import H100, H200, cluster, deepseek_r1

REACHED = Reached.of(Machines.of([cluster(H100, 8, 2), cluster(H200, 8)]), read_efficiencies(), "vllm")
LENGTHS = Lengths(prompt_tokens=3000, cached_tokens=200, output_tokens=300)
POLICIES = tuple(StepPolicy(chunk_tokens=tokens) for tokens in (2048, 4096, 16384))


@pytest.mark.parametrize("cut", [Parallelism(tp=8), Parallelism(tp=4, pp=2), Parallelism(tp=2, dp=4, ep=8)])
def test_token_budgets_priced_together_take_what_they_take_alone(cut: Parallelism) -> None:
    works = StepWorks(deepseek_r1(), LENGTHS)
    together = step_tables(works.works(Formats(), cut, POLICIES, (1, 8, 64, 512)), REACHED)
    for policy, found in zip(POLICIES, together, strict=True):
        alone = step_table(step_work(deepseek_r1(), Formats(), cut, LENGTHS, policy, (1, 8, 64, 512)), REACHED)
        for name in ("decode_s", "prompt_s", "alone_s", "floor_s", "alone_floor_s"):
            np.testing.assert_allclose(getattr(found, name), getattr(alone, name), rtol=1e-13)


def test_work_is_counted_once() -> None:
    works = StepWorks(deepseek_r1(), LENGTHS)
    first = works.work(Formats(), Parallelism(tp=8), POLICIES[0], (1, 8))
    assert works.work(Formats(), Parallelism(tp=8), POLICIES[0], (1, 8)) is first
    assert works.work(Formats(), Parallelism(tp=8), POLICIES[1], (1, 8)) is not first
