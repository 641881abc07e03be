"""No number beats physics: over the whole catalogue a step keeps the floor of its own batch, and its parts add up."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sizewell.catalog.calibrations import read_efficiencies
from sizewell.catalog.hardware import list_gpus, nodes_for
from sizewell.catalog.models import list_models, read_model
from sizewell.costs.batch import Batch
from sizewell.costs.machines import Machines, Reached
from sizewell.costs.operators import step_operators
from sizewell.costs.step import Launch, price
from sizewell.costs.step_policy import StepPolicy
from sizewell.costs.weights import WeightRules, rank_weight_bytes
from sizewell.costs.work import total_work
from sizewell.planner.steady_state import Limits, rates
from sizewell.planner.step_table import Lengths, step_table, step_work
from sizewell.specs.deployment import Formats, Parallelism
from sizewell.specs.hardware import ClusterSpec
from sizewell.specs.model import ModelSpec
from specimens import H200, cluster, deepseek_r1, gpu, llama

MODELS = sorted(entry.id for entry in list_models())
CUTS = (
    Parallelism(),
    Parallelism(tp=2),
    Parallelism(tp=8),
    Parallelism(tp=8, ep=8),
    Parallelism(dp=8, ep=8),
    Parallelism(tp=4, dp=2),
    Parallelism(tp=8, pp=2),
    Parallelism(tp=16),
)
read = cache(read_model)


@cache
def everything() -> Machines:
    found = []
    for spec in list_gpus():
        node = nodes_for(spec)[0]
        found.append(ClusterSpec(gpu=spec, node=node, gpus_per_node=max(node.gpu_counts), nodes=2))
    return Machines.of(found)


@cache
def reached(engine: str = "vllm") -> Reached:
    return Reached.of(everything(), read_efficiencies(), engine)


@settings(max_examples=120, deadline=None)
@given(
    name=st.sampled_from(MODELS),
    cut=st.sampled_from(CUTS),
    weight=st.sampled_from(["native", "bf16", "fp8", "awq-int4", "nvfp4"]),
    kv=st.sampled_from(["auto", "fp8"]),
    sequences=st.integers(1, 4096),
    context=st.integers(1, 100_000),
    prompt=st.integers(0, 16_384),
    eager=st.booleans(),
)
def test_every_step_keeps_its_floor(
    name: str, cut: Parallelism, weight: str, kv: str, sequences: int, context: int, prompt: int, eager: bool
) -> None:
    model = read(name)
    assume(model.legal_tp(cut.tp))
    batch = Batch.mixed([sequences, 1], context, [prompt, 0], context / 2)
    operators = step_operators(model, Formats(weight=weight, kv=kv), cut, batch)
    time = price(operators, reached(), Launch(sequences=batch.sampled, eager=eager, stages=cut.pp))
    assert np.isfinite(time.total_s).all()
    assert (time.total_s >= time.floor_s).all()
    assert np.allclose(sum(time.parts.values()), time.total_s)
    assert np.allclose(sum(time.limits.values()), time.total_s)
    assert all((part >= 0).all() for part in time.parts.values())
    machines = everything()
    work = total_work(operators)
    assert (time.floor_s >= work.hbm_bytes / machines.bytes_per_s[:, None] * (1 - 1e-9)).all()


@settings(max_examples=40, deadline=None)
@given(name=st.sampled_from(MODELS), tp=st.sampled_from([1, 2, 4, 8]), sequences=st.sampled_from([1, 64, 4096]))
def test_a_step_of_a_dense_model_reads_every_weight_the_ledger_holds(name: str, tp: int, sequences: int) -> None:
    model = read(name)
    assume(model.legal_tp(tp) and not model.is_moe and not model.vision and not model.extra)
    held = rank_weight_bytes(model, "native", Parallelism(tp=tp), WeightRules(rope_tables=False, absorbed="none"))
    table = 0 if model.tied else model.embedding.rank_parameters(tp) * 2
    work = total_work(step_operators(model, Formats(), Parallelism(tp=tp), Batch.decode(sequences, 0)))
    # The allocator keeps up to a mebibyte beside each tensor, which no step reads.
    assert work.hbm_bytes[0] >= 0.95 * (held[0] - table)


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(MODELS),
    cut=st.sampled_from(CUTS),
    prompt=st.integers(1, 32_768),
    output=st.integers(2, 8192),
    users=st.floats(1, 5000),
    most=st.integers(1, 1024),
)
def test_no_two_numbers_of_an_answer_contradict_each_other(
    name: str, cut: Parallelism, prompt: int, output: int, users: float, most: int
) -> None:
    model = read(name)
    assume(model.legal_tp(cut.tp))
    lengths = Lengths(prompt_tokens=prompt, cached_tokens=0, output_tokens=output)
    table = step_table(step_work(model, Formats(), cut, lengths, StepPolicy(chunk_tokens=8192)), reached())
    point = rates(table, Limits(max_sequences=most)).at_users(users)
    assert np.allclose(point.users, users)
    assert np.allclose(point.e2e_s, point.ttft_s + point.gaps * point.tpot_s)
    assert (point.tpot_s >= table.floor_s[:, 0] * (1 - 1e-9)).all()
    assert (point.ttft_s >= table.alone_floor_s * (1 - 1e-9)).all()
    decoding = point.requests_per_s * point.gaps * point.tpot_s
    assert (decoding <= max(most, 1) * (1 + 1e-6)).all()


def floor_s(model: ModelSpec, machine: ClusterSpec, cut: Parallelism, batch: Batch, formats: Formats) -> float:
    operators = step_operators(model, formats, cut, batch)
    each = Reached.of(Machines.of([machine]), read_efficiencies())
    return float(price(operators, each, Launch(sequences=batch.sampled)).floor_s[0, 0])


V5E = gpu(8.2e11, 1.97e14, 1e12, memory=16e9, key="tpu-v5e")


@pytest.mark.parametrize(
    ("batch", "milliseconds"), [(1, 4.98), (8, 12.13), (16, 20.30), (32, 36.65), (64, 69.33), (240, 249.09)]
)
def test_the_scaling_book_table_of_a_13b_on_eight_v5e(batch: int, milliseconds: float) -> None:
    """Inference chapter, "theoretical step time" of LLaMA 2-13B in bf16 at 8,192 tokens (its sum has the embedding)."""
    model = llama(5120, 40, 40, 13824, 32000)
    found = floor_s(model, cluster(V5E, 8), Parallelism(tp=8), Batch.decode(batch, 8192), Formats())
    assert found * 1e3 == pytest.approx(milliseconds, rel=0.03)


@pytest.mark.parametrize(("chips", "milliseconds", "tolerance"), [(8, 17.27, 0.07), (16, 8.63, 0.13)])
def test_the_scaling_book_latency_of_a_70b_in_int8(chips: int, milliseconds: float, tolerance: float) -> None:
    """Serving chapter: 32 sequences of 8,192 tokens, weights and cache in int8, on 4×2 and 4×4 chips at 8.1e11 B/s.

    The book rounds the cache to 160 kB a token, takes 70 GB of weights for 71.6 (the head stays in 16 bits here) and
    leaves out activations, which every rank moves whole.
    """
    model = llama(8192, 80, 8, 28672, 128256)
    chip = gpu(8.1e11, 1.97e14, 1e12, memory=16e9, key="tpu-v5e")
    formats = Formats(weight="int8", kv="fp8")
    found = floor_s(model, cluster(chip, chips), Parallelism(tp=chips), Batch.decode(32, 8192), formats)
    # Beyond 8 ranks the 8 key/value heads are replicated by engines; the book shards them further.
    replicated = 41.9e9 / 8 / 8.1e11 * 1e3 - 41.9e9 / 16 / 8.1e11 * 1e3 if chips > 8 else 0.0
    assert found * 1e3 - replicated == pytest.approx(milliseconds, rel=tolerance)


def test_ranks_of_r1_read_no_less_than_an_even_share() -> None:
    whole = floor_s(deepseek_r1(), cluster(H200, 8), Parallelism(), Batch.decode(64, 0), Formats()) / 8
    rank = floor_s(deepseek_r1(), cluster(H200, 8), Parallelism(tp=8), Batch.decode(64, 0), Formats())
    assert rank >= whole
