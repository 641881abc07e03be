"""What the host computes: never faster than its memory, brought over for large batches, and the bytes a token reads."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sizewell.catalog.calibrations import read_efficiencies
from sizewell.catalog.hardware import cluster, list_gpus, nodes_for
from sizewell.catalog.models import list_models, read_model
from sizewell.costs.batch import Batch
from sizewell.costs.host_layers import host_layers
from sizewell.costs.host_work import ON_HOST
from sizewell.costs.machines import Machines, Reached
from sizewell.costs.mlp_work import read_experts
from sizewell.costs.operators import RankModel
from sizewell.costs.step import StepTime, price
from sizewell.costs.step_policy import StepPolicy
from sizewell.specs.deployment import Formats, Parallelism
from sizewell.specs.hardware import ClusterSpec
from sizewell.specs.layers import MoeMlp
from sizewell.specs.model import ModelSpec
from specimens import deepseek_r1

MODELS = sorted(entry.id for entry in list_models())
ONE = Parallelism()
GIB = 2.0**30
EXPERTS = "experts" + ON_HOST


@cache
def everything() -> Reached:
    clusters = [ClusterSpec(gpu=g, node=nodes_for(g)[0], gpus_per_node=1, nodes=1) for g in list_gpus()]
    return Reached.of(Machines.of(clusters), read_efficiencies(), "llama.cpp")


def desktop() -> Reached:
    return Reached.of(Machines.of([cluster("rtx-4090", gpus_per_node=1)]), read_efficiencies(), "llama.cpp")


def step(model: ModelSpec, batch: Batch, host_gib: float, reached: Reached) -> StepTime:
    policy = StepPolicy(chunk_tokens=512, host_bytes=host_gib * GIB, copied_from_tokens=32)
    operators = policy.operators(RankModel.of(model, Formats(), ONE), batch)
    return price(operators, reached, policy.launch(model, ONE, batch))


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(MODELS), sequences=st.integers(1, 64), context=st.integers(1, 50_000),
    prompt=st.integers(0, 4096), gib=st.floats(0.01, 400),
)  # fmt: skip
def test_no_step_beats_the_memory_of_its_host_or_its_link(
    name: str, sequences: int, context: int, prompt: int, gib: float
) -> None:
    model, reached = read_model(name), everything()
    batch = Batch.mixed([sequences], context, [prompt], context / 2)
    policy = StepPolicy(chunk_tokens=512, host_bytes=gib * GIB, copied_from_tokens=32)
    operators = policy.operators(RankModel.of(model, Formats(), ONE), batch)
    time = price(operators, reached, policy.launch(model, ONE, batch))
    assert (time.total_s >= time.floor_s).all()
    assert np.allclose(sum(time.parts.values()), time.total_s)
    assert np.allclose(sum(time.limits.values()), time.total_s)
    moved = [o for o in operators if o.host is not None]
    assume(moved)
    weights = sum(np.asarray(o.repeats * (o.hbm_bytes - o.row_bytes)) for o in moved)
    machines = reached.machines
    rate = machines.host_link_bytes_per_s if batch.tokens[0] >= 32 else machines.host_bytes_per_s
    assert (time.floor_s[:, 0] >= weights / rate * (1 - 1e-9)).all()


@given(name=st.sampled_from(MODELS), gib=st.floats(0.01, 400), tp=st.sampled_from([1, 2]), pp=st.sampled_from([1, 2]))
@settings(max_examples=40, deadline=None)
def test_what_moves_covers_what_was_asked_by_less_than_a_layer(name: str, gib: float, tp: int, pp: int) -> None:
    model, cut = read_model(name), Parallelism(tp=tp, pp=pp)
    assume(model.legal_tp(tp) and pp <= len(model.layers))
    moved = host_layers(model, "native", cut, gib * GIB)
    everything_movable = host_layers(model, "native", cut, 1e18)
    size = sum(each.bytes for each in moved)
    assert size <= sum(each.bytes for each in everything_movable)
    assert size >= min(gib * GIB, sum(each.bytes for each in everything_movable)) * (1 - 1e-9)
    assert all(before.share == 1 for before in moved[:-1])
    assert size - gib * GIB < max(each.bytes for each in everything_movable)


def test_a_token_reads_its_own_experts_at_the_host_s_rate() -> None:
    """gpt-oss-120b routes to 4 of 128 experts: of 36 layers of 1.58 GiB each a token reads 1/32."""
    model, reached = read_model("openai/gpt-oss-120b"), desktop()
    time = step(model, Batch.decode(1, 1000), 60, reached)
    bytes_of_a_token = 36 * 4 * (2 * 2880 + 2880) * 2880 * 4.25 / 8
    rate = 89.6e9 * reached.factors["hbm_host"][0]
    turns = 36 * reached.factors["host_turn_s"][0]
    assert time.parts[EXPERTS][0, 0] == pytest.approx(bytes_of_a_token / rate + turns, rel=0.03)
    assert time.bound_by[0, 0] == "host memory"


def test_a_batch_reads_the_union_of_its_experts() -> None:
    model, reached = read_model("openai/gpt-oss-120b"), desktop()
    one, many = (step(model, Batch.decode(n, 1000), 50, reached).limits["host memory"][0, 0] for n in (1, 16))
    layer = model.layers[0].mlp
    assert isinstance(layer, MoeMlp)
    union = read_experts(layer, np.array([16.0]))[0] / layer.top_k
    assert many / one == pytest.approx(union, rel=0.1)


def test_large_batches_bring_weights_over_the_link() -> None:
    """31 tokens are computed where the weights lie; 512 bring 57 GiB over 16 lanes of generation 4."""
    model, reached = read_model("openai/gpt-oss-120b"), desktop()
    few, prompt = (step(model, Batch.prefill(n), 60, reached) for n in (31, 512))
    assert few.limits["host memory"][0, 0] > 0
    assert prompt.limits["host memory"][0, 0] == 0
    link = reached.machines.host_link_bytes_per_s[0] * reached.factors["link_host"][0]
    weights = sum(each.bytes for each in host_layers(model, "native", ONE, 60 * GIB))
    assert prompt.limits["host link"][0, 0] == pytest.approx(weights / link, rel=0.03)


def test_experts_of_r1_on_the_host_leave_the_order_that_is_measured() -> None:
    """With experts in the memory of a two-socket server and the rest on one card, reports say 5 to 14 tokens/s in four
    bits; the 21 GB of 8-bit experts that a token reads here take twice as long.
    """
    model = deepseek_r1()
    reached = Reached.of(Machines.of([cluster("h100-pcie", gpus_per_node=1)]), read_efficiencies(), "llama.cpp")
    time = step(model, Batch.decode(1, 1000), 600, reached)
    assert 2.5 < 1 / time.total_s[0, 0] < 25
