"""What a start-up ran with: the settings its log states, the rest as that engine defaults them there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sizewell.costs.engine_rules import caches_prefixes_unasked
from sizewell.costs.ledger import GIB
from sizewell.costs.token_pool import usual_fraction
from sizewell.specs.deployment import EngineSettings
from sizewell.specs.engine import EngineSpec
from sizewell.specs.hardware import GpuSpec
from sizewell.specs.memory_row import MemoryRow
from sizewell.specs.model import ModelSpec

FIRST_ENGINE_IMAGE_TOKENS = 5120
FIRST_ENGINE_CHUNKS_FROM = 32768


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedSetup:
    """What the rows of one start-up share: the model, the accelerator (None: not stated) and the engine's rules.

    `note` says what stands in for a model whose config is not at hand.
    """

    model: ModelSpec
    gpu: GpuSpec | None
    engine: EngineSpec
    note: str = ""


def logged_gpu_bytes(row: MemoryRow, gpu: GpuSpec | None) -> float | None:
    """Return the accelerator's total as the log prints it, else as the catalogue has it; None without either."""
    if row.memory_gib:
        return row.memory_gib * GIB
    return gpu.total_bytes if gpu else None


def logged_settings(rows: Sequence[MemoryRow], facts: LoggedSetup) -> EngineSettings:
    """Return the stated settings, the rest as this engine version defaults them on this accelerator."""
    row, engine = rows[0], facts.engine
    total = logged_gpu_bytes(row, facts.gpu) or 0.0
    tier = engine.defaults_for(facts.gpu.name if facts.gpu else "", total)
    length = row.max_model_len_tokens or facts.model.max_context_tokens
    tokens = row.max_num_batched_tokens or _default_tokens(facts, tier.max_num_batched_tokens, length)
    sequences = next((r.sequences for r in rows if r.sequences), None) or tier.max_num_seqs
    return EngineSettings(
        max_num_seqs=min(sequences, tokens) if engine.profile == "v1" else sequences,
        max_num_batched_tokens=tokens,
        max_model_len_tokens=length,
        memory_fraction=row.memory_fraction or _default_fraction(row, total, facts),
        enforce_eager=row.enforce_eager,
        offload_bytes=max(r.offload_bytes for r in rows),
        prefix_caching=caches_prefixes_unasked(facts.model, engine),
    )


def _default_tokens(facts: LoggedSetup, tokens: int, length: int) -> int:
    """The first engine profiles a whole prompt unless it chunks: by default beyond 32k, never with images."""
    if facts.engine.profile != "v0":
        return tokens
    if facts.model.vision:
        return max(length, FIRST_ENGINE_IMAGE_TOKENS)
    return max(length, tokens) if length <= FIRST_ENGINE_CHUNKS_FROM else tokens


def _default_fraction(row: MemoryRow, total_bytes: float, facts: LoggedSetup) -> float:
    if not total_bytes:
        return facts.engine.memory_fraction
    return usual_fraction(facts.engine, facts.model, total_bytes, row.cut)
