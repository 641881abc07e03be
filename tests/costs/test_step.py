"""The time of a step: its parts add up, it never beats its floor, and it names what binds it."""

from __future__ import annotations

from dataclasses import replace

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


def test_eager_steps_over_a_network_last_as_long_as_the_host_issues_them() -> None:
    """R1 on 16 of 2 × 8 H100: 33 kernels, 29 small operations and 2 messages in each of 58 layers with experts, 20, 20
    and 2 in 3 without; look-up and head with a message each, and 12 kernels of the sampler: whatever messages wait.
    """
    issued = 58 * (33 + 29 + 2) + 3 * (20 + 20 + 2) + (1 + 1) + (1 + 1) + 12
    reached = Reached.of(Machines.of(CLUSTERS[:1]), read_efficiencies(), "vllm")
    operators = step_operators(deepseek_r1(), NATIVE, Parallelism(tp=16), Batch.decode(8, 500))
    for far_s in (1e-5, 1e-4):
        factors = reached.factors | {"far_collective_s": np.full(1, far_s)}
        slow = replace(reached, factors=factors)
        time = price(operators, slow, Launch(sequences=np.array([8.0]), eager=True, front_end=False))
        around = time.parts["host"] + time.parts["dispatch"]
        assert time.total_s - around == pytest.approx(issued * factors["eager_launch_s"][0])


def test_decoding_beyond_the_largest_graph_is_issued_kernel_by_kernel() -> None:
    policy, cut = StepPolicy(chunk_tokens=8192, recorded_tokens=512), Parallelism(tp=8)
    batch = Batch.decode([512, 513], 1)
    assert policy.launch(deepseek_r1(), cut, batch).unrecorded == pytest.approx([0, 1])
    assert policy.launch(deepseek_r1(), cut, Batch.decode([1, 512], 1)).unrecorded is None


@pytest.mark.parametrize("overlapped", [False, True])
def test_a_host_works_on_sequences_while_the_accelerator_does_where_steps_overlap(overlapped: bool) -> None:
    reached = Reached.of(Machines.of(CLUSTERS[:1]), read_efficiencies(), "vllm")
    operators = step_operators(llama_70b(), NATIVE, Parallelism(tp=8), Batch.decode(256, 500))
    for each_s in (1e-6, 1e-3):
        factors = reached.factors | {"host_sequence_s": np.full(1, each_s)}
        launch = Launch(sequences=np.array([256.0]), front_end=False, overlapped=overlapped)
        time = price(operators, replace(reached, factors=factors), launch)
        tended, busy = 256 * each_s, (time.total_s - time.parts["host"]).item()
        host = (time.parts["host"] - factors["host_step_s"]).item()
        assert host == pytest.approx(max(tended - busy, 0.0) if overlapped else tended)


def test_data_parallel_ranks_schedule_their_own_sequences_and_share_a_front_end() -> None:
    reached = Reached.of(Machines.of(CLUSTERS[:1]), read_efficiencies(), "vllm")
    operators = step_operators(llama_70b(), NATIVE, Parallelism(), Batch.decode(1, 500))
    launches = [
        Launch(sequences=np.array([64.0]), schedulers=ranks, front_inside=inside)
        for ranks, inside in ((1, False), (8, False), (8, True))
    ]
    hosts = [price(operators, reached, launch).parts["host"] for launch in launches]
    alone, shared, inside = ((host - reached.factors["host_step_s"]).item() for host in hosts)
    assert shared == pytest.approx(alone / 8)
    assert inside == pytest.approx(shared + 64 * reached.factors["front_token_s"][0])


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
