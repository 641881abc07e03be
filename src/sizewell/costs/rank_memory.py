"""What one rank of a replica holds whatever accelerator it runs on: computed once, reused for every accelerator."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from sizewell.costs.batch import Floats
from sizewell.costs.cache_kinds import CacheRules, layer_kinds
from sizewell.costs.engine_rules import cache_rules, is_compressed, weight_rules
from sizewell.costs.expert_padding import expert_formats
from sizewell.costs.host_layers import bytes_on_host
from sizewell.costs.kv_cache import CacheLayout, cache_layout
from sizewell.costs.lines import LedgerLine
from sizewell.costs.overhead import deep_stack_lines, gather_lines, overhead_lines
from sizewell.costs.stages import counted_layers, stage_bounds
from sizewell.costs.token_pool import STATE_TO_TOKEN_RATIO
from sizewell.costs.weights import WeightRules, Weights, offloaded
from sizewell.specs.deployment import EngineSettings, Formats, Parallelism
from sizewell.specs.engine import EngineSpec
from sizewell.specs.layers import Layer
from sizewell.specs.model import ModelSpec

BASE_LINES = ("context", "collectives")
"""Lines that exist before an engine looks how much memory is free."""


@dataclass(frozen=True, kw_only=True)
class StageMemory:
    """One pipeline stage: the weight lines of its fullest rank and the layout of its cache."""

    weights: tuple[LedgerLine, ...]
    layout: CacheLayout

    @cached_property
    def weight_bytes(self) -> float:
        """Weights of the stage's fullest rank."""
        return sum(line.bytes for line in self.weights)


