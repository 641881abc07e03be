"""Blocks of image and audio encoders: stacked ViT layers, convolutions as matrices, projectors."""

from __future__ import annotations

from dataclasses import dataclass

from sizewell.specs.tensor import Part, Tensor, split, whole


@dataclass(frozen=True, slots=True, kw_only=True)
class VitShape:
    """A stack of encoder layers; `attention` is the width of queries, keys and values if not the hidden one.

    A `replicated` stack is whole on every rank.
    """

    depth: int
    hidden: int
    intermediate: int
    attention: int = 0
    gated: bool = False
    attention_bias: bool = True
    mlp_bias: bool = True
    norm_bias: bool = True
    norms: int = 2
    extra_vectors: int = 0
    replicated: bool = False

    @property
    def inner(self) -> int:
        """Width of queries, keys and values."""
        return self.attention or self.hidden


def vit(name: str, shape: VitShape) -> tuple[Tensor, ...]:
    """Return the matrices and norms of all layers of an encoder, each kind as one stack."""
    if not shape.depth:
        return ()
    part = whole if shape.replicated else split
    inner, wide, bias = part(shape.inner), part(shape.intermediate), shape.attention_bias
    up = (wide, wide) if shape.gated else (wide,)
    found = [
        _stacked(f"{name}.qkv", shape.depth, (inner, inner, inner), whole(shape.hidden), bias=bias),
        _stacked(f"{name}.proj", shape.depth, (whole(shape.hidden),), inner, bias=bias),
        _stacked(f"{name}.fc1", shape.depth, up, whole(shape.hidden), bias=shape.mlp_bias),
        _stacked(f"{name}.fc2", shape.depth, (whole(shape.hidden),), wide, bias=shape.mlp_bias),
        vectors(f"{name}.norms", shape.hidden, shape.depth * shape.norms, bias=shape.norm_bias),
    ]
    if shape.extra_vectors:
        found.append(vectors(f"{name}.vectors", shape.extra_vectors, shape.depth))
    return tuple(found)


def linear(name: str, inputs: int, outputs: int, *, bias: bool = False, matrices: int = 1) -> Tensor:
    """Return a matrix of an encoder or projector that every rank holds whole."""
    return _stacked(name, matrices, (whole(outputs),), whole(inputs), bias=bias)


def vectors(name: str, width: int, count: int = 1, *, bias: bool = False) -> Tensor:
    """Return `count` vectors such as norms or class tokens."""
    return Tensor(name=name, role="vision", rows=(whole(width),), matrices=count, bias=bias)


def _stacked(name: str, count: int, rows: tuple[Part, ...], columns: Part, *, bias: bool) -> Tensor:
    return Tensor(name=name, role="vision", rows=rows, columns=columns, matrices=count, bias=bias)
