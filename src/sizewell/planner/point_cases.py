"""A measured point made ready to be priced: its work, its limits and its load, before any efficiency is believed."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from math import ceil, inf

import numpy as np

from sizewell.costs.batch import Batch
from sizewell.costs.engine_rules import caches_prefixes_unasked
from sizewell.costs.kv_cache import CacheLayout
from sizewell.costs.machines import Machines
from sizewell.costs.operators import RankModel
from sizewell.costs.rank_memory import rank_memory
from sizewell.costs.step_policy import BALANCED, GATHERING, StepPolicy
from sizewell.planner.disaggregation import prefill_lengths
from sizewell.planner.harnesses import (
    as_launched,
    drafts,
    fills_cache,
    narrows_expert_rows,
    rank_tokens,
    records_all,
    streams_single_tokens,
)
from sizewell.planner.measured_point import PointRow
from sizewell.planner.point_layout import PoolLayout, formats, layouts
from sizewell.planner.step_table import GRID, Lengths, PricedBatch, StepWork, step_work
from sizewell.specs.deployment import EngineSettings, Formats
from sizewell.specs.engine import EAGER_TAG, NARROW_ROWS_TAG, SPLIT_TAG, EngineSpec, engine_tags
from sizewell.specs.engine_loops import serves_inside
from sizewell.specs.hardware import ClusterSpec
from sizewell.specs.model import ModelSpec

_FAMILIES = {"dynamo-sglang": "sglang", "sglang-mori": "sglang", "ik-llama.cpp": "llama.cpp", "unstated": "vllm"}
_STAGE = re.compile(r"([\d.]+) req/s for ([\d.]+)s")
_SERVED = re.compile(r"\bserve\b|launch_server")
_AT_ONCE = re.compile(r"about (\d+) of the \d+ requests run at once")
_REPEATED = re.compile(r"(\d+) system prompts x (\d+) users")
"""Shared-prefix loads of inference-perf: it makes one prompt for every user of every system prompt and sends them in
turn. Measured times grow with the rate as if prompts cost nothing, whatever the model."""
BLOCK_TOKENS = 16.0
DEFAULT_TOKENS = 512.0
DEFAULT_SEQUENCES = {"llama.cpp": 1, "trtllm": 2048, "lmdeploy": 256, "sglang": 1024}
LARGE_MEMORY_BYTES = 70e9
LLAMA_CPP_TOKENS = 512
STEP_TOKENS = {"llama.cpp": LLAMA_CPP_TOKENS, "trtllm": 8192, "lmdeploy": 32_768}
"""Token budgets of a step; early LMDeploy computes all prompts that wait as one batch."""
WHOLE_BATCHES = frozenset({"trtllm"})
"""Engines whose static batches have no token budget: all prompts are one step (gptSessionBenchmark)."""
SERVED_GRAPHS = 128
"""Sequences of the largest step that trtllm-serve records unless told otherwise (CudaGraphConfig, 1.0)."""
RESERVING = frozenset({"trtllm"})
"""Engines that admit a sequence only when its whole answer fits (GUARANTEED_NO_EVICT), unless told otherwise."""

LARGEST_FRACTION = 0.95
"""Share of memory engines are given at most, as launch scripts of full accelerators have it."""
OTHER_FRACTION = {"trtllm": 0.97, "dynamo-trtllm": 0.97, "lmdeploy": 0.95}
"""Engines without memory rules of their own take a share of what weights leave, here put as one of the total."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PointFacts:
    """What the catalogue knows of a row; `engine` gives the memory rules, its own or the nearest."""

    model: ModelSpec
    cluster: ClusterSpec
    engine: EngineSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolCase:
    """One pool of a layout: its replicas, the work of one of them, and its cache on one rank.

    `kv_tokens` is what all ranks of a replica hold when sequences are as long as the mean one; `together` are the steps
    that compute the prompts of a static batch.
    """

    layout: PoolLayout
    work: StepWork
    held: Formats
    settings: EngineSettings
    cache: CacheLayout
    blocks: int
    kv_tokens: float
    together: PricedBatch | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PointCase:
    """A row with everything that does not depend on efficiencies.

    `tags` name the engine and its generation; `choices` are the layouts the row may have had, `assumed` what its
    table does not state; `varied` answers have lengths of real conversations, not one fixed length; a `tuned` load is
    the most that kept the benchmark's limits.
    """

    row: PointRow
    machines: Machines
    engine: str
    tags: tuple[str, ...]
    lengths: Lengths
    rate_per_s: float | None
    max_sequences: float
    model: ModelSpec
    engine_spec: EngineSpec
    choices: tuple[tuple[PoolCase, ...], ...]
    assumed: tuple[str, ...]
    varied: bool = False
    tuned: bool = False

    @property
    def all_tags(self) -> tuple[str, ...]:
        """Tags of the machines and of the engine."""
        return (*self.machines.tags[0], *self.tags)


