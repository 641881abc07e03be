"""The matrices of a model's layers as one rank holds them: worked out once, whatever passes through them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sizewell.costs.matrix_work import ACTIVATION_BYTES, MatrixGroup, RankMatrix, grouped, rank_matrix
from sizewell.specs.deployment import Parallelism
from sizewell.specs.encoding import Encoding
from sizewell.specs.layers import LatentAttention, Layer
from sizewell.specs.model import ModelSpec
from sizewell.specs.tensor import Tensor
from sizewell.specs.weight_format import stored_encoding

MIXING = frozenset({"attention", "indexer", "recurrent"})
"""Roles of the matrices around a mixer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerMatrices:
    """What stands in one layer, by where rows pass through it; `gated_bytes` leave gated pairs for each row.

    `expansion` is what expands a latent: every projection else is in `projections`.
    """

    projections: tuple[MatrixGroup, ...]
    expansion: tuple[MatrixGroup, ...]
    mlp: tuple[MatrixGroup, ...]
    shared: tuple[MatrixGroup, ...]
    router: tuple[MatrixGroup, ...]
    gated_bytes: int
    inner_norms: int


class HeldMatrices:
    """The matrices of one model in one format, under any cut: what cuts have in common is worked out once."""

    def __init__(self, model: ModelSpec, weight_format: str) -> None:
        self.model, self.weight_format = model, weight_format
        self._layers: dict[tuple[int, int], LayerMatrices] = {}
        self._experts: dict[tuple[int, int, int], tuple[RankMatrix, ...]] = {}
        self._heads: dict[int, tuple[MatrixGroup, ...]] = {}

    def layer(self, layer: Layer, tp: int) -> LayerMatrices:
        """Return what one of `tp` ranks holds of a layer but for its routed experts."""
        key = (id(layer), tp)
        if key not in self._layers:
            self._layers[key] = self._layer(layer, tp)
        return self._layers[key]

    def experts(self, layer: Layer, cut: Parallelism) -> tuple[RankMatrix, ...]:
        """Return what a rank holds of a layer's routed experts: whole ones, or its part of all."""
        key = (id(layer), cut.ep, 1 if cut.ep > 1 else cut.tp * cut.dp)
        if key not in self._experts:
            routed = [tensor for tensor in layer.tensors if tensor.role == "routed-experts"]
            self._experts[key] = tuple(self._expert(tensor, cut) for tensor in routed)
        return self._experts[key]

    def head(self, tp: int) -> tuple[MatrixGroup, ...]:
        """Return what one of `tp` ranks holds of the output projection."""
        if tp not in self._heads:
            self._heads[tp] = self._grouped([self.model.head or self.model.embedding], tp)
        return self._heads[tp]

    def _layer(self, layer: Layer, tp: int) -> LayerMatrices:
        by_role: dict[str, list[Tensor]] = {}
        for tensor in layer.tensors:
            by_role.setdefault(tensor.role, []).append(tensor)
        latent = isinstance(layer.mixer, LatentAttention)
        mixing: list[Tensor] = []
        expanding: list[Tensor] = []
        for tensor in (t for t in layer.tensors if t.role in MIXING):
            (expanding if latent and "kv_b" in tensor.name else mixing).append(tensor)
        paired = [t for t in layer.tensors if t.role in {"mlp", "shared-experts"} and len(t.rows) > 1]
        return LayerMatrices(
            projections=self._grouped(mixing, tp),
            expansion=self._grouped(expanding, tp),
            mlp=self._grouped(by_role.get("mlp", ()), tp),
            shared=self._grouped(by_role.get("shared-experts", ()), tp),
            router=self._grouped(by_role.get("router", ()), tp),
            gated_bytes=sum(t.rank_rows(tp) for t in paired) * ACTIVATION_BYTES,
            inner_norms=_inner_norms(layer),
        )

    def _grouped(self, tensors: Iterable[Tensor], tp: int) -> tuple[MatrixGroup, ...]:
        return grouped([rank_matrix(t, self._encoding(t), tp) for t in tensors if t.is_matrix])

    def _expert(self, tensor: Tensor, cut: Parallelism) -> RankMatrix:
        if cut.ep > 1:
            return rank_matrix(tensor, self._encoding(tensor), 1, max(1, -(-tensor.matrices // cut.ep)))
        return rank_matrix(tensor, self._encoding(tensor), cut.tp * cut.dp)

    def _encoding(self, tensor: Tensor) -> Encoding:
        return stored_encoding(tensor, self.model, self.weight_format)


def _inner_norms(layer: Layer) -> int:
    """Return the norm kernels inside a mixer: one each of queries and keys, one of each latent."""
    names = [t.name for t in layer.tensors if t.role == "norm" and t.name.startswith("self_attn.") and "norm" in t.name]
    return sum(2 if "qk" in name else 1 for name in names)
