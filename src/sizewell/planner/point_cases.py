"""A measured point made ready to be priced: its work, its limits and its load, before any efficiency is believed."""

from __future__ import annotations

import re
from dataclasses import dataclass

from sizewell.costs.cache_kinds import CacheRules, layer_kinds
from sizewell.costs.kv_cache import cache_layout
from sizewell.costs.machines import Machines
from sizewell.costs.matrix_work import rank_matrix, stored_encoding
from sizewell.planner.measured_point import PointRow
from sizewell.planner.point_layout import PoolLayout, formats, layouts
from sizewell.planner.step_table import GRID, Lengths, StepPolicy, StepWork, step_work
from sizewell.specs.deployment import Formats, Parallelism
from sizewell.specs.hardware import ClusterSpec
from sizewell.specs.model import ModelSpec

_FAMILIES = {"dynamo-sglang": "sglang", "sglang-mori": "sglang", "ik-llama.cpp": "llama.cpp", "unstated": "vllm"}
_STAGE = re.compile(r"([\d.]+) req/s for ([\d.]+)s")
DEFAULT_TOKENS = 512.0
DEFAULT_SEQUENCES = {"llama.cpp": 1, "trtllm": 2048, "lmdeploy": 256, "sglang": 1024}
LARGE_MEMORY_BYTES = 70e9
MEMORY_FRACTION = 0.9
OTHER_BYTES = 3e9


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolCase:
    """One pool of a layout: its replicas, the work of one of them and the tokens its cache holds."""

    layout: PoolLayout
    work: StepWork
    kv_tokens: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PointCase:
    """A row with everything that does not depend on efficiencies.

    `choices` are the layouts the row may have had, `assumed` what its table does not state.
    """

    row: PointRow
    machines: Machines
    engine: str
    lengths: Lengths
    rate_per_s: float | None
    max_sequences: float
    choices: tuple[tuple[PoolCase, ...], ...]
    assumed: tuple[str, ...]


def engine_family(engine: str) -> str:
    """Return the engine by which efficiencies are known."""
    if engine.endswith("trtllm"):
        return "trtllm"
    return _FAMILIES.get(engine, engine)


def point_case(row: PointRow, model: ModelSpec, cluster: ClusterSpec, acceptance: float = 0.75) -> PointCase:
    """Return a row made ready; raise UnknownNameError for a weight format no engine serves."""
    engine = engine_family(row.engine)
    lengths, assumed = _lengths(row)
    policy = _policy(row, engine, cluster, acceptance)
    max_sequences = float(
        row.max_num_seqs
        or DEFAULT_SEQUENCES.get(engine, 256 if cluster.gpu.memory_bytes < LARGE_MEMORY_BYTES else 1024)
    )
    weights = formats(row)
    found = tuple(layouts(row, model))
    return PointCase(
        row=row,
        machines=Machines.of([cluster]),
        engine=engine,
        lengths=lengths,
        rate_per_s=row.request_rate_per_s or _mean_rate(row.notes),
        max_sequences=max_sequences,
        choices=tuple(
            tuple(_pool(pool, model, weights, lengths, policy, cluster) for pool in pools) for pools in found
        ),
        assumed=assumed + (("tensor parallel size",) if len(found) > 1 else ()),
    )


def _lengths(row: PointRow) -> tuple[Lengths, tuple[str, ...]]:
    assumed = []
    generated = row.output_tokens
    if generated is None:
        generated, assumed = DEFAULT_TOKENS, ["output tokens"]
    prompt = row.input_tokens
    if prompt is None:
        prompt = generated if row.dataset == "mlperf_v41" else 128.0
        assumed.append("input tokens")
    shared = min(row.shared_prefix_tokens, prompt)
    return (
        Lengths(prompt_tokens=prompt - shared, cached_tokens=shared, output_tokens=max(generated, 1.0)),
        tuple(assumed),
    )


def _policy(row: PointRow, engine: str, cluster: ClusterSpec, acceptance: float) -> StepPolicy:
    drafts = (1 if row.attention_dp else 3) if row.speculative == "mtp" else 0
    default = 8192 if cluster.gpu.memory_bytes >= LARGE_MEMORY_BYTES else 2048
    chunk = row.max_num_batched_tokens or (512 if engine == "llama.cpp" else default)
    return StepPolicy(
        chunk_tokens=chunk,
        eager=row.eager or row.dataset == "kempner_dsr1" or engine == "transformers",
        drafts=drafts,
        accepted_tokens=sum(acceptance**i for i in range(drafts + 1)),
    )


def _mean_rate(notes: str) -> float | None:
    """Return the mean rate a request sees over stages of different rates."""
    stages = [(float(rate), float(seconds)) for rate, seconds in _STAGE.findall(notes)]
    requests = sum(rate * seconds for rate, seconds in stages)
    return sum(rate * rate * seconds for rate, seconds in stages) / requests if requests else None


def _pool(
    layout: PoolLayout, model: ModelSpec, weights: Formats, lengths: Lengths, policy: StepPolicy, cluster: ClusterSpec
) -> PoolCase:
    grid = (1.0,) if policy.chunk_tokens == 512 else GRID
    return PoolCase(
        layout=layout,
        work=step_work(model, weights, layout.cut, lengths, policy, grid),
        kv_tokens=kv_tokens_left(model, weights, layout.cut, cluster, lengths),
    )


def kv_tokens_left(model: ModelSpec, held: Formats, cut: Parallelism, cluster: ClusterSpec, lengths: Lengths) -> float:
    """Return the cache tokens of a replica by a plain estimate: what weights and 3 GB leave of 90 % of memory."""
    rules = CacheRules()
    layout = cache_layout(layer_kinds(model, model.layer_counts.items(), held.kv, cut.tp, rules), rules)
    left = MEMORY_FRACTION * cluster.gpu.total_bytes - held_weight_bytes(model, held.weight, cut) - OTHER_BYTES
    blocks = max(left, 0.0) / max(layout.bytes_per_block / cut.pp, 1.0)
    context = lengths.decode_context_tokens
    return layout.concurrency(int(blocks), int(context) + 1) * context * cut.dp


def held_weight_bytes(model: ModelSpec, weight_format: str, cut: Parallelism) -> float:
    """Return the weight bytes of one rank, allocator rounding left out."""
    total = 0.0
    for layer, count in model.layer_counts.items():
        for tensor in layer.tensors:
            encoding = stored_encoding(tensor, model, weight_format)
            routed = tensor.role == "routed-experts"
            ways = cut.tp * cut.dp if routed else cut.tp
            total += count * rank_matrix(tensor, encoding, 1 if routed else ways).bytes / (ways if routed else 1)
    around = (model.embedding, *((model.head,) if model.head else ()))
    return total / cut.pp + sum(rank_matrix(t, model.dtype, cut.tp).bytes for t in around)
