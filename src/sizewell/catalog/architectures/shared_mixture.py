"""Mixtures of dense first layers and, behind them, routed experts beside shared ones.

GLM-4.5 to 4.7, dots.llm1, Solar Open, Ling and Ring, K-EXAONE, AFMoE.
"""

from __future__ import annotations

from typing import Literal

from sizewell.catalog.architectures.attention import AttentionTraits, HeadShape, read_heads
from sizewell.catalog.architectures.mixture import MixtureTraits, from_layer, mixture_layers
from sizewell.catalog.architectures.mlp import ExpertTraits, read_experts, with_shared
from sizewell.catalog.architectures.outline import Outline, next_token_layers, outline
from sizewell.catalog.architectures.windows import every_nth_full, listed, reaches, same_everywhere
from sizewell.catalog.config_fields import Fields
from sizewell.specs.layers import MoeMlp


def glm4_moe(text: Fields) -> Outline:
    """GLM-4.5 to 4.7: multi-token-prediction layers, norms on heads where the file says so."""
    heads = AttentionTraits(qkv_bias=text.flag("attention_bias", False), qk_norm=_norm(text))
    shape = read_heads(text, kv_heads=8)
    return _behind_dense(text, text.stated_count("first_k_dense_replace"), _glm_experts(text), shape, heads)


def solar_open(text: Fields) -> Outline:
    """Solar Open: GLM-4.5's layers, all of which route unless said otherwise."""
    heads = AttentionTraits(qkv_bias=text.flag("attention_bias", False), qk_norm=_norm(text))
    shape = read_heads(text, kv_heads=8, head_dim=128)
    return _behind_dense(text, text.count("first_k_dense_replace", 0), _glm_experts(text), shape, heads)


def dots1(text: Fields) -> Outline:
    """dots.llm1: GLM-4.5's layers with norms on heads."""
    bias = text.flag("attention_bias", False)
    heads = AttentionTraits(qkv_bias=bias, out_bias=bias, qk_norm="head")
    first = text.stated_count("first_k_dense_replace")
    return _behind_dense(text, first, _glm_experts(text), read_heads(text), heads)


def bailing(text: Fields) -> Outline:
    """Ling and Ring: `use_bias` covers the output, `use_qkv_bias` the rest; 2.0 has norms on heads."""
    plain = read_experts(text)
    width = text.size("moe_shared_expert_intermediate_size", plain.intermediate)
    heads = AttentionTraits(
        qkv_bias=text.flag("use_qkv_bias", False), out_bias=text.flag("use_bias", False),
        qk_norm=_norm(text),
    )  # fmt: skip
    mixed = with_shared(plain, text.stated_count("num_shared_experts") * width)
    return _behind_dense(text, text.count("first_k_dense_replace", 0), mixed, read_heads(text), heads)


def exaone_moe(text: Fields) -> Outline:
    """K-EXAONE: EXAONE 4's sliding and full layers with norms on heads."""
    plain, window = read_experts(text), text.optional_count("sliding_window")
    types = text.kinds("mlp_layer_types", ("dense", "sparse"), text.layers())
    routed = from_layer(text, text.count("first_k_dense_replace", 1))
    if types is not None:
        routed = [kind == "sparse" for kind in types]
    traits = MixtureTraits(
        shape=read_heads(text),
        experts=with_shared(plain, text.stated_count("num_shared_experts") * plain.intermediate),
        attention=AttentionTraits(qk_norm="head"),
    )
    local = listed(text) or every_nth_full(text, 4 if window else 0)
    layers = mixture_layers(text, reaches(text, local, window), routed, traits)
    return outline(text, layers, mtp_layers=next_token_layers(text, layers[-1]))


def afmoe(text: Fields) -> Outline:
    """AFMoE (Trinity): sliding and full layers with gated outputs, norms on heads and around both blocks."""
    plain, window = read_experts(text), text.optional_count("sliding_window")
    bias = text.flag("attention_bias", False)
    traits = MixtureTraits(
        shape=read_heads(text),
        experts=with_shared(plain, text.stated_count("num_shared_experts") * plain.intermediate),
        attention=AttentionTraits(qkv_bias=bias, out_bias=bias, qk_norm="head", gate="query"),
        routing=ExpertTraits(correction_bias=True),
        norms=4,
    )
    local = listed(text) or every_nth_full(text, text.size("global_attn_every_n_layers", 4))
    routed = from_layer(text, text.count("num_dense_layers", 1))
    return outline(text, mixture_layers(text, reaches(text, local, window), routed, traits))


def _glm_experts(text: Fields) -> MoeMlp:
    plain = read_experts(text, count="n_routed_experts")
    return with_shared(plain, text.stated_count("n_shared_experts") * plain.intermediate)


def _norm(text: Fields) -> Literal["none", "head"]:
    return "head" if text.flag("use_qk_norm", False) else "none"


def _behind_dense(text: Fields, first: int, mixed: MoeMlp, shape: HeadShape, heads: AttentionTraits) -> Outline:
    traits = MixtureTraits(shape=shape, experts=mixed, attention=heads)
    layers = mixture_layers(text, same_everywhere(text), from_layer(text, first), traits)
    return outline(text, layers, mtp_layers=next_token_layers(text, layers[-1]))
