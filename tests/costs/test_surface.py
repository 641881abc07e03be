"""The surface says what `price` says, its closed-form runs what its steps say, and a compiler takes it unchanged."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sizewell.catalog.calibrations import read_efficiencies
from sizewell.catalog.hardware import list_gpus, nodes_for
from sizewell.catalog.models import read_model
from sizewell.costs.batch import Batch
from sizewell.costs.machines import Machines, Reached
from sizewell.costs.operators import RankModel
from sizewell.costs.step import price
from sizewell.costs.step_policy import StepPolicy
from sizewell.costs.surface import StepBatch, StepSurface, decode_run_s, decode_steps_within, interval_s, step_s
from sizewell.costs.tabulate import make_surface
from sizewell.simulator.compiled import Twin
from sizewell.specs.deployment import Formats, Parallelism
from sizewell.specs.hardware import ClusterSpec

MACHINES = ("h100-sxm-80gb", "mi300x-192gb", "l40s-48gb", "b200-sxm-180gb", "apple-m4-max-128gb")
PIECED = StepPolicy(chunk_tokens=8192, drafts=2, pieced_tokens=256)
CASES = (
    ("meta-llama/Llama-3.1-8B-Instruct", Parallelism(), StepPolicy(chunk_tokens=8192, pieced_tokens=512)),
    ("meta-llama/Llama-3.3-70B-Instruct", Parallelism(tp=4), StepPolicy(chunk_tokens=2048, eager=True)),
    ("meta-llama/Llama-3.3-70B-Instruct", Parallelism(tp=8, pp=2), StepPolicy(chunk_tokens=8192)),
    ("openai/gpt-oss-120b", Parallelism(tp=2), StepPolicy(chunk_tokens=8192)),
    ("deepseek-ai/DeepSeek-R1", Parallelism(tp=8), StepPolicy(chunk_tokens=8192)),
    ("deepseek-ai/DeepSeek-R1", Parallelism(tp=8, ep=8), StepPolicy(chunk_tokens=16384, drafts=1)),
    ("deepseek-ai/DeepSeek-R1", Parallelism(dp=8, ep=8), StepPolicy(chunk_tokens=8192)),
    ("deepseek-ai/DeepSeek-R1", Parallelism(tp=2, dp=8, ep=16), PIECED),
    ("deepseek-ai/DeepSeek-V3.2", Parallelism(tp=8), StepPolicy(chunk_tokens=8192)),
    ("Qwen/Qwen3-Next-80B-A3B-Instruct", Parallelism(tp=2), StepPolicy(chunk_tokens=8192, offload_bytes=1e9)),
    ("openai/gpt-oss-120b", Parallelism(), StepPolicy(chunk_tokens=2048, host_bytes=40e9, copied_from_tokens=32)),
    ("google/gemma-3-27b-it", Parallelism(tp=2), StepPolicy(chunk_tokens=2048, front_end=False)),
)


@cache
def reached(machine: str) -> Reached:
    (spec,) = (gpu for gpu in list_gpus() if gpu.key == machine)
    node = nodes_for(spec)[0]
    cluster = ClusterSpec(gpu=spec, node=node, gpus_per_node=max(node.gpu_counts), nodes=2)
    return Reached.of(Machines.of([cluster]), read_efficiencies(), "vllm")


@cache
def surface(case: int, machine: str) -> StepSurface:
    name, cut, policy = CASES[case]
    return make_surface(read_model(name), Formats(), cut, policy, reached(machine))


def priced(case: int, machine: str, batch: Batch) -> float:
    name, cut, policy = CASES[case]
    model = read_model(name)
    policy = policy if batch.has_decode else replace(policy, drafts=0)
    operators = policy.operators(RankModel.of(model, Formats(), cut), batch)
    return float(price(operators, reached(machine), policy.launch(model, cut, batch)).total_s[0, 0])


def counts(most: int) -> st.SearchStrategy[int]:
    return st.one_of(st.integers(0, 8), st.floats(0, np.log(most)).map(lambda x: int(np.exp(x))))


@st.composite
def one_batch(draw: st.DrawFn, case: int) -> StepBatch:
    policy = CASES[case][2]
    query = 1 + policy.drafts
    sequences = draw(counts(min(1024, policy.chunk_tokens // query - 1)))
    context = draw(st.floats(0, np.log(100_000)).map(np.exp))
    room = policy.chunk_tokens - sequences * query
    prompts = draw(st.one_of(st.just(0), st.integers(1, min(4, room)), st.integers(1, min(64, room))))
    if not sequences and not prompts:
        prompts = 1
    chunks = [draw(st.floats(0, np.log(room / prompts)).map(lambda x: int(np.exp(x)))) for _ in range(min(prompts, 3))]
    chunks = [chunks[n % len(chunks)] for n in range(prompts)]
    cached = [draw(st.one_of(st.just(0), st.integers(0, 100_000))) for _ in range(min(prompts, 3))]
    cached = [cached[n % len(cached)] for n in range(prompts)]
    pairs = sum(c * (x + c / 2) for c, x in zip(chunks, cached, strict=True))
    return StepBatch(
        float(sequences), sequences * float(round(context)), float(sum(chunks)), float(prompts), float(sum(cached)),
        float(pairs),
    )  # fmt: skip


def as_priced(batch: StepBatch, ranks: int, query_tokens: int) -> Batch:
    """Return what all ranks compute when each has this batch."""
    return Batch.mixed(
        batch.decode_sequences * ranks,
        batch.decode_context_tokens / max(batch.decode_sequences, 1.0),
        batch.prefill_tokens * ranks,
        batch.prefill_context_tokens / max(batch.prefill_sequences, 1.0),
        batch.prefill_sequences * ranks,
        query_tokens,
        batch.prefill_pairs * ranks,
    )


def on_all_ranks(batch: StepBatch, ranks: int, query_tokens: int) -> StepBatch:
    tokens = batch.decode_sequences * query_tokens + batch.prefill_tokens
    return batch._replace(
        elsewhere_tokens=(ranks - 1) * tokens,
        elsewhere_sequences=(ranks - 1) * (batch.decode_sequences + batch.prefill_sequences),
    )


@settings(max_examples=150, deadline=None)
@given(data=st.data(), case=st.sampled_from(range(len(CASES))), machine=st.sampled_from(MACHINES))
def test_any_step_takes_what_it_is_priced_at(data: st.DataObject, case: int, machine: str) -> None:
    batch = data.draw(one_batch(case))
    _, cut, policy = CASES[case]
    query = 1 + policy.drafts
    expected = priced(case, machine, as_priced(batch, cut.dp, query))
    found = step_s(surface(case, machine), on_all_ranks(batch, cut.dp, query))
    assert found == pytest.approx(expected, rel=5e-3)


@settings(max_examples=60, deadline=None)
@given(
    case=st.sampled_from(range(len(CASES))), machine=st.sampled_from(MACHINES), sequences=counts(1024),
    context=st.floats(0, 11).map(np.exp), steps=counts(3000), elsewhere=st.integers(0, 5000),
)  # fmt: skip
def test_a_run_of_decoding_takes_the_sum_of_its_steps(
    case: int, machine: str, sequences: int, context: float, steps: int, elsewhere: int
) -> None:
    table = surface(case, machine)
    sequences = max(sequences, 1)
    held = float(round(sequences * context))
    each = [
        step_s(table, StepBatch(sequences, held + k * sequences, 0.0, 0.0, 0.0, 0.0, elsewhere, elsewhere))
        for k in range(steps)
    ]
    assert decode_run_s(table, sequences, held, steps, elsewhere, elsewhere) == pytest.approx(sum(each), rel=1e-9)


@settings(max_examples=60, deadline=None)
@given(
    case=st.sampled_from(range(len(CASES))), machine=st.sampled_from(MACHINES), sequences=counts(1024),
    context=st.floats(0, 11).map(np.exp), most=counts(5000), share=st.floats(-0.1, 1.2),
)  # fmt: skip
def test_steps_within_some_seconds_are_those_that_start_in_them(
    case: int, machine: str, sequences: int, context: float, most: int, share: float
) -> None:
    table = surface(case, machine)
    sequences = max(sequences, 1)
    held = float(round(sequences * context))
    seconds = share * decode_run_s(table, sequences, held, most)
    found = decode_steps_within(table, sequences, held, seconds, most)
    if seconds <= 0:
        assert found == 0
        return
    slack = 1e-9 * seconds
    assert decode_run_s(table, sequences, held, found - 1) < seconds + slack
    assert found == most or decode_run_s(table, sequences, held, found) >= seconds - slack


def test_stages_take_batches_by_turns() -> None:
    table = surface(2, MACHINES[0])
    batch = StepBatch(64.0, 64e3, 0.0, 0.0, 0.0, 0.0)
    assert interval_s(table, batch) == pytest.approx(step_s(table, batch) / 2)


def test_a_step_without_tokens_takes_no_time() -> None:
    assert step_s(surface(0, MACHINES[0]), StepBatch(0.0, 0.0, 0.0, 0.0, 0.0, 0.0)) == 0.0


class Asked(NamedTuple):
    """A question to compiled code, with room for its answers."""

    surface: StepSurface
    batch: StepBatch
    answers: NDArray[np.float64]


def ask(asked: Asked) -> int:
    """Answer with everything a simulator asks a surface."""
    sequences, context = max(asked.batch.decode_sequences, 1.0), asked.batch.decode_context_tokens + 1.0
    asked.answers[0] = step_s(asked.surface, asked.batch)
    asked.answers[1] = decode_run_s(asked.surface, sequences, context, 500)
    asked.answers[2] = decode_steps_within(asked.surface, sequences, context, 3.0, 500)
    return 0


@settings(max_examples=40, deadline=None)
@given(data=st.data(), case=st.sampled_from(range(len(CASES))))
def test_compiled_functions_say_the_same(data: st.DataObject, case: int) -> None:
    plain = Asked(surface(case, MACHINES[0]), data.draw(one_batch(case)), np.zeros(3))
    fast = plain._replace(answers=np.zeros(3))
    ask(plain)
    Twin(ask)(fast)
    assert fast.answers == pytest.approx(plain.answers, rel=1e-13)


@pytest.mark.parametrize("case", range(len(CASES)))
def test_a_length_no_sequence_reaches_changes_nothing_below(case: int) -> None:
    name, cut, policy = CASES[case]
    bounded = replace(policy, longest_tokens=8192)
    short = make_surface(read_model(name), Formats(), cut, bounded, reached("h100-sxm-80gb"))
    assert short.tables.values.size < surface(case, "h100-sxm-80gb").tables.values.size
    for batch in (
        StepBatch(40.0, 40.0 * 8000, 0.0, 0.0, 0.0, 0.0),
        StepBatch(1.0, 1.0, 1900.0, 1.0, 0.0, 1900.0**2 / 2),
        StepBatch(7.0, 7.0 * 900, 1500.0, 3.0, 9000.0, 500 * (3000 + 250) * 3.0),
    ):
        assert step_s(short, batch) == step_s(surface(case, "h100-sxm-80gb"), batch)
