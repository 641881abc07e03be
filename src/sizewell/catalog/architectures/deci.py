"""Nemotron-NAS (DeciLM): Llama blocks whose attention or MLP was thinned or removed, layer by layer."""

from __future__ import annotations

from typing import NamedTuple

from sizewell.catalog.architectures.attention import HeadShape, attention
from sizewell.catalog.architectures.mlp import dense
from sizewell.catalog.architectures.outline import Outline, layer, norms, outline, stack
from sizewell.catalog.config_fields import Fields
from sizewell.specs.layers import Layer
from sizewell.specs.tensor import replicated

LINEAR = -1


class Place(NamedTuple):
    """Query heads a key/value head serves and the MLP's width: 0 = removed, -1 = one square matrix instead."""

    group: int
    intermediate: int


def deci(text: Fields) -> Outline:
    """Nemotron Super and Ultra, Llama-Nemotron-51B."""
    hidden, count = text.size("hidden_size"), text.size("num_attention_heads")

    def build(place: Place) -> Layer:
        parts = []
        mixer = None
        if place.group > 0:
            dim = hidden // count
            mixer = attention(hidden, HeadShape(count=count, kv=count // place.group, dim=dim, value_dim=dim))
        elif place.group == LINEAR:
            parts.append(replicated("self_attn.linear_attn", "attention", hidden, hidden))
        mlp = dense(hidden, place.intermediate) if place.intermediate > 0 else None
        if place.intermediate == LINEAR:
            parts.append(replicated("mlp.linear_mlp", "mlp", hidden, hidden))
        kept = (place.group != 0) + (place.intermediate != 0)
        return layer(mixer, mlp, *parts, *([norms(hidden, kept)] if kept else []))

    return outline(text, stack(_places(text, hidden), build))


def _places(text: Fields, hidden: int) -> list[Place]:
    blocks = text.items("block_configs")
    if blocks is None or len(blocks) < text.layers() or not all(isinstance(block, dict) for block in blocks):
        raise text.wrong("block_configs", blocks, f"a list of {text.layers()} objects")
    return [_place(Fields(block, text.source, "block_configs.", text), hidden) for block in blocks[: text.layers()]]


def _place(block: Fields, hidden: int) -> Place:
    empty = Fields({}, block.source, block.path)
    mixer, ffn = block.section("attention") or empty, block.section("ffn") or empty
    group, width = 0, 0
    if mixer.flag("replace_with_linear", False):
        group = LINEAR
    elif not mixer.flag("no_op", False):
        group = mixer.size("n_heads_in_group")
    if ffn.flag("replace_with_linear", False):
        width = LINEAR
    elif not ffn.flag("no_op", False):
        width = _rounded(2 * ffn.number("ffn_mult", 0.0) * hidden / 3)
    return Place(group, width)


def _rounded(width: float) -> int:
    """Return the width as the checkpoint's code rounds it: up to a multiple of 256."""
    return -(-int(width) // 256) * 256
