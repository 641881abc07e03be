"""What ranks have in common is counted once, and comes to the same as counted alone."""

from __future__ import annotations

import pytest

from sizewell.catalog.engines import read_engine
from sizewell.catalog.models import read_model
from sizewell.costs.rank_memory import RankMemories, rank_memory
from sizewell.costs.weights import Weights
from sizewell.specs.deployment import EngineSettings, Formats, Parallelism

SETTINGS = EngineSettings(
    max_num_seqs=1024, max_num_batched_tokens=8192, max_model_len_tokens=8192, memory_fraction=0.92
)
CUTS = (Parallelism(tp=8), Parallelism(tp=4, pp=2), Parallelism(tp=2, ep=2), Parallelism(dp=8, ep=8))
BUILDS = (
    ("nvidia", "8.0"),
    ("nvidia", "8.9"),
    ("nvidia", "9.0"),
    ("nvidia", "10.0"),
    ("nvidia", "12.0"),
    ("amd", None),
)
CHECKPOINTS = (
    ("deepseek-ai/DeepSeek-R1", "native"), ("deepseek-ai/DeepSeek-R1", "awq-int4"), ("openai/gpt-oss-120b", "native"),
    ("openai/gpt-oss-120b", "bf16"), ("meta-llama/Llama-3.3-70B-Instruct", "fp8-tensor"),
)  # fmt: skip


@pytest.mark.parametrize(("name", "weight_format"), CHECKPOINTS)
@pytest.mark.parametrize("version", ["0.8", "0.11.2", "0.19"])
def test_builds_told_alike_hold_the_same(name: str, weight_format: str, version: str) -> None:
    model, engine = read_model(name), read_engine("vllm", version)
    memories = RankMemories(Weights(model, weight_format))
    for cut in CUTS:
        for build in (engine.on(*build) for build in BUILDS):
            alone = rank_memory(model, Formats(weight=weight_format), cut, SETTINGS, build)
            told = memories.memory("auto", cut, SETTINGS, memories.telling(build))
            assert told.stages == alone.stages
            assert told.overhead == alone.overhead


def test_another_limit_on_sequences_is_counted_like_a_rank_of_its_own() -> None:
    model, engine = read_model("deepseek-ai/DeepSeek-R1"), read_engine("vllm", "0.19").on("nvidia", "9.0")
    memories = RankMemories(Weights(model, "native"))
    whole = memories.memory("auto", CUTS[0], SETTINGS, engine)
    assert memories.with_max_num_seqs(whole, "auto", 1024) is whole
    few = EngineSettings(max_num_seqs=64, max_num_batched_tokens=8192, max_model_len_tokens=8192, memory_fraction=0.92)
    assert memories.with_max_num_seqs(whole, "auto", 64) == rank_memory(model, Formats(), CUTS[0], few, engine)
