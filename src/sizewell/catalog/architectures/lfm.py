"""LFM2: gated short convolutions with a few attention layers, dense or with experts."""

from __future__ import annotations

from typing import NamedTuple

from sizewell.catalog.architectures.attention import AttentionTraits, attention, read_heads
from sizewell.catalog.architectures.mlp import dense, experts, read_experts
from sizewell.catalog.architectures.outline import Ends, Outline, layer, norms, outline, stack
from sizewell.catalog.architectures.recurrent import short_convolution
from sizewell.catalog.config_fields import Fields
from sizewell.specs.layers import Layer


class Place(NamedTuple):
    """What distinguishes one layer from the next."""

    attends: bool
    routed: bool


def lfm2(text: Fields) -> Outline:
    """LFM2 dense: the stated MLP width is cut to two thirds and rounded, unless switched off."""
    return _lfm(text, [False] * text.layers(), _adjusted(text))


def lfm2_moe(text: Fields) -> Outline:
    """LFM2 MoE: dense first layers of the stated width, then experts."""
    first = text.stated_count("num_dense_layers")
    return _lfm(text, [i >= first for i in range(text.layers())], text.size("intermediate_size"))


def _lfm(text: Fields, routed: list[bool], intermediate: int) -> Outline:
    hidden = text.size("hidden_size")
    attends = attention(hidden, read_heads(text, kv_heads=8), AttentionTraits(qk_norm="head"))
    convolves = short_convolution(hidden, text.size("conv_L_cache", 3), bias=text.flag("conv_bias", False))
    plain, around = dense(hidden, intermediate), norms(hidden, 2)

    def build(place: Place) -> Layer:
        mlp = experts(hidden, read_experts(text)) if place.routed else plain
        return layer(attends if place.attends else convolves, mlp, around)

    places = [Place(*pair) for pair in zip(_attends(text), routed, strict=True)]
    return outline(text, stack(places, build), Ends(tied=True))


def _attends(text: Fields) -> list[bool]:
    types = text.kinds("layer_types", ("conv", "full_attention"), text.layers())
    if types is not None:
        return [kind == "full_attention" for kind in types]
    full = text.counts("full_attn_idxs")
    return [full is None or i in full for i in range(text.layers())]


def _adjusted(text: Fields) -> int:
    width = text.size("block_ff_dim" if "block_ff_dim" in text else "intermediate_size")
    if not text.flag("block_auto_adjust_ff_dim", True):
        return width
    width = int(text.number("block_ffn_dim_multiplier", 1.0) * int(2 * width / 3))
    multiple = text.size("block_multiple_of", 256)
    return -(-width // multiple) * multiple
