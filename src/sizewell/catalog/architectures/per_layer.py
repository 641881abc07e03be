"""Gemma 3n, and what it shares with the small Gemma 4: embeddings for every layer, caches reused by later layers."""

from __future__ import annotations

from typing import NamedTuple

from sizewell.catalog.architectures.attention import AttentionTraits, Reach, attention, read_heads
from sizewell.catalog.architectures.mlp import dense, uniform
from sizewell.catalog.architectures.outline import Ends, Outline, layer, norms, outline, small, stack
from sizewell.catalog.architectures.windows import every_nth_full, listed, reaches
from sizewell.catalog.config_fields import Fields
from sizewell.specs.layers import Layer
from sizewell.specs.tensor import Part, Tensor, column_parallel, replicated, split, whole

PER_LAYER_VOCABULARY = 262_144
ENCODER_AS_PUBLISHED = "the image encoder (MobileNetV5) is counted by its published size"


class Place(NamedTuple):
    """What kind of layer stands where."""

    reach: Reach
    reuses_cache: bool


def gemma3n(text: Fields) -> Outline:
    """Gemma 3n: four streams mixed around each layer (AltUp), a low-rank bypass (LAuReL), per-layer embeddings."""
    hidden, per_layer = text.size("hidden_size"), text.count("hidden_size_per_layer_input", 256)
    local = listed(text) or every_nth_full(text, 5)
    spans = reaches(text, local, text.count("sliding_window", 512) or None)
    shape, mlp = read_heads(text, kv_heads=2, head_dim=256), dense(hidden, uniform(text, "intermediate_size"))
    others = (norms(hidden, 4), *_bypass(text, hidden), *_streams(text, hidden), *per_layer_tensors(hidden, per_layer))

    def build(place: Place) -> Layer:
        traits = AttentionTraits(qk_norm="head", reuses_cache=place.reuses_cache)
        return layer(attention(hidden, shape, traits, place.reach), mlp, *others)

    layers = stack([Place(*place) for place in zip(spans, cache_reuse(text, 15), strict=True)], build)
    inputs = text.size("altup_num_inputs", 4) - 1
    mixing = tuple(
        Tensor(name=name, role="router", rows=(whole(hidden),), columns=Part(units=hidden), matrices=inputs)
        for name in ("altup_projections", "altup_unembed_projections")
    )
    extra = (*per_layer_embedding(text, hidden, per_layer), *(mixing if inputs else ()))
    seen = text.parent is not None and text.parent.section("vision_config") is not None
    return outline(text, layers, Ends(tied=True, extra=extra, assumed=(ENCODER_AS_PUBLISHED,) if seen else ()))


def cache_reuse(text: Fields, default: int = 0) -> list[bool]:
    """Return which layers read an earlier layer's cache: the last `num_kv_shared_layers`."""
    count, shared = text.layers(), text.count("num_kv_shared_layers", default)
    if shared >= count:
        raise text.wrong("num_kv_shared_layers", shared, f"fewer than the {count} layers")
    return [i >= count - shared for i in range(count)]


def per_layer_tensors(hidden: int, width: int) -> tuple[Tensor, ...]:
    """Return what a layer does with its own embedding of `width`: a gate, a projection and a norm."""
    if not width:
        return ()
    return (
        replicated("per_layer_input_gate", "router", hidden, width),
        replicated("per_layer_projection", "router", width, hidden),
        norms(hidden, name="post_per_layer_input_norm"),
    )


def per_layer_embedding(text: Fields, hidden: int, width: int) -> tuple[Tensor, ...]:
    """Return the table of embeddings for all layers, and the projection of the common embedding beside it."""
    if not width:
        return ()
    wide = text.layers() * width
    rows = text.size("vocab_size_per_layer_input", PER_LAYER_VOCABULARY)
    return (
        column_parallel("embed_tokens_per_layer", "embedding", wide, split(rows)),
        replicated("per_layer_model_projection", "router", hidden, wide),
        small("per_layer_projection_norm", whole(width)),
    )


def _bypass(text: Fields, hidden: int) -> tuple[Tensor, ...]:
    rank = text.size("laurel_rank", 64)
    return (
        replicated("laurel.linear_left", "router", hidden, rank),
        replicated("laurel.linear_right", "router", rank, hidden),
        norms(hidden, name="laurel.post_laurel_norm"),
    )


def _streams(text: Fields, hidden: int) -> tuple[Tensor, ...]:
    count = text.size("altup_num_inputs", 4)
    return (
        replicated("altup.modality_router", "router", hidden, count),
        small("altup.coefs", whole(count * count), whole(count**3)),
        norms(hidden, 2, name="altup.norm_and_scale"),
    )