@dataclass(frozen=True, kw_only=True)
class RankMemory:
    """All resident bytes of a rank but the cache, and what the cache costs; nothing of it depends on the accelerator.

    `overhead` lines are the same on every stage; those placed `inside` come out of the engine's share of memory.
    """

    stages: tuple[StageMemory, ...]
    overhead: tuple[LedgerLine, ...]
    engine: EngineSpec
    settings: EngineSettings
    cut: Parallelism
    compressed: bool = False

    @cached_property
    def weight_bytes(self) -> float:
        """Weights of the fullest rank of all stages."""
        return max(stage.weight_bytes for stage in self.stages)

    @cached_property
    def inside_bytes(self) -> float:
        """Overhead the engine deducts from its share."""
        return sum(line.bytes for line in self.overhead if line.place == "inside")

    @cached_property
    def outside_bytes(self) -> float:
        """Overhead that occupies the accelerator beside the engine's share."""
        return sum(line.bytes for line in self.overhead if line.place == "outside")

    @property
    def resident_bytes(self) -> float:
        """Weights and deducted overhead of the fullest rank: what must fit before the first cache block."""
        return self.weight_bytes + self.inside_bytes

    def budget_bytes(self, total_bytes: float, fraction: float | None = None) -> float:
        """Return the engine's share of an accelerator that reports `total_bytes`.

        vLLM takes a fraction of the total; SGLang of what is free once context and collectives are up.
        """
        share = self.settings.memory_fraction if fraction is None else fraction
        return float(self._budgets(np.array([total_bytes]), np.array([share]))[0])

    def _budgets(self, total_bytes: Floats, share: Floats) -> Floats:
        if self.settings.kv_cache_bytes:
            return np.full_like(total_bytes, self.resident_bytes + self.settings.kv_cache_bytes)
        if self.engine.profile == "sglang":
            return (total_bytes - self.base_bytes) * share
        if self.engine.profile == "llama.cpp":
            return total_bytes - self.base_bytes
        return np.ceil(total_bytes * share)

    @cached_property
    def base_bytes(self) -> float:
        """Context and collectives: taken before the engine looks how much is free."""
        return sum(line.bytes for line in self.overhead if line.name in BASE_LINES)

    def safe_fraction(self, total_bytes: float) -> float:
        """Return the share in whole per cent, at most the one set, that leaves room for what lies beside it."""
        return float(self._safe_fractions(np.array([total_bytes]))[0])

    def _safe_fractions(self, total_bytes: Floats) -> Floats:
        room = np.floor((1 - self.outside_bytes / total_bytes) * 100) / 100
        share: Floats = np.minimum(self.settings.memory_fraction, np.maximum(room, 0.01))
        return share

    def rooms(self, total_bytes: Floats) -> tuple[Floats, Floats]:
        """Return the engine's share and the blocks on accelerators that report `total_bytes`, at safe fractions [M]."""
        budgets = self._budgets(total_bytes, self._safe_fractions(total_bytes))
        return budgets, self._blocks(budgets)

    def kv_bytes(self, total_bytes: float, fraction: float | None = None) -> tuple[float, ...]:
        """Return what is left for the cache on each stage; negative where the rest does not fit."""
        if self.settings.kv_cache_bytes:
            return (self.settings.kv_cache_bytes,) * len(self.stages)
        budget = self.budget_bytes(total_bytes, fraction)
        return tuple(budget - stage.weight_bytes - self.inside_bytes for stage in self.stages)

    def blocks(self, total_bytes: float, fraction: float | None = None) -> int:
        """Return the blocks every stage can hold: the minimum over stages, 0 where nothing is left."""
        return int(self._blocks(np.array([self.budget_bytes(total_bytes, fraction)]))[0])

    def _blocks(self, budgets: Floats) -> Floats:
        least = np.full_like(budgets, np.inf)
        for stage in {id(stage): stage for stage in self.stages}.values():
            stated, per_block = self.settings.kv_cache_bytes, stage.layout.bytes_per_block
            room = np.full_like(budgets, stated) if stated else budgets - stage.weight_bytes - self.inside_bytes
            shared = self.engine.profile == "sglang" and stage.layout.state_bytes_per_sequence
            share = 1 / (1 + STATE_TO_TOKEN_RATIO) if shared else 1.0
            held = np.floor(room * share / per_block) if per_block else np.where(room > 0, 2.0**40, 0.0)
            least = np.minimum(least, held)
        return np.maximum(least, 0.0)

    @cached_property
    def layout(self) -> CacheLayout:
        """The cache layout of the stage whose blocks are largest."""
        return max((stage.layout for stage in self.stages), key=lambda layout: layout.bytes_per_block)

    @property
    def kv_bytes_per_token(self) -> float:
        """Cache bytes per token of one rank, the largest of all stages."""
        return max(stage.layout.bytes_per_token for stage in self.stages)


def rank_memory(
    model: ModelSpec, formats: Formats, cut: Parallelism, settings: EngineSettings, engine: EngineSpec
) -> RankMemory:
    """Return the memory of one rank of a replica, independent of the accelerator.

    A rank is the fullest of its stage; data-parallel ranks are alike.
    """
    return RankMemories(Weights(model, formats.weight)).memory(formats.kv, cut, settings, engine)


