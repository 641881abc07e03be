"""The work of moving information between tokens: attention over the cache, recurrent states, index selection.

Projections are matrix products and live elsewhere; here is what depends on the length of the context.
A product of two matrices counts two operations per multiplied pair.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from sizewell.costs.batch import Batch, Floats
from sizewell.costs.work import Operator, OperatorKind
from sizewell.specs.encoding import ComputeType
from sizewell.specs.layers import Attention, CompressedAttention, Indexer, LatentAttention, Mixer, Recurrent

ACTIVATION_BYTES = 2
SPARSE_HEADS = 64.0
"""Heads of a tile of FlashMLA's sparse kernels: ranks with fewer pad theirs."""
DECODE, PREFILL = "attention-decode", "attention-prefill"


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheWidth:
    """How a rank stores context: tensor-parallel ways, bytes of a cached row and of a recurrent-state element.

    A `narrow` cache holds elements of eight bits or less.
    """

    tp: int
    row_bytes: float
    state_element_bytes: float
    narrow: bool = False
    compute: ComputeType = "bf16"


@dataclass(frozen=True, slots=True)
class _Row:
    """What one query token and one cached token cost: operations per pair, bytes per cached token.

    `queries` of one token share a cached row; `head` is the mean width of keys and values, `passed_bytes` what enters
    and leaves for each query token.
    """

    flops: float
    bytes: float
    queries: float
    head: float
    passed_bytes: float


def context_operators(mixer: Mixer, repeats: Floats | float, batch: Batch, width: CacheWidth) -> tuple[Operator, ...]:
    """Return the operators of a mixer that read context, for one rank's share of the batch."""
    if isinstance(mixer, Attention):
        return _softmax(mixer, repeats, batch, width)
    if isinstance(mixer, LatentAttention):
        return _latent(mixer, repeats, batch, width)
    if isinstance(mixer, CompressedAttention):
        return _compressed(mixer, repeats, batch, width)
    return (_recurrent(mixer, repeats, batch, width),)


