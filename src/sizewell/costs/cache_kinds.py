"""Bytes a layer caches: per token of each attention kind and format, per sequence of each recurrent state."""

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
    Recurrent,
)
from sizewell.specs.model import ModelSpec

COMPRESSED_PAGE_STATES = 64

Kind = Literal["full", "window", "chunk", "state"]


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

    A request holds `cached_states` more blocks of recurrent state where prefixes are cached.
    `latent_row_elements` replaces the latent row where an old engine padded it; `raw_fp8_latent` keeps fp8 sparse
    latent rows without their scales and 16-bit rope part. `state_element_bytes` overrides what recurrent states are
    kept in, `conv_element_bytes` is for the convolutions before them. `style` flat adds bytes per layer with no common
    page; `window_pool_fraction` gives windowed layers a pool of that share of all tokens (SGLang).
    """

    block_tokens: int = 16
    grouped: bool = True
    in_flight_tokens: int = 0
    speculative_tokens: int = 0
    cached_states: int = 0
    latent_row_elements: int | None = None
    raw_fp8_latent: bool = False
    state_element_bytes: int | None = None
    conv_element_bytes: int = 2
    style: Literal["groups", "flat"] = "groups"
    window_pool_fraction: float | None = None

    @property
    def state_blocks(self) -> int:
        """Blocks of recurrent state one request takes of every group."""
        return 1 + self.speculative_tokens + self.cached_states


def token_bytes(mixer: Cached, kv_format: str, model: ModelSpec, tp: int, rules: CacheRules) -> float:
    """Return bytes per token, layer and rank; latents and their indexers are whole on every rank."""
    if isinstance(mixer, CompressedAttention):
        return _compressed_row_bytes(mixer)
    row = row_bytes(mixer, kv_format, model, tp, rules)
    if isinstance(mixer, LatentAttention) and mixer.indexer:
        return row + mixer.indexer.cache_bytes_per_token
    return row


def row_bytes(mixer: Cached, kv_format: str, model: ModelSpec, tp: int, rules: CacheRules) -> float:
    """Return bytes of one cached row as attention reads it: keys of an indexer beside it are not counted."""
    width = kv_element_bytes(kv_format, model)
    if isinstance(mixer, Attention):
        return mixer.rank_kv_elements_per_token(tp) * width + mixer.index_elements * width
    if isinstance(mixer, LatentAttention):
        return _latent_row_bytes(mixer, resolved_kv_format(kv_format, model), width, rules)
    return float(_compressed_state_bytes(mixer))


def _latent_row_bytes(mixer: LatentAttention, name: str, width: float, rules: CacheRules) -> float:
    packed = name == "fp8_ds_mla" or (name == "fp8" and mixer.indexer is not None and not rules.raw_fp8_latent)
    if packed:
        scales = 4 * ceil(mixer.kv_lora_rank / 128)
        return mixer.kv_lora_rank + scales + 2 * mixer.qk_rope_head_dim
    elements = rules.latent_row_elements or mixer.latent_elements
    return elements * width


def _compressed_row_bytes(mixer: CompressedAttention) -> float:
    index = mixer.indexer.cache_bytes_per_token if mixer.indexer else 0
    return (_compressed_state_bytes(mixer) + index) / mixer.compress_ratio if mixer.compress_ratio else 0.0


def _compressed_state_bytes(mixer: CompressedAttention) -> int:
    """FP8 elements, a 16-bit rope part and eight bytes of scales."""
    return mixer.head_dim + mixer.rope_head_dim + 8


def _compressor_row_bytes(mixer: CompressedAttention) -> float:
    """Bytes a compressor keeps of each recent token: fp32 values and scores in pages as large as a page of states.

    Short ratios overlap two windows. Pages hold 4 tokens at ratio 4 and 8 at ratio 128, so both take 32 KiB.
    """
    short = mixer.compress_ratio <= 4
    page = ceil(COMPRESSED_PAGE_STATES * _compressed_state_bytes(mixer) / 576) * 576
    own = 2 * (2 if short else 1) * mixer.head_dim * 4
    tokens = 4 if short else 8
    index = 0.0
    if mixer.indexer:
        index_page = COMPRESSED_PAGE_STATES * mixer.indexer.cache_bytes_per_token
        index = max(2 * 2 * mixer.indexer.head_dim * 4, index_page / tokens)
    return max(own, page / tokens) + index


def layer_kinds(
    model: ModelSpec, layers: Iterable[tuple[Layer, int]], kv_format: str, tp: int, rules: CacheRules
) -> tuple[CacheKind, ...]:
    """Return the cache kinds of some layers, alike layers counted together, in order of first appearance."""
    counts: Counter[CacheKind] = Counter()
    for layer, count in layers:
        if isinstance(layer.mixer, CompressedAttention):
            counts.update(dict.fromkeys(_compressed_kinds(layer.mixer), count))
        elif layer.mixer is not None and not (isinstance(layer.mixer, Attention) and layer.mixer.reuses_cache):
            counts[_kind(layer.mixer, kv_format, model, tp, rules)] += count
    return tuple(
        CacheKind(
            kind=kind.kind, layers=count, token_bytes=kind.token_bytes,
            state_bytes=kind.state_bytes, span_tokens=kind.span_tokens,
        )
        for kind, count in counts.items()
    )  # fmt: skip


def _compressed_kinds(mixer: CompressedAttention) -> Iterable[CacheKind]:
    """A window of raw latents; where compressed also the states and the compressor's own recent tokens."""
    raw = float(_compressed_state_bytes(mixer))
    yield CacheKind(kind="window", layers=0, token_bytes=raw, span_tokens=mixer.window_tokens)
    if mixer.compress_ratio:
        recent = float(_compressor_row_bytes(mixer))
        yield CacheKind(kind="full", layers=0, token_bytes=_compressed_row_bytes(mixer))
        yield CacheKind(kind="window", layers=0, token_bytes=recent, span_tokens=2 * mixer.compress_ratio)


def _kind(
    mixer: Recurrent | Attention | LatentAttention, kv_format: str, model: ModelSpec, tp: int, rules: CacheRules
) -> CacheKind:
    if not isinstance(mixer, Cached):
        convolution = mixer.rank_conv_elements(tp) * rules.conv_element_bytes
        state = mixer.rank_state_elements(tp) * (rules.state_element_bytes or model.recurrent_state_dtype_bytes)
        return CacheKind(kind="state", layers=0, state_bytes=convolution + state)
    row = token_bytes(mixer, kv_format, model, tp, rules)
    if isinstance(mixer, Attention) and rules.grouped:
        if rules.window_pool_fraction is not None and mixer.span_tokens:
            return CacheKind(kind="full", layers=0, token_bytes=row * rules.window_pool_fraction)
        if mixer.window_tokens:
            return CacheKind(kind="window", layers=0, token_bytes=row, span_tokens=mixer.window_tokens)
        if mixer.chunk_tokens:
            return CacheKind(kind="chunk", layers=0, token_bytes=row, span_tokens=mixer.chunk_tokens)
    return CacheKind(kind="full", layers=0, token_bytes=row)
