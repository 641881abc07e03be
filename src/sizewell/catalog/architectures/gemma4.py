"""Gemma 4: wide global layers whose keys serve as values, experts beside a dense MLP, per-layer embeddings."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from sizewell.catalog.architectures.attention import AttentionTraits, HeadShape, Reach, attention, read_heads
from sizewell.catalog.architectures.mlp import dense, experts, read_experts, with_shared
from sizewell.catalog.architectures.outline import (
    Ends,
    MixerBlock,
    MlpBlock,
    Outline,
    layer,
    norms,
    outline,
    small,
    stack,
)
from sizewell.catalog.architectures.per_layer import cache_reuse, per_layer_embedding, per_layer_tensors
from sizewell.catalog.architectures.windows import every_nth_full, listed
from sizewell.catalog.config_fields import Fields, merged
from sizewell.specs.layers import Layer
from sizewell.specs.tensor import whole

GLOBAL_NAMES = {"head_dim": "global_head_dim", "num_key_value_heads": "num_global_key_value_heads"}
"""What a field that holds for one layer is called where it holds for all global ones."""
OWN_FIELDS = tuple(GLOBAL_NAMES)


class Place(NamedTuple):
    """What kind of layer stands where, and the fields that hold for it alone."""

    is_local: bool
    reuses_cache: bool
    own: tuple[tuple[str, int], ...] = ()


def gemma4(text: Fields) -> Outline:
    """Gemma 4; the small ones (E2B, E4B) have per-layer embeddings and layers that reuse an earlier one's cache."""
    hidden, per_layer = text.size("hidden_size"), text.count("hidden_size_per_layer_input", 0)
    local = listed(text) or every_nth_full(text, 6)
    places = [Place(*place) for place in zip(local, cache_reuse(text), _own_fields(text), strict=True)]

    def build(place: Place) -> Layer:
        own = Fields(merged(text.values, dict(place.own)), text.source, text.path, text.parent)
        mixer = (_local if place.is_local else _global)(own, hidden, reuses_cache=place.reuses_cache)
        mlp, extra_norms = _mlp(text, hidden, doubled=place.reuses_cache)
        return layer(mixer, mlp, norms(hidden, 4 + extra_norms), *per_layer_tensors(hidden, per_layer))

    return outline(text, stack(places, build), Ends(tied=True, extra=per_layer_embedding(text, hidden, per_layer)))


def _own_fields(text: Fields) -> list[tuple[tuple[str, int], ...]]:
    """Return what `per_layer_config`, transformers 5's spelling of the global fields, states for each layer."""
    section = text.section("per_layer_config") or Fields({}, text.source)
    found: list[tuple[tuple[str, int], ...]] = [()] * text.layers()
    for index in section.values:
        own = section.section(index)
        if own is None or not index.isdecimal() or int(index) >= len(found) or set(own.values) - set(OWN_FIELDS):
            raise text.wrong("per_layer_config", {index: section.values[index]}, f"layers with {OWN_FIELDS}")
        named = {GLOBAL_NAMES[name]: own.size(name) for name in own.values}
        found[int(index)] = tuple(named.items())
    return found


def _local(text: Fields, hidden: int, *, reuses_cache: bool) -> MixerBlock:
    window = Reach(window=text.count("sliding_window", 512) or None)
    traits = AttentionTraits(qk_norm="head", reuses_cache=reuses_cache)
    return attention(hidden, read_heads(text, kv_heads=4, head_dim=256), traits, window)


def _global(text: Fields, hidden: int, *, reuses_cache: bool) -> MixerBlock:
    shared = text.flag("attention_k_eq_v", False)
    dim = text.size("global_head_dim", text.size("head_dim", 256))
    kv = text.size("num_key_value_heads", 4)
    shape = HeadShape(
        count=text.size("num_attention_heads"), kv=text.size("num_global_key_value_heads", kv) if shared else kv,
        dim=dim, value_dim=dim,
    )  # fmt: skip
    traits = AttentionTraits(qk_norm="head", value_is_key=shared, reuses_cache=reuses_cache)
    return attention(hidden, shape, traits)


def _mlp(text: Fields, hidden: int, *, doubled: bool) -> tuple[MlpBlock, int]:
    wide = 2 if doubled and text.flag("use_double_wide_mlp", False) else 1
    plain = dense(hidden, wide * text.size("intermediate_size"))
    if not text.flag("enable_moe_block", False):
        return plain, 0
    shape = read_experts(text, top_k="top_k_experts")
    routed = experts(hidden, shape)
    # The checkpoint keeps experts and router beside `mlp`, which is the dense one.
    renamed = [replace(t, name=t.name.replace("mlp.gate", "router").replace("mlp.", "")) for t in routed.tensors]
    scales = small("router.scales", whole(hidden), whole(shape.experts))
    return MlpBlock(with_shared(shape, text.size("intermediate_size")), (*plain.tensors, *renamed, scales)), 3
