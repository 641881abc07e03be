"""Relations that hold on every machine of the catalogue, measured or not: less to do never takes longer."""

from __future__ import annotations

from functools import cache
from typing import get_args

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sizewell.catalog.calibrations import read_efficiencies
from sizewell.catalog.engines import read_engine
from sizewell.catalog.hardware import list_gpus, nodes_for
from sizewell.catalog.models import list_models, read_model
from sizewell.costs.batch import Batch, Floats
from sizewell.costs.machines import Machines, Reached
from sizewell.costs.operators import RankModel
from sizewell.costs.step import Launch, price
from sizewell.costs.step_policy import StepPolicy
from sizewell.specs.deployment import EngineSettings, Formats, Parallelism
from sizewell.specs.engine import EngineName
from sizewell.specs.hardware import ClusterSpec

MODELS = sorted(entry.id for entry in list_models())
ENGINES = get_args(EngineName)
read = cache(read_model)


@cache
def reached(engine: str) -> Reached:
    found = []
    for spec in list_gpus():
        node = nodes_for(spec)[0]
        found.append(ClusterSpec(gpu=spec, node=node, gpus_per_node=max(node.gpu_counts), nodes=2))
    return Reached.of(Machines.of(found), read_efficiencies(), also=read_engine(engine).tags)


def seconds(
    name: str, batch: Batch, formats: Formats, engine: str = "vllm", *, tp: int = 1, eager: bool = False
) -> Floats:
    settings = EngineSettings(
        max_num_seqs=1024, max_num_batched_tokens=8192, max_model_len_tokens=1 << 20, memory_fraction=0.9,
        enforce_eager=eager,
    )  # fmt: skip
    policy, cut = StepPolicy.of(settings, read_engine(engine)), Parallelism(tp=tp)
    ranked = RankModel.of(read(name), formats, cut)
    return price(policy.operators(ranked, batch), reached(engine), policy.launch(ranked.model, cut, batch)).total_s


@settings(max_examples=30, deadline=None)
@given(
    name=st.sampled_from(MODELS), engine=st.sampled_from(ENGINES), tp=st.sampled_from([1, 2, 8]),
    sequences=st.integers(0, 1024), prompt=st.sampled_from([0, 2, 100, 4096, 8192]),
)  # fmt: skip
def test_recorded_graphs_are_never_slower_than_none(
    name: str, engine: str, tp: int, sequences: int, prompt: int
) -> None:
    assume(read(name).legal_tp(tp) and sequences + prompt > 0)
    batch = Batch.mixed(sequences, 1000, prompt)
    recorded, eager = (seconds(name, batch, Formats(), engine, tp=tp, eager=each) for each in (False, True))
    assert (recorded <= eager * (1 + 1e-9)).all()


@pytest.mark.parametrize("weight", ["int8", "fp8", "mxfp8", "nvfp4", "awq-int4"])
def test_narrow_weights_cost_no_more_than_widening_them(weight: str) -> None:
    """Even where a chip lacks the arithmetic, or has it at a thirtieth of the rate of 16 bits (int8 on B300)."""
    name, batch = "meta-llama/Meta-Llama-3.1-70B", Batch.mixed([1, 0], 1000, [0, 4096])
    wide, narrow = seconds(name, batch, Formats(weight="bf16")), seconds(name, batch, Formats(weight=weight))
    assert (narrow[:, 0] < wide[:, 0]).all(), "one sequence waits for bytes"
    assert (narrow[:, 1] < 1.65 * wide[:, 1]).all(), "a prompt waits for arithmetic of 16 bits, and for unpacking"


@settings(max_examples=30, deadline=None)
@given(name=st.sampled_from(MODELS), engine=st.sampled_from(ENGINES), sequences=st.integers(1, 512))
def test_a_longer_context_or_prompt_takes_no_less(name: str, engine: str, sequences: int) -> None:
    contexts, prompts = np.array([1, 500, 512, 513, 4000, 32_000]), np.array([1, 2, 500, 513, 2048, 8192])
    for batch in (Batch.decode(sequences, contexts), Batch.prefill(prompts)):
        taken = seconds(name, batch, Formats(), engine)
        assert (np.diff(taken, axis=1) >= -1e-9 * taken[:, :-1]).all()


def test_a_model_and_what_was_tuned_from_it_are_alike() -> None:
    batch = Batch.mixed([64, 0], 2000, [0, 4096])
    tuned, base = (
        seconds(name, batch, Formats()) for name in ("allenai/Llama-3.1-Tulu-3-8B", "meta-llama/Meta-Llama-3.1-8B")
    )
    assert tuned == pytest.approx(base, rel=1e-3)


@pytest.mark.parametrize("name", ["deepseek-ai/DeepSeek-R1", "ai21labs/Jamba-v0.1"])
def test_more_sequences_never_make_a_step_of_expert_ranks_faster(name: str) -> None:
    """The fullest rank has many more rows than the mean one while there are few, but no more experts than it holds."""
    batch = Batch.decode(np.arange(8, 1024, 8), 1000)
    ranked = RankModel.of(read(name), Formats(), Parallelism(dp=8, ep=8))
    taken = price(ranked.step(batch), reached("vllm"), Launch(sequences=batch.sampled)).total_s
    assert (np.diff(taken, axis=1) >= 0).all()