def engine_family(engine: str) -> str:
    """Return the engine by which efficiencies are known."""
    if engine.endswith("trtllm"):
        return "trtllm"
    return _FAMILIES.get(engine, engine)


def point_case(row: PointRow, facts: PointFacts) -> PointCase:
    """Return a row made ready; raise UnknownNameError for a weight format no engine serves."""
    engine = engine_family(row.engine)
    row = as_launched(row, engine, facts.cluster.gpu.architecture)
    lengths, assumed = _lengths(row)
    large = _is_large(facts.cluster)
    seats = _seats(row) or float(row.max_num_seqs or DEFAULT_SEQUENCES.get(engine, 1024 if large else 256))
    policy = _policy(row, engine, facts)
    if engine == "vllm":
        policy = replace(policy, pieced_tokens=facts.engine.pieced_tokens(int(seats), policy.chunk_tokens))
    if engine in {"vllm", "sglang"}:
        recorded = inf if records_all(row, engine) else facts.engine.recorded_tokens(int(seats), policy.chunk_tokens)
        policy = replace(policy, recorded_tokens=recorded)
    tags = _tags(row, engine, policy)
    policy = policy.looping(tags, front_inside=serves_inside(row.engine, row.engine_version or row.date))
    found = tuple(layouts(row, facts.model))
    return PointCase(
        row=row,
        machines=Machines.of([facts.cluster]),
        engine=engine,
        tags=(
            *tags,
            *((SPLIT_TAG,) if row.disaggregated else ()),
            *((NARROW_ROWS_TAG,) if narrows_expert_rows(row, engine, facts.cluster.gpu.architecture) else ()),
        ),
        lengths=lengths,
        rate_per_s=row.request_rate_per_s or _mean_rate(row.notes),
        max_sequences=seats,
        model=facts.model,
        engine_spec=facts.engine,
        choices=tuple(tuple(_pool(row, pool, facts, lengths, policy) for pool in pools) for pools in found),
        assumed=assumed + (("tensor parallel size",) if len(found) > 1 else ()),
        tuned="MLPerf" in row.notes,
        varied="ShareGPT" in row.notes
        or (bool(_SERVED.search(row.notes)) and "random" not in row.notes and not _is_chosen(row)),
    )


def _seats(row: PointRow) -> float | None:
    """Return how many requests ran at once, where a table says that the others waited."""
    said = _AT_ONCE.search(row.notes)
    return float(said[1]) if said else None


def _tags(row: PointRow, engine: str, policy: StepPolicy) -> tuple[str, ...]:
    # Dynamo numbers its own releases beside SGLang's, and instead of TensorRT-LLM's.
    own = engine in {row.engine, "sglang"}
    release = (row.engine_version or row.date) if own else row.date if row.engine.startswith("dynamo") else ""
    return (*engine_tags(engine, release), *((EAGER_TAG,) if policy.eager else ()))


def _is_chosen(row: PointRow) -> bool:
    """Return whether lengths were set and not found: they are round."""
    return all(length and length % 100 == 0 for length in (row.input_tokens, row.output_tokens))


def _lengths(row: PointRow) -> tuple[Lengths, tuple[str, ...]]:
    assumed = []
    generated = row.output_tokens
    if generated is None:
        generated, assumed = DEFAULT_TOKENS, ["output tokens"]
    prompt = row.input_tokens
    if prompt is None:
        prompt = generated if row.dataset == "mlperf_v41" else 128.0
        assumed.append("input tokens")
    # Of a prompt that was sent before only what does not fill a block is computed again.
    found = prompt - BLOCK_TOKENS if repeated_prompts(row) > 1 else row.shared_prefix_tokens
    shared = max(0.0, min(found, prompt))
    return (
        Lengths(prompt_tokens=prompt - shared, cached_tokens=shared, output_tokens=max(generated, 1.0)),
        tuple(assumed),
    )


def repeated_prompts(row: PointRow) -> int:
    """Return how many different prompts there are where a benchmark sends a few over and over; one: a shared prefix."""
    said = _REPEATED.search(row.notes)
    return int(said[1]) * int(said[2]) if said else 1


