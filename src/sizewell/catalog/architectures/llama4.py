"""Llama 4 and Llama 3.2 Vision: chunked-local attention with interleaved experts; cross-attention to images."""

from __future__ import annotations

from typing import NamedTuple

from sizewell.catalog.architectures.attention import EVERYTHING, AttentionTraits, Reach, attention, read_heads
from sizewell.catalog.architectures.mlp import dense, experts, read_experts, with_shared
from sizewell.catalog.architectures.outline import Outline, layer, norms, outline, small, stack
from sizewell.catalog.config_fields import Fields
from sizewell.specs.layers import Layer
from sizewell.specs.tensor import column_parallel, whole


class Place(NamedTuple):
    """What distinguishes one layer from the next."""

    reach: Reach
    routed: bool


def llama4(text: Fields) -> Outline:
    """Llama 4: three of four layers see their chunk only; `interleave_moe_layer_step` says which layers route."""
    hidden = text.size("hidden_size")
    bias = text.flag("attention_bias", False)
    traits = AttentionTraits(qkv_bias=bias, out_bias=bias)
    plain = read_experts(text, count="num_local_experts", width="intermediate_size")
    routed = experts(hidden, with_shared(plain, text.size("intermediate_size")))
    shape = read_heads(text, kv_heads=8, head_dim=128)
    around = norms(hidden, 2)

    def build(place: Place) -> Layer:
        mlp = routed if place.routed else dense(hidden, text.size("intermediate_size_mlp"))
        return layer(attention(hidden, shape, traits, place.reach), mlp, around)

    return outline(text, stack(_places(text), build))


def _places(text: Fields) -> list[Place]:
    step, chunk = text.size("interleave_moe_layer_step", 1), text.optional_count("attention_chunk_size")
    named = text.counts("moe_layers")
    routing = set(named) if named is not None else set(range(step - 1, text.layers(), step))
    no_rope = text.counts("no_rope_layers", text.layers() if text.items("no_rope_layers") else None)
    every = text.size("no_rope_layer_interval", 4)
    local = [bool(no_rope[i]) if no_rope else (i + 1) % every != 0 for i in range(text.layers())]
    near = Reach(chunk=chunk) if chunk else EVERYTHING
    return [Place(near if local[i] else EVERYTHING, i in routing) for i in range(text.layers())]


def mllama(text: Fields) -> Outline:
    """Llama 3.2 Vision: Llama layers, some of which attend to the image instead of the text.

    Cross-attention caches image features, never text tokens, so those layers have no mixer here.
    """
    hidden, shape = text.size("hidden_size"), read_heads(text, kv_heads=8)
    crossing = set(text.counts("cross_attention_layers") or ())
    mixer, mlp, around = attention(hidden, shape), dense(hidden, text.size("intermediate_size")), norms(hidden, 2)
    gates = small("cross_attn.gates_and_norms", whole(2 + 2 * shape.dim))
    plain = layer(mixer, mlp, around)
    cross = layer(None, mlp, *mixer.tensors[:2], around, gates)
    built = outline(text, tuple(cross if i in crossing else plain for i in range(text.layers())))
    # Eight special image tokens have an embedding and no place in the head.
    image_tokens = column_parallel("embed_image_tokens", "embedding", hidden, whole(8))
    return Outline(
        hidden=built.hidden, vocabulary=built.vocabulary, layers=built.layers, embedding=built.embedding,
        head=built.head, final_norm=built.final_norm, extra=(image_tokens,),
    )  # fmt: skip