class RankMemories:
    """The memory of ranks of one model in one format: what cuts, settings and builds have in common is counted once."""

    def __init__(self, weights: Weights) -> None:
        self.weights = weights
        self._told: dict[EngineSpec, EngineSpec] = {}
        self._rules: dict[tuple[str, EngineSettings, EngineSpec], _Ruled] = {}
        self._stages: dict[tuple[object, ...], tuple[StageMemory, ...]] = {}

    def memory(self, kv_format: str, cut: Parallelism, settings: EngineSettings, engine: EngineSpec) -> RankMemory:
        """Return the memory of one rank of a replica."""
        model, formats = self.weights.model, Formats(weight=self.weights.weight_format, kv=kv_format)
        return RankMemory(
            stages=self._stages_of(formats, cut, settings, engine),
            overhead=overhead_lines(model, formats, cut, settings, engine),
            engine=engine,
            settings=settings,
            cut=cut,
            compressed=is_compressed(model),
        )

    @cached_property
    def _expert_formats(self) -> frozenset[str]:
        return expert_formats(self.weights.model, self.weights.weight_format)

    def telling(self, engine: EngineSpec) -> EngineSpec:
        """Return a build without what makes no difference to these weights: kernels for experts they do not have."""
        if engine not in self._told:
            told, formats = engine, self._expert_formats
            if "mxfp4" not in formats:
                told = replace(told, mxfp4_padding="none", expert_scale_copies=False)
            if not any(name.startswith("fp8") or name in {"bf16", "fp16"} for name in formats):
                told = replace(told, fp8_experts="grouped", grouped_fp8_experts=False)
            self._told[engine] = told
        return self._told[engine]

    def with_max_num_seqs(self, memory: RankMemory, kv_format: str, max_num_seqs: int) -> RankMemory:
        """Return the same rank under another limit on sequences: weights and cache stay, overhead is counted again."""
        if max_num_seqs == memory.settings.max_num_seqs:
            return memory
        formats = Formats(weight=self.weights.weight_format, kv=kv_format)
        settings = replace(memory.settings, max_num_seqs=max_num_seqs)
        overhead = overhead_lines(self.weights.model, formats, memory.cut, settings, memory.engine)
        return RankMemory(
            stages=memory.stages, overhead=overhead, engine=memory.engine, settings=settings, cut=memory.cut,
            compressed=memory.compressed,
        )  # fmt: skip

    def _stages_of(
        self, formats: Formats, cut: Parallelism, settings: EngineSettings, engine: EngineSpec
    ) -> tuple[StageMemory, ...]:
        ruled = self._ruled(formats, settings, engine)
        held = self.weights.stage_lines(cut, ruled.weights)
        # Lines that are counted once are one object, which the weights keep alive.
        key = (id(held), formats.kv, cut, ruled, settings.offload_bytes, engine.offload)
        if key not in self._stages:
            bounds = stage_bounds(len(self.weights.model.layers), cut.pp, engine.pp_remainder)
            host_bytes = bytes_on_host(self.weights, cut, settings, engine)
            known: dict[int, StageMemory] = {}
            for span, lines in zip(bounds, held, strict=True):
                if id(lines) not in known:
                    weights = offloaded((*lines, *ruled.buffers), host_bytes)
                    known[id(lines)] = StageMemory(weights=weights, layout=self._layout(formats, cut, ruled, span))
            self._stages[key] = tuple(known[id(lines)] for lines in held)
        return self._stages[key]

    def _layout(self, formats: Formats, cut: Parallelism, ruled: _Ruled, span: tuple[int, int]) -> CacheLayout:
        layers = _counted(self.weights.model, span, draft=ruled.weights.mtp)
        return cache_layout(layer_kinds(self.weights.model, layers, formats.kv, cut.tp, ruled.cache), ruled.cache)

    def _ruled(self, formats: Formats, settings: EngineSettings, engine: EngineSpec) -> _Ruled:
        key = (formats.kv, settings, engine)
        if key not in self._rules:
            model = self.weights.model
            self._rules[key] = _Ruled(
                weights=weight_rules(settings, engine),
                cache=cache_rules(model, settings, engine),
                buffers=(*gather_lines(model, formats, settings, engine), *deep_stack_lines(model, settings, engine)),
            )
        return self._rules[key]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ruled:
    """What an engine under some settings does to weights and cache, however they are cut."""

    weights: WeightRules
    cache: CacheRules
    buffers: tuple[LedgerLine, ...]


def _counted(model: ModelSpec, span: tuple[int, int], *, draft: bool) -> Iterable[tuple[Layer, int]]:
    """Return the layers of a stage with their counts; the last one also caches for the draft layers."""
    drafted = model.mtp_layers if draft and span[1] == len(model.layers) else ()
    return (*counted_layers(model, span), *((layer, 1) for layer in drafted))
