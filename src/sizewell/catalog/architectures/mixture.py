"""Decoders of softmax attention and routed experts: Mixtral, Qwen MoE, gpt-oss, MiniMax-M2 and their kin."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from sizewell.catalog.architectures.attention import PLAIN, AttentionTraits, HeadShape, Reach, attention, read_heads
from sizewell.catalog.architectures.mlp import (
    PLAIN_EXPERTS,
    ExpertTraits,
    dense,
    experts,
    read_experts,
    uniform,
    with_shared,
)
from sizewell.catalog.architectures.outline import Ends, Outline, layer, norms, outline, stack
from sizewell.catalog.architectures.windows import listed, reaches, same_everywhere
from sizewell.catalog.config_fields import Fields, merged
from sizewell.specs.layers import Layer, MoeMlp


@dataclass(frozen=True, slots=True, kw_only=True)
class MixtureTraits:
    """How the layers of a family of mixtures are made."""

    shape: HeadShape
    experts: MoeMlp
    attention: AttentionTraits = PLAIN
    routing: ExpertTraits = PLAIN_EXPERTS
    norm_bias: bool = False
    norms: int = 2


class Place(NamedTuple):
    """What distinguishes one layer from the next: its reach and whether it routes."""

    reach: Reach
    routed: bool


def mixture_layers(text: Fields, spans: list[Reach], routed: list[bool], traits: MixtureTraits) -> tuple[Layer, ...]:
    """Return layers that differ in reach and in whether they route."""
    hidden = text.size("hidden_size")
    around = norms(hidden, traits.norms, bias=traits.norm_bias)

    def build(place: Place) -> Layer:
        plain = None if place.routed else dense(hidden, text.size("intermediate_size"))
        mlp = plain or experts(hidden, traits.experts, traits.routing)
        return layer(attention(hidden, traits.shape, traits.attention, place.reach), mlp, around)

    return stack([Place(reach, route) for reach, route in zip(spans, routed, strict=True)], build)


def all_routed(text: Fields) -> list[bool]:
    """Return that every layer routes."""
    return [True] * text.layers()


def from_layer(text: Fields, first: int) -> list[bool]:
    """Return that layers from number `first` on route."""
    return [i >= first for i in range(text.layers())]


def mixtral(text: Fields) -> Outline:
    """Mixtral: every layer routes, nothing shared."""
    shape = read_heads(text, kv_heads=min(8, text.size("num_attention_heads")))
    traits = MixtureTraits(
        shape=shape, experts=read_experts(text, count="num_local_experts", width="intermediate_size")
    )
    spans = same_everywhere(text, text.optional_count("sliding_window"))
    return outline(text, mixture_layers(text, spans, all_routed(text), traits))


def qwen2_moe(text: Fields) -> Outline:
    """Qwen1.5/2 MoE: biased attention, a gated shared expert."""
    traits = MixtureTraits(
        shape=read_heads(text),
        experts=qwen_experts(text),
        attention=AttentionTraits(qkv_bias=text.flag("qkv_bias", True)),
        routing=ExpertTraits(shared_gate=True),
    )
    return outline(text, mixture_layers(text, same_everywhere(text), qwen_routed(text), traits))


def qwen3_moe(text: Fields) -> Outline:
    """Qwen3 MoE: norms on heads, no shared expert."""
    bias = text.flag("attention_bias", False)
    traits = MixtureTraits(
        shape=read_heads(text),
        experts=read_experts(text),
        attention=AttentionTraits(qkv_bias=bias, out_bias=bias, qk_norm="head"),
    )
    return outline(text, mixture_layers(text, same_everywhere(text), qwen_routed(text), traits))


def qwen_experts(text: Fields) -> MoeMlp:
    """Return Qwen's experts with the shared one, which has its own width."""
    return with_shared(read_experts(text), text.stated_count("shared_expert_intermediate_size"))


def qwen_routed(text: Fields) -> list[bool]:
    """Return which layers route: each `decoder_sparse_step`-th that `mlp_only_layers` does not name."""
    step, only_dense = text.size("decoder_sparse_step", 1), set(text.counts("mlp_only_layers") or ())
    return [(i + 1) % step == 0 and i not in only_dense for i in range(text.layers())]


def olmoe(text: Fields) -> Outline:
    """OLMoE: norms over the whole projections."""
    traits = MixtureTraits(
        shape=read_heads(text),
        experts=read_experts(text, width="intermediate_size"),
        attention=AttentionTraits(
            qkv_bias=text.flag("attention_bias", False), out_bias=text.flag("attention_bias", False), qk_norm="full"
        ),
    )
    return outline(text, mixture_layers(text, same_everywhere(text), all_routed(text), traits))