def _softmax(mixer: Attention, repeats: Floats | float, batch: Batch, width: CacheWidth) -> tuple[Operator, ...]:
    heads = max(1, mixer.heads // width.tp)
    row = _Row(
        flops=2.0 * heads * (mixer.head_dim + mixer.v_head_dim),
        bytes=width.row_bytes,
        queries=heads / max(1, mixer.kv_heads // width.tp),
        head=(mixer.head_dim + mixer.v_head_dim) / 2,
        passed_bytes=float(heads * (mixer.head_dim + mixer.v_head_dim) * ACTIVATION_BYTES),
    )
    span = mixer.span_tokens or mixer.sparse_top_k_tokens
    found = []
    if batch.has_decode:
        seen = _seen(batch.context_tokens, span)
        found.append(_decode("decode-attention", repeats, batch, row, seen, width))
    if batch.has_prefill:
        found.append(_prefill(repeats, batch, row, _seen(batch.prefill_visible_tokens, span), width))
    return tuple(found)


def _latent(mixer: LatentAttention, repeats: Floats | float, batch: Batch, width: CacheWidth) -> tuple[Operator, ...]:
    """Absorbed in decode: every head works on the latent itself. In prefill keys and values are expanded first."""
    heads = max(1, mixer.heads // width.tp)
    absorbed_width, expanded_width = (
        mixer.latent_elements + mixer.kv_lora_rank,
        mixer.qk_nope_head_dim + mixer.qk_rope_head_dim + mixer.v_head_dim,
    )
    absorbed, expanded = (
        _Row(
            flops=2.0 * heads * each,
            bytes=width.row_bytes,
            queries=float(heads),
            head=each / 2,
            passed_bytes=float(heads * each * ACTIVATION_BYTES),
        )
        for each in (absorbed_width, expanded_width)
    )
    if mixer.indexer:
        return _sparse(mixer.indexer, repeats, batch, absorbed, width)
    found = []
    if batch.has_decode:
        found.append(_decode("latent-attention", repeats, batch, absorbed, batch.context_tokens, width))
    if batch.has_prefill:
        found.append(_prefill(repeats, batch, expanded, batch.prefill_visible_tokens, width))
    return tuple(found)


def _sparse(
    indexer: Indexer, repeats: Floats | float, batch: Batch, row: _Row, width: CacheWidth
) -> tuple[Operator, ...]:
    """Every query reads a list of `top_k_tokens` latent rows, whatever of it is filled, in prefill as in decode; its
    kernels compute SPARSE_HEADS heads at least.
    """
    tile = replace(row, flops=row.flops * max(1.0, SPARSE_HEADS / row.queries), queries=max(row.queries, SPARSE_HEADS))
    listed = np.full_like(batch.tokens, float(indexer.top_k_tokens))
    found = []
    if batch.has_decode:
        seen = _seen(batch.context_tokens, indexer.top_k_tokens)
        decode = _decode("latent-attention", repeats, batch, tile, seen, width)
        found.append(replace(decode, flops=batch.decode_sequences * listed * (batch.query_tokens * tile.flops)))
    if batch.has_prefill:
        prefill = _prefill(repeats, batch, tile, listed, width)
        found.append(replace(prefill, kind="latent-attention"))
    return (*found, _selection(indexer, repeats, batch, 1))


def _compressed(
    mixer: CompressedAttention, repeats: Floats | float, batch: Batch, width: CacheWidth
) -> tuple[Operator, ...]:
    heads = max(1, mixer.heads // width.tp)
    row = _Row(
        flops=4.0 * heads * mixer.head_dim,
        bytes=width.row_bytes,
        queries=float(heads),
        head=float(mixer.head_dim),
        passed_bytes=float(2 * heads * mixer.head_dim * ACTIVATION_BYTES),
    )
    found = []
    if batch.has_decode:
        seen = _compressed_seen(mixer, batch.context_tokens)
        found.append(_decode("latent-attention", repeats, batch, row, seen, width))
    if batch.has_prefill:
        seen = _compressed_seen(mixer, batch.prefill_visible_tokens)
        found.append(_prefill(repeats, batch, row, seen, width))
    if mixer.indexer and mixer.compress_ratio:
        found.append(_selection(mixer.indexer, repeats, batch, mixer.compress_ratio))
    return tuple(found)


def _seen(context: Floats, span: int | None) -> Floats:
    return context if span is None else np.minimum(context, float(span))


def _compressed_seen(mixer: CompressedAttention, context: Floats) -> Floats:
    window = np.minimum(context, float(mixer.window_tokens))
    if not mixer.compress_ratio:
        return window
    states = context / mixer.compress_ratio
    return window + _seen(states, mixer.indexer.top_k_tokens if mixer.indexer else None)


def _decode(
    kind: OperatorKind, repeats: Floats | float, batch: Batch, row: _Row, seen: Floats, width: CacheWidth
) -> Operator:
    pairs = batch.decode_sequences * seen
    return Operator(
        name="decode attention",
        part=DECODE,
        kind=kind,
        compute=width.compute,
        repeats=repeats * batch.decodes,
        flops=pairs * (batch.query_tokens * row.flops),
        hbm_bytes=pairs * row.bytes,
        rows=np.full_like(pairs, row.queries * batch.query_tokens),
        units=batch.decode_sequences,
        launches=2,
        narrow_cache=width.narrow,
    )


def _prefill(repeats: Floats | float, batch: Batch, row: _Row, seen: Floats, width: CacheWidth) -> Operator:
    held = batch.prefill_sequences * batch.prefill_context_tokens + batch.prefill_tokens
    passed = batch.prefill_tokens * row.passed_bytes
    return Operator(
        name="prefill attention",
        part=PREFILL,
        kind="prefill-attention",
        compute=width.compute,
        repeats=repeats * batch.prefills,
        flops=batch.prefill_tokens * seen * row.flops,
        hbm_bytes=held * row.bytes + passed,
        rows=np.full_like(passed, row.head),
        row_bytes=passed,
        units=batch.prefill_sequences,
        launches=2,
    )


def _selection(indexer: Indexer, repeats: Floats | float, batch: Batch, ratio: int) -> Operator:
    """Scores every cached key (one for each `ratio` tokens) against the index heads, in fp8; never shared over TP."""
    queries = batch.decode_sequences * batch.query_tokens * batch.context_tokens
    pairs = (queries + batch.prefill_tokens * batch.prefill_visible_tokens) / ratio
    held = (
        batch.decode_sequences * batch.context_tokens
        + batch.prefill_sequences * batch.prefill_context_tokens
        + batch.prefill_tokens
    ) / ratio
    return Operator(
        name="index selection",
        part=DECODE if batch.has_decode else PREFILL,
        kind="index-selection",
        compute="fp8",
        repeats=repeats,
        flops=pairs * (2.0 * indexer.heads * indexer.head_dim),
        hbm_bytes=held * float(indexer.cache_bytes_per_token),
        rows=np.full_like(pairs, float(indexer.heads)),
        units=batch.decode_sequences + batch.prefill_sequences,
        launches=3,
    )


def _recurrent(mixer: Recurrent, repeats: Floats | float, batch: Batch, width: CacheWidth) -> Operator:
    """States are read and written once a step and sequence; an update takes about six operations an element."""
    state = float(mixer.rank_state_elements(width.tp))
    convolution = float(mixer.rank_conv_elements(width.tp))
    sequences = batch.decode_sequences + batch.prefill_sequences
    stored = state * width.state_element_bytes + convolution * 2
    return Operator(
        name="recurrent state",
        part="state",
        kind="state",
        compute=width.compute,
        repeats=repeats,
        flops=batch.tokens * (6.0 * state + 2.0 * convolution),
        hbm_bytes=sequences * (2.0 * stored) + batch.tokens * (4.0 * convolution),
        rows=batch.tokens,
        products=3,
        launches=3,
    )
