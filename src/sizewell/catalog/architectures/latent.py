"""Multi-head latent attention, with and without a sparse indexer: DeepSeek V2 to V3.2, Kimi, GLM-4.7-Flash, GLM-5."""

from __future__ import annotations

from typing import NamedTuple

from sizewell.catalog.architectures.mlp import dense, expert_count, experts, read_experts, with_shared
from sizewell.catalog.architectures.outline import (
    Ends,
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
from sizewell.specs.layers import Indexer, LatentAttention, Layer, MoeMlp
from sizewell.specs.tensor import Part, Tensor, column_parallel, heads, replicated, row_parallel, whole


class Place(NamedTuple):
    """What distinguishes one layer from the next."""

    routed: bool
    indexed: bool


def read_latent(text: Fields, indexer: Indexer | None = None) -> LatentAttention:
    """Return the latent attention shape; without `q_lora_rank` queries are projected directly."""
    return LatentAttention(
        heads=text.size("num_attention_heads"),
        q_lora_rank=text.stated_count("q_lora_rank") or None,
        kv_lora_rank=text.size("kv_lora_rank"),
        qk_nope_head_dim=text.size("qk_nope_head_dim"),
        qk_rope_head_dim=text.size("qk_rope_head_dim"),
        v_head_dim=text.size("v_head_dim"),
        indexer=indexer,
    )


def latent_attention(
    hidden: int, kind: LatentAttention, *, bias: bool = False, owns_indexer: bool = True
) -> MixerBlock:
    """Return latent attention: both down projections fused and replicated, the rest cut by heads.

    A layer without an indexer of its own attends to the choice of an earlier one.
    """
    keys_and_values = heads(kind.heads, kind.qk_nope_head_dim + kind.v_head_dim)
    tensors = [
        *_queries(hidden, kind, bias=bias),
        small("self_attn.kv_a_layernorm", whole(kind.kv_lora_rank)),
        column_parallel("self_attn.kv_b_proj", "attention", kind.kv_lora_rank, keys_and_values),
        row_parallel("self_attn.o_proj", "attention", heads(kind.heads, kind.v_head_dim), hidden, bias=bias),
    ]
    if kind.indexer is not None and owns_indexer:
        tensors += _indexer_tensors(hidden, kind, kind.indexer)
    return MixerBlock(kind, tuple(tensors))


def _queries(hidden: int, kind: LatentAttention, *, bias: bool) -> list[Tensor]:
    queries = heads(kind.heads, kind.qk_nope_head_dim + kind.qk_rope_head_dim)
    if kind.q_lora_rank is None:
        return [
            column_parallel("self_attn.q_proj", "attention", hidden, queries),
            replicated("self_attn.kv_a_proj_with_mqa", "attention", hidden, kind.latent_elements, bias=bias),
        ]
    down = (whole(kind.q_lora_rank), whole(kind.latent_elements))
    return [
        Tensor(name="self_attn.fused_qkv_a_proj", role="attention", rows=down, columns=Part(units=hidden), bias=bias),
        small("self_attn.q_a_layernorm", whole(kind.q_lora_rank)),
        column_parallel("self_attn.q_b_proj", "attention", kind.q_lora_rank, queries),
    ]


def _indexer_tensors(hidden: int, kind: LatentAttention, indexer: Indexer) -> list[Tensor]:
    width = indexer.heads * indexer.head_dim
    return [
        replicated("self_attn.indexer.wq_b", "indexer", kind.q_lora_rank or hidden, width),
        replicated("self_attn.indexer.wk", "indexer", hidden, indexer.head_dim),
        small("self_attn.indexer.k_norm", whole(indexer.head_dim), count=2),
        replicated("self_attn.indexer.weights_proj", "indexer", hidden, indexer.heads),
    ]


def read_indexer(text: Fields) -> Indexer:
    """Return the shape of the sparse selector."""
    return Indexer(
        heads=text.size("index_n_heads"),
        head_dim=text.size("index_head_dim"),
        top_k_tokens=text.size("index_topk"),
    )


def deepseek(text: Fields) -> Outline:
    """DeepSeek V2, V3, R1, Kimi-K2, Moonlight: latent attention, dense first layers, shared experts."""
    return _latent_decoder(text, None, [False] * text.layers())


def tied_latent(text: Fields) -> Outline:
    """MiniCPM3 and Youtu: dense layers with latent attention, tied unless said otherwise."""
    return _latent_decoder(text, None, [False] * text.layers(), Ends(tied=True))


def deepseek_v32(text: Fields) -> Outline:
    """DeepSeek V3.2: V3 with an indexer in every layer."""
    return _latent_decoder(text, read_indexer(text), [True] * text.layers())


def glm_dsa(text: Fields) -> Outline:
    """GLM-5: an indexer in every layer, or from GLM-5.2 on only in those `indexer_types` calls full."""
    types = text.kinds("indexer_types", ("full", "shared"), text.layers())
    owners = _indexer_owners(text) if types is None else [kind == "full" for kind in types]
    return _latent_decoder(text, read_indexer(text), owners)


def _indexer_owners(text: Fields) -> list[bool]:
    """Return who owns an indexer: `index_topk_freq` layers share one, the first `index_skip_topk_offset` own theirs."""
    every, offset = text.size("index_topk_freq", 1), text.count("index_skip_topk_offset", 0)
    return [max(i - offset + 1, 0) % every == 0 for i in range(text.layers())]


def _latent_decoder(text: Fields, indexer: Indexer | None, owners: list[bool], ends: Ends | None = None) -> Outline:
    hidden = text.size("hidden_size")
    kind, bias = read_latent(text, indexer), text.flag("attention_bias", False)
    shape = deepseek_experts(text)
    around = norms(hidden, 2)

    def build(place: Place) -> Layer:
        mixer = latent_attention(hidden, kind, bias=bias, owns_indexer=place.indexed)
        mlp = experts(hidden, shape) if place.routed and shape else dense(hidden, text.size("intermediate_size"))
        return layer(mixer, mlp, around)

    routed = deepseek_routed(text) if shape else [False] * text.layers()
    layers = stack([Place(*pair) for pair in zip(routed, owners, strict=True)], build)
    # The prediction layer has an indexer of its own wherever the model has any.
    last = build(Place(routed[-1], True))
    return outline(text, layers, ends, next_token_layers(text, last))


def deepseek_experts(text: Fields) -> MoeMlp | None:
    """Return the experts with `n_shared_experts` fused into one; None for a dense model, which says nothing of any."""
    count = expert_count(text, "n_routed_experts")
    if not (text.stated_count(count) if "moe_intermediate_size" in text else text.count(count, 0)):
        return None
    plain = read_experts(text, count="n_routed_experts")
    return with_shared(plain, text.stated_count("n_shared_experts") * plain.intermediate)


def deepseek_routed(text: Fields) -> list[bool]:
    """Return which layers route: `mlp_layer_types`, or from `first_k_dense_replace` on by `moe_layer_freq`."""
    types = text.kinds("mlp_layer_types", ("dense", "sparse"), text.layers())
    if types is not None:
        return [kind == "sparse" for kind in types]
    if isinstance(text.values.get("moe_layer_freq"), list):
        return [bool(mark) for mark in text.counts("moe_layer_freq", text.layers()) or ()]
    first, every = text.stated_count("first_k_dense_replace"), text.size("moe_layer_freq", 1)
    return [i >= first and i % every == 0 for i in range(text.layers())]


def longcat(text: Fields) -> Outline:
    """LongCat-Flash: every layer has two latent attentions and two dense MLPs around one set of experts.

    Only the experts a checkpoint stores are counted; the identity experts have a row in the router and no weights.
    """
    hidden, kind = text.size("hidden_size"), read_latent(text)
    shape = MoeMlp(
        experts=text.size("n_routed_experts"), top_k=text.size("moe_topk"),
        intermediate=text.size("expert_ffn_hidden_size"),
    )  # fmt: skip
    identities = text.count("zero_expert_num", 0)
    mixer, plain, around = latent_attention(hidden, kind), dense(hidden, text.size("ffn_hidden_size")), norms(hidden, 2)
    idle = replicated("mlp.zero_expert_rows", "router", hidden, identities)
    first = layer(mixer, experts(hidden, shape), *plain.tensors, around, idle)
    second = layer(mixer, plain, around)
    return outline(text, (first, second) * text.layers("num_layers"))
