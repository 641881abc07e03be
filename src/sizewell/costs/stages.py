"""Which layers each pipeline stage holds."""

from __future__ import annotations

from collections import Counter
from typing import Literal

from sizewell.specs.layers import Layer
from sizewell.specs.model import ModelSpec

PpRemainder = Literal["spread", "last", "last-r"]


def stage_sizes(layers: int, stages: int, remainder: PpRemainder = "spread") -> tuple[int, ...]:
    """Return the number of layers on each stage.

    `spread` (vLLM since 0.7): partitions −2, −3, … take one more, sparing the last. `last` (vLLM to 0.6): the last
    takes the whole remainder. `last-r` (SGLang): the last r take one more.
    """
    sizes = [layers // stages] * stages
    left = layers % stages
    if remainder == "last":
        sizes[-1] += left
        return tuple(sizes)
    first = 2 if remainder == "spread" else 1
    for offset in range(first, left + first):
        sizes[-offset] += 1
    return tuple(sizes)


def stage_bounds(layers: int, stages: int, remainder: PpRemainder = "spread") -> tuple[tuple[int, int], ...]:
    """Return (first, end) layer numbers of each stage."""
    bounds, start = [], 0
    for size in stage_sizes(layers, stages, remainder):
        bounds.append((start, start + size))
        start += size
    return tuple(bounds)


def counted_layers(model: ModelSpec, span: tuple[int, int]) -> tuple[tuple[Layer, int], ...]:
    """Return the layers of a stage with how often each occurs; alike ones are told by identity, which is cheap."""
    if span == (0, len(model.layers)):
        return tuple(model.layer_counts.items())
    inside = model.layers[span[0] : span[1]]
    kept = {id(layer): layer for layer in inside}
    return tuple((kept[key], count) for key, count in Counter(map(id, inside)).items())
