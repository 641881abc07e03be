"""MiniMax-M3: grouped-query attention that reads only the blocks a small index selects."""

from __future__ import annotations

from typing import NamedTuple

from sizewell.catalog.architectures.attention import AttentionTraits, attention, read_heads
from sizewell.catalog.architectures.mlp import dense, experts, with_shared
from sizewell.catalog.architectures.outline import (
    MixerBlock,
    Outline,
    layer,
    next_token_layers,
    norms,
    outline,
    small,
    stack,
)
from sizewell.catalog.config_fields import Fields
from sizewell.specs.layers import Attention, Layer, MoeMlp
from sizewell.specs.tensor import replicated, whole


class Place(NamedTuple):
    """What distinguishes one layer from the next."""

    sparse: bool
    routed: bool


def minimax_m3(text: Fields) -> Outline:
    """MiniMax-M3: dense first layers with full attention, then experts with block-sparse attention."""
    hidden = text.size("hidden_size")
    plain = attention(hidden, read_heads(text, kv_heads=4, head_dim=128), AttentionTraits(qk_norm="head"))
    sparse = _sparse(text, hidden, plain)
    width = text.size("moe_intermediate_size", text.size("intermediate_size"))
    shape = MoeMlp(experts=text.size("num_local_experts"), top_k=text.size("num_experts_per_tok"), intermediate=width)
    shared = text.count("n_shared_experts", 1) * text.size("shared_intermediate_size", width)
    routed = experts(hidden, with_shared(shape, shared))
    wide, around = dense(hidden, text.size("dense_intermediate_size")), norms(hidden, 2)

    def build(place: Place) -> Layer:
        return layer(sparse if place.sparse else plain, routed if place.routed else wide, around)

    places = [Place(*pair) for pair in zip(_sparse_marks(text), _routed_marks(text), strict=True)]
    layers = stack(places, build)
    return outline(text, layers, mtp_layers=next_token_layers(text, layers[-1]))


RESAVED = {
    "sparse_index_dim": "index_head_dim", "sparse_topk_blocks": "index_topk_blocks",
    "sparse_block_size": "index_block_size", "sparse_num_index_heads": "index_n_heads",
}  # fmt: skip
"""Released fields of the index and what transformers 5 calls them."""


def _sparse_section(text: Fields) -> Fields:
    stated = {released: text.values[name] for released, name in RESAVED.items() if name in text}
    return text.section("sparse_attention_config") or Fields(stated, text.source, "sparse_attention_config.", text)


def _sparse_marks(text: Fields) -> list[bool]:
    types = text.kinds("layer_types", ("minimax_m3_sparse", "full_attention"), text.layers())
    if types is not None:
        return [kind == "minimax_m3_sparse" for kind in types]
    section = _sparse_section(text)
    if not section.flag("use_sparse_attention", False):
        return [False] * text.layers()
    return [bool(mark) for mark in section.counts("sparse_attention_freq", text.layers()) or (1,) * text.layers()]


def _routed_marks(text: Fields) -> list[bool]:
    types = text.kinds("mlp_layer_types", ("dense", "sparse"), text.layers())
    if types is not None:
        return [kind == "sparse" for kind in types]
    return [bool(mark) for mark in text.counts("moe_layer_freq", text.layers()) or (1,) * text.layers()]


def _sparse(text: Fields, hidden: int, plain: MixerBlock) -> MixerBlock:
    section = _sparse_section(text)
    width = section.size("sparse_index_dim", 128)
    chosen = section.size("sparse_topk_blocks", 16) * section.size("sparse_block_size", 128)
    kind = plain.kind
    if not isinstance(kind, Attention):
        raise text.wrong("sparse_attention_config", None, "softmax attention")
    indexed = Attention(
        heads=kind.heads, kv_heads=kind.kv_heads, head_dim=kind.head_dim, v_head_dim=kind.v_head_dim,
        sparse_top_k_tokens=chosen, index_elements=width,
    )  # fmt: skip
    index = (
        replicated("self_attn.index_q_proj", "indexer", hidden, section.size("sparse_num_index_heads", 4) * width),
        replicated("self_attn.index_k_proj", "indexer", hidden, width),
        small("self_attn.index_norm", whole(width), count=2),
    )
    return MixerBlock(indexed, (*plain.tensors, *index))
