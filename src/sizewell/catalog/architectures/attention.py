"""Softmax attention: MHA, GQA and MQA with windows, chunks, biases, norms, sinks and gates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sizewell.catalog.architectures.outline import MixerBlock, small
from sizewell.catalog.config_fields import Fields
from sizewell.specs.layers import Attention
from sizewell.specs.tensor import Tensor, column_parallel, heads, row_parallel, whole


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadShape:
    """Query heads, key/value heads and their widths."""

    count: int
    kv: int
    dim: int
    value_dim: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionTraits:
    """What a family adds to plain attention.

    `qk_norm`: one weight of the head width, or of the full projection width. `gate`: `query` doubles the query
    rows, `head` adds one row per head. `value_is_key`: values are the keys, without a matrix of their own.
    `reuses_cache`: keys and values are an earlier layer's, so only queries are projected.
    """

    qkv_bias: bool = False
    out_bias: bool = False
    qk_norm: Literal["none", "head", "full"] = "none"
    gate: Literal["none", "query", "head"] = "none"
    sinks: bool = False
    value_is_key: bool = False
    reuses_cache: bool = False


PLAIN = AttentionTraits()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """How far back a query sees; both None = everything."""

    window: int | None = None
    chunk: int | None = None


EVERYTHING = Reach()


def read_heads(text: Fields, *, kv_heads: int | None = None, head_dim: int | None = None) -> HeadShape:
    """Return the head shape; absent key/value heads mean MHA and an absent width hidden / heads."""
    count = text.size("num_attention_heads")
    dim = text.size("head_dim", head_dim or max(1, text.size("hidden_size") // count))
    kv = text.size("num_key_value_heads", kv_heads or count)
    if count % kv:
        raise text.wrong("num_key_value_heads", kv, f"a divisor of the {count} attention heads")
    return HeadShape(count=count, kv=kv, dim=dim, value_dim=dim)


def attention(hidden: int, shape: HeadShape, traits: AttentionTraits = PLAIN, reach: Reach = EVERYTHING) -> MixerBlock:
    """Return attention with fused query, key and value projections."""
    kind = Attention(
        heads=shape.count, kv_heads=shape.kv, head_dim=shape.dim, v_head_dim=shape.value_dim,
        window_tokens=reach.window, chunk_tokens=reach.chunk, reuses_cache=traits.reuses_cache,
    )  # fmt: skip
    return MixerBlock(kind, (*projections(hidden, shape, traits), *_small_tensors(hidden, shape, traits)))


def projections(hidden: int, shape: HeadShape, traits: AttentionTraits) -> tuple[Tensor, Tensor]:
    """Return the fused query/key/value matrix and the output matrix."""
    query = heads(shape.count, shape.dim * (2 if traits.gate == "query" else 1))
    key, value = heads(shape.kv, shape.dim), heads(shape.kv, shape.value_dim)
    stored = () if traits.reuses_cache else (key,) if traits.value_is_key else (key, value)
    return (
        column_parallel("self_attn.qkv_proj", "attention", hidden, query, *stored, bias=traits.qkv_bias),
        row_parallel(
            "self_attn.o_proj", "attention", heads(shape.count, shape.value_dim), hidden, bias=traits.out_bias
        ),
    )


def _small_tensors(hidden: int, shape: HeadShape, traits: AttentionTraits) -> list[Tensor]:
    found = []
    if traits.qk_norm == "head":
        found.append(small("self_attn.qk_norm", whole(shape.dim), count=1 if traits.reuses_cache else 2))
    if traits.qk_norm == "full":
        found.append(small("self_attn.qk_norm", heads(shape.count, shape.dim), heads(shape.kv, shape.dim)))
    if traits.sinks:
        found.append(small("self_attn.sinks", heads(shape.count, 1)))
    if traits.gate == "head":
        found.append(column_parallel("self_attn.g_proj", "attention", hidden, heads(shape.count, 1)))
    return found