def _policy(row: PointRow, engine: str, facts: PointFacts) -> StepPolicy:
    gpu = facts.cluster.gpu
    default = STEP_TOKENS.get(engine, 8192 if _is_large(facts.cluster) else 2048)
    chunk = row.max_num_batched_tokens or default
    served = (
        "MLPerf" not in row.notes
        and row.load != "static_batch"
        and (row.load != "offline" or bool(_SERVED.search(row.notes)))
    )
    return StepPolicy(
        chunk_tokens=chunk,
        eager=row.eager or row.dataset == "kempner_dsr1" or engine == "transformers",
        plain=facts.engine.on(gpu.vendor, gpu.compute_capability).plain_prompts if engine == "llama.cpp" else None,
        balanced=engine in BALANCED,
        recorded_tokens=SERVED_GRAPHS if engine == "trtllm" and "trtllm-serve" in row.notes else inf,
        front_end=served and streams_single_tokens(row, engine),
        gathers=served and engine in GATHERING,
    )


def _is_large(cluster: ClusterSpec) -> bool:
    """Return whether vLLM raises its defaults on these accelerators: not on an A100, whatever its memory."""
    return cluster.gpu.memory_bytes >= LARGE_MEMORY_BYTES and not cluster.gpu.key.startswith("a100")


def _mean_rate(notes: str) -> float | None:
    """Return the mean rate a request sees over stages of different rates."""
    stages = [(float(rate), float(seconds)) for rate, seconds in _STAGE.findall(notes)]
    requests = sum(rate * seconds for rate, seconds in stages)
    return sum(rate * rate * seconds for rate, seconds in stages) / requests if requests else None


def _pool(row: PointRow, layout: PoolLayout, facts: PointFacts, lengths: Lengths, policy: StepPolicy) -> PoolCase:
    grid = (1.0,) if policy.chunk_tokens == LLAMA_CPP_TOKENS and (row.concurrency or 1.0) <= 1 else GRID
    policy = _pool_policy(row, layout, policy)
    held = formats(row, facts.model)
    lengths = prefill_lengths(lengths) if layout.role == "prefill" else lengths
    context = lengths.decode_context_tokens
    # What was measured fitted: where the usual share leaves no request its cache, a larger one was asked for.
    for fraction in (row.memory_fraction, LARGEST_FRACTION):
        settings = _settings(replace(row, memory_fraction=fraction), lengths, policy, facts)
        memory = rank_memory(facts.model, held, layout.cut, settings, facts.engine)
        blocks = memory.blocks(facts.cluster.gpu.total_bytes)
        fitting = memory.layout.concurrency(blocks, int(context) + 1) * layout.cut.dp
        if fitting >= 1 or row.memory_fraction or row.tp is None:
            break
    reserved = lengths.output_tokens / 2 if engine_family(row.engine) in RESERVING and not fills_cache(row) else 0.0
    return PoolCase(
        layout=layout,
        work=step_work(facts.model, held, layout.cut, lengths, policy, grid),
        held=held,
        settings=settings,
        cache=memory.layout,
        blocks=int(blocks),
        kv_tokens=fitting * context * context / (context + reserved),
        together=_together(row, layout, RankModel.of(facts.model, held, layout.cut), policy),
    )


def _pool_policy(row: PointRow, layout: PoolLayout, policy: StepPolicy) -> StepPolicy:
    """Return how the replicas of a pool form steps: what is drafted and how large steps are depends on their cut."""
    engine, cut = engine_family(row.engine), layout.cut
    return replace(
        policy,
        chunk_tokens=rank_tokens(row, engine, cut, policy.chunk_tokens),
        drafts=0 if layout.role == "prefill" else drafts(row, engine, cut, (row.concurrency or 0.0) / layout.replicas),
    )


def _together(row: PointRow, layout: PoolLayout, ranked: RankModel, policy: StepPolicy) -> PricedBatch | None:
    """Return the steps of all prompts of a static batch; None for other loads."""
    if row.load != "static_batch":
        return None
    users, each = max(1.0, (row.concurrency or 1.0) / layout.replicas), row.input_tokens or 1.0
    whole = users * each
    steps = 1 if engine_family(row.engine) in WHOLE_BATCHES else ceil(whole / policy.chunk_tokens / layout.cut.dp)
    batch = Batch.prefill(np.full(steps, whole / steps), 0.0, max(1.0, users / steps))
    return PricedBatch(operators=policy.operators(ranked, batch), launch=policy.launch(ranked.model, layout.cut, batch))


def _settings(row: PointRow, lengths: Lengths, policy: StepPolicy, facts: PointFacts) -> EngineSettings:
    longest = lengths.prompt_tokens + lengths.cached_tokens + lengths.output_tokens
    return EngineSettings(
        max_num_seqs=min(row.max_num_seqs or 256, 1024),
        max_num_batched_tokens=policy.chunk_tokens,
        max_model_len_tokens=int(2 * longest) + 1,
        memory_fraction=row.memory_fraction or OTHER_FRACTION.get(row.engine, facts.engine.memory_fraction),
        enforce_eager=policy.eager,
        speculative_tokens=policy.drafts,
        prefix_caching=caches_prefixes_unasked(facts.model, facts.engine),
    )
