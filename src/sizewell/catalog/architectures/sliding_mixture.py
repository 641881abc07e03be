"""Mixtures whose local and global layers differ in heads as well as in reach: MiMo-V2-Flash, Step-3.7-Flash."""

from __future__ import annotations

from typing import NamedTuple

from sizewell.catalog.architectures.attention import AttentionTraits, HeadShape, Reach, attention, read_heads
from sizewell.catalog.architectures.mixture import MixtureTraits, from_layer, mixture_layers
from sizewell.catalog.architectures.mlp import dense, experts, read_experts, with_shared
from sizewell.catalog.architectures.outline import Outline, layer, next_token_layers, norms, outline, stack
from sizewell.catalog.architectures.windows import listed, reaches
from sizewell.catalog.config_fields import Fields
from sizewell.specs.layers import Layer


class Place(NamedTuple):
    """What distinguishes one layer from the next."""

    local: bool
    routed: bool


def mimo_v2(text: Fields) -> Outline:
    """MiMo-V2-Flash: sliding layers with more key/value heads and sinks; values narrower than keys."""
    hidden = text.size("hidden_size")
    whole_shape, near_shape = _mimo_heads(text, ""), _mimo_heads(text, "swa_")
    window = Reach(window=text.size("sliding_window"))
    routed = experts(hidden, read_experts(text, count="n_routed_experts"))
    sinks = AttentionTraits(
        sinks=text.flag("add_swa_attention_sink_bias", True), qkv_bias=text.flag("attention_bias", False)
    )
    plain = AttentionTraits(
        sinks=text.flag("add_full_attention_sink_bias", False), qkv_bias=text.flag("attention_bias", False)
    )

    def build(place: Place) -> Layer:
        mixer = attention(hidden, near_shape, sinks, window) if place.local else attention(hidden, whole_shape, plain)
        return layer(mixer, routed if place.routed else dense(hidden, text.size("intermediate_size")), norms(hidden, 2))

    local = _marks(text, "hybrid_layer_pattern")
    return outline(text, stack([Place(*p) for p in zip(local, _marks(text, "moe_layer_freq"), strict=True)], build))


def _mimo_heads(text: Fields, prefix: str) -> HeadShape:
    return HeadShape(
        count=text.size(f"{prefix}num_attention_heads"), kv=text.size(f"{prefix}num_key_value_heads"),
        dim=text.size(f"{prefix}head_dim"), value_dim=text.size(f"{prefix}v_head_dim"),
    )  # fmt: skip


def _marks(text: Fields, name: str) -> list[bool]:
    marks = text.counts(name, text.layers())
    if marks is None:
        raise text.wrong(name, None, f"a list of {text.layers()} marks")
    return [bool(mark) for mark in marks]


def step37(text: Fields) -> Outline:
    """Step-3.7-Flash: norms on heads, one gate row per head, dense first layers, a shared expert."""
    plain = read_experts(text)
    shared = text.count("n_shared_experts", 1) * text.count("share_expert_dim", plain.intermediate)
    traits = MixtureTraits(
        shape=read_heads(text, kv_heads=8, head_dim=128),
        experts=with_shared(plain, shared),
        attention=AttentionTraits(qk_norm="head", gate="head"),
    )
    local = listed(text) or [False] * text.layers()
    spans = reaches(text, local, text.optional_count("sliding_window"))
    layers = mixture_layers(text, spans, from_layer(text, text.count("first_k_dense_replace", 0)), traits)
    return outline(text, layers, mtp_layers=next_token_layers(text, layers[-1]))
