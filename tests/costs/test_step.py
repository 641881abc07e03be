"""The time of a step: its parts add up, it never beats its floor, and it names what binds it."""

from __future__ import annotations

import numpy as np
import pytest

from sizewell.catalog.calibrations import read_efficiencies
from sizewell.costs.batch import Batch
from sizewell.costs.machines import Machines, Reached
from sizewell.costs.operators import step_operators
from sizewell.costs.step import Launch, StepTime, price
from sizewell.specs.deployment import Formats, Parallelism
from sizewell.specs.model import ModelSpec
from specimens import H100, H200, cluster, deepseek_r1, llama_70b

NATIVE = Formats()
CLUSTERS = (cluster(H100, 8, 2), cluster(H200, 8))


def step(model: ModelSpec, cut: Parallelism, batch: Batch, eager: bool = False) -> StepTime:
    reached = Reached.of(Machines.of(CLUSTERS), read_efficiencies(), "vllm")
    return price(step_operators(model, NATIVE, cut, batch), reached, Launch(sequences=batch.sampled, eager=eager))


@pytest.mark.parametrize("model", [llama_70b(), deepseek_r1()], ids=["dense", "moe"])
def test_parts_and_limits_add_up_to_the_total_and_the_total_keeps_its_floor(model: ModelSpec) -> None:
    time = step(model, Parallelism(tp=8), Batch.decode([1, 4, 64, 256], 2000))
    assert time.total_s.shape == (2, 4)
    assert np.allclose(sum(time.parts.values()), time.total_s)
    assert np.allclose(sum(time.limits.values()), time.total_s)
    assert (time.total_s > time.floor_s).all()


def test_eager_steps_of_a_small_batch_wait_for_launches() -> None:
    eager = step(deepseek_r1(), Parallelism(tp=8), Batch.decode(1, 500), eager=True)
    graphs = step(deepseek_r1(), Parallelism(tp=8), Batch.decode(1, 500))
    assert eager.bound_by[0, 0] == "launch"
    assert eager.total_s[0, 0] > graphs.total_s[0, 0]


def test_a_larger_batch_takes_longer_but_serves_a_token_cheaper() -> None:
    time = step(llama_70b(), Parallelism(tp=4), Batch.decode([1, 8, 64, 512], 1000)).total_s[0]
    assert (np.diff(time) > 0).all()
    assert (np.diff(time / [1, 8, 64, 512]) < 0).all()