def granite_moe(text: Fields) -> Outline:
    """Granite MoE: Llama attention, many small experts; the newer files add a shared one."""
    bias = text.flag("attention_bias", False)
    plain = read_experts(text, count="num_local_experts", width="intermediate_size")
    traits = MixtureTraits(
        shape=read_heads(text),
        experts=with_shared(plain, text.count("shared_intermediate_size", 0)),
        attention=AttentionTraits(qkv_bias=bias, out_bias=bias),
    )
    return outline(text, mixture_layers(text, same_everywhere(text), all_routed(text), traits))


def gpt_oss(text: Fields) -> Outline:
    """gpt-oss: sliding and full layers in turn, sinks, biases on everything, experts included."""
    local = listed(text) or [i % 2 == 0 for i in range(text.layers())]
    spans, bias = reaches(text, local, text.count("sliding_window", 128)), text.flag("attention_bias", True)
    traits = MixtureTraits(
        shape=read_heads(text, kv_heads=8, head_dim=64),
        experts=read_experts(text, count="num_local_experts", width="intermediate_size"),
        attention=AttentionTraits(qkv_bias=bias, out_bias=bias, sinks=True),
        routing=ExpertTraits(router_bias=True, expert_bias=True),
    )
    return outline(text, mixture_layers(text, spans, all_routed(text), traits))


def phimoe(text: Fields) -> Outline:
    """Phi-3.5-MoE: LayerNorms and biases, also on the head."""
    bias = text.flag("attention_bias", False)
    traits = MixtureTraits(
        shape=read_heads(text),
        experts=read_experts(text, count="num_local_experts", width="intermediate_size"),
        attention=AttentionTraits(qkv_bias=bias, out_bias=bias),
        norm_bias=True,
    )
    layers = mixture_layers(text, same_everywhere(text), all_routed(text), traits)
    return outline(text, layers, Ends(norm_bias=True, head_bias=text.flag("lm_head_bias", False)))


def ernie_moe(text: Fields) -> Outline:
    """ERNIE 4.5 MoE: dense first layers, several shared experts as one, a counted router correction."""
    plain = read_experts(text, count="moe_num_experts", top_k="moe_k")
    shared = text.stated_count("moe_num_shared_experts") * plain.intermediate
    last = text.count("moe_layer_end_index", text.layers() - 1)
    first, step = text.count("moe_layer_start_index", 1), text.size("moe_layer_interval", 1)
    routed = [first <= i <= last and (i + 1) % step == 0 for i in range(text.layers())]
    bias = text.flag("use_bias", False)
    traits = MixtureTraits(
        shape=read_heads(text, kv_heads=4),
        experts=with_shared(plain, shared),
        attention=AttentionTraits(qkv_bias=bias, out_bias=bias),
        routing=ExpertTraits(correction_bias=True),
    )
    return outline(text, mixture_layers(text, same_everywhere(text), routed, traits), Ends(tied=True))


def hunyuan(text: Fields) -> Outline:
    """Hunyuan-A13B: norms on heads; per-layer lists for experts and widths must be uniform."""
    plain = MoeMlp(
        experts=uniform(text, "num_experts"), top_k=uniform(text, "moe_topk"),
        intermediate=uniform(text, "moe_intermediate_size" if "moe_intermediate_size" in text else "intermediate_size"),
    )  # fmt: skip
    shared = uniform(text, "num_shared_expert", 1) * text.size("intermediate_size")
    traits = MixtureTraits(
        shape=read_heads(text), experts=with_shared(plain, shared), attention=AttentionTraits(qk_norm="head")
    )
    return outline(text, mixture_layers(text, same_everywhere(text), all_routed(text), traits))


def minimax_m2(text: Fields) -> Outline:
    """MiniMax-M2: norms over the whole projections, every layer routes."""
    traits = MixtureTraits(
        shape=read_heads(text, kv_heads=8, head_dim=128),
        experts=read_experts(text, count="num_local_experts", width="intermediate_size"),
        attention=AttentionTraits(qk_norm="full"),
    )
    return outline(text, mixture_layers(text, same_everywhere(text), all_routed(text), traits))


def dbrx(text: Fields) -> Outline:
    """DBRX: its own field names, LayerNorm without bias, 16 experts."""
    inner = text.section("attn_config") or Fields({}, text.source, "attn_config.")
    moe = text.section("ffn_config") or Fields({}, text.source, "ffn_config.")
    renamed: dict[str, object] = {
        "hidden_size": text.size("d_model"), "num_hidden_layers": text.layers("n_layers"),
        "num_attention_heads": text.size("n_heads"), "num_key_value_heads": inner.size("kv_n_heads", 1),
        "num_experts": moe.size("moe_num_experts"), "num_experts_per_tok": moe.size("moe_top_k"),
        "intermediate_size": moe.size("ffn_hidden_size"),
    }  # fmt: skip
    same = Fields(merged(text.values, renamed), text.source, text.path, text.parent)
    traits = MixtureTraits(shape=read_heads(same), experts=read_experts(same, width="intermediate_size"))
    return outline(same, mixture_layers(same, same_everywhere(same), all_routed(same), traits))
