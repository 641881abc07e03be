"""How a checkpoint stores each matrix: rules and ignore lists applied to the tensors of a model."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace

from sizewell.catalog.module_names import Patterns, modules_of
from sizewell.specs.encoding import Encoding
from sizewell.specs.layers import Layer
from sizewell.specs.tensor import Tensor

ROLES_NEVER_STORED_SMALL = frozenset({"norm", "embedding", "router", "vision", "head", "mtp"})
"""Roles quantizers leave in 16 bits whatever their lists say; only an explicit word quantizes a head or embedding."""

KEPT_WIDE = ("weights_proj", ".compressor.")
"""Small selectors engines build without quantization."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Modules (None: all linear ones) that one encoding holds for."""

    encoding: Encoding
    modules: Patterns | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantization:
    """A checkpoint's formats: the first rule that names a module wins, unless the module is kept as it was.

    `everything` also covers embedding and head (MLX). `experts_only` covers routed experts alone (gpt-oss).
    """

    rules: tuple[Rule, ...]
    kept: Patterns
    kv_format: str = "auto"
    everything: bool = False
    experts_only: bool = False

    @property
    def weight_format(self) -> str:
        """The name of the encoding most matrices have: that of routed experts or of the general rule."""
        return self.rules[0].encoding.name

    def encoding_of(self, tensor: Tensor, place: str) -> Encoding | None:
        """Return how a tensor of the layer `place` (such as `layers.3.`) is stored, None for 16 bits."""
        if tensor.stored is not None or not tensor.is_matrix or any(word in tensor.name for word in KEPT_WIDE):
            return tensor.stored
        names = [place + module for module in modules_of(tensor.name)]
        if any(self.kept.match(name) for name in names):
            return None
        wide = tensor.role in ROLES_NEVER_STORED_SMALL or (self.experts_only and tensor.role != "routed-experts")
        for rule in self.rules:
            if rule.modules is None:
                if not wide or (self.everything and tensor.role in ("embedding", "head")):
                    return rule.encoding
            elif any(rule.modules.match(name) for name in names):
                return rule.encoding
        return None

    def signature(self, index: int) -> Hashable:
        """Return a value equal for two layers that are stored alike."""
        named = [rule.modules for rule in self.rules if rule.modules is not None]
        return tuple(patterns.signature(index) for patterns in (self.kept, *named))


def store_layers(layers: tuple[Layer, ...], quantization: Quantization, first: int = 0) -> tuple[Layer, ...]:
    """Return the layers with each tensor's stored encoding; layers that are stored alike stay one object."""
    made: dict[Hashable, Layer] = {}
    alike: dict[tuple[int, tuple[Encoding | None, ...]], Layer] = {}
    stored = []
    for index, layer in enumerate(layers, first):
        key = (id(layer), quantization.signature(index))
        if key not in made:
            encodings = tuple(quantization.encoding_of(tensor, f"layers.{index}.") for tensor in layer.tensors)
            made[key] = alike.setdefault((id(layer), encodings), _store_layer(layer, encodings))
        stored.append(made[key])
    return tuple(stored)


def _store_layer(layer: Layer, encodings: tuple[Encoding | None, ...]) -> Layer:
    tensors = tuple(_stored(t, encoding) for t, encoding in zip(layer.tensors, encodings, strict=True))
    return Layer(mixer=layer.mixer, mlp=layer.mlp, tensors=tensors)


def _stored(tensor: Tensor, encoding: Encoding | None) -> Tensor:
    return tensor if encoding is tensor.stored else replace(tensor, stored=encoding)


def store_tensor(tensor: Tensor, quantization: Quantization) -> Tensor:
    """Return a tensor outside the layers with its stored encoding."""
    return _stored(tensor, quantization.encoding_of(tensor, ""))
