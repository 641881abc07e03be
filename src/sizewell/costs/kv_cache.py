"""The KV cache of one rank: bytes per token of each attention kind, and the engine's block arithmetic.

vLLM lays layers of one kind into groups that share one pool of equal pages; a request takes blocks from every
group. Rules and checked values: docs/cost-model.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil
from typing import Literal

from sizewell.specs.kv_format import kv_element_bytes, resolved_kv_format
from sizewell.specs.layers import (
    Attention,
    Cached,
    CompressedAttention,
    LatentAttention,
    Layer,
    Mixer,
)
from sizewell.specs.model import ModelSpec

Kind = Literal["full", "window", "chunk", "state"]
STATE_ALIGNMENT_TOKENS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheKind:
    """Layers that cache alike: bytes per token and layer, or bytes of a fixed state per sequence and layer."""

    kind: Kind
    layers: int
    token_bytes: float = 0.0
    state_bytes: float = 0.0
    span_tokens: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheRules:
    """What the engine does: `block_tokens`, whether kinds are grouped, tokens it may have in flight, MLA padding.

    `latent_row_elements` replaces the latent row where an old engine padded it; `raw_fp8_latent` keeps fp8 sparse
    latent rows without their scales and 16-bit rope part.
    """

    block_tokens: int = 16
    grouped: bool = True
    in_flight_tokens: int = 0
    speculative_tokens: int = 0
    latent_row_elements: int | None = None
    raw_fp8_latent: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheLayout:
    """How one rank's cache is laid out.

    A block of the pool is `bytes_per_block`: `group_size` pages. Each entry of `groups` is a kind and how many groups
    it fills; `block_tokens` is what a page of a token-caching kind holds.
    """

    kinds: tuple[CacheKind, ...]
    groups: tuple[int, ...]
    group_size: int
    block_tokens: int
    bytes_per_block: float
    rules: CacheRules

    @property
    def bytes_per_token(self) -> float:
        """Bytes one more token costs in all layers that cache every token seen, windows not yet full included."""
        return sum(kind.layers * kind.token_bytes for kind in self.kinds)

    @property
    def state_bytes_per_sequence(self) -> float:
        """Bytes of recurrent state per sequence, whatever its length."""
        return sum(kind.layers * kind.state_bytes for kind in self.kinds)

    @property
    def is_uniform(self) -> bool:
        """Whether every layer caches every token, so that tokens alone say what fits."""
        return len(self.kinds) == 1 and self.kinds[0].kind == "full"

    def request_blocks(self, context_tokens: int) -> int:
        """Return the blocks a sequence of `context_tokens` takes over all groups."""
        return sum(
            groups * self._kind_blocks(kind, context_tokens)
            for kind, groups in zip(self.kinds, self.groups, strict=True)
        )

    def _kind_blocks(self, kind: CacheKind, context_tokens: int) -> int:
        rules = self.rules
        if kind.kind == "state":
            return 1 + rules.speculative_tokens
        if kind.kind == "window":
            seen = min(kind.span_tokens - 1 + rules.in_flight_tokens, context_tokens)
            return ceil(seen / self.block_tokens) + 1
        if kind.kind == "chunk":
            seen = min(kind.span_tokens + rules.in_flight_tokens, context_tokens)
            return ceil(seen / self.block_tokens)
        return ceil(context_tokens / self.block_tokens)

    def concurrency(self, blocks: int, context_tokens: int) -> float:
        """Return how many sequences of `context_tokens` the pool holds at once."""
        needed = self.request_blocks(context_tokens)
        return blocks / needed if needed else float("inf")

    def printed_tokens(self, blocks: int) -> int:
        """Return blocks shared evenly over groups, in tokens: what vLLM 0.9–0.20 prints as its cache size."""
        return blocks // max(1, sum(self.groups)) * self.block_tokens


def token_bytes(mixer: Cached, kv_format: str, model: ModelSpec, tp: int, rules: CacheRules) -> float:
    """Return bytes per token, layer and rank; latents and their indexers are whole on every rank."""
    width = kv_element_bytes(kv_format, model)
    if isinstance(mixer, Attention):
        return mixer.rank_kv_elements_per_token(tp) * width + mixer.index_elements * width
    if isinstance(mixer, LatentAttention):
        return _latent_row_bytes(mixer, resolved_kv_format(kv_format, model), width, rules)
    return _compressed_row_bytes(mixer)


def _latent_row_bytes(mixer: LatentAttention, name: str, width: float, rules: CacheRules) -> float:
    index = mixer.indexer.cache_bytes_per_token if mixer.indexer else 0
    packed = name == "fp8_ds_mla" or (name == "fp8" and mixer.indexer is not None and not rules.raw_fp8_latent)
    if packed:
        scales = 4 * ceil(mixer.kv_lora_rank / 128)
        return mixer.kv_lora_rank + scales + 2 * mixer.qk_rope_head_dim + index
    elements = rules.latent_row_elements or mixer.latent_elements
    return elements * width + index


def _compressed_row_bytes(mixer: CompressedAttention) -> float:
    index = mixer.indexer.cache_bytes_per_token if mixer.indexer else 0
    row = mixer.head_dim - mixer.rope_head_dim + 2 * mixer.rope_head_dim + 8
    return (row + index) / mixer.compress_ratio if mixer.compress_ratio else 0.0


def layer_kinds(
    model: ModelSpec, layers: Iterable[tuple[Layer, int]], kv_format: str, tp: int, rules: CacheRules
) -> tuple[CacheKind, ...]:
    """Return the cache kinds of some layers, alike layers counted together, in order of first appearance."""
    counts: Counter[CacheKind] = Counter()
    for layer, count in layers:
        if layer.mixer is not None:
            counts[_kind(layer.mixer, kv_format, model, tp, rules)] += count
    return tuple(
        CacheKind(
            kind=kind.kind, layers=count, token_bytes=kind.token_bytes,
            state_bytes=kind.state_bytes, span_tokens=kind.span_tokens,
        )
        for kind, count in counts.items()
    )  # fmt: skip


def _kind(mixer: Mixer, kv_format: str, model: ModelSpec, tp: int, rules: CacheRules) -> CacheKind:
    if not isinstance(mixer, Cached):
        convolution = mixer.rank_conv_elements(tp) * 2
        state = mixer.rank_state_elements(tp) * model.recurrent_state_dtype_bytes
        return CacheKind(kind="state", layers=0, state_bytes=convolution + state)
    row = token_bytes(mixer, kv_format, model, tp, rules)
    if isinstance(mixer, Attention) and rules.grouped:
        if mixer.window_tokens:
            return CacheKind(kind="window", layers=0, token_bytes=row, span_tokens=mixer.window_tokens)
        if mixer.chunk_tokens:
            return CacheKind(kind="chunk", layers=0, token_bytes=row, span_tokens=mixer.chunk_tokens)
    return CacheKind(kind="full", layers=0, token_bytes=row)


def cache_layout(kinds: tuple[CacheKind, ...], rules: CacheRules) -> CacheLayout:
    """Return the block layout of one rank's cached layers."""
    merged = _merge_full(kinds)
    if len(merged) <= 1:
        return _uniform(merged, rules)
    page, block_tokens = _page(merged, rules)
    counts = [kind.layers for kind in merged]
    size = max(counts) if max(counts) < 1.5 * min(counts) else min(counts)
    return CacheLayout(
        kinds=merged,
        groups=tuple(ceil(count / size) for count in counts),
        group_size=size,
        block_tokens=block_tokens,
        bytes_per_block=size * page,
        rules=rules,
    )


