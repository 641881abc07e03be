"""What the simulator is told of a replica agrees with what the memory ledger counts."""

from __future__ import annotations

import pytest

from sizewell.catalog.engines import read_engine
from sizewell.catalog.models import read_model
from sizewell.costs.rank_memory import rank_memory
from sizewell.simulator.facts import ReplicaFacts, SchedulerRules, block_groups, replica_facts
from sizewell.specs.deployment import EngineSettings, Formats, Parallelism
from sizewell.specs.errors import BadInputError
from surfaces import flat_surface

SETTINGS = EngineSettings(
    max_num_seqs=256, max_num_batched_tokens=8192, max_model_len_tokens=32768, memory_fraction=0.9
)  # fmt: skip
ALONE = Parallelism()
H100_BYTES = 79.2 * 2**30


def facts_of(model: str, engine: str, cut: Parallelism = ALONE) -> ReplicaFacts:
    spec = read_engine(engine)
    memory = rank_memory(read_model(model), Formats(), cut, SETTINGS, spec)
    return replica_facts(flat_surface(), (memory.layout, memory.blocks(H100_BYTES)), spec, SETTINGS, cut)


def test_groups_are_those_of_the_cache_layout() -> None:
    """Gemma 3 27B lays 52 windowed and 10 full layers into six and one groups."""
    groups = facts_of("google/gemma-3-27b-it", "vllm").groups
    assert sorted(group.kind for group in groups) == ["full", *["window"] * 6]
    assert {group.span_tokens for group in groups if group.kind == "window"} == {1024}


def test_a_replica_serves_what_the_ledger_says_fits() -> None:
    spec = read_engine("vllm", "0.33")
    memory = rank_memory(read_model("meta-llama/Llama-3.1-8B-Instruct"), Formats(), Parallelism(), SETTINGS, spec)
    assert block_groups(memory.layout)[0].kind == "full"
    facts = facts_of("meta-llama/Llama-3.1-8B-Instruct", "vllm")
    assert facts.blocks == memory.blocks(H100_BYTES)
    assert facts.depth == 2


def test_sglang_is_played_by_its_own_scheduler_in_pages() -> None:
    facts = facts_of("meta-llama/Llama-3.1-8B-Instruct", "sglang", Parallelism(dp=2))
    assert (facts.scheduler, facts.block_tokens, facts.conservativeness) == ("sglang", 16, 0.3)
    assert facts.depth == 2  # a step is formed while the one before runs


@pytest.mark.parametrize(
    ("version", "rules"),
    [
        ("0.11.0", (False, False, False, True)),
        ("0.19.1", (True, True, False, True)),
        ("0.33", (True, True, True, False)),
    ],
)
def test_rules_follow_the_release(version: str, rules: tuple[bool, ...]) -> None:
    found = SchedulerRules.of(version)
    names = ("async_scheduling", "reserve_prompt", "unhashed_first", "long_prefill_alone")
    assert tuple(getattr(found, name) for name in names) == rules


@pytest.mark.parametrize(("version", "overlapped"), [("0.3.6", False), ("0.4.6", True), ("0.5.12-cu130", True)])
def test_sglang_overlaps_scheduling_with_steps_since_0_4(version: str, overlapped: bool) -> None:
    assert SchedulerRules.of_sglang(version).async_scheduling == overlapped


def test_limits_that_cannot_be_are_refused() -> None:
    with pytest.raises(BadInputError, match="at least 2"):
        ReplicaFacts(surface=flat_surface(), blocks=1)
    with pytest.raises(BadInputError, match="max_num_seqs is 0"):
        ReplicaFacts(surface=flat_surface(), blocks=10, max_num_seqs=0)
    with pytest.raises(BadInputError, match="0 to 1"):
        ReplicaFacts(surface=flat_surface(), blocks=10, acceptance=1.5)
