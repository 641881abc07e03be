"""The time of a step: its parts add up, it never beats its floor, and it names what binds it."""

from __future__ import annotations

import numpy as np
import pytest

from sizewell.catalog.calibrations import read_efficiencies
from sizewell.catalog.models import read_model
from sizewell.costs.batch import Batch
from sizewell.costs.machines import Machines, Reached
from sizewell.costs.operators import step_operators
from sizewell.costs.step import Launch, StepTime, price
from sizewell.costs.step_policy import StepPolicy
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


@pytest.mark.parametrize("drafts", [0, 2])
@pytest.mark.parametrize(
    ("name", "cut"),
    [
        ("deepseek-ai/DeepSeek-R1", Parallelism(tp=2, dp=4, ep=8)),
        ("deepseek-ai/DeepSeek-V3.2", Parallelism(tp=8)),
        ("Qwen/Qwen3-Next-80B-A3B-Instruct", Parallelism(tp=2, pp=2)),
        ("google/gemma-3-27b-it", Parallelism(tp=2)),
    ],
)
def test_steps_side_by_side_take_what_each_takes_by_itself(name: str, cut: Parallelism, drafts: int) -> None:
    """Operators that some of the steps do without take nothing there, neither time nor a launch."""
    model, policy = read_model(name), StepPolicy(chunk_tokens=2048, drafts=drafts)
    reached = Reached.of(Machines.of(CLUSTERS), read_efficiencies(), "vllm")
    alone = (
        Batch.decode([1, 8, 200], 1000, 1 + drafts),
        Batch.mixed([4, 64], 3000, [500, 1024], [0, 700], query_tokens=1 + drafts),
        Batch.prefill([2048, 1], [0, 2048]),
    )

    def timed(batch: Batch) -> StepTime:
        used = drafts if batch.has_decode and model.mtp_layers else 0
        operators = step_operators(model, NATIVE, cut, batch, used)
        return price(operators, reached, policy.launch(model, cut, batch))

    together, start = timed(alone[0].beside(*alone[1:])), 0
    for batch in alone:
        own, end = timed(batch), start + len(batch.tokens)
        assert together.total_s[:, start:end] == pytest.approx(own.total_s, rel=1e-12)
        assert together.floor_s[:, start:end] == pytest.approx(own.floor_s, rel=1e-12)
        start = end
    assert list(together.at(slice(3)).parts) == list(timed(alone[0]).parts)