def _merge_full(kinds: tuple[CacheKind, ...]) -> tuple[CacheKind, ...]:
    """Fold full-attention kinds of different row sizes into one of the mean row: their pages are just added."""
    full = [kind for kind in kinds if kind.kind == "full"]
    if len(full) < 2:
        return kinds
    layers = sum(kind.layers for kind in full)
    row = sum(kind.layers * kind.token_bytes for kind in full) / layers
    rest = tuple(kind for kind in kinds if kind.kind != "full")
    return (CacheKind(kind="full", layers=layers, token_bytes=row), *rest)


def _uniform(kinds: tuple[CacheKind, ...], rules: CacheRules) -> CacheLayout:
    layers = kinds[0].layers if kinds else 0
    page = (kinds[0].token_bytes * rules.block_tokens or kinds[0].state_bytes) if kinds else 0.0
    return CacheLayout(
        kinds=kinds, groups=(1,) * len(kinds), group_size=layers,
        block_tokens=rules.block_tokens, bytes_per_block=layers * page, rules=rules,
    )  # fmt: skip


def _page(kinds: tuple[CacheKind, ...], rules: CacheRules) -> tuple[float, int]:
    """Return (page bytes, tokens of a block) such that every kind's page fits one size."""
    row = max(kind.token_bytes for kind in kinds)
    state = max(kind.state_bytes for kind in kinds)
    if not row:
        return state, rules.block_tokens
    needed = ceil(state / (STATE_ALIGNMENT_TOKENS * row)) * STATE_ALIGNMENT_TOKENS
    block_tokens = max(rules.block_tokens, needed)
    return block_tokens * row, block_tokens
